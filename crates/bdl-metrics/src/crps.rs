//! The continuous ranked probability score: closed forms and the estimator from draws.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use bdl_tensor::special::erf;

use crate::{Error, check, mean};

/// Mean of [`crps_gaussian_rows`].
///
/// # Errors
/// As [`crps_gaussian_rows`].
///
/// # Examples
/// ```
/// // (√2 − 1)/√π at the mean of a standard normal.
/// let crps = bdl_metrics::crps_gaussian(&[0.0], &[0.0], &[1.0])?;
/// assert!((crps - 0.233_694_977_255_105_6).abs() < 1e-14);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
pub fn crps_gaussian(y: &[f64], mean: &[f64], std: &[f64]) -> Result<f64, Error> {
    crps_gaussian_rows(y, mean, std).map(|rows| crate::mean(&rows))
}

/// CRPS of each row under its own Gaussian, in the units of `y`.
///
/// ```text
/// crps = ∫ (F(x) − 1{x ≥ y})² dx = std·( z (2Φ(z) − 1) + 2φ(z) − 1/√π ),   z = (y − mean)/std
/// ```
///
/// A standard deviation of 0 gives |y − mean|.
///
/// # Errors
/// Lengths differ, there are no rows, a value is not finite, or a standard deviation is below 0.
///
/// # Examples
/// ```
/// assert_eq!(bdl_metrics::crps_gaussian_rows(&[3.0], &[1.0], &[0.0])?, [2.0]);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
///
/// # References
/// Gneiting, Raftery, Westveld & Goldman (2005), *Calibrated Probabilistic Forecasting Using Ensemble Model Output
/// Statistics and Minimum CRPS Estimation*, eq. 5.
pub fn crps_gaussian_rows(y: &[f64], mean: &[f64], std: &[f64]) -> Result<Vec<f64>, Error> {
    check::column("y", y, y.len())?;
    check::column("mean", mean, y.len())?;
    check::not_negative("std", std, y.len())?;
    let row = |i: usize| expected_abs(y[i] - mean[i], std[i]) - std[i] / PI.sqrt();
    Ok((0..y.len()).map(row).collect())
}

/// Mean of [`crps_gaussian_mixture_rows`].
///
/// # Errors
/// As [`crps_gaussian_mixture_rows`].
///
/// # Examples
/// ```
/// // Two equal components are one Gaussian.
/// let crps = bdl_metrics::crps_gaussian_mixture(&[0.0], &[0.0, 0.0], &[1.0, 1.0])?;
/// assert!((crps - 0.233_694_977_255_105_6).abs() < 1e-14);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
pub fn crps_gaussian_mixture(y: &[f64], mean: &[f64], std: &[f64]) -> Result<f64, Error> {
    crps_gaussian_mixture_rows(y, mean, std).map(|rows| crate::mean(&rows))
}

/// CRPS of each row under an equal-weight mixture of S Gaussians, in the units of `y`.
///
/// ```text
/// crps = (1/S) Σᵢ A(y − meanᵢ, stdᵢ²) − (1/2S²) Σᵢ Σⱼ A(meanᵢ − meanⱼ, stdᵢ² + stdⱼ²)
/// A(μ, σ²) = E|N(μ, σ²)| = 2σ φ(μ/σ) + μ (2Φ(μ/σ) − 1),   A(μ, 0) = |μ|
/// ```
///
/// Standard deviations of 0 are points: with all of them 0 this is [`crps_ensemble_rows`], standard form.
/// The cost is O(S²) a row, some S²/2 pairs of `exp` and `erf`; for hundreds of passes use draws.
///
/// # Shapes
/// `y` `[B]`, `mean` and `std` `[S, B]`, pass by pass.
///
/// # Errors
/// `mean` is not a multiple of `y` or `std` not as long as `mean`, there are no rows, a value is not finite, or a
/// standard deviation is below 0.
///
/// # Examples
/// ```
/// // Points at 0 and 1: ½ − ¼.
/// assert_eq!(bdl_metrics::crps_gaussian_mixture_rows(&[0.0], &[0.0, 1.0], &[0.0, 0.0])?, [0.25]);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
///
/// # References
/// Grimit, Gneiting, Berrocal & Johnson (2006), *The continuous ranked probability score for circular variables*, eq. 5;
/// `docs/math.md#crps`.
pub fn crps_gaussian_mixture_rows(y: &[f64], mean: &[f64], std: &[f64]) -> Result<Vec<f64>, Error> {
    check::column("y", y, y.len())?;
    let samples = check::passes("mean", mean, y.len())?;
    check::not_negative("std", std, mean.len())?;
    let mut parts = vec![(0.0, 0.0); samples];
    let row = |(b, &y): (usize, &f64)| {
        for (s, part) in parts.iter_mut().enumerate() {
            let at = s * (mean.len() / samples) + b;
            // Centred on y: what cancels below is then of the order of the score.
            *part = (mean[at] - y, std[at]);
        }
        mixture_at_zero(&parts)
    };
    Ok(y.iter().enumerate().map(row).collect())
}

