//! The gradient of a KL divergence of normals `N(mu, softplus(rho)²)` from any density, through draws of the weights or
//! through means that are known.

use super::same_len;
use crate::dispatch::dispatched;
use crate::math;

/// The Taylor series of `atanh(√x)/√x`; to 2e-8 for x in `[0, 1/9]`.
const ATANH: [f32; 7] = [1.0, 1.0 / 3.0, 1.0 / 5.0, 1.0 / 7.0, 1.0 / 9.0, 1.0 / 11.0, 1.0 / 13.0];

/// `√½`.
const SQRT_HALF: f32 = std::f32::consts::FRAC_1_SQRT_2;
/// `√(2/π)`.
const SQRT_2_OVER_PI: f32 = 0.797_884_6;

/// `softplus(rho)` and `sigmoid(rho)/softplus(rho)`, which is 1 where both underflow: the `f32` form of the formulas of
/// [`kl_normal_slope`](super::kl_normal_slope).
#[inline(always)]
fn sigma_and_slope(rho: f32) -> (f32, f32) {
    let t = math::exp(-rho.abs());
    let inverse = 1.0 / (2.0 + t);
    let s = t * inverse;
    let x = s * s;
    let mut atanh = ATANH[6];
    for i in (0..6).rev() {
        atanh = atanh * x + ATANH[i];
    }
    let q = 2.0 * inverse * atanh;
    let (inside, factor) = if rho > 0.0 { (rho + t * q, 1.0) } else { (q, t) };
    (factor * inside, 1.0 / ((1.0 + t) * inside))
}

