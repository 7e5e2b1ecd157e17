//! The predictive distribution of a number.

use std::f64::consts::TAU;

use bdl_dist::NoiseRng;
use bdl_tensor::kernels::{Normals, normals_density, normals_mass};
use bdl_tensor::special::norm_cdf;

use super::quantile::{Mixture, Tail, solve};
use super::whole::{step_integral, whole_quantile};
use super::{MixtureScratch, Predictive, Units, logsumexp, mcse};
use crate::error::check_arg;
use crate::{Error, RealLikelihood};

/// Components of a mixture of which the CRPS is summed over pairs.
const CRPS_PAIRS: usize = 512;

/// The predictive distribution of a real target in one row: the mixture over the passes, in the target's units.
///
/// A mixture of Gaussians is not the Gaussian with the mean of the parameters: densities, quantiles and intervals are those
/// of the mixture. With one pass (S = 1) it is that pass's distribution: the epistemic variance is 0 and
/// [`mean_mcse`](Self::mean_mcse), like every other error, is `None`.
#[derive(Clone, Copy, Debug)]
pub struct RealMixture<'a> {
    pub(super) predictive: &'a Predictive<'a>,
    pub(super) likelihood: &'a dyn RealLikelihood,
    row: usize,
    /// Of each pass, in the units of the likelihood.
    pub(super) means: &'a [f64],
    pub(super) sds: &'a [f64],
    ln_sds: &'a [f64],
    /// Whether all passes are told by mean and a deviation that has not underflown.
    plain: bool,
    pub(super) mean: f64,
    pub(super) aleatoric: f64,
    pub(super) epistemic: f64,
}

impl<'a> RealMixture<'a> {
    pub(super) fn new(
        predictive: &'a Predictive<'a>,
        likelihood: &'a dyn RealLikelihood,
        row: usize,
        scratch: &'a mut MixtureScratch,
    ) -> Self {
        let samples = predictive.samples;
        let [means, sds, ln_sds] = scratch.slices([samples; 3]);
        predictive.fill_real(likelihood, row, means, sds);
        fill_ln(sds, ln_sds);
        let (means, sds, ln_sds) = (&*means, &*sds, &*ln_sds);
        let plain = likelihood.is_gaussian() && sds.iter().all(|sd| *sd > 0.0);
        let s = samples as f64;
        let mean = means.iter().sum::<f64>() / s;
        let aleatoric = sds.iter().map(|sd| sd * sd).sum::<f64>() / s;
        let squares: f64 = means.iter().map(|m| (m - mean) * (m - mean)).sum();
        let epistemic = if samples > 1 { squares / (s - 1.0) } else { 0.0 };
        Self { predictive, likelihood, row, means, sds, ln_sds, plain, mean, aleatoric, epistemic }
    }

    pub(super) fn units(&self) -> Units {
        self.predictive.units
    }

