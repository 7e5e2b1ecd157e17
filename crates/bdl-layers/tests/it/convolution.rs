//! Convolutions against direct loops, against dense layers where they are ones, and in their moments.

use crate::common::Spec::{Act, Drop, IndependentConv, SparseConv, Variational, VariationalConv};
use crate::common::{PASSES, Spec, alphas, bits, check_gradients, geometry, numbers, params, plan, predict};
use bdl_dist::{Noise, Purpose};
use bdl_layers::{
    Activation, Conv2d, Conv2dMap, DenseMap, Estimator, Filters, Grain, Image, LinearMap, Pass, Plan, Prior,
    Scope, VariationalConv2d, Window,
};
use bdl_tensor::{Mat, MatMut, Serial, Store};
use bdl_testkit::finite::assert_gradient_close;
use bdl_testkit::oracle::{OracleConv, sigmoid, softplus};
use bdl_testkit::source::to_f64;
use bdl_testkit::stats::MomentCheck;
use proptest::prelude::*;

/// A kernel that moves in steps of 1 over the image alone.
fn plain(image: [usize; 3], channels: usize, kernel: [usize; 2]) -> OracleConv {
    OracleConv { image, channels, kernel, stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 }
}

fn map(conv: &OracleConv) -> Conv2dMap {
    let (image, filters) = geometry(conv);
    Conv2dMap::new("conv2d", image, filters).unwrap()
}

/// `y` of a map, then its gradients in weights (added to 0.5), biases and inputs, for the output gradient `dy`.
fn all_of<M: LinearMap>(map: &M, x: &[f32], w: &[f32], b: &[f32], dy: &[f32]) -> [Vec<f32>; 4] {
    let rows = x.len() / map.in_dim();
    let mut scratch = vec![f32::NAN; map.scratch(rows)];
    let (mut y, mut dx) = (vec![f32::NAN; rows * map.out_dim()], vec![f32::NAN; x.len()]);
    let (mut d_w, mut d_b) = (vec![0.5; w.len()], vec![f32::NAN; b.len()]);
    let x = Mat::new(x, rows, map.in_dim()).unwrap();
    let dy = Mat::new(dy, rows, map.out_dim()).unwrap();
    let mut out = MatMut::new(&mut y, rows, map.out_dim()).unwrap();
    map.forward(&Serial, x, w, b, &mut scratch, &mut out).unwrap();
    scratch.fill(f32::NAN);
    map.weight_grad(&Serial, x, dy, Store::Add, &mut scratch, &mut d_w).unwrap();
    map.bias_grad(dy, Store::Overwrite, &mut d_b).unwrap();
    scratch.fill(f32::NAN);
    let mut to_x = MatMut::new(&mut dx, rows, map.in_dim()).unwrap();
    map.input_grad(&Serial, dy, w, &mut scratch, &mut to_x).unwrap();
    [y, d_w, d_b, dx]
}

/// The same by the definition: a map that is linear in each of its arguments has the slopes that it has between
/// the unit vectors.
fn all_by_loops(
    conv: &OracleConv,
    x: &[f64],
    w: &[f64],
    b: &[f64],
    dy: &[f64],
    rows: usize,
) -> [Vec<f64>; 4] {
    let loss = |y: Vec<f64>| -> f64 { y.iter().zip(dy).map(|(y, d)| y * d).sum() };
    let slopes = |n: usize, loss_at: &dyn Fn(&[f64]) -> f64| -> Vec<f64> {
        let mut unit = vec![0.0; n];
        let mut slope = |i: usize| {
            unit[i] = 1.0;
            let slope = loss_at(&unit);
            unit[i] = 0.0;
            slope
        };
        (0..n).map(&mut slope).collect()
    };
    let (no_w, no_b) = (vec![0.0; w.len()], vec![0.0; b.len()]);
    let d_w = slopes(w.len(), &|w| loss(conv.forward(x, w, &no_b, rows)));
    let d_b = slopes(b.len(), &|b| loss(conv.forward(x, &no_w, b, rows)));
    let d_x = slopes(x.len(), &|x| loss(conv.forward(x, w, &no_b, rows)));
    [conv.forward(x, w, b, rows), d_w.iter().map(|d| d + 0.5).collect(), d_b, d_x]
}

