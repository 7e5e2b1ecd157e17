//! Scores of point predictions, Gaussian densities and quantiles.

use std::f64::consts::PI;

use bdl_tensor::special::logsumexp;

use crate::{Error, check, mean};

/// Root mean squared error, in the units of `y`.
///
/// ```text
/// rmse = √( (1/B) Σ (y − mean)² )
/// ```
///
/// # Errors
/// Lengths differ, there are no rows, or a value is not finite.
///
/// # Examples
/// ```
/// assert_eq!(bdl_metrics::rmse(&[0.0, 0.0], &[1.0, 7.0])?, 5.0);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
pub fn rmse(y: &[f64], mean: &[f64]) -> Result<f64, Error> {
    check_point(y, mean)?;
    let sum: f64 = y.iter().zip(mean).map(|(y, m)| (y - m).powi(2)).sum();
    Ok((sum / y.len() as f64).sqrt())
}

/// Mean absolute error, in the units of `y`.
///
/// ```text
/// mae = (1/B) Σ |y − mean|
/// ```
///
/// # Errors
/// Lengths differ, there are no rows, or a value is not finite.
///
/// # Examples
/// ```
/// assert_eq!(bdl_metrics::mae(&[0.0, 0.0], &[1.0, -3.0])?, 2.0);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
pub fn mae(y: &[f64], mean: &[f64]) -> Result<f64, Error> {
    check_point(y, mean)?;
    let sum: f64 = y.iter().zip(mean).map(|(y, m)| (y - m).abs()).sum();
    Ok(sum / y.len() as f64)
}

/// Mean of [`gaussian_nll_rows`].
///
/// # Errors
/// As [`gaussian_nll_rows`].
///
/// # Examples
/// ```
/// // ½ ln 2π at the mean of a standard normal.
/// let nll = bdl_metrics::gaussian_nll(&[0.0], &[0.0], &[1.0])?;
/// assert!((nll - 0.918_938_533_204_672_7).abs() < 1e-15);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
pub fn gaussian_nll(y: &[f64], mean: &[f64], std: &[f64]) -> Result<f64, Error> {
    gaussian_nll_rows(y, mean, std).map(|rows| crate::mean(&rows))
}

/// Minus the log density of each row under its own Gaussian, in nats and the units of `y`.
///
/// ```text
/// nll = ½ ln 2π + ln std + ½ ((y − mean)/std)²
/// ```
///
/// # Errors
/// Lengths differ, there are no rows, a value is not finite, or a standard deviation is not above 0.
///
/// # Examples
/// ```
/// let nll = bdl_metrics::gaussian_nll_rows(&[2.0], &[0.0], &[1.0])?;
/// assert!((nll[0] - 2.918_938_533_204_672_7).abs() < 1e-15);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
pub fn gaussian_nll_rows(y: &[f64], mean: &[f64], std: &[f64]) -> Result<Vec<f64>, Error> {
    check_point(y, mean)?;
    check::positive("std", std, y.len())?;
    Ok((0..y.len()).map(|i| -log_density(y[i], mean[i], std[i])).collect())
}

/// Mean of [`gaussian_mixture_nll_rows`].
///
/// # Errors
/// As [`gaussian_mixture_nll_rows`].
///
/// # Examples
/// ```
/// let nll = bdl_metrics::gaussian_mixture_nll(&[0.0], &[0.0, 0.0], &[1.0, 1.0])?;
/// assert!((nll - 0.918_938_533_204_672_7).abs() < 1e-15);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
pub fn gaussian_mixture_nll(y: &[f64], mean: &[f64], std: &[f64]) -> Result<f64, Error> {
    gaussian_mixture_nll_rows(y, mean, std).map(|rows| crate::mean(&rows))
}

