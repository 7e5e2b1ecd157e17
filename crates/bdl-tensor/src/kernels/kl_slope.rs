//! The gradient of the KL divergence of normals from a normal, without the divergence itself: one exponential
//! and no logarithm.
//!
//! The arithmetic is `f64`, in plain multiplications and additions as in [`crate::math`].

use super::same_len;
use crate::dispatch::dispatched;

/// Weights that go through each stage together: a stage is short enough for the processor to work on several
/// vectors at once, where the whole chain for one would make it wait for each result.
const BLOCK: usize = 64;

/// 1.5·2⁵²: adding and subtracting it rounds to the nearest integer, which is then in the low bits.
const ROUND: f64 = 6_755_399_441_055_744.0;
/// ln 2 in two parts; the first has 32 bits, so that its product with an exponent is exact.
const LN2_HI: f64 = 0.693_147_180_369_123_8;
const LN2_LO: f64 = 1.908_214_929_270_587_7e-10;
/// `e^t` is 0 below, up to rounding.
const LEAST: f64 = -708.0;

/// `(e^r − 1 − r)/r²` for `|r| ≤ ln(2)/2`, to 3e-18.
const EXP: [f64; 11] = [
    0.5,
    0.166_666_666_666_666_7,
    0.041_666_666_666_666_67,
    0.008_333_333_333_326_136,
    0.001_388_888_888_888_375,
    0.000_198_412_698_748_158_34,
    2.480_158_732_554_432e-5,
    2.755_725_540_628_504_4e-6,
    2.755_727_364_745_108_7e-7,
    2.510_521_447_475_141_3e-8,
    2.091_468_516_141_806_7e-9,
];
/// `atanh(√x)/√x` for x in `[0, 1/9]`, to 3e-18.
pub(super) const ATANH: [f64; 11] = [
    1.0,
    0.333_333_333_333_330_76,
    0.200_000_000_000_928_74,
    0.142_857_142_727_270_57,
    0.111_111_120_403_738_37,
    0.090_908_704_162_524_03,
    0.076_933_070_211_520_04,
    0.066_501_870_163_373_13,
    0.060_550_843_640_346_09,
    0.041_622_532_559_304_1,
    0.085_220_817_813_906_99,
];

/// `c[0] + c[1]·x + … + c[7]·x⁷` by Estrin's scheme: the loops wait for results, not for units, and this chain is
/// less than half as long as Horner's.
#[inline(always)]
fn poly8(x: f64, c: [f64; 8]) -> f64 {
    let (x2, pair) = (x * x, |i: usize| c[i] + c[i + 1] * x);
    (pair(0) + pair(2) * x2) + (pair(4) + pair(6) * x2) * (x2 * x2)
}

/// `c[0] + c[1]·x + … + c[10]·x¹⁰` likewise.
#[inline(always)]
pub(super) fn poly11(x: f64, c: [f64; 11]) -> f64 {
    let [c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10] = c;
    let (x2, x4) = (x * x, (x * x) * (x * x));
    poly8(x, [c0, c1, c2, c3, c4, c5, c6, c7]) + ((c8 + c9 * x) + c10 * x2) * (x4 * x4)
}

/// `e^t` for t ≤ 0; NaN stays.
#[inline(always)]
pub(super) fn exp(t: f64) -> f64 {
    let t = if t < LEAST { LEAST } else { t };
    let shifted = t * std::f64::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = (t - k * LN2_HI) - k * LN2_LO;
    let power = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1.0_f64.to_bits()));
    power * (1.0 + (r + r * r * poly11(r, EXP)))
}

/// `softplus(rho)` and `sigmoid(rho)/softplus(rho)` from rho and `t = e^{−|rho|}`.
///
/// ```text
/// q = ln_1p(t)/t = 2/(2 + t)·atanh(s)/s,  s = t/(2 + t) ≤ ⅓
/// rho ≤ 0:  softplus = t·q             slope 1/((1 + t)·q)
/// rho > 0:  softplus = rho + t·q       slope 1/((1 + t)·(rho + t·q))
/// ```
///
/// q is between ln 2 and 1 and formed without dividing by t, so that no slope is lost where sigma underflows.
#[inline(always)]
fn sigma_and_slope(rho: f64, t: f64) -> (f64, f64) {
    let inverse = 1.0 / (2.0 + t);
    let s = t * inverse;
    let q = 2.0 * inverse * poly11(s * s, ATANH);
    let (inside, factor) = if rho > 0.0 { (rho + t * q, 1.0) } else { (q, t) };
    (factor * inside, 1.0 / ((1.0 + t) * inside))
}

