//! Entropies, mutual information, its bias and its standard error.

use bdl_testkit::stats::{mean, variance};

use super::*;

/// Logits whose softmax is `probs`.
fn logits(probs: &[f64]) -> Vec<f32> {
    probs.iter().map(|p| p.ln() as f32).collect()
}

#[test]
fn entropies_are_those_computed_by_hand() {
    let l = Categorical::new(2).unwrap();
    let out = logits(&[0.9, 0.1, 0.1, 0.9]); // two passes that contradict each other
    let p = Predictive::new(&l, &[&[]], &out, 2, 1).unwrap();
    let mut scratch = MixtureScratch::new();
    let y = p.class(0, &mut scratch).unwrap();
    let h = -(0.9 * 0.9_f64.ln() + 0.1 * 0.1_f64.ln());
    assert!((y.probs()[0] - 0.5).abs() < 1e-7 && (y.probs()[1] - 0.5).abs() < 1e-7);
    assert!((y.predictive_entropy() - 2_f64.ln()).abs() < 1e-7);
    assert!((y.expected_entropy() - h).abs() < 1e-7);
    assert!((y.mutual_information() - (2_f64.ln() - h)).abs() < 1e-7);
    assert!(y.mutual_information_mcse().unwrap() < 1e-7); // both passes say as much
    assert!((y.ln_density(1).unwrap() - 0.5_f64.ln()).abs() < 1e-7);
}

#[test]
fn mutual_information_is_the_difference_of_the_entropies_and_never_negative() {
    let l = Categorical::new(4).unwrap();
    let out = to_f32(&SplitMix64::new(2).uniforms(9 * 50 * 4, -6.0, 6.0));
    let p = Predictive::new(&l, &[&[]], &out, 9, 50).unwrap();
    let mut scratch = MixtureScratch::new();
    for row in 0..50 {
        let y = p.class(row, &mut scratch).unwrap();
        let difference = y.predictive_entropy() - y.expected_entropy();
        assert!((y.mutual_information() - difference).abs() < 1e-14);
        assert!(y.mutual_information() > 0.0 && y.mutual_information() < 9_f64.ln());
        assert!((y.probs().iter().sum::<f64>() - 1.0).abs() < 1e-14);
    }
}

#[test]
fn passes_that_agree_have_no_mutual_information() {
    let l = Categorical::new(3).unwrap();
    for samples in [1, 3, 7] {
        let out = [0.3, -1.7, 2.2].repeat(samples);
        let p = Predictive::new(&l, &[&[]], &out, samples, 1).unwrap();
        let mut scratch = MixtureScratch::new();
        let y = p.class(0, &mut scratch).unwrap();
        assert!((0.0..1e-15).contains(&y.mutual_information()), "{}", y.mutual_information());
        assert_eq!(y.mutual_information_mcse().is_some(), samples > 1);
        assert_eq!(y.label(), 2);
    }
}

/// A hundredth, a hundred times, is a little more than 1.
#[test]
fn a_class_that_is_certain_has_probability_one_and_entropy_zero() {
    let l = Categorical::new(2).unwrap();
    for passes in [3, 10, 100, 1000] {
        let out: Vec<f32> = [900.0, -900.0].repeat(passes);
        let p = Predictive::new(&l, &[&[]], &out, passes, 1).unwrap();
        let mut scratch = MixtureScratch::new();
        let y = p.class(0, &mut scratch).unwrap();
        assert!(
            (y.probs()[0] - 1.0).abs() < 1e-12 && y.probs()[0] <= 1.0 && y.probs()[1] == 0.0,
            "{:?}",
            y.probs()
        );
        for entropy in [y.predictive_entropy(), y.expected_entropy()] {
            assert!((0.0..1e-12).contains(&entropy) && entropy.is_sign_positive(), "{passes}: {entropy}");
        }
    }
}

