//! KL divergence of normals from a normal, over flat slices.
//!
//! The arithmetic is `f64`, in plain multiplications and additions as in [`crate::math`], so that the loops
//! vectorize and a sum over millions of weights keeps its digits.

use super::same_len;
use crate::dispatch::dispatched;

/// Partial sums, added in order at the end.
const LANES: usize = 16;
/// Weights that go through each stage together; a multiple of [`LANES`].
const BLOCK: usize = 64;

/// 1.5·2⁵²: adding and subtracting it rounds to the nearest integer, which is then in the low bits.
const ROUND: f64 = 6_755_399_441_055_744.0;
/// ln 2 in two parts; the first has 32 bits, so that its product with an exponent is exact.
const LN2_HI: f64 = 0.693_147_180_369_123_8;
const LN2_LO: f64 = 1.908_214_929_270_587_7e-10;
/// `e^t` is 0 below and infinite above, up to rounding of the ends.
const EXP_RANGE: [f64; 2] = [-708.0, 709.0];
const SQRT_HALF_BITS: u64 = 0x3fe6_a09e_667f_3bcd;

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
const ATANH_THIRD: [f64; 11] = [
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
/// The same for x in `[0, (√2 − 1)⁴]`, to 4e-18.
const ATANH_SIXTH: [f64; 8] = [
    1.0,
    0.333_333_333_333_338_26,
    0.199_999_999_996_511_14,
    0.142_857_143_803_331_2,
    0.111_110_985_270_509_6,
    0.090_918_159_114_787_55,
    0.076_562_621_630_233_2,
    0.074_048_751_666_994_39,
];
/// `ln(2)/2`, up to which [`EXP`] holds.
const HALF_LN2: f64 = 0.5 * std::f64::consts::LN_2;

/// `c[0] + c[1]·x + … + c[7]·x⁷` by Estrin's scheme: the loops wait for results, not for units, and this chain is
/// less than half as long as Horner's.
#[inline(always)]
fn poly8(x: f64, c: [f64; 8]) -> f64 {
    let (x2, pair) = (x * x, |i: usize| c[i] + c[i + 1] * x);
    (pair(0) + pair(2) * x2) + (pair(4) + pair(6) * x2) * (x2 * x2)
}

/// `c[0] + c[1]·x + … + c[10]·x¹⁰` likewise.
#[inline(always)]
fn poly11(x: f64, c: [f64; 11]) -> f64 {
    let [c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10] = c;
    let (x2, x4) = (x * x, (x * x) * (x * x));
    poly8(x, [c0, c1, c2, c3, c4, c5, c6, c7]) + ((c8 + c9 * x) + c10 * x2) * (x4 * x4)
}

/// `e^t`.
#[inline(always)]
fn exp(t: f64) -> f64 {
    let inside = if t < EXP_RANGE[0] { EXP_RANGE[0] } else { t };
    let inside = if inside > EXP_RANGE[1] { EXP_RANGE[1] } else { inside };
    let shifted = inside * std::f64::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = (inside - k * LN2_HI) - k * LN2_LO;
    let power = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1.0_f64.to_bits()));
    let exp = power * (1.0 + (r + r * r * poly11(r, EXP)));
    if t > EXP_RANGE[1] { f64::INFINITY } else { exp }
}

/// `e^t − 1 − t` from t and `e^t`, without cancellation near 0, where it is `t²/2`.
#[inline(always)]
fn excess(t: f64, exp: f64) -> f64 {
    let near = t * t * poly11(t, EXP);
    if t.abs() < HALF_LN2 { near } else { exp - 1.0 - t }
}

/// `ln x` for a normal positive x: exponent, and `2 atanh((m − 1)/(m + 1))` of the rest in `[√½, √2)`.
#[inline(always)]
fn ln(x: f64) -> f64 {
    let from_sqrt_half = x.to_bits().wrapping_sub(SQRT_HALF_BITS);
    let exponent = from_sqrt_half >> 52;
    // The exponent as a number, through the low bits of 2⁵²; it is negative where bit 11 is set.
    let unsigned = f64::from_bits(exponent | 0x4330_0000_0000_0000) - 4_503_599_627_370_496.0;
    let k = if unsigned >= 2_048.0 { unsigned - 4_096.0 } else { unsigned };
    let m = f64::from_bits(x.to_bits().wrapping_sub(exponent << 52));
    let f = (m - 1.0) / (m + 1.0);
    let sum = 2.0 * f * poly8(f * f, ATANH_SIXTH) + k * LN2_LO + k * LN2_HI;
    if x.is_nan() { x } else { sum }
}

/// What follows from `t = e^{−|rho|}` about sigma.
struct Scale {
    /// `softplus(rho)`.
    sigma: f64,
    /// Its logarithm is `outside + ln inside`.
    outside: f64,
    inside: f64,
    /// `sigmoid(rho)/softplus(rho)`, the derivative of the logarithm.
    slope: f64,
}

