//! What several tests share: networks with names, and their naive twins with the same noise frozen.

use bdl_dist::{Noise, Purpose};
use bdl_layers::{
    Activation, ActivationLayer, AvgPool2d, BlockEntry, ConcreteConv2d, ConcreteDense, Conv2d, CorrelatedVd,
    Dense, Draw, Dropout, Dropout2d, Estimator, Filters, GaussianDropout, Grain, Image, IndependentVdConv2d,
    IndependentVdDense, Layer, MaxPool2d, Mode, Pass, Plan, Prior, Scope, SparseVdConv2d, SparseVdDense,
    VariationalConv2d, VariationalDense, Window, Workspace,
};
use bdl_tensor::{Mat, MatMut};
use bdl_testkit::finite::{assert_gradient_close, central_gradient};
use bdl_testkit::masks::DropoutMoments;
use bdl_testkit::oracle::{
    FrozenConcrete, FrozenEps, FrozenMask, OracleActivation, OracleAlpha, OracleConv, OracleFamily,
    OracleLayer, OracleMap, OracleNet, sigmoid,
};
use bdl_testkit::source::to_f64;
use bdl_testkit::stats::MomentCheck;

/// One layer of a test network.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spec {
    Dense(usize, usize),
    Variational(usize, usize),
    NoBias(usize, usize),
    Sparse(usize, usize),
    VariationalConv(OracleConv),
    Conv(OracleConv),
    MaxPool(OracleConv),
    AvgPool(OracleConv),
    Drop2d([usize; 3], f64),
    SparseConv(OracleConv),
    Independent(usize, usize, Grain),
    IndependentConv(OracleConv, Grain),
    GaussianDrop(usize, usize, f64),
    Correlated(usize, usize, Grain),
    Concrete(usize, usize),
    ConcreteConv(OracleConv),
    Act(Activation, usize),
    Drop(usize, f64),
}

/// Not the default, so that a layer that forgets it is seen.
pub(crate) const CONCRETE_TEMP: f64 = 0.2;

pub(crate) fn plan(specs: &[Spec]) -> Plan {
    let layer = |spec: &Spec| -> Box<dyn Layer> {
        match *spec {
            Spec::Dense(i, o) => Box::new(Dense::new(i, o).unwrap().with_length_scale(0.7).unwrap()),
            Spec::Variational(i, o) => Box::new(variational(i, o)),
            Spec::NoBias(i, o) => Box::new(variational(i, o).without_bias()),
            Spec::Sparse(i, o) => {
                Box::new(SparseVdDense::new(i, o).unwrap().with_init_ln_sigma2(-2.0).unwrap())
            }
            Spec::VariationalConv(conv) => Box::new(variational_conv(&conv)),
            Spec::Conv(conv) => {
                let (image, filters) = geometry(&conv);
                Box::new(Conv2d::new(image, filters).unwrap().with_length_scale(0.7).unwrap())
            }
            Spec::MaxPool(window) => {
                Box::new(MaxPool2d::new(image(window.image), window_of(&window)).unwrap())
            }
            Spec::AvgPool(window) => {
                Box::new(AvgPool2d::new(image(window.image), window_of(&window)).unwrap())
            }
            Spec::Drop2d(of, drop_prob) => Box::new(Dropout2d::new(image(of), drop_prob).unwrap()),
            Spec::SparseConv(conv) => {
                let (image, filters) = geometry(&conv);
                Box::new(SparseVdConv2d::new(image, filters).unwrap().with_init_ln_sigma2(-2.0).unwrap())
            }
            Spec::Independent(i, o, grain) => {
                Box::new(IndependentVdDense::new(i, o, grain).unwrap().with_init_alpha(0.4).unwrap())
            }
            Spec::IndependentConv(conv, grain) => {
                let (image, filters) = geometry(&conv);
                let layer = IndependentVdConv2d::new(image, filters, grain).unwrap();
                Box::new(layer.with_init_alpha(0.4).unwrap())
            }
            Spec::GaussianDrop(units, positions, drop_prob) => {
                Box::new(GaussianDropout::new(units, drop_prob).unwrap().over_positions(positions).unwrap())
            }
            Spec::Correlated(units, positions, grain) => {
                Box::new(CorrelatedVd::new(units, grain).unwrap().over_positions(positions).unwrap())
            }
            Spec::Concrete(i, o) => {
                let layer = ConcreteDense::new(i, o, 0.7).unwrap().with_drop_prob(0.3).unwrap();
                Box::new(layer.with_concrete_temp(CONCRETE_TEMP).unwrap())
            }
            Spec::ConcreteConv(conv) => {
                let (image, filters) = geometry(&conv);
                let layer = ConcreteConv2d::new(image, filters, 0.7).unwrap().with_drop_prob(0.3).unwrap();
                Box::new(layer.with_concrete_temp(CONCRETE_TEMP).unwrap())
            }
            Spec::Act(activation, dim) => Box::new(ActivationLayer::new(activation, dim).unwrap()),
            Spec::Drop(dim, drop_prob) => Box::new(Dropout::new(dim, drop_prob).unwrap()),
        }
    };
    Plan::new(specs.iter().map(layer).collect()).unwrap()
}

