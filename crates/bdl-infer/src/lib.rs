//! ELBO training and parallel Monte Carlo prediction of Bayesian neural networks.
