//! What is not finite stops training: the message, and which parameters are left.

use bdl_infer::{Bnn, Data, FitConfig, Gaussian, NoiseSd, Optimizer, Targets};
use bdl_layers::{Plan, Role};

use crate::nets::{Method, bits, bnn, init, mat, plan, rows, run};
use crate::own::{Fault, Square, Times};

fn sgd(lr: f64, epochs: usize) -> FitConfig {
    FitConfig { optimizer: Optimizer::sgd(), lr, epochs, ..FitConfig::default() }
}

/// The message of a fit that stops in its first epoch, which leaves the parameters as they were.
fn message(bnn: &Bnn, params: &[f32], config: &FitConfig, y: &[f32]) -> String {
    let x: Vec<f32> = (0..y.len() * bnn.plan().in_dim()).map(|i| i as f32 + 1.0).collect();
    let data = Data::new(mat(&x, bnn.plan().in_dim()), Targets::Real(y)).unwrap();
    let mut left = params.to_vec();
    let error = run(bnn, &mut left, data, None, config).0.unwrap_err().to_string();
    assert_eq!(bits(&left), bits(params), "parameters after: {error}");
    error
}

#[test]
fn a_run_that_diverges_stops_and_leaves_the_last_whole_epoch() {
    let bnn = bnn(Method::Dense, &[2, 1], Gaussian::new(NoiseSd::Fixed(0.1)).unwrap());
    let (x, y) = rows(1, 40, 2);
    let data = Data::new(mat(&x, 2), Targets::Real(&y)).unwrap();
    let config = FitConfig { batch: 10, ..sgd(0.2, 1000) };
    let mut params = init(&bnn);
    let (done, reports) = run(&bnn, &mut params, data, None, &config);
    let error = done.unwrap_err().to_string();
    assert_eq!(error, "training stopped at step 30 (epoch 8): the gradient at 0.dense/weight is inf");
    assert_eq!(reports.len(), 7);
    assert!(params.iter().all(|p| p.is_finite()));

    let mut again = init(&bnn);
    run(&bnn, &mut again, data, None, &FitConfig { epochs: 7, ..config }).0.unwrap();
    assert_eq!(bits(&params), bits(&again));
}

#[test]
fn numbers_that_are_not_finite_do_not_enter() {
    let of = |x: &[f32], y: &[f32]| Data::new(mat(x, 2), Targets::Real(y)).unwrap_err().to_string();
    assert_eq!(
        of(&[0.0, 1.0, 2.0, f32::NAN], &[0.0; 2]),
        "data: x must be finite, got NaN in row 1, column 1"
    );
    assert_eq!(of(&[f32::INFINITY, 1.0], &[0.0]), "data: x must be finite, got inf in row 0, column 0");
    assert_eq!(of(&[0.0; 4], &[0.0, f32::NEG_INFINITY]), "data: targets must be finite, got -inf in row 1");
    assert_eq!(of(&[], &[]), "data: rows must be >= 1, got 0");
    assert_eq!(of(&[0.0; 4], &[0.0; 3]), "data: targets, one per row: expected 2, got 3");
}

#[test]
fn the_layer_that_overflows_is_named() {
    let bnn = bnn(Method::Dense, &[1, 2, 1], Gaussian::new(NoiseSd::Fixed(1.0)).unwrap());
    let mut params = init(&bnn);
    // Two hidden units near 1, and weights whose sum overflows.
    params[..4].copy_from_slice(&[1.0, 1.0, 5.0, 5.0]);
    params[4..6].fill(3e38);
    let error = message(&bnn, &params, &sgd(1e-3, 1), &[0.0]);
    assert_eq!(error, "training stopped at step 1 (epoch 1): the loss at 2.dense/weight is inf");
}

#[test]
fn a_fault_of_the_users_own_likelihood_is_the_likelihoods() {
    let with = |fault| bnn(Method::Dense, &[2, 3, 1], Square(fault));
    let stopped = |fault| {
        let bnn = with(fault);
        message(&bnn, &init(&bnn), &sgd(1e-3, 1), &[1.0, 2.0])
    };
    let at = "training stopped at step 1 (epoch 1): the";
    assert_eq!(stopped(Fault::Loss(f64::NAN)), format!("{at} loss at likelihood is NaN"));
    assert_eq!(stopped(Fault::Loss(f64::INFINITY)), format!("{at} loss at likelihood is inf"));
    assert_eq!(stopped(Fault::Gradient(f32::NAN)), format!("{at} gradient at 0.dense/weight is NaN"));
    assert_eq!(with(Fault::None).likelihood().kind(), "square");
}

