//! The KL divergence of normals `N(mu, e^{ln_sigma2})` from the log-uniform prior, over flat slices.

use super::same_len;
use crate::dispatch::dispatched;
use crate::math;

/// Weights that go through each stage together; their sums are added in order at the end. A stage is short enough for the
/// processor to work on several vectors at once.
const BLOCK: usize = 64;

/// Above, the KL is held at its value here, 1.7e-4 nats, and has no slope: a mean of 0 has `ln alpha = ∞`.
const MOST: f32 = 8.0;

/// ln alpha of a block, at most [`MOST`].
#[inline(always)]
fn log_alphas(mu: &[f32; BLOCK], ln_sigma2: &[f32; BLOCK]) -> [f32; BLOCK] {
    let mut out = [0.0; BLOCK];
    for i in 0..BLOCK {
        let log_alpha = math::log_alpha(mu[i], ln_sigma2[i]);
        out[i] = if log_alpha > MOST { MOST } else { log_alpha };
    }
    out
}

/// `(∂KL/∂mu, ∂KL/∂ln_sigma2)` of a block.
#[inline(always)]
fn slopes(mu: &[f32; BLOCK], ln_sigma2: &[f32; BLOCK]) -> ([f32; BLOCK], [f32; BLOCK]) {
    let (mut by_mu, mut by_raw) = (log_alphas(mu, ln_sigma2), [0.0; BLOCK]);
    for i in 0..BLOCK {
        let (log_alpha, slope) = (by_mu[i], math::log_uniform_kl_slope(by_mu[i]));
        by_raw[i] = if log_alpha == MOST { 0.0 } else { slope };
    }
    for i in 0..BLOCK {
        // What is clipped has no slope, and may have no mean to divide by.
        let mu = if by_mu[i] == MOST { 1.0 } else { mu[i] };
        by_mu[i] = -2.0 * by_raw[i] / mu;
    }
    (by_mu, by_raw)
}

/// The rest of a slice as a block, filled up with `filler`.
#[inline(always)]
fn padded(x: &[f32], filler: f32) -> [f32; BLOCK] {
    let mut block = [filler; BLOCK];
    block[..x.len()].copy_from_slice(x);
    block
}

