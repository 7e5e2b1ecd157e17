//! The crate from outside: noise, densities and divergences against quadrature, statistics and committed values.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod addresses;
mod density;
mod kl;
mod statistics;
mod value_stability;
