//! Moments, densities, scores and draws of real targets.

use bdl_testkit::stats::{MomentCheck, mean, normal_cdf, normal_pdf, variance};

use super::*;

#[test]
fn variance_parts_add_up_to_the_variance_of_draws() {
    let (samples, draws) = (40, 400_000);
    let (l, out) = (Heteroscedastic::new(), outputs(1, samples, 3));
    let p = Predictive::new(&l, &[&[]], &out, samples, 3).unwrap().in_units(Units::new(5.0, 2.0).unwrap());
    let mut scratch = MixtureScratch::new();
    for row in 0..3 {
        let y = p.real(row, &mut scratch).unwrap();
        let mut sample = vec![0.0; draws];
        y.draws(&mut rng(row as u64), &mut sample);
        // The draws come from this very mixture, whose variance has S where the estimate has S − 1.
        let s = samples as f64;
        let of_mixture = y.aleatoric_variance() + y.epistemic_variance() * (s - 1.0) / s;
        MomentCheck::mean("draws", &sample, y.mean(), of_mixture).assert();
        let m = mean(&sample);
        let fourth = mean(&sample.iter().map(|x| (x - m).powi(4)).collect::<Vec<_>>());
        MomentCheck::variance("draws", &sample, of_mixture, fourth).assert();
        assert_eq!(y.predictive_variance(), y.aleatoric_variance() + y.epistemic_variance());
        assert!((variance(&sample) / y.aleatoric_variance()) > 1.2, "the epistemic part is lost");
    }
}

#[test]
fn the_predictive_is_the_mixture_and_not_the_gaussian_of_its_moments() {
    // Two passes far apart: the density between them is next to nothing, the moments' Gaussian has its top there.
    let (l, out) = (fixed(0.1), [-1.0, 1.0]);
    let p = Predictive::new(&l, &[&[]], &out, 2, 1).unwrap();
    let mut scratch = MixtureScratch::new();
    let y = p.real(0, &mut scratch).unwrap();
    assert!(y.ln_density(0.0) < -45.0);
    assert!((y.ln_density(1.0) - (0.5 * normal_pdf(0.0) / 0.1).ln()).abs() < 1e-12);
    // 90 % lie within the two peaks.
    let [low, high] = y.interval(0.9).unwrap();
    assert!((low + 1.0 + 0.1 * 1.281_551_565_544_6).abs() < 1e-10, "{low}");
    assert!((low + high).abs() < 1e-10);
    // σ² is averaged, not σ.
    let l = Heteroscedastic::with_floor(0.0).unwrap();
    let raw = [1.0_f64, 3.0].map(|sd| (sd.exp_m1()).ln() as f32);
    let out = [0.0, raw[0], 0.0, raw[1]];
    let p = Predictive::new(&l, &[&[]], &out, 2, 1).unwrap();
    let y = p.real(0, &mut scratch).unwrap();
    assert!((y.aleatoric_variance() - 5.0).abs() < 1e-6 && y.epistemic_variance() == 0.0);
}

#[test]
fn density_and_distribution_are_the_naive_mixture() {
    let (l, out) = (Heteroscedastic::new(), outputs(2, 7, 5));
    let p = Predictive::new(&l, &[&[]], &out, 7, 5).unwrap();
    let mut scratch = MixtureScratch::new();
    for (row, at) in [(0, -3.0), (1, 0.0), (4, 2.5)] {
        let y = p.real(row, &mut scratch).unwrap();
        let components = || (0..7).map(|s| l.mean_sd(&[], &out[(s * 5 + row) * 2..][..2]));
        let density: f64 = components().map(|(m, sd)| normal_pdf((at - m) / sd) / sd).sum::<f64>() / 7.0;
        let cdf: f64 = components().map(|(m, sd)| normal_cdf((at - m) / sd)).sum::<f64>() / 7.0;
        assert!((y.ln_density(at) - density.ln()).abs() < 1e-12);
        assert!((y.cdf(at) - cdf).abs() < 1e-12);
        let means: Vec<f64> = components().map(|(m, _)| m).collect();
        assert!((y.mean() - mean(&means)).abs() < 1e-14);
        assert!((y.epistemic_variance() - variance(&means)).abs() < 1e-13);
    }
}

