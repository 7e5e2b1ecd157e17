/// What can be wrong with a call of this crate.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument has no elements.
    #[error("{what}: must not be empty, got 0 elements")]
    Empty {
        /// The argument.
        what: &'static str,
    },
    /// An argument does not have one element for each element of the others.
    #[error("{what}: must have {expected} elements, got {got}")]
    Length {
        /// The argument.
        what: &'static str,
        /// Elements expected.
        expected: usize,
        /// Elements there are.
        got: usize,
    },
    /// An argument does not divide into rows, classes or passes.
    #[error("{what}: number of elements must be a positive multiple of the {factor} {unit}, got {got}")]
    Multiple {
        /// The argument.
        what: &'static str,
        /// What the number of elements must be a multiple of.
        factor: usize,
        /// What `factor` counts: `rows` or `classes`.
        unit: &'static str,
        /// Elements there are.
        got: usize,
    },
    /// An element is not finite, or outside its range.
    #[error("{what}[{index}]: must be {expected}, got {got}")]
    Value {
        /// The argument.
        what: &'static str,
        /// Position in the argument.
        index: usize,
        /// The condition, in words.
        expected: &'static str,
        /// The element.
        got: f64,
    },
    /// The lower end of an interval lies above its upper end.
    #[error("lower[{index}]: must be at most upper[{index}] = {upper}, got {got}")]
    Order {
        /// Row of the interval.
        index: usize,
        /// Upper end of the interval.
        upper: f64,
        /// Lower end of the interval.
        got: f64,
    },
    /// A row of probabilities does not sum to 1.
    #[error("{what} row {row}: must sum to 1 within {tolerance}, got {got}")]
    RowSum {
        /// The argument.
        what: &'static str,
        /// Row of the argument.
        row: usize,
        /// Largest deviation accepted.
        tolerance: f64,
        /// The sum.
        got: f64,
    },
    /// A label names a class that there is no probability for.
    #[error("labels[{index}]: must be less than the {classes} classes, got {got}")]
    Label {
        /// Row of the label.
        index: usize,
        /// Number of classes.
        classes: usize,
        /// The label.
        got: u32,
    },
    /// A setting is outside its range.
    #[error("{what}: must be {expected}, got {got}")]
    Setting {
        /// The setting.
        what: &'static str,
        /// The condition, in words.
        expected: &'static str,
        /// The setting's value.
        got: f64,
    },
    /// A statistic has no value on a resample.
    #[error("statistic: must be a number, got NaN on {}", match replicate { Some(r) => format!("replicate {r}"), None => "the data".into() })]
    Statistic {
        /// The replicate; `None` for the data themselves.
        replicate: Option<usize>,
    },
}
