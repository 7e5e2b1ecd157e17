//! Quadrature and draws for the tests.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Simpson's rule on `2·half` intervals.
pub(crate) fn simpson(f: impl Fn(f64) -> f64, from: f64, to: f64, half: usize) -> f64 {
    let h = (to - from) / (2 * half) as f64;
    let inner: f64 = (1..2 * half).map(|i| f(from + i as f64 * h) * if i % 2 == 1 { 4.0 } else { 2.0 }).sum();
    (f(from) + inner + f(to)) * h / 3.0
}

pub(crate) fn density(x: f64, mean: f64, std: f64) -> f64 {
    (-0.5 * ((x - mean) / std).powi(2)).exp() / (std * (2.0 * std::f64::consts::PI).sqrt())
}

/// Uniform draws in (0, 1).
pub(crate) fn uniforms(n: usize, seed: u64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| ((rng.next_u64() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64).collect()
}

/// Standard normal draws, by Box–Muller.
pub(crate) fn normals(n: usize, seed: u64) -> Vec<f64> {
    let u = uniforms(2 * n, seed);
    u.chunks_exact(2).map(|u| (-2.0 * u[0].ln()).sqrt() * (2.0 * std::f64::consts::PI * u[1]).cos()).collect()
}

/// Mean and its standard error.
pub(crate) fn mean_se(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

pub(crate) fn close(a: f64, b: f64, tolerance: f64) {
    assert!((a - b).abs() <= tolerance, "{a} and {b} differ by {}, more than {tolerance}", (a - b).abs());
}

/// Class probabilities rounded to tenths, so that confidences tie, from any bytes.
pub(crate) fn coarse_probs(bytes: &[u8]) -> Vec<f64> {
    bytes
        .iter()
        .flat_map(|b| {
            let p = f64::from(b % 11) / 10.0;
            [p, 1.0 - p]
        })
        .collect()
}
