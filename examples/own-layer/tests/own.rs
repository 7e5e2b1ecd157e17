//! The layer keeps its contract, the likelihood is a distribution, and both survive a file.

use bdl_dist::{Noise, Normal, Purpose, kl_normal, raw_scale};
use bdl_infer::{
    Bnn, Data, Elbo, FitConfig, Kinds, RayonPool, RealLikelihood, Targets, fit, push_bnn, read_bnn,
};
use bdl_layers::{Container, Estimator, Layer, Pass, Plan, Scope, Workspace, conformance};
use bdl_tensor::{Mat, MatMut, Pool, Serial};
use own_layer::{GainDense, Laplace, kinds};
use std::ops::ControlFlow;

fn network() -> Bnn {
    let layers: Vec<Box<dyn Layer>> =
        vec![Box::new(GainDense::new(3, 4, 0.5).unwrap()), Box::new(GainDense::new(4, 1, 0.5).unwrap())];
    Bnn::new(Plan::new(layers).unwrap(), Box::new(Laplace::new(0.7).unwrap())).unwrap()
}

fn rows() -> (Vec<f32>, Vec<f32>) {
    let mut x = vec![0.0; 7 * 3];
    Noise::new(1, Purpose::Other(0)).rng(0).normals(&mut x);
    (x, vec![3.0, -2.0, 1.5, -4.0, 2.0, 5.0, -3.0])
}

/// The loss per training row that [`Elbo::gradient`] differentiates, and its gradient.
fn loss(bnn: &Bnn, params: &[f32], estimator: Estimator) -> (f64, Vec<f32>) {
    let ((x, y), noise) = (rows(), Noise::new(2, Purpose::Train));
    let (pass, elbo) = (Pass::train(&noise, 5, estimator), Elbo::new(7).unwrap());
    let (x, y, mut grads) = (Mat::new(&x, 7, 3).unwrap(), Targets::Real(&y), vec![0.0; params.len()]);
    let terms = elbo.gradient(bnn, params, x, y, &pass, &mut Workspace::new(), &mut grads).unwrap();
    (-terms.elbo / 7.0, grads)
}

