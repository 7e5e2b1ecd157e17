//! Priors with numbers of their own in the parameter vector (means that are given, a scale that is learned), posteriors that start
//! from a network, and draws from priors. Seeds are fixed; a moment check (5 SE) raises a false alarm with probability 5.7e-7.

use crate::common::{bits, numbers, predict};
use bdl_dist::{Laplace, Noise, Purpose, ScaleMixture, raw_scale};
use bdl_layers::{
    Activation, ActivationLayer, BatchNorm, Container, Conv2d, CorrelatedVd, Dense, Dropout, Dropout2d,
    Filters, GaussianDropout, Grain, Image, IndependentVdDense, KlKnown, Layer, LayerNorm, MaxPool2d, Pass,
    Plan, Prior, Registry, Residual, Role, Scaling, SparseVdConv2d, SparseVdDense, VariationalConv2d,
    VariationalDense, Window, conformance, push_network, read_network,
};
use bdl_testkit::finite::{assert_gradient_close, central_gradient};
use bdl_testkit::oracle::{kl_gaussian, softplus};
use bdl_testkit::stats::{Estimate, MomentCheck};

const IN: usize = 4;
const OUT: usize = 3;

fn layer(prior: Prior) -> VariationalDense {
    VariationalDense::new(IN, OUT, prior).unwrap().with_init_sigma(0.3).unwrap()
}

/// The priors at hand, with fan-in scaling and without.
fn priors() -> [Prior; 4] {
    [
        Prior::Around(0.7, Scaling::Same),
        Prior::Around(1.3, Scaling::FanIn),
        Prior::Learned(0.7, Scaling::Same),
        Prior::Learned(1.3, Scaling::FanIn),
    ]
}

/// A network of one such layer, and parameters of which all have moved.
fn network(prior: &Prior) -> (Plan, Vec<f32>) {
    let plan = Plan::new(vec![Box::new(layer(prior.clone()))]).unwrap();
    let mut params = plan.init(&Noise::new(3, Purpose::Init));
    let moves = numbers(0, params.len());
    params.iter_mut().zip(moves).for_each(|(p, n)| *p += 0.3 * n);
    (plan, params)
}

/// The KL of that network, weight by weight, in `f64`.
fn naive_kl(prior: &Prior, params: &[f64]) -> f64 {
    let weights = IN * OUT;
    let (posterior, of_prior) = params.split_at(2 * (weights + OUT));
    let (std_dev, scaling, means) = match *prior {
        Prior::Around(s, scaling) => (s, scaling, of_prior.to_vec()),
        Prior::Learned(_, scaling) => (of_prior[0].exp(), scaling, vec![0.0; weights + OUT]),
        _ => panic!("{prior:?}"),
    };
    let of_weights = if scaling == Scaling::FanIn { std_dev / (IN as f64).sqrt() } else { std_dev };
    let weight = |i: usize| kl_gaussian(posterior[i], softplus(posterior[weights + i]), means[i], of_weights);
    let bias = |j: usize| {
        let [mu, rho] = [posterior[2 * weights + j], posterior[2 * weights + OUT + j]];
        kl_gaussian(mu, softplus(rho), means[weights + j], std_dev)
    };
    (0..weights).map(weight).sum::<f64>() + (0..OUT).map(bias).sum::<f64>()
}