fn variational(in_dim: usize, out_dim: usize) -> VariationalDense {
    VariationalDense::new(in_dim, out_dim, Prior::StdDev(0.8)).unwrap().with_init_sigma(0.3).unwrap()
}

/// Image and filters of an oracle's geometry.
pub(crate) fn geometry(conv: &OracleConv) -> (Image, Filters) {
    (image(conv.image), Filters::new(conv.channels, window_of(conv)).groups(conv.groups))
}

pub(crate) fn image([height, width, channels]: [usize; 3]) -> Image {
    Image { height, width, channels }
}

pub(crate) fn window_of(conv: &OracleConv) -> Window {
    Window::new(conv.kernel).stride(conv.stride).padding(conv.padding).dilation(conv.dilation)
}

fn variational_conv(conv: &OracleConv) -> VariationalConv2d {
    let (image, filters) = geometry(conv);
    VariationalConv2d::new(image, filters, Prior::StdDev(0.8)).unwrap().with_init_sigma(0.3).unwrap()
}

/// The twin in `f64` of a network in this pass over `rows` rows, with the same noise.
pub(crate) fn oracle(specs: &[Spec], pass: &Pass<'_>, rows: usize) -> OracleNet {
    let layer = |(at, spec): (usize, &Spec)| match *spec {
        Spec::Dense(in_dim, out_dim) => OracleLayer::Dense { in_dim, out_dim, bias: true },
        Spec::Variational(in_dim, out_dim) | Spec::NoBias(in_dim, out_dim) => {
            let bias = matches!(spec, Spec::Variational(..));
            let drawn = [in_dim * out_dim, if bias { out_dim } else { 0 }];
            let eps = frozen_eps(at, pass, rows, drawn, out_dim, &dense_units(out_dim));
            OracleLayer::VariationalDense { in_dim, out_dim, bias, eps }
        }
        Spec::Sparse(in_dim, out_dim) => {
            let drawn = [in_dim * out_dim, 0];
            let eps = frozen_eps(at, pass, rows, drawn, out_dim, &dense_units(out_dim));
            of_family(OracleMap::Dense { in_dim, out_dim }, OracleFamily::SparseVd, eps, [rows, out_dim])
        }
        Spec::SparseConv(conv) => {
            let eps = frozen_eps(at, pass, rows, [conv.weights(), 0], conv.out_dim(), &conv_units(&conv));
            of_family(OracleMap::Conv2d(conv), OracleFamily::SparseVd, eps, [rows, conv.channels])
        }
        Spec::Independent(in_dim, out_dim, grain) => {
            let family = OracleFamily::IndependentVd { alphas: alphas(grain, in_dim * out_dim, out_dim) };
            let drawn = [in_dim * out_dim, 0];
            let eps = frozen_eps(at, pass, rows, drawn, out_dim, &dense_units(out_dim));
            of_family(OracleMap::Dense { in_dim, out_dim }, family, eps, [rows, out_dim])
        }
        Spec::IndependentConv(conv, grain) => {
            let family = OracleFamily::IndependentVd { alphas: alphas(grain, conv.weights(), conv.channels) };
            let eps = frozen_eps(at, pass, rows, [conv.weights(), 0], conv.out_dim(), &conv_units(&conv));
            of_family(OracleMap::Conv2d(conv), family, eps, [rows, conv.channels])
        }
        Spec::GaussianDrop(units, _, drop_prob) => {
            let alpha = OracleAlpha::Fixed(drop_prob / (1.0 - drop_prob));
            OracleLayer::MulNoise { units, alpha, eps: frozen_noise(at, pass, rows, units) }
        }
        Spec::Correlated(units, _, grain) => {
            let alpha = OracleAlpha::Learned(alphas(grain, units, units));
            OracleLayer::MulNoise { units, alpha, eps: frozen_noise(at, pass, rows, units) }
        }
        Spec::Concrete(in_dim, out_dim) => {
            let masks = frozen_concrete(specs, at, pass, rows, in_dim);
            OracleLayer::Concrete { map: OracleMap::Dense { in_dim, out_dim }, units: in_dim, masks }
        }
        Spec::ConcreteConv(conv) => {
            let units = conv.image[2];
            let masks = frozen_concrete(specs, at, pass, rows, units);
            OracleLayer::Concrete { map: OracleMap::Conv2d(conv), units, masks }
        }
        Spec::VariationalConv(conv) => {
            let drawn = [conv.weights(), conv.channels];
            let eps = frozen_eps(at, pass, rows, drawn, conv.out_dim(), &conv_units(&conv));
            OracleLayer::VariationalConv2d { conv, bias: true, eps }
        }
        Spec::Conv(conv) => OracleLayer::Conv2d { conv, bias: true },
        Spec::MaxPool(window) => OracleLayer::Pool { window, largest: true },
        Spec::AvgPool(window) => OracleLayer::Pool { window, largest: false },
        Spec::Drop2d([_, _, channels], drop_prob) => {
            let mask = frozen_mask(at, pass, rows, channels, 1.0 - drop_prob);
            OracleLayer::Dropout2d { channels, drop_prob, mask }
        }
        Spec::Act(activation, _) => OracleLayer::Activation(OracleActivation::named(activation.name())),
        Spec::Drop(dim, drop_prob) => {
            let mask = frozen_mask(at, pass, rows, dim, 1.0 - drop_prob);
            OracleLayer::Dropout { drop_prob, mask }
        }
    };
    OracleNet::new(specs.iter().enumerate().map(layer).collect())
}

