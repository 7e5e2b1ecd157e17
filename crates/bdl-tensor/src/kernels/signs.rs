//! Signs as bits: element k of a row has the sign of unit `k % units`, + where its bit is 1 and − where it is 0.

use crate::dispatch::dispatched;
use crate::{Mat, MatMut};

/// Elements that share a piece of a word.
const PIECE: usize = 16;

/// x, or −x where bit i is 0.
#[inline(always)]
fn signed(bits: u32, i: usize, x: f32) -> f32 {
    f32::from_bits(x.to_bits() ^ (!bits >> i & 1) << 31)
}

/// `out_k ← f(out_k, ±x_k)` for the units of one position.
#[inline(always)]
fn each_unit(x: &[f32], bits: &[u64], out: &mut [f32], f: impl Fn(f32, f32) -> f32) {
    let piece = |p: usize| (bits[p / 4] >> (p % 4 * PIECE)) as u32;
    let whole = x.len() / PIECE;
    let (x, x_rest) = x.as_chunks::<PIECE>();
    let (out, out_rest) = out.as_chunks_mut::<PIECE>();
    for (p, (x, out)) in x.iter().zip(out).enumerate() {
        let bits = piece(p);
        // By value, so that no element can alias another and they go through whole vectors.
        let mut new = *out;
        for i in 0..PIECE {
            new[i] = f(new[i], signed(bits, i, x[i]));
        }
        *out = new;
    }
    for (i, (x, out)) in x_rest.iter().zip(out_rest).enumerate() {
        *out = f(*out, signed(piece(whole), i, *x));
    }
}

/// [`each_unit`] at every position of every row.
#[inline(always)]
fn each_row(
    what: &str,
    x: Mat<'_>,
    bits: &[u64],
    units: usize,
    out: &mut MatMut<'_>,
    f: impl Fn(f32, f32) -> f32 + Copy,
) {
    let (shape, words) = (x.shape(), units.div_ceil(64));
    assert!(shape == out.shape(), "{what} out: must be {shape:?}, got {:?}", out.shape());
    let whole = units > 0 && x.cols().is_multiple_of(units);
    assert!(whole, "{what} units: must divide the width {}, got {units}", x.cols());
    let expected = x.rows() * words;
    assert!(bits.len() == expected, "{what} bits: must have {expected} words, got {}", bits.len());
    for (i, bits) in bits.chunks_exact(words).enumerate() {
        let (x, out) = (x.row(i).chunks_exact(units), out.row_mut(i).chunks_exact_mut(units));
        x.zip(out).for_each(|(x, out)| each_unit(x, bits, out, f));
    }
}

dispatched! {
    /// `out = s ⊙ x` with signs s = ±1, one for each row and unit, the same at all of a row's positions.
    ///
    /// # Shapes
    /// x and out `[m, positions·units]`, bits m times ⌈units/64⌉ words.
    ///
    /// # Panics
    /// If the shapes do not fit.
    ///
    /// # Examples
    /// ```
    /// use bdl_tensor::{Mat, MatMut, kernels};
    /// let mut out = [f32::NAN; 4];
    /// let x = Mat::new(&[1.0, 2.0, 3.0, -4.0], 1, 4)?; // two positions of two units
    /// kernels::sign_rows(x, &[0b01], 2, &mut MatMut::new(&mut out, 1, 4)?);
    /// assert_eq!(out, [1.0, -2.0, 3.0, 4.0]);
    /// # Ok::<(), bdl_tensor::Error>(())
    /// ```
    pub fn sign_rows(x: Mat<'_>, bits: &[u64], units: usize, out: &mut MatMut<'_>) {
        each_row("sign_rows", x, bits, units, out, |_, x| x);
    }

    /// `y ← y + s ⊙ x`: [`sign_rows`], added.
    ///
    /// # Shapes
    /// As for [`sign_rows`].
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn add_sign_rows(x: Mat<'_>, bits: &[u64], units: usize, y: &mut MatMut<'_>) {
        each_row("add_sign_rows", x, bits, units, y, |y, x| y + x);
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
    fn each_element_has_the_sign_of_its_row_and_unit_at_every_level() {
        let word = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(i as u32);
        for (units, positions) in
            [(1, 1), (1, 9), (3, 5), (15, 2), (16, 3), (17, 1), (64, 2), (65, 1), (130, 2)]
        {
            let (m, n, per) = (4_usize, units * positions, usize::div_ceil(units, 64));
            let bits: Vec<u64> = (1..=(m * per) as u64).map(word).collect();
            let mut x: Vec<f32> = (0..m * n).map(|i| i as f32 * 0.37 - 9.0).collect();
            (x[0], x[n - 1], x[n / 2]) = (-0.0, f32::NEG_INFINITY, 0.5);
            let up = |r: usize, k: usize| bits[r * per + k % units / 64] >> (k % units % 64) & 1 == 1;
            let signed = |at: usize| if up(at / n, at % n) { x[at] } else { -x[at] };
            let expected: Vec<f32> = (0..m * n).map(signed).collect();
            assert_levels_agree("sign_rows", || {
                let (mut out, mut sum) = (vec![f32::NAN; m * n], vec![2.5; m * n]);
                let rows = Mat::new(&x, m, n).unwrap();
                sign_rows(rows, &bits, units, &mut MatMut::new(&mut out, m, n).unwrap());
                assert_eq!(bits_of(&out), bits_of(&expected), "{units} units");
                add_sign_rows(rows, &bits, units, &mut MatMut::new(&mut sum, m, n).unwrap());
                let sums: Vec<f32> = expected.iter().map(|x| 2.5 + x).collect();
                assert_eq!(bits_of(&sum), bits_of(&sums), "{units} units");
            });
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        fn of(rows: usize, units: usize, words: usize) -> String {
            let f = || {
                let (x, mut out) = ([0.0; 12], [0.0; 12]);
                let out = &mut MatMut::new(&mut out[..6 * rows], rows, 6).unwrap();
                sign_rows(Mat::new(&x, 2, 6).unwrap(), &vec![0; words], units, out);
            };
            *std::panic::catch_unwind(f).unwrap_err().downcast::<String>().unwrap()
        }
        assert_eq!(of(1, 6, 2), "sign_rows out: must be [2, 6], got [1, 6]");
        assert_eq!(of(2, 4, 2), "sign_rows units: must divide the width 6, got 4");
        assert_eq!(of(2, 3, 1), "sign_rows bits: must have 2 words, got 1");
    }
}
