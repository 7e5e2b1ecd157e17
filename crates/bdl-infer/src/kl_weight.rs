//! The weight of the KL along training: pure functions of how far it is.

use crate::Error;
use crate::error::check_arg;
use crate::schedule::done;

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

/// Where training stands when a step is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepAt {
    /// Whole epochs done.
    pub epoch: usize,
    /// Epochs in all.
    pub epochs: usize,
    /// Batches of this epoch done.
    pub batch: usize,
    /// Batches of an epoch.
    pub batches: usize,
}

impl StepAt {
    /// Epochs done, with a fraction.
    #[must_use]
    pub fn done(&self) -> f64 {
        self.epoch as f64 + self.batch as f64 / self.batches as f64
    }

    /// Where in its cycle the step is, in `[0, 1)`, if training has so many of them; exact at their ends.
    fn phase(&self, cycles: usize) -> f64 {
        let [epoch, epochs, batch, batches] =
            [self.epoch, self.epochs, self.batch, self.batches].map(|n| n as u128);
        let steps = (epochs * batches).max(1);
        let into = (epoch * batches + batch) * cycles as u128 % steps;
        into as f64 / steps as f64
    }
}

/// How the weight of the KL goes up and down; a [`KlWarmup`] multiplies it.
///
/// | name | parameter | default | range | meaning |
/// |---|---|---|---|---|
/// | `Constant` | | | | 1 throughout |
/// | `Cyclical` | `cycles` | | `>= 1` | training is cut into so many cycles of equal length |
/// | | `rise` | 0.5 on the command line | `(0, 1)` | share of a cycle in which the weight rises from 0 to 1, before it stays there |
/// | `Blundell` | | | | halves from batch to batch and starts anew with each epoch; 1 in the mean of an epoch |
///
/// While the weight is not 1 the objective is *not* a bound on the log evidence; what is reported as `elbo` always has weight 1.
///
/// ```
/// use bdl_infer::{KlSchedule, StepAt};
/// let at = |batch| StepAt { epoch: 0, epochs: 1, batch, batches: 8 };
/// let cyclical = KlSchedule::Cyclical { cycles: 2, rise: 0.5 };
/// assert_eq!([0, 1, 2, 3, 4].map(|b| cyclical.weight(at(b))), [0.0, 0.5, 1.0, 1.0, 0.0]);
/// let blundell: f64 = (0..8).map(|b| KlSchedule::Blundell.weight(at(b))).sum();
/// assert!((blundell / 8.0 - 1.0).abs() < 1e-14);
/// ```
///
/// # References
/// Cyclical: Fu et al. 2019, Cyclical Annealing Schedule: A Simple Approach to Mitigating KL Vanishing, eqs. 6 and 7.
/// Blundell et al. 2015, Weight Uncertainty in Neural Networks, section 3.4. `docs/math.md#kl-weight`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum KlSchedule {
    /// 1 throughout.
    #[default]
    Constant,
    /// A line from 0 to 1, then 1, several times.
    Cyclical {
        /// Cycles of the whole training.
        cycles: usize,
        /// Share of a cycle in which the weight rises.
        rise: f64,
    },
    /// Most of the KL in the first batches of an epoch, next to nothing in the last.
    Blundell,
}

impl KlSchedule {
    /// Checks the parameters against the table above.
    ///
    /// # Errors
    /// [`Error::Argument`] that names the parameter.
    pub fn check(&self) -> Result<(), Error> {
        if let Self::Cyclical { cycles, rise } = *self {
            check_arg("cyclical kl: cycles", ">= 1", cycles as f64, cycles >= 1)?;
            check_arg("cyclical kl: rise", "in (0, 1)", rise, rise > 0.0 && rise < 1.0)?;
        }
        Ok(())
    }

    /// Factor of the KL of all weights in the objective of one step, which counts a batch for all rows.
    ///
    /// ```text
    /// Constant:  1
    /// Cyclical:  min(1, τ/rise),   τ = fraction of (cycles·t/epochs),  t the epochs done
    /// Blundell:  M·2^{M−i}/(2^M − 1) in batch i = 1 … M of an epoch
    /// ```
    #[must_use]
    pub fn weight(&self, at: StepAt) -> f64 {
        match *self {
            Self::Constant => 1.0,
            Self::Cyclical { cycles, rise } => (at.phase(cycles) / rise).min(1.0),
            Self::Blundell => at.batches as f64 * blundell_share(at.batch + 1, at.batches),
        }
    }

