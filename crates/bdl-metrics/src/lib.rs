#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod bootstrap;
mod calibration;
mod check;
mod classification;
mod crps;
mod error;
mod information;
mod interval;
mod pit;
mod ranking;
mod regression;
mod report;
mod selective;
#[cfg(test)]
mod testing;

pub use bootstrap::{Bootstrap, Estimate, Interval, bootstrap, bootstrap_mean, mean_and_mcse};
pub use calibration::{Bin, Binning, adaptive_ece, ece, mce, reliability};
pub use classification::{accuracy, brier, brier_rows, nll, nll_rows};
pub use crps::{
    EnsembleCrps, crps_ensemble, crps_ensemble_rows, crps_gaussian, crps_gaussian_mixture,
    crps_gaussian_mixture_rows, crps_gaussian_rows,
};
pub use error::Error;
pub use information::{Entropies, entropies, entropy};
pub use interval::{coverage, interval_score, interval_score_rows, mean_width};
pub use pit::{
    calibration_curve, calibration_error, calibration_error_rms, pit_ensemble, pit_gaussian,
    pit_gaussian_mixture,
};
pub use regression::{
    gaussian_mixture_nll, gaussian_mixture_nll_rows, gaussian_nll, gaussian_nll_rows, mae, pinball,
    pinball_rows, rmse,
};
pub use report::{Bounds, Metric, REPORT_BINS, RegressionInput, classification_metrics, regression_metrics};
pub use selective::{RiskPoint, aurc, aurc_of, risk_coverage};

/// How far a row of probabilities may be from summing to 1.
///
/// Wide enough for a softmax over thousands of classes in `f32`. Rows are scored as given, not rescaled.
pub const PROB_SUM_TOLERANCE: f64 = 1e-4;

/// Arithmetic mean of a slice that is not empty.
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