/// A geometry, from numbers that need not fit each other.
fn geometries() -> impl Strategy<Value = OracleConv> {
    let sides = || (1usize..6, 1usize..4, 1usize..4, 0usize..3, 1usize..3);
    (sides(), sides(), 1usize..4, 1usize..4, 1usize..4).prop_map(|(i, j, groups, per_in, per_out)| {
        let [(h, kh, sh, ph, dh), (w, kw, sw, pw, dw)] = [i, j];
        // The image holds the kernel once at least.
        let side =
            |size: usize, k: usize, p: usize, d: usize| size.max((d * (k - 1) + 1).saturating_sub(2 * p));
        OracleConv {
            image: [side(h, kh, ph, dh), side(w, kw, pw, dw), groups * per_in],
            channels: groups * per_out,
            kernel: [kh, kw],
            stride: [sh, sw],
            padding: [ph, pw],
            dilation: [dh, dw],
            groups,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_geometry_agrees_with_the_loops(conv in geometries(), rows in 1usize..4) {
        let map = map(&conv);
        prop_assert_eq!(map.out_dim(), conv.out_dim());
        prop_assert_eq!([map.weights(), map.fan_in()], [conv.weights(), conv.fan_in()]);
        let (x, w, b) = (numbers(1, rows * map.in_dim()), numbers(2, map.weights()), numbers(3, map.units()));
        let dy = numbers(4, rows * map.out_dim());
        let got = all_of(&map, &x, &w, &b, &dy);
        let [x, w, b, dy] = [x, w, b, dy].map(|v| to_f64(&v));
        let expected = all_by_loops(&conv, &x, &w, &b, &dy, rows);
        let [x, w, b, dy] = [x, w, b, dy].map(|v| v.iter().map(|x| x.abs()).collect::<Vec<_>>());
        let sizes = all_by_loops(&conv, &x, &w, &b, &dy, rows);
        for (i, what) in ["y", "d_w", "d_b", "dx"].into_iter().enumerate() {
            // A sum is as exact as its terms are large: those of a small image can cancel.
            let off = norm(got[i].iter().zip(&expected[i]).map(|(got, expected)| f64::from(*got) - expected));
            let size = norm(sizes[i].iter().copied());
            prop_assert!(off <= 1e-6 * size, "{:?}: {}: off by {:e} of {:e}", conv, what, off, size);
        }
    }
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|x| x * x).sum::<f64>().sqrt()
}

#[test]
fn images_beyond_a_block_of_padded_rows_agree_with_the_loops() {
    // A padded row has 40·40·64 elements, of which the map pads some two at a time.
    let conv = OracleConv { padding: [2, 2], stride: [6, 6], groups: 16, ..plain([36, 36, 64], 16, [3, 3]) };
    let (map, rows) = (map(&conv), 5);
    assert!(map.scratch(rows) < rows * 40 * 40 * 64);
    let (x, w, b) = (numbers(1, rows * map.in_dim()), numbers(2, map.weights()), numbers(3, map.units()));
    let dy = numbers(4, rows * map.out_dim());
    let [y, d_w, _, dx] = all_of(&map, &x, &w, &b, &dy);
    let expected = conv.forward(&to_f64(&x), &to_f64(&w), &to_f64(&b), rows);
    assert_gradient_close("y", &y, &expected, 1e-6);
    // Row by row, the gradients add up.
    let mut sum = vec![0.5_f64; w.len()];
    for row in 0..rows {
        let (x, dy) = (&x[row * map.in_dim()..][..map.in_dim()], &dy[row * map.out_dim()..][..map.out_dim()]);
        let [_, of_row, _, dx_of_row] = all_of(&map, x, &w, &b, dy);
        sum.iter_mut().zip(&of_row).for_each(|(s, d)| *s += f64::from(*d) - 0.5);
        assert_eq!(bits(&dx[row * map.in_dim()..][..map.in_dim()]), bits(&dx_of_row));
    }
    assert_gradient_close("d_w", &d_w, &sum, 1e-6);
    let (mut written, mut scratch) = (vec![f32::NAN; w.len()], vec![f32::NAN; map.scratch(rows)]);
    let x = Mat::new(&x, rows, map.in_dim()).unwrap();
    let dy = Mat::new(&dy, rows, map.out_dim()).unwrap();
    map.weight_grad(&Serial, x, dy, Store::Overwrite, &mut scratch, &mut written).unwrap();
    sum.iter_mut().for_each(|s| *s -= 0.5);
    assert_gradient_close("d_w, written", &written, &sum, 1e-6);
}

#[test]
fn a_kernel_of_the_images_size_is_a_dense_layer_to_the_bit() {
    let (conv, dense) = (map(&plain([7, 6, 8], 10, [7, 6])), DenseMap::new("dense", 336, 10).unwrap());
    let (x, w, b, dy) = (numbers(1, 20 * 336), numbers(2, 3360), numbers(3, 10), numbers(4, 200));
    let (of_conv, of_dense) = (all_of(&conv, &x, &w, &b, &dy), all_of(&dense, &x, &w, &b, &dy));
    assert_eq!(of_conv.map(|v| bits(&v)), of_dense.map(|v| bits(&v)));
}

#[test]
fn a_kernel_of_one_pixel_is_a_dense_layer_per_pixel_to_the_bit() {
    let (conv, dense) = (map(&plain([5, 4, 6], 9, [1, 1])), DenseMap::new("dense", 6, 9).unwrap());
    let (x, w, b, dy) = (numbers(1, 3 * 120), numbers(2, 54), numbers(3, 9), numbers(4, 3 * 180));
    let (of_conv, of_dense) = (all_of(&conv, &x, &w, &b, &dy), all_of(&dense, &x, &w, &b, &dy));
    assert_eq!(of_conv.map(|v| bits(&v)), of_dense.map(|v| bits(&v)));
}

/// Geometries that differ in every setting.
fn varied() -> [OracleConv; 3] {
    [
        OracleConv { stride: [2, 1], padding: [1, 0], ..plain([4, 3, 2], 2, [3, 2]) },
        OracleConv { groups: 2, ..plain([3, 4, 2], 4, [2, 2]) },
        OracleConv { dilation: [1, 2], padding: [0, 1], ..plain([1, 6, 1], 2, [1, 3]) },
    ]
}

#[test]
fn gradients_match_the_oracle_for_every_geometry_activation_and_estimator() {
    let layers: [fn(OracleConv) -> Spec; 3] =
        [VariationalConv, SparseConv, |conv| IndependentConv(conv, Grain::Unit)];
    for (conv, layer) in varied().into_iter().flat_map(|conv| layers.map(|layer| (conv, layer))) {
        let (inputs, outputs) = (conv.image.iter().product(), conv.out_dim());
        for activation in [Activation::Relu, Activation::Tanh] {
            let specs = [
                Drop(inputs, 0.2),
                layer(conv),
                Act(activation, outputs),
                Drop(outputs, 0.3),
                Variational(outputs, 2),
            ];
            for (pass, pass_of) in PASSES {
                check_gradients(&format!("{:?}, {activation:?}, {pass}", specs[1]), &specs, pass_of);
            }
        }
    }
}

#[test]
fn gradients_match_the_oracle_through_two_convolutions() {
    let first = plain([4, 4, 1], 3, [2, 2]);
    let second = OracleConv { padding: [1, 1], stride: [2, 2], ..plain([3, 3, 3], 2, [3, 3]) };
    let specs = [
        VariationalConv(first),
        Act(Activation::Silu, first.out_dim()),
        VariationalConv(second),
        Act(Activation::Gelu, second.out_dim()),
        Variational(second.out_dim(), 2),
    ];
    for (pass, pass_of) in PASSES {
        check_gradients(pass, &specs, pass_of);
    }
}

/// One convolution of two rows of a `[1, 3, 1]` image with two filters of `[1, 2]`: two positions that share a pixel.
struct Pair {
    plan: Plan,
    params: Vec<f32>,
    x: Vec<f32>,
    /// Means of the weights `[pixel, filter]`, then of the biases, and their variances.
    mu: Vec<f64>,
    variance: Vec<f64>,
}

impl Pair {
    fn new(spec: Spec) -> Self {
        let plan = plan(&[spec]);
        let params = params(&plan);
        let p = to_f64(&params);
        let of_rho = |rho: &f64| softplus(*rho).powi(2);
        let (variance, bias): (Vec<f64>, _) = match spec {
            VariationalConv(_) => (p[4..8].iter().chain(&p[10..]).map(of_rho).collect(), &p[8..10]),
            SparseConv(_) => (p[4..8].iter().map(|raw| raw.exp()).chain([0.0; 2]).collect(), &p[8..]),
            IndependentConv(_, grain) => {
                let n = alphas(grain, 4, 2);
                let of_weight = |i: usize| p[i].powi(2) * sigmoid(p[4 + i % n]);
                ((0..4).map(of_weight).chain([0.0; 2]).collect(), &p[4 + n..])
            }
            _ => unreachable!("{spec:?} draws no filters"),
        };
        let mu = [&p[..4], bias].concat();
        Self { plan, params, x: vec![0.5, -1.2, 2.0, 1.0, -0.8, 0.7], mu, variance }
    }

    /// Pixel `l` of the patch of row b at position q.
    fn patch(&self, [b, q]: [usize; 2], l: usize) -> f64 {
        f64::from(self.x[3 * b + q + l])
    }

    fn mean(&self, at: [usize; 2], o: usize) -> f64 {
        (0..2).map(|l| self.patch(at, l) * self.mu[2 * l + o]).sum::<f64>() + self.mu[4 + o]
    }

    /// Of two places, each row and position, if the weights are drawn once for both.
    fn cov(&self, q: [usize; 2], r: [usize; 2], o: usize) -> f64 {
        let of_weight = |l: usize| self.patch(q, l) * self.patch(r, l) * self.variance[2 * l + o];
        (0..2).map(of_weight).sum::<f64>() + self.variance[4 + o]
    }

    /// Mean square of the covariance of two rows given Flipout's signs; the image has one channel, hence one sign.
    fn signed_cov2(&self, q: [usize; 2], r: [usize; 2], o: usize) -> f64 {
        let of_bias = self.variance[4 + o];
        (self.cov(q, r, o) - of_bias).powi(2) + of_bias.powi(2)
    }

    /// Draws of the output of each place and channel, from `passes` passes.
    fn samples(
        &self,
        scope: Scope,
        estimator: Estimator,
        passes: u64,
    ) -> impl Fn([usize; 2], usize) -> Vec<f64> {
        let noise = Noise::new(23, Purpose::Predict);
        let draws: Vec<Vec<f32>> = (0..passes)
            .map(|index| {
                predict(&self.plan, &self.params, &self.x, &Pass::predict(&noise, index, scope, estimator))
            })
            .collect();
        move |[b, q], o| draws.iter().map(|y| f64::from(y[4 * b + 2 * q + o])).collect()
    }
}

// 20 000 passes; 5 SE, 5.7e-7 for each of the 325 claims. Rows of Flipout are normal given their signs.
#[test]
fn outputs_have_the_closed_moments_and_positions_vary_together_only_under_a_draw_of_the_weights() {
    let conv = plain([1, 3, 1], 2, [1, 2]);
    let independent = [Grain::Layer, Grain::Unit, Grain::Weight].map(|grain| IndependentConv(conv, grain));
    for spec in [VariationalConv(conv), SparseConv(conv)].into_iter().chain(independent) {
        check_moments(spec);
    }
}

fn check_moments(spec: Spec) {
    let net = Pair::new(spec);
    let places = [[0, 0], [0, 1], [1, 0], [1, 1]];
    type Shared = fn([usize; 2], [usize; 2]) -> bool;
    let draws: [(_, _, _, Shared); 4] = [
        ("pass", Scope::Pass, Estimator::Local, |_, _| true),
        ("sampling", Scope::Row, Estimator::Sampling, |_, _| true),
        ("local", Scope::Row, Estimator::Local, |_, _| false),
        ("flipout", Scope::Row, Estimator::Flipout, |q, r| q[0] == r[0]),
    ];
    for (name, scope, estimator, shared) in draws {
        let name = &format!("{spec:?}, {name}");
        let y = net.samples(scope, estimator, 20_000);
        for o in 0..2 {
            for (i, &q) in places.iter().enumerate() {
                MomentCheck::mean(name, &y(q, o), net.mean(q, o), net.cov(q, q, o)).assert();
                MomentCheck::normal_variance(name, &y(q, o), net.cov(q, q, o)).assert();
                for &r in &places[..i] {
                    let cov = net.cov(q, r, o);
                    let expected = if shared(q, r) { cov } else { 0.0 };
                    let (v, w) = (net.cov(q, q, o), net.cov(r, r, o));
                    let mut both = MomentCheck::normal_covariance(name, &y(q, o), &y(r, o), expected, v, w);
                    if estimator == Estimator::Flipout && q[0] != r[0] {
                        both.std_error =
                            both.std_error.hypot((2.0 * net.signed_cov2(q, r, o) / 19_999.0).sqrt());
                    }
                    both.assert();
                    let tells = 10.0 * both.std_error;
                    assert!(
                        cov.abs() > tells,
                        "{name}: a covariance of {cov} is too small to tell by {tells}"
                    );
                }
            }
        }
        // Filters have weights of their own.
        let (q, r) = (places[0], places[1]);
        MomentCheck::normal_covariance(name, &y(q, 0), &y(r, 1), 0.0, net.cov(q, q, 0), net.cov(r, r, 1))
            .assert();
    }
}

#[test]
fn what_does_not_fit_is_refused_with_the_layer_and_both_shapes() {
    let image = Image::new(4, 4, 3);
    let of = |channels, window, groups| {
        let filters = Filters::new(channels, window).groups(groups);
        VariationalConv2d::new(image, filters, Prior::StdDev(1.0)).unwrap_err().to_string()
    };
    assert_eq!(
        of(8, Window::new([5, 3]), 1),
        "variational-conv2d: kernel must be within an input of [4, 4, 3] padded by [0, 0], got [5, 3] dilated by [1, 1]"
    );
    assert_eq!(
        of(8, Window::new([3, 3]), 2),
        "variational-conv2d: groups must be a divisor of 3 input and 8 output channels, got 2"
    );
    assert_eq!(
        of(8, Window::new([3, 3]), 0),
        "variational-conv2d: groups must be a divisor of 3 input and 8 output channels, got 0"
    );
    assert_eq!(
        of(8, Window::new([3, 3]).stride([0, 1]), 1),
        "variational-conv2d: stride must be at least [1, 1], got [0, 1]"
    );
    assert_eq!(
        of(0, Window::new([3, 3]), 1),
        "variational-conv2d: output must be of 1 to 16777216 elements, got [2, 2, 0]"
    );
    let e = Conv2d::new(image, Filters::new(1 << 22, Window::new([4, 4]).padding([1 << 10, 0]))).unwrap_err();
    assert_eq!(e.to_string(), "conv2d: output must be of 1 to 16777216 elements, got [2049, 1, 4194304]");
}