/// The scale that `rho` stands for.
///
/// ```text
/// t = e^{−|rho|}   q = ln_1p(t)/t = 2/(2 + t)·atanh(s)/s,  s = t/(2 + t) ≤ ⅓
/// rho ≤ 0:  ln softplus = rho + ln q             slope 1/((1 + t)·q)
/// rho > 0:  ln softplus = ln(rho + t·q)          slope 1/((1 + t)·(rho + t·q))
/// ```
///
/// q is between ln 2 and 1 and formed without dividing by t, so that nothing underflows.
#[inline(always)]
fn scale(rho: f64, t: f64) -> Scale {
    let inverse = 1.0 / (2.0 + t);
    let s = t * inverse;
    let q = 2.0 * inverse * poly11(s * s, ATANH_THIRD);
    let (outside, inside, factor) = if rho > 0.0 { (0.0, rho + t * q, 1.0) } else { (rho, q, t) };
    Scale { sigma: factor * inside, outside, inside, slope: 1.0 / ((1.0 + t) * inside) }
}

/// What the kernels ask of the prior `N(mean, s²)`.
#[derive(Clone, Copy)]
struct Prior {
    mean: f64,
    ln_s: f64,
    inverse: f64,
}

impl Prior {
    fn new(mean: f64, std_dev: f64) -> Self {
        Self { mean, ln_s: std_dev.ln(), inverse: std_dev.recip() }
    }
}

/// Twice the KL of each of [`BLOCK`] weights, and its derivatives in mu and rho.
struct Terms {
    twice_kl: [f64; BLOCK],
    by_mu: [f32; BLOCK],
    by_rho: [f32; BLOCK],
}

/// The terms of a block, stage by stage: a stage is short enough for the processor to work on several vectors at
/// once, where the whole chain for one would make it wait for each result.
#[inline(always)]
fn terms(prior: Prior, mu: &[f32; BLOCK], rho: &[f32; BLOCK]) -> Terms {
    let [mut t, mut sigma, mut outside, mut inside, mut slope] = [[0.0; BLOCK]; 5];
    for i in 0..BLOCK {
        t[i] = exp(-f64::from(rho[i]).abs());
    }
    for i in 0..BLOCK {
        let scale = scale(f64::from(rho[i]), t[i]);
        (sigma[i], outside[i], inside[i], slope[i]) = (scale.sigma, scale.outside, scale.inside, scale.slope);
    }
    for i in 0..BLOCK {
        t[i] = 2.0 * (outside[i] + ln(inside[i]) - prior.ln_s);
    }
    let mut out = Terms { twice_kl: [0.0; BLOCK], by_mu: [0.0; BLOCK], by_rho: [0.0; BLOCK] };
    for i in 0..BLOCK {
        let z = (f64::from(mu[i]) - prior.mean) * prior.inverse;
        // e^t is known already, since sigma is: no second exponential.
        let ratio = sigma[i] * prior.inverse;
        let excess = excess(t[i], ratio * ratio);
        out.twice_kl[i] = excess + z * z;
        out.by_mu[i] = (z * prior.inverse) as f32;
        // sigma²/s² − 1 = (e^t − 1 − t) + t
        out.by_rho[i] = ((excess + t[i]) * slope[i]) as f32;
    }
    out
}

/// [`terms`] of fewer weights; the places behind them hold what belongs to none.
#[inline(always)]
fn terms_of_rest(prior: Prior, mu: &[f32], rho: &[f32]) -> Terms {
    let [mut padded_mu, mut padded_rho] = [[0.0; BLOCK]; 2];
    padded_mu[..mu.len()].copy_from_slice(mu);
    padded_rho[..rho.len()].copy_from_slice(rho);
    terms(prior, &padded_mu, &padded_rho)
}

/// Adds element i to lane `i % LANES`.
#[inline(always)]
fn add_to(lanes: &mut [f64; LANES], x: &[f64]) {
    let (whole, rest) = x.as_chunks::<LANES>();
    for x in whole {
        for i in 0..LANES {
            lanes[i] += x[i];
        }
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, x)| *lane += x);
}

/// `sums += weight·x`.
#[inline(always)]
fn add_scaled(weight: f32, x: &[f32], sums: &mut [f32]) {
    for (sum, x) in sums.iter_mut().zip(x) {
        *sum += weight * x;
    }
}

/// Half the sum of the lanes.
#[inline(always)]
fn half_sum(lanes: [f64; LANES]) -> f64 {
    0.5 * lanes.iter().sum::<f64>()
}

