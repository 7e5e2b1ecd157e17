//! The loops of local reparameterization: variances, the draw, and their gradients.

use super::same_len;
use crate::dispatch::dispatched;
use crate::math;

dispatched! {
    /// `out = softplus(rho)²`: variances from raw scales.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn softplus_square(rho: &[f32], out: &mut [f32]) {
        same_len("softplus_square out", rho.len(), out.len());
        for (o, &rho) in out.iter_mut().zip(rho) {
            let sigma = math::softplus(rho);
            *o = sigma * sigma;
        }
    }

    /// Replaces each `∂L/∂sigma²` in d by `∂L/∂rho = 2·∂L/∂sigma²·sigma·sigmoid(rho)`, sigma = softplus(rho).
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn softplus_square_backward(rho: &[f32], d: &mut [f32]) {
        same_len("softplus_square_backward d", rho.len(), d.len());
        for (d, &rho) in d.iter_mut().zip(rho) {
            *d = 2.0 * (*d * math::softplus(rho) * math::sigmoid(rho));
        }
    }

    /// `d_rho += ∂L/∂sigma·sigmoid(rho)`, sigma = softplus(rho).
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn softplus_backward_add(rho: &[f32], d_sigma: &[f32], d_rho: &mut [f32]) {
        same_len("softplus_backward_add d_sigma", rho.len(), d_sigma.len());
        same_len("softplus_backward_add d_rho", rho.len(), d_rho.len());
        for ((o, &rho), &d) in d_rho.iter_mut().zip(rho).zip(d_sigma) {
            *o += d * math::sigmoid(rho);
        }
    }

    /// `y ← y + √v·eps`: a normal draw in the place of its mean.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn add_sqrt_mul(v: &[f32], eps: &[f32], y: &mut [f32]) {
        same_len("add_sqrt_mul eps", v.len(), eps.len());
        same_len("add_sqrt_mul y", v.len(), y.len());
        for ((y, &v), &eps) in y.iter_mut().zip(v).zip(eps) {
            *y += v.sqrt() * eps;
        }
    }

    /// Replaces each variance v by the gradient `dy·eps/(2√v)` through `y = m + √v·eps`, 0 where v is not
    /// above 0.
    ///
    /// # Panics
    /// If the lengths differ.
    ///
    /// # Examples
    /// ```
    /// let mut v = [4.0, 0.0];
    /// bdl_tensor::kernels::sqrt_mul_backward(&[2.0, 2.0], &[3.0, 3.0], &mut v);
    /// assert_eq!(v, [1.5, 0.0]);
    /// ```
    pub fn sqrt_mul_backward(dy: &[f32], eps: &[f32], v: &mut [f32]) {
        same_len("sqrt_mul_backward eps", dy.len(), eps.len());
        same_len("sqrt_mul_backward v", dy.len(), v.len());
        for ((v, &dy), &eps) in v.iter_mut().zip(dy).zip(eps) {
            let d = 0.5 * dy * eps / v.sqrt();
            *v = if *v > 0.0 { d } else { 0.0 };
        }
    }

    /// `dx ← dx + 2x·d`: the gradient d of x² passed on to x.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn add_square_backward(x: &[f32], d: &[f32], dx: &mut [f32]) {
        same_len("add_square_backward d", x.len(), d.len());
        same_len("add_square_backward dx", x.len(), dx.len());
        for ((dx, &d), &x) in dx.iter_mut().zip(d).zip(x) {
            *dx += 2.0 * x * d;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::forced::assert_levels_agree;
    use crate::kernels;

    fn numbers(n: usize, seed: f32) -> Vec<f32> {
        (0..n).map(|i| ((i as f32 + seed) * 0.731).sin() * [0.0, 0.1, 1.0, 9.0, 90.0][i % 5]).collect()
    }

    fn bits(x: &[f32]) -> Vec<u32> {
        x.iter().map(|x| x.to_bits()).collect()
    }

    #[test]
    fn each_loop_has_the_bits_of_its_single_steps_at_every_level() {
        for n in [0, 1, 15, 16, 17, 130, 1_000] {
            let (x, d, eps) = (numbers(n, 1.0), numbers(n, 2.0), numbers(n, 3.0));
            let v: Vec<f32> = numbers(n, 4.0).iter().map(|v| v.abs()).collect();
            let (mut sigma, mut tmp, mut by_rho) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
            kernels::softplus(&x, &mut sigma);
            kernels::mul(&d, &sigma, &mut tmp);
            kernels::softplus_backward(&x, &tmp, &mut by_rho);
            kernels::scale(2.0, &mut by_rho);
            let mut y = vec![0.0; n];
            kernels::sqrt_mul_add(&x, &v, &eps, &mut y);
            let square: Vec<f32> = sigma.iter().map(|s| s * s).collect();
            let expected = [bits(&square), bits(&by_rho), bits(&y)];
            assert_levels_agree("local", || {
                let (mut a, mut b, mut c) = (vec![f32::NAN; n], d.clone(), x.clone());
                softplus_square(&x, &mut a);
                softplus_square_backward(&x, &mut b);
                add_sqrt_mul(&v, &eps, &mut c);
                assert_eq!([bits(&a), bits(&b), bits(&c)], expected, "{n} elements");
                let (mut e, mut f) = (v.clone(), d.clone());
                sqrt_mul_backward(&d, &eps, &mut e);
                add_square_backward(&x, &eps, &mut f);
                for i in 0..n {
                    let slope = if v[i] > 0.0 { 0.5 * d[i] * eps[i] / v[i].sqrt() } else { 0.0 };
                    assert_eq!(e[i].to_bits(), slope.to_bits());
                    assert_eq!(f[i].to_bits(), (d[i] + 2.0 * x[i] * eps[i]).to_bits());
                }
                [bits(&e), bits(&f)]
            });
        }
    }
}
