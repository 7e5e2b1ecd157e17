//! Posterior families: how a variational layer's standard deviations come from its parameters, and what they cost.

mod grain;
mod independent_vd;
mod sparse_vd;

use std::borrow::Cow;
use std::fmt::Debug;

use bdl_dist::{NoiseRng, Normal, kl_normal, raw_scale};
use bdl_tensor::{kernels, math};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::dense::check_positive;
use crate::prior::{self, Informed, OfWeight};
use crate::report::{AT_PRIOR, POINT, share};
use crate::{Block, Error, KlAt, KlKnown, KlTerm, LayerReport, Measure, Prior, Registry};

pub use grain::Grain;
pub(crate) use grain::GrainV1;
pub use independent_vd::{IndependentVd, IndependentVdConv2d, IndependentVdDense, IndependentVdV1};
pub(crate) use independent_vd::{alphas_at_prior, ln_alpha, logit};
pub use sparse_vd::{SparseVd, SparseVdConv2d, SparseVdDense, SparseVdV1};

/// The sizes of a layer that its posterior family needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Shape of the weights; the last axis is the output unit.
    pub weight_shape: Vec<usize>,
    /// Number of biases: the output units, or 0 in a layer without.
    pub biases: usize,
    /// Number of weights that one output is a sum over.
    pub fan_in: usize,
}

impl Extent {
    /// Number of weights.
    #[must_use]
    pub fn weights(&self) -> usize {
        self.weight_shape.iter().product()
    }
}