    /// `E[y] = shift + scale·(1/S) Σ mean_s`.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.units().apply(self.mean)
    }

    /// `E_w[Var(y | w)]`: the mean of the passes' variances, which is the noise that more data would not remove. A
    /// learned noise contains some of the spread of the passes too: `docs/math.md#learned-noise`.
    #[must_use]
    pub fn aleatoric_variance(&self) -> f64 {
        self.units().scale.powi(2) * self.aleatoric
    }

    /// `Var_w[E(y | w)]`: the variance of the passes' means, with S − 1; 0 if S = 1.
    #[must_use]
    pub fn epistemic_variance(&self) -> f64 {
        self.units().scale.powi(2) * self.epistemic
    }

    /// The sum of both: the law of total variance.
    ///
    /// With S − 1 in the epistemic part this estimates the variance under infinitely many passes without bias; the
    /// variance of this very mixture has S there.
    #[must_use]
    pub fn predictive_variance(&self) -> f64 {
        self.units().scale.powi(2) * (self.aleatoric + self.epistemic)
    }

    /// Monte Carlo standard error of [`mean`](Self::mean); `None` if S = 1.
    ///
    /// ```text
    /// sd(mean_s)/√S;   of an ensemble: sd(means of the members)/√members
    /// ```
    /// What it means: how far the mean would move if the passes were drawn again; of an ensemble, whose passes are
    /// dependent through their member, how far it would move if the *members* were trained again.
    #[must_use]
    pub fn mean_mcse(&self) -> Option<f64> {
        let of_means = mcse(self.means.iter().copied(), self.means.len(), self.predictive.members())?;
        Some(self.units().scale * of_means)
    }

    /// `P(Y ≤ y)`, the mean of the passes' distribution functions.
    #[must_use]
    pub fn cdf(&self, y: f64) -> f64 {
        self.tail_mass(self.units().invert(y), Tail::Lower)
    }

    /// The probability integral transform of the observed target `y`: uniform on [0, 1] if the predictions are calibrated and
    /// `u` is uniform on [0, 1].
    ///
    /// ```text
    /// pit = P(Y ≤ y);      of a discrete target P(Y < y) + u·P(Y = y)
    /// ```
    /// # References
    /// Czado, Gneiting & Held 2009, Predictive model assessment for count data, section 2; `docs/math.md#calibration-error`.
    #[must_use]
    pub fn pit(&self, y: f64, u: f64) -> f64 {
        let at_most = self.cdf(y);
        if !self.likelihood.is_discrete() {
            return at_most;
        }
        let below = self.cdf(y.ceil() - 1.0);
        below + u * (at_most - below)
    }

    /// `ln p(y)` in nats, per unit of the target.
    ///
    /// ```text
    /// ln p(y) = logsumexp_s(ln p_s((y − shift)/scale)) − ln S − ln scale
    /// ```
    /// Of a discrete target the log probability, −∞ at what is no whole number. `docs/math.md#mixture-nll`.
    #[must_use]
    pub fn ln_density(&self, y: f64) -> f64 {
        let y = self.units().invert(y);
        let terms = (0..self.means.len()).map(|s| self.component_ln_density(s, y));
        logsumexp(terms) - (self.means.len() as f64).ln() - self.units().scale.ln()
    }

    /// The value below which the target lies with probability `prob`: the inverse of [`cdf`](Self::cdf).
    ///
    /// Newton's method on the normal score of the distribution function within a bracket, so that it ends for any mixture.
    /// The result is accurate to about 1e-12 of the mixture's width; infinite at 0 and 1. Of a discrete target it is the smallest
    /// whole number at or below which the target lies with at least that probability.
    ///
    /// # Errors
    /// [`Error::Argument`] unless `prob` is in `[0, 1]`.
    pub fn quantile(&self, prob: f64) -> Result<f64, Error> {
        check_arg("quantile: prob", "in [0, 1]", prob, (0.0..=1.0).contains(&prob))?;
        Ok(self.units().apply(self.own_quantile(prob)))
    }

    /// [`quantile`](Self::quantile) in the units of the likelihood.
    pub(super) fn own_quantile(&self, prob: f64) -> f64 {
        let sd = self.sd();
        if self.likelihood.is_discrete() && prob > 0.0 && prob < 1.0 {
            return whole_quantile(prob, self.mean, sd, |y, tail| self.tail_mass(y, tail));
        }
        solve(self, prob, self.mean, sd)
    }

    /// The standard deviation in the units of the likelihood.
    fn sd(&self) -> f64 {
        (self.aleatoric + self.epistemic).sqrt()
    }

    /// The central interval `[quantile((1 − level)/2), quantile((1 + level)/2)]`.
    ///
    /// Of a discrete target it holds its ends and *at least* the probability `level`: a whole number more or less is the least by
    /// which it could differ.
    ///
    /// # Errors
    /// [`Error::Argument`] unless `level` is in `(0, 1)`.
    pub fn interval(&self, level: f64) -> Result<[f64; 2], Error> {
        check_arg("interval: level", "in (0, 1)", level, level > 0.0 && level < 1.0)?;
        let tail = 0.5 * (1.0 - level);
        Ok([self.quantile(tail)?, self.quantile(1.0 - tail)?])
    }

    /// Continuous ranked probability score at `y`, in the target's units; smaller is better.
    ///
    /// ```text
    /// crps = ∫ (F(t) − 1{t ≥ y})² dt
    /// ```
    /// In closed form for mixtures of at most 512 Gaussians, at a cost of S² and with an allocation of O(S); otherwise by quadrature,
    /// at some hundred times S, between the quantiles 1e-7 and 1 − 1e-7, which for a discrete target is the sum over its steps. NaN if `y` or an output is
    /// not finite. `docs/math.md#crps`.
    ///
    /// # References
    /// Grimit, Gneiting, Berrocal & Johnson 2006, eq. 5.
    #[must_use]
    pub fn crps(&self, y: f64) -> f64 {
        let y = self.units().invert(y);
        if !(y.is_finite() && self.mean.is_finite() && self.aleatoric.is_finite()) {
            return f64::NAN;
        }
        // Points have no density that a quadrature could follow.
        let in_pairs = self.means.len() <= CRPS_PAIRS || self.sds.contains(&0.0);
        let crps = if self.likelihood.is_gaussian() && in_pairs {
            bdl_metrics::crps_gaussian_mixture(&[y], self.means, self.sds).unwrap_or(f64::NAN)
        } else {
            self.crps_by_quadrature(y)
        };
        self.units().scale * crps
    }

    pub(super) fn crps_by_quadrature(&self, y: f64) -> f64 {
        let [low, high] = self.practical_range();
        let below = self.integral(low.min(y), y, |t| self.tail_mass(t, Tail::Lower).powi(2));
        below + self.integral(y, high.max(y), |t| self.tail_mass(t, Tail::Upper).powi(2))
    }

    /// What holds practically all of the target.
    pub(super) fn practical_range(&self) -> [f64; 2] {
        [1e-7, 1.0 - 1e-7].map(|prob| self.own_quantile(prob))
    }

    /// `∫ f` over `[a, b]` of a function of masses.
    pub(super) fn integral(&self, a: f64, b: f64, f: impl FnMut(f64) -> f64) -> f64 {
        if self.likelihood.is_discrete() {
            step_integral(a, b, f)
        } else {
            quadrature([a, b], self.mean, self.sd(), f)
        }
    }

    /// Independent draws of the target given the passes: draw i is from pass `i % S`.
    ///
    /// S draws are therefore one from each pass. Which pass a draw is from does not depend on the row: under pass-scoped
    /// noise, the i-th draws of several rows come from the same function.
    pub fn draws(&self, rng: &mut NoiseRng, draws: &mut [f64]) {
        for (i, draw) in draws.iter_mut().enumerate() {
            let (params, out_row) = self.predictive.pass(i % self.means.len(), self.row);
            *draw = self.units().apply(self.likelihood.draw(params, out_row, rng));
        }
    }

    fn as_normals(&self) -> Normals<'_> {
        Normals { means: self.means, sds: self.sds, ln_sds: self.ln_sds }
    }

    fn is_plain_gaussian(&self, s: usize) -> bool {
        self.plain || self.likelihood.is_gaussian() && self.sds[s] > 0.0
    }

    pub(super) fn component_ln_density(&self, s: usize, y: f64) -> f64 {
        if self.is_plain_gaussian(s) {
            let z = (y - self.means[s]) / self.sds[s];
            return -0.5 * z * z - self.ln_sds[s] - 0.5 * TAU.ln();
        }
        let (params, out_row) = self.predictive.pass(s, self.row);
        self.likelihood.ln_density(params, out_row, y)
    }

    pub(super) fn component_mass(&self, s: usize, y: f64, tail: Tail) -> f64 {
        if self.is_plain_gaussian(s) {
            return norm_cdf(tail.sign() * (y - self.means[s]) / self.sds[s]);
        }
        let (params, out_row) = self.predictive.pass(s, self.row);
        match tail {
            Tail::Lower => self.likelihood.cdf(params, out_row, y),
            Tail::Upper => self.likelihood.survival(params, out_row, y),
        }
    }
}

