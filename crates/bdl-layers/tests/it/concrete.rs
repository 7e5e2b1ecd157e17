//! Concrete dropout: its KL, its masks in training and in prediction, bad settings.

use crate::common::Spec::{Act, Concrete, ConcreteConv, Drop};
use crate::common::{
    CONCRETE_TEMP, PASSES, bits, check_gradients, check_moments_of_rows, logit_of, numbers, oracle, params,
    plan, predict,
};
use bdl_dist::{Noise, Purpose};
use bdl_layers::{
    Activation, ConcreteConv2d, ConcreteDense, Dense, Dropout, Estimator, Filters, Image, Pass, Plan, Scope,
    Window,
};
use bdl_testkit::finite::{assert_gradient_close, central_gradient};
use bdl_testkit::masks::dropout_moments;
use bdl_testkit::oracle::{OracleConv, kl_concrete_dropout, sigmoid};
use bdl_testkit::quad::adaptive_simpson;
use bdl_testkit::source::to_f64;
use bdl_testkit::stats::{MomentCheck, normal_pdf};

/// One row of three pixels and two channels.
const CONV: OracleConv = OracleConv {
    image: [1, 3, 2],
    channels: 2,
    kernel: [1, 2],
    stride: [1, 1],
    padding: [0, 0],
    dilation: [1, 1],
    groups: 1,
};

#[test]
fn the_kl_counts_an_entropy_for_each_input_or_channel() {
    type Kl<'a> = &'a dyn Fn(&[f64]) -> f64;
    let cases: [(crate::common::Spec, Kl<'_>); 2] = [
        (Concrete(3, 4), &|p| kl_concrete_dropout(&p[..12], &p[12..16], p[16], 0.7, 3)),
        (ConcreteConv(CONV), &|p| kl_concrete_dropout(&p[..8], &p[8..10], p[10], 0.7, 2)),
    ];
    for (spec, kl) in cases {
        let plan = plan(&[spec]);
        for logit in [-9.0, -2.0, 0.0, 3.0] {
            let mut params = params(&plan);
            params[logit_of(&plan, 0)] = logit;
            let expected = kl(&to_f64(&params));
            assert!((plan.kl(&params).unwrap() / expected - 1.0).abs() < 1e-6, "{spec:?}, {logit}");
            let mut grads = vec![0.0; params.len()];
            let returned = plan.kl_grad(&params, 2.0, &mut grads).unwrap();
            assert_eq!(returned.to_bits(), plan.kl(&params).unwrap().to_bits());
            let differences: Vec<f64> =
                central_gradient(kl, &to_f64(&params)).iter().map(|g| 2.0 * g).collect();
            assert_gradient_close(&format!("{spec:?}, {logit}"), &grads, &differences, 1e-5);
            let at = logit_of(&plan, 0);
            assert_gradient_close("logit", &grads[at..at + 1], &differences[at..at + 1], 1e-4);
        }
    }
}

// The KL of what it stands for: a mixture of two normals of deviation 10⁻³, by quadrature around each of them. The weight of a row that
// is on is w/(1 − p). What is left beside the formula is the entropy of a narrow normal and the prior's constant, the same at any w and p.
#[test]
fn the_kl_is_that_of_a_mixture_of_narrow_normals_up_to_a_constant() {
    const NARROW: f64 = 1e-3;
    let l = 0.7;
    let of_mixture = |w: f64, logit: f64| {
        let (p, k) = (sigmoid(logit), sigmoid(-logit));
        let on = w / k;
        let density = |x: f64| (k * normal_pdf((x - on) / NARROW) + p * normal_pdf(x / NARROW)) / NARROW;
        let ln_prior = |x: f64| -0.5 * (l * x).powi(2);
        let f = |x: f64| density(x) * (density(x).ln() - ln_prior(x));
        let around = |c: f64| adaptive_simpson(&f, c - 8.0 * NARROW, c + 8.0 * NARROW, 1e-10);
        around(on) + around(0.0)
    };
    let plan = Plan::new(vec![Box::new(ConcreteDense::new(1, 1, l).unwrap())]).unwrap();
    let of_layer = |w: f32, logit: f32| plan.kl(&[w, 0.0, logit]).unwrap();
    let constant = of_mixture(1.0, 0.0) - of_layer(1.0, 0.0);
    for (w, logit) in [(1.0, -3.0), (0.3, -3.0), (2.0, 1.0), (-0.5, 0.5), (0.3, 3.0)] {
        let got = of_layer(w, logit) + constant;
        let expected = of_mixture(w.into(), logit.into());
        assert!((got - expected).abs() < 1e-5, "w {w}, logit {logit}: {got} {expected}");
    }
}

#[test]
fn gradients_match_the_oracle_through_learned_masks_of_inputs_and_channels() {
    let second = OracleConv { image: CONV.out_image(), channels: 3, kernel: [1, 1], ..CONV };
    let padded = OracleConv { padding: [0, 1], groups: 2, ..CONV };
    for conv in [CONV, padded] {
        let specs = [ConcreteConv(conv), Act(Activation::Silu, conv.out_dim()), Concrete(conv.out_dim(), 2)];
        for (pass, pass_of) in PASSES {
            check_gradients(&format!("{conv:?}, {pass}"), &specs, pass_of);
        }
    }
    let specs =
        [ConcreteConv(CONV), Act(Activation::Relu, 4), ConcreteConv(second), Drop(6, 0.2), Concrete(6, 2)];
    for (pass, pass_of) in PASSES {
        check_gradients(pass, &specs, pass_of);
    }
}

/// Mean, variance and fourth central moment of the factor of a unit in training, by quadrature over the uniform number.
fn relaxed_moments(logit: f64) -> [f64; 3] {
    let factor = |u: f64| {
        let lambda = u.ln() - (-u).ln_1p();
        sigmoid(-(logit + lambda) / CONCRETE_TEMP) / sigmoid(-logit)
    };
    // Nine tenths of the change lie where λ is within a few temperatures of −logit.
    let middle = sigmoid(-logit);
    let moment = |f: &dyn Fn(f64) -> f64| {
        let g = |u: f64| f(factor(u.clamp(1e-12, 1.0 - 1e-12)));
        adaptive_simpson(&g, 0.0, middle, 1e-9) + adaptive_simpson(&g, middle, 1.0, 1e-9)
    };
    let mean = moment(&|m| m);
    [mean, moment(&|m| (m - mean).powi(2)), moment(&|m| (m - mean).powi(4))]
}

// 40 000 steps of two rows. A kernel of one pixel with weights 1 and 0 shows the masked channel at each of its positions.
#[test]
fn relaxed_masks_have_their_moments_and_are_shared_by_positions_but_not_by_rows_or_channels() {
    let image = Image::new(1, 2, 2);
    let layer = ConcreteConv2d::new(image, Filters::new(2, Window::new([1, 1])), 1.0).unwrap();
    let plan = Plan::new(vec![Box::new(layer.with_concrete_temp(CONCRETE_TEMP).unwrap())]).unwrap();
    let x: [f32; 8] = [0.5, -1.2, 2.0, 1.0, -0.8, 0.7, 1.5, -0.4];
    let noise = Noise::new(29, Purpose::Train);
    for logit in [-2.0_f32, 0.4] {
        let params = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, logit];
        let mut draws = vec![Vec::new(); 8];
        for step in 0..40_000 {
            let y = predict(&plan, &params, &x, &Pass::train(&noise, step, Estimator::Local));
            draws.iter_mut().zip(y).zip(x).for_each(|((d, y), x)| d.push(f64::from(y) / f64::from(x)));
        }
        let [mean, variance, fourth] = relaxed_moments(logit.into());
        assert!(variance > 0.05, "{variance}");
        for i in 0..8 {
            MomentCheck::mean("relaxed", &draws[i], mean, variance).assert();
            MomentCheck::variance("relaxed", &draws[i], variance, fourth).assert();
            for j in 0..i {
                let products: Vec<f64> =
                    draws[i].iter().zip(&draws[j]).map(|(a, b)| (a - mean) * (b - mean)).collect();
                let name = format!("logit {logit}, {i} with {j}");
                let (cov, of_products) = if i % 2 == j % 2 && i / 4 == j / 4 {
                    (variance, fourth - variance * variance)
                } else {
                    (0.0, variance * variance)
                };
                MomentCheck::mean(&name, &products, cov, of_products).assert();
            }
        }
    }
}

