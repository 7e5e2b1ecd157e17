//! Few outputs of rows that each have a mask of their own, side by side for many rows.
//!
//! ```text
//! y[i, c] = Σ_l z[i, l]·x[i, l]·W[l, c] + b[c]
//! ```
//!
//! Rows run along the lanes, so that the chain of an element is never cut, and a mask is a test of one bit in
//! each lane. For many outputs see [`Panels`](crate::Panels).

use crate::dispatch::{Isa, dispatched};
use crate::gemm::expect;
use crate::tile::{BLOCK, multiply_add};
use crate::{Error, Mat, MatMut};

/// Rows of a vector.
const LANES: usize = 16;
/// Vectors side by side: so many chains hide the latency of a multiply-add.
const VECTORS: usize = 4;
const ROWS: usize = LANES * VECTORS;

type Rows<T> = [[T; LANES]; VECTORS];

/// `y = (z ⊙ x)·W + b` from the transposes of x and W. A dropped term changes no bit of a sum: these are
/// those of [`matmul`](crate::matmul) with masked rows, whose bias is added behind.
///
/// # Shapes
/// xt `[k, m]`, masks `[m, ⌈k/64⌉]`, wt `[c, k]`, bias `[c]`, y `[m, c]`.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit.
///
/// # Examples
/// ```
/// use bdl_tensor::{Mat, MatMut, masked_affine};
/// let xt = Mat::new(&[1.0, 2.0, f32::NAN, 3.0], 2, 2)?; // row 0 is (1, NaN), row 1 is (2, 3)
/// let wt = Mat::new(&[10.0, 100.0], 1, 2)?;
/// let mut y = [f32::NAN; 2];
/// masked_affine(xt, &[0b01, 0b11], wt, &[0.5], &mut MatMut::new(&mut y, 2, 1)?)?;
/// assert_eq!(y, [10.5, 320.5]);
/// # Ok::<(), bdl_tensor::Error>(())
/// ```
pub fn masked_affine(
    xt: Mat<'_>,
    masks: &[u64],
    wt: Mat<'_>,
    bias: &[f32],
    y: &mut MatMut<'_>,
) -> Result<(), Error> {
    let words = xt.rows().div_ceil(64);
    expect("masked_affine wt", [bias.len(), xt.rows()], wt.shape())?;
    expect("masked_affine y", [xt.cols(), bias.len()], y.shape())?;
    expect("masked_affine masks", [1, xt.cols() * words], [1, masks.len()])?;
    if !y.data().is_empty() {
        affine(&Operands { xt, masks, words, wt, bias }, y);
    }
    Ok(())
}

struct Operands<'a> {
    xt: Mat<'a>,
    masks: &'a [u64],
    words: usize,
    wt: Mat<'a>,
    bias: &'a [f32],
}

dispatched! {
    fn affine<I>(of: &Operands<'_>, y: &mut MatMut<'_>) {
        let width = of.bias.len();
        for first in (0..y.rows()).step_by(ROWS) {
            let rows = first..y.rows().min(first + ROWS);
            for (c, (w, bias)) in of.wt.iter_rows().zip(of.bias).enumerate() {
                let sums = sums::<I>(of, first, w);
                let out = y.data_mut()[rows.start * width + c..].iter_mut().step_by(width);
                for (out, sum) in out.zip(&sums.as_flattened()[..rows.len()]) {
                    *out = sum + bias;
                }
            }
        }
    }
}

/// `Σ_l z[i, l]·x[i, l]·w[l]` for the rows from `first` on.
#[inline(always)]
fn sums<I: Isa>(of: &Operands<'_>, first: usize, w: &[f32]) -> Rows<f32> {
    let mut sums = [[0.0; LANES]; VECTORS];
    for (block, w) in w.chunks(BLOCK).enumerate() {
        let mut chains = [[0.0; LANES]; VECTORS];
        for (half, w) in w.chunks(32).enumerate() {
            let bits = mask_halves(of, first, block * (BLOCK / 32) + half);
            for (l, &w) in w.iter().enumerate() {
                let x = &of.xt.row(block * BLOCK + half * 32 + l)[first..];
                for v in 0..VECTORS {
                    chains[v] = add_kept::<I>(chains[v], lanes(x, v), w, bits[v], 1 << l);
                }
            }
        }
        for (sums, chains) in sums.iter_mut().zip(chains) {
            *sums = if block == 0 { chains } else { std::array::from_fn(|t| sums[t] + chains[t]) };
        }
    }
    sums
}

