//! Activations and what flows back through them.

use super::same_len;
use crate::dispatch::dispatched;
use crate::math;

#[inline(always)]
fn relu_of(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x } // NaN stays
}

macro_rules! maps {
    ($($(#[$meta:meta])* $name:ident = $f:expr;)*) => {
        dispatched! {$(
            $(#[$meta])*
            ///
            /// # Panics
            /// If the lengths differ.
            pub fn $name(x: &[f32], out: &mut [f32]) {
                same_len(concat!(stringify!($name), " out"), x.len(), out.len());
                for (o, &x) in out.iter_mut().zip(x) {
                    *o = $f(x);
                }
            }
        )*}
    };
}

maps! {
    /// `out = e^x`.
    exp = math::exp;
    /// `out = ln x`.
    ln = math::ln;
    /// `out = softplus(x)`.
    softplus = math::softplus;
    /// `out = max(x, 0)`; NaN stays NaN.
    relu = relu_of;
    /// `out = tanh x`.
    tanh = math::tanh;
    /// `out = sigmoid(x)`.
    sigmoid = math::sigmoid;
    /// `out = x·sigmoid(x)`.
    silu = math::silu;
    /// `out = x·Φ(x)`.
    gelu = math::gelu;
}

macro_rules! backwards {
    ($($(#[$meta:meta])* $name:ident($at:ident) = $f:expr;)*) => {
        dispatched! {$(
            $(#[$meta])*
            ///
            /// # Panics
            /// If the lengths differ.
            pub fn $name($at: &[f32], dy: &[f32], dx: &mut [f32]) {
                same_len(concat!(stringify!($name), " dy"), $at.len(), dy.len());
                same_len(concat!(stringify!($name), " dx"), $at.len(), dx.len());
                for ((dx, &dy), &at) in dx.iter_mut().zip(dy).zip($at) {
                    *dx = $f(at, dy);
                }
            }
        )*}
    };
}

backwards! {
    /// `dx = dy` where the output `y > 0`, else 0.
    relu_backward(y) = |y, dy| if y > 0.0 { dy } else { 0.0 };
    /// `dx = dy·(1 − y²)`, from the output y.
    tanh_backward(y) = |y: f32, dy: f32| dy * ((1.0 - y) * (1.0 + y));
    /// `dx = dy·y·(1 − y)`, from the output y.
    sigmoid_backward(y) = |y: f32, dy: f32| dy * (y * (1.0 - y));
    /// `dx = dy·sigmoid(x)`, from the input x.
    softplus_backward(x) = |x, dy: f32| dy * math::sigmoid(x);
    /// `dx = dy·silu′(x)`, from the input x.
    silu_backward(x) = |x, dy: f32| dy * math::silu_grad(x);
    /// `dx = dy·gelu′(x)`, from the input x.
    gelu_backward(x) = |x, dy: f32| dy * math::gelu_grad(x);
}
