//! Densities of weights against naive formulas, quadrature, and their own draws. Seeds are fixed; a KS test raises a false
//! alarm with probability 1e-4, a moment check (5 SE) with 5.7e-7.

use std::f64::consts::{E, PI};
use std::sync::Arc;

use bdl_dist::{
    Density, Laplace, LogUniform, Noise, NoiseRng, Normal, Purpose, ScaleMixture, Scaled, StudentT,
};
use bdl_testkit::oracle::log_sum_exp;
use bdl_testkit::quad::adaptive_simpson;
use bdl_testkit::source::SplitMix64;
use bdl_testkit::stats::{Estimate, assert_ks, normal_cdf, normal_pdf};
use rand::distr::Distribution;

const ALPHA: f64 = 1e-4;

/// A density that leaves all to the trait: a logistic distribution of scale 0.3.
#[derive(Debug)]
struct Logistic;

impl Density for Logistic {
    fn ln_prob(&self, x: f64) -> f64 {
        let a = (x / 0.3).abs();
        -a - 2.0 * (-a).exp().ln_1p() - 0.3_f64.ln()
    }

    fn slope(&self, x: f64) -> f64 {
        -(x / 0.6).tanh() / 0.3
    }

    fn width(&self) -> f64 {
        0.3
    }

    fn draw(&self, rng: &mut NoiseRng) -> Option<f64> {
        let u = rng.uniform();
        Some(0.3 * (u / (1.0 - u)).ln())
    }
}

/// The densities, with their naive formulas.
type Naive = Box<dyn Fn(f64) -> f64>;

fn mixture(pi: f64, [wide, narrow]: [f64; 2]) -> (String, Arc<dyn Density>, Naive) {
    let p = ScaleMixture::new(pi, [wide, narrow]).unwrap();
    let ln_of = |x: f64, s: f64| -0.5 * (x / s).powi(2) - (s * (2.0 * PI).sqrt()).ln();
    let naive = move |x: f64| log_sum_exp(&[pi.ln() + ln_of(x, wide), (1.0 - pi).ln() + ln_of(x, narrow)]);
    (format!("{p:?}"), Arc::new(p), Box::new(naive))
}

fn student_t(df: f64, scale: f64, peak: f64) -> (String, Arc<dyn Density>, Naive) {
    let p = StudentT::new(df, scale).unwrap();
    let naive = move |x: f64| {
        let t: f64 = x / scale;
        (peak / scale * (1.0 + t * t / df).powf(-(df + 1.0) / 2.0)).ln()
    };
    (format!("{p:?}"), Arc::new(p), Box::new(naive))
}

fn proper() -> Vec<(String, Arc<dyn Density>, Naive)> {
    let laplace = |b: f64| -> (String, Arc<dyn Density>, Naive) {
        (
            format!("laplace {b}"),
            Arc::new(Laplace::new(b).unwrap()),
            Box::new(move |x| (0.5 / b).ln() - x.abs() / b),
        )
    };
    let scaled = Scaled::new(Arc::new(Logistic), 0.5);
    let logistic = |s: f64| -> Naive {
        Box::new(move |x: f64| {
            let a = x.abs() / s;
            -a - (s * (1.0 + (-a).exp()).powi(2)).ln()
        })
    };
    vec![
        mixture(0.5, [1.0, (-6.0_f64).exp()]),
        mixture(0.25, [2.0, 0.3]),
        laplace(0.7),
        laplace(0.01),
        student_t(1.0, 0.5, 1.0 / PI),
        student_t(3.0, 0.02, 2.0 / (PI * 3.0_f64.sqrt())),
        ("logistic".into(), Arc::new(Logistic), logistic(0.3)),
        ("scaled logistic".into(), Arc::new(scaled), logistic(0.15)),
    ]
}

/// Ten pairs of mu and sigma: narrow and wide, at 0 and away from it, in units of the density's own width.
const POINTS: [[f64; 2]; 10] = [
    [0.0, 0.02],
    [0.3, 0.01],
    [-2.0, 0.3],
    [0.0, 1.0],
    [1.0, 1.0],
    [3.5, 0.5],
    [0.0, 40.0],
    [-30.0, 20.0],
    [200.0, 5.0],
    [-100.0, 400.0],
];

