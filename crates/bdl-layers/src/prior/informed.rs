//! Normal priors with numbers of their own in the parameter vector: a mean for each weight that is given, or a scale that is
//! learned.

use std::ops::Range;

use bdl_dist::{NoiseRng, Normal};
use bdl_tensor::kernels;

use super::Prior;
use crate::family::IMPROPER;
use crate::{Block, Extent, KlTerm, Role};

impl Prior {
    /// The blocks of these numbers, none for most priors.
    pub(crate) fn blocks(&self, extent: &Extent) -> Vec<Block> {
        match self {
            Self::Around(..) => vec![
                Block::new("prior.weight.mean", &extent.weight_shape, Role::Buffer),
                Block::new("prior.bias.mean", &[extent.biases], Role::Buffer),
            ],
            Self::Learned(..) => vec![Block::new("prior.ln_std_dev", &[1], Role::Hyper)],
            _ => Vec::new(),
        }
    }

    /// Their initial values: means of 0, a scale as it was given.
    pub(crate) fn init(&self, of_prior: &mut [f32]) {
        of_prior.fill(match self {
            Self::Learned(std_dev, _) => std_dev.ln() as f32,
            _ => 0.0,
        });
    }

    /// Puts the means of the prior, if it has any, at these weights and biases.
    pub(crate) fn centre(&self, [weight, bias]: [&[f32]; 2], of_prior: &mut [f32]) {
        if let Self::Around(..) = self {
            let (of_weights, of_biases) = of_prior.split_at_mut(weight.len());
            of_weights.copy_from_slice(weight);
            of_biases.copy_from_slice(&bias[..of_biases.len()]);
        }
    }
}

impl Prior {
    /// Draws weights and biases; under a learned scale, as it is.
    ///
    /// # Errors
    /// What stands in the place of a density to draw from, in words.
    pub(crate) fn sample(
        &self,
        extent: &Extent,
        of_prior: &[f32],
        weights: [&mut [f32]; 2],
        rng: &mut NoiseRng,
    ) -> Result<(), &'static str> {
        let now = match (self, of_prior) {
            (Self::Learned(_, scaling), [ln_std_dev]) => {
                Self::Learned(f64::from(*ln_std_dev).exp(), *scaling)
            }
            _ => self.clone(),
        };
        let priors = now.of_weight_and_bias(extent.fan_in).map_err(|_| "a scale that is out of range")?;
        let is_around = matches!(self, Self::Around(..));
        let mut centres = if is_around { of_prior } else { &[] };
        for (out, prior) in weights.into_iter().zip(priors) {
            prior.sample(out, rng).ok_or(IMPROPER)?;
            let (own, rest) = centres.split_at(out.len().min(centres.len()));
            out.iter_mut().zip(own).for_each(|(w, centre)| *w += centre);
            centres = rest;
        }
        Ok(())
    }
}

