//! Predictions of a trained model: for many rows in parallel, or for one row in a service.

use std::ops::Range;

use bdl_dist::{Noise, NoiseRng, Purpose};
use bdl_infer::{ClassMixture, MixtureScratch, Passes, Predictive, Predictor, RealMixture, Units};
use bdl_layers::Scope;
use bdl_tensor::{Mat, Pool, Serial};

use crate::Error;
use crate::model::Model;
use crate::row_buffer::RowBuffer;
use crate::select::Task;
use crate::shards::{blocks, in_shards};

/// Predicts with a [`Model`]: fixed passes, shared by threads.
#[derive(Debug)]
pub struct ModelPredictor<'a> {
    model: &'a Model,
    predictor: Predictor<'a>,
    passes: Passes,
    /// Of each target.
    units: Vec<Units>,
}

/// What is said of a row with a real target, in the target's units.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
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
    /// Several real targets, which are told beside: [`Predictions::reals`], [`RowScratch::reals`].
    Several {
        /// The greatest Monte Carlo standard error of their means.
        mcse: Option<f64>,
    },
}

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
/// Draw i of a row comes from pass i (modulo S). Under [`Scope::Pass`] the i-th draws of all rows so belong to
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

/// The predictions of a chunk of rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predictions {
    /// One for each row.
    pub rows: Vec<Prediction>,
    /// Class probabilities `[rows, classes]`; empty in regression.
    pub probs: Vec<f64>,
    /// Of several targets `[rows, targets]`; else empty.
    pub reals: Vec<RealPrediction>,
    /// Draws `[rows, targets, draws]`, class indices in classification.
    pub draws: Vec<f64>,
    /// Rows whose Monte Carlo error is still above the tolerance at the largest number of passes.
    pub beyond_tolerance: usize,
}

/// Draws of a row; they are in memory at once.
const MAX_DRAWS: usize = 1 << 24;

/// Passes that a tolerance starts and ends with.
const TOLERANCE_PASSES: [usize; 2] = [32, 16_384];

/// Memory of the one-row path, owned by the caller; one for each thread.
#[derive(Debug)]
pub struct RowScratch {
    /// The row to predict, filled by names.
    pub row: RowBuffer,
    encoded: Vec<f32>,
    outputs: Vec<f32>,
    mixture: MixtureScratch,
    probs: Vec<f64>,
    reals: Vec<RealPrediction>,
}

impl RowScratch {
    /// What the last prediction says of each of several targets; empty of one.
    #[must_use]
    pub fn reals(&self) -> &[RealPrediction] {
        &self.reals
    }

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
            reals: self.model.no_reals(),
        }
    }

    /// Predicts the row in `scratch.row`, as row 0 of its input, with a central interval of probability
    /// `level`. From the second call on nothing is allocated.
    ///
    /// # Errors
    /// If a feature was not set, `level` is not in (0, 1), or `scratch` is another predictor's.
    ///
    /// # Examples
    /// See `examples/service.rs`.
    pub fn predict_row(&self, scratch: &mut RowScratch, level: f64) -> Result<Prediction, Error> {
        Telling { level, ..Telling::default() }.check()?;
        let RowScratch { row, encoded, outputs, mixture, probs, reals } = scratch;
        row.encode(encoded)?;
        let x = Mat::new(encoded, 1, encoded.len()).map_err(bdl_infer::Error::from)?;
        self.predictor.outputs_into(x, 0, &Serial, outputs)?;
        let predictive = self.predictor.predictive(outputs, 1)?;
        let told = Beside { probs, reals, draws: &mut [] };
        Teller { task: self.model.task(), predictive, units: &self.units, level }.tell(0, mixture, told, None)
    }

    /// Predicts encoded rows `[rows, width]`, the first of which is number `first_row` of the whole input.
    ///
    /// Of the rows that are predicted together no row's answer depends on another, nor on the pool. Under
    /// [`Scope::Pass`] it does not depend on its number either; under [`Scope::Row`] its noise is addressed by
    /// it.
    ///
    /// # Errors
    /// For rows of another width; a `level` or `tolerance` out of range; a tolerance asked of an ensemble.
    pub fn predict(
        &self,
        x: &[f32],
        first_row: u64,
        telling: &Telling,
        pool: &dyn Pool,
    ) -> Result<Predictions, Error> {
        telling.check()?;
        let width = self.model.encoder().width();
        Mat::new(x, x.len() / width, width).map_err(bdl_infer::Error::from)?;
        let run = Run { of: self, telling, pool };
        match telling.tolerance {
            None => run.once(&self.predictor, x, first_row),
            Some(tolerance) => run.within(tolerance, x, first_row),
        }
    }
}

/// One call of [`ModelPredictor::predict`].
struct Run<'a> {
    of: &'a ModelPredictor<'a>,
    telling: &'a Telling,
    pool: &'a dyn Pool,
}

