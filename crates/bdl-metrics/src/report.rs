//! All scores of a set of predictions at once, each with its bootstrap interval.

use crate::bootstrap::{Bootstrap, Interval, bootstrap_all};
use crate::calibration::{Binning, expected_gap, largest_gap, table};
use crate::classification::{brier_score, log_score, rows};
use crate::interval::covers;
use crate::pit::{LEVELS, deviations, first_level};
use crate::ranking::{Group, Ranking};
use crate::selective::area;
use crate::{Error, check};

/// Bins of the calibration errors in [`classification_metrics`].
pub const REPORT_BINS: usize = 15;

/// A named score with its bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    /// Such as `rmse`.
    pub name: &'static str,
    /// The score of all rows.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// The ends of one interval per row.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<'a> {
    /// Lower ends, `[B]`.
    pub lower: &'a [f64],
    /// Upper ends, `[B]`.
    pub upper: &'a [f64],
}

/// What [`regression_metrics`] scores, one element a row; every slice is `[B]`.
#[derive(Clone, Copy, Debug)]
pub struct RegressionInput<'a> {
    /// Observations.
    pub y: &'a [f64],
    /// Predictive means.
    pub mean: &'a [f64],
    /// Minus the log predictive density of each observation, in nats, as [`gaussian_nll_rows`](crate::gaussian_nll_rows).
    pub nll: &'a [f64],
    /// CRPS of each observation, as [`crps_gaussian_rows`](crate::crps_gaussian_rows).
    pub crps: &'a [f64],
    /// Probability integral transform of each observation, as [`pit_gaussian`](crate::pit_gaussian).
    pub pit: &'a [f64],
    /// Central 50 % intervals.
    pub interval_50: Bounds<'a>,
    /// Central 90 % intervals.
    pub interval_90: Bounds<'a>,
    /// Central 95 % intervals.
    pub interval_95: Bounds<'a>,
}

/// Scores of regression predictions with bootstrap intervals.
///
/// In this order: `rmse`, `mae`, `nll`, `crps`, `coverage_50`, `coverage_90`, `coverage_95`, `width_90`,
/// `calibration_error`. All are taken of the same resamples, so that they may be compared. The interval of
/// `calibration_error` lies too high when rows are few: see [`bootstrap`](crate::bootstrap).
/// The formulas: `docs/math.md#scores-regression`.
///
/// # Errors
/// Lengths differ, there are no rows, a value is not finite, a `pit` is outside [0, 1], an interval is upside down, there
/// are no replicates, or the level is outside (0, 1).
///
/// # Examples
/// ```
/// use bdl_metrics::{Bootstrap, Bounds, RegressionInput, crps_gaussian_rows, gaussian_nll_rows, pit_gaussian, regression_metrics};
/// let (y, mean, std) = ([0.0, 1.5], [0.0, 0.5], [1.0, 1.0]);
/// let ends = |z: f64| (mean.map(|m| m - z), mean.map(|m| m + z));
/// let (i50, i90, i95) = (ends(0.674), ends(1.645), ends(1.960));
/// let metrics = regression_metrics(
///     &RegressionInput {
///         y: &y,
///         mean: &mean,
///         nll: &gaussian_nll_rows(&y, &mean, &std)?,
///         crps: &crps_gaussian_rows(&y, &mean, &std)?,
///         pit: &pit_gaussian(&y, &mean, &std)?,
///         interval_50: Bounds { lower: &i50.0, upper: &i50.1 },
///         interval_90: Bounds { lower: &i90.0, upper: &i90.1 },
///         interval_95: Bounds { lower: &i95.0, upper: &i95.1 },
///     },
///     &Bootstrap::default(),
/// )?;
/// assert_eq!((metrics[1].name, metrics[1].value), ("mae", 0.5));
/// assert_eq!((metrics[4].name, metrics[4].value), ("coverage_50", 0.5));
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
pub fn regression_metrics(input: &RegressionInput<'_>, how: &Bootstrap) -> Result<Vec<Metric>, Error> {
    const NAMES: [&str; 9] = [
        "rmse",
        "mae",
        "nll",
        "crps",
        "coverage_50",
        "coverage_90",
        "coverage_95",
        "width_90",
        "calibration_error",
    ];
    check_regression(input)?;
    // Everything a row adds to a sum lies together: resampling is bound by memory.
    let summands: Vec<[f64; 8]> = (0..input.y.len()).map(|i| regression_row(input, i)).collect();
    let first_levels: Vec<usize> = input.pit.iter().map(|&pit| first_level(pit)).collect();
    let intervals = bootstrap_all(input.y.len(), how, |sample| {
        let [square, mae, nll, crps, c50, c90, c95, w90] = means(&summands, sample);
        [square.sqrt(), mae, nll, crps, c50, c90, c95, w90, miscalibration(&first_levels, sample)]
    })?;
    Ok(named(NAMES, intervals))
}

