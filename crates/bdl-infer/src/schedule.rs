//! Learning-rate schedules: pure functions of how far training is.

use std::f64::consts::PI;

use crate::Error;
use crate::error::check_arg;

/// How the learning rate changes over training, as a multiplier of the base rate.
///
/// | name | parameter | default | range | meaning |
/// |---|---|---|---|---|
/// | `Constant` | | | | multiplier 1 throughout |
/// | `Cosine` | `end` | 0 | `[0, 1]` | falls along half a cosine from 1 to `end` |
/// | `Linear` | `hold` | 0 | `[0, 1)` | share of training at the base rate, before it falls in a straight line to 0 |
/// | `Step` | `every` | | `> 0` | epochs between two falls |
/// | | `factor` | | `(0, 1]` | multiplied in at each fall |
///
/// ```
/// use bdl_infer::Schedule;
/// let cosine = Schedule::Cosine { end: 0.0 };
/// assert_eq!(cosine.multiplier(0.0, 40), 1.0);
/// assert!((cosine.multiplier(20.0, 40) - 0.5).abs() < 1e-15);
/// ```
///
/// # References
/// Cosine: Loshchilov & Hutter 2017, SGDR: Stochastic Gradient Descent with Warm Restarts, eq. 5, without restarts;
/// `docs/math.md#schedules`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Schedule {
    /// The base rate throughout.
    #[default]
    Constant,
    /// Half a cosine from the base rate down to `end` times it.
    Cosine {
        /// Multiplier at the end of training.
        end: f64,
    },
    /// The base rate for a share of training, then a straight line down to 0.
    Linear {
        /// Share of training at the base rate.
        hold: f64,
    },
    /// Stairs.
    Step {
        /// Epochs between two falls.
        every: f64,
        /// What the rate is multiplied with at each fall.
        factor: f64,
    },
}

impl Schedule {
    /// Checks the parameters against the table above.
    ///
    /// # Errors
    /// [`Error::Argument`] that names the parameter.
    pub fn check(&self) -> Result<(), Error> {
        match *self {
            Self::Constant => {}
            Self::Cosine { end } => {
                check_arg("cosine schedule: end", "in [0, 1]", end, (0.0..=1.0).contains(&end))?;
            }
            Self::Linear { hold } => {
                check_arg("linear schedule: hold", "in [0, 1)", hold, (0.0..1.0).contains(&hold))?;
            }
            Self::Step { every, factor } => {
                check_arg("step schedule: every", "finite and > 0", every, every > 0.0 && every.is_finite())?;
                check_arg("step schedule: factor", "in (0, 1]", factor, factor > 0.0 && factor <= 1.0)?;
            }
        }
        Ok(())
    }

    /// Multiplier of the base learning rate when `epoch` of `epochs` epochs are done.
    ///
    /// ```text
    /// Constant:  1
    /// Cosine:    end + (1 − end)·½(1 + cos(π·epoch/epochs))
    /// Linear:    min(1, (1 − epoch/epochs)/(1 − hold))
    /// Step:      factor^⌊epoch/every⌋
    /// ```
    /// `epoch` may have a fraction, so that the rate can change with every step; behind the end it stays as at the end.
    #[must_use]
    pub fn multiplier(&self, epoch: f64, epochs: usize) -> f64 {
        match *self {
            Self::Constant => 1.0,
            Self::Cosine { end } => end + (1.0 - end) * 0.5 * (1.0 + (PI * done(epoch, epochs as f64)).cos()),
            Self::Linear { hold } => ((1.0 - done(epoch, epochs as f64)) / (1.0 - hold)).min(1.0),
            Self::Step { every, factor } => factor.powf((epoch.max(0.0) / every).floor()),
        }
    }
}

/// Share of `of` that is done, in [0, 1]; nothing to do is done.
pub(crate) fn done(epoch: f64, of: f64) -> f64 {
    if of > 0.0 { (epoch / of).clamp(0.0, 1.0) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schedule_starts_at_one() {
        for s in [
            Schedule::Constant,
            Schedule::Cosine { end: 0.1 },
            Schedule::Linear { hold: 0.5 },
            Schedule::Step { every: 3.0, factor: 0.5 },
        ] {
            assert_eq!(s.multiplier(0.0, 9), 1.0, "{s:?}");
            s.check().unwrap();
        }
    }

    #[test]
    fn cosine_ends_at_its_end_and_stays_there() {
        let s = Schedule::Cosine { end: 0.1 };
        assert!((s.multiplier(9.0, 9) - 0.1).abs() < 1e-15);
        assert_eq!(s.multiplier(20.0, 9), s.multiplier(9.0, 9));
        assert!(
            (0..90).all(|i| s.multiplier(f64::from(i) / 10.0, 9) > s.multiplier(f64::from(i + 1) / 10.0, 9))
        );
    }

    #[test]
    fn linear_holds_and_then_falls_to_nothing() {
        let s = Schedule::Linear { hold: 0.5 };
        assert_eq!(
            [0.0, 4.0, 6.0, 7.0, 8.0, 9.0].map(|e| s.multiplier(e, 8)),
            [1.0, 1.0, 0.5, 0.25, 0.0, 0.0]
        );
        assert_eq!(Schedule::Linear { hold: 0.0 }.multiplier(2.0, 8), 0.75);
        assert!(Schedule::Linear { hold: 1.0 }.check().is_err());
    }

    #[test]
    fn steps_fall_at_multiples_of_every() {
        let s = Schedule::Step { every: 3.0, factor: 0.5 };
        assert_eq!(
            [2.99, 3.0, 5.9, 6.0, 30.0].map(|e| s.multiplier(e, 9)),
            [1.0, 0.5, 0.5, 0.25, 0.5_f64.powi(10)]
        );
    }

    #[test]
    fn parameters_out_of_range_are_named() {
        let e = Schedule::Step { every: 0.0, factor: 0.5 }.check().unwrap_err();
        assert_eq!(e.to_string(), "step schedule: every must be finite and > 0, got 0");
        assert!(Schedule::Step { every: 1.0, factor: f64::NAN }.check().is_err());
        assert!(Schedule::Cosine { end: 1.5 }.check().is_err());
    }
}
