//! One pass over the parameters after each gradient of the likelihood: KL and its gradient, the check for
//! non-finite values, and the optimizer, shard by shard while the shard is in cache.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use bdl_layers::{KlForm, KlNoise, KlTerm, Pass};
use bdl_tensor::{Pool, kernels};

use crate::optimizer::{Moments, Rule};
use crate::{Bnn, Error, OptimizerState};

/// Weights that one thread works on at a time: some 20 µs.
const PIECE: usize = 4 * KlTerm::SHARD;

/// No index.
const NONE: usize = usize::MAX;

/// The parameters in order, in the terms of their KL.
#[derive(Debug)]
pub(crate) struct Update {
    terms: Vec<KlTerm>,
    /// Terms of each layer, and one for the likelihood.
    per_layer: Vec<usize>,
    /// The KL of each shard.
    kls: Vec<f64>,
    /// Whether the KL and its gradient come from the terms.
    knows_kl: bool,
    /// Parameters of the network.
    network: usize,
}

/// What a step does to each shard.
struct Step<'a> {
    pool: &'a dyn Pool,
    /// For terms that have no closed form.
    noise: Option<KlNoise<'a>>,
    rule: Rule<'a>,
    kl_weight: f32,
    /// Whether the KL is asked for.
    with_kl: bool,
    /// Index of the first parameter and of the first gradient that was not finite; their shards are left as they were.
    spoilt: [AtomicUsize; 2],
}

/// What differs from step to step.
#[derive(Clone, Copy)]
pub(crate) struct Rates {
    pub(crate) kl_weight: f32,
    pub(crate) lr: f32,
    /// Whether the KL itself is asked for, which costs more than its gradient.
    pub(crate) with_kl: bool,
}

/// What a pass came to.
pub(crate) struct Updated {
    /// The KL before the step, if it was asked for and the pass knows it.
    pub(crate) kl: Option<f64>,
    /// The first parameter that was not finite. Its shard has not moved, while those of others may have.
    pub(crate) bad_param: Option<usize>,
    /// The same of the gradients.
    pub(crate) bad_grad: Option<usize>,
}

impl Update {
    pub(crate) fn new(bnn: &Bnn) -> Self {
        let of_layers = bnn.plan().kl_terms();
        let knows_kl = of_layers.is_some();
        let zero = |range| vec![KlTerm { range, form: KlForm::Zero }];
        let mut layers = of_layers.unwrap_or_else(|| vec![zero(bnn.network())]);
        layers.push(zero(bnn.noise()));
        let per_layer = layers.iter().map(Vec::len).collect();
        let terms: Vec<KlTerm> = layers.into_iter().flatten().collect();
        let kls = vec![0.0; terms.iter().map(KlTerm::shards).sum()];
        Self { terms, per_layer, kls, knows_kl, network: bnn.plan().n_params() }
    }

    /// The KL, its gradient added to `grads`, if some layer does not put it into terms: the pass does not know it then.
    /// An estimate, unless it is asked for.
    pub(crate) fn kl_not_in_terms(
        &self,
        bnn: &Bnn,
        params: &[f32],
        pass: &Pass<'_>,
        rates: Rates,
        grads: &mut [f32],
    ) -> Result<Option<f64>, Error> {
        if self.knows_kl {
            return Ok(None);
        }
        let (network, plan) = (bnn.network(), bnn.plan());
        let (params, grads) = (&params[network.clone()], &mut grads[network]);
        let estimate = plan.estimate_kl_grad(params, pass, rates.kl_weight, grads)?;
        Ok(Some(if rates.with_kl { plan.kl(params)? } else { estimate }))
    }

