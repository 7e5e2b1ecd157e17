//! Student's t likelihood: a number with heavy-tailed noise.

use std::f64::consts::TAU;

use bdl_dist::NoiseRng;
use bdl_layers::{Block, Role, codec};
use bdl_tensor::special::{digamma, inv_softplus, sigmoid, softplus, student_t_cdf, student_t_ln_pdf};
use bdl_tensor::{Mat, MatMut};
use serde::{Deserialize, Serialize};

use super::scale::Scale;
use super::{Likelihood, PassOutputs, Predicts, Reads, RealLikelihood, Targets};
use crate::Error;
use crate::error::check_arg;

/// The degrees of freedom of [`StudentT`]: how heavy the tails are.
///
/// | name | range | meaning |
/// |---|---|---|
/// | `Fixed` | finite and > 2 | known |
/// | `Learned` | `init` finite and > [`StudentT::LEAST_DOF`] | a parameter `dof.raw` with `dof = LEAST_DOF + softplus(dof.raw)`, starting at `init` |
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Dof {
    /// Known.
    Fixed(f64),
    /// Learned by maximum likelihood.
    Learned {
        /// Where it starts.
        init: f64,
    },
}

/// Student's t likelihood: the network's one output is the mean, the noise has a learned scale and heavy tails, so that outliers
/// move the mean little.
///
/// ```text
/// z = (y − out)/scale,   scale = softplus(scale.raw)
/// −ln p(y | out) = ln scale + (dof + 1)/2·ln(1 + z²/dof) + ½ ln(π·dof) + ln Γ(dof/2) − ln Γ((dof + 1)/2)
/// sd = scale·√(dof/(dof − 2))
/// ```
///
/// | name | range | meaning |
/// |---|---|---|
/// | `scale` | finite and > 0 | where the scale starts, in the units of the targets that the likelihood is given |
/// | `dof` | see [`Dof`] | degrees of freedom |
///
/// More than two degrees of freedom have a variance; learned ones stay above [`LEAST_DOF`](Self::LEAST_DOF), where the standard
/// deviation is 4.6 scales. The formulas: `docs/math.md#likelihood-student-t`.
///
/// ```
/// use bdl_infer::{Dof, Likelihood, RealLikelihood, StudentT};
/// let likelihood = StudentT::new(1.5, Dof::Fixed(4.0))?;
/// let mut params = [0.0];
/// likelihood.init(&mut params);
/// let (mean, sd) = likelihood.mean_sd(&params, &[7.0]);
/// assert!(mean == 7.0 && (sd - 1.5 * 2.0_f64.sqrt()).abs() < 1e-6);
/// # Ok::<(), bdl_infer::Error>(())
/// ```
///
/// # References
/// Lange, Little & Taylor 1989, Robust statistical modeling using the t distribution, eq. 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StudentT {
    scale: f64,
    dof: Dof,
}

/// Frozen: what [`StudentT::config`] writes.
#[derive(Serialize, Deserialize)]
struct ConfigV1 {
    scale: f64,
    learned_dof: bool,
    dof: f64,
}

impl StudentT {
    /// Key of the registry.
    pub const KIND: &'static str = "student-t";

    /// The limit of learned degrees of freedom.
    pub const LEAST_DOF: f64 = 2.1;

    /// With a scale that is learned from `scale` on.
    ///
    /// # Errors
    /// [`Error::Argument`] for a scale or degrees of freedom out of range.
    pub fn new(scale: f64, dof: Dof) -> Result<Self, Error> {
        check_arg("student-t: scale", "finite and > 0", scale, scale > 0.0 && scale.is_finite())?;
        match dof {
            Dof::Fixed(dof) => {
                check_arg("student-t: dof", "finite and > 2", dof, dof > 2.0 && dof.is_finite())?
            }
            Dof::Learned { init } => {
                let fits = init > Self::LEAST_DOF && init.is_finite();
                check_arg("student-t: initial dof", "finite and > 2.1", init, fits)?
            }
        };
        Ok(Self { scale, dof })
    }