/// Scores of class probabilities with bootstrap intervals.
///
/// In this order: `accuracy`, `nll`, `brier`, `ece`, `adaptive_ece`, `mce` (with [`REPORT_BINS`] bins), `aurc`. All are
/// taken of the same resamples, so that they may be compared. `nll` is +∞, and may have an end at +∞, where a label had
/// probability 0. The intervals of the calibration errors lie too high when rows are few: see
/// [`bootstrap`](crate::bootstrap). The formulas: `docs/math.md#scores-classification`.
///
/// # Shapes
/// `labels` `[B]`, `probs` `[B, C]` row by row, with C = `probs.len() / labels.len()`.
///
/// # Errors
/// There are no rows, `probs` is not a multiple of `labels`, a probability is outside [0, 1], a row does not sum to 1
/// within [`PROB_SUM_TOLERANCE`](crate::PROB_SUM_TOLERANCE), a label is not below C, there are no replicates, or the level
/// is outside (0, 1).
///
/// # Examples
/// ```
/// use bdl_metrics::{Bootstrap, classification_metrics};
/// let metrics = classification_metrics(&[0, 1], &[0.75, 0.25, 0.5, 0.5], &Bootstrap::default())?;
/// assert_eq!((metrics[0].name, metrics[0].value), ("accuracy", 0.5));
/// assert_eq!((metrics[0].low, metrics[0].high), (0.0, 1.0));
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
pub fn classification_metrics(labels: &[u32], probs: &[f64], how: &Bootstrap) -> Result<Vec<Metric>, Error> {
    const NAMES: [&str; 7] = ["accuracy", "nll", "brier", "ece", "adaptive_ece", "mce", "aurc"];
    let classes = check::labelled(labels, probs)?;
    let scores: Vec<[f64; 2]> =
        rows(labels, probs, classes).map(|(label, p)| [log_score(label, p), brier_score(label, p)]).collect();
    let ranking = Ranking::of_top_labels(labels, probs, classes);
    let mut groups = Vec::new();
    let intervals = bootstrap_all(labels.len(), how, |sample| {
        let [nll, brier] = means(&scores, sample);
        ranking.tally(sample.iter().copied(), &mut groups);
        let wide = table(&groups, Binning::EqualWidth(REPORT_BINS));
        let even = table(&groups, Binning::EqualMass(REPORT_BINS));
        [
            hit_rate(&groups),
            nll,
            brier,
            expected_gap(&wide),
            expected_gap(&even),
            largest_gap(&wide),
            area(&groups),
        ]
    })?;
    Ok(named(NAMES, intervals))
}

fn check_regression(input: &RegressionInput<'_>) -> Result<(), Error> {
    let rows = input.y.len();
    check::column("y", input.y, rows)?;
    check::column("mean", input.mean, rows)?;
    check::column("nll", input.nll, rows)?;
    check::column("crps", input.crps, rows)?;
    check::unit("pit", input.pit, rows)?;
    for bounds in [input.interval_50, input.interval_90, input.interval_95] {
        check::bounds(bounds.lower, bounds.upper, rows)?;
    }
    Ok(())
}

fn regression_row(input: &RegressionInput<'_>, i: usize) -> [f64; 8] {
    let error = input.y[i] - input.mean[i];
    let inside = |bounds: Bounds<'_>| f64::from(covers(bounds.lower[i], bounds.upper[i], input.y[i]));
    let width = input.interval_90.upper[i] - input.interval_90.lower[i];
    let [c50, c90, c95] = [input.interval_50, input.interval_90, input.interval_95].map(inside);
    [error * error, error.abs(), input.nll[i], input.crps[i], c50, c90, c95, width]
}

