//! The training loop: stochastic ascent on the evidence lower bound.

mod blame;
mod config;
mod kept;
mod rows;

use std::ops::{ControlFlow, Range};

use bdl_dist::{Noise, Purpose};
use bdl_layers::{Pass, Role, Scope, Workspace};
use bdl_tensor::{Pool, kernels};

use crate::error::check_len;
use crate::predict::{Passes, Predictor};
use crate::update::{Rates, Update};
use crate::{
    Bnn, Elbo, ElboTerms, Error, KlSchedule, MixtureScratch, OptimizerState, Predictive, StepAt, Target,
    Targets, Units,
};

pub use config::FitConfig;
use kept::Kept;
pub use rows::Data;
use rows::{Batch, batch_rows};

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
    if config.batch == 1 && bnn.plan().couples_rows() {
        return Err(Error::argument("fit: batch", "at least 2 under batch normalization", config.batch));
    }
    for data in valid.iter().chain([&train]) {
        check_len("fit: columns of x, as the network reads them", bnn.plan().in_dim(), data.x.cols())?;
    }
    let mut run = Run::new(bnn, train, config, pool)?;
    if let KlSchedule::Cyclical { cycles, .. } = config.kl_schedule {
        // In cycles of one step the KL would have no weight at all.
        let steps = config.epochs.saturating_mul(run.batches());
        if cycles >= steps {
            let got = format!("{cycles} in {steps} steps");
            return Err(Error::argument("fit: cycles of the KL schedule", "fewer than steps", got));
        }
    }
    let mut kept = Kept::new(params);
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
