//! Exact Bayesian linear regression: the one model where every approximation can be compared with the truth.

use crate::linalg::{inverse_spd, ln_det_spd, solve_spd};
use std::f64::consts::PI;

/// The exact posterior of `y ~ N(X·w, noise_std²·I)`, `w ~ N(0, prior_std²·I)`. math.md#bayesian-linear-regression
///
/// ```text
/// Λ = XᵀX/noise_std² + I/prior_std²,   mean = Λ⁻¹·Xᵀy/noise_std²,   w | y ~ N(mean, Λ⁻¹)
/// ```
///
/// # Examples
/// ```
/// use bdl_testkit::bayes::LinearRegression;
/// // One weight, x = 1, y = 2, unit noise and prior: w | y ~ N(1, ½), and y ~ N(0, 2) has ln p(y) = −½ln 4π − 1.
/// let exact = LinearRegression::new(&[1.0], &[2.0], 1.0, 1.0);
/// assert!((exact.mean()[0] - 1.0).abs() < 1e-15 && (exact.cov()[0] - 0.5).abs() < 1e-15);
/// assert!((exact.ln_evidence() + 0.5 * (4.0 * std::f64::consts::PI).ln() + 1.0).abs() < 1e-14);
/// ```
///
/// # References
/// Bishop, 2006, "Pattern Recognition and Machine Learning", equations 3.50–3.54 and 3.86.
#[derive(Debug, Clone)]
pub struct LinearRegression {
    x: Vec<f64>,
    y: Vec<f64>,
    noise_std: f64,
    prior_std: f64,
    precision: Vec<f64>,
    mean: Vec<f64>,
    cov: Vec<f64>,
}

impl LinearRegression {
    /// The posterior given `x: [rows, dim]` and `y: [rows]`.
    #[must_use]
    pub fn new(x: &[f64], y: &[f64], noise_std: f64, prior_std: f64) -> Self {
        assert!(
            !y.is_empty() && x.len().is_multiple_of(y.len()),
            "linear regression: x must be [{}, dim]",
            y.len()
        );
        assert!(noise_std > 0.0 && prior_std > 0.0, "linear regression: standard deviations must be > 0");
        let dim = x.len() / y.len();
        let noise = noise_std * noise_std;
        let mut precision = vec![0.0; dim * dim];
        let mut xty = vec![0.0; dim];
        for (row, &target) in x.chunks(dim).zip(y) {
            for i in 0..dim {
                xty[i] += row[i] * target / noise;
                (0..dim).for_each(|j| precision[i * dim + j] += row[i] * row[j] / noise);
            }
        }
        (0..dim).for_each(|i| precision[i * dim + i] += 1.0 / (prior_std * prior_std));
        let mean = solve_spd(&precision, &xty);
        let cov = inverse_spd(&precision, dim);
        Self { x: x.to_vec(), y: y.to_vec(), noise_std, prior_std, precision, mean, cov }
    }

    /// Number of weights.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    /// Posterior mean, `[dim]`.
    #[must_use]
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Posterior covariance Λ⁻¹, `[dim, dim]`.
    #[must_use]
    pub fn cov(&self) -> &[f64] {
        &self.cov
    }

    /// Posterior precision Λ, `[dim, dim]`.
    #[must_use]
    pub fn precision(&self) -> &[f64] {
        &self.precision
    }

    /// Posterior standard deviation of each weight, `√(Λ⁻¹)_ii`.
    #[must_use]
    pub fn std(&self) -> Vec<f64> {
        (0..self.dim()).map(|i| self.cov[i * self.dim() + i].sqrt()).collect()
    }

    /// `ln p(y | X)`, in nats.
    ///
    /// ```text
    /// −½·(N·ln(2π·noise_std²) + ‖y − X·mean‖²/noise_std² + ‖mean‖²/prior_std² + ln det Λ + dim·ln prior_std²)
    /// ```
    #[must_use]
    pub fn ln_evidence(&self) -> f64 {
        let fit = self.y.len() as f64 * (2.0 * PI * self.noise_std * self.noise_std).ln()
            + self.squared_error(&self.mean) / self.noise_std.powi(2);
        let prior = self.mean.iter().map(|m| m * m).sum::<f64>() / self.prior_std.powi(2);
        let volume = ln_det_spd(&self.precision, self.dim()) + 2.0 * self.dim() as f64 * self.prior_std.ln();
        -0.5 * (fit + prior + volume)
    }