fn to_f64(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

#[test]
fn layers_under_these_priors_keep_the_contract() {
    let (image, filters) = (Image::new(4, 4, 2), Filters::new(3, Window::new([3, 2])));
    for prior in priors() {
        let layers: [Box<dyn Layer>; 4] = [
            Box::new(layer(prior.clone())),
            Box::new(layer(prior.clone()).without_bias()),
            Box::new(VariationalConv2d::new(image, filters, prior.clone()).unwrap()),
            Box::new(
                Residual::new(vec![Box::new(VariationalDense::new(3, 3, prior.clone()).unwrap())]).unwrap(),
            ),
        ];
        for layer in layers {
            conformance::check(&*layer, &Registry::default()).unwrap_or_else(|e| panic!("{prior:?}: {e}"));
        }
    }
}

#[test]
fn the_kl_and_its_gradient_are_those_of_the_textbook_formula() {
    for prior in priors() {
        let (plan, params) = network(&prior);
        let (at, mut grads) = (to_f64(&params), vec![0.0; params.len()]);
        let kl = plan.kl_grad(&params, 1.0, &mut grads).unwrap();
        let expected = naive_kl(&prior, &at);
        assert!((kl / expected - 1.0).abs() < 1e-6, "{prior:?}: {kl} {expected}");
        let mut slopes = central_gradient(|p: &[f64]| naive_kl(&prior, p), &at);
        for entry in plan.entries() {
            if entry.block.role == Role::Buffer {
                slopes[entry.range.clone()].fill(0.0);
            }
            let (got, expected) = (&grads[entry.range.clone()], &slopes[entry.range.clone()]);
            assert_gradient_close(&format!("{prior:?} {}", entry.path()), got, expected, 1e-4);
        }
    }
}

#[test]
fn the_kl_runs_over_several_shards_of_weights() {
    for prior in [Prior::Around(0.5, Scaling::Same), Prior::Learned(0.5, Scaling::Same)] {
        let plan = Plan::new(vec![Box::new(VariationalDense::new(70, 70, prior).unwrap())]).unwrap();
        let mut params = plan.init(&Noise::new(1, Purpose::Init));
        let moves = numbers(4, params.len());
        params.iter_mut().zip(moves).for_each(|(p, n)| *p += 0.1 * n);
        let n = 4900 + 70;
        let of = |name: &str| {
            let entry = plan.entries().iter().find(|e| e.block.name == name);
            entry.map_or(Vec::new(), |e| to_f64(&params[e.range.clone()]))
        };
        let all = |kind: &str| [of(&format!("weight.{kind}")), of(&format!("bias.{kind}"))].concat();
        let (mu, rho) = (all("mu"), all("rho"));
        let means = [of("prior.weight.mean"), of("prior.bias.mean")].concat();
        let std_dev = of("prior.ln_std_dev").first().map_or(0.5, |ln| ln.exp());
        let mean = |i: usize| means.get(i).copied().unwrap_or(0.0);
        let expected: f64 = (0..n).map(|i| kl_gaussian(mu[i], softplus(rho[i]), mean(i), std_dev)).sum();
        let kl = plan.kl(&params).unwrap();
        assert!((kl / expected - 1.0).abs() < 1e-6, "{kl} {expected}");
    }
}

#[test]
fn a_learned_scale_ends_at_the_root_mean_square_of_its_layers_posteriors() {
    let of = |scaling| -> Box<dyn Layer> {
        Box::new(VariationalDense::new(IN, OUT, Prior::Learned(1.0, scaling)).unwrap())
    };
    let narrow = Box::new(VariationalDense::new(OUT, IN, Prior::Learned(3.0, Scaling::Same)).unwrap());
    let plan = Plan::new(vec![of(Scaling::Same), narrow, of(Scaling::FanIn)]).unwrap();
    let mut params = plan.init(&Noise::new(3, Purpose::Init));
    // Layers of different sizes of weights.
    let sizes: Vec<f32> = plan
        .entries()
        .iter()
        .flat_map(|e| vec![[0.2, 1.0, 4.0][usize::from(e.owner.as_bytes()[0] - b'0')]; e.range.len()])
        .collect();
    let moves = numbers(5, params.len());
    params.iter_mut().zip(moves).zip(sizes).for_each(|((p, n), size)| *p += size * n);
    let scales: Vec<usize> =
        plan.entries().iter().filter(|e| e.block.role == Role::Hyper).map(|e| e.range.start).collect();
    // The KL is convex in ln s, with a second derivative of 2n at its minimum.
    for _ in 0..20_000 {
        let mut grads = vec![0.0; params.len()];
        plan.kl_grad(&params, 1.0, &mut grads).unwrap();
        scales.iter().for_each(|&at| params[at] -= (grads[at] / 60.0).clamp(-0.05, 0.05));
    }
    for (layer, &at) in scales.iter().enumerate() {
        let own = |name: &str| {
            let entry = plan.entries().iter().filter(|e| e.owner.starts_with(&layer.to_string()));
            to_f64(&params[entry.clone().find(|e| e.block.name == name).unwrap().range.clone()])
        };
        let squares = |of: &str| -> f64 {
            let square = |(mu, rho): (&f64, &f64)| mu * mu + softplus(*rho).powi(2);
            own(&format!("{of}.mu")).iter().zip(&own(&format!("{of}.rho"))).map(square).sum()
        };
        let (fan_in, n) = if layer == 2 { (IN as f64, 15.0) } else { (1.0, [15.0, 16.0, 15.0][layer]) };
        let expected = ((fan_in * squares("weight") + squares("bias")) / n).sqrt();
        let learned = f64::from(params[at]).exp();
        assert!((learned / expected - 1.0).abs() < 1e-5, "layer {layer}: {learned} {expected}");
        let report = plan.report(&params).unwrap()[layer].prior_std_dev.unwrap();
        assert!((report / learned - 1.0).abs() < 1e-12);
    }
}

#[test]
fn these_priors_come_back_from_their_file_with_the_same_kl_to_the_bit() {
    for prior in priors() {
        let (plan, params) = network(&prior);
        let mut file = Container::default();
        push_network(&mut file, &plan, std::slice::from_ref(&params)).unwrap();
        let bytes = file.to_bytes().unwrap();
        let (loaded, members) =
            read_network(&Container::from_bytes(&bytes).unwrap(), &Registry::default()).unwrap();
        assert_eq!(bits(&members[0]), bits(&params));
        assert_eq!(loaded.kl(&members[0]).unwrap().to_bits(), plan.kl(&params).unwrap().to_bits());
        assert_eq!(loaded.entries(), plan.entries());
    }
}

#[test]
fn a_posterior_at_the_prior_counts_as_such_wherever_the_prior_is() {
    for prior in priors() {
        let (plan, mut params) = network(&prior);
        assert!(plan.report(&params).unwrap()[0].at_prior.unwrap() < 0.5);
        let (means, scale) = match &prior {
            Prior::Around(s, scaling) => {
                (params[30..42].to_vec(), if *scaling == Scaling::FanIn { s / 2.0 } else { *s })
            }
            Prior::Learned(_, scaling) => {
                let s = f64::from(params[30]).exp();
                (vec![0.0; 12], if *scaling == Scaling::FanIn { s / 2.0 } else { s })
            }
            _ => panic!("{prior:?}"),
        };
        params[..12].copy_from_slice(&means);
        params[12..24].fill(raw_scale(scale));
        assert_eq!(plan.report(&params).unwrap()[0].at_prior, Some(1.0), "{prior:?}");
    }
}

/// Every kind of layer that has something to say about the mean.
fn mixed() -> Plan {
    let (image, filters) = (Image::new(4, 4, 2), Filters::new(3, Window::new([3, 3]).padding([1, 1])));
    let inner: Vec<Box<dyn Layer>> = vec![
        Box::new(Dropout::new(5, 0.3).unwrap()),
        Box::new(VariationalDense::new(5, 5, Prior::StdDev(1.0)).unwrap().without_bias()),
        Box::new(ActivationLayer::new(Activation::Tanh, 5).unwrap()),
    ];
    Plan::new(vec![
        Box::new(Dropout2d::new(image, 0.2).unwrap()),
        Box::new(VariationalConv2d::new(image, filters, Prior::StdDev(1.0)).unwrap()),
        Box::new(MaxPool2d::new(Image::new(4, 4, 3), Window::new([2, 2]).stride([2, 2])).unwrap()),
        Box::new(BatchNorm::new(3).unwrap().over_positions(4).unwrap()),
        Box::new(ActivationLayer::new(Activation::Relu, 12).unwrap()),
        Box::new(SparseVdDense::new(12, 6).unwrap()),
        Box::new(CorrelatedVd::new(6, Grain::Unit).unwrap()),
        Box::new(IndependentVdDense::new(6, 5, Grain::Unit).unwrap()),
        Box::new(LayerNorm::new(5).unwrap()),
        Box::new(Residual::new(inner).unwrap()),
        Box::new(GaussianDropout::new(5, 0.2).unwrap()),
        Box::new(Dense::new(5, 2).unwrap()),
    ])
    .unwrap()
}

#[test]
fn a_network_at_its_mean_is_plain_and_has_the_bits_of_the_mean_pass() {
    let plan = mixed();
    let params = crate::common::params(&plan);
    let (mean, at) = (plan.at_mean(&Registry::default()).unwrap(), plan.mean_params(&params).unwrap());
    let kinds: Vec<&str> = mean.layers().map(|(_, layer)| layer.kind()).collect();
    assert_eq!(
        kinds,
        [
            "conv2d",
            "max-pool2d",
            "batch-norm",
            "activation",
            "dense",
            "dense",
            "layer-norm",
            "residual",
            "dense"
        ]
    );
    assert!(!mean.is_random());
    let x = numbers(7, 6 * 32);
    assert_eq!(
        bits(&predict(&mean, &at, &x, &Pass::mean())),
        bits(&predict(&plan, &params, &x, &Pass::mean()))
    );
}

#[test]
fn a_pruned_network_at_its_mean_stays_sparse() {
    let (image, filters) = (Image::new(4, 4, 2), Filters::new(3, Window::new([3, 3])));
    let plan = Plan::new(vec![
        Box::new(SparseVdConv2d::new(image, filters).unwrap().with_init_ln_sigma2(-3.0).unwrap()),
        Box::new(ActivationLayer::new(Activation::Relu, 12).unwrap()),
        Box::new(SparseVdDense::new(12, 4).unwrap().with_init_ln_sigma2(-2.0).unwrap()),
    ])
    .unwrap();
    let params = crate::common::params(&plan);
    let pruned = plan.prune(&[&params], 1.0, &Registry::default()).unwrap();
    let (mean, at) = (
        pruned.plan.at_mean(&Registry::default()).unwrap(),
        pruned.plan.mean_params(&pruned.members[0]).unwrap(),
    );
    let kinds: Vec<&str> = mean.layers().map(|(_, layer)| layer.kind()).collect();
    assert_eq!(kinds, ["pruned-conv2d", "activation", "pruned-dense"]);
    let x = numbers(8, 5 * 32);
    let of_pruned = predict(&pruned.plan, &pruned.members[0], &x, &Pass::mean());
    assert_eq!(bits(&predict(&mean, &at, &x, &Pass::mean())), bits(&of_pruned));
    for (_, layer) in mean.layers() {
        conformance::check(layer, &Registry::default()).unwrap();
    }
    assert!(mean.report(&at).unwrap()[0].sparsity.unwrap() > 0.0);
}

/// A plain network and the same with posteriors, as MOPED makes one out of the other.
fn plain_and_bayesian(prior: Prior) -> [Plan; 2] {
    let relu = || Box::new(ActivationLayer::new(Activation::Relu, 5).unwrap());
    let plain = Plan::new(vec![
        Box::new(Dropout::new(4, 0.1).unwrap()),
        Box::new(Dense::new(4, 5).unwrap().with_length_scale(1.0).unwrap()),
        relu(),
        Box::new(Dropout::new(5, 0.1).unwrap()),
        Box::new(Dense::new(5, 2).unwrap()),
    ]);
    let bayesian = Plan::new(vec![
        Box::new(VariationalDense::new(4, 5, prior.clone()).unwrap()),
        relu(),
        Box::new(VariationalDense::new(5, 2, prior).unwrap()),
    ]);
    [plain.unwrap(), bayesian.unwrap()]
}

#[test]
fn posteriors_that_start_from_a_network_have_its_outputs_at_their_mean() {
    for (prior, ratio) in [(Prior::Around(0.5, Scaling::Same), Some(0.1)), (Prior::FanIn(1.0), None)] {
        let [plain, bayesian] = plain_and_bayesian(prior);
        let mut of_plain = crate::common::params(&plain);
        of_plain[3] = 0.0; // a weight that says nothing of its size
        let init = bayesian.init(&Noise::new(0, Purpose::Init));
        let (mean, mut params) = (plain.mean_params(&of_plain).unwrap(), init.clone());
        let from = plain.at_mean(&Registry::default()).unwrap();
        bayesian.start_at(&from, &mean, ratio, &mut params, &Registry::default()).unwrap();
        let x = numbers(9, 3 * 4);
        let of = |plan: &Plan, params: &[f32]| bits(&predict(plan, params, &x, &Pass::mean()));
        assert_eq!(of(&bayesian, &params), of(&plain, &of_plain));
        // Deviations follow the weights from the floor on, or stay what they were.
        let rhos = bayesian.entries().iter().filter(|e| e.block.role == Role::RawScale);
        let mut weights = mean.iter();
        for entry in rhos {
            let fan_in: f64 = if entry.owner.starts_with('0') { 4.0 } else { 5.0 };
            for (at, w) in entry.range.clone().zip(&mut weights) {
                let (sigma, w) = (softplus(params[at].into()), f64::from(*w));
                match ratio {
                    Some(ratio) => {
                        let expected = (ratio * w.abs()).max(1e-3 / fan_in.sqrt());
                        assert!(
                            (sigma / expected - 1.0).abs() < 1e-5,
                            "{}: {sigma} {expected}",
                            entry.path()
                        );
                    }
                    None => assert_eq!(params[at].to_bits(), init[at].to_bits()),
                }
            }
        }
    }
}

#[test]
fn at_the_start_the_prior_around_the_weights_costs_only_the_deviations() {
    let [plain, bayesian] = plain_and_bayesian(Prior::Around(0.5, Scaling::Same));
    let mean = plain.mean_params(&crate::common::params(&plain)).unwrap();
    let mut params = bayesian.init(&Noise::new(0, Purpose::Init));
    let from = plain.at_mean(&Registry::default()).unwrap();
    bayesian.start_at(&from, &mean, Some(0.2), &mut params, &Registry::default()).unwrap();
    let of_scales = |w: &f32, fan_in: f64| {
        kl_gaussian(0.0, (0.2 * f64::from(w.abs())).max(1e-3 / fan_in.sqrt()), 0.0, 0.5)
    };
    let (first, second) = mean.split_at(25);
    let expected: f64 = first.iter().map(|w| of_scales(w, 4.0)).sum::<f64>()
        + second.iter().map(|w| of_scales(w, 5.0)).sum::<f64>();
    let kl = bayesian.kl(&params).unwrap();
    assert!((kl / expected - 1.0).abs() < 1e-5, "{kl} {expected}");
}

#[test]
fn a_network_of_other_layers_is_refused_and_the_first_that_differs_is_named() {
    let [plain, bayesian] = plain_and_bayesian(Prior::FanIn(1.0));
    let message = |layers: Vec<Box<dyn Layer>>| {
        let from = Plan::new(layers).unwrap();
        let (mean, mut params) = (from.init(&Noise::new(0, Purpose::Init)), vec![0.0; bayesian.n_params()]);
        bayesian.start_at(&from, &mean, None, &mut params, &Registry::default()).unwrap_err().to_string()
    };
    let dense = |i, o| -> Box<dyn Layer> { Box::new(Dense::new(i, o).unwrap()) };
    let act = |a, dim| -> Box<dyn Layer> { Box::new(ActivationLayer::new(a, dim).unwrap()) };
    assert_eq!(
        message(vec![dense(4, 6), act(Activation::Relu, 6), dense(6, 2)]),
        "0.variational-dense: the network to start from must be dense 4 → 5, got dense 4 → 6"
    );
    assert_eq!(
        message(vec![dense(4, 5), act(Activation::Tanh, 5), dense(5, 2)]),
        "1.activation: the network to start from must be activation 5 → 5, got one with other settings"
    );
    assert_eq!(
        message(vec![dense(4, 5), act(Activation::Relu, 5)]),
        "network: the network to start from must be 3 layers without masks, got 2"
    );
    let from = plain.at_mean(&Registry::default()).unwrap();
    let e = bayesian
        .start_at(&from, &[0.0; 3], None, &mut vec![0.0; bayesian.n_params()], &Registry::default())
        .unwrap_err();
    assert_eq!(e.to_string(), "start mean: must have 37 elements, got 3");
}

#[test]
fn settings_that_leave_no_trace_in_the_shapes_are_seen_by_their_outputs() {
    // Both make 6×6 pixels of 6×6 out of nine weights a channel.
    let window = |padding, dilation| Window::new([3, 3]).padding([padding; 2]).dilation([dilation; 2]);
    let filters = |padding, dilation| Filters::new(2, window(padding, dilation));
    let image = Image::new(6, 6, 1);
    let from = Plan::new(vec![Box::new(Conv2d::new(image, filters(1, 1)).unwrap())]).unwrap();
    let mean = crate::common::params(&from);
    let start = |padding, dilation| {
        let layer = VariationalConv2d::new(image, filters(padding, dilation), Prior::StdDev(1.0)).unwrap();
        let plan = Plan::new(vec![Box::new(layer)]).unwrap();
        plan.start_at(&from, &mean, None, &mut vec![0.0; plan.n_params()], &Registry::default())
    };
    start(1, 1).unwrap();
    assert_eq!(
        start(2, 2).unwrap_err().to_string(),
        "network: the network to start from must be of the same settings, got one with other outputs"
    );
}

#[test]
fn the_kl_under_these_priors_is_exact_also_inside_a_residual_connection_and_hides_no_improper_one() {
    let inside = |layers: Vec<Box<dyn Layer>>| -> Box<dyn Layer> { Box::new(Residual::new(layers).unwrap()) };
    let square = |prior| -> Box<dyn Layer> { Box::new(VariationalDense::new(3, 3, prior).unwrap()) };
    let known = |layers| Plan::new(layers).unwrap().kl_known();
    for prior in priors() {
        let expected = match prior {
            Prior::Around(..) => KlKnown::FromFittedPrior,
            _ => KlKnown::Exactly,
        };
        assert_eq!(known(vec![square(prior.clone())]), expected, "{prior:?}");
        assert_eq!(known(vec![inside(vec![square(prior.clone())])]), expected, "{prior:?}");
        let improper: Box<dyn Layer> = Box::new(SparseVdDense::new(3, 3).unwrap());
        assert_eq!(known(vec![inside(vec![square(prior), improper])]), KlKnown::Improper);
    }
}

/// Weights and biases of a layer of one unit, drawn so many times.
fn drawn(layer: impl Layer + 'static, draws: u64) -> Vec<Vec<f64>> {
    let plan = Plan::new(vec![Box::new(layer)]).unwrap();
    let init = plan.init(&Noise::new(0, Purpose::Init));
    let draw = |seed| {
        let mut params = init.clone();
        plan.sample_prior(&Noise::new(seed, Purpose::Init), &mut params).unwrap();
        to_f64(&plan.mean_params(&params).unwrap())
    };
    (0..draws).map(draw).collect()
}

// 20 000 draws of each prior: mean and variance of a weight and a bias, 5 SE each.
#[test]
fn draws_have_the_moments_of_their_prior() {
    let mixture = ScaleMixture::new(0.25, [2.0, 0.5]).unwrap();
    let variational = |prior| VariationalDense::new(4, 1, prior).unwrap();
    let check = |name: &str, draws: Vec<Vec<f64>>, of_weight: f64, of_bias: f64| {
        for (at, variance) in [(0, of_weight), (3, of_weight), (4, of_bias)] {
            let one: Vec<f64> = draws.iter().map(|draw| draw[at]).collect();
            MomentCheck::mean(&format!("{name} {at}"), &one, 0.0, variance).assert();
            let squares: Vec<f64> = one.iter().map(|w| w * w).collect();
            Estimate::of(&squares).check(&format!("{name} {at}: variance"), variance).assert();
        }
        let pairs: Vec<f64> = draws.iter().map(|draw| draw[0] * draw[1]).collect();
        Estimate::of(&pairs).check(&format!("{name}: covariance"), 0.0).assert();
    };
    let n = 20_000;
    check("plain", drawn(Dense::new(4, 1).unwrap().with_length_scale(2.0).unwrap(), n), 0.25, 0.25);
    check("normal", drawn(variational(Prior::StdDev(0.7)), n), 0.49, 0.49);
    check("fan-in", drawn(variational(Prior::FanIn(3.0)), n), 2.25, 9.0);
    check("learned", drawn(variational(Prior::Learned(3.0, Scaling::FanIn)), n), 2.25, 9.0);
    check("mixture", drawn(variational(Prior::Mixture(mixture, Scaling::Same)), n), 1.1875, 1.1875);
    let laplace = Prior::Laplace(Laplace::new(0.5).unwrap(), Scaling::FanIn);
    check("laplace", drawn(variational(laplace), n), 0.125, 0.5);
}

// 20 000 functions: variance of the outputs of two rows and their covariance against the closed form, 5 SE each.
#[test]
fn the_outputs_of_a_linear_layer_drawn_from_its_prior_have_the_closed_form() {
    let x: [[f32; 3]; 2] = [[1.0, -0.5, 2.0], [0.3, 0.8, -1.0]];
    let (of_weight, of_bias) = (1.5_f64.powi(2) / 3.0, 1.5_f64.powi(2));
    let plan = Plan::new(vec![Box::new(VariationalDense::new(3, 1, Prior::FanIn(1.5)).unwrap())]).unwrap();
    let init = plan.init(&Noise::new(0, Purpose::Init));
    let mut outputs = [Vec::new(), Vec::new()];
    for seed in 0..20_000 {
        let mut params = init.clone();
        plan.sample_prior(&Noise::new(seed, Purpose::Init), &mut params).unwrap();
        let y = predict(&plan, &params, &x.concat(), &Pass::mean());
        outputs.iter_mut().zip(y).for_each(|(of, y)| of.push(f64::from(y)));
    }
    let product = |a: [f32; 3], b: [f32; 3]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>() * of_weight + of_bias
    };
    for row in 0..2 {
        let variance = product(x[row], x[row]);
        MomentCheck::mean("output", &outputs[row], 0.0, variance).assert();
        MomentCheck::normal_variance("output", &outputs[row], variance).assert();
    }
    let [a, b] = [product(x[0], x[0]), product(x[1], x[1])];
    MomentCheck::normal_covariance("rows", &outputs[0], &outputs[1], product(x[0], x[1]), a, b).assert();
}

