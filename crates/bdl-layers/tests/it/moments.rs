//! Means, variances and covariances of noisy passes against their closed forms: fixed seeds, 5 SE (5.7e-7 each).

use crate::common::Spec::{Act, Dense, Drop, Independent, NoBias, Sparse, Variational};
use crate::common::{Spec, alphas, oracle, params, plan, predict};
use bdl_dist::{Noise, Purpose};
use bdl_layers::{Activation, Draw, Dropout, Estimator, Grain, Pass, Plan, Role, Scope};
use bdl_testkit::masks::dropout_moments;
use bdl_testkit::oracle::{sigmoid, softplus};
use bdl_testkit::source::to_f64;
use bdl_testkit::stats::{Estimate, MomentCheck};

/// Outputs of `passes` passes, one sample for each output of the batch.
fn samples(
    plan: &Plan,
    params: &[f32],
    x: &[f32],
    scope: Scope,
    estimator: Estimator,
    passes: u64,
) -> Vec<Vec<f64>> {
    let noise = Noise::new(21, Purpose::Predict);
    let mut samples = vec![Vec::new(); x.len() / plan.in_dim() * plan.out_dim()];
    for index in 0..passes {
        let y = predict(plan, params, x, &Pass::predict(&noise, index, scope, estimator));
        samples.iter_mut().zip(y).for_each(|(s, y)| s.push(f64::from(y)));
    }
    samples
}

const X: [f32; 6] = [0.5, -1.2, 2.0, 1.0, -0.8, 0.7];

/// What a layer of three inputs and two units draws: deviations of its weights and biases, and the means.
struct Drawn {
    mu_w: Vec<f64>,
    sigma_w: Vec<f64>,
    mu_b: Vec<f64>,
    sigma_b: Vec<f64>,
}

impl Drawn {
    /// The parameters of one of the layers under test.
    fn of(spec: Spec, params: &[f32]) -> Self {
        let p = to_f64(params);
        let map = |x: &[f64], f: fn(f64) -> f64| x.iter().map(|&x| f(x)).collect::<Vec<_>>();
        let (sigma_w, mu_b, sigma_b) = match spec {
            Variational(..) => (map(&p[6..12], softplus), p[12..14].to_vec(), map(&p[14..], softplus)),
            Sparse(..) => (map(&p[6..12], |raw| raw.exp().sqrt()), p[12..14].to_vec(), vec![0.0; 2]),
            Independent(_, _, grain) => {
                let n = alphas(grain, 6, 2);
                let alpha = |i: usize| sigmoid(p[6 + i % n]);
                let sigma = (0..6).map(|i| p[i].abs() * alpha(i).sqrt()).collect();
                (sigma, p[6 + n..8 + n].to_vec(), vec![0.0; 2])
            }
            _ => unreachable!("{spec:?} draws no weights"),
        };
        Self { mu_w: p[..6].to_vec(), sigma_w, mu_b, sigma_b }
    }

    /// Mean of unit j of row b.
    fn mean(&self, b: usize, j: usize) -> f64 {
        (0..3).map(|i| f64::from(X[3 * b + i]) * self.mu_w[2 * i + j]).sum::<f64>() + self.mu_b[j]
    }

    /// Covariance of unit j between rows b and c, of weights drawn once for both.
    fn cov(&self, b: usize, c: usize, j: usize) -> f64 {
        let x = |b: usize, i: usize| f64::from(X[3 * b + i]);
        let of_weights = (0..3).map(|i| x(b, i) * x(c, i) * self.sigma_w[2 * i + j].powi(2));
        of_weights.sum::<f64>() + self.sigma_b[j].powi(2)
    }

    /// Mean square of unit j's covariance between the rows given Flipout's signs: `Σ_i (x_i x′_i sigma_ij²)² + bias_sigma_j⁴`.
    fn signed_cov2(&self, j: usize) -> f64 {
        let of_weight = |i: usize| f64::from(X[i] * X[3 + i]).powi(2) * self.sigma_w[2 * i + j].powi(4);
        (0..3).map(of_weight).sum::<f64>() + self.sigma_b[j].powi(4)
    }
}