pub(crate) fn alphas(grain: Grain, weights: usize, units: usize) -> usize {
    match grain {
        Grain::Layer => 1,
        Grain::Unit => units,
        Grain::Weight => weights,
    }
}

/// eps of multiplicative noise on inputs.
fn frozen_noise(at: usize, pass: &Pass<'_>, rows: usize, units: usize) -> Vec<f64> {
    let draws = pass.mask_draw();
    let Some(site) = pass.site(at, 0, draws) else { return Vec::new() };
    let mut eps = vec![0.0; if draws == Draw::Row { rows * units } else { units }];
    site.normals(units, &mut eps);
    to_f64(&eps)
}

/// A layer of a family with plain biases, of which none is drawn.
fn of_family(
    map: OracleMap,
    family: OracleFamily,
    mut eps: FrozenEps,
    [rows, biases]: [usize; 2],
) -> OracleLayer {
    match &mut eps {
        FrozenEps::Sampling { eps_b, .. } => *eps_b = vec![0.0; biases],
        FrozenEps::Rows { eps_b, .. } => *eps_b = vec![0.0; rows * biases],
        _ => {}
    }
    OracleLayer::Family { map, family, bias: true, eps }
}

/// The masks of concrete dropout: relaxed in training, in prediction drawn at the learned probability.
fn frozen_concrete(specs: &[Spec], at: usize, pass: &Pass<'_>, rows: usize, units: usize) -> FrozenConcrete {
    if let (Mode::Train, Some(site)) = (pass.mode(), pass.site(at, 1, Draw::Row)) {
        let mut lambda = vec![0.0; rows * units];
        site.logistics(units, &mut lambda);
        return FrozenConcrete::Relaxed { lambda: to_f64(&lambda), temp: CONCRETE_TEMP };
    }
    let plan = plan(specs);
    let logit = params(&plan)[logit_of(&plan, at)];
    FrozenConcrete::Hard(frozen_mask(at, pass, rows, units, sigmoid(-f64::from(logit))))
}

