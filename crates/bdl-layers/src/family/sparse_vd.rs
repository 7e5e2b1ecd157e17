//! Sparse variational dropout: normals with a scale of their own for each weight, under the log-uniform prior.

use bdl_tensor::{kernels, math};
use serde::{Deserialize, Serialize};

use super::{Extent, Family, LEAST_SIGMA, of_log_alpha, weights_of};
use crate::dense::check_finite;
use crate::report::{AT_PRIOR, share};
use crate::variational::kind_of;
use crate::{
    Conv2dMap, DenseMap, Error, Filters, Image, KlAt, KlForm, KlTerm, LayerReport, LinearMap, Measure,
    Registry, Variational,
};

/// The posterior of sparse variational dropout, `q(w) = N(mu, e^{ln_sigma2})` under the log-uniform prior `p(ln|w|) = const`, which
/// drives the weights that the data do not need to `alpha = sigma²/mu² → ∞`. Biases are plain parameters.
///
/// ```text
/// log_alpha = ln_sigma2 − ln mu²
/// KL ≈ k1·sigmoid(−(k2 + k3·log_alpha)) + ½·ln(1 + 1/alpha)      per weight, up to the constant that makes it 0 at ∞
/// ```
///
/// The clip of log_alpha acts in the KL alone and from above: beyond 8 the KL is held at its value there and has gradient 0,
/// so that `mu = 0` is as good a weight as any. Below, the KL is the straight line that the formula tends to, with its slope of −½: a clip there
/// would leave weights of little noise without a reason to ever have more. The noise is that of q, whatever log_alpha is.
///
/// No weight is treated as 0 while training or predicting: that the paper tests with the weights of `ln alpha > 3` removed and the others at their
/// means is a network of its own, which [`keeps`](Family::keeps) describes. The prior is improper: `elbo` orders runs of one architecture and
/// bounds no evidence.
///
/// # References
/// Molchanov, Ashukha & Vetrov 2017, *Variational dropout sparsifies deep neural networks*, eqs. 14 and 16; `docs/math.md#sparse-variational-dropout`,
/// `docs/math.md#kl-log-uniform`.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseVd {
    init_ln_sigma2: f64,
}

/// A dense layer under sparse variational dropout.
pub type SparseVdDense = Variational<DenseMap, SparseVd>;

/// A convolution under sparse variational dropout.
pub type SparseVdConv2d = Variational<Conv2dMap, SparseVd>;

/// The form in which a file holds a [`SparseVd`]; frozen.
#[derive(Debug, Serialize, Deserialize)]
pub struct SparseVdV1 {
    init_ln_sigma2: f64,
}

impl SparseVd {
    /// `ln alpha` above which the paper removes a weight: a drop probability of 0.95.
    pub const THRESHOLD: f32 = 3.0;

    /// The family, its posteriors initialized with `ln_sigma2 = −10`.
    #[must_use]
    pub fn new() -> Self {
        Self { init_ln_sigma2: -10.0 }
    }

    /// The same with another initial ln sigma².
    ///
    /// # Errors
    /// [`Error::Argument`] unless it is finite, on behalf of the layer of the kind `layer`.
    pub fn with_init_ln_sigma2(self, layer: &str, init_ln_sigma2: f64) -> Result<Self, Error> {
        check_finite(layer, "init_ln_sigma2", init_ln_sigma2)?;
        Ok(Self { init_ln_sigma2 })
    }
}

impl Default for SparseVd {
    fn default() -> Self {
        Self::new()
    }
}

impl SparseVdDense {
    pub(crate) const KIND: &'static str = "sparse-vd-dense";

    /// The layer, with biases.
    ///
    /// # Errors
    /// [`Error::Argument`] for a width of 0.
    pub fn new(in_dim: usize, out_dim: usize) -> Result<Self, Error> {
        Ok(Self::of(DenseMap::new(Self::KIND, in_dim, out_dim)?, SparseVd::new()))
    }
}

impl SparseVdConv2d {
    pub(crate) const KIND: &'static str = "sparse-vd-conv2d";

