//! The Gaussian likelihood with one noise for all rows, fixed or learned.

use bdl_dist::NoiseRng;
use bdl_layers::{Block, Role, codec};
use bdl_tensor::special::inv_softplus;
use bdl_tensor::{Mat, MatMut};
use serde::{Deserialize, Serialize};

use super::scale::Scale;
use super::{Likelihood, PassOutputs, Predicts, Reads, RealLikelihood, Targets, standard_normal};
use crate::Error;
use crate::error::check_arg;

/// The standard deviation of the observation noise, the same for all rows.
///
/// | name | range | meaning |
/// |---|---|---|
/// | `Fixed` | finite and > 0 | known |
/// | `Learned` | `init` finite and > 0 | a parameter `noise.raw` with `sigma = softplus(noise.raw)`, starting at `init` |
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NoiseSd {
    /// Known, in the units of the targets that the likelihood is given.
    Fixed(f64),
    /// Learned by maximum likelihood.
    Learned {
        /// Where it starts.
        init: f64,
    },
}

/// Gaussian likelihood with the same noise for all rows: the network's one output is the mean.
///
/// ```text
/// −ln p(y | out) = ½((y − out)/sigma)² + ln sigma + ½ ln 2π
/// ```
///
/// A learned sigma contains the spread of the draws (`docs/math.md#learned-noise`), so that intervals come out a little wide
/// where rows are few for the number of weights. There is no floor under it: the density of a target off the mean goes to 0 with it, and the trainer
/// stops at an infinite loss.
///
/// The formulas: `docs/math.md#likelihood-gaussian`, `docs/math.md#likelihood-gaussian-learned`.
///
/// ```
/// use bdl_infer::{Gaussian, Likelihood, NoiseSd, Targets};
/// use bdl_tensor::Mat;
/// let gaussian = Gaussian::new(NoiseSd::Fixed(2.0))?;
/// let nll = gaussian.nll_sum(&[], Mat::new(&[1.0], 1, 1)?, Targets::Real(&[5.0]))?;
/// assert!((nll - (2.0 + (2.0 * std::f64::consts::TAU.sqrt()).ln())).abs() < 1e-12);
/// # Ok::<(), bdl_infer::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gaussian {
    noise: NoiseSd,
}

/// Frozen: what [`Gaussian::config`] writes.
#[derive(Serialize, Deserialize)]
struct ConfigV1 {
    learned: bool,
    sd: f64,
}

impl Gaussian {
    /// Key of the registry.
    pub const KIND: &'static str = "gaussian";

    /// A Gaussian likelihood with the given noise.
    ///
    /// # Errors
    /// [`Error::Argument`] unless the deviation is finite and positive.
    pub fn new(noise: NoiseSd) -> Result<Self, Error> {
        let (NoiseSd::Fixed(sd) | NoiseSd::Learned { init: sd }) = noise;
        check_arg("gaussian: noise", "finite and > 0", sd, sd > 0.0 && sd.is_finite())?;
        Ok(Self { noise })
    }

    /// Builds again what [`config`](Likelihood::config) wrote.
    ///
    /// # Errors
    /// [`Error::Layers`] for other bytes, [`Error::Argument`] for a deviation out of range.
    pub fn from_config(bytes: &[u8]) -> Result<Self, Error> {
        let ConfigV1 { learned, sd } = codec::decode(Self::KIND, bytes)?;
        Self::new(if learned { NoiseSd::Learned { init: sd } } else { NoiseSd::Fixed(sd) })
    }

    /// The noise as configured.
    #[must_use]
    pub fn noise(&self) -> NoiseSd {
        self.noise
    }

    /// The standard deviation of the noise under `params`, the likelihood's own parameters.
    ///
    /// # Panics
    /// If it is learned and `params` is empty.
    #[must_use]
    pub fn sigma(&self, params: &[f32]) -> f64 {
        self.scale(params).sigma
    }

    fn scale(&self, params: &[f32]) -> Scale {
        match self.noise {
            NoiseSd::Fixed(sd) => Scale::fixed(sd),
            NoiseSd::Learned { .. } => Scale::new(params[0], 0.0),
        }
    }

    fn reads(&self) -> Reads {
        let params = usize::from(matches!(self.noise, NoiseSd::Learned { .. }));
        Reads { kind: Self::KIND, outputs: 1, params }
    }
}

fn nll_sum(scale: Scale, out: Mat<'_>, y: &[f32]) -> f64 {
    out.data().iter().zip(y).map(|(&mean, &y)| scale.nll(mean.into(), y.into())).sum()
}

impl Likelihood for Gaussian {
    fn kind(&self) -> &str {
        Self::KIND
    }

    fn config(&self) -> Result<Vec<u8>, Error> {
        let config = match self.noise {
            NoiseSd::Fixed(sd) => ConfigV1 { learned: false, sd },
            NoiseSd::Learned { init } => ConfigV1 { learned: true, sd: init },
        };
        Ok(codec::encode(Self::KIND, &config)?)
    }

    fn outputs(&self) -> usize {
        1
    }

    fn blocks(&self) -> Vec<Block> {
        match self.noise {
            NoiseSd::Fixed(_) => Vec::new(),
            NoiseSd::Learned { .. } => vec![Block::new("noise.raw", &[1], Role::Hyper)],
        }
    }

    fn init(&self, params: &mut [f32]) {
        if let NoiseSd::Learned { init } = self.noise {
            params.fill(inv_softplus(init) as f32);
        }
    }

    fn nll_sum(&self, params: &[f32], out: Mat<'_>, y: Targets<'_>) -> Result<f64, Error> {
        let y = self.reads().numbers(params, out, y)?;
        Ok(nll_sum(self.scale(params), out, y))
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
        let y = self.reads().numbers(params, out, y)?;
        self.reads().check_grads(out, d_out, d_params)?;
        let noise = self.scale(params);
        let nll = nll_sum(noise, out, y);
        let weight = f64::from(scale);
        let mut d_raw_sum = 0.0;
        for ((d, &mean), &y) in d_out.data_mut().iter_mut().zip(out.data()).zip(y) {
            let (d_mean, d_raw) = noise.nll_grad(mean.into(), y.into());
            *d = (weight * d_mean) as f32;
            d_raw_sum += d_raw;
        }
        d_params.iter_mut().for_each(|d| *d += (weight * d_raw_sum) as f32);
        Ok(nll)
    }

    fn predicts(&self) -> Predicts<'_> {
        Predicts::Real(self)
    }
}

impl RealLikelihood for Gaussian {
    fn mean_sd(&self, params: &[f32], out_row: &[f32]) -> (f64, f64) {
        (out_row[0].into(), self.sigma(params))
    }

    fn ln_density(&self, params: &[f32], out_row: &[f32], y: f64) -> f64 {
        -self.scale(params).nll(out_row[0].into(), y)
    }

    fn cdf(&self, params: &[f32], out_row: &[f32], y: f64) -> f64 {
        self.scale(params).cdf(out_row[0].into(), y)
    }

    fn draw(&self, params: &[f32], out_row: &[f32], rng: &mut NoiseRng) -> f64 {
        f64::from(out_row[0]) + self.sigma(params) * standard_normal(rng)
    }

    fn is_gaussian(&self) -> bool {
        true
    }

    fn mean_sds(&self, params: &[f32], outs: PassOutputs<'_>, mean: &mut [f64], sd: &mut [f64]) {
        sd.fill(self.sigma(params));
        outs.iter().zip(mean).for_each(|(out_row, mean)| *mean = out_row[0].into());
    }
}