    /// Means and standard deviations of the best diagonal Gaussian: the exact means, and `1/√Λ_ii`.
    ///
    /// `1/Λ_ii ≤ (Λ⁻¹)_ii`: mean-field posteriors are too narrow where weights are correlated.
    #[must_use]
    pub fn mean_field(&self) -> (Vec<f64>, Vec<f64>) {
        let std = (0..self.dim()).map(|i| 1.0 / self.precision[i * self.dim() + i].sqrt()).collect();
        (self.mean.clone(), std)
    }

    /// `ln_evidence − max ELBO` over diagonal Gaussians: `½(Σ ln Λ_ii − ln det Λ)`, ≥ 0 by Hadamard's inequality.
    #[must_use]
    pub fn mean_field_gap(&self) -> f64 {
        let diagonal: f64 = (0..self.dim()).map(|i| self.precision[i * self.dim() + i].ln()).sum();
        0.5 * (diagonal - ln_det_spd(&self.precision, self.dim()))
    }

    /// `E_q[ln p(y | X, w)]` for `q = N(mu, cov)`, `cov: [dim, dim]`: any Gaussian, not only the optimum.
    #[must_use]
    pub fn expected_ln_likelihood(&self, mu: &[f64], cov: &[f64]) -> f64 {
        let noise = self.noise_std * self.noise_std;
        let spread: f64 = self.x.chunks(self.dim()).map(|row| quadratic(row, cov)).sum();
        -0.5 * (self.y.len() as f64 * (2.0 * PI * noise).ln() + (self.squared_error(mu) + spread) / noise)
    }

    /// The ELBO of `q = N(mu, cov)`, in nats.
    #[must_use]
    pub fn elbo(&self, mu: &[f64], cov: &[f64]) -> f64 {
        self.expected_ln_likelihood(mu, cov)
            - crate::oracle::kl_full_gaussian_isotropic(mu, cov, self.prior_std)
    }

    /// The ELBO of `q = N(mu, diag(sigma²))`, in closed form.
    #[must_use]
    pub fn elbo_diagonal(&self, mu: &[f64], sigma: &[f64]) -> f64 {
        let dim = self.dim();
        let cov: Vec<f64> =
            (0..dim * dim).map(|k| if k / dim == k % dim { sigma[k % dim].powi(2) } else { 0.0 }).collect();
        let kl: f64 =
            mu.iter().zip(sigma).map(|(&m, &s)| crate::oracle::kl_gaussian(m, s, 0.0, self.prior_std)).sum();
        self.expected_ln_likelihood(mu, &cov) - kl
    }

    /// Mean and variance of the target at `x_star: [dim]`; the variance as (noise, `x_starᵀ·Λ⁻¹·x_star`).
    #[must_use]
    pub fn predict(&self, x_star: &[f64]) -> (f64, (f64, f64)) {
        (dot(x_star, &self.mean), (self.noise_std * self.noise_std, quadratic(x_star, &self.cov)))
    }

