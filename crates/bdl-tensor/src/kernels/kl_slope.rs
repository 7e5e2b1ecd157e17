//! The gradient of the KL divergence of normals from a normal, without the divergence itself: one exponential
//! and no logarithm.

use super::same_len;
use crate::dispatch::dispatched;
use crate::math::softplus_and_slope;

dispatched! {
    /// The gradient that [`kl_normal_grad`](super::kl_normal_grad) adds, without the KL.
    ///
    /// ```text
    /// d_mu_i  ← d_mu_i + weight·(mu_i − mean)/std_dev²
    /// d_rho_i ← d_rho_i + weight·(sigma_i²/std_dev² − 1)·sigmoid(rho_i)/sigma_i
    /// ```
    ///
    /// In `f32`: each part within 5 ulp of its terms. That is what half a unit in the last place of rho does to
    /// `(sigma/std_dev)²` when rho is near −5, so that more digits would say nothing of the weight that is meant.
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
        let (mean, inverse) = (mean as f32, std_dev.recip() as f32);
        for (d, &mu) in d_mu.iter_mut().zip(mu) {
            *d += weight * (((mu - mean) * inverse) * inverse);
        }
        for (d, &rho) in d_rho.iter_mut().zip(rho) {
            let (sigma, slope) = softplus_and_slope(rho);
            let ratio = sigma * inverse;
            *d += weight * ((ratio * ratio - 1.0) * slope);
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
                    for i in 0..n {
                        // Of terms: mu − mean, and (sigma/std_dev)² − 1, which cancel where they are close.
                        let of_mu = (mu[i].abs() + mean.abs() as f32) * (0.3 / (std_dev * std_dev)) as f32;
                        let of_rho = d_rho[i].abs().max(0.3 * crate::math::softplus_and_slope(rho[i]).1);
                        for (got, expected, terms) in
                            [(by_mu[i], d_mu[i], of_mu), (by_rho[i], d_rho[i], of_rho)]
                        {
                            let near = 10.0 * f32::EPSILON * terms;
                            assert!((got - expected).abs() <= near, "rho {}: {got} {expected}", rho[i]);
                        }
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
