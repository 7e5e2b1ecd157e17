//! What a service and the training loop do again and again allocates nothing; loading a model copies its weights once.
//!
//! The counter counts for its own thread, so that tests beside it do not disturb it.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use allocation_counter::measure;
use bdl_dist::{Noise, Purpose};
use bdl_infer::{Elbo, Optimizer, OptimizerState, Passes, Targets};
use bdl_layers::{Estimator, Pass, Scope, Workspace};
use bdl_model::{Architecture, Method, Model, Outputs, Telling};
use bdl_tensor::{Mat, MatMut, Serial};
use common::{class_text, config, real_text, train};

/// Allocations of one call of `f`, after two to warm up.
fn steady(mut f: impl FnMut()) -> u64 {
    f();
    f();
    measure(f).count_total
}

#[test]
fn the_counter_counts() {
    assert!(steady(|| drop(std::hint::black_box(vec![1.0_f32; 100]))) > 0);
}

fn service(model: &Model, scope: Scope) -> u64 {
    let predictor = model.predictor(Passes { samples: 30, scope, ..model.passes() }).unwrap();
    let mut scratch = predictor.scratch();
    steady(|| {
        scratch.row.set_number("a", 0.25).unwrap();
        scratch.row.set_text("b", "-1.5").unwrap();
        if model.schema().features.len() > 2 {
            scratch.row.set_text("colour", "red").unwrap();
        }
        predictor.predict_row(&mut scratch, 0.9).unwrap();
    })
}

#[test]
fn steady_predict_row_allocates_nothing() {
    let (real, class) = (real_text(60, 1), class_text(60, &["x", "y", "z"], 1));
    for method in Method::ALL {
        for members in [1, 2] {
            for (text, target) in [(&real, "y"), (&class, "label")] {
                let mut config = config(target, method);
                config.members = members;
                config.fit.epochs = 1;
                let model = train(text, &config);
                for scope in [Scope::Pass, Scope::Row] {
                    assert_eq!(service(&model, scope), 0, "{method:?}, {members}, {target}, {scope:?}");
                }
            }
        }
    }
}

#[test]
fn steady_predict_row_of_a_pruned_model_allocates_nothing() {
    let mut config = config("y", Method::MeanField);
    (config.fit.epochs, config.architecture.hidden) = (1, vec![300, 20]);
    let model = train(&real_text(60, 1), &config);
    for threshold in [1.0, 1e9] {
        let pruned = model.prune(Some(threshold)).unwrap();
        for scope in [Scope::Pass, Scope::Row] {
            assert_eq!(service(&pruned, scope), 0, "{threshold}, {scope:?}");
        }
    }
}

/// Few enough rows for our own product, so that matrixmultiply's packing buffer does not count.
const ROWS: usize = 4;

#[test]
fn steady_forward_pass_allocates_nothing() {
    for method in Method::ALL {
        let bnn = Architecture { method, ..Architecture::default() }.build(13, Outputs::Real, 1.0).unwrap();
        let params = bnn.init(&Noise::new(0, Purpose::Init));
        let (x, mut y) = (vec![0.5; ROWS * 13], vec![0.0; ROWS]);
        let (x, noise, mut ws) =
            (Mat::new(&x, ROWS, 13).unwrap(), Noise::new(0, Purpose::Predict), Workspace::new());
        let pass = Pass::predict(&noise, 3, Scope::Pass, Estimator::Local);
        let count = steady(|| {
            let mut y = MatMut::new(&mut y, ROWS, 1).unwrap();
            bnn.plan().forward(&params[bnn.network()], x, &pass, &mut ws, &mut y).unwrap();
        });
        assert_eq!(count, 0, "{method:?}");
    }
}

/// Allocations of a training step on `rows` rows.
fn training_step(method: Method, estimator: Estimator, rows: usize) -> u64 {
    let bnn = Architecture { method, ..Architecture::default() }.build(13, Outputs::Real, 1.0).unwrap();
    let mut params = bnn.init(&Noise::new(0, Purpose::Init));
    let mut grads = vec![0.0; params.len()];
    let mut optimizer = OptimizerState::new(Optimizer::default(), params.len()).unwrap();
    let (x, y) = (vec![0.5; rows * 13], vec![1.0; rows]);
    let x = Mat::new(&x, rows, 13).unwrap();
    let (noise, mut ws, elbo) = (Noise::new(0, Purpose::Train), Workspace::new(), Elbo::new(100).unwrap());
    let mut step = 0;
    steady(|| {
        let pass = Pass::train(&noise, step, estimator);
        elbo.gradient(&bnn, &params, x, Targets::Real(&y), &pass, &mut ws, &mut grads).unwrap();
        optimizer.step(&mut params, &grads, 1e-3).unwrap();
        step += 1;
    })
}

#[test]
fn steady_training_step_allocates_nothing_but_packing_buffers() {
    for (method, estimator, products) in [
        (Method::Deterministic, Estimator::Local, 5),
        (Method::McDropout, Estimator::Local, 5),
        (Method::MeanField, Estimator::Sampling, 5),
        (Method::MeanField, Estimator::Local, 10),
        (Method::MeanField, Estimator::Flipout, 10),
    ] {
        // Two layers: two products forwards, two for the weights, one back to the hidden units.
        let count = training_step(method, estimator, 32);
        assert!(count <= products, "{method:?}, {estimator:?}: {count} allocations in {products} products");
    }
}

/// Bytes that `load` allocates in all, as a multiple of the bytes of the parameters.
fn allocated(params: usize, load: impl FnOnce() -> Model) -> f64 {
    let mut model = None;
    let bytes = measure(|| model = Some(load())).bytes_total;
    assert_eq!(model.unwrap().n_params(), params);
    bytes as f64 / (4 * params) as f64
}

#[test]
fn a_model_is_read_once_and_its_weights_are_copied_once() {
    for members in [1, 2] {
        let mut config = config("y", Method::McDropout);
        (config.members, config.fit.epochs, config.architecture.hidden) = (members, 1, vec![300, 300]);
        let model = train(&real_text(60, 1), &config);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.bdl");
        model.save(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        // The vectors, and what else a model is: less than a twentieth of these weights.
        let decoded = allocated(model.n_params(), || Model::from_bytes(&bytes).unwrap());
        assert!((1.0..1.05).contains(&decoded), "{decoded}");
        // The file and the vectors.
        let loaded = allocated(model.n_params(), || Model::load(&path).unwrap());
        assert!((2.0..2.1).contains(&loaded), "{loaded}");
    }
}

#[test]
fn a_tolerance_prepares_the_network_once() {
    let mut config = config("y", Method::McDropout);
    (config.fit.epochs, config.architecture.hidden) = (1, vec![300, 300]);
    let model = train(&real_text(60, 1), &config);
    let predictor = model.predictor(model.passes()).unwrap();
    // Not to be met, so that the passes are doubled nine times; a tenth of that is what a row needs for its outputs.
    let telling = Telling { tolerance: Some(1e-9), ..Telling::default() };
    let x = vec![0.5; model.encoder().width()];
    let predict = || predictor.predict(&x, 0, &telling, &Serial).unwrap();
    assert_eq!(predict().beyond_tolerance, 1);
    let bytes = measure(|| drop(predict())).bytes_total;
    assert!(bytes < 4 * 4 * model.n_params() as u64, "{bytes} bytes, {} parameters", model.n_params());
}
