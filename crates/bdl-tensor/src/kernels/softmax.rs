//! Class probabilities from logits.

use super::same_len;

/// The largest element; −∞ if there is none or all are NaN.
fn max(x: &[f32]) -> f64 {
    f64::from(x.iter().copied().fold(f32::NEG_INFINITY, f32::max))
}

/// `out = softmax(x)`, shifted by the largest logit, in `f64`.
///
/// ```text
/// out[i] = e^{x[i] − max x} / Σ_j e^{x[j] − max x}
/// ```
///
/// A logit of −∞ gets probability 0. NaN everywhere if one logit is NaN or +∞ or all are −∞.
///
/// # Panics
/// If the lengths differ.
///
/// # Examples
/// ```
/// let mut p = [0.0; 2];
/// bdl_tensor::kernels::softmax(&[1_000.0, 1_000.0], &mut p);
/// assert_eq!(p, [0.5, 0.5]);
/// ```
pub fn softmax(x: &[f32], out: &mut [f64]) {
    same_len("softmax out", x.len(), out.len());
    let max = max(x);
    for (o, &x) in out.iter_mut().zip(x) {
        *o = (f64::from(x) - max).exp();
    }
    let total: f64 = out.iter().sum();
    for o in out {
        *o /= total;
    }
}

/// `out = ln softmax(x)`, in nats, without taking the logarithm of a probability.
///
/// ```text
/// out[i] = (x[i] − max x) − ln Σ_j e^{x[j] − max x}
/// ```
///
/// NaN everywhere if one logit is NaN or +∞ or all are −∞.
///
/// # Panics
/// If the lengths differ.
///
/// # Examples
/// ```
/// let mut ln_p = [0.0; 2];
/// bdl_tensor::kernels::log_softmax(&[0.0, -1_000.0], &mut ln_p);
/// assert_eq!(ln_p, [0.0, -1_000.0]);
/// ```
pub fn log_softmax(x: &[f32], out: &mut [f64]) {
    same_len("log_softmax out", x.len(), out.len());
    let max = max(x);
    let total: f64 = x.iter().map(|&x| (f64::from(x) - max).exp()).sum();
    let ln_total = total.ln();
    for (o, &x) in out.iter_mut().zip(x) {
        *o = f64::from(x) - max - ln_total;
    }
}
