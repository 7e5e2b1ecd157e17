//! Distributions of what is drawn. Seeds are fixed; a KS or chi-square test raises a false alarm with probability 1e-4,
//! a moment check (5 SE) with 5.7e-7.

use bdl_dist::{Bernoulli, Noise, Normal, Purpose};
use bdl_testkit::stats::{MomentCheck, assert_counts, assert_ks, normal_cdf};
use rand::distr::Distribution;

const ALPHA: f64 = 1e-4;

fn noise() -> Noise {
    Noise::new(11, Purpose::Predict)
}

fn normals(stream: u64, len: usize, slots: usize) -> Vec<f64> {
    let mut out = vec![f32::NAN; len * slots];
    noise().normals(stream, 0, len, &mut out);
    out.into_iter().map(f64::from).collect()
}

fn check_standard_normal(name: &str, x: &[f64]) {
    assert_ks(name, x, normal_cdf, ALPHA);
    MomentCheck::mean(name, x, 0.0, 1.0).assert();
    MomentCheck::normal_variance(name, x, 1.0).assert();
    let fourth: Vec<f64> = x.iter().map(|x| x.powi(4)).collect();
    MomentCheck::mean(name, &fourth, 3.0, 96.0).assert(); // E x⁸ − 9 = 105 − 9
}

// 200 000 draws each.
#[test]
fn addressed_normals_are_standard_normal_in_slots_of_even_and_odd_length() {
    check_standard_normal("even", &normals(1, 2_000, 100));
    check_standard_normal("odd, short", &normals(2, 1, 200_000));
    check_standard_normal("odd, long", &normals(3, 1_999, 100));
}

#[test]
fn normals_of_a_generator_are_standard_normal() {
    let mut out = vec![0.0; 200_001];
    noise().rng(4).normals(&mut out);
    check_standard_normal("generator", &out.into_iter().map(f64::from).collect::<Vec<_>>());
}

#[test]
fn scalar_normals_have_their_mean_and_deviation() {
    let normal = Normal::new(-2.0, 0.5).unwrap();
    let mut rng = noise().rng(5);
    let x: Vec<f64> = (0..200_000).map(|_| (normal.sample(&mut rng) + 2.0) / 0.5).collect();
    check_standard_normal("scalar", &x);
}

// Both of a pair, both neighbours, both slots, both streams, both lanes: 100 000 pairs each.
#[test]
fn normals_at_different_addresses_are_uncorrelated() {
    let uncorrelated = |name: &str, x: &[f64], y: &[f64]| {
        MomentCheck::normal_covariance(name, x, y, 0.0, 1.0, 1.0).assert();
        let square = |x: &[f64]| x.iter().map(|x| x * x).collect::<Vec<_>>();
        // The squares too: cos and sin of one angle share their radius. Cov of squares: SE √((2·2 + 0)/(n − 1)).
        MomentCheck::normal_covariance(name, &square(x), &square(y), 0.0, 2.0, 2.0).assert();
    };
    let x = normals(6, 2, 100_000);
    let of = |offset: usize, step: usize| x.iter().skip(offset).step_by(step).copied().collect::<Vec<_>>();
    uncorrelated("pair", &of(0, 2), &of(1, 2));
    uncorrelated("slot", &of(0, 4), &of(2, 4));
    uncorrelated("stream", &x, &normals(7, 2, 100_000));
    let mut other_lane = vec![0.0; x.len()];
    Noise::in_lane(11, Purpose::Predict, 1).normals(6, 0, 2, &mut other_lane);
    uncorrelated("lane", &x, &other_lane.into_iter().map(f64::from).collect::<Vec<_>>());
}

// 200 000 draws each. The standard logistic distribution has the variance π²/3 and the fourth moment 7π⁴/15.
#[test]
fn logistic_numbers_are_standard_logistic_and_uncorrelated() {
    use std::f64::consts::PI;
    let draws = |stream: u64, len: usize| -> Vec<f64> {
        let mut out = vec![f32::NAN; 200_000];
        noise().logistics(stream, 0, len, &mut out);
        out.into_iter().map(f64::from).collect()
    };
    let (variance, fourth) = (PI * PI / 3.0, 7.0 * PI.powi(4) / 15.0);
    for (stream, len) in [(10, 2_000), (11, 1), (12, 25)] {
        let x = draws(stream, len);
        assert_ks("logistic", &x, |x| 1.0 / (1.0 + (-x).exp()), ALPHA);
        MomentCheck::mean("logistic", &x, 0.0, variance).assert();
        MomentCheck::variance("logistic", &x, variance, fourth).assert();
        let products: Vec<f64> = x.chunks(2).map(|pair| pair[0] * pair[1]).collect();
        MomentCheck::mean("neighbours", &products, 0.0, variance * variance).assert();
    }
    let products: Vec<f64> = draws(10, 25).iter().zip(draws(13, 25)).map(|(x, y)| x * y).collect();
    MomentCheck::mean("streams", &products, 0.0, variance * variance).assert();
}

/// `slots` masks of `len` units.
fn mask(stream: u64, len: usize, slots: usize, keep_prob: f64) -> Vec<u64> {
    let mut out = vec![0; len.div_ceil(64) * slots];
    noise().mask(stream, 0, len, keep_prob, &mut out);
    out
}

