//! Dawson's integral, and the integral of it.

use std::f64::consts::{LN_2, SQRT_2};

use super::erf;

/// From here on the asymptotic series have 1e-15 in their twentieth term.
const FAR: f64 = 6.5;
/// Below, the Taylor series have 1e-17 in their thirteenth term.
const NEAR: f64 = 0.5;
/// Step of the sampling sums: what they leave out is `e^{−(π/2h)²}` = 7e-18.
const STEP: f64 = 0.25;
/// `1/√π`.
const INV_SQRT_PI: f64 = 0.564_189_583_547_756_3;
/// Euler's constant.
const EULER: f64 = 0.577_215_664_901_532_9;

/// Dawson's integral `D(x) = e^{−x²}·∫₀ˣ e^{t²} dt`, odd, `1/(2x)` far out. Error ≤ 1e-14 relative.
///
/// ```text
/// |x| < ½         x·Σ_k (−2x²)ᵏ/(2k + 1)!!
/// ½ ≤ |x| < 6.5   1/√π·Σ_{n odd} e^{−(x − nh)²}/n,  h = ¼
/// 6.5 ≤ |x|       1/(2x)·Σ_k (2k − 1)!!/(2x²)ᵏ
/// ```
///
/// ```
/// use bdl_tensor::special::dawson;
/// assert!((dawson(1.0) - 0.538_079_506_912_768_4).abs() < 1e-15);
/// ```
///
/// # References
/// Rybicki 1989, *Dawson's integral and the sampling theorem*.
#[must_use]
pub fn dawson(x: f64) -> f64 {
    let a = x.abs();
    if a < NEAR {
        return x * series(13, |k| -2.0 * x * x / (2.0 * k + 1.0));
    }
    if a < FAR {
        let sum = sampled(|n| ((-(a - n).powi(2)).exp() - (-(a + n).powi(2)).exp()) / n);
        return (STEP * INV_SQRT_PI * sum).copysign(x);
    }
    // Beyond 1e9 the next term is below rounding, and x² need not be formed.
    let tail = if a < 1e9 { series(20, |k| (2.0 * k - 1.0) / (2.0 * x * x)) } else { 1.0 };
    0.5 / x * tail
}

/// `2·∫₀ˣ D(t) dt` with [`dawson`]'s D: `E ln|m + eps| − E ln|eps|` for `m = x·√2`, eps standard normal. Even, ≥ 0. Error
/// ≤ 1e-14 relative.
///
/// ```text
/// |x| < ½         Σ_k x²·(−2x²)ᵏ/((k + 1)·(2k + 1)!!)
/// ½ ≤ |x| < 6.5   Σ_{n odd > 0} (2 erf(nh) − erf(nh + x) − erf(nh − x))/n,  h = ¼
/// 6.5 ≤ |x|       ln m + (γ + ln 2)/2 − Σ_k (2k − 1)!!/(2k·m²ᵏ)
/// ```
///
/// ```
/// use bdl_tensor::special::dawson_integral;
/// assert!((dawson_integral(1.0) - 0.739_441_630_099_079_3).abs() < 1e-14);
/// ```
#[must_use]
pub fn dawson_integral(x: f64) -> f64 {
    let (a, square) = (x.abs(), x * x);
    if a < NEAR {
        let mut term = square;
        let mut sum = square;
        for k in (1..13).map(f64::from) {
            term *= -2.0 * square / (2.0 * k + 1.0);
            sum += term / (k + 1.0);
        }
        return sum;
    }
    if a < FAR {
        // Far up the two distances to 1 are what is left.
        return sampled(|n| STEP * (2.0 * erf(n) - erf(n + a) - erf(n - a)) / n);
    }
    let m = a * SQRT_2;
    let mut term = 1.0;
    let mut sum = 0.0;
    if a < 1e9 {
        for k in (1..=20).map(f64::from) {
            term *= (2.0 * k - 1.0) / (2.0 * square);
            sum += term / (2.0 * k);
        }
    }
    m.ln() + 0.5 * (EULER + LN_2) - sum
}

/// `1 + r(1) + r(1)·r(2) + …`, so many terms.
fn series(terms: u32, ratio: impl Fn(f64) -> f64) -> f64 {
    (1..terms).rev().map(f64::from).fold(1.0, |sum, k| 1.0 + ratio(k) * sum)
}

/// The sum of `f(nh)` over the odd n that matter for `|x| < 6.5`; f divides by nh, not by n.
fn sampled(f: impl Fn(f64) -> f64) -> f64 {
    (0..26).rev().map(|i| f(STEP * f64::from(2 * i + 1))).sum()
}
