//! Probability integral transforms, and calibration of regression measured on them.

use bdl_tensor::special::norm_cdf;

use crate::{Error, check};

/// Levels at which [`calibration_error`] compares: 0.01, 0.02, … 0.99.
pub(crate) const LEVELS: usize = 99;

/// Probability integral transform of each row under its own Gaussian.
///
/// ```text
/// pit = Φ((y − mean)/std);   std = 0: 0, ½ or 1 for y below, at or above the mean
/// ```
///
/// Uniform on [0, 1] if the predictive distributions are the true ones.
///
/// # Errors
/// Lengths differ, there are no rows, a value is not finite, or a standard deviation is below 0.
///
/// # Examples
/// ```
/// assert_eq!(bdl_metrics::pit_gaussian(&[3.0], &[3.0], &[1.0])?, [0.5]);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
///
/// # References
/// Dawid (1984), *Statistical Theory: The Prequential Approach*; Gneiting, Balabdaoui & Raftery (2007),
/// *Probabilistic forecasts, calibration and sharpness*.
pub fn pit_gaussian(y: &[f64], mean: &[f64], std: &[f64]) -> Result<Vec<f64>, Error> {
    check::length("mean", mean.len(), y.len())?;
    pit_gaussian_mixture(y, mean, std)
}

/// Probability integral transform of each row under an equal-weight mixture of Gaussians.
///
/// ```text
/// pit = (1/S) Σₛ Φ((y − meanₛ)/stdₛ)
/// ```
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
/// assert_eq!(bdl_metrics::pit_gaussian_mixture(&[0.0], &[-9.0, 9.0], &[0.1, 0.1])?, [0.5]);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
pub fn pit_gaussian_mixture(y: &[f64], mean: &[f64], std: &[f64]) -> Result<Vec<f64>, Error> {
    check::column("y", y, y.len())?;
    let samples = check::passes("mean", mean, y.len())?;
    check::not_negative("std", std, mean.len())?;
    Ok(mean_over_passes(y, samples, |at, y| cdf(y - mean[at], std[at])))
}

/// Probability integral transform of each row from S draws, ties counted half.
///
/// ```text
/// pit = (1/S) ( #{draws < y} + ½ #{draws = y} )
/// ```
///
/// # Shapes
/// `y` `[B]`, `draws` `[S, B]`, pass by pass.
///
/// # Errors
/// `draws` is not a multiple of `y`, there are no rows, or a value is not finite.
///
/// # Examples
/// ```
/// assert_eq!(bdl_metrics::pit_ensemble(&[2.0], &[0.0, 1.0, 2.0, 3.0])?, [0.625]);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
pub fn pit_ensemble(y: &[f64], draws: &[f64]) -> Result<Vec<f64>, Error> {
    check::column("y", y, y.len())?;
    let samples = check::passes("draws", draws, y.len())?;
    Ok(mean_over_passes(y, samples, |at, y| step(y - draws[at])))
}

/// Share of rows at or below each nominal level: the diagonal, if calibrated.
///
/// ```text
/// p̂ⱼ = (1/B) #{rows: pit ≤ levelsⱼ}
/// ```
///
/// # Errors
/// There are no rows or no levels, or a value is outside [0, 1].
///
/// # Examples
/// ```
/// assert_eq!(bdl_metrics::calibration_curve(&[0.1, 0.2, 0.6, 0.9], &[0.5, 1.0])?, [0.5, 1.0]);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
///
/// # References
/// Kuleshov, Fenner & Ermon (2018), *Accurate Uncertainties for Deep Learning Using Calibrated Regression*, eq. 8.
pub fn calibration_curve(pit: &[f64], levels: &[f64]) -> Result<Vec<f64>, Error> {
    check::unit("pit", pit, pit.len())?;
    check::unit("levels", levels, levels.len())?;
    let mut sorted = pit.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let share = |level: &f64| sorted.partition_point(|p| p <= level) as f64 / pit.len() as f64;
    Ok(levels.iter().map(share).collect())
}

