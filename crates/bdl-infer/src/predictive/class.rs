//! The predictive distribution of a class.

use bdl_dist::NoiseRng;
use bdl_tensor::kernels::exp_f64;

use super::{MixtureScratch, Predictive, ln_mean_mcse, logsumexp, mcse};
use crate::{ClassLikelihood, Error};

/// The predictive distribution of a class in one row: the mean of the passes' probabilities, and how they differ.
///
/// Entropies are in nats, `0·ln 0 = 0`. With one pass (S = 1) the mutual information is 0 and every
/// error `None`.
#[derive(Clone, Copy, Debug)]
pub struct ClassMixture<'a> {
    samples: usize,
    members: usize,
    /// `[S, classes]` each.
    ln_probs: &'a [f64],
    pass_probs: &'a [f64],
    /// `[classes]`, the mean over the passes, and its logarithms.
    probs: &'a [f64],
    ln_mean: &'a [f64],
}

impl<'a> ClassMixture<'a> {
    pub(super) fn new(
        predictive: &Predictive<'_>,
        likelihood: &dyn ClassLikelihood,
        row: usize,
        scratch: &'a mut MixtureScratch,
    ) -> Self {
        let (samples, classes) = (predictive.samples, likelihood.classes());
        let [ln_probs, probs, means] = scratch.slices([samples * classes, samples * classes, 2 * classes]);
        let (mean_probs, ln_mean) = means.split_at_mut(classes);
        predictive.fill_class(likelihood, row, ln_probs);
        exp_f64(ln_probs, probs);
        mean_probs.fill(0.0);
        for pass in probs.chunks_exact(classes) {
            mean_probs.iter_mut().zip(pass).for_each(|(mean, p)| *mean += p / samples as f64);
        }
        // A hundred hundredths add up to a little more than 1.
        mean_probs.iter_mut().for_each(|p| *p = p.min(1.0));
        ln_mean.iter_mut().zip(&*mean_probs).for_each(|(ln, p)| *ln = p.ln());
        Self {
            samples,
            members: predictive.members(),
            ln_probs,
            pass_probs: probs,
            probs: mean_probs,
            ln_mean,
        }
    }

