//! Bayesian linear regression, where posterior and evidence are known: `docs/math.md#bayesian-linear-regression`.

use bdl_dist::{Noise, Purpose, raw_scale};
use bdl_infer::{
    Bnn, Data, Elbo, FitConfig, Gaussian, MixtureScratch, NoiseSd, Optimizer, Passes, Predictor, Schedule,
    Targets,
};
use bdl_layers::{Draw, Estimator, Pass, Plan, Prior, VariationalDense, Workspace};
use bdl_tensor::Serial;
use bdl_tensor::special::{inv_softplus, softplus};
use bdl_testkit::bayes::LinearRegression;
use bdl_testkit::oracle::kl_gaussian_diagonal;
use bdl_testkit::source::{SplitMix64, rounded, to_f32, to_f64};
use bdl_testkit::stats::{Estimate, MomentCheck, assert_ks};

use crate::nets::{mat, run};

const D: usize = 3;
const NOISE: f64 = 0.5;
const PRIOR: f64 = 0.9;

struct Problem {
    bnn: Bnn,
    x: Vec<f32>,
    y: Vec<f32>,
    exact: LinearRegression,
}

fn problem(x: Vec<f64>, seed: u64) -> Problem {
    let (x, mut source) = (rounded(&x), SplitMix64::new(seed));
    let target = |r: &[f64]| r[0] - 0.5 * r[1] + 0.2 * r[2];
    let y = x.chunks(D).map(|r| target(r) + NOISE * source.normal()).collect::<Vec<_>>();
    let y = rounded(&y);
    let layer = VariationalDense::new(D, 1, Prior::StdDev(PRIOR)).unwrap().without_bias();
    let likelihood = Gaussian::new(NoiseSd::Fixed(NOISE)).unwrap();
    let bnn = Bnn::new(Plan::new(vec![Box::new(layer)]).unwrap(), Box::new(likelihood)).unwrap();
    Problem { bnn, exact: LinearRegression::new(&x, &y, NOISE, PRIOR), x: to_f32(&x), y: to_f32(&y) }
}

/// Columns of ±1 that are orthogonal, so that the exact posterior is diagonal.
fn orthogonal() -> Problem {
    let sign = |row: usize, bit: usize| if row >> bit & 1 == 1 { 1.0 } else { -1.0 };
    problem((0..24 * D).map(|k| sign(k / D, k % D)).collect(), 1)
}

fn correlated() -> Problem {
    let mut x = SplitMix64::new(2).normals(60 * D);
    x.chunks_mut(D).for_each(|r| r[1] += r[0]);
    problem(x, 3)
}

fn params(mu: &[f64], sigma: &[f64]) -> Vec<f32> {
    to_f32(mu).into_iter().chain(sigma.iter().map(|&s| raw_scale(s))).collect()
}

fn posterior(params: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let (mu, rho) = params.split_at(D);
    (to_f64(mu), rho.iter().map(|&r| softplus(r.into())).collect())
}

/// `(elbo, nll_sum)` of one draw.
fn draw(p: &Problem, params: &[f32], pass: &Pass<'_>) -> (f64, f64) {
    let (elbo, mut grads) = (Elbo::new(p.y.len()).unwrap(), vec![0.0; params.len()]);
    let (x, y) = (mat(&p.x, D), Targets::Real(&p.y));
    let terms = elbo.gradient(&p.bnn, params, x, y, pass, &mut Workspace::new(), &mut grads).unwrap();
    (terms.elbo, terms.nll_sum)
}

#[test]
fn the_elbo_estimates_the_closed_form_which_stays_below_the_evidence() {
    let (p, mut source) = (correlated(), SplitMix64::new(4));
    let noise = Noise::new(1, Purpose::Train);
    for _ in 0..5 {
        let mu: Vec<f64> = p.exact.mean().iter().map(|m| m + 0.1 * source.normal()).collect();
        let params = params(&mu, &source.uniforms(D, 0.02, 0.3));
        let (mu, sigma) = posterior(&params);
        let closed = p.exact.elbo_diagonal(&mu, &sigma);
        assert!(closed < p.exact.ln_evidence() - p.exact.mean_field_gap());
        for estimator in Estimator::ALL {
            let draws: Vec<f64> =
                (0..4000).map(|s| draw(&p, &params, &Pass::train(&noise, s, estimator)).0).collect();
            Estimate::of(&draws).check(&format!("{estimator:?}"), closed).assert();
        }
    }
}

