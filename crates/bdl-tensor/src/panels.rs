//! The product of rows that each have a mask of their own with one matrix: what is dropped is not multiplied.
//!
//! ```text
//! C[i, j] = Σ_l z[i, l]·(x[i, l]·scale)·W[l, j]
//! ```
//!
//! A term that is dropped would add ±0 to its chain and change no bit; so the sums are those of
//! [`matmul`](crate::matmul) for rows that have been masked, in the same blocks.

use crate::dispatch::{Isa, dispatched};
use crate::gemm::expect;
use crate::tile::{self, multiply_add};
use crate::{Error, Mat, MatMut};

/// Columns of a line.
const LINE: usize = 16;

/// Lines of a panel at most: so many chains hide the latency of a multiply-add, and fit into registers.
const WIDTH: usize = 6;

/// Terms of a slab, one word of a mask. A slab of a whole panel takes three quarters of the first cache.
const SLAB: usize = 64;

/// Slabs that are summed in one chain.
const BLOCK: usize = tile::BLOCK / SLAB;

/// Rows whose chains stay in cache beside a slab.
const ROWS: usize = 16;

/// A matrix in panels of columns, each row-major, for products with masked rows.
///
/// ```
/// use bdl_tensor::{Mat, MatMut, Panels};
/// let w = Panels::new(Mat::new(&[1.0, 2.0, 3.0, 4.0], 2, 2)?);
/// let mut c = [f32::NAN; 4];
/// // Row 0 keeps its first element, row 1 both.
/// w.masked_product(Mat::new(&[1.0, f32::NAN, 1.0, 1.0], 2, 2)?, &[0b01, 0b11], 2.0, &mut MatMut::new(&mut c, 2, 2)?)?;
/// assert_eq!(c, [2.0, 4.0, 8.0, 12.0]);
/// # Ok::<(), bdl_tensor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Panels {
    lines: Vec<Line>,
    rows: usize,
    cols: usize,
}

/// Floats that are loaded together, and lie in one line of the cache.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line([f32; LINE]);

/// The terms of a slab: a row of `L` lines each.
type Slab<const L: usize> = [[Line; L]; SLAB];

impl Panels {
    /// Copies W `[rows, cols]`.
    #[must_use]
    pub fn new(w: Mat<'_>) -> Self {
        let mut lines = Vec::new();
        for (first, width) in panels(w.cols()) {
            for row in w.iter_rows() {
                let valid = &row[first..w.cols().min(first + width * LINE)];
                lines.extend(valid.chunks(LINE).map(Line::of));
            }
            let padding = w.rows().next_multiple_of(SLAB) - w.rows();
            lines.extend(std::iter::repeat_n(Line([0.0; LINE]), padding * width));
        }
        Self { lines, rows: w.rows(), cols: w.cols() }
    }

    /// `C = (z ⊙ x·scale)·W`, with row i of the masks in `⌈rows/64⌉` words. Where C has more rows than x, x is
    /// taken again from its first row on.
    ///
    /// # Shapes
    /// x `[b, rows]`, C `[n·b, cols]`, masks `[n·b, ⌈rows/64⌉]`, in which the bits behind the last unit are 0.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shapes do not fit.
    pub fn masked_product(
        &self,
        x: Mat<'_>,
        masks: &[u64],
        scale: f32,
        c: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        let whole = if x.rows() == 0 { 0 } else { c.rows() / x.rows() * x.rows() };
        expect("masked_product x", [x.rows(), self.rows], x.shape())?;
        expect("masked_product c", [whole, self.cols], c.shape())?;
        expect(
            "masked_product masks",
            [c.rows(), self.words()],
            [masks.len() / self.words().max(1), self.words()],
        )?;
        if self.rows == 0 {
            c.data_mut().fill(0.0);
        } else if c.rows() > 0 {
            product(&Operands { w: self, x, masks, scale }, c);
        }
        Ok(())
    }

