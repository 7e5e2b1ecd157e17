//! Variational dropout with independent weight noise: type A.

use bdl_tensor::{kernels, math};
use serde::{Deserialize, Serialize};

use super::grain::{Grain, GrainV1};
use super::{Extent, Family, of_log_alpha, weights_of};
use crate::dense::check_alpha;
use crate::report::{AT_PRIOR, share};
use crate::variational::kind_of;
use crate::{
    Conv2dMap, DenseMap, Error, Filters, Image, KlAt, KlForm, KlTerm, LayerReport, LinearMap, Registry,
    Variational,
};

/// The posterior of variational dropout with independent weight noise (type A), `q(w) = N(mu, alpha·mu²)` under the log-uniform prior, with learned
/// `alpha = sigmoid(logit_alpha) < 1` per layer, output unit or weight. Biases are plain parameters.
///
/// ```text
/// KL ≈ 0.65535 − ½·ln alpha − c1·alpha − c2·alpha² − c3·alpha³      per weight
/// ```
///
/// The approximation holds for alpha ≤ 1 only, as does the paper's argument; alpha is the sigmoid of the parameter and not its clipped exponential, so that no alpha
/// that has come to 1 is stuck there without a gradient. The prior is improper: `elbo` orders runs of one architecture and bounds no evidence.
///
/// # References
/// Kingma, Salimans & Welling 2015, *Variational dropout and the local reparameterization trick*, §3.1, §3.3 and eq. 14;
/// `docs/math.md#variational-dropout`.
#[derive(Clone, Debug, PartialEq)]
pub struct IndependentVd {
    grain: Grain,
    init_alpha: f64,
}

/// A dense layer under variational dropout of type A.
pub type IndependentVdDense = Variational<DenseMap, IndependentVd>;

/// A convolution under variational dropout of type A.
pub type IndependentVdConv2d = Variational<Conv2dMap, IndependentVd>;

/// The form in which a file holds an [`IndependentVd`]; frozen.
#[derive(Debug, Serialize, Deserialize)]
pub struct IndependentVdV1 {
    grain: GrainV1,
    init_alpha: f64,
}

impl IndependentVd {
    /// The family, its posteriors initialized with `alpha = 0.25`, as a drop probability of 0.2 has.
    #[must_use]
    pub fn new(grain: Grain) -> Self {
        Self { grain, init_alpha: 0.25 }
    }

    /// The same with another initial alpha.
    ///
    /// # Errors
    /// [`Error::Argument`] unless it is in (0, 1), on behalf of the layer of the kind `layer`.
    pub fn with_init_alpha(self, layer: &str, init_alpha: f64) -> Result<Self, Error> {
        check_alpha(layer, init_alpha)?;
        Ok(Self { init_alpha, ..self })
    }

    /// `f` over runs of the weights with their raw parameters beside them, one for each weight.
    fn each(mu: &[f32], raw: &[f32], mut f: impl FnMut(std::ops::Range<usize>, &[f32])) {
        let block = [raw.first().copied().unwrap_or(0.0); BLOCK];
        let raw = if raw.len() == 1 { &block } else { raw };
        for from in (0..mu.len()).step_by(raw.len()) {
            let to = mu.len().min(from + raw.len());
            f(from..to, &raw[..to - from]);
        }
    }

    /// As [`each`](Self::each), with the gradients of the raw parameters.
    fn each_grad(
        mu: &[f32],
        raw: &[f32],
        d_raw: &mut [f32],
        mut f: impl FnMut(std::ops::Range<usize>, &[f32], &mut [f32]),
    ) {
        if raw.len() > 1 {
            return Self::each(mu, raw, |run, raw| f(run, raw, &mut d_raw[..raw.len()]));
        }
        let mut lanes = [0.0; BLOCK];
        Self::each(mu, raw, |run, raw| f(run, raw, &mut lanes[..raw.len()]));
        d_raw.iter_mut().for_each(|d| *d += lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>() as f32);
    }
}

/// Weights that are worked on side by side where all have one alpha.
const BLOCK: usize = 64;

impl IndependentVdDense {
    pub(crate) const KIND: &'static str = "independent-vd-dense";

    /// The layer, with biases.
    ///
    /// # Errors
    /// [`Error::Argument`] for a width of 0.
    pub fn new(in_dim: usize, out_dim: usize, grain: Grain) -> Result<Self, Error> {
        Ok(Self::of(DenseMap::new(Self::KIND, in_dim, out_dim)?, IndependentVd::new(grain)))
    }
}

impl IndependentVdConv2d {
    pub(crate) const KIND: &'static str = "independent-vd-conv2d";

    /// The layer, with biases; a unit is a filter.
    ///
    /// # Errors
    /// [`Error::Argument`] for filters that do not fit the image.
    pub fn new(image: Image, filters: Filters, grain: Grain) -> Result<Self, Error> {
        Ok(Self::of(Conv2dMap::new(Self::KIND, image, filters)?, IndependentVd::new(grain)))
    }
}

