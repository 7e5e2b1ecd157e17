//! Textbook linear algebra of small symmetric positive definite matrices, row-major `[n, n]`.

/// The lower triangle `L` of `a = L·Lᵀ`; `None` if `a` is not positive definite.
///
/// # References
/// Golub and Van Loan, 2013, "Matrix Computations", section 4.2.
#[must_use]
pub fn cholesky(a: &[f64], n: usize) -> Option<Vec<f64>> {
    assert_eq!(a.len(), n * n, "cholesky: a must be [{n}, {n}], got {} values", a.len());
    let mut l = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let known: f64 = (0..j).map(|k| l[i * n + k] * l[j * n + k]).sum();
            let rest = a[i * n + j] - known;
            if i != j {
                l[i * n + j] = rest / l[j * n + j];
            } else if rest > 0.0 {
                l[i * n + i] = rest.sqrt();
            } else {
                return None;
            }
        }
    }
    Some(l)
}

/// Solves `a·x = b` for symmetric positive definite `a`: forward, then backward substitution.
#[must_use]
pub fn solve_spd(a: &[f64], b: &[f64]) -> Vec<f64> {
    let n = b.len();
    let l = cholesky(a, n).expect("solve_spd: a must be positive definite");
    let mut x = b.to_vec();
    for i in 0..n {
        let known: f64 = (0..i).map(|k| l[i * n + k] * x[k]).sum();
        x[i] = (x[i] - known) / l[i * n + i];
    }
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|k| l[k * n + i] * x[k]).sum();
        x[i] = (x[i] - known) / l[i * n + i];
    }
    x
}

/// `a⁻¹`, column by column.
#[must_use]
pub fn inverse_spd(a: &[f64], n: usize) -> Vec<f64> {
    let mut inverse = vec![0.0; n * n];
    for j in 0..n {
        let unit: Vec<f64> = (0..n).map(|i| f64::from(i == j)).collect();
        for (i, v) in solve_spd(a, &unit).into_iter().enumerate() {
            inverse[i * n + j] = v;
        }
    }
    inverse
}

/// `ln det a = 2·Σ ln L_ii`.
#[must_use]
pub fn ln_det_spd(a: &[f64], n: usize) -> f64 {
    let l = cholesky(a, n).expect("ln_det_spd: a must be positive definite");
    2.0 * (0..n).map(|i| l[i * n + i].ln()).sum::<f64>()
}

/// `det a` of any square matrix, by Gaussian elimination with partial pivoting (no Cholesky in it).
#[must_use]
pub fn det_lu(a: &[f64], n: usize) -> f64 {
    assert_eq!(a.len(), n * n, "det_lu: a must be [{n}, {n}], got {} values", a.len());
    let mut m = a.to_vec();
    let mut det = 1.0;
    for k in 0..n {
        let pivot = (k..n).max_by(|&i, &j| m[i * n + k].abs().total_cmp(&m[j * n + k].abs())).unwrap_or(k);
        if pivot != k {
            (0..n).for_each(|j| m.swap(k * n + j, pivot * n + j));
            det = -det;
        }
        det *= m[k * n + k];
        if m[k * n + k] == 0.0 {
            return 0.0;
        }
        for i in k + 1..n {
            let factor = m[i * n + k] / m[k * n + k];
            (k..n).for_each(|j| m[i * n + j] -= factor * m[k * n + j]);
        }
    }
    det
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::matmul;
    use crate::source::SplitMix64;

    const A: [f64; 9] = [4.0, 12.0, -16.0, 12.0, 37.0, -43.0, -16.0, -43.0, 98.0];

    #[test]
    fn cholesky_of_the_textbook_matrix() {
        assert_eq!(cholesky(&A, 3), Some(vec![2.0, 0.0, 0.0, 6.0, 1.0, 0.0, -8.0, 5.0, 3.0]));
        assert!((ln_det_spd(&A, 3) - 36f64.ln()).abs() < 1e-14);
        assert!((det_lu(&A, 3) - 36.0).abs() < 1e-10);
    }

    #[test]
    fn indefinite_and_singular_matrices_are_told() {
        assert_eq!(cholesky(&[1.0, 2.0, 2.0, 1.0], 2), None);
        assert_eq!(det_lu(&[1.0, 2.0, 2.0, 4.0], 2), 0.0);
        assert_eq!(det_lu(&[0.0, 1.0, 1.0, 0.0], 2), -1.0);
    }

    #[test]
    fn inverse_times_matrix_is_the_identity() {
        let mut source = SplitMix64::new(2);
        let g = source.normals(25);
        let gt: Vec<f64> = (0..25).map(|k| g[(k % 5) * 5 + k / 5]).collect();
        let mut a = matmul(&gt, &g, 5, 5, 5);
        (0..5).for_each(|i| a[i * 5 + i] += 0.5);
        let product = matmul(&inverse_spd(&a, 5), &a, 5, 5, 5);
        for (k, v) in product.iter().enumerate() {
            assert!((v - f64::from(k / 5 == k % 5)).abs() < 1e-11, "element {k}: {v}");
        }
        assert!((ln_det_spd(&a, 5) - det_lu(&a, 5).ln()).abs() < 1e-11);
    }
}
