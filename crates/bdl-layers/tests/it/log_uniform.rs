//! KL divergences from the log-uniform prior: against quadrature, by their signs and limits, at weights that are 0.

use crate::common::Spec::{Act, Sparse};
use crate::common::{params, plan, train};
use bdl_dist::{Noise, Purpose};
use bdl_layers::{Activation, Estimator, Family, MeanField, Pass, Prior, Role, SparseVd};
use bdl_tensor::math;
use bdl_testkit::finite::{assert_gradient_close, central_gradient};
use bdl_testkit::oracle::{kl_log_uniform, ln_softplus, sigmoid};
use bdl_testkit::source::to_f64;

/// ln alpha from all but a point to all but noise.
const TEN: [f32; 10] = [-8.0, -5.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 7.5];

#[test]
fn the_kl_of_sparse_variational_dropout_is_within_a_hundredth_of_quadrature() {
    for log_alpha in TEN {
        let (got, exact) = (f64::from(math::log_uniform_kl(log_alpha)), kl_log_uniform(log_alpha.into()));
        assert!((got - exact).abs() < 0.01, "ln alpha {log_alpha}: {got} {exact}");
    }
}

#[test]
fn that_kl_is_positive_falls_and_tends_to_zero_and_to_a_line() {
    let at = |i: i32| math::log_uniform_kl(i as f32 * 0.05);
    assert!((-2_000..=1_600).all(|i| at(i) > 0.0 && at(i) > at(i + 1)));
    assert!((-2_000..=1_600).all(|i| (-0.74..0.0).contains(&math::log_uniform_kl_slope(i as f32 * 0.05))));
    assert!(math::log_uniform_kl(30.0) < 1e-12);
    assert_eq!(math::log_uniform_kl(-40.0), 20.635_76);
    assert_eq!(math::log_uniform_kl_slope(-40.0), -0.5);
}

/// The formula of the paper, summed, log_alpha at most 8.
fn naive_kl(mu: &[f64], ln_sigma2: &[f64]) -> f64 {
    let one = |(mu, raw): (&f64, &f64)| {
        let log_alpha = (raw - (mu * mu).ln()).min(8.0);
        0.63576 * (1.0 - sigmoid(1.87320 + 1.48695 * log_alpha)) + 0.5 * (-log_alpha).exp().ln_1p()
    };
    mu.iter().zip(ln_sigma2).map(one).sum()
}

#[test]
fn kl_of_a_sparse_plan_is_the_sum_over_all_weights_and_no_bias() {
    let plan = plan(&[Sparse(3, 4), Act(Activation::Relu, 4), Sparse(4, 2)]);
    let params = params(&plan);
    let kl = |p: &[f64]| naive_kl(&p[..12], &p[12..24]) + naive_kl(&p[28..36], &p[36..44]);
    let expected = kl(&to_f64(&params));
    assert!((plan.kl(&params).unwrap() / expected - 1.0).abs() < 1e-6);
    let mut grads = vec![0.0; params.len()];
    plan.kl_grad(&params, 1.0, &mut grads).unwrap();
    assert_gradient_close("kl", &grads, &central_gradient(kl, &to_f64(&params)), 1e-4);
}

#[test]
fn weights_of_mean_zero_and_extreme_scales_are_finite() {
    let noise = Noise::new(7, Purpose::Train);
    let plan = plan(&[Sparse(2, 3), Act(Activation::Tanh, 3), Sparse(3, 2)]);
    for raw in [-1e4, -110.0, -10.0, 10.0, 80.0] {
        let mut params = params(&plan);
        for entry in plan.entries() {
            match entry.block.role {
                Role::RawScale => params[entry.range.clone()].fill(raw),
                _ => params[entry.range.start] = 0.0,
            }
        }
        let mut grads = vec![0.0; params.len()];
        assert!(plan.kl_grad(&params, 1.0, &mut grads).unwrap().is_finite(), "ln sigma² {raw}");
        assert!(grads.iter().all(|g| g.is_finite()), "ln sigma² {raw}: {grads:?}");
        assert_eq!((grads[0], grads[6]), (0.0, 0.0), "a mean of 0 has no slope");
        for estimator in Estimator::ALL {
            let pass = Pass::train(&noise, 0, estimator);
            let (y, grads) = train(&plan, &params, &[0.5, -1.0, 0.0, 0.0], &[1.0; 4], &pass);
            assert!(y.iter().chain(&grads).all(|v| v.is_finite()), "{raw}, {estimator:?}: {y:?} {grads:?}");
        }
    }
}

#[test]
fn what_is_kept_is_what_is_more_than_noise() {
    let (mu, raw) = ([2.0, -2.0, 0.2, 0.0, 0.0], [0.0, 4.4, 0.0, 0.0, -1e4]);
    // ln alpha: −1.39, 3.01, 3.22, ∞, ∞
    let family = SparseVd::new();
    assert_eq!(family.keeps(&mu, &raw, 3.0), [true, false, false, false, false]);
    assert_eq!(family.keeps(&mu, &raw, 3.1), [true, true, false, false, false]);
    // |mu|/sigma ≥ t is ln alpha ≤ −2·ln t.
    let mean_field = MeanField::new("test", Prior::default(), 0.1).unwrap();
    let mut log_alpha = [0.0; 3];
    mean_field.log_alpha(&[1.0, -0.01, 0.0], &[-3.0, 2.0, -1e4], &mut log_alpha);
    let exact = |mu: f64, rho: f64| 2.0 * (ln_softplus(rho) - mu.abs().ln());
    assert!((f64::from(log_alpha[0]) - exact(1.0, -3.0)).abs() < 1e-6);
    assert!((f64::from(log_alpha[1]) - exact(-0.01, 2.0)).abs() < 1e-6);
    assert_eq!(log_alpha[2], f32::INFINITY);
}