#[test]
fn draws_around_given_means_are_around_them() {
    let plan = Plan::new(vec![Box::new(layer(Prior::Around(1e-4, Scaling::Same)))]).unwrap();
    let mut params = plan.init(&Noise::new(0, Purpose::Init));
    let means = numbers(3, 15);
    params[30..].copy_from_slice(&means);
    plan.sample_prior(&Noise::new(1, Purpose::Init), &mut params).unwrap();
    let drawn = plan.mean_params(&params).unwrap();
    assert!(drawn.iter().zip(&means).all(|(w, m)| (w - m).abs() < 1e-3 && w != m), "{drawn:?} {means:?}");
}

#[test]
fn weights_without_a_proper_prior_are_not_drawn_and_say_why() {
    let message = |layer: Box<dyn Layer>| {
        let plan = Plan::new(vec![layer]).unwrap();
        let mut params = plan.init(&Noise::new(0, Purpose::Init));
        plan.sample_prior(&Noise::new(0, Purpose::Init), &mut params).map_err(|e| e.to_string())
    };
    assert_eq!(
        message(Box::new(layer(Prior::LogUniform))).unwrap_err(),
        "variational-dense: must have a prior to draw from, got the log-uniform density, which is improper"
    );
    assert!(message(Box::new(SparseVdDense::new(2, 1).unwrap())).unwrap_err().contains("improper"));
    assert_eq!(
        message(Box::new(Dense::new(2, 1).unwrap())).unwrap_err(),
        "dense: must have a prior to draw from, got no length scale"
    );
    assert_eq!(
        message(Box::new(CorrelatedVd::new(2, Grain::Unit).unwrap())).unwrap_err(),
        "correlated-vd: must have a prior to draw from, got the log-uniform density, which is improper"
    );
    for layer in [
        Box::new(BatchNorm::new(2).unwrap()) as Box<dyn Layer>,
        Box::new(Dropout::new(2, 0.5).unwrap()),
        Box::new(
            Conv2d::new(Image::new(2, 2, 1), Filters::new(1, Window::new([2, 2])))
                .unwrap()
                .with_length_scale(1.0)
                .unwrap(),
        ),
    ] {
        assert_eq!(message(layer), Ok(()));
    }
}