    /// Words of a mask.
    fn words(&self) -> usize {
        self.rows.div_ceil(SLAB)
    }
}

impl Line {
    /// Up to [`LINE`] floats, and zeros behind them.
    fn of(floats: &[f32]) -> Self {
        let mut line = [0.0; LINE];
        line[..floats.len()].copy_from_slice(floats);
        Self(line)
    }
}

/// First column of each panel and its width in lines, which are as equal as can be; the last line may reach
/// beyond the matrix.
fn panels(cols: usize) -> impl Iterator<Item = (usize, usize)> {
    let lines = cols.div_ceil(LINE);
    let count = lines.div_ceil(WIDTH);
    let start = move |p: usize| p * lines / count;
    (0..count).map(move |p| (start(p) * LINE, start(p + 1) - start(p)))
}

struct Operands<'a> {
    w: &'a Panels,
    x: Mat<'a>,
    masks: &'a [u64],
    scale: f32,
}

dispatched! {
    fn product<I>(of: &Operands<'_>, c: &mut MatMut<'_>) {
        let mut rest = &of.w.lines[..];
        for (first, width) in panels(of.w.cols) {
            let (panel, behind) = rest.split_at(of.w.words() * SLAB * width);
            rest = behind;
            match width {
                1 => rows::<I, 1>(of, panel, first, c),
                2 => rows::<I, 2>(of, panel, first, c),
                3 => rows::<I, 3>(of, panel, first, c),
                4 => rows::<I, 4>(of, panel, first, c),
                5 => rows::<I, 5>(of, panel, first, c),
                _ => rows::<I, 6>(of, panel, first, c),
            }
        }
    }
}

/// The columns of one panel, for a few rows at a time.
#[inline(always)]
fn rows<I: Isa, const L: usize>(of: &Operands<'_>, panel: &[Line], first: usize, c: &mut MatMut<'_>) {
    let slabs = panel.as_chunks::<L>().0.as_chunks::<SLAB>().0;
    let last = slabs.len() - 1;
    for start in (0..c.rows()).step_by(ROWS) {
        let group = start..c.rows().min(start + ROWS);
        let mut chains = [[[0.0; LINE]; L]; ROWS];
        for (s, slab) in slabs.iter().enumerate() {
            for (i, chain) in group.clone().zip(&mut chains) {
                let x = &of.x.row(i % of.x.rows())[s * SLAB..];
                let word = of.masks[i * slabs.len() + s];
                match x.first_chunk() {
                    Some(x) => add_terms::<I, L>(word, x, of.scale, slab, chain),
                    None => add_terms::<I, L>(word, &padded(x), of.scale, slab, chain),
                }
            }
            if (s + 1) % BLOCK == 0 || s == last {
                for (i, chain) in group.clone().zip(&mut chains) {
                    put(chain.as_flattened(), s < BLOCK, &mut c.row_mut(i)[first..]);
                    *chain = [[0.0; LINE]; L];
                }
            }
        }
    }
}

/// The last terms, which are less than a slab, and zeros.
#[inline(always)]
fn padded(x: &[f32]) -> [f32; SLAB] {
    std::array::from_fn(|l| x.get(l).copied().unwrap_or(0.0))
}

/// `chain ← fma(x[l]·scale, w[l, ..], chain)` for each l whose bit is set.
#[inline(always)]
fn add_terms<I: Isa, const L: usize>(
    word: u64,
    x: &[f32; SLAB],
    scale: f32,
    slab: &Slab<L>,
    chain: &mut [[f32; LINE]; L],
) {
    let mut acc = *chain;
    let mut left = word;
    while left != 0 {
        let l = left.trailing_zeros() as usize % SLAB;
        left &= left - 1;
        let x = x[l] * scale;
        for (acc, w) in acc.iter_mut().zip(&slab[l]) {
            let old = *acc;
            *acc = std::array::from_fn(|t| multiply_add::<I>(x, w.0[t], old[t]));
        }
    }
    *chain = acc;
}