/// `∫ f(w) N(w; mu, sigma²) dw` by Simpson's rule in fine panels around mu and around 0.
fn integral(f: &dyn Fn(f64) -> f64, mu: f64, sigma: f64, width: f64) -> f64 {
    let (low, high) = (mu - 10.0 * sigma, mu + 10.0 * sigma);
    let mut ends: Vec<f64> = (-50..=50).map(|i| mu + sigma * f64::from(i) / 5.0).collect();
    ends.extend((0..60).map(|i| width * 1.5_f64.powi(i - 20)).flat_map(|x| [x, -x]).chain([0.0]));
    ends.retain(|x| (low..=high).contains(x));
    ends.sort_by(f64::total_cmp);
    let g = |w: f64| f(w) * normal_pdf((w - mu) / sigma) / sigma;
    let simpson = |[a, b]: [f64; 2]| {
        let at = |i: u32| g(a + (b - a) * f64::from(i) / 32.0);
        let inner = (1..32).map(|i| if i % 2 == 1 { 4.0 } else { 2.0 } * at(i)).sum::<f64>();
        (b - a) / 96.0 * (at(0) + inner + at(32))
    };
    ends.windows(2).map(|e| simpson([e[0], e[1]])).sum()
}

#[test]
fn log_densities_are_the_naive_ones_and_slopes_their_derivatives() {
    for (name, p, naive) in proper() {
        for i in -40..=40 {
            let x = p.width() * 0.37 * f64::from(i);
            let (got, expected) = (p.ln_prob(x), naive(x));
            assert!(
                (got - expected).abs() < 1e-12 * (1.0 + expected.abs()),
                "{name} at {x}: {got} {expected}"
            );
            let h = 1e-5 * p.width();
            let difference = (p.ln_prob(x + h) - p.ln_prob(x - h)) / (2.0 * h);
            let near = 1e-5 * (difference.abs() + 1.0 / p.width());
            assert!((p.slope(x) - difference).abs() < near, "{name} at {x}: {} {difference}", p.slope(x));
        }
        // Far out, where a density underflows, its logarithm does not.
        assert!(p.ln_prob(1e6 * p.width()).is_finite() && p.slope(1e6 * p.width()).is_finite(), "{name}");
    }
}

#[test]
fn densities_integrate_to_one() {
    for (name, p, _) in proper() {
        // x = width·sinh(u)
        let f = |u: f64| (p.ln_prob(p.width() * u.sinh()) + u.cosh().ln()).exp() * p.width();
        let mass = adaptive_simpson(&f, -40.0, 40.0, 1e-9);
        assert!((mass - 1.0).abs() < 1e-8, "{name}: {mass}");
    }
}

#[test]
fn mean_log_densities_are_the_integrals_at_ten_points() {
    for (name, p, naive) in proper() {
        for [mu, sigma] in POINTS.map(|point| point.map(|x| x * p.width())) {
            // What one weight has in f32.
            let mu = f64::from(mu as f32);
            let expected = integral(&naive, mu, sigma, p.width());
            let near = 2e-8 * (1.0 + expected.abs());
            let one = p.expected_ln_prob(mu, sigma);
            let sum = p.expected_ln_prob_sum(&[mu as f32; 3], &[sigma; 3]) / 3.0;
            assert!((one - expected).abs() < near, "{name} at {mu} {sigma}: {one} {expected}");
            assert!((sum - expected).abs() < near, "{name} at {mu} {sigma}: {sum} {expected}");
        }
    }
}

#[test]
fn kl_from_a_proper_density_is_positive_and_small_next_to_the_nearest_normal() {
    for (name, p, _) in proper() {
        let kl =
            |mu: f64, sigma: f64| -(sigma.ln() + 0.5 * (2.0 * PI * E).ln()) - p.expected_ln_prob(mu, sigma);
        for [mu, sigma] in POINTS.map(|point| point.map(|x| x * p.width())) {
            assert!(kl(mu, sigma) > 0.0, "{name} at {mu} {sigma}: {}", kl(mu, sigma));
        }
        let near = p.nearest_normal().unwrap().std_dev();
        let least = kl(0.0, near);
        let is_mixture = name.starts_with("ScaleMixture");
        assert!(least < 0.3 || is_mixture && least < 2.0, "{name}: {least}");
        assert!(is_mixture || [0.9, 1.1].iter().all(|f| kl(0.0, f * near) > least), "{name} {near}");
    }
    // −1/σ + √(2/π)/b = 0
    let near = Laplace::new(0.7).unwrap().nearest_normal().unwrap().std_dev();
    assert!((near / (0.7 * (PI / 2.0).sqrt()) - 1.0).abs() < 1e-6);
}

