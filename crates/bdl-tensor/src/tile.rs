//! One tile of a product in registers, in the very roundings of `matrixmultiply`.
//!
//! ```text
//! ab_B[i, t] = chain over l in block B of  acc ← fma(a[i, l], b[l, t], acc),  from acc = 0
//! C[i, t]    = (C[i, t] +) ab_0[i, t] + ab_1[i, t] + …
//! ```
//!
//! Equal bits are promised for finite sums; which payload a NaN carries is not. On AVX2, adding a sum
//! that underflowed to −0 to an output of −0 may give either zero.

use std::ops::Range;

use crate::Store;
use crate::dispatch::Isa;
use crate::strided::Strided;

/// Terms that `matrixmultiply` sums in one chain.
pub(crate) const BLOCK: usize = 256;

/// Columns of one vector. The compiler keeps sums in registers if a tile is made of whole vectors that
/// are handed on by value: arrays `[[f32; 64]; 4]` went through memory, at half the speed.
pub(crate) const LANES: usize = 16;

/// Sums of one row side by side.
pub(crate) type Vector = [f32; LANES];

/// `R` rows of the left operand, term by term: each number meets all columns of a tile.
pub(crate) trait Left<const R: usize> {
    fn term(&self, l: usize) -> [f32; R];
}

/// Rows that are contiguous in the terms.
pub(crate) struct Rows<'a, const R: usize>([&'a [f32]; R]);

impl<'a, const R: usize> Rows<'a, R> {
    /// The rows from `first` on, over a range of terms.
    #[inline(always)]
    pub(crate) fn new(a: Strided<'a>, first: usize, terms: &Range<usize>) -> Self {
        // Not `from_fn`, whose closure is a function of its own if it can panic, and not of this instruction set.
        let mut rows = [&[][..]; R];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = &a.data[(first + i) * a.row_stride..][terms.clone()];
        }
        Self(rows)
    }
}

impl<const R: usize> Left<R> for Rows<'_, R> {
    #[inline(always)]
    fn term(&self, l: usize) -> [f32; R] {
        std::array::from_fn(|i| self.0[i][l])
    }
}

/// Rows that lie side by side: a term of all of them is contiguous.
pub(crate) struct Columns<'a> {
    data: &'a [f32],
    stride: usize,
}

impl<'a> Columns<'a> {
    /// The rows from `first` on, over a range of terms.
    #[inline(always)]
    pub(crate) fn new(a: Strided<'a>, first: usize, terms: &Range<usize>) -> Self {
        Self { data: &a.data[terms.start * a.col_stride + first..], stride: a.col_stride }
    }
}

impl<const R: usize> Left<R> for Columns<'_> {
    #[inline(always)]
    fn term(&self, l: usize) -> [f32; R] {
        let terms = &self.data[l * self.stride..][..R];
        std::array::from_fn(|i| terms[i])
    }
}

/// The sums of `R` rows over packed terms; small enough to stay in registers.
#[inline(always)]
pub(crate) fn sums<I: Isa, const R: usize, const W: usize>(
    left: &impl Left<R>,
    right: &[[Vector; W]],
) -> [[Vector; W]; R] {
    let mut acc = [[[0.0; LANES]; W]; R];
    for (l, w) in right.iter().enumerate() {
        let x = left.term(l);
        for i in 0..R {
            for v in 0..W {
                acc[i][v] = multiply_add_all::<I>(x[i], &w[v], acc[i][v]);
            }
        }
    }
    acc
}

#[inline(always)]
fn multiply_add_all<I: Isa>(x: f32, w: &Vector, mut acc: Vector) -> Vector {
    for t in 0..LANES {
        acc[t] = multiply_add::<I>(x, w[t], acc[t]);
    }
    acc
}

#[inline(always)]
pub(crate) fn multiply_add<I: Isa>(x: f32, w: f32, acc: f32) -> f32 {
    if I::FUSED { x.mul_add(w, acc) } else { x * w + acc }
}

/// What an output that held `old` holds after a block of terms.
#[inline(always)]
pub(crate) fn stored<I: Isa>(sum: f32, store: Store, old: f32) -> f32 {
    let first = if I::ADDS_ZERO { sum + 0.0 } else { sum };
    if store == Store::Overwrite { first } else { old + sum }
}
