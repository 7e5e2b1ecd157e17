//! The training loop: stochastic ascent on the evidence lower bound.

use std::ops::{ControlFlow, Range};

use bdl_dist::{Noise, Purpose};
use bdl_layers::{BlockEntry, Estimator, Pass, Role, Scope, Workspace};
use bdl_tensor::{Mat, Pool, kernels};

use crate::error::{check_arg, check_len};
use crate::predict::{Passes, Predictor};
use crate::update::{Rates, Update, Updated};
use crate::{
    Bnn, Elbo, ElboTerms, Error, KlSchedule, KlWarmup, MixtureScratch, Optimizer, OptimizerState, Predictive,
    Schedule, StepAt, Target, Targets, Units,
};

/// Rows with their targets.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    x: Mat<'a>,
    y: Targets<'a>,
}

impl<'a> Data<'a> {
    /// x `[rows, in_dim]` with one target per row.
    ///
    /// # Errors
    /// [`Error::Length`] if there are more or fewer targets than rows; [`Error::Argument`] without any row, and
    /// for a NaN or an infinity, naming row and, in x, column, from 0.
    pub fn new(x: Mat<'a>, y: Targets<'a>) -> Result<Self, Error> {
        check_arg("data: rows", ">= 1", x.rows() as f64, x.rows() >= 1)?;
        check_len("data: targets, one per row", x.rows(), y.len())?;
        if let Some(i) = kernels::first_non_finite(x.data()) {
            let got = format!("{} in row {}, column {}", x.data()[i], i / x.cols(), i % x.cols());
            return Err(Error::argument("data: x", "finite", got));
        }
        let (real, targets) = match y {
            Targets::Real(real) => (real, 1),
            Targets::Several { y, targets } => (y, targets),
            Targets::Class(_) => return Ok(Self { x, y }),
        };
        check_len("data: numbers of all targets", x.rows() * targets, real.len())?;
        match kernels::first_non_finite(real) {
            Some(at) => {
                let got = format!("{} in row {}", real[at], at / targets);
                Err(Error::argument("data: targets", "finite", got))
            }
            None => Ok(Self { x, y }),
        }
    }

    /// The rows.
    #[must_use]
    pub fn x(&self) -> Mat<'a> {
        self.x
    }

    /// The targets.
    #[must_use]
    pub fn y(&self) -> Targets<'a> {
        self.y
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.x.rows()
    }
}

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

    fn kl_weight_at(&self, at: StepAt) -> f64 {
        self.kl_weight * self.kl_warmup.weight(at.done()) * self.kl_schedule.weight(at)
    }

    /// Whether a step has the prior that was asked for; before, a better epoch may be one with less of it.
    fn is_at_full_weight(&self, at: StepAt) -> bool {
        self.kl_weight * self.kl_warmup.weight(at.done()) >= self.kl_weight && self.kl_schedule.is_full(at)
    }
}

/// What is reported after each epoch; nothing in it is needed to go on.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Epochs done, from 1.
    pub epoch: usize,
    /// Steps done.
    pub step: u64,
    /// Training rows seen so far, for a rate.
    pub rows_seen: u64,
    /// Mean over the epoch of the negative log-likelihood per training row, nats.
    pub nll_mean: f64,
    /// KL at the epoch's last step, summed over weights, nats.
    pub kl: f64,
    /// `−n_train·nll_mean − kl`, nats: the bound itself, whatever the KL weight.
    pub elbo: f64,
    /// Mean of the KL weight over the epoch's steps: under Blundell's schedule 1 times the other factors, where the last step alone has next
    /// to none. `docs/math.md#kl-weight`.
    pub kl_weight: f64,
    /// Learning rate at the epoch's last step.
    pub lr: f64,
    /// Minus the mean log predictive density of the validation rows, nats.
    pub valid_nll: Option<f64>,
}

/// What training came to.
#[derive(Clone, Debug, PartialEq)]
pub struct FitSummary {
    /// The last epoch's report.
    pub last: Progress,
    /// The report of the epoch whose parameters were kept: the last, or under `patience` the best.
    pub kept: Progress,
    /// Whether training stopped before its last epoch for want of improvement.
    pub stopped_early: bool,
}

