//! The gradient of the whole objective, against central differences of a naive `f64` oracle with the same noise.

use bdl_dist::{Noise, Purpose};
use bdl_infer::{
    Bernoulli, Bnn, Categorical, Dof, Elbo, Gaussian, Heteroscedastic, Likelihood, NoiseSd, Poisson,
    Predicts, StudentT, Targets,
};
use bdl_layers::{Activation, Draw, Estimator, Pass, Workspace};
use bdl_testkit::finite::{assert_gradient_close, central_gradient};
use bdl_testkit::oracle::{
    FrozenEps, FrozenMask, OracleActivation, OracleLayer, OracleLikelihood, OracleNet, kl_gaussian_diagonal,
    kl_mc_dropout, softplus,
};
use bdl_testkit::source::{SplitMix64, rounded, to_f32, to_f64};

use crate::nets::{Method, mat, plan};

const ROWS: usize = 5;
const IN: usize = 3;
const HIDDEN: usize = 4;
const N_TRAIN: usize = 40;
const KL_WEIGHT: f64 = 0.6;

/// NLL of outputs, targets and the likelihood's own parameters.
type Nll = Box<dyn Fn(&[f64], &[f64], &[f64]) -> f64>;

fn likelihoods() -> Vec<(&'static str, Box<dyn Likelihood>, Nll)> {
    fn oracle(o: OracleLikelihood) -> Nll {
        Box::new(move |out, y, own| o.nll_sum(out, y, own))
    }
    let gaussian = |noise| Box::new(Gaussian::new(noise).unwrap());
    vec![
        ("fixed", gaussian(NoiseSd::Fixed(0.7)), oracle(OracleLikelihood::GaussianFixed { sigma: 0.7 })),
        ("learned", gaussian(NoiseSd::Learned { init: 0.5 }), oracle(OracleLikelihood::GaussianLearned)),
        (
            "heteroscedastic",
            Box::new(Heteroscedastic::with_floor(0.0).unwrap()),
            oracle(OracleLikelihood::Heteroscedastic),
        ),
        (
            "floor",
            Box::new(Heteroscedastic::new()),
            Box::new(|out, y, _| floored(Heteroscedastic::FLOOR, out, y)),
        ),
        (
            "categorical",
            Box::new(Categorical::new(3).unwrap()),
            oracle(OracleLikelihood::Categorical { classes: 3 }),
        ),
        ("bernoulli", Box::new(Bernoulli), oracle(OracleLikelihood::Bernoulli)),
        ("poisson", Box::new(Poisson::new(1.5).unwrap()), oracle(OracleLikelihood::Poisson { base: 1.5 })),
        (
            "student-t",
            Box::new(StudentT::new(0.5, Dof::Learned { init: 5.0 }).unwrap()),
            oracle(OracleLikelihood::StudentT { dof: None }),
        ),
        (
            "student-t of 3",
            Box::new(StudentT::new(0.5, Dof::Fixed(3.0)).unwrap()),
            oracle(OracleLikelihood::StudentT { dof: Some(3.0) }),
        ),
    ]
}

fn floored(floor: f64, out: &[f64], y: &[f64]) -> f64 {
    let row = |(out, y): (&[f64], &f64)| {
        let sigma = floor + softplus(out[1]);
        0.5 * ((y - out[0]) / sigma).powi(2) + sigma.ln() + 0.5 * std::f64::consts::TAU.ln()
    };
    out.chunks(2).zip(y).map(row).sum()
}

fn normals(pass: &Pass<'_>, layer: usize, site: u64, draw: Draw, len: usize, slots: usize) -> Vec<f64> {
    let mut eps = vec![0.0; len * slots];
    pass.site(layer, site, draw).unwrap().normals(len, &mut eps);
    to_f64(&eps)
}