dispatched! {
    /// KL divergence of independent normals from the log-uniform prior, summed, in nats.
    ///
    /// ```text
    /// log_alpha_i = ln_sigma2_i − ln mu_i², at most 8     KL = Σ_i k1·sigmoid(−(k2 + k3·log_alpha_i)) + ½·ln(1 + 1/alpha_i)
    /// ```
    ///
    /// [`math::log_uniform_kl`], summed in `f64`. Finite for every finite mean, 0 included.
    ///
    /// # Panics
    /// If the lengths differ.
    ///
    /// # Examples
    /// ```
    /// // alpha = 1: k1·sigmoid(−k2) + ½ ln 2
    /// let kl = bdl_tensor::kernels::kl_log_uniform(&[-0.5], &[0.25_f32.ln()]);
    /// assert!((kl - 0.431_23).abs() < 1e-5);
    /// ```
    #[must_use]
    pub fn kl_log_uniform(mu: &[f32], ln_sigma2: &[f32]) -> f64 {
        same_len("kl_log_uniform ln_sigma2", mu.len(), ln_sigma2.len());
        let ((mu, mu_rest), (raw, raw_rest)) = (mu.as_chunks::<BLOCK>(), ln_sigma2.as_chunks::<BLOCK>());
        let mut lanes = [0.0; BLOCK];
        for (mu, raw) in mu.iter().zip(raw) {
            let log_alpha = log_alphas(mu, raw);
            for i in 0..BLOCK {
                lanes[i] += f64::from(math::log_uniform_kl(log_alpha[i]));
            }
        }
        let log_alpha = log_alphas(&padded(mu_rest, 1.0), &padded(raw_rest, 0.0));
        for (lane, log_alpha) in lanes.iter_mut().zip(log_alpha).take(mu_rest.len()) {
            *lane += f64::from(math::log_uniform_kl(log_alpha));
        }
        lanes.iter().sum()
    }

    /// Adds `weight` times the gradient of [`kl_log_uniform`].
    ///
    /// ```text
    /// d_ln_sigma2_i ← d_ln_sigma2_i + weight·KL′(log_alpha_i)        where log_alpha_i < 8
    /// d_mu_i        ← d_mu_i − weight·2·KL′(log_alpha_i)/mu_i        where log_alpha_i < 8
    /// ```
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn kl_log_uniform_slope(
        weight: f32,
        mu: &[f32],
        ln_sigma2: &[f32],
        d_mu: &mut [f32],
        d_ln_sigma2: &mut [f32],
    ) {
        same_len("kl_log_uniform_slope ln_sigma2", mu.len(), ln_sigma2.len());
        same_len("kl_log_uniform_slope d_mu", mu.len(), d_mu.len());
        same_len("kl_log_uniform_slope d_ln_sigma2", mu.len(), d_ln_sigma2.len());
        let ((mu, mu_rest), (raw, raw_rest)) = (mu.as_chunks::<BLOCK>(), ln_sigma2.as_chunks::<BLOCK>());
        let (d_mu, d_mu_rest) = d_mu.as_chunks_mut::<BLOCK>();
        let (d_raw, d_raw_rest) = d_ln_sigma2.as_chunks_mut::<BLOCK>();
        for ((mu, raw), (d_mu, d_raw)) in mu.iter().zip(raw).zip(d_mu.iter_mut().zip(d_raw)) {
            let (by_mu, by_raw) = slopes(mu, raw);
            for i in 0..BLOCK {
                d_mu[i] += weight * by_mu[i];
                d_raw[i] += weight * by_raw[i];
            }
        }
        if mu_rest.is_empty() {
            return;
        }
        let (by_mu, by_raw) = slopes(&padded(mu_rest, 1.0), &padded(raw_rest, 0.0));
        d_mu_rest.iter_mut().zip(by_mu).for_each(|(d, slope)| *d += weight * slope);
        d_raw_rest.iter_mut().zip(by_raw).for_each(|(d, slope)| *d += weight * slope);
    }

    /// `out = e^{x/2}`: standard deviations from the logarithms of variances.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn exp_half(x: &[f32], out: &mut [f32]) {
        same_len("exp_half out", x.len(), out.len());
        for (o, &x) in out.iter_mut().zip(x) {
            *o = math::exp(0.5 * x);
        }
    }

    /// `dx ← dx + ½·d·e^{x/2}`: the gradient d of `e^{x/2}` passed on to x.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn exp_half_backward_add(x: &[f32], d: &[f32], dx: &mut [f32]) {
        same_len("exp_half_backward_add d", x.len(), d.len());
        same_len("exp_half_backward_add dx", x.len(), dx.len());
        for ((dx, &d), &x) in dx.iter_mut().zip(d).zip(x) {
            *dx += 0.5 * d * math::exp(0.5 * x);
        }
    }

    /// `d ← d·e^x`: the gradient of `e^x` becomes that of x.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn exp_backward(x: &[f32], d: &mut [f32]) {
        same_len("exp_backward d", x.len(), d.len());
        for (d, &x) in d.iter_mut().zip(x) {
            *d *= math::exp(x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::forced::assert_levels_agree;
    use crate::special::sigmoid;
    use bdl_testkit::finite::central_gradient;

    /// Means and logarithms of variances of all sizes, with means of 0 among them.
    fn weights(n: usize) -> (Vec<f32>, Vec<f32>) {
        let mu = |i: usize| ((i as f32 * 0.7).sin() + 0.01) * [1.0, 0.1, 1e-3, 0.0, 10.0][i % 5];
        (0..n).map(|i| (mu(i), ((i as f32 * 1.3).cos() - 0.5) * [1.0, 4.0, 12.0, 30.0][i % 4])).unzip()
    }

    /// The formula as the paper has it, with the sign of a KL.
    fn naive(mu: f64, ln_sigma2: f64) -> f64 {
        let log_alpha = (ln_sigma2 - (mu * mu).ln()).min(8.0);
        let minus_kl =
            0.63576 * sigmoid(1.87320 + 1.48695 * log_alpha) - 0.5 * (-log_alpha).exp().ln_1p() - 0.63576;
        -minus_kl
    }

    #[test]
    fn kl_and_slope_are_the_papers_formula_and_its_differences() {
        let (mu, raw) = weights(403);
        let (mut d_mu, mut d_raw) = (vec![1.0; 403], vec![2.0; 403]);
        kl_log_uniform_slope(0.5, &mu, &raw, &mut d_mu, &mut d_raw);
        let mut expected = 0.0;
        for i in 0..403 {
            let at = [f64::from(mu[i]), f64::from(raw[i])];
            expected += naive(at[0], at[1]);
            if at[0] == 0.0 {
                assert_eq!((d_mu[i], d_raw[i]), (1.0, 2.0));
                continue;
            }
            // In units of ln mu, whose differences are all of one size.
            let f = |p: &[f64]| naive(at[0] * p[0].exp(), p[1]);
            let slopes = central_gradient(f, &[0.0, at[1]]);
            let near = |got: f32, by: f64| (f64::from(got) - by).abs() <= 1e-5 * by.abs().max(1.0);
            assert!(near(d_mu[i], 1.0 + 0.5 * slopes[0] / at[0]), "mu {at:?}: {} {slopes:?}", d_mu[i]);
            assert!(near(d_raw[i], 2.0 + 0.5 * slopes[1]), "ln sigma² {at:?}: {} {slopes:?}", d_raw[i]);
        }
        let kl = kl_log_uniform(&mu, &raw);
        assert!((kl / expected - 1.0).abs() < 1e-6, "{kl} {expected}");
    }

    #[test]
    fn extreme_weights_are_finite_and_what_is_no_number_stays_none() {
        let mu = [0.0, -0.0, 1e-45, f32::MIN_POSITIVE, 1e-20, 3e38, -1.0, 1.0];
        for raw in [-1e4, -200.0, -104.0, 0.0, 89.0, 1e4] {
            let (mut d_mu, mut d_raw) = ([0.0; 8], [0.0; 8]);
            kl_log_uniform_slope(1.0, &mu, &[raw; 8], &mut d_mu, &mut d_raw);
            assert!(d_mu.iter().chain(&d_raw).all(|d| d.is_finite()), "{raw}: {d_mu:?} {d_raw:?}");
            assert!(kl_log_uniform(&mu, &[raw; 8]).is_finite(), "{raw}");
            assert_eq!(d_mu[..3], [0.0; 3]);
        }
        assert!(kl_log_uniform(&[f32::NAN], &[0.0]).is_nan() && kl_log_uniform(&[1.0], &[f32::NAN]).is_nan());
        assert_eq!(kl_log_uniform(&[1.0], &[-1e4]), f64::from(0.635_76_f32 + 5e3_f32));
    }

    #[test]
    fn loops_have_the_same_bits_at_every_level() {
        for n in [0, 1, 15, 16, 17, 500] {
            let (mu, raw) = weights(n);
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_levels_agree("log_uniform", || {
                let (mut d_mu, mut d_raw, mut out) = (vec![0.1; n], vec![0.2; n], vec![f32::NAN; n]);
                kl_log_uniform_slope(0.7, &mu, &raw, &mut d_mu, &mut d_raw);
                exp_half(&raw, &mut out);
                exp_half_backward_add(&raw, &mu, &mut out);
                exp_backward(&raw, &mut out);
                (kl_log_uniform(&mu, &raw).to_bits(), bits(&d_mu), bits(&d_raw), bits(&out))
            });
        }
    }

    #[test]
    fn exponentials_and_their_gradients_by_hand() {
        let x = [0.0, 4.0_f32.ln()];
        let (mut sigma, mut dx, mut d) = ([0.0; 2], [1.0, 1.0], [3.0, 3.0]);
        exp_half(&x, &mut sigma);
        exp_half_backward_add(&x, &[2.0, 2.0], &mut dx);
        exp_backward(&x, &mut d);
        assert_eq!((sigma, dx, d), ([1.0, 2.0], [2.0, 3.0], [3.0, 12.0]));
    }
}
