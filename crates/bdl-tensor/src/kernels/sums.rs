//! Reductions in `f64`, in an order that neither the instruction set nor the machine changes.

use super::same_len;
use crate::Mat;
use crate::dispatch::dispatched;

/// Partial sums: element i goes to lane `i % LANES`, and the lanes are added in order at the end.
const LANES: usize = 8;

/// `Σ f(a[i], b[i])` in lanes.
#[inline(always)]
fn lanes(a: &[f32], b: &[f32], f: impl Fn(f64, f64) -> f64) -> f64 {
    let mut sums = [0.0; LANES];
    let (mut a, mut b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    for (a, b) in a.by_ref().zip(b.by_ref()) {
        for i in 0..LANES {
            sums[i] += f(f64::from(a[i]), f64::from(b[i]));
        }
    }
    for ((s, &a), &b) in sums.iter_mut().zip(a.remainder()).zip(b.remainder()) {
        *s += f(f64::from(a), f64::from(b));
    }
    sums.iter().sum()
}

/// Columns whose `f64` sums are held at a time.
const TILE: usize = 128;

/// Adds the sums of the tiles of `T` columns that fit from a column on; returns the first column that is left.
#[inline(always)]
fn add_tiles<const T: usize>(mut first: usize, x: Mat<'_>, out: &mut [f32]) -> usize {
    for out in out[first..].as_chunks_mut::<T>().0 {
        let sums = tile_sums::<T>(first, x);
        for t in 0..T {
            out[t] = (f64::from(out[t]) + sums[t]) as f32;
        }
        first += T;
    }
    first
}

/// Adds the sums of what is left, less than `T` columns, from a tile that lies partly over columns that are done.
/// Does nothing if the matrix is narrower than a tile.
#[inline(always)]
fn add_last_tile<const T: usize>(first: usize, x: Mat<'_>, out: &mut [f32]) -> usize {
    let n = out.len();
    if first == n || n < T {
        return first;
    }
    let sums = tile_sums::<T>(n - T, x);
    for (out, sum) in out[first..].iter_mut().zip(&sums[T - (n - first)..]) {
        *out = (f64::from(*out) + sum) as f32;
    }
    n
}

/// `Σ_i x[i, j]` of `T` columns, row after row; few enough to stay in registers.
#[inline(always)]
fn tile_sums<const T: usize>(first: usize, x: Mat<'_>) -> [f64; T] {
    let mut sums = [0.0; T];
    for row in x.iter_rows() {
        let row = &row[first..][..T];
        for t in 0..T {
            sums[t] += f64::from(row[t]);
        }
    }
    sums
}

/// Elements looked at before asking whether one of them is not finite.
const SCAN: usize = 128;

const EXPONENT: u32 = 0x7f80_0000;

dispatched! {
    /// `Σ x[i]`.
    #[must_use]
    pub fn sum_f64(x: &[f32]) -> f64 {
        lanes(x, x, |x, _| x)
    }

    /// `Σ x[i]²`.
    #[must_use]
    pub fn sum_squares_f64(x: &[f32]) -> f64 {
        lanes(x, x, |x, _| x * x)
    }

    /// `Σ a[i]·b[i]`; the products are exact.
    ///
    /// # Panics
    /// If the lengths differ.
    #[must_use]
    pub fn dot_f64(a: &[f32], b: &[f32]) -> f64 {
        same_len("dot_f64 b", a.len(), b.len());
        lanes(a, b, |a, b| a * b)
    }

    /// `out[j] ← out[j] + Σ_i x[i, j]`: the gradient of a bias. The sum runs row after row in `f64` and is
    /// rounded once.
    ///
    /// # Shapes
    /// x `[m, n]`, out `[n]`.
    ///
    /// # Panics
    /// If `out` is not as long as a row.
    pub fn col_sums_add(x: Mat<'_>, out: &mut [f32]) {
        same_len("col_sums_add out", x.cols(), out.len());
        let mut first = add_tiles::<64>(0, x, out);
        first = add_tiles::<32>(first, x, out);
        first = add_tiles::<16>(first, x, out);
        first = add_last_tile::<16>(first, x, out);
        first = add_tiles::<8>(first, x, out);
        first = add_last_tile::<8>(first, x, out);
        add_tiles::<1>(first, x, out);
    }

    /// Mean and standard deviation (with 1/m) of the columns from `first` on, as many as `mean` holds. The sums
    /// run row after row in `f64`, of differences from the first row, so that no digits cancel.
    ///
    /// ```text
    /// d[i, j] = x[i, j] − x[0, j]     mean[j] = x[0, j] + Σ_i d[i, j]/m     std_dev[j]² = Σ_i d[i, j]²/m − (Σ_i d[i, j]/m)²
    /// ```
    ///
    /// # Shapes
    /// x `[m, n]`, mean and std_dev equally long, at most `n − first`. Without a row both are NaN.
    ///
    /// # Panics
    /// If the lengths do not fit.
    ///
    /// # Examples
    /// ```
    /// use bdl_tensor::{Mat, kernels::col_moments};
    /// let x = Mat::new(&[1.0, 5.0, 3.0, 5.0], 2, 2)?;
    /// let (mut mean, mut std_dev) = ([0.0; 2], [0.0; 2]);
    /// col_moments(x, 0, &mut mean, &mut std_dev);
    /// assert_eq!((mean, std_dev), ([2.0, 5.0], [1.0, 0.0]));
    /// # Ok::<(), bdl_tensor::Error>(())
    /// ```
    pub fn col_moments(x: Mat<'_>, first: usize, mean: &mut [f32], std_dev: &mut [f32]) {
        same_len("col_moments std_dev", mean.len(), std_dev.len());
        assert!(first + mean.len() <= x.cols(), "col_moments: columns must be at most {}", x.cols());
        for (tile, (mean, std_dev)) in mean.chunks_mut(TILE).zip(std_dev.chunks_mut(TILE)).enumerate() {
            let start = first + tile * TILE;
            let columns = start..start + mean.len();
            let base = if x.rows() == 0 { &[][..] } else { &x.row(0)[columns.clone()] };
            let (mut sums, mut squares) = ([0.0; TILE], [0.0; TILE]);
            for row in x.iter_rows().skip(1) {
                let values = row[columns.clone()].iter().zip(base);
                for ((s, q), (&x, &base)) in sums.iter_mut().zip(&mut squares).zip(values) {
                    let d = f64::from(x) - f64::from(base);
                    *s += d;
                    *q += d * d;
                }
            }
            let by_m = 1.0 / x.rows() as f64;
            for (j, (mean, std_dev)) in mean.iter_mut().zip(std_dev).enumerate() {
                let (d, q) = (sums[j] * by_m, squares[j] * by_m);
                let variance = q - d * d;
                *mean = (base.get(j).map_or(f64::NAN, |&b| f64::from(b)) + d) as f32;
                *std_dev = if variance < 0.0 { 0.0 } else { variance.sqrt() as f32 };
            }
        }
    }

    /// Where the first NaN or infinity is.
    ///
    /// ```
    /// use bdl_tensor::kernels::first_non_finite;
    /// assert_eq!(first_non_finite(&[1.0, f32::NAN, f32::INFINITY]), Some(1));
    /// assert_eq!(first_non_finite(&[f32::MAX, 0.0]), None);
    /// ```
    #[must_use]
    pub fn first_non_finite(x: &[f32]) -> Option<usize> {
        let bad = |x: &f32| x.to_bits() & EXPONENT == EXPONENT;
        for (i, chunk) in x.chunks(SCAN).enumerate() {
            // Without an early exit, so that it vectorizes.
            if chunk.iter().fold(false, |any, x| any | bad(x)) {
                return chunk.iter().position(bad).map(|at| i * SCAN + at);
            }
        }
        None
    }
}
