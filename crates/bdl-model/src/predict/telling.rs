//! How predictions are told, and the telling of a row.

use bdl_dist::NoiseRng;
use bdl_infer::{ClassMixture, MixtureScratch, Predictive, RealMixture, Units};

use super::{ClassPrediction, Prediction, RealPrediction};
use crate::Error;
use crate::select::Task;

/// How predictions are told.
///
/// | name | default | range | meaning |
/// |---|---|---|---|
/// | `level` | 0.9 | (0, 1) | probability of the central interval |
/// | `tolerance` | none | finite, > 0 | a row's passes are doubled from 32 to 16384 until its Monte Carlo error is at most this |
/// | `draws` | 0 | at most 16777216 | draws from the predictive distribution of each row |
///
/// The Monte Carlo error is that of the mean, in the target's units, of several targets the greatest, or of the mutual information, in nats. More
/// passes do not lower that of an ensemble, which therefore takes no tolerance.
///
/// Draw i of a row comes from pass i (modulo S). Under [`Scope::Pass`](crate::Scope::Pass) the i-th draws of all rows so belong to
/// one function, and their noise is a function of the encoded row: equal rows have equal draws.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Telling {
    /// Probability of the central interval.
    pub level: f64,
    /// Wanted Monte Carlo standard error, of the mean or the mutual information.
    pub tolerance: Option<f64>,
    /// Draws from the predictive distribution of each row.
    pub draws: usize,
}

impl Default for Telling {
    fn default() -> Self {
        Self { level: 0.9, tolerance: None, draws: 0 }
    }
}

impl Telling {
    /// Checks the fields against the table above.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the field.
    pub fn check(&self) -> Result<(), Error> {
        // Half of what is left outside must be a number, too.
        let fits = self.level > 0.0 && 0.5 + 0.5 * self.level < 1.0;
        check("--interval", "greater than 0 and less than 1", self.level, fits)?;
        check("--draws", "at most 16777216", self.draws as f64, self.draws <= MAX_DRAWS)?;
        self.tolerance.map_or(Ok(()), |t| check("--tolerance", "finite and > 0", t, t.is_finite() && t > 0.0))
    }
}

fn check(what: &'static str, expected: &'static str, got: f64, fits: bool) -> Result<(), Error> {
    if fits { Ok(()) } else { Err(Error::Argument { what, expected, got: got.to_string() }) }
}

/// Draws of a row; they are in memory at once.
const MAX_DRAWS: usize = 1 << 24;

/// Where that is told which is not the same for all kinds of target.
pub(super) struct Beside<'a> {
    pub(super) probs: &'a mut [f64],
    pub(super) reals: &'a mut [RealPrediction],
    /// `[targets, draws]`.
    pub(super) draws: &'a mut [f64],
}

/// Tells rows that were predicted together.
pub(super) struct Teller<'a> {
    pub(super) task: Task,
    pub(super) predictive: Predictive<'a>,
    /// Of each target.
    pub(super) units: &'a [Units],
    pub(super) level: f64,
}

impl Teller<'_> {
    /// One row; with draws if there is noise for them.
    pub(super) fn tell(
        &self,
        row: usize,
        scratch: &mut MixtureScratch,
        told: Beside<'_>,
        rng: Option<&mut NoiseRng>,
    ) -> Result<Prediction, Error> {
        let Self { predictive, units, level, .. } = self;
        match (self.task, *units) {
            (Task::Classification, _) => {
                let y = predictive.class(row, scratch)?;
                Ok(Prediction::Class(tell_class(&y, told.probs, told.draws, rng)))
            }
            (Task::Regression, [units]) => {
                let own = predictive.in_units(*units);
                Ok(Prediction::Real(tell_real(&own.real(row, scratch)?, *level, told.draws, rng)?))
            }
            (Task::Regression, _) => self.tell_each(row, scratch, told, rng),
        }
    }

    /// Each of several targets.
    fn tell_each(
        &self,
        row: usize,
        scratch: &mut MixtureScratch,
        told: Beside<'_>,
        mut rng: Option<&mut NoiseRng>,
    ) -> Result<Prediction, Error> {
        let (n, mut mcse) = (told.draws.len() / self.units.len(), None);
        for (k, (units, real)) in self.units.iter().zip(&mut *told.reals).enumerate() {
            let own = self.predictive.target(k)?.in_units(*units);
            let draws = &mut told.draws[k * n..][..n];
            *real = tell_real(&own.real(row, scratch)?, self.level, draws, rng.as_deref_mut())?;
            mcse = match (mcse, real.mean_mcse) {
                (Some(most), Some(own)) => Some(f64::max(most, own)),
                (most, own) => most.or(own),
            };
        }
        Ok(Prediction::Several { mcse })
    }
}

fn tell_real(
    y: &RealMixture<'_>,
    level: f64,
    draws: &mut [f64],
    rng: Option<&mut NoiseRng>,
) -> Result<RealPrediction, Error> {
    let [lower, upper] = y.interval(level)?;
    if let Some(rng) = rng {
        y.draws(rng, draws);
    }
    Ok(RealPrediction {
        mean: y.mean(),
        std: y.predictive_variance().sqrt(),
        aleatoric_std: y.aleatoric_variance().sqrt(),
        epistemic_std: y.epistemic_variance().sqrt(),
        lower,
        upper,
        mean_mcse: y.mean_mcse(),
    })
}

fn tell_class(
    y: &ClassMixture<'_>,
    probs: &mut [f64],
    draws: &mut [f64],
    rng: Option<&mut NoiseRng>,
) -> ClassPrediction {
    probs.copy_from_slice(y.probs());
    if let Some(rng) = rng {
        let mut classes = vec![0; draws.len()];
        y.draws(rng, &mut classes);
        draws.iter_mut().zip(classes).for_each(|(draw, class)| *draw = f64::from(class));
    }
    ClassPrediction {
        label: y.label(),
        predictive_entropy: y.predictive_entropy(),
        expected_entropy: y.expected_entropy(),
        mutual_information: y.mutual_information(),
        mutual_information_mcse: y.mutual_information_mcse(),
    }
}
