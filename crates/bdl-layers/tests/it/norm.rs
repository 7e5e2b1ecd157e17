//! Normalization against naive formulas in `f64`, and the residual connection against its parts.

use bdl_dist::{Noise, Purpose};
use bdl_layers::{
    Activation, ActivationLayer, BatchNorm, Dense, Dropout, Error, Estimator, Layer, LayerNorm, Pass, Plan,
    Prior, Registry, Residual, Scope, VariationalDense, Workspace,
};
use bdl_tensor::{Mat, MatMut};

fn numbers(stream: u64, n: usize) -> Vec<f32> {
    let mut out = vec![0.0; n];
    Noise::new(5, Purpose::Other(1)).rng(stream).normals(&mut out);
    out
}

fn plan(layer: impl Layer + 'static) -> Plan {
    Plan::new(vec![Box::new(layer)]).unwrap()
}

fn forward(plan: &Plan, params: &[f32], x: &[f32], pass: &Pass<'_>) -> Vec<f32> {
    let rows = x.len() / plan.in_dim();
    let mut y = vec![f32::NAN; rows * plan.out_dim()];
    let mut out = MatMut::new(&mut y, rows, plan.out_dim()).unwrap();
    plan.forward(params, Mat::new(x, rows, plan.in_dim()).unwrap(), pass, &mut Workspace::new(), &mut out)
        .unwrap();
    y
}

/// Gradient of `Σ c·y` in the parameters.
fn gradient(plan: &Plan, params: &[f32], x: &[f32], c: &[f32], pass: &Pass<'_>) -> Vec<f32> {
    let rows = x.len() / plan.in_dim();
    let (x, mut ws) = (Mat::new(x, rows, plan.in_dim()).unwrap(), Workspace::new());
    let mut grads = vec![0.0; plan.n_params()];
    plan.forward_train(params, x, pass, &mut ws).unwrap();
    ws.output_and_grad().1.data_mut().copy_from_slice(c);
    plan.backward(params, x, pass, &mut ws, &mut grads).unwrap();
    grads
}

fn mean_and_variance(x: &[f64]) -> (f64, f64) {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    (mean, x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64)
}

fn close(got: &[f32], expected: &[f64]) {
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((f64::from(*g) - e).abs() <= 2e-6 * (1.0 + e.abs()), "element {i}: expected {e}, got {g}");
    }
}

#[test]
fn layer_norm_is_its_formula_in_each_group() {
    let (units, positions, rows) = (7, 3, 4);
    let plan = plan(LayerNorm::new(units).unwrap().over_positions(positions).unwrap());
    let x: Vec<f32> = numbers(0, rows * units * positions).iter().map(|x| 40.0 + 3.0 * x).collect();
    let params = numbers(1, 2 * units);
    let expected: Vec<f64> = x
        .chunks(units)
        .flat_map(|group| {
            let group: Vec<f64> = group.iter().map(|x| f64::from(*x)).collect();
            let (mean, variance) = mean_and_variance(&group);
            let of = |j: usize| f64::from(params[j]) * (group[j] - mean) / (variance + 1e-5).sqrt();
            (0..units).map(|j| of(j) + f64::from(params[units + j])).collect::<Vec<_>>()
        })
        .collect();
    close(&forward(&plan, &params, &x, &Pass::mean()), &expected);
}

/// Normalized with the given moments of each unit.
fn by_unit(x: &[f32], params: &[f32], units: usize, moments: &[(f64, f64)]) -> Vec<f64> {
    let of = |(i, x): (usize, &f32)| {
        let j = i % units;
        let (mean, variance) = moments[j];
        let normal = (f64::from(*x) - mean) / (variance + 1e-5).sqrt();
        f64::from(params[j]) * normal + f64::from(params[units + j])
    };
    x.iter().enumerate().map(of).collect()
}

#[test]
fn batch_norm_takes_moments_of_the_batch_in_training_and_running_ones_with_dropout_on() {
    let (units, positions, rows, rate) = (3, 2, 9, 0.25);
    let layer = BatchNorm::new(units).unwrap().over_positions(positions).unwrap().with_rate(rate).unwrap();
    let plan = plan(layer);
    let x: Vec<f32> = numbers(2, rows * units * positions).iter().map(|x| 5.0 + 2.0 * x).collect();
    let mut params = numbers(3, 4 * units);
    params[3 * units..].iter_mut().for_each(|v| *v = v.abs() + 0.1);
    let column = |j: usize| x[j..].iter().step_by(units).map(|x| f64::from(*x)).collect::<Vec<_>>();
    let batch: Vec<_> = (0..units).map(|j| mean_and_variance(&column(j))).collect();
    let running: Vec<_> =
        (0..units).map(|j| (params[2 * units + j].into(), params[3 * units + j].into())).collect();

    let (train, noise) = (Noise::new(0, Purpose::Train), Noise::new(0, Purpose::Predict));
    let training = Pass::train(&train, 0, Estimator::Local);
    close(&forward(&plan, &params, &x, &training), &by_unit(&x, &params, units, &batch));
    for pass in [Pass::mean(), Pass::predict(&noise, 3, Scope::Row, Estimator::Local)] {
        close(&forward(&plan, &params, &x, &pass), &by_unit(&x, &params, units, &running));
    }

    // Subtracted as they stand, the gradients of the buffers are a step towards the moments of the batch.
    let grads = gradient(&plan, &params, &x, &numbers(4, x.len()), &training);
    let n = (rows * positions) as f64;
    for j in 0..units {
        let (mean, variance) = (batch[j].0, batch[j].1 * n / (n - 1.0));
        let step = [rate * (running[j].0 - mean), rate * (running[j].1 - variance)];
        close(&[grads[2 * units + j], grads[3 * units + j]], &step);
    }
    let still = gradient(&plan, &params, &x, &numbers(4, x.len()), &Pass::mean());
    assert!(still[2 * units..].iter().all(|g| *g == 0.0), "{still:?}");
}