fn means<const K: usize>(summands: &[[f64; K]], sample: &[usize]) -> [f64; K] {
    let mut sums = [0.0; K];
    for &row in sample {
        sums.iter_mut().zip(&summands[row]).for_each(|(sum, x)| *sum += x);
    }
    sums.map(|sum| sum / sample.len() as f64)
}

fn miscalibration(first_levels: &[usize], sample: &[usize]) -> f64 {
    let mut counts = [0; LEVELS + 1];
    sample.iter().for_each(|&row| counts[first_levels[row]] += 1);
    deviations(&counts, sample.len()).map(f64::abs).sum::<f64>() / LEVELS as f64
}

fn hit_rate(groups: &[Group]) -> f64 {
    let (rows, errors) =
        groups.iter().fold((0.0, 0.0), |(n, e), group| (n + group.count as f64, e + group.loss));
    (rows - errors) / rows
}

fn named<const K: usize>(names: [&'static str; K], intervals: [Interval; K]) -> Vec<Metric> {
    let metric = |(name, Interval { value, low, high })| Metric { name, value, low, high };
    names.into_iter().zip(intervals).map(metric).collect()
}

#[cfg(test)]
mod tests {
    use bdl_tensor::special::norm_quantile;

    use super::*;
    use crate::testing::{close, normals, uniforms};
    use crate::{
        accuracy, adaptive_ece, aurc, bootstrap, brier, calibration_error, coverage, crps_gaussian_rows, ece,
        gaussian_nll_rows, mae, mce, mean_width, nll, pit_gaussian, rmse,
    };

    struct Gaussian {
        y: Vec<f64>,
        mean: Vec<f64>,
        std: Vec<f64>,
        nll: Vec<f64>,
        crps: Vec<f64>,
        pit: Vec<f64>,
        ends: [[Vec<f64>; 2]; 3],
    }

    impl Gaussian {
        /// Rows drawn from their own predictive distributions.
        fn calibrated(rows: usize, seed: u64) -> Self {
            let mean = normals(rows, seed);
            let std: Vec<f64> = uniforms(rows, seed + 1).iter().map(|u| 0.5 + u).collect();
            let eps = normals(rows, seed + 2);
            let y: Vec<f64> = (0..rows).map(|i| mean[i] + std[i] * eps[i]).collect();
            let end = |level: f64, sign: f64| -> Vec<f64> {
                (0..rows).map(|i| mean[i] + sign * std[i] * norm_quantile(0.5 + level / 2.0)).collect()
            };
            Self {
                nll: gaussian_nll_rows(&y, &mean, &std).unwrap(),
                crps: crps_gaussian_rows(&y, &mean, &std).unwrap(),
                pit: pit_gaussian(&y, &mean, &std).unwrap(),
                ends: [0.5, 0.9, 0.95].map(|level| [end(level, -1.0), end(level, 1.0)]),
                y,
                mean,
                std,
            }
        }

        fn input(&self) -> RegressionInput<'_> {
            let [interval_50, interval_90, interval_95] =
                self.ends.each_ref().map(|[lower, upper]| Bounds { lower, upper });
            let Self { y, mean, nll, crps, pit, .. } = self;
            RegressionInput { y, mean, nll, crps, pit, interval_50, interval_90, interval_95 }
        }
    }

    fn coarse(rows: usize, classes: usize, seed: u64) -> (Vec<u32>, Vec<f64>) {
        let weights: Vec<f64> = uniforms(rows * classes, seed).iter().map(|u| (u * 8.0).ceil()).collect();
        let probs =
            weights.chunks(classes).flat_map(|w| w.iter().map(move |x| x / w.iter().sum::<f64>())).collect();
        let labels = uniforms(rows, seed + 1).iter().map(|u| (u * classes as f64) as u32).collect();
        (labels, probs)
    }

    #[test]
    fn names_of_regression_are_the_contract() {
        let metrics =
            regression_metrics(&Gaussian::calibrated(20, 20).input(), &Bootstrap::default()).unwrap();
        let names: Vec<_> = metrics.iter().map(|m| m.name).collect();
        assert_eq!(
            names.join(" "),
            "rmse mae nll crps coverage_50 coverage_90 coverage_95 width_90 calibration_error"
        );
    }

    #[test]
    fn names_of_classification_are_the_contract() {
        let metrics = classification_metrics(&[0], &[1.0], &Bootstrap::default()).unwrap();
        let names: Vec<_> = metrics.iter().map(|m| m.name).collect();
        assert_eq!(names.join(" "), "accuracy nll brier ece adaptive_ece mce aurc");
    }

    #[test]
    fn values_of_regression_are_those_of_the_single_functions() {
        let g = Gaussian::calibrated(300, 30);
        let metrics =
            regression_metrics(&g.input(), &Bootstrap { replicates: 2, ..Bootstrap::default() }).unwrap();
        let single = [
            rmse(&g.y, &g.mean),
            mae(&g.y, &g.mean),
            crate::gaussian_nll(&g.y, &g.mean, &g.std),
            crate::crps_gaussian(&g.y, &g.mean, &g.std),
            coverage(&g.y, &g.ends[0][0], &g.ends[0][1]),
            coverage(&g.y, &g.ends[1][0], &g.ends[1][1]),
            coverage(&g.y, &g.ends[2][0], &g.ends[2][1]),
            mean_width(&g.ends[1][0], &g.ends[1][1]),
            calibration_error(&g.pit),
        ];
        for (metric, single) in metrics.iter().zip(single) {
            close(metric.value, single.unwrap(), 1e-12);
        }
    }

    type Score = fn(&[u32], &[f64]) -> Result<f64, Error>;
    const SINGLE: [Score; 7] = [
        accuracy,
        nll,
        brier,
        |l, p| ece(l, p, REPORT_BINS),
        |l, p| adaptive_ece(l, p, REPORT_BINS),
        |l, p| mce(l, p, REPORT_BINS),
        aurc,
    ];

    #[test]
    fn values_and_intervals_of_classification_are_those_of_the_single_functions() {
        let (labels, probs) = coarse(60, 3, 40);
        let how = Bootstrap { replicates: 30, seed: 5, level: 0.9 };
        let metrics = classification_metrics(&labels, &probs, &how).unwrap();
        for (metric, score) in metrics.iter().zip(SINGLE) {
            let slow = bootstrap(60, &how, |rows| {
                let labels: Vec<u32> = rows.iter().map(|&i| labels[i]).collect();
                let probs: Vec<f64> =
                    rows.iter().flat_map(|&i| probs[3 * i..3 * i + 3].iter().copied()).collect();
                score(&labels, &probs).unwrap()
            })
            .unwrap();
            close(metric.value, slow.value, 1e-12);
            close(metric.low, slow.low, 1e-12);
            close(metric.high, slow.high, 1e-12);
        }
    }

    #[test]
    fn intervals_of_calibrated_rows_cover_their_nominal_values() {
        // 2000 rows: each 95 % interval of a coverage misses with probability 0.05; widened to 5 standard errors.
        let metrics =
            regression_metrics(&Gaussian::calibrated(2000, 50).input(), &Bootstrap::default()).unwrap();
        for (metric, level) in metrics[4..7].iter().zip([0.5, 0.9, 0.95]) {
            let half = (metric.high - metric.low) / 2.0;
            close(metric.value, level, half * 5.0 / 1.96);
            close(half, 1.96 * (level * (1.0 - level) / 2000.0).sqrt(), 0.3 * half);
        }
        assert!(metrics[..8].iter().all(|m| m.low <= m.value && m.value <= m.high));
    }

    #[test]
    fn excluded_label_reports_infinity_and_no_nan() {
        let metrics = classification_metrics(&[1, 0], &[1.0, 0.0, 1.0, 0.0], &Bootstrap::default()).unwrap();
        assert_eq!((metrics[1].value, metrics[1].high), (f64::INFINITY, f64::INFINITY));
        assert!(metrics.iter().all(|m| !m.low.is_nan() && !m.high.is_nan()));
    }

    #[test]
    fn slice_of_another_length_is_named() {
        let g = Gaussian::calibrated(3, 60);
        let short = RegressionInput { crps: &g.crps[..2], ..g.input() };
        let error = regression_metrics(&short, &Bootstrap::default()).unwrap_err();
        assert_eq!(error.to_string(), "crps: must have 3 elements, got 2");
        let infinite = RegressionInput { nll: &[0.0, f64::INFINITY, 0.0], ..g.input() };
        let error = regression_metrics(&infinite, &Bootstrap::default()).unwrap_err();
        assert_eq!(error.to_string(), "nll[1]: must be finite, got inf");
    }
}