/// Flipout's draw for each row, its signs put on the draw of the pass.
fn signed_rows(pass: &Pass<'_>, layer: usize, [in_dim, out_dim]: [usize; 2]) -> FrozenEps {
    let eps_w = normals(pass, layer, 0, Draw::Pass, in_dim * out_dim, 1);
    let eps_b = normals(pass, layer, 1, Draw::Pass, out_dim, 1);
    let signs = |site: u64, units: usize| {
        let mut words = [0; ROWS];
        pass.site(layer, site, Draw::Row).unwrap().mask(units, 0.5, &mut words);
        words
    };
    let (s, r) = (signs(3, in_dim), signs(4, out_dim));
    let sign = |word: u64, i: usize| if word >> i & 1 == 1 { 1.0 } else { -1.0 };
    let weight = |s: u64, r: u64, k: usize| eps_w[k] * sign(s, k / out_dim) * sign(r, k % out_dim);
    let (mut all_w, mut all_b) = (Vec::new(), Vec::new());
    for (s, r) in s.into_iter().zip(r) {
        all_w.extend((0..eps_w.len()).map(|k| weight(s, r, k)));
        all_b.extend((0..out_dim).map(|j| eps_b[j] * sign(r, j)));
    }
    FrozenEps::Rows { eps_w: all_w, eps_b: all_b }
}

/// The oracle's network with the noise that `pass` will draw.
fn oracle_net(method: Method, activation: Activation, out: usize, pass: &Pass<'_>) -> OracleNet {
    let widths = [(IN, HIDDEN), (HIDDEN, out)];
    let dense = |i: usize| OracleLayer::Dense { in_dim: widths[i].0, out_dim: widths[i].1, bias: true };
    let variational = |i: usize| {
        let ((in_dim, out_dim), layer) = (widths[i], 2 * i);
        let eps = match pass.weight_draw() {
            Draw::Row => FrozenEps::Local { eps: normals(pass, layer, 2, Draw::Row, out_dim, ROWS) },
            Draw::Flipout => signed_rows(pass, layer, [in_dim, out_dim]),
            _ => FrozenEps::Sampling {
                eps_w: normals(pass, layer, 0, Draw::Pass, in_dim * out_dim, 1),
                eps_b: normals(pass, layer, 1, Draw::Pass, out_dim, 1),
            },
        };
        OracleLayer::VariationalDense { in_dim, out_dim, bias: true, eps }
    };
    let act = OracleLayer::Activation(OracleActivation::named(activation.name()));
    OracleNet::new(match method {
        Method::Dense => vec![dense(0), act, dense(1)],
        Method::Dropout => vec![dense(0), act, masks(pass), dense(1)],
        Method::Variational => vec![variational(0), act, variational(1)],
    })
}

fn masks(pass: &Pass<'_>) -> OracleLayer {
    let mut words = [0; ROWS];
    pass.site(2, 0, Draw::Row).unwrap().mask(HIDDEN, 0.7, &mut words);
    let kept = words.iter().flat_map(|w| (0..HIDDEN).map(move |i| w >> i & 1 == 1)).collect();
    OracleLayer::Dropout { drop_prob: 0.3, mask: FrozenMask::Row(kept) }
}

/// The KL of the layers that [`plan`] makes: length scale 0.7, or a fan-in prior of gain 1.3.
fn oracle_kl(method: Method, net: &OracleNet, params: &[f64]) -> f64 {
    let blocks: Vec<_> = net.blocks().iter().map(|b| &params[b.range.clone()]).collect();
    if method == Method::Variational {
        let layer = |b: &[&[f64]], fan_in: usize| {
            kl_gaussian_diagonal(b[0], b[1], 1.3 / (fan_in as f64).sqrt())
                + kl_gaussian_diagonal(b[2], b[3], 1.3)
        };
        return layer(&blocks[..4], IN) + layer(&blocks[4..], HIDDEN);
    }
    let drop_prob = if method == Method::Dropout { 0.3 } else { 0.0 };
    kl_mc_dropout(blocks[0], blocks[1], 0.7, 0.0) + kl_mc_dropout(blocks[2], blocks[3], 0.7, drop_prob)
}

