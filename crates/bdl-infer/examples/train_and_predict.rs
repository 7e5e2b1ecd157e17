//! A mean-field network on a noisy sine: trained, then asked inside and outside of what it has seen.
//!
//! Run with `cargo run --release -p bdl-infer --example train_and_predict`.
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::ops::ControlFlow;

use bdl_dist::{Noise, Purpose};
use bdl_infer::{
    Bnn, Data, FitConfig, Gaussian, KlWarmup, MixtureScratch, NoiseSd, Passes, Predictor, RayonPool,
    Schedule, Targets, fit,
};
use bdl_layers::{Activation, ActivationLayer, Plan, Prior, VariationalDense};
use bdl_tensor::Mat;

const HIDDEN: usize = 32;

fn main() -> Result<(), Box<dyn Error>> {
    let pool = RayonPool::new(0)?;
    let (x, y) = sine(Purpose::Other(0));
    let bnn = network()?;
    let mut params = bnn.init(&Noise::new(0, Purpose::Init));
    let config = FitConfig {
        epochs: 400,
        lr: 1e-2,
        schedule: Schedule::Cosine { end: 0.0 },
        kl_warmup: KlWarmup::new(50.0)?,
        ..FitConfig::default()
    };
    let data = Data::new(Mat::new(&x, x.len(), 1)?, Targets::Real(&y))?;
    let summary = fit(&bnn, &mut params, data, None, &config, &pool, &mut |p| {
        if p.epoch.is_multiple_of(100) {
            println!(
                "epoch {:>3}: nll {:.3} per row, kl {:.1}, elbo {:.1}",
                p.epoch, p.nll_mean, p.kl, p.elbo
            );
        }
        ControlFlow::Continue(())
    })?;
    assert!(summary.last.nll_mean < 0.0, "a constant has an NLL of about 1.0");

    let members = [params];
    let predictor = Predictor::new(&bnn, &members, Passes { samples: 500, ..Passes::default() })?;
    let at = [-1.5_f32, -0.75, 0.0, 0.75, 1.5, 4.0];
    let outputs = predictor.outputs(Mat::new(&at, at.len(), 1)?, 0, &pool)?;
    let predictive = predictor.predictive(&outputs, at.len())?;
    let mut scratch = MixtureScratch::new();
    let mut epistemic_sd = Vec::new();
    println!("\n    x  sin(2x)     mean    noise_sd  epistemic_sd   90 % interval");
    for (row, &x) in at.iter().enumerate() {
        let y = predictive.real(row, &mut scratch)?;
        let [low, high] = y.interval(0.9)?;
        let (noise, own) = (y.aleatoric_variance().sqrt(), y.epistemic_variance().sqrt());
        let truth = (2.0 * x).sin();
        println!("{x:>5} {truth:>8.3} {:>8.3} {noise:>11.3} {own:>13.3}   [{low:.2}, {high:.2}]", y.mean());
        epistemic_sd.push(own);
        // Where there were rows, the function is found; 0.1 is the noise of the data.
        assert!(x > 2.0 || (y.mean() - f64::from(truth)).abs() < 0.15, "mean at {x}");
        assert!((0.08..0.16).contains(&noise), "noise at {x}");
    }
    assert!(
        epistemic_sd[5] > 3.0 * epistemic_sd[1],
        "far away the weights disagree (not enough to cover sin 8: mean field is overconfident there)"
    );
    Ok(())
}

/// 1-32-32-1 with silu, a normal posterior over every weight, and a learned noise.
fn network() -> Result<Bnn, Box<dyn Error>> {
    let (prior, silu) = (Prior::FanIn(2.0), ActivationLayer::new(Activation::Silu, HIDDEN)?);
    let plan = Plan::new(vec![
        Box::new(VariationalDense::new(1, HIDDEN, prior.clone())?),
        Box::new(silu.clone()),
        Box::new(VariationalDense::new(HIDDEN, HIDDEN, prior.clone())?),
        Box::new(silu),
        Box::new(VariationalDense::new(HIDDEN, 1, prior)?),
    ])?;
    Ok(Bnn::new(plan, Box::new(Gaussian::new(NoiseSd::Learned { init: 0.5 })?))?)
}

/// 400 rows of `sin(2x) + 0.1·noise`, x uniform on [−2, 2].
fn sine(purpose: Purpose) -> (Vec<f32>, Vec<f32>) {
    let mut rng = Noise::new(0, purpose).rng(0);
    let mut noise = [0.0; 400];
    rng.normals(&mut noise);
    let x: Vec<f32> = noise.iter().map(|_| (4.0 * rng.uniform() - 2.0) as f32).collect();
    let y = x.iter().zip(noise).map(|(x, e)| (2.0 * x).sin() + 0.1 * e).collect();
    (x, y)
}