#[test]
fn at_the_exact_posterior_every_draw_gives_the_evidence() {
    let p = orthogonal();
    assert!(p.exact.mean_field_gap().abs() < 1e-10, "the posterior should be diagonal");
    let (mu, sigma) = p.exact.mean_field();
    let params = params(&mu, &sigma);
    let (mu, sigma) = posterior(&params);
    let (noise, ln) = (Noise::new(2, Purpose::Train), |w: f64, m: f64, s: f64| {
        -0.5 * ((w - m) / s).powi(2) - s.ln() - 0.5 * std::f64::consts::TAU.ln()
    });
    for step in 0..100 {
        let pass = Pass::train(&noise, step, Estimator::Sampling);
        let mut eps = [0.0; D];
        pass.site(0, 0, Draw::Pass).unwrap().normals(D, &mut eps);
        let ln_ratio: f64 = (0..D)
            .map(|i| {
                let w = mu[i] + sigma[i] * f64::from(eps[i]);
                ln(w, 0.0, PRIOR) - ln(w, mu[i], sigma[i])
            })
            .sum();
        // ln p(y | w) + ln p(w) − ln q(w) is ln p(y) for any w, if q is the posterior.
        let (_, nll) = draw(&p, &params, &pass);
        let got = -nll + ln_ratio;
        assert!((got - p.exact.ln_evidence()).abs() < 1e-4, "step {step}: {got} {}", p.exact.ln_evidence());
    }
}

#[test]
fn the_elbo_of_the_exact_diagonal_posterior_is_the_evidence() {
    let p = orthogonal();
    let (mu, sigma) = p.exact.mean_field();
    let params = params(&mu, &sigma);
    let rho: Vec<f64> = sigma.iter().map(|&s| inv_softplus(s)).collect();
    assert!((p.bnn.plan().kl(&params).unwrap() - kl_gaussian_diagonal(&mu, &rho, PRIOR)).abs() < 1e-5);
    let noise = Noise::new(3, Purpose::Train);
    let draws: Vec<f64> =
        (0..4000).map(|s| draw(&p, &params, &Pass::train(&noise, s, Estimator::Local)).0).collect();
    Estimate::of(&draws).check("elbo", p.exact.ln_evidence()).assert();
}

#[test]
fn training_recovers_the_mean_field_posterior_from_full_and_mini_batches() {
    for p in [orthogonal(), correlated()] {
        let (best_mu, best_sigma) = p.exact.mean_field();
        for (estimator, batch) in Estimator::ALL
            .map(|e| (e, 1000))
            .into_iter()
            .chain([(Estimator::Local, 12), (Estimator::Flipout, 12)])
        {
            let config = FitConfig {
                epochs: 12_000 * batch.min(p.y.len()) / p.y.len(),
                batch,
                optimizer: Optimizer::adam(),
                lr: 1e-2,
                schedule: Schedule::Cosine { end: 0.0 },
                estimator,
                ..FitConfig::default()
            };
            let mut params = params(&[0.0; D], &[0.05; D]);
            let data = Data::new(mat(&p.x, D), Targets::Real(&p.y)).unwrap();
            run(&p.bnn, &mut params, data, None, &config).0.unwrap();
            let (mu, sigma) = posterior(&params);
            for i in 0..D {
                let (m, s) = ((mu[i] - best_mu[i]) / best_sigma[i], sigma[i] / best_sigma[i] - 1.0);
                assert!(
                    m.abs() < 0.15 && s.abs() < 0.08,
                    "{estimator:?} {batch}: weight {i} is off by {m}, {s}"
                );
            }
            let gap = p.exact.ln_evidence() - p.exact.elbo_diagonal(&mu, &sigma) - p.exact.mean_field_gap();
            assert!((0.0..0.05).contains(&gap), "{estimator:?} {batch}: {gap} nats short of mean field");
        }
    }
}

/// A linear model without bias, its prior `N(0, 1)`, and its training.
fn linear(dim: usize, noise: NoiseSd, x: &[f32], y: &[f32], config: &FitConfig) -> (Bnn, Vec<f32>) {
    let layer = VariationalDense::new(dim, 1, Prior::StdDev(1.0)).unwrap().without_bias();
    let plan = Plan::new(vec![Box::new(layer)]).unwrap();
    let bnn = Bnn::new(plan, Box::new(Gaussian::new(noise).unwrap())).unwrap();
    let mut params = bnn.init(&Noise::in_lane(0, Purpose::Init, config.lane));
    let data = Data::new(mat(x, dim), Targets::Real(y)).unwrap();
    run(&bnn, &mut params, data, None, config).0.unwrap();
    (bnn, params)
}

