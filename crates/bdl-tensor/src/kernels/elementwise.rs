//! Sums and products, element by element.

use super::same_len;
use crate::MatMut;
use crate::dispatch::dispatched;

dispatched! {
    /// `out = a + b`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn add(a: &[f32], b: &[f32], out: &mut [f32]) {
        same_len("add b", a.len(), b.len());
        same_len("add out", a.len(), out.len());
        for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
            *o = a + b;
        }
    }

    /// `out = a·b`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn mul(a: &[f32], b: &[f32], out: &mut [f32]) {
        same_len("mul b", a.len(), b.len());
        same_len("mul out", a.len(), out.len());
        for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
            *o = a * b;
        }
    }

    /// `out = x²`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn square(x: &[f32], out: &mut [f32]) {
        same_len("square out", x.len(), out.len());
        for (o, &x) in out.iter_mut().zip(x) {
            *o = x * x;
        }
    }

    /// `y ← y + a·x`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
        same_len("axpy y", x.len(), y.len());
        for (y, &x) in y.iter_mut().zip(x) {
            *y += a * x;
        }
    }

    /// `x ← a·x`.
    pub fn scale(a: f32, x: &mut [f32]) {
        for x in x {
            *x *= a;
        }
    }

    /// `out = mu + sigma·eps`: a normal draw from its mean, standard deviation and standard normal.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn mul_add_into(mu: &[f32], sigma: &[f32], eps: &[f32], out: &mut [f32]) {
        same_len("mul_add_into sigma", mu.len(), sigma.len());
        same_len("mul_add_into eps", mu.len(), eps.len());
        same_len("mul_add_into out", mu.len(), out.len());
        for (((o, &mu), &sigma), &eps) in out.iter_mut().zip(mu).zip(sigma).zip(eps) {
            *o = mu + sigma * eps;
        }
    }

    /// `x ← mu + sigma·x`: [`mul_add_into`] in the place of its standard normal.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn mul_add_assign(mu: &[f32], sigma: &[f32], x: &mut [f32]) {
        same_len("mul_add_assign sigma", mu.len(), sigma.len());
        same_len("mul_add_assign x", mu.len(), x.len());
        for ((x, &mu), &sigma) in x.iter_mut().zip(mu).zip(sigma) {
            *x = mu + sigma * *x;
        }
    }

    /// `out = m + √v·eps`: a normal draw from its mean, variance and standard normal.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn sqrt_mul_add(m: &[f32], v: &[f32], eps: &[f32], out: &mut [f32]) {
        same_len("sqrt_mul_add v", m.len(), v.len());
        same_len("sqrt_mul_add eps", m.len(), eps.len());
        same_len("sqrt_mul_add out", m.len(), out.len());
        for (((o, &m), &v), &eps) in out.iter_mut().zip(m).zip(v).zip(eps) {
            *o = m + v.sqrt() * eps;
        }
    }

    /// Adds `bias` to every row.
    ///
    /// # Shapes
    /// bias `[n]`, rows `[m, n]`.
    ///
    /// # Panics
    /// If `bias` is not as long as a row.
    pub fn add_bias_rows(bias: &[f32], rows: &mut MatMut<'_>) {
        same_len("add_bias_rows bias", rows.cols(), bias.len());
        for i in 0..rows.rows() {
            for (y, &b) in rows.row_mut(i).iter_mut().zip(bias) {
                *y += b;
            }
        }
    }
}
