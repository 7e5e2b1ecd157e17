//! Scalar `f32` mathematics without branches and without the platform's libm.
//!
//! Each function is a polynomial in plain multiplications and additions, so that the compiler can
//! vectorize a loop around it and every machine gives the same bits. NaN goes in, NaN comes out.
//! The coefficients are weighted least-squares fits at Chebyshev nodes, rounded to `f32` one after
//! another with the rest fitted again. Errors are in units in the last place (ulp) of the exact result,
//! measured over a dense sweep by this crate's tests.
//!
//! ```
//! use bdl_tensor::math;
//! assert_eq!(math::softplus(0.0), 0.693_147_2); // ln 2
//! assert_eq!(math::ln_softplus(-1e4), -1e4);
//! assert_eq!(math::exp(f32::NEG_INFINITY), 0.0);
//! ```

mod activation;
mod log_uniform;
mod normal;

pub use activation::{ln_softplus, sigmoid, silu, silu_grad, softplus, tanh};
pub use log_uniform::{dropout_kl, dropout_kl_slope, log_alpha, log_uniform_kl, log_uniform_kl_slope};
pub use normal::{erf, gelu, gelu_grad, norm_cdf};

/// 1.5·2²³: adding and subtracting it rounds to the nearest integer, which is then in the low bits.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts; the first has 10 bits, so that its product with an exponent is exact.
const LN2_HI: f32 = 0.693_359_4;
const LN2_LO: f32 = -2.121_944_4e-4;
const SQRT_HALF_BITS: u32 = 0x3f35_04f3;
/// `(e^r − 1 − r)/r²` for `|r| ≤ ln(2)/2`, to 4e-9.
const EXP: [f32; 5] = [0.499_999_88, 0.166_665_12, 0.041_669_6, 0.008_369_655, 0.001_375_159_4];
/// `(ln(1+f) − f + f²/2)/f³` for `1 + f` in `[√½, √2)`, to 9e-10.
const LN: [f32; 9] = [
    0.333_333_1,
    -0.250_000_15,
    0.200_022_27,
    -0.166_677_27,
    0.142_175_63,
    -0.124_097_47,
    0.119_054_13,
    -0.116_551_46,
    0.066_841_56,
];
/// `sin(2πr)/r` in r² for `|r| ≤ 1/8`, to 3e-8.
const SIN: [f32; 4] = [6.283_185_5, -41.341_76, 81.604_62, -75.838_005];
/// `(cos(2πr) − 1)/r²` in r² for `|r| ≤ 1/8`, to 5e-10.
const COS: [f32; 4] = [-19.739_208, 64.939_18, -85.429_5, 58.814_774];

/// `c[0] + c[1]·x + c[2]·x² + …` by Horner's rule.
#[inline(always)]
fn poly<const N: usize>(x: f32, c: [f32; N]) -> f32 {
    let mut s = c[N - 1];
    for i in (0..N - 1).rev() {
        s = s * x + c[i];
    }
    s
}

/// `x` within `[lo, hi]`; NaN stays.
#[inline(always)]
fn clamp(x: f32, lo: f32, hi: f32) -> f32 {
    let x = if x < lo { lo } else { x };
    if x > hi { hi } else { x }
}

