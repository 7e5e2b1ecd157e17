//! KL divergences `KL(q‖p)`, in nats, summed over weights, by the textbook formulas and by Monte Carlo.

use super::{ln_softplus, softplus};
use crate::linalg::{cholesky, det_lu};
use crate::quad::adaptive_simpson;
use crate::stats::{Estimate, normal_pdf};

/// `KL(N(mu_q, sigma_q²) ‖ N(mu_p, sigma_p²)) = ln(sigma_p/sigma_q) + (sigma_q² + (mu_q − mu_p)²)/(2·sigma_p²) − ½`.
///
/// math.md#kl-gaussian
#[must_use]
pub fn kl_gaussian(mu_q: f64, sigma_q: f64, mu_p: f64, sigma_p: f64) -> f64 {
    let squares = sigma_q * sigma_q + (mu_q - mu_p) * (mu_q - mu_p);
    (sigma_p / sigma_q).ln() + squares / (2.0 * sigma_p * sigma_p) - 0.5
}

/// [`kl_gaussian`] of `N(mu_i, softplus(rho_i)²)` against `N(0, prior_std²)`, summed over i.
///
/// `ln sigma` by [`ln_softplus`], so that the limit `rho → −∞` is finite here too.
#[must_use]
pub fn kl_gaussian_diagonal(mu: &[f64], rho: &[f64], prior_std: f64) -> f64 {
    assert_eq!(mu.len(), rho.len(), "kl_gaussian_diagonal: mu and rho differ in length");
    let variance = prior_std * prior_std;
    let term = |(&m, &r): (&f64, &f64)| {
        prior_std.ln() - ln_softplus(r) + (softplus(r).powi(2) + m * m) / (2.0 * variance) - 0.5
    };
    mu.iter().zip(rho).map(term).sum()
}

/// The KL term of MC dropout for one dense layer whose inputs are masked with inverted scaling, up to a constant.
///
/// ```text
/// l²·‖W‖² / (2·(1 − drop_prob)) + l²·‖b‖² / 2
/// ```
///
/// math.md#mc-dropout-prior
#[must_use]
pub fn kl_mc_dropout(weight: &[f64], bias: &[f64], length_scale: f64, drop_prob: f64) -> f64 {
    let square = |v: &[f64]| v.iter().map(|v| v * v).sum::<f64>();
    let precision = length_scale * length_scale;
    precision * square(weight) / (2.0 * (1.0 - drop_prob)) + precision * square(bias) / 2.0
}

/// The KL term of concrete dropout for one layer of so many input units with a mask each, up to a constant.
///
/// ```text
/// l²·‖W‖²/(2·(1 − p)) + l²·‖b‖²/2 + units·(p·ln p + (1 − p)·ln(1 − p)),   p = sigmoid(logit)
/// ```
///
/// math.md#concrete-dropout
#[must_use]
pub fn kl_concrete_dropout(weight: &[f64], bias: &[f64], logit: f64, length_scale: f64, units: usize) -> f64 {
    let p = super::sigmoid(logit);
    let minus_entropy = p * p.ln() + (1.0 - p) * (1.0 - p).ln();
    kl_mc_dropout(weight, bias, length_scale, p) + units as f64 * minus_entropy
}

/// The KL divergence of `N(mu, alpha·mu²)` from the log-uniform prior, up to the constant that makes it 0 at `alpha = ∞`.
///
/// ```text
/// E ln|1 + √alpha·eps| − ½·ln alpha + (γ + ln 2)/2 = E ln|Z| − E ln|eps|,   Z = 1/√alpha + eps,   eps ~ N(0, 1)
/// ```
///
/// By quadrature in t with `|z| = t³`, so that the integrand is 0 where the logarithm is infinite. math.md#kl-log-uniform
#[must_use]
pub fn kl_log_uniform(log_alpha: f64) -> f64 {
    const MINUS_E_LN_ABS_EPS: f64 = 0.635_181_422_730_739_1;
    let center = (-0.5 * log_alpha).exp();
    let side = |sign: f64| {
        let f = |t: f64| {
            9.0 * t * t * (if t > 0.0 { t.ln() } else { 0.0 }) * normal_pdf(sign * t.powi(3) - center)
        };
        let end = |reach: f64| (sign * center + reach).max(0.0).cbrt();
        adaptive_simpson(&f, end(-12.0), end(12.0), 1e-11)
    };
    side(1.0) + side(-1.0) + MINUS_E_LN_ABS_EPS
}

