//! Kernels against naive `f64` code and finite differences.

use crate::common::numbers;
use bdl_tensor::kernels::{self, AdamStep};
use bdl_tensor::{Mat, MatMut, special};
use proptest::prelude::*;

fn map(f: fn(&[f32], &mut [f32]), x: &[f32]) -> Vec<f32> {
    let mut out = vec![f32::NAN; x.len()];
    f(x, &mut out);
    out
}

/// Every activation: forward, backward, whether backward looks at the output, and the `f64` form.
type Case = (fn(&[f32], &mut [f32]), fn(&[f32], &[f32], &mut [f32]), bool, fn(f64) -> f64);

const ACTIVATIONS: [Case; 6] = [
    (kernels::relu, kernels::relu_backward, true, |x| x.max(0.0)),
    (kernels::tanh, kernels::tanh_backward, true, f64::tanh),
    (kernels::sigmoid, kernels::sigmoid_backward, true, special::sigmoid),
    (kernels::softplus, kernels::softplus_backward, false, special::softplus),
    (kernels::silu, kernels::silu_backward, false, |x| x * special::sigmoid(x)),
    (kernels::gelu, kernels::gelu_backward, false, |x| x * special::norm_cdf(x)),
];

#[test]
fn activations_and_their_derivatives_match_central_differences() {
    // Half steps keep away from the kink of relu.
    let x: Vec<f32> = (-40..40).map(|i| (i as f32 + 0.5) / 8.0).collect();
    let dy = numbers(x.len(), 7);
    for (i, (forward, backward, from_y, exact)) in ACTIVATIONS.into_iter().enumerate() {
        let y = map(forward, &x);
        let mut dx = vec![f32::NAN; x.len()];
        backward(if from_y { &y } else { &x }, &dy, &mut dx);
        for ((&x, &dy), (&y, &dx)) in x.iter().zip(&dy).zip(y.iter().zip(&dx)) {
            let (at, h) = (f64::from(x), 1e-5);
            let slope = (exact(at + h) - exact(at - h)) / (2.0 * h);
            assert!((f64::from(y) - exact(at)).abs() < 1e-6, "activation {i} at {x}: {y}");
            assert!((f64::from(dx) - slope * f64::from(dy)).abs() < 1e-6, "derivative {i} at {x}: {dx}");
        }
    }
}

#[test]
fn relu_keeps_nan() {
    assert!(map(kernels::relu, &[f32::NAN])[0].is_nan());
}

#[test]
fn box_muller_gives_the_moments_of_a_normal() {
    // 2²⁰ draws; the bounds are 5 standard errors: false alarms below 1e-6 per moment.
    let n = 1 << 20;
    let mut s = 42u64;
    let words: Vec<u32> = (0..n)
        .map(|_| {
            s = s.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (s >> 32) as u32
        })
        .collect();
    let mut z = vec![f32::NAN; n];
    kernels::box_muller(&words, &mut z);
    let moment = |p: i32| z.iter().map(|&z| f64::from(z).powi(p)).sum::<f64>() / n as f64;
    let se = |variance: f64| 5.0 * (variance / n as f64).sqrt();
    assert!(moment(1).abs() < se(1.0));
    assert!((moment(2) - 1.0).abs() < se(2.0));
    assert!(moment(3).abs() < se(15.0));
    assert!((moment(4) - 3.0).abs() < se(96.0));
    let cross: f64 =
        z.chunks_exact(2).map(|p| f64::from(p[0]) * f64::from(p[1])).sum::<f64>() / (n / 2) as f64;
    assert!(cross.abs() < 5.0 / ((n / 2) as f64).sqrt());
}

#[test]
fn box_muller_is_finite_at_the_ends_of_its_words() {
    let mut z = [f32::NAN; 8];
    kernels::box_muller(&[0, 0, u32::MAX, u32::MAX, 0, u32::MAX, u32::MAX, 0], &mut z);
    assert_eq!(z, [6.763_705_7, 0.0, 0.0, 0.0, 6.763_705_7, 0.0, 0.0, 0.0]);
}

#[test]
fn box_muller_values_are_stable() {
    // A changed bit changes every random result above this crate; a full block and a remainder.
    let words: Vec<u32> =
        (0..140u32).map(|i| i.wrapping_mul(2_654_435_761).rotate_left(7) ^ 0x5bd1_e995).collect();
    let mut z = vec![f32::NAN; 140];
    kernels::box_muller(&words, &mut z);
    let hash = z.iter().fold(0u32, |h, z| (h ^ z.to_bits()).wrapping_mul(16_777_619));
    assert_eq!((z[0], z[1], z[138], z[139], hash), PINNED);
}

const PINNED: (f32, f32, f32, f32, u32) =
    (-0.014_991_283, 1.431_946_5, -0.439_153_88, 0.805_112_24, 2_644_203_832);

