//! The registry: from the kind and configuration in a file to a layer.

use std::collections::BTreeMap;
use std::sync::Arc;

use bdl_dist::Density;

use crate::variational::kind_of;
use crate::{
    ActivationLayer, AvgPool2d, BatchNorm, ConcreteConv2d, ConcreteDense, Conv2d, CorrelatedVd, Dense,
    Dropout, Dropout2d, Error, Family, Flatten, GaussianDropout, IndependentVdConv2d, IndependentVdDense,
    Layer, LayerNorm, LinearMap, MaxPool2d, PrunedConv2d, PrunedDense, PrunedSparseVdConv2d,
    PrunedSparseVdDense, PrunedVariationalConv2d, PrunedVariationalDense, Residual, SparseVdConv2d,
    SparseVdDense, Variational, VariationalConv2d, VariationalDense,
};

/// Builds a layer from its configuration bytes.
pub type LayerBuilder = fn(&[u8]) -> Result<Box<dyn Layer>, Error>;

/// Builds a prior from its configuration bytes.
pub type PriorBuilder = fn(&[u8]) -> Result<Arc<dyn Density>, Error>;

/// Builds a layer that holds what the registry knows: other layers, or a prior of the user's own.
type HolderBuilder = fn(&Registry, &[u8]) -> Result<Box<dyn Layer>, Error>;

/// A builder of a layer, and whether it asks the registry for what the layer holds.
#[derive(Clone, Copy, Debug)]
enum Builder {
    Plain(LayerBuilder),
    Holder(HolderBuilder),
}

/// The kinds of layer, and of priors of the user's own, that a file may hold.
///
/// ```
/// use bdl_layers::Registry;
/// let registry = Registry::default();
/// let e = registry.build("fourier", &[]).unwrap_err();
/// assert!(e.to_string().starts_with("layer kind \"fourier\" is unknown here"));
/// ```
#[derive(Clone, Debug)]
pub struct Registry {
    kinds: BTreeMap<String, Builder>,
    priors: BTreeMap<String, PriorBuilder>,
}

impl Default for Registry {
    /// The kinds of this crate.
    fn default() -> Self {
        let ours: [(&str, Builder); 27] = [
            (ActivationLayer::KIND, Builder::Plain(ActivationLayer::build)),
            (AvgPool2d::KIND, Builder::Plain(AvgPool2d::build)),
            (BatchNorm::KIND, Builder::Plain(BatchNorm::build)),
            (ConcreteConv2d::KIND, Builder::Plain(ConcreteConv2d::build)),
            (ConcreteDense::KIND, Builder::Plain(ConcreteDense::build)),
            (Conv2d::KIND, Builder::Plain(Conv2d::build)),
            (CorrelatedVd::KIND, Builder::Plain(CorrelatedVd::build)),
            (Dense::KIND, Builder::Plain(Dense::build)),
            (Dropout::KIND, Builder::Plain(Dropout::build)),
            (Dropout2d::KIND, Builder::Plain(Dropout2d::build)),
            (Flatten::KIND, Builder::Plain(Flatten::build)),
            (GaussianDropout::KIND, Builder::Plain(GaussianDropout::build)),
            (IndependentVdConv2d::KIND, Builder::Holder(IndependentVdConv2d::build)),
            (IndependentVdDense::KIND, Builder::Holder(IndependentVdDense::build)),
            (LayerNorm::KIND, Builder::Plain(LayerNorm::build)),
            (MaxPool2d::KIND, Builder::Plain(MaxPool2d::build)),
            (PrunedConv2d::KIND, Builder::Plain(PrunedConv2d::build)),
            (PrunedDense::KIND, Builder::Plain(PrunedDense::build)),
            (PrunedSparseVdConv2d::KIND, Builder::Holder(PrunedSparseVdConv2d::build)),
            (PrunedSparseVdDense::KIND, Builder::Holder(PrunedSparseVdDense::build)),
            (PrunedVariationalConv2d::KIND, Builder::Holder(PrunedVariationalConv2d::build)),
            (PrunedVariationalDense::KIND, Builder::Holder(PrunedVariationalDense::build)),
            (Residual::KIND, Builder::Holder(Residual::build)),
            (SparseVdConv2d::KIND, Builder::Holder(SparseVdConv2d::build)),
            (SparseVdDense::KIND, Builder::Holder(SparseVdDense::build)),
            (VariationalConv2d::KIND, Builder::Holder(VariationalConv2d::build)),
            (VariationalDense::KIND, Builder::Holder(VariationalDense::build)),
        ];
        let kinds = ours.into_iter().map(|(kind, build)| (kind.to_owned(), build)).collect();
        Self { kinds, priors: BTreeMap::new() }
    }
}

impl Registry {
    /// Adds a kind of the user's own.
    ///
    /// # Errors
    /// [`Error::KindTaken`] if the name is in use.
    pub fn register(&mut self, kind: &str, build: LayerBuilder) -> Result<(), Error> {
        self.insert(kind, Builder::Plain(build))
    }

    /// Adds layers of a posterior [`Family`] on a [`LinearMap`], of which one is the user's own: [`Variational`], of the kind
    /// that is made of the names of both.
    ///
    /// # Errors
    /// [`Error::KindTaken`] if there are such layers.
    pub fn register_variational<M: LinearMap, F: Family>(&mut self) -> Result<(), Error> {
        self.insert(&kind_of::<M, F>(), Builder::Holder(Variational::<M, F>::build))
    }

    fn insert(&mut self, kind: &str, build: Builder) -> Result<(), Error> {
        if self.kinds.contains_key(kind) {
            return Err(Error::KindTaken { kind: kind.to_owned() });
        }
        self.kinds.insert(kind.to_owned(), build);
        Ok(())
    }

    /// Adds a prior of the user's own, for layers of any kind: see [`OwnPrior`](crate::OwnPrior).
    ///
    /// # Errors
    /// [`Error::KindTaken`] if the name is in use.
    pub fn register_prior(&mut self, kind: &str, build: PriorBuilder) -> Result<(), Error> {
        if self.priors.contains_key(kind) {
            return Err(Error::KindTaken { kind: kind.to_owned() });
        }
        self.priors.insert(kind.to_owned(), build);
        Ok(())
    }

    /// Builds a layer from its kind and configuration.
    ///
    /// # Errors
    /// [`Error::UnknownKind`], or what the layer's own builder finds wrong.
    pub fn build(&self, kind: &str, config: &[u8]) -> Result<Box<dyn Layer>, Error> {
        match self.kinds.get(kind) {
            Some(Builder::Plain(build)) => build(config),
            Some(Builder::Holder(build)) => build(self, config),
            None => Err(unknown("layer", kind, &self.kinds)),
        }
    }

    /// Builds a prior of the user's own from its kind and configuration.
    pub(crate) fn build_prior(&self, kind: &str, config: &[u8]) -> Result<Arc<dyn Density>, Error> {
        match self.priors.get(kind) {
            Some(build) => build(config),
            None => Err(unknown("prior", kind, &self.priors)),
        }
    }
}

fn unknown<B>(what: &'static str, kind: &str, known: &BTreeMap<String, B>) -> Error {
    let known = match known.keys().cloned().collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => "none".to_owned(),
        names => names,
    };
    Error::UnknownKind { what, kind: kind.to_owned(), known }
}
