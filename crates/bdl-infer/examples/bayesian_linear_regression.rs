//! Variational Bayesian linear regression: the model in which everything is known.
//!
//! ```text
//! y = x·w + 0.3·noise,   w ~ N(0, I) in 5 dimensions,   500 rows,   q(w) = N(mu, diag(sigma²)), sigma = softplus(rho)
//! ```
//!
//! 1. The textbook's way, gradient ascent on the summed ELBO with step 1e-2, diverges: its curvature is
//!    `N/noise² = 5.6e3`, and a step must be below 2/5.6e3 (`docs/math.md#step-size-stability`). `fit` stops it.
//! 2. Scaled per row, with a step size that decays to 0, the same ascent finds the best mean-field posterior,
//!    which is known in closed form (`docs/math.md#bayesian-linear-regression`).
//!
//! Run with `cargo run --release -p bdl-infer --example bayesian_linear_regression`.
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::ops::ControlFlow;

use bdl_dist::{Noise, Purpose, raw_scale};
use bdl_infer::{
    Bnn, Data, FitConfig, FitSummary, Gaussian, MixtureScratch, NoiseSd, Optimizer, Passes, Predictor,
    Progress, Schedule, Targets, fit,
};
use bdl_layers::{Estimator, Plan, Prior, VariationalDense};
use bdl_tensor::{Mat, Serial, special::softplus};
use bdl_testkit::bayes::LinearRegression;

const N: usize = 500;
const D: usize = 5;
const TRUE_WEIGHTS: [f32; D] = [1.5, -2.0, 0.0, 0.7, -0.3];
const NOISE: f64 = 0.3;
const X_STAR: [f32; D] = [0.3, -1.0, 0.2, 0.1, 0.5];

fn main() -> Result<(), Box<dyn Error>> {
    let (x, y) = data();
    let data = Data::new(Mat::new(&x, N, D)?, Targets::Real(&y))?;
    let layer = VariationalDense::new(D, 1, Prior::StdDev(1.0))?.without_bias();
    let bnn = Bnn::new(Plan::new(vec![Box::new(layer)])?, Box::new(Gaussian::new(NoiseSd::Fixed(NOISE))?))?;
    let exact = LinearRegression::new(&widened(&x), &widened(&y), NOISE, 1.0);

    textbook(&bnn, data)?;
    let params = scaled(&bnn, data)?;
    compare(&params, &exact);
    predict(&bnn, params, &exact)
}

/// x `[500, 5]` of standard normals, y `[500]`.
fn data() -> (Vec<f32>, Vec<f32>) {
    let mut rng = Noise::new(0, Purpose::Other(0)).rng(0);
    let (mut x, mut noise) = (vec![0.0; N * D], vec![0.0; N]);
    rng.normals(&mut x);
    rng.normals(&mut noise);
    let mean = |row: &[f32]| row.iter().zip(TRUE_WEIGHTS).map(|(x, w)| x * w).sum::<f32>();
    let y = x.chunks(D).zip(noise).map(|(row, e)| mean(row) + NOISE as f32 * e).collect();
    (x, y)
}

/// mu = 0, sigma = exp(−3).
fn start() -> Vec<f32> {
    let mut params = vec![0.0; D];
    params.resize(2 * D, raw_scale((-3.0_f64).exp()));
    params
}

/// Full batches, so that an epoch is a step, and one draw of the weights a step.
fn config(optimizer: Optimizer, lr: f64, epochs: usize) -> FitConfig {
    let estimator = Estimator::Sampling;
    FitConfig { epochs, batch: N, optimizer, lr, estimator, ..FitConfig::default() }
}

/// Plain gradient ascent on the *sum* over rows: our loss is the mean per row, so the step is N times as long.
fn textbook(bnn: &Bnn, data: Data<'_>) -> Result<(), Box<dyn Error>> {
    println!("Gradient ascent on the summed ELBO, step 1e-2");
    let mut params = start();
    let config = config(Optimizer::sgd(), 1e-2 * N as f64, 2000);
    let stopped =
        run(bnn, &mut params, data, &config, 5).err().ok_or("the textbook version should diverge")?;
    println!("  {stopped}\n");
    assert_eq!(
        stopped.to_string(),
        "training stopped at step 22 (epoch 22): the loss at 0.variational-dense/weight.mu is inf"
    );
    assert!(params.iter().all(|p| p.is_finite()), "the parameters of the last whole epoch are kept");
    Ok(())
}

/// The same objective per row, with steps of Adam that decay to 0.
fn scaled(bnn: &Bnn, data: Data<'_>) -> Result<Vec<f32>, Box<dyn Error>> {
    println!("ELBO per row, Adam, step 1e-2 falling to 0 along a cosine");
    let mut params = start();
    let decaying = Schedule::Cosine { end: 0.0 };
    let config = FitConfig { schedule: decaying, ..config(Optimizer::adam(), 1e-2, 40_000) };
    run(bnn, &mut params, data, &config, 5000)?;
    println!();
    Ok(params)
}