// 20 000 passes over two rows and two units. Rows are normal, those of Flipout given their signs, with covariance c: about the
// means E y²y′² = v·v′ + 2·E c², which tells the signs of inputs from none.
#[test]
fn every_estimator_has_the_closed_mean_and_variance_and_tells_rows_apart() {
    let independent = [Grain::Layer, Grain::Unit, Grain::Weight].map(|grain| Independent(3, 2, grain));
    for spec in [Variational(3, 2), Sparse(3, 2)].into_iter().chain(independent) {
        let plan = plan(&[spec]);
        let params = params(&plan);
        let q = Drawn::of(spec, &params);
        let (mean, cov) = (|b, j| q.mean(b, j), |b, c, j| q.cov(b, c, j));
        for (name, scope, estimator, rows_share) in [
            ("pass", Scope::Pass, Estimator::Local, true),
            ("sampling", Scope::Row, Estimator::Sampling, true),
            ("local", Scope::Row, Estimator::Local, false),
            ("flipout", Scope::Row, Estimator::Flipout, false),
        ] {
            let name = &format!("{spec:?}, {name}");
            let y = samples(&plan, &params, &X, scope, estimator, 20_000);
            for j in 0..2 {
                for b in 0..2 {
                    MomentCheck::mean(name, &y[2 * b + j], mean(b, j), cov(b, b, j)).assert();
                    MomentCheck::normal_variance(name, &y[2 * b + j], cov(b, b, j)).assert();
                }
                let shared = if rows_share { cov(0, 1, j) } else { 0.0 };
                let of_signs = if estimator == Estimator::Flipout { q.signed_cov2(j) } else { 0.0 };
                let (y0, y1, v0, v1) = (&y[j], &y[2 + j], cov(0, 0, j), cov(1, 1, j));
                let mut rows = MomentCheck::normal_covariance(name, y0, y1, shared, v0, v1);
                rows.std_error = rows.std_error.hypot((2.0 * of_signs / 19_999.0).sqrt());
                rows.assert();
                let square = |(y, z): (&f64, &f64)| ((y - mean(0, j)) * (z - mean(1, j))).powi(2);
                let squares: Vec<f64> = y0.iter().zip(y1).map(square).collect();
                let expected = v0 * v1 + 2.0 * (of_signs + shared * shared);
                Estimate::of(&squares).check(&format!("{name}: squares"), expected).assert();
                assert!(cov(0, 1, j).abs() > 0.05, "a covariance of {} is too small to tell", cov(0, 1, j));
            }
            // Units have weights of their own.
            MomentCheck::normal_covariance(name, &y[0], &y[1], 0.0, cov(0, 0, 0), cov(0, 0, 1)).assert();
        }
    }
}

// 10 000 equal rows: a real-valued sign would give as many values, one sign for all rows a single one.
#[test]
fn flipout_puts_a_sign_on_one_deviation_and_nothing_else() {
    let plan = plan(&[NoBias(1, 1)]);
    let params = params(&plan);
    let noise = Noise::new(21, Purpose::Predict);
    let pass = Pass::predict(&noise, 5, Scope::Row, Estimator::Flipout);
    let x = [1.5; 10_000];
    let y = predict(&plan, &params, &x, &pass);
    let (mean, mut eps) = (params[0] * 1.5, [0.0]);
    pass.site(0, 0, Draw::Pass).unwrap().normals(1, &mut eps);
    let deviation = 1.5 * (bdl_tensor::math::softplus(params[1]) * eps[0]);
    let up = y.iter().filter(|y| **y == mean + deviation).count();
    let down = y.iter().filter(|y| **y == mean - deviation).count();
    assert!(deviation.abs() > 0.1 && up + down == y.len(), "{up} up, {down} down of {deviation}");
    MomentCheck::proportion("flipout", up, y.len(), 0.5).assert();
}

