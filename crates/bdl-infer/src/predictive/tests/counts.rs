//! Mixtures of Poissons: sums in place of integrals, quantiles that are counts, and a law that is known.

use bdl_tensor::special::{gamma_p, ln_gamma};
use bdl_testkit::stats::{MomentCheck, assert_ks, mean};

use super::*;
use crate::RealLikelihood;

const PROBS: [f64; 9] = [1e-9, 1e-3, 0.05, 0.25, 0.5, 0.75, 0.95, 0.999, 1.0 - 1e-9];

fn counts() -> Poisson {
    Poisson::new(1.0).unwrap()
}

/// Log rates `[S, 1, 1]` about `centre`.
fn log_rates(seed: u64, samples: usize, centre: f64, spread: f64) -> Vec<f32> {
    let z = SplitMix64::new(seed).normals(samples);
    to_f32(&z.iter().map(|z| centre + spread * z).collect::<Vec<_>>())
}

#[test]
fn a_quantile_is_the_smallest_count_that_holds_the_probability() {
    let l = counts();
    for (samples, centre) in [(1, -3.0), (1, 1.0), (5, 2.0), (40, 5.0), (3, 13.0)] {
        let out = log_rates(1, samples, centre, 0.4);
        let p = Predictive::new(&l, &[&[]], &out, samples, 1).unwrap();
        let mut scratch = MixtureScratch::new();
        let y = p.real(0, &mut scratch).unwrap();
        let holds = |k: f64, prob: f64| match prob <= 0.5 {
            true => y.cdf(k) >= prob,
            // On this side the small tail decides; 1 − cdf has lost it.
            false => {
                (0..samples).map(|s| l.survival(&[], &out[s..=s], k)).sum::<f64>() / samples as f64
                    <= 1.0 - prob
            }
        };
        for prob in PROBS {
            let q = y.quantile(prob).unwrap();
            assert!(q >= 0.0 && q.fract() == 0.0, "S={samples} p={prob}: {q}");
            assert!(holds(q, prob) && !holds(q - 1.0, prob), "S={samples} p={prob}: {q}");
        }
        assert_eq!((y.quantile(0.0).unwrap(), y.quantile(1.0).unwrap()), (f64::NEG_INFINITY, f64::INFINITY));
        let [low, high] = y.interval(0.9).unwrap();
        assert!(y.cdf(high) - y.cdf(low - 1.0) >= 0.9 && y.cdf(high - 1.0) - y.cdf(low - 1.0) < 0.95);
        assert_eq!(y.quantile_mcse(0.5), None);
    }
}

/// As networks put them out far from the data: the normal quantile is then far below 0, and whole numbers have no neighbours.
#[test]
fn quantiles_and_draws_of_huge_rates_come_to_an_end() {
    let (l, out) = (counts(), [-2.0, 45.0_f32]);
    let p = Predictive::new(&l, &[&[]], &out, 2, 1).unwrap();
    let mut scratch = MixtureScratch::new();
    let y = p.real(0, &mut scratch).unwrap();
    assert_eq!([0.001, 0.25, 0.4].map(|prob| y.quantile(prob).unwrap()), [0.0; 3]);
    let high = y.quantile(0.75).unwrap();
    assert!((high / 45_f64.exp() - 1.0).abs() < 1e-6, "{high:e}");
    let mut draws = [0.0; 20];
    y.draws(&mut rng(3), &mut draws);
    assert!(draws.iter().skip(1).step_by(2).all(|draw| (draw / high - 1.0).abs() < 1e-6), "{draws:?}");
}

#[test]
fn density_and_distribution_sum_the_passes() {
    let (l, out) = (counts(), log_rates(2, 7, 1.2, 0.5));
    let p = Predictive::new(&l, &[&[]], &out, 7, 1).unwrap();
    let mut scratch = MixtureScratch::new();
    let y = p.real(0, &mut scratch).unwrap();
    let rates: Vec<f64> = out.iter().map(|&f| f64::from(f).exp()).collect();
    let mut cdf = 0.0;
    for k in 0..60 {
        let of_rate = |r: &f64| (1..=k).fold((-r).exp(), |p, j| p * r / f64::from(j));
        let pmf = rates.iter().map(of_rate).sum::<f64>() / 7.0;
        cdf += pmf;
        assert!((y.ln_density(k.into()) - pmf.ln()).abs() < 1e-9, "{k}");
        assert!((y.cdf(k.into()) - cdf).abs() < 1e-12 && y.cdf(f64::from(k) + 0.9) == y.cdf(k.into()), "{k}");
        assert_eq!(y.ln_density(f64::from(k) + 0.5), f64::NEG_INFINITY);
    }
    assert!((y.mean() - mean(&rates)).abs() < 1e-12 && (y.aleatoric_variance() - mean(&rates)).abs() < 1e-12);
}

