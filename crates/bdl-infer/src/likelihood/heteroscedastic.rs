//! The Gaussian likelihood whose noise the network puts out.

use bdl_dist::NoiseRng;
use bdl_layers::codec;
use bdl_tensor::{Mat, MatMut};
use serde::{Deserialize, Serialize};

use super::scale::Scale;
use super::{Likelihood, Predicts, Reads, RealLikelihood, Targets, standard_normal};
use crate::Error;
use crate::error::check_arg;

/// Gaussian likelihood whose noise depends on the input: the network's two outputs are `[mean, raw]`.
///
/// ```text
/// sigma = floor + softplus(raw)
/// −ln p(y | mean, raw) = ½((y − mean)/sigma)² + ln sigma + ½ ln 2π
/// ```
///
/// | name | default | range | meaning |
/// |---|---|---|---|
/// | `floor` | [`Heteroscedastic::FLOOR`] = 1e-4 | `>= 0` | the smallest sigma, in the units of the targets that the likelihood is given |
///
/// The likelihood of a network that can predict a target exactly has no maximum: sigma runs to 0. The floor bounds it.
/// It is part of the model, not of the arithmetic: gradient and log density are exact for any floor, and with
/// `floor = 0` they are finite wherever their value is, `ln sigma` being computed as `ln_softplus(raw)`.
///
/// ```
/// use bdl_infer::{Heteroscedastic, Likelihood, Targets};
/// use bdl_tensor::Mat;
/// let likelihood = Heteroscedastic::new();
/// let nll = likelihood.nll_sum(&[], Mat::new(&[1.0, 1e4], 1, 2)?, Targets::Real(&[1.0]))?;
/// assert!((nll - (1e4_f64.ln() + 0.918_938_533)).abs() < 1e-7);
/// # Ok::<(), bdl_infer::Error>(())
/// ```
///
/// # References
/// Nix & Weigend 1994, Estimating the mean and variance of the target probability distribution, eq. 5; with the softplus
/// of Lakshminarayanan et al. 2017, Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles, eq. 1;
/// `docs/math.md#likelihood-heteroscedastic`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heteroscedastic {
    floor: f64,
}

/// Frozen: what [`Heteroscedastic::config`] writes.
#[derive(Serialize, Deserialize)]
struct ConfigV1 {
    floor: f64,
}

impl Default for Heteroscedastic {
    fn default() -> Self {
        Self::new()
    }
}

impl Heteroscedastic {
    /// Key of the registry.
    pub const KIND: &'static str = "heteroscedastic";

    /// The default floor: one ten-thousandth of the standard deviation of a standardized target.
    pub const FLOOR: f64 = 1e-4;

    /// With the default [floor](Self::FLOOR).
    #[must_use]
    pub fn new() -> Self {
        Self { floor: Self::FLOOR }
    }

    /// With another floor, which may be 0.
    ///
    /// # Errors
    /// [`Error::Argument`] unless `floor` is finite and not negative.
    pub fn with_floor(floor: f64) -> Result<Self, Error> {
        let fits = floor >= 0.0 && floor.is_finite();
        Ok(Self { floor: check_arg("heteroscedastic: floor", "finite and >= 0", floor, fits)? })
    }

    /// Builds again what [`config`](Likelihood::config) wrote.
    ///
    /// # Errors
    /// [`Error::Layers`] for other bytes, [`Error::Argument`] for a floor out of range.
    pub fn from_config(bytes: &[u8]) -> Result<Self, Error> {
        let ConfigV1 { floor } = codec::decode(Self::KIND, bytes)?;
        Self::with_floor(floor)
    }

    /// The smallest sigma.
    #[must_use]
    pub fn floor(&self) -> f64 {
        self.floor
    }

    fn read(&self, out_row: &[f32]) -> (f64, Scale) {
        (out_row[0].into(), Scale::new(out_row[1], self.floor))
    }
}

const READS: Reads = Reads { kind: Heteroscedastic::KIND, outputs: 2, params: 0 };

impl Likelihood for Heteroscedastic {
    fn kind(&self) -> &str {
        Self::KIND
    }

    fn config(&self) -> Result<Vec<u8>, Error> {
        Ok(codec::encode(Self::KIND, &ConfigV1 { floor: self.floor })?)
    }

    fn outputs(&self) -> usize {
        2
    }

    fn nll_sum(&self, params: &[f32], out: Mat<'_>, y: Targets<'_>) -> Result<f64, Error> {
        let y = READS.numbers(params, out, y)?;
        let row_nll = |(out_row, &y): (&[f32], &f32)| {
            let (mean, scale) = self.read(out_row);
            scale.nll(mean, y.into())
        };
        Ok(out.iter_rows().zip(y).map(row_nll).sum())
    }

    fn nll_grad(
        &self,
        params: &[f32],
        out: Mat<'_>,
        y: Targets<'_>,
        scale: f32,
        d_out: &mut MatMut<'_>,
        d_params: &mut [f32],
    ) -> Result<f64, Error> {
        let (y, weight) = (READS.numbers(params, out, y)?, f64::from(scale));
        READS.check_grads(out, d_out, d_params)?;
        let mut nll = 0.0;
        for ((d, out_row), &y) in d_out.data_mut().chunks_exact_mut(2).zip(out.iter_rows()).zip(y) {
            let (mean, sigma) = self.read(out_row);
            nll += sigma.nll(mean, y.into());
            let (d_mean, d_raw) = sigma.nll_grad(mean, y.into());
            d.copy_from_slice(&[(weight * d_mean) as f32, (weight * d_raw) as f32]);
        }
        Ok(nll)
    }

    fn predicts(&self) -> Predicts<'_> {
        Predicts::Real(self)
    }
}

impl RealLikelihood for Heteroscedastic {
    fn mean_sd(&self, _: &[f32], out_row: &[f32]) -> (f64, f64) {
        let (mean, scale) = self.read(out_row);
        (mean, scale.sigma)
    }

    fn ln_density(&self, _: &[f32], out_row: &[f32], y: f64) -> f64 {
        let (mean, scale) = self.read(out_row);
        -scale.nll(mean, y)
    }

    fn cdf(&self, _: &[f32], out_row: &[f32], y: f64) -> f64 {
        let (mean, scale) = self.read(out_row);
        scale.cdf(mean, y)
    }

    fn draw(&self, _: &[f32], out_row: &[f32], rng: &mut NoiseRng) -> f64 {
        let (mean, scale) = self.read(out_row);
        mean + scale.sigma * standard_normal(rng)
    }

    fn is_gaussian(&self) -> bool {
        true
    }
}