/// Where in the parameters the logit of a layer of concrete dropout stands.
pub(crate) fn logit_of(plan: &Plan, at: usize) -> usize {
    let (owner, _) = plan.layers().nth(at).unwrap();
    let is_logit = |e: &&BlockEntry| e.owner == owner && e.block.name == "drop.logit";
    plan.entries().iter().find(is_logit).unwrap().range.start
}

fn frozen_mask(at: usize, pass: &Pass<'_>, rows: usize, dim: usize, keep_prob: f64) -> FrozenMask {
    let draw = |rows: usize, site: bdl_layers::Site<'_>| {
        let mut words = vec![0; rows * dim.div_ceil(64)];
        site.mask(dim, keep_prob, &mut words);
        words
            .chunks(dim.div_ceil(64))
            .flat_map(|w| (0..dim).map(|i| w[i / 64] >> (i % 64) & 1 == 1))
            .collect()
    };
    let draws = pass.mask_draw();
    match (draws, pass.site(at, 0, draws)) {
        (Draw::Pass, Some(site)) => FrozenMask::Pass(draw(1, site)),
        (Draw::Row, Some(site)) => FrozenMask::Row(draw(rows, site)),
        _ => FrozenMask::Mean,
    }
}

/// Which unit a weight leads from and to.
type Units<'a> = &'a dyn Fn(usize) -> [usize; 2];

fn dense_units(out_dim: usize) -> impl Fn(usize) -> [usize; 2] {
    move |k| [k / out_dim, k % out_dim]
}

/// Weights lie in `[kernel, kernel, channels/groups, out]`; a filter of group g sees the channels of group g.
fn conv_units(conv: &OracleConv) -> impl Fn(usize) -> [usize; 2] + use<> {
    let (outs, groups) = (conv.channels, conv.groups);
    let per_group = conv.image[2] / groups;
    move |k| {
        let (from, to) = (k / outs % per_group, k % outs);
        [to / (outs / groups) * per_group + from, to]
    }
}

