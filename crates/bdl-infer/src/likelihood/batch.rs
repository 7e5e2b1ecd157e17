//! What every likelihood checks of a batch before it reads it.

use bdl_tensor::{Mat, MatMut};

use super::Targets;
use crate::Error;
use crate::error::check_len;

/// What a likelihood reads: so many columns of the network's output, and so many parameters of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reads {
    pub(super) kind: &'static str,
    pub(super) outputs: usize,
    pub(super) params: usize,
}

impl Reads {
    /// The targets of a batch of numbers that fits.
    pub(super) fn numbers<'a>(
        &self,
        params: &[f32],
        out: Mat<'_>,
        y: Targets<'a>,
    ) -> Result<&'a [f32], Error> {
        let y = y.real(self.kind)?;
        self.check(params, out, y.len())?;
        Ok(y)
    }

    /// The targets of a batch that fits, each one of `classes`.
    pub(super) fn classes<'a>(
        &self,
        params: &[f32],
        out: Mat<'_>,
        y: Targets<'a>,
        classes: usize,
    ) -> Result<&'a [u32], Error> {
        let y = y.classes(self.kind)?;
        self.check(params, out, y.len())?;
        match y.iter().position(|&class| class as usize >= classes) {
            Some(row) => Err(Error::Class { row, class: y[row], classes }),
            None => Ok(y),
        }
    }

    /// `out` is `[rows, outputs]`.
    pub(super) fn check(&self, params: &[f32], out: Mat<'_>, rows: usize) -> Result<(), Error> {
        check_len("likelihood: columns of the network's output", self.outputs, out.cols())?;
        check_len("likelihood: targets, one per row of the output", out.rows(), rows)?;
        check_len("likelihood: own parameters", self.params, params.len())
    }

    /// Whether the gradients have the shapes of what they are taken in.
    pub(super) fn check_grads(
        &self,
        out: Mat<'_>,
        d_out: &MatMut<'_>,
        d_params: &[f32],
    ) -> Result<(), Error> {
        check_len("likelihood: rows of d_out", out.rows(), d_out.rows())?;
        check_len("likelihood: columns of d_out", out.cols(), d_out.cols())?;
        check_len("likelihood: gradients of own parameters", self.params, d_params.len())
    }
}
