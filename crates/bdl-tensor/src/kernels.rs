//! Loops over slices, compiled for every instruction set and chosen at run time.
//!
//! All but `exp_f64` and the sums over `Normals` give the same bits at every level, since they only multiply
//! and add plainly, and sums run in a fixed order; those two do so at every level that has fused operations. Slices that belong together must have equal lengths: each function panics in
//! release builds too when they do not.
//!
//! ```
//! use bdl_tensor::kernels;
//! let (x, mut y) = ([-1.0, 0.0, 2.0], [f32::NAN; 3]);
//! kernels::relu(&x, &mut y);
//! assert_eq!(y, [0.0, 0.0, 2.0]);
//! assert_eq!(kernels::sum_squares_f64(&x), 5.0);
//! ```

mod activation;
mod adam;
mod chacha;
mod concrete;
mod dropout_alpha;
mod elementwise;
mod exp;
mod exp_table;
mod kl;
mod kl_path;
mod kl_slope;
mod local;
mod log_uniform;
mod logistic;
mod mask;
mod mixture;
mod normal;
mod scale_mixture;
mod signs;
mod softmax;
mod sums;

pub use activation::{
    exp, gelu, gelu_backward, ln, relu, relu_backward, sigmoid, sigmoid_backward, silu, silu_backward,
    softplus, softplus_backward, tanh, tanh_backward,
};
pub use adam::{AdamStep, adam};
pub use chacha::{Blocks, bytes_below, chacha8};
pub use concrete::{concrete_factors, concrete_slopes, dot_unit_rows_f64, scale_unit_rows};
pub use dropout_alpha::{
    alpha_sigma, alpha_sigma_backward, alpha_variance, alpha_variance_backward, kl_dropout, kl_dropout_slope,
    mul_noise, mul_noise_backward,
};
pub use elementwise::{
    add, add_bias_rows, axpy, mul, mul_add_assign, mul_add_into, scale, sqrt_mul_add, square,
};
pub use exp::exp_f64;
pub use kl::{kl_normal, kl_normal_grad, sum_ln_softplus};
pub use kl_path::{abs_mean_slopes, add_path_grad, draw_and_slope};
pub use kl_slope::kl_normal_slope;
pub use local::{
    add_sqrt_mul, add_square_backward, softplus_backward_add, softplus_square, softplus_square_backward,
    sqrt_mul_backward,
};
pub use log_uniform::{exp_backward, exp_half, exp_half_backward_add, kl_log_uniform, kl_log_uniform_slope};
pub use logistic::logistic_blocks;
pub use mask::{mask_scale, mask_scale_rows};
pub use mixture::{Normals, normals_density, normals_mass, normals_rough};
pub use normal::{box_muller, box_muller_blocks};
pub use scale_mixture::{ScaleMixture, scale_mixture_excess, scale_mixture_slope};
pub use signs::{add_sign_rows, sign_rows};
pub use softmax::{log_softmax, softmax};
pub use sums::{col_moments, col_sums_add, dot_f64, first_non_finite, sum_f64, sum_squares_f64};

