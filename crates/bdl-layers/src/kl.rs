//! KL divergences that are sums over weights, in the form that training works on piece by piece.

mod density;

use std::ops::Range;
use std::sync::Arc;

use bdl_dist::{Density, Noise, Normal, Purpose, kl_normal};
use bdl_tensor::kernels;

use crate::{KlAt, KlNoise};

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
#[derive(Clone, Debug)]
pub struct KlTerm {
    /// Where the parameters lie: in the layer's slice, or as a plan returns it in the whole vector.
    pub range: Range<usize>,
    /// What is summed.
    pub form: KlForm,
}

/// What a [`KlTerm`] sums over the weights, in nats.
#[derive(Clone, Debug)]
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
    /// `KL(N(mu, softplus(rho)²)‖prior)` from any density. The first half of the run is mu, the second rho. In training,
    /// what has no closed form is estimated by one draw of each weight.
    Density {
        /// The prior of each weight.
        prior: Arc<dyn Density>,
    },
    /// That of the weights of variational dropout, from the log-uniform prior: so many weights for each `alpha = sigmoid(value)`.
    Dropout {
        /// Weights that share an alpha.
        weights: f64,
    },
}

/// What a KL divergence is known up to, and with it what an ELBO is worth: `docs/math.md#elbo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum KlKnown {
    /// Nothing: the ELBO is a lower bound of the log evidence.
    Exactly,
    /// Nothing, but the prior was centred on a network that may have been fitted to the same rows: the ELBO then bounds
    /// nothing that was known before them.
    FromFittedPrior,
    /// A constant of the network and its settings: the ELBO bounds nothing.
    UpToConstant,
    /// Any constant, since the prior is improper: there is no evidence that an ELBO could bound.
    Improper,
}

impl KlForm {
    /// What the KL is known up to.
    #[must_use]
    pub fn known(&self) -> KlKnown {
        match self {
            Self::Zero | Self::Normal { .. } => KlKnown::Exactly,
            Self::Squares { .. } => KlKnown::UpToConstant,
            Self::LogUniform | Self::Dropout { .. } => KlKnown::Improper,
            Self::Density { prior } => match prior.draw(&mut Noise::new(0, Purpose::Other(0)).rng(0)) {
                Some(_) => KlKnown::Exactly,
                None => KlKnown::Improper,
            },
        }
    }

    /// Whether an estimate of its gradient takes a draw of each weight.
    #[must_use]
    pub fn draws(&self) -> bool {
        matches!(self, Self::Density { prior } if !prior.closed_form())
    }

    /// Adds `weight` times the gradient of the KL of some weights, or of its estimate from their standard normal eps.
    ///
    /// # Shapes
    /// `params` and `grads`: values, or mu and raw scales; the second is empty in the forms with one parameter per weight.
    /// `eps`: one per weight, of forms that [draw](KlForm::draws); others have no use for it.
    ///
    /// # Panics
    /// If slices that belong together differ in length.
    pub fn add_grad(&self, params: [&[f32]; 2], eps: Option<&[f32]>, weight: f32, grads: [&mut [f32]; 2]) {
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
            Self::Density { prior } => {
                density::add_grad(&**prior, [value, raw], eps, weight, [d_value, d_raw]);
            }
            Self::Dropout { weights } => kernels::kl_dropout_slope(weight * *weights as f32, value, d_value),
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
            Self::Density { prior } => density::kl(&**prior, value, raw),
            Self::Dropout { weights } => weights * kernels::kl_dropout(value),
        }
    }

    /// The KL of a shard, or its estimate from eps.
    fn estimate(&self, [value, raw]: [&[f32]; 2], eps: Option<&[f32]>) -> f64 {
        match (self, eps) {
            (Self::Density { prior }, Some(eps)) => density::estimate(&**prior, value, raw, eps),
            _ => self.shard([value, raw]),
        }
    }
}

impl KlTerm {
    /// What is known of the sum of all terms of a layer; of a layer without terms, what it says.
    pub(crate) fn known(terms: Option<Vec<Self>>, without: KlKnown) -> KlKnown {
        let most = |terms: Vec<Self>| terms.iter().map(|term| term.form.known()).max();
        terms.map_or(without, |terms| most(terms).unwrap_or(KlKnown::Exactly))
    }

    /// The KL of all terms of a layer.
    pub(crate) fn sum(terms: &[Self], params: &[f32]) -> f64 {
        terms.iter().map(|term| term.kl(params)).sum()
    }

    /// Returns an estimate of the KL of all terms of a layer, and adds `weight` times its gradient.
    pub(crate) fn sum_grad(terms: &[Self], at: &KlAt<'_>, weight: f32, grads: &mut [f32]) -> f64 {
        terms.iter().map(|term| term.estimate_grad(at.params, at.noise, weight, grads)).sum()
    }

