//! The crate from outside: gradients, exact answers, equal bits, faults, training, prediction and files.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "tests")]

mod bits;
mod concrete;
mod counts;
mod exact;
mod faults;
mod files;
mod gradients;
mod kl_weight;
mod minibatch;
mod nets;
mod own;
mod prediction;
mod training;