    /// Adds the gradient of the KL to `grads` and takes the optimizer's step against it.
    pub(crate) fn step(
        &mut self,
        pass: &Pass<'_>,
        optimizer: &mut OptimizerState,
        params: &mut [f32],
        grads: &mut [f32],
        Rates { kl_weight, lr, with_kl }: Rates,
    ) -> Result<Updated, Error> {
        let (rule, Moments { m, v }) = optimizer.begin(params.len(), lr)?;
        let (pool, noise) = (pass.pool(), pass.kl_noise(self.network));
        let spoilt = [NONE; 2].map(AtomicUsize::new);
        let step = Step { pool, noise, rule, kl_weight, with_kl, spoilt };
        step.terms(&self.terms, Part { at: 0, params, grads, m, v }, &mut self.kls);
        let [bad_param, bad_grad] = step.spoilt.map(|at| Some(at.into_inner()).filter(|at| *at != NONE));
        Ok(Updated { kl: (self.knows_kl && with_kl).then(|| self.kl()), bad_param, bad_grad })
    }

    /// The sum over shards, terms and layers, in the order of [`bdl_layers::Plan::kl`].
    fn kl(&self) -> f64 {
        let (mut kls, mut terms) = (&self.kls[..], &self.terms[..]);
        let mut of_term = |term: &KlTerm| {
            let (own, rest) = kls.split_at(term.shards());
            kls = rest;
            own.iter().sum::<f64>()
        };
        let mut of_layer = |&count: &usize| {
            let (own, rest) = terms.split_at(count);
            terms = rest;
            own.iter().map(&mut of_term).sum::<f64>()
        };
        self.per_layer.iter().map(&mut of_layer).sum()
    }
}

impl Step<'_> {
    /// Several terms that follow each other; `part` starts where the first one does.
    fn terms(&self, terms: &[KlTerm], part: Part<'_>, kls: &mut [f64]) {
        match terms {
            [] => {}
            [term] => {
                let (value, rho) = part.split_at(term.weights());
                self.term(term, value, rho, kls);
            }
            _ => {
                let (front, back) = terms.split_at(terms.len() / 2);
                let (part, rest) = part.split_at(back[0].range.start - front[0].range.start);
                let (kl, kl_rest) = kls.split_at_mut(front.iter().map(KlTerm::shards).sum());
                let big = part.params.len().min(rest.params.len()) >= PIECE;
                self.both(big, (part, kl), (rest, kl_rest), &|first, (part, kl)| {
                    self.terms(if first { front } else { back }, part, kl);
                });
            }
        }
    }

    /// One term, or whole shards of one.
    fn term(&self, term: &KlTerm, value: Part<'_>, rho: Part<'_>, kls: &mut [f64]) {
        match kls {
            [] => {}
            [kl] => *kl = self.shard(term, value, rho),
            _ => {
                let shards = kls.len() / 2;
                let at = shards * KlTerm::SHARD;
                let big = value.params.len() > PIECE;
                let ((value, value_rest), (rho, rho_rest)) = (value.split_at(at), rho.split_at(at));
                let (kl, kl_rest) = kls.split_at_mut(shards);
                self.both(big, (value, rho, kl), (value_rest, rho_rest, kl_rest), &|_, (value, rho, kl)| {
                    self.term(term, value, rho, kl);
                });
            }
        }
    }

    /// `f(true, a)` and `f(false, b)`, side by side if they are big.
    fn both<T: Send>(&self, big: bool, a: T, b: T, f: &(dyn Fn(bool, T) + Sync)) {
        if !big || self.pool.threads() == 1 {
            f(true, a);
            return f(false, b);
        }
        let (mut a, mut b) = (Some(a), Some(b));
        self.pool.join(&mut || a.take().into_iter().for_each(|a| f(true, a)), &mut || {
            b.take().into_iter().for_each(|b| f(false, b))
        });
    }

    fn shard(&self, term: &KlTerm, value: Part<'_>, rho: Part<'_>) -> f64 {
        let params = [&*value.params, &*rho.params];
        let kl = if self.with_kl { term.form.shard(params) } else { 0.0 };
        let at = value.at - term.range.start;
        self.add_kl_grad(term, at..at + value.params.len(), params, [&mut *value.grads, &mut *rho.grads]);
        // Both are looked at, so that the first of all is found.
        let spoilt = [self.is_spoilt(&value), self.is_spoilt(&rho)];
        if spoilt == [false; 2] {
            value.follow(&self.rule);
            rho.follow(&self.rule);
        }
        kl
    }

    /// Whether something in `part` is not finite, and notes where.
    fn is_spoilt(&self, part: &Part<'_>) -> bool {
        let found = [&*part.params, &*part.grads].map(kernels::first_non_finite);
        for (spoilt, at) in self.spoilt.iter().zip(found) {
            if let Some(at) = at {
                // The least of all, in whatever order they are found.
                spoilt.fetch_min(part.at + at, Ordering::Relaxed);
            }
        }
        found != [None; 2]
    }
}

