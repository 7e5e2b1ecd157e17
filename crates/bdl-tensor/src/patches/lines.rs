//! The three products of patches, on the tiles of [`packed`](crate::packed).

use std::ops::Range;

use super::Patches;
use crate::dispatch::dispatched;
use crate::packed::{Block, Dense, Lines};
use crate::strided::Strided;
use crate::tile::{BLOCK, Left, Rows, Vector};
use crate::{Mat, Store};

dispatched! {
    /// Outputs of consecutive positions from `first` on: `y = patches(x)·W`.
    pub(super) fn outputs<I>(p: &Patches, x: &[f32], w: Mat<'_>, first: usize, tile: &mut [Vector], y: &mut [f32]) {
        let units = w.cols();
        let per_group = units / p.groups;
        if p.terms() == 0 {
            return y.fill(0.0);
        }
        for group in 0..p.groups {
            let b = Dense { b: columns(w, group * per_group, 1), k: p.terms() };
            let lines = Positions { p, x: &x[group * p.group_step..], first, units, column: group * per_group };
            for (index, terms) in blocks(p.terms()) {
                let store = store_of(index, Store::Overwrite);
                let block = Block { rows: y.len() / units, n: per_group, store, index, terms };
                block.columns::<I>(&lines, &b, tile, y);
            }
        }
    }

    /// The sums over all positions, of the terms from `first` on: `dW = patches(x)ᵀ·dy`.
    pub(super) fn weights<I>(s: &WeightSums<'_>, first: usize, tile: &mut [Vector], d_w: &mut [f32]) {
        let (p, units) = (s.patches, s.units);
        let (per_group, positions) = (units / p.groups, s.dy.len() / units);
        let mut bases = [0; BLOCK];
        for (index, terms) in blocks(positions) {
            let store = store_of(index, s.store);
            for (i, base) in bases[..terms.len()].iter_mut().enumerate() {
                [*base] = p.bases(terms.start + i);
            }
            for group in 0..p.groups {
                let column = group * per_group;
                let b = Dense { b: Strided { data: &s.dy[column..], row_stride: units, col_stride: 1 }, k: positions };
                let lines = Terms { p, x: &s.x[group * p.group_step..], bases: &bases, first, units, column };
                let block =
                    Block { rows: d_w.len() / units, n: per_group, store, index, terms: terms.clone() };
                block.columns::<I>(&lines, &b, tile, d_w);
            }
        }
    }

    /// Adds `dy·Wᵀ` of each position where its patch lies, run by run.
    pub(super) fn inputs<I>(p: &Patches, dy: &[f32], w: Mat<'_>, tile: &mut [Vector], dx: &mut [f32]) {
        let units = w.cols();
        let (per_group, rows) = (units / p.groups, dx.len() / p.row_len * p.positions());
        for group in 0..p.groups {
            let column = group * per_group;
            let a = Strided { data: &dy[column..], row_stride: units, col_stride: 1 };
            for run in &p.runs {
                let b = &w.data()[run.start * units + column..];
                let b = Dense { b: Strided { data: b, row_stride: 1, col_stride: units }, k: per_group };
                let shift = p.offsets[run.start] as usize + group * p.group_step;
                for (index, terms) in blocks(per_group) {
                    let block = Block { rows, n: run.len(), store: Store::Add, index, terms };
                    block.columns::<I>(&Places { p, a, shift }, &b, tile, dx);
                }
            }
        }
    }
}

/// Blocks of terms in order. What a loop over them does must not be a closure, which would not be compiled for the instruction
/// set of the function that it stands in.
#[inline(always)]
fn blocks(terms: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    (0..terms.div_ceil(BLOCK)).map(move |index| (index, index * BLOCK..terms.min((index + 1) * BLOCK)))
}

/// Each block but the first is added.
#[inline(always)]
fn store_of(index: usize, store: Store) -> Store {
    if index == 0 { store } else { Store::Add }
}

/// Columns of a row-major matrix from one on.
fn columns(m: Mat<'_>, first: usize, col_stride: usize) -> Strided<'_> {
    Strided { data: &m.data()[first..], row_stride: m.cols(), col_stride }
}

/// What the sums over positions are made of.
pub(super) struct WeightSums<'a> {
    pub(super) patches: &'a Patches,
    pub(super) x: &'a [f32],
    pub(super) dy: &'a [f32],
    pub(super) units: usize,
    pub(super) store: Store,
}

/// Rows are positions, the terms are those of their patches.
struct Positions<'a> {
    p: &'a Patches,
    x: &'a [f32],
    first: usize,
    units: usize,
    column: usize,
}

struct PatchRows<'a, const R: usize> {
    rows: [&'a [f32]; R],
    offsets: &'a [u32],
}

impl<const R: usize> Left<R> for PatchRows<'_, R> {
    #[inline(always)]
    fn term(&self, l: usize) -> [f32; R] {
        let offset = self.offsets[l] as usize;
        std::array::from_fn(|i| self.rows[i][offset])
    }
}

impl Lines for Positions<'_> {
    #[inline(always)]
    fn left<const R: usize>(&self, first: usize, terms: &Range<usize>) -> impl Left<R> {
        let mut rows = [&[][..]; R];
        for (row, base) in rows.iter_mut().zip(self.p.bases::<R>(self.first + first)) {
            *row = &self.x[base..][..self.p.span];
        }
        PatchRows { rows, offsets: &self.p.offsets[terms.clone()] }
    }

    #[inline(always)]
    fn places<const R: usize>(&self, first: usize) -> [usize; R] {
        std::array::from_fn(|i| (first + i) * self.units + self.column)
    }
}

/// Rows are the terms of patches, from `first` on, the terms are positions.
struct Terms<'a> {
    p: &'a Patches,
    x: &'a [f32],
    bases: &'a [usize; BLOCK],
    first: usize,
    units: usize,
    column: usize,
}

struct PatchColumns<'a, const R: usize> {
    x: &'a [f32],
    bases: &'a [usize],
    span: usize,
    offsets: [usize; R],
}

impl<const R: usize> Left<R> for PatchColumns<'_, R> {
    #[inline(always)]
    fn term(&self, l: usize) -> [f32; R] {
        let patch = &self.x[self.bases[l]..][..self.span];
        self.offsets.map(|offset| patch[offset])
    }
}

impl Lines for Terms<'_> {
    #[inline(always)]
    fn left<const R: usize>(&self, first: usize, terms: &Range<usize>) -> impl Left<R> {
        let offsets = &self.p.offsets[self.first + first..][..R];
        PatchColumns::<R> {
            x: self.x,
            bases: &self.bases[..terms.len()],
            span: self.p.span,
            offsets: std::array::from_fn(|i| offsets[i] as usize),
        }
    }

    #[inline(always)]
    fn places<const R: usize>(&self, first: usize) -> [usize; R] {
        std::array::from_fn(|i| (first + i) * self.units + self.column)
    }
}

/// Rows are positions, their sums go to one run of their patches.
struct Places<'a> {
    p: &'a Patches,
    a: Strided<'a>,
    shift: usize,
}

impl Lines for Places<'_> {
    #[inline(always)]
    fn left<const R: usize>(&self, first: usize, terms: &Range<usize>) -> impl Left<R> {
        Rows::<R>::new(self.a, first, terms)
    }

    #[inline(always)]
    fn places<const R: usize>(&self, first: usize) -> [usize; R] {
        let mut places = self.p.bases::<R>(first);
        places.iter_mut().for_each(|place| *place += self.shift);
        places
    }
}
