//! The product of a few rows with a matrix, without packing and without allocation, in the very
//! roundings of `matrixmultiply`; see [`tile`](crate::tile).

use crate::dispatch::Isa;
use crate::tile::{BLOCK, multiply_add, stored};
use crate::{Mat, MatMut, Store};

/// Up to this many rows the packing of B costs more than it saves: at 8 rows this route was measured to
/// be twice as fast, at 16 equal.
pub(crate) const FEW_ROWS: usize = 8;

/// Rows that share one reading of B; their sums fill the registers.
const GROUP: usize = 4;

/// `C = A·B` or `C += A·B` for at most [`FEW_ROWS`] rows; the shapes fit.
#[inline(always)]
pub(crate) fn product<I: Isa>(a: Mat<'_>, b: Mat<'_>, store: Store, c: &mut MatMut<'_>) {
    if b.cols() == 0 {
        return;
    }
    if a.cols() == 0 && store == Store::Overwrite {
        c.data_mut().fill(0.0);
    }
    let n = b.cols();
    for first in (0..a.rows()).step_by(GROUP) {
        let rows = first..a.rows().min(first + GROUP);
        let out = &mut c.data_mut()[rows.start * n..rows.end * n];
        group::<I>(a.rows_in(rows), b, store, out);
    }
}

/// At most [`GROUP`] rows. The tiles are wide enough to hide the latency of a multiply-add.
#[inline(always)]
fn group<I: Isa>(a: Mat<'_>, b: Mat<'_>, store: Store, out: &mut [f32]) {
    match a.rows() {
        1 => columns::<I, 1, 128>(a, b, store, out),
        2 => columns::<I, 2, 64>(a, b, store, out),
        3 => columns::<I, 3, 32>(a, b, store, out),
        _ => columns::<I, 4, 32>(a, b, store, out),
    }
}

/// All columns, in tiles that narrow towards the right edge.
#[inline(always)]
fn columns<I: Isa, const R: usize, const T: usize>(a: Mat<'_>, b: Mat<'_>, store: Store, out: &mut [f32]) {
    let mut j = tiles::<I, R, T>(0, a, b, store, out);
    j = tiles::<I, R, 32>(j, a, b, store, out);
    j = tiles::<I, R, 16>(j, a, b, store, out);
    j = last_tile::<I, R, 16>(j, a, b, store, out);
    j = tiles::<I, R, 8>(j, a, b, store, out);
    j = last_tile::<I, R, 8>(j, a, b, store, out);
    j = tiles::<I, R, 4>(j, a, b, store, out);
    j = last_tile::<I, R, 4>(j, a, b, store, out);
    tiles::<I, R, 1>(j, a, b, store, out);
}

/// The tiles of `T` columns that fit from column `j` on; returns the first column that is left.
#[inline(always)]
fn tiles<I: Isa, const R: usize, const T: usize>(
    mut j: usize,
    a: Mat<'_>,
    b: Mat<'_>,
    store: Store,
    out: &mut [f32],
) -> usize {
    let n = b.cols();
    while j + T <= n {
        for block in 0..a.cols().div_ceil(BLOCK) {
            let acc = block_sums::<I, R, T>(a, b, block, j);
            let replace = block == 0 && store == Store::Overwrite;
            for (i, acc) in acc.iter().enumerate() {
                put::<I, T>(acc, replace, 0, &mut out[i * n + j..][..T]);
            }
        }
        j += T;
    }
    j
}

/// What is left from column `j` on, less than `T`, in one tile that lies partly over columns that are
/// done and writes only the rest. Does nothing if the matrix is narrower than a tile.
#[inline(always)]
fn last_tile<I: Isa, const R: usize, const T: usize>(
    j: usize,
    a: Mat<'_>,
    b: Mat<'_>,
    store: Store,
    out: &mut [f32],
) -> usize {
    let n = b.cols();
    if j == n || n < T {
        return j;
    }
    let start = n - T;
    for block in 0..a.cols().div_ceil(BLOCK) {
        let acc = block_sums::<I, R, T>(a, b, block, start);
        let replace = block == 0 && store == Store::Overwrite;
        for (i, acc) in acc.iter().enumerate() {
            put::<I, T>(acc, replace, j - start, &mut out[i * n + start..][..T]);
        }
    }
    n
}

/// `[R, T]` sums over one block of terms; small enough to stay in registers.
#[inline(always)]
fn block_sums<I: Isa, const R: usize, const T: usize>(
    a: Mat<'_>,
    b: Mat<'_>,
    block: usize,
    j: usize,
) -> [[f32; T]; R] {
    let terms = block * BLOCK..a.cols().min((block + 1) * BLOCK);
    let rows: [&[f32]; R] = std::array::from_fn(|i| &a.row(i)[terms.clone()]);
    let mut acc = [[0.0; T]; R];
    for (l, w) in b.rows_in(terms).data().chunks_exact(b.cols()).enumerate() {
        let w = &w[j..j + T];
        for i in 0..R {
            let x = rows[i][l];
            for t in 0..T {
                acc[i][t] = multiply_add::<I>(x, w[t], acc[i][t]);
            }
        }
    }
    acc
}

/// Writes a row of a tile, but not its first `skip` columns.
#[inline(always)]
fn put<I: Isa, const T: usize>(acc: &[f32; T], replace: bool, skip: usize, out: &mut [f32]) {
    for t in 0..T {
        let new = stored::<I>(acc[t], if replace { Store::Overwrite } else { Store::Add }, out[t]);
        if t >= skip {
            out[t] = new;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::{Level, forced::at_each_level};
    use crate::{Serial, matmul};

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let word = |i: u32| (i + seed).wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(40_503);
        (0..n as u32).map(|i| word(i) as f32 / 2_147_483_648.0 - 1.0).collect()
    }

    /// The formula of the module, term by term.
    fn reference(fused: bool, x: &[f32], w: impl Fn(usize) -> f32) -> f32 {
        let mut sum: Option<f32> = None;
        for (block, x) in x.chunks(BLOCK).enumerate() {
            let terms = x.iter().enumerate().map(|(l, &x)| (x, w(block * BLOCK + l)));
            let acc = terms.fold(0.0f32, |acc, (x, w)| if fused { x.mul_add(w, acc) } else { x * w + acc });
            sum = Some(sum.map_or(acc, |s| s + acc));
        }
        sum.unwrap_or(0.0)
    }

    #[test]
    fn every_level_follows_the_formula_in_its_own_rounding() {
        for (k, n) in [(1, 1), (13, 3), (257, 9), (600, 50), (512, 147), (0, 5)] {
            for rows in 0..=FEW_ROWS {
                let (x, w) = (numbers(rows * k, 1), numbers(k * n, 2));
                let (a, b) = (Mat::new(&x, rows, k).unwrap(), Mat::new(&w, k, n).unwrap());
                let run = || {
                    let mut c = vec![f32::NAN; rows * n];
                    let mut out = MatMut::new(&mut c, rows, n).unwrap();
                    matmul(&Serial, a, b, Store::Overwrite, &mut out).unwrap();
                    c
                };
                for (level, c) in at_each_level(run) {
                    let fused = level != Level::Baseline || cfg!(target_arch = "aarch64");
                    for (at, &got) in c.iter().enumerate() {
                        let want = reference(fused, a.row(at / n), |l| w[l * n + at % n]);
                        assert_eq!(got, want, "{level:?} [{rows}, {k}]·[{k}, {n}] at {at}");
                    }
                }
            }
        }
    }
}
