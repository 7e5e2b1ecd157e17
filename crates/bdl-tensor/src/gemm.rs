//! Matrix products.
//!
//! (in work: split over the pool, the one-row route, and the door to `matrixmultiply`)

use crate::{Error, Mat, MatMut, Pool};

/// Whether a product replaces what the output holds or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// `C = A·B`; what C held is not read.
    Overwrite,
    /// `C = C + A·B`.
    Add,
}

fn naive(store: Store, c: &mut MatMut<'_>, k: usize, at: impl Fn(usize, usize, usize) -> (f32, f32)) {
    for i in 0..c.rows() {
        for j in 0..c.cols() {
            let s: f32 = (0..k).map(|l| { let (a, b) = at(i, j, l); a * b }).sum();
            let o = &mut c.row_mut(i)[j];
            *o = if store == Store::Add { *o + s } else { s };
        }
    }
}

/// `C = A·B`: A `[m, k]`, B `[k, n]`, C `[m, n]`.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit.
pub fn matmul(pool: &dyn Pool, a: Mat<'_>, b: Mat<'_>, store: Store, c: &mut MatMut<'_>) -> Result<(), Error> {
    let _ = pool;
    naive(store, c, a.cols(), |i, j, l| (a.row(i)[l], b.row(l)[j]));
    Ok(())
}

/// `C = Aᵀ·B`: A `[k, m]`, B `[k, n]`, C `[m, n]`.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit.
pub fn matmul_tn(pool: &dyn Pool, a: Mat<'_>, b: Mat<'_>, store: Store, c: &mut MatMut<'_>) -> Result<(), Error> {
    let _ = pool;
    naive(store, c, a.rows(), |i, j, l| (a.row(l)[i], b.row(l)[j]));
    Ok(())
}

/// `C = A·Bᵀ`: A `[m, k]`, B `[n, k]`, C `[m, n]`.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit.
pub fn matmul_nt(pool: &dyn Pool, a: Mat<'_>, b: Mat<'_>, store: Store, c: &mut MatMut<'_>) -> Result<(), Error> {
    let _ = pool;
    naive(store, c, a.cols(), |i, j, l| (a.row(i)[l], b.row(j)[l]));
    Ok(())
}
