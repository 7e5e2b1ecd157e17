//! The rows of a training, and the batches that they are cut into.

use std::ops::Range;

use bdl_tensor::{Mat, kernels};

use crate::error::{check_arg, check_len};
use crate::{Error, Target, Targets};

/// Rows with their targets.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    pub(super) x: Mat<'a>,
    pub(super) y: Targets<'a>,
}

impl<'a> Data<'a> {
    /// x `[rows, in_dim]` with one target per row.
    ///
    /// # Errors
    /// [`Error::Length`] if there are more or fewer targets than rows; [`Error::Argument`] without any row, and
    /// for a NaN or an infinity, naming row and, in x, column, from 0.
    pub fn new(x: Mat<'a>, y: Targets<'a>) -> Result<Self, Error> {
        check_arg("data: rows", ">= 1", x.rows() as f64, x.rows() >= 1)?;
        check_len("data: targets, one per row", x.rows(), y.len())?;
        if let Some(i) = kernels::first_non_finite(x.data()) {
            let got = format!("{} in row {}, column {}", x.data()[i], i / x.cols(), i % x.cols());
            return Err(Error::argument("data: x", "finite", got));
        }
        let (real, targets) = match y {
            Targets::Real(real) => (real, 1),
            Targets::Several { y, targets } => (y, targets),
            Targets::Class(_) => return Ok(Self { x, y }),
        };
        check_len("data: numbers of all targets", x.rows() * targets, real.len())?;
        match kernels::first_non_finite(real) {
            Some(at) => {
                let got = format!("{} in row {}", real[at], at / targets);
                Err(Error::argument("data: targets", "finite", got))
            }
            None => Ok(Self { x, y }),
        }
    }

    /// The rows.
    #[must_use]
    pub fn x(&self) -> Mat<'a> {
        self.x
    }

    /// The targets.
    #[must_use]
    pub fn y(&self) -> Targets<'a> {
        self.y
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.x.rows()
    }
}

/// The places in the shuffled order that batch `b` of `batches` takes: sizes differ by at most one, so that no row
/// weighs more than another for being in a short last batch.
pub(super) fn batch_rows(b: usize, batches: usize, rows: usize) -> Range<usize> {
    let start = |b: usize| (b as u128 * rows as u128 / batches as u128) as usize;
    start(b)..start(b + 1)
}

/// A batch gathered from the shuffled rows.
#[derive(Debug, Default)]
pub(super) struct Batch {
    x: Vec<f32>,
    real: Vec<f32>,
    class: Vec<u32>,
}

impl Batch {
    pub(super) fn gather(&mut self, data: Data<'_>, rows: &[usize]) {
        self.x.clear();
        rows.iter().for_each(|&row| self.x.extend_from_slice(data.x.row(row)));
        self.real.clear();
        self.class.clear();
        for &row in rows {
            match data.y.get(row) {
                Target::Real(y) => self.real.push(y as f32),
                Target::Class(class) => self.class.push(class),
                Target::Several(y) => self.real.extend_from_slice(y),
            }
        }
    }

    pub(super) fn x(&self, cols: usize) -> Result<Mat<'_>, Error> {
        Ok(Mat::new(&self.x, self.x.len().checked_div(cols).unwrap_or(0), cols)?)
    }

    pub(super) fn y(&self, like: Targets<'_>) -> Targets<'_> {
        match like {
            Targets::Real(_) => Targets::Real(&self.real),
            Targets::Class(_) => Targets::Class(&self.class),
            Targets::Several { targets, .. } => Targets::Several { y: &self.real, targets },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_take_each_row_once_and_differ_by_at_most_one() {
        for (rows, batch) in [(1, 32), (33, 32), (10, 4), (64, 32), (7, 1)] {
            let batches = usize::div_ceil(rows, batch);
            let each: Vec<_> = (0..batches).map(|b| batch_rows(b, batches, rows)).collect();
            assert!(each.iter().cloned().flatten().eq(0..rows), "{rows} rows by {batch}: {each:?}");
            let (least, most) = (rows / batches, rows.div_ceil(batches));
            assert!(
                each.iter().all(|r| (least..=most).contains(&r.len())),
                "{rows} rows by {batch}: {each:?}"
            );
        }
        assert_eq!(batch_rows(2, 3, usize::MAX).end, usize::MAX);
    }
}
