//! From a table to a trained model.

use std::ops::ControlFlow;

use bdl_dist::{Noise, Purpose};
use bdl_infer::{Bnn, Data, FitConfig, FitSummary, Progress, Schedule, TrainingRecord, fit};
use bdl_tensor::Pool;

use crate::architecture::Architecture;
use crate::method::Method;
use crate::model::Model;
use crate::rows::{Rows, Side};
use crate::select::{SelectOptions, Selection};
use crate::table::Table;
use crate::{Error, Evaluation, StartFrom};

/// Which rows are held out to watch training.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Valid {
    /// None.
    #[default]
    None,
    /// A random fraction of the rows, in (0, 1).
    Fraction(f64),
    /// About a fraction of the rows by a column: whole groups if it holds names, the last rows if it holds
    /// numbers or dates. Equal values stay together. The column remains a feature unless it is ignored.
    By {
        /// The column.
        column: String,
        /// The fraction, in (0, 1).
        fraction: f64,
    },
}

/// How to train on a table.
///
/// | name | default | range | meaning |
/// |---|---|---|---|
/// | `select` | | | target, task, columns, missing cells |
/// | `architecture` | | | method and network |
/// | `members` | 1 | 1 to 65536 | networks of an ensemble; 1 for none |
/// | `fit` | | | epochs, batch, optimizer, seed, …; each member has a lane of its own, whatever `lane` says |
/// | `start` | none | as many networks as `members` | a trained model that each member starts from |
/// | `valid` | none | | rows that are held out: they decide no mean, scale or weight, but with `patience` the epoch |
#[derive(Clone, Debug)]
pub struct TrainConfig {
    /// Target, task, columns, missing cells.
    pub select: SelectOptions,
    /// Method and network.
    pub architecture: Architecture,
    /// Networks of an ensemble.
    pub members: usize,
    /// Epochs, batch, optimizer, seed, …
    pub fit: FitConfig,
    /// A trained model that the members start from.
    pub start: Option<StartFrom>,
    /// Rows that are held out.
    pub valid: Valid,
}

impl TrainConfig {
    /// The defaults for a target column: a learning rate of 3e-3 that falls along half a cosine.
    #[must_use]
    pub fn for_target(target: &str) -> Self {
        Self {
            select: SelectOptions { target: target.to_owned(), ..SelectOptions::default() },
            architecture: Architecture::default(),
            members: 1,
            fit: FitConfig { lr: 3e-3, schedule: Schedule::Cosine { end: 0.0 }, ..FitConfig::default() },
            start: None,
            valid: Valid::default(),
        }
    }

    /// Epochs that do for so many rows: about 50 000 steps, between 20 and 2000 epochs, and at most 400 for
    /// deterministic networks, which nothing keeps from overfitting.
    ///
    /// ```
    /// use bdl_model::{Method, TrainConfig};
    /// let mut config = TrainConfig::for_target("y");
    /// assert_eq!([100, 1_600, 1_000_000].map(|rows| config.recommended_epochs(rows)), [2_000, 1_000, 20]);
    /// config.architecture.method = Method::Deterministic;
    /// assert_eq!(config.recommended_epochs(100), 400);
    /// ```
    #[must_use]
    pub fn recommended_epochs(&self, rows: usize) -> usize {
        let most = if self.architecture.method == Method::Deterministic { 400 } else { 2_000 };
        let steps = rows.div_ceil(self.fit.batch.max(1)).max(1);
        (50_000 / steps).clamp(20, most)
    }

    /// Epochs over which the KL weight had better rise: half of all for posteriors over weights, which otherwise
    /// prune units before they have learned anything; none for the others.
    #[must_use]
    pub fn recommended_kl_warmup(&self) -> usize {
        if self.architecture.method.is_variational() { self.fit.epochs / 2 } else { 0 }
    }

    /// Columns and rows of a table, for the task that the likelihood is of.
    ///
    /// # Errors
    /// As [`Selection::new`].
    pub fn selection(&self, table: &Table) -> Result<Selection, Error> {
        let task = self.architecture.likelihood.task_choice(self.select.task);
        Selection::new(table, &SelectOptions { task, ..self.select.clone() })
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if !(1..=MAX_MEMBERS).contains(&self.members) {
            let got = self.members.to_string();
            return Err(Error::Argument { what: "--members", expected: "between 1 and 65536", got });
        }
        self.start.as_ref().map_or(Ok(()), |start| start.check(self))?;
        Ok(self.fit.check()?)
    }
}

/// Members that a file can hold.
const MAX_MEMBERS: usize = 1 << 16;

/// What is reported while training: an epoch of one member, in the units of the target.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainProgress {
    /// The ensemble member, from 0.
    pub member: usize,
    /// Members in all.
    pub members: usize,
    /// Epochs each will run at most.
    pub epochs: usize,
    /// The epoch's report; `nll_mean`, `valid_nll` and `elbo` are in the target's units.
    pub progress: Progress,
}

/// A trained model and what training came to.
#[derive(Debug)]
pub struct Training {
    /// The model.
    pub model: Model,
    /// One summary for each member, in the units of the target.
    pub members: Vec<FitSummary>,
    /// Rows trained on.
    pub rows: usize,
    /// Rows held out.
    pub valid_rows: usize,
    /// Rows dropped for missing cells.
    pub dropped: usize,
    /// Scores on the rows held out.
    pub valid: Option<Evaluation>,
    /// Why those rows have no scores: the model stands all the same.
    pub valid_error: Option<Error>,
}

