//! The stated errors of `math`, measured over dense sweeps against `f64`.

#![allow(clippy::print_stderr)] // the measured errors are worth reading

use bdl_tensor::{math, special};

/// The largest error over a sweep, in ulp of the exact result and absolute.
struct Worst {
    ulp: (f64, f32),
    abs: (f64, f32),
}

/// Distance between neighbouring `f32` at `y`.
fn ulp(y: f64) -> f64 {
    let exponent = y.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor();
    2f64.powi(exponent as i32 - 23)
}

/// Every `step`-th float from `lo` to `hi` in the order of their bits, zero crossed.
fn sweep(lo: f32, hi: f32, step: usize) -> impl Iterator<Item = f32> {
    let key = |x: f32| if x < 0.0 { -i64::from(x.abs().to_bits()) } else { i64::from(x.to_bits()) };
    let back = |k: i64| f32::from_bits(k.unsigned_abs() as u32).copysign(if k < 0 { -1.0 } else { 1.0 });
    (key(lo)..=key(hi)).step_by(step).map(back)
}

fn worst(name: &str, lo: f32, hi: f32, fast: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> Worst {
    let mut w = Worst { ulp: (0.0, 0.0), abs: (0.0, 0.0) };
    for x in sweep(lo, hi, 1_009) {
        let (got, want) = (f64::from(fast(x)), exact(f64::from(x)));
        let abs = (got - want).abs();
        let in_ulp = abs / ulp(want);
        assert!(!in_ulp.is_nan(), "{name}({x}) = {got}, not {want}");
        if in_ulp > w.ulp.0 {
            w.ulp = (in_ulp, x);
        }
        if abs > w.abs.0 {
            w.abs = (abs, x);
        }
    }
    let ((ulps, at), (abs, abs_at)) = (w.ulp, w.abs);
    eprintln!("{name:<12} {lo:>10e} … {hi:<12e} {ulps:.2} ulp at {at:e}, {abs:.1e} at {abs_at:e}");
    w
}

fn assert_ulp(
    bound: f64,
    name: &str,
    range: (f32, f32),
    fast: impl Fn(f32) -> f32,
    exact: impl Fn(f64) -> f64,
) {
    let w = worst(name, range.0, range.1, fast, exact);
    assert!(w.ulp.0 <= bound, "{name}: {} ulp at {:e}, stated {bound}", w.ulp.0, w.ulp.1);
}

fn assert_abs(
    bound: f64,
    name: &str,
    range: (f32, f32),
    fast: impl Fn(f32) -> f32,
    exact: impl Fn(f64) -> f64,
) {
    let w = worst(name, range.0, range.1, fast, exact);
    assert!(w.abs.0 <= bound, "{name}: {:e} at {:e}, stated {bound:e}", w.abs.0, w.abs.1);
}

#[test]
fn exp_and_ln_keep_their_stated_errors() {
    assert_ulp(1.0, "exp", (-103.0, 88.72), math::exp, f64::exp);
    assert_ulp(1.0, "ln", (1e-45, f32::MAX), math::ln, f64::ln);
    assert_ulp(2.0, "ln_1p", (-0.999_999_9, f32::MAX), math::ln_1p, f64::ln_1p);
}

#[test]
fn softplus_and_its_logarithm_keep_their_stated_errors() {
    assert_ulp(2.5, "softplus", (-103.0, 1e4), math::softplus, special::softplus);
    assert_ulp(2.5, "ln_softplus", (-1e4, 0.0), math::ln_softplus, special::ln_softplus);
    assert_ulp(3.0, "ln_softplus", (1.0, 1e4), math::ln_softplus, special::ln_softplus);
    assert_abs(2.5e-7, "ln_softplus", (0.0, 1.0), math::ln_softplus, special::ln_softplus);
}

#[test]
fn sigmoid_and_tanh_keep_their_stated_errors() {
    assert_ulp(2.5, "sigmoid", (-103.0, 103.0), math::sigmoid, special::sigmoid);
    assert_ulp(2.0, "tanh", (-20.0, 20.0), math::tanh, f64::tanh);
    assert_ulp(3.0, "silu", (-87.0, 1e4), math::silu, |x| x * special::sigmoid(x));
    let grad = |x: f64| special::sigmoid(x) * (1.0 + x * special::sigmoid(-x));
    assert_abs(3e-7, "silu_grad", (-100.0, 100.0), math::silu_grad, grad);
}

#[test]
fn the_normal_family_keeps_its_stated_errors() {
    assert_ulp(2.0, "erf", (-5.0, 5.0), math::erf, special::erf);
    assert_ulp(3.5, "norm_cdf", (-14.0, 10.0), math::norm_cdf, special::norm_cdf);
    assert_ulp(4.0, "gelu", (-12.9, 1e4), math::gelu, |x| x * special::norm_cdf(x));
    let grad = |x: f64| special::norm_cdf(x) + x * special::norm_pdf(x);
    assert_abs(3e-7, "gelu_grad", (-15.0, 15.0), math::gelu_grad, grad);
}

#[test]
fn the_kl_from_the_log_uniform_prior_keeps_its_stated_errors() {
    let (k1, k2, k3) = (f64::from(0.635_76_f32), f64::from(1.873_2_f32), f64::from(1.486_95_f32));
    let kl = |a: f64| k1 * special::sigmoid(-(k2 + k3 * a)) + 0.5 * (-a).exp().ln_1p();
    let slope = |a: f64| {
        let s = special::sigmoid(k2 + k3 * a);
        -(k1 * k3 * s * (1.0 - s) + 0.5 * special::sigmoid(-a))
    };
    assert_ulp(3.0, "log_uniform_kl", (-100.0, 8.0), math::log_uniform_kl, kl);
    assert_ulp(3.0, "… slope", (-100.0, 8.0), math::log_uniform_kl_slope, slope);
    let [c1, c2, c3, c0] = [1.161_451_2_f32, -1.502_041_2, 0.586_299_2, 0.655_35].map(f64::from);
    let dropout_kl = |x: f64| {
        let a = special::sigmoid(x);
        c0 + 0.5 * special::softplus(-x) - c1 * a - c2 * a * a - c3 * a * a * a
    };
    let slope = |x: f64| {
        let a = special::sigmoid(x);
        -(0.5 + c1 * a + 2.0 * c2 * a * a + 3.0 * c3 * a * a * a) * special::sigmoid(-x)
    };
    assert_ulp(4.0, "dropout_kl", (-100.0, 100.0), math::dropout_kl, dropout_kl);
    assert_ulp(8.0, "… slope", (-100.0, 80.0), math::dropout_kl_slope, slope);
}

#[test]
fn sine_and_cosine_keep_their_stated_errors() {
    let turn = |u: f64| std::f64::consts::TAU * u;
    assert_ulp(2.0, "sin_2pi", (0.0, 0.25), |u| math::sin_cos_2pi(u).0, |u| turn(u).sin());
    assert_ulp(2.0, "cos_2pi", (0.0, 0.249_999), |u| math::sin_cos_2pi(u).1, |u| turn(u).cos());
    assert_abs(7e-8, "sin_2pi", (0.0, 1.0), |u| math::sin_cos_2pi(u).0, |u| turn(u).sin());
    assert_abs(7e-8, "cos_2pi", (0.0, 1.0), |u| math::sin_cos_2pi(u).1, |u| turn(u).cos());
}

#[test]
fn the_edges_are_those_of_the_formulas() {
    let inf = f32::INFINITY;
    assert_eq!([math::exp(89.0), math::exp(inf), math::exp(-104.0), math::exp(-inf)], [inf, inf, 0.0, 0.0]);
    assert_eq!([math::exp(0.0), math::ln(1.0), math::ln_1p(0.0), math::erf(0.0)], [1.0, 0.0, 0.0, 0.0]);
    assert_eq!([math::ln(0.0), math::ln_1p(-1.0), math::ln(inf), math::ln_1p(inf)], [-inf, -inf, inf, inf]);
    assert!(math::ln(-1.0).is_nan() && math::ln(-inf).is_nan() && math::ln_1p(-1.5).is_nan());
    assert_eq!([math::ln_softplus(-1e4), math::softplus(-1e4), math::softplus(1e4)], [-1e4, 0.0, 1e4]);
    assert_eq!(math::ln_softplus(1e4), 1e4f32.ln());
    assert_eq!(
        [math::sigmoid(-inf), math::sigmoid(inf), math::tanh(-inf), math::tanh(inf)],
        [0.0, 1.0, -1.0, 1.0]
    );
    assert_eq!(
        [math::erf(-inf), math::erf(inf), math::norm_cdf(-inf), math::norm_cdf(inf)],
        [-1.0, 1.0, 0.0, 1.0]
    );
    assert_eq!([math::silu(-inf), math::silu(inf), math::gelu(-inf), math::gelu(inf)], [0.0, inf, 0.0, inf]);
    assert_eq!([math::silu_grad(-inf), math::silu_grad(inf)], [0.0, 1.0]);
    assert_eq!([math::gelu_grad(-inf), math::gelu_grad(inf)], [0.0, 1.0]);
    for (u, want) in
        [(0.0, (0.0, 1.0)), (0.25, (1.0, 0.0)), (0.5, (0.0, -1.0)), (0.75, (-1.0, 0.0)), (1.0, (0.0, 1.0))]
    {
        assert_eq!(math::sin_cos_2pi(u), want);
    }
}

#[test]
fn nan_goes_through_every_function() {
    let all = [
        math::exp,
        math::ln,
        math::ln_1p,
        math::softplus,
        math::ln_softplus,
        math::sigmoid,
        math::tanh,
        math::erf,
        math::norm_cdf,
        math::silu,
        math::silu_grad,
        math::gelu,
        math::gelu_grad,
        math::log_uniform_kl,
        math::log_uniform_kl_slope,
        math::dropout_kl,
        math::dropout_kl_slope,
        |mu| math::log_alpha(mu, 0.0),
        |raw| math::log_alpha(1.0, raw),
    ];
    for (i, f) in all.iter().enumerate() {
        assert!(f(f32::NAN).is_nan(), "function {i}");
    }
}
