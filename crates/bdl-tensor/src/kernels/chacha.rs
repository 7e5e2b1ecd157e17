//! Blocks of the ChaCha8 stream cipher, sixteen side by side, and the first thing made of them: mask bits.
//!
//! The words of one block lie a lane apart: what follows works on them with unit strides, and what must be in the
//! order of the stream is put into it afterwards.

use crate::dispatch::dispatched;

/// Blocks made side by side.
const LANES: usize = 16;

/// Sixteen consecutive blocks of sixteen words: word w of block i is at `[w][i]`.
pub type Blocks = [[u32; LANES]; 16];

/// "expand 32-byte k", which fills the first row of the state.
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];
/// The highest bit of each byte.
const HIGH: u32 = 0x8080_8080;

#[inline(always)]
fn quarter_round(x: &mut [u32; 16], [a, b, c, d]: [usize; 4]) {
    x[a] = x[a].wrapping_add(x[b]);
    x[d] = (x[d] ^ x[a]).rotate_left(16);
    x[c] = x[c].wrapping_add(x[d]);
    x[b] = (x[b] ^ x[c]).rotate_left(12);
    x[a] = x[a].wrapping_add(x[b]);
    x[d] = (x[d] ^ x[a]).rotate_left(8);
    x[c] = x[c].wrapping_add(x[d]);
    x[b] = (x[b] ^ x[c]).rotate_left(7);
}

/// A round over the columns and one over the diagonals.
#[inline(always)]
fn double_round(x: &mut [u32; 16]) {
    for i in 0..4 {
        quarter_round(x, [i, 4 + i, 8 + i, 12 + i]);
    }
    for i in 0..4 {
        quarter_round(x, [i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4]);
    }
}

/// Exchanges the bits `mask` of x with those `distance` above them.
#[inline(always)]
fn swap_bits(x: u32, mask: u32, distance: u32) -> u32 {
    let differ = (x >> distance ^ x) & mask;
    x ^ differ ^ differ << distance
}

/// The highest bits of the bytes of eight words, those of a word side by side and the words in order.
#[inline(always)]
fn gather(high: [u32; 8]) -> u32 {
    let mut bits = 0;
    for (w, high) in high.into_iter().enumerate() {
        // Byte k of word w goes to bit 8k + 4w₀ + 2w₂ + w₁, from where two exchanges bring it to bit 4w + k.
        let at = 4 * (w & 1) + (w >> 1);
        bits |= high >> (7 - at);
    }
    swap_bits(swap_bits(bits, 0x0000_cccc, 14), 0x00aa_00aa, 7)
}

