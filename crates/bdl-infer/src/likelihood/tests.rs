//! Values, gradients and limits of every likelihood, against the `f64` oracle.

use bdl_testkit::finite::{assert_gradient_close, central_gradient};
use bdl_testkit::oracle::OracleLikelihood;
use bdl_testkit::source::{SplitMix64, to_f32, to_f64};

use super::*;

fn mat(data: &[f32], cols: usize) -> Mat<'_> {
    Mat::new(data, data.len() / cols, cols).unwrap()
}

fn learned(init: f64) -> Gaussian {
    Gaussian::new(NoiseSd::Learned { init }).unwrap()
}

fn bare() -> Heteroscedastic {
    Heteroscedastic::with_floor(0.0).unwrap()
}

/// Value, gradient in the outputs, gradient in the parameters of `scale · nll_sum`.
fn grad(
    l: &dyn Likelihood,
    params: &[f32],
    out: &[f32],
    y: Targets<'_>,
    scale: f32,
) -> (f64, Vec<f32>, Vec<f32>) {
    let (mut d_out, mut d_params) = (vec![f32::NAN; out.len()], vec![0.0; params.len()]);
    let rows = out.len() / l.outputs();
    let mut d = MatMut::new(&mut d_out, rows, l.outputs()).unwrap();
    let nll = l.nll_grad(params, mat(out, l.outputs()), y, scale, &mut d, &mut d_params).unwrap();
    (nll, d_out, d_params)
}

/// Every likelihood with its oracle, parameters, and the width of its raw-scale column.
fn table() -> Vec<(Box<dyn Likelihood>, OracleLikelihood, Vec<f32>)> {
    let fixed = Gaussian::new(NoiseSd::Fixed(0.7)).unwrap();
    vec![
        (Box::new(fixed), OracleLikelihood::GaussianFixed { sigma: 0.7 }, vec![]),
        (Box::new(learned(1.0)), OracleLikelihood::GaussianLearned, vec![-0.8]),
        (Box::new(bare()), OracleLikelihood::Heteroscedastic, vec![]),
        (Box::new(Categorical::new(2).unwrap()), OracleLikelihood::Categorical { classes: 2 }, vec![]),
        (Box::new(Categorical::new(5).unwrap()), OracleLikelihood::Categorical { classes: 5 }, vec![]),
    ]
}

#[test]
fn values_and_gradients_are_those_of_the_f64_oracle() {
    for (l, oracle, params) in table() {
        let mut source = SplitMix64::new(7);
        let out = to_f32(&source.uniforms(17 * l.outputs(), -2.0, 2.0));
        let (real, class) =
            (to_f32(&source.uniforms(17, -2.0, 2.0)), [0, 1, 1, 0, 1, 0, 0, 0, 1, 1, 0, 1, 0, 1, 0, 0, 1]);
        let is_class = matches!(l.predicts(), Predicts::Class(_));
        let y = if is_class { Targets::Class(&class) } else { Targets::Real(&real) };
        let y64: Vec<f64> = if is_class { class.map(f64::from).to_vec() } else { to_f64(&real) };
        let (nll, d_out, d_params) = grad(&*l, &params, &out, y, 3.0);

        let (out64, params64) = (to_f64(&out), to_f64(&params));
        let expected = oracle.nll_sum(&out64, &y64, &params64);
        assert!((nll - expected).abs() < 1e-10 * expected.abs(), "{}: {nll} {expected}", l.kind());
        assert_eq!(nll, l.nll_sum(&params, mat(&out, l.outputs()), y).unwrap());
        let in_out = central_gradient(|o| 3.0 * oracle.nll_sum(o, &y64, &params64), &out64);
        assert_gradient_close(l.kind(), &d_out, &in_out, 1e-6);
        let in_params = central_gradient(|p| 3.0 * oracle.nll_sum(&out64, &y64, p), &params64);
        assert_gradient_close(l.kind(), &d_params, &in_params, 1e-6);
    }
}

#[test]
fn the_gradient_with_a_floor_is_exact() {
    let l = Heteroscedastic::with_floor(0.3).unwrap();
    let (out, y) = ([0.5, -1.0, 2.0, 0.4, -1.0, -6.0_f32], [0.1, 2.5, -1.2_f32]);
    let naive = |o: &[f64]| -> f64 {
        let row = |(o, y): (&[f64], &f32)| {
            let sigma: f64 = 0.3 + o[1].exp().ln_1p();
            0.5 * ((f64::from(*y) - o[0]) / sigma).powi(2) + sigma.ln() + 0.5 * std::f64::consts::TAU.ln()
        };
        o.chunks(2).zip(&y).map(row).sum()
    };
    let (nll, d_out, _) = grad(&l, &[], &out, Targets::Real(&y), 1.0);
    assert!((nll - naive(&to_f64(&out))).abs() < 1e-12);
    assert_gradient_close("floor", &d_out, &central_gradient(naive, &to_f64(&out)), 1e-6);
}

#[test]
fn gradients_in_parameters_are_added_and_those_in_outputs_overwritten() {
    let l = learned(0.5);
    let (mut d_out, mut d_params) = ([9.0_f32; 1], [10.0_f32]);
    let mut d = MatMut::new(&mut d_out, 1, 1).unwrap();
    l.nll_grad(&[0.0], mat(&[1.0], 1), Targets::Real(&[1.0]), 2.0, &mut d, &mut d_params).unwrap();
    assert_eq!(d_out, [0.0]);
    // 2·sigmoid(0)/softplus(0) = 1/ln 2.
    assert!((d_params[0] - (10.0 + 1.0 / std::f32::consts::LN_2)).abs() < 1e-5);
}