/// The noise of a variational layer that draws so many weights and biases, and so many outputs per row.
fn frozen_eps(
    at: usize,
    pass: &Pass<'_>,
    rows: usize,
    drawn: [usize; 2],
    out_dim: usize,
    units: Units<'_>,
) -> FrozenEps {
    let draws = pass.weight_draw();
    let normals = |site: u64, len: usize, slots: usize| -> Vec<f64> {
        let mut eps = vec![0.0; len * slots];
        if let (1.., Some(site)) = (len, pass.site(at, site, draws)) {
            site.normals(len, &mut eps);
        }
        eps.into_iter().map(f64::from).collect()
    };
    match draws {
        Draw::Mean => FrozenEps::Mean,
        Draw::Pass => FrozenEps::Sampling { eps_w: normals(0, drawn[0], 1), eps_b: normals(1, drawn[1], 1) },
        Draw::Row => FrozenEps::Local { eps: normals(2, out_dim, rows) },
        Draw::Flipout => {
            let (eps_w, eps_b) = (normals(0, drawn[0], 1), normals(1, drawn[1], 1));
            let [ins, outs] =
                (0..drawn[0]).map(units).fold([0, 0], |a, b| [0, 1].map(|i| a[i].max(b[i] + 1)));
            let (s, r) = (frozen_signs(at, pass, rows, 3, ins), frozen_signs(at, pass, rows, 4, outs));
            let of_row = |(s, r): (&[f64], &[f64])| -> [Vec<f64>; 2] {
                let signed = |k: usize| eps_w[k] * s[units(k)[0]] * r[units(k)[1]];
                [(0..eps_w.len()).map(signed).collect(), eps_b.iter().zip(r).map(|(e, r)| e * r).collect()]
            };
            let [mut all_w, mut all_b] = [Vec::new(), Vec::new()];
            for [w, b] in s.chunks(ins).zip(r.chunks(outs)).map(of_row) {
                all_w.extend(w);
                all_b.extend(b);
            }
            FrozenEps::Rows { eps_w: all_w, eps_b: all_b }
        }
        other => panic!("no twin of {other:?}"),
    }
}

/// ±1 for each row and unit.
fn frozen_signs(at: usize, pass: &Pass<'_>, rows: usize, site: u64, units: usize) -> Vec<f64> {
    let mut words = vec![0; rows * units.div_ceil(64)];
    if let Some(site) = pass.site(at, site, Draw::Row) {
        site.mask(units, 0.5, &mut words);
    }
    let sign = |w: &[u64], i: usize| if w[i / 64] >> (i % 64) & 1 == 1 { 1.0 } else { -1.0 };
    words.chunks(units.div_ceil(64)).flat_map(|w| (0..units).map(move |i| sign(w, i))).collect()
}

/// Initial parameters moved by a tenth of a normal, so that no bias is 0.
pub(crate) fn params(plan: &Plan) -> Vec<f32> {
    let mut params = plan.init(&Noise::new(3, Purpose::Init));
    let moves = numbers(0, params.len());
    params.iter_mut().zip(moves).for_each(|(p, n)| *p += 0.1 * n);
    params
}

/// Standard normals, the same for the same stream.
pub(crate) fn numbers(stream: u64, n: usize) -> Vec<f32> {
    let mut out = vec![0.0; n];
    Noise::new(0, Purpose::Other(1)).rng(stream).normals(&mut out);
    out
}

pub(crate) fn predict(plan: &Plan, params: &[f32], x: &[f32], pass: &Pass<'_>) -> Vec<f32> {
    let rows = x.len() / plan.in_dim();
    let mut y = vec![f32::NAN; rows * plan.out_dim()];
    let out = &mut MatMut::new(&mut y, rows, plan.out_dim()).unwrap();
    let x = Mat::new(x, rows, plan.in_dim()).unwrap();
    plan.forward(params, x, pass, &mut Workspace::new(), out).unwrap();
    y
}

/// Output and gradient of a training pass with output gradient `dy`.
pub(crate) fn train(
    plan: &Plan,
    params: &[f32],
    x: &[f32],
    dy: &[f32],
    pass: &Pass<'_>,
) -> (Vec<f32>, Vec<f32>) {
    let (mut ws, mut grads) = (Workspace::new(), vec![0.0; params.len()]);
    let x = Mat::new(x, x.len() / plan.in_dim(), plan.in_dim()).unwrap();
    plan.forward_train(params, x, pass, &mut ws).unwrap();
    let (y, mut grad) = ws.output_and_grad();
    let y = y.data().to_vec();
    grad.data_mut().copy_from_slice(dy);
    plan.backward(params, x, pass, &mut ws, &mut grads).unwrap();
    (y, grads)
}