#[test]
fn expected_slopes_are_the_derivatives_of_the_mean_log_density() {
    let improper: (String, Arc<dyn Density>, Naive) =
        ("log-uniform".into(), Arc::new(LogUniform), Box::new(|x: f64| -x.abs().ln()));
    for (name, p, _) in proper().into_iter().chain([improper]) {
        for [mu, sigma] in POINTS.map(|point| point.map(|x| x * p.width())) {
            let (h, step) = (1e-4 * sigma, 1e-4_f64);
            let at = |mu: f64, sigma: f64| p.expected_ln_prob(mu, sigma);
            let in_mu = (at(mu + h, sigma) - at(mu - h, sigma)) / (2.0 * h);
            let in_ln = (at(mu, sigma * step.exp()) - at(mu, sigma * (-step).exp())) / (2.0 * step);
            let [by_mu, by_ln_sigma] = p.expected_slopes(mu, sigma);
            let near = |a: f64, b: f64, unit: f64| (a - b).abs() < 2e-5 * (b.abs() + unit);
            assert!(near(by_mu, in_mu, 0.01 / sigma), "{name} at {mu} {sigma}: {by_mu} {in_mu}");
            assert!(near(by_ln_sigma, in_ln, 0.01), "{name} at {mu} {sigma}: {by_ln_sigma} {in_ln}");
            let (mut a, mut b) = ([0.0; 2], [0.0; 2]);
            p.expected_slopes_of(&[mu as f32; 2], &[sigma as f32; 2], &mut a, &mut b);
            for (got, expected, unit) in [(a[1], by_mu, 1.0 / sigma), (b[1], by_ln_sigma, 1.0)] {
                let near = 1e-5 * (expected.abs() + unit);
                assert!((f64::from(got) - expected).abs() < near, "{name} at {mu} {sigma}: {got} {expected}");
            }
        }
    }
}

// 200 000 draws, 5 SE: one draw of the path derivative has the mean that quadrature gives.
#[test]
fn the_slope_at_a_draw_is_an_unbiased_estimate_of_the_expected_slopes() {
    let mut source = SplitMix64::new(5);
    for (name, p, _) in proper() {
        for [mu, sigma] in [[0.4, 0.3], [-1.0, 2.0], [5.0, 30.0]].map(|point| point.map(|x| x * p.width())) {
            let expected = p.expected_slopes(mu, sigma);
            let eps = source.normals(50_000);
            let w: Vec<f32> = eps.iter().map(|eps| (mu + sigma * eps) as f32).collect();
            let mut slopes = vec![f32::NAN; w.len()];
            p.slopes(&w, &mut slopes);
            let by_mu: Vec<f64> = slopes.iter().map(|&s| s.into()).collect();
            let by_ln: Vec<f64> = by_mu.iter().zip(&eps).map(|(slope, eps)| slope * sigma * eps).collect();
            Estimate::of(&by_mu).check(&name, expected[0]).assert();
            Estimate::of(&by_ln).check(&name, expected[1]).assert();
        }
    }
}

// Closed forms of E|w| at the same points by Monte Carlo: 200 000 draws, 5 SE.
#[test]
fn mean_log_densities_agree_with_monte_carlo() {
    let mut source = SplitMix64::new(6);
    for (name, p, naive) in proper() {
        for [mu, sigma] in POINTS.map(|point| point.map(|x| x * p.width())) {
            let draws: Vec<f64> = (0..50_000).map(|_| naive(mu + sigma * source.normal())).collect();
            Estimate::of(&draws).check(&name, p.expected_ln_prob(mu, sigma)).assert();
        }
    }
}

#[test]
fn bulk_slopes_are_the_scalar_ones() {
    for (name, p, _) in proper() {
        let x: Vec<f32> = (-100..=100).map(|i| (p.width() * 0.2 * f64::from(i)) as f32).collect();
        let mut out = vec![f32::NAN; x.len()];
        p.slopes(&x, &mut out);
        for (&x, &got) in x.iter().zip(&out) {
            let expected = p.slope(x.into());
            let near = 1e-5 * expected.abs() + 1e-6 / p.width();
            assert!((f64::from(got) - expected).abs() <= near, "{name} at {x}: {got} {expected}");
        }
    }
}

#[test]
fn what_has_no_spread_is_a_point_and_what_is_not_a_number_stays_none() {
    let log_uniform: Arc<dyn Density> = Arc::new(LogUniform);
    for p in proper().into_iter().map(|(_, p, _)| p).chain([log_uniform]) {
        let x = 1.5 * p.width();
        assert!((p.expected_ln_prob(x, 0.0) - p.ln_prob(x)).abs() < 1e-12);
        let [by_mu, by_ln_sigma] = p.expected_slopes(x, 0.0);
        assert!((by_mu / p.slope(x) - 1.0).abs() < 1e-12 && by_ln_sigma == 0.0);
        assert!(p.expected_ln_prob(f64::NAN, 1.0).is_nan() && p.expected_ln_prob(0.0, f64::NAN).is_nan());
        assert!(p.expected_ln_prob_sum(&[f32::NAN, 0.0], &[1.0; 2]).is_nan());
    }
}