/// Posteriors `N(mu, softplus(rho)²)` of a layer under such a prior, weights first and biases second:
/// `docs/math.md#prior-around`, `docs/math.md#prior-learned-scale`.
pub(crate) struct Informed<'a> {
    /// mu and rho.
    posteriors: [[&'a [f32]; 2]; 2],
    /// Means of the prior; none are 0.
    centres: [&'a [f32]; 2],
    /// Its standard deviations.
    std_devs: [f64; 2],
    is_learned: bool,
}

impl<'a> Informed<'a> {
    /// The layer with these parameters, if its prior is one.
    pub(crate) fn of(prior: &Prior, extent: &Extent, params: &'a [f32]) -> Option<Self> {
        let (of_weights, rest) = params.split_at(2 * extent.weights());
        let (of_biases, of_prior) = rest.split_at(2 * extent.biases);
        let (std_dev, scaling, centres) = match *prior {
            Prior::Around(std_dev, scaling) => (std_dev, scaling, of_prior.split_at(extent.weights()).into()),
            Prior::Learned(_, scaling) => (f64::from(*of_prior.first()?).exp(), scaling, [&[][..]; 2]),
            _ => return None,
        };
        let halves = |run: &'a [f32]| run.split_at(run.len() / 2).into();
        Some(Self {
            posteriors: [halves(of_weights), halves(of_biases)],
            centres,
            std_devs: [std_dev * scaling.factor(extent.fan_in), std_dev],
            is_learned: matches!(prior, Prior::Learned(..)),
        })
    }

    /// The learned standard deviation, before it is scaled by the fan-in.
    pub(crate) fn learned(&self) -> Option<f64> {
        self.is_learned.then_some(self.std_devs[1])
    }

    /// The prior of the weights' deviations from its means.
    pub(crate) fn of_weights(&self) -> Option<Normal> {
        Normal::new(0.0, self.std_devs[0]).ok()
    }

    /// The deviations of the weights' posterior means from those of the prior.
    pub(crate) fn deviations(&self) -> Vec<f32> {
        let mut run = [0.0; KlTerm::SHARD];
        let mut all = Vec::with_capacity(self.posteriors[0][0].len());
        shards(self.posteriors[0][0].len()).for_each(|at| all.extend_from_slice(self.off(0, at, &mut run)));
        all
    }

    /// The KL, in nats.
    pub(crate) fn kl(&self) -> f64 {
        let mut run = [0.0; KlTerm::SHARD];
        let mut kl = 0.0;
        for (i, [mu, rho]) in self.posteriors.into_iter().enumerate() {
            for at in shards(mu.len()) {
                kl += kernels::kl_normal(0.0, self.std_devs[i], self.off(i, at.clone(), &mut run), &rho[at]);
            }
        }
        kl
    }

    /// Adds `weight` times its gradient; that of given means is nobody's.
    pub(crate) fn add_kl_grad(&self, weight: f32, grads: &mut [f32]) {
        let (d_weights, rest) = grads.split_at_mut(2 * self.posteriors[0][0].len());
        let (d_biases, d_prior) = rest.split_at_mut(2 * self.posteriors[1][0].len());
        let mut run = [0.0; KlTerm::SHARD];
        for (i, grads) in [d_weights, d_biases].into_iter().enumerate() {
            let ([_, rho], (d_mu, d_rho)) = (self.posteriors[i], grads.split_at_mut(grads.len() / 2));
            for at in shards(rho.len()) {
                let off = self.off(i, at.clone(), &mut run);
                let (d_mu, d_rho) = (&mut d_mu[at.clone()], &mut d_rho[at.clone()]);
                kernels::kl_normal_slope(0.0, self.std_devs[i], weight, off, &rho[at], d_mu, d_rho);
            }
        }
        if self.is_learned {
            d_prior[0] += weight * self.scale_slope() as f32;
        }
    }

    /// `∂KL/∂ln s = Σ 1 − (mu² + sigma²)/s²`.
    fn scale_slope(&self) -> f64 {
        let mut sigma = [0.0; KlTerm::SHARD];
        let mut slope = 0.0;
        for ([mu, rho], std_dev) in self.posteriors.into_iter().zip(self.std_devs) {
            let mut squares = kernels::sum_squares_f64(mu);
            for at in shards(rho.len()) {
                let sigma = &mut sigma[..at.len()];
                kernels::softplus(&rho[at], sigma);
                squares += kernels::sum_squares_f64(sigma);
            }
            slope += mu.len() as f64 - squares / (std_dev * std_dev);
        }
        slope
    }

    /// `mu − m` of some weights (run 0) or biases (run 1), written to `out` where the means are not 0.
    fn off<'o>(&self, run: usize, at: Range<usize>, out: &'o mut [f32; KlTerm::SHARD]) -> &'o [f32]
    where
        'a: 'o,
    {
        let mu = &self.posteriors[run][0][at.clone()];
        let Some(centre) = self.centres[run].get(at) else { return mu };
        let out = &mut out[..mu.len()];
        for ((out, mu), centre) in out.iter_mut().zip(mu).zip(centre) {
            *out = mu - centre;
        }
        out
    }
}

/// Runs of at most [`KlTerm::SHARD`] of so many weights.
fn shards(weights: usize) -> impl Iterator<Item = Range<usize>> {
    (0..weights).step_by(KlTerm::SHARD).map(move |from| from..(from + KlTerm::SHARD).min(weights))
}