/// Which estimator of the mean distance between two draws [`crps_ensemble`] uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnsembleCrps {
    /// Divides by 2S²: the CRPS of the empirical distribution of the draws.
    Standard,
    /// Divides by 2S(S − 1): unbiased for the distribution that the draws come from. May be below 0. Needs two draws.
    Fair,
}

/// Mean of [`crps_ensemble_rows`].
///
/// # Errors
/// As [`crps_ensemble_rows`].
///
/// # Examples
/// ```
/// use bdl_metrics::{EnsembleCrps, crps_ensemble};
/// assert_eq!(crps_ensemble(&[0.0], &[0.0, 1.0], EnsembleCrps::Standard)?, 0.25);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
pub fn crps_ensemble(y: &[f64], draws: &[f64], estimator: EnsembleCrps) -> Result<f64, Error> {
    crps_ensemble_rows(y, draws, estimator).map(|rows| mean(&rows))
}

/// CRPS of each row from S draws of its predictive distribution, in the units of `y`.
///
/// ```text
/// crps = (1/S) Σᵢ |xᵢ − y| − (1/2D) Σᵢ Σⱼ |xᵢ − xⱼ|,   D = S² (standard) or S(S − 1) (fair)
/// ```
///
/// Draws are sorted: O(S ln S) a row.
///
/// # Shapes
/// `y` `[B]`, `draws` `[S, B]`, pass by pass.
///
/// # Errors
/// `draws` is not a multiple of `y`, there are no rows, a value is not finite, or the fair form has a single draw.
///
/// # Examples
/// ```
/// use bdl_metrics::{EnsembleCrps, crps_ensemble_rows};
/// assert_eq!(crps_ensemble_rows(&[0.0], &[0.0, 1.0], EnsembleCrps::Fair)?, [0.0]);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
///
/// # References
/// Gneiting & Raftery (2007), *Strictly Proper Scoring Rules, Prediction, and Estimation*, eq. 21; Ferro (2014),
/// *Fair scores for ensemble forecasts*.
pub fn crps_ensemble_rows(y: &[f64], draws: &[f64], estimator: EnsembleCrps) -> Result<Vec<f64>, Error> {
    check::column("y", y, y.len())?;
    let samples = check::passes("draws", draws, y.len())?;
    let pairs = match estimator {
        EnsembleCrps::Standard => samples as f64 * samples as f64,
        EnsembleCrps::Fair if samples == 1 => {
            return Err(Error::Setting {
                what: "draws per row",
                expected: "at least 2 for the fair score",
                got: 1.0,
            });
        }
        EnsembleCrps::Fair => samples as f64 * (samples - 1) as f64,
    };
    let mut x = vec![0.0; samples];
    let row = |(b, &y): (usize, &f64)| {
        for (x, pass) in x.iter_mut().zip(draws.chunks_exact(draws.len() / samples)) {
            *x = pass[b] - y;
        }
        x.sort_unstable_by(f64::total_cmp);
        x.iter().map(|x| x.abs()).sum::<f64>() / samples as f64 - half_distances(&x) / pairs
    };
    Ok(y.iter().enumerate().map(row).collect())
}

/// ½ Σᵢ Σⱼ |xᵢ − xⱼ| of sorted values: `x` number i is the larger one in i pairs and the smaller one in the others.
fn half_distances(x: &[f64]) -> f64 {
    let larger_less_smaller = |i: usize| i as f64 - (x.len() - 1 - i) as f64;
    x.iter().enumerate().map(|(i, x)| larger_less_smaller(i) * x).sum()
}

