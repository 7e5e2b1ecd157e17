//! Scalar `f64` special functions, for sums, densities and scores.
//!
//! Here accuracy comes first; the vectorizable `f32` forms are in [`math`](crate::math). `exp` and `ln`
//! are those of the standard library.
//!
//! Limits: `0·ln 0 = 0` in [`xlogx`]; [`logsumexp`] of nothing, or of only −∞, is −∞.

mod dawson;
mod erf;
mod gamma;
mod incomplete_gamma;
mod normal;
mod student_t;

pub use dawson::{dawson, dawson_integral};
pub(crate) use erf::{ERFCX, head_26};
pub use erf::{erf, erfc};
pub use gamma::{digamma, ln_gamma};
pub use incomplete_gamma::{gamma_p, gamma_q};
pub use normal::{ln_norm_cdf, ln_norm_pdf, norm_cdf, norm_pdf, norm_quantile};
pub use student_t::{student_t_cdf, student_t_ln_pdf};

/// `ln Σ e^{x_i}`, shifted by the largest so that nothing overflows.
///
/// −∞ for no terms and where all are −∞; +∞ where one is; NaN where one is NaN.
///
/// ```
/// use bdl_tensor::special::logsumexp;
/// assert_eq!(logsumexp(&[1_000.0, 1_000.0]), 1_000.0 + 2f64.ln());
/// assert_eq!(logsumexp(&[]), f64::NEG_INFINITY);
/// ```
#[must_use]
pub fn logsumexp(x: &[f64]) -> f64 {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if max.is_infinite() {
        // +∞ wins over all but NaN; all −∞ leaves −∞.
        return if x.iter().any(|x| x.is_nan()) { f64::NAN } else { max };
    }
    max + x.iter().map(|x| (x - max).exp()).sum::<f64>().ln()
}

/// `x·ln x`, with `0·ln 0 = 0`, in nats. NaN below 0.
#[must_use]
pub fn xlogx(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x * x.ln() }
}

/// `softplus(x) = ln(1 + e^x) = max(x, 0) + ln_1p(e^{−|x|})`.
#[must_use]
pub fn softplus(x: f64) -> f64 {
    if x.is_nan() { x } else { x.max(0.0) + (-x.abs()).exp().ln_1p() }
}

/// The inverse of [`softplus`]: `y + ln(1 − e^{−y})` for `y > 0`; −∞ at 0, NaN below.
///
/// ```
/// use bdl_tensor::special::{inv_softplus, softplus};
/// assert!((softplus(inv_softplus(1e-20)) / 1e-20 - 1.0).abs() < 1e-13);
/// ```
#[must_use]
pub fn inv_softplus(y: f64) -> f64 {
    y + (-(-y).exp_m1()).ln()
}

/// `ln softplus(x)`, finite for every finite x: tends to `x` at −∞ and to `ln x` at +∞.
#[must_use]
pub fn ln_softplus(x: f64) -> f64 {
    let t = x.exp();
    if t < 1e-4 {
        // ln(ln(1+t)/t) = −t/2 + 5t²/24 − t³/8 + …
        return x + t * (-0.5 + t * (5.0 / 24.0 - t / 8.0));
    }
    softplus(x).ln()
}

/// `sigmoid(x) = 1 / (1 + e^{−x})`, relatively accurate at both ends.
#[must_use]
pub fn sigmoid(x: f64) -> f64 {
    let t = (-x.abs()).exp();
    if x >= 0.0 { 1.0 / (1.0 + t) } else { t / (1.0 + t) }
}