    /// The layer, with biases.
    ///
    /// # Errors
    /// [`Error::Argument`] for filters that do not fit the image.
    pub fn new(image: Image, filters: Filters) -> Result<Self, Error> {
        Ok(Self::of(Conv2dMap::new(Self::KIND, image, filters)?, SparseVd::new()))
    }
}

impl<M: LinearMap> Variational<M, SparseVd> {
    /// The same with another initial ln sigma² of the posterior.
    ///
    /// # Errors
    /// [`Error::Argument`] unless it is finite.
    pub fn with_init_ln_sigma2(self, init_ln_sigma2: f64) -> Result<Self, Error> {
        let family = self.family().clone().with_init_ln_sigma2(&kind_of::<M, SparseVd>(), init_ln_sigma2)?;
        Ok(self.with_family(family))
    }
}

impl Family for SparseVd {
    const KIND: &'static str = "sparse-vd";

    const RAW: &'static str = "ln_sigma2";

    const RANDOM_BIAS: bool = false;

    const IN_PLACE: bool = true;

    const MEASURE: Measure = Measure::LnAlpha;

    type Config = SparseVdV1;

    fn config(&self) -> SparseVdV1 {
        SparseVdV1 { init_ln_sigma2: self.init_ln_sigma2 }
    }

    fn from_config(layer: &str, config: SparseVdV1, _: &Registry) -> Result<Self, Error> {
        Self::new().with_init_ln_sigma2(layer, config.init_ln_sigma2)
    }

    fn init_raw(&self, _: usize, _: &[f32], raw: &mut [f32]) {
        raw.fill(self.init_ln_sigma2 as f32);
    }

    fn sigma(&self, _: &[f32], ln_sigma2: &[f32], sigma: &mut [f32]) {
        kernels::exp_half(ln_sigma2, sigma);
    }

    fn variance(&self, _: &[f32], ln_sigma2: &[f32], variance: &mut [f32]) {
        kernels::exp(ln_sigma2, variance);
    }

    /// `d_ln_sigma2 += ∂L/∂sigma·sigma/2`.
    fn add_sigma_grad(
        &self,
        _: &[f32],
        ln_sigma2: &[f32],
        d_sigma: &[f32],
        _: &mut [f32],
        d_ln_sigma2: &mut [f32],
    ) {
        kernels::exp_half_backward_add(ln_sigma2, d_sigma, d_ln_sigma2);
    }

    /// `d_ln_sigma2 += ∂L/∂sigma²·sigma²`.
    fn add_variance_grad(
        &self,
        _: &[f32],
        ln_sigma2: &[f32],
        d_variance: &mut [f32],
        _: &mut [f32],
        d_ln_sigma2: &mut [f32],
    ) {
        kernels::exp_backward(ln_sigma2, d_variance);
        kernels::axpy(1.0, d_variance, d_ln_sigma2);
    }

    fn variance_grad_in_place(&self, ln_sigma2: &[f32], d: &mut [f32]) {
        kernels::exp_backward(ln_sigma2, d);
    }

    fn raw_of(&self, sigma: f64) -> Option<f32> {
        Some((2.0 * sigma.max(LEAST_SIGMA).ln()) as f32)
    }

    fn log_alpha(&self, mu: &[f32], ln_sigma2: &[f32], log_alpha: &mut [f32]) {
        for ((out, &mu), &raw) in log_alpha.iter_mut().zip(mu).zip(ln_sigma2) {
            *out = math::log_alpha(mu, raw);
        }
    }

    fn kl_terms(&self, extent: &Extent) -> Option<Vec<KlTerm>> {
        let weights = 2 * extent.weights();
        Some(vec![
            KlTerm { range: 0..weights, form: KlForm::LogUniform },
            KlTerm { range: weights..weights + extent.biases, form: KlForm::Zero },
        ])
    }

    fn report(&self, extent: &Extent, at: &KlAt<'_>) -> LayerReport {
        let [mu, ln_sigma2] = weights_of(self, extent, at.params);
        let kl = |(mu, raw): (&f32, &f32)| kernels::kl_log_uniform(&[*mu], &[*raw]);
        let at_prior = share(mu.iter().zip(ln_sigma2), |weight| kl(weight) < AT_PRIOR);
        of_log_alpha(self, extent, at).with_at_prior(at_prior).flat_if_all_noise()
    }
}
