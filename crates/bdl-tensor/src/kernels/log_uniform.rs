//! The KL divergence of normals `N(mu, e^{ln_sigma2})` from the log-uniform prior, over flat slices.

use super::same_len;
use crate::dispatch::dispatched;
use crate::math;

/// Weights worked on side by side; their sums are added in order at the end.
const LANES: usize = 16;

/// Above, the KL is held at its value here, 1.7e-4 nats, and has no slope: a mean of 0 has `ln alpha = ∞`.
const MOST: f32 = 8.0;

#[inline(always)]
fn kl_of(mu: f32, ln_sigma2: f32) -> f32 {
    let log_alpha = math::log_alpha(mu, ln_sigma2);
    math::log_uniform_kl(if log_alpha > MOST { MOST } else { log_alpha })
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
        let mut lanes = [0.0; LANES];
        let ((mu, mu_rest), (raw, raw_rest)) = (mu.as_chunks::<LANES>(), ln_sigma2.as_chunks::<LANES>());
        for (mu, raw) in mu.iter().zip(raw) {
            for i in 0..LANES {
                lanes[i] += f64::from(kl_of(mu[i], raw[i]));
            }
        }
        for ((lane, &mu), &raw) in lanes.iter_mut().zip(mu_rest).zip(raw_rest) {
            *lane += f64::from(kl_of(mu, raw));
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
        let params = mu.iter().zip(ln_sigma2);
        for ((d_mu, d_raw), (&mu, &raw)) in d_mu.iter_mut().zip(d_ln_sigma2).zip(params) {
            let log_alpha = math::log_alpha(mu, raw);
            let slope = weight * math::log_uniform_kl_slope(log_alpha);
            let (slope, mu) = if log_alpha >= MOST { (0.0, 1.0) } else { (slope, mu) };
            *d_raw += slope;
            *d_mu -= 2.0 * slope / mu;
        }
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