/// A family of normal posteriors `q(w) = N(mu, sigma²)`, independent over weights, with
/// sigma a function of raw parameters and possibly of mu.
///
/// [`Variational`](crate::Variational) draws from it by weight sampling, Flipout or local reparameterization, over any
/// [`LinearMap`](crate::LinearMap); the family says what sigma is, and what the KL from its prior.
///
/// The parameters of a layer lie in the order `weight.mu`, `weight.<raw>`, `bias.mu`, `bias.<raw>`; a family without
/// [`RANDOM_BIAS`](Family::RANDOM_BIAS) has a plain `bias` in the place of the last two.
pub trait Family: Clone + Debug + PartialEq + Send + Sync + Sized + 'static {
    /// First part of a layer's kind: `variational`, `sparse-vd`.
    const KIND: &'static str;

    /// Name of the raw parameters: `rho`, `ln_sigma2`, `log_alpha`.
    const RAW: &'static str;

    /// Whether biases have a posterior, too, of raw parameters one per bias.
    const RANDOM_BIAS: bool;

    /// Whether there is one raw parameter per weight and sigma depends on nothing else, so that a gradient in the variance
    /// can become that of the raw parameter in its place: see [`variance_grad_in_place`](Family::variance_grad_in_place).
    const IN_PLACE: bool;

    /// How a threshold says that a weight is noise.
    const MEASURE: Measure = Measure::SignalToNoise;

    /// The form in which a file holds the family's settings; frozen.
    type Config: Serialize + DeserializeOwned;

    /// What [`from_config`](Family::from_config) needs.
    fn config(&self) -> Self::Config;

    /// The family of a file; the registry knows priors of the user's own.
    ///
    /// # Errors
    /// [`Error::Argument`] for settings out of range, on behalf of the layer of the kind `layer`; [`Error::UnknownKind`].
    fn from_config(layer: &str, config: Self::Config, registry: &Registry) -> Result<Self, Error>;

    /// Shape of the raw parameters of weights of this shape.
    fn raw_shape(&self, weight_shape: &[usize]) -> Vec<usize> {
        weight_shape.to_vec()
    }

    /// Initial raw parameters, for the means that have been drawn.
    fn init_raw(&self, fan_in: usize, mu: &[f32], raw: &mut [f32]);

    /// Writes sigma of each weight.
    fn sigma(&self, mu: &[f32], raw: &[f32], sigma: &mut [f32]);

    /// Writes sigma² of each weight.
    fn variance(&self, mu: &[f32], raw: &[f32], variance: &mut [f32]);

    /// Adds to the gradients of mu and of the raw parameters what comes through sigma.
    fn add_sigma_grad(&self, mu: &[f32], raw: &[f32], d_sigma: &[f32], d_mu: &mut [f32], d_raw: &mut [f32]);

    /// Adds to the gradients of mu and of the raw parameters what comes through sigma²; `d_variance` is used up.
    fn add_variance_grad(
        &self,
        mu: &[f32],
        raw: &[f32],
        d_variance: &mut [f32],
        d_mu: &mut [f32],
        d_raw: &mut [f32],
    );

    /// Replaces the gradient in sigma² by that in the raw parameter, of a piece of the weights; called only
    /// of families that are [`IN_PLACE`](Family::IN_PLACE).
    fn variance_grad_in_place(&self, raw: &[f32], d: &mut [f32]) {
        let _ = (raw, d);
    }

    /// Writes `ln(sigma²/mu²)` of each weight, +∞ at `mu = 0`: minus twice the logarithm of its signal-to-noise ratio.
    fn log_alpha(&self, mu: &[f32], raw: &[f32], log_alpha: &mut [f32]);

    /// Which weights are more than noise: those of `ln(sigma²/mu²) ≤ threshold`, the others can go.
    ///
    /// ```
    /// use bdl_layers::{Family, SparseVd};
    /// let (mu, ln_sigma2) = ([1.0, 0.1, 0.0], [0.0; 3]); // ln alpha = 0, 4.6, ∞
    /// assert_eq!(SparseVd::new().keeps(&mu, &ln_sigma2, SparseVd::THRESHOLD), [true, false, false]);
    /// ```
    fn keeps(&self, mu: &[f32], raw: &[f32], threshold: f32) -> Vec<bool> {
        let mut log_alpha = vec![0.0; mu.len()];
        self.log_alpha(mu, raw, &mut log_alpha);
        log_alpha.iter().map(|&log_alpha| log_alpha <= threshold).collect()
    }

    /// The raw parameter of a weight whose deviation is `sigma` ≥ 0, where it depends on nothing else. Only layers of such
    /// families can be pruned.
    fn raw_of(&self, sigma: f64) -> Option<f32> {
        let _ = sigma;
        None
    }

    /// Blocks behind those of the posteriors, which the KL alone reads: what the prior learns, or what it is given with the weights.
    fn prior_blocks(&self, extent: &Extent) -> Vec<Block> {
        let _ = extent;
        Vec::new()
    }

    /// Initial values of those blocks.
    fn init_prior(&self, of_prior: &mut [f32]) {
        let _ = of_prior;
    }

    /// Puts means that the prior has at these weights and biases.
    fn start_prior(&self, weights: [&[f32]; 2], of_prior: &mut [f32]) {
        let _ = (weights, of_prior);
    }

    /// Whether the blocks of the prior are means of weights and of biases, in their order, so that pruning can cut them as it cuts
    /// the posteriors. Layers of other families with more than a number for the layer cannot be pruned.
    fn prior_is_centred(&self) -> bool {
        false
    }

    /// Draws weights and biases from the prior.
    ///
    /// # Errors
    /// What stands in the place of a proper prior, in words.
    fn sample_prior(
        &self,
        extent: &Extent,
        of_prior: &[f32],
        weights: [&mut [f32]; 2],
        rng: &mut NoiseRng,
    ) -> Result<(), &'static str> {
        let _ = (extent, of_prior, weights, rng);
        Err(IMPROPER)
    }

    /// KL divergence of the layer's posterior from its prior, nats, summed over its weights.
    fn kl(&self, extent: &Extent, at: &KlAt<'_>) -> f64 {
        KlTerm::sum(&self.kl_terms(extent).unwrap_or_default(), at.params)
    }

    /// Returns [`kl`](Family::kl), or with noise an unbiased estimate, and adds `weight` times its gradient to `grads`.
    fn kl_grad(&self, extent: &Extent, at: &KlAt<'_>, weight: f32, grads: &mut [f32]) -> f64 {
        KlTerm::sum_grad(&self.kl_terms(extent).unwrap_or_default(), at, weight, grads)
    }

    /// The KL as sums over runs of parameters that cover the layer's in order, if it has that form: see
    /// [`Layer::kl_terms`](crate::Layer::kl_terms). A family that says `None` implements `kl` and `kl_grad` itself.
    fn kl_terms(&self, extent: &Extent) -> Option<Vec<KlTerm>>;

    /// Whether the KL is exact: see [`Layer::kl_known`](crate::Layer::kl_known).
    fn kl_known(&self, extent: &Extent) -> KlKnown {
        KlTerm::known(self.kl_terms(extent), KlKnown::UpToConstant)
    }

    /// What a reader wants to know about the posterior: all that its `ln alpha` say, unless the family knows more.
    fn report(&self, extent: &Extent, at: &KlAt<'_>) -> LayerReport {
        of_log_alpha(self, extent, at)
    }
}

