//! Standard normal numbers from uniform words.

use super::chacha::Blocks;
use super::same_len;
use crate::dispatch::dispatched;
use crate::math::{ln, sin_cos_2pi};

/// Pairs that are taken apart, computed and put together again at a time, all in the first cache.
const BLOCK: usize = 64;

/// 2⁻³².
const UNIT: f32 = 1.0 / 4_294_967_296.0;

#[inline(always)]
fn pair(w0: u32, w1: u32) -> (f32, f32) {
    let u = (w0 as f32 + 0.5) * UNIT; // in [2⁻³³, 1]: the logarithm is finite
    let r = (-2.0 * ln(u)).sqrt();
    let (sin, cos) = sin_cos_2pi(w1 as f32 * UNIT);
    (r * cos, r * sin)
}

#[inline(always)]
fn pairs(words: &[u32], out: &mut [f32]) {
    for (o, w) in out.chunks_exact_mut(2).zip(words.chunks_exact(2)) {
        (o[0], o[1]) = pair(w[0], w[1]);
    }
}

/// The same as [`pairs`] on a full block; unit strides are what makes it vectorize.
#[inline(always)]
fn block(words: &[u32], out: &mut [f32]) {
    let (mut w0, mut w1) = ([0; BLOCK], [0; BLOCK]);
    for (i, w) in words.chunks_exact(2).enumerate() {
        (w0[i], w1[i]) = (w[0], w[1]);
    }
    let (mut x0, mut x1) = ([0.0; BLOCK], [0.0; BLOCK]);
    for i in 0..BLOCK {
        (x0[i], x1[i]) = pair(w0[i], w1[i]);
    }
    for (i, o) in out.chunks_exact_mut(2).enumerate() {
        (o[0], o[1]) = (x0[i], x1[i]);
    }
}

/// Moves element `[w][i]` of 16 rows of 16 to `[i][w]`, in four steps that each put the two halves together like a
/// zip: an index of eight bits is rotated by one bit at a time.
#[inline(always)]
pub(super) fn transpose(x: &[f32; 256], out: &mut [f32; 256]) {
    let mut other = [0.0; 256];
    zip_halves(x, out);
    zip_halves(out, &mut other);
    zip_halves(&other, out);
    zip_halves(out, &mut other);
    *out = other;
}

#[inline(always)]
fn zip_halves(x: &[f32; 256], out: &mut [f32; 256]) {
    for j in 0..128 {
        (out[2 * j], out[2 * j + 1]) = (x[j], x[128 + j]);
    }
}

dispatched! {
    /// [`box_muller`] of the words of sixteen blocks, in the order of the stream.
    ///
    /// # Examples
    /// ```
    /// use bdl_tensor::kernels;
    /// let (mut blocks, mut z, mut pair) = ([[0; 16]; 16], [0.0; 256], [0.0; 2]);
    /// kernels::chacha8(&[0; 8], 0, 0, &mut blocks);
    /// kernels::box_muller_blocks(&blocks, &mut z);
    /// kernels::box_muller(&[blocks[2][9], blocks[3][9]], &mut pair);
    /// assert_eq!(z[16 * 9 + 2..][..2], pair);
    /// ```
    pub fn box_muller_blocks(blocks: &Blocks, out: &mut [f32; 256]) {
        let mut z = [0.0; 256];
        let (w, _) = blocks.as_chunks::<2>();
        for (z, [w0, w1]) in z.as_chunks_mut::<32>().0.iter_mut().zip(w) {
            for i in 0..16 {
                (z[i], z[16 + i]) = pair(w0[i], w1[i]);
            }
        }
        transpose(&z, out);
    }

    /// Standard normals from uniform words, two from each pair.
    ///
    /// ```text
    /// (w0, w1) ↦ (r·cos a, r·sin a),   r = √(−2 ln u),  u = (w0 + ½)·2⁻³²,  a = 2π·w1·2⁻³²
    /// ```
    ///
    /// The conversions to `f32` keep 24 bits of a word. The largest magnitude is √(66 ln 2) = 6.76.
    ///
    /// # Panics
    /// If the lengths differ or are odd.
    ///
    /// # Examples
    /// ```
    /// let mut z = [f32::NAN; 2];
    /// bdl_tensor::kernels::box_muller(&[0, 0x4000_0000], &mut z); // a = π/2
    /// assert_eq!(z, [0.0, 6.763_705_7]);
    /// ```
    ///
    /// # References
    /// Box, Muller (1958), A note on the generation of random normal deviates.
    pub fn box_muller(words: &[u32], out: &mut [f32]) {
        same_len("box_muller out", words.len(), out.len());
        assert!(words.len().is_multiple_of(2), "box_muller words: must be pairs, got {}", words.len());
        let mut w = words.chunks_exact(2 * BLOCK);
        let mut o = out.chunks_exact_mut(2 * BLOCK);
        for (o, w) in o.by_ref().zip(w.by_ref()) {
            block(w, o);
        }
        pairs(w.remainder(), o.into_remainder());
    }
}
