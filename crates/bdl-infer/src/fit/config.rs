//! The settings of a training.

use bdl_layers::Estimator;

use crate::error::check_arg;
use crate::{Error, KlSchedule, KlWarmup, Optimizer, Schedule, StepAt};

/// How to train.
///
/// | name | default | range | meaning |
/// |---|---|---|---|
/// | `epochs` | 200 | ≥ 1 | passes over the training rows |
/// | `batch` | 32 | ≥ 1 | rows of a step; clamped to the rows there are |
/// | `optimizer` | Adam | | see [`Optimizer`] |
/// | `lr` | 1e-3 | finite, > 0 | base learning rate, on the loss per training row |
/// | `schedule` | constant | | multiplies `lr` along training |
/// | `kl_weight` | 1 | finite, ≥ 0 | factor of the KL; below 1 a tempered posterior |
/// | `kl_warmup` | none | | raises the KL weight from 0 over the first epochs |
/// | `kl_schedule` | constant | | lets the KL weight go up and down; multiplied with the warm-up |
/// | `estimator` | local | | how variational layers draw |
/// | `patience` | none | ≥ 1 | epochs without a better validation NLL before stopping, of which only those count that end at the full KL weight; needs validation rows |
/// | `valid_samples` | 16 | ≥ 1 | Monte Carlo passes behind each validation NLL |
/// | `seed`, `lane` | 0, 0 | | where the noise comes from; the lane is the ensemble member |
#[derive(Clone, Debug, PartialEq)]
pub struct FitConfig {
    /// Passes over the training rows.
    pub epochs: usize,
    /// Rows of a step.
    pub batch: usize,
    /// The update rule.
    pub optimizer: Optimizer,
    /// Base learning rate.
    pub lr: f64,
    /// Multiplier of the learning rate along training.
    pub schedule: Schedule,
    /// Factor of the KL.
    pub kl_weight: f64,
    /// Rise of the KL weight over the first epochs.
    pub kl_warmup: KlWarmup,
    /// How the KL weight goes up and down.
    pub kl_schedule: KlSchedule,
    /// How variational layers draw.
    pub estimator: Estimator,
    /// Epochs without a better validation NLL before stopping, of those that end at the full KL weight.
    pub patience: Option<usize>,
    /// Monte Carlo passes behind each validation NLL.
    pub valid_samples: usize,
    /// Seed of all noise.
    pub seed: u64,
    /// Lane of all noise: the ensemble member.
    pub lane: u64,
}

impl Default for FitConfig {
    fn default() -> Self {
        Self {
            epochs: 200,
            batch: 32,
            optimizer: Optimizer::default(),
            lr: 1e-3,
            schedule: Schedule::default(),
            kl_weight: 1.0,
            kl_warmup: KlWarmup::default(),
            kl_schedule: KlSchedule::default(),
            estimator: Estimator::default(),
            patience: None,
            valid_samples: 16,
            seed: 0,
            lane: 0,
        }
    }
}

impl FitConfig {
    /// Checks the fields against the table above.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the field.
    pub fn check(&self) -> Result<(), Error> {
        let at_least_one = |what, n: usize| check_arg(what, ">= 1", n as f64, n >= 1);
        at_least_one("fit: epochs", self.epochs)?;
        at_least_one("fit: batch", self.batch)?;
        at_least_one("fit: valid_samples", self.valid_samples)?;
        at_least_one("fit: patience", self.patience.unwrap_or(1))?;
        check_arg("fit: lr", "finite and > 0", self.lr, self.lr.is_finite() && self.lr > 0.0)?;
        check_arg(
            "fit: kl_weight",
            "finite and >= 0",
            self.kl_weight,
            self.kl_weight.is_finite() && self.kl_weight >= 0.0,
        )?;
        self.schedule.check()?;
        self.kl_schedule.check()?;
        self.optimizer.check()
    }

    pub(super) fn kl_weight_at(&self, at: StepAt) -> f64 {
        self.kl_weight * self.kl_warmup.weight(at.done()) * self.kl_schedule.weight(at)
    }

    /// Whether a step has the prior that was asked for; before, a better epoch may be one with less of it.
    pub(super) fn is_at_full_weight(&self, at: StepAt) -> bool {
        self.kl_weight * self.kl_warmup.weight(at.done()) >= self.kl_weight && self.kl_schedule.is_full(at)
    }
}
