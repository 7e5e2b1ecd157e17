//! Variational dropout of both types and Gaussian dropout: KL against quadrature, moments, gradients, bad settings.

use crate::common::Spec::{Act, Correlated, Dense, GaussianDrop, Independent};
use crate::common::{PASSES, bits, check_gradients, params, plan, predict};
use bdl_dist::{Noise, Purpose};
use bdl_layers::{
    Activation, CorrelatedVd, Dense as DenseLayer, Dropout, Estimator, Family, GaussianDropout, Grain,
    IndependentVd, IndependentVdDense, Pass, Plan, Scope,
};
use bdl_tensor::math;
use bdl_testkit::finite::{assert_gradient_close, central_gradient};
use bdl_testkit::oracle::{kl_log_uniform, sigmoid, softplus};
use bdl_testkit::source::to_f64;
use bdl_testkit::stats::MomentCheck;

/// logit alpha of alphas from 0.0001 to 0.9999.
const TEN: [f32; 10] = [-9.2, -6.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 3.0, 9.2];

#[test]
fn the_kl_of_variational_dropout_is_within_its_stated_error_of_quadrature_for_alpha_up_to_1() {
    for x in TEN {
        let (got, exact) = (f64::from(math::dropout_kl(x)), kl_log_uniform(-softplus(f64::from(-x))));
        assert!((got - exact).abs() < 0.0205, "logit alpha {x}: {got} {exact}");
    }
}

#[test]
fn that_kl_is_positive_falls_and_tends_to_a_line_and_to_its_value_at_1() {
    let at = |i: i32| math::dropout_kl(i as f32 * 0.05);
    assert!((-2_000..=160).all(|i| at(i) > 0.4 && at(i) > at(i + 1)));
    assert!((-2_000..=1_600).all(|i| (-0.53..0.0).contains(&math::dropout_kl_slope(i as f32 * 0.05))));
    assert_eq!(math::dropout_kl(-60.0), 30.655_35);
    assert!((math::dropout_kl(60.0) - 0.409_64).abs() < 1e-5);
}

/// The polynomial of the paper, one per alpha.
fn naive(x: f64) -> f64 {
    let a = sigmoid(x);
    0.65535 - 0.5 * a.ln() - 1.16145124 * a + 1.50204118 * a * a - 0.58629921 * a * a * a
}