#[test]
fn one_pass_is_its_own_distribution() {
    let (l, out) = (fixed(2.0), [3.0]);
    let p = Predictive::new(&l, &[&[]], &out, 1, 1).unwrap();
    let mut scratch = MixtureScratch::new();
    let y = p.real(0, &mut scratch).unwrap();
    assert_eq!(
        (y.mean(), y.aleatoric_variance(), y.epistemic_variance(), y.mean_mcse()),
        (3.0, 4.0, 0.0, None)
    );
    assert!((y.quantile(0.975).unwrap() - (3.0 + 2.0 * 1.959_963_984_540_054)).abs() < 1e-12);
    assert!((y.ln_density(3.0) + (2.0 * std::f64::consts::TAU.sqrt()).ln()).abs() < 1e-14);
}

#[test]
fn units_move_means_scale_deviations_and_lower_the_log_density() {
    let (l, out) = (Heteroscedastic::new(), outputs(3, 9, 1));
    let bare = Predictive::new(&l, &[&[]], &out, 9, 1).unwrap();
    let units = Units::new(-7.0, 0.25).unwrap();
    let own = bare.in_units(units);
    let (mut a, mut b) = (MixtureScratch::new(), MixtureScratch::new());
    let (x, y) = (bare.real(0, &mut a).unwrap(), own.real(0, &mut b).unwrap());
    assert_eq!(y.mean(), units.apply(x.mean()));
    assert_eq!(y.predictive_variance(), x.predictive_variance() / 16.0);
    assert_eq!(y.mean_mcse().unwrap(), x.mean_mcse().unwrap() / 4.0);
    assert_eq!(y.quantile(0.3).unwrap(), units.apply(x.quantile(0.3).unwrap()));
    assert!((y.ln_density(units.apply(1.5)) - (x.ln_density(1.5) + 4.0_f64.ln())).abs() < 1e-12);
    assert_eq!(y.cdf(units.apply(0.5)), x.cdf(0.5));
    assert_eq!(y.crps(units.apply(0.5)), x.crps(0.5) / 4.0);
    assert_eq!(units.invert(units.apply(3.0)), 3.0);
}

#[test]
fn each_member_has_its_own_noise() {
    let l = Gaussian::new(NoiseSd::Learned { init: 1.0 }).unwrap();
    let raws = [0.5_f64, 2.0].map(|sd| [sd.exp_m1().ln() as f32]);
    let members = [&raws[0][..], &raws[1][..]];
    let out = [0.0, 10.0, 1.0, 11.0, 2.0, 12.0, 3.0, 13.0]; // [4 passes, 2 rows]
    let p = Predictive::new(&l, &members, &out, 4, 2).unwrap();
    let mut scratch = MixtureScratch::new();
    let y = p.real(1, &mut scratch).unwrap();
    assert_eq!(y.means, [10.0, 11.0, 12.0, 13.0]);
    for (sd, expected) in y.sds.iter().zip([0.5, 0.5, 2.0, 2.0]) {
        assert!((sd - expected).abs() < 1e-6);
    }
    // Draw i is from pass i modulo S, with the noise of that pass's member; 5 standard errors of 4 · 5000 draws.
    let mut draws = vec![0.0; 20_000];
    y.draws(&mut rng(6), &mut draws);
    for (pass, (mean, sd)) in y.means.iter().zip(y.sds).enumerate() {
        let own: Vec<f64> = draws.iter().skip(pass).step_by(4).map(|d| (d - mean) / sd).collect();
        MomentCheck::normal_variance(&format!("pass {pass}"), &own, 1.0).assert();
    }
    // Passes share their member: the error is that of the members' means, 10.5 and 12.5.
    assert!((y.mean_mcse().unwrap() - 1.0).abs() < 1e-12);
}

/// From 513 passes on pairs are too many.
#[test]
fn crps_of_many_passes_is_that_of_all_their_pairs() {
    let (l, out) = (Heteroscedastic::new(), outputs(4, 700, 3));
    let p = Predictive::new(&l, &[&[]], &out, 700, 3).unwrap();
    let mut scratch = MixtureScratch::new();
    for (row, at) in [(0, -1.0), (1, 0.5), (2, 30.0)] {
        let y = p.real(row, &mut scratch).unwrap();
        let pairs = bdl_metrics::crps_gaussian_mixture(&[at], y.means, y.sds).unwrap();
        assert!((y.crps(at) / pairs - 1.0).abs() < 1e-6, "{row}: {} {pairs}", y.crps(at));
        assert_ne!(y.crps(at).to_bits(), pairs.to_bits());
    }
}

