//! Scores of prediction intervals.

use crate::{Error, check, mean};

/// Mean of [`interval_score_rows`].
///
/// # Errors
/// As [`interval_score_rows`].
///
/// # Examples
/// ```
/// let score = bdl_metrics::interval_score(&[3.0, 1.0], &[0.0, 0.0], &[2.0, 2.0], 0.5)?;
/// assert_eq!(score, (6.0 + 2.0) / 2.0);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
pub fn interval_score(y: &[f64], lower: &[f64], upper: &[f64], level: f64) -> Result<f64, Error> {
    interval_score_rows(y, lower, upper, level).map(|rows| mean(&rows))
}

/// Winkler's score of each central interval of coverage `level`, in the units of `y`; lower is better.
///
/// ```text
/// score = (upper − lower) + (2/α)(lower − y)₊ + (2/α)(y − upper)₊,   α = 1 − level
/// ```
///
/// # Errors
/// Lengths differ, there are no rows, a value is not finite, an interval is upside down, or `level` is outside (0, 1).
///
/// # Examples
/// ```
/// assert_eq!(bdl_metrics::interval_score_rows(&[3.0], &[0.0], &[2.0], 0.5)?, [6.0]);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
///
/// # References
/// Winkler (1972); Gneiting & Raftery (2007), *Strictly Proper Scoring Rules, Prediction, and Estimation*, eq. 43.
pub fn interval_score_rows(y: &[f64], lower: &[f64], upper: &[f64], level: f64) -> Result<Vec<f64>, Error> {
    check::column("y", y, y.len())?;
    check::bounds(lower, upper, y.len())?;
    check::level(level)?;
    let penalty = 2.0 / (1.0 - level);
    let row = |i: usize| {
        let missed = (lower[i] - y[i]).max(0.0) + (y[i] - upper[i]).max(0.0);
        upper[i] - lower[i] + penalty * missed
    };
    Ok((0..y.len()).map(row).collect())
}

/// Share of rows inside their closed interval, a probability.
///
/// ```text
/// coverage = (1/B) Σ 1{lower ≤ y ≤ upper}
/// ```
///
/// # Errors
/// Lengths differ, there are no rows, a value is not finite, or an interval is upside down.
///
/// # Examples
/// ```
/// assert_eq!(bdl_metrics::coverage(&[0.0, 2.0], &[-1.0, -1.0], &[1.0, 1.0])?, 0.5);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
pub fn coverage(y: &[f64], lower: &[f64], upper: &[f64]) -> Result<f64, Error> {
    check::column("y", y, y.len())?;
    check::bounds(lower, upper, y.len())?;
    let inside = (0..y.len()).filter(|&i| covers(lower[i], upper[i], y[i])).count();
    Ok(inside as f64 / y.len() as f64)
}

/// Mean width of the intervals, in the units of their ends.
///
/// ```text
/// width = (1/B) Σ (upper − lower)
/// ```
///
/// # Errors
/// Lengths differ, there are no rows, a value is not finite, or an interval is upside down.
///
/// # Examples
/// ```
/// assert_eq!(bdl_metrics::mean_width(&[0.0, 0.0], &[1.0, 3.0])?, 2.0);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
pub fn mean_width(lower: &[f64], upper: &[f64]) -> Result<f64, Error> {
    check::bounds(lower, upper, lower.len())?;
    let sum: f64 = upper.iter().zip(lower).map(|(u, l)| u - l).sum();
    Ok(sum / lower.len() as f64)
}

pub(crate) fn covers(lower: f64, upper: f64, y: f64) -> bool {
    lower <= y && y <= upper
}

#[cfg(test)]
mod tests {
    use bdl_tensor::special::norm_quantile;
    use proptest::prelude::*;

    use super::*;
    use crate::pinball;
    use crate::testing::{close, density, normals, simpson};

    #[test]
    fn ends_of_an_interval_are_inside() {
        assert_eq!(coverage(&[0.0, 1.0, 1.1], &[0.0; 3], &[1.0; 3]), Ok(2.0 / 3.0));
    }

    #[test]
    fn coverage_of_true_central_intervals_is_nominal_within_5_standard_errors() {
        let y = normals(10_000, 2);
        for level in [0.5_f64, 0.9, 0.95] {
            let end = norm_quantile(0.5 + level / 2.0);
            let share = coverage(&y, &vec![-end; y.len()], &vec![end; y.len()]).unwrap();
            close(share, level, 5.0 * (level * (1.0 - level) / 10_000.0).sqrt());
        }
    }

    #[test]
    fn expected_interval_score_is_least_at_the_true_quantiles() {
        let end = norm_quantile(0.95);
        let expected = |e: f64| {
            simpson(
                |y| density(y, 0.0, 1.0) * interval_score(&[y], &[-e], &[e], 0.9).unwrap(),
                -10.0,
                10.0,
                20_000,
            )
        };
        assert!(expected(end) < expected(end - 0.05) && expected(end) < expected(end + 0.05));
    }

    #[test]
    fn intervals_that_are_upside_down_are_refused() {
        let text = |r: Result<f64, Error>| r.unwrap_err().to_string();
        let expected = "lower[0]: must be at most upper[0] = 0, got 1";
        assert_eq!(text(coverage(&[0.0], &[1.0], &[0.0])), expected);
        assert_eq!(text(mean_width(&[1.0], &[0.0])), expected);
        assert_eq!(text(interval_score(&[0.0], &[1.0], &[0.0], 0.5)), expected);
        assert_eq!(text(mean_width(&[], &[])), "lower: must not be empty, got 0 elements");
    }

    proptest! {
        #[test]
        fn interval_score_is_a_multiple_of_the_pinball_losses_of_its_ends(y in -5.0..5.0_f64, l in -3.0..0.0_f64, u in 0.0..3.0_f64, level in 0.05..0.95_f64) {
            let alpha = 1.0 - level;
            let ends = pinball(&[y], &[l], alpha / 2.0).unwrap() + pinball(&[y], &[u], 1.0 - alpha / 2.0).unwrap();
            let score = interval_score(&[y], &[l], &[u], level).unwrap();
            prop_assert!((score - ends * 2.0 / alpha).abs() < 1e-9);
        }
    }
}
