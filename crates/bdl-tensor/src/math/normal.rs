//! The error function, the normal distribution function and GELU.

use super::{clamp, exp, exp_with_tail, poly};

/// `(erf(t) − t)/t` in t² for `t ≤ 0.921875`, to 2e-8.
const ERF_SMALL: [f32; 6] =
    [0.128_379_15, -0.376_124_95, 0.112_818_14, -0.026_766_373, 0.004_992_744_4, -0.000_598_850_3];
/// `1 + ln(1 − erf(t))/t` for `0.9 ≤ t ≤ 4`, to 1e-9 of erf.
const ERF_LARGE: [f32; 7] = [
    -0.128_643_94,
    -0.635_168_2,
    -0.106_211_76,
    0.023_742_97,
    -0.003_634_685_4,
    0.000_321_209_3,
    -1.110_419_7e-5,
];
/// `e^{a²/2}·Φ(−a)·(a + 2)` in `(a − 2)/(a + 2)` for `0 ≤ a ≤ 14.5`, to 3e-8.
const TAIL: [f32; 11] = [
    0.672_408,
    -0.331_404_54,
    0.028_798_636,
    0.036_721_047,
    -4.850_756e-4,
    -0.006_748_555,
    -0.001_884_555_8,
    8.780_454e-4,
    7.150_951e-4,
    3.499_015_3e-5,
    -7.111_292e-5,
];
/// `1/√(2π)`.
const INV_SQRT_2PI: f32 = 0.398_942_3;

/// `erf(x) = 2/√π ∫₀ˣ e^{−t²} dt`. Error ≤ 2 ulp.
///
/// A polynomial for `|x| < 0.92`, else `1 − e^{p(|x|)}` with the sign of x.
#[inline(always)]
#[must_use]
pub fn erf(x: f32) -> f32 {
    let t = clamp(x.abs(), 0.0, 4.0); // erf(4) rounds to 1
    let small = x + x * poly(x * x, ERF_SMALL);
    let large = 1.0 - exp(t * poly(t, ERF_LARGE) - t);
    if t < 0.92 { small } else { large.copysign(x) }
}

/// `(Φ(−a), e^{−a²/2})` for `0 ≤ a ≤ 15`, to some 3 ulp far into the tail.
///
/// a² is split into an exact part and the rest, since an error in the exponent would be magnified.
#[inline(always)]
fn upper_tail(a: f32) -> (f32, f32) {
    let head = f32::from_bits(a.to_bits() & 0xffff_f000); // 12 bits: the square is exact
    let e = exp_with_tail(-0.5 * head * head, -0.5 * (a - head) * (a + head));
    let sum = a + 2.0;
    (e * poly((a - 2.0) / sum, TAIL) / sum, e)
}

/// `(Φ(x), φ(x))` for `−15 ≤ x ≤ 15`.
#[inline(always)]
fn cdf_and_pdf(x: f32) -> (f32, f32) {
    let (tail, e) = upper_tail(x.abs());
    let outer = if x < 0.0 { tail } else { 1.0 - tail };
    let t = std::f32::consts::FRAC_1_SQRT_2 * x;
    let inner = 0.5 + 0.5 * (t + t * poly(0.5 * x * x, ERF_SMALL));
    (if x.abs() < 0.75 { inner } else { outer }, e * INV_SQRT_2PI)
}

/// `Φ(x)`, the standard normal distribution function. Error ≤ 3.5 ulp, in the lower tail too.
///
/// `½ + erf(x/√2)/2` for `|x| < 0.75`, else the tail and its complement.
#[inline(always)]
#[must_use]
pub fn norm_cdf(x: f32) -> f32 {
    cdf_and_pdf(clamp(x, -15.0, 15.0)).0
}

/// `gelu(x) = x·Φ(x) = x·(1 + erf(x/√2))/2`, exact, not the tanh form. Error ≤ 4 ulp from −12.9 on,
/// where Φ leaves the normal numbers. Tends to 0 at −∞.
///
/// # References
/// Hendrycks, Gimpel (2016), Gaussian Error Linear Units.
#[inline(always)]
#[must_use]
pub fn gelu(x: f32) -> f32 {
    let within = clamp(x, -15.0, 15.0);
    let x = if x < -15.0 { -15.0 } else { x }; // −∞·0
    x * cdf_and_pdf(within).0
}

/// `gelu′(x) = Φ(x) + x·φ(x)`. Absolute error ≤ 3e-7 (it passes through 0 at −0.752).
#[inline(always)]
#[must_use]
pub fn gelu_grad(x: f32) -> f32 {
    let x = clamp(x, -15.0, 15.0);
    let (cdf, pdf) = cdf_and_pdf(x);
    cdf + x * pdf
}
