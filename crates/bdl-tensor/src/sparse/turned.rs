//! Rows turned into vectors over rows, and back.

use crate::dispatch::dispatched;
use crate::tile::{LANES, Vector};

/// Positions that are read together: so many bases stay in registers.
const HALF: usize = 8;

dispatched! {
    /// `panel[u][lane] = x[bases[lane] + places[u]]`.
    pub(super) fn gather(x: &[f32], bases: &[usize; LANES], places: &[u32], panel: &mut [Vector]) {
        for (half, bases) in bases.as_chunks::<HALF>().0.iter().enumerate() {
            for (to, &place) in panel.iter_mut().zip(places) {
                let terms: [f32; HALF] = std::array::from_fn(|lane| x[bases[lane] + place as usize]);
                to[half * HALF..][..HALF].copy_from_slice(&terms);
            }
        }
    }

    /// `x[bases[lane] + places[u]] += panel[u][lane]`, one lane after the other, as many as there are.
    pub(super) fn scatter_add(panel: &[Vector], bases: &[usize], places: &[u32], x: &mut [f32]) {
        for (lane, &base) in bases.iter().enumerate() {
            for (from, &place) in panel.iter().zip(places) {
                x[base + place as usize] += from[lane];
            }
        }
    }

    /// The rows of `y`, at most [`LANES`], from the lanes of `columns`.
    pub(super) fn rows_of(columns: &[Vector], y: &mut [f32]) {
        let cols = columns.len();
        let (squares, rest) = columns.as_chunks::<LANES>();
        for (lane, row) in y.chunks_exact_mut(cols).enumerate() {
            let (whole, last) = row.as_chunks_mut::<LANES>();
            for (to, square) in whole.iter_mut().zip(squares) {
                *to = std::array::from_fn(|t| square[t][lane]);
            }
            for (to, from) in last.iter_mut().zip(rest) {
                *to = from[lane];
            }
        }
    }

    /// The lanes of `columns` from the rows of `y`, at most [`LANES`]; 0 in those that there are not.
    pub(super) fn columns_of(y: &[f32], columns: &mut [Vector]) {
        let cols = columns.len();
        columns.fill([0.0; LANES]);
        for (lane, row) in y.chunks_exact(cols).enumerate() {
            for (to, &from) in columns.iter_mut().zip(row) {
                to[lane] = from;
            }
        }
    }
}

/// The part of `scratch` that begins at a line of the cache, in vectors.
pub(super) fn vectors(scratch: &mut [f32]) -> &mut [Vector] {
    let skip = scratch.as_ptr().align_offset(size_of::<Vector>()).min(LANES - 1);
    scratch[skip..].as_chunks_mut::<LANES>().0
}
