//! KL divergence of normals from a normal, over flat slices.

use super::same_len;
use crate::dispatch::dispatched;
use crate::math;

/// Sums run in this many lanes, added in order at the end.
const LANES: usize = 16;

/// Below this rho, `sigmoid(rho)/softplus(rho)` is 1 in `f32`.
const POINT: f32 = -17.0;

/// `(e^t − 1 − t)/t²` for `|t| ≤ ½`: its Taylor series, whose first term left out is below 5e-9.
const EXCESS: [f32; 8] = [
    0.5,
    1.0 / 6.0,
    1.0 / 24.0,
    1.0 / 120.0,
    1.0 / 720.0,
    1.0 / 5_040.0,
    1.0 / 40_320.0,
    1.0 / 362_880.0,
];

/// What the kernels ask of the prior `N(mean, s²)`.
#[derive(Clone, Copy)]
struct Prior {
    mean: f32,
    ln_s: f32,
    inverse: f32,
}

impl Prior {
    fn new(mean: f64, std_dev: f64) -> Self {
        Self { mean: mean as f32, ln_s: std_dev.ln() as f32, inverse: std_dev.recip() as f32 }
    }
}

/// `e^t − 1 − t` without cancellation near 0, where it is `t²/2`.
#[inline(always)]
fn excess(t: f32) -> f32 {
    let series = t * t * math::poly(t, EXCESS);
    let plain = math::exp(t) - 1.0 - t;
    if t.abs() <= 0.5 { series } else { plain }
}

/// Twice the KL of one weight: the part of its scale and `z = (mu − mean)/s`, to be squared in `f64`.
#[inline(always)]
fn parts(mu: f32, ln_sigma: f32, prior: Prior) -> (f32, f32) {
    (excess(2.0 * (ln_sigma - prior.ln_s)), (mu - prior.mean) * prior.inverse)
}

