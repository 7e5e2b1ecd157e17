//! Models from outside: reading, training, prediction, files and their errors.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod bad_files;
mod bayesian;
mod calibration;
#[path = "../common/mod.rs"]
mod common;
mod determinism;
mod encoding;
mod format;
mod images;
mod likelihoods;
mod overlap;
mod predicting;
mod pruning;
mod reading;
mod round_trip;
mod saving;
mod several_targets;
mod starting;
mod training;