/// Trains `params` in place.
///
/// Rows are shuffled anew in each epoch and cut into batches whose sizes differ by at most one. Noise is
/// addressed by (seed, lane, step, position in the batch): the result is the same, bit for bit, for any pool.
/// The observer sees each epoch's report and may stop training.
///
/// # Errors
/// [`Error::Argument`] for a bad configuration; shapes and targets that do not fit; [`Error::NonFinite`] for a
/// loss, gradient or parameter that is NaN or infinite and for a validation NLL that is NaN, naming step, layer and
/// block. `params` then holds what it held after the last whole epoch.
pub fn fit(
    bnn: &Bnn,
    params: &mut [f32],
    train: Data<'_>,
    valid: Option<Data<'_>>,
    config: &FitConfig,
    pool: &dyn Pool,
    observer: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<FitSummary, Error> {
    config.check()?;
    bnn.check_params(params)?;
    if config.patience.is_some() && valid.is_none() {
        return Err(Error::argument("fit: patience", "used with validation rows", "none"));
    }
    for data in valid.iter().chain([&train]) {
        check_len("fit: columns of x, as the network reads them", bnn.plan().in_dim(), data.x.cols())?;
    }
    let mut run = Run::new(bnn, train, config, pool)?;
    if let KlSchedule::Cyclical { cycles, .. } = config.kl_schedule {
        // In cycles of one step the KL would have no weight at all.
        let steps = config.epochs.saturating_mul(run.batches());
        check_arg("cyclical kl: cycles", "fewer than steps", cycles as f64, cycles < steps)?;
    }
    let mut kept = Kept { params: params.to_vec(), report: None, best: None, waited: 0 };
    let mut whole = params.to_vec();
    loop {
        let progress = run.epoch(params, valid).inspect_err(|_| params.copy_from_slice(&whole))?;
        whole.copy_from_slice(params);
        match config.patience {
            Some(_) => kept.consider(&progress, params, config.is_at_full_weight(run.last_at())),
            None => kept.take(&progress, params),
        }
        let stop = observer(&progress).is_break() || progress.epoch == config.epochs;
        let stopped_early = !stop && config.patience.is_some_and(|patience| kept.waited >= patience);
        if stop || stopped_early {
            params.copy_from_slice(&kept.params);
            return Ok(kept.summary(progress, stopped_early));
        }
    }
}

/// The parameters that training will return.
struct Kept {
    params: Vec<f32>,
    /// The report of their epoch.
    report: Option<Progress>,
    /// What the next epoch must beat.
    best: Option<f64>,
    /// Epochs that could have beaten it and did not.
    waited: usize,
}

impl Kept {
    fn take(&mut self, progress: &Progress, params: &[f32]) {
        self.params.copy_from_slice(params);
        self.report = Some(progress.clone());
    }

    /// Takes the epoch if it is better, of those that are `comparable`; before the first of these, any.
    fn consider(&mut self, progress: &Progress, params: &[f32], comparable: bool) {
        let better = match (progress.valid_nll, self.best) {
            (Some(new), Some(old)) => comparable && new < old,
            _ => true,
        };
        if better {
            self.take(progress, params);
            self.best = progress.valid_nll.filter(|_| comparable);
        }
        self.waited = if better { 0 } else { self.waited + usize::from(comparable) };
    }

    fn summary(self, last: Progress, stopped_early: bool) -> FitSummary {
        FitSummary { kept: self.report.unwrap_or_else(|| last.clone()), last, stopped_early }
    }
}

/// Where the parameters of a role are. Weight decay acts on plain ones: not on raw scales, not on hyper-parameters, and not on
/// the means of a posterior, which have a prior.
fn ranges_of(bnn: &Bnn, role: Role) -> Vec<Range<usize>> {
    bnn.entries().iter().filter(|e| e.block.role == role).map(|e| e.range.clone()).collect()
}

/// Rows of a batch times parameters from which a step is worth several threads.
const ON_POOL_FROM: usize = 1 << 20;

/// The state of a run: what the next step needs.
struct Run<'a> {
    bnn: &'a Bnn,
    train: Data<'a>,
    config: &'a FitConfig,
    pool: &'a dyn Pool,
    optimizer: OptimizerState,
    noise: Noise,
    shuffle: Noise,
    epoch: usize,
    step: u64,
    order: Vec<usize>,
    batch: Batch,
    ws: Workspace,
    grads: Vec<f32>,
    update: Update,
}