/// `(sigma²/s² − 1)·sigmoid(rho)/sigma` of a block.
#[inline(always)]
fn by_rho(inverse: f64, rho: &[f32; BLOCK]) -> [f32; BLOCK] {
    let (mut t, mut out) = ([0.0; BLOCK], [0.0; BLOCK]);
    for i in 0..BLOCK {
        t[i] = exp(-f64::from(rho[i]).abs());
    }
    for i in 0..BLOCK {
        let (sigma, slope) = sigma_and_slope(f64::from(rho[i]), t[i]);
        let ratio = sigma * inverse;
        out[i] = ((ratio * ratio - 1.0) * slope) as f32;
    }
    out
}

dispatched! {
    /// The gradient that [`kl_normal_grad`](super::kl_normal_grad) adds, without the KL.
    ///
    /// ```text
    /// d_mu_i  ← d_mu_i + weight·(mu_i − mean)/std_dev²
    /// d_rho_i ← d_rho_i + weight·(sigma_i²/std_dev² − 1)·sigmoid(rho_i)/sigma_i
    /// ```
    ///
    /// # Panics
    /// If the lengths differ.
    ///
    /// # Examples
    /// ```
    /// let rho = 0.541_324_85; // softplus(rho) = 1, the prior's
    /// let (mut d_mu, mut d_rho) = ([0.0], [0.5]);
    /// bdl_tensor::kernels::kl_normal_slope(0.0, 1.0, 0.5, &[3.0], &[rho], &mut d_mu, &mut d_rho);
    /// assert_eq!(d_mu, [1.5]);
    /// assert!((d_rho[0] - 0.5).abs() < 1e-7);
    /// ```
    pub fn kl_normal_slope(
        mean: f64,
        std_dev: f64,
        weight: f32,
        mu: &[f32],
        rho: &[f32],
        d_mu: &mut [f32],
        d_rho: &mut [f32],
    ) {
        same_len("kl_normal_slope rho", mu.len(), rho.len());
        same_len("kl_normal_slope d_mu", mu.len(), d_mu.len());
        same_len("kl_normal_slope d_rho", mu.len(), d_rho.len());
        let inverse = std_dev.recip();
        for (d, &mu) in d_mu.iter_mut().zip(mu) {
            let z = (f64::from(mu) - mean) * inverse;
            *d += weight * (z * inverse) as f32;
        }
        let (rho, rest) = rho.as_chunks::<BLOCK>();
        let (d_rho, d_rest) = d_rho.as_chunks_mut::<BLOCK>();
        for (rho, d) in rho.iter().zip(d_rho) {
            let slopes = by_rho(inverse, rho);
            for i in 0..BLOCK {
                d[i] += weight * slopes[i];
            }
        }
        if !rest.is_empty() {
            let mut padded = [0.0; BLOCK];
            padded[..rest.len()].copy_from_slice(rest);
            d_rest.iter_mut().zip(by_rho(inverse, &padded)).for_each(|(d, slope)| *d += weight * slope);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::forced::assert_levels_agree;
    use crate::kernels::kl_normal_grad;

    #[test]
    fn it_is_the_gradient_of_the_kernel_with_the_kl_to_rounding_and_at_every_level() {
        for n in [0, 1, 63, 64, 65, 1_000] {
            let mu: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7).sin() * 3.0).collect();
            let wide = |i| [1.0, 8.0, 30.0, 300.0, 1e4][i % 5];
            let rho: Vec<f32> = (0..n).map(|i| ((i as f32 * 1.3).cos() - 0.3) * wide(i)).collect();
            for (mean, std_dev) in [(0.0, 1.0), (0.2, 0.05), (-1.0, 40.0)] {
                let (mut d_mu, mut d_rho) = (vec![0.0; n], vec![0.0; n]);
                kl_normal_grad(mean, std_dev, 0.3, &mu, &rho, &mut d_mu, &mut d_rho);
                assert_levels_agree("kl_normal_slope", || {
                    let (mut by_mu, mut by_rho) = (vec![0.0; n], vec![0.0; n]);
                    kl_normal_slope(mean, std_dev, 0.3, &mu, &rho, &mut by_mu, &mut by_rho);
                    assert_eq!(by_mu, d_mu);
                    for i in 0..n {
                        // One rounding to f32, or in f64 where the two scales are all but equal.
                        let near = f32::EPSILON * d_rho[i].abs() + 1e-14;
                        assert!(
                            (by_rho[i] - d_rho[i]).abs() <= near,
                            "rho {}: {} {}",
                            rho[i],
                            by_rho[i],
                            d_rho[i]
                        );
                    }
                    by_rho.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
                });
            }
        }
    }

    #[test]
    fn what_is_not_a_number_stays_none() {
        let (mut d_mu, mut d_rho) = ([0.0; 2], [0.0; 2]);
        kl_normal_slope(0.0, 1.0, 1.0, &[f32::NAN, 0.0], &[0.0, f32::NAN], &mut d_mu, &mut d_rho);
        assert!(d_mu[0].is_nan() && d_mu[1] == 0.0 && d_rho[0].is_finite() && d_rho[1].is_nan());
    }
}