dispatched! {
    /// KL divergence of independent normals from the normal `N(mean, std_dev²)`, summed, in nats.
    ///
    /// ```text
    /// sigma_i = softplus(rho_i)    d_i = ln sigma_i − ln std_dev
    /// KL = Σ_i ½(e^{2d_i} − 1 − 2d_i) + ½((mu_i − mean)/std_dev)²
    /// ```
    ///
    /// `ln sigma` is formed without sigma and `e^t − 1 − t` without cancellation: finite for |rho| up to 1e4
    /// and beyond, and never below 0.
    ///
    /// # Panics
    /// If the lengths differ.
    ///
    /// # Examples
    /// ```
    /// let rho = 0.541_324_85; // softplus(rho) = 1
    /// assert!((bdl_tensor::kernels::kl_normal(0.0, 1.0, &[1.0, -2.0], &[rho, rho]) - 2.5).abs() < 1e-6);
    /// ```
    ///
    /// # References
    /// `docs/math.md#kl-gaussian`.
    #[must_use]
    pub fn kl_normal(mean: f64, std_dev: f64, mu: &[f32], rho: &[f32]) -> f64 {
        same_len("kl_normal rho", mu.len(), rho.len());
        let prior = Prior::new(mean, std_dev);
        let mut lanes = [0.0; LANES];
        let ((mu, mu_rest), (rho, rho_rest)) = (mu.as_chunks(), rho.as_chunks());
        for (mu, rho) in mu.iter().zip(rho) {
            add_to(&mut lanes, &terms(prior, mu, rho).twice_kl);
        }
        if !mu_rest.is_empty() {
            add_to(&mut lanes, &terms_of_rest(prior, mu_rest, rho_rest).twice_kl[..mu_rest.len()]);
        }
        half_sum(lanes)
    }

    /// [`kl_normal`], to the same bits, and its gradient: adds `weight·∂KL/∂mu` to `d_mu` and
    /// `weight·∂KL/∂rho` to `d_rho`.
    ///
    /// ```text
    /// ∂KL/∂mu_i  = (mu_i − mean)/std_dev²
    /// ∂KL/∂rho_i = (sigma_i²/std_dev² − 1)·sigmoid(rho_i)/sigma_i
    /// ```
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn kl_normal_grad(
        mean: f64,
        std_dev: f64,
        weight: f32,
        mu: &[f32],
        rho: &[f32],
        d_mu: &mut [f32],
        d_rho: &mut [f32],
    ) -> f64 {
        same_len("kl_normal_grad rho", mu.len(), rho.len());
        same_len("kl_normal_grad d_mu", mu.len(), d_mu.len());
        same_len("kl_normal_grad d_rho", mu.len(), d_rho.len());
        let prior = Prior::new(mean, std_dev);
        let mut lanes = [0.0; LANES];
        let ((mu, mu_rest), (rho, rho_rest)) = (mu.as_chunks(), rho.as_chunks());
        let (d_mu, d_mu_rest) = d_mu.as_chunks_mut::<BLOCK>();
        let (d_rho, d_rho_rest) = d_rho.as_chunks_mut::<BLOCK>();
        for ((mu, rho), (d_mu, d_rho)) in mu.iter().zip(rho).zip(d_mu.iter_mut().zip(d_rho)) {
            let terms = terms(prior, mu, rho);
            add_to(&mut lanes, &terms.twice_kl);
            add_scaled(weight, &terms.by_mu, d_mu);
            add_scaled(weight, &terms.by_rho, d_rho);
        }
        if !mu_rest.is_empty() {
            let terms = terms_of_rest(prior, mu_rest, rho_rest);
            add_to(&mut lanes, &terms.twice_kl[..mu_rest.len()]);
            add_scaled(weight, &terms.by_mu, d_mu_rest);
            add_scaled(weight, &terms.by_rho, d_rho_rest);
        }
        half_sum(lanes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::forced::assert_levels_agree;
    use crate::special;

    fn weights(n: usize) -> (Vec<f32>, Vec<f32>) {
        let mu = (0..n).map(|i| (i as f32 * 0.7).sin() * 0.5);
        let rho = (0..n).map(|i| (i as f32 * 1.3).cos() * 8.0 - 3.0);
        (mu.collect(), rho.collect())
    }

    fn exp_and_excess(t: f64) -> (f64, f64) {
        (exp(t), excess(t, exp(t)))
    }

    fn ln_softplus_and_slope(rho: f64) -> (f64, f64) {
        let Scale { outside, inside, slope, .. } = scale(rho, exp(-rho.abs()));
        (outside + ln(inside), slope)
    }

    fn within(what: &str, x: f64, got: f64, expected: f64, tol: f64) {
        let error = (got - expected).abs() / expected.abs().max(1e-300);
        assert!(error <= tol, "{what} at {x:e}: {got:e} against {expected:e}");
    }

    #[test]
    fn exponentials_and_logarithms_agree_with_the_standard_library() {
        for i in -70_000..=70_000 {
            let t = f64::from(i) * 0.01;
            within("exp", t, exp_and_excess(t).0, t.exp(), 1e-15);
            let x = (t / 100.0).exp();
            assert!((ln(x) - t / 100.0).abs() <= 1e-15 * (1.0 + t.abs() / 100.0), "ln at {x:e}");
        }
        assert_eq!((exp_and_excess(1e3).0, exp_and_excess(0.0)), (f64::INFINITY, (1.0, 0.0)));
    }

    #[test]
    fn the_excess_of_exp_keeps_its_digits_near_zero() {
        for i in -100..=100 {
            let t = f64::from(i) * 1e-3;
            let expected = t * t / 2.0
                * (1.0
                    + t / 3.0
                        * (1.0
                            + t / 4.0
                                * (1.0
                                    + t / 5.0
                                        * (1.0
                                            + t / 6.0
                                                * (1.0
                                                    + t / 7.0
                                                        * (1.0
                                                            + t / 8.0
                                                                * (1.0
                                                                    + t / 9.0
                                                                        * (1.0
                                                                            + t / 10.0
                                                                                * (1.0 + t / 11.0)))))))));
            if i != 0 {
                within("excess", t, exp_and_excess(t).1, expected, 1e-14);
            }
        }
    }

    #[test]
    fn ln_softplus_and_its_slope_agree_with_the_scalar_forms() {
        for i in -6_000..=6_000 {
            let rho = f64::from(i) * 0.01;
            let (ln_sigma, slope) = ln_softplus_and_slope(rho);
            let (expected, sigma) = (special::ln_softplus(rho), special::softplus(rho));
            assert!((ln_sigma - expected).abs() <= 1e-15 * (1.0 + rho.abs()), "ln softplus at {rho}");
            within("slope", rho, slope, special::sigmoid(rho) / sigma, 3e-15);
        }
        assert_eq!(ln_softplus_and_slope(-1e4), (-1e4, 1.0));
        assert_eq!(ln_softplus_and_slope(1e4), (1e4_f64.ln(), 1e-4));
        assert!(ln_softplus_and_slope(f64::NAN).0.is_nan());
    }

    #[test]
    fn kl_and_gradient_agree_with_the_textbook_form() {
        for (mean, s) in [(0.0, 1.0), (0.3, 0.05), (-1.0, 4.0)] {
            let (mu, rho) = weights(333);
            let (mut d_mu, mut d_rho) = (vec![1.0; 333], vec![2.0; 333]);
            let kl = kl_normal_grad(mean, s, 0.5, &mu, &rho, &mut d_mu, &mut d_rho);
            assert_eq!(kl.to_bits(), kl_normal(mean, s, &mu, &rho).to_bits());
            let mut expected = 0.0;
            for i in 0..333 {
                let (m, r) = (f64::from(mu[i]) - mean, f64::from(rho[i]));
                let sigma = special::softplus(r);
                expected += (s / sigma).ln() + (sigma * sigma + m * m) / (2.0 * s * s) - 0.5;
                let by_mu = 1.0 + 0.5 * m / (s * s);
                let by_rho = 2.0 + 0.5 * (sigma / (s * s) - 1.0 / sigma) * special::sigmoid(r);
                assert!((f64::from(d_mu[i]) - by_mu).abs() <= 2e-7 * by_mu.abs().max(1.0));
                assert!((f64::from(d_rho[i]) - by_rho).abs() <= 2e-7 * by_rho.abs().max(1.0));
            }
            within("kl", s, kl, expected, 1e-13);
        }
    }

    #[test]
    fn extreme_scales_are_finite() {
        let rho = [-1e4, -104.0, -90.0, 1e4];
        let (mut d_mu, mut d_rho) = ([0.0; 4], [0.0; 4]);
        let kl = kl_normal_grad(0.0, 1.0, 1.0, &[0.0; 4], &rho, &mut d_mu, &mut d_rho);
        within("kl", 0.0, kl, 1e4 + 104.0 + 90.0 - 1.5 + 5e7 - 0.5 - 1e4_f64.ln(), 1e-14);
        assert_eq!(d_rho, [-1.0, -1.0, -1.0, 1e4]);
    }

    #[test]
    fn kl_has_the_same_bits_at_every_level() {
        for n in [0, 1, 15, 16, 17, 500] {
            let (mu, rho) = weights(n);
            assert_levels_agree("kl_normal_grad", || {
                let (mut d_mu, mut d_rho) = (vec![0.0; n], vec![0.0; n]);
                let kl = kl_normal_grad(0.1, 0.3, 0.7, &mu, &rho, &mut d_mu, &mut d_rho);
                let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                (kl.to_bits(), bits(&d_mu), bits(&d_rho))
            });
        }
    }
}