impl Step<'_> {
    /// Adds the gradient of the KL of the weights `at` of a term.
    fn add_kl_grad(&self, term: &KlTerm, at: Range<usize>, params: [&[f32]; 2], grads: [&mut [f32]; 2]) {
        if !term.form.draws() {
            return term.form.add_grad(params, None, self.kl_weight, grads);
        }
        let mut normals = [0.0; KlTerm::SHARD];
        let eps = term.eps(self.noise, at, &mut normals);
        term.form.add_grad(params, eps, self.kl_weight, grads);
    }
}

/// A run of the parameters, from index `at` on, with all that has their layout.
struct Part<'a> {
    at: usize,
    params: &'a mut [f32],
    grads: &'a mut [f32],
    m: &'a mut [f32],
    /// Empty if the optimizer has no second moment.
    v: &'a mut [f32],
}

impl<'a> Part<'a> {
    /// The first `n`, or all if there are fewer, and the rest.
    fn split_at(self, n: usize) -> (Self, Self) {
        let n = n.min(self.params.len());
        let (params, params_rest) = self.params.split_at_mut(n);
        let (grads, grads_rest) = self.grads.split_at_mut(n);
        let (m, m_rest) = self.m.split_at_mut(n);
        let (v, v_rest) = self.v.split_at_mut(n.min(self.v.len()));
        (
            Part { at: self.at, params, grads, m, v },
            Part { at: self.at + n, params: params_rest, grads: grads_rest, m: m_rest, v: v_rest },
        )
    }