#[test]
fn softmax_is_stable_and_sums_to_1() {
    let x = [1e4, 1e4 - 1.0, -1e4, f32::NEG_INFINITY];
    let (mut p, mut ln_p) = ([f64::NAN; 4], [f64::NAN; 4]);
    kernels::softmax(&x, &mut p);
    kernels::log_softmax(&x, &mut ln_p);
    assert!((p[0] - special::sigmoid(1.0)).abs() < 1e-15 && (p[1] - special::sigmoid(-1.0)).abs() < 1e-15);
    assert!((ln_p[0] + special::softplus(-1.0)).abs() < 1e-15);
    assert_eq!((p[3], ln_p[3]), (0.0, f64::NEG_INFINITY));
    kernels::softmax(&[], &mut []);
    for bad in [f32::NAN, f32::INFINITY] {
        kernels::softmax(&[bad, 0.0], &mut p[..2]);
        kernels::log_softmax(&[bad, 0.0], &mut ln_p[..2]);
        assert!(p[..2].iter().chain(&ln_p[..2]).all(|p| p.is_nan()));
    }
}

#[test]
fn the_first_non_finite_element_is_found_anywhere() {
    for n in [1, 127, 128, 129, 1_000] {
        let mut x = vec![f32::MAX; n];
        assert_eq!(kernels::first_non_finite(&x), None);
        for at in (0..n).rev().step_by(7) {
            x[at] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][at % 3];
            assert_eq!(kernels::first_non_finite(&x), Some(at));
        }
    }
}

#[test]
fn column_sums_and_biases_run_over_rows() {
    let mut x = numbers(7 * 5, 1);
    let mut sums = [1.0; 5];
    kernels::col_sums_add(Mat::new(&x, 7, 5).unwrap(), &mut sums);
    for (j, &got) in sums.iter().enumerate() {
        let want: f64 = (0..7).map(|i| f64::from(x[i * 5 + j])).sum();
        assert_eq!(got, (1.0 + want) as f32);
    }
    let before = x.clone();
    kernels::add_bias_rows(&[0.0, 1.0, 2.0, 3.0, 4.0], &mut MatMut::new(&mut x, 7, 5).unwrap());
    for (at, (x, before)) in x.iter().zip(&before).enumerate() {
        assert_eq!(*x, before + (at % 5) as f32);
    }
}

proptest! {
    #[test]
    fn reductions_match_the_naive_sum(n in 0usize..600, seed in 0u64..1_000) {
        let (a, b) = (numbers(n, seed), numbers(n, seed + 1));
        let dot: f64 = a.iter().zip(&b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
        prop_assert!((kernels::dot_f64(&a, &b) - dot).abs() < 1e-12);
        prop_assert_eq!(kernels::dot_f64(&a, &a), kernels::sum_squares_f64(&a));
        prop_assert!((kernels::sum_f64(&a) - a.iter().map(|&a| f64::from(a)).sum::<f64>()).abs() < 1e-12);
    }

    #[test]
    fn elementwise_kernels_round_once_per_operation(n in 0usize..100, seed in 0u64..1_000) {
        let (a, b, e) = (numbers(n, seed), numbers(n, seed + 1), numbers(n, seed + 2));
        let v: Vec<f32> = b.iter().map(|b| b.abs()).collect();
        let mut out = vec![f32::NAN; n];
        kernels::mul_add_into(&a, &b, &e, &mut out);
        prop_assert!((0..n).all(|i| out[i] == a[i] + b[i] * e[i]));
        kernels::sqrt_mul_add(&a, &v, &e, &mut out);
        prop_assert!((0..n).all(|i| out[i] == a[i] + v[i].sqrt() * e[i]));
        kernels::mul(&a, &b, &mut out);
        kernels::axpy(0.5, &e, &mut out);
        kernels::scale(3.0, &mut out);
        prop_assert!((0..n).all(|i| out[i] == (a[i] * b[i] + 0.5 * e[i]) * 3.0));
        kernels::add(&a, &b, &mut out);
        prop_assert!((0..n).all(|i| out[i] == a[i] + b[i]));
        kernels::square(&a, &mut out);
        prop_assert!((0..n).all(|i| out[i] == a[i] * a[i]));
    }

    #[test]
    fn adam_follows_its_formula(g in -10.0f32..10.0, w in -5.0f32..5.0, m in -1.0f32..1.0, v in 0.0f32..1.0, t in 1i32..50) {
        let (b1, b2) = (0.9f64, 0.999f64);
        let step = AdamStep {
            lr: 0.01, beta1: 0.9, beta2: 0.999, floor: 1e-8, weight_decay: 0.1,
            bias1: (1.0 - b1.powi(t)) as f32, bias2: (1.0 - b2.powi(t)) as f32,
        };
        let (mut ws, mut ms, mut vs) = ([w], [m], [v]);
        kernels::adam(&step, &mut ws, &[g], &mut ms, &mut vs);
        let [g, w, m, v] = [g, w, m, v].map(f64::from);
        let (m, v) = (b1 * m + (1.0 - b1) * g, b2 * v + (1.0 - b2) * g * g);
        let move_by = (m / (1.0 - b1.powi(t))) / ((v / (1.0 - b2.powi(t))).sqrt() + 1e-8) + 0.1 * w;
        let want = w - 0.01 * move_by;
        prop_assert!((f64::from(ms[0]) - m).abs() < 2e-6 && (f64::from(vs[0]) - v).abs() < 2e-5);
        prop_assert!((f64::from(ws[0]) - want).abs() < 1e-4 * (1.0 + move_by.abs()) * 0.1, "{} {want}", ws[0]);
    }
}
