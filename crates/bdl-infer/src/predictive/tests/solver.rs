//! Quantiles of mixtures, and likelihoods that are not Gaussian.

use std::f64::consts::PI;

use bdl_layers::Block;
use bdl_tensor::{Mat, MatMut};

use super::*;
use crate::{RealLikelihood, Targets};

const PROBS: [f64; 9] = [1e-9, 1e-3, 0.05, 0.25, 0.5, 0.75, 0.95, 0.999, 1.0 - 1e-9];

#[test]
fn quantile_inverts_the_distribution_function() {
    let l = Heteroscedastic::new();
    for (seed, samples) in [(1, 1), (2, 2), (3, 10), (4, 100)] {
        let out = outputs(seed, samples, 4);
        let p = Predictive::new(&l, &[&[]], &out, samples, 4).unwrap();
        let mut scratch = MixtureScratch::new();
        for row in 0..4 {
            let y = p.real(row, &mut scratch).unwrap();
            for prob in PROBS {
                let q = y.quantile(prob).unwrap();
                let tail = prob.min(1.0 - prob);
                assert!(
                    (y.cdf(q) - prob).abs() <= 1e-10 * tail + 1e-14,
                    "S={samples} p={prob}: {q} {}",
                    y.cdf(q)
                );
            }
            assert_eq!(y.quantile(0.0).unwrap(), f64::NEG_INFINITY);
            assert_eq!(y.quantile(1.0).unwrap(), f64::INFINITY);
        }
    }
}

#[test]
fn quantiles_rise_with_the_probability() {
    let (l, out) = (Heteroscedastic::new(), outputs(9, 12, 1));
    let p = Predictive::new(&l, &[&[]], &out, 12, 1).unwrap();
    let mut scratch = MixtureScratch::new();
    let y = p.real(0, &mut scratch).unwrap();
    let quantiles: Vec<f64> = (1..1000).map(|i| y.quantile(f64::from(i) / 1000.0).unwrap()).collect();
    assert!(quantiles.is_sorted());
}

#[test]
fn spikes_far_apart_are_told_from_each_other() {
    // Deviations of 1e-4 and less at distances of 1 and 1e6: the distribution function is a staircase.
    for sd in [1e-4, 1e-9, 1e-14] {
        let (l, out) = (fixed(sd), [0.0, 1.0, 2.0, 1e6]);
        let p = Predictive::new(&l, &[&[]], &out, 4, 1).unwrap();
        let mut scratch = MixtureScratch::new();
        let y = p.real(0, &mut scratch).unwrap();
        for (prob, spike) in [(0.1, 0.0), (0.3, 1.0), (0.6, 2.0), (0.9, 1e6)] {
            let q = y.quantile(prob).unwrap();
            assert!((q - spike).abs() < 6.0 * sd + 1e-9, "sd={sd} p={prob}: {q}");
            let steps = (spike.abs() * f64::EPSILON / sd).max(1e-12);
            assert!((y.cdf(q) - prob).abs() < steps.min(0.25), "sd={sd} p={prob}: {q} {}", y.cdf(q));
        }
    }
}

/// A likelihood of someone else's: a Cauchy around the output, with no variance to bracket by.
#[derive(Debug)]
struct Cauchy {
    /// What it says its deviation is.
    claimed_sd: f64,
}

impl Likelihood for Cauchy {
    fn kind(&self) -> &str {
        "cauchy"
    }
    fn config(&self) -> Result<Vec<u8>, Error> {
        Ok(Vec::new())
    }
    fn outputs(&self) -> usize {
        1
    }
    fn blocks(&self) -> Vec<Block> {
        Vec::new()
    }
    fn nll_sum(&self, _: &[f32], _: Mat<'_>, _: Targets<'_>) -> Result<f64, Error> {
        Ok(0.0)
    }
    fn nll_grad(
        &self,
        _: &[f32],
        _: Mat<'_>,
        _: Targets<'_>,
        _: f32,
        _: &mut MatMut<'_>,
        _: &mut [f32],
    ) -> Result<f64, Error> {
        Ok(0.0)
    }
    fn predicts(&self) -> Predicts<'_> {
        Predicts::Real(self)
    }
}

impl RealLikelihood for Cauchy {
    fn mean_sd(&self, _: &[f32], out_row: &[f32]) -> (f64, f64) {
        (out_row[0].into(), self.claimed_sd)
    }
    fn ln_density(&self, _: &[f32], out_row: &[f32], y: f64) -> f64 {
        -(PI * (1.0 + (y - f64::from(out_row[0])).powi(2))).ln()
    }
    fn cdf(&self, _: &[f32], out_row: &[f32], y: f64) -> f64 {
        0.5 + (y - f64::from(out_row[0])).atan() / PI
    }
    fn draw(&self, _: &[f32], out_row: &[f32], _: &mut NoiseRng) -> f64 {
        out_row[0].into()
    }
}

#[test]
fn a_likelihood_from_outside_that_is_not_gaussian_works_too() {
    for claimed_sd in [0.0, 0.1, 1.0, 100.0, f64::INFINITY] {
        let (l, out) = (Cauchy { claimed_sd }, [0.0, 4.0]);
        let p = Predictive::new(&l, &[&[]], &out, 2, 1).unwrap();
        let mut scratch = MixtureScratch::new();
        let y = p.real(0, &mut scratch).unwrap();
        for prob in [0.01, 0.3, 0.5, 0.7, 0.99] {
            let q = y.quantile(prob).unwrap();
            assert!((y.cdf(q) - prob).abs() < 1e-12, "{prob}: {q}");
        }
        let density = (1.0 / (5.0 * PI) + 1.0 / (5.0 * PI)) / 2.0 * 5.0 / 5.0;
        assert!((y.ln_density(2.0) - density.ln()).abs() < 1e-12);
    }
}
