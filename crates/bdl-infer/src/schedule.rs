//! Learning-rate schedules and KL warm-up: pure functions of how far training is.

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

/// Linear KL warm-up: the KL weight is 0 for the first `start` epochs and grows to 1 until `epochs` epochs are done.
///
/// | name | default | range | meaning |
/// |---|---|---|---|
/// | `epochs` | 0 | `>= 0` | epochs until the weight is 1; 0: it is 1 from the start |
/// | `start` | 0 | `[0, epochs]` | epochs until the weight is more than 0 |
///
/// While the weight is below 1 the objective is *not* a bound on the log evidence.
///
/// ```
/// use bdl_infer::KlWarmup;
/// let warmup = KlWarmup::new(10.0)?;
/// assert_eq!([0.0, 5.0, 10.0, 99.0].map(|e| warmup.weight(e)), [0.0, 0.5, 1.0, 1.0]);
/// assert_eq!([2.0, 4.0, 7.0, 10.0].map(|e| warmup.starting_at(4.0).unwrap().weight(e)), [0.0, 0.0, 0.5, 1.0]);
/// # Ok::<(), bdl_infer::Error>(())
/// ```
///
/// # References
/// Sønderby et al. 2016, Ladder Variational Autoencoders, section 2.3; `docs/math.md#kl-weight`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct KlWarmup {
    start: f64,
    epochs: f64,
}

impl KlWarmup {
    /// A warm-up of `epochs` epochs.
    ///
    /// # Errors
    /// [`Error::Argument`] unless `epochs` is finite and not negative.
    pub fn new(epochs: f64) -> Result<Self, Error> {
        let fits = epochs >= 0.0 && epochs.is_finite();
        Ok(Self { start: 0.0, epochs: check_arg("kl warm-up: epochs", "finite and >= 0", epochs, fits)? })
    }

    /// The same with a weight of 0 for the first `start` epochs.
    ///
    /// # Errors
    /// [`Error::Argument`] unless `start` is between 0 and the epochs of the warm-up.
    pub fn starting_at(self, start: f64) -> Result<Self, Error> {
        let fits = (0.0..=self.epochs).contains(&start);
        Ok(Self { start: check_arg("kl warm-up: start", "in [0, epochs]", start, fits)?, ..self })
    }

    /// Epochs until the weight is more than 0.
    #[must_use]
    pub fn start(&self) -> f64 {
        self.start
    }

    /// Epochs until the weight is 1.
    #[must_use]
    pub fn epochs(&self) -> f64 {
        self.epochs
    }

    /// KL weight when `epoch` epochs are done, in `[0, 1]`: `min(1, (epoch − start)/(epochs − start))`, 0 before.
    #[must_use]
    pub fn weight(&self, epoch: f64) -> f64 {
        match self.start > 0.0 && epoch < self.epochs {
            true => ((epoch - self.start) / (self.epochs - self.start)).clamp(0.0, 1.0),
            false => done(epoch, self.epochs),
        }
    }
}

/// Share of `of` that is done, in [0, 1]; nothing to do is done.
fn done(epoch: f64, of: f64) -> f64 {
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
    fn without_warm_up_the_weight_is_one_from_the_start() {
        assert_eq!(KlWarmup::default().weight(0.0), 1.0);
    }

    #[test]
    fn a_warm_up_may_wait() {
        let warmup = KlWarmup::new(20.0).unwrap().starting_at(5.0).unwrap();
        assert_eq!([0.0, 5.0, 8.0, 20.0, 30.0].map(|e| warmup.weight(e)), [0.0, 0.0, 0.2, 1.0, 1.0]);
        let step = KlWarmup::new(5.0).unwrap().starting_at(5.0).unwrap();
        assert_eq!([0.0, 4.9, 5.0].map(|e| step.weight(e)), [0.0, 0.0, 1.0]);
        for start in [-1.0, 20.1, f64::NAN] {
            assert!(warmup.starting_at(start).is_err(), "{start}");
        }
    }

    #[test]
    fn parameters_out_of_range_are_named() {
        let e = Schedule::Step { every: 0.0, factor: 0.5 }.check().unwrap_err();
        assert_eq!(e.to_string(), "step schedule: every must be finite and > 0, got 0");
        assert!(Schedule::Step { every: 1.0, factor: f64::NAN }.check().is_err());
        assert!(Schedule::Cosine { end: 1.5 }.check().is_err());
        assert!(KlWarmup::new(f64::INFINITY).is_err() && KlWarmup::new(-1.0).is_err());
    }
}