    /// Whether the posterior that a step works on is the one that the prior asks for: what early stopping compares.
    pub(crate) fn is_full(&self, at: StepAt) -> bool {
        match self {
            Self::Constant | Self::Blundell => true,
            Self::Cyclical { .. } => self.weight(at) >= 1.0,
        }
    }
}

/// Share of an epoch's KL in batch i of M: `2^{M−i}/(2^M − 1) = 2^{−i}/(1 − 2^{−M})`, of which only the latter is a number for any M.
fn blundell_share(i: usize, batches: usize) -> f64 {
    (-(i as f64)).exp2() / (1.0 - (-(batches as f64)).exp2())
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn blundells_shares_sum_to_one_for_any_number_of_batches() {
        for batches in 1..=10_000 {
            let share = |i| blundell_share(i, batches);
            // Below 2^−1100 there is nothing to add.
            let sum: f64 = (1..=batches.min(1100)).map(share).sum();
            assert!((sum - 1.0).abs() < 1e-14, "{batches}: {sum}");
            assert!(share(batches) >= 0.0 && share(1) >= 0.5 && share(1) <= 1.0, "{batches}");
        }
        for batches in [1, 2, 7, 50_i32] {
            for i in 1..=batches {
                let naive = 2_f64.powi(batches - i) / (2_f64.powi(batches) - 1.0);
                let share = blundell_share(i as usize, batches as usize);
                assert!((share / naive - 1.0).abs() < 1e-15, "{i} of {batches}: {share} {naive}");
            }
        }
    }

    #[test]
    fn blundells_weight_is_one_in_the_mean_of_an_epoch_and_falls() {
        for batches in [1, 3, 100] {
            let weight = |batch| KlSchedule::Blundell.weight(StepAt { epoch: 4, epochs: 9, batch, batches });
            let mean = (0..batches).map(weight).sum::<f64>() / batches as f64;
            assert!((mean - 1.0).abs() < 1e-14, "{batches}: {mean}");
            assert!((1..batches).all(|batch| weight(batch) == 0.5 * weight(batch - 1)));
        }
    }

    #[test]
    fn a_cycle_rises_in_a_line_stays_at_one_and_starts_anew() {
        let cyclical = KlSchedule::Cyclical { cycles: 4, rise: 0.5 };
        let weight = |epoch, batch| cyclical.weight(StepAt { epoch, epochs: 10, batch, batches: 10 });
        // Cycles of 25 steps: a line over 12.5 of them.
        for step in 0..100 {
            let expected = (f64::from(step % 25) / 12.5).min(1.0);
            let weight = weight(step as usize / 10, step as usize % 10);
            assert!((weight - expected).abs() < 1e-15, "step {step}: {weight} {expected}");
        }
        // Exact at the ends of cycles, whatever the number of steps.
        for (cycles, epochs, batches) in [(3, 3, 7), (7, 21, 3), (3, 10, 3)] {
            let cyclical = KlSchedule::Cyclical { cycles, rise: 0.9 };
            let at = |step: usize| StepAt { epoch: step / batches, epochs, batch: step % batches, batches };
            let starts = (0..epochs * batches).filter(|&step| cyclical.weight(at(step)) == 0.0);
            assert_eq!(starts.count(), cycles, "{cycles} cycles of {epochs} epochs of {batches} batches");
        }
    }

    #[test]
    fn only_full_weights_are_compared() {
        let at = |batch| StepAt { epoch: 0, epochs: 1, batch, batches: 8 };
        let cyclical = KlSchedule::Cyclical { cycles: 2, rise: 0.5 };
        assert_eq!([0, 1, 2, 3, 4].map(|b| cyclical.is_full(at(b))), [false, false, true, true, false]);
        assert!(KlSchedule::Constant.is_full(at(0)) && KlSchedule::Blundell.is_full(at(7)));
    }

    #[test]
    fn parameters_out_of_range_are_named() {
        assert!(KlWarmup::new(f64::INFINITY).is_err() && KlWarmup::new(-1.0).is_err());
        let check = |cycles, rise| KlSchedule::Cyclical { cycles, rise }.check();
        assert_eq!(check(0, 0.5).unwrap_err().to_string(), "cyclical kl: cycles must be >= 1, got 0");
        assert_eq!(check(1, 1.0).unwrap_err().to_string(), "cyclical kl: rise must be in (0, 1), got 1");
        assert!(check(1, 0.0).is_err() && check(1, f64::NAN).is_err() && check(9, 0.3).is_ok());
        assert!(KlSchedule::Constant.check().is_ok() && KlSchedule::Blundell.check().is_ok());
    }
}