dispatched! {
    /// Blocks `first`, `first + 1`, … of the ChaCha8 stream `stream` under `key`, the 64-bit counter wrapping.
    ///
    /// # Examples
    /// ```
    /// let mut blocks = [[0; 16]; 16];
    /// bdl_tensor::kernels::chacha8(&[0; 8], 0, 0, &mut blocks);
    /// assert_eq!(blocks[0][0].to_le_bytes(), [0x3e, 0x00, 0xef, 0x2f]); // ECRYPT's vectors, 256-bit key
    /// ```
    ///
    /// # References
    /// Bernstein (2008), ChaCha, a variant of Salsa20.
    pub fn chacha8(key: &[u32; 8], stream: u64, first: u64, out: &mut Blocks) {
        for i in 0..LANES {
            let block = first.wrapping_add(i as u64);
            let mut start = [0; 16];
            start[..4].copy_from_slice(&CONSTANTS);
            start[4..12].copy_from_slice(key);
            start[12] = block as u32;
            start[13] = (block >> 32) as u32;
            start[14] = stream as u32;
            start[15] = (stream >> 32) as u32;
            let mut x = start;
            // Not a loop, so that the lanes are the only one and vectorize.
            double_round(&mut x);
            double_round(&mut x);
            double_round(&mut x);
            double_round(&mut x);
            for (out, (x, start)) in out.iter_mut().zip(x.iter().zip(&start)) {
                out[i] = x.wrapping_add(*start);
            }
        }
    }

    /// Bit j of `out[i]` is 1 where byte j of block i is below `threshold`.
    ///
    /// Byte j is the byte `j % 4` of word `j / 4`, counted from the low end.
    ///
    /// # Panics
    /// If `threshold` is above 256.
    ///
    /// # Examples
    /// ```
    /// let mut kept = [0; 16];
    /// bdl_tensor::kernels::bytes_below(&[[0x0400_ff03; 16]; 16], 4, &mut kept);
    /// assert_eq!(kept, [0x5555_5555_5555_5555; 16]); // of bytes 3, 255, 0, 4
    /// ```
    pub fn bytes_below(blocks: &Blocks, threshold: u32, out: &mut [u64; LANES]) {
        assert!(threshold <= 256, "bytes_below threshold: must be at most 256, got {threshold}");
        let (half, either) = if threshold < 128 { (threshold, 0) } else { (threshold - 128, HIGH) };
        let half = half * 0x0101_0101;
        // A byte is below where its low seven bits are below `half` and its high bit is 0: both of the two for a
        // small threshold, either of them for a large one.
        let below = |x: u32| {
            let (low, high) = (!(x | HIGH).wrapping_sub(half), !x);
            low & high & HIGH | (low | high) & either
        };
        for (i, out) in out.iter_mut().enumerate() {
            let (mut first, mut second) = ([0; 8], [0; 8]);
            for w in 0..8 {
                first[w] = below(blocks[w][i]);
                second[w] = below(blocks[8 + w][i]);
            }
            *out = u64::from(gather(first)) | u64::from(gather(second)) << 32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::forced::assert_levels_agree;

    /// The words of a block, from the definition.
    fn naive(key: &[u32; 8], stream: u64, block: u64) -> [u32; 16] {
        let mut start = [0; 16];
        start[..4].copy_from_slice(&CONSTANTS);
        start[4..12].copy_from_slice(key);
        let ends = [block, block >> 32, stream, stream >> 32];
        ends.iter().zip(&mut start[12..]).for_each(|(x, s)| *s = *x as u32);
        let mut x = start;
        (0..4).for_each(|_| double_round(&mut x));
        std::array::from_fn(|w| x[w].wrapping_add(start[w]))
    }

    fn key() -> [u32; 8] {
        std::array::from_fn(|i| 0x9e37_79b9_u32.wrapping_mul(i as u32 + 1))
    }

    #[test]
    fn lanes_are_consecutive_blocks_at_every_level() {
        for first in [0, u64::from(u32::MAX) - 3, u64::MAX - 3] {
            assert_levels_agree("chacha8", || {
                let mut blocks = [[0; LANES]; 16];
                chacha8(&key(), 0x0123_4567_89ab_cdef, first, &mut blocks);
                for i in 0..LANES {
                    let expected = naive(&key(), 0x0123_4567_89ab_cdef, first.wrapping_add(i as u64));
                    assert_eq!(blocks.map(|word| word[i]), expected, "block {i} from {first}");
                }
                blocks
            });
        }
    }

    #[test]
    fn bytes_are_compared_with_every_threshold_at_every_level() {
        let mut blocks = [[0; LANES]; 16];
        chacha8(&key(), 1, 2, &mut blocks);
        // All values of a byte, beside random neighbours.
        (0..256).for_each(|i| blocks[i % 16][i / 16] = blocks[i % 16][i / 16] & 0xffff_ff00 | i as u32);
        for threshold in 0..=256 {
            assert_levels_agree("bytes_below", || {
                let mut out = [0; LANES];
                bytes_below(&blocks, threshold, &mut out);
                for (i, j) in (0..LANES).flat_map(|i| (0..64).map(move |j| (i, j))) {
                    let byte = blocks[j / 4][i].to_le_bytes()[j % 4];
                    assert_eq!(out[i] >> j & 1 == 1, u32::from(byte) < threshold, "{byte} < {threshold}");
                }
                out
            });
        }
    }
}