pub(crate) fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

const ROWS: usize = 4;

/// Output and gradients of a network against its twin and central differences of it.
pub(crate) fn check_gradients(name: &str, specs: &[Spec], pass_of: impl Fn(u64) -> Pass<'static>) {
    let plan = plan(specs);
    let params = params(&plan);
    let at = to_f64(&params);
    let dy = numbers(1, ROWS * plan.out_dim());
    // Inputs and noise are redrawn until no relu is nearer to its kink than 1e-3.
    let (pass, net, x) = (0..100)
        .map(|n| (pass_of(n), oracle(specs, &pass_of(n), ROWS), numbers(100 + n, ROWS * plan.in_dim())))
        .find(|(_, net, x)| net.relu_margin(&at, &to_f64(x), ROWS) > 1e-3)
        .unwrap_or_else(|| panic!("{name}: every draw is near a kink"));
    let x64 = to_f64(&x);
    let (y, grads) = train(&plan, &params, &x, &dy, &pass);
    assert_gradient_close(&format!("{name}: output"), &y, &net.forward(&at, &x64, ROWS), 1e-5);
    let loss = |p: &[f64]| net.forward(p, &x64, ROWS).iter().zip(&dy).map(|(y, d)| y * f64::from(*d)).sum();
    let expected = central_gradient(loss, &at);
    assert!(expected.iter().any(|g| g.abs() > 1e-3), "{name}: nothing to compare");
    assert_gradient_close(name, &grads, &expected, 1e-3);
    // Each block too, so that small gradients of scales do not hide behind those of means.
    for entry in plan.entries() {
        let (got, expected) = (&grads[entry.range.clone()], &expected[entry.range.clone()]);
        if expected.iter().any(|g| g.abs() > 1e-3) {
            assert_gradient_close(&format!("{name} {}", entry.path()), got, expected, 1e-3);
        }
    }
}

pub(crate) fn training_noise() -> &'static Noise {
    static NOISE: std::sync::OnceLock<Noise> = std::sync::OnceLock::new();
    NOISE.get_or_init(|| Noise::new(7, Purpose::Train))
}

pub(crate) type PassOf = fn(u64) -> Pass<'static>;

/// Every way to draw: the mean, every estimator in training, both scopes in prediction.
pub(crate) const PASSES: [(&str, PassOf); 6] = [
    ("mean", |_| Pass::mean()),
    ("local", |n| Pass::train(training_noise(), n, Estimator::Local)),
    ("sampling", |n| Pass::train(training_noise(), n, Estimator::Sampling)),
    ("flipout", |n| Pass::train(training_noise(), n, Estimator::Flipout)),
    ("per pass", |n| Pass::predict(training_noise(), n, Scope::Pass, Estimator::Local).starting_at(9)),
    ("per row", |n| Pass::predict(training_noise(), n, Scope::Row, Estimator::Local).starting_at(9)),
];

/// The moments of two rows of one output over 40 000 passes of each scope, against those over all masks.
pub(crate) fn check_moments_of_rows(plan: &Plan, params: &[f32], x: &[f32], exact: &DropoutMoments) {
    assert!(exact.variance.iter().all(|v| *v > 0.01), "{exact:?}");
    let noise = Noise::new(29, Purpose::Predict);
    for scope in [Scope::Pass, Scope::Row] {
        let draw = |index| predict(plan, params, x, &Pass::predict(&noise, index, scope, Estimator::Local));
        let draws: Vec<Vec<f32>> = (0..40_000).map(draw).collect();
        for row in 0..2 {
            let y: Vec<f64> = draws.iter().map(|y| f64::from(y[row])).collect();
            MomentCheck::mean("net", &y, exact.mean[row], exact.variance[row]).assert();
            MomentCheck::variance("net", &y, exact.variance[row], exact.fourth_moment[row]).assert();
        }
    }
}