/// Of each row's mask the half word number `half`; nothing behind the last row.
#[inline(always)]
fn mask_halves(of: &Operands<'_>, first: usize, half: usize) -> Rows<u32> {
    let rows = of.masks[first * of.words..].chunks_exact(of.words);
    let mut out = [[0; LANES]; VECTORS];
    for (out, words) in out.as_flattened_mut().iter_mut().zip(rows) {
        *out = (words[half / 2] >> (half % 2 * 32)) as u32;
    }
    out
}

/// Vector `v` of the rows in x; zeros behind the last.
#[inline(always)]
fn lanes(x: &[f32], v: usize) -> [f32; LANES] {
    match x.get(v * LANES..).and_then(<[f32]>::first_chunk) {
        Some(lanes) => *lanes,
        None => std::array::from_fn(|t| x.get(v * LANES + t).copied().unwrap_or(0.0)),
    }
}

/// `fma(x, w, chain)` in the lanes that keep the term.
#[inline(always)]
fn add_kept<I: Isa>(
    chain: [f32; LANES],
    x: [f32; LANES],
    w: f32,
    bits: [u32; LANES],
    bit: u32,
) -> [f32; LANES] {
    std::array::from_fn(|t| {
        let sum = multiply_add::<I>(x[t], w, chain[t]);
        if bits[t] & bit == 0 { chain[t] } else { sum }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::forced::at_each_level;
    use crate::{Serial, Store, matmul};

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let word = |i: u32| (i + seed).wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(40_503);
        (0..n as u32).map(|i| word(i) as f32 / 2_147_483_648.0 - 1.0).collect()
    }

    fn transposed(x: &[f32], cols: usize) -> Vec<f32> {
        (0..cols).flat_map(|j| x.iter().skip(j).step_by(cols).copied()).collect()
    }

    #[test]
    fn masked_rows_have_the_bits_of_their_product_at_every_level() {
        for (k, c) in [(1, 1), (50, 1), (63, 2), (64, 3), (65, 1), (255, 1), (256, 2), (257, 10), (600, 1)] {
            for m in [1, 2, 15, 16, 63, 64, 65, 130] {
                let (x, w, bias) = (numbers(m * k, 1), numbers(k * c, 2), numbers(c, 3));
                let words = k.div_ceil(64);
                let kept: Vec<bool> = numbers(m * k, 9).iter().map(|x| *x > -0.3).collect();
                let mut masks = vec![0_u64; m * words];
                for at in (0..m * k).filter(|&at| kept[at]) {
                    masks[at / k * words + at % k / 64] |= 1 << (at % k % 64);
                }
                let masked: Vec<f32> =
                    x.iter().zip(&kept).map(|(x, kept)| if *kept { *x } else { 0.0 }).collect();
                let (xt, wt) = (transposed(&x, k), transposed(&w, c));
                let run = || {
                    let (mut got, mut expected) = (vec![f32::NAN; m * c], vec![f32::NAN; m * c]);
                    let (xt, wt) = (Mat::new(&xt, k, m).unwrap(), Mat::new(&wt, c, k).unwrap());
                    masked_affine(xt, &masks, wt, &bias, &mut MatMut::new(&mut got, m, c).unwrap()).unwrap();
                    // Row by row: the route for few rows is forced to a level.
                    for (row, y) in masked.chunks(k).zip(expected.chunks_mut(c)) {
                        let (row, w) = (Mat::new(row, 1, k).unwrap(), Mat::new(&w, k, c).unwrap());
                        matmul(&Serial, row, w, Store::Overwrite, &mut MatMut::new(y, 1, c).unwrap())
                            .unwrap();
                        y.iter_mut().zip(&bias).for_each(|(y, b)| *y += b);
                    }
                    (got, expected)
                };
                for (level, (got, expected)) in at_each_level(run) {
                    let differ = (0..got.len()).find(|&i| got[i].to_bits() != expected[i].to_bits());
                    assert_eq!(differ, None, "{level:?} [{m}, {k}]·[{k}, {c}]");
                }
            }
        }
    }

    #[test]
    fn wrong_shapes_are_named() {
        let run = |k: usize, m: usize, masks: usize, c: usize, bias: usize| {
            let (xt, wt, mut y) = (vec![0.0; k * m], vec![0.0; c * k], vec![0.0; m * c]);
            let (xt, wt) = (Mat::new(&xt, k, m).unwrap(), Mat::new(&wt, c, k).unwrap());
            let mut y = MatMut::new(&mut y, m, c).unwrap();
            masked_affine(xt, &vec![0; masks], wt, &vec![0.0; bias], &mut y)
        };
        assert!(run(70, 3, 6, 2, 2).is_ok());
        assert!(run(70, 3, 5, 2, 2).is_err() && run(70, 3, 6, 2, 1).is_err());
        assert!(run(0, 3, 0, 2, 2).is_ok() && run(5, 0, 0, 1, 1).is_ok());
    }
}