#[test]
fn total_variance_is_that_of_draws() {
    let (samples, draws) = (40, 400_000);
    let (l, out) = (counts(), log_rates(3, samples, 1.0, 0.5));
    let p = Predictive::new(&l, &[&[]], &out, samples, 1).unwrap();
    let mut scratch = MixtureScratch::new();
    let y = p.real(0, &mut scratch).unwrap();
    let mut sample = vec![0.0; draws];
    y.draws(&mut rng(9), &mut sample);
    let s = samples as f64;
    let of_mixture = y.aleatoric_variance() + y.epistemic_variance() * (s - 1.0) / s;
    MomentCheck::mean("counts", &sample, y.mean(), of_mixture).assert();
    let m = mean(&sample);
    let fourth = mean(&sample.iter().map(|x| (x - m).powi(4)).collect::<Vec<_>>());
    MomentCheck::variance("counts", &sample, of_mixture, fourth).assert();
    assert!(of_mixture > 1.2 * y.mean(), "more than one rate spreads wider than a Poisson");
}

/// Rates at the midpoints of 4000 equally probable parts of a gamma distribution (shape 2.5, mean 4): the mixture is the
/// negative binomial, up to what midpoints miss of the last part.
#[test]
fn a_gamma_mixture_of_rates_is_the_negative_binomial() {
    const SAMPLES: usize = 4000;
    let (shape, scale) = (2.5_f64, 1.6_f64);
    let out: Vec<f32> = (0..SAMPLES)
        .map(|s| (scale * gamma_quantile(shape, (s as f64 + 0.5) / SAMPLES as f64)).ln() as f32)
        .collect();
    let l = counts();
    let p = Predictive::new(&l, &[&[]], &out, SAMPLES, 1).unwrap();
    let mut scratch = MixtureScratch::new();
    let y = p.real(0, &mut scratch).unwrap();
    let success = 1.0 / (1.0 + scale);
    for k in 0..30 {
        let k = f64::from(k);
        let ln_pmf = ln_gamma(k + shape) - ln_gamma(shape) - ln_gamma(k + 1.0)
            + shape * success.ln()
            + k * (1.0 - success).ln();
        assert!((y.ln_density(k).exp() - ln_pmf.exp()).abs() < 2e-5, "{k}");
        assert!(k > 20.0 || (y.ln_density(k) - ln_pmf).abs() < 0.01, "{k}: {} {ln_pmf}", y.ln_density(k));
    }
    assert!((y.mean() - shape * scale).abs() < 2e-3);
    assert!((y.predictive_variance() / (shape * scale * (1.0 + scale)) - 1.0).abs() < 5e-3);
}

fn gamma_quantile(shape: f64, prob: f64) -> f64 {
    let (mut low, mut high) = (0.0, 200.0);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        *(if gamma_p(shape, middle) < prob { &mut low } else { &mut high }) = middle;
    }
    low
}

#[test]
fn crps_is_the_sum_over_all_counts() {
    let l = counts();
    // The last three have more steps than are summed one by one.
    for (samples, centre, spread) in
        [(1, -2.0, 0.0), (6, 1.0, 0.5), (4, 4.0, 0.1), (3, 8.0, 0.02), (5, 9.0, 0.3), (2, 11.0, 0.0)]
    {
        let out = log_rates(4, samples, centre, spread);
        let p = Predictive::new(&l, &[&[]], &out, samples, 1).unwrap();
        let mut scratch = MixtureScratch::new();
        let y = p.real(0, &mut scratch).unwrap();
        let [low, high] = [1e-12, 1.0 - 1e-12].map(|p| y.quantile(p).unwrap());
        for at in [0.0, y.quantile(0.3).unwrap(), y.quantile(0.99).unwrap() + 1.0, 2.0 * high] {
            let step = |k: f64| if k < at { y.cdf(k).powi(2) } else { (1.0 - y.cdf(k)).powi(2) };
            let (first, last) = (low.min(at), high.max(at));
            let naive: f64 = (0..=(last - first) as u32).map(|k| step(first + f64::from(k))).sum();
            let got = y.crps(at);
            assert!((got / naive - 1.0).abs() < 1e-6, "{centre} at {at}: {got} {naive}");
        }
        // Between two counts the step is divided.
        let [a, b, c] = [3.0, 3.25, 4.0].map(|at| y.crps(at));
        assert!((b - (0.75 * a + 0.25 * c)).abs() < 1e-9 * a, "{centre}: {a} {b} {c}");
        assert!(y.crps(f64::NAN).is_nan());
    }
}

