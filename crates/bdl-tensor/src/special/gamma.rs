//! The gamma function's logarithm.

/// `B_{2k} / (2k·(2k − 1))`, k = 1 …: the terms of Stirling's series.
const STIRLING: [f64; 8] = [
    1.0 / 12.0,
    -1.0 / 360.0,
    1.0 / 1_260.0,
    -1.0 / 1_680.0,
    1.0 / 1_188.0,
    -691.0 / 360_360.0,
    1.0 / 156.0,
    -3_617.0 / 122_400.0,
];

/// `ln Γ(x)` for `x > 0`; +∞ at 0, NaN below. Error ≤ 1e-14 relative, absolute near the zeros 1 and 2.
///
/// ```text
/// x ≥ 10: (x − ½) ln x − x + ln √(2π) + Σ B_2k / (2k(2k−1) x^{2k−1})
/// x < 10: ln Γ(x + n) − ln(x(x+1)…(x+n−1)),  the first n that reaches 10
/// ```
///
/// ```
/// use bdl_tensor::special::ln_gamma;
/// assert!((ln_gamma(5.0) - 24f64.ln()).abs() < 1e-14);
/// ```
///
/// # References
/// Abramowitz, Stegun (1964), Handbook of Mathematical Functions, 6.1.41.
#[must_use]
pub fn ln_gamma(x: f64) -> f64 {
    if x.is_nan() || x < 0.0 {
        return f64::NAN;
    }
    if x == f64::INFINITY {
        return x;
    }
    let (mut shifted, mut product) = (x, 1.0);
    while shifted < 10.0 {
        product *= shifted;
        shifted += 1.0;
    }
    stirling(shifted) - product.ln()
}

/// `ψ(x) = d ln Γ(x)/dx` for `x > 0`; −∞ at 0, NaN below. Error ≤ 1e-14, relative where |ψ| > 1 and absolute elsewhere.
///
/// ```text
/// x ≥ 10: ln x − 1/(2x) − Σ B_2k / (2k x^{2k}),      x < 10: ψ(x + n) − Σ_{j<n} 1/(x + j)
/// ```
///
/// ```
/// use bdl_tensor::special::digamma;
/// assert!((digamma(1.0) + 0.577_215_664_901_532_9).abs() < 1e-14);
/// ```
///
/// # References
/// Abramowitz, Stegun (1964), Handbook of Mathematical Functions, 6.3.18.
#[must_use]
pub fn digamma(x: f64) -> f64 {
    if x.is_nan() || x < 0.0 {
        return f64::NAN;
    }
    let (mut shifted, mut sum) = (x, 0.0);
    while shifted < 10.0 {
        sum += 1.0 / shifted;
        shifted += 1.0;
    }
    let z = 1.0 / (shifted * shifted);
    let term = |(k, c)| (2 * k + 1) as f64 * c;
    let series = STIRLING.into_iter().enumerate().map(term).rev().fold(0.0, |s, c| (s + c) * z);
    shifted.ln() - 0.5 / shifted - series - sum
}

/// `ln Γ(x + ½) − ln Γ(x)` for `x > 0`, without the cancellation where both are large.
///
/// ```text
/// x ≥ 10: ½ ln x − Σ 2(1 − 4^{−k}) B_2k / (2k(2k−1) x^{2k−1})
/// ```
pub(super) fn ln_gamma_half_step(x: f64) -> f64 {
    if x < 10.0 {
        return ln_gamma(x + 0.5) - ln_gamma(x);
    }
    let z = 1.0 / (x * x);
    let term = |(k, c)| 2.0 * (1.0 - 0.25_f64.powi(k as i32 + 1)) * c;
    let series = STIRLING.into_iter().enumerate().map(term).rev().fold(0.0, |s, c| s * z + c) / x;
    0.5 * x.ln() - series
}

fn stirling(x: f64) -> f64 {
    let z = 1.0 / (x * x);
    let series = STIRLING.iter().rev().fold(0.0, |s, &c| s * z + c) / x;
    (x - 0.5) * (x.ln() - 1.0) + (series - 0.5 + 0.918_938_533_204_672_8)
}
