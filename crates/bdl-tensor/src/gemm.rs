//! Matrix products.
//!
//! Every element of C is one task's sum in one order, whatever the number of threads and of rows:
//! blocks of 256 terms, in each block one chain from 0, the blocks added in order.

use crate::column;
use crate::dispatch::dispatched;
use crate::few_rows::{self, FEW_ROWS};
use crate::packed::Packed;
use crate::strided::Strided;
use crate::{Error, Mat, MatMut, Pool};

/// Whether a product replaces what the output holds or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// `C = A·B`; what C held is not read.
    Overwrite,
    /// `C = C + A·B`.
    Add,
}

/// Multiply-adds from which a product is worth splitting: some 30 µs of one core, several times what
/// it costs to wake another. At half as many, two threads were measured to be slower than one.
pub(crate) const SPLIT_FROM: usize = 1 << 21;

/// Rows of a task are a multiple of the widest micro-kernel's, so that only the last one is partial.
const ROW_STEP: usize = 16;

/// Between the terms of a transposed A from which packing it pays, if it is read for more columns than
/// [`MANY_COLUMNS`]: at 128 both routes were measured to be equal, at 784 `sgemm` was 1.1 times as fast.
const FAR_APART: usize = 128;

/// See [`FAR_APART`].
const MANY_COLUMNS: usize = 64;

/// `C = A·B` or `C += A·B`.
///
/// ```text
/// C[i, j] = (C[i, j] +) Σ_l A[i, l]·B[l, j]
/// ```
///
/// Few rows take a route that allocates nothing; a row's bits do not depend on the route, on how many
/// rows there are or on the pool. With no terms (`k = 0`), `Overwrite` gives zeros.
///
/// # Shapes
/// A `[m, k]`, B `[k, n]`, C `[m, n]`.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit.
///
/// # Examples
/// ```
/// use bdl_tensor::{Mat, MatMut, Serial, Store, matmul};
/// let a = Mat::new(&[1.0, 2.0, 3.0, 4.0], 2, 2)?;
/// let b = Mat::new(&[5.0, 6.0, 7.0, 8.0], 2, 2)?;
/// let mut out = [f32::NAN; 4];
/// matmul(&Serial, a, b, Store::Overwrite, &mut MatMut::new(&mut out, 2, 2)?)?;
/// assert_eq!(out, [19.0, 22.0, 43.0, 50.0]);
/// # Ok::<(), bdl_tensor::Error>(())
/// ```
pub fn matmul(
    pool: &dyn Pool,
    a: Mat<'_>,
    b: Mat<'_>,
    store: Store,
    c: &mut MatMut<'_>,
) -> Result<(), Error> {
    expect("matmul b", [a.cols(), b.cols()], b.shape())?;
    expect("matmul c", [a.rows(), b.cols()], c.shape())?;
    if a.rows() <= FEW_ROWS {
        product_of_few_rows(a, b, store, c);
    } else {
        let (k, n) = (a.cols(), b.cols());
        Product { k, n, a: Strided::plain(a), b: Strided::plain(b), store }.run(pool, c);
    }
    Ok(())
}

/// `C = Aᵀ·B` or `C += Aᵀ·B`: the gradient of weights, from inputs A and output gradients B.
///
/// ```text
/// C[i, j] = (C[i, j] +) Σ_l A[l, i]·B[l, j]
/// ```
///
/// # Shapes
/// A `[k, m]`, B `[k, n]`, C `[m, n]`.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit.
pub fn matmul_tn(
    pool: &dyn Pool,
    a: Mat<'_>,
    b: Mat<'_>,
    store: Store,
    c: &mut MatMut<'_>,
) -> Result<(), Error> {
    expect("matmul_tn b", [a.rows(), b.cols()], b.shape())?;
    expect("matmul_tn c", [a.cols(), b.cols()], c.shape())?;
    let (k, n) = (a.rows(), b.cols());
    if n == 1 && k.saturating_mul(a.cols()) < SPLIT_FROM {
        // One column is one row of the turned product, Bᵀ·A, which reads A as it lies.
        product_of_few_rows(
            Mat::new(b.data(), 1, k)?,
            a,
            store,
            &mut MatMut::new(c.data_mut(), 1, a.cols())?,
        );
        return Ok(());
    }
    Product { k, n, a: Strided::transposed(a), b: Strided::plain(b), store }.run(pool, c);
    Ok(())
}

