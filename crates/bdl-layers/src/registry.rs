//! The registry: from the kind and configuration in a file to a layer.

use std::collections::BTreeMap;

use crate::{
    ActivationLayer, BatchNorm, Dense, Dropout, Error, Layer, LayerNorm, PrunedSparseVdDense,
    PrunedVariationalConv2d, PrunedVariationalDense, Residual, SparseVdDense, VariationalConv2d,
    VariationalDense,
};

/// Builds a layer from its configuration bytes.
pub type LayerBuilder = fn(&[u8]) -> Result<Box<dyn Layer>, Error>;

/// The kinds of layer that a file may hold.
///
/// ```
/// use bdl_layers::Registry;
/// let registry = Registry::default();
/// let e = registry.build("fourier", &[]).unwrap_err();
/// assert!(e.to_string().starts_with("layer kind \"fourier\" is unknown here"));
/// ```
#[derive(Clone, Debug)]
pub struct Registry {
    kinds: BTreeMap<String, LayerBuilder>,
}

impl Default for Registry {
    /// The kinds of this crate.
    fn default() -> Self {
        let ours: [(&str, LayerBuilder); 11] = [
            (ActivationLayer::KIND, ActivationLayer::build),
            (BatchNorm::KIND, BatchNorm::build),
            (Dense::KIND, Dense::build),
            (Dropout::KIND, Dropout::build),
            (LayerNorm::KIND, LayerNorm::build),
            (PrunedSparseVdDense::KIND, PrunedSparseVdDense::build),
            (PrunedVariationalConv2d::KIND, PrunedVariationalConv2d::build),
            (PrunedVariationalDense::KIND, PrunedVariationalDense::build),
            (SparseVdDense::KIND, SparseVdDense::build),
            (VariationalConv2d::KIND, VariationalConv2d::build),
            (VariationalDense::KIND, VariationalDense::build),
        ];
        Self { kinds: ours.into_iter().map(|(kind, build)| (kind.to_owned(), build)).collect() }
    }
}

impl Registry {
    /// Adds a kind of the user's own.
    ///
    /// # Errors
    /// [`Error::KindTaken`] if the name is in use.
    pub fn register(&mut self, kind: &str, build: LayerBuilder) -> Result<(), Error> {
        if self.kinds.contains_key(kind) || kind == Residual::KIND {
            return Err(Error::KindTaken { kind: kind.to_owned() });
        }
        self.kinds.insert(kind.to_owned(), build);
        Ok(())
    }

    /// Builds a layer from its kind and configuration.
    ///
    /// # Errors
    /// [`Error::UnknownKind`], or what the layer's own builder finds wrong.
    pub fn build(&self, kind: &str, config: &[u8]) -> Result<Box<dyn Layer>, Error> {
        match self.kinds.get(kind) {
            // The one kind that holds others, of whatever kinds are registered.
            None if kind == Residual::KIND => Residual::build(self, config),
            Some(build) => build(config),
            None => {
                let mut known: Vec<&str> = self.kinds.keys().map(String::as_str).collect();
                known.push(Residual::KIND);
                known.sort_unstable();
                let known = known.join(", ");
                Err(Error::UnknownKind { what: "layer", kind: kind.to_owned(), known })
            }
        }
    }
}
