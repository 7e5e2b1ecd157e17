/// What can be wrong with a call of this crate.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument is outside its range.
    #[error("{what} must be {expected}, got {got}")]
    Argument {
        /// Where and which argument, such as `adam: beta1`.
        what: &'static str,
        /// The range.
        expected: &'static str,
        /// The value there was.
        got: String,
    },
    /// Something has the wrong number of elements, rows or columns.
    #[error("{what}: expected {expected}, got {got}")]
    Length {
        /// What was counted, such as `gaussian: columns of the network's output`.
        what: &'static str,
        /// How many there must be.
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// A target or a question of the wrong kind for the likelihood.
    #[error("{likelihood}: needs {expected}, got {got}")]
    Kind {
        /// [`kind`](crate::Likelihood::kind) of the likelihood.
        likelihood: String,
        /// What it needs.
        expected: &'static str,
        /// What there was.
        got: &'static str,
    },
    /// A class that the likelihood does not have.
    #[error("row {row}: class must be below {classes}, got {class}")]
    Class {
        /// Row of the batch, from 0.
        row: usize,
        /// The class there was.
        class: u32,
        /// Number of classes.
        classes: usize,
    },
    /// A target of a likelihood of counts that is none.
    #[error("row {row}: count must be a whole number from 0 to 16777216, got {value}")]
    Count {
        /// Row of the batch, from 0.
        row: usize,
        /// The target there was.
        value: f32,
    },
    /// Training met a NaN or an infinity.
    #[error("training stopped at step {step} (epoch {epoch}): the {what} at {place} is {value}")]
    NonFinite {
        /// `loss`, `kl`, `gradient` or `parameter`.
        what: &'static str,
        /// Epoch, from 1.
        epoch: usize,
        /// Step, from 1.
        step: u64,
        /// Layer and block, such as `1.dense/weight`. Of a loss: the first layer whose output is not finite, or the
        /// likelihood, with that of its blocks which holds the largest number.
        place: String,
        /// The value.
        value: f64,
    },
    /// The system did not start the threads.
    #[error("threads: {0}")]
    Threads(String),
    /// An error of a layer, a plan or a model file.
    #[error(transparent)]
    Layers(#[from] bdl_layers::Error),
    /// An error of a matrix view or product.
    #[error(transparent)]
    Tensor(#[from] bdl_tensor::Error),
}

impl Error {
    pub(crate) fn argument(what: &'static str, expected: &'static str, got: impl ToString) -> Self {
        Self::Argument { what, expected, got: got.to_string() }
    }
}

/// `Ok` if `got` is what is expected.
pub(crate) fn check_len(what: &'static str, expected: usize, got: usize) -> Result<(), Error> {
    if expected == got { Ok(()) } else { Err(Error::Length { what, expected, got }) }
}

/// The product of `shape`, as long as so many `f32` have an address.
pub(crate) fn check_size(what: &'static str, shape: [usize; 3]) -> Result<usize, Error> {
    let bytes = shape.iter().try_fold(size_of::<f32>(), |n, &by| n.checked_mul(by));
    match bytes.filter(|&bytes| isize::try_from(bytes).is_ok()) {
        Some(bytes) => Ok(bytes / size_of::<f32>()),
        None => Err(Error::argument(what, "small enough to address", format!("{shape:?}"))),
    }
}

/// `Ok(value)` if `fits`.
pub(crate) fn check_arg(
    what: &'static str,
    expected: &'static str,
    value: f64,
    fits: bool,
) -> Result<f64, Error> {
    if fits { Ok(value) } else { Err(Error::argument(what, expected, value)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_where_what_was_expected_and_what_was_got() {
        let e = check_arg("gaussian: noise", "finite and > 0", -1.0, false).unwrap_err();
        assert_eq!(e.to_string(), "gaussian: noise must be finite and > 0, got -1");
        let e = check_len("sgd: gradients", 3, 4).unwrap_err();
        assert_eq!(e.to_string(), "sgd: gradients: expected 3, got 4");
        assert_eq!(check_size("outputs", [2, 3, 4]), Ok(24));
        assert_eq!(check_size("outputs", [0, usize::MAX, 1]), Ok(0));
        let e = check_size("outputs", [usize::MAX, 2, 1]).unwrap_err();
        assert_eq!(
            e.to_string(),
            "outputs must be small enough to address, got [18446744073709551615, 2, 1]"
        );
        let e = Error::Class { row: 5, class: 3, classes: 3 };
        assert_eq!(e.to_string(), "row 5: class must be below 3, got 3");
    }
}
