//! Monte Carlo standard errors against repeated predictions.

use bdl_testkit::stats::{mean, variance};

use super::*;

/// Repeated predictions, one a row.
const REPS: usize = 400;

type Number = (&'static str, fn(&RealMixture<'_>) -> f64, fn(&RealMixture<'_>) -> Option<f64>);
type Class = (&'static str, fn(&ClassMixture<'_>) -> f64, fn(&ClassMixture<'_>) -> Option<f64>);

/// Every answer about a number beside its error; the targets lie within and outside the middle of the predictions.
const NUMBERS: [Number; 11] = [
    ("mean", |y| y.mean(), |y| y.mean_mcse()),
    ("aleatoric_variance", |y| y.aleatoric_variance(), |y| y.aleatoric_variance_mcse()),
    ("epistemic_variance", |y| y.epistemic_variance(), |y| y.epistemic_variance_mcse()),
    ("predictive_variance", |y| y.predictive_variance(), |y| y.predictive_variance_mcse()),
    ("cdf", |y| y.cdf(2.0), |y| y.cdf_mcse(2.0)),
    ("quantile 0.5", |y| y.quantile(0.5).unwrap(), |y| y.quantile_mcse(0.5)),
    ("quantile 0.95", |y| y.quantile(0.95).unwrap(), |y| y.quantile_mcse(0.95)),
    ("ln_density", |y| y.ln_density(3.0), |y| y.ln_density_mcse(3.0)),
    ("ln_density far", |y| y.ln_density(7.0), |y| y.ln_density_mcse(7.0)),
    ("crps", |y| y.crps(3.5), |y| y.crps_mcse(3.5)),
    ("crps far", |y| y.crps(7.0), |y| y.crps_mcse(7.0)),
];

const CLASSES: [Class; 6] = [
    ("probs 0", |y| y.probs()[0], |y| y.probs_mcse()?.next()),
    ("probs 2", |y| y.probs()[2], |y| y.probs_mcse()?.nth(2)),
    ("predictive_entropy", |y| y.predictive_entropy(), |y| y.predictive_entropy_mcse()),
    ("expected_entropy", |y| y.expected_entropy(), |y| y.expected_entropy_mcse()),
    ("mutual_information", |y| y.mutual_information(), |y| y.mutual_information_mcse()),
    ("ln_density", |y| y.ln_density(1).unwrap(), |y| y.ln_density_mcse(1)),
];

/// `[members·passes, REPS, width]` with `centre + between·(member's normal) + within·(pass's normal)`.
fn nested(members: usize, passes: usize, [between, within]: [f64; 2], centre: &[f64]) -> Vec<f32> {
    let width = centre.len();
    let shared = SplitMix64::new(31).normals(members * REPS * width);
    let own = SplitMix64::new(32).normals(members * passes * REPS * width);
    let value = |(i, z): (usize, &f64)| {
        let (member, at) = (i / (passes * REPS * width), i % (REPS * width));
        centre[i % width] + between * shared[member * REPS * width + at] + within * z
    };
    to_f32(&own.iter().enumerate().map(value).collect::<Vec<_>>())
}

/// The root mean square of the errors over the deviation of the values.
fn ratio((values, errors): (Vec<f64>, Vec<f64>)) -> f64 {
    mean(&errors.iter().map(|e| e * e).collect::<Vec<_>>()).sqrt() / variance(&values).sqrt()
}

/// The deviation of 400 values has a relative error of 3.5 % if they are nearly normal; the delta method is off by the order
/// of 1/(passes or members), here 1 to 3 %, more in the tails. 20 % are 5 errors and that; a fault by √(passes of a member) = 2 is beyond it.
fn assert_ratio(name: &str, members: usize, ratio: f64) {
    assert!((ratio - 1.0).abs() < 0.2, "{members} members, {name}: {ratio}");
}

#[test]
fn each_error_of_a_number_is_the_deviation_of_repeated_predictions() {
    let l = Heteroscedastic::new();
    for (members, passes, spread) in [(1, 100, [0.0, 1.0]), (40, 4, [0.7, 0.3])] {
        let samples = members * passes;
        let (out, params) = (nested(members, passes, spread, &[1.0, 0.0]), vec![&[][..]; members]);
        let p = Predictive::new(&l, &params, &out, samples, REPS).unwrap();
        let p = p.in_units(Units::new(0.5, 2.0).unwrap());
        let mut scratch = MixtureScratch::new();
        for (name, value, error) in NUMBERS {
            let one = |row| {
                let y = p.real(row, &mut scratch).unwrap();
                (value(&y), error(&y).unwrap())
            };
            assert_ratio(name, members, ratio((0..REPS).map(one).unzip()));
        }
    }
}

#[test]
fn each_error_of_heavy_tails_and_counts_is_the_deviation_of_repeated_predictions() {
    let (t, counts) = (StudentT::new(1.0, Dof::Fixed(5.0)).unwrap(), Poisson::new(1.0).unwrap());
    let likelihoods: [(&dyn Likelihood, &[f32], f64); 2] = [(&t, &[0.3], 1.0), (&counts, &[], 0.4)];
    for (l, own, spread) in likelihoods {
        for (members, passes, parts) in [(1, 100, [0.0, 1.0]), (40, 4, [0.7, 0.3])] {
            let samples = members * passes;
            let (out, params) =
                (nested(members, passes, parts.map(|x| spread * x), &[1.0]), vec![own; members]);
            let p = Predictive::new(l, &params, &out, samples, REPS).unwrap();
            let mut scratch = MixtureScratch::new();
            // The quantiles of counts jump. The noise of Student's t is the same in all passes, and its CRPS is
            // that of other numbers, at a thousand times the cost.
            let is_told = |name: &str| match l.kind() {
                Poisson::KIND => !name.starts_with("quantile"),
                _ => name != "aleatoric_variance" && !name.starts_with("crps"),
            };
            for (name, value, error) in NUMBERS.into_iter().filter(|(name, ..)| is_told(name)) {
                let one = |row| {
                    let y = p.real(row, &mut scratch).unwrap();
                    (value(&y), error(&y).unwrap())
                };
                assert_ratio(&format!("{} {name}", l.kind()), members, ratio((0..REPS).map(one).unzip()));
            }
        }
    }
}

#[test]
fn each_error_of_a_class_is_the_deviation_of_repeated_predictions() {
    let l = Categorical::new(3).unwrap();
    for (members, passes, spread) in [(1, 100, [0.0, 1.0]), (40, 4, [0.8, 0.3])] {
        let samples = members * passes;
        let (out, params) = (nested(members, passes, spread, &[1.0, 0.0, -1.0]), vec![&[][..]; members]);
        let p = Predictive::new(&l, &params, &out, samples, REPS).unwrap();
        let mut scratch = MixtureScratch::new();
        for (name, value, error) in CLASSES {
            let one = |row| {
                let y = p.class(row, &mut scratch).unwrap();
                (value(&y), error(&y).unwrap())
            };
            assert_ratio(name, members, ratio((0..REPS).map(one).unzip()));
        }
    }
}

#[test]
fn one_pass_has_no_error() {
    let mut scratch = MixtureScratch::new();
    let l = Heteroscedastic::new();
    let p = Predictive::new(&l, &[&[]], &[0.3, 0.1], 1, 1).unwrap();
    let y = p.real(0, &mut scratch).unwrap();
    NUMBERS.iter().for_each(|(name, _, error)| assert_eq!(error(&y), None, "{name}"));
    assert_eq!(y.crps_mcse_by_quadrature(0.0), None);
    let l = Categorical::new(3).unwrap();
    let p = Predictive::new(&l, &[&[]], &[0.3, 0.1, 0.0], 1, 1).unwrap();
    let y = p.class(0, &mut scratch).unwrap();
    CLASSES.iter().for_each(|(name, _, error)| assert_eq!(error(&y), None, "{name}"));
}

#[test]
fn errors_of_two_members_with_passes_that_agree_are_those_of_two_passes() {
    let mut scratch = MixtureScratch::new();
    let l = Heteroscedastic::new();
    let (a, b) = ([0.0, 0.5], [1.5, -0.5]);
    let (twice, once) = ([a, a, a, b, b, b].concat(), [a, b].concat());
    let members = Predictive::new(&l, &[&[], &[]], &twice, 6, 1).unwrap();
    let passes = Predictive::new(&l, &[&[]], &once, 2, 1).unwrap();
    for (name, _, error) in NUMBERS.iter().filter(|(name, ..)| !name.contains("variance")) {
        let [of_members, of_passes] =
            [&members, &passes].map(|p| error(&p.real(0, &mut scratch).unwrap()).unwrap());
        assert!((of_members / of_passes - 1.0).abs() < 1e-9, "{name}: {of_members} {of_passes}");
    }
}

#[test]
fn the_error_of_the_epistemic_variance_is_computed_by_hand() {
    // Means 0, 1, 2, 5: mean 2, squares 4, 1, 0, 9 and s² = 14/3; m4 = 98/4, (S − 3)/(S − 1) = 1/3.
    let (l, out) = (fixed(1.0), [0.0, 1.0, 2.0, 5.0]);
    let mut scratch = MixtureScratch::new();
    let p = Predictive::new(&l, &[&[]], &out, 4, 1).unwrap();
    let error = p.real(0, &mut scratch).unwrap().epistemic_variance_mcse().unwrap();
    let s4 = (14.0_f64 / 3.0).powi(2);
    assert!((error - ((24.5 - s4 / 3.0) / 4.0).sqrt()).abs() < 1e-12, "{error}");
    // Of two members: mean squares 2.5 and 4.5, (2 − 3)/(2 − 1) = −1.
    let p = Predictive::new(&l, &[&[], &[]], &out, 4, 1).unwrap();
    let error = p.real(0, &mut scratch).unwrap().epistemic_variance_mcse().unwrap();
    assert!((error - ((13.25 + s4) / 2.0).sqrt()).abs() < 1e-12, "{error}");
}

#[test]
fn the_error_of_the_crps_by_quadrature_is_the_closed_form() {
    let (l, out) = (Heteroscedastic::new(), outputs(4, 8, 1));
    for members in [&[&[][..]][..], &[&[], &[]]] {
        let p = Predictive::new(&l, members, &out, 8, 1).unwrap();
        let mut scratch = MixtureScratch::new();
        let y = p.real(0, &mut scratch).unwrap();
        for at in [-9.0, -1.0, 0.5, 9.0] {
            let (closed, other) = (y.crps_mcse(at).unwrap(), y.crps_mcse_by_quadrature(at).unwrap());
            assert!((closed - other).abs() < 1e-6, "{at}: {closed} {other}");
        }
    }
}

#[test]
fn errors_are_relative_far_out_and_absent_where_undefined() {
    let (l, out) = (fixed(1.0), [0.0, 1.0, 2.0]);
    let p = Predictive::new(&l, &[&[]], &out, 3, 1).unwrap();
    let mut scratch = MixtureScratch::new();
    let y = p.real(0, &mut scratch).unwrap();
    for prob in [0.0, 1.0, -0.1, 1.1, f64::NAN] {
        assert_eq!(y.quantile_mcse(prob), None);
    }
    // Far out the nearest pass alone counts: p_s/p̄ is 3, 0, 0 with deviation √3, over √3.
    assert!((y.ln_density_mcse(-200.0).unwrap() - 1.0).abs() < 1e-9);
    let far = y.quantile_mcse(1e-250).unwrap();
    assert!(far > 0.0 && far < 0.1, "{far}"); // F/p is about 1/34 there
    let l = Categorical::new(2).unwrap();
    let p = Predictive::new(&l, &[&[]], &[0.0, 2e3, 0.0, 3e3], 2, 1).unwrap();
    let y = p.class(0, &mut scratch).unwrap();
    assert!((y.ln_density_mcse(0).unwrap() - 1.0).abs() < 1e-9); // ratios 2 and 0
    assert_eq!(y.ln_density_mcse(2), None);
    assert!(y.probs_mcse().unwrap().all(|e| e == 0.0) && y.predictive_entropy_mcse() == Some(0.0));
}

#[test]
fn passes_that_agree_have_the_error_0_and_outputs_that_are_not_finite_none_that_is_finite() {
    let l = Heteroscedastic::new();
    let mut scratch = MixtureScratch::new();
    for samples in [2, 3, 7] {
        let out = [0.25, 1.0].repeat(samples);
        let p = Predictive::new(&l, &[&[]], &out, samples, 1).unwrap();
        let y = p.real(0, &mut scratch).unwrap();
        NUMBERS
            .iter()
            .for_each(|(name, _, error)| assert!(error(&y).unwrap() < 1e-14, "{name}, S={samples}"));
    }
    let p = Predictive::new(&l, &[&[]], &[f32::NAN, 1.0, 0.0, 1.0], 2, 1).unwrap();
    let y = p.real(0, &mut scratch).unwrap();
    for (name, _, error) in NUMBERS.iter().filter(|(name, ..)| *name != "aleatoric_variance") {
        assert!(error(&y).is_none_or(f64::is_nan), "{name}");
    }
}

#[test]
fn errors_of_classes_are_those_computed_by_hand() {
    // Of two values the error is half of their distance; P(class 0) is 0.9 and 0.6, 0.75 in the mean.
    let l = Categorical::new(2).unwrap();
    let out = [0.9_f64, 0.1, 0.6, 0.4].map(|p| p.ln() as f32);
    let p = Predictive::new(&l, &[&[]], &out, 2, 1).unwrap();
    let mut scratch = MixtureScratch::new();
    let y = p.class(0, &mut scratch).unwrap();
    let close =
        |error: Option<f64>, hand: f64| assert!((error.unwrap() - hand).abs() < 1e-6, "{error:?} {hand}");
    y.probs_mcse().unwrap().for_each(|error| close(Some(error), 0.15));
    close(y.ln_density_mcse(0), 0.15 / 0.75);
    close(y.ln_density_mcse(1), 0.15 / 0.25);
    close(y.predictive_entropy_mcse(), 0.15 * 3_f64.ln());
    let h = |p: f64| -p * p.ln() - (1.0 - p) * (1.0 - p).ln();
    close(y.expected_entropy_mcse(), 0.5 * (h(0.6) - h(0.9)));
}
