//! The log-uniform density.

use std::f64::consts::{LN_2, SQRT_2, TAU};

use bdl_tensor::special::{dawson, dawson_integral};

use crate::{Density, NoiseRng, Normal};

/// The log-uniform density `p(x) ∝ 1/|x|`: the same for x in any unit.
///
/// It is *improper*: it has no integral, so that there is nothing to draw from, a KL divergence from it is known up to a constant
/// only, and an ELBO under it bounds no evidence. The constant here is that with which
///
/// ```text
/// KL(N(mu, sigma²)‖p) = E ln|mu/sigma + eps| − E ln|eps| = 2·∫₀^{|mu|/(sigma·√2)} D(t) dt ≥ 0
/// ```
///
/// with Dawson's integral D: 0 where mu = 0, whatever sigma, and growing with |mu|/sigma alone.
///
/// ```
/// use bdl_dist::{Density, LogUniform};
/// // KL of N(0.3, 0.3²): −(entropy + E ln p)
/// let entropy = 0.5 * (2.0 * std::f64::consts::PI * std::f64::consts::E).ln() + 0.3_f64.ln();
/// assert!((-entropy - LogUniform.expected_ln_prob(0.3, 0.3) - 0.426_686).abs() < 1e-6);
/// ```
///
/// # References
/// Kingma, Salimans & Welling 2015, *Variational dropout and the local reparameterization trick*, section 3.1 (the prior);
/// `docs/math.md#prior-log-uniform`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LogUniform;

/// `E ln|eps| − ½ ln(2πe) = −½(γ + ln 2 + ln 2π + 1)`.
fn ln_constant() -> f64 {
    const EULER: f64 = 0.577_215_664_901_532_9;
    -0.5 * (EULER + LN_2 + TAU.ln() + 1.0)
}

impl Density for LogUniform {
    fn ln_prob(&self, x: f64) -> f64 {
        ln_constant() - x.abs().ln()
    }

    fn slope(&self, x: f64) -> f64 {
        -x.recip()
    }

    /// Of no use: all means are known.
    fn width(&self) -> f64 {
        1.0
    }

    fn draw(&self, _: &mut NoiseRng) -> Option<f64> {
        None
    }

    fn closed_form(&self) -> bool {
        true
    }

    /// `constant − E ln|w|`, `E ln|w| = ln sigma + E ln|eps| + 2·∫₀^{|mu|/(sigma·√2)} D(t) dt`.
    fn expected_ln_prob(&self, mu: f64, sigma: f64) -> f64 {
        if sigma == 0.0 {
            return self.ln_prob(mu);
        }
        -0.5 * (TAU.ln() + 1.0) - sigma.ln() - dawson_integral(mu / (SQRT_2 * sigma))
    }

    /// `−√2·D(t)/sigma` and `2t·D(t) − 1`, `t = mu/(sigma·√2)`.
    fn expected_slopes(&self, mu: f64, sigma: f64) -> [f64; 2] {
        if sigma == 0.0 {
            return [self.slope(mu), 0.0];
        }
        let t = mu / (SQRT_2 * sigma);
        let d = dawson(t);
        [-SQRT_2 * d / sigma, 2.0 * t * d - 1.0]
    }

    fn nearest_normal(&self) -> Option<Normal> {
        None
    }
}
