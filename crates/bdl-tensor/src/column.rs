//! The product with one column: a chain of multiply-adds for each row, several rows side by side, in the
//! very roundings of `matrixmultiply`; see [`tile`](crate::tile).

use crate::Store;
use crate::dispatch::{Isa, dispatched};
use crate::strided::Strided;
use crate::tile::{BLOCK, multiply_add, stored};

/// Rows whose chains hide each other's latency.
const GROUP: usize = 8;

dispatched! {
    /// `c = A·b` or `c += A·b`; the terms of a row of A are contiguous, and there is one at least.
    pub(crate) fn product<I>(a: Strided<'_>, b: &[f32], store: Store, c: &mut [f32]) {
        for (block, b) in b.chunks(BLOCK).enumerate() {
            let a = Strided { data: &a.data[block * BLOCK..], ..a };
            let store = if block == 0 { store } else { Store::Add };
            let mut first = rows::<I, GROUP>(0, a, b, store, c);
            first = rows::<I, 4>(first, a, b, store, c);
            first = rows::<I, 2>(first, a, b, store, c);
            rows::<I, 1>(first, a, b, store, c);
        }
    }
}

/// The groups of `R` rows that fit from a row on; returns the first row that is left.
#[inline(always)]
fn rows<I: Isa, const R: usize>(
    mut first: usize,
    a: Strided<'_>,
    b: &[f32],
    store: Store,
    c: &mut [f32],
) -> usize {
    for c in c[first..].as_chunks_mut::<R>().0 {
        let x: [&[f32]; R] = std::array::from_fn(|i| &a.data[(first + i) * a.row_stride..][..b.len()]);
        let mut acc = [0.0; R];
        let (fours, rest) = b.as_chunks::<4>();
        for (l, b) in fours.iter().enumerate() {
            // Four terms of each row at a time, which the compiler turns in registers.
            let mut four = [[0.0; 4]; R];
            for i in 0..R {
                four[i].copy_from_slice(&x[i][l * 4..][..4]);
            }
            for t in 0..4 {
                for i in 0..R {
                    acc[i] = multiply_add::<I>(four[i][t], b[t], acc[i]);
                }
            }
        }
        for (l, &b) in (fours.len() * 4..).zip(rest) {
            for i in 0..R {
                acc[i] = multiply_add::<I>(x[i][l], b, acc[i]);
            }
        }
        for i in 0..R {
            c[i] = stored::<I>(acc[i], store, c[i]);
        }
        first += R;
    }
    first
}
