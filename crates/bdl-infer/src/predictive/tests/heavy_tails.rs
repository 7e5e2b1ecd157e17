//! Mixtures of Student's t distributions, which have no closed forms but those of one component.

use bdl_tensor::special::ln_gamma;
use bdl_testkit::stats::{MomentCheck, mean};

use super::*;

const PROBS: [f64; 9] = [1e-9, 1e-3, 0.05, 0.25, 0.5, 0.75, 0.95, 0.999, 1.0 - 1e-9];

/// Scale 0.7.
fn params() -> [f32; 1] {
    [0.7_f64.exp_m1().ln() as f32]
}

fn t(dof: f64) -> StudentT {
    StudentT::new(1.0, Dof::Fixed(dof)).unwrap()
}

#[test]
fn quantiles_invert_the_distribution_function() {
    for (dof, samples) in [(2.2, 1), (2.2, 30), (5.0, 7), (100.0, 12)] {
        let (l, params) = (t(dof), params());
        let members = [&params[..]];
        let out = to_f32(&SplitMix64::new(8).uniforms(samples, -3.0, 3.0));
        let p = Predictive::new(&l, &members, &out, samples, 1).unwrap();
        let mut scratch = MixtureScratch::new();
        let y = p.real(0, &mut scratch).unwrap();
        let quantiles = PROBS.map(|prob| y.quantile(prob).unwrap());
        for (prob, q) in PROBS.into_iter().zip(quantiles) {
            let tail = prob.min(1.0 - prob);
            assert!((y.cdf(q) - prob).abs() <= 1e-10 * tail + 1e-14, "{dof} p={prob}: {q} {}", y.cdf(q));
        }
        assert!(quantiles.is_sorted());
    }
}

/// The CRPS of one Student's t of scale 1, ν degrees of freedom, at z, F its distribution function and f its density:
///
/// ```text
/// z·(2F(z) − 1) + 2·f(z)·(ν + z²)/(ν − 1) − 2√ν/(ν − 1)·B(½, ν − ½)/B(½, ν/2)²
/// ```
/// Jordan, Krüger and Lerch, 2019, "Evaluating probabilistic forecasts with scoringRules", appendix A.
#[test]
fn crps_of_one_pass_is_its_closed_form() {
    let ln_beta = |a: f64, b: f64| ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b);
    for dof in [2.1, 3.0, 8.0, 60.0] {
        let (l, params, out) = (t(dof), params(), [1.5_f32]);
        let members = [&params[..]];
        let p = Predictive::new(&l, &members, &out, 1, 1).unwrap().in_units(Units::new(-3.0, 2.0).unwrap());
        let (scale, _) = l.scale_dof(&params);
        let mut scratch = MixtureScratch::new();
        let y = p.real(0, &mut scratch).unwrap();
        for z in [-40.0, -2.0, 0.0, 0.3, 5.0] {
            let at = -3.0 + 2.0 * (1.5 + scale * z);
            let density = y.ln_density(at).exp() * 2.0 * scale;
            let spread = 2.0 * dof.sqrt() / (dof - 1.0)
                * (ln_beta(0.5, dof - 0.5) - 2.0 * ln_beta(0.5, 0.5 * dof)).exp();
            let closed = z * (2.0 * y.cdf(at) - 1.0) + 2.0 * density * (dof + z * z) / (dof - 1.0) - spread;
            let got = y.crps(at) / (2.0 * scale);
            assert!((got - closed).abs() < 1e-7 * closed, "{dof} at {z}: {got} {closed}");
        }
    }
}

#[test]
fn crps_of_a_mixture_is_its_defining_integral() {
    let (l, params) = (t(4.0), params());
    let members = [&params[..]];
    let out = to_f32(&SplitMix64::new(3).uniforms(6, -4.0, 4.0));
    let p = Predictive::new(&l, &members, &out, 6, 1).unwrap();
    let mut scratch = MixtureScratch::new();
    let y = p.real(0, &mut scratch).unwrap();
    for at in [-30.0, -1.0, 0.5, 7.0] {
        let integral = bdl_testkit::quad::crps(|t| y.cdf(t), at, -1e4, 1e4);
        assert!((y.crps(at) - integral).abs() < 1e-7, "{at}: {} {integral}", y.crps(at));
    }
}

#[test]
fn the_variance_of_the_mixture_is_that_of_its_draws() {
    let (samples, draws, dof) = (20, 400_000, 9.0);
    let (l, params) = (t(dof), params());
    let members = [&params[..]];
    let out = to_f32(&SplitMix64::new(4).uniforms(samples, -1.0, 1.0));
    let p = Predictive::new(&l, &members, &out, samples, 1).unwrap();
    let mut scratch = MixtureScratch::new();
    let y = p.real(0, &mut scratch).unwrap();
    let mut sample = vec![0.0; draws];
    y.draws(&mut rng(5), &mut sample);
    let s = samples as f64;
    let of_mixture = y.aleatoric_variance() + y.epistemic_variance() * (s - 1.0) / s;
    assert!((y.aleatoric_variance() - 0.49 * dof / (dof - 2.0)).abs() < 1e-6, "a deviation, not a scale");
    MomentCheck::mean("t", &sample, y.mean(), of_mixture).assert();
    let m = mean(&sample);
    let fourth = mean(&sample.iter().map(|x| (x - m).powi(4)).collect::<Vec<_>>());
    MomentCheck::variance("t", &sample, of_mixture, fourth).assert();
}

#[test]
fn each_member_has_its_own_tails() {
    let l = StudentT::new(1.0, Dof::Learned { init: 5.0 }).unwrap();
    let raw = |x: f64| x.exp_m1().ln() as f32;
    let [a, b] = [[raw(0.5), raw(0.9)], [raw(2.0), raw(27.9)]];
    let members = [&a[..], &b[..]];
    let p = Predictive::new(&l, &members, &[0.0, 1.0, 10.0, 11.0], 4, 1).unwrap();
    let mut scratch = MixtureScratch::new();
    let y = p.real(0, &mut scratch).unwrap();
    let sds = [0.5 * 3_f64.sqrt(), 2.0 * (30.0_f64 / 28.0).sqrt()];
    for (sd, expected) in y.sds.iter().zip([sds[0], sds[0], sds[1], sds[1]]) {
        assert!((sd - expected).abs() < 1e-5, "{sd} {expected}");
    }
}
