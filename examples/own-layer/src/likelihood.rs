//! A likelihood with heavy tails.

use bdl_dist::NoiseRng;
use bdl_infer::{Error, Likelihood, Predicts, RealLikelihood, Targets};
use bdl_layers::{Block, Role, codec};
use bdl_tensor::special::{inv_softplus, ln_softplus, sigmoid, softplus};
use bdl_tensor::{Mat, MatMut};

/// The Laplace likelihood: the network's one output is the median, and one learned scale holds for all rows.
///
/// ```text
/// −ln p(y | out) = |y − out|/scale + ln(2·scale),     scale = softplus(raw),     Var(y | out) = 2·scale²
/// ```
///
/// An outlier pulls with a force that does not grow with its distance, unlike under a Gaussian.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Laplace {
    init: f64,
}

impl Laplace {
    /// Key of the registry.
    pub const KIND: &'static str = "laplace";

    /// The likelihood with its scale starting at `init`.
    ///
    /// # Errors
    /// [`Error::Argument`] unless `init` is finite and > 0.
    pub fn new(init: f64) -> Result<Self, Error> {
        if init.is_finite() && init > 0.0 {
            return Ok(Self { init });
        }
        Err(Error::Argument { what: "laplace: init", expected: "finite and > 0", got: init.to_string() })
    }

    /// Builds the likelihood from its configuration: what the registry calls.
    ///
    /// # Errors
    /// For other bytes; as [`new`](Self::new).
    pub fn build(config: &[u8]) -> Result<Box<dyn Likelihood>, Error> {
        Ok(Box::new(Self::new(codec::decode("likelihood laplace", config)?)?))
    }

    /// The scale under `params`, the likelihood's own parameters.
    #[must_use]
    pub fn scale(&self, params: &[f32]) -> f64 {
        softplus(params[0].into())
    }

    fn ln_density(&self, params: &[f32], out: f64, y: f64) -> f64 {
        -(y - out).abs() / self.scale(params) - std::f64::consts::LN_2 - ln_softplus(params[0].into())
    }

    fn check(&self, params: usize, out: Mat<'_>, y: usize) -> Result<(), Error> {
        let counts = [
            ("laplace: own parameters", 1, params),
            ("laplace: columns of the network's output", 1, out.cols()),
            ("laplace: targets, one per row", out.rows(), y),
        ];
        match counts.into_iter().find(|(_, expected, got)| expected != got) {
            Some((what, expected, got)) => Err(Error::Length { what, expected, got }),
            None => Ok(()),
        }
    }
}

impl Likelihood for Laplace {
    fn kind(&self) -> &str {
        Self::KIND
    }

    fn config(&self) -> Result<Vec<u8>, Error> {
        Ok(codec::encode("likelihood laplace", &self.init)?)
    }

    fn outputs(&self) -> usize {
        1
    }

    fn blocks(&self) -> Vec<Block> {
        vec![Block::new("scale.raw", &[1], Role::Hyper)]
    }

    fn init(&self, params: &mut [f32]) {
        params.fill(inv_softplus(self.init) as f32);
    }

    fn nll_sum(&self, params: &[f32], out: Mat<'_>, y: Targets<'_>) -> Result<f64, Error> {
        let y = y.real(Self::KIND)?;
        self.check(params.len(), out, y.len())?;
        let rows = out.data().iter().zip(y);
        Ok(rows.map(|(&out, &y)| -self.ln_density(params, out.into(), y.into())).sum())
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
        let nll = self.nll_sum(params, out, y)?;
        self.check(d_params.len(), d_out.as_mat(), out.rows())?;
        let (weight, own, raw) = (f64::from(scale), self.scale(params), f64::from(params[0]));
        // d ln scale/d raw = sigmoid/softplus, which tends to 1 where both underflow.
        let slope = if raw < -30.0 { 1.0 } else { sigmoid(raw) / own };
        let mut d_ln_scale = 0.0;
        for ((d, &out), &y) in d_out.data_mut().iter_mut().zip(out.data()).zip(y.real(Self::KIND)?) {
            let error = f64::from(y) - f64::from(out);
            // 0 on the kink.
            let sign = if error == 0.0 { 0.0 } else { error.signum() };
            *d = (-weight * sign / own) as f32;
            d_ln_scale += 1.0 - error.abs() / own;
        }
        d_params[0] += (weight * d_ln_scale * slope) as f32;
        Ok(nll)
    }

    fn predicts(&self) -> Predicts<'_> {
        Predicts::Real(self)
    }
}

impl RealLikelihood for Laplace {
    fn mean_sd(&self, params: &[f32], out_row: &[f32]) -> (f64, f64) {
        (out_row[0].into(), std::f64::consts::SQRT_2 * self.scale(params))
    }

    fn ln_density(&self, params: &[f32], out_row: &[f32], y: f64) -> f64 {
        self.ln_density(params, out_row[0].into(), y)
    }

    fn cdf(&self, params: &[f32], out_row: &[f32], y: f64) -> f64 {
        let z = (y - f64::from(out_row[0])) / self.scale(params);
        if z < 0.0 { 0.5 * z.exp() } else { 1.0 - 0.5 * (-z).exp() }
    }

    /// By inversion of the distribution function.
    fn draw(&self, params: &[f32], out_row: &[f32], rng: &mut NoiseRng) -> f64 {
        let u = rng.uniform() - 0.5;
        f64::from(out_row[0]) - self.scale(params) * u.signum() * (-2.0 * u.abs()).ln_1p()
    }
}
