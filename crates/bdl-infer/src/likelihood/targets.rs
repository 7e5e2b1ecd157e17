//! What the targets of a batch are.

use std::ops::Range;

use crate::Error;

/// The target of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Target<'a> {
    /// A number.
    Real(f64),
    /// The index of a class.
    Class(u32),
    /// Several numbers.
    Several(&'a [f32]),
}

/// The targets of a batch.
///
/// ```
/// use bdl_infer::{Target, Targets};
/// let y = Targets::Class(&[2, 0, 1]);
/// assert_eq!((y.len(), y.slice(1..3).get(0)), (3, Target::Class(0)));
/// let y = Targets::Several { y: &[1.0, 2.0, 3.0, 4.0], targets: 2 };
/// assert_eq!((y.len(), y.slice(1..2).get(0)), (2, Target::Several(&[3.0, 4.0])));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Targets<'a> {
    /// One number per row.
    Real(&'a [f32]),
    /// One class index per row.
    Class(&'a [u32]),
    /// Several numbers per row.
    Several {
        /// `[rows, targets]`.
        y: &'a [f32],
        /// Numbers of a row.
        targets: usize,
    },
}

impl<'a> Targets<'a> {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Real(y) => y.len(),
            Self::Class(y) => y.len(),
            Self::Several { y, targets } => y.len().checked_div(*targets).unwrap_or(0),
        }
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The targets of the rows in `range`.
    ///
    /// # Panics
    /// If `range` reaches beyond the rows.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Targets<'a> {
        match *self {
            Self::Real(y) => Targets::Real(&y[range]),
            Self::Class(y) => Targets::Class(&y[range]),
            Self::Several { y, targets } => {
                Targets::Several { y: &y[range.start * targets..range.end * targets], targets }
            }
        }
    }

    /// The target of one row.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn get(&self, row: usize) -> Target<'a> {
        match *self {
            Self::Real(y) => Target::Real(y[row].into()),
            Self::Class(y) => Target::Class(y[row]),
            Self::Several { y, targets } => Target::Several(&y[row * targets..][..targets]),
        }
    }

    /// The numbers.
    ///
    /// # Errors
    /// [`Error::Kind`] on behalf of `likelihood` if these are others.
    pub fn real(&self, likelihood: &str) -> Result<&'a [f32], Error> {
        match *self {
            Self::Real(y) => Ok(y),
            _ => Err(kind_error(likelihood, "numbers as targets", self.name())),
        }
    }

    /// The classes.
    ///
    /// # Errors
    /// [`Error::Kind`] on behalf of `likelihood` if these are others.
    pub fn classes(&self, likelihood: &str) -> Result<&'a [u32], Error> {
        match *self {
            Self::Class(y) => Ok(y),
            _ => Err(kind_error(likelihood, "classes as targets", self.name())),
        }
    }

    /// The numbers `[rows, targets]` of rows with several.
    ///
    /// # Errors
    /// [`Error::Kind`] on behalf of `likelihood` if these are others.
    pub fn several(&self, likelihood: &str) -> Result<&'a [f32], Error> {
        match *self {
            Self::Several { y, .. } => Ok(y),
            _ => Err(kind_error(likelihood, "several numbers a row as targets", self.name())),
        }
    }

    /// For messages.
    fn name(&self) -> &'static str {
        match self {
            Self::Real(_) => "numbers",
            Self::Class(_) => "classes",
            Self::Several { .. } => "several numbers a row",
        }
    }
}

pub(crate) fn kind_error(likelihood: &str, expected: &'static str, got: &'static str) -> Error {
    Error::Kind { likelihood: likelihood.to_owned(), expected, got }
}