/// Minus the log density of each row under an equal-weight mixture of Gaussians, in nats.
///
/// ```text
/// nll = −ln( (1/S) Σₛ N(y; meanₛ, stdₛ²) )
/// ```
///
/// This is the score of the mixture, not the mean score of its components, which is never smaller.
///
/// # Shapes
/// `y` `[B]`, `mean` and `std` `[S, B]`, pass by pass.
///
/// # Errors
/// `mean` is not a multiple of `y` or `std` not as long as `mean`, there are no rows, a value is not finite, or a
/// standard deviation is not above 0.
///
/// # Examples
/// ```
/// // Halfway between two distant components.
/// let nll = bdl_metrics::gaussian_mixture_nll_rows(&[0.0], &[-2.0, 2.0], &[1.0, 1.0])?;
/// assert!((nll[0] - 2.918_938_533_204_672_7).abs() < 1e-14);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
pub fn gaussian_mixture_nll_rows(y: &[f64], mean: &[f64], std: &[f64]) -> Result<Vec<f64>, Error> {
    check::column("y", y, y.len())?;
    let samples = check::passes("mean", mean, y.len())?;
    check::positive("std", std, mean.len())?;
    let mut logs = vec![0.0; samples];
    let row = |(b, &y): (usize, &f64)| {
        for (s, log) in logs.iter_mut().enumerate() {
            let at = s * std.len() / samples + b;
            *log = log_density(y, mean[at], std[at]);
        }
        (samples as f64).ln() - logsumexp(&logs)
    };
    Ok(y.iter().enumerate().map(row).collect())
}

/// Mean of [`pinball_rows`].
///
/// # Errors
/// As [`pinball_rows`].
///
/// # Examples
/// ```
/// let loss = bdl_metrics::pinball(&[2.0, 0.0], &[1.0, 1.0], 0.75)?;
/// assert_eq!(loss, (0.75 + 0.25) / 2.0);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
pub fn pinball(y: &[f64], quantile: &[f64], level: f64) -> Result<f64, Error> {
    pinball_rows(y, quantile, level).map(|rows| mean(&rows))
}

/// Quantile loss of each row, for predictions of the quantile at `level`, in the units of `y`.
///
/// ```text
/// pinball = level·(y − quantile)₊ + (1 − level)·(quantile − y)₊
/// ```
///
/// # Errors
/// Lengths differ, there are no rows, a value is not finite, or `level` is outside (0, 1).
///
/// # Examples
/// ```
/// assert_eq!(bdl_metrics::pinball_rows(&[2.0], &[1.0], 0.75)?, [0.75]);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
///
/// # References
/// Koenker & Bassett (1978), *Regression Quantiles*, Econometrica 46.
pub fn pinball_rows(y: &[f64], quantile: &[f64], level: f64) -> Result<Vec<f64>, Error> {
    check::column("y", y, y.len())?;
    check::column("quantile", quantile, y.len())?;
    check::level(level)?;
    let loss = |(y, q): (&f64, &f64)| level * (y - q).max(0.0) + (1.0 - level) * (q - y).max(0.0);
    Ok(y.iter().zip(quantile).map(loss).collect())
}

fn check_point(y: &[f64], mean: &[f64]) -> Result<(), Error> {
    check::column("y", y, y.len())?;
    check::column("mean", mean, y.len())
}

fn log_density(y: f64, mean: f64, std: f64) -> f64 {
    -0.5 * (2.0 * PI).ln() - std.ln() - 0.5 * ((y - mean) / std).powi(2)
}

#[cfg(test)]
mod tests {
    use bdl_tensor::special::norm_quantile;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{close, density, simpson};

    #[test]
    fn errors_of_a_constant_offset_equal_the_offset() {
        let y = [1.0, 2.0, 3.0];
        let mean = [1.5, 2.5, 3.5];
        close(rmse(&y, &mean).unwrap(), 0.5, 1e-15);
        close(mae(&y, &mean).unwrap(), 0.5, 1e-15);
        assert_eq!(rmse(&y, &y), Ok(0.0));
    }

    #[test]
    fn every_function_refuses_what_it_cannot_score() {
        let text = |r: Result<f64, Error>| r.unwrap_err().to_string();
        assert_eq!(text(rmse(&[], &[])), "y: must not be empty, got 0 elements");
        assert_eq!(text(mae(&[1.0], &[1.0, 2.0])), "mean: must have 1 elements, got 2");
        assert_eq!(text(rmse(&[1.0], &[f64::INFINITY])), "mean[0]: must be finite, got inf");
        assert_eq!(text(gaussian_nll(&[1.0], &[1.0], &[-1.0])), "std[0]: must be finite and > 0, got -1");
        assert_eq!(
            text(gaussian_mixture_nll(&[1.0], &[1.0, 1.0], &[1.0])),
            "std: must have 2 elements, got 1"
        );
        assert_eq!(text(pinball(&[1.0], &[1.0], 0.0)), "level: must be in (0, 1), got 0");
    }

