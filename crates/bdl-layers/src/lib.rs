//! Bayesian and deterministic network layers over one flat parameter vector.
