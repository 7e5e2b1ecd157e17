//! The layers from outside: gradients against oracles, moments, priors, pruning, files and equal bits.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;
mod concrete;
mod conformance;
mod convolution;
mod determinism;
mod file;
mod gradients;
mod informed;
mod log_uniform;
mod moments;
mod monte_carlo;
mod norm;
mod own_family;
mod plan;
mod pooling;
mod priors;
mod pruning;
mod pruning_inside;
mod report;
mod value_stability;
mod variational_dropout;
