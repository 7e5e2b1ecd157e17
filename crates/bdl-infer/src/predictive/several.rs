//! The predictive distribution of several targets: of one of them, and of all together.

use super::{Predictive, Units, logsumexp};
use crate::error::check_len;
use crate::likelihood::{Predicts, kind_error};
use crate::{Error, Independent};

/// Which part of each output and of each member's parameters a likelihood reads: all, or one target's.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartOf {
    /// Columns of the outputs, and the first that is read.
    pub(super) columns: usize,
    pub(super) column: usize,
    /// The first parameter that is read, and how many are.
    pub(super) param: usize,
    pub(super) params: usize,
}

impl<'a> Predictive<'a> {
    /// Number of targets of a row.
    #[must_use]
    pub fn targets(&self) -> usize {
        match self.likelihood.predicts() {
            Predicts::Several(of) => of.targets(),
            _ => 1,
        }
    }

    /// The distribution of one target of rows with several, in the units of the likelihood.
    ///
    /// # Errors
    /// [`Error::Kind`] if the likelihood is of one target, [`Error::Argument`] if there is no such target.
    pub fn target(&self, target: usize) -> Result<Self, Error> {
        let of = self.several()?;
        let part = of.part(target)?;
        Ok(Self {
            likelihood: &*part.likelihood,
            units: Units::default(),
            part: PartOf {
                columns: self.part.columns,
                column: part.outputs.start,
                param: part.params.start,
                params: part.params.len(),
            },
            ..*self
        })
    }

    /// `ln p(y_1, …, y_K)` of all targets of row `row` together, in nats, per unit of each, for units of each.
    ///
    /// ```text
    /// ln p(y) = logsumexp_s(Σ_k ln p_k((y_k − shift_k)/scale_k | out_s)) − ln S − Σ_k ln scale_k
    /// ```
    /// With several passes it is not the sum of the targets' log densities: they share the passes. `docs/math.md#mixture-nll`.
    ///
    /// # Errors
    /// [`Error::Kind`] if the likelihood is of one target, [`Error::Argument`] if there is no such row, [`Error::Length`] unless
    /// there is a number and a unit for each target.
    pub fn ln_density_of_all(&self, row: usize, y: &[f64], units: &[Units]) -> Result<f64, Error> {
        self.check_row(row)?;
        let of = self.several()?;
        check_len("predictive: numbers, one for each target", of.targets(), y.len())?;
        check_len("predictive: units, one for each target", of.targets(), units.len())?;
        let terms = (0..self.samples).map(|pass| {
            let (params, out_row) = self.pass(pass, row);
            of.ln_density(params, out_row, |k| units[k].invert(y[k]))
        });
        let ln_scales: f64 = units.iter().map(|units| units.scale.ln()).sum();
        Ok(logsumexp(terms) - (self.samples as f64).ln() - ln_scales)
    }

    fn several(&self) -> Result<&'a Independent, Error> {
        match self.likelihood.predicts() {
            Predicts::Several(of) => Ok(of),
            _ => {
                let (expected, got) = ("a question about its target", "one about several");
                Err(kind_error(self.likelihood.kind(), expected, got))
            }
        }
    }
}
