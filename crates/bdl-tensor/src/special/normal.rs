//! The standard normal distribution.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use super::erf::{erfcx, exp_neg_square};

/// `ln √(2π)`.
const LN_SQRT_2PI: f64 = 0.918_938_533_204_672_8;
/// `1/√(2π)`.
const INV_SQRT_2PI: f64 = 0.398_942_280_401_432_7;

/// `ln φ(x) = −x²/2 − ln √(2π)`.
#[must_use]
pub fn ln_norm_pdf(x: f64) -> f64 {
    -0.5 * x * x - LN_SQRT_2PI
}

/// `φ(x) = e^{−x²/2}/√(2π)`.
#[must_use]
pub fn norm_pdf(x: f64) -> f64 {
    if x.is_nan() { x } else { exp_neg_square(x, 0.5) * INV_SQRT_2PI }
}

/// `Φ(x) = erfc(−x/√2)/2`, relatively accurate in the lower tail.
///
/// ```
/// use bdl_tensor::special::norm_cdf;
/// assert!((norm_cdf(1.0) - 0.841_344_746_068_542_9).abs() < 1e-15);
/// assert!((norm_cdf(-30.0) / 4.906_713_927_148_187e-198 - 1.0).abs() < 1e-13);
/// ```
#[must_use]
pub fn norm_cdf(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    let a = x.abs();
    // x/√2 is rounded only inside the slowly varying factor.
    let tail = 0.5 * erfcx(a * FRAC_1_SQRT_2) * exp_neg_square(a, 0.5);
    if x < 0.0 { tail } else { 1.0 - tail }
}

/// `ln Φ(x)`, finite for every finite x: `−x²/2 − ln(−x·√(2π))` far below.
///
/// ```
/// use bdl_tensor::special::ln_norm_cdf;
/// assert!((ln_norm_cdf(-100.0) + 5_005.524_208_694_205).abs() < 1e-9);
/// ```
#[must_use]
pub fn ln_norm_cdf(x: f64) -> f64 {
    if x < -1.0 {
        -0.5 * x * x + (0.5 * erfcx(-x * FRAC_1_SQRT_2)).ln()
    } else if x < 0.0 {
        norm_cdf(x).ln()
    } else {
        (-norm_cdf(-x)).ln_1p()
    }
}

/// `Φ⁻¹(p)`, the quantile. −∞ at 0, +∞ at 1, NaN outside `[0, 1]`.
///
/// A rational start (relative error 1.15e-9), then one step of Halley's method: on Φ in the middle, on
/// ln Φ in the tails, where Φ itself loses the digits that matter.
///
/// ```
/// use bdl_tensor::special::norm_quantile;
/// assert!((norm_quantile(0.975) - 1.959_963_984_540_054).abs() < 1e-15);
/// assert_eq!(norm_quantile(0.5), 0.0);
/// ```
///
/// # References
/// Acklam (2003), An algorithm for computing the inverse normal cumulative distribution function.
#[must_use]
pub fn norm_quantile(p: f64) -> f64 {
    if !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    if p == 0.0 {
        return f64::NEG_INFINITY;
    }
    if p > 0.5 {
        return -norm_quantile(1.0 - p); // 1 − p is exact
    }
    if p < LOW { tail_step(tail_start(p), p) } else { middle_step(middle_start(p), p) }
}

const LOW: f64 = 0.024_25;

fn middle_start(p: f64) -> f64 {
    let q = p - 0.5;
    let r = q * q;
    let num = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    let den = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
        1.0,
    ];
    q * horner(r, &num) / horner(r, &den)
}

fn tail_start(p: f64) -> f64 {
    let q = (-2.0 * p.ln()).sqrt();
    let num = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    let den = [
        7.784_695_709_041_462e-3,
        3.224_671_290_700_398e-1,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
        1.0,
    ];
    horner(q, &num) / horner(q, &den)
}

/// The first coefficient belongs to the highest power.
fn horner(x: f64, c: &[f64]) -> f64 {
    c.iter().fold(0.0, |s, &c| s * x + c)
}

/// Halley on `Φ(x) − p`: `f″/f′ = −x`.
fn middle_step(x: f64, p: f64) -> f64 {
    // erf(x/√2)/2 = Φ(x) − ½ keeps its digits near the median.
    let error = 0.5 * super::erf(x * FRAC_1_SQRT_2) - (p - 0.5);
    let u = error / norm_pdf(x);
    x - u / (1.0 + 0.5 * x * u)
}

/// Halley on `ln Φ(x) − ln p`: `f′ = φ/Φ = 1/m` and `f″/f′ = −(x + 1/m)`, m Mills' ratio.
fn tail_step(x: f64, p: f64) -> f64 {
    let mills = (PI / 2.0).sqrt() * erfcx(-x * FRAC_1_SQRT_2);
    let u = mills * (ln_norm_cdf(x) - p.ln());
    x - u / (1.0 + 0.5 * (x + 1.0 / mills) * u)
}
