//! One pass over the parameters after each gradient of the likelihood: KL and its gradient, the check for
//! non-finite values, and the optimizer, shard by shard while the shard is in cache.

use std::sync::atomic::{AtomicBool, Ordering};

use bdl_layers::{KlForm, KlTerm};
use bdl_tensor::{Pool, kernels};

use crate::optimizer::{Moments, Rule};
use crate::{Bnn, Error, OptimizerState};

/// Weights that one thread works on at a time: some 20 µs.
const PIECE: usize = 4 * KlTerm::SHARD;

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
}

/// What a step does to each shard.
struct Step<'a> {
    pool: &'a dyn Pool,
    rule: Rule<'a>,
    kl_weight: f32,
    /// Whether a gradient was not finite; its shard is left as it was.
    spoilt: AtomicBool,
}

/// What a pass came to.
pub(crate) struct Updated {
    /// The KL before the step; what the layers gave, if not all of them put it into terms.
    pub(crate) kl: Option<f64>,
    /// Whether each gradient was finite. Where one or the KL is not, that shard has not moved.
    pub(crate) finite: bool,
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
        Self { terms, per_layer, kls, knows_kl }
    }

    /// The KL, its gradient added to `grads`, if some layer does not put it into terms: the pass does not know it then.
    pub(crate) fn kl_not_in_terms(
        &self,
        bnn: &Bnn,
        params: &[f32],
        kl_weight: f32,
        grads: &mut [f32],
    ) -> Result<Option<f64>, Error> {
        if self.knows_kl {
            return Ok(None);
        }
        let network = bnn.network();
        Ok(Some(bnn.plan().kl_grad(&params[network.clone()], kl_weight, &mut grads[network])?))
    }

    /// Adds the gradient of the KL to `grads` and takes the optimizer's step against it.
    pub(crate) fn step(
        &mut self,
        pool: &dyn Pool,
        optimizer: &mut OptimizerState,
        params: &mut [f32],
        grads: &mut [f32],
        (kl_weight, lr): (f32, f32),
    ) -> Result<Updated, Error> {
        let (rule, Moments { m, v }) = optimizer.begin(params.len(), lr)?;
        let step = Step { pool, rule, kl_weight, spoilt: AtomicBool::new(false) };
        step.terms(&self.terms, Part { at: 0, params, grads, m, v }, &mut self.kls);
        let finite = !step.spoilt.into_inner();
        Ok(Updated { kl: self.knows_kl.then(|| self.kl()), finite })
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
                self.term(term.form, value, rho, kls);
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
    fn term(&self, form: KlForm, value: Part<'_>, rho: Part<'_>, kls: &mut [f64]) {
        match kls {
            [] => {}
            [kl] => *kl = self.shard(form, value, rho),
            _ => {
                let shards = kls.len() / 2;
                let at = shards * KlTerm::SHARD;
                let big = value.params.len() > PIECE;
                let ((value, value_rest), (rho, rho_rest)) = (value.split_at(at), rho.split_at(at));
                let (kl, kl_rest) = kls.split_at_mut(shards);
                self.both(big, (value, rho, kl), (value_rest, rho_rest, kl_rest), &|_, (value, rho, kl)| {
                    self.term(form, value, rho, kl);
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

    fn shard(&self, form: KlForm, value: Part<'_>, rho: Part<'_>) -> f64 {
        let (params, grads) = ([&*value.params, &*rho.params], [&mut *value.grads, &mut *rho.grads]);
        let kl = form.shard_grad(params, self.kl_weight, grads);
        let finite = |part: &Part<'_>| kernels::first_non_finite(part.grads).is_none();
        if !(finite(&value) && finite(&rho)) {
            self.spoilt.store(true, Ordering::Relaxed);
        } else if kl.is_finite() {
            value.follow(&self.rule);
            rho.follow(&self.rule);
        }
        kl
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