dispatched! {
    /// `step = softplus(rho)·eps`, `w = mu + step`, and `slope = d ln sigma/d rho = sigmoid(rho)/softplus(rho)`, 1 far below.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn draw_and_slope(
        mu: &[f32],
        rho: &[f32],
        eps: &[f32],
        w: &mut [f32],
        step: &mut [f32],
        slope: &mut [f32],
    ) {
        same_len("draw_and_slope rho", mu.len(), rho.len());
        same_len("draw_and_slope eps", mu.len(), eps.len());
        same_len("draw_and_slope w", mu.len(), w.len());
        same_len("draw_and_slope step", mu.len(), step.len());
        same_len("draw_and_slope slope", mu.len(), slope.len());
        for i in 0..mu.len() {
            let (sigma, by_rho) = sigma_and_slope(rho[i]);
            let moved = sigma * eps[i];
            (step[i], w[i], slope[i]) = (moved, mu[i] + moved, by_rho);
        }
    }

    /// Adds `weight` times the gradient of `−ln sigma − L`, where L is the mean of a log density, or the log density at one draw.
    ///
    /// ```text
    /// d_mu  ← d_mu − weight·∂L/∂mu
    /// d_rho ← d_rho − weight·(1 + ∂L/∂ln sigma)·slope          slope = d ln sigma/d rho
    /// ```
    ///
    /// # Panics
    /// If the lengths differ.
    ///
    /// # References
    /// `docs/math.md#kl-monte-carlo`.
    pub fn add_path_grad(
        weight: f32,
        by_mu: &[f32],
        by_ln_sigma: &[f32],
        slope: &[f32],
        d_mu: &mut [f32],
        d_rho: &mut [f32],
    ) {
        same_len("add_path_grad by_ln_sigma", by_mu.len(), by_ln_sigma.len());
        same_len("add_path_grad slope", by_mu.len(), slope.len());
        same_len("add_path_grad d_mu", by_mu.len(), d_mu.len());
        same_len("add_path_grad d_rho", by_mu.len(), d_rho.len());
        for i in 0..by_mu.len() {
            d_mu[i] -= weight * by_mu[i];
            d_rho[i] -= weight * ((1.0 + by_ln_sigma[i]) * slope[i]);
        }
    }

    /// The derivatives of `factor·E|w|`, `w ~ N(mu, sigma²)`, in mu and in ln sigma.
    ///
    /// ```text
    /// by_mu = factor·erf(mu/(sigma·√2)),   by_ln_sigma = factor·sigma·√(2/π)·e^{−½(mu/sigma)²}
    /// ```
    ///
    /// # Panics
    /// If the lengths differ.
    ///
    /// # References
    /// `docs/math.md#prior-laplace`.
    pub fn abs_mean_slopes(
        factor: f32,
        mu: &[f32],
        sigma: &[f32],
        by_mu: &mut [f32],
        by_ln_sigma: &mut [f32],
    ) {
        same_len("abs_mean_slopes sigma", mu.len(), sigma.len());
        same_len("abs_mean_slopes by_mu", mu.len(), by_mu.len());
        same_len("abs_mean_slopes by_ln_sigma", mu.len(), by_ln_sigma.len());
        for i in 0..mu.len() {
            // 0/0 for a weight that is exactly 0 without spread.
            let floor = if sigma[i] < f32::MIN_POSITIVE { f32::MIN_POSITIVE } else { sigma[i] };
            let z = mu[i] / floor;
            by_mu[i] = factor * math::erf(z * SQRT_HALF);
            by_ln_sigma[i] = factor * (sigma[i] * SQRT_2_OVER_PI * math::exp(-0.5 * z * z));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::forced::assert_levels_agree;
    use crate::special;

    fn bits(x: &[f32]) -> Vec<u32> {
        x.iter().map(|x| x.to_bits()).collect()
    }

    #[test]
    fn draws_and_slopes_are_the_scalar_ones_at_every_level() {
        for n in [0, 1, 15, 16, 17, 1_000] {
            let wide = |i: usize| [1.0, 8.0, 30.0, 300.0, 1e4][i % 5];
            let rho: Vec<f32> = (0..n).map(|i| ((i as f32 * 1.3).cos() - 0.3) * wide(i)).collect();
            let mu: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7).sin()).collect();
            let eps: Vec<f32> = (0..n).map(|i| (i as f32 * 0.9).sin() * 3.0).collect();
            assert_levels_agree("draw_and_slope", || {
                let [mut w, mut step, mut slope] = [0, 1, 2].map(|_| vec![f32::NAN; n]);
                draw_and_slope(&mu, &rho, &eps, &mut w, &mut step, &mut slope);
                for i in 0..n {
                    let r = f64::from(rho[i]);
                    let sigma = special::softplus(r);
                    let moved = sigma * f64::from(eps[i]);
                    let near = 6e-7 * moved.abs() + 1e-37;
                    assert!((f64::from(step[i]) - moved).abs() <= near, "{r}: {} {moved}", step[i]);
                    assert_eq!(w[i], mu[i] + step[i]);
                    let expected = if r < -30.0 { 1.0 } else { special::sigmoid(r) / sigma };
                    assert!((f64::from(slope[i]) / expected - 1.0).abs() < 6e-7, "{r}: {}", slope[i]);
                }
                [bits(&w), bits(&step), bits(&slope)]
            });
        }
    }

    #[test]
    fn gradients_are_added_by_the_formula_at_every_level() {
        let x = |n: usize, seed: f32| (0..n).map(|i| ((i as f32 + seed) * 0.731).sin()).collect::<Vec<_>>();
        for n in [0, 1, 15, 16, 17, 130] {
            let (a, b, slope) = (x(n, 1.0), x(n, 2.0), x(n, 3.0));
            assert_levels_agree("add_path_grad", || {
                let (mut d_mu, mut d_rho) = (x(n, 4.0), x(n, 5.0));
                add_path_grad(0.5, &a, &b, &slope, &mut d_mu, &mut d_rho);
                for i in 0..n {
                    assert_eq!(d_mu[i], x(n, 4.0)[i] - 0.5 * a[i]);
                    assert_eq!(d_rho[i], x(n, 5.0)[i] - 0.5 * ((1.0 + b[i]) * slope[i]));
                }
                [bits(&d_mu), bits(&d_rho)]
            });
        }
    }

    #[test]
    fn slopes_of_the_mean_absolute_value_are_its_differences_at_every_level() {
        let mean = |mu: f64, sigma: f64| {
            let m = mu / sigma;
            2.0 * sigma * special::norm_pdf(m) + mu * (2.0 * special::norm_cdf(m) - 1.0)
        };
        let mu: Vec<f32> = (0..200).map(|i| (i as f32 * 0.7).sin() * 4.0).collect();
        let sigma: Vec<f32> = (0..200).map(|i| ((i as f32 * 1.1).cos() * 3.0).exp()).collect();
        assert_levels_agree("abs_mean_slopes", || {
            let (mut by_mu, mut by_ln_sigma) = (vec![f32::NAN; 200], vec![f32::NAN; 200]);
            abs_mean_slopes(-2.0, &mu, &sigma, &mut by_mu, &mut by_ln_sigma);
            for i in 0..200 {
                let (m, s, h) = (f64::from(mu[i]), f64::from(sigma[i]), 1e-5_f64);
                let in_mu = -2.0 * (mean(m + h, s) - mean(m - h, s)) / (2.0 * h);
                let in_ln = -2.0 * (mean(m, s * h.exp()) - mean(m, s * (-h).exp())) / (2.0 * h);
                assert!((f64::from(by_mu[i]) - in_mu).abs() < 2e-6, "{m} {s}: {} {in_mu}", by_mu[i]);
                assert!(
                    (f64::from(by_ln_sigma[i]) - in_ln).abs() < 2e-5,
                    "{m} {s}: {} {in_ln}",
                    by_ln_sigma[i]
                );
            }
            [bits(&by_mu), bits(&by_ln_sigma)]
        });
        let (mut by_mu, mut by_ln_sigma) = ([f32::NAN; 3], [f32::NAN; 3]);
        abs_mean_slopes(1.0, &[0.0, 2.0, -1e-3], &[0.0; 3], &mut by_mu, &mut by_ln_sigma);
        assert_eq!((by_mu, by_ln_sigma), ([0.0, 1.0, -1.0], [0.0; 3]));
    }
}
