//! Predictions of a trained model: for many rows in parallel, or for one row in a service.

mod prediction;
mod telling;

use std::ops::Range;

use bdl_dist::{Noise, Purpose};
use bdl_infer::{MixtureScratch, Passes, Predictive, Predictor, Units};
use bdl_layers::Scope;
use bdl_tensor::{Mat, Pool, Serial};

use crate::Error;
use crate::model::Model;
use crate::row_buffer::RowBuffer;
use crate::shards::{blocks, in_shards};

pub(crate) use prediction::not_finite;
pub use prediction::{ClassPrediction, Prediction, Predictions, RealPrediction};
pub use telling::Telling;
use telling::{Beside, Teller};

/// Predicts with a [`Model`]: fixed passes, shared by threads.
#[derive(Debug)]
pub struct ModelPredictor<'a> {
    model: &'a Model,
    predictor: Predictor<'a>,
    passes: Passes,
    /// Of each target.
    units: Vec<Units>,
}

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
