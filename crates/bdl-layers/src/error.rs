/// What can be wrong with a network, its parameters or its file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A layer's own setting is out of range.
    #[error("{layer}: {argument} must be {expected}, got {got}")]
    Argument {
        /// Kind of the layer.
        layer: String,
        /// The setting.
        argument: &'static str,
        /// What it must be.
        expected: String,
        /// What it was.
        got: String,
    },
    /// A layer does not take what the layer in front of it gives.
    #[error("{layer}: takes {takes} inputs, but what stands in front of it gives {gives}")]
    Chain {
        /// Index and kind of the layer, such as `2.dense`.
        layer: String,
        /// Its input width.
        takes: usize,
        /// The width in front.
        gives: usize,
    },
    /// A network without layers.
    #[error("network: must have at least one layer, got none")]
    NoLayers,
    /// More layers than noise addresses can tell apart.
    #[error("network: must have at most 4096 layers, got {got}")]
    TooManyLayers {
        /// Number of layers.
        got: usize,
    },
    /// An input, output or gradient of the wrong shape.
    #[error("{what}: must be [{}, {}], got [{}, {}]", expected[0], expected[1], got[0], got[1])]
    Shape {
        /// The function and argument.
        what: String,
        /// `[rows, columns]` expected.
        expected: [usize; 2],
        /// `[rows, columns]` got.
        got: [usize; 2],
    },
    /// A parameter or gradient vector of the wrong length.
    #[error("{what}: must have {expected} elements, got {got}")]
    Length {
        /// The function and argument.
        what: String,
        /// Elements expected.
        expected: usize,
        /// Elements got.
        got: usize,
    },
    /// A layer that draws, and does not say what it is at the mean of its weights.
    #[error("{layer}: must say what it is at the mean of its weights, got a layer that only draws")]
    Random {
        /// Index and kind of the layer.
        layer: String,
    },
    /// A layer without a prior that could be drawn from.
    #[error("{layer}: must have a prior to draw from, got {got}")]
    NoPrior {
        /// Kind of the layer.
        layer: String,
        /// What it has in its place.
        got: &'static str,
    },
    /// A network of which no layer has weights that pruning could remove.
    #[error("{layer} {why}")]
    Unprunable {
        /// Name of the first layer with weights.
        layer: String,
        /// Why they stay, in words that follow the name.
        why: &'static str,
    },
    /// Two entries of a registry with the same name.
    #[error("registry: kind {kind:?} is registered already")]
    KindTaken {
        /// The kind.
        kind: String,
    },
    /// A file holds a kind that the registry does not know.
    #[error("{what} kind {kind:?} is unknown here (known: {known}); register it before loading")]
    UnknownKind {
        /// `layer`, `prior` or `likelihood`.
        what: &'static str,
        /// The kind.
        kind: String,
        /// The kinds that are known.
        known: String,
    },
    /// Bytes that are not a model file, or not a whole one.
    #[error("model file: {0}")]
    File(String),
    /// Bytes that do not decode to what they should be.
    #[error("{what}: {why}")]
    Decode {
        /// What was being read.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// An error of a distribution or mask.
    #[error(transparent)]
    Dist(#[from] bdl_dist::Error),
    /// An error of a matrix product or view.
    #[error(transparent)]
    Tensor(#[from] bdl_tensor::Error),
}