/// Where model and prior are the truth and the posterior is in the family, predictions are calibrated: weights from the
/// prior, 8 rows with orthogonal columns, noise 1; then 4 rows at three times the range, where 8 parts in 9 of the
/// variance are epistemic. Orthogonal rows under an isotropic posterior have independent errors, so that 600 data
/// sets make 2400 independent probability integral transforms. Kolmogorov–Smirnov at 10⁻⁴; coverages within 5
/// standard errors, 5 points at 50 % and 3 at 90 %.
#[test]
fn predictions_of_a_well_specified_model_are_calibrated() {
    const HADAMARD: [f32; 16] =
        [1.0, 1.0, 1.0, 1.0, 1.0, -1.0, 1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0, -1.0, -1.0, 1.0];
    let x = [HADAMARD, HADAMARD].concat();
    let fresh = HADAMARD.map(|v| 3.0 * v);
    let (mut source, mut scratch) = (SplitMix64::new(5), MixtureScratch::new());
    let (mut pits, mut inside) = (Vec::new(), [0; 2]);
    for lane in 0..600 {
        let w = source.normals(4);
        let mut targets = |x: &[f32]| -> Vec<f64> {
            let mean = |row: &[f32]| row.iter().zip(&w).map(|(x, w)| f64::from(*x) * w).sum::<f64>();
            x.chunks(4).map(|row| mean(row) + source.normal()).collect()
        };
        let (y, fresh_y) = (to_f32(&targets(&x)), targets(&fresh));
        let config = FitConfig {
            epochs: 500,
            batch: 8,
            lr: 3e-2,
            schedule: Schedule::Cosine { end: 0.0 },
            lane,
            ..FitConfig::default()
        };
        let (bnn, params) = linear(4, NoiseSd::Fixed(1.0), &x, &y, &config);
        let members = [params];
        let passes = Passes { samples: 400, seed: lane, ..Passes::default() };
        let predictor = Predictor::new(&bnn, &members, passes).unwrap();
        let outputs = predictor.outputs(mat(&fresh, 4), 0, &Serial).unwrap();
        let predictive = predictor.predictive(&outputs, 4).unwrap();
        for (row, &y) in fresh_y.iter().enumerate() {
            let p = predictive.real(row, &mut scratch).unwrap();
            pits.push(p.cdf(y));
            for (count, level) in inside.iter_mut().zip([0.5, 0.9]) {
                let [low, high] = p.interval(level).unwrap();
                *count += usize::from(low <= y && y <= high);
            }
        }
    }
    assert_ks("probability integral transform", &pits, |u| u.clamp(0.0, 1.0), 1e-4);
    for (count, level) in inside.into_iter().zip([0.5, 0.9]) {
        MomentCheck::proportion(&format!("coverage of {level}"), count, pits.len(), level).assert();
    }
}

/// What a learned noise converges to: the mean over the posterior of the squared residuals, the spread of the draws
/// included (`docs/math.md#learned-noise`). Four weights, eight rows: half as much again as the residuals of the mean.
#[test]
fn a_learned_noise_contains_the_spread_of_the_draws() {
    let (x, mut source) = (to_f32(&SplitMix64::new(6).normals(8 * 4)), SplitMix64::new(7));
    let y: Vec<f32> = x.chunks(4).map(|r| r[0] - r[1] + source.normal() as f32).collect();
    let config = FitConfig {
        epochs: 30_000,
        lr: 1e-2,
        schedule: Schedule::Cosine { end: 0.0 },
        ..FitConfig::default()
    };
    let (_, params) = linear(4, NoiseSd::Learned { init: 1.0 }, &x, &y, &config);
    let sigma = |rho: f32| softplus(f64::from(rho));
    let (mut residuals, mut spread) = (0.0, 0.0);
    for (row, &y) in x.chunks(4).zip(&y) {
        let mean: f32 = row.iter().zip(&params[..4]).map(|(x, m)| x * m).sum();
        residuals += f64::from(y - mean).powi(2) / 8.0;
        spread +=
            row.iter().zip(&params[4..8]).map(|(x, r)| (f64::from(*x) * sigma(*r)).powi(2)).sum::<f64>()
                / 8.0;
    }
    let learned = sigma(params[8]).powi(2);
    assert!(spread > 0.3 * residuals, "the case should tell: {spread} beside {residuals}");
    assert!((learned / (residuals + spread) - 1.0).abs() < 0.03, "{learned}: {residuals} + {spread}");
}