    /// Weights of a shard: their parameters, gradients and moments lie in a core's own cache.
    pub const SHARD: usize = 2048;

    /// Number of weights.
    #[must_use]
    pub fn weights(&self) -> usize {
        match self.form {
            KlForm::Normal { .. } | KlForm::LogUniform | KlForm::Density { .. } => self.range.len() / 2,
            _ => self.range.len(),
        }
    }

    /// Number of weights that the sum is over, each as often as it counts: those that have a prior.
    #[must_use]
    pub fn summed(&self) -> usize {
        match self.form {
            KlForm::Zero => 0,
            KlForm::Dropout { weights } => (weights * self.range.len() as f64) as usize,
            _ => self.weights(),
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
        self.estimate_grad(params, None, weight, grads)
    }

    /// Returns an estimate of [`kl`](KlTerm::kl) from the noise, where it has no closed form, and adds `weight` times its
    /// gradient; without noise [`kl_grad`](KlTerm::kl_grad).
    ///
    /// # Panics
    /// If the range reaches beyond a vector.
    pub fn estimate_grad(
        &self,
        params: &[f32],
        noise: Option<KlNoise<'_>>,
        weight: f32,
        grads: &mut [f32],
    ) -> f64 {
        let (value, raw) = params[self.range.clone()].split_at(self.weights());
        let (d_value, d_raw) = grads[self.range.clone()].split_at_mut(self.weights());
        let mut normals = [0.0; Self::SHARD];
        let mut shard = |s| {
            let at = shard_of(d_value.len(), s);
            let eps = self.eps(noise, at.clone(), &mut normals);
            let grads = [&mut d_value[at], &mut d_raw[shard_of(raw.len(), s)]];
            let params = [cut(value, s), cut(raw, s)];
            self.form.add_grad(params, eps, weight, grads);
            self.form.estimate(params, eps)
        };
        (0..self.shards()).map(&mut shard).sum()
    }

    /// The normals of the weights `at` of this term, at most a shard of them, if its form draws and there is noise. Their
    /// addresses are those of the means in the parameter vector.
    pub fn eps<'n>(
        &self,
        noise: Option<KlNoise<'_>>,
        at: Range<usize>,
        normals: &'n mut [f32; Self::SHARD],
    ) -> Option<&'n [f32]> {
        let noise = noise.filter(|_| self.form.draws())?;
        let normals = &mut normals[..at.len()];
        noise.normals(self.range.start + at.start, normals);
        Some(normals)
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
    use bdl_dist::Laplace;

    #[test]
    fn each_form_is_its_formula_over_several_shards_and_adds_its_gradient() {
        let n = 2 * KlTerm::SHARD + 7;
        let params: Vec<f32> = (0..2 * n).map(|i| (i as f32 * 0.37).sin()).collect();
        let prior = Normal::new(0.1, 0.5).unwrap();
        let (squares, dropout) = (KlForm::Squares { half_precision: 0.3 }, KlForm::Dropout { weights: 3.0 });
        let laplace: Arc<dyn Density> = Arc::new(Laplace::new(0.5).unwrap());
        let of_density = KlForm::Density { prior: laplace.clone() };
        let normal = KlForm::Normal { prior };
        for form in [KlForm::Zero, squares, normal, KlForm::LogUniform, of_density, dropout] {
            let term = KlTerm { range: 0..2 * n, form: form.clone() };
            let whole = match &form {
                KlForm::Zero => 0.0,
                KlForm::Squares { half_precision } => half_precision * kernels::sum_squares_f64(&params),
                KlForm::Normal { prior } => kl_normal(&params[..n], &params[n..], prior).unwrap(),
                KlForm::LogUniform => kernels::kl_log_uniform(&params[..n], &params[n..]),
                KlForm::Density { prior } => density::kl(&**prior, &params[..n], &params[n..]),
                KlForm::Dropout { weights } => weights * kernels::kl_dropout(&params),
            };
            let kl = term.kl(&params);
            assert!((kl - whole).abs() <= 1e-12 * whole.abs(), "{form:?}: {kl} {whole}");
            let (mut grads, mut expected) = (vec![0.5; 2 * n], vec![0.5; 2 * n]);
            assert_eq!(term.kl_grad(&params, 0.25, &mut grads).to_bits(), kl.to_bits());
            let halves = |x: usize| params.split_at(x);
            let ((mu, rho), (d_mu, d_rho)) = (halves(term.weights()), expected.split_at_mut(term.weights()));
            form.add_grad([mu, rho], None, 0.25, [d_mu, d_rho]);
            assert_eq!(grads, expected, "{form:?}");
        }
    }
}
