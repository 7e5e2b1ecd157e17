//! Committed numbers, one row per code path. Changing one changes every trained model and prediction of a seed: it is
//! value-breaking and belongs into CHANGELOG.

use bdl_dist::{Bernoulli, Noise, Normal, Purpose};
use rand::TryRng;
use rand::distr::Distribution;

fn noise() -> Noise {
    Noise::in_lane(0xb0a7, Purpose::Train, 3)
}

/// FNV-1a over 64-bit words, for what is too long to print.
fn digest(words: impl IntoIterator<Item = u64>) -> u64 {
    words.into_iter().fold(0xcbf2_9ce4_8422_2325, |h, w| (h ^ w).wrapping_mul(0x0100_0000_01b3))
}

fn normals(len: usize, slots: usize) -> Vec<u32> {
    let mut out = vec![0.0; len * slots];
    noise().normals(7, 5, len, &mut out);
    out.iter().map(|x: &f32| x.to_bits()).collect()
}

fn digest_of_normals(len: usize, slots: usize) -> u64 {
    digest(normals(len, slots).into_iter().map(u64::from))
}

fn mask(len: usize, slots: usize, keep_prob: f64) -> Vec<u64> {
    let mut out = vec![0; len.div_ceil(64) * slots];
    noise().mask(7, 5, len, keep_prob, &mut out);
    out
}

#[test]
fn value_stability_of_normals_in_even_slots() {
    assert_eq!(normals(4, 1), EVEN);
    assert_eq!(digest_of_normals(1_500, 2), EVEN_LONG);
}

#[test]
fn value_stability_of_normals_in_odd_slots() {
    assert_eq!(normals(3, 2), ODD);
    assert_eq!(digest_of_normals(1_023, 2), ODD_SHORT);
    assert_eq!(digest_of_normals(1_025, 2), ODD_LONG);
}

#[test]
fn value_stability_of_logistic_numbers() {
    let mut out = [0.0; 3];
    noise().logistics(7, 5, 3, &mut out);
    assert_eq!(out.map(f32::to_bits), LOGISTIC);
    let mut out = [0.0; 3_000];
    noise().logistics(7, 5, 1_500, &mut out);
    assert_eq!(digest(out.map(|x| u64::from(x.to_bits()))), LOGISTIC_LONG);
}

#[test]
fn value_stability_of_a_generator() {
    let mut rng = noise().rng(7);
    let mut out = [0.0; 3];
    rng.normals(&mut out);
    assert_eq!(out.map(f32::to_bits), GENERATOR_NORMALS);
    let Ok(word) = rng.try_next_u64();
    assert_eq!(word, GENERATOR_WORD);
    assert_eq!(rng.permutation(10), PERMUTATION);
}

#[test]
fn value_stability_of_masks() {
    assert_eq!(mask(100, 1, 0.8), MASK);
    assert_eq!(digest(mask(5_000, 3, 0.9)), MASK_LONG);
}

#[test]
fn value_stability_of_ties() {
    // Every kept unit is a tie.
    let words = mask(4_096, 2, 1.0 / 512.0);
    let kept = words.iter().enumerate().filter(|(_, w)| **w != 0).map(|(i, w)| (i, *w));
    assert_eq!(kept.collect::<Vec<_>>(), TIES);
}

#[test]
fn value_stability_of_scalars() {
    let mut rng = noise().rng(8);
    let normal = Normal::new(1.0, 2.0).unwrap();
    assert_eq!([(); 3].map(|()| normal.sample(&mut rng).to_bits()), SCALAR_NORMALS);
    let bernoulli = Bernoulli::new(0.3).unwrap();
    let bits = (0..64).fold(0_u64, |bits, i| bits | u64::from(bernoulli.sample(&mut rng)) << i);
    assert_eq!(bits, SCALAR_BERNOULLI);
}

#[test]
fn value_stability_of_every_purpose() {
    use Purpose::{Bootstrap, Draw, Init, Other, Predict, Shuffle, Split, Train};
    let first = [Init, Shuffle, Split, Train, Predict, Draw, Bootstrap, Other(1)].map(|purpose| {
        let Ok(word) = Noise::new(1, purpose).rng(0).try_next_u32();
        word
    });
    assert_eq!(first, PURPOSES);
}

const EVEN: [u32; 4] = [3208016074, 3194312464, 1054802260, 1041860660];
const EVEN_LONG: u64 = 283306345066118260;
const ODD: [u32; 6] = [3208016074, 3194312464, 1054802260, 1053550703, 3214505705, 1056847164];
const ODD_SHORT: u64 = 1140144413082525223;
const ODD_LONG: u64 = 6459664495523611294;
const LOGISTIC: [u32; 3] = [1059845604, 3222694039, 3201879762];
const LOGISTIC_LONG: u64 = 10224988479462866036;
const GENERATOR_NORMALS: [u32; 3] = [1049126438, 3208439735, 3170303845];
const GENERATOR_WORD: u64 = 11827967527209597427;
const PERMUTATION: [usize; 10] = [2, 0, 5, 4, 6, 3, 9, 1, 8, 7];
const MASK: [u64; 2] = [13532929834438595581, 34309402107];
const MASK_LONG: u64 = 13698280549514489600;
const TIES: &[(usize, u64)] = &[
    (4, 4398046511104),
    (23, 1125899906842624),
    (34, 274877906944),
    (50, 67108864),
    (67, 72057594037927968),
    (72, 576460752303423488),
    (105, 36028797018963968),
    (109, 134217728),
    (120, 2),
    (121, 288230376151711744),
];
const SCALAR_NORMALS: [u64; 3] = [13827143246536871610, 4608251389792711621, 4607342728019193108];
const SCALAR_BERNOULLI: u64 = 4618656983956980816;
const PURPOSES: [u32; 8] =
    [2477768703, 2856193113, 2670332595, 2069013026, 2677757408, 693152352, 1300916481, 2234640806];