impl Model {
    /// Trains on a table.
    ///
    /// The observer sees each epoch and may stop the training of that member.
    ///
    /// # Errors
    /// For columns, cells and settings that do not do, each named; a loss that is not finite.
    ///
    /// # Examples
    /// ```
    /// use bdl_model::{Model, RowReader, Table, TrainConfig};
    /// use bdl_tensor::Serial;
    /// use std::ops::ControlFlow;
    /// let mut text = String::from("x,y\n");
    /// for i in 0..40 { text += &format!("{i},{}\n", 2 * i + i % 3); }
    /// let table = Table::from_reader(RowReader::from_reader("line.csv", std::io::Cursor::new(text), None)?)?;
    /// let mut config = TrainConfig::for_target("y");
    /// config.fit.epochs = 20;
    /// let training = Model::train(&table, &config, &Serial, &mut |_| ControlFlow::Continue(()))?;
    /// assert_eq!((training.rows, training.model.method().name()), (40, "mc-dropout"));
    /// # Ok::<(), bdl_model::Error>(())
    /// ```
    pub fn train(
        table: &Table,
        config: &TrainConfig,
        pool: &dyn Pool,
        observer: &mut dyn FnMut(&TrainProgress) -> ControlFlow<()>,
    ) -> Result<Training, Error> {
        Self::train_rows(config, || Rows::new(table, config), pool, observer)
    }

    pub(crate) fn train_rows(
        config: &TrainConfig,
        rows: impl FnOnce() -> Result<Rows, Error>,
        pool: &dyn Pool,
        observer: &mut Observer<'_>,
    ) -> Result<Training, Error> {
        config.check()?;
        let rows = rows()?;
        let bnn = rows.network(&config.architecture)?;
        let trained = Members { rows: &rows, bnn: &bnn, config, pool }.train(observer)?;
        let (members, summaries): (Vec<_>, Vec<_>) = trained.into_iter().unzip();
        let record = record(&summaries[0], rows.train.y.len(), &config.fit);
        let Rows { encoder, train, valid, dropped } = rows;
        let model = Model::from_parts(encoder, bnn, members, record, config.architecture.method);
        let score = |side: &Side| model.evaluate_rows(&side.x, &side.truth, pool);
        let (scores, valid_error) = match valid.as_ref().map(score).transpose() {
            Ok(scores) => (scores, None),
            Err(e) => (None, Some(e)),
        };
        Ok(Training {
            valid: scores,
            valid_error,
            model,
            members: summaries,
            rows: train.y.len(),
            valid_rows: valid.as_ref().map_or(0, |side| side.y.len()),
            dropped,
        })
    }
}

/// The training of all members.
struct Members<'a> {
    rows: &'a Rows,
    bnn: &'a Bnn,
    config: &'a TrainConfig,
    pool: &'a dyn Pool,
}

type Observer<'o> = dyn FnMut(&TrainProgress) -> ControlFlow<()> + 'o;

impl Members<'_> {
    fn train(&self, observer: &mut Observer<'_>) -> Result<Vec<(Vec<f32>, FitSummary)>, Error> {
        let width = self.rows.encoder.width();
        let valid = self.rows.valid.as_ref().map(|side| side.data(width)).transpose()?;
        let train = self.rows.train.data(width)?;
        (0..self.config.members).map(|member| self.member(member, train, valid, observer)).collect()
    }

    /// Trains one member on noise of its own.
    fn member(
        &self,
        member: usize,
        train: Data<'_>,
        valid: Option<Data<'_>>,
        observer: &mut Observer<'_>,
    ) -> Result<(Vec<f32>, FitSummary), Error> {
        let Self { rows, bnn, config, pool } = *self;
        let units = rows.units();
        let fit_config = FitConfig { lane: member as u64, ..config.fit.clone() };
        let mut params = bnn.init(&Noise::in_lane(config.fit.seed, Purpose::Init, member as u64));
        if let Some(start) = &config.start {
            start.write(bnn, member, &mut params)?;
        }
        let mut report = |progress: &Progress| {
            let progress = in_units(progress, units, train.rows());
            let (members, epochs) = (config.members, config.fit.epochs);
            observer(&TrainProgress { member, members, epochs, progress })
        };
        let mut summary = fit(bnn, &mut params, train, valid, &fit_config, pool, &mut report)?;
        for report in [&mut summary.last, &mut summary.kept] {
            *report = in_units(report, units, train.rows());
        }
        Ok((params, summary))
    }
}

/// From standardized units to the target's: `−ln p(y) = −ln p(z) + ln std` for each row.
fn in_units(progress: &Progress, ln_std: f64, rows: usize) -> Progress {
    Progress {
        nll_mean: progress.nll_mean + ln_std,
        elbo: progress.elbo - rows as f64 * ln_std,
        valid_nll: progress.valid_nll.map(|nll| nll + ln_std),
        ..progress.clone()
    }
}

fn record(summary: &FitSummary, rows: usize, config: &FitConfig) -> TrainingRecord {
    TrainingRecord {
        rows: rows as u64,
        epochs: summary.last.epoch as u64,
        kept_epoch: summary.kept.epoch as u64,
        batch: config.batch as u64,
        lr: config.lr,
        estimator: config.estimator,
        seed: config.seed,
        nll_mean: summary.kept.nll_mean,
        kl: summary.kept.kl,
    }
}
