//! KL divergences that are sums over weights, in the form that training works on piece by piece.

use std::ops::Range;

use bdl_dist::{Normal, kl_normal};
use bdl_tensor::kernels;

/// The KL divergence of one run of parameters, a sum over its weights.
///
/// The sum runs over shards of [`KlTerm::SHARD`] weights, each summed by itself, and the shards are added in order:
/// whoever works on several shards at a time gets the same bits as [`kl`](KlTerm::kl).
///
/// ```
/// use bdl_layers::{KlForm, KlTerm};
/// let term = KlTerm { range: 0..3, form: KlForm::Squares { half_precision: 0.5 } };
/// let mut grads = [1.0; 3];
/// assert_eq!(term.kl_grad(&[1.0, 2.0, 0.0], 1.0, &mut grads), 2.5);
/// assert_eq!(grads, [2.0, 3.0, 1.0]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct KlTerm {
    /// Where the parameters lie: in the layer's slice, or as a plan returns it in the whole vector.
    pub range: Range<usize>,
    /// What is summed.
    pub form: KlForm,
}

/// What a [`KlTerm`] sums over the weights, in nats.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum KlForm {
    /// Nothing: the parameters have no prior.
    Zero,
    /// `half_precision·w²`, one parameter per weight.
    Squares {
        /// Half the precision of the prior.
        half_precision: f64,
    },
    /// `KL(N(mu, softplus(rho)²)‖prior)`. The first half of the run is mu, the second rho.
    Normal {
        /// The prior of each weight.
        prior: Normal,
    },
    /// That of `N(mu, e^{ln_sigma2})` from the log-uniform prior. The first half of the run is mu, the second ln sigma².
    LogUniform,
}

impl KlForm {
    /// Adds `weight` times the gradient of the KL of some weights.
    ///
    /// # Shapes
    /// `params` and `grads`: values, or mu and raw scales; the second is empty in the forms with one parameter per weight.
    ///
    /// # Panics
    /// If slices that belong together differ in length.
    pub fn add_grad(&self, params: [&[f32]; 2], weight: f32, grads: [&mut [f32]; 2]) {
        let ([value, raw], [d_value, d_raw]) = (params, grads);
        match self {
            Self::Zero => {}
            Self::Squares { half_precision } => {
                kernels::axpy(weight * (2.0 * half_precision) as f32, value, d_value);
            }
            Self::Normal { prior } => {
                let (mean, std_dev) = (prior.mean(), prior.std_dev());
                kernels::kl_normal_slope(mean, std_dev, weight, value, raw, d_value, d_raw);
            }
            Self::LogUniform => kernels::kl_log_uniform_slope(weight, value, raw, d_value, d_raw),
        }
    }

    /// The KL of some weights: of one shard, for the bits of the sum.
    #[must_use]
    pub fn shard(&self, [value, raw]: [&[f32]; 2]) -> f64 {
        match self {
            Self::Zero => 0.0,
            Self::Squares { half_precision } => half_precision * kernels::sum_squares_f64(value),
            Self::Normal { prior } => kl_normal(value, raw, prior).unwrap_or(f64::NAN),
            Self::LogUniform => kernels::kl_log_uniform(value, raw),
        }
    }
}

impl KlTerm {
    /// Weights of a shard: their parameters, gradients and moments lie in a core's own cache.
    pub const SHARD: usize = 2048;

    /// Number of weights.
    #[must_use]
    pub fn weights(&self) -> usize {
        match self.form {
            KlForm::Normal { .. } | KlForm::LogUniform => self.range.len() / 2,
            _ => self.range.len(),
        }
    }

    /// Number of shards.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.weights().div_ceil(Self::SHARD)
    }

    /// The KL at `params`, the vector in which the range lies.
    ///
    /// # Panics
    /// If the range reaches beyond the vector.
    #[must_use]
    pub fn kl(&self, params: &[f32]) -> f64 {
        let (value, raw) = params[self.range.clone()].split_at(self.weights());
        (0..self.shards()).map(|s| self.form.shard([cut(value, s), cut(raw, s)])).sum()
    }

    /// Returns [`kl`](KlTerm::kl) and adds `weight` times its gradient to `grads`, which is as long as `params`.
    ///
    /// # Panics
    /// If the range reaches beyond a vector.
    pub fn kl_grad(&self, params: &[f32], weight: f32, grads: &mut [f32]) -> f64 {
        let (value, raw) = params[self.range.clone()].split_at(self.weights());
        let (d_value, d_raw) = grads[self.range.clone()].split_at_mut(self.weights());
        let mut shard = |s| {
            let grads = [shard_of(d_value.len(), s), shard_of(d_raw.len(), s)];
            let grads = [&mut d_value[grads[0].clone()], &mut d_raw[grads[1].clone()]];
            let params = [cut(value, s), cut(raw, s)];
            self.form.add_grad(params, weight, grads);
            self.form.shard(params)
        };
        (0..self.shards()).map(&mut shard).sum()
    }
}

/// Shard `s` of a slice; nothing of an empty one.
fn cut(x: &[f32], s: usize) -> &[f32] {
    &x[shard_of(x.len(), s)]
}

fn shard_of(len: usize, s: usize) -> Range<usize> {
    (s * KlTerm::SHARD).min(len)..((s + 1) * KlTerm::SHARD).min(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_its_formula_over_several_shards_and_adds_its_gradient() {
        let n = 2 * KlTerm::SHARD + 7;
        let params: Vec<f32> = (0..2 * n).map(|i| (i as f32 * 0.37).sin()).collect();
        let prior = Normal::new(0.1, 0.5).unwrap();
        let squares = KlForm::Squares { half_precision: 0.3 };
        for form in [KlForm::Zero, squares, KlForm::Normal { prior }, KlForm::LogUniform] {
            let term = KlTerm { range: 0..2 * n, form };
            let whole = match form {
                KlForm::Zero => 0.0,
                KlForm::Squares { half_precision } => half_precision * kernels::sum_squares_f64(&params),
                KlForm::Normal { prior } => kl_normal(&params[..n], &params[n..], &prior).unwrap(),
                KlForm::LogUniform => kernels::kl_log_uniform(&params[..n], &params[n..]),
            };
            let kl = term.kl(&params);
            assert!((kl - whole).abs() <= 1e-12 * whole.abs(), "{form:?}: {kl} {whole}");
            let (mut grads, mut expected) = (vec![0.5; 2 * n], vec![0.5; 2 * n]);
            assert_eq!(term.kl_grad(&params, 0.25, &mut grads).to_bits(), kl.to_bits());
            let halves = |x: usize| params.split_at(x);
            let ((mu, rho), (d_mu, d_rho)) = (halves(term.weights()), expected.split_at_mut(term.weights()));
            form.add_grad([mu, rho], 0.25, [d_mu, d_rho]);
            assert_eq!(grads, expected, "{form:?}");
        }
    }
}
