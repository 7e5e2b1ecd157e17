//! Addressable noise, Bernoulli masks, Gaussians and KL divergences for Bayesian deep learning.
