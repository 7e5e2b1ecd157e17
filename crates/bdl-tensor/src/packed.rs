//! Products whose right operand is copied into tiles, one after the other, so that any number of rows
//! reads it in order. The left operand is read where it lies, and nothing is allocated.

use std::cell::RefCell;
use std::ops::Range;

use crate::Store;
use crate::dispatch::{Isa, dispatched};
use crate::strided::Strided;
use crate::tile::{BLOCK, Columns, LANES, Left, Rows, Vector, stored, sums};

/// Rows that share one reading of a tile; with four vectors each, their sums fill half the registers
/// of AVX-512 and hide the latency of a multiply-add.
const GROUP: usize = 4;

/// Vectors in the widest tile.
const WIDEST: usize = 4;

/// Left numbers of one chunk of rows, which stay in the second cache while all tiles pass by.
const CHUNK: usize = 1 << 17;

/// A tile's terms and, in front of them, the sums of a group of rows on their way to C.
#[repr(align(64))]
struct Tile([Vector; TILE_LEN]);

const TILE_LEN: usize = (GROUP + BLOCK) * WIDEST;

thread_local!(static TILE: RefCell<Tile> = const { RefCell::new(Tile([[0.0; LANES]; TILE_LEN])) });

/// `C = A·B` or `C += A·B` with `k > 0` terms and `n > 0` columns; C holds whole rows.
pub(crate) struct Packed<'a> {
    pub(crate) a: Strided<'a>,
    pub(crate) b: Strided<'a>,
    pub(crate) k: usize,
    pub(crate) n: usize,
    pub(crate) store: Store,
}

impl Packed<'_> {
    pub(crate) fn run(&self, c: &mut [f32]) {
        with_tile(|tile| run(self, tile, c));
    }
}

/// The right operand, as something to fill a tile from.
pub(crate) trait Right {
    /// Terms of block `block`.
    fn terms(&self, block: usize) -> usize;

    /// Copies the terms of a block of some columns; lanes beyond the last column
    /// hold what they held.
    fn pack<const W: usize>(&self, block: usize, columns: &Range<usize>, to: &mut [[Vector; W]]);
}

/// Lends the tile of this thread.
pub(crate) fn with_tile(f: impl FnOnce(&mut [Vector])) {
    TILE.with_borrow_mut(|tile| f(&mut tile.0));
}

dispatched! {
    fn run<I>(p: &Packed<'_>, tile: &mut [Vector], c: &mut [f32]) {
        let b = Dense { b: p.b, k: p.k };
        let blocks = p.k.div_ceil(BLOCK);
        if p.a.col_stride == 1 {
            chunks::<I, false>(p.a, &b, blocks, p.n, p.store, tile, c);
        } else {
            chunks::<I, true>(p.a, &b, blocks, p.n, p.store, tile, c);
        }
    }
}

/// All rows of C, `n > 0` wide, in chunks.
#[inline(always)]
pub(crate) fn chunks<I: Isa, const TURNED: bool>(
    a: Strided<'_>,
    b: &impl Right,
    blocks: usize,
    n: usize,
    store: Store,
    tile: &mut [Vector],
    c: &mut [f32],
) {
    let widest = (0..blocks).map(|block| b.terms(block)).max().unwrap_or(0);
    let rows = (CHUNK / widest.max(1)).next_multiple_of(GROUP);
    for (chunk, c) in c.chunks_mut(rows * n).enumerate() {
        let (a, mut first) = (a.skip_rows(chunk * rows), 0);
        for index in 0..blocks {
            let terms = first..first + b.terms(index);
            let store = if index == 0 { store } else { Store::Add };
            let block = Block { rows: c.len() / n, n, store, index, terms: terms.clone() };
            if TURNED {
                block.columns::<I>(&TurnedLines { a, n }, b, tile, c);
            } else {
                block.columns::<I>(&PlainLines { a, n }, b, tile, c);
            }
            first = terms.end;
        }
    }
}

/// The rows of a product: where their terms are read, and where their sums go.
pub(crate) trait Lines {
    /// `R` rows from `first` on, over a range of terms.
    fn left<const R: usize>(&self, first: usize, terms: &Range<usize>) -> impl Left<R>;

    /// Where in C the first columns of `R` rows from `first` on lie.
    fn places<const R: usize>(&self, first: usize) -> [usize; R];
}

/// Rows of a matrix, each contiguous, for an output of whole rows.
struct PlainLines<'a> {
    a: Strided<'a>,
    n: usize,
}

impl Lines for PlainLines<'_> {
    #[inline(always)]
    fn left<const R: usize>(&self, first: usize, terms: &Range<usize>) -> impl Left<R> {
        Rows::<R>::new(self.a, first, terms)
    }

    #[inline(always)]
    fn places<const R: usize>(&self, first: usize) -> [usize; R] {
        std::array::from_fn(|i| (first + i) * self.n)
    }
}

