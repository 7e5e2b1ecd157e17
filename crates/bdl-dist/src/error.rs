/// What can be wrong with the parameters of a distribution.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A standard deviation that is not a finite positive number.
    #[error("{what}: std_dev must be finite and > 0, got {got}")]
    StdDev {
        /// The distribution.
        what: &'static str,
        /// The value given.
        got: f64,
    },
    /// A location that is not finite.
    #[error("{what}: mean must be finite, got {got}")]
    Mean {
        /// The distribution.
        what: &'static str,
        /// The value given.
        got: f64,
    },
    /// A probability outside its range.
    #[error("{what}: must be in {range}, got {got}")]
    Probability {
        /// The argument.
        what: &'static str,
        /// The range in words, such as `[0, 1)`.
        range: &'static str,
        /// The value given.
        got: f64,
    },
    /// A parameter of a distribution outside its range.
    #[error("{what} must be {expected}, got {got}")]
    Argument {
        /// The distribution and its parameter.
        what: &'static str,
        /// The range in words.
        expected: &'static str,
        /// The value given.
        got: f64,
    },
    /// Two arguments that must have the same length do not.
    #[error("{what}: must have {expected} elements, got {got}")]
    Length {
        /// The argument.
        what: &'static str,
        /// Elements expected.
        expected: usize,
        /// Elements got.
        got: usize,
    },
    /// A covariance matrix that is not symmetric.
    #[error(
        "covariance: must be symmetric, got {lower} at [{row}, {column}] and {upper} at [{column}, {row}]"
    )]
    NotSymmetric {
        /// Row of the element below the diagonal.
        row: usize,
        /// Its column.
        column: usize,
        /// The element.
        lower: f64,
        /// The one across the diagonal.
        upper: f64,
    },
    /// A covariance matrix that has no Cholesky factor.
    #[error("covariance: must be positive definite, pivot {pivot} is {got}")]
    NotPositiveDefinite {
        /// The row at which the factorization failed.
        pivot: usize,
        /// The value there.
        got: f64,
    },
}

/// The value, if it is finite and > 0.
pub(crate) fn check_positive(what: &'static str, got: f64) -> Result<f64, Error> {
    if got.is_finite() && got > 0.0 {
        return Ok(got);
    }
    Err(Error::Argument { what, expected: "finite and > 0", got })
}