/// `C = A·Bᵀ` or `C += A·Bᵀ`: the gradient of inputs, from output gradients A and weights B.
///
/// ```text
/// C[i, j] = (C[i, j] +) Σ_l A[i, l]·B[j, l]
/// ```
///
/// # Shapes
/// A `[m, k]`, B `[n, k]`, C `[m, n]`.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit.
pub fn matmul_nt(
    pool: &dyn Pool,
    a: Mat<'_>,
    b: Mat<'_>,
    store: Store,
    c: &mut MatMut<'_>,
) -> Result<(), Error> {
    expect("matmul_nt b", [b.rows(), a.cols()], b.shape())?;
    expect("matmul_nt c", [a.rows(), b.rows()], c.shape())?;
    let (k, n) = (a.cols(), b.rows());
    Product { k, n, a: Strided::plain(a), b: Strided::transposed(b), store }.run(pool, c);
    Ok(())
}

pub(crate) fn expect(what: &'static str, expected: [usize; 2], got: [usize; 2]) -> Result<(), Error> {
    if expected == got { Ok(()) } else { Err(Error::Shape { what, expected, got }) }
}

dispatched! {
    fn wide_registers<I>() -> bool {
        I::WIDE
    }

    fn product_of_few_rows<I>(a: Mat<'_>, b: Mat<'_>, store: Store, c: &mut MatMut<'_>) {
        few_rows::product::<I>(a, b, store, c);
    }
}

/// `A·B` with `k` terms and `n` columns; the rows are those of the output it is run on.
pub(crate) struct Product<'a> {
    pub(crate) k: usize,
    pub(crate) n: usize,
    pub(crate) a: Strided<'a>,
    pub(crate) b: Strided<'a>,
    pub(crate) store: Store,
}

impl Product<'_> {
    /// Fills C, in tasks of whole rows when that pays.
    fn run(&self, pool: &dyn Pool, c: &mut MatMut<'_>) {
        let rows = c.rows();
        let work = rows.saturating_mul(self.n).saturating_mul(self.k);
        if work == 0 {
            return self.no_terms(c.data_mut());
        }
        let per_task = rows.div_ceil(pool.threads().max(1)).next_multiple_of(ROW_STEP);
        let task = |task: usize, chunk: &mut [f32]| self.serial(self.a.skip_rows(task * per_task), chunk);
        if work < SPLIT_FROM || per_task >= rows {
            return task(0, c.data_mut());
        }
        pool.chunks(c.data_mut(), per_task * self.n, &task);
    }

    /// One task's rows, by the fastest of the routes to the same bits.
    fn serial(&self, a: Strided<'_>, c: &mut [f32]) {
        if self.n == 1 && a.col_stride == 1 {
            return column::product(a, &self.b.data[..self.k], self.store, c);
        }
        if self.n > MANY_COLUMNS && (a.col_stride > FAR_APART || !wide_registers()) {
            return self.sgemm(a, c);
        }
        Packed { a, b: self.b, k: self.k, n: self.n, store: self.store }.run(c);
    }

    fn no_terms(&self, c: &mut [f32]) {
        if self.store == Store::Overwrite {
            c.fill(0.0);
        }
    }

    /// The door to `matrixmultiply`: the first rows of `a`, as many as fit in `c`.
    #[allow(unsafe_code)]
    fn sgemm(&self, a: Strided<'_>, c: &mut [f32]) {
        let (k, n, b) = (self.k, self.n, self.b);
        let m = c.len() / n;
        assert!(m > 0 && k > 0 && m * n == c.len(), "sgemm: c must be whole rows");
        assert!(a.covers(m, k), "sgemm: a must hold [{m}, {k}]");
        assert!(b.covers(k, n), "sgemm: b must hold [{k}, {n}]");
        let beta = if self.store == Store::Overwrite { 0.0 } else { 1.0 };
        let (rsa, csa) = (a.row_stride as isize, a.col_stride as isize);
        let (rsb, csb) = (b.row_stride as isize, b.col_stride as isize);
        let (a, b, out) = (a.data.as_ptr(), b.data.as_ptr(), c.as_mut_ptr());
        // SAFETY: the asserts above, which stay in release builds, put the last element of A [m, k],
        // B [k, n] and C [m, n] inside their slices, and no stride is negative, so all others lie
        // before it. C is a unique borrow and row-major, so its elements do not alias each other.
        unsafe { matrixmultiply::sgemm(m, k, n, 1.0, a, rsa, csa, b, rsb, csb, beta, out, n as isize, 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "sgemm: a must hold [4, 4]")]
    fn the_door_stays_shut_for_a_short_operand() {
        let (data, mut c) = ([0.0; 16], [0.0; 16]);
        let a = Strided::plain(Mat::new(&data[..12], 3, 4).unwrap());
        let b = Strided::plain(Mat::new(&data, 4, 4).unwrap());
        Product { k: 4, n: 4, a, b, store: Store::Add }.sgemm(a, &mut c);
    }
}