// Of the draw itself: λ > −logit with probability p, whatever the temperature, is a factor below half of 1/(1 − p). 100 000 units.
#[test]
fn a_relaxed_unit_is_mostly_dropped_with_the_probability_that_is_learned() {
    for (logit, temp) in [(-3.0_f32, 0.1), (-3.0, 1.0), (0.7, 0.5)] {
        let layer = ConcreteDense::new(1, 1, 1.0).unwrap().with_concrete_temp(temp).unwrap();
        let plan = Plan::new(vec![Box::new(layer)]).unwrap();
        let noise = Noise::new(29, Purpose::Train);
        let y =
            predict(&plan, &[1.0, 0.0, logit], &[1.0; 100_000], &Pass::train(&noise, 0, Estimator::Local));
        let half = 0.5 / sigmoid(-f64::from(logit));
        let dropped = y.iter().filter(|y| f64::from(**y) < half).count();
        MomentCheck::proportion("dropped", dropped, y.len(), sigmoid(logit.into())).assert();
    }
}

#[test]
fn predictions_have_the_bits_of_dropout_at_the_learned_probability() {
    // A logit of 0 is a probability of exactly ½.
    let learned = Plan::new(vec![Box::new(ConcreteDense::new(70, 3, 1.0).unwrap())]).unwrap();
    let fixed =
        Plan::new(vec![Box::new(Dropout::new(70, 0.5).unwrap()), Box::new(Dense::new(70, 3).unwrap())])
            .unwrap();
    let mut params = params(&learned);
    params[213] = 0.0;
    let (x, noise) = (numbers(4, 5 * 70), Noise::new(29, Purpose::Predict));
    for scope in [Scope::Pass, Scope::Row] {
        let pass = Pass::predict(&noise, 3, scope, Estimator::Local);
        let (got, expected) =
            (predict(&learned, &params, &x, &pass), predict(&fixed, &params[..213], &x, &pass));
        assert_eq!(bits(&got), bits(&expected), "{scope:?}");
    }
    let (got, expected) =
        (predict(&learned, &params, &x, &Pass::mean()), predict(&fixed, &params[..213], &x, &Pass::mean()));
    assert_eq!(bits(&got), bits(&expected));
}

