//! Products of matrices of which some rows and columns are dropped.
//!
//! ```text
//! C[i, b] = Σ_a A[i, a]·B[kept_in(a), kept_out(b)]
//! ```
//!
//! The chains of [`matmul`](crate::matmul) end at multiples of 256 of the terms that B has, dropped or not: so
//! C has the bits that a product with zeros in the place of what was dropped has in the kept columns.

use crate::compress::compress;
use crate::gemm::{Product, expect};
use crate::strided::Strided;
use crate::{Error, Mat, MatMut, Store};

/// Words of a mask over so many terms as one chain has.
const BLOCK_WORDS: usize = 256 / 64;

/// `out = x[:, kept]·scale`: the kept columns side by side.
///
/// # Shapes
/// x `[m, n]`, kept `⌈n/64⌉` words with as many bits set as out `[m, …]` has columns, none behind the n-th.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit.
///
/// # Examples
/// ```
/// use bdl_tensor::{Mat, MatMut, gather_columns};
/// let x = Mat::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3)?;
/// let mut out = [f32::NAN; 4];
/// gather_columns(x, &[0b101], 2.0, &mut MatMut::new(&mut out, 2, 2)?)?;
/// assert_eq!(out, [2.0, 6.0, 8.0, 12.0]);
/// # Ok::<(), bdl_tensor::Error>(())
/// ```
pub fn gather_columns(x: Mat<'_>, kept: &[u64], scale: f32, out: &mut MatMut<'_>) -> Result<(), Error> {
    expect("gather_columns out", [x.rows(), count(kept)], out.shape())?;
    expect_words("gather_columns kept", x.cols(), kept)?;
    for (i, row) in x.iter_rows().enumerate() {
        compress(row, kept, scale, out.row_mut(i));
    }
    Ok(())
}

/// `C = A·B[kept_in, kept_out]`, serially; all columns without a `kept_out`.
///
/// # Shapes
/// A `[m, kept_in]`, B `[k, n]`, C `[m, kept_out]`; the masks `⌈k/64⌉` and `⌈n/64⌉` words, no bit set behind the
/// last unit; scratch at least `k·n`.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit.
///
/// # Examples
/// ```
/// use bdl_tensor::{Mat, MatMut, matmul_thinned};
/// let b = Mat::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], 3, 3)?;
/// let a = Mat::new(&[1.0, 10.0], 1, 2)?;
/// let (mut c, mut scratch) = ([f32::NAN; 2], [0.0; 9]);
/// matmul_thinned(a, &[0b101], b, Some(&[0b011]), &mut scratch, &mut MatMut::new(&mut c, 1, 2)?)?;
/// assert_eq!(c, [71.0, 82.0]);
/// # Ok::<(), bdl_tensor::Error>(())
/// ```
pub fn matmul_thinned(
    a: Mat<'_>,
    kept_in: &[u64],
    b: Mat<'_>,
    kept_out: Option<&[u64]>,
    scratch: &mut [f32],
    c: &mut MatMut<'_>,
) -> Result<(), Error> {
    let n = kept_out.map_or(b.cols(), count);
    expect("matmul_thinned a", [a.rows(), count(kept_in)], a.shape())?;
    expect("matmul_thinned c", [a.rows(), n], c.shape())?;
    expect(
        "matmul_thinned scratch",
        [b.rows(), b.cols()],
        [scratch.len().min(b.data().len()) / b.cols().max(1), b.cols()],
    )?;
    expect_words("matmul_thinned kept_in", b.rows(), kept_in)?;
    kept_out.map_or(Ok(()), |kept| expect_words("matmul_thinned kept_out", b.cols(), kept))?;
    let (mut first, mut store) = (0, Store::Overwrite);
    for (block, words) in kept_in.chunks(BLOCK_WORDS).enumerate() {
        let k = count(words);
        let gathered = &mut scratch[..k * n];
        gather_block(b, block, words, kept_out, gathered);
        let product = Product {
            k,
            n,
            a: Strided::plain(a).skip_cols(first),
            b: Strided::plain(Mat::new(gathered, k, n)?),
            store,
        };
        product.alone(c);
        (first, store) = (first + k, Store::Add);
    }
    Ok(())
}

/// The kept rows and columns of one block of B.
fn gather_block(b: Mat<'_>, block: usize, words: &[u64], kept_out: Option<&[u64]>, out: &mut [f32]) {
    let width = kept_out.map_or(b.cols(), count);
    if width == 0 {
        return;
    }
    let kept = words.iter().enumerate().flat_map(|(w, &word)| bits(word).map(move |at| w * 64 + at));
    for (l, out) in kept.zip(out.chunks_exact_mut(width)) {
        let row = b.row(block * BLOCK_WORDS * 64 + l);
        match kept_out {
            None => out.copy_from_slice(row),
            Some(kept) => compress(row, kept, 1.0, out),
        }
    }
}

/// Places of the bits that are set.
fn bits(word: u64) -> impl Iterator<Item = usize> {
    let mut left = word;
    std::iter::from_fn(move || {
        let at = left.trailing_zeros() as usize;
        let any = left != 0;
        left &= left.wrapping_sub(1);
        any.then_some(at)
    })
}

