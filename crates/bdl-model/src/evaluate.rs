//! Scores of a model's predictions where the targets are known.

use bdl_infer::{MixtureScratch, Passes, Predictive, Predictor};
use bdl_metrics::{Bootstrap, Bounds, Metric, RegressionInput, classification_metrics, regression_metrics};
use bdl_tensor::{Mat, Pool};

use crate::Error;
use crate::chunk::Chunk;
use crate::model::Model;
use crate::reader::RowReader;
use crate::select::Task;
use crate::target::Targets;

/// Scores of a model on rows with known targets.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The task.
    pub task: Task,
    /// Rows scored.
    pub rows: usize,
    /// Passes over all members.
    pub samples: usize,
    /// Seed of the passes.
    pub seed: u64,
    /// The scores with 95 % bootstrap intervals, in the target's units and in nats.
    pub metrics: Vec<Metric>,
}

/// Rows read and predicted at a time.
const CHUNK: usize = 1024;

impl Model {
    /// Scores the rows of a file that has the target.
    ///
    /// Memory is bounded by a chunk of rows times the passes, and a few numbers for each row.
    ///
    /// # Errors
    /// For a file without the target or a feature, and for cells that do not do, each named.
    pub fn evaluate(
        &self,
        reader: &mut RowReader,
        passes: Passes,
        pool: &dyn Pool,
    ) -> Result<Evaluation, Error> {
        let map = self.schema().match_header(reader.file(), reader.columns())?;
        let mut scores = Scores::new(self, passes)?;
        let (mut chunk, mut x) = (Chunk::new(), Vec::new());
        while reader.next_chunk(CHUNK, &mut chunk)? {
            self.encoder().encode_chunk(&chunk, &map, &mut x)?;
            let y = self.encoder().chunk_targets(reader.file(), &chunk, &map)?;
            scores.add(&x, y.view(), pool)?;
        }
        scores.finish()
    }

    /// Scores encoded rows with 100 passes and the seed of the training.
    pub(crate) fn evaluate_rows(&self, x: &[f32], y: &Targets, pool: &dyn Pool) -> Result<Evaluation, Error> {
        let passes =
            Passes { seed: self.record().seed, estimator: self.record().estimator, ..Passes::default() };
        let mut scores = Scores::new(self, passes)?;
        let width = self.encoder().width();
        for from in (0..y.len()).step_by(CHUNK) {
            let to = (from + CHUNK).min(y.len());
            scores.add(&x[from * width..to * width], y.view().slice(from..to), pool)?;
        }
        scores.finish()
    }
}

/// What the metrics are made from, row after row.
struct Scores<'a> {
    model: &'a Model,
    predictor: Predictor<'a>,
    seed: u64,
    rows: u64,
    real: RealScores,
    labels: Vec<u32>,
    probs: Vec<f64>,
}

#[derive(Default)]
struct RealScores {
    y: Vec<f64>,
    mean: Vec<f64>,
    nll: Vec<f64>,
    crps: Vec<f64>,
    pit: Vec<f64>,
    /// Lower and upper ends at 50, 90 and 95 %.
    ends: [[Vec<f64>; 2]; 3],
}

impl<'a> Scores<'a> {
    fn new(model: &'a Model, passes: Passes) -> Result<Self, Error> {
        let predictor = Predictor::new(model.bnn(), model.members(), passes)?;
        let (real, labels, probs) = (RealScores::default(), Vec::new(), Vec::new());
        Ok(Self { model, predictor, seed: passes.seed, rows: 0, real, labels, probs })
    }

    fn add(&mut self, x: &[f32], y: bdl_infer::Targets<'_>, pool: &dyn Pool) -> Result<(), Error> {
        let x = Mat::new(x, y.len(), self.model.encoder().width()).map_err(bdl_infer::Error::from)?;
        let outputs = self.predictor.outputs(x, self.rows, pool)?;
        let predictive = self.predictor.predictive(&outputs, y.len())?.in_units(self.model.units()?);
        match y {
            bdl_infer::Targets::Real(y) => self.real.add(&predictive, y)?,
            bdl_infer::Targets::Class(labels) => {
                let mut scratch = MixtureScratch::new();
                for row in 0..labels.len() {
                    self.probs.extend_from_slice(predictive.class(row, &mut scratch)?.probs());
                }
                self.labels.extend_from_slice(labels);
            }
            _ => unreachable!("an encoder makes numbers or classes"),
        }
        self.rows += y.len() as u64;
        Ok(())
    }

    fn finish(self) -> Result<Evaluation, Error> {
        let bootstrap = Bootstrap { seed: self.seed, ..Bootstrap::default() };
        let task = self.model.task();
        let metrics = match task {
            Task::Regression => regression_metrics(&self.real.input(), &bootstrap)?,
            Task::Classification => classification_metrics(&self.labels, &self.probs, &bootstrap)?,
        };
        let samples = self.predictor.samples();
        Ok(Evaluation { task, rows: self.rows as usize, samples, seed: self.seed, metrics })
    }
}

impl RealScores {
    fn add(&mut self, predictive: &Predictive<'_>, y: &[f32]) -> Result<(), Error> {
        let mut scratch = MixtureScratch::new();
        for (row, &y) in y.iter().enumerate() {
            let y = predictive.units().apply(f64::from(y));
            let p = predictive.real(row, &mut scratch)?;
            self.y.push(y);
            self.mean.push(p.mean());
            self.nll.push(-p.ln_density(y));
            self.crps.push(p.crps(y));
            self.pit.push(p.cdf(y));
            for (ends, level) in self.ends.iter_mut().zip([0.5, 0.9, 0.95]) {
                let [lower, upper] = p.interval(level)?;
                ends[0].push(lower);
                ends[1].push(upper);
            }
        }
        Ok(())
    }

    fn input(&self) -> RegressionInput<'_> {
        let bounds = |i: usize| Bounds { lower: &self.ends[i][0], upper: &self.ends[i][1] };
        RegressionInput {
            y: &self.y,
            mean: &self.mean,
            nll: &self.nll,
            crps: &self.crps,
            pit: &self.pit,
            interval_50: bounds(0),
            interval_90: bounds(1),
            interval_95: bounds(2),
        }
    }
}