/// The mixture score of the observation 0.
fn mixture_at_zero(parts: &[(f64, f64)]) -> f64 {
    let (mut near, mut apart) = (0.0, 0.0);
    for (i, &(mean, std)) in parts.iter().enumerate() {
        near += expected_abs(mean, std);
        apart += std / PI.sqrt(); // ½ A(0, 2·std²)
        for &(other_mean, other_std) in &parts[..i] {
            apart += expected_abs(mean - other_mean, std.hypot(other_std));
        }
    }
    let samples = parts.len() as f64;
    near / samples - apart / (samples * samples)
}

/// E|N(mean, std²)|.
fn expected_abs(mean: f64, std: f64) -> f64 {
    if std == 0.0 {
        return mean.abs();
    }
    let z = mean / std;
    let twice_phi = (2.0 / PI).sqrt() * (-0.5 * z * z).exp();
    std * twice_phi + mean * erf(z * FRAC_1_SQRT_2)
}

#[cfg(test)]
mod tests {
    use bdl_tensor::special::norm_cdf;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{close, density, mean_se, normals, simpson};

    /// ∫ (F − 1{x ≥ y})², split where the integrand jumps.
    fn by_quadrature(y: f64, parts: &[(f64, f64)]) -> f64 {
        let cdf = |x: f64| parts.iter().map(|(m, s)| norm_cdf((x - m) / s)).sum::<f64>() / parts.len() as f64;
        simpson(|x| cdf(x).powi(2), -40.0, y, 20_000) + simpson(|x| (cdf(x) - 1.0).powi(2), y, 40.0, 20_000)
    }

    #[test]
    fn gaussian_crps_equals_quadrature() {
        for (y, m, s) in [(0.0, 0.0, 1.0), (1.7, 0.5, 0.3), (-4.0, 1.0, 2.0), (6.0, 0.0, 1.0)] {
            close(crps_gaussian(&[y], &[m], &[s]).unwrap(), by_quadrature(y, &[(m, s)]), 1e-6);
        }
    }

    #[test]
    fn mixture_crps_equals_quadrature() {
        let parts = [(-2.0, 0.5), (0.3, 1.0), (0.4, 2.0), (3.0, 0.2)];
        let (m, s): (Vec<f64>, Vec<f64>) = parts.into_iter().unzip();
        for y in [-3.0, 0.0, 0.35, 5.0] {
            close(crps_gaussian_mixture(&[y], &m, &s).unwrap(), by_quadrature(y, &parts), 1e-6);
        }
    }

    #[test]
    fn rows_of_a_mixture_are_read_pass_by_pass() {
        // mean [S = 2, B = 2]
        let crps = crps_gaussian_mixture_rows(&[0.0, 10.0], &[0.0, 10.0, 1.0, 12.0], &[0.0; 4]).unwrap();
        assert_eq!(crps, [0.25, 0.5]);
        assert_eq!(
            crps_ensemble_rows(&[0.0, 10.0], &[0.0, 10.0, 1.0, 12.0], EnsembleCrps::Standard).unwrap(),
            crps
        );
    }

    #[test]
    fn vanishing_spread_gives_the_absolute_error() {
        for std in [0.0, 1e-300, 1e-12] {
            close(crps_gaussian(&[1.0], &[-1.0], &[std]).unwrap(), 2.0, 1e-11);
            close(crps_gaussian(&[1.0], &[1.0], &[std]).unwrap(), 0.0, 1e-11);
            close(crps_gaussian_mixture(&[1.0], &[-1.0, -1.0], &[std, 0.0]).unwrap(), 2.0, 1e-11);
        }
        assert_eq!(crps_ensemble(&[1.0], &[4.0], EnsembleCrps::Standard), Ok(3.0));
    }

    #[test]
    fn offset_of_all_values_leaves_no_trace() {
        let (m, s) = ([0.0, 1.0, 5.0], [0.5, 1.0, 0.0]);
        let shifted = m.map(|m| m + 1e6);
        let here = crps_gaussian_mixture(&[0.5], &m, &s).unwrap();
        close(crps_gaussian_mixture(&[1e6 + 0.5], &shifted, &s).unwrap(), here, 1e-12);
    }