#[inline(always)]
fn total(lanes: [f64; LANES]) -> f64 {
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
    /// `ln sigma` is formed without sigma, and `e^t − 1 − t` without cancellation: finite for |rho| up to
    /// 1e4, and exact to some 1e-6 of itself at sigma near std_dev too.
    ///
    /// # Panics
    /// If the lengths differ.
    ///
    /// # Examples
    /// ```
    /// let rho = 0.541_324_85; // softplus(rho) = 1
    /// assert!((bdl_tensor::kernels::kl_normal(0.0, 1.0, &[1.0, -2.0], &[rho, rho]) - 2.5).abs() < 1e-6);
    /// ```
    #[must_use]
    pub fn kl_normal(mean: f64, std_dev: f64, mu: &[f32], rho: &[f32]) -> f64 {
        same_len("kl_normal rho", mu.len(), rho.len());
        let prior = Prior::new(mean, std_dev);
        let mut lanes = [0.0; LANES];
        let one = |mu: f32, rho: f32| {
            let (scale, z) = parts(mu, math::ln_softplus(rho), prior);
            f64::from(scale) + f64::from(z) * f64::from(z)
        };
        let whole = mu.len() / LANES * LANES;
        for (mu, rho) in mu[..whole].chunks_exact(LANES).zip(rho[..whole].chunks_exact(LANES)) {
            for i in 0..LANES {
                lanes[i] += one(mu[i], rho[i]);
            }
        }
        for i in whole..mu.len() {
            lanes[i - whole] += one(mu[i], rho[i]);
        }
        total(lanes)
    }

    /// [`kl_normal`] and its gradient: adds `weight·∂KL/∂mu` to `d_mu` and `weight·∂KL/∂rho` to `d_rho`.
    ///
    /// ```text
    /// ∂KL/∂mu_i  = (mu_i − mean)/std_dev²
    /// ∂KL/∂rho_i = (sigma_i²/std_dev² − 1)·sigmoid(rho_i)/softplus(rho_i)
    /// ```
    ///
    /// The last quotient tends to 1 as rho → −∞, where sigma itself underflows.
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
        let one = |mu: f32, rho: f32, d_mu: &mut f32, d_rho: &mut f32| {
            let ln_sigma = math::ln_softplus(rho);
            let (scale, z) = parts(mu, ln_sigma, prior);
            // sigma²/s² − 1 = (e^t − 1 − t) + t
            let surplus = scale + 2.0 * (ln_sigma - prior.ln_s);
            let quotient = math::sigmoid(rho) / math::softplus(rho);
            let slope = if rho < POINT { 1.0 } else { quotient };
            *d_mu += weight * (z * prior.inverse);
            *d_rho += weight * (surplus * slope);
            f64::from(scale) + f64::from(z) * f64::from(z)
        };
        let whole = mu.len() / LANES * LANES;
        let (d_mu_front, d_mu_rest) = d_mu.split_at_mut(whole);
        let (d_rho_front, d_rho_rest) = d_rho.split_at_mut(whole);
        let chunks = mu[..whole].chunks_exact(LANES).zip(rho[..whole].chunks_exact(LANES));
        let grads = d_mu_front.chunks_exact_mut(LANES).zip(d_rho_front.chunks_exact_mut(LANES));
        for ((mu, rho), (d_mu, d_rho)) in chunks.zip(grads) {
            for i in 0..LANES {
                lanes[i] += one(mu[i], rho[i], &mut d_mu[i], &mut d_rho[i]);
            }
        }
        for (i, (d_mu, d_rho)) in d_mu_rest.iter_mut().zip(d_rho_rest).enumerate() {
            lanes[i] += one(mu[whole + i], rho[whole + i], d_mu, d_rho);
        }
        total(lanes)
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

    /// The textbook form in `f64`.
    fn naive(mean: f64, s: f64, mu: f32, rho: f32) -> f64 {
        let sigma = special::softplus(f64::from(rho));
        (s / sigma).ln() + (sigma * sigma + (f64::from(mu) - mean).powi(2)) / (2.0 * s * s) - 0.5
    }

    fn naive_slope(s: f64, rho: f32) -> f64 {
        let sigma = special::softplus(f64::from(rho));
        (sigma / (s * s) - 1.0 / sigma) * special::sigmoid(f64::from(rho))
    }

    #[test]
    fn kl_agrees_with_the_textbook_form() {
        for (mean, s) in [(0.0, 1.0), (0.3, 0.05), (-1.0, 4.0)] {
            let (mu, rho) = weights(1_000);
            let expected: f64 = mu.iter().zip(&rho).map(|(&m, &r)| naive(mean, s, m, r)).sum();
            let got = kl_normal(mean, s, &mu, &rho);
            assert!((got / expected - 1.0).abs() < 1e-6, "{got} against {expected}");
        }
    }

    #[test]
    fn nothing_cancels_near_the_prior() {
        for d in [1e-4, 1e-3, 1e-2, 0.1] {
            let rho = special::inv_softplus(f64::exp(d)) as f32;
            let t = 2.0 * special::softplus(f64::from(rho)).ln();
            let expected = 0.5 * (t * t / 2.0 + t * t * t / 6.0 + t.powi(4) / 24.0 + t.powi(5) / 120.0);
            let got = kl_normal(0.0, 1.0, &[0.0], &[rho]);
            // ln sigma itself is known to 2e-7, and the KL is d².
            assert!((got - expected).abs() < 4e-7 * t + 1e-6 * expected, "{d}: {got} against {expected}");
        }
    }

    #[test]
    fn gradients_agree_with_the_textbook_form() {
        let (mu, rho) = weights(333);
        let (mut d_mu, mut d_rho) = (vec![1.0; 333], vec![2.0; 333]);
        let kl = kl_normal_grad(0.1, 0.7, 0.5, &mu, &rho, &mut d_mu, &mut d_rho);
        assert_eq!(kl, kl_normal(0.1, 0.7, &mu, &rho));
        for i in 0..333 {
            let by_mu = 1.0 + 0.5 * (f64::from(mu[i]) - 0.1) / 0.49;
            let by_rho = 2.0 + 0.5 * naive_slope(0.7, rho[i]);
            assert!((f64::from(d_mu[i]) - by_mu).abs() < 1e-6 * by_mu.abs().max(1.0));
            assert!((f64::from(d_rho[i]) - by_rho).abs() < 2e-6 * by_rho.abs().max(1.0), "{}", rho[i]);
        }
    }

    #[test]
    fn extreme_scales_are_finite() {
        let rho = [-1e4, -104.0, -90.0, 1e4];
        let (mut d_mu, mut d_rho) = ([0.0; 4], [0.0; 4]);
        let kl = kl_normal_grad(0.0, 1.0, 1.0, &[0.0; 4], &rho, &mut d_mu, &mut d_rho);
        assert!((kl / (1e4 + 104.0 + 90.0 - 2.0 + 5e7 - 9.710_34) - 1.0).abs() < 1e-6, "{kl}");
        assert_eq!(d_rho[..3], [-1.0; 3]);
        assert!((d_rho[3] / 1e4 - 1.0).abs() < 1e-6);
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
