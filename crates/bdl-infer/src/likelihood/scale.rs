//! A standard deviation from an unconstrained number, and a Gaussian in terms of it.

use std::f64::consts::TAU;

use bdl_tensor::special::norm_cdf;

/// `sigma = floor + softplus(raw)` with what its log density and gradient need.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    pub(super) sigma: f64,
    pub(super) ln_sigma: f64,
    /// d ln sigma / d raw.
    pub(super) slope: f64,
}

/// Below this `softplus(raw) = e^raw·(1 − e^raw/2 + …)` is its first two terms to the last bit.
const LEFT: f64 = -30.0;

impl Scale {
    /// One exponential and two logarithms; finite slope and ln sigma for every finite `raw`, also with `floor` 0.
    pub(super) fn new(raw: f32, floor: f64) -> Self {
        let raw = f64::from(raw);
        let e = (-raw.abs()).exp();
        let sigma = floor + raw.max(0.0) + e.ln_1p();
        if floor == 0.0 && raw < LEFT {
            return Self { sigma, ln_sigma: raw - 0.5 * e, slope: 1.0 };
        }
        let sigmoid = if raw < 0.0 { e } else { 1.0 } / (1.0 + e);
        Self { sigma, ln_sigma: sigma.ln(), slope: sigmoid / sigma }
    }

    /// A deviation that is given.
    pub(super) fn fixed(sigma: f64) -> Self {
        Self { sigma, ln_sigma: sigma.ln(), slope: 0.0 }
    }

    /// `(y − mean)/sigma`, 0 for equal numbers whatever sigma.
    pub(super) fn standardize(&self, mean: f64, y: f64) -> f64 {
        if y == mean { 0.0 } else { (y - mean) / self.sigma }
    }

    /// `−ln N(y; mean, sigma²) = ½z² + ln sigma + ½ ln 2π`.
    pub(super) fn nll(&self, mean: f64, y: f64) -> f64 {
        let z = self.standardize(mean, y);
        0.5 * z * z + self.ln_sigma + 0.5 * TAU.ln()
    }

    /// `(d nll / d mean, d nll / d raw) = (−z/sigma, (1 − z²)·slope)`.
    pub(super) fn nll_grad(&self, mean: f64, y: f64) -> (f64, f64) {
        let z = self.standardize(mean, y);
        let d_mean = if z == 0.0 { 0.0 } else { -z / self.sigma };
        (d_mean, (1.0 - z * z) * self.slope)
    }

    /// `Φ(z)`; a step from 0 to 1 at the mean where sigma is 0.
    pub(super) fn cdf(&self, mean: f64, y: f64) -> f64 {
        if self.sigma > 0.0 { norm_cdf((y - mean) / self.sigma) } else { f64::from(u8::from(y >= mean)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ln_sigma_and_slope_are_finite_at_extreme_raws_and_continuous_at_the_seam() {
        for floor in [0.0, 1e-4] {
            for raw in [-1e4, -745.0, -31.0, 0.0, 31.0, 1e4_f32] {
                let s = Scale::new(raw, floor);
                assert!(s.ln_sigma.is_finite() && s.slope.is_finite() && s.slope >= 0.0, "{raw}: {s:?}");
            }
        }
        assert_eq!(Scale::new(-1e4, 0.0).ln_sigma, -1e4);
        let (l, r) = (Scale::new(-30.000_002, 0.0), Scale::new(-30.0, 0.0));
        assert!(
            (r.ln_sigma - l.ln_sigma - 2e-6).abs() < 2e-7 && (r.slope - l.slope).abs() < 1e-12,
            "{l:?} {r:?}"
        );
    }

    #[test]
    fn slope_is_the_derivative_of_ln_sigma() {
        for floor in [0.0, 0.1] {
            for raw in [-40.0, -20.0, -3.0, 0.0, 2.5, 50.0_f32] {
                let (l, r) = (Scale::new(raw - 0.0625, floor), Scale::new(raw + 0.0625, floor));
                let d = (r.ln_sigma - l.ln_sigma) / 0.125;
                assert!((d - Scale::new(raw, floor).slope).abs() < 2e-3, "{raw}");
            }
        }
    }
}
