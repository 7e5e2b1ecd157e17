//! A plan checks what it is given, and says what was expected and what was got.

use crate::common::Spec::{self, Act, Drop, Variational};
use crate::common::{params, plan};
use bdl_dist::{Noise, Purpose};
use bdl_layers::{
    Activation, ActivationLayer, Dense, Dropout, Error, Estimator, Layer, Pass, Plan, Prior, Role,
    VariationalDense, Workspace,
};
use bdl_tensor::{Mat, MatMut};

fn refused(layers: Vec<Box<dyn Layer>>) -> String {
    Plan::new(layers).unwrap_err().to_string()
}

#[test]
fn layers_that_do_not_fit_are_refused() {
    let dense = |i, o| Box::new(Dense::new(i, o).unwrap()) as Box<dyn Layer>;
    assert_eq!(refused(vec![]), "network: must have at least one layer, got none");
    assert_eq!(
        refused(vec![dense(2, 3), dense(4, 1)]),
        "1.dense: takes 4 inputs, but what stands in front of it gives 3"
    );
    let many = (0..4_097).map(|_| dense(1, 1)).collect();
    assert_eq!(refused(many), "network: must have at most 4096 layers, got 4097");
}

#[test]
fn settings_out_of_range_are_refused() {
    let text = |e: Error| e.to_string();
    let range = "must be between 1 and 16777216";
    assert_eq!(text(Dense::new(0, 1).unwrap_err()), format!("dense: in_dim {range}, got 0"));
    assert_eq!(text(Dense::new(1, 1 << 25).unwrap_err()), format!("dense: out_dim {range}, got 33554432"));
    let e = Dense::new(1, 1).unwrap().with_length_scale(0.0).unwrap_err();
    assert_eq!(text(e), "dense: length_scale must be finite and > 0, got 0");
    let e = VariationalDense::new(1, 1, Prior::StdDev(-1.0)).unwrap_err();
    assert_eq!(text(e), "variational-dense: prior std_dev must be finite and > 0, got -1");
    let e = VariationalDense::new(1, 1, Prior::FanIn(f64::NAN)).unwrap_err();
    assert_eq!(text(e), "variational-dense: prior gain must be finite and > 0, got NaN");
    let e =
        VariationalDense::new(1, 1, Prior::default()).unwrap().with_init_sigma(f64::INFINITY).unwrap_err();
    assert_eq!(text(e), "variational-dense: init_sigma must be finite and > 0, got inf");
    assert_eq!(
        text(ActivationLayer::new(Activation::Relu, 0).unwrap_err()),
        format!("activation: in_dim {range}, got 0")
    );
}

#[test]
fn arguments_of_the_wrong_shape_are_refused() {
    let plan = plan(&[Spec::Dense(2, 3), Spec::Dense(3, 1)]);
    let (params, mut ws) = (params(&plan), Workspace::new());
    let mut forward = |params: &[f32], x: Mat<'_>, out: [usize; 2]| {
        let mut y = vec![0.0; out[0] * out[1]];
        let mut y = MatMut::new(&mut y, out[0], out[1]).unwrap();
        plan.forward(params, x, &Pass::mean(), &mut ws, &mut y).unwrap_err().to_string()
    };
    let (good, bad) = (Mat::new(&[0.0; 4], 2, 2).unwrap(), Mat::new(&[0.0; 6], 2, 3).unwrap());
    assert_eq!(forward(&params, bad, [2, 1]), "forward x: must be [2, 2], got [2, 3]");
    assert_eq!(forward(&params, good, [1, 1]), "forward output: must be [2, 1], got [1, 1]");
    assert_eq!(forward(&params[1..], good, [2, 1]), "forward params: must have 13 elements, got 12");
    assert_eq!(plan.kl(&params[1..]).unwrap_err().to_string(), "kl params: must have 13 elements, got 12");
    let e = plan.kl_grad(&params, 1.0, &mut [0.0; 3]).unwrap_err();
    assert_eq!(e.to_string(), "kl_grad grads: must have 13 elements, got 3");
}