/// A report of the KL and of what `ln alpha` say.
fn of_log_alpha<F: Family>(family: &F, extent: &Extent, at: &KlAt<'_>) -> LayerReport {
    let [mu, raw] = weights_of(family, extent, at.params);
    let mut log_alpha = vec![0.0; mu.len()];
    family.log_alpha(mu, raw, &mut log_alpha);
    LayerReport { kl: family.kl(extent, at), ..LayerReport::of_log_alpha(log_alpha) }
}

/// Means and raw parameters of a layer's weights.
fn weights_of<'a, F: Family>(family: &F, extent: &Extent, params: &'a [f32]) -> [&'a [f32]; 2] {
    let (mu, rest) = params.split_at(extent.weights());
    let raws: usize = family.raw_shape(&extent.weight_shape).iter().product();
    [mu, &rest[..raws]]
}

/// The prior of the families of variational dropout.
pub(crate) const IMPROPER: &str = "the log-uniform density, which is improper";

/// A deviation that is as good as 0 and has a raw parameter.
const LEAST_SIGMA: f64 = 1e-40;

/// The mean-field normal posterior `q(w) = N(mu, softplus(rho)²)` over weights and biases, with a prior of its own choice.
///
/// # References
/// Blundell et al. 2015, *Weight uncertainty in neural networks*.
#[derive(Clone, Debug, PartialEq)]
pub struct MeanField {
    prior: Prior,
    init_sigma: f64,
}

/// The form in which a file holds a [`MeanField`]; frozen.
#[derive(Debug, Serialize, Deserialize)]
pub struct MeanFieldV1 {
    prior: prior::V1,
    init_sigma: f64,
}

impl MeanField {
    /// The family with a prior, its posteriors initialized with a standard deviation of `init_sigma`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a prior or a deviation out of range, on behalf of the layer of the kind `layer`.
    pub fn new(layer: &str, prior: Prior, init_sigma: f64) -> Result<Self, Error> {
        prior.check(layer)?;
        check_positive(layer, "init_sigma", init_sigma)?;
        Ok(Self { prior, init_sigma })
    }

    /// The same with another initial standard deviation.
    ///
    /// # Errors
    /// [`Error::Argument`] unless it is finite and > 0.
    pub fn with_init_sigma(self, layer: &str, init_sigma: f64) -> Result<Self, Error> {
        check_positive(layer, "init_sigma", init_sigma)?;
        Ok(Self { init_sigma, ..self })
    }

    /// Priors of a weight and of a bias.
    fn priors(&self, fan_in: usize) -> [OfWeight; 2] {
        self.prior.of_weight_and_bias(fan_in).unwrap_or_else(|_| unreachable!("checked on construction"))
    }
}

impl Family for MeanField {
    const KIND: &'static str = "variational";

    const RAW: &'static str = "rho";

    const RANDOM_BIAS: bool = true;

    const IN_PLACE: bool = true;

    type Config = MeanFieldV1;

    fn config(&self) -> MeanFieldV1 {
        MeanFieldV1 { prior: (&self.prior).into(), init_sigma: self.init_sigma }
    }

    fn from_config(layer: &str, config: MeanFieldV1, registry: &Registry) -> Result<Self, Error> {
        Self::new(layer, config.prior.build(registry)?, config.init_sigma)
    }

    fn init_raw(&self, _: usize, _: &[f32], raw: &mut [f32]) {
        raw.fill(raw_scale(self.init_sigma));
    }

    fn sigma(&self, _: &[f32], rho: &[f32], sigma: &mut [f32]) {
        kernels::softplus(rho, sigma);
    }

    fn variance(&self, _: &[f32], rho: &[f32], variance: &mut [f32]) {
        kernels::softplus_square(rho, variance);
    }

    /// `d_rho += ∂L/∂sigma·sigmoid(rho)`.
    fn add_sigma_grad(&self, _: &[f32], rho: &[f32], d_sigma: &[f32], _: &mut [f32], d_rho: &mut [f32]) {
        kernels::softplus_backward_add(rho, d_sigma, d_rho);
    }

    /// `d_rho += ∂L/∂sigma²·2 sigma·sigmoid(rho)`.
    fn add_variance_grad(
        &self,
        _: &[f32],
        rho: &[f32],
        d_variance: &mut [f32],
        _: &mut [f32],
        d_rho: &mut [f32],
    ) {
        kernels::softplus_square_backward(rho, d_variance);
        kernels::axpy(1.0, d_variance, d_rho);
    }

    fn variance_grad_in_place(&self, rho: &[f32], d: &mut [f32]) {
        kernels::softplus_square_backward(rho, d);
    }

    fn raw_of(&self, sigma: f64) -> Option<f32> {
        Some(raw_scale(sigma.max(LEAST_SIGMA)))
    }