/// Adds a finished chain to the columns of a row, or replaces them.
#[inline(always)]
fn put(chain: &[f32], replace: bool, columns: &mut [f32]) {
    for (y, acc) in columns.iter_mut().zip(chain) {
        *y = if replace { *acc } else { *y + acc };
    }
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

    /// Masks that keep about `keep` of 8 units.
    fn masks(rows: usize, units: usize, keep: u32) -> Vec<u64> {
        let words = units.div_ceil(64);
        let mut out = vec![0; rows * words];
        for (i, x) in numbers(rows * units, 9).iter().enumerate() {
            let (row, unit) = (i / units, i % units);
            out[row * words + unit / 64] |= u64::from((x.to_bits() >> 7) % 8 < keep) << (unit % 64);
        }
        out
    }

    #[test]
    fn a_masked_product_has_the_bits_of_the_product_of_masked_rows_at_every_level() {
        for (k, n) in [(1, 1), (64, 16), (65, 17), (255, 96), (256, 97), (257, 10), (600, 400), (1000, 33)] {
            for (b, times) in [(1, 1), (1, 17), (3, 2), (40, 1)] {
                for keep in [0, 4, 8] {
                    let (x, w, bits) = (numbers(b * k, 1), numbers(k * n, 2), masks(b * times, k, keep));
                    let kept = |i: usize, l: usize| bits[i * k.div_ceil(64) + l / 64] >> (l % 64) & 1 == 1;
                    let element = |at: usize| x[at % (b * k)] * 1.25;
                    let masked: Vec<f32> = (0..b * times * k)
                        .map(|at| if kept(at / k, at % k) { element(at) } else { 0.0 })
                        .collect();
                    let (x, w) = (Mat::new(&x, b, k).unwrap(), Mat::new(&w, k, n).unwrap());
                    let panels = Panels::new(w);
                    let run = || {
                        let (mut got, mut expected) =
                            (vec![f32::NAN; b * times * n], vec![f32::NAN; b * times * n]);
                        let mut c = MatMut::new(&mut got, b * times, n).unwrap();
                        panels.masked_product(x, &bits, 1.25, &mut c).unwrap();
                        // Row by row: the route for few rows is forced to a level, matrixmultiply cannot be.
                        for (masked, c) in masked.chunks(k).zip(expected.chunks_mut(n)) {
                            let mut c = MatMut::new(c, 1, n).unwrap();
                            matmul(&Serial, Mat::new(masked, 1, k).unwrap(), w, Store::Overwrite, &mut c)
                                .unwrap();
                        }
                        (got, expected)
                    };
                    for (level, (got, expected)) in at_each_level(run) {
                        let differ = (0..got.len()).find(|&i| got[i].to_bits() != expected[i].to_bits());
                        assert_eq!(differ, None, "{level:?} [{b}·{times}, {k}]·[{k}, {n}], {keep} of 8 kept");
                    }
                }
            }
        }
    }

    #[test]
    fn wrong_shapes_are_named() {
        let w = Panels::new(Mat::new(&[0.0; 6], 3, 2).unwrap());
        let x = Mat::new(&[0.0; 6], 2, 3).unwrap();
        let run = |x: Mat<'_>, masks: usize, rows: usize| {
            let mut c = vec![0.0; rows * 2];
            w.masked_product(x, &vec![0; masks], 1.0, &mut MatMut::new(&mut c, rows, 2).unwrap())
        };
        assert!(run(x, 4, 4).is_ok());
        assert!(run(x, 3, 3).is_err(), "three rows are not a multiple of two");
        assert!(run(x, 3, 4).is_err(), "a mask is missing");
        assert!(run(Mat::new(&[0.0; 6], 3, 2).unwrap(), 3, 3).is_err(), "x is too narrow");
        assert!(run(Mat::new(&[], 0, 3).unwrap(), 0, 0).is_ok());
    }
}
