//! Masks as bits, put to use: bit `i % 64` of word `i / 64` keeps element i where it is 1.

use super::same_len;
use crate::dispatch::dispatched;
use crate::{Mat, MatMut};

/// Elements that share a piece of a word: few enough that rows of 50 are mostly whole pieces.
const PIECE: usize = 16;

/// The bits from bit `at` on, of which up to 16 are asked for.
#[inline(always)]
fn bits_from(bits: &[u64], at: usize) -> u32 {
    let (word, shift) = (at / 64, at % 64);
    let above = bits.get(word + 1).map_or(0, |next| next << 1 << (63 - shift));
    (bits[word] >> shift | above) as u32
}

#[inline(always)]
fn keep(piece: u32, i: usize, x: f32) -> f32 {
    // All ones or all zeros: arithmetic on whole vectors, where a choice per element came out scalar.
    f32::from_bits(x.to_bits() & (piece >> i & 1).wrapping_neg())
}

/// `out[i] = x[i]·scale` where bit i is set, else 0.
#[inline(always)]
fn scale_row(x: &[f32], bits: &[u64], scale: f32, out: &mut [f32]) {
    match x.len() {
        0..8 => (0..x.len()).for_each(|i| out[i] = keep(bits[0] as u32, i, x[i] * scale)),
        8..PIECE => scale_pieces::<8>(x, bits, scale, out),
        _ => scale_pieces::<PIECE>(x, bits, scale, out),
    }
}

/// In pieces of `P` elements, the last of which ends with the row and may overlap the one in front.
#[inline(always)]
fn scale_pieces<const P: usize>(x: &[f32], bits: &[u64], scale: f32, out: &mut [f32]) {
    let last = x.len() - P;
    for at in (0..x.len()).step_by(P).map(|at| at.min(last)) {
        if let (Some(x), Some(out)) = (x[at..].first_chunk::<P>(), out[at..].first_chunk_mut::<P>()) {
            *out = scale_piece(*x, bits_from(bits, at), scale);
        }
    }
}

/// By value, so that no element can alias another and they go through whole vectors.
#[inline(always)]
fn scale_piece<const P: usize>(mut x: [f32; P], bits: u32, scale: f32) -> [f32; P] {
    for (i, x) in x.iter_mut().enumerate() {
        *x = keep(bits, i, *x * scale);
    }
    x
}

/// Words of a mask over `n` units; what has other lengths panics.
#[inline(always)]
fn check_words(what: &str, n: usize, bits: &[u64]) {
    let words = n.div_ceil(64);
    assert!(words == bits.len(), "{what} bits: must have {words} words, got {}", bits.len());
}

dispatched! {
    /// `out[i] = x[i]·scale` where bit i is set, else +0, whatever `x[i]` is.
    ///
    /// # Shapes
    /// x and out `[n]`, bits ⌈n/64⌉ words.
    ///
    /// # Panics
    /// If the lengths do not fit.
    ///
    /// # Examples
    /// ```
    /// let mut out = [f32::NAN; 3];
    /// bdl_tensor::kernels::mask_scale(&[1.0, f32::INFINITY, -3.0], &[0b101], 2.0, &mut out);
    /// assert_eq!(out, [2.0, 0.0, -6.0]);
    /// ```
    pub fn mask_scale(x: &[f32], bits: &[u64], scale: f32, out: &mut [f32]) {
        same_len("mask_scale out", x.len(), out.len());
        check_words("mask_scale", x.len(), bits);
        scale_row(x, bits, scale, out);
    }

    /// [`mask_scale`] in each row, with one mask for all rows or one for each.
    ///
    /// # Shapes
    /// x and out `[m, n]`, bits ⌈n/64⌉ words or m times as many.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn mask_scale_rows(x: Mat<'_>, bits: &[u64], scale: f32, out: &mut MatMut<'_>) {
        assert!(
            (x.rows(), x.cols()) == (out.rows(), out.cols()),
            "mask_scale_rows out: must be [{}, {}], got [{}, {}]",
            x.rows(), x.cols(), out.rows(), out.cols(),
        );
        let words = x.cols().div_ceil(64);
        let shared = bits.len() == words;
        if !shared {
            check_words("mask_scale_rows", 64 * words * x.rows(), bits);
        }
        for i in 0..x.rows() {
            let at = if shared { 0 } else { i * words };
            scale_row(x.row(i), &bits[at..at + words], scale, out.row_mut(i));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::forced::assert_levels_agree;

    fn bits_of(x: &[f32]) -> Vec<u32> {
        x.iter().map(|x| x.to_bits()).collect()
    }

    #[test]
    fn each_element_follows_its_own_bit_at_every_level() {
        let words: Vec<u64> =
            (1..=80_u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(i as u32)).collect();
        for n in [1, 13, 15, 16, 17, 50, 63, 64, 65, 128, 400] {
            let (m, per) = (5_usize, usize::div_ceil(n, 64));
            let mut x: Vec<f32> = (0..m * n).map(|i| i as f32 * 0.37 - 9.0).collect();
            (x[0], x[n - 1], x[n / 2]) = (f32::NAN, f32::NEG_INFINITY, -0.0);
            for (bits, stride) in [(&words[..per], 0), (&words[..m * per], per)] {
                let kept = |r: usize, i: usize| bits[r * stride + i / 64] >> (i % 64) & 1 == 1;
                let expected = |r: usize, i: usize| if kept(r, i) { x[r * n + i] * 1.7 } else { 0.0 };
                let expected: Vec<f32> = (0..m * n).map(|at| expected(at / n, at % n)).collect();
                assert_levels_agree("mask_scale_rows", || {
                    let mut out = vec![f32::NAN; m * n];
                    let rows = Mat::new(&x, m, n).unwrap();
                    mask_scale_rows(rows, bits, 1.7, &mut MatMut::new(&mut out, m, n).unwrap());
                    assert_eq!(bits_of(&out), bits_of(&expected), "n {n}, stride {stride}");
                    mask_scale(&x[..n], &bits[..per], 1.7, &mut out[..n]);
                    assert_eq!(bits_of(&out), bits_of(&expected), "n {n}");
                    bits_of(&out)
                });
            }
        }
    }

    #[test]
    fn masks_of_a_wrong_length_are_named() {
        let of = |f: fn()| *std::panic::catch_unwind(f).unwrap_err().downcast::<String>().unwrap();
        let short = of(|| mask_scale(&[0.0; 65], &[0], 1.0, &mut [0.0; 65]));
        assert_eq!(short, "mask_scale bits: must have 2 words, got 1");
        let rows = of(|| {
            let x = Mat::new(&[0.0; 6], 3, 2).unwrap();
            mask_scale_rows(x, &[0; 2], 1.0, &mut MatMut::new(&mut [0.0; 6], 3, 2).unwrap());
        });
        assert_eq!(rows, "mask_scale_rows bits: must have 3 words, got 2");
    }
}