#[test]
fn kl_from_the_log_uniform_density_vanishes_with_the_signal_and_grows_with_it() {
    let kl = |mu: f64, sigma: f64| {
        -(sigma.ln() + 0.5 * (2.0 * PI * E).ln()) - LogUniform.expected_ln_prob(mu, sigma)
    };
    // E ln|m + eps| − E ln|eps|
    for m in [0.1, 0.5, 1.0, 2.0, 4.0, 7.0, 9.0, 12.0, 30.0, 1e3] {
        let mean = |m: f64| integral(&|w: f64| w.abs().max(1e-300).ln(), m, 1.0, 1e-6);
        let expected = mean(m) - mean(0.0);
        for sigma in [1e-4, 1.0, 50.0] {
            let got = kl(m * sigma, sigma);
            assert!((got - expected).abs() < 1e-6, "{m} {sigma}: {got} {expected}");
            assert!((kl(-m * sigma, sigma) - got).abs() < 1e-12);
        }
    }
    assert!(kl(0.0, 0.3).abs() < 1e-14 && kl(1e-6, 1.0) < 1e-11 && kl(1e-6, 1.0) > 0.0);
    // ln α = −2 ln m from 8 down to −8: the KL rises.
    let by_alpha: Vec<f64> = (-80..=80).map(|i| kl((f64::from(i) / 20.0).exp(), 1.0)).collect();
    assert!(by_alpha.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(LogUniform.draw(&mut Noise::new(0, Purpose::Init).rng(0)), None);
    assert_eq!(LogUniform.nearest_normal(), None);
}

// 100 000 draws each.
#[test]
fn draws_follow_their_distribution_functions() {
    let mut rng = Noise::new(13, Purpose::Draw).rng(0);
    let mut check = |name: &str, sample: &mut dyn FnMut(&mut NoiseRng) -> f64, cdf: &dyn Fn(f64) -> f64| {
        let x: Vec<f64> = (0..100_000).map(|_| sample(&mut rng)).collect();
        assert_ks(name, &x, cdf, ALPHA);
    };
    let p = ScaleMixture::new(0.25, [2.0, 0.3]).unwrap();
    let cdf = |x: f64| 0.25 * normal_cdf(x / 2.0) + 0.75 * normal_cdf(x / 0.3);
    check("mixture", &mut |rng| p.sample(rng), &cdf);
    check("mixture, by the trait", &mut |rng| p.draw(rng).unwrap(), &cdf);
    let laplace = Laplace::new(0.7).unwrap();
    check("laplace", &mut |rng| laplace.sample(rng), &|x| {
        let tail = 0.5 * (-x.abs() / 0.7).exp();
        if x < 0.0 { tail } else { 1.0 - tail }
    });
    let cauchy = StudentT::new(1.0, 0.5).unwrap();
    check("cauchy", &mut |rng| cauchy.sample(rng), &|x| 0.5 + (x / 0.5).atan() / PI);
    let two = StudentT::new(2.0, 3.0).unwrap();
    check("t of 2", &mut |rng| two.sample(rng), &|x| {
        let t = x / 3.0;
        0.5 + 0.5 * t / (2.0 + t * t).sqrt()
    });
    let three = StudentT::new(3.0, 1.0).unwrap();
    check("t of 3", &mut |rng| three.sample(rng), &|t| {
        let u = t / 3.0_f64.sqrt();
        0.5 + (u / (1.0 + u * u) + u.atan()) / PI
    });
    let scaled = Scaled::new(Arc::new(Logistic), 0.5);
    check("scaled", &mut |rng| scaled.draw(rng).unwrap(), &|x| 1.0 / (1.0 + (-x / 0.15).exp()));
}

#[test]
fn scaling_is_of_the_variable() {
    let x = 0.4;
    let scaled: [(Box<dyn Density>, Box<dyn Density>); 3] = [
        (Box::new(ScaleMixture::default()), Box::new(ScaleMixture::default().scaled(0.25).unwrap())),
        (Box::new(Laplace::new(0.7).unwrap()), Box::new(Laplace::new(0.7).unwrap().scaled(0.25).unwrap())),
        (
            Box::new(StudentT::new(4.0, 2.0).unwrap()),
            Box::new(StudentT::new(4.0, 2.0).unwrap().scaled(0.25).unwrap()),
        ),
    ];
    for (p, scaled) in scaled {
        assert!((scaled.ln_prob(0.25 * x) - (p.ln_prob(x) - 0.25_f64.ln())).abs() < 1e-12, "{p:?}");
    }
    let nearest = |p: &dyn Density| p.nearest_normal().unwrap();
    let (one, quarter) = (nearest(&Logistic), nearest(&Scaled::new(Arc::new(Logistic), 0.25)));
    assert_eq!(quarter, Normal::new(0.0, 0.25 * one.std_dev()).unwrap());
}
