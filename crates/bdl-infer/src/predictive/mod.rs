//! The predictive distribution: the mixture over Monte Carlo passes.

mod class;
mod quantile;
mod real;
mod real_mcse;
mod several;
#[cfg(test)]
mod tests;
mod whole;

pub use class::ClassMixture;
pub(crate) use quantile::Tail;
pub use real::RealMixture;
use several::PartOf;
pub(crate) use whole::whole_quantile;

use crate::error::{check_arg, check_len, check_size};
use crate::likelihood::{Likelihood, PassOutputs, Predicts, kind_error};
use crate::{ClassLikelihood, Error, RealLikelihood};

/// From the units in which a likelihood was trained to the target's own: `y = shift + scale·y_trained`.
///
/// | name | default | range | meaning |
/// |---|---|---|---|
/// | `shift` | 0 | finite | usually the mean of the training targets |
/// | `scale` | 1 | finite and > 0 | usually their standard deviation |
///
/// Means are shifted and scaled, deviations scaled, log densities lowered by `ln scale`:
/// `docs/math.md#target-units`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Units {
    shift: f64,
    scale: f64,
}

impl Default for Units {
    fn default() -> Self {
        Self { shift: 0.0, scale: 1.0 }
    }
}

impl Units {
    /// The affine map `y = shift + scale·y_trained`.
    ///
    /// # Errors
    /// [`Error::Argument`] unless both are finite and `scale` is positive.
    pub fn new(shift: f64, scale: f64) -> Result<Self, Error> {
        check_arg("units: shift", "finite", shift, shift.is_finite())?;
        check_arg("units: scale", "finite and > 0", scale, scale > 0.0 && scale.is_finite())?;
        Ok(Self { shift, scale })
    }

    /// What stands for 0.
    #[must_use]
    pub fn shift(&self) -> f64 {
        self.shift
    }

    /// The length of 1.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// From trained to own units: `shift + scale·y`.
    #[must_use]
    pub fn apply(&self, y: f64) -> f64 {
        self.shift + self.scale * y
    }

    /// From own to trained units: `(y − shift)/scale`.
    #[must_use]
    pub fn invert(&self, y: f64) -> f64 {
        (y - self.shift) / self.scale
    }
}

/// The mixture over S passes for B rows: a view over the network's outputs and the likelihood.
///
/// ```text
/// p(y | x) = (1/S) Σ_s p(y | out_s(x))
/// ```
///
/// It holds no results: [`real`](Self::real) or [`class`](Self::class) reads one row into the caller's [`MixtureScratch`] and
/// answers every question about it. Nothing is allocated once the scratch has grown to its size, and the
/// view is `Sync`, so that threads can share it, each with a scratch of its own.
///
/// The S passes of an ensemble are those of its first member, then those of its second, and so on; each member has its own
/// likelihood parameters. Pass s belongs to member `s / (S / members)`. The formulas: `docs/math.md#predictive-mixture`.
///
/// ```
/// use bdl_infer::{Gaussian, NoiseSd, Predictive, MixtureScratch, Units};
/// let likelihood = Gaussian::new(NoiseSd::Fixed(0.5))?;
/// let outputs = [1.0, 2.0, 3.0]; // three passes, one row, one output
/// let predictive = Predictive::new(&likelihood, &[&[]], &outputs, 3, 1)?.in_units(Units::new(10.0, 2.0)?);
/// let mut scratch = MixtureScratch::new();
/// let y = predictive.real(0, &mut scratch)?;
/// assert_eq!((y.mean(), y.aleatoric_variance(), y.epistemic_variance()), (14.0, 1.0, 4.0));
/// assert_eq!(y.predictive_variance(), 5.0);
/// assert!((y.cdf(y.quantile(0.9)?) - 0.9).abs() < 1e-12);
/// # Ok::<(), bdl_infer::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Predictive<'a> {
    likelihood: &'a dyn Likelihood,
    members: &'a [&'a [f32]],
    outputs: &'a [f32],
    samples: usize,
    rows: usize,
    units: Units,
    part: PartOf,
}