fn run(
    bnn: &Bnn,
    params: &mut [f32],
    data: Data<'_>,
    config: &FitConfig,
    every: usize,
) -> Result<FitSummary, bdl_infer::Error> {
    println!("   step          mse          kl           elbo");
    fit(bnn, params, data, None, config, &Serial, &mut |p: &Progress| {
        if p.epoch == 1 || p.epoch.is_multiple_of(every) {
            // nll = mse/(2·noise²) + ln noise + ½·ln 2π
            let mse = 2.0 * NOISE * NOISE * (p.nll_mean - NOISE.ln() - 0.5 * std::f64::consts::TAU.ln());
            println!("{:>7} {:>12} {:>11} {:>14}", p.step, short(mse), short(p.kl), short(p.elbo));
        }
        ControlFlow::Continue(())
    })
}

fn short(v: f64) -> String {
    if v.abs() < 1e6 { format!("{v:.4}") } else { format!("{v:.1e}") }
}

/// The fitted posterior beside the exact one and the best that a diagonal can do.
fn compare(params: &[f32], exact: &LinearRegression) {
    let (mu, sigma) = posterior(params);
    let (best_mu, best_sigma) = exact.mean_field();
    println!("weight   true    mu: fitted     exact   sigma: fitted  mean-field      exact");
    for i in 0..D {
        let (sd, truth) = (exact.std()[i], TRUE_WEIGHTS[i]);
        let (m, s, best) = (mu[i], sigma[i], best_sigma[i]);
        println!("  w[{i}] {truth:>7.2} {m:>13.5} {:>9.5} {s:>15.6} {best:>11.6} {sd:>10.6}", best_mu[i]);
        assert!((m - best_mu[i]).abs() < 0.1 * sd, "mean within 0.1 posterior standard deviations");
        assert!((s / best - 1.0).abs() < 0.05, "deviation within 5 % of the mean-field optimum");
    }
    let (elbo, evidence) = (exact.elbo_diagonal(&mu, &sigma), exact.ln_evidence());
    let (gap, least) = (evidence - elbo, exact.mean_field_gap());
    println!(
        "\nln evidence {evidence:.4}   elbo {elbo:.4}   gap {gap:.4}   ½(Σ ln Λ_ii − ln det Λ) = {least:.4}"
    );
    // At most ½·(0.1² + 2·0.05²)·5 nats above the least gap, if all ten numbers were as far off as allowed above.
    assert!(gap > least - 1e-9 && gap < least + 0.0375, "the gap is that of mean field");
    assert!((evidence + 156.310).abs() < 2e-3 && (least - 0.0066).abs() < 1e-4, "the numbers of seed 0");
}

fn predict(bnn: &Bnn, params: Vec<f32>, exact: &LinearRegression) -> Result<(), Box<dyn Error>> {
    let (mu, sigma) = posterior(&params);
    let mean: f64 = X_STAR.iter().zip(&mu).map(|(&x, m)| f64::from(x) * m).sum();
    let epistemic: f64 = X_STAR.iter().zip(&sigma).map(|(&x, s)| (f64::from(x) * s).powi(2)).sum();
    let aleatoric = NOISE * NOISE;
    let (exact_mean, (_, exact_epistemic)) = exact.predict(&widened(&X_STAR));
    println!("\nat x* = {X_STAR:?}");
    println!("              mean   variance = noise_sd² + from the weights");
    println!("fitted {mean:>11.5} {:>10.6} = {aleatoric:.6} + {epistemic:.6}", aleatoric + epistemic);
    println!(
        "exact  {exact_mean:>11.5} {:>10.6} = {aleatoric:.6} + {exact_epistemic:.6}",
        aleatoric + exact_epistemic
    );

    let members = [params];
    let predictor = Predictor::new(bnn, &members, Passes { samples: 20_000, ..Passes::default() })?;
    let outputs = predictor.outputs(Mat::new(&X_STAR, 1, D)?, 0, &Serial)?;
    let (predictive, mut scratch) = (predictor.predictive(&outputs, 1)?, MixtureScratch::new());
    let y = predictive.real(0, &mut scratch)?;
    let mcse = y.mean_mcse().ok_or("20 000 passes have a standard error")?;
    let (drawn_a, drawn_e) = (y.aleatoric_variance(), y.epistemic_variance());
    println!(
        "drawn  {:>11.5} {:>10.6} = {drawn_a:.6} + {drawn_e:.6}   (20 000 passes)",
        y.mean(),
        drawn_a + drawn_e
    );
    // 5 standard errors: of a mean, and of a normal sample's variance, √(2/(n − 1)) of it.
    assert!((y.mean() - mean).abs() < 5.0 * mcse);
    assert!((drawn_e / epistemic - 1.0).abs() < 5.0 * (2.0_f64 / 19_999.0).sqrt());
    assert!((drawn_a - aleatoric).abs() < 1e-12);
    assert!(
        (mean - 2.3674).abs() < 1e-3 && (epistemic / 2.54e-4 - 1.0).abs() < 0.02,
        "the numbers of seed 0"
    );
    Ok(())
}

fn posterior(params: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let (mu, rho) = params.split_at(D);
    (widened(mu), rho.iter().map(|&r| softplus(r.into())).collect())
}

fn widened(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&v| v.into()).collect()
}
