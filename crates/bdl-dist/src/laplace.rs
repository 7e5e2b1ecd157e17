//! The Laplace distribution.

use std::f64::consts::{LN_2, PI};

use bdl_tensor::{kernels, special};
use rand::distr::Distribution;
use rand::{Rng, RngExt};

use crate::error::check_positive;
use crate::{Density, Error, NoiseRng};

/// The Laplace distribution around 0, `p(x) = e^{−|x|/scale}/(2·scale)`, of variance `2·scale²`.
///
/// ```
/// use bdl_dist::{Density, Laplace};
/// let p = Laplace::new(0.5)?;
/// assert_eq!((p.ln_prob(1.0), p.slope(1.0)), (-2.0, -2.0));
/// // −E|w|/scale − ln(2·scale) under N(0, 1)
/// assert!((p.expected_ln_prob(0.0, 1.0) + 1.595_769).abs() < 1e-6);
/// # Ok::<(), bdl_dist::Error>(())
/// ```
///
/// # References
/// `docs/math.md#prior-laplace`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Laplace {
    scale: f64,
}

impl Laplace {
    /// The distribution with a mean absolute value of `scale`.
    ///
    /// # Errors
    /// [`Error::Argument`] unless the scale is finite and > 0.
    pub fn new(scale: f64) -> Result<Self, Error> {
        Ok(Self { scale: check_positive("laplace: scale", scale)? })
    }

    /// Mean absolute value.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The same with its scale multiplied.
    ///
    /// # Errors
    /// [`Error::Argument`] where that is not finite or 0.
    pub fn scaled(&self, factor: f64) -> Result<Self, Error> {
        Self::new(factor * self.scale)
    }
}

impl Density for Laplace {
    fn ln_prob(&self, x: f64) -> f64 {
        -x.abs() / self.scale - self.scale.ln() - LN_2
    }

    /// 0 at the kink.
    fn slope(&self, x: f64) -> f64 {
        if x == 0.0 { 0.0 } else { -x.signum() / self.scale }
    }

    fn width(&self) -> f64 {
        self.scale
    }

    fn draw(&self, rng: &mut NoiseRng) -> Option<f64> {
        Some(self.sample(rng))
    }

    fn closed_form(&self) -> bool {
        true
    }

    /// `−E|w|/scale − ln(2·scale)`, `E|w| = 2 sigma·φ(mu/sigma) + mu·erf(mu/(sigma·√2))`.
    fn expected_ln_prob(&self, mu: f64, sigma: f64) -> f64 {
        let z = mu / sigma.max(f64::MIN_POSITIVE);
        let mean = 2.0 * sigma * special::norm_pdf(z) + mu * special::erf(z / 2_f64.sqrt());
        -mean / self.scale - self.scale.ln() - LN_2
    }

    fn expected_slopes(&self, mu: f64, sigma: f64) -> [f64; 2] {
        let z = mu / sigma.max(f64::MIN_POSITIVE);
        let by_ln_sigma = sigma * (2.0 / PI).sqrt() * (-0.5 * z * z).exp();
        [special::erf(z / 2_f64.sqrt()), by_ln_sigma].map(|slope| -slope / self.scale)
    }

    fn expected_slopes_of(&self, mu: &[f32], sigma: &[f32], by_mu: &mut [f32], by_ln_sigma: &mut [f32]) {
        kernels::abs_mean_slopes(-self.scale.recip() as f32, mu, sigma, by_mu, by_ln_sigma);
    }
}

impl Distribution<f64> for Laplace {
    /// By inversion of the distribution function.
    fn sample<R: Rng + ?Sized>(&self, rng: &mut R) -> f64 {
        let u = rng.random::<f64>() - 0.5;
        -self.scale * u.signum() * (-2.0 * u.abs()).ln_1p()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_out_of_range_is_named() {
        for scale in [0.0, -1.0, f64::INFINITY, f64::NAN] {
            let e = Laplace::new(scale).unwrap_err().to_string();
            assert_eq!(e, format!("laplace: scale must be finite and > 0, got {scale}"));
        }
    }
}
