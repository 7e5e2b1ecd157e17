//! Scores of a model's predictions where the targets are known.

use std::ops::Range;

use bdl_dist::{Noise, Purpose};
use bdl_infer::{MixtureScratch, Passes, Predictive, Predictor, Units};
use bdl_metrics::{Bootstrap, Bounds, Metric, RegressionInput, classification_metrics, regression_metrics};
use bdl_tensor::{Mat, Pool};

use crate::Error;
use crate::chunk::Chunk;
use crate::model::Model;
use crate::reader::RowReader;
use crate::select::Task;
use crate::shards::{blocks, in_shards};

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

impl Evaluation {
    /// The score of a name, such as `nll`.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<&Metric> {
        self.metrics.iter().find(|metric| metric.name == name)
    }
}

/// Rows read and predicted at a time.
const CHUNK: usize = 1024;

/// Levels of the intervals that are scored.
const LEVELS: [f64; 3] = [0.5, 0.9, 0.95];

/// Targets in their own units: as they stand in the file, not by way of the standardized `f32`.
#[derive(Clone, Debug)]
pub(crate) enum Truth {
    Real(Vec<f64>),
    Class(Vec<u32>),
}

impl Truth {
    fn len(&self) -> usize {
        match self {
            Self::Real(y) => y.len(),
            Self::Class(y) => y.len(),
        }
    }
}

impl Model {
    /// Scores the rows of a file that has the target.
    ///
    /// Memory is bounded by a chunk of rows times the passes, and a few numbers for each row. In regression the
    /// score `crps` costs O(S²) a row, or some hundred times S where the likelihood is not Gaussian. What the transform of a
    /// count needs of chance is addressed by the seed and the row's number.
    ///
    /// # Errors
    /// For a file without a row, the target or a feature, and for cells that do not do, each named.
    pub fn evaluate(
        &self,
        reader: &mut RowReader,
        passes: Passes,
        pool: &dyn Pool,
    ) -> Result<Evaluation, Error> {
        let map = self.schema().match_header(reader.file(), reader.columns())?;
        let target = self.encoder().target_column(&map, &reader.file().into())?;
        let mut scores = Scores::new(self, passes)?;
        let (mut chunk, mut x) = (Chunk::new(), Vec::new());
        while reader.next_chunk(CHUNK, &mut chunk)? {
            self.encoder().encode_chunk(&chunk, &map, &mut x)?;
            let truth = self.encoder().truth(chunk.rows(), target)?;
            scores.add(&x, &truth, pool)?;
        }
        match scores.rows {
            0 => Err(Error::HeaderOnly { file: reader.file().into() }),
            _ => scores.finish(),
        }
    }

    /// Scores encoded rows with 100 passes and the seed of the training.
    pub(crate) fn evaluate_rows(&self, x: &[f32], y: &Truth, pool: &dyn Pool) -> Result<Evaluation, Error> {
        let mut scores = Scores::new(self, Passes { seed: self.record().seed, ..self.passes() })?;
        scores.add(x, y, pool)?;
        scores.finish()
    }
}

/// What the metrics are made from, row after row.
pub(crate) struct Scores<'a> {
    model: &'a Model,
    predictor: Predictor<'a>,
    units: Units,
    seed: u64,
    rows: usize,
    real: Vec<RealRow>,
    labels: Vec<u32>,
    probs: Vec<f64>,
}

impl<'a> Scores<'a> {
    pub(crate) fn new(model: &'a Model, passes: Passes) -> Result<Self, Error> {
        let predictor = Predictor::new(model.bnn(), model.members(), passes)?;
        let (units, seed) = (model.units()?, passes.seed);
        let (real, labels, probs) = Default::default();
        Ok(Self { model, predictor, units, seed, rows: 0, real, labels, probs })
    }