#[test]
fn of_equally_probable_classes_the_lowest_is_the_label() {
    let l = Categorical::new(3).unwrap();
    let p = Predictive::new(&l, &[&[]], &[0.0, 1.0, 1.0], 1, 1).unwrap();
    assert_eq!(p.class(0, &mut MixtureScratch::new()).unwrap().label(), 1);
}

#[test]
fn extreme_logits_are_finite_where_probabilities_underflow() {
    let l = Categorical::new(3).unwrap();
    let out = [1e4, -1e4, 0.0, 1e4, -1e4, 0.0];
    let p = Predictive::new(&l, &[&[]], &out, 2, 1).unwrap();
    let mut scratch = MixtureScratch::new();
    let y = p.class(0, &mut scratch).unwrap();
    assert_eq!(y.probs(), [1.0, 0.0, 0.0]);
    assert_eq!((y.predictive_entropy(), y.expected_entropy(), y.mutual_information()), (0.0, 0.0, 0.0));
    assert!((y.ln_density(1).unwrap() + 2e4).abs() < 1e-9);
}

/// Two classes, logit difference `N(0.5, 1)`: mutual informations of `reps` predictions and their errors.
fn simulate(samples: usize, reps: usize, seed: u64) -> (Vec<f64>, Vec<f64>) {
    let l = Categorical::new(2).unwrap();
    let normals = SplitMix64::new(seed).normals(samples * reps);
    let out: Vec<f32> = normals.iter().flat_map(|z| [0.0, (0.5 + z) as f32]).collect();
    let p = Predictive::new(&l, &[&[]], &out, samples, reps).unwrap();
    let mut scratch = MixtureScratch::new();
    let one = |row| {
        let y = p.class(row, &mut scratch).unwrap();
        (y.mutual_information(), y.mutual_information_mcse().unwrap())
    };
    (0..reps).map(one).unzip()
}

#[test]
fn mutual_information_mcse_is_the_deviation_of_repeated_predictions() {
    // 4000 predictions: their sample deviation has a relative error of about 1.5 % (the values are nearly normal), the
    // delta method one of order 1/S. A margin of 5 errors and 1/S: fails a right formula once in 1.7e6 seeds.
    for samples in [50, 200] {
        let (mi, mcse) = simulate(samples, 4000, samples as u64);
        let brute = variance(&mi).sqrt();
        let rms = mean(&mcse.iter().map(|e| e * e).collect::<Vec<_>>()).sqrt();
        assert!(
            (rms / brute - 1.0).abs() < 5.0 * 0.015 + 1.0 / samples as f64,
            "S={samples}: {rms} against {brute}"
        );
    }
}

#[test]
fn mutual_information_is_biased_down_by_one_part_in_s() {
    // Against 4000 predictions of 200 passes; the errors of the means are below 0.4 % of the value.
    let truth = mean(&simulate(200, 4000, 1).0) / (1.0 - 1.0 / 200.0);
    let small = mean(&simulate(10, 40_000, 2).0);
    assert!((small / (truth * 0.9) - 1.0).abs() < 0.02, "{small} {truth}");
}

#[test]
fn the_error_of_an_ensemble_is_that_of_its_members() {
    let l = Categorical::new(2).unwrap();
    // Members agree within, not among each other: by passes the error would be too small by √3.
    let out = logits(&[0.9, 0.1, 0.9, 0.1, 0.4, 0.6, 0.4, 0.6]);
    let mut scratch = MixtureScratch::new();
    let one = Predictive::new(&l, &[&[]], &out, 4, 1).unwrap();
    let by_passes = one.class(0, &mut scratch).unwrap().mutual_information_mcse().unwrap();
    let two = Predictive::new(&l, &[&[], &[]], &out, 4, 1).unwrap();
    let by_members = two.class(0, &mut scratch).unwrap().mutual_information_mcse().unwrap();
    assert!((by_members / by_passes - 3_f64.sqrt()).abs() < 1e-9, "{by_members} {by_passes}");
}
