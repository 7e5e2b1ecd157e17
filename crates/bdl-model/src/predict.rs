//! Predictions of a trained model: for many rows in parallel, or for one row in a service.

use std::sync::{Mutex, PoisonError};

use bdl_dist::{Noise, NoiseRng, Purpose};
use bdl_infer::{ClassMixture, MixtureScratch, Passes, Predictive, Predictor, RealMixture, Units};
use bdl_layers::Scope;
use bdl_tensor::{Mat, Pool, Serial};

use crate::Error;
use crate::model::Model;
use crate::row_buffer::RowBuffer;
use crate::select::Task;

/// Predicts with a [`Model`]: fixed passes, shared by threads.
#[derive(Debug)]
pub struct ModelPredictor<'a> {
    model: &'a Model,
    predictor: Predictor<'a>,
    passes: Passes,
    units: Units,
}

/// What is said of a row with a real target, in the target's units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RealPrediction {
    /// Mean of the predictive distribution.
    pub mean: f64,
    /// Its standard deviation.
    pub std: f64,
    /// The part that more data would not take away.
    pub aleatoric_std: f64,
    /// The part that more data would.
    pub epistemic_std: f64,
    /// Lower end of the central interval.
    pub lower: f64,
    /// Its upper end.
    pub upper: f64,
    /// Monte Carlo standard error of the mean, where there is more than one pass.
    pub mean_mcse: Option<f64>,
}

/// What is said of a row whose target is a class; entropies in nats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassPrediction {
    /// The most probable class, by its index in [`Schema::class_names`](crate::Schema::class_names).
    pub label: u32,
    /// Entropy of the mean probabilities.
    pub predictive_entropy: f64,
    /// Mean over the passes of their entropies.
    pub expected_entropy: f64,
    /// Their difference, the part that more data would take away.
    pub mutual_information: f64,
    /// Monte Carlo standard error of the mutual information, where there is more than one pass.
    pub mutual_information_mcse: Option<f64>,
}

/// What is said of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Prediction {
    /// A real target.
    Real(RealPrediction),
    /// A class.
    Class(ClassPrediction),
}

/// How predictions are told.
///
/// | name | default | range | meaning |
/// |---|---|---|---|
/// | `level` | 0.9 | (0, 1) | probability of the central interval |
/// | `tolerance` | none | > 0 | passes are doubled from 32 until each row's Monte Carlo error is at most this |
/// | `draws` | 0 | | draws from the predictive distribution of each row |
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

/// The predictions of a chunk of rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predictions {
    /// One for each row.
    pub rows: Vec<Prediction>,
    /// Class probabilities `[rows, classes]`; empty in regression.
    pub probs: Vec<f64>,
    /// Draws `[rows, draws]`, class indices in classification.
    pub draws: Vec<f64>,
    /// Rows whose Monte Carlo error is still above the tolerance at the largest number of passes.
    pub beyond_tolerance: usize,
}

/// Passes that a tolerance starts and ends with.
const TOLERANCE_PASSES: [usize; 2] = [32, 16_384];

/// Rows that one task summarizes.
const SHARD: usize = 64;

/// Memory of the one-row path, owned by the caller; one for each thread.
#[derive(Debug)]
pub struct RowScratch {
    /// The row to predict, filled by names.
    pub row: RowBuffer,
    encoded: Vec<f32>,
    outputs: Vec<f32>,
    mixture: MixtureScratch,
    probs: Vec<f64>,
}

impl RowScratch {
    /// Class probabilities of the last prediction; empty in regression.
    #[must_use]
    pub fn probs(&self) -> &[f64] {
        &self.probs
    }
}

impl<'a> ModelPredictor<'a> {
    pub(crate) fn new(model: &'a Model, passes: Passes) -> Result<Self, Error> {
        let predictor = Predictor::new(model.bnn(), model.members(), passes)?;
        Ok(Self { model, predictor, passes, units: model.units()? })
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &'a Model {
        self.model
    }