    #[test]
    fn density_under_the_score_integrates_to_one() {
        let area = simpson(|x| (-gaussian_nll(&[x], &[0.3], &[0.7]).unwrap()).exp(), -8.0, 8.0, 2000);
        close(area, 1.0, 1e-10);
        let mixture = |x: f64| (-gaussian_mixture_nll(&[x], &[-1.0, 2.0], &[0.5, 1.5]).unwrap()).exp();
        close(simpson(mixture, -15.0, 15.0, 4000), 1.0, 1e-10);
    }

    #[test]
    fn nll_is_finite_far_in_the_tail() {
        // Only the nearer component counts.
        let near = gaussian_nll(&[1e4], &[1.0], &[1.0]).unwrap();
        close(gaussian_mixture_nll(&[1e4], &[0.0, 1.0], &[1.0, 1.0]).unwrap(), near + 2.0_f64.ln(), 1e-7);
    }

    #[test]
    fn rows_of_a_mixture_are_read_pass_by_pass() {
        // mean, std [S = 2, B = 2]
        let rows =
            gaussian_mixture_nll_rows(&[0.0, 5.0], &[0.0, 5.0, 1.0, 7.0], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        let (first, second) = ([0.0, 1.0], [5.0, 7.0]);
        close(rows[0], gaussian_mixture_nll(&[0.0], &first, &[1.0, 3.0]).unwrap(), 1e-15);
        close(rows[1], gaussian_mixture_nll(&[5.0], &second, &[2.0, 4.0]).unwrap(), 1e-15);
    }

    #[test]
    fn expected_nll_is_least_at_the_true_gaussian() {
        let expected = |m: f64, s: f64| {
            simpson(|y| density(y, 0.0, 1.0) * gaussian_nll(&[y], &[m], &[s]).unwrap(), -10.0, 10.0, 1000)
        };
        let best = expected(0.0, 1.0);
        for (m, s) in [(0.1, 1.0), (-0.1, 1.0), (0.0, 1.1), (0.0, 0.9), (1.0, 2.0)] {
            assert!(expected(m, s) > best, "at ({m}, {s})");
        }
    }

    #[test]
    fn expected_pinball_is_least_at_the_true_quantile() {
        for level in [0.05, 0.5, 0.9] {
            let truth = norm_quantile(level);
            let expected = |q: f64| {
                simpson(|y| density(y, 0.0, 1.0) * pinball(&[y], &[q], level).unwrap(), -10.0, 10.0, 20_000)
            };
            assert!(
                expected(truth) < expected(truth - 0.05) && expected(truth) < expected(truth + 0.05),
                "level {level}"
            );
        }
    }

    proptest! {
        #[test]
        fn mixture_of_one_is_the_gaussian(y in -5.0..5.0_f64, m in -5.0..5.0_f64, s in 0.1..5.0_f64) {
            let one = gaussian_nll(&[y], &[m], &[s]).unwrap();
            let mixture = gaussian_mixture_nll(&[y], &[m], &[s]).unwrap();
            prop_assert!((one - mixture).abs() < 1e-12);
        }

        #[test]
        fn mixture_nll_matches_the_naive_sum(y in -2.0..2.0_f64, c in prop::collection::vec((-2.0..2.0_f64, 0.5..2.0_f64), 1..9)) {
            let (m, s): (Vec<f64>, Vec<f64>) = c.into_iter().unzip();
            let naive = -(m.iter().zip(&s).map(|(m, s)| density(y, *m, *s)).sum::<f64>() / m.len() as f64).ln();
            prop_assert!((gaussian_mixture_nll(&[y], &m, &s).unwrap() - naive).abs() < 1e-12);
        }
    }
}
