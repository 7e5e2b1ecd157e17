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

fn poisson(base: f64) -> Poisson {
    Poisson::new(base).unwrap()
}

fn student(dof: Dof) -> StudentT {
    StudentT::new(1.0, dof).unwrap()
}

/// Every likelihood with its oracle and parameters.
fn table() -> Vec<(Box<dyn Likelihood>, OracleLikelihood, Vec<f32>)> {
    let fixed = Gaussian::new(NoiseSd::Fixed(0.7)).unwrap();
    vec![
        (Box::new(fixed), OracleLikelihood::GaussianFixed { sigma: 0.7 }, vec![]),
        (Box::new(learned(1.0)), OracleLikelihood::GaussianLearned, vec![-0.8]),
        (Box::new(bare()), OracleLikelihood::Heteroscedastic, vec![]),
        (Box::new(Categorical::new(2).unwrap()), OracleLikelihood::Categorical { classes: 2 }, vec![]),
        (Box::new(Categorical::new(5).unwrap()), OracleLikelihood::Categorical { classes: 5 }, vec![]),
        (Box::new(Bernoulli), OracleLikelihood::Bernoulli, vec![]),
        (Box::new(poisson(1.0)), OracleLikelihood::Poisson { base: 1.0 }, vec![]),
        (Box::new(poisson(2.5)), OracleLikelihood::Poisson { base: 2.5 }, vec![]),
        (Box::new(student(Dof::Fixed(3.0))), OracleLikelihood::StudentT { dof: Some(3.0) }, vec![-0.8]),
        (Box::new(student(Dof::Fixed(40.0))), OracleLikelihood::StudentT { dof: Some(40.0) }, vec![0.3]),
        (
            Box::new(student(Dof::Learned { init: 10.0 })),
            OracleLikelihood::StudentT { dof: None },
            vec![-0.8, 1.5],
        ),
    ]
}

