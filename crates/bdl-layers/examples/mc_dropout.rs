//! MC dropout by hand: a 3-16-1 ReLU network with dropout on its hidden layer, and how far many passes are from the exact
//! answer; then two hidden layers against the enumeration of all their masks.
//!
//! `cargo run -p bdl-layers --example mc_dropout`

#![allow(clippy::print_stdout, reason = "an example prints")]

use bdl_dist::{Noise, Purpose};
use bdl_layers::{
    Activation, ActivationLayer, Dense, Dropout, Error, Estimator, Layer, Pass, Plan, Scope, Workspace,
};
use bdl_tensor::{Mat, MatMut};
use bdl_testkit::masks::{dropout_moments, linear_dropout_variance};
use bdl_testkit::oracle::{FrozenMask, OracleActivation, OracleLayer, OracleNet};
use bdl_testkit::source::to_f64;
use bdl_testkit::stats::{MomentCheck, mean, variance};

const X: [f32; 3] = [0.5, -1.2, 2.0];

fn main() -> Result<(), Error> {
    one_hidden_layer()?;
    two_hidden_layers()
}

fn one_hidden_layer() -> Result<(), Error> {
    let drop_prob = 0.2;
    let plan = network(&[3, 16, 1], &[drop_prob])?;
    let params = plan.init(&Noise::new(0, Purpose::Init)); // He: N(0, 2/in_dim), biases 0
    let output = pass(&plan, &params, &Pass::mean(), &mut Workspace::new())?;
    println!("deterministic output: {output:.6}");
    assert!((output + 2.868_744).abs() < 1e-5);

    let y = passes(&plan, &params, Scope::Pass, 100)?;
    let (m, s) = (mean(&y), variance(&y).sqrt());
    println!("over 100 passes:      {m:.6} ± {s:.6}");
    assert!((m + 2.849_314).abs() < 1e-5 && (s - 1.249_061).abs() < 1e-5);

    // Exactly: mean the deterministic output, variance p/(1−p)·Σ w²h².
    let twin = twin(&[3, 16, 1], &[drop_prob]);
    let hidden = twin.activations(&to_f64(&params), &to_f64(&X), 1).swap_remove(1);
    let exact = linear_dropout_variance(drop_prob, &to_f64(&params[64..80]), &hidden);
    println!("exactly:              {output:.6} ± {:.6}", exact.sqrt());
    let moments = dropout_moments(&twin, &to_f64(&params), &to_f64(&X), 1);
    let y = passes(&plan, &params, Scope::Pass, 20_000)?;
    println!("over 20000 passes:    {:.6} ± {:.6}\n", mean(&y), variance(&y).sqrt());
    MomentCheck::mean("one hidden layer", &y, output, exact).assert();
    MomentCheck::variance("one hidden layer", &y, exact, moments.fourth_moment[0]).assert();
    Ok(())
}

fn two_hidden_layers() -> Result<(), Error> {
    let (widths, drop_probs) = ([3, 6, 5, 1], [0.2, 0.4]);
    let plan = network(&widths, &drop_probs)?;
    let params = plan.init(&Noise::new(1, Purpose::Init));
    let exact = dropout_moments(&twin(&widths, &drop_probs), &to_f64(&params), &to_f64(&X), 1);
    println!("two hidden layers, all 2048 masks: {:.6} ± {:.6}", exact.mean[0], exact.variance[0].sqrt());
    for scope in [Scope::Pass, Scope::Row] {
        let y = passes(&plan, &params, scope, 20_000)?;
        println!("20000 passes, scope {scope:?}: {:.6} ± {:.6}", mean(&y), variance(&y).sqrt());
        MomentCheck::mean("two hidden layers", &y, exact.mean[0], exact.variance[0]).assert();
        MomentCheck::variance("two hidden layers", &y, exact.variance[0], exact.fourth_moment[0]).assert();
    }
    Ok(())
}

/// Dense layers of these widths, with ReLU and dropout behind all but the last.
fn network(widths: &[usize], drop_probs: &[f64]) -> Result<Plan, Error> {
    let mut layers: Vec<Box<dyn Layer>> = Vec::new();
    for (i, pair) in widths.windows(2).enumerate() {
        layers.push(Box::new(Dense::new(pair[0], pair[1])?));
        if let Some(&drop_prob) = drop_probs.get(i) {
            layers.push(Box::new(ActivationLayer::new(Activation::Relu, pair[1])?));
            layers.push(Box::new(Dropout::new(pair[1], drop_prob)?));
        }
    }
    Plan::new(layers)
}

/// The same network as naive `f64` code, for the exact moments.
fn twin(widths: &[usize], drop_probs: &[f64]) -> OracleNet {
    let mut layers = Vec::new();
    for (i, pair) in widths.windows(2).enumerate() {
        layers.push(OracleLayer::Dense { in_dim: pair[0], out_dim: pair[1], bias: true });
        if let Some(&drop_prob) = drop_probs.get(i) {
            layers.push(OracleLayer::Activation(OracleActivation::Relu));
            layers.push(OracleLayer::Dropout { drop_prob, mask: FrozenMask::Mean });
        }
    }
    OracleNet::new(layers)
}

fn passes(plan: &Plan, params: &[f32], scope: Scope, passes: u64) -> Result<Vec<f64>, Error> {
    let (noise, mut ws) = (Noise::new(0, Purpose::Predict), Workspace::new());
    (0..passes)
        .map(|i| pass(plan, params, &Pass::predict(&noise, i, scope, Estimator::Local), &mut ws))
        .collect()
}

fn pass(plan: &Plan, params: &[f32], pass: &Pass<'_>, ws: &mut Workspace) -> Result<f64, Error> {
    let mut y = [0.0];
    plan.forward(params, Mat::new(&X, 1, 3)?, pass, ws, &mut MatMut::new(&mut y, 1, 1)?)?;
    Ok(f64::from(y[0]))
}