    #[test]
    fn fair_score_is_unbiased_within_5_standard_errors() {
        // 4000 ensembles of 5 draws of N(0, 1); false alarm below 1e-6.
        let draws = normals(20_000, 1);
        let y = vec![0.4; 4000];
        let (fair, se) = mean_se(&crps_ensemble_rows(&y, &draws, EnsembleCrps::Fair).unwrap());
        let exact = crps_gaussian(&[0.4], &[0.0], &[1.0]).unwrap();
        close(fair, exact, 5.0 * se);
        // The standard form is too large by E|X − X'|/2S = 1/(S√π).
        let (standard, se) = mean_se(&crps_ensemble_rows(&y, &draws, EnsembleCrps::Standard).unwrap());
        close(standard, exact + 1.0 / (5.0 * PI.sqrt()), 5.0 * se);
        assert!(standard - exact > 10.0 * se);
    }

    #[test]
    fn expected_crps_is_least_at_the_true_gaussian() {
        let expected = |m: f64, s: f64| {
            simpson(|y| density(y, 0.0, 1.0) * crps_gaussian(&[y], &[m], &[s]).unwrap(), -10.0, 10.0, 1000)
        };
        let best = expected(0.0, 1.0);
        close(best, 1.0 / PI.sqrt(), 1e-9); // ½ E|X − X'|
        for (m, s) in [(0.1, 1.0), (-0.1, 1.0), (0.0, 1.1), (0.0, 0.9), (0.0, 0.0)] {
            assert!(expected(m, s) > best, "at ({m}, {s})");
        }
    }

    #[test]
    fn bad_arguments_are_named() {
        let text = |r: Result<f64, Error>| r.unwrap_err().to_string();
        assert_eq!(text(crps_gaussian(&[0.0], &[0.0], &[-0.5])), "std[0]: must be finite and >= 0, got -0.5");
        assert_eq!(
            text(crps_ensemble(&[0.0], &[0.0], EnsembleCrps::Fair)),
            "draws per row: must be at least 2 for the fair score, got 1"
        );
        assert_eq!(
            text(crps_gaussian_mixture(&[0.0, 0.0], &[0.0; 3], &[0.0; 3])),
            "mean: number of elements must be a positive multiple of the 2 rows, got 3"
        );
    }

    proptest! {
        #[test]
        fn ensemble_matches_the_double_sum(y in -5.0..5.0_f64, x in prop::collection::vec(-5.0..5.0_f64, 2..20)) {
            let s = x.len() as f64;
            let near = x.iter().map(|x| (x - y).abs()).sum::<f64>() / s;
            let apart: f64 = x.iter().flat_map(|a| x.iter().map(move |b| (a - b).abs())).sum();
            let standard = crps_ensemble(&[y], &x, EnsembleCrps::Standard).unwrap();
            let fair = crps_ensemble(&[y], &x, EnsembleCrps::Fair).unwrap();
            prop_assert!((standard - (near - apart / (2.0 * s * s))).abs() < 1e-12);
            prop_assert!((fair - (near - apart / (2.0 * s * (s - 1.0)))).abs() < 1e-12);
            let points = crps_gaussian_mixture(&[y], &x, &vec![0.0; x.len()]).unwrap();
            prop_assert!((points - standard).abs() < 1e-12);
        }

        #[test]
        fn mixture_matches_the_naive_double_sum(y in -5.0..5.0_f64, c in prop::collection::vec((-5.0..5.0_f64, 0.01..3.0_f64), 1..9)) {
            let a = |m: f64, v: f64| {
                let s = v.sqrt();
                2.0 * s * density(m / s, 0.0, 1.0) + m * (2.0 * norm_cdf(m / s) - 1.0)
            };
            let n = c.len() as f64;
            let near: f64 = c.iter().map(|(m, s)| a(y - m, s * s)).sum();
            let apart: f64 = c.iter().flat_map(|p| c.iter().map(move |q| a(p.0 - q.0, p.1 * p.1 + q.1 * q.1))).sum();
            let (m, s): (Vec<f64>, Vec<f64>) = c.clone().into_iter().unzip();
            let crps = crps_gaussian_mixture(&[y], &m, &s).unwrap();
            prop_assert!((crps - (near / n - apart / (2.0 * n * n))).abs() < 1e-11);
            prop_assert!(crps >= 0.0);
        }
    }
}