impl<'a> Predictive<'a> {
    /// Views the outputs of `samples` passes over `rows` rows.
    ///
    /// # Shapes
    /// `outputs`: `[S, B, C]`, C being [`Likelihood::outputs`]; `members`: the likelihood's own parameters, one slice for
    /// each member of an ensemble, which is one slice where there is no ensemble.
    ///
    /// # Errors
    /// [`Error::Argument`] if there is no pass, if the passes do not split evenly over the members, or if their outputs would
    /// not fit into the address space; [`Error::Length`] if `outputs` or a member's parameters have another length.
    pub fn new(
        likelihood: &'a dyn Likelihood,
        members: &'a [&'a [f32]],
        outputs: &'a [f32],
        samples: usize,
        rows: usize,
    ) -> Result<Self, Error> {
        if samples == 0 || members.is_empty() || !samples.is_multiple_of(members.len()) {
            let got = format!("{samples} passes of {} members", members.len());
            return Err(Error::argument(
                "predictive: samples",
                "at least 1 and a multiple of the members",
                got,
            ));
        }
        check_len(
            "predictive: outputs, [samples, rows, outputs]",
            check_size("predictive: [samples, rows, outputs]", [samples, rows, likelihood.outputs()])?,
            outputs.len(),
        )?;
        let own = likelihood.blocks().iter().map(bdl_layers::Block::len).sum();
        members
            .iter()
            .try_for_each(|m| check_len("predictive: parameters of the likelihood", own, m.len()))?;
        Ok(Self::of_checked(likelihood, members, outputs, samples, rows))
    }

    /// [`new`](Self::new) for a caller that has checked the lengths already; allocates nothing.
    pub(crate) fn of_checked(
        likelihood: &'a dyn Likelihood,
        members: &'a [&'a [f32]],
        outputs: &'a [f32],
        samples: usize,
        rows: usize,
    ) -> Self {
        let (columns, params) = (likelihood.outputs(), members.first().map_or(0, |own| own.len()));
        let part = PartOf { columns, column: 0, param: 0, params };
        Self { likelihood, members, outputs, samples, rows, units: Units::default(), part }
    }

    /// The same distribution in the target's own units.
    #[must_use]
    pub fn in_units(self, units: Units) -> Self {
        Self { units, ..self }
    }

    /// Number of passes S.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// Number of rows B.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of members of the ensemble, 1 where there is none.
    #[must_use]
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// The units of the answers.
    #[must_use]
    pub fn units(&self) -> Units {
        self.units
    }

    /// The likelihood.
    #[must_use]
    pub fn likelihood(&self) -> &'a dyn Likelihood {
        self.likelihood
    }

    /// The distribution of a real target in row `row`.
    ///
    /// # Errors
    /// [`Error::Kind`] if the likelihood predicts classes, [`Error::Argument`] if there is no such row.
    pub fn real<'s>(&'s self, row: usize, scratch: &'s mut MixtureScratch) -> Result<RealMixture<'s>, Error> {
        self.check_row(row)?;
        match self.likelihood.predicts() {
            Predicts::Real(likelihood) => Ok(RealMixture::new(self, likelihood, row, scratch)),
            Predicts::Class(_) => {
                Err(kind_error(self.likelihood.kind(), "a question about classes", "one about a number"))
            }
            Predicts::Several(_) => Err(kind_error(
                self.likelihood.kind(),
                "a question about one of its targets",
                "one about a number",
            )),
        }
    }

    /// The distribution of the class in row `row`.
    ///
    /// # Errors
    /// [`Error::Kind`] if the likelihood predicts numbers, [`Error::Argument`] if there is no such row.
    pub fn class<'s>(
        &'s self,
        row: usize,
        scratch: &'s mut MixtureScratch,
    ) -> Result<ClassMixture<'s>, Error> {
        self.check_row(row)?;
        match self.likelihood.predicts() {
            Predicts::Class(likelihood) => Ok(ClassMixture::new(self, likelihood, row, scratch)),
            Predicts::Real(_) | Predicts::Several(_) => {
                Err(kind_error(self.likelihood.kind(), "a question about a number", "one about classes"))
            }
        }
    }

    fn check_row(&self, row: usize) -> Result<(), Error> {
        if row < self.rows {
            Ok(())
        } else {
            Err(Error::argument("predictive: row", "below the number of rows", row))
        }
    }

    fn passes_per_member(&self) -> usize {
        self.samples / self.members.len()
    }

    /// Parameters and output of one pass.
    fn pass(&self, pass: usize, row: usize) -> (&'a [f32], &'a [f32]) {
        let at = (pass * self.rows + row) * self.part.columns + self.part.column;
        let params = self.own(self.members[pass / self.passes_per_member()]);
        (params, &self.outputs[at..at + self.likelihood.outputs()])
    }

    /// The part of a member's parameters that the likelihood reads.
    fn own(&self, params: &'a [f32]) -> &'a [f32] {
        &params[self.part.param..][..self.part.params]
    }

    /// Each member's parameters with the outputs of its passes in one row.
    fn by_member(&self, row: usize) -> impl Iterator<Item = (&'a [f32], PassOutputs<'a>)> {
        let PartOf { columns, column, .. } = self.part;
        let (stride, outputs, width) = (self.rows * columns, self.outputs, self.likelihood.outputs());
        let per_member = self.passes_per_member() * stride;
        let part = move |m: usize| PassOutputs {
            data: &outputs[m * per_member + row * columns + column..(m + 1) * per_member],
            stride,
            width,
        };
        self.members.iter().enumerate().map(move |(m, params)| (self.own(params), part(m)))
    }

    fn fill_real(&self, likelihood: &dyn RealLikelihood, row: usize, mean: &mut [f64], sd: &mut [f64]) {
        let n = self.passes_per_member();
        for ((params, outs), (mean, sd)) in self.by_member(row).zip(mean.chunks_mut(n).zip(sd.chunks_mut(n)))
        {
            likelihood.mean_sds(params, outs, mean, sd);
        }
    }

    fn fill_class(&self, likelihood: &dyn ClassLikelihood, row: usize, ln_probs: &mut [f64]) {
        for (pass, ln_probs) in ln_probs.chunks_exact_mut(likelihood.classes()).enumerate() {
            let (params, out_row) = self.pass(pass, row);
            likelihood.ln_probs(params, out_row, ln_probs);
        }
    }
}