    /// Builds again what [`config`](Likelihood::config) wrote.
    ///
    /// # Errors
    /// [`Error::Layers`] for other bytes, [`Error::Argument`] for numbers out of range.
    pub fn from_config(bytes: &[u8]) -> Result<Self, Error> {
        let ConfigV1 { scale, learned_dof, dof } = codec::decode(Self::KIND, bytes)?;
        Self::new(scale, if learned_dof { Dof::Learned { init: dof } } else { Dof::Fixed(dof) })
    }

    /// Scale and degrees of freedom under `params`, the likelihood's own parameters.
    ///
    /// # Panics
    /// If `params` is shorter than the blocks.
    #[must_use]
    pub fn scale_dof(&self, params: &[f32]) -> (f64, f64) {
        let noise = self.noise(params);
        (noise.scale.sigma, noise.dof)
    }

    fn noise(&self, params: &[f32]) -> TNoise {
        let (dof, dof_slope) = match self.dof {
            Dof::Fixed(dof) => (dof, 0.0),
            Dof::Learned { .. } => {
                let raw = f64::from(params[1]);
                (Self::LEAST_DOF + softplus(raw), sigmoid(raw))
            }
        };
        TNoise { scale: Scale::new(params[0], 0.0), dof, dof_slope }
    }

    fn own_params(&self) -> usize {
        match self.dof {
            Dof::Fixed(_) => 1,
            Dof::Learned { .. } => 2,
        }
    }

    fn reads(&self) -> Reads {
        Reads { kind: Self::KIND, outputs: 1, params: self.own_params() }
    }
}

/// The noise around a mean.
struct TNoise {
    scale: Scale,
    dof: f64,
    /// d dof / d raw.
    dof_slope: f64,
}

impl TNoise {
    /// The NLL at the mean.
    fn least_nll(&self) -> f64 {
        self.scale.ln_sigma - student_t_ln_pdf(self.dof, 0.0)
    }

    /// `d least_nll / d dof = ½(1/dof + ψ(dof/2) − ψ((dof + 1)/2))`.
    fn least_nll_grad(&self) -> f64 {
        let half = 0.5 * self.dof;
        0.5 * (self.dof.recip() + digamma(half) - digamma(half + 0.5))
    }

    /// What the NLL is above its least: `(dof + 1)/2·ln(1 + z²/dof)`.
    fn excess(&self, mean: f64, y: f64) -> f64 {
        let z = self.scale.standardize(mean, y);
        0.5 * (self.dof + 1.0) * (z * z / self.dof).ln_1p()
    }

    /// `d nll / d (mean, ln scale)` and `d excess / d dof`, with `w = (dof + 1)/(dof + z²)`:
    ///
    /// ```text
    /// −w·z/scale,   1 − w·z²,   ½(ln(1 + z²/dof) − w·z²/dof)
    /// ```
    fn nll_grad(&self, mean: f64, y: f64) -> [f64; 3] {
        let z = self.scale.standardize(mean, y);
        let (square, w) = (z * z, (self.dof + 1.0) / (self.dof + z * z));
        let d_mean = if z == 0.0 { 0.0 } else { -w * z / self.scale.sigma };
        let d_dof = 0.5 * ((square / self.dof).ln_1p() - w * square / self.dof);
        [d_mean, 1.0 - w * square, d_dof]
    }

    fn sd(&self) -> f64 {
        self.scale.sigma * (self.dof / (self.dof - 2.0)).sqrt()
    }
}

impl Likelihood for StudentT {
    fn kind(&self) -> &str {
        Self::KIND
    }

    fn config(&self) -> Result<Vec<u8>, Error> {
        let (Dof::Fixed(dof) | Dof::Learned { init: dof }) = self.dof;
        let learned_dof = matches!(self.dof, Dof::Learned { .. });
        Ok(codec::encode(Self::KIND, &ConfigV1 { scale: self.scale, learned_dof, dof })?)
    }