    /// Number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.probs.len()
    }

    /// `P(class) = (1/S) Σ_s P_s(class)` of each class.
    #[must_use]
    pub fn probs(&self) -> &'a [f64] {
        self.probs
    }

    /// Monte Carlo standard error of each of [`probs`](Self::probs); `None` if S = 1.
    ///
    /// ```text
    /// sd_s(P_s(class))/√S;   of an ensemble: of the members' means, by √members
    /// ```
    /// `docs/math.md#mcse`.
    #[must_use]
    pub fn probs_mcse(&self) -> Option<impl Iterator<Item = f64>> {
        let of_class = |c: usize| {
            mcse(self.pass_probs.chunks_exact(self.classes()).map(|p| p[c]), self.samples, self.members)
        };
        (self.samples > 1).then(|| (0..self.classes()).filter_map(of_class))
    }

    /// The most probable class, the lowest of equals.
    #[must_use]
    pub fn label(&self) -> u32 {
        let best =
            (1..self.classes()).fold(0, |best, c| if self.probs[c] > self.probs[best] { c } else { best });
        best as u32
    }

    /// `H[E p]`, the entropy of the mean probabilities: total uncertainty.
    #[must_use]
    pub fn predictive_entropy(&self) -> f64 {
        0.0 - self.probs.iter().zip(self.ln_mean).map(|(&p, &ln_p)| p_ln(p, ln_p)).sum::<f64>()
    }

    /// Monte Carlo standard error of [`predictive_entropy`](Self::predictive_entropy); `None` if S = 1.
    ///
    /// ```text
    /// sd_s(−Σ_c p_sc·ln p̄_c)/√S;   of an ensemble: of the members' means, by √members
    /// ```
    /// The delta method. Where all classes are equally probable the entropy is at its top, the first order vanishes and
    /// the formula says 0: `docs/math.md#mcse`.
    #[must_use]
    pub fn predictive_entropy_mcse(&self) -> Option<f64> {
        let cross =
            |pass: &[f64]| -pass.iter().zip(self.ln_mean).map(|(&p, &ln_q)| p_ln(p, ln_q)).sum::<f64>();
        mcse(self.pass_probs.chunks_exact(self.classes()).map(cross), self.samples, self.members)
    }

    /// `E[H p]`, the mean of the passes' entropies: aleatoric uncertainty.
    #[must_use]
    pub fn expected_entropy(&self) -> f64 {
        0.0 - self.pass_probs.iter().zip(self.ln_probs).map(|(&p, &ln_p)| p_ln(p, ln_p)).sum::<f64>()
            / self.samples as f64
    }

    /// Monte Carlo standard error of [`expected_entropy`](Self::expected_entropy); `None` if S = 1.
    ///
    /// ```text
    /// sd_s(H[p_s])/√S;   of an ensemble: of the members' means, by √members
    /// ```
    /// `docs/math.md#mcse`.
    #[must_use]
    pub fn expected_entropy_mcse(&self) -> Option<f64> {
        let classes = self.classes();
        let passes = self.pass_probs.chunks_exact(classes).zip(self.ln_probs.chunks_exact(classes));
        let entropies =
            passes.map(|(p, ln_p)| -p.iter().zip(ln_p).map(|(&p, &ln_p)| p_ln(p, ln_p)).sum::<f64>());
        mcse(entropies, self.samples, self.members)
    }

    /// `H[E p] − E[H p]`: epistemic uncertainty, the information that the class has about the weights.
    ///
    /// ```text
    /// mutual_information = (1/S) Σ_s KL(p_s ‖ E p) ≥ 0
    /// ```
    /// This form equals the difference of the entropies without its cancellation. With S passes it is biased down, by
    /// the factor 1 − 1/S to first order, and never above ln S.
    ///
    /// # References
    /// Houlsby et al. 2011, Bayesian Active Learning for Classification and Preference Learning, eq. 2;
    /// `docs/math.md#entropies`.
    #[must_use]
    pub fn mutual_information(&self) -> f64 {
        (self.divergences().sum::<f64>() / self.samples as f64).max(0.0)
    }

    /// Monte Carlo standard error of [`mutual_information`](Self::mutual_information); `None` if S = 1.
    ///
    /// ```text
    /// sd_s(KL(p_s ‖ E p))/√S;   of an ensemble: of the members' means, by √members
    /// ```
    /// The delta method: `KL(p_s ‖ E p)` less its mean is the influence of pass s on the mutual information, what goes
    /// through `E p` included. It says how far the value would move with other passes, of an ensemble with other members; it
    /// does not contain the bias.
    #[must_use]
    pub fn mutual_information_mcse(&self) -> Option<f64> {
        mcse(self.divergences(), self.samples, self.members)
    }

    /// `ln P(class)` in nats, by logsumexp of the passes' log probabilities, so that it is finite where P underflows.
    ///
    /// # Errors
    /// [`Error::Argument`] if there is no such class.
    pub fn ln_density(&self, class: u32) -> Result<f64, Error> {
        let class = class as usize;
        if class >= self.classes() {
            return Err(Error::argument("ln_density: class", "below the number of classes", class));
        }
        let terms = self.ln_probs.chunks_exact(self.classes()).map(|pass| pass[class]);
        Ok(logsumexp(terms) - (self.samples as f64).ln())
    }

    /// Monte Carlo standard error of [`ln_density`](Self::ln_density); `None` if S = 1, if there is no such class or if its
    /// log probability is −∞.
    ///
    /// ```text
    /// sd_s(P_s(class)/P(class))/√S;   of an ensemble: of the members' means, by √members
    /// ```
    /// The delta method, finite where P underflows: `docs/math.md#mcse`.
    #[must_use]
    pub fn ln_density_mcse(&self, class: u32) -> Option<f64> {
        let class = class as usize;
        let ln_probs = self.ln_probs.chunks_exact(self.classes()).map(|pass| pass[class]);
        if class < self.classes() { ln_mean_mcse(ln_probs, self.samples, self.members) } else { None }
    }

    /// Independent draws of the class given the passes: draw i is from pass `i % S`.
    ///
    /// As for [`RealMixture::draws`](crate::RealMixture::draws), S draws are one from each pass, and the i-th draws of
    /// several rows come from the same pass.
    pub fn draws(&self, rng: &mut NoiseRng, draws: &mut [u32]) {
        let passes = self.pass_probs.chunks_exact(self.classes()).cycle();
        for (draw, probs) in draws.iter_mut().zip(passes) {
            *draw = class_at(probs, rng.uniform());
        }
    }

    /// `KL(p_s ‖ E p)` of each pass.
    fn divergences(&self) -> impl Iterator<Item = f64> {
        let passes =
            self.pass_probs.chunks_exact(self.classes()).zip(self.ln_probs.chunks_exact(self.classes()));
        passes.map(|(probs, ln_probs)| {
            let terms = probs.iter().zip(ln_probs).zip(self.ln_mean);
            terms.map(|((&p, &ln_p), &ln_mean)| p_ln(p, ln_p - ln_mean)).sum::<f64>()
        })
    }
}

/// The class in whose part of [0, 1) `u` lies; never one of probability 0.
fn class_at(probs: &[f64], u: f64) -> u32 {
    let mut left = u * probs.iter().sum::<f64>();
    let mut last = 0;
    for (class, &p) in probs.iter().enumerate().filter(|(_, p)| **p > 0.0) {
        if left < p {
            return class as u32;
        }
        left -= p;
        last = class as u32;
    }
    last
}

/// `p·ln q` with `0·ln 0 = 0`.
fn p_ln(p: f64, ln_q: f64) -> f64 {
    if p == 0.0 { 0.0 } else { p * ln_q }
}