/// Caller-owned memory of a [`Predictive`]: grows to what one row needs and is used again.
#[derive(Clone, Debug, Default)]
pub struct MixtureScratch {
    a: Vec<f64>,
    b: Vec<f64>,
    c: Vec<f64>,
}

impl MixtureScratch {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Three slices of these lengths.
    fn slices(&mut self, [a, b, c]: [usize; 3]) -> [&mut [f64]; 3] {
        [(&mut self.a, a), (&mut self.b, b), (&mut self.c, c)].map(|(buffer, len)| {
            buffer.resize(len, 0.0);
            &mut buffer[..]
        })
    }
}

/// Monte Carlo standard error of the mean over S values, pass after pass, and `None` where it is not defined.
///
/// ```text
/// one member:       sd(values)/√S
/// several members:  sd(means of the members)/√members
/// ```
/// `docs/math.md#mcse`.
fn mcse(values: impl Iterator<Item = f64>, samples: usize, members: usize) -> Option<f64> {
    let groups = if members > 1 { members } else { samples };
    if groups < 2 {
        return None;
    }
    let per_group = samples / groups;
    let (mut group, mut count, mut mean, mut m2) = (0.0, 0.0, 0.0, 0.0);
    for (i, v) in values.enumerate() {
        group += v;
        if (i + 1).is_multiple_of(per_group) {
            count += 1.0;
            let delta = group / per_group as f64 - mean;
            mean += delta / count;
            m2 += delta * (group / per_group as f64 - mean);
            group = 0.0;
        }
    }
    Some((m2 / (count - 1.0) / count).sqrt())
}

/// Monte Carlo standard error of `ln((1/S) Σ_s p_s)` from the `ln p_s`; `None` also where all `p_s` are 0.
///
/// ```text
/// sd(p_s/p̄)/√S;   of an ensemble: of the members' means, by √members
/// ```
/// The delta method: `d ln p̄ = dp̄/p̄`. The ratios are at most S, whatever underflows: `docs/math.md#mcse`.
fn ln_mean_mcse(ln_values: impl Iterator<Item = f64> + Clone, samples: usize, members: usize) -> Option<f64> {
    let ln_mean = logsumexp(ln_values.clone()) - (samples as f64).ln();
    mcse(ln_values.map(|v| (v - ln_mean).exp()), samples, members).filter(|_| ln_mean.is_finite())
}

/// `ln Σ e^v` over values that are seen once, shifted by the largest so far; −∞ for none.
fn logsumexp(values: impl Iterator<Item = f64>) -> f64 {
    let mut max = f64::NEG_INFINITY;
    let mut sum = 0.0;
    for v in values {
        if v > max {
            sum = sum * (max - v).exp() + 1.0;
            max = v;
        } else if v != f64::NEG_INFINITY {
            sum += (v - max).exp();
        }
    }
    if sum == 0.0 { max } else { max + f64::ln(sum) }
}