#[test]
fn a_kl_that_is_not_finite_names_its_layer() {
    let layers = |kl| Plan::new(vec![Box::new(Times { kl: 1.0 }), Box::new(Times { kl })]).unwrap();
    for kl_weight in [1.0, 0.0] {
        let bnn = Bnn::new(layers(f64::INFINITY), Box::new(Square::default())).unwrap();
        let config = FitConfig { kl_weight, ..sgd(1e-3, 1) };
        let error = message(&bnn, &init(&bnn), &config, &[1.0]);
        assert_eq!(error, "training stopped at step 1 (epoch 1): the kl at 1.times/factor is inf");
    }
}

#[test]
fn learned_noise_that_collapses_is_named() {
    let bnn = bnn(Method::Dense, &[1, 1], Gaussian::new(NoiseSd::Learned { init: 1.0 }).unwrap());
    // sigma = softplus(−1e4) = 0 and the prediction is off: no density there.
    let error = message(&bnn, &[0.5, 0.0, -1e4], &sgd(1e-3, 1), &[3.0]);
    assert_eq!(error, "training stopped at step 1 (epoch 1): the loss at likelihood/noise.raw is inf");
}

#[test]
fn noise_that_runs_to_zero_on_exact_targets_stops_in_the_end() {
    let bnn = bnn(Method::Dense, &[1, 1], Gaussian::new(NoiseSd::Learned { init: 1.0 }).unwrap());
    // Every residual is 0, so that ln sigma falls without bound, by lr a step; beyond f32 it is −inf.
    let error = message(&bnn, &[0.0, 0.0, 0.5], &FitConfig { batch: 1, ..sgd(1e38, 1) }, &[0.0; 8]);
    assert_eq!(error, "training stopped at step 5 (epoch 1): the parameter at likelihood/noise.raw is -inf");
}

#[test]
fn a_parameter_that_leaves_the_last_step_not_finite_is_seen() {
    // The loss and its gradient are finite, and so is all that any step sees; only the last step's result is not.
    let bnn = bnn(Method::Dense, &[1, 1], Square(Fault::Gradient(1e3)));
    let error = message(&bnn, &[0.0, 0.0], &sgd(1e37, 1), &[0.0]);
    assert_eq!(error, "training stopped at step 1 (epoch 1): the parameter at 0.dense/weight is -inf");
}

#[test]
fn a_gradient_is_to_blame_and_not_a_layer_that_its_step_took_beyond_all_bounds() {
    // 30 · 1e38 overflows as the gradient of the second weight. That of the first is 1e38 · 1e-30 · (1 − tanh² 0.5),
    // finite, but not what it becomes at this rate.
    let bnn = bnn(Method::Dense, &[1, 1, 1], Square(Fault::Gradient(1e38)));
    let second = bnn.entries().iter().position(|e| e.path() == "2.dense/weight").unwrap();
    let mut params = vec![0.0; bnn.n_params()];
    params[0] = 0.5;
    params[bnn.entries()[second].range.start] = 1e-30;
    let x = [1.0_f32; 30];
    let data = Data::new(mat(&x, 1), Targets::Real(&x)).unwrap();
    let config = FitConfig { batch: 30, ..sgd(1e38, 1) };
    let error = run(&bnn, &mut params, data, None, &config).0.unwrap_err().to_string();
    assert_eq!(error, "training stopped at step 1 (epoch 1): the gradient at 2.dense/weight is inf");
}

#[test]
fn parameters_that_come_in_as_nan_are_named() {
    let bnn = Bnn::new(
        plan(Method::Variational, bdl_layers::Activation::Relu, &[2, 1]),
        Box::new(Square::default()),
    )
    .unwrap();
    let mut params = init(&bnn);
    let rho = bnn.entries().iter().find(|e| e.block.role == Role::RawScale).unwrap().range.start;
    params[rho] = f32::NAN;
    let error = message(&bnn, &params, &sgd(1e-3, 1), &[1.0]);
    assert_eq!(
        error,
        "training stopped at step 1 (epoch 1): the parameter at 0.variational-dense/weight.rho is NaN"
    );
}

#[test]
fn a_validation_nll_that_is_nan_stops_too() {
    let bnn = bnn(Method::Dense, &[2, 3, 1], Square(Fault::Density));
    let (x, y) = rows(1, 20, 2);
    let data = Data::new(mat(&x, 2), Targets::Real(&y)).unwrap();
    let mut params = init(&bnn);
    let error = run(&bnn, &mut params, data, Some(data), &sgd(1e-3, 5)).0.unwrap_err().to_string();
    assert_eq!(error, "training stopped at step 1 (epoch 1): the loss at the validation rows is NaN");
    assert_eq!(bits(&params), bits(&init(&bnn)));
}
