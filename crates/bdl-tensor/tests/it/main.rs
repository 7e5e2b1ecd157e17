//! The crate from outside: kernels and products against naive loops.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod accuracy;
mod common;
mod kernels;
mod patches;
mod products;
mod sparse;
mod special;
mod thinned;
mod windows;
