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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::{Level, forced::at_each_level};
    use crate::{Mat, MatMut, Serial, matmul, matmul_nt, matmul_tn};

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let word = |i: u32| (i + seed).wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(40_503);
        (0..n as u32).map(|i| word(i) as f32 / 2_147_483_648.0 - 1.0).collect()
    }

    /// Element `i` by the formula of [`tile`](crate::tile), added to `start`.
    fn reference(fused: bool, row: impl Fn(usize) -> f32, b: &[f32], start: f32) -> f32 {
        let mut sum = start;
        for (block, b) in b.chunks(BLOCK).enumerate() {
            let terms = b.iter().enumerate().map(|(l, &w)| (row(block * BLOCK + l), w));
            sum += terms.fold(0.0f32, |acc, (x, w)| if fused { x.mul_add(w, acc) } else { x * w + acc });
        }
        sum
    }

    #[test]
    fn one_column_follows_the_formula_plain_and_turned_at_every_level() {
        for (m, k) in [(9, 1), (9, 3), (17, 255), (30, 50), (15, 256), (13, 257), (50, 600)] {
            let (x, b, start) = (numbers(m * k, 1), numbers(k, 2), numbers(m, 3));
            let column = Mat::new(&b, k, 1).unwrap();
            let run = |route: usize| {
                let mut c = start.clone();
                let mut out = MatMut::new(&mut c, m, 1).unwrap();
                match route {
                    0 => matmul(&Serial, Mat::new(&x, m, k).unwrap(), column, Store::Add, &mut out),
                    1 => matmul_tn(&Serial, Mat::new(&x, k, m).unwrap(), column, Store::Add, &mut out),
                    _ => {
                        let row = Mat::new(&b, 1, k).unwrap();
                        matmul_nt(&Serial, Mat::new(&x, m, k).unwrap(), row, Store::Add, &mut out)
                    }
                }
                .unwrap();
                c
            };
            for route in 0..3 {
                for (level, c) in at_each_level(|| run(route)) {
                    let fused = level != Level::Baseline || cfg!(target_arch = "aarch64");
                    for (i, &got) in c.iter().enumerate() {
                        let row = |l: usize| if route == 1 { x[l * m + i] } else { x[i * k + l] };
                        assert_eq!(
                            got,
                            reference(fused, row, &b, start[i]),
                            "{level:?} {route} [{m}, {k}] {i}"
                        );
                    }
                }
            }
        }
    }
}