/// Mean absolute deviation between nominal and empirical quantile level, a probability.
///
/// ```text
/// calibration_error = (1/99) Σⱼ |pⱼ − p̂ⱼ|,   pⱼ = 0.01, 0.02, … 0.99,   p̂ⱼ = (1/B) #{rows: pit ≤ pⱼ}
/// ```
///
/// 0 is calibrated, the largest value is ½ (every row below, or every row above, its distribution). Kuleshov et al.
/// sum squares: [`calibration_error_rms`]. With B calibrated rows the expected value is about 0.31/√B, not 0.
/// Any predictive distribution can be scored, through its transforms.
///
/// # Errors
/// There are no rows, or a value is outside [0, 1].
///
/// # Examples
/// ```
/// // Every observation at its median: far too wide.
/// let error = bdl_metrics::calibration_error(&[0.5; 10])?;
/// assert!((error - 25.0 / 99.0).abs() < 1e-12);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
///
/// # References
/// Kuleshov, Fenner & Ermon (2018), *Accurate Uncertainties for Deep Learning Using Calibrated Regression*, eq. 8 and 9;
/// `docs/math.md#calibration-error`.
pub fn calibration_error(pit: &[f64]) -> Result<f64, Error> {
    let deviations = deviations_of(pit)?;
    Ok(deviations.map(f64::abs).sum::<f64>() / LEVELS as f64)
}

/// Root mean square deviation between nominal and empirical quantile level, a probability.
///
/// ```text
/// calibration_error_rms = √( (1/99) Σⱼ (pⱼ − p̂ⱼ)² ),   levels as in calibration_error
/// ```
///
/// # Errors
/// There are no rows, or a value is outside [0, 1].
///
/// # Examples
/// ```
/// let error = bdl_metrics::calibration_error_rms(&[0.0; 10])?; // √(mean of (1 − pⱼ)²)
/// assert!((error - (328_350.0_f64 / 990_000.0).sqrt()).abs() < 1e-12);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
///
/// # References
/// Kuleshov, Fenner & Ermon (2018), *Accurate Uncertainties for Deep Learning Using Calibrated Regression*, eq. 9 with
/// equal weights 1/99, and a root.
pub fn calibration_error_rms(pit: &[f64]) -> Result<f64, Error> {
    let deviations = deviations_of(pit)?;
    Ok((deviations.map(|d| d * d).sum::<f64>() / LEVELS as f64).sqrt())
}

/// First level at or above `pit`, counted from 0; [`LEVELS`] if there is none.
pub(crate) fn first_level(pit: f64) -> usize {
    (0..LEVELS).find(|&j| pit <= level(j)).unwrap_or(LEVELS)
}

/// Differences p̂ⱼ − pⱼ, from the number of rows whose first level is j.
pub(crate) fn deviations(counts: &[u32; LEVELS + 1], rows: usize) -> impl Iterator<Item = f64> {
    let below = counts[..LEVELS].iter().scan(0_usize, |sum, &c| {
        *sum += c as usize;
        Some(*sum)
    });
    below.enumerate().map(move |(j, below)| below as f64 / rows as f64 - level(j))
}

fn deviations_of(pit: &[f64]) -> Result<impl Iterator<Item = f64>, Error> {
    let levels: Vec<f64> = (0..LEVELS).map(level).collect();
    let curve = calibration_curve(pit, &levels)?;
    Ok(curve.into_iter().zip(levels).map(|(share, level)| share - level))
}

fn level(j: usize) -> f64 {
    (j + 1) as f64 / (LEVELS + 1) as f64
}

fn mean_over_passes(y: &[f64], samples: usize, value: impl Fn(usize, f64) -> f64) -> Vec<f64> {
    let row = |b: usize| (0..samples).map(|s| value(s * y.len() + b, y[b])).sum::<f64>() / samples as f64;
    // A mean of values in [0, 1] may round to a last bit above 1.
    (0..y.len()).map(|b| row(b).min(1.0)).collect()
}

fn cdf(difference: f64, std: f64) -> f64 {
    if std == 0.0 { step(difference) } else { norm_cdf(difference / std) }
}