/// `KL(N(mu, cov) ‖ N(0, prior_std²·I)) = ½(tr(cov)/s² + ‖mu‖²/s² − k − ln(det cov / s^{2k}))`, `cov` `[k, k]`.
///
/// The determinant is that of Gaussian elimination. math.md#kl-full-covariance
#[must_use]
pub fn kl_full_gaussian_isotropic(mu: &[f64], cov: &[f64], prior_std: f64) -> f64 {
    let k = mu.len();
    let variance = prior_std * prior_std;
    let trace: f64 = (0..k).map(|i| cov[i * k + i]).sum();
    let norm: f64 = mu.iter().map(|m| m * m).sum();
    let ln_det = (det_lu(cov, k) / variance.powi(k as i32)).ln();
    0.5 * (trace / variance + norm / variance - k as f64 - ln_det)
}

/// `E_q[ln q(w) − ln p(w)]` over `samples` draws `w = mu + softplus(rho)·eps`; `normal` is the source of `eps`.
pub fn kl_monte_carlo_diagonal(
    mu: &[f64],
    rho: &[f64],
    prior_std: f64,
    samples: usize,
    normal: &mut dyn FnMut() -> f64,
) -> Estimate {
    let ln_sigma: f64 = rho.iter().map(|&r| ln_softplus(r)).sum();
    let draw = |w: &mut Vec<f64>, eps: &[f64]| {
        w.extend(mu.iter().zip(rho).zip(eps).map(|((m, &r), e)| m + softplus(r) * e));
    };
    monte_carlo(mu.len(), ln_sigma, draw, prior_std, samples, normal)
}

/// `E_q[ln q(w) − ln p(w)]` over `samples` draws `w = mu + L·eps`, `cov = L·Lᵀ`; `normal` is the source of `eps`.
pub fn kl_monte_carlo_full(
    mu: &[f64],
    cov: &[f64],
    prior_std: f64,
    samples: usize,
    normal: &mut dyn FnMut() -> f64,
) -> Estimate {
    let k = mu.len();
    let l = cholesky(cov, k).expect("kl_monte_carlo_full: cov must be positive definite");
    let ln_det_l: f64 = (0..k).map(|i| l[i * k + i].ln()).sum();
    let draw = |w: &mut Vec<f64>, eps: &[f64]| {
        let row = |i: usize| mu[i] + (0..=i).map(|j| l[i * k + j] * eps[j]).sum::<f64>();
        w.extend((0..k).map(row));
    };
    monte_carlo(k, ln_det_l, draw, prior_std, samples, normal)
}

