//! KL divergence of normals from a normal, over flat slices.
//!
//! The arithmetic is `f64`, in plain multiplications and additions as in [`crate::math`], so that the loops
//! vectorize and a sum over millions of weights keeps its digits.

use super::same_len;
use crate::dispatch::dispatched;

/// Weights worked on side by side; their sums are added in order at the end.
const LANES: usize = 16;

/// 1.5·2⁵²: adding and subtracting it rounds to the nearest integer, which is then in the low bits.
const ROUND: f64 = 6_755_399_441_055_744.0;
/// ln 2 in two parts; the first has 32 bits, so that its product with an exponent is exact.
const LN2_HI: f64 = 0.693_147_180_369_123_8;
const LN2_LO: f64 = 1.908_214_929_270_587_7e-10;
/// `e^t` is 0 below and infinite above, up to rounding of the ends.
const EXP_RANGE: [f64; 2] = [-708.0, 709.0];
const SQRT_HALF_BITS: u64 = 0x3fe6_a09e_667f_3bcd;

/// `(e^r − 1 − r)/r²` for `|r| ≤ ln(2)/2`: its Taylor series, to 2e-17.
const EXP: [f64; 13] = [
    1.0 / 2.0,
    1.0 / 6.0,
    1.0 / 24.0,
    1.0 / 120.0,
    1.0 / 720.0,
    1.0 / 5_040.0,
    1.0 / 40_320.0,
    1.0 / 362_880.0,
    1.0 / 3_628_800.0,
    1.0 / 39_916_800.0,
    1.0 / 479_001_600.0,
    1.0 / 6_227_020_800.0,
    1.0 / 87_178_291_200.0,
];

/// `1 + x/3 + x²/5 + …`, the series of `atanh(√x)/√x`, up to its 18th term.
#[inline(always)]
fn atanh_series(x: f64) -> f64 {
    let mut sum = 1.0 / 37.0;
    let mut odd = 35.0;
    while odd > 0.0 {
        sum = sum * x + 1.0 / odd;
        odd -= 2.0;
    }
    sum
}

/// `e^t − 1 − t`, and with it `e^t`, without cancellation near 0, where the first is `t²/2`.
#[inline(always)]
fn exp_and_excess(t: f64) -> (f64, f64) {
    let inside = if t < EXP_RANGE[0] { EXP_RANGE[0] } else { t };
    let inside = if inside > EXP_RANGE[1] { EXP_RANGE[1] } else { inside };
    let shifted = inside * std::f64::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = (inside - k * LN2_HI) - k * LN2_LO;
    let mut p = EXP[12];
    for i in (0..12).rev() {
        p = p * r + EXP[i];
    }
    let excess = r * r * p;
    let power = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1.0_f64.to_bits()));
    let exp = power * (1.0 + (r + excess));
    let exp = if t > EXP_RANGE[1] { f64::INFINITY } else { exp };
    (exp, if k == 0.0 { excess } else { exp - 1.0 - t })
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
    let sum = 2.0 * f * atanh_series(f * f) + k * LN2_LO + k * LN2_HI;
    if x.is_nan() { x } else { sum }
}

