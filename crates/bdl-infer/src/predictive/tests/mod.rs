//! Tests of the predictive distribution.

mod classes;
mod counts;
mod errors;
mod heavy_tails;
mod numbers;
mod several;
mod solver;

use bdl_dist::{Noise, NoiseRng, Purpose};
use bdl_testkit::source::{SplitMix64, to_f32};

use super::*;
use crate::{Bernoulli, Categorical, Dof, Gaussian, Heteroscedastic, NoiseSd, Poisson, StudentT};

fn rng(stream: u64) -> NoiseRng {
    Noise::new(11, Purpose::Draw).rng(stream)
}

fn fixed(sd: f64) -> Gaussian {
    Gaussian::new(NoiseSd::Fixed(sd)).unwrap()
}

/// Outputs `[S, B, 2]` of a heteroscedastic network.
fn outputs(seed: u64, samples: usize, rows: usize) -> Vec<f32> {
    to_f32(&SplitMix64::new(seed).uniforms(samples * rows * 2, -2.0, 2.0))
}

#[test]
fn wrong_calls_are_named() {
    let (real, class) = (fixed(1.0), Categorical::new(3).unwrap());
    let message = |r: Result<Predictive<'_>, Error>| r.unwrap_err().to_string();
    assert_eq!(
        message(Predictive::new(&real, &[&[]], &[], 0, 1)),
        "predictive: samples must be at least 1 and a multiple of the members, got 0 passes of 1 members"
    );
    assert!(Predictive::new(&real, &[&[], &[]], &[0.0; 3], 3, 1).is_err());
    assert!(Predictive::new(&real, &[], &[0.0; 3], 3, 1).is_err());
    assert_eq!(
        message(Predictive::new(&class, &[&[]], &[0.0; 5], 2, 1)),
        "predictive: outputs, [samples, rows, outputs]: expected 6, got 5"
    );
    assert_eq!(
        message(Predictive::new(&real, &[&[0.0]], &[0.0], 1, 1)),
        "predictive: parameters of the likelihood: expected 0, got 1"
    );
    let mut scratch = MixtureScratch::new();
    let p = Predictive::new(&real, &[&[]], &[0.0, 1.0], 2, 1).unwrap();
    assert!(p.class(0, &mut scratch).is_err() && p.real(1, &mut scratch).is_err());
    let y = p.real(0, &mut scratch).unwrap();
    assert!(y.quantile(1.5).is_err() && y.quantile(f64::NAN).is_err() && y.interval(1.0).is_err());
    let c = Predictive::new(&class, &[&[]], &[0.0; 6], 2, 1).unwrap();
    assert!(c.real(0, &mut scratch).is_err());
    assert!(c.class(0, &mut scratch).unwrap().ln_density(3).is_err());
    assert!(Units::new(0.0, 0.0).is_err() && Units::new(f64::NAN, 1.0).is_err());
}

#[test]
fn rows_do_not_depend_on_what_the_scratch_held() {
    let (l, out) = (Heteroscedastic::new(), outputs(5, 6, 4));
    let p = Predictive::new(&l, &[&[]], &out, 6, 4).unwrap();
    let mut used = MixtureScratch::new();
    for row in [3, 0, 2, 1] {
        let (a, mut fresh) = (p.real(row, &mut used).unwrap().ln_density(0.3), MixtureScratch::new());
        assert_eq!(a, p.real(row, &mut fresh).unwrap().ln_density(0.3));
    }
}

#[test]
fn streaming_logsumexp_is_the_naive_one_and_survives_infinities() {
    let v = SplitMix64::new(1).uniforms(50, -5.0, 5.0);
    let naive = v.iter().map(|v| v.exp()).sum::<f64>().ln();
    assert!((logsumexp(v.iter().copied()) - naive).abs() < 1e-12);
    assert!((logsumexp([-1e4, -1e4].into_iter()) - (2_f64.ln() - 1e4)).abs() < 1e-9);
    assert_eq!(logsumexp([f64::NEG_INFINITY; 3].into_iter()), f64::NEG_INFINITY);
    assert_eq!(logsumexp([f64::NEG_INFINITY, 2.0].into_iter()), 2.0);
    assert_eq!(logsumexp([1.0, f64::INFINITY].into_iter()), f64::INFINITY);
    assert!(logsumexp([1.0, f64::NAN].into_iter()).is_nan());
}

#[test]
fn mcse_is_of_passes_or_of_members() {
    let v = [1.0, 3.0, 5.0, 7.0];
    let of_passes = (20.0_f64 / 3.0 / 4.0).sqrt();
    assert!((mcse(v.into_iter(), 4, 1).unwrap() - of_passes).abs() < 1e-12);
    // Means of the members: 2 and 6, variance 8, over 2 members.
    assert!((mcse(v.into_iter(), 4, 2).unwrap() - 2.0).abs() < 1e-12);
    assert_eq!(mcse([1.0].into_iter(), 1, 1), None);
}
