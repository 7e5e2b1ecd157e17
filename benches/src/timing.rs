//! Times of repeated runs, and the line that states one.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::Error;

/// How often a piece of work is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    warm_up: usize,
    at_least: usize,
    /// Short work is repeated until this much time has passed.
    time: Duration,
}

impl Repeat {
    /// Two runs to warm up, then at least seven and at least half a second of them.
    pub const MEASURE: Self = Self { warm_up: 2, at_least: 7, time: Duration::from_millis(500) };
    /// One run, to see that the work works.
    pub const ONCE: Self = Self { warm_up: 0, at_least: 1, time: Duration::ZERO };

    /// How many times work is run that times itself, warm-up and measured.
    #[must_use]
    pub fn runs(self) -> (usize, usize) {
        (self.warm_up, self.at_least)
    }

    /// Median time of a run, in seconds.
    ///
    /// # Errors
    /// The first error of the work.
    pub fn median(self, mut work: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
        (0..self.warm_up).try_for_each(|_| work())?;
        let (start, mut times) = (Instant::now(), Vec::new());
        while times.len() < self.at_least || start.elapsed() < self.time {
            let run = Instant::now();
            work()?;
            times.push(run.elapsed().as_secs_f64());
        }
        Ok(median(&mut times))
    }
}

/// The middle value, or the mean of the two middle ones; NaN of none.
#[must_use]
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// How long a piece of work took and how many units it has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// Of one run.
    pub seconds: f64,
    /// Units of a run.
    pub per: usize,
}

/// One measurement, as it is printed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line<'a> {
    /// What was done; its first word is the name in tables.
    pub workload: &'a str,
    /// Which way of doing it.
    pub variant: &'a str,
    /// Of one run.
    pub seconds: f64,
    /// Units of a run.
    pub per: usize,
    /// Units in a second.
    pub rate: f64,
    /// What is counted, per second.
    pub unit: &'a str,
}

impl<'a> Line<'a> {
    /// The line of a timing.
    #[must_use]
    pub fn new(workload: &'a str, variant: &'a str, unit: &'a str, timing: Timing) -> Self {
        let Timing { seconds, per } = timing;
        Self { workload, variant, seconds, per, rate: per as f64 / seconds, unit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), 2.5);
    }

    #[test]
    fn work_is_warmed_up_and_repeated_and_its_error_is_returned() {
        let mut runs = 0;
        let repeat = Repeat { warm_up: 2, at_least: 7, time: Duration::ZERO };
        let mut count = || {
            runs += 1;
            if runs > 9 { Err("too often".into()) } else { Ok(()) }
        };
        assert!(repeat.median(&mut count).unwrap() >= 0.0);
        assert_eq!(repeat.median(count).unwrap_err().to_string(), "too often");
    }

    #[test]
    fn a_line_has_the_rate() {
        let line = Line::new("W1 a", "row", "rows/s", Timing { seconds: 0.5, per: 10 });
        assert_eq!(
            serde_json::to_string(&line).unwrap(),
            r#"{"workload":"W1 a","variant":"row","seconds":0.5,"per":10,"rate":20.0,"unit":"rows/s"}"#
        );
    }
}
