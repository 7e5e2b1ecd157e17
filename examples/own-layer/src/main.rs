//! Trains a network of our own layers under our own likelihood, predicts, saves, and loads.

use std::error::Error;
use std::ops::ControlFlow;

use bdl_dist::{Noise, Purpose};
use bdl_infer::{
    Bnn, Data, FitConfig, Kinds, MixtureScratch, Passes, Predictor, RayonPool, Schedule, Targets, fit,
    push_bnn, read_bnn,
};
use bdl_layers::{Activation, ActivationLayer, Container, Estimator, Plan};
use bdl_tensor::{Mat, Serial};
use own_layer::{GainDense, Laplace, kinds};

const HIDDEN: usize = 24;
const TRUE_SCALE: f64 = 0.1;

fn main() -> Result<(), Box<dyn Error>> {
    let (x, y) = data();
    let bnn = network()?;
    let params = train(&bnn, &x, &y)?;
    let laplace = Laplace::new(1.0)?;
    let scale = laplace.scale(&params[bnn.noise()]);
    println!("\nlearned scale {scale:.4}, true {TRUE_SCALE}");
    assert!((scale / TRUE_SCALE - 1.0).abs() < 0.15);

    let at = [-1.5, -0.5, 0.5, 1.5, 4.0];
    let members = [params];
    let answers = predict(&bnn, &members, &at)?;
    println!("    x  sin(2x)     mean   interval of 90 %   epistemic sd");
    for (&x, [mean, low, high, own]) in at.iter().zip(&answers) {
        println!("{x:>5} {:>8.3} {mean:>8.3}   [{low:>6.2}, {high:>6.2}] {own:>12.3}", (2.0 * x).sin());
        assert!(x > 2.0 || (mean - f64::from((2.0 * x).sin())).abs() < 0.15, "mean at {x}");
    }
    assert!(answers[4][3] > 2.0 * answers[1][3], "far from the data the passes disagree");

    let mut file = Container::default();
    push_bnn(&mut file, &bnn, &members)?;
    let bytes = file.to_bytes()?;
    let file = Container::from_bytes(&bytes)?;
    // Whoever does not know our kinds is told which one is missing.
    let refused = read_bnn(&file, &Kinds::default()).err().ok_or("an unknown kind must be refused")?;
    println!("\nwithout registration: {refused}");
    assert!(refused.to_string().starts_with("layer kind \"gain-dense\" is unknown here"));
    let (loaded, loaded_members) = read_bnn(&file, &kinds()?)?;
    assert_eq!(predict(&loaded, &loaded_members, &at)?, answers);
    println!("with registration: loaded, and the same predictions to the last bit");
    Ok(())
}

/// 1-24-24-1, all three layers ours.
fn network() -> Result<Bnn, Box<dyn Error>> {
    let silu = ActivationLayer::new(Activation::Silu, HIDDEN)?;
    let plan = Plan::new(vec![
        Box::new(GainDense::new(1, HIDDEN, 0.3)?),
        Box::new(silu.clone()),
        Box::new(GainDense::new(HIDDEN, HIDDEN, 0.3)?),
        Box::new(silu),
        Box::new(GainDense::new(HIDDEN, 1, 0.3)?),
    ])?;
    Ok(Bnn::new(plan, Box::new(Laplace::new(1.0)?))?)
}

fn train(bnn: &Bnn, x: &[f32], y: &[f32]) -> Result<Vec<f32>, Box<dyn Error>> {
    let mut params = bnn.init(&Noise::new(0, Purpose::Init));
    let config = FitConfig {
        epochs: 400,
        lr: 1e-2,
        schedule: Schedule::Cosine { end: 0.0 },
        estimator: Estimator::Local, // gains per row, which have less variance than gains per step
        ..FitConfig::default()
    };
    let data = Data::new(Mat::new(x, x.len(), 1)?, Targets::Real(y))?;
    let summary = fit(bnn, &mut params, data, None, &config, &RayonPool::new(0)?, &mut |p| {
        if p.epoch.is_multiple_of(100) {
            println!(
                "epoch {:>3}: nll {:>6.3} per row, kl {:>6.2}, elbo {:>7.1}",
                p.epoch, p.nll_mean, p.kl, p.elbo
            );
        }
        ControlFlow::Continue(())
    })?;
    // At the truth the NLL is 1 + ln(2·0.1) = −0.61.
    assert!(summary.last.nll_mean < -0.4);
    Ok(params)
}

/// `[mean, lower, upper, epistemic deviation]` at each x.
fn predict(bnn: &Bnn, members: &[Vec<f32>], at: &[f32]) -> Result<Vec<[f64; 4]>, Box<dyn Error>> {
    let predictor = Predictor::new(bnn, members, Passes { samples: 400, ..Passes::default() })?;
    let outputs = predictor.outputs(Mat::new(at, at.len(), 1)?, 0, &Serial)?;
    let (predictive, mut scratch) = (predictor.predictive(&outputs, at.len())?, MixtureScratch::new());
    let mut answers = Vec::new();
    for row in 0..at.len() {
        let y = predictive.real(row, &mut scratch)?;
        let [low, high] = y.interval(0.9)?;
        answers.push([y.mean(), low, high, y.epistemic_variance().sqrt()]);
    }
    Ok(answers)
}

/// 500 rows of `sin(2x)` with Laplace noise of scale 0.1, x uniform on [−2, 2].
fn data() -> (Vec<f32>, Vec<f32>) {
    let mut rng = Noise::new(0, Purpose::Other(0)).rng(0);
    let mut row = || {
        let (x, u) = (4.0 * rng.uniform() - 2.0, rng.uniform() - 0.5);
        (x as f32, ((2.0 * x).sin() - TRUE_SCALE * u.signum() * (-2.0 * u.abs()).ln_1p()) as f32)
    };
    (0..500).map(|_| row()).unzip()
}
