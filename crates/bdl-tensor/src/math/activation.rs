//! Softplus, sigmoid, tanh and SiLU.

use super::{clamp, exp, ln, poly};

/// `(tanh x − x)/x³` in x² for `|x| ≤ 0.625`, to 5e-9.
const TANH: [f32; 5] = [-0.333_332_8, 0.133_314_12, -0.053_737_402, 0.020_632_116, -0.005_697_722_5];
/// `ln(ln(1+t)/t)/t` for t in `[0, 1]`, to 3e-10 of `ln ln(1+t)`.
const LN_SOFTPLUS: [f32; 10] = [
    -0.499_999_88,
    0.208_328_78,
    -0.124_934_03,
    0.086_647_86,
    -0.063_623_33,
    0.045_412_663,
    -0.028_217_483,
    0.013_379_751,
    -0.004_098_065_7,
    0.000_590_814_9,
];

/// `(ln(1+t) − t)/t²` for t in `[0, 1]`, to 1e-9 of `ln(1+t)`.
const LN_1P: [f32; 10] = [
    -0.499_999_85,
    0.333_326_1,
    -0.249_875_49,
    0.198_912_78,
    -0.161_047_65,
    0.124_119_24,
    -0.082_306_24,
    0.041_335_396,
    -0.013_330_349,
    0.002_013_235_8,
];

/// `ln(1 + t)` for t in `[0, 1]`: without an exponent to split off.
#[inline(always)]
fn ln_1p_unit(t: f32) -> f32 {
    t + t * t * poly(t, LN_1P)
}

/// `softplus(x) = ln(1 + e^x) = max(x, 0) + ln_1p(e^{−|x|})`. Error ≤ 2.5 ulp.
///
/// Tends to `e^x` at −∞ and to `x` at +∞.
#[inline(always)]
#[must_use]
pub fn softplus(x: f32) -> f32 {
    let positive = if x > 0.0 { x } else { 0.0 };
    positive + ln_1p_unit(exp(-x.abs()))
}

/// `ln softplus(x)`, finite for every finite x. Error ≤ 2.5 ulp below 0 and 3 ulp above 1; between, where
/// it passes through 0 at `x = ln(e − 1)`, ≤ 2.5e-7 absolute.
///
/// ```text
/// x ≤ 0:  x + ln(ln_1p(t)/t),  t = e^x, by a polynomial in t   → x at −∞
/// x > 0:  ln(softplus(x))                                      → ln x at +∞
/// ```
#[inline(always)]
#[must_use]
pub fn ln_softplus(x: f32) -> f32 {
    let t = exp(-x.abs());
    let below = x + t * poly(t, LN_SOFTPLUS);
    let above = ln(x + ln_1p_unit(t));
    if x > 0.0 { above } else { below }
}

/// `(sigmoid(x), sigmoid(−x))`, which sum to 1 without either being a difference.
#[inline(always)]
fn sigmoids(x: f32) -> (f32, f32) {
    let t = exp(-x.abs());
    let (up, down) = if x >= 0.0 { (1.0, t) } else { (t, 1.0) };
    let sum = 1.0 + t;
    (up / sum, down / sum)
}

/// `sigmoid(x) = 1 / (1 + e^{−x})`, the derivative of softplus. Error ≤ 2.5 ulp.
#[inline(always)]
#[must_use]
pub fn sigmoid(x: f32) -> f32 {
    sigmoids(x).0
}

/// `tanh x`. Error ≤ 2 ulp.
///
/// A polynomial for `|x| < 0.625`, else `1 − 2/(e^{2|x|} + 1)` with the sign of x.
#[inline(always)]
#[must_use]
pub fn tanh(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let small = x + x * z * poly(z, TANH);
    let large = 1.0 - 2.0 / (exp(2.0 * a) + 1.0);
    if a < 0.625 { small } else { large.copysign(x) }
}

/// `silu(x) = x·sigmoid(x)`. Error ≤ 3 ulp from −87 on, where sigmoid leaves the normal numbers. Tends to 0
/// at −∞.
#[inline(always)]
#[must_use]
pub fn silu(x: f32) -> f32 {
    let x = if x < -110.0 { -110.0 } else { x }; // −∞·0
    x * sigmoid(x)
}

/// `silu′(x) = sigmoid(x)·(1 + x·sigmoid(−x))`. Absolute error ≤ 3e-7 (it passes through 0 at −1.278).
#[inline(always)]
#[must_use]
pub fn silu_grad(x: f32) -> f32 {
    let x = clamp(x, -110.0, 110.0);
    let (s, rest) = sigmoids(x);
    s * (1.0 + x * rest)
}
