//! Concrete dropout on a linear model, where the objective over its rate is known: `docs/math.md#concrete-dropout-linear`.

use bdl_dist::{Noise, Purpose};
use bdl_infer::{Bnn, Data, Elbo, FitConfig, Gaussian, NoiseSd, Optimizer, Schedule, Targets};
use bdl_layers::{ConcreteDense, Estimator, Pass, Plan, Workspace};
use bdl_testkit::oracle::sigmoid;
use bdl_testkit::quad::adaptive_simpson;
use bdl_testkit::stats::Estimate;

use crate::nets::{init, mat, run};

const D: usize = 3;
const TRUTH: [f64; D] = [0.5, -0.3, 0.2];
const NOISE: f64 = 1.0;
const LENGTH_SCALE: f64 = 0.8;
const TEMP: f64 = 0.1;

/// Orthogonal columns of ±1 with mean 0, and targets on the true plane.
struct Problem {
    bnn: Bnn,
    x: Vec<f32>,
    y: Vec<f32>,
    rows: usize,
}

impl Problem {
    fn new(rows: usize) -> Self {
        assert_eq!(rows % 8, 0);
        let sign = |k: usize| if ((k / D) >> (k % D)) & 1 == 1 { 1.0 } else { -1.0 };
        let x: Vec<f32> = (0..rows * D).map(sign).collect();
        let y = x.chunks(D).map(|r| r.iter().zip(TRUTH).map(|(x, w)| f64::from(*x) * w).sum::<f64>() as f32);
        let layer = ConcreteDense::new(D, 1, LENGTH_SCALE).unwrap().with_concrete_temp(TEMP).unwrap();
        let likelihood = Gaussian::new(NoiseSd::Fixed(NOISE)).unwrap();
        let bnn = Bnn::new(Plan::new(vec![Box::new(layer)]).unwrap(), Box::new(likelihood)).unwrap();
        Self { bnn, y: y.collect(), x, rows }
    }

    /// `(1/2σ²)·Σ_i (S·μ₂·w_i² − 2·c_i·μ₁·w_i) + l²·‖w‖²/(2(1 − p)) − K·H(p)` with S = rows, c_i = S·truth_i.
    fn objective(&self, w: &[f64], logit: f64) -> f64 {
        let ([first, second], s) = (relaxed(logit), self.rows as f64);
        let (p, k) = (sigmoid(logit), sigmoid(-logit));
        let entropy = -p * p.ln() - k * k.ln();
        let term =
            |(w, truth): (&f64, f64)| s * (second * w * w - 2.0 * truth * first * w) / (2.0 * NOISE * NOISE);
        let of_weights = w.iter().zip(TRUTH).map(term).sum::<f64>();
        let square = w.iter().map(|w| w * w).sum::<f64>();
        of_weights + LENGTH_SCALE * LENGTH_SCALE * square / (2.0 * k) - D as f64 * entropy
    }

    /// The best weights at a logit.
    fn weights(&self, logit: f64) -> [f64; D] {
        let ([first, second], s) = (relaxed(logit), self.rows as f64);
        let prior = LENGTH_SCALE * LENGTH_SCALE * NOISE * NOISE / (s * sigmoid(-logit));
        TRUTH.map(|truth| first * truth / (second + prior))
    }

    /// The logit at which the objective over logit and weights is least, by ternary search.
    fn best_logit(&self) -> f64 {
        let least = |logit: f64| self.objective(&self.weights(logit), logit);
        let (mut low, mut high) = (-8.0, 3.0);
        while high - low > 1e-4 {
            let third = (high - low) / 3.0;
            if least(low + third) < least(high - third) { high -= third } else { low += third }
        }
        0.5 * (low + high)
    }
}