#[test]
fn the_kl_counts_weights_for_independent_noise_and_inputs_for_correlated_noise() {
    let of = |x: &[f64]| x.iter().map(|&x| naive(x)).sum::<f64>();
    type Kl<'a> = &'a dyn Fn(&[f64]) -> f64;
    let cases: [(crate::common::Spec, Kl<'_>); 5] = [
        (Independent(3, 4, Grain::Layer), &|p| 12.0 * of(&p[12..13])),
        (Independent(3, 4, Grain::Unit), &|p| 3.0 * of(&p[12..16])),
        (Independent(3, 4, Grain::Weight), &|p| of(&p[12..24])),
        (Correlated(4, 3, Grain::Layer), &|p| 4.0 * of(p)),
        (Correlated(4, 3, Grain::Unit), &|p| of(p)),
    ];
    for (spec, kl) in cases {
        let plan = plan(&[spec]);
        let params = params(&plan);
        let expected = kl(&to_f64(&params));
        assert!((plan.kl(&params).unwrap() / expected - 1.0).abs() < 1e-6, "{spec:?}");
        let mut grads = vec![0.0; params.len()];
        plan.kl_grad(&params, 1.0, &mut grads).unwrap();
        assert_gradient_close(&format!("{spec:?}"), &grads, &central_gradient(kl, &to_f64(&params)), 1e-4);
    }
}

#[test]
fn the_prior_of_a_dense_layer_behind_gaussian_dropout_is_that_behind_dropout() {
    let net = |front: Box<dyn bdl_layers::Layer>| {
        let dense = DenseLayer::new(3, 2).unwrap().with_length_scale(0.7).unwrap();
        Plan::new(vec![front, Box::new(dense)]).unwrap()
    };
    let gaussian = net(Box::new(GaussianDropout::new(3, 0.3).unwrap()));
    let bernoulli = net(Box::new(Dropout::new(3, 0.3).unwrap()));
    let params = params(&gaussian);
    assert_eq!(gaussian.kl(&params).unwrap(), bernoulli.kl(&params).unwrap());
}

#[test]
fn gradients_of_multiplicative_noise_match_the_oracle() {
    for noise in [
        GaussianDrop(6, 1, 0.3),
        GaussianDrop(3, 2, 0.3),
        Correlated(6, 1, Grain::Layer),
        Correlated(6, 1, Grain::Unit),
        Correlated(3, 2, Grain::Layer),
        Correlated(3, 2, Grain::Unit),
    ] {
        for activation in [Activation::Relu, Activation::Silu] {
            let specs = [Dense(4, 6), Act(activation, 6), noise, Dense(6, 2)];
            for (pass, pass_of) in PASSES {
                check_gradients(&format!("{noise:?}, {}, {pass}", activation.name()), &specs, pass_of);
            }
        }
    }
}

// 20 000 passes over two rows of two positions of two units; 5 SE, 5.7e-7 for each of the claims.
#[test]
fn noise_on_inputs_has_its_moments_and_is_shared_by_positions_and_rows_of_a_pass() {
    let x: [f32; 8] = [0.5, -1.2, 2.0, 1.0, -0.8, 0.7, 1.5, -0.4];
    let layers = [
        GaussianDrop(2, 2, 0.3),
        GaussianDrop(2, 2, 0.5),
        Correlated(2, 2, Grain::Layer),
        Correlated(2, 2, Grain::Unit),
    ];
    for spec in layers {
        let plan = plan(&[spec]);
        let params = params(&plan);
        let alpha = |unit: usize| match spec {
            GaussianDrop(_, _, drop_prob) => drop_prob / (1.0 - drop_prob),
            _ => sigmoid(f64::from(params[unit % params.len()])),
        };
        let noise = Noise::new(29, Purpose::Predict);
        for (scope, share) in [(Scope::Pass, true), (Scope::Row, false)] {
            let mut draws = vec![Vec::new(); 8];
            for index in 0..20_000 {
                let y =
                    predict(&plan, &params, &x, &Pass::predict(&noise, index, scope, Estimator::Sampling));
                draws.iter_mut().zip(y).for_each(|(d, y)| d.push(f64::from(y)));
            }
            let name = &format!("{spec:?}, {scope:?}");
            let cov = |i: usize, j: usize| f64::from(x[i] * x[j]) * alpha(i % 2);
            for i in 0..8 {
                MomentCheck::mean(name, &draws[i], x[i].into(), cov(i, i)).assert();
                MomentCheck::normal_variance(name, &draws[i], cov(i, i)).assert();
                for j in 0..i {
                    let shared = i % 2 == j % 2 && (share || i / 4 == j / 4);
                    let expected = if shared { cov(i, j) } else { 0.0 };
                    let (a, b, of_a, of_b) = (&draws[i], &draws[j], cov(i, i), cov(j, j));
                    MomentCheck::normal_covariance(name, a, b, expected, of_a, of_b).assert();
                }
            }
        }
    }
}

#[test]
fn at_the_mean_and_without_a_rate_inputs_are_themselves() {
    let x = [1.5, f32::NAN, -0.0];
    for spec in [GaussianDrop(3, 1, 0.4), Correlated(3, 1, Grain::Unit)] {
        let plan = plan(&[spec]);
        assert_eq!(bits(&predict(&plan, &params(&plan), &x, &Pass::mean())), bits(&x));
    }
    let none = plan(&[GaussianDrop(3, 1, 0.0)]);
    let noise = Noise::new(29, Purpose::Train);
    assert_eq!(bits(&predict(&none, &[], &x, &Pass::train(&noise, 0, Estimator::Local))), bits(&x));
    assert!(!none.is_random());
}

#[test]
fn a_mean_of_zero_has_no_noise_and_finite_gradients() {
    let plan = plan(&[Independent(2, 2, Grain::Unit)]);
    let mut params = params(&plan);
    params[..4].fill(0.0);
    let noise = Noise::new(29, Purpose::Train);
    for estimator in [Estimator::Local, Estimator::Sampling, Estimator::Flipout] {
        let pass = Pass::train(&noise, 0, estimator);
        let (y, grads) = crate::common::train(&plan, &params, &[0.5, -1.0], &[1.0, -1.0], &pass);
        assert_eq!(y, params[6..]);
        assert_eq!(grads, [0.5, -0.5, -1.0, 1.0, 0.0, 0.0, 1.0, -1.0], "{estimator:?}");
    }
}

#[test]
fn alphas_are_read_for_each_weight() {
    let family = IndependentVd::new(Grain::Unit);
    let (mu, raw) = ([1.0, -2.0, 0.0, 3.0], [0.0, 2.0]);
    let mut log_alpha = [0.0; 4];
    family.log_alpha(&mu, &raw, &mut log_alpha);
    let expected = [0.5_f64.ln(), sigmoid(2.0).ln(), f64::INFINITY, sigmoid(2.0).ln()];
    assert!(
        log_alpha.iter().zip(expected).all(|(&a, e)| f64::from(a) == e || (f64::from(a) - e).abs() < 1e-6)
    );
    assert_eq!(family.keeps(&mu, &raw, -0.5), [true, false, false, false]);
}

#[test]
fn settings_out_of_range_are_refused_with_what_was_got() {
    let text = |e: bdl_layers::Error| e.to_string();
    let vd = || IndependentVdDense::new(3, 2, Grain::Unit).unwrap();
    assert_eq!(
        text(vd().with_init_alpha(1.0).unwrap_err()),
        "independent-vd-dense: init_alpha must be in (0, 1), got 1"
    );
    assert_eq!(
        text(CorrelatedVd::new(3, Grain::Unit).unwrap().with_init_alpha(f64::NAN).unwrap_err()),
        "correlated-vd: init_alpha must be in (0, 1), got NaN"
    );
    assert_eq!(
        text(CorrelatedVd::new(3, Grain::Weight).unwrap_err()),
        "correlated-vd: grain must be Layer or Unit, got Weight"
    );
    assert_eq!(
        text(GaussianDropout::new(3, 1.0).unwrap_err()),
        "gaussian-dropout: drop_prob must be in [0, 1), got 1"
    );
    assert!(GaussianDropout::new(3, 0.1).unwrap().over_positions(0).is_err());
}