    fn follow(self, rule: &Rule<'_>) {
        if !self.params.is_empty() {
            rule.apply(self.at, self.params, self.grads, Moments { m: self.m, v: self.v });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Gaussian, NoiseSd, Optimizer};
    use bdl_dist::ScaleMixture;
    use bdl_dist::{Noise, Purpose};
    use bdl_layers::{Dense, Dropout, Estimator, Layer, Plan, Prior, Scaling, VariationalDense};
    use bdl_tensor::Serial;

    const RATES: Rates = Rates { kl_weight: 0.01, lr: 0.05, with_kl: true };

    /// Two threads, each join in a thread of its own.
    #[derive(Debug)]
    struct Threads;

    impl Pool for Threads {
        fn threads(&self) -> usize {
            2
        }

        fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
            Serial.run(tasks, task);
        }

        fn chunks(&self, data: &mut [f32], len: usize, task: &(dyn Fn(usize, &mut [f32]) + Sync)) {
            Serial.chunks(data, len, task);
        }

        fn join(&self, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send)) {
            std::thread::scope(|s| {
                s.spawn(b);
                a();
            });
        }
    }

    /// Terms of every form, below, at and across the ends of shards and pieces.
    fn network() -> Bnn {
        let mixture = Prior::Mixture(ScaleMixture::default(), Scaling::FanIn);
        let layers: Vec<Box<dyn Layer>> = vec![
            Box::new(VariationalDense::new(150, 128, Prior::StdDev(0.7)).unwrap()),
            Box::new(Dropout::new(128, 0.2).unwrap()),
            Box::new(Dense::new(128, 16).unwrap().with_length_scale(0.5).unwrap()),
            Box::new(Dense::new(16, 129).unwrap()),
            // Its draws begin at an odd place of the vector.
            Box::new(VariationalDense::new(129, 33, mixture).unwrap()),
            Box::new(VariationalDense::new(33, 1, Prior::FanIn(1.0)).unwrap().without_bias()),
        ];
        let gaussian = Gaussian::new(NoiseSd::Learned { init: 0.5 }).unwrap();
        Bnn::new(Plan::new(layers).unwrap(), Box::new(gaussian)).unwrap()
    }

    fn numbers(stream: u64, n: usize) -> Vec<f32> {
        let mut out = vec![0.0; n];
        Noise::new(3, Purpose::Other(0)).rng(stream).normals(&mut out);
        out
    }

    fn bits(x: &[f32]) -> Vec<u32> {
        x.iter().map(|x| x.to_bits()).collect()
    }

    #[test]
    fn one_pass_is_the_gradient_of_the_kl_and_the_optimizer_step_bit_for_bit() {
        let (bnn, noise) = (network(), Noise::new(4, Purpose::Train));
        let n = bnn.n_params();
        for optimizer in [Optimizer::Sgd { momentum: 0.5 }, Optimizer::adam(), Optimizer::adam_w()] {
            let state = || OptimizerState::new(optimizer, n).unwrap();
            // Ranges that begin and end inside shards and terms.
            let state = || state().decay_only(vec![5..40, 2_000..2_100, 30_000..n - 7]).unwrap();
            for pool in [&Serial as &dyn Pool, &Threads] {
                let (mut slow, mut fast) = (state(), state());
                let (mut w, mut update) = (bnn.init(&Noise::new(0, Purpose::Init)), Update::new(&bnn));
                let mut v = w.clone();
                for step in 0..3 {
                    let (mut grads, mut fused) = (numbers(step, n), numbers(step, n));
                    let (params, pass) =
                        (&w[bnn.network()], Pass::train(&noise, step, Estimator::Local).on(pool));
                    let kl = bnn.plan().kl(params).unwrap();
                    bnn.plan().estimate_kl_grad(params, &pass, 0.01, &mut grads[bnn.network()]).unwrap();
                    slow.step(&mut w, &grads, 0.05).unwrap();
                    let done = update.step(&pass, &mut fast, &mut v, &mut fused, RATES).unwrap();
                    assert_eq!(done.kl.map(f64::to_bits), Some(kl.to_bits()), "{optimizer:?}");
                    assert_eq!((done.bad_param, done.bad_grad), (None, None));
                    assert_eq!((bits(&w), bits(&grads)), (bits(&v), bits(&fused)), "{optimizer:?}");
                    assert_eq!(slow, fast);
                }
            }
        }
    }

    #[test]
    fn a_gradient_or_a_kl_that_is_not_finite_is_seen_and_does_not_move_its_shard() {
        let (bnn, noise) = (network(), Noise::new(4, Purpose::Train));
        let pass = Pass::train(&noise, 0, Estimator::Local).on(&Threads);
        let n = bnn.n_params();
        for (at, spoil_grad) in [(3, true), (19_201, true), (n - 1, true), (3, false), (40_000, false)] {
            let mut params = bnn.init(&Noise::new(0, Purpose::Init));
            let mut grads = vec![0.5; n];
            if spoil_grad {
                grads[at] = f32::NAN
            } else {
                params[at] = f32::INFINITY
            }
            let before = params.clone();
            let (mut update, mut state) =
                (Update::new(&bnn), OptimizerState::new(Optimizer::adam(), n).unwrap());
            let done = update.step(&pass, &mut state, &mut params, &mut grads, RATES).unwrap();
            let found = if spoil_grad { (None, Some(at)) } else { (Some(at), done.bad_grad) };
            assert_eq!((done.bad_param, done.bad_grad), found);
            assert_eq!(params[at].to_bits(), before[at].to_bits(), "{at} {spoil_grad}");
            assert!(!spoil_grad || kernels::first_non_finite(&grads) == Some(at));
            assert_eq!(done.kl.is_some_and(f64::is_finite), spoil_grad);
        }
    }
}