#[test]
fn extreme_outputs_have_finite_values_and_gradients() {
    let l = Heteroscedastic::new();
    for raw in [-1e4, -800.0, 800.0, 1e4_f32] {
        let (nll, d, _) = grad(&l, &[], &[0.0, raw], Targets::Real(&[3.0]), 1.0);
        assert!(nll.is_finite() && d.iter().all(|d| d.is_finite()), "{raw}: {nll} {d:?}");
        // Without a floor what is finite in exact arithmetic is finite here: on the mean, for any sigma.
        let (nll, d, _) = grad(&bare(), &[], &[3.0, raw], Targets::Real(&[3.0]), 1.0);
        assert!(nll.is_finite() && d.iter().all(|d| d.is_finite()), "{raw}: {nll} {d:?}");
    }
    assert_eq!(grad(&bare(), &[], &[3.0, -1e4], Targets::Real(&[3.0]), 1.0).1, [0.0, 1.0]);
    let (nll, d, _) = grad(&Categorical::new(3).unwrap(), &[], &[1e4, -1e4, 0.0], Targets::Class(&[1]), 1.0);
    assert_eq!((nll, d), (2e4, vec![1.0, -1.0, 0.0]));
    let (nll, d, p) = grad(&learned(1.0), &[1e4], &[-1e4], Targets::Real(&[1e4]), 1.0);
    assert!(nll.is_finite() && d[0].is_finite() && p[0].is_finite());
}

#[test]
fn learned_noise_starts_at_its_initial_value() {
    for init in [1e-3, 0.1, 1.0, 30.0] {
        let l = learned(init);
        let mut params = [f32::NAN];
        l.init(&mut params);
        assert!((l.sigma(&params) / init - 1.0).abs() < 1e-5, "{init}: {params:?}");
    }
    assert_eq!(learned(1.0).blocks()[0].name, "noise.raw");
    assert!(Gaussian::new(NoiseSd::Fixed(1.0)).unwrap().blocks().is_empty());
}

#[test]
fn density_cdf_and_moments_of_one_output_agree_with_the_batch() {
    let l = Heteroscedastic::new();
    let (out, y) = ([0.3, -0.4_f32], 1.1_f32);
    let (mean, sd) = l.mean_sd(&[], &out);
    let nll = l.nll_sum(&[], mat(&out, 2), Targets::Real(&[y])).unwrap();
    assert_eq!(l.ln_density(&[], &out, y.into()), -nll);
    let normal = bdl_testkit::stats::normal_cdf((f64::from(y) - mean) / sd);
    assert!((l.cdf(&[], &out, y.into()) - normal).abs() < 1e-12);
}

#[test]
fn draws_follow_the_density() {
    // 20 000 draws; rejects a right sampler once in 1e6 runs, and the seed is fixed.
    let mut rng = bdl_dist::Noise::new(3, bdl_dist::Purpose::Draw).rng(0);
    let (l, out) = (Heteroscedastic::new(), [0.3, -0.4]);
    let draws: Vec<f64> = (0..20_000).map(|_| l.draw(&[], &out, &mut rng)).collect();
    bdl_testkit::stats::assert_ks("heteroscedastic", &draws, |y| l.cdf(&[], &out, y), 1e-6);
}

#[test]
fn the_configuration_survives_the_round_trip_and_junk_is_refused() {
    for noise in [NoiseSd::Fixed(0.25), NoiseSd::Learned { init: 0.5 }] {
        let l = Gaussian::new(noise).unwrap();
        assert_eq!(Gaussian::from_config(&l.config().unwrap()).unwrap(), l);
    }
    let l = Heteroscedastic::with_floor(0.5).unwrap();
    assert_eq!(Heteroscedastic::from_config(&l.config().unwrap()).unwrap(), l);
    let l = Categorical::new(7).unwrap();
    let mut bytes = l.config().unwrap();
    assert_eq!(Categorical::from_config(&bytes).unwrap(), l);
    bytes.push(0);
    assert!(Categorical::from_config(&bytes).is_err());
    assert!(Categorical::from_config(&1_u64.to_le_bytes()).is_err());
    assert!(Categorical::from_config(&bytes[..3]).is_err());
}

#[test]
fn wrong_calls_are_named() {
    let gaussian = Gaussian::new(NoiseSd::Fixed(1.0)).unwrap();
    let categorical = Categorical::new(3).unwrap();
    let message = |r: Result<f64, Error>| r.unwrap_err().to_string();
    assert_eq!(
        message(gaussian.nll_sum(&[], mat(&[0.0], 1), Targets::Class(&[0]))),
        "gaussian: needs numbers as targets, got classes"
    );
    assert_eq!(
        message(categorical.nll_sum(&[], mat(&[0.0; 3], 3), Targets::Real(&[0.0]))),
        "categorical: needs classes as targets, got numbers"
    );
    assert_eq!(
        message(categorical.nll_sum(&[], mat(&[0.0; 6], 3), Targets::Class(&[2, 3]))),
        "row 1: class must be below 3, got 3"
    );
    assert_eq!(
        message(categorical.nll_sum(&[], mat(&[0.0; 2], 2), Targets::Class(&[1]))),
        "likelihood: columns of the network's output: expected 3, got 2"
    );
    assert_eq!(
        message(gaussian.nll_sum(&[], mat(&[0.0; 2], 1), Targets::Real(&[0.0]))),
        "likelihood: targets, one per row of the output: expected 2, got 1"
    );
    assert!(learned(1.0).nll_sum(&[], mat(&[0.0], 1), Targets::Real(&[0.0])).is_err());
    assert!(
        Gaussian::new(NoiseSd::Fixed(0.0)).is_err()
            && Gaussian::new(NoiseSd::Learned { init: f64::NAN }).is_err()
    );
    assert!(Heteroscedastic::with_floor(-1.0).is_err() && Categorical::new(1).is_err());
}
