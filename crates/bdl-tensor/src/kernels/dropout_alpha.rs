//! Gaussian multiplicative noise of variance `alpha = sigmoid(x)`: on weights, on inputs, and its KL divergence.

use super::same_len;
use crate::dispatch::dispatched;
use crate::math::{self, sigmoid};

/// Elements that are summed side by side; the sums are added in order at the end.
const LANES: usize = 16;

dispatched! {
    /// `Σ `[`math::dropout_kl`]`(x)`, summed in `f64`: KL divergences from the log-uniform prior, nats, where `alpha = sigmoid(x)`.
    ///
    /// # Examples
    /// ```
    /// // alpha = ½: 0.65535 + ½ ln 2 − c1/2 − c2/4 − c3/8
    /// assert!((bdl_tensor::kernels::kl_dropout(&[0.0]) - 0.723_42).abs() < 1e-5);
    /// ```
    #[must_use]
    pub fn kl_dropout(x: &[f32]) -> f64 {
        let mut lanes = [0.0; LANES];
        let (x, rest) = x.as_chunks::<LANES>();
        for x in x {
            for i in 0..LANES {
                lanes[i] += f64::from(math::dropout_kl(x[i]));
            }
        }
        for (lane, &x) in lanes.iter_mut().zip(rest) {
            *lane += f64::from(math::dropout_kl(x));
        }
        lanes.iter().sum()
    }

    /// `dx ← dx + weight·KL′(x)`: adds `weight` times the gradient of [`kl_dropout`].
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn kl_dropout_slope(weight: f32, x: &[f32], dx: &mut [f32]) {
        same_len("kl_dropout_slope dx", x.len(), dx.len());
        for (d, &x) in dx.iter_mut().zip(x) {
            *d += weight * math::dropout_kl_slope(x);
        }
    }

    /// `out = |mu|·√alpha`, with `alpha = sigmoid(x)`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn alpha_sigma(mu: &[f32], x: &[f32], out: &mut [f32]) {
        same_len("alpha_sigma x", mu.len(), x.len());
        same_len("alpha_sigma out", mu.len(), out.len());
        for ((o, &mu), &x) in out.iter_mut().zip(mu).zip(x) {
            *o = mu.abs() * sigmoid(x).sqrt();
        }
    }

    /// Adds to `d_mu` and to `dx` what the gradient d of [`alpha_sigma`] comes to; 0 in a mean of 0.
    ///
    /// ```text
    /// d_mu ← d_mu + d·sign(mu)·√alpha        dx ← dx + ½·d·|mu|·√alpha·(1 − alpha)
    /// ```
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn alpha_sigma_backward(mu: &[f32], x: &[f32], d: &[f32], d_mu: &mut [f32], dx: &mut [f32]) {
        same_len("alpha_sigma_backward x", mu.len(), x.len());
        same_len("alpha_sigma_backward d", mu.len(), d.len());
        same_len("alpha_sigma_backward d_mu", mu.len(), d_mu.len());
        same_len("alpha_sigma_backward dx", mu.len(), dx.len());
        for (((d_mu, dx), (&mu, &x)), &d) in d_mu.iter_mut().zip(dx).zip(mu.iter().zip(x)).zip(d) {
            let root = sigmoid(x).sqrt();
            let signed = d * root.copysign(mu);
            *d_mu += if mu == 0.0 { 0.0 } else { signed };
            *dx += 0.5 * d * mu.abs() * root * sigmoid(-x);
        }
    }

    /// `out = alpha·mu²`, with `alpha = sigmoid(x)`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn alpha_variance(mu: &[f32], x: &[f32], out: &mut [f32]) {
        same_len("alpha_variance x", mu.len(), x.len());
        same_len("alpha_variance out", mu.len(), out.len());
        for ((o, &mu), &x) in out.iter_mut().zip(mu).zip(x) {
            *o = mu * mu * sigmoid(x);
        }
    }

    /// Adds to `d_mu` and to `dx` what the gradient d of [`alpha_variance`] comes to.
    ///
    /// ```text
    /// d_mu ← d_mu + 2·d·mu·alpha             dx ← dx + d·mu²·alpha·(1 − alpha)
    /// ```
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn alpha_variance_backward(mu: &[f32], x: &[f32], d: &[f32], d_mu: &mut [f32], dx: &mut [f32]) {
        same_len("alpha_variance_backward x", mu.len(), x.len());
        same_len("alpha_variance_backward d", mu.len(), d.len());
        same_len("alpha_variance_backward d_mu", mu.len(), d_mu.len());
        same_len("alpha_variance_backward dx", mu.len(), dx.len());
        for (((d_mu, dx), (&mu, &x)), &d) in d_mu.iter_mut().zip(dx).zip(mu.iter().zip(x)).zip(d) {
            let half = d * mu * sigmoid(x);
            *d_mu += 2.0 * half;
            *dx += half * mu * sigmoid(-x);
        }
    }

    /// `y = x·(1 + sd·eps)`: multiplicative noise of mean 1.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn mul_noise(x: &[f32], sd: &[f32], eps: &[f32], y: &mut [f32]) {
        same_len("mul_noise sd", x.len(), sd.len());
        same_len("mul_noise eps", x.len(), eps.len());
        same_len("mul_noise y", x.len(), y.len());
        for (((y, &x), &sd), &eps) in y.iter_mut().zip(x).zip(sd).zip(eps) {
            *y = x * (1.0 + sd * eps);
        }
    }

    /// `d_sd ← d_sd + dy·x·eps`: the gradient of the deviation in [`mul_noise`].
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn mul_noise_backward(x: &[f32], dy: &[f32], eps: &[f32], d_sd: &mut [f32]) {
        same_len("mul_noise_backward dy", x.len(), dy.len());
        same_len("mul_noise_backward eps", x.len(), eps.len());
        same_len("mul_noise_backward d_sd", x.len(), d_sd.len());
        for (((d, &x), &dy), &eps) in d_sd.iter_mut().zip(x).zip(dy).zip(eps) {
            *d += dy * x * eps;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::forced::assert_levels_agree;
    use crate::special;
    use bdl_testkit::finite::central_gradient;

    fn numbers(n: usize, seed: f32) -> Vec<f32> {
        (0..n).map(|i| ((i as f32 + seed) * 0.731).sin() * [3.0, 0.1, 1.0, 0.0][i % 4]).collect()
    }

    fn naive_kl(x: f64) -> f64 {
        let alpha = special::sigmoid(x);
        0.65535 - 0.5 * alpha.ln() - 1.16145124 * alpha + 1.50204118 * alpha.powi(2)
            - 0.58629921 * alpha.powi(3)
    }

    #[test]
    fn kl_is_the_papers_polynomial_and_its_slope_the_difference() {
        let x: Vec<f32> = (0..37).map(|i| i as f32 * 0.5 - 9.0).collect();
        let mut dx = vec![1.0; 37];
        kl_dropout_slope(0.5, &x, &mut dx);
        let expected: f64 = x.iter().map(|&x| naive_kl(x.into())).sum();
        assert!((kl_dropout(&x) / expected - 1.0).abs() < 1e-6);
        for (&x, &d) in x.iter().zip(&dx) {
            let slope = central_gradient(|p| naive_kl(p[0]), &[x.into()])[0];
            assert!((f64::from(d) - 1.0 - 0.5 * slope).abs() < 1e-6, "{x}: {d} {slope}");
        }
    }

    #[test]
    fn gradients_are_those_of_the_values() {
        let (mu, x, d) = (numbers(20, 1.0), numbers(20, 2.0), numbers(20, 3.0));
        let [mut s_mu, mut s_x, mut v_mu, mut v_x] = [[1.0_f32; 20]; 4];
        alpha_sigma_backward(&mu, &x, &d, &mut s_mu, &mut s_x);
        alpha_variance_backward(&mu, &x, &d, &mut v_mu, &mut v_x);
        for i in 0..20 {
            let (d, at) = (f64::from(d[i]), [f64::from(mu[i]), f64::from(x[i])]);
            let sigma = |p: &[f64]| d * p[0].abs() * special::sigmoid(p[1]).sqrt();
            let (s, v) = (
                central_gradient(sigma, &at),
                central_gradient(|p| d * p[0] * p[0] * special::sigmoid(p[1]), &at),
            );
            let got = [s_mu[i], s_x[i], v_mu[i], v_x[i]];
            for (got, by) in got.into_iter().zip([s[0], s[1], v[0], v[1]]) {
                assert!((f64::from(got) - 1.0 - by).abs() < 1e-6, "{at:?}, {d}: {got} {by}");
            }
        }
    }

    #[test]
    fn noise_by_hand() {
        let (mut y, mut d_sd) = ([f32::NAN; 2], [1.0; 2]);
        mul_noise(&[2.0, -1.0], &[0.5, 2.0], &[1.0, -3.0], &mut y);
        mul_noise_backward(&[2.0, -1.0], &[10.0, 1.0], &[1.0, -3.0], &mut d_sd);
        assert_eq!((y, d_sd), ([3.0, 5.0], [21.0, 4.0]));
    }

    #[test]
    fn loops_have_the_same_bits_at_every_level() {
        for n in [0, 1, 15, 16, 17, 500] {
            let (mu, x, d) = (numbers(n, 1.0), numbers(n, 2.0), numbers(n, 3.0));
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_levels_agree("dropout_alpha", || {
                let [mut a, mut b, mut c, mut e] = [0.5_f32; 4].map(|x| vec![x; n]);
                alpha_sigma(&mu, &x, &mut c);
                alpha_sigma_backward(&mu, &x, &d, &mut a, &mut b);
                alpha_variance(&mu, &x, &mut e);
                alpha_variance_backward(&mu, &x, &e, &mut a, &mut b);
                kl_dropout_slope(0.3, &x, &mut b);
                mul_noise_backward(&mu, &x, &d, &mut b);
                mul_noise(&a, &b, &d, &mut c);
                (kl_dropout(&x).to_bits(), [a, b, c, e].map(|x| bits(&x)))
            });
        }
    }
}