fn ones(words: &[u64]) -> usize {
    words.iter().map(|w| w.count_ones() as usize).sum()
}

#[test]
fn masks_drop_with_their_probability() {
    // At least 10 drops and 10 keeps are expected in each.
    for (drop_prob, units) in [
        (0.5, 1 << 20),
        (0.25, 1 << 20),
        (0.2, 1 << 22),
        (0.1, 1 << 22),
        (1e-3, 1 << 22),
        (1e-6, 1 << 26),
        (0.999, 1 << 22),
        (1.0 - 1e-6, 1 << 26),
    ] {
        let kept = ones(&mask(1, 1 << 16, units >> 16, 1.0 - drop_prob));
        MomentCheck::proportion(&format!("drop_prob {drop_prob}"), units - kept, units, drop_prob).assert();
    }
}

#[test]
fn probabilities_zero_and_one_are_sure() {
    assert_eq!(ones(&mask(2, 1_000, 100, 0.0)), 0);
    assert_eq!(ones(&mask(2, 1_000, 100, 1.0)), 100_000);
}

// At keep_prob = 1/512 the threshold byte is 0, so that every kept unit is a tie. Were ties dropped (`<`), nothing
// would be kept; were they kept (`<=`), twice as many: both are further from the truth than 5 SE.
#[test]
fn ties_are_decided_exactly_where_a_plain_comparison_would_be_wrong() {
    let (keep_prob, units) = (1.0 / 512.0, 1 << 22);
    let check =
        MomentCheck::proportion("ties", ones(&mask(3, 1 << 12, units >> 12, keep_prob)), units, keep_prob);
    check.assert();
    let with_less = MomentCheck { estimate: 0.0, ..check.clone() };
    let with_at_most = MomentCheck { estimate: 1.0 / 256.0, ..check };
    assert!(with_less.z() < -5.0 && with_at_most.z() > 5.0);
}

// The 32 bits of ties are spread like the bytes: among ties only, by unit and by slot.
#[test]
fn ties_are_even_over_units_and_slots() {
    let (len, slots) = (64, 1 << 18);
    let words = mask(4, len, slots, 1.0 / 512.0);
    let by_unit: Vec<u64> =
        (0..len).map(|i| words.iter().filter(|w| **w >> i & 1 == 1).count() as u64).collect();
    assert_counts("by unit", &by_unit, &vec![1.0 / len as f64; len], ALPHA);
    let by_slot: Vec<u64> = words.chunks(slots / 64).map(|w| ones(w) as u64).collect();
    assert_counts("by slot", &by_slot, &[1.0 / 64.0; 64], ALPHA);
}

/// Checks that two masks keep a unit together as often as independent ones would.
fn check_independent(name: &str, a: &[u64], b: &[u64], units: usize, keep_prob: f64) {
    let both = a.iter().zip(b).map(|(a, b)| (a & b).count_ones() as usize).sum();
    MomentCheck::proportion(name, both, units, keep_prob * keep_prob).assert();
}

// 2²⁰ pairs or more each; keep_prob 0.9 is no multiple of 1/256, so that ties take part.
#[test]
fn masks_are_independent_between_units_rows_passes_and_lanes() {
    let (len, slots, keep) = (64, 1 << 16, 0.9);
    let a = mask(5, len, slots, keep);
    let even = 0x5555_5555_5555_5555;
    let (left, right): (Vec<u64>, Vec<u64>) = a.iter().map(|w| (w & even, w >> 1 & even)).unzip();
    check_independent("neighbours", &left, &right, len * slots / 2, keep);
    let (low, high): (Vec<u64>, Vec<u64>) = a.iter().map(|w| (w & 0xffff_ffff, w >> 32)).unzip();
    check_independent("units 32 apart", &low, &high, len * slots / 2, keep);
    let (rows, next): (Vec<u64>, Vec<u64>) = a.chunks_exact(2).map(|w| (w[0], w[1])).unzip();
    check_independent("rows", &rows, &next, len * slots / 2, keep);
    check_independent("streams", &a, &mask(6, len, slots, keep), len * slots, keep);
    let mut lane = vec![0; a.len()];
    Noise::in_lane(11, Purpose::Predict, 1).mask(5, 0, len, keep, &mut lane);
    check_independent("lanes", &a, &lane, len * slots, keep);
}

#[test]
fn scalar_bernoulli_hits_its_probability() {
    let mut rng = noise().rng(8);
    for prob in [0.0, 0.3, 1.0] {
        let q = Bernoulli::new(prob).unwrap();
        let hits = (0..100_000).filter(|_| q.sample(&mut rng)).count();
        MomentCheck::proportion("bernoulli", hits, 100_000, prob).assert();
    }
}

// 48 000 permutations of four: each of the 24 orders equally often.
#[test]
fn permutations_are_uniform() {
    let mut rng = noise().rng(9);
    let mut counts = vec![0; 256];
    for _ in 0..48_000 {
        counts[rng.permutation(4).iter().fold(0, |code, i| 4 * code + i)] += 1;
    }
    counts.retain(|n| *n > 0);
    assert_counts("orders", &counts, &[1.0 / 24.0; 24], ALPHA);
}