// 40 000 passes over two rows against the enumeration of 2⁷ masks at the learned probabilities.
#[test]
fn predictions_have_the_moments_of_all_masks_at_the_learned_probabilities() {
    let plan = plan(&[Concrete(4, 3), Act(Activation::Relu, 3), Concrete(3, 1)]);
    let params = params(&plan);
    let at = [0, 2].map(|layer| logit_of(&plan, layer));
    let drop_prob = at.map(|at| sigmoid(params[at].into()));
    let twin = [
        Drop(4, drop_prob[0]),
        crate::common::Spec::Dense(4, 3),
        Act(Activation::Relu, 3),
        Drop(3, drop_prob[1]),
        crate::common::Spec::Dense(3, 1),
    ];
    let of_twin: Vec<f64> =
        (0..params.len()).filter(|i| !at.contains(i)).map(|i| f64::from(params[i])).collect();
    let x = numbers(5, 8);
    let exact = dropout_moments(&oracle(&twin, &Pass::mean(), 2), &of_twin, &to_f64(&x), 2);
    check_moments_of_rows(&plan, &params, &x, &exact);
}

#[test]
fn extreme_logits_are_finite_and_have_no_slope() {
    let plan = plan(&[Concrete(3, 2), Act(Activation::Silu, 2), Concrete(2, 1)]);
    let at = [0, 2].map(|layer| logit_of(&plan, layer));
    for logit in [-1e4, -30.0, 20.0, 1e4] {
        let mut params = params(&plan);
        at.iter().for_each(|&at| params[at] = logit);
        let mut grads = vec![0.0; params.len()];
        assert!(plan.kl_grad(&params, 1.0, &mut grads).unwrap().is_finite(), "{logit}");
        let pass = Pass::train(crate::common::training_noise(), 0, Estimator::Local);
        let (y, of_nll) = crate::common::train(&plan, &params, &[0.5, -1.0, 2.0], &[1.0], &pass);
        assert!(
            y.iter().chain(&grads).chain(&of_nll).all(|v| v.is_finite()),
            "{logit}: {y:?} {grads:?} {of_nll:?}"
        );
        assert!(at.iter().all(|&at| (grads[at], of_nll[at]) == (0.0, 0.0)), "{logit}");
    }
}

#[test]
fn a_logit_that_is_no_number_gives_what_is_none_and_does_not_panic() {
    let plan = plan(&[Concrete(3, 2)]);
    let mut params = params(&plan);
    params[logit_of(&plan, 0)] = f32::NAN;
    assert!(plan.kl(&params).unwrap().is_nan());
    let noise = Noise::new(29, Purpose::Predict);
    for pass in [
        Pass::train(&noise, 0, Estimator::Local),
        Pass::predict(&noise, 0, Scope::Pass, Estimator::Local),
        Pass::predict(&noise, 0, Scope::Row, Estimator::Local),
    ] {
        assert!(predict(&plan, &params, &[0.5, -1.0, 2.0], &pass).iter().all(|y| y.is_nan()), "{pass:?}");
    }
}

#[test]
fn settings_out_of_range_are_refused_with_what_was_got() {
    let text = |e: bdl_layers::Error| e.to_string();
    let dense = || ConcreteDense::new(3, 2, 1.0).unwrap();
    for (bad, got) in [(0.0, "0"), (2e-9, "0.000000002"), (1.0, "1"), (f64::NAN, "NaN")] {
        assert_eq!(
            text(dense().with_drop_prob(bad).unwrap_err()),
            format!("concrete-dense: drop_prob must be in (2.1e-9, 1 - 2.1e-9), got {got}")
        );
    }
    assert_eq!(
        text(dense().with_concrete_temp(0.0).unwrap_err()),
        "concrete-dense: concrete_temp must be finite and > 0, got 0"
    );
    assert_eq!(
        text(ConcreteDense::new(3, 2, -1.0).unwrap_err()),
        "concrete-dense: length_scale must be finite and > 0, got -1"
    );
    assert_eq!(
        text(ConcreteDense::new(0, 2, 1.0).unwrap_err()),
        "concrete-dense: in_dim must be between 1 and 16777216, got 0"
    );
}

#[test]
fn a_report_says_the_learned_probability() {
    let plan = plan(&[Concrete(3, 2)]);
    let mut params = params(&plan);
    params[logit_of(&plan, 0)] = -(3f32.ln());
    let report = &plan.report(&params).unwrap()[0];
    assert!((report.drop_prob.unwrap() - 0.25).abs() < 1e-7);
    assert_eq!(report.kl, plan.kl(&params).unwrap());
}