    pub(crate) fn add(&mut self, x: &[f32], y: &Truth, pool: &dyn Pool) -> Result<(), Error> {
        let width = self.model.encoder().width();
        let floats = self.predictor.samples().saturating_mul(self.model.bnn().plan().out_dim());
        for block in blocks(y.len(), floats) {
            let x = &x[block.start * width..block.end * width];
            let x = Mat::new(x, block.len(), width).map_err(bdl_infer::Error::from)?;
            let outputs = self.predictor.outputs(x, self.rows as u64, pool)?;
            let predictive = self.predictor.predictive(&outputs, block.len())?.in_units(self.units);
            match y {
                Truth::Real(y) => {
                    let y = &y[block.clone()];
                    let noise = Noise::new(self.seed, Purpose::Pit);
                    let u = |row: usize| noise.rng((self.rows + row) as u64).uniform();
                    let scored = in_shards(y.len(), pool, &|rows| real_rows(&predictive, y, rows, &u))?;
                    self.real.extend(scored.into_iter().flatten());
                }
                Truth::Class(labels) => {
                    let told = in_shards(block.len(), pool, &|rows| class_rows(&predictive, rows))?;
                    self.probs.extend(told.into_iter().flatten());
                    self.labels.extend_from_slice(&labels[block.clone()]);
                }
            }
            self.rows += block.len();
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<Evaluation, Error> {
        let bootstrap = Bootstrap { seed: self.seed, ..Bootstrap::default() };
        let task = self.model.task();
        let metrics = match task {
            Task::Regression => RealColumns::new(&self.real).metrics(&bootstrap)?,
            Task::Classification => classification_metrics(&self.labels, &self.probs, &bootstrap)?,
        };
        let samples = self.predictor.samples();
        Ok(Evaluation { task, rows: self.rows, samples, seed: self.seed, metrics })
    }
}

/// Class probabilities `[rows, classes]`.
fn class_rows(predictive: &Predictive<'_>, rows: Range<usize>) -> Result<Vec<f64>, Error> {
    let mut scratch = MixtureScratch::new();
    let mut probs = Vec::new();
    for row in rows {
        probs.extend_from_slice(predictive.class(row, &mut scratch)?.probs());
    }
    Ok(probs)
}

/// The scores of one row with a real target.
struct RealRow {
    y: f64,
    mean: f64,
    nll: f64,
    crps: f64,
    pit: f64,
    /// Ends of the intervals at [`LEVELS`].
    ends: [[f64; 2]; 3],
}

/// `u` is a uniform number for each row.
fn real_rows(
    predictive: &Predictive<'_>,
    y: &[f64],
    rows: Range<usize>,
    u: &dyn Fn(usize) -> f64,
) -> Result<Vec<RealRow>, Error> {
    let mut scratch = MixtureScratch::new();
    rows.map(|row| {
        let (p, y) = (predictive.real(row, &mut scratch)?, y[row]);
        let mut ends = [[0.0; 2]; 3];
        for (ends, level) in ends.iter_mut().zip(LEVELS) {
            *ends = p.interval(level)?;
        }
        let (nll, crps, pit) = (-p.ln_density(y), p.crps(y), p.pit(y, u(row)));
        Ok(RealRow { y, mean: p.mean(), nll, crps, pit, ends })
    })
    .collect()
}

/// The same scores by column.
struct RealColumns {
    columns: [Vec<f64>; 5],
    ends: [[Vec<f64>; 2]; 3],
}

impl RealColumns {
    fn new(rows: &[RealRow]) -> Self {
        let column = |value: &dyn Fn(&RealRow) -> f64| rows.iter().map(value).collect();
        let end = |level: usize, side: usize| column(&|row| row.ends[level][side]);
        Self {
            columns: [
                column(&|row| row.y),
                column(&|row| row.mean),
                column(&|row| row.nll),
                column(&|row| row.crps),
                column(&|row| row.pit),
            ],
            ends: [0, 1, 2].map(|level| [end(level, 0), end(level, 1)]),
        }
    }

    fn metrics(&self, bootstrap: &Bootstrap) -> Result<Vec<Metric>, Error> {
        let [y, mean, nll, crps, pit] = &self.columns;
        let [interval_50, interval_90, interval_95] =
            self.ends.each_ref().map(|[lower, upper]| Bounds { lower, upper });
        let input = RegressionInput { y, mean, nll, crps, pit, interval_50, interval_90, interval_95 };
        Ok(regression_metrics(&input, bootstrap)?)
    }
}
