//! KL divergences of normals `N(mu, softplus(rho)²)` from any density: `docs/math.md#kl-monte-carlo`.

use std::f64::consts::{E, TAU};

use bdl_dist::Density;
use bdl_tensor::{kernels, special};

/// Weights that are worked on at a time: their draws and slopes lie in the first cache.
const RUN: usize = 256;

/// `Σ −ln sigma − ½·ln(2πe)`, minus the entropies of the posteriors.
fn neg_entropy(rho: &[f32]) -> f64 {
    -kernels::sum_ln_softplus(rho) - 0.5 * (TAU * E).ln() * rho.len() as f64
}

/// `Σ KL(N(mu, softplus(rho)²)‖p)`, what has no closed form by quadrature.
pub(super) fn kl(p: &dyn Density, mu: &[f32], rho: &[f32]) -> f64 {
    let mut sigma = [0.0; RUN];
    let mut run = |(mu, rho): (&[f32], &[f32])| {
        let sigma = &mut sigma[..rho.len()];
        sigma.iter_mut().zip(rho).for_each(|(s, &rho)| *s = special::softplus(rho.into()));
        p.expected_ln_prob_sum(mu, sigma)
    };
    let expected: f64 = mu.chunks(RUN).zip(rho.chunks(RUN)).map(&mut run).sum();
    neg_entropy(rho) - expected
}

/// The same with `ln p(mu + sigma·eps)` in the place of its mean: unbiased over standard normal eps.
pub(super) fn estimate(p: &dyn Density, mu: &[f32], rho: &[f32], eps: &[f32]) -> f64 {
    let draw = |((&mu, &rho), &eps): ((&f32, &f32), &f32)| {
        p.ln_prob(f64::from(mu) + special::softplus(rho.into()) * f64::from(eps))
    };
    neg_entropy(rho) - mu.iter().zip(rho).zip(eps).map(draw).sum::<f64>()
}

/// Adds `weight` times the gradient of [`estimate`], or without eps of [`kl`].
pub(super) fn add_grad(
    p: &dyn Density,
    [mu, rho]: [&[f32]; 2],
    eps: Option<&[f32]>,
    weight: f32,
    [d_mu, d_rho]: [&mut [f32]; 2],
) {
    let runs = mu.chunks(RUN).zip(rho.chunks(RUN));
    let grads = d_mu.chunks_mut(RUN).zip(d_rho.chunks_mut(RUN));
    // Without draws sigma itself is wanted: the step of a draw of 1.
    let mut slopes = Slopes { ones: [1.0; RUN], w: [0.0; RUN], step: [0.0; RUN], by_rho: [0.0; RUN] };
    for (i, ((mu, rho), (d_mu, d_rho))) in runs.zip(grads).enumerate() {
        let eps = eps.map(|eps| &eps[i * RUN..][..mu.len()]);
        slopes.add(p, [mu, rho], eps, weight, [d_mu, d_rho]);
    }
}

/// What [`add_grad`] works in.
struct Slopes {
    ones: [f32; RUN],
    w: [f32; RUN],
    step: [f32; RUN],
    by_rho: [f32; RUN],
}

impl Slopes {
    fn add(
        &mut self,
        p: &dyn Density,
        [mu, rho]: [&[f32]; 2],
        eps: Option<&[f32]>,
        weight: f32,
        [d_mu, d_rho]: [&mut [f32]; 2],
    ) {
        let n = mu.len();
        let (w, step, by_rho) = (&mut self.w[..n], &mut self.step[..n], &mut self.by_rho[..n]);
        let (mut by_mu, mut by_ln_sigma) = ([0.0; RUN], [0.0; RUN]);
        let (by_mu, by_ln_sigma) = (&mut by_mu[..n], &mut by_ln_sigma[..n]);
        kernels::draw_and_slope(mu, rho, eps.unwrap_or(&self.ones[..n]), w, step, by_rho);
        match eps {
            Some(_) => {
                p.slopes(w, by_mu);
                kernels::mul(by_mu, step, by_ln_sigma);
            }
            None => p.expected_slopes_of(mu, step, by_mu, by_ln_sigma),
        }
        kernels::add_path_grad(weight, by_mu, by_ln_sigma, by_rho, d_mu, d_rho);
    }
}
