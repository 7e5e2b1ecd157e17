//! How far a statistic of the rows might have come out otherwise: percentile bootstrap and standard errors.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{Error, check, mean};

/// How to resample.
///
/// | field | default | range | meaning |
/// |---|---|---|---|
/// | `replicates` | 1000 | ≥ 1 | resamples drawn |
/// | `seed` | 0 | any | of the ChaCha8 generator; replicate r reads its stream r |
/// | `level` | 0.95 | (0, 1) | nominal coverage of the interval |
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bootstrap {
    /// Resamples drawn.
    pub replicates: usize,
    /// Seed of the resampling.
    pub seed: u64,
    /// Nominal coverage of the interval.
    pub level: f64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { replicates: 1000, seed: 0, level: 0.95 }
    }
}

/// A statistic and its percentile interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The statistic of the data.
    pub value: f64,
    /// The (1 − level)/2 quantile over replicates.
    pub low: f64,
    /// The (1 + level)/2 quantile over replicates.
    pub high: f64,
}

/// A mean and its Monte Carlo standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The mean.
    pub value: f64,
    /// Its standard error; `None` for a single value, which has none.
    pub mcse: Option<f64>,
}

/// Percentile bootstrap interval of any statistic of `rows` rows.
///
/// ```text
/// value = T(0, 1, … B − 1),   [low, high] = quantiles (1 ∓ level)/2 of T(i₁ … i_B),   i uniform on the rows
/// ```
///
/// `statistic` is given row numbers, first all of them in order, then `replicates` samples of as many with replacement.
/// Quantiles interpolate between order statistics. The same arguments give the same bits. Infinite statistics are
/// ordered like others. A statistic with a bias for few rows, such as a calibration error, has it twice in its
/// resamples: its interval lies too high, and may leave out its value.
///
/// # Errors
/// There are no rows, no replicates, `level` is outside (0, 1), or the statistic is NaN.
///
/// # Examples
/// ```
/// use bdl_metrics::{Bootstrap, bootstrap};
/// let y = [1.0, 2.0, 3.0, 4.0];
/// let largest = |rows: &[usize]| rows.iter().map(|&i| y[i]).fold(0.0, f64::max);
/// let interval = bootstrap(4, &Bootstrap::default(), largest)?;
/// assert_eq!((interval.value, interval.low, interval.high), (4.0, 2.0, 4.0));
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
///
/// # References
/// Efron & Tibshirani (1993), *An Introduction to the Bootstrap*, ch. 13; `docs/math.md#bootstrap-interval`.
pub fn bootstrap(
    rows: usize,
    how: &Bootstrap,
    mut statistic: impl FnMut(&[usize]) -> f64,
) -> Result<Interval, Error> {
    let [interval] = bootstrap_all(rows, how, |sample| [statistic(sample)])?;
    Ok(interval)
}

/// [`bootstrap`] of the mean: the same bits without the lists of row numbers.
///
/// # Errors
/// There are no values, one is NaN or −∞, there are no replicates, or `level` is outside (0, 1). +∞ passes, because a
/// log score may have it.
///
/// # Examples
/// ```
/// use bdl_metrics::{Bootstrap, bootstrap_mean};
/// let interval = bootstrap_mean(&[3.0; 10], &Bootstrap::default())?;
/// assert_eq!((interval.value, interval.low, interval.high), (3.0, 3.0, 3.0));
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
pub fn bootstrap_mean(values: &[f64], how: &Bootstrap) -> Result<Interval, Error> {
    check_settings(values.len(), how)?;
    check::each("values", values, "a number above -inf", |x| x > f64::NEG_INFINITY)?;
    let resampled = |r| {
        let sum: f64 = draws(values.len(), how.seed, r).map(|row| values[row]).sum();
        sum / values.len() as f64
    };
    let replicates = (0..how.replicates).map(resampled).collect();
    interval(mean(values), replicates, how.level)
}

/// Mean of independent values, and its Monte Carlo standard error.
///
/// ```text
/// value = (1/n) Σ xᵢ,   mcse = √( Σ (xᵢ − value)² / (n (n − 1)) )
/// ```
///
/// # Errors
/// There are no values, or one is not finite.
///
/// # Examples
/// ```
/// let estimate = bdl_metrics::mean_and_mcse(&[1.0, 3.0])?;
/// assert_eq!((estimate.value, estimate.mcse), (2.0, Some(1.0)));
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
pub fn mean_and_mcse(values: &[f64]) -> Result<Estimate, Error> {
    check::column("values", values, values.len())?;
    Ok(Estimate { value: mean(values), mcse: standard_error(values) })
}