#[test]
fn the_randomized_transform_of_calibrated_counts_is_uniform() {
    // 5000 rows of small rates, where ties are many. KS rejects a right transform once in 1e6 runs.
    let (rows, l) = (5000, counts());
    let out = log_rates(5, rows, 0.3, 1.0);
    let p = Predictive::new(&l, &[&[]], &out, 1, rows).unwrap();
    let (mut scratch, mut noise) = (MixtureScratch::new(), rng(21));
    let mut of_row = |row: usize| {
        let (y, mut draw) = (p.real(row, &mut scratch).unwrap(), [0.0]);
        y.draws(&mut noise, &mut draw);
        let [none, all] = [0.0, 1.0].map(|u| y.pit(draw[0], u));
        assert!(none < all && (all - y.cdf(draw[0])).abs() < 1e-15 && none == y.cdf(draw[0] - 1.0));
        (y.pit(draw[0], noise.uniform()), y.pit(draw[0], 1.0))
    };
    let (randomized, plain): (Vec<f64>, Vec<f64>) = (0..rows).map(&mut of_row).unzip();
    assert_ks("randomized", &randomized, |u| u.clamp(0.0, 1.0), 1e-6);
    assert!(mean(&plain) > 0.6, "without the randomization it lies too high: {}", mean(&plain));
    // A number has no jumps to be divided.
    let (l, out) = (fixed(1.0), [0.5]);
    let p = Predictive::new(&l, &[&[]], &out, 1, 1).unwrap();
    let y = p.real(0, &mut scratch).unwrap();
    assert_eq!((y.pit(0.2, 0.0), y.pit(0.2, 1.0)), (y.cdf(0.2), y.cdf(0.2)));
}

#[test]
fn rates_that_are_not_finite_give_nan_and_no_endless_loop() {
    let (l, out) = (counts(), [f32::NAN, 800.0, 1.0, 1.0]);
    let p = Predictive::new(&l, &[&[]], &out, 2, 2).unwrap();
    let mut scratch = MixtureScratch::new();
    let y = p.real(0, &mut scratch).unwrap();
    assert!(y.quantile(0.5).unwrap().is_nan() && y.crps(1.0).is_nan() && y.mean().is_nan());
    let y = p.real(1, &mut scratch).unwrap();
    assert!(!y.quantile(0.5).unwrap().is_finite() && !y.crps(1.0).is_finite());
    let mut draws = [0.0; 2];
    y.draws(&mut rng(0), &mut draws);
}

#[test]
fn one_logit_predicts_two_classes() {
    // Two passes with P(1) of 0.9 and 0.3.
    let out = [9.0_f64, 3.0 / 7.0].map(|odds| odds.ln() as f32);
    let p = Predictive::new(&Bernoulli, &[&[]], &out, 2, 1).unwrap();
    let mut scratch = MixtureScratch::new();
    let y = p.class(0, &mut scratch).unwrap();
    assert!((y.probs()[0] - 0.4).abs() < 1e-7 && (y.probs()[1] - 0.6).abs() < 1e-7);
    let h = |p: f64| -p * p.ln() - (1.0 - p) * (1.0 - p).ln();
    assert!((y.predictive_entropy() - h(0.6)).abs() < 1e-6);
    assert!((y.expected_entropy() - 0.5 * (h(0.9) + h(0.3))).abs() < 1e-6);
    assert_eq!((y.classes(), y.label()), (2, 1));
    assert!(p.real(0, &mut scratch).is_err());
}