/// `ln_det` is that of the map from eps to w. The constants `−(k/2)·ln 2π` of both densities cancel.
fn monte_carlo(
    k: usize,
    ln_det: f64,
    draw: impl Fn(&mut Vec<f64>, &[f64]),
    prior_std: f64,
    samples: usize,
    normal: &mut dyn FnMut() -> f64,
) -> Estimate {
    let mut log_ratio = || {
        let eps: Vec<f64> = (0..k).map(|_| normal()).collect();
        let mut w = Vec::with_capacity(k);
        draw(&mut w, &eps);
        let ln_q = -ln_det - 0.5 * eps.iter().map(|e| e * e).sum::<f64>();
        let ln_p =
            -(k as f64) * prior_std.ln() - 0.5 * w.iter().map(|w| (w / prior_std).powi(2)).sum::<f64>();
        ln_q - ln_p
    };
    let ratios: Vec<f64> = (0..samples).map(|_| log_ratio()).collect();
    Estimate::of(&ratios)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::inverse_softplus;
    use crate::quad::normal_expectation;
    use crate::source::SplitMix64;

    #[test]
    fn gaussian_by_hand_and_by_quadrature() {
        // ln 2 + (1 + 1)/8 − ½
        assert!((kl_gaussian(1.0, 1.0, 0.0, 2.0) - (2f64.ln() - 0.25)).abs() < 1e-15);
        assert_eq!(kl_gaussian(0.7, 1.3, 0.7, 1.3), 0.0);
        let (mu_q, sigma_q, mu_p, sigma_p) = (0.4f64, 0.6f64, -0.3f64, 1.7f64);
        let ln_density = |x: f64, m: f64, s: f64| -s.ln() - 0.5 * ((x - m) / s).powi(2);
        let log_ratio = |x: f64| ln_density(x, mu_q, sigma_q) - ln_density(x, mu_p, sigma_p);
        let integral = normal_expectation(log_ratio, mu_q, sigma_q);
        assert!((kl_gaussian(mu_q, sigma_q, mu_p, sigma_p) - integral).abs() < 1e-10);
        // The reversed direction is another number.
        assert!((kl_gaussian(mu_p, sigma_p, mu_q, sigma_q) - integral).abs() > 1.0);
    }

    #[test]
    fn diagonal_is_the_sum_of_scalars_and_finite_at_extreme_scales() {
        let (mu, sigma) = ([0.3, -1.0], [0.2, 1.5]);
        let rho = sigma.map(inverse_softplus);
        let sum: f64 = mu.iter().zip(sigma).map(|(&m, s)| kl_gaussian(m, s, 0.0, 0.5)).sum();
        assert!((kl_gaussian_diagonal(&mu, &rho, 0.5) - sum).abs() < 1e-12);
        assert_eq!(kl_gaussian_diagonal(&[0.0], &[-1e4], 1.0), 1e4 - 0.5);
        assert!(kl_gaussian_diagonal(&[0.0], &[1e4], 1.0).is_finite());
    }

    // 20 000 draws, 5 SE.
    #[test]
    fn monte_carlo_agrees_with_the_closed_form() {
        let mut source = SplitMix64::new(29);
        let (mu, rho) = ([0.3, -1.0, 0.0], [-2.0, 0.4, 1.0]);
        let estimate = kl_monte_carlo_diagonal(&mu, &rho, 0.8, 20_000, &mut || source.normal());
        estimate.check("diagonal", kl_gaussian_diagonal(&mu, &rho, 0.8)).assert();
        let cov = [1.0, 0.3, 0.1, 0.3, 0.5, -0.2, 0.1, -0.2, 0.9];
        let estimate = kl_monte_carlo_full(&mu, &cov, 0.8, 20_000, &mut || source.normal());
        estimate.check("full", kl_full_gaussian_isotropic(&mu, &cov, 0.8)).assert();
    }

    #[test]
    fn full_covariance_contains_the_diagonal_and_is_zero_at_the_prior() {
        let full = kl_full_gaussian_isotropic(&[0.3, -1.0], &[0.04, 0.0, 0.0, 2.25], 0.5);
        let diagonal = kl_gaussian(0.3, 0.2, 0.0, 0.5) + kl_gaussian(-1.0, 1.5, 0.0, 0.5);
        assert!((full - diagonal).abs() < 1e-12);
        assert_eq!(kl_full_gaussian_isotropic(&[0.0; 2], &[0.25, 0.0, 0.0, 0.25], 0.5), 0.0);
        // A correlation r costs −½ln(1 − r²) on top of the diagonal.
        let correlated = kl_full_gaussian_isotropic(&[0.0; 2], &[1.0, 0.6, 0.6, 1.0], 1.0);
        assert!((correlated + 0.5 * 0.64f64.ln()).abs() < 1e-15);
    }

    // Z² is a mixture over Poisson(1/(2·alpha)) of chi² with 1 + 2k degrees, whose mean logarithm is ψ(½ + k) + ln 2.
    #[test]
    fn log_uniform_by_quadrature_is_the_series_of_the_noncentral_chi_square() {
        for log_alpha in [-6.0, -3.0, -1.0, 0.0, 0.7, 2.0, 5.0, 8.0] {
            let half = 0.5 * f64::exp(-log_alpha);
            let (mut ln_weight, mut digamma, mut sum) = (-half, -0.577_215_664_901_532_9 - 4f64.ln(), 0.0);
            for k in 0..4_000 {
                sum += ln_weight.exp() * 0.5 * (digamma + 2f64.ln());
                ln_weight += half.ln() - f64::from(k + 1).ln();
                digamma += 1.0 / (f64::from(k) + 0.5);
            }
            let series = sum + 0.5 * (0.577_215_664_901_532_9 + 2f64.ln());
            let got = kl_log_uniform(log_alpha);
            assert!((got - series).abs() < 1e-9, "ln alpha {log_alpha}: {got} {series}");
        }
        // ½·ln(1/alpha) + (γ + ln 2)/2 at 0, and 0 at ∞.
        assert!((kl_log_uniform(-12.0) - 6.635_181_422_730_739).abs() < 1e-5);
        assert!(kl_log_uniform(40.0).abs() < 1e-9);
    }

    #[test]
    fn mc_dropout_term_by_hand() {
        // l² = 0.25: 0.25·5/(2·0.8) + 0.25·9/2
        assert!((kl_mc_dropout(&[1.0, -2.0], &[3.0], 0.5, 0.2) - (0.78125 + 1.125)).abs() < 1e-15);
        // Rescaled weights M = W/(1 − p), the published form l²(1 − p)‖M‖²/2.
        let published = 0.25 * 0.8 * (1.25f64.powi(2) + 2.5f64.powi(2)) / 2.0;
        assert!((kl_mc_dropout(&[1.0, -2.0], &[], 0.5, 0.2) - published).abs() < 1e-15);
    }
}