fn step(difference: f64) -> f64 {
    if difference == 0.0 { 0.5 } else { f64::from(difference > 0.0) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{close, normals, uniforms};

    #[test]
    fn point_masses_give_zero_half_and_one() {
        assert_eq!(pit_gaussian(&[-1.0, 0.0, 1.0], &[0.0; 3], &[0.0; 3]).unwrap(), [0.0, 0.5, 1.0]);
    }

    #[test]
    fn rows_of_a_mixture_are_read_pass_by_pass() {
        // [S = 2, B = 2]: row 0 has the points 0 and 1, row 1 the points 8 and 9.
        let points = [0.0, 8.0, 1.0, 9.0];
        assert_eq!(pit_gaussian_mixture(&[0.5, 7.0], &points, &[0.0; 4]).unwrap(), [0.5, 0.0]);
        assert_eq!(pit_ensemble(&[0.5, 7.0], &points).unwrap(), [0.5, 0.0]);
    }

    #[test]
    fn transform_of_true_distributions_is_uniform_by_kolmogorov_smirnov() {
        // 5000 rows; the KS statistic exceeds 2.45/√n with probability 1.2e-5.
        let draws = normals(5000, 3);
        let mean: Vec<f64> = (0..5000).map(|i| f64::from(i % 7)).collect();
        let std: Vec<f64> = (0..5000).map(|i| 0.5 + f64::from(i % 5)).collect();
        let y: Vec<f64> = (0..5000).map(|i| mean[i] + std[i] * draws[i]).collect();
        let mut pit = pit_gaussian(&y, &mean, &std).unwrap();
        assert!(calibration_error(&pit).unwrap() < 0.02);
        pit.sort_unstable_by(f64::total_cmp);
        let distance =
            pit.iter().enumerate().map(|(i, p)| (p - (i as f64 + 0.5) / 5000.0).abs()).fold(0.0, f64::max);
        assert!(distance < 2.45 / 5000.0_f64.sqrt(), "{distance}");
    }

    #[test]
    fn expected_error_of_calibrated_rows_is_as_documented() {
        // 400 samples of 100 uniform rows.
        let u = uniforms(40_000, 4);
        let mean = u.chunks_exact(100).map(|u| calibration_error(u).unwrap()).sum::<f64>() / 400.0;
        close(mean * 10.0, 0.31, 0.03);
    }

    #[test]
    fn spreads_half_and_twice_as_wide_are_both_seen() {
        let y = normals(2000, 5);
        let error = |std: f64| {
            calibration_error(&pit_gaussian(&y, &vec![0.0; 2000], &vec![std; 2000]).unwrap()).unwrap()
        };
        assert!(error(1.0) < 0.02 && error(0.5) > 0.08 && error(2.0) > 0.08);
    }

    #[test]
    fn largest_error_is_one_half() {
        close(calibration_error(&[0.0; 3]).unwrap(), 0.5, 1e-12);
        close(calibration_error(&[1.0; 3]).unwrap(), 0.5, 1e-12);
    }

    #[test]
    fn bad_transforms_are_named() {
        let text = |r: Result<f64, Error>| r.unwrap_err().to_string();
        assert_eq!(text(calibration_error(&[])), "pit: must not be empty, got 0 elements");
        assert_eq!(text(calibration_error_rms(&[0.5, -0.1])), "pit[1]: must be in [0, 1], got -0.1");
        assert_eq!(
            pit_gaussian(&[1.0], &[1.0, 2.0], &[1.0, 1.0]).unwrap_err().to_string(),
            "mean: must have 1 elements, got 2"
        );
    }

    proptest! {
        #[test]
        fn error_matches_the_naive_double_loop(pit in prop::collection::vec(prop_oneof![0.0..=1.0_f64, (0..=100_u8).prop_map(|j| f64::from(j) / 100.0)], 1..40)) {
            let gap = |j: i32| {
                let level = f64::from(j) / 100.0;
                pit.iter().filter(|&&p| p <= level).count() as f64 / pit.len() as f64 - level
            };
            let absolute = (1..100).map(|j| gap(j).abs()).sum::<f64>() / 99.0;
            let square = (1..100).map(|j| gap(j).powi(2)).sum::<f64>() / 99.0;
            prop_assert!((calibration_error(&pit).unwrap() - absolute).abs() < 1e-12);
            prop_assert!((calibration_error_rms(&pit).unwrap() - square.sqrt()).abs() < 1e-12);
            let mut counts = [0; LEVELS + 1];
            pit.iter().for_each(|&p| counts[first_level(p)] += 1);
            let counted = deviations(&counts, pit.len()).map(f64::abs).sum::<f64>() / 99.0;
            prop_assert!((counted - absolute).abs() < 1e-12);
        }
    }
}