impl<M: LinearMap> Variational<M, IndependentVd> {
    /// The same with another initial alpha.
    ///
    /// # Errors
    /// [`Error::Argument`] unless it is in (0, 1).
    pub fn with_init_alpha(self, init_alpha: f64) -> Result<Self, Error> {
        let family = self.family().clone().with_init_alpha(&kind_of::<M, IndependentVd>(), init_alpha)?;
        Ok(self.with_family(family))
    }
}

impl Family for IndependentVd {
    const KIND: &'static str = "independent-vd";

    const RAW: &'static str = "logit_alpha";

    const RANDOM_BIAS: bool = false;

    const IN_PLACE: bool = false;

    type Config = IndependentVdV1;

    fn config(&self) -> IndependentVdV1 {
        IndependentVdV1 { grain: self.grain.into(), init_alpha: self.init_alpha }
    }

    fn from_config(layer: &str, config: IndependentVdV1, _: &Registry) -> Result<Self, Error> {
        Self::new(config.grain.into()).with_init_alpha(layer, config.init_alpha)
    }

    fn raw_shape(&self, weight_shape: &[usize]) -> Vec<usize> {
        match self.grain {
            Grain::Layer => vec![1],
            Grain::Unit => weight_shape.last().copied().into_iter().collect(),
            Grain::Weight => weight_shape.to_vec(),
        }
    }

    fn init_raw(&self, _: usize, _: &[f32], raw: &mut [f32]) {
        raw.fill(logit(self.init_alpha));
    }

    fn sigma(&self, mu: &[f32], raw: &[f32], sigma: &mut [f32]) {
        Self::each(mu, raw, |run, raw| kernels::alpha_sigma(&mu[run.clone()], raw, &mut sigma[run]));
    }

    fn variance(&self, mu: &[f32], raw: &[f32], variance: &mut [f32]) {
        Self::each(mu, raw, |run, raw| kernels::alpha_variance(&mu[run.clone()], raw, &mut variance[run]));
    }

    fn add_sigma_grad(&self, mu: &[f32], raw: &[f32], d_sigma: &[f32], d_mu: &mut [f32], d_raw: &mut [f32]) {
        Self::each_grad(mu, raw, d_raw, |run, raw, d_raw| {
            let (mu, d) = (&mu[run.clone()], &d_sigma[run.clone()]);
            kernels::alpha_sigma_backward(mu, raw, d, &mut d_mu[run], d_raw);
        });
    }

    fn add_variance_grad(
        &self,
        mu: &[f32],
        raw: &[f32],
        d_variance: &mut [f32],
        d_mu: &mut [f32],
        d_raw: &mut [f32],
    ) {
        Self::each_grad(mu, raw, d_raw, |run, raw, d_raw| {
            let (mu, d) = (&mu[run.clone()], &d_variance[run.clone()]);
            kernels::alpha_variance_backward(mu, raw, d, &mut d_mu[run], d_raw);
        });
    }

    fn log_alpha(&self, mu: &[f32], raw: &[f32], log_alpha: &mut [f32]) {
        Self::each(mu, raw, |run, raw| {
            for ((out, &mu), &raw) in log_alpha[run.clone()].iter_mut().zip(&mu[run]).zip(raw) {
                *out = if mu == 0.0 { f32::INFINITY } else { ln_alpha(raw) };
            }
        });
    }

    fn kl_terms(&self, extent: &Extent) -> Option<Vec<KlTerm>> {
        let weights = extent.weights();
        let raws: usize = self.raw_shape(&extent.weight_shape).iter().product();
        let form = KlForm::Dropout { weights: (weights / raws) as f64 };
        let (alphas, end) = (weights + raws, weights + raws + extent.biases);
        Some(vec![
            KlTerm { range: 0..weights, form: KlForm::Zero },
            KlTerm { range: weights..alphas, form },
            KlTerm { range: alphas..end, form: KlForm::Zero },
        ])
    }

    fn report(&self, extent: &Extent, at: &KlAt<'_>) -> LayerReport {
        let [_, raw] = weights_of(self, extent, at.params);
        of_log_alpha(self, extent, at).with_at_prior(alphas_at_prior(raw))
    }
}

/// `ln sigmoid(raw)`.
pub(crate) fn ln_alpha(raw: f32) -> f32 {
    -math::softplus(-raw)
}

/// The raw parameter of an alpha that is 1 to all digits.
const ONE: f32 = 40.0;

/// The share of alphas whose KL is as good as that of `alpha = 1`, the nearest to the prior that there is.
pub(crate) fn alphas_at_prior(raw: &[f32]) -> Option<f64> {
    let kl = |raw: f32| kernels::kl_dropout(&[raw]);
    share(raw.iter(), |raw| kl(*raw) - kl(ONE) < AT_PRIOR)
}

/// The x with `sigmoid(x) = p`.
pub(crate) fn logit(p: f64) -> f32 {
    (p / (1.0 - p)).ln() as f32
}
