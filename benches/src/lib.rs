//! Benchmarks and long studies of the workspace.
#![forbid(unsafe_code)]

pub mod gradvar;
pub mod network;
pub mod timing;
pub mod uci;

/// What can go wrong here: a file, a setting, a training.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