/// Intervals of K statistics of the same resamples.
pub(crate) fn bootstrap_all<const K: usize>(
    rows: usize,
    how: &Bootstrap,
    mut statistics: impl FnMut(&[usize]) -> [f64; K],
) -> Result<[Interval; K], Error> {
    check_settings(rows, how)?;
    let mut sample: Vec<usize> = (0..rows).collect();
    let values = statistics(&sample);
    let mut replicates: [Vec<f64>; K] = std::array::from_fn(|_| Vec::with_capacity(how.replicates));
    for r in 0..how.replicates {
        sample.clear();
        sample.extend(draws(rows, how.seed, r));
        let resampled = statistics(&sample);
        replicates.iter_mut().zip(resampled).for_each(|(all, one)| all.push(one));
    }
    let mut intervals = [Interval { value: 0.0, low: 0.0, high: 0.0 }; K];
    for ((slot, value), replicates) in intervals.iter_mut().zip(values).zip(replicates) {
        *slot = interval(value, replicates, how.level)?;
    }
    Ok(intervals)
}

/// Standard error of the mean; `None` of a single value.
pub(crate) fn standard_error(values: &[f64]) -> Option<f64> {
    let (n, mean) = (values.len() as f64, mean(values));
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (n * (n - 1.0))).sqrt())
}

/// The row numbers of a replicate.
fn draws(rows: usize, seed: u64, replicate: usize) -> impl Iterator<Item = usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(replicate as u64);
    // High word of a 128-bit product: probabilities are equal to within rows/2⁶⁴, and no draw is rejected.
    (0..rows).map(move |_| ((u128::from(rng.next_u64()) * rows as u128) >> 64) as usize)
}

fn interval(value: f64, mut replicates: Vec<f64>, level: f64) -> Result<Interval, Error> {
    if value.is_nan() {
        return Err(Error::Statistic { replicate: None });
    }
    if let Some(r) = replicates.iter().position(|x| x.is_nan()) {
        return Err(Error::Statistic { replicate: Some(r) });
    }
    replicates.sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - level) / 2.0;
    Ok(Interval { value, low: quantile(&replicates, tail), high: quantile(&replicates, 1.0 - tail) })
}

/// Quantile of sorted values, linear between order statistics: type 7 of Hyndman & Fan (1996).
fn quantile(sorted: &[f64], level: f64) -> f64 {
    let at = level * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    // Equal infinities have no difference.
    if below == above { below } else { below + (at - at.floor()) * (above - below) }
}