/// Rows of a matrix that lie side by side, for an output of whole rows.
struct TurnedLines<'a> {
    a: Strided<'a>,
    n: usize,
}

impl Lines for TurnedLines<'_> {
    #[inline(always)]
    fn left<const R: usize>(&self, first: usize, terms: &Range<usize>) -> impl Left<R> {
        Columns::new(self.a, first, terms)
    }

    #[inline(always)]
    fn places<const R: usize>(&self, first: usize) -> [usize; R] {
        std::array::from_fn(|i| (first + i) * self.n)
    }
}

/// One block of terms of some rows, `n` columns wide.
pub(crate) struct Block {
    pub(crate) rows: usize,
    pub(crate) n: usize,
    pub(crate) store: Store,
    pub(crate) index: usize,
    pub(crate) terms: Range<usize>,
}

impl Block {
    /// All columns, in tiles as wide as the registers allow.
    #[inline(always)]
    pub(crate) fn columns<I: Isa>(
        &self,
        lines: &impl Lines,
        b: &impl Right,
        tile: &mut [Vector],
        c: &mut [f32],
    ) {
        let widest = if I::WIDE { WIDEST } else { 1 };
        let mut j = 0;
        while j < self.n {
            let vectors = (self.n - j).div_ceil(LANES).min(widest);
            let columns = j..self.n.min(j + vectors * LANES);
            match vectors {
                1 => self.tile::<I, 1>(lines, columns, b, tile, c),
                2 => self.tile::<I, 2>(lines, columns, b, tile, c),
                3 => self.tile::<I, 3>(lines, columns, b, tile, c),
                _ => self.tile::<I, 4>(lines, columns, b, tile, c),
            }
            j += vectors * LANES;
        }
    }

    #[inline(always)]
    fn tile<I: Isa, const W: usize>(
        &self,
        lines: &impl Lines,
        columns: Range<usize>,
        b: &impl Right,
        tile: &mut [Vector],
        c: &mut [f32],
    ) {
        let (spill, tile) = tile.split_at_mut(GROUP * W);
        let tile = &mut tile.as_chunks_mut::<W>().0[..self.terms.len()];
        b.pack(self.index, &columns, tile);
        let mut i = 0;
        while i + GROUP <= self.rows {
            self.group::<I, GROUP, W>(lines, i, &columns, tile, spill, c);
            i += GROUP;
        }
        if i + 2 <= self.rows {
            self.group::<I, 2, W>(lines, i, &columns, tile, spill, c);
            i += 2;
        }
        if i < self.rows {
            self.group::<I, 1, W>(lines, i, &columns, tile, spill, c);
        }
    }

    #[inline(always)]
    fn group<I: Isa, const R: usize, const W: usize>(
        &self,
        lines: &impl Lines,
        first: usize,
        columns: &Range<usize>,
        tile: &[[Vector; W]],
        spill: &mut [Vector],
        c: &mut [f32],
    ) {
        let acc = sums::<I, R, W>(&lines.left::<R>(first, &self.terms), tile);
        let Some((spill, _)) = spill.as_chunks_mut::<W>().0.split_first_chunk_mut::<R>() else { return };
        *spill = acc;
        for (place, acc) in lines.places::<R>(first).into_iter().zip(spill) {
            put::<I>(acc.as_flattened(), self.store, &mut c[place..][columns.clone()]);
        }
    }
}

/// Stores the sums of one row, as many as there are columns.
#[inline(always)]
fn put<I: Isa>(sums: &[f32], store: Store, out: &mut [f32]) {
    let (vectors, rest) = out.as_chunks_mut::<LANES>();
    let (sums, last) = (sums.as_chunks::<LANES>().0, &sums[vectors.len() * LANES..]);
    for (out, sums) in vectors.iter_mut().zip(sums) {
        for t in 0..LANES {
            out[t] = stored::<I>(sums[t], store, out[t]);
        }
    }
    for (out, &sum) in rest.iter_mut().zip(last) {
        *out = stored::<I>(sum, store, *out);
    }
}

/// A right operand with all its terms.
pub(crate) struct Dense<'a> {
    pub(crate) b: Strided<'a>,
    pub(crate) k: usize,
}