impl<'a> Run<'a> {
    fn new(bnn: &'a Bnn, train: Data<'a>, config: &'a FitConfig, pool: &'a dyn Pool) -> Result<Self, Error> {
        Ok(Self {
            bnn,
            train,
            config,
            pool,
            optimizer: OptimizerState::new(config.optimizer, bnn.n_params())?
                .decay_only(ranges_of(bnn, Role::Plain))?
                .remember(ranges_of(bnn, Role::Buffer))?,
            noise: Noise::in_lane(config.seed, Purpose::Train, config.lane),
            shuffle: Noise::in_lane(config.seed, Purpose::Shuffle, config.lane),
            epoch: 0,
            step: 0,
            order: (0..train.rows()).collect(),
            batch: Batch::default(),
            ws: Workspace::new(),
            grads: vec![0.0; bnn.n_params()],
            update: Update::new(bnn),
        })
    }

    fn batches(&self) -> usize {
        self.train.rows().div_ceil(self.config.batch)
    }

    /// Where the last step was taken, once there was one.
    fn last_at(&self) -> StepAt {
        let batches = self.batches();
        StepAt { epoch: self.epoch - 1, epochs: self.config.epochs, batch: batches - 1, batches }
    }

    /// One epoch, with its report.
    fn epoch(&mut self, params: &mut [f32], valid: Option<Data<'_>>) -> Result<Progress, Error> {
        let progress = self.steps_on_pool(params)?;
        if let Some(index) = kernels::first_non_finite(params) {
            return Err(self.non_finite("parameter", self.bnn.block_of(index), params[index].into()));
        }
        let valid_nll = valid.map(|v| self.valid_nll(params, v)).transpose()?;
        if let Some(value) = valid_nll.filter(|v| v.is_nan()) {
            return Err(self.non_finite("loss", "the validation rows".to_owned(), value));
        }
        self.epoch += 1;
        Ok(Progress { valid_nll, ..progress })
    }

    /// The steps, on a thread of the pool if they will ask for others: a hand-over per epoch and not per product.
    fn steps_on_pool(&mut self, params: &mut [f32]) -> Result<Progress, Error> {
        let rows = self.config.batch.min(self.train.rows());
        if self.pool.threads() == 1 || rows.saturating_mul(params.len()) < ON_POOL_FROM {
            return self.steps(params);
        }
        let (pool, mut done) = (self.pool, None);
        pool.join(&mut || done = Some(self.steps(params)), &mut || {});
        done.unwrap_or_else(|| unreachable!("join calls both"))
    }

    fn steps(&mut self, params: &mut [f32]) -> Result<Progress, Error> {
        let n_train = self.train.rows();
        let batches = self.batches();
        self.order.iter_mut().enumerate().for_each(|(i, o)| *o = i);
        self.shuffle.rng(self.epoch as u64).shuffle(&mut self.order);
        let elbo = Elbo::new(n_train)?;
        let (mut nll_sum, mut kl, mut kl_weights, mut lr) = (0.0, 0.0, 0.0, 0.0);
        let epoch = self.epoch + 1;
        for b in 0..batches {
            let at = StepAt { epoch: self.epoch, epochs: self.config.epochs, batch: b, batches };
            lr = self.config.lr * self.config.schedule.multiplier(at.done(), at.epochs);
            let kl_weight = self.config.kl_weight_at(at);
            kl_weights += kl_weight;
            let elbo = elbo.with_kl_weight(kl_weight)?;
            // The report tells the KL of the last step; the others do without.
            let with_kl = b + 1 == batches;
            let rates = Rates { kl_weight: elbo.kl_scale(), lr: lr as f32, with_kl };
            let terms = self.step(params, &elbo, batch_rows(b, batches, n_train), rates)?;
            nll_sum += terms.nll_sum;
            kl = terms.kl;
        }
        Ok(Progress {
            epoch,
            step: self.step,
            rows_seen: epoch as u64 * n_train as u64,
            nll_mean: nll_sum / n_train as f64,
            kl,
            elbo: -nll_sum - kl,
            kl_weight: kl_weights / batches as f64,
            lr,
            valid_nll: None,
        })
    }

