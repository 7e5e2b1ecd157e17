//! Benchmarks and long studies of the workspace.
#![forbid(unsafe_code)]

pub mod uci;
