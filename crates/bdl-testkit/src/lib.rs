//! Naive f64 oracles, finite differences and statistical tests for the tests of bdl.