    /// Passes over all members.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.predictor.samples()
    }

    /// Scratch for [`predict_row`](Self::predict_row).
    #[must_use]
    pub fn scratch(&self) -> RowScratch {
        RowScratch {
            row: self.model.encoder().row(),
            encoded: vec![0.0; self.model.encoder().width()],
            outputs: vec![0.0; self.samples() * self.model.bnn().plan().out_dim()],
            mixture: MixtureScratch::new(),
            probs: vec![0.0; self.model.schema().class_names().len()],
        }
    }

    /// Predicts the row in `scratch.row`, with a central interval of probability `level`. From the second
    /// call on nothing is allocated by our code.
    ///
    /// # Errors
    /// If a feature was not set, or `level` is not in (0, 1).
    ///
    /// # Examples
    /// See `examples/service.rs`.
    pub fn predict_row(&self, scratch: &mut RowScratch, level: f64) -> Result<Prediction, Error> {
        let RowScratch { row, encoded, outputs, mixture, probs } = scratch;
        row.encode(encoded)?;
        let x = Mat::new(encoded, 1, encoded.len()).map_err(bdl_infer::Error::from)?;
        self.predictor.outputs_into(x, 0, &Serial, outputs)?;
        let predictive = self.predictor.predictive(outputs, 1)?.in_units(self.units);
        tell(self.model.task(), &predictive, 0, mixture, level, probs, None)
    }

    /// Predicts encoded rows `[rows, width]`, the first of which is number `first_row` of the whole input.
    ///
    /// # Errors
    /// For rows of another width, and a `level` or `tolerance` out of range.
    pub fn predict(
        &self,
        x: &[f32],
        first_row: u64,
        telling: &Telling,
        pool: &dyn Pool,
    ) -> Result<Predictions, Error> {
        let Some(tolerance) = telling.tolerance else {
            return self.predict_once(&self.predictor, x, first_row, telling, pool);
        };
        if !(tolerance.is_finite() && tolerance > 0.0) {
            let got = tolerance.to_string();
            return Err(Error::Argument { what: "--tolerance", expected: "finite and > 0", got });
        }
        let mut kept: Option<Predictions> = None;
        let mut samples = TOLERANCE_PASSES[0];
        loop {
            let passes = Passes { samples, ..self.passes };
            let predictor = Predictor::new(self.model.bnn(), self.model.members(), passes)?;
            let now = self.predict_once(&predictor, x, first_row, telling, pool)?;
            let open = merge(&mut kept, now, tolerance);
            if open == 0 || samples >= TOLERANCE_PASSES[1] {
                let mut done = kept.unwrap_or_default();
                done.beyond_tolerance = open;
                return Ok(done);
            }
            samples *= 2;
        }
    }

    fn predict_once(
        &self,
        predictor: &Predictor<'_>,
        x: &[f32],
        first_row: u64,
        telling: &Telling,
        pool: &dyn Pool,
    ) -> Result<Predictions, Error> {
        let width = self.model.encoder().width();
        let rows = x.len() / width;
        let x = Mat::new(x, rows, width).map_err(bdl_infer::Error::from)?;
        let outputs = predictor.outputs(x, first_row, pool)?;
        let predictive = predictor.predictive(&outputs, rows)?.in_units(self.units);
        let shards = rows.div_ceil(SHARD);
        let slots: Vec<Mutex<Result<Predictions, Error>>> =
            (0..shards).map(|_| Mutex::new(Ok(Predictions::default()))).collect();
        pool.run(shards, &|shard| {
            let range = shard * SHARD..((shard + 1) * SHARD).min(rows);
            let told = self.tell_rows(&predictive, range, first_row, telling);
            *slots[shard].lock().unwrap_or_else(PoisonError::into_inner) = told;
        });
        let mut all = Predictions::default();
        for slot in slots {
            let part = slot.into_inner().unwrap_or_else(PoisonError::into_inner)?;
            all.rows.extend(part.rows);
            all.probs.extend(part.probs);
            all.draws.extend(part.draws);
        }
        Ok(all)
    }

    fn tell_rows(
        &self,
        predictive: &Predictive<'_>,
        range: std::ops::Range<usize>,
        first_row: u64,
        telling: &Telling,
    ) -> Result<Predictions, Error> {
        let mut out = Predictions::default();
        let mut mixture = MixtureScratch::new();
        let mut probs = vec![0.0; self.model.schema().class_names().len()];
        let mut draws = vec![0.0; telling.draws];
        let noise = Noise::new(self.passes.seed, Purpose::Draw);
        for row in range {
            // Under `Scope::Pass` draws, like passes, do not depend on where a row stands.
            let stream = if self.passes.scope == Scope::Row { first_row + row as u64 } else { 0 };
            let draw = (telling.draws > 0).then(|| (noise.rng(stream), &mut draws[..]));
            let task = self.model.task();
            out.rows.push(tell(task, predictive, row, &mut mixture, telling.level, &mut probs, draw)?);
            out.probs.extend_from_slice(&probs);
            out.draws.extend_from_slice(&draws);
        }
        Ok(out)
    }
}

/// Replaces the rows that were not yet within the tolerance; returns how many still are not.
fn merge(kept: &mut Option<Predictions>, now: Predictions, tolerance: f64) -> usize {
    let open = |p: &Prediction| {
        let mcse = match p {
            Prediction::Real(p) => p.mean_mcse,
            Prediction::Class(p) => p.mutual_information_mcse,
        };
        mcse.is_some_and(|mcse| mcse > tolerance)
    };
    match kept {
        None => *kept = Some(now),
        Some(kept) => {
            let n = kept.rows.len().max(1);
            let (classes, draws) = (kept.probs.len() / n, kept.draws.len() / n);
            for (i, new) in now.rows.into_iter().enumerate() {
                if open(&kept.rows[i]) {
                    kept.rows[i] = new;
                    copy_row(&mut kept.probs, &now.probs, i, classes);
                    copy_row(&mut kept.draws, &now.draws, i, draws);
                }
            }
        }
    }
    kept.as_ref().map_or(0, |k| k.rows.iter().filter(|p| open(p)).count())
}

fn copy_row(to: &mut [f64], from: &[f64], row: usize, width: usize) {
    to[row * width..(row + 1) * width].copy_from_slice(&from[row * width..(row + 1) * width]);
}

type Draws<'a> = Option<(NoiseRng, &'a mut [f64])>;

fn tell(
    task: Task,
    predictive: &Predictive<'_>,
    row: usize,
    scratch: &mut MixtureScratch,
    level: f64,
    probs: &mut [f64],
    draws: Draws<'_>,
) -> Result<Prediction, Error> {
    Ok(match task {
        Task::Regression => Prediction::Real(tell_real(&predictive.real(row, scratch)?, level, draws)?),
        Task::Classification => Prediction::Class(tell_class(&predictive.class(row, scratch)?, probs, draws)),
    })
}

fn tell_real(y: &RealMixture<'_>, level: f64, draws: Draws<'_>) -> Result<RealPrediction, Error> {
    let [lower, upper] = y.interval(level)?;
    if let Some((mut rng, draws)) = draws {
        y.draws(&mut rng, draws);
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

fn tell_class(y: &ClassMixture<'_>, probs: &mut [f64], draws: Draws<'_>) -> ClassPrediction {
    probs.copy_from_slice(y.probs());
    if let Some((mut rng, draws)) = draws {
        let mut classes = vec![0; draws.len()];
        y.draws(&mut rng, &mut classes);
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
