//! Scores of a model's predictions where the targets are known.

use std::ops::Range;

use bdl_dist::{Noise, Purpose};
use bdl_infer::{MixtureScratch, Passes, Predictive, Predictor, RealMixture, Units};
use bdl_metrics::{
    Bootstrap, Bounds, Interval, Metric, RegressionInput, bootstrap_mean, classification_metrics,
    regression_metrics,
};
use bdl_tensor::{Mat, Pool};

use crate::Error;
use crate::chunk::Chunk;
use crate::error::Place;
use crate::model::Model;
use crate::predict::not_finite;
use crate::reader::RowReader;
use crate::select::Task;
use crate::shards::{blocks, in_shards};

/// Scores of a model on rows with known targets.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Evaluation {
    /// The task.
    pub task: Task,
    /// Rows scored.
    pub rows: usize,
    /// Passes over all members.
    pub samples: usize,
    /// Seed of the passes.
    pub seed: u64,
    /// The scores with 95 % bootstrap intervals, in the target's units and in nats; of several targets `nll`, which is that of
    /// all together.
    pub metrics: Vec<Metric>,
    /// The scores of each of several targets; none of one.
    pub targets: Vec<TargetScores>,
}

/// The scores of one of several targets.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TargetScores {
    /// The column's name.
    pub name: String,
    /// Its scores, as those of a single target.
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
    /// `[rows, targets]`.
    Real {
        y: Vec<f64>,
        targets: usize,
    },
    Class(Vec<u32>),
}

impl Truth {
    fn len(&self) -> usize {
        match self {
            Self::Real { y, targets } => y.len() / targets,
            Self::Class(y) => y.len(),
        }
    }
}

impl Model {
    /// Scores the rows of a file that has the target.
    ///
    /// Memory is bounded by a chunk of rows times the passes, and a few numbers for each row. In regression the
    /// score `crps` costs O(S²) a row, or some hundred times S where the likelihood is not Gaussian or there are more than 512 passes. What the transform of a
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
        let targets = self.encoder().target_columns(&map, &reader.file().into())?;
        let mut scores = Scores::new(self, passes)?;
        let (mut chunk, mut x) = (Chunk::new(), Vec::new());
        while reader.next_chunk(CHUNK, &mut chunk)? {
            self.encoder().encode_chunk(&chunk, &map, &mut x)?;
            let truth = self.encoder().truth(chunk.rows(), &targets)?;
            scores.add(&x, &truth, pool, &|i| chunk.row(i).place())?;
        }
        match scores.rows {
            0 => Err(Error::HeaderOnly { file: reader.file().into() }),
            _ => scores.finish(),
        }
    }

    /// Scores encoded rows with 100 passes and the seed of the training.
    pub(crate) fn evaluate_rows(&self, x: &[f32], y: &Truth, pool: &dyn Pool) -> Result<Evaluation, Error> {
        let mut scores = Scores::new(self, Passes { seed: self.record().seed, ..self.passes() })?;
        let held_out = |i| format!("row {} of those held out", i + 1).into();
        scores.add(x, y, pool, &|i| Place { file: held_out(i), row: i as u64 + 1, line: 0 })?;
        scores.finish()
    }
}

/// What the metrics are made from, row after row.
pub(crate) struct Scores<'a> {
    model: &'a Model,
    predictor: Predictor<'a>,
    units: Vec<Units>,
    seed: u64,
    rows: usize,
    /// `[rows, targets]`.
    real: Vec<RealRow>,
    /// Of several targets together.
    nll: Vec<f64>,
    labels: Vec<u32>,
    probs: Vec<f64>,
}

impl<'a> Scores<'a> {
    pub(crate) fn new(model: &'a Model, passes: Passes) -> Result<Self, Error> {
        let predictor = Predictor::new(model.bnn(), model.members(), passes)?;
        let (units, seed) = (model.units()?, passes.seed);
        let (real, nll, labels, probs) = Default::default();
        Ok(Self { model, predictor, units, seed, rows: 0, real, nll, labels, probs })
    }