    fn step(
        &mut self,
        params: &mut [f32],
        elbo: &Elbo,
        rows: Range<usize>,
        rates: Rates,
    ) -> Result<ElboTerms, Error> {
        self.batch.gather(self.train, &self.order[rows]);
        let pass = Pass::train(&self.noise, self.step, self.config.estimator).on(self.pool);
        let (x, y) = (self.batch.x(self.train.x.cols())?, self.batch.y(self.train.y));
        let (ws, grads) = (&mut self.ws, &mut self.grads);
        let nll_sum = elbo.likelihood_gradient(self.bnn, params, x, y, &pass, ws, grads)?;
        self.step += 1;
        // Where the loss is lost without its KL, that has no part in it.
        let kl = if nll_sum.is_finite() {
            self.update.kl_not_in_terms(self.bnn, params, &pass, rates, grads)?
        } else {
            Some(0.0)
        };
        let lost = |kl: &f64| !elbo.terms(nll_sum, x.rows(), *kl).elbo.is_finite();
        if let Some(kl) = kl.filter(lost) {
            return Err(self.blame_loss(params, x, &pass, elbo.terms(nll_sum, x.rows(), kl)));
        }
        let (update, optimizer) = (&mut self.update, &mut self.optimizer);
        let updated = update.step(&pass, optimizer, params, &mut self.grads, rates)?;
        let terms = elbo.terms(nll_sum, x.rows(), updated.kl.or(kl).unwrap_or(0.0));
        if let Some(e) = self.blame_update(params, &updated)? {
            return Err(e);
        }
        if terms.elbo.is_finite() { Ok(terms) } else { Err(self.blame_loss(params, x, &pass, terms)) }
    }

    /// The error of a step that met something not finite. Shards without it have moved, and perhaps beyond all bounds,
    /// so that only what the step saw is to blame.
    fn blame_update(&self, params: &[f32], updated: &Updated) -> Result<Option<Error>, Error> {
        let found =
            |what, at, x: &[f32]| Ok(Some(self.non_finite(what, self.bnn.block_of(at), x[at].into())));
        if let Some(at) = updated.bad_param {
            return found("parameter", at, params);
        }
        let Some(at) = updated.bad_grad else { return Ok(None) };
        // A gradient may be lost with the KL, whose shard is where it was.
        let kl = self.bnn.plan().kl(&params[self.bnn.network()])?;
        if !kl.is_finite() && kernels::first_non_finite(params).is_none() {
            return Ok(Some(self.blame_kl(params, kl)));
        }
        found("gradient", at, &self.grads)
    }

    fn non_finite(&self, what: &'static str, place: String, value: f64) -> Error {
        Error::NonFinite { what, epoch: self.epoch + 1, step: self.step, place, value }
    }

    /// Finds where a non-finite loss comes from: a parameter, a layer's output, the likelihood or the KL.
    fn blame_loss(&self, params: &[f32], x: Mat<'_>, pass: &Pass<'_>, terms: ElboTerms) -> Error {
        if let Some(index) = kernels::first_non_finite(params) {
            return self.non_finite("parameter", self.bnn.block_of(index), params[index].into());
        }
        if terms.nll_sum.is_finite() {
            return self.blame_kl(params, terms.kl);
        }
        let network = &params[self.bnn.network()];
        let layer = self.bnn.plan().first_non_finite_layer(network, x, pass, &mut Workspace::new());
        let owner = layer.ok().flatten().unwrap_or("likelihood");
        self.non_finite("loss", self.largest_block(owner, params), terms.nll_sum)
    }

    /// Finds the layer whose KL is not finite.
    fn blame_kl(&self, params: &[f32], kl: f64) -> Error {
        let reports = self.bnn.report(params).unwrap_or_default();
        let bad = reports.iter().position(|r| !r.kl.is_finite());
        let layer = bad.and_then(|i| self.bnn.plan().layers().nth(i)).map_or("network", |(name, _)| name);
        self.non_finite("kl", self.largest_block(layer, params), kl)
    }

    /// Path of the owner's block with the largest parameter; its name alone if it has no block.
    fn largest_block(&self, owner: &str, params: &[f32]) -> String {
        let largest = |e: &&BlockEntry| params[e.range.clone()].iter().fold(0.0_f32, |m, p| m.max(p.abs()));
        let own = self.bnn.entries().iter().filter(|e| e.owner == owner);
        let block = own.max_by(|a, b| largest(a).total_cmp(&largest(b)));
        block.map_or_else(|| owner.to_owned(), BlockEntry::path)
    }

    /// Minus the mean log predictive density of the validation rows, nats.
    fn valid_nll(&self, params: &[f32], valid: Data<'_>) -> Result<f64, Error> {
        let members = [params];
        let passes = Passes {
            samples: self.config.valid_samples,
            scope: Scope::Pass,
            estimator: self.config.estimator,
            seed: self.config.seed,
        };
        let predictor = Predictor::new(self.bnn, &members, passes)?;
        let outputs = predictor.outputs(valid.x, 0, self.pool)?;
        mean_nll(&predictor.predictive(&outputs, valid.rows())?, valid.y)
    }
}

