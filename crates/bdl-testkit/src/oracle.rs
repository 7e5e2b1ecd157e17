//! The naive `f64` twin of what the fast crates compute: networks with frozen noise, likelihoods, KL divergences.
//!
//! Layouts are the fast code's: matrices row-major, weights `[in_dim, out_dim]`, `y = x·W + b`, all parameters in one
//! flat vector, layer after layer, blocks in declaration order.

mod conv;
mod kl;
mod likelihood;
mod network;

pub use conv::{OracleConv, pool};
pub use kl::{
    kl_concrete_dropout, kl_full_gaussian_isotropic, kl_gaussian, kl_gaussian_diagonal, kl_log_uniform,
    kl_mc_dropout, kl_monte_carlo_diagonal, kl_monte_carlo_full,
};
pub use likelihood::OracleLikelihood;
pub use network::{
    FrozenConcrete, FrozenEps, FrozenMask, OracleActivation, OracleAlpha, OracleBlock, OracleFamily,
    OracleLayer, OracleMap, OracleNet,
};

/// `c = a·b` by the definition, `a: [m, k]`, `b: [k, n]`, `c: [m, n]`.
///
/// # Examples
/// ```
/// let c = bdl_testkit::oracle::matmul(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0], 2, 2, 2);
/// assert_eq!(c, [19.0, 22.0, 43.0, 50.0]);
/// ```
#[must_use]
pub fn matmul(a: &[f64], b: &[f64], m: usize, k: usize, n: usize) -> Vec<f64> {
    assert_eq!(a.len(), m * k, "matmul: a must be [{m}, {k}], got {} values", a.len());
    assert_eq!(b.len(), k * n, "matmul: b must be [{k}, {n}], got {} values", b.len());
    let element = |i: usize, j: usize| (0..k).map(|t| a[i * k + t] * b[t * n + j]).sum();
    (0..m * n).map(|ij| element(ij / n, ij % n)).collect()
}

/// `softplus(x) = ln(1 + eˣ)`. math.md#softplus
#[must_use]
pub fn softplus(x: f64) -> f64 {
    if x > 0.0 { x + (-x).exp().ln_1p() } else { x.exp().ln_1p() }
}

/// `ln softplus(x)`; below −20 by its series `x − eˣ/2`. math.md#softplus
#[must_use]
pub fn ln_softplus(x: f64) -> f64 {
    if x < -20.0 { x - 0.5 * x.exp() } else { softplus(x).ln() }
}

/// The `x` with `softplus(x) = y`: `y + ln(1 − e^{−y})`.
#[must_use]
pub fn inverse_softplus(y: f64) -> f64 {
    assert!(y > 0.0, "inverse_softplus: y must be > 0, got {y}");
    y + (-(-y).exp_m1()).ln()
}

/// `sigmoid(x) = 1 / (1 + e^{−x})`.
#[must_use]
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `softmax(x)_c = exp(x_c) / Σ exp(x)`, shifted by the maximum.
#[must_use]
pub fn softmax(x: &[f64]) -> Vec<f64> {
    let shift = log_sum_exp(x);
    x.iter().map(|v| (v - shift).exp()).collect()
}

/// `ln Σ exp(x)`, shifted by the maximum.
#[must_use]
pub fn log_sum_exp(x: &[f64]) -> f64 {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if max.is_infinite() { max } else { max + x.iter().map(|v| (v - max).exp()).sum::<f64>().ln() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matmul_by_hand() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(matmul(&a, &[1.0, 0.0, -1.0], 2, 3, 1), [-2.0, -2.0]);
        assert_eq!(matmul(&[2.0], &[1.0, -3.0], 1, 1, 2), [2.0, -6.0]);
    }

    #[test]
    fn softplus_and_its_logarithm_and_inverse_agree() {
        assert!((softplus(0.0) - 2f64.ln()).abs() < 1e-16);
        assert_eq!((softplus(1e4), softplus(-1e4)), (1e4, 0.0));
        assert_eq!((ln_softplus(-1e4), ln_softplus(1e4)), (-1e4, 1e4f64.ln()));
        for x in [-40.0, -20.0 - 1e-9, -20.0 + 1e-9, -3.0, 0.5, 30.0] {
            assert!((ln_softplus(x) - softplus(x).ln()).abs() < 1e-13, "x = {x}");
            assert!((inverse_softplus(softplus(x)) / x - 1.0).abs() < 1e-13, "x = {x}");
        }
    }

    #[test]
    fn softmax_sums_to_one_whatever_the_shift() {
        let p = softmax(&[1000.0, 1000.0 + 3f64.ln()]);
        assert!((p[0] - 0.25).abs() < 1e-12 && (p[1] - 0.75).abs() < 1e-12);
        assert_eq!(log_sum_exp(&[f64::NEG_INFINITY; 2]), f64::NEG_INFINITY);
        assert!((sigmoid(3f64.ln()) - 0.75).abs() < 1e-15);
    }
}