#[test]
fn crps_is_its_defining_integral() {
    let (l, out) = (Heteroscedastic::new(), outputs(4, 5, 2));
    let p = Predictive::new(&l, &[&[]], &out, 5, 2).unwrap();
    let mut scratch = MixtureScratch::new();
    for (row, at) in [(0, -1.0), (1, 0.5)] {
        let y = p.real(row, &mut scratch).unwrap();
        let integral = bdl_testkit::quad::crps(|t| y.cdf(t), at, -40.0, 40.0);
        assert!((y.crps(at) - integral).abs() < 1e-8, "{} {integral}", y.crps(at));
        assert!(
            (y.crps_by_quadrature(at) - integral).abs() < 1e-6,
            "{} {integral}",
            y.crps_by_quadrature(at)
        );
        assert!((y.crps_by_quadrature(9.0) - y.crps(9.0)).abs() < 1e-6);
        assert!(y.crps(f64::NAN).is_nan());
    }
}

#[test]
fn mean_mcse_covers() {
    // 2000 predictions of 30 passes each around the true mean 0: |mean| ≤ 2·mcse in 94.5 % (Student t, 29 degrees of
    // freedom). 5 SE of a share at n = 2000 are 2.5 %: a right error fails once in 1.7e6 seeds, and the seed is fixed.
    let (l, reps) = (fixed(1.0), 2000);
    let out = to_f32(&SplitMix64::new(6).normals(30 * reps));
    let p = Predictive::new(&l, &[&[]], &out, 30, reps).unwrap();
    let mut scratch = MixtureScratch::new();
    let mut hit = |row| {
        let y = p.real(row, &mut scratch).unwrap();
        y.mean().abs() <= 2.0 * y.mean_mcse().unwrap()
    };
    let hits = (0..reps).filter(|&row| hit(row)).count();
    MomentCheck::proportion("coverage", hits, reps, 0.945).assert();
}

#[test]
fn extreme_outputs_are_finite() {
    let l = Heteroscedastic::new();
    let out = [1e4, -1e4, -1e4, 1e4, 0.0, 0.0_f32];
    let p = Predictive::new(&l, &[&[]], &out, 3, 1).unwrap();
    let mut scratch = MixtureScratch::new();
    let y = p.real(0, &mut scratch).unwrap();
    let [low, high] = y.interval(0.9).unwrap();
    for v in
        [y.mean(), y.predictive_variance(), y.ln_density(0.0), y.ln_density(-3e4), y.crps(5.0), low, high]
    {
        assert!(v.is_finite(), "{v}");
    }
    // With floor 0 sigma underflows: a step of the distribution function, and a finite log density on the mean.
    let l = Heteroscedastic::with_floor(0.0).unwrap();
    let p = Predictive::new(&l, &[&[]], &out, 3, 1).unwrap();
    let y = p.real(0, &mut scratch).unwrap();
    assert!(y.ln_density(1e4).is_finite() && (y.cdf(1e4) - y.cdf(9_999.999_999) - 1.0 / 3.0).abs() < 1e-6);
    assert!(y.quantile(0.6).unwrap().is_finite());
}

#[test]
fn outputs_that_are_not_finite_give_nan_and_no_endless_loop() {
    let (l, out) = (fixed(1.0), [f32::NAN, 1.0, f32::INFINITY, 1.0]);
    let p = Predictive::new(&l, &[&[]], &out, 2, 2).unwrap();
    let mut scratch = MixtureScratch::new();
    let y = p.real(0, &mut scratch).unwrap();
    assert!(
        y.mean().is_nan()
            && y.quantile(0.5).unwrap().is_nan()
            && y.ln_density(0.0).is_nan()
            && y.crps(0.0).is_nan()
    );
    assert!(p.real(1, &mut scratch).unwrap().mean() == 1.0);
}