#[test]
fn weights_without_deviation_give_the_mean_under_every_estimator() {
    let plan = plan(&[Variational(3, 70), Act(Activation::Relu, 70), NoBias(70, 2)]);
    let mut params = params(&plan);
    for entry in plan.entries().iter().filter(|e| e.block.role == Role::RawScale) {
        params[entry.range.clone()].fill(-1e4);
    }
    let (noise, mean) = (Noise::new(21, Purpose::Predict), predict(&plan, &params, &X, &Pass::mean()));
    for estimator in Estimator::ALL {
        let pass = Pass::predict(&noise, 0, Scope::Row, estimator);
        assert_eq!(predict(&plan, &params, &X, &pass), mean, "{estimator:?}");
    }
}

// 400 masks of 500 units.
#[test]
fn dropout_keeps_the_mean_and_has_variance_drop_over_keep() {
    for drop_prob in [0.1, 0.2, 0.5, 0.9] {
        let plan = plan(&[Drop(500, drop_prob)]);
        let keep = 1.0 - drop_prob;
        let fourth = keep * (1.0 / keep - 1.0).powi(4) + drop_prob;
        for scope in [Scope::Pass, Scope::Row] {
            let y = samples(&plan, &[], &[1.0; 500], scope, Estimator::Local, 400).concat();
            MomentCheck::mean("mask", &y, 1.0, drop_prob / keep).assert();
            MomentCheck::variance("mask", &y, drop_prob / keep, fourth).assert();
        }
    }
}

#[test]
fn rows_share_the_mask_of_a_pass_and_have_their_own_otherwise() {
    let plan = plan(&[Drop(200, 0.5)]);
    let noise = Noise::new(21, Purpose::Predict);
    let rows = |scope| {
        let y = predict(&plan, &[], &[1.0; 400], &Pass::predict(&noise, 0, scope, Estimator::Local));
        (y[..200].to_vec(), y[200..].to_vec())
    };
    let (first, second) = rows(Scope::Pass);
    assert_eq!(first, second);
    let (first, second) = rows(Scope::Row);
    assert_ne!(first, second);
}

// A one-layer formula does not hold behind a nonlinearity: all 2⁷ masks are enumerated. 40 000 passes.
#[test]
fn two_hidden_layers_agree_with_the_enumeration_of_their_masks_under_both_scopes() {
    let specs = [
        Dense(3, 4),
        Act(Activation::Relu, 4),
        Drop(4, 0.2),
        Dense(4, 3),
        Act(Activation::Relu, 3),
        Drop(3, 0.4),
        Dense(3, 1),
    ];
    let plan = plan(&specs);
    let params = params(&plan);
    let exact = dropout_moments(&oracle(&specs, &Pass::mean(), 2), &to_f64(&params), &to_f64(&X), 2);
    assert!(exact.variance.iter().all(|v| *v > 0.01), "{exact:?}");
    for scope in [Scope::Pass, Scope::Row] {
        for (row, y) in samples(&plan, &params, &X, scope, Estimator::Local, 40_000).iter().enumerate() {
            MomentCheck::mean("net", y, exact.mean[row], exact.variance[row]).assert();
            MomentCheck::variance("net", y, exact.variance[row], exact.fourth_moment[row]).assert();
        }
    }
}

#[test]
fn nothing_dropped_is_the_identity_and_everything_dropped_is_refused() {
    let plan = plan(&[Drop(3, 0.0)]);
    let noise = Noise::new(21, Purpose::Train);
    let x = [1.5, f32::NAN, -0.0];
    let y = predict(&plan, &[], &x, &Pass::train(&noise, 0, Estimator::Local));
    assert_eq!(y.map_bits(), x.map_bits());
    assert!(!plan.is_random());
    for (bad, got) in [(1.0, "1"), (-0.1, "-0.1"), (f64::NAN, "NaN")] {
        let e = Dropout::new(3, bad).unwrap_err();
        assert_eq!(e.to_string(), format!("dropout: drop_prob must be in [0, 1), got {got}"));
    }
}

trait MapBits {
    fn map_bits(&self) -> Vec<u32>;
}

impl<T: AsRef<[f32]>> MapBits for T {
    fn map_bits(&self) -> Vec<u32> {
        crate::common::bits(self.as_ref())
    }
}