/// Parameters of order one, raw scales negative.
fn params_of(bnn: &Bnn, source: &mut SplitMix64) -> Vec<f64> {
    let block = |e: &bdl_layers::BlockEntry| match e.block.name.ends_with("rho") {
        true => source.uniforms(e.block.len(), -2.0, 0.0),
        false => source.uniforms(e.block.len(), -1.0, 1.0),
    };
    rounded(&bnn.entries().iter().flat_map(block).collect::<Vec<_>>())
}

fn targets(likelihood: &dyn Likelihood) -> (Vec<f64>, bool) {
    match (likelihood.predicts(), likelihood.kind()) {
        (Predicts::Class(of), _) => (vec![of.classes() as f64 - 1.0, 0.0, 1.0, 1.0, 0.0], true),
        (_, Poisson::KIND) => (vec![0.0, 3.0, 1.0, 7.0, 2.0], false),
        _ => (rounded(&[0.3, -1.1, 0.8, 2.0, -0.4]), false),
    }
}

#[test]
fn the_gradient_of_the_objective_is_that_of_the_f64_oracle_for_every_combination() {
    let estimators = [
        (Method::Dense, Estimator::Local),
        (Method::Dropout, Estimator::Local),
        (Method::Variational, Estimator::Local),
        (Method::Variational, Estimator::Sampling),
        (Method::Variational, Estimator::Flipout),
    ];
    let mut checked = 0;
    for (method, estimator) in estimators {
        for activation in Activation::ALL {
            for (name, likelihood, nll) in likelihoods() {
                let name = format!("{method:?} {estimator:?} {activation:?} {name}");
                check(&name, method, estimator, activation, likelihood, &nll);
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 5 * 6 * 9);
}

fn check(
    name: &str,
    method: Method,
    estimator: Estimator,
    activation: Activation,
    likelihood: Box<dyn Likelihood>,
    nll: &Nll,
) {
    let noise = Noise::new(5, Purpose::Train);
    let pass = Pass::train(&noise, 3, estimator);
    let net = oracle_net(method, activation, likelihood.outputs(), &pass);
    let (y, is_class) = targets(&*likelihood);
    let bnn = Bnn::new(plan(method, activation, &[IN, HIDDEN, likelihood.outputs()]), likelihood).unwrap();
    assert_eq!(net.param_len(), bnn.plan().n_params());
    let mut source = SplitMix64::new(7);
    let params = params_of(&bnn, &mut source);
    let network = bnn.network().end;
    // No relu may be nearer to its kink than a step of the difference moves it.
    let far = |x: &Vec<f64>| net.relu_margin(&params[..network], x, ROWS) > 1e-2;
    let x = (0..1000).map(|_| rounded(&source.normals(ROWS * IN))).find(far).unwrap();

    let loss = |p: &[f64]| {
        let (own, likelihoods) = p.split_at(network);
        let nll = nll(&net.forward(own, &x, ROWS), &y, likelihoods);
        nll / ROWS as f64 + KL_WEIGHT / N_TRAIN as f64 * oracle_kl(method, &net, own)
    };
    let (real, class): (Vec<f32>, Vec<u32>) = (to_f32(&y), y.iter().map(|&c| c as u32).collect());
    let targets = if is_class { Targets::Class(&class) } else { Targets::Real(&real) };
    let mut grads = vec![f32::NAN; params.len()];
    let elbo = Elbo::new(N_TRAIN).unwrap().with_kl_weight(KL_WEIGHT).unwrap();
    let (p, x) = (to_f32(&params), to_f32(&x));
    let terms =
        elbo.gradient(&bnn, &p, mat(&x, IN), targets, &pass, &mut Workspace::new(), &mut grads).unwrap();

    let expected = -loss(&params) * N_TRAIN as f64;
    assert!((terms.elbo / expected - 1.0).abs() < 1e-5, "{name}: elbo {} is not {expected}", terms.elbo);
    let differences = central_gradient(loss, &params);
    assert_gradient_close(name, &grads, &differences, 1e-3);
    for e in bnn.entries() {
        let name = format!("{name} {}", e.path());
        assert_gradient_close(&name, &grads[e.range.clone()], &differences[e.range.clone()], 1e-3);
    }
}
