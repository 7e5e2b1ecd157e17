//! What an address promises: the same number however it is reached, and another number everywhere else.

use bdl_dist::{Noise, Purpose};

const LENGTHS: [usize; 14] = [1, 2, 3, 7, 63, 64, 65, 255, 256, 1_022, 1_023, 1_024, 1_025, 2_501];

fn noise() -> Noise {
    Noise::new(5, Purpose::Train)
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

fn normals(noise: &Noise, stream: u64, slot: u64, len: usize, slots: usize) -> Vec<u32> {
    let mut out = vec![f32::NAN; len * slots];
    noise.normals(stream, slot, len, &mut out);
    bits(&out)
}

fn logistics(len: usize, slot: u64, slots: usize) -> Vec<u32> {
    let mut out = vec![f32::NAN; len * slots];
    noise().logistics(9, slot, len, &mut out);
    bits(&out)
}

fn mask(noise: &Noise, stream: u64, slot: u64, len: usize, slots: usize) -> Vec<u64> {
    // 128.5/256: one unit in 256 is a tie.
    let mut out = vec![u64::MAX; len.div_ceil(64) * slots];
    noise.mask(stream, slot, len, 0.501_953_125, &mut out);
    out
}

#[test]
fn slots_of_normals_drawn_in_bulk_have_the_bits_of_slots_drawn_alone() {
    for len in LENGTHS {
        let slots = 3 + 3_000 / len;
        let bulk = normals(&noise(), 9, 40, len, slots);
        for (i, together) in bulk.chunks(len).enumerate() {
            assert_eq!(together, normals(&noise(), 9, 40 + i as u64, len, 1), "len {len}, slot {i}");
        }
    }
}

#[test]
fn slots_of_logistic_numbers_drawn_in_bulk_have_the_bits_of_slots_drawn_alone() {
    for len in LENGTHS {
        let slots = 3 + 3_000 / len;
        let bulk = logistics(len, 40, slots);
        assert!(bulk.iter().all(|b| f32::from_bits(*b).is_finite()), "len {len}");
        for (i, together) in bulk.chunks(len).enumerate() {
            assert_eq!(together, logistics(len, 40 + i as u64, 1), "len {len}, slot {i}");
        }
    }
}

#[test]
fn slots_of_masks_drawn_in_bulk_have_the_bits_of_slots_drawn_alone() {
    for len in [1, 3, 4, 5, 63, 64, 65, 128, 1_000, 4_095, 4_096, 4_097, 9_001] {
        let slots = 2 + 3_000 / len;
        let bulk = mask(&noise(), 9, 40, len, slots);
        for (i, together) in bulk.chunks(len.div_ceil(64)).enumerate() {
            assert_eq!(together, mask(&noise(), 9, 40 + i as u64, len, 1), "len {len}, slot {i}");
        }
    }
}

#[test]
fn masks_compare_the_bytes_of_the_stream_one_by_one() {
    use rand::TryRng;
    for len in [1_usize, 13, 50, 64, 257, 1_024, 1_030] {
        let (slots, words) = (2 + 3_000 / len, len.div_ceil(64));
        let mut bytes = vec![0_u8; (40 + slots) * len.next_multiple_of(4)];
        let Ok(()) = noise().rng(9).try_fill_bytes(&mut bytes);
        for threshold in [0, 1, 127, 128, 230, 256] {
            let mut out = vec![u64::MAX; words * slots];
            noise().mask(9, 40, len, f64::from(threshold) / 256.0, &mut out);
            for (slot, bytes) in out.chunks(words).zip(bytes.chunks(len.next_multiple_of(4)).skip(40)) {
                let kept = |i: usize| i < len && i32::from(bytes[i]) < threshold;
                let bits = (0..64 * words).filter(|&i| kept(i) != (slot[i / 64] >> (i % 64) & 1 == 1));
                assert_eq!(bits.count(), 0, "len {len}, threshold {threshold}");
            }
        }
    }
}

#[test]
fn every_element_is_written_and_bits_behind_the_last_unit_are_zero() {
    for len in LENGTHS {
        assert!(normals(&noise(), 0, 0, len, 3).iter().all(|b| f32::from_bits(*b).is_finite()), "len {len}");
        let words = len.div_ceil(64);
        let mut out = vec![u64::MAX; 3 * words];
        noise().mask(0, 0, len, 1.0, &mut out);
        let kept: u32 = out.iter().map(|w| w.count_ones()).sum();
        assert_eq!(kept as usize, 3 * len, "len {len}");
    }
}

#[test]
fn no_rows_draw_nothing() {
    noise().normals(0, 0, 3, &mut []);
    noise().logistics(0, 0, 3, &mut []);
    noise().mask(0, 0, 3, 0.5, &mut []);
}

#[test]
fn another_address_gives_other_numbers() {
    let all = [
        ("here", noise(), 9, 40),
        ("slot", noise(), 9, 42),
        ("stream", noise(), 10, 40),
        ("row stream", noise(), 9 | 1 << 63, 40),
        ("seed", Noise::new(6, Purpose::Train), 9, 40),
        ("purpose", Noise::new(5, Purpose::Predict), 9, 40),
        ("own purpose", Noise::new(5, Purpose::Other(4)), 9, 40),
        ("another own purpose", Noise::new(5, Purpose::Other(5)), 9, 40),
        ("lane", Noise::in_lane(5, Purpose::Train, 1), 9, 40),
        // Seeds, purposes and lanes have places of their own in the key: exchanging them is another key.
        ("seed and lane exchanged", Noise::in_lane(1, Purpose::Train, 5), 9, 40),
    ];
    for (i, (a, na, sa, la)) in all.iter().enumerate() {
        for (b, nb, sb, lb) in &all[..i] {
            assert_ne!(normals(na, *sa, *la, 6, 1), normals(nb, *sb, *lb, 6, 1), "{a}, {b}");
            assert_ne!(mask(na, *sa, *la, 64, 2), mask(nb, *sb, *lb, 64, 2), "{a}, {b}");
        }
    }
    let lane_0 = Noise::in_lane(5, Purpose::Train, 0);
    assert_eq!(normals(&noise(), 9, 40, 6, 1), normals(&lane_0, 9, 40, 6, 1));
}

#[test]
fn purposes_are_pairwise_different() {
    use Purpose::{Bootstrap, Draw, Init, Other, Predict, Shuffle, Split, Train};
    let all = [Init, Shuffle, Split, Train, Predict, Draw, Bootstrap, Other(0), Other(1), Other(u32::MAX)];
    let first: std::collections::BTreeSet<_> =
        all.iter().map(|p| normals(&Noise::new(0, *p), 0, 0, 2, 1)).collect();
    assert_eq!(first.len(), all.len());
}

#[test]
fn a_generator_runs_through_its_stream() {
    let mut rng = noise().rng(9);
    let (mut first, mut second) = ([0.0; 5], [0.0; 4]);
    rng.normals(&mut first);
    rng.normals(&mut second);
    let words = normals(&noise(), 9, 0, 10, 1);
    assert_eq!(bits(&first), words[..5]);
    // Five normals took six words.
    assert_eq!(bits(&second), words[6..]);
}

#[test]
fn a_permutation_holds_each_index_once() {
    for n in [0, 1, 2, 100] {
        let mut order = noise().rng(1).permutation(n);
        order.sort_unstable();
        assert!(order.into_iter().eq(0..n));
    }
}

#[test]
fn a_wrong_call_panics_with_what_it_got() {
    let panic_of = |f: fn()| {
        let payload = std::panic::catch_unwind(f).expect_err("a wrong call must panic");
        payload.downcast_ref::<String>().cloned().unwrap_or_default()
    };
    assert_eq!(
        panic_of(|| noise().normals(0, 0, 3, &mut [0.0; 4])),
        "normals: 4 elements are no whole slots of 3"
    );
    assert_eq!(
        panic_of(|| noise().normals(0, 0, 0, &mut [0.0; 4])),
        "normals: 4 elements are no whole slots of 0"
    );
    assert_eq!(
        panic_of(|| noise().logistics(0, 0, 3, &mut [0.0; 4])),
        "logistics: 4 elements are no whole slots of 3"
    );
    assert_eq!(
        panic_of(|| noise().mask(0, 0, 65, 0.5, &mut [0; 3])),
        "mask: 3 words are no whole slots of 65 bits"
    );
    assert_eq!(
        panic_of(|| noise().mask(0, 0, 1, 1.5, &mut [0; 1])),
        "mask: keep_prob must be in [0, 1], got 1.5"
    );
}
