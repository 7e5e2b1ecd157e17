//! Benchmarks and long studies of the workspace.
