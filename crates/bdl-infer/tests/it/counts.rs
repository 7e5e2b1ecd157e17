//! One unknown rate under a normal prior on its logarithm: bound, evidence and best normal posterior are known.

use bdl_dist::{Noise, Purpose, raw_scale};
use bdl_infer::{
    Bnn, Data, Elbo, FitConfig, MixtureScratch, Optimizer, Passes, Poisson, Predictor, Schedule, Targets,
};
use bdl_layers::{Estimator, Pass, Plan, Prior, VariationalDense, Workspace};
use bdl_tensor::Serial;
use bdl_tensor::special::{ln_gamma, softplus};
use bdl_testkit::oracle::kl_gaussian;
use bdl_testkit::quad::GaussHermite;
use bdl_testkit::source::to_f64;
use bdl_testkit::stats::Estimate;

use crate::nets::{mat, run};

const BASE: f64 = 3.0;
const PRIOR: f64 = 0.8;
const COUNTS: [f32; 12] = [2.0, 5.0, 0.0, 3.0, 7.0, 1.0, 4.0, 4.0, 6.0, 2.0, 8.0, 3.0];

/// `rate = BASE·e^w` for all rows, `w ~ N(0, PRIOR²)`.
fn network() -> Bnn {
    let layer = VariationalDense::new(1, 1, Prior::StdDev(PRIOR)).unwrap().without_bias();
    Bnn::new(Plan::new(vec![Box::new(layer)]).unwrap(), Box::new(Poisson::new(BASE).unwrap())).unwrap()
}

fn sums() -> (f64, f64, f64) {
    let y = to_f64(&COUNTS);
    (y.len() as f64, y.iter().sum(), y.iter().map(|y| ln_gamma(y + 1.0)).sum())
}

/// `E_q ln p(y | w) − KL(q ‖ p)`, with `E_q e^w = e^{mu + sigma²/2}`.
fn bound(mu: f64, sigma: f64) -> f64 {
    let (n, sum, ln_factorials) = sums();
    let likelihood = sum * (BASE.ln() + mu) - n * BASE * (mu + 0.5 * sigma * sigma).exp() - ln_factorials;
    likelihood - kl_gaussian(mu, sigma, 0.0, PRIOR)
}

/// Where the bound has its maximum: `sum − n·rate − mu/PRIOR² = 0` and `1/sigma² = n·rate + 1/PRIOR²`, `rate = BASE·e^{mu + sigma²/2}`.
fn best() -> (f64, f64) {
    let (n, sum, _) = sums();
    let (mut mu, mut sigma) = (0.0_f64, 0.1_f64);
    for _ in 0..200 {
        let rate = BASE * (mu + 0.5 * sigma * sigma).exp();
        mu += (sum - n * rate - mu / PRIOR.powi(2)) / (n * rate + PRIOR.powi(-2));
        sigma = (n * rate + PRIOR.powi(-2)).powf(-0.5);
    }
    (mu, sigma)
}

fn params(mu: f64, sigma: f64) -> [f32; 2] {
    [mu as f32, raw_scale(sigma)]
}

#[test]
fn the_bound_of_a_rate_is_its_closed_form_and_below_the_evidence() {
    let (n, sum, ln_factorials) = sums();
    let ln_joint = |w: f64| sum * (BASE.ln() + w) - n * BASE * w.exp() - ln_factorials;
    // About the posterior, so that the quadrature sees it: ∫ N(w; m, s²) · (prior·likelihood)/N(w; m, s²).
    let (m, s) = best();
    let ratio = |w: f64| {
        (ln_joint(w) - 0.5 * (w / PRIOR).powi(2) - PRIOR.ln() + 0.5 * ((w - m) / s).powi(2) + s.ln()).exp()
    };
    let ln_evidence = GaussHermite::new(60).expectation(ratio, m, s).ln();
    assert!(bound(m, s) < ln_evidence && bound(m, s) > ln_evidence - 0.01, "{} {ln_evidence}", bound(m, s));
    let (bnn, noise, x) = (network(), Noise::new(1, Purpose::Train), [1.0; COUNTS.len()]);
    for (mu, sigma) in [(m, s), (m + 0.2, 0.3), (-0.4, 0.05)] {
        let params = params(mu, sigma);
        for estimator in [Estimator::Sampling, Estimator::Local] {
            let (elbo, mut grads, mut ws) = (Elbo::new(COUNTS.len()).unwrap(), [0.0; 2], Workspace::new());
            let mut draw = |step: u64| {
                let pass = Pass::train(&noise, step, estimator);
                let y = Targets::Real(&COUNTS);
                elbo.gradient(&bnn, &params, mat(&x, 1), y, &pass, &mut ws, &mut grads).unwrap().elbo
            };
            let draws: Vec<f64> = (0..4000).map(&mut draw).collect();
            Estimate::of(&draws).check(&format!("{estimator:?}"), bound(mu, sigma)).assert();
            assert!(bound(mu, sigma) < ln_evidence);
        }
    }
}

#[test]
fn a_rate_is_learned_as_its_best_normal_posterior_and_predicted_with_its_doubt() {
    let (bnn, x, (mu, sigma)) = (network(), [1.0; COUNTS.len()], best());
    let mut learned = params(0.0, 0.05);
    let config = FitConfig {
        epochs: 6000,
        batch: COUNTS.len(),
        optimizer: Optimizer::adam(),
        lr: 1e-2,
        schedule: Schedule::Cosine { end: 0.0 },
        ..FitConfig::default()
    };
    let data = Data::new(mat(&x, 1), Targets::Real(&COUNTS)).unwrap();
    run(&bnn, &mut learned, data, None, &config).0.unwrap();
    let (got_mu, got_sigma) = (f64::from(learned[0]), softplus(learned[1].into()));
    assert!((got_mu - mu).abs() < 0.15 * sigma, "{got_mu} {mu}");
    assert!((got_sigma / sigma - 1.0).abs() < 0.08, "{got_sigma} {sigma}");

    // The moments of a log-normal rate. Of 20 000 passes, mean and variance to some 1 and 3 %.
    let members = [learned.to_vec()];
    let predictor = Predictor::new(&bnn, &members, Passes { samples: 20_000, ..Passes::default() }).unwrap();
    let outputs = predictor.outputs(mat(&[1.0], 1), 0, &Serial).unwrap();
    let (predictive, mut scratch) = (predictor.predictive(&outputs, 1).unwrap(), MixtureScratch::new());
    let y = predictive.real(0, &mut scratch).unwrap();
    let square = got_sigma * got_sigma;
    let mean = BASE * (got_mu + 0.5 * square).exp();
    let of_rate = mean * mean * square.exp_m1();
    assert!((y.mean() - mean).abs() < 5.0 * (of_rate / 20_000.0).sqrt());
    assert!((y.epistemic_variance() / of_rate - 1.0).abs() < 0.1);
    assert!((y.aleatoric_variance() - y.mean()).abs() < 1e-9 * mean);
    assert!((y.predictive_variance() - y.aleatoric_variance() - y.epistemic_variance()).abs() < 1e-12);
}