    fn outputs(&self) -> usize {
        1
    }

    fn blocks(&self) -> Vec<Block> {
        let names = ["scale.raw", "dof.raw"].into_iter().take(self.own_params());
        names.map(|name| Block::new(name, &[1], Role::Hyper)).collect()
    }

    fn init(&self, params: &mut [f32]) {
        params[0] = inv_softplus(self.scale) as f32;
        if let Dof::Learned { init } = self.dof {
            params[1] = inv_softplus(init - Self::LEAST_DOF) as f32;
        }
    }

    fn nll_sum(&self, params: &[f32], out: Mat<'_>, y: Targets<'_>) -> Result<f64, Error> {
        let y = self.reads().numbers(params, out, y)?;
        let noise = self.noise(params);
        let excess: f64 =
            out.data().iter().zip(y).map(|(&mean, &y)| noise.excess(mean.into(), y.into())).sum();
        Ok(y.len() as f64 * noise.least_nll() + excess)
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
        let (noise, weight) = (self.noise(params), f64::from(scale));
        let rows = y.len() as f64;
        let (mut excess, mut d_ln_scale, mut d_dof) = (0.0, 0.0, rows * noise.least_nll_grad());
        for ((d, &mean), &y) in d_out.data_mut().iter_mut().zip(out.data()).zip(y) {
            let (mean, y) = (f64::from(mean), f64::from(y));
            excess += noise.excess(mean, y);
            let grad = noise.nll_grad(mean, y);
            *d = (weight * grad[0]) as f32;
            d_ln_scale += grad[1];
            d_dof += grad[2];
        }
        let d_raws = [d_ln_scale * noise.scale.slope, d_dof * noise.dof_slope];
        d_params.iter_mut().zip(d_raws).for_each(|(d, of_raw)| *d += (weight * of_raw) as f32);
        Ok(rows * noise.least_nll() + excess)
    }

    fn predicts(&self) -> Predicts<'_> {
        Predicts::Real(self)
    }
}

impl RealLikelihood for StudentT {
    fn mean_sd(&self, params: &[f32], out_row: &[f32]) -> (f64, f64) {
        (out_row[0].into(), self.noise(params).sd())
    }

    fn ln_density(&self, params: &[f32], out_row: &[f32], y: f64) -> f64 {
        let noise = self.noise(params);
        -noise.least_nll() - noise.excess(out_row[0].into(), y)
    }

    fn cdf(&self, params: &[f32], out_row: &[f32], y: f64) -> f64 {
        let noise = self.noise(params);
        student_t_cdf(noise.dof, noise.scale.standardize(out_row[0].into(), y))
    }

    fn survival(&self, params: &[f32], out_row: &[f32], y: f64) -> f64 {
        let noise = self.noise(params);
        student_t_cdf(noise.dof, -noise.scale.standardize(out_row[0].into(), y))
    }

    /// `t = √(dof·(u^{−2/dof} − 1))·cos 2πv` for uniform u and v: Box–Muller's method for Student's t.
    ///
    /// # References
    /// Bailey 1994, Polar generation of random variates with the t-distribution.
    fn draw(&self, params: &[f32], out_row: &[f32], rng: &mut NoiseRng) -> f64 {
        let (scale, dof) = self.scale_dof(params);
        let (u, v) = (1.0 - rng.uniform(), rng.uniform());
        let radius = (dof * (-2.0 * u.ln() / dof).exp_m1()).sqrt();
        f64::from(out_row[0]) + scale * radius * (TAU * v).cos()
    }

    fn mean_sds(&self, params: &[f32], outs: PassOutputs<'_>, mean: &mut [f64], sd: &mut [f64]) {
        sd.fill(self.noise(params).sd());
        outs.iter().zip(mean).for_each(|(out_row, mean)| *mean = out_row[0].into());
    }
}