/// 2ⁿ for −126 ≤ n ≤ 127.
#[inline(always)]
fn pow2(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `e^{x + tail}` for a small `tail`, which carries what rounding took from `x`.
#[inline(always)]
fn exp_with_tail(x: f32, tail: f32) -> f32 {
    let x = clamp(x, -104.0, 89.0); // e^x is 0 below, infinite above
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = x - n * LN2_HI - n * LN2_LO + tail; // |r| ≤ ln(2)/2
    let q = poly(r, EXP);
    let y = 1.0 + (r + r * r * q);
    let n = rounded.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    // In two factors, since the power itself may lie outside the normal numbers.
    y * pow2(n >> 1) * pow2(n - (n >> 1))
}

/// `e^x`. Error ≤ 1 ulp.
///
/// `x = n·ln 2 + r`, then `e^x = 2ⁿ·(1 + r + r²·q(r))`. Infinite from 88.73 on, 0 below −103.97,
/// subnormal between −103.97 and −87.34.
#[inline(always)]
#[must_use]
pub fn exp(x: f32) -> f32 {
    exp_with_tail(x, 0.0)
}

/// `ln(1 + f) + e·ln 2` for `1 + f` in `[√½, √2)`.
#[inline(always)]
fn ln_parts(f: f32, e: f32) -> f32 {
    let z = f * f;
    let y = f * z * poly(f, LN) + e * LN2_LO - 0.5 * z;
    (f + y) + e * LN2_HI
}

/// What `y = ln(x)` is at the edges: −∞ at 0, NaN below, +∞ at +∞.
#[inline(always)]
fn ln_edges(x: f32, y: f32) -> f32 {
    let y = if x == f32::INFINITY { x } else { y };
    let below = if x == 0.0 { f32::NEG_INFINITY } else { f32::NAN };
    if x > 0.0 { y } else { below }
}

/// `ln x`, in nats. Error ≤ 1 ulp.
///
/// `x = 2ᵉ·(1 + f)`, then `ln x = f − f²/2 + f³·p(f) + e·ln 2`. −∞ at 0, NaN below 0.
#[inline(always)]
#[must_use]
pub fn ln(x: f32) -> f32 {
    let subnormal = x < f32::MIN_POSITIVE;
    let (scaled, shift) = if subnormal { (x * 8_388_608.0, 23.0) } else { (x, 0.0) };
    let bits = scaled.to_bits().wrapping_sub(SQRT_HALF_BITS);
    let e = ((bits as i32) >> 23) as f32 - shift;
    let m = f32::from_bits((bits & 0x007f_ffff).wrapping_add(SQRT_HALF_BITS));
    ln_edges(x, ln_parts(m - 1.0, e))
}

/// `ln(1 + x)`, accurate near 0. Error ≤ 2 ulp. −∞ at −1, NaN below.
///
/// What rounding took from `1 + x` is added to the mantissa: `f = m − 1 + 2⁻ᵉ·(x − (u − 1))`.
#[inline(always)]
#[must_use]
pub fn ln_1p(x: f32) -> f32 {
    let u = 1.0 + x;
    let kept = u - 1.0;
    let lost = (1.0 - (u - kept)) + (x - kept); // 1 + x = u + lost exactly
    let bits = u.to_bits().wrapping_sub(SQRT_HALF_BITS);
    let e = (bits as i32) >> 23;
    let m = f32::from_bits((bits & 0x007f_ffff).wrapping_add(SQRT_HALF_BITS));
    let f = (m - 1.0) + lost * pow2(-e.min(64));
    ln_edges(u, ln_parts(f, e as f32))
}

/// `(sin 2πu, cos 2πu)` for u in `[0, 1]`. Absolute error ≤ 7e-8; in the first quarter ≤ 2 ulp.
///
/// `u = q/4 + r` with an exact `|r| ≤ 1/8`; polynomials in r² give sine and cosine of `2πr`, and the
/// quarter q says which is which and with what sign.
#[inline(always)]
#[must_use]
pub fn sin_cos_2pi(u: f32) -> (f32, f32) {
    let rounded = 4.0 * u + ROUND;
    let q = rounded.to_bits();
    let r = u - 0.25 * (rounded - ROUND);
    let z = r * r;
    let (s, c) = (r * poly(z, SIN), 1.0 + z * poly(z, COS));
    let (sin, cos) = if q & 1 == 0 { (s, c) } else { (c, s) };
    let sin_sign = (q & 2) << 30;
    let cos_sign = (q.wrapping_add(1) & 2) << 30;
    (f32::from_bits(sin.to_bits() ^ sin_sign), f32::from_bits(cos.to_bits() ^ cos_sign))
}