/// E m and E m² of a relaxed factor, over the uniform number behind λ.
fn relaxed(logit: f64) -> [f64; 2] {
    let factor = |u: f64| {
        let lambda = u.ln() - (-u).ln_1p();
        sigmoid(-(logit + lambda) / TEMP) / sigmoid(-logit)
    };
    // The factor falls where λ passes −logit.
    let middle = sigmoid(-logit);
    [1, 2].map(|power| {
        let f = |u: f64| factor(u.clamp(1e-14, 1.0 - 1e-14)).powi(power);
        adaptive_simpson(&f, 0.0, middle, 1e-10) + adaptive_simpson(&f, middle, 1.0, 1e-10)
    })
}

// 20 000 steps at each of three rates; 5 SE.
#[test]
fn the_mean_gradient_of_rate_and_weights_is_that_of_the_exact_objective() {
    let p = Problem::new(24);
    let (elbo, noise, mut ws) = (Elbo::new(p.rows).unwrap(), Noise::new(1, Purpose::Train), Workspace::new());
    for logit in [-3.0_f32, -1.2, 0.5] {
        let w = [0.4_f32, -0.2, 0.3];
        let params = [w[0], w[1], w[2], 0.0, logit];
        let mut draws = vec![Vec::new(); params.len()];
        for step in 0..20_000 {
            let (pass, mut grads) = (Pass::train(&noise, step, Estimator::Local), [0.0; 5]);
            let (x, y) = (mat(&p.x, D), Targets::Real(&p.y));
            elbo.gradient(&p.bnn, &params, x, y, &pass, &mut ws, &mut grads).unwrap();
            draws.iter_mut().zip(grads).for_each(|(d, g)| d.push(p.rows as f64 * f64::from(g)));
        }
        let at = |i: usize, step: f64| {
            let mut moved = [w[0], w[1], w[2], logit].map(f64::from);
            moved[i] += step;
            p.objective(&moved[..D], moved[D])
        };
        for (i, of) in [0, 1, 2, 4].into_iter().enumerate() {
            let expected = (at(i, 1e-4) - at(i, -1e-4)) / 2e-4;
            Estimate::of(&draws[of]).check(&format!("logit {logit}, gradient {i}"), expected).assert();
        }
        Estimate::of(&draws[3]).check(&format!("logit {logit}, bias"), 0.0).assert();
    }
}

// The optimum of the objective over weights and rate, by one-dimensional minimization; with hard masks it is closed,
// logit = −A/K, and near. Three numbers of rows: the learned rate is the one that is known, and falls with the rows.
#[test]
fn learned_rates_are_the_known_optima_and_shrink_as_rows_grow() {
    let rates = [8, 24, 48].map(|rows| {
        let p = Problem::new(rows);
        let expected = p.best_logit();
        let a = TRUTH.map(|w| w * w).iter().sum::<f64>() * (rows * rows) as f64
            / (2.0 * NOISE * NOISE * (rows as f64 + LENGTH_SCALE * LENGTH_SCALE * NOISE * NOISE));
        assert!(
            (expected + a / D as f64).abs() < 0.25,
            "{rows} rows: {expected}, hard masks {}",
            -a / D as f64
        );
        let data = Data::new(mat(&p.x, D), Targets::Real(&p.y)).unwrap();
        let config = FitConfig {
            epochs: 12_000,
            batch: rows,
            lr: 0.02,
            optimizer: Optimizer::adam(),
            schedule: Schedule::Cosine { end: 0.0 },
            ..FitConfig::default()
        };
        let mut params = init(&p.bnn);
        run(&p.bnn, &mut params, data, None, &config).0.unwrap();
        let logit = f64::from(params[D + 1]);
        assert!((logit - expected).abs() < 0.1, "{rows} rows: learned {logit}, known {expected}");
        for (w, best) in params.iter().zip(p.weights(expected)) {
            assert!((f64::from(*w) - best).abs() < 0.03, "{rows} rows: {params:?}");
        }
        sigmoid(logit)
    });
    assert!(rates[0] > 0.3 && rates.is_sorted_by(|a, b| a > b) && rates[2] < 0.1, "{rates:?}");
}