    fn squared_error(&self, w: &[f64]) -> f64 {
        self.x.chunks(self.dim()).zip(&self.y).map(|(row, y)| (y - dot(row, w)).powi(2)).sum()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "dot: lengths differ");
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `xᵀ·a·x`.
fn quadratic(x: &[f64], a: &[f64]) -> f64 {
    x.iter().zip(a.chunks(x.len())).map(|(xi, row)| xi * dot(row, x)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finite::central_gradient;
    use crate::oracle::matmul;
    use crate::source::SplitMix64;

    /// 12 rows with correlated columns, so that the mean-field gap is not small.
    fn problem() -> LinearRegression {
        let mut source = SplitMix64::new(41);
        let mut x = source.normals(12 * 3);
        x.chunks_mut(3).for_each(|row| row[1] += 1.5 * row[0]);
        let y: Vec<f64> = x.chunks(3).map(|r| 1.5 * r[0] - 2.0 * r[1] + 0.3 * source.normal()).collect();
        LinearRegression::new(&x, &y, 0.3, 0.9)
    }

    // y is itself normal with covariance noise²·I + prior²·X·Xᵀ: another road to the evidence.
    #[test]
    fn evidence_is_the_marginal_density_of_the_targets() {
        let exact = problem();
        let n = exact.y.len();
        let xt: Vec<f64> = (0..3 * n).map(|k| exact.x[(k % n) * 3 + k / n]).collect();
        let mut marginal: Vec<f64> = matmul(&exact.x, &xt, n, 3, n).iter().map(|v| 0.81 * v).collect();
        (0..n).for_each(|i| marginal[i * n + i] += 0.09);
        let mahalanobis = dot(&exact.y, &solve_spd(&marginal, &exact.y));
        let direct = -0.5 * (n as f64 * (2.0 * PI).ln() + ln_det_spd(&marginal, n) + mahalanobis);
        assert!((exact.ln_evidence() - direct).abs() < 1e-10, "{} and {direct}", exact.ln_evidence());
    }

    #[test]
    fn elbo_of_the_exact_posterior_is_the_evidence_and_of_others_less() {
        let exact = problem();
        assert!((exact.elbo(exact.mean(), exact.cov()) - exact.ln_evidence()).abs() < 1e-10);
        let mut source = SplitMix64::new(43);
        for _ in 0..100 {
            let mu: Vec<f64> = exact.mean().iter().map(|m| m + 0.1 * source.normal()).collect();
            let sigma = source.uniforms(3, 0.01, 1.0);
            assert!(exact.elbo_diagonal(&mu, &sigma) < exact.ln_evidence() - exact.mean_field_gap() + 1e-10);
        }
    }

    #[test]
    fn the_mean_field_optimum_is_stationary_and_falls_short_by_the_gap() {
        let exact = problem();
        let (mu, sigma) = exact.mean_field();
        assert!(exact.mean_field_gap() > 0.1, "the problem should be correlated");
        let best = exact.elbo_diagonal(&mu, &sigma);
        assert!((exact.ln_evidence() - best - exact.mean_field_gap()).abs() < 1e-10);
        let at: Vec<f64> = mu.iter().chain(&sigma).copied().collect();
        let slope = central_gradient(|v| exact.elbo_diagonal(&v[..3], &v[3..]), &at);
        assert!(slope.iter().all(|g| g.abs() < 1e-5), "{slope:?}");
        assert!(sigma.iter().zip(exact.std()).all(|(&s, e)| s < e));
    }

    #[test]
    fn diagonal_and_full_elbo_are_one_formula() {
        let exact = problem();
        let cov = [0.01, 0.0, 0.0, 0.0, 0.04, 0.0, 0.0, 0.0, 0.25];
        let full = exact.elbo(&[1.0, 0.0, -0.5], &cov);
        assert!((full - exact.elbo_diagonal(&[1.0, 0.0, -0.5], &[0.1, 0.2, 0.5])).abs() < 1e-9);
    }

    #[test]
    fn orthogonal_columns_have_no_gap_and_a_posterior_by_hand() {
        // XᵀX = 2I, noise 1, prior 1: Λ = 3I, mean = Xᵀy/3.
        let exact = LinearRegression::new(&[1.0, 1.0, 1.0, -1.0], &[3.0, 1.0], 1.0, 1.0);
        assert!((exact.mean()[0] - 4.0 / 3.0).abs() < 1e-15 && (exact.mean()[1] - 2.0 / 3.0).abs() < 1e-15);
        assert!(exact.mean_field_gap().abs() < 1e-15);
        let (mean, (noise, spread)) = exact.predict(&[1.0, 2.0]);
        assert!((mean - 8.0 / 3.0).abs() < 1e-14 && noise == 1.0 && (spread - 5.0 / 3.0).abs() < 1e-14);
        assert_eq!(exact.precision(), [3.0, 0.0, 0.0, 3.0]);
    }
}
