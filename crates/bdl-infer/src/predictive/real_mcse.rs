//! Monte Carlo standard errors of the answers about a number: `docs/math.md#mcse`.

use std::f64::consts::FRAC_1_SQRT_2;

use bdl_tensor::special::{erf, norm_pdf};

use super::quantile::{Mixture, Tail};
use super::{RealMixture, ln_mean_mcse, mcse};

/// As [`mean_mcse`](RealMixture::mean_mcse), each is the standard error of a mean over the passes, of an ensemble that of the
/// members' means: `sd(·)/√S` stands for both. `None` if S = 1.
impl RealMixture<'_> {
    /// Monte Carlo standard error of [`aleatoric_variance`](Self::aleatoric_variance): `sd(sd_s²)/√S`; `None` if S = 1.
    #[must_use]
    pub fn aleatoric_variance_mcse(&self) -> Option<f64> {
        let of_variances = self.mcse_over_passes(|s| self.sds[s] * self.sds[s])?;
        Some(self.units().scale().powi(2) * of_variances)
    }

    /// Monte Carlo standard error of [`epistemic_variance`](Self::epistemic_variance); `None` if S = 1.
    ///
    /// ```text
    /// √((m4 − (S − 3)/(S − 1)·epistemic_variance²)/S),   m4 = (1/S) Σ_s (mean_s − mean)⁴
    /// ```
    /// The standard error of a sample variance with the sample's moments, m4 being too small for few passes. Of an
    /// ensemble, `(mean_s − mean)²` is averaged within the members before it is squared and S is their number; where the
    /// members hardly differ this is too large, by at most `√(2/(members·(members − 1)))·epistemic_variance`.
    #[must_use]
    pub fn epistemic_variance_mcse(&self) -> Option<f64> {
        let (samples, members) = (self.means.len(), self.predictive.members());
        let groups = if members > 1 { members } else { samples };
        let square = |m: &f64| (m - self.mean).powi(2);
        let of_group = |g: &[f64]| g.iter().map(square).sum::<f64>() / g.len() as f64;
        let m4 = self.means.chunks_exact(samples / groups).map(|g| of_group(g).powi(2)).sum::<f64>()
            / groups as f64;
        let n = groups as f64;
        let variance = (m4 - (n - 3.0) / (n - 1.0) * self.epistemic.powi(2)) / n;
        (groups > 1).then(|| self.units().scale().powi(2) * variance.sqrt())
    }

    /// Monte Carlo standard error of [`predictive_variance`](Self::predictive_variance); `None` if S = 1.
    ///
    /// ```text
    /// sd(sd_s² + S/(S − 1)·(mean_s − mean)²)/√S
    /// ```
    /// The delta method: what a pass adds to both parts, which may be correlated.
    #[must_use]
    pub fn predictive_variance_mcse(&self) -> Option<f64> {
        let s = self.means.len() as f64;
        let influence = |i: usize| self.sds[i].powi(2) + s / (s - 1.0) * (self.means[i] - self.mean).powi(2);
        Some(self.units().scale().powi(2) * self.mcse_over_passes(influence)?)
    }

    /// Monte Carlo standard error of [`cdf`](Self::cdf) at `y`: `sd(F_s(y))/√S`; `None` if S = 1.
    #[must_use]
    pub fn cdf_mcse(&self, y: f64) -> Option<f64> {
        let y = self.units().invert(y);
        self.mcse_over_passes(|s| self.component_mass(s, y, Tail::Lower))
    }

    /// Monte Carlo standard error of [`ln_density`](Self::ln_density) at `y`: `sd(p_s(y)/p(y))/√S`; `None` if S = 1 or if
    /// the log density is not finite.
    ///
    /// The delta method; it does not contain the bias of `docs/math.md#mixture-nll`.
    #[must_use]
    pub fn ln_density_mcse(&self, y: f64) -> Option<f64> {
        let (y, samples) = (self.units().invert(y), self.means.len());
        let terms = (0..samples).map(|s| self.component_ln_density(s, y));
        ln_mean_mcse(terms, samples, self.predictive.members())
    }

    /// Monte Carlo standard error of [`quantile`](Self::quantile); `None` if S = 1, if `prob` is not in `(0, 1)`, if the
    /// density at the quantile is 0 or if the target is discrete, whose quantiles move by jumps.
    ///
    /// ```text
    /// cdf_mcse(q)/p(q),   q = quantile(prob)
    /// ```
    /// The delta method: where F is lifted by d, the quantile moves by `−d/p(q)`. It says little between two far passes,
    /// where the density is next to nothing.
    #[must_use]
    pub fn quantile_mcse(&self, prob: f64) -> Option<f64> {
        if !(prob > 0.0 && prob < 1.0) || self.likelihood.is_discrete() {
            return None;
        }
        let at = self.own_quantile(prob);
        let (tail, mass) = Tail::of_prob(prob);
        // Relative to the mass, so that the squares do not underflow far out.
        let relative = self.mcse_over_passes(|s| self.component_mass(s, at, tail) / mass)?;
        let density = self.density(at) / mass;
        (density > 0.0).then(|| self.units().scale() * relative / density)
    }

    /// Monte Carlo standard error of [`crps`](Self::crps) at `y`; `None` if S = 1.
    ///
    /// ```text
    /// sd(E|Y_s − y| − (1/S) Σ_t E|Y_s − Y_t|)/√S,   Y_s ~ pass s
    /// ```
    /// The delta method: a pass enters the second part of the CRPS twice, hence no ½. At a cost of S² for Gaussians; for
    /// others the same by quadrature, with a small allocation.
    #[must_use]
    pub fn crps_mcse(&self, y: f64) -> Option<f64> {
        let y = self.units().invert(y);
        let of_influences = if self.likelihood.is_gaussian() {
            self.mcse_over_passes(|s| self.crps_influence(s, y))
        } else {
            self.crps_mcse_by_quadrature(y)
        };
        Some(self.units().scale() * of_influences?)
    }

    fn crps_influence(&self, s: usize, y: f64) -> f64 {
        let (mean, variance) = (self.means[s], self.sds[s].powi(2));
        let others = self.means.iter().zip(self.sds);
        let distances =
            others.map(|(m, sd)| mean_abs_normal(mean - m, sd.mul_add(*sd, variance))).sum::<f64>();
        mean_abs_normal(mean - y, variance) - distances / self.means.len() as f64
    }

    /// The same influence, up to a constant: `2·∫ F·F_s` below y and `2·∫ (1 − F)·(1 − F_s)` above.
    pub(super) fn crps_mcse_by_quadrature(&self, y: f64) -> Option<f64> {
        let [low, high] = self.practical_range();
        let parts = [(Tail::Lower, low.min(y), y), (Tail::Upper, y, high.max(y))];
        let masses = parts.map(|(tail, a, b)| {
            let mut masses = Vec::new();
            self.integral(a, b, |t| {
                masses.push(self.tail_mass(t, tail));
                0.0
            });
            masses
        });
        self.mcse_over_passes(|s| {
            let part = |((tail, a, b), masses): (_, &Vec<f64>)| {
                let mut masses = masses.iter();
                self.integral(a, b, |t| masses.next().map_or(0.0, |m| m * self.component_mass(s, t, tail)))
            };
            2.0 * parts.into_iter().zip(&masses).map(part).sum::<f64>()
        })
    }

    fn mcse_over_passes(&self, value: impl Fn(usize) -> f64) -> Option<f64> {
        mcse((0..self.means.len()).map(value), self.means.len(), self.predictive.members())
    }
}

/// `E|N(mean, variance)| = 2σ φ(mean/σ) + mean·erf(mean/(σ√2))`, `|mean|` for variance 0.
fn mean_abs_normal(mean: f64, variance: f64) -> f64 {
    let sd = variance.sqrt();
    if sd == 0.0 {
        return mean.abs();
    }
    let z = mean / sd;
    2.0 * sd * norm_pdf(z) + mean * erf(z * FRAC_1_SQRT_2)
}