impl Mixture for RealMixture<'_> {
    fn tail_mass(&self, y: f64, tail: Tail) -> f64 {
        let sum = if self.plain {
            normals_mass(self.as_normals(), y, tail.sign())
        } else {
            (0..self.means.len()).map(|s| self.component_mass(s, y, tail)).sum()
        };
        sum / self.means.len() as f64
    }

    fn density(&self, y: f64) -> f64 {
        let sum = if self.plain {
            normals_density(self.as_normals(), y)
        } else {
            (0..self.means.len()).map(|s| self.component_ln_density(s, y).exp()).sum()
        };
        sum / self.means.len() as f64
    }

    fn normals(&self) -> Option<Normals<'_>> {
        self.likelihood.is_gaussian().then(|| self.as_normals())
    }
}

/// Logarithms, one for each run of equal numbers: the passes of a network often share their noise.
fn fill_ln(x: &[f64], ln: &mut [f64]) {
    let (mut last, mut ln_last) = (1.0, 0.0);
    for (x, ln) in x.iter().zip(ln) {
        if *x != last {
            (last, ln_last) = (*x, x.ln());
        }
        *ln = ln_last;
    }
}

/// `∫ f` over `[a, b]`: Gauss–Legendre with 4 nodes on each of 64 panels, which are equal in `asinh((t − middle)/width)`: narrow
/// about the middle and as wide as heavy tails are long.
pub(super) fn quadrature([a, b]: [f64; 2], middle: f64, width: f64, mut f: impl FnMut(f64) -> f64) -> f64 {
    const PANELS: u32 = 64;
    const NODES: [(f64, f64); 2] = [
        (0.339_981_043_584_856_26, 0.652_145_154_862_546_1),
        (0.861_136_311_594_052_6, 0.347_854_845_137_453_85),
    ];
    // A point, or one that claims to be: any width does.
    let width = if width > 0.0 { width } else { 1.0 };
    let [from, to] = [a, b].map(|t| ((t - middle) / width).asinh());
    let half = 0.5 * (to - from) / f64::from(PANELS);
    let mut at = |v: f64| f(middle + width * v.sinh()) * width * v.cosh();
    let panel = |i: u32| {
        let centre = from + (2.0 * f64::from(i) + 1.0) * half;
        NODES.iter().map(|(x, w)| w * (at(centre - half * x) + at(centre + half * x))).sum::<f64>()
    };
    half * (0..PANELS).map(panel).sum::<f64>()
}