#[test]
fn the_layer_keeps_the_contract_of_all_layers() {
    let registry = kinds().unwrap().layers;
    for (in_dim, out_dim) in [(3, 2), (1, 1), (5, 1)] {
        conformance::check(&GainDense::new(in_dim, out_dim, 0.5).unwrap(), &registry).unwrap();
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let bnn = network();
    let params = bnn.init(&Noise::new(0, Purpose::Init));
    for estimator in Estimator::ALL {
        let (_, grads) = loss(&bnn, &params, estimator);
        let difference = |i: usize| {
            let h = 4e-3;
            let at = |d: f32| {
                let mut p = params.clone();
                p[i] += d;
                loss(&bnn, &p, estimator).0
            };
            (at(h) - at(-h)) / f64::from((params[i] + h) - (params[i] - h))
        };
        for (i, &grad) in grads.iter().enumerate() {
            let (got, expected) = (f64::from(grad), difference(i));
            // f32 differences are good to some 1e-4.
            let tolerance = 2e-3 * (1.0 + expected.abs());
            assert!(
                (got - expected).abs() < tolerance,
                "{estimator:?} {}: {got} {expected}",
                bnn.block_of(i)
            );
        }
    }
}

#[test]
fn the_kl_is_zero_at_the_prior_and_that_of_its_gains() {
    let layer = GainDense::new(2, 3, 0.5).unwrap();
    let plan = Plan::new(vec![Box::new(layer)]).unwrap();
    let mut params = vec![9.0; plan.n_params()]; // weights and bias have no prior
    params[..2].fill(1.0);
    params[2..4].fill(raw_scale(0.5));
    assert!(plan.kl(&params).unwrap().abs() < 1e-9);
    params[..4].copy_from_slice(&[0.2, 1.3, -1.0, 0.4]);
    let expected = kl_normal(&params[..2], &params[2..4], &Normal::new(1.0, 0.5).unwrap()).unwrap();
    assert_eq!(plan.kl(&params).unwrap(), expected);
}

#[test]
fn without_noise_it_is_a_dense_layer_on_the_mean_gains() {
    let plan = Plan::new(vec![Box::new(GainDense::new(2, 1, 0.5).unwrap())]).unwrap();
    // gains 2 and -1, weights 3 and 5, bias 0.5
    let params = [2.0, -1.0, 0.0, 0.0, 3.0, 5.0, 0.5];
    let (x, mut y) = ([1.0, 10.0], [f32::NAN]);
    let x = Mat::new(&x, 1, 2).unwrap();
    let mut out = MatMut::new(&mut y, 1, 1).unwrap();
    plan.forward(&params, x, &Pass::mean(), &mut Workspace::new(), &mut out).unwrap();
    assert_eq!(y, [6.0 - 50.0 + 0.5]);
}

#[test]
fn gains_are_shared_by_the_rows_of_a_pass_or_drawn_for_each() {
    let plan = Plan::new(vec![Box::new(GainDense::new(2, 1, 0.5).unwrap())]).unwrap();
    let (params, noise) = (plan.init(&Noise::new(0, Purpose::Init)), Noise::new(0, Purpose::Predict));
    let x = Mat::new(&[1.0, 2.0, 1.0, 2.0], 2, 2).unwrap();
    let outputs = |scope| {
        let mut y = [f32::NAN; 2];
        let pass = Pass::predict(&noise, 0, scope, Estimator::Local);
        let mut out = MatMut::new(&mut y, 2, 1).unwrap();
        plan.forward(&params, x, &pass, &mut Workspace::new(), &mut out).unwrap();
        y
    };
    let [pass, row] = [Scope::Pass, Scope::Row].map(outputs);
    assert_eq!(pass[0], pass[1]);
    assert_ne!(row[0], row[1]);
}

#[test]
fn training_has_the_same_bits_with_1_2_and_3_threads() {
    let ((x, y), bnn) = (rows(), network());
    let data = Data::new(Mat::new(&x, 7, 3).unwrap(), Targets::Real(&y)).unwrap();
    let trained = |pool: &dyn Pool| {
        let mut params = bnn.init(&Noise::new(0, Purpose::Init));
        let config = FitConfig { epochs: 20, batch: 3, ..FitConfig::default() };
        fit(&bnn, &mut params, data, None, &config, pool, &mut |_| ControlFlow::Continue(())).unwrap();
        params.iter().map(|p| p.to_bits()).collect::<Vec<_>>()
    };
    for threads in [1, 2, 3] {
        assert_eq!(trained(&RayonPool::new(threads).unwrap()), trained(&Serial), "{threads} threads");
    }
}

#[test]
fn the_likelihood_is_a_distribution_and_its_draws_follow_it() {
    let (laplace, params, out) = (Laplace::new(0.7).unwrap(), [0.3], [1.5]);
    let density = |y: f64| RealLikelihood::ln_density(&laplace, &params, &out, y).exp();
    // The trapezoid rule on ±40 scales, with a node on the kink.
    let step = 1e-3;
    let integral: f64 = (-40_000..=40_000).map(|i| step * density(1.5 + step * f64::from(i))).sum();
    assert!((integral - 1.0).abs() < 1e-6, "{integral}");
    let below: f64 = (-40_000..500).map(|i| step * density(1.5 + step * (f64::from(i) + 0.5))).sum();
    assert!((below - laplace.cdf(&params, &out, 2.0)).abs() < 1e-6);

    let mut rng = Noise::new(0, Purpose::Draw).rng(0);
    let draws: Vec<f64> = (0..40_000).map(|_| laplace.draw(&params, &out, &mut rng)).collect();
    let n = draws.len() as f64;
    let (mean, sd) = laplace.mean_sd(&params, &out);
    let got = draws.iter().sum::<f64>() / n;
    assert!((got - mean).abs() < 5.0 * sd / n.sqrt(), "within 5 standard errors: {got} {mean}");
    // The fourth moment of a Laplace is 6 times its squared variance.
    let variance = draws.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / n;
    assert!((variance / (sd * sd) - 1.0).abs() < 5.0 * (5.0 / n).sqrt(), "{variance} {sd}");
}

#[test]
fn a_file_loads_with_the_kinds_registered_and_names_the_one_that_is_not() {
    let bnn = network();
    let members = [bnn.init(&Noise::new(0, Purpose::Init))];
    let mut file = Container::default();
    push_bnn(&mut file, &bnn, &members).unwrap();
    let (loaded, params) = read_bnn(&file, &kinds().unwrap()).unwrap();
    assert_eq!(params, members);
    assert_eq!(loss(&loaded, &params[0], Estimator::Local), loss(&bnn, &members[0], Estimator::Local));

    let mut only_layer = Kinds::default();
    let refused = |kinds: &Kinds| read_bnn(&file, kinds).unwrap_err().to_string();
    assert!(
        refused(&only_layer).starts_with("layer kind \"gain-dense\" is unknown here (known: activation, ")
    );
    only_layer.layers.register(GainDense::KIND, GainDense::build).unwrap();
    assert!(
        refused(&only_layer)
            .starts_with("likelihood kind \"laplace\" is unknown here (known: bernoulli, categorical,")
    );
}

#[test]
fn wrong_settings_are_named() {
    let message = |r: Result<GainDense, bdl_layers::Error>| r.unwrap_err().to_string();
    assert_eq!(message(GainDense::new(0, 1, 1.0)), "gain-dense: in_dim must be >= 1, got 0");
    assert!(message(GainDense::new(1, 1, -1.0)).contains("must be finite and > 0, got -1"));
    assert_eq!(Laplace::new(0.0).unwrap_err().to_string(), "laplace: init must be finite and > 0, got 0");
    let bnn = network();
    let e = bnn
        .likelihood()
        .nll_sum(&[0.0], Mat::new(&[0.0; 2], 2, 1).unwrap(), Targets::Real(&[0.0]))
        .unwrap_err();
    assert_eq!(e.to_string(), "laplace: targets, one per row: expected 2, got 1");
}
