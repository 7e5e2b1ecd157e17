//! Student's t distribution.

use std::f64::consts::{PI, TAU};

use bdl_tensor::special::ln_gamma;
use rand::distr::Distribution;
use rand::{Rng, RngExt};

use crate::error::check_positive;
use crate::{Density, Error, NoiseRng};

/// Student's t distribution around 0 with `df` degrees of freedom: heavy tails, of a normal as `df` grows.
///
/// ```text
/// p(x) = Γ((df + 1)/2)/(Γ(df/2)·√(df·π)·scale) · (1 + (x/scale)²/df)^{−(df + 1)/2}
/// ```
///
/// ```
/// use bdl_dist::{Density, StudentT};
/// let cauchy = StudentT::new(1.0, 2.0)?;
/// assert!((cauchy.ln_prob(2.0) + (4.0 * std::f64::consts::PI).ln()).abs() < 1e-14);
/// assert_eq!(cauchy.slope(2.0), -0.5);
/// # Ok::<(), bdl_dist::Error>(())
/// ```
///
/// # References
/// `docs/math.md#prior-student-t`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StudentT {
    df: f64,
    scale: f64,
    /// Log density at 0.
    ln_peak: f64,
}

impl StudentT {
    /// The distribution of `scale·t`.
    ///
    /// # Errors
    /// [`Error::Argument`] unless `df` is above 0 and at most 1e6 (a normal to any purpose) and `scale` finite and > 0.
    pub fn new(df: f64, scale: f64) -> Result<Self, Error> {
        if !(df > 0.0 && df <= 1e6) {
            return Err(Error::Argument {
                what: "student-t: df",
                expected: "above 0 and at most 1e6",
                got: df,
            });
        }
        let scale = check_positive("student-t: scale", scale)?;
        let ln_peak = ln_gamma(0.5 * (df + 1.0)) - ln_gamma(0.5 * df) - 0.5 * (df * PI).ln() - scale.ln();
        Ok(Self { df, scale, ln_peak })
    }

    /// Degrees of freedom.
    #[must_use]
    pub fn df(&self) -> f64 {
        self.df
    }

    /// What t is multiplied with.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The same with its scale multiplied.
    ///
    /// # Errors
    /// [`Error::Argument`] where that is not finite or 0.
    pub fn scaled(&self, factor: f64) -> Result<Self, Error> {
        Self::new(self.df, factor * self.scale)
    }
}

impl Density for StudentT {
    fn ln_prob(&self, x: f64) -> f64 {
        let z = x / self.scale;
        self.ln_peak - 0.5 * (self.df + 1.0) * (z * z / self.df).ln_1p()
    }

    fn slope(&self, x: f64) -> f64 {
        let z = x / self.scale;
        -(self.df + 1.0) * z / ((self.df + z * z) * self.scale)
    }

    /// `√df·scale`, the distance from 0 at which the density has a pole in the complex plane.
    fn width(&self) -> f64 {
        self.df.sqrt() * self.scale
    }

    fn draw(&self, rng: &mut NoiseRng) -> Option<f64> {
        Some(self.sample(rng))
    }

    fn slopes(&self, x: &[f32], out: &mut [f32]) {
        let (df, inverse) = (self.df as f32, self.scale.recip() as f32);
        for (o, &x) in out.iter_mut().zip(x) {
            let z = x * inverse;
            let square = z * z;
            *o = match square.is_finite() {
                true => -(df + 1.0) * inverse * z / (df + square),
                // So far out that df is nothing beside it.
                false => -(df + 1.0) * inverse / z,
            };
        }
    }
}

impl Distribution<f64> for StudentT {
    /// `√(df·(u^{−2/df} − 1))·cos(2πv)`, u and v uniform: Box–Muller with another radius.
    ///
    /// # References
    /// Bailey 1994, *Polar generation of random variates with the t-distribution*.
    fn sample<R: Rng + ?Sized>(&self, rng: &mut R) -> f64 {
        let (u, v) = (1.0 - rng.random::<f64>(), rng.random::<f64>());
        let radius = (self.df * (-2.0 * u.ln() / self.df).exp_m1()).sqrt();
        self.scale * radius * (TAU * v).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_out_of_range_are_named() {
        let message = |df, scale| StudentT::new(df, scale).unwrap_err().to_string();
        assert_eq!(message(0.0, 1.0), "student-t: df must be above 0 and at most 1e6, got 0");
        assert_eq!(message(3.0, -2.0), "student-t: scale must be finite and > 0, got -2");
        assert!(StudentT::new(f64::NAN, 1.0).is_err() && StudentT::new(3.0, f64::NAN).is_err());
    }

    #[test]
    fn the_slope_pulls_from_any_distance() {
        let t = StudentT::new(3.0, 1e-6).unwrap();
        let (x, mut out) = ([1e-6_f32, 1e10, 1e15, -1e20], [0.0; 4]);
        t.slopes(&x, &mut out);
        for (x, slope) in x.into_iter().zip(out) {
            let expected = t.slope(x.into());
            assert!((f64::from(slope) / expected - 1.0).abs() < 1e-6, "{x}: {slope} {expected}");
        }
    }

    #[test]
    fn with_many_degrees_of_freedom_it_is_a_normal() {
        let (t, normal) = (StudentT::new(1e6, 0.7).unwrap(), crate::Normal::new(0.0, 0.7).unwrap());
        for x in [0.0, 0.5, -2.0] {
            assert!((t.ln_prob(x) - normal.ln_prob(x)).abs() < 3e-5, "{x}");
        }
    }
}