    fn log_alpha(&self, mu: &[f32], rho: &[f32], log_alpha: &mut [f32]) {
        for ((out, &mu), &rho) in log_alpha.iter_mut().zip(mu).zip(rho) {
            *out = math::log_alpha(mu, 2.0 * math::ln_softplus(rho));
        }
    }

    fn prior_blocks(&self, extent: &Extent) -> Vec<Block> {
        self.prior.blocks(extent)
    }

    fn init_prior(&self, of_prior: &mut [f32]) {
        self.prior.init(of_prior);
    }

    fn start_prior(&self, weights: [&[f32]; 2], of_prior: &mut [f32]) {
        self.prior.centre(weights, of_prior);
    }

    fn prior_is_centred(&self) -> bool {
        matches!(self.prior, Prior::Around(..))
    }

    fn sample_prior(
        &self,
        extent: &Extent,
        of_prior: &[f32],
        weights: [&mut [f32]; 2],
        rng: &mut NoiseRng,
    ) -> Result<(), &'static str> {
        self.prior.sample(extent, of_prior, weights, rng)
    }

    fn kl(&self, extent: &Extent, at: &KlAt<'_>) -> f64 {
        match Informed::of(&self.prior, extent, at.params) {
            Some(informed) => informed.kl(),
            None => KlTerm::sum(&self.kl_terms(extent).unwrap_or_default(), at.params),
        }
    }

    fn kl_grad(&self, extent: &Extent, at: &KlAt<'_>, weight: f32, grads: &mut [f32]) -> f64 {
        match Informed::of(&self.prior, extent, at.params) {
            Some(informed) => {
                informed.add_kl_grad(weight, grads);
                informed.kl()
            }
            None => KlTerm::sum_grad(&self.kl_terms(extent).unwrap_or_default(), at, weight, grads),
        }
    }

    /// `None` under a prior with numbers of its own, whose KL is no sum over runs of weights alone.
    fn kl_terms(&self, extent: &Extent) -> Option<Vec<KlTerm>> {
        if let Prior::Around(..) | Prior::Learned(..) = self.prior {
            return None;
        }
        let weights = 2 * extent.weights();
        let [of_weight, of_bias] = self.priors(extent.fan_in).map(OfWeight::kl_form);
        Some(vec![
            KlTerm { range: 0..weights, form: of_weight },
            KlTerm { range: weights..weights + 2 * extent.biases, form: of_bias },
        ])
    }

    /// Normals under a normal, where there are no terms.
    fn kl_known(&self, extent: &Extent) -> KlKnown {
        match self.prior {
            Prior::Around(..) => KlKnown::FromFittedPrior,
            _ => KlTerm::known(self.kl_terms(extent), KlKnown::Exactly),
        }
    }

    fn report(&self, extent: &Extent, at: &KlAt<'_>) -> LayerReport {
        let report = of_log_alpha(self, extent, at);
        let [mu, rho] = weights_of(self, extent, at.params);
        let [prior, _] = self.priors(extent.fan_in);
        let informed = Informed::of(&self.prior, extent, at.params);
        let (nearest, off) = match &informed {
            Some(informed) => (informed.of_weights(), Cow::Owned(informed.deviations())),
            None => (prior.nearest_normal(), Cow::Borrowed(mu)),
        };
        let weights = off.iter().zip(rho);
        let Some(normal) = nearest else {
            // Any width is as near as any other: the prior is all noise.
            let form = prior.kl_form();
            let kl = |mu: f32, rho: f32| form.shard([&[mu], &[rho]]);
            let least = kl(0.0, 0.0);
            let at_prior = share(weights, |(mu, rho)| kl(*mu, *rho) - least < AT_PRIOR);
            return report.with_at_prior(at_prior).flat_if_all_noise();
        };
        let at_prior = share(weights, |(mu, rho)| kl_one(*mu, *rho, &normal) < AT_PRIOR);
        let point = POINT * normal.std_dev();
        let collapsed = share(rho.iter(), |rho| f64::from(math::softplus(*rho)) < point);
        let kl_weights = informed.as_ref().map(|_| extent.weights() + extent.biases);
        let prior_std_dev = informed.and_then(|informed| informed.learned());
        LayerReport { collapsed, kl_weights, prior_std_dev, ..report.with_at_prior(at_prior) }
    }
}

fn kl_one(mu: f32, rho: f32, prior: &Normal) -> f64 {
    kl_normal(&[mu], &[rho], prior).unwrap_or(f64::NAN)
}