fn check_settings(rows: usize, how: &Bootstrap) -> Result<(), Error> {
    check::at_least_one("rows", rows)?;
    check::at_least_one("replicates", how.replicates)?;
    check::level(how.level)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{close, mean_se, normals};

    fn mean_of<'a>(values: &'a [f64]) -> impl FnMut(&[usize]) -> f64 + 'a {
        |rows| rows.iter().map(|&i| values[i]).sum::<f64>() / values.len() as f64
    }

    #[test]
    fn draws_are_these_for_ever() {
        let first = |rows, seed, replicate| draws(rows, seed, replicate).take(6).collect::<Vec<_>>();
        assert_eq!(
            [first(100, 0, 0), first(100, 0, 1), first(1000, 9, 0)],
            [[70, 46, 69, 6, 87, 54], [75, 73, 58, 91, 46, 78], [114, 782, 344, 173, 585, 310]]
        );
    }

    #[test]
    fn draws_are_uniform_within_5_standard_errors() {
        let mut counts = [0_u32; 10];
        (0..10_000).for_each(|r| draws(10, 1, r).for_each(|i| counts[i] += 1));
        for count in counts {
            close(f64::from(count), 10_000.0, 5.0 * (100_000.0_f64 * 0.1 * 0.9).sqrt());
        }
    }

    #[test]
    fn interval_of_a_mean_is_about_two_standard_errors_wide() {
        let x = normals(500, 8);
        let (mean, se) = mean_se(&x);
        let interval = bootstrap_mean(&x, &Bootstrap { replicates: 4000, ..Bootstrap::default() }).unwrap();
        assert_eq!(interval.value.to_bits(), crate::mean(&x).to_bits());
        close(interval.low, mean - 1.96 * se, 0.2 * se);
        close(interval.high, mean + 1.96 * se, 0.2 * se);
    }

    #[test]
    fn interval_covers_the_truth_as_often_as_it_says() {
        // 500 samples of 100 rows: coverage 0.9 with standard error 0.0134; percentile intervals lack about 0.005.
        let how = Bootstrap { replicates: 400, level: 0.9, ..Bootstrap::default() };
        let x = normals(50_000, 9);
        let covers = |x: &[f64]| bootstrap_mean(x, &how).is_ok_and(|i| i.low <= 0.0 && 0.0 <= i.high);
        let share = x.chunks_exact(100).filter(|x| covers(x)).count() as f64 / 500.0;
        close(share, 0.9, 5.0 * 0.0134);
    }

    #[test]
    fn seed_decides_the_interval() {
        let x = normals(50, 10);
        let with = |seed| bootstrap_mean(&x, &Bootstrap { seed, ..Bootstrap::default() }).unwrap();
        assert_eq!(with(1), with(1));
        assert_ne!(with(1).low, with(2).low);
    }

    #[test]
    fn single_row_has_an_interval_of_no_width() {
        let interval = bootstrap_mean(&[2.5], &Bootstrap::default()).unwrap();
        assert_eq!((interval.low, interval.high), (2.5, 2.5));
    }

    #[test]
    fn infinite_scores_give_infinite_ends_and_no_nan() {
        let interval = bootstrap_mean(&[0.0, f64::INFINITY], &Bootstrap::default()).unwrap();
        assert_eq!((interval.value, interval.low, interval.high), (f64::INFINITY, 0.0, f64::INFINITY));
    }

    #[test]
    fn bad_calls_are_named() {
        let text = |r: Result<Interval, Error>| r.unwrap_err().to_string();
        let how = Bootstrap::default();
        assert_eq!(text(bootstrap(0, &how, |_| 0.0)), "rows: must be at least 1, got 0");
        assert_eq!(
            text(bootstrap(1, &Bootstrap { replicates: 0, ..how }, |_| 0.0)),
            "replicates: must be at least 1, got 0"
        );
        assert_eq!(
            text(bootstrap(1, &Bootstrap { level: 1.5, ..how }, |_| 0.0)),
            "level: must be in (0, 1), got 1.5"
        );
        assert_eq!(
            text(bootstrap(1, &how, |_| f64::NAN)),
            "statistic: must be a number, got NaN on the data"
        );
        let mut calls = 0;
        let third = |_: &[usize]| {
            calls += 1;
            if calls == 4 { f64::NAN } else { 0.0 }
        };
        assert_eq!(text(bootstrap(1, &how, third)), "statistic: must be a number, got NaN on replicate 2");
        assert_eq!(
            text(bootstrap_mean(&[f64::NEG_INFINITY], &how)),
            "values[0]: must be a number above -inf, got -inf"
        );
        assert_eq!(mean_and_mcse(&[f64::NAN]).unwrap_err().to_string(), "values[0]: must be finite, got NaN");
    }

    #[test]
    fn single_value_has_no_standard_error() {
        assert_eq!(mean_and_mcse(&[4.0]), Ok(Estimate { value: 4.0, mcse: None }));
    }

    #[test]
    fn standard_error_of_normals_is_one_over_root_n() {
        let estimate = mean_and_mcse(&normals(10_000, 11)).unwrap();
        close(estimate.mcse.unwrap(), 0.01, 5.0 * 0.01 / 20_000.0_f64.sqrt());
        close(estimate.value, 0.0, 5.0 * 0.01);
    }

    proptest! {
        #[test]
        fn fast_path_has_the_same_bits(x in prop::collection::vec(-5.0..5.0_f64, 1..30), seed: u64) {
            let how = Bootstrap { replicates: 20, seed, level: 0.8 };
            let (fast, plain) = (bootstrap_mean(&x, &how).unwrap(), bootstrap(x.len(), &how, mean_of(&x)).unwrap());
            prop_assert_eq!(fast, plain);
        }

        #[test]
        fn quantiles_lie_between_their_neighbours(x in prop::collection::vec(-5.0..5.0_f64, 1..30), level in 0.0..=1.0_f64) {
            let mut x = x;
            x.sort_unstable_by(f64::total_cmp);
            let q = quantile(&x, level);
            let share = |x: &[f64], ok: &dyn Fn(f64) -> bool| x.iter().filter(|x| ok(**x)).count() as f64 / x.len() as f64;
            prop_assert!(x[0] <= q && q <= x[x.len() - 1]);
            prop_assert!(share(&x, &|x| x <= q) >= level - 1.0 / x.len() as f64);
            prop_assert!(share(&x, &|x| x >= q) >= 1.0 - level - 1.0 / x.len() as f64);
        }
    }
}
