#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod activation;
mod at_mean;
mod block;
pub mod codec;
mod concrete;
pub mod conformance;
mod conv;
mod dense;
mod dropout;
mod error;
mod family;
mod file;
mod flatten;
mod gaussian_dropout;
mod image;
mod kl;
mod layer;
mod map;
mod monte_carlo;
mod norm;
mod parallel;
mod pass;
mod plain;
mod plan;
mod pooling;
mod prior;
mod prune;
mod pruned;
mod registry;
mod report;
mod residual;
mod variational;
mod workspace;

pub use activation::{Activation, ActivationLayer};
pub use at_mean::{AtMean, Means};
pub use block::{Block, BlockEntry, Role, place};
pub use concrete::{ConcreteConv2d, ConcreteDense, ConcreteDropout};
pub use conv::{Conv2dMap, Conv2dV1, Filters};
pub use dropout::{Channels, Columns, Dropout, Dropout2d, DropoutOver, Over};
pub use error::Error;
pub use family::{
    Extent, Family, Grain, IndependentVd, IndependentVdConv2d, IndependentVdDense, IndependentVdV1,
    MeanField, MeanFieldV1, SparseVd, SparseVdConv2d, SparseVdDense, SparseVdV1,
};
pub use file::{Container, FORMAT_VERSION, PARAMS, PLAN, Section, push_network, read_network, write_beside};
pub use flatten::{Flatten, ImageOrder};
pub use gaussian_dropout::{CorrelatedVd, GaussianDropout};
pub use image::{Image, Window};
pub use kl::{KlForm, KlKnown, KlTerm};
pub use layer::{Backward, Context, Form, KlAt, Layer, Scratch};
pub use map::{DenseMap, DenseV1, LinearMap};
pub use monte_carlo::{MonteCarlo, PassRows};
pub use norm::{BatchNorm, LayerNorm};
pub use pass::{Draw, Estimator, KlNoise, Mode, Pass, Scope, Site};
pub use plain::{Conv2d, Dense, Plain, PrunedConv2d, PrunedDense};
pub use plan::Plan;
pub use pooling::{AvgPool2d, Largest, MaxPool2d, Mean, Pool2d, Pooling};
pub use prior::{OwnPrior, Prior, Scaling};
pub use prune::{Cut, Leaf, Measure, Prunable, PrunedLayer, PrunedPlan, Units, Weights};
pub use pruned::{
    Pruned, PrunedSparseVdConv2d, PrunedSparseVdDense, PrunedV1, PrunedVariationalConv2d,
    PrunedVariationalDense, Thin,
};
pub use registry::{LayerBuilder, PriorBuilder, Registry};
pub use report::{LayerReport, LayerSummary, LayerWarning, Quantiles};
pub use residual::Residual;
pub use variational::{Variational, VariationalConv2d, VariationalDense};
pub use workspace::Workspace;