/// Panics unless two slices that belong together are equally long.
#[inline(always)]
fn same_len(what: &str, expected: usize, got: usize) {
    assert!(expected == got, "{what}: must have {expected} elements, got {got}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::forced::assert_levels_agree;
    use crate::{Mat, MatMut};

    /// Lengths that end inside a vector, at its end and behind it.
    const LENGTHS: [usize; 8] = [0, 1, 2, 15, 16, 17, 130, 1_000];

    /// Numbers of all sizes, with zeros and infinities among them.
    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut s = seed;
        let mut next = || {
            s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            s >> 8
        };
        (0..n)
            .map(|i| match i % 29 {
                7 => 0.0,
                11 => f32::INFINITY,
                13 => f32::NEG_INFINITY,
                _ => (next() as f32 / 8_388_608.0 - 1.0) * [0.01, 1.0, 10.0, 200.0][i % 4],
            })
            .collect()
    }

    fn bits(x: &[f32]) -> Vec<u32> {
        x.iter().map(|x| if x.is_nan() { u32::MAX } else { x.to_bits() }).collect()
    }

    #[test]
    fn maps_have_the_same_bits_at_every_level() {
        type Map = fn(&[f32], &mut [f32]);
        let all: [(&str, Map); 9] = [
            ("exp", exp),
            ("ln", ln),
            ("softplus", softplus),
            ("relu", relu),
            ("tanh", tanh),
            ("sigmoid", sigmoid),
            ("silu", silu),
            ("gelu", gelu),
            ("square", square),
        ];
        for (name, f) in all {
            for n in LENGTHS {
                let x = numbers(n, 1);
                assert_levels_agree(name, || {
                    let mut out = vec![f32::NAN; n];
                    f(&x, &mut out);
                    bits(&out)
                });
            }
        }
    }

    #[test]
    fn kernels_of_two_slices_have_the_same_bits_at_every_level() {
        type Two = fn(&[f32], &[f32], &mut [f32]);
        let all: [(&str, Two); 9] = [
            ("relu_backward", relu_backward),
            ("tanh_backward", tanh_backward),
            ("sigmoid_backward", sigmoid_backward),
            ("softplus_backward", softplus_backward),
            ("silu_backward", silu_backward),
            ("gelu_backward", gelu_backward),
            ("add", add),
            ("mul", mul),
            ("mul_add_into", |a, b, out| mul_add_into(a, b, a, out)),
        ];
        for (name, f) in all {
            for n in LENGTHS {
                let (x, y) = (numbers(n, 1), numbers(n, 2));
                assert_levels_agree(name, || {
                    let mut out = vec![f32::NAN; n];
                    f(&x, &y, &mut out);
                    bits(&out)
                });
            }
        }
    }

    #[test]
    fn sums_steps_and_draws_have_the_same_bits_at_every_level() {
        let step = AdamStep {
            lr: 1e-2,
            beta1: 0.9,
            beta2: 0.99,
            floor: 1e-8,
            bias1: 0.1,
            bias2: 0.01,
            weight_decay: 0.1,
        };
        for n in LENGTHS {
            let mut x = numbers(n, 3);
            x.iter_mut().for_each(|x| *x = x.clamp(-1e3, 1e3));
            let words: Vec<u32> =
                numbers(n, 4).iter().map(|x| x.to_bits().wrapping_mul(2_654_435_761)).collect();
            assert_levels_agree("sums", || {
                [sum_f64(&x), sum_squares_f64(&x), dot_f64(&x, &x)].map(f64::to_bits)
            });
            assert_levels_agree("first_non_finite", || first_non_finite(&numbers(n, 3)));
            assert_levels_agree("adam", || {
                let (mut w, mut m, mut v) = (x.clone(), x.clone(), vec![0.5; n]);
                adam(&step, &mut w, &x, &mut m, &mut v);
                sqrt_mul_add(&w.clone(), &v, &m, &mut w);
                axpy(0.3, &m, &mut w);
                scale(0.7, &mut w);
                [bits(&w), bits(&m), bits(&v)]
            });
            assert_levels_agree("box_muller", || {
                let even = n / 2 * 2;
                let mut out = vec![f32::NAN; even];
                box_muller(&words[..even], &mut out);
                bits(&out)
            });
        }
    }

    #[test]
    fn rows_have_the_same_bits_at_every_level() {
        let (x, bias) = (numbers(26 * 10, 5), numbers(10, 6));
        assert_levels_agree("rows", || {
            let mut rows = x.clone();
            add_bias_rows(&bias, &mut MatMut::new(&mut rows, 26, 10).unwrap());
            let mut sums = [0.5; 10];
            col_sums_add(Mat::new(&rows[..26 * 10], 26, 10).unwrap(), &mut sums);
            let (mut mean, mut std_dev) = ([0.0; 7], [0.0; 7]);
            col_moments(Mat::new(&rows[..26 * 10], 26, 10).unwrap(), 3, &mut mean, &mut std_dev);
            (bits(&rows), bits(&sums), bits(&mean), bits(&std_dev))
        });
    }

    #[test]
    fn a_wrong_length_is_named() {
        let wrong = std::panic::catch_unwind(|| mul(&[1.0; 3], &[1.0; 3], &mut [0.0; 2])).unwrap_err();
        assert_eq!(wrong.downcast_ref::<String>().unwrap(), "mul out: must have 3 elements, got 2");
        assert!(std::panic::catch_unwind(|| box_muller(&[1; 3], &mut [0.0; 3])).is_err());
        assert!(std::panic::catch_unwind(|| tanh_backward(&[1.0], &[1.0, 2.0], &mut [0.0])).is_err());
    }
}
