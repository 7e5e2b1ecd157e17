/// What can be wrong with a call of this crate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A buffer does not have as many elements as its shape says.
    #[error("{what}: [{}, {}] needs {} elements, got {got}", shape[0], shape[1], shape[0].saturating_mul(shape[1]))]
    Length {
        /// The argument.
        what: &'static str,
        /// `[rows, cols]` asked for.
        shape: [usize; 2],
        /// Elements there are.
        got: usize,
    },
    /// A matrix does not have the shape that the others ask for.
    #[error("{what}: must be [{}, {}], got [{}, {}]", expected[0], expected[1], got[0], got[1])]
    Shape {
        /// The function and argument.
        what: &'static str,
        /// `[rows, cols]` expected.
        expected: [usize; 2],
        /// `[rows, cols]` got.
        got: [usize; 2],
    },
    /// The elements of a sparse matrix are not ascending, or not all inside it.
    #[error("sparse matrix: element {index} must be at least {least} and below {below}, got {got}")]
    Element {
        /// Which of the elements.
        index: usize,
        /// One behind its predecessor.
        least: usize,
        /// Elements of the whole matrix.
        below: usize,
        /// Where it is.
        got: usize,
    },
    /// A matrix that has more elements than can be numbered.
    #[error("{what}: must have fewer than 2^32 elements, got [{}, {}]", shape[0], shape[1])]
    TooLarge {
        /// The matrix.
        what: &'static str,
        /// `[rows, cols]` asked for.
        shape: [usize; 2],
    },
    /// Something reads beyond the end of what it is to read.
    #[error("{what}: must have at least {needs} elements, got {got}")]
    TooShort {
        /// The argument.
        what: &'static str,
        /// Elements that are read.
        needs: usize,
        /// Elements there are.
        got: usize,
    },
}