/// Minus the mean over rows of the log predictive density of the mixture, nats.
///
/// # Errors
/// For targets of the wrong kind or number.
pub fn mean_nll(predictive: &Predictive<'_>, y: Targets<'_>) -> Result<f64, Error> {
    check_len("mean_nll: targets, one per row", predictive.rows(), y.len())?;
    let mut scratch = MixtureScratch::new();
    let trained = vec![Units::default(); predictive.targets()];
    let mut each = |row| match y.get(row) {
        Target::Real(y) => Ok(predictive.real(row, &mut scratch)?.ln_density(y)),
        Target::Class(class) => predictive.class(row, &mut scratch)?.ln_density(class),
        Target::Several(y) => {
            let y: Vec<f64> = y.iter().map(|&y| y.into()).collect();
            predictive.ln_density_of_all(row, &y, &trained)
        }
    };
    let sum = (0..y.len()).try_fold(0.0, |sum, row| Ok::<f64, Error>(sum + each(row)?))?;
    Ok(-sum / y.len() as f64)
}

/// The places in the shuffled order that batch `b` of `batches` takes: sizes differ by at most one, so that no row
/// weighs more than another for being in a short last batch.
fn batch_rows(b: usize, batches: usize, rows: usize) -> Range<usize> {
    let start = |b: usize| (b as u128 * rows as u128 / batches as u128) as usize;
    start(b)..start(b + 1)
}

/// A batch gathered from the shuffled rows.
#[derive(Debug, Default)]
struct Batch {
    x: Vec<f32>,
    real: Vec<f32>,
    class: Vec<u32>,
}

impl Batch {
    fn gather(&mut self, data: Data<'_>, rows: &[usize]) {
        self.x.clear();
        rows.iter().for_each(|&row| self.x.extend_from_slice(data.x.row(row)));
        self.real.clear();
        self.class.clear();
        for &row in rows {
            match data.y.get(row) {
                Target::Real(y) => self.real.push(y as f32),
                Target::Class(class) => self.class.push(class),
                Target::Several(y) => self.real.extend_from_slice(y),
            }
        }
    }

    fn x(&self, cols: usize) -> Result<Mat<'_>, Error> {
        Ok(Mat::new(&self.x, self.x.len().checked_div(cols).unwrap_or(0), cols)?)
    }

    fn y(&self, like: Targets<'_>) -> Targets<'_> {
        match like {
            Targets::Real(_) => Targets::Real(&self.real),
            Targets::Class(_) => Targets::Class(&self.class),
            Targets::Several { targets, .. } => Targets::Several { y: &self.real, targets },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_that_cannot_be_compared_is_kept_only_before_the_first_that_can() {
        let mut kept = Kept { params: vec![0.0], report: None, best: None, waited: 0 };
        let mut consider = |epoch, nll, comparable| {
            let valid_nll = Some(nll);
            let (nll_mean, kl, elbo, kl_weight, lr) = Default::default();
            let (step, rows_seen) = Default::default();
            let progress = Progress { epoch, step, rows_seen, nll_mean, kl, elbo, kl_weight, lr, valid_nll };
            kept.consider(&progress, &[nll as f32], comparable);
            (kept.params[0], kept.waited)
        };
        let epochs = [(1.0, false), (2.0, true), (0.5, false), (1.5, true), (0.25, false), (1.75, true)];
        let told: Vec<_> = (1..).zip(epochs).map(|(epoch, (nll, can))| consider(epoch, nll, can)).collect();
        assert_eq!(told, [(1.0, 0), (2.0, 0), (2.0, 0), (1.5, 0), (1.5, 0), (1.5, 1)]);
    }

    #[test]
    fn batches_take_each_row_once_and_differ_by_at_most_one() {
        for (rows, batch) in [(1, 32), (33, 32), (10, 4), (64, 32), (7, 1)] {
            let batches = usize::div_ceil(rows, batch);
            let each: Vec<_> = (0..batches).map(|b| batch_rows(b, batches, rows)).collect();
            assert!(each.iter().cloned().flatten().eq(0..rows), "{rows} rows by {batch}: {each:?}");
            let (least, most) = (rows / batches, rows.div_ceil(batches));
            assert!(
                each.iter().all(|r| (least..=most).contains(&r.len())),
                "{rows} rows by {batch}: {each:?}"
            );
        }
        assert_eq!(batch_rows(2, 3, usize::MAX).end, usize::MAX);
    }
}
