//! Products of which one mask drops terms and columns: what is dropped is neither read nor multiplied.

use std::ops::Range;

use crate::dispatch::dispatched;
use crate::gemm::expect;
use crate::packed::{Right, chunks, with_tile};
use crate::strided::Strided;
use crate::tile::{BLOCK, LANES, Vector};
use crate::{Error, Mat, MatMut, Store};

/// `C = A·B[kept_in, kept_out]`: the product of the units that a mask keeps with the weights between
/// them.
///
/// ```text
/// C[i, j] = Σ_l A[i, l]·B[in_l, out_j]    in_l, out_j: the l-th and j-th bit that is set
/// ```
///
/// Bit `l` of a mask is bit `l mod 64` of word `l / 64`; bits beyond the last unit are not read. Without
/// `kept_out` all columns are kept. Sums are cut into blocks by the place of a term in B, so that, with
/// finite weights, each element has the bits of the product in which dropped inputs are 0 (but for the
/// sign of a sum that underflows).
///
/// # Shapes
/// A `[m, kept in]`, B `[k, n]`, C `[m, kept out]`; `⌈k/64⌉` and `⌈n/64⌉` words.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit, [`Error::Length`] for a mask of another length.
///
/// # Examples
/// ```
/// use bdl_tensor::{Mat, MatMut, matmul_thinned};
/// let a = Mat::new(&[1.0, 2.0], 1, 2)?; // units 0 and 2 of 3
/// let b = Mat::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3, 2)?;
/// let mut out = [f32::NAN];
/// matmul_thinned(a, &[0b101], b, Some(&[0b10]), &mut MatMut::new(&mut out, 1, 1)?)?;
/// assert_eq!(out, [1.0 * 2.0 + 2.0 * 6.0]);
/// # Ok::<(), bdl_tensor::Error>(())
/// ```
pub fn matmul_thinned(
    a: Mat<'_>,
    kept_in: &[u64],
    b: Mat<'_>,
    kept_out: Option<&[u64]>,
    c: &mut MatMut<'_>,
) -> Result<(), Error> {
    check_mask("matmul_thinned kept_in", kept_in, b.rows())?;
    let terms = kept(kept_in, 0..b.rows()).count();
    expect("matmul_thinned a", [a.rows(), terms], a.shape())?;
    if let Some(bits) = kept_out {
        check_mask("matmul_thinned kept_out", bits, b.cols())?;
    }
    let columns = kept_out.map_or(b.cols(), |bits| kept(bits, 0..b.cols()).count());
    expect("matmul_thinned c", [a.rows(), columns], c.shape())?;
    if a.cols() == 0 {
        c.data_mut().fill(0.0);
    } else if columns > 0 {
        with_tile(|tile| {
            run(Strided::plain(a), &Thinned { b, kept_in, kept_out }, columns, tile, c.data_mut())
        });
    }
    Ok(())
}

/// The columns that a mask keeps, times `scale`: `out[i, j] = x[i, kept_j]·scale`.
///
/// Bits are those of [`matmul_thinned`].
///
/// # Shapes
/// x `[m, n]`, `⌈n/64⌉` words, out `[m, kept]`.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit, [`Error::Length`] for a mask of another length.
pub fn gather_columns(x: Mat<'_>, bits: &[u64], scale: f32, out: &mut MatMut<'_>) -> Result<(), Error> {
    check_mask("gather_columns kept", bits, x.cols())?;
    let columns = kept(bits, 0..x.cols()).count();
    expect("gather_columns out", [x.rows(), columns], out.shape())?;
    let mut at = [0; WIDEST];
    for start in (0..columns).step_by(WIDEST) {
        let some = start..columns.min(start + WIDEST);
        let at = places(bits, x.cols(), &some, &mut at);
        for (row, out) in x.iter_rows().zip(out.data_mut().chunks_exact_mut(columns)) {
            for (out, &at) in out[some.clone()].iter_mut().zip(at) {
                *out = row[at as usize] * scale;
            }
        }
    }
    Ok(())
}

/// The most columns of one tile.
const WIDEST: usize = 64;

fn check_mask(what: &'static str, bits: &[u64], units: usize) -> Result<(), Error> {
    let words = units.div_ceil(64);
    if bits.len() == words { Ok(()) } else { Err(Error::Length { what, shape: [1, words], got: bits.len() }) }
}

/// The units of `range`, which starts at a word, whose bit is set.
#[inline(always)]
fn kept(bits: &[u64], range: Range<usize>) -> impl Iterator<Item = usize> {
    let words = bits[range.start / 64..range.end.div_ceil(64)].iter().enumerate();
    words.flat_map(move |(word, &bits)| {
        let first = range.start + word * 64;
        let inside = range.end - first;
        let mut bits = if inside < 64 { bits & ((1 << inside) - 1) } else { bits };
        std::iter::from_fn(move || {
            let next = (bits != 0).then(|| first + bits.trailing_zeros() as usize);
            bits &= bits.wrapping_sub(1);
            next
        })
    })
}

/// Where the kept units `range` are among all `units`.
#[inline(always)]
fn places<'a>(bits: &[u64], units: usize, range: &Range<usize>, to: &'a mut [u32; WIDEST]) -> &'a [u32] {
    for (to, unit) in to.iter_mut().zip(kept(bits, 0..units).skip(range.start)).take(range.len()) {
        *to = unit as u32;
    }
    &to[..range.len()]
}

/// A right operand without the terms and columns that are dropped.
struct Thinned<'a> {
    b: Mat<'a>,
    kept_in: &'a [u64],
    kept_out: Option<&'a [u64]>,
}

impl Thinned<'_> {
    #[inline(always)]
    fn block(&self, block: usize) -> Range<usize> {
        block * BLOCK..self.b.rows().min((block + 1) * BLOCK)
    }
}

impl Right for Thinned<'_> {
    #[inline(always)]
    fn terms(&self, block: usize) -> usize {
        kept(self.kept_in, self.block(block)).count()
    }

    #[inline(always)]
    fn pack<const W: usize>(&self, block: usize, columns: &Range<usize>, to: &mut [[Vector; W]]) {
        const { assert!(W * LANES <= WIDEST, "a tile is wider than its list of places") };
        let rows = kept(self.kept_in, self.block(block)).map(|l| self.b.row(l));
        let Some(bits) = self.kept_out else {
            for (to, row) in to.iter_mut().zip(rows) {
                to.as_flattened_mut()[..columns.len()].copy_from_slice(&row[columns.clone()]);
            }
            return;
        };
        let mut at = [0; WIDEST];
        let at = places(bits, self.b.cols(), columns, &mut at);
        for (to, row) in to.iter_mut().zip(rows) {
            for (to, &at) in to.as_flattened_mut().iter_mut().zip(at) {
                *to = row[at as usize];
            }
        }
    }
}

dispatched! {
    fn run<I>(a: Strided<'_>, b: &Thinned<'_>, columns: usize, tile: &mut [Vector], c: &mut [f32]) {
        let blocks = b.b.rows().div_ceil(BLOCK);
        chunks::<I, false>(a, b, blocks, columns, Store::Overwrite, tile, c);
    }
}
