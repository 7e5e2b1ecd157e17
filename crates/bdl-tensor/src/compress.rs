//! The door to the one instruction that plain Rust does not reach: kept elements of a row, side by side.
//!
//! With AVX-512 sixteen elements take a few cycles, in a loop over the bits some thirty.

#[cfg(target_arch = "x86_64")]
use crate::dispatch::{Level, level};

/// `out[j] = row[i]·scale` for the j-th set bit i.
///
/// # Panics
/// Unless `kept` has a word for each 64 elements, as many bits as `out` elements, and none behind the last.
pub(crate) fn compress(row: &[f32], kept: &[u64], scale: f32, out: &mut [f32]) {
    assert!(kept.len() == row.len().div_ceil(64), "compress: kept must have a word for each 64 elements");
    let count: usize = kept.iter().map(|word| word.count_ones() as usize).sum();
    assert!(count == out.len(), "compress: out must have {count} elements, got {}", out.len());
    let behind = if row.len().is_multiple_of(64) { 0 } else { kept[row.len() / 64] >> (row.len() % 64) };
    assert!(behind == 0, "compress: no bit may be set behind the last element");
    #[cfg(target_arch = "x86_64")]
    if level() == Level::Avx512 {
        // SAFETY: `level` answers `Avx512` only where `avx512f` was detected.
        #[allow(unsafe_code)]
        return unsafe { avx512(row, kept, scale, out) };
    }
    by_bits(row, kept, scale, out);
}

/// The portable twin.
fn by_bits(row: &[f32], kept: &[u64], scale: f32, out: &mut [f32]) {
    let mut out = out.iter_mut();
    for (row, &word) in row.chunks(64).zip(kept) {
        let mut left = word;
        while left != 0 {
            if let (Some(out), Some(x)) = (out.next(), row.get(left.trailing_zeros() as usize)) {
                *out = x * scale;
            }
            left &= left - 1;
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn avx512(row: &[f32], kept: &[u64], scale: f32, out: &mut [f32]) {
    use std::arch::x86_64::{
        _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_compress_ps, _mm512_mul_ps, _mm512_set1_ps,
        _mm512_storeu_ps,
    };
    const LANES: usize = 16;
    let (lines, rest) = row.as_chunks::<LANES>();
    let by = _mm512_set1_ps(scale);
    let bits = |line: usize| (kept[line / 4] >> (line % 4 * LANES)) as u16;
    let mut to = 0;
    for (i, line) in lines.iter().enumerate() {
        let count = bits(i).count_ones() as usize;
        // SAFETY: a line has the 16 floats that are read.
        let x = unsafe { _mm512_loadu_ps(line.as_ptr()) };
        let x = _mm512_mul_ps(_mm512_maskz_compress_ps(bits(i), x), by);
        let target = &mut out[to..];
        if target.len() >= LANES {
            // SAFETY: the 16 floats that are written were seen to be there.
            unsafe { _mm512_storeu_ps(target.as_mut_ptr(), x) };
        } else {
            let target = &mut target[..count];
            // SAFETY: of the 16 floats the first `count` are written, which is the length of `target`.
            unsafe { _mm512_mask_storeu_ps(target.as_mut_ptr(), ((1_u32 << count) - 1) as u16, x) };
        }
        to += count;
    }
    let of_rest = kept.last().map_or(0, |word| word >> (lines.len() % 4 * LANES));
    by_bits(rest, &[of_rest][..rest.len().min(1)], scale, &mut out[to..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::forced::at_each_level;

    #[test]
    fn kept_elements_stand_side_by_side_at_every_level() {
        for n in [0, 1, 15, 16, 17, 63, 64, 65, 80, 200, 1000] {
            let row: Vec<f32> = (0..n).map(|i| i as f32 + 0.25).collect();
            for pattern in [0, u64::MAX, 0x8000_0000_0000_0001, 0x5555_f00f_1234_9e37, 1 << 15] {
                let mut kept = vec![pattern; usize::div_ceil(n, 64)];
                if let (Some(last), 1..) = (kept.last_mut(), n % 64) {
                    *last &= (1 << (n % 64)) - 1;
                }
                let expected: Vec<f32> =
                    (0..n).filter(|i| kept[i / 64] >> (i % 64) & 1 == 1).map(|i| row[i] * 3.0).collect();
                let run = || {
                    let mut out = vec![f32::NAN; expected.len()];
                    compress(&row, &kept, 3.0, &mut out);
                    out
                };
                for (level, out) in at_each_level(run) {
                    assert_eq!(out, expected, "{level:?}, {n} elements, {pattern:x}");
                }
            }
        }
    }

    #[test]
    fn wrong_lengths_do_not_get_through_the_door() {
        for (row, kept, out) in [(70, 1, 1), (10, 2, 1), (10, 1, 2), (10, 1, 0)] {
            let run = || compress(&vec![0.0; row], &vec![1; kept], 1.0, &mut vec![0.0; out]);
            assert!(std::panic::catch_unwind(run).is_err(), "{row} {kept} {out}");
        }
        // A bit behind the last element has nothing to stand for.
        assert!(std::panic::catch_unwind(|| compress(&[0.0; 10], &[1 << 12], 1.0, &mut [0.0])).is_err());
    }
}