impl Run<'_> {
    fn once(&self, predictor: &Predictor<'_>, x: &[f32], first_row: u64) -> Result<Predictions, Error> {
        let width = self.of.model.encoder().width();
        let outputs = predictor.samples().saturating_mul(self.of.model.bnn().plan().out_dim());
        let floats = outputs.saturating_add(2 * self.telling.draws * self.of.units.len());
        let mut all = Predictions::default();
        for block in blocks(x.len() / width, floats) {
            let x = &x[block.start * width..block.end * width];
            let x = Mat::new(x, block.len(), width).map_err(bdl_infer::Error::from)?;
            self.block(predictor, x, first_row + block.start as u64, &mut all)?;
        }
        Ok(all)
    }

    fn block(
        &self,
        predictor: &Predictor<'_>,
        x: Mat<'_>,
        first_row: u64,
        all: &mut Predictions,
    ) -> Result<(), Error> {
        let outputs = predictor.outputs(x, first_row, self.pool)?;
        let predictive = predictor.predictive(&outputs, x.rows())?;
        let tell = |range| self.tell_rows(predictive, x, range, first_row);
        for part in in_shards(x.rows(), self.pool, &tell)? {
            all.rows.extend(part.rows);
            all.probs.extend(part.probs);
            all.reals.extend(part.reals);
            all.draws.extend(part.draws);
        }
        Ok(())
    }

    fn tell_rows(
        &self,
        predictive: Predictive<'_>,
        x: Mat<'_>,
        range: Range<usize>,
        first_row: u64,
    ) -> Result<Predictions, Error> {
        let (model, passes) = (self.of.model, self.of.passes);
        let (units, level) = (&self.of.units[..], self.telling.level);
        let teller = Teller { task: model.task(), predictive, units, level };
        let mut out = Predictions::default();
        let mut mixture = MixtureScratch::new();
        let mut probs = vec![0.0; model.schema().class_names().len()];
        let mut reals = model.no_reals();
        let mut draws = vec![0.0; self.telling.draws * units.len()];
        let noise = Noise::new(passes.seed, Purpose::Draw);
        for row in range {
            let stream = match passes.scope {
                Scope::Row => first_row + row as u64,
                Scope::Pass => fingerprint(x.row(row)),
            };
            let mut rng = (!draws.is_empty()).then(|| noise.rng(stream));
            let told = Beside { probs: &mut probs, reals: &mut reals, draws: &mut draws };
            out.rows.push(teller.tell(row, &mut mixture, told, rng.as_mut())?);
            out.probs.extend_from_slice(&probs);
            out.reals.extend_from_slice(&reals);
            out.draws.extend_from_slice(&draws);
        }
        Ok(out)
    }

    /// Doubles the passes of those rows that are not yet within the tolerance.
    fn within(&self, tolerance: f64, x: &[f32], first_row: u64) -> Result<Predictions, Error> {
        let (model, [mut samples, most]) = (self.of.model, TOLERANCE_PASSES);
        if model.members().len() > 1 {
            let expected = "used with a single network (more passes do not lower the error of an ensemble)";
            let got = format!("an ensemble of {}", model.members().len());
            return Err(Error::Argument { what: "--tolerance", expected, got });
        }
        let width = model.encoder().width();
        let mut done: Option<Predictions> = None;
        let mut open: Vec<usize> = (0..x.len() / width).collect();
        loop {
            let predictor = self.of.predictor.with_samples(samples)?;
            for rows in together(&open, self.of.passes.scope) {
                let part: Vec<f32> = rows.iter().flat_map(|&i| &x[i * width..][..width]).copied().collect();
                let now = self.once(&predictor, &part, first_row + rows[0] as u64)?;
                match &mut done {
                    None => done = Some(now),
                    Some(done) => done.replace(rows, &now),
                }
            }
            let mut told = done.take().unwrap_or_default();
            open.retain(|&i| told.rows[i].mcse().is_some_and(|mcse| mcse > tolerance));
            if open.is_empty() || samples >= most {
                told.beyond_tolerance = open.len();
                return Ok(told);
            }
            done = Some(told);
            samples *= 2;
        }
    }
}

/// Rows that may be predicted in one go: under [`Scope::Pass`] all, under [`Scope::Row`] neighbours, since each
/// keeps its number.
fn together(rows: &[usize], scope: Scope) -> impl Iterator<Item = &[usize]> {
    rows.chunk_by(move |a, b| scope == Scope::Pass || a + 1 == *b)
}

/// A number made of a row's bits alone (FNV-1a over words), so that under [`Scope::Pass`] the noise of its
/// draws does not depend on where it stands, and that of different rows is independent.
fn fingerprint(row: &[f32]) -> u64 {
    row.iter().fold(0xcbf2_9ce4_8422_2325, |hash, x| {
        (hash ^ u64::from(x.to_bits())).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29)
    })
}

impl Prediction {
    /// Monte Carlo standard error: of the mean, or of the mutual information.
    #[must_use]
    pub fn mcse(&self) -> Option<f64> {
        match self {
            Self::Real(p) => p.mean_mcse,
            Self::Class(p) => p.mutual_information_mcse,
            Self::Several { mcse } => *mcse,
        }
    }
}

impl Predictions {
    /// Puts `new` in the place of the rows `at`.
    fn replace(&mut self, at: &[usize], new: &Self) {
        for (from, &to) in at.iter().enumerate() {
            self.rows[to] = new.rows[from];
            copy_row(&mut self.probs, to, &new.probs, from, new.rows.len());
            copy_row(&mut self.reals, to, &new.reals, from, new.rows.len());
            copy_row(&mut self.draws, to, &new.draws, from, new.rows.len());
        }
    }
}

/// Copies row `from` of `rows` rows over row `to`.
fn copy_row<T: Copy>(all: &mut [T], to: usize, new: &[T], from: usize, rows: usize) {
    let width = new.len() / rows;
    all[to * width..][..width].copy_from_slice(&new[from * width..][..width]);
}

/// Where that is told which is not the same for all kinds of target.
struct Beside<'a> {
    probs: &'a mut [f64],
    reals: &'a mut [RealPrediction],
    /// `[targets, draws]`.
    draws: &'a mut [f64],
}

/// Tells rows that were predicted together.
struct Teller<'a> {
    task: Task,
    predictive: Predictive<'a>,
    /// Of each target.
    units: &'a [Units],
    level: f64,
}

impl Teller<'_> {
    /// One row; with draws if there is noise for them.
    fn tell(
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
