//! Naive `f64` oracles, finite differences and statistical tests for the tests of `bdl`.
//!
//! Everything here is written to be *obviously* right: loops instead of kernels, textbook formulas instead of
//! stable ones, one pass over the data per question. The fast `f32` code is checked against it; so nothing here may
//! use the fast code, and nothing outside a test may use this crate.
//!
//! * [`oracle`]: matrix product, networks with frozen noise, likelihoods, KL divergences
//! * [`finite`]: central differences and the norm-wise comparison of gradients
//! * [`stats`]: Kolmogorov–Smirnov, moments within 5 standard errors, chi-square
//! * [`quad`]: adaptive Simpson, Gauss–Hermite, CRPS from its definition
//! * [`bayes`]: exact Bayesian linear regression
//! * [`masks`]: exact moments of a dropout network by enumeration of its masks
//! * [`linalg`]: Cholesky, determinants and inverses of small matrices
//! * [`source`]: a small deterministic generator for test inputs
//!
//! Every function panics if it is called with slices whose lengths do not fit each other, or outside its domain: a
//! wrong call is a wrong test. Functions named `assert_…` panic if their claim fails.
//!
//! The formulas, with derivations and references, are in `docs/math.md`; headings there are cited as `math.md#…`.

#![forbid(unsafe_code)]
#![allow(clippy::missing_panics_doc, reason = "stated once above: a wrong call is a wrong test, and panics")]

pub mod bayes;
pub mod crew;
pub mod finite;
pub mod linalg;
pub mod masks;
pub mod oracle;
pub mod quad;
pub mod source;
pub mod stats;

/// The README's example, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
