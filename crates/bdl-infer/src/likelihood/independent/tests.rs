//! Values and gradients against the `f64` oracle, the way through a file, and calls that are refused.

use bdl_testkit::finite::{assert_gradient_close, central_gradient};
use bdl_testkit::oracle::OracleLikelihood;
use bdl_testkit::source::{SplitMix64, to_f32, to_f64};

use super::*;
use crate::{Categorical, Dof, Gaussian, Heteroscedastic, Kinds, NoiseSd, Poisson, StudentT};

fn parts() -> Vec<Box<dyn Likelihood>> {
    vec![
        Box::new(Gaussian::new(NoiseSd::Learned { init: 0.5 }).unwrap()),
        Box::new(Heteroscedastic::with_floor(0.0).unwrap()),
        Box::new(Gaussian::new(NoiseSd::Learned { init: 2.0 }).unwrap()),
        Box::new(StudentT::new(1.0, Dof::Learned { init: 10.0 }).unwrap()),
    ]
}

/// With the places of their outputs and parameters, counted by hand.
fn oracles() -> [(OracleLikelihood, Range<usize>, Range<usize>); 4] {
    [
        (OracleLikelihood::GaussianLearned, 0..1, 0..1),
        (OracleLikelihood::Heteroscedastic, 1..3, 1..1),
        (OracleLikelihood::GaussianLearned, 3..4, 1..2),
        (OracleLikelihood::StudentT { dof: None }, 4..5, 2..4),
    ]
}

/// The sum over rows and targets, a row at a time.
fn naive(out: &[f64], y: &[f64], params: &[f64]) -> f64 {
    let row = |(out, y): (&[f64], &[f64])| -> f64 {
        let of = oracles().into_iter().zip(y);
        of.map(|((l, outputs, own), y)| l.nll_sum(&out[outputs], &[*y], &params[own])).sum()
    };
    out.chunks(5).zip(y.chunks(4)).map(row).sum()
}

#[test]
fn values_and_gradients_are_those_of_the_f64_oracle() {
    let l = Independent::new(parts()).unwrap();
    assert_eq!((l.outputs(), l.targets()), (5, 4));
    let params = [-0.8, 0.4, 0.1, 1.5_f32];
    for rows in [1, 63, 64, 65, 130] {
        let mut source = SplitMix64::new(7);
        let out = to_f32(&source.uniforms(rows * 5, -2.0, 2.0));
        let y = to_f32(&source.uniforms(rows * 4, -2.0, 2.0));
        let (targets, at) = (Targets::Several { y: &y, targets: 4 }, Mat::new(&out, rows, 5).unwrap());
        let (mut d_out, mut d_params) = (vec![f32::NAN; out.len()], vec![10.0; 4]);
        let mut d = MatMut::new(&mut d_out, rows, 5).unwrap();
        let nll = l.nll_grad(&params, at, targets, 3.0, &mut d, &mut d_params).unwrap();

        let (out64, y64, params64) = (to_f64(&out), to_f64(&y), to_f64(&params));
        let expected = naive(&out64, &y64, &params64);
        assert!((nll - expected).abs() < 1e-10 * expected.abs(), "{rows}: {nll} {expected}");
        assert_eq!(nll, l.nll_sum(&params, at, targets).unwrap());
        let in_out = central_gradient(|o| 3.0 * naive(o, &y64, &params64), &out64);
        assert_gradient_close("outputs", &d_out, &in_out, 1e-6);
        // They are added to what is there.
        let in_params = central_gradient(|p| 3.0 * naive(&out64, &y64, p), &params64);
        d_params.iter_mut().for_each(|d| *d -= 10.0);
        assert_gradient_close("parameters", &d_params, &in_params, 1e-5);
    }
}

#[test]
fn each_target_has_parameters_of_its_own() {
    let l = Independent::new(parts()).unwrap();
    let names: Vec<_> = l.blocks().into_iter().map(|block| block.name).collect();
    assert_eq!(names, ["0.noise.raw", "2.noise.raw", "3.scale.raw", "3.dof.raw"]);
    let (mut params, mut own) = ([f32::NAN; 4], [f32::NAN; 1]);
    l.init(&mut params);
    Gaussian::new(NoiseSd::Learned { init: 2.0 }).unwrap().init(&mut own);
    assert!(params.iter().all(|p| p.is_finite()) && params[1] == own[0] && params[0] != own[0]);
}

#[test]
fn the_configuration_survives_the_round_trip_and_nothing_nests() {
    let config = Independent::new(parts()).unwrap().config().unwrap();
    let kinds = Kinds::default();
    let again = kinds.likelihood(Independent::KIND, &config).unwrap();
    assert_eq!((again.kind(), again.outputs(), again.config().unwrap()), ("independent", 5, config.clone()));
    assert!(kinds.likelihood(Independent::KIND, &config[1..]).is_err());
    let nested = ConfigV1 { parts: vec![(Independent::KIND.to_owned(), config)] };
    let nested = codec::encode(Independent::KIND, &nested).unwrap();
    let e = kinds.likelihood(Independent::KIND, &nested).unwrap_err().to_string();
    assert!(e.contains("likelihood kind \"independent\" is unknown here"), "{e}");
}

#[test]
fn wrong_calls_are_named() {
    let message = |e: Error| e.to_string();
    assert_eq!(
        message(Independent::new(vec![]).unwrap_err()),
        "independent: likelihoods must be >= 1, got 0"
    );
    let classes: Box<dyn Likelihood> = Box::new(Categorical::new(3).unwrap());
    assert_eq!(
        message(Independent::new(vec![classes]).unwrap_err()),
        "independent: likelihood must be of one number, from 1 to 4 outputs, got categorical with 3 outputs"
    );
    let count = || Box::new(Poisson::default()) as Box<dyn Likelihood>;
    let l = Independent::new(vec![count(), count()]).unwrap();
    let out = [0.0; 140];
    let nll = |y: Targets<'_>| l.nll_sum(&[], Mat::new(&out, 70, 2).unwrap(), y);
    let mut y = [1.0; 140];
    assert!(nll(Targets::Several { y: &y, targets: 2 }).is_ok());
    assert_eq!(
        message(nll(Targets::Several { y: &y[1..], targets: 2 }).unwrap_err()),
        "likelihood: numbers of all targets: expected 140, got 139"
    );
    assert_eq!(
        message(nll(Targets::Real(&y[..70])).unwrap_err()),
        "independent: needs several numbers a row as targets, got numbers"
    );
    // Row 69, beyond the first block.
    y[139] = 2.5;
    assert_eq!(
        message(nll(Targets::Several { y: &y, targets: 2 }).unwrap_err()),
        "row 69: count must be a whole number from 0 to 16777216, got 2.5"
    );
    assert_eq!(
        message(l.target(2).unwrap_err()),
        "independent: target must be below the number of targets, got 2"
    );
}