impl Right for Dense<'_> {
    #[inline(always)]
    fn terms(&self, block: usize) -> usize {
        BLOCK.min(self.k - block * BLOCK)
    }

    #[inline(always)]
    fn pack<const W: usize>(&self, block: usize, columns: &Range<usize>, to: &mut [[Vector; W]]) {
        let terms = block * BLOCK..block * BLOCK + self.terms(block);
        let width = columns.len();
        if self.b.col_stride == 1 {
            for (l, to) in terms.clone().zip(to) {
                let from = &self.b.data[l * self.b.row_stride..][columns.clone()];
                if width == W * LANES {
                    to.as_flattened_mut().copy_from_slice(from);
                } else {
                    to.as_flattened_mut()[..width].copy_from_slice(from);
                }
            }
            return;
        }
        let row = |t: usize| &self.b.data[(columns.start + t) * self.b.col_stride..][terms.clone()];
        let fours = width / 4 * 4;
        for t in (0..fours).step_by(4) {
            turn_four([row(t), row(t + 1), row(t + 2), row(t + 3)], t, to);
        }
        for t in fours..width {
            for (to, &x) in to.iter_mut().zip(row(t)) {
                to.as_flattened_mut()[t] = x;
            }
        }
    }
}

/// Four contiguous columns of B become four lanes, from lane `t` on; four by four, the compiler turns
/// them in registers.
#[inline(always)]
fn turn_four<const W: usize>(columns: [&[f32]; 4], t: usize, to: &mut [[Vector; W]]) {
    let fours = columns.map(|c| c.as_chunks::<4>().0);
    let whole = fours[0].len();
    let (head, tail) = to.split_at_mut(whole * 4);
    for (l, to) in head.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let x = [fours[0][l], fours[1][l], fours[2][l], fours[3][l]];
        for (i, to) in to.iter_mut().enumerate() {
            to.as_flattened_mut()[t..t + 4].copy_from_slice(&[x[0][i], x[1][i], x[2][i], x[3][i]]);
        }
    }
    for (l, to) in tail.iter_mut().enumerate() {
        to.as_flattened_mut()[t..t + 4].copy_from_slice(&columns.map(|c| c[whole * 4 + l]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::{Level, forced::at_each_level};

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let word = |i: u32| (i + seed).wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(40_503);
        (0..n as u32).map(|i| word(i) as f32 / 2_147_483_648.0 - 1.0).collect()
    }

    fn at(m: Strided<'_>, i: usize, j: usize) -> f32 {
        m.data[i * m.row_stride + j * m.col_stride]
    }

    /// Element `(i, j)` by the formula of [`tile`](crate::tile), term by term.
    fn reference(fused: bool, p: &Packed<'_>, i: usize, j: usize, start: f32) -> f32 {
        let mut sum = (p.store == Store::Add).then_some(start);
        for first in (0..p.k).step_by(BLOCK) {
            let mut acc = 0.0f32;
            for l in first..p.k.min(first + BLOCK) {
                let (x, w) = (at(p.a, i, l), at(p.b, l, j));
                acc = if fused { x.mul_add(w, acc) } else { x * w + acc };
            }
            sum = Some(sum.map_or(acc, |s| s + acc));
        }
        sum.unwrap_or(start)
    }

    #[test]
    fn every_level_follows_the_formula_in_its_own_rounding() {
        for (m, k, n) in
            [(1, 1, 1), (2, 255, 17), (3, 256, 10), (8, 257, 50), (9, 600, 70), (17, 13, 147), (1_000, 50, 2)]
        {
            let (x, w, start) = (numbers(m * k, 1), numbers(k * n, 2), numbers(m * n, 3));
            for (store, a_turned, b_turned) in [
                (Store::Overwrite, false, false),
                (Store::Add, true, false),
                (Store::Add, false, true),
                (Store::Overwrite, true, true),
            ] {
                let strided = |data, rows, cols, turned| match turned {
                    false => Strided { data, row_stride: cols, col_stride: 1 },
                    true => Strided { data, row_stride: 1, col_stride: rows },
                };
                let p =
                    Packed { a: strided(&x, m, k, a_turned), b: strided(&w, k, n, b_turned), k, n, store };
                let run = || {
                    let mut c = start.clone();
                    p.run(&mut c);
                    c
                };
                for (level, c) in at_each_level(run) {
                    let fused = level != Level::Baseline || cfg!(target_arch = "aarch64");
                    for (at, &got) in c.iter().enumerate() {
                        let want = reference(fused, &p, at / n, at % n, start[at]);
                        assert_eq!(got, want, "{level:?} [{m}, {k}]·[{k}, {n}] {store:?} at {at}");
                    }
                }
            }
        }
    }

    #[test]
    fn rows_beyond_one_chunk_have_the_bits_of_the_first() {
        let (rows, k, n) = (CHUNK / BLOCK + 7, 257, 3);
        let (x, w) = (numbers(k, 1).repeat(rows), numbers(k * n, 2));
        let a = Strided { data: &x, row_stride: k, col_stride: 1 };
        let b = Strided { data: &w, row_stride: n, col_stride: 1 };
        let mut c = vec![f32::NAN; rows * n];
        Packed { a, b, k, n, store: Store::Overwrite }.run(&mut c);
        assert!(c.chunks(n).all(|row| row == &c[..n]));
    }
}