#[test]
fn backward_follows_only_the_pass_that_was_made() {
    let plan = plan(&[Variational(2, 3), Drop(3, 0.5), Spec::Dense(3, 1)]);
    let (params, mut ws) = (params(&plan), Workspace::new());
    let noise = Noise::new(0, Purpose::Train);
    let x = Mat::new(&[0.0; 4], 2, 2).unwrap();
    let mut grads = vec![0.0; params.len()];
    let local = Pass::train(&noise, 0, Estimator::Local);
    let e = plan.backward(&params, x, &local, &mut ws, &mut grads).unwrap_err();
    assert_eq!(e.to_string(), "backward pass: must be [0, 0], got [2, 1]");
    plan.forward_train(&params, x, &Pass::mean(), &mut ws).unwrap();
    let e = plan.backward(&params, x, &local, &mut ws, &mut grads).unwrap_err();
    assert!(e.to_string().starts_with("backward scratch: must have"), "{e}");
    plan.forward_train(&params, x, &local, &mut ws).unwrap();
    // A prediction in between leaves nothing to follow.
    let mut y = [0.0; 2];
    plan.forward(&params, x, &local, &mut ws, &mut MatMut::new(&mut y, 2, 1).unwrap()).unwrap();
    assert!(plan.backward(&params, x, &local, &mut ws, &mut grads).is_err());
    assert!(grads.iter().all(|g| *g == 0.0));
}

#[test]
fn no_rows_are_no_error() {
    let plan = plan(&[Drop(2, 0.5), Variational(2, 3), Act(Activation::Relu, 3)]);
    let (params, noise) = (params(&plan), Noise::new(0, Purpose::Train));
    for estimator in Estimator::ALL {
        let (y, grads) = crate::common::train(&plan, &params, &[], &[], &Pass::train(&noise, 0, estimator));
        assert!(y.is_empty() && grads.iter().all(|g| *g == 0.0));
    }
}

#[test]
fn the_directory_names_every_block_and_its_place() {
    let plan = plan(&[Variational(2, 3), Act(Activation::Relu, 3), Spec::Dense(3, 1)]);
    let rows: Vec<_> = plan.entries().iter().map(|e| (e.path(), e.block.role, e.range.clone())).collect();
    let expected = [
        ("0.variational-dense/weight.mu", Role::Mean, 0..6),
        ("0.variational-dense/weight.rho", Role::RawScale, 6..12),
        ("0.variational-dense/bias.mu", Role::Mean, 12..15),
        ("0.variational-dense/bias.rho", Role::RawScale, 15..18),
        ("2.dense/weight", Role::Plain, 18..21),
        ("2.dense/bias", Role::Plain, 21..22),
    ];
    assert_eq!(rows, expected.map(|(path, role, range)| (path.to_owned(), role, range)));
    let names: Vec<&str> = plan.layers().map(|(name, _)| name).collect();
    assert_eq!(names, ["0.variational-dense", "1.activation", "2.dense"]);
}

#[test]
fn the_first_layer_that_is_not_finite_is_named() {
    let plan =
        plan(&[Spec::Dense(1, 1), Act(Activation::Identity, 1), Spec::Dense(1, 1), Act(Activation::Relu, 1)]);
    let x = Mat::new(&[1.0], 1, 1).unwrap();
    let of = |params: &[f32]| {
        let mut ws = Workspace::new();
        plan.first_non_finite_layer(params, x, &Pass::mean(), &mut ws).unwrap().map(str::to_owned)
    };
    assert_eq!(of(&[1.0, 0.0, 1.0, 0.0]), None);
    assert_eq!(of(&[3e38, 0.0, 3.0, 0.0]).as_deref(), Some("2.dense"));
}

#[test]
fn reports_say_what_a_reader_wants_to_know() {
    let layers: Vec<Box<dyn Layer>> = vec![
        Box::new(Dropout::new(1, 0.2).unwrap()),
        Box::new(Dense::new(1, 2).unwrap()),
        Box::new(VariationalDense::new(2, 2, Prior::StdDev(1.0)).unwrap()),
    ];
    let plan = Plan::new(layers).unwrap();
    let one = bdl_dist::raw_scale(1.0);
    // Four weights: at the prior, collapsed, and two in between with |mu|/sigma of 2 and 3.
    let params = [0.0, 1.5, 0.0, 0.0, 0.0, 5.0, 2.0, 3.0, one, -40.0, one, one, 0.0, 0.0, one, one];
    let reports = plan.report(&params).unwrap();
    assert_eq!(reports[0].drop_prob, Some(0.2));
    assert_eq!(reports[1].sparsity, Some(0.5));
    let variational = &reports[2];
    assert_eq!((variational.at_prior, variational.collapsed), (Some(0.25), Some(0.25)));
    assert!((variational.snr.unwrap().median - 3.0).abs() < 1e-6);
    assert_eq!(variational.kl.to_bits(), plan.kl(&params).unwrap().to_bits());
}

#[test]
#[should_panic(expected = "site: must be below 8, got 8")]
fn a_site_out_of_range_is_refused() {
    let noise = Noise::new(0, Purpose::Train);
    let _ = Pass::train(&noise, 0, Estimator::Local).site(0, 8, bdl_layers::Draw::Row);
}
