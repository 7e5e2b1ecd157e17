//! Scores the predictions of a model that this crate knows nothing about.
//!
//! `cargo run -p bdl-metrics --example score_predictions`

#![allow(clippy::print_stdout, reason = "an example shows what it computes")]

use bdl_metrics::{
    Bootstrap, Bounds, Error, Metric, RegressionInput, classification_metrics, crps_gaussian_rows, entropies,
    gaussian_nll_rows, pit_gaussian, regression_metrics,
};

fn main() -> Result<(), Error> {
    let regression = score_temperatures()?;
    show("regression", &regression);
    assert_near(regression[0].value, 1.0);
    assert_near(regression[4].value, 0.5);

    let classification = score_animals()?;
    show("classification", &classification);
    assert_near(classification[0].value, 0.75);
    assert_near(classification[1].value, -(0.7_f64 * 0.6 * 0.3 * 0.8).ln() / 4.0);

    two_members_that_disagree()
}

/// Eight forecasts of a temperature, with one error of half and one of one and a third standard deviations in turn.
fn score_temperatures() -> Result<Vec<Metric>, Error> {
    let mean = [12.0, 14.0, 13.0, 11.0, 15.0, 16.0, 12.0, 10.0];
    let errors = [0.5, -1.322_875_655_532_295_3, -0.5, 1.322_875_655_532_295_3].repeat(2);
    let y: Vec<f64> = mean.iter().zip(&errors).map(|(m, e)| m + e).collect();
    let std = [1.0; 8];
    let ends = |z: f64| (mean.map(|m| m - z), mean.map(|m| m + z));
    let (half, most, nearly_all) = (ends(0.674_490), ends(1.644_854), ends(1.959_964));
    let input = RegressionInput {
        y: &y,
        mean: &mean,
        nll: &gaussian_nll_rows(&y, &mean, &std)?,
        crps: &crps_gaussian_rows(&y, &mean, &std)?,
        pit: &pit_gaussian(&y, &mean, &std)?,
        interval_50: Bounds { lower: &half.0, upper: &half.1 },
        interval_90: Bounds { lower: &most.0, upper: &most.1 },
        interval_95: Bounds { lower: &nearly_all.0, upper: &nearly_all.1 },
    };
    regression_metrics(&input, &Bootstrap::default())
}

/// Four pictures, three classes; the third is mistaken.
fn score_animals() -> Result<Vec<Metric>, Error> {
    let labels = [0, 1, 2, 2];
    let probs = [
        0.7, 0.2, 0.1, //
        0.3, 0.6, 0.1, //
        0.5, 0.2, 0.3, //
        0.1, 0.1, 0.8,
    ];
    classification_metrics(&labels, &probs, &Bootstrap::default())
}

/// Both rows have the same mean probabilities; only the first is worth another label.
fn two_members_that_disagree() -> Result<(), Error> {
    // [members, rows, classes]
    let probs = [0.9, 0.1, 0.5, 0.5, 0.1, 0.9, 0.5, 0.5];
    let rows = entropies(&probs, [2, 2, 2])?;
    println!(
        "mutual information: {:.3} and {:.3} nats",
        rows[0].mutual_information, rows[1].mutual_information
    );
    assert_near(rows[0].predictive_entropy, rows[1].predictive_entropy);
    assert_near(rows[0].mutual_information, 2.0_f64.ln() + 0.9 * 0.9_f64.ln() + 0.1 * 0.1_f64.ln());
    assert_near(rows[1].mutual_information, 0.0);
    Ok(())
}

fn show(title: &str, metrics: &[Metric]) {
    println!("{title}");
    for Metric { name, value, low, high } in metrics {
        println!("  {name:<18}{value:>8.3}  [{low:.3}, {high:.3}]");
    }
}

fn assert_near(got: f64, expected: f64) {
    assert!((got - expected).abs() < 1e-9, "expected {expected}, got {got}");
}