    /// Scores rows, the `i`-th of which stands at `place(i)`.
    pub(crate) fn add(
        &mut self,
        x: &[f32],
        y: &Truth,
        pool: &dyn Pool,
        place: &dyn Fn(usize) -> Place,
    ) -> Result<(), Error> {
        let bad = |row: usize, got| Error::NoPrediction { place: place(row), got };
        let width = self.model.encoder().width();
        let floats = self.predictor.samples().saturating_mul(self.model.bnn().plan().out_dim());
        for block in blocks(y.len(), floats) {
            let x = &x[block.start * width..block.end * width];
            let x = Mat::new(x, block.len(), width).map_err(bdl_infer::Error::from)?;
            let outputs = self.predictor.outputs(x, self.rows as u64, pool)?;
            let predictive = self.predictor.predictive(&outputs, block.len())?;
            match y {
                Truth::Real { y, targets } => {
                    let rows = RealRows {
                        of_all: predictive,
                        targets: each_target(predictive, &self.units)?,
                        units: &self.units,
                        y: &y[block.start * targets..block.end * targets],
                        first: self.rows as u64,
                        noise: Noise::new(self.seed, Purpose::Pit),
                    };
                    let start = self.real.len();
                    for (scores, nll) in in_shards(block.len(), pool, &|range| rows.score(range))? {
                        self.real.extend(scores);
                        self.nll.extend(nll);
                    }
                    let not_finite =
                        |(i, row): (usize, &RealRow)| Some((block.start + i / targets, row.not_finite()?));
                    if let Some((row, got)) = self.real[start..].iter().enumerate().find_map(not_finite) {
                        return Err(bad(row, got));
                    }
                }
                Truth::Class(labels) => {
                    let told = in_shards(block.len(), pool, &|rows| class_rows(&predictive, rows))?;
                    let told: Vec<f64> = told.into_iter().flatten().collect();
                    if let Some(at) = told.iter().position(|p| !p.is_finite()) {
                        let row = block.start + at / (told.len() / block.len());
                        return Err(bad(row, format!("a probability of {}", told[at])));
                    }
                    self.probs.extend(told);
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
        let columns = self.model.schema().targets();
        let of_target = |k| RealColumns::new(&self.real, k, columns.len()).metrics(&bootstrap);
        let mut targets = Vec::new();
        let metrics = match task {
            Task::Classification => classification_metrics(&self.labels, &self.probs, &bootstrap)?,
            Task::Regression if columns.len() == 1 => of_target(0)?,
            Task::Regression => {
                for (k, target) in columns.iter().enumerate() {
                    targets.push(TargetScores { name: target.name.clone(), metrics: of_target(k)? });
                }
                vec![nll_of_all(&self.nll, &bootstrap)?]
            }
        };
        let samples = self.predictor.samples();
        Ok(Evaluation { task, rows: self.rows, samples, seed: self.seed, metrics, targets })
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

/// The distribution of each target, in its units.
pub(crate) fn each_target<'a>(of_all: Predictive<'a>, units: &[Units]) -> Result<Vec<Predictive<'a>>, Error> {
    match units {
        [units] => Ok(vec![of_all.in_units(*units)]),
        _ => units.iter().enumerate().map(|(k, units)| Ok(of_all.target(k)?.in_units(*units))).collect(),
    }
}

/// Rows that are predicted together, with their targets.
struct RealRows<'a> {
    of_all: Predictive<'a>,
    targets: Vec<Predictive<'a>>,
    units: &'a [Units],
    /// `[rows, targets]`.
    y: &'a [f64],
    /// Number of the first row in the whole input.
    first: u64,
    /// A uniform number for each row and target.
    noise: Noise,
}

impl RealRows<'_> {
    /// The scores of each target of some rows, and the NLL of all targets if they are several.
    fn score(&self, rows: Range<usize>) -> Result<(Vec<RealRow>, Vec<f64>), Error> {
        let (mut scratch, mut scores, mut nll) = (MixtureScratch::new(), Vec::new(), Vec::new());
        for row in rows {
            let y = &self.y[row * self.targets.len()..][..self.targets.len()];
            let mut u = self.noise.rng(self.first + row as u64);
            for (target, y) in self.targets.iter().zip(y) {
                scores.push(score(&target.real(row, &mut scratch)?, *y, u.uniform())?);
            }
            if y.len() > 1 {
                nll.push(-self.of_all.ln_density_of_all(row, y, self.units)?);
            }
        }
        Ok((scores, nll))
    }
}

impl RealRow {
    fn not_finite(&self) -> Option<String> {
        let ends = self.ends.iter().flatten().map(|end| ("an end of an interval", *end));
        let others = [("mean", self.mean), ("nll", self.nll), ("crps", self.crps), ("pit", self.pit)];
        not_finite(others.into_iter().chain(ends))
    }
}

fn score(p: &RealMixture<'_>, y: f64, u: f64) -> Result<RealRow, Error> {
    let mut ends = [[0.0; 2]; 3];
    for (ends, level) in ends.iter_mut().zip(LEVELS) {
        *ends = p.interval(level)?;
    }
    let (nll, crps, pit) = (-p.ln_density(y), p.crps(y), p.pit(y, u));
    Ok(RealRow { y, mean: p.mean(), nll, crps, pit, ends })
}

fn nll_of_all(nll: &[f64], bootstrap: &Bootstrap) -> Result<Metric, Error> {
    let Interval { value, low, high } = bootstrap_mean(nll, bootstrap)?;
    Ok(Metric { name: "nll", value, low, high })
}

/// The same scores by column.
struct RealColumns {
    columns: [Vec<f64>; 5],
    ends: [[Vec<f64>; 2]; 3],
}

impl RealColumns {
    /// Those of target `k` of so many.
    fn new(rows: &[RealRow], k: usize, targets: usize) -> Self {
        let column =
            |value: &dyn Fn(&RealRow) -> f64| rows.iter().skip(k).step_by(targets).map(value).collect();
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