fn count(mask: &[u64]) -> usize {
    mask.iter().map(|word| word.count_ones() as usize).sum()
}

/// A mask must have a word for each 64 units and nothing behind the last.
fn expect_words(what: &'static str, units: usize, mask: &[u64]) -> Result<(), Error> {
    expect(what, [1, units.div_ceil(64)], [1, mask.len()])?;
    let behind =
        if units.is_multiple_of(64) { 0 } else { mask.last().map_or(0, |word| word >> (units % 64)) };
    if behind == 0 { Ok(()) } else { Err(Error::Shape { what, expected: [1, units], got: [1, units + 1] }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Serial, matmul};

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let word = |i: u32| (i + seed).wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(40_503);
        (0..n as u32).map(|i| word(i) as f32 / 2_147_483_648.0 - 1.0).collect()
    }

    /// A mask that keeps about `keep` of 8 units.
    fn mask(units: usize, keep: u32, seed: u32) -> Vec<u64> {
        let mut out = vec![0; units.div_ceil(64)];
        for (i, x) in numbers(units, seed).iter().enumerate() {
            out[i / 64] |= u64::from((x.to_bits() >> 7) % 8 < keep) << (i % 64);
        }
        out
    }

    #[test]
    fn a_thinned_product_has_the_bits_of_the_product_with_zeros() {
        for (k, n) in [(1, 1), (64, 65), (255, 7), (256, 64), (257, 130), (600, 33)] {
            for (m, keep_in, keep_out) in
                [(1, 4, 4), (9, 4, 8), (40, 2, 6), (17, 8, 0), (3, 0, 5), (300, 4, 4)]
            {
                let (x, w) = (numbers(m * k, 1), numbers(k * n, 2));
                let (x, w) = (Mat::new(&x, m, k).unwrap(), Mat::new(&w, k, n).unwrap());
                let (kept_in, kept_out) = (mask(k, keep_in, 5), mask(n, keep_out, 6));
                let is_kept = |mask: &[u64], i: usize| mask[i / 64] >> (i % 64) & 1 == 1;
                let zeroed: Vec<f32> = (0..m * k)
                    .map(|at| if is_kept(&kept_in, at % k) { x.data()[at] * 1.5 } else { 0.0 })
                    .collect();
                let mut dense = vec![f32::NAN; m * n];
                let zeroed = Mat::new(&zeroed, m, k).unwrap();
                matmul(&Serial, zeroed, w, Store::Overwrite, &mut MatMut::new(&mut dense, m, n).unwrap())
                    .unwrap();

                let mut a = vec![f32::NAN; m * count(&kept_in)];
                gather_columns(x, &kept_in, 1.5, &mut MatMut::new(&mut a, m, count(&kept_in)).unwrap())
                    .unwrap();
                let a = Mat::new(&a, m, count(&kept_in)).unwrap();
                let mut scratch = vec![f32::NAN; k * n];
                for kept in [None, Some(&kept_out[..])] {
                    let width = kept.map_or(n, count);
                    let mut got = vec![f32::NAN; m * width];
                    let mut c = MatMut::new(&mut got, m, width).unwrap();
                    matmul_thinned(a, &kept_in, w, kept, &mut scratch, &mut c).unwrap();
                    let expected = (0..m * n).filter(|at| kept.is_none_or(|kept| is_kept(kept, at % n)));
                    let differ = expected.zip(&got).find(|(at, got)| dense[*at].to_bits() != got.to_bits());
                    assert_eq!(differ, None, "[{m}, {k}]·[{k}, {n}], {keep_in} and {keep_out} of 8");
                }
            }
        }
    }

    #[test]
    fn wrong_shapes_are_named() {
        let (a, b) = (Mat::new(&[0.0; 4], 2, 2).unwrap(), Mat::new(&[0.0; 9], 3, 3).unwrap());
        let run = |kept_in: &[u64], kept_out: Option<&[u64]>, scratch: usize, cols: usize| {
            let mut c = vec![0.0; 2 * cols];
            let mut c = MatMut::new(&mut c, 2, cols).unwrap();
            matmul_thinned(a, kept_in, b, kept_out, &mut vec![0.0; scratch], &mut c)
        };
        assert!(run(&[0b011], Some(&[0b110]), 9, 2).is_ok());
        assert!(run(&[0b111], None, 9, 3).is_err(), "a has two columns");
        assert!(run(&[0b011], None, 9, 2).is_err(), "c is too narrow");
        assert!(run(&[0b011], None, 8, 3).is_err(), "the scratch is too short");
        assert!(run(&[0b1001], None, 9, 3).is_err(), "a bit behind the last unit");
        assert!(run(&[0b011, 0], None, 9, 3).is_err(), "a word too many");
        assert!(gather_columns(a, &[0b01], 1.0, &mut MatMut::new(&mut [0.0; 4], 2, 2).unwrap()).is_err());
    }
}