#[test]
fn values_and_gradients_are_those_of_the_f64_oracle() {
    for (l, oracle, params) in table() {
        let mut source = SplitMix64::new(7);
        let out = to_f32(&source.uniforms(17 * l.outputs(), -2.0, 2.0));
        let (mut real, class) =
            (to_f32(&source.uniforms(17, -2.0, 2.0)), [0, 1, 1, 0, 1, 0, 0, 0, 1, 1, 0, 1, 0, 1, 0, 0, 1]);
        if l.kind() == Poisson::KIND {
            real.iter_mut().for_each(|y| *y = (2.0 * y.abs()).floor());
        }
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
    let (nll, d, _) = grad(&Bernoulli, &[], &[1e4, 1e4], Targets::Class(&[0, 1]), 1.0);
    assert_eq!((nll, d), (1e4, vec![1.0, 0.0]));
    // A rate that underflows: no event costs nothing, three cost what they should.
    let (nll, d, _) = grad(&poisson(1.0), &[], &[-1e4, -1e4], Targets::Real(&[0.0, 3.0]), 1.0);
    assert_eq!((nll, d), (3e4 + 6_f64.ln(), vec![0.0, -3.0]));
    for raw in [-1e4, 1e4] {
        let t = student(Dof::Learned { init: 3.0 });
        let (nll, d, p) = grad(&t, &[0.0, raw], &[1e4], Targets::Real(&[-1e4]), 1.0);
        assert!(nll.is_finite() && d[0].is_finite() && p.iter().all(|d| d.is_finite()), "{raw}");
        let (nll, d, p) = grad(&t, &[raw, 0.0], &[3.0], Targets::Real(&[3.0]), 1.0);
        assert!(nll.is_finite() && d[0] == 0.0 && p.iter().all(|d| d.is_finite()), "{raw}");
    }
}

#[test]
fn an_outlier_pulls_a_heavy_tail_less_the_further_it_is() {
    let pull = |l: &dyn Likelihood, y: f32| -grad(l, &[0.0], &[0.0], Targets::Real(&[y]), 1.0).1[0];
    let (t, gaussian) = (student(Dof::Fixed(4.0)), learned(1.0));
    assert!(pull(&t, 100.0) < 0.1 * pull(&t, 1.5) && pull(&gaussian, 100.0) > 60.0 * pull(&gaussian, 1.5));
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
fn scale_and_degrees_of_freedom_start_at_their_initial_values() {
    for init in [2.2, 3.0, 10.0, 200.0] {
        let l = StudentT::new(0.3, Dof::Learned { init }).unwrap();
        let mut params = [f32::NAN; 2];
        l.init(&mut params);
        let (scale, dof) = l.scale_dof(&params);
        assert!((scale / 0.3 - 1.0).abs() < 1e-6 && (dof / init - 1.0).abs() < 1e-5, "{init}: {scale} {dof}");
    }
    let names = |l: StudentT| l.blocks().into_iter().map(|b| b.name).collect::<Vec<_>>();
    assert_eq!(names(student(Dof::Learned { init: 5.0 })), ["scale.raw", "dof.raw"]);
    assert_eq!(names(student(Dof::Fixed(5.0))), ["scale.raw"]);
    // However far down the parameter goes, there is a variance.
    let (_, dof) = student(Dof::Learned { init: 5.0 }).scale_dof(&[0.0, -1e4]);
    assert_eq!(dof, StudentT::LEAST_DOF);
}

/// The single real likelihoods that are not Gaussian, with parameters and an output.
fn heavy_and_discrete() -> [(Box<dyn RealLikelihood>, Vec<f32>, f32); 5] {
    [
        (Box::new(student(Dof::Fixed(2.2))), vec![-0.8], 0.4),
        (Box::new(student(Dof::Learned { init: 5.0 })), vec![0.2, 3.0], -1.0),
        (Box::new(poisson(1.0)), vec![], -1.5),
        (Box::new(poisson(6.0)), vec![], 0.3),
        (Box::new(poisson(100.0)), vec![], 0.7),
    ]
}

#[test]
fn densities_integrate_or_sum_to_one_and_to_the_distribution_function() {
    for (l, params, out) in heavy_and_discrete() {
        let p = |y: f64| l.ln_density(&params, &[out], y).exp();
        if l.is_discrete() {
            let mut sum = 0.0;
            for y in (0..400).map(f64::from) {
                sum += p(y);
                assert!((sum - l.cdf(&params, &[out], y)).abs() < 1e-12, "{l:?} at {y}");
                assert!((1.0 - sum - l.survival(&params, &[out], y + 0.5)).abs() < 1e-12, "{l:?} at {y}");
                assert_eq!((p(y + 0.5), p(-1.0 - y)), (0.0, 0.0));
            }
            assert!((sum - 1.0).abs() < 1e-12, "{l:?}: {sum}");
            assert_eq!((l.cdf(&params, &[out], -0.5), l.survival(&params, &[out], -0.5)), (0.0, 1.0));
            continue;
        }
        // y = mean + tan θ: heavy tails are finite.
        let mean = f64::from(out);
        let density = |theta: f64| p(mean + theta.tan()) / theta.cos().powi(2);
        let up_to = |y: f64| bdl_testkit::quad::adaptive_simpson(&density, -1.57, (y - mean).atan(), 1e-11);
        assert!((up_to(1e9) - 1.0).abs() < 1e-6, "{l:?}: {}", up_to(1e9));
        for y in [-30.0, -1.0, 0.4, 2.0, 30.0] {
            let (cdf, survival) = (l.cdf(&params, &[out], y), l.survival(&params, &[out], y));
            assert!((up_to(y) - cdf).abs() < 1e-6 && (cdf + survival - 1.0).abs() < 1e-15, "{l:?} at {y}");
        }
    }
}

#[test]
fn the_upper_tail_keeps_its_digits() {
    for (l, params, out) in heavy_and_discrete() {
        let (mean, sd) = l.mean_sd(&params, &[out]);
        let y = (mean + 40.0 * sd).ceil();
        let tail = l.survival(&params, &[out], y);
        let expected: f64 = if l.is_discrete() {
            (1..200).map(|k| l.ln_density(&params, &[out], y + f64::from(k)).exp()).sum()
        } else {
            l.cdf(&params, &[out], 2.0 * mean - y)
        };
        assert!(tail > 0.0 && (tail / expected - 1.0).abs() < 1e-9, "{l:?}: {tail:e} {expected:e}");
    }
}

#[test]
fn the_deviation_is_that_of_the_density_and_not_the_scale() {
    for (l, params, out) in heavy_and_discrete() {
        let (mean, sd) = l.mean_sd(&params, &[out]);
        let moment = |y: f64| (y - mean).powi(2) * l.ln_density(&params, &[out], y).exp();
        let variance = if l.is_discrete() {
            (0..1000).map(|y| moment(y.into())).sum()
        } else {
            // The tail beyond, a power of it for few degrees of freedom, by the substitution y = mean + sinh u.
            let in_u = |u: f64| moment(mean + u.sinh()) * u.cosh();
            bdl_testkit::quad::adaptive_simpson(&in_u, -200.0, 200.0, 1e-9)
        };
        assert!((variance / (sd * sd) - 1.0).abs() < 1e-6, "{l:?}: {variance} {}", sd * sd);
    }
}

#[test]
fn one_logit_is_two_logits_that_differ_by_it() {
    let two = Categorical::new(2).unwrap();
    for logit in [-1e4, -3.0, 0.0, 0.5, 40.0, 1e4_f32] {
        let (mut a, mut b) = ([0.0; 2], [0.0; 2]);
        Bernoulli.ln_probs(&[], &[logit], &mut a);
        two.ln_probs(&[], &[0.0, logit], &mut b);
        for (a, b) in a.into_iter().zip(b) {
            assert!((a - b).abs() <= 1e-12 * a.abs() + 1e-15, "{logit}: {a} {b}");
        }
    }
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

/// 100 000 draws each. Means and variances within 5 standard errors; KS or chi-square rejects a right sampler once in 1e6 runs.
/// The seed is fixed.
#[test]
fn draws_of_heavy_tails_and_counts_have_their_distribution_and_moments() {
    use bdl_testkit::stats::{MomentCheck, assert_counts, assert_ks};
    let mut rng = bdl_dist::Noise::new(4, bdl_dist::Purpose::Draw).rng(0);
    for dof in [2.5, 9.0, 300.0] {
        let (l, params, out) = (student(Dof::Fixed(dof)), [-0.8_f32], [0.7_f32]);
        let draws: Vec<f64> = (0..100_000).map(|_| l.draw(&params, &out, &mut rng)).collect();
        assert_ks(&format!("t {dof}"), &draws, |y| l.cdf(&params, &out, y), 1e-6);
        let (mean, sd) = l.mean_sd(&params, &out);
        MomentCheck::mean("t", &draws, mean, sd * sd).assert();
        if dof > 8.0 {
            // The fourth moment exists, and its own variance does.
            let fourth = 3.0 * (dof - 2.0) / (dof - 4.0) * sd.powi(4);
            MomentCheck::variance("t", &draws, sd * sd, fourth).assert();
        }
    }
    for rate in [0.2, 4.0, 30.0, 3e5] {
        let (l, out) = (poisson(rate), [0.0_f32]);
        let draws: Vec<f64> = (0..100_000).map(|_| l.draw(&[], &out, &mut rng)).collect();
        MomentCheck::mean("poisson", &draws, rate, rate).assert();
        MomentCheck::variance("poisson", &draws, rate, rate + 3.0 * rate * rate).assert();
        if rate < 100.0 {
            // Cells of one count each, and one for all above the last of which 20 are expected.
            let p = |y: f64| l.ln_density(&[], &out, y).exp();
            let last = (0..).map(f64::from).find(|&y| y > rate && 1e5 * p(y) < 20.0).unwrap() as usize;
            let first = (0..last).find(|&y| 1e5 * p(y as f64) >= 20.0).unwrap();
            let mut prob: Vec<f64> = (first..last).map(|y| p(y as f64)).collect();
            prob.push(1.0 - prob.iter().sum::<f64>());
            let mut counts = vec![0; prob.len()];
            draws.iter().for_each(|&y| counts[(y as usize).wrapping_sub(first).min(last - first)] += 1);
            assert_counts("poisson", &counts, &prob, 1e-6);
        }
    }
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
    assert_eq!(Bernoulli::from_config(&Bernoulli.config().unwrap()).unwrap(), Bernoulli);
    assert!(Bernoulli::from_config(&[0]).is_err());
    assert_eq!(Poisson::from_config(&poisson(2.5).config().unwrap()).unwrap(), poisson(2.5));
    assert!(Poisson::from_config(&0.0_f64.to_le_bytes()).is_err() && Poisson::from_config(&[]).is_err());
    for dof in [Dof::Fixed(7.0), Dof::Learned { init: 3.0 }] {
        let bytes = student(dof).config().unwrap();
        assert_eq!(StudentT::from_config(&bytes).unwrap(), student(dof));
        assert!(StudentT::from_config(&bytes[1..]).is_err());
    }
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
    for (y, got) in [([1.0, 2.5], "2.5"), ([0.0, -1.0], "-1"), ([3.0, 16_777_218.0], "16777218")] {
        assert_eq!(
            message(poisson(1.0).nll_sum(&[], mat(&[0.0; 2], 1), Targets::Real(&y))),
            format!("row 1: count must be a whole number from 0 to 16777216, got {got}")
        );
    }
    assert_eq!(
        message(Bernoulli.nll_sum(&[], mat(&[0.0; 2], 1), Targets::Class(&[1, 2]))),
        "row 1: class must be below 2, got 2"
    );
    assert_eq!(
        message(Bernoulli.nll_sum(&[], mat(&[0.0; 2], 1), Targets::Real(&[0.0, 1.0]))),
        "bernoulli: needs classes as targets, got numbers"
    );
    assert!(Bernoulli.nll_sum(&[], mat(&[0.0; 2], 2), Targets::Class(&[1])).is_err());
    assert!(poisson(1.0).nll_sum(&[0.0], mat(&[0.0], 1), Targets::Real(&[0.0])).is_err());
    assert!(student(Dof::Fixed(3.0)).nll_sum(&[0.0; 2], mat(&[0.0], 1), Targets::Real(&[0.0])).is_err());
    let refused = |e: Error| e.to_string();
    assert_eq!(
        refused(StudentT::new(1.0, Dof::Fixed(2.0)).unwrap_err()),
        "student-t: dof must be finite and > 2, got 2"
    );
    assert_eq!(
        refused(StudentT::new(1.0, Dof::Learned { init: 2.1 }).unwrap_err()),
        "student-t: initial dof must be finite and > 2.1, got 2.1"
    );
    assert!(StudentT::new(0.0, Dof::Fixed(3.0)).is_err());
    assert_eq!(refused(Poisson::new(0.0).unwrap_err()), "poisson: base must be finite and > 0, got 0");
}
