//! Gradients of small networks against central differences of a naive `f64` oracle with the same noise frozen:
//! every layer × activation × estimator × place of dropout, norm-wise relative error below 1e-3.

use crate::common::Spec::{Act, Concrete, Dense, Drop, Independent, NoBias, Sparse, Variational};
use crate::common::{PASSES, Spec, check_gradients, params, plan, train, training_noise};
use bdl_layers::{Activation, Estimator, Grain, Pass};
use bdl_testkit::finite::{assert_gradient_close, central_gradient};
use bdl_testkit::oracle::{kl_gaussian_diagonal, kl_mc_dropout};
use bdl_testkit::source::to_f64;

#[test]
fn gradients_match_the_oracle_for_every_layer_activation_estimator_and_place_of_dropout() {
    type Affine = fn(usize, usize) -> Spec;
    let affine: [(&str, Affine); 8] = [
        ("dense", Dense),
        ("variational", Variational),
        ("no bias", NoBias),
        ("sparse vd", Sparse),
        ("vd, an alpha per layer", |i, o| Independent(i, o, Grain::Layer)),
        ("vd, an alpha per unit", |i, o| Independent(i, o, Grain::Unit)),
        ("vd, an alpha per weight", |i, o| Independent(i, o, Grain::Weight)),
        ("concrete", Concrete),
    ];
    for (kind, layer) in affine {
        for activation in Activation::ALL {
            for (place, front, behind) in [
                ("none", false, false),
                ("input", true, false),
                ("hidden", false, true),
                ("both", true, true),
            ] {
                let all = [Drop(3, 0.2), layer(3, 5), Act(activation, 5), Drop(5, 0.4), layer(5, 2)];
                let kept = [front, true, true, behind, true];
                let specs: Vec<Spec> = all.into_iter().zip(kept).filter(|s| s.1).map(|s| s.0).collect();
                for (pass, pass_of) in PASSES {
                    check_gradients(
                        &format!("{kind}, {}, dropout {place}, {pass}", activation.name()),
                        &specs,
                        pass_of,
                    );
                }
            }
        }
    }
}

#[test]
fn gradients_match_the_oracle_through_three_layers_of_both_kinds() {
    let specs = [
        Dense(3, 4),
        Act(Activation::Silu, 4),
        Variational(4, 6),
        Act(Activation::Gelu, 6),
        Drop(6, 0.3),
        Dense(6, 3),
        Act(Activation::Tanh, 3),
        NoBias(3, 2),
        Act(Activation::Sigmoid, 2),
    ];
    for (pass, pass_of) in PASSES {
        check_gradients(pass, &specs, pass_of);
    }
}

#[test]
fn kl_of_a_plan_knows_the_mask_in_front_of_each_layer() {
    // The second layer stands behind a mask, the first and third do not: an activation comes between.
    let specs = [Dense(2, 3), Drop(3, 0.4), Dense(3, 2), Drop(2, 0.4), Act(Activation::Relu, 2), Dense(2, 1)];
    let plan = plan(&specs);
    let params = params(&plan);
    let kl = |p: &[f64]| {
        kl_mc_dropout(&p[..6], &p[6..9], 0.7, 0.0)
            + kl_mc_dropout(&p[9..15], &p[15..17], 0.7, 0.4)
            + kl_mc_dropout(&p[17..19], &p[19..], 0.7, 0.0)
    };
    let expected = kl(&to_f64(&params));
    assert!((plan.kl(&params).unwrap() / expected - 1.0).abs() < 1e-6);
    let mut grads = vec![0.0; params.len()];
    let returned = plan.kl_grad(&params, 2.0, &mut grads).unwrap();
    assert_eq!(returned.to_bits(), plan.kl(&params).unwrap().to_bits());
    let differences: Vec<f64> = central_gradient(kl, &to_f64(&params)).iter().map(|g| 2.0 * g).collect();
    assert_gradient_close("kl", &grads, &differences, 1e-5);
}

#[test]
fn kl_of_a_variational_plan_is_the_sum_over_all_weights_and_biases() {
    let plan = plan(&[Variational(3, 4), Act(Activation::Relu, 4), NoBias(4, 2)]);
    let params = params(&plan);
    let kl = |p: &[f64]| {
        kl_gaussian_diagonal(&p[..12], &p[12..24], 0.8)
            + kl_gaussian_diagonal(&p[24..28], &p[28..32], 0.8)
            + kl_gaussian_diagonal(&p[32..40], &p[40..48], 0.8)
    };
    let expected = kl(&to_f64(&params));
    assert!((plan.kl(&params).unwrap() / expected - 1.0).abs() < 1e-9);
    let mut grads = vec![0.0; params.len()];
    plan.kl_grad(&params, 1.0, &mut grads).unwrap();
    assert_gradient_close("kl", &grads, &central_gradient(kl, &to_f64(&params)), 1e-5);
}

// A row of dead units in front of a bias without variance: √v has no slope there, the stated one is 0.
#[test]
fn a_unit_of_variance_zero_has_gradient_zero_and_not_nan() {
    let plan = plan(&[Variational(2, 2)]);
    let mut params = params(&plan);
    params[10..].fill(-1e4); // bias.rho: sigma = 0
    let pass = Pass::train(training_noise(), 0, Estimator::Local);
    let (y, grads) = train(&plan, &params, &[0.0, 0.0], &[1.0, -1.0], &pass);
    assert_eq!(y, params[8..10]);
    assert_eq!(grads, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0]);
    // Beside a living row its gradient is the living row's alone.
    let (_, alone) = train(&plan, &params, &[0.5, -1.0], &[0.3, 0.2], &pass);
    let (_, beside) = train(&plan, &params, &[0.5, -1.0, 0.0, 0.0], &[0.3, 0.2, 0.0, 0.0], &pass);
    assert_eq!(alone, beside);
}

#[test]
fn kl_and_gradients_are_finite_at_extreme_scales() {
    let plan = plan(&[Variational(2, 3), Act(Activation::Tanh, 3), Variational(3, 2)]);
    for rho in [-1e4, -110.0, -95.0, 95.0, 1e4] {
        let mut params = params(&plan);
        for entry in plan.entries().iter().filter(|e| e.block.role == bdl_layers::Role::RawScale) {
            params[entry.range.clone()].fill(rho);
        }
        let mut grads = vec![0.0; params.len()];
        assert!(plan.kl_grad(&params, 1.0, &mut grads).unwrap().is_finite(), "rho {rho}");
        assert!(grads.iter().all(|g| g.is_finite()), "rho {rho}: {grads:?}");
        for estimator in Estimator::ALL {
            let pass = Pass::train(training_noise(), 0, estimator);
            let (y, grads) = train(&plan, &params, &[0.5, -1.0, 0.0, 0.0], &[1.0; 4], &pass);
            assert!(
                y.iter().chain(&grads).all(|v| v.is_finite()),
                "rho {rho}, {estimator:?}: {y:?} {grads:?}"
            );
        }
    }
}