/// `ln softplus(rho)` and its derivative `sigmoid(rho)/softplus(rho)`.
///
/// ```text
/// t = e^{−|rho|}   q = ln_1p(t)/t
/// rho ≤ 0:  ln softplus = rho + ln q             derivative 1/((1 + t)·q)
/// rho > 0:  ln softplus = ln(rho + t·q)          derivative 1/((1 + t)·(rho + t·q))
/// ```
///
/// q is between ln 2 and 1 and formed without dividing by t, so that nothing underflows.
#[inline(always)]
fn ln_softplus_and_slope(rho: f64) -> (f64, f64) {
    let t = exp_and_excess(-rho.abs()).0;
    let s = t / (2.0 + t);
    let q = 2.0 / (2.0 + t) * atanh_series(s * s);
    let (outside, inside) = if rho > 0.0 { (0.0, rho + t * q) } else { (rho, q) };
    (outside + ln(inside), 1.0 / ((1.0 + t) * inside))
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

/// Twice the KL of one weight, and its derivatives in mu and rho.
#[inline(always)]
fn weight_terms(prior: Prior, mu: f32, rho: f32) -> (f64, f64, f64) {
    let (ln_sigma, slope) = ln_softplus_and_slope(f64::from(rho));
    let z = (f64::from(mu) - prior.mean) * prior.inverse;
    let t = 2.0 * (ln_sigma - prior.ln_s);
    let excess = exp_and_excess(t).1;
    // sigma²/s² − 1 = (e^t − 1 − t) + t
    (excess + z * z, z * prior.inverse, (excess + t) * slope)
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
        let ((mu, mu_rest), (rho, rho_rest)) = (mu.as_chunks::<LANES>(), rho.as_chunks::<LANES>());
        for (mu, rho) in mu.iter().zip(rho) {
            for i in 0..LANES {
                lanes[i] += weight_terms(prior, mu[i], rho[i]).0;
            }
        }
        for ((lane, &mu), &rho) in lanes.iter_mut().zip(mu_rest).zip(rho_rest) {
            *lane += weight_terms(prior, mu, rho).0;
        }
        half_sum(lanes)
    }

    /// `Σ ln softplus(rho[i])`, finite where softplus underflows.
    #[must_use]
    pub fn sum_ln_softplus(rho: &[f32]) -> f64 {
        let mut lanes = [0.0; LANES];
        let (rho, rest) = rho.as_chunks::<LANES>();
        for rho in rho {
            for i in 0..LANES {
                lanes[i] += ln_softplus_and_slope(f64::from(rho[i])).0;
            }
        }
        for (lane, &rho) in lanes.iter_mut().zip(rest) {
            *lane += ln_softplus_and_slope(f64::from(rho)).0;
        }
        lanes.iter().sum()
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
        let one = |mu: f32, rho: f32, lane: &mut f64, d_mu: &mut f32, d_rho: &mut f32| {
            let (twice_kl, by_mu, by_rho) = weight_terms(prior, mu, rho);
            *lane += twice_kl;
            *d_mu += weight * by_mu as f32;
            *d_rho += weight * by_rho as f32;
        };
        let ((mu, mu_rest), (rho, rho_rest)) = (mu.as_chunks::<LANES>(), rho.as_chunks::<LANES>());
        let (d_mu, d_mu_rest) = d_mu.as_chunks_mut::<LANES>();
        let (d_rho, d_rho_rest) = d_rho.as_chunks_mut::<LANES>();
        for ((mu, rho), (d_mu, d_rho)) in mu.iter().zip(rho).zip(d_mu.iter_mut().zip(d_rho)) {
            for i in 0..LANES {
                one(mu[i], rho[i], &mut lanes[i], &mut d_mu[i], &mut d_rho[i]);
            }
        }
        let rest = mu_rest.iter().zip(rho_rest).zip(d_mu_rest.iter_mut().zip(d_rho_rest));
        for (((&mu, &rho), (d_mu, d_rho)), lane) in rest.zip(&mut lanes) {
            one(mu, rho, lane, d_mu, d_rho);
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
    fn the_sum_of_ln_softplus_is_that_of_the_scalars_at_every_level() {
        for n in [0, 1, 15, 16, 17, 500] {
            let rho = weights(n).1;
            let expected: f64 = rho.iter().map(|&rho| special::ln_softplus(rho.into())).sum();
            assert_levels_agree("sum_ln_softplus", || {
                let sum = sum_ln_softplus(&rho);
                assert!((sum - expected).abs() <= 1e-13 * (1.0 + 8.0 * n as f64));
                sum.to_bits()
            });
        }
        assert_eq!(sum_ln_softplus(&[-1e4]), -1e4);
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