#[test]
fn a_batch_of_one_row_is_the_shift() {
    let plan = plan(BatchNorm::new(2).unwrap());
    let (params, noise) = ([3.0, 4.0, 0.5, -0.5, 9.0, 9.0, 9.0, 9.0], Noise::new(0, Purpose::Train));
    let pass = Pass::train(&noise, 0, Estimator::Local);
    assert_eq!(forward(&plan, &params, &[7.0, -8.0], &pass), [0.5, -0.5]);
    let grads = gradient(&plan, &params, &[7.0, -8.0], &[1.0, 1.0], &pass);
    assert!(grads.iter().all(|g| g.is_finite()));
}

/// With noise, a prior behind a mask, and two layers that draw.
fn inside() -> Vec<Box<dyn Layer>> {
    vec![
        Box::new(Dropout::new(6, 0.4).unwrap()),
        Box::new(Dense::new(6, 5).unwrap().with_length_scale(0.5).unwrap()),
        Box::new(ActivationLayer::new(Activation::Relu, 5).unwrap()),
        Box::new(VariationalDense::new(5, 6, Prior::FanIn(1.0)).unwrap()),
    ]
}

#[test]
fn a_residual_layer_adds_its_input_to_the_layers_inside_with_their_noise_and_kl() {
    let (whole, alone) = (plan(Residual::new(inside()).unwrap()), Plan::new(inside()).unwrap());
    assert_eq!(whole.n_params(), alone.n_params());
    let (params, x) = (numbers(6, whole.n_params()), numbers(7, 60));
    let noise = Noise::new(0, Purpose::Predict);
    for scope in [Scope::Pass, Scope::Row] {
        let pass = Pass::predict(&noise, 2, scope, Estimator::Local);
        let expected: Vec<f32> =
            forward(&alone, &params, &x, &pass).iter().zip(&x).map(|(f, x)| x + f).collect();
        assert_eq!(forward(&whole, &params, &x, &pass), expected, "{scope:?}");
    }
    let (mut of_whole, mut of_alone) = (vec![0.0; params.len()], vec![0.0; params.len()]);
    let kl = whole.kl_grad(&params, 0.5, &mut of_whole).unwrap();
    assert_eq!(kl.to_bits(), alone.kl_grad(&params, 0.5, &mut of_alone).unwrap().to_bits());
    assert_eq!(of_whole, of_alone);
}

#[test]
fn layers_behind_a_residual_one_have_places_of_their_own() {
    let behind = || Box::new(Dropout::new(6, 0.5).unwrap());
    let mut all = vec![Box::new(Residual::new(inside()).unwrap()) as Box<dyn Layer>];
    all.push(behind());
    let (nested, mut flat) = (Plan::new(all).unwrap(), inside());
    flat.push(behind());
    // The mask behind four layers inside is the one that stands fifth in a flat network.
    let (params, x, noise) = (numbers(8, nested.n_params()), numbers(9, 6), Noise::new(1, Purpose::Predict));
    let flat = Plan::new(flat).unwrap();
    for index in 0..8 {
        let pass = Pass::predict(&noise, index, Scope::Pass, Estimator::Local);
        let kept =
            |plan: &Plan| forward(plan, &params, &x, &pass).iter().map(|y| *y != 0.0).collect::<Vec<_>>();
        assert_eq!(kept(&nested), kept(&flat), "pass {index}");
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let narrow: Vec<Box<dyn Layer>> = vec![Box::new(Dense::new(3, 2).unwrap())];
    assert_eq!(
        Residual::new(narrow).unwrap_err().to_string(),
        "residual: takes 3 inputs, but what stands in front of it gives 2"
    );
    let nested: Vec<Box<dyn Layer>> = vec![Box::new(Residual::new(inside()).unwrap())];
    assert!(
        Residual::new(nested)
            .unwrap_err()
            .to_string()
            .starts_with("residual: layers must be no residual layers")
    );
    assert!(matches!(
        BatchNorm::new(3).unwrap().with_rate(0.0),
        Err(Error::Argument { argument: "rate", .. })
    ));
    assert!(LayerNorm::new(0).is_err() && LayerNorm::new(1 << 20).unwrap().over_positions(1 << 10).is_err());
    let mut registry = Registry::default();
    assert!(registry.register("residual", |_| Err(Error::NoLayers)).is_err());
}
