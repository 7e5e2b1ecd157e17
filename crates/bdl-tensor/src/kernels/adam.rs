//! One step of Adam over flat slices.

use super::same_len;
use crate::dispatch::dispatched;

/// The numbers of one step of [`adam`].
///
/// | field | meaning | range |
/// |---|---|---|
/// | `lr` | step length | ≥ 0 |
/// | `beta1` | decay of the mean of gradients | `[0, 1)` |
/// | `beta2` | decay of the mean of squared gradients | `[0, 1)` |
/// | `floor` | added to the root of the second moment | > 0 |
/// | `bias1`, `bias2` | `1 − beta1^t`, `1 − beta2^t` at step t = 1, 2, … | `(0, 1]` |
/// | `weight_decay` | decoupled: shrinks by `lr·weight_decay·w` per step | ≥ 0 |
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Step length.
    pub lr: f32,
    /// Decay of the mean of gradients.
    pub beta1: f32,
    /// Decay of the mean of squared gradients.
    pub beta2: f32,
    /// Added to the root of the second moment, so that it never divides by 0.
    pub floor: f32,
    /// `1 − beta1^t`.
    pub bias1: f32,
    /// `1 − beta2^t`.
    pub bias2: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
}

dispatched! {
    /// Moves `params` one step against `grads`, and with them the moments `m` and `v`.
    ///
    /// ```text
    /// m ← beta1·m + (1 − beta1)·g
    /// v ← beta2·v + (1 − beta2)·g²
    /// w ← w − lr·((m/bias1) / (√(v/bias2) + floor) + weight_decay·w)
    /// ```
    ///
    /// # Panics
    /// If the lengths differ.
    ///
    /// # Examples
    /// ```
    /// use bdl_tensor::kernels::{AdamStep, adam};
    /// let step = AdamStep {
    ///     lr: 0.5, beta1: 0.5, beta2: 0.75, floor: 1e-8, bias1: 0.5, bias2: 0.25, weight_decay: 0.0,
    /// };
    /// let (mut w, mut m, mut v) = ([1.0, 1.0], [0.0; 2], [0.0; 2]);
    /// adam(&step, &mut w, &[3.0, -3.0], &mut m, &mut v);
    /// assert_eq!(w, [0.5, 1.5]); // the first step has length lr
    /// ```
    ///
    /// # References
    /// Kingma, Ba (2015), Adam, algorithm 1. Loshchilov, Hutter (2019), Decoupled weight decay, algorithm 2.
    pub fn adam(step: &AdamStep, params: &mut [f32], grads: &[f32], m: &mut [f32], v: &mut [f32]) {
        same_len("adam grads", params.len(), grads.len());
        same_len("adam m", params.len(), m.len());
        same_len("adam v", params.len(), v.len());
        let AdamStep { lr, beta1, beta2, floor, bias1, bias2, weight_decay } = *step;
        let (rate, spread) = (lr / bias1, 1.0 / bias2.sqrt());
        let (fresh1, fresh2, shrink) = (1.0 - beta1, 1.0 - beta2, lr * weight_decay);
        for (((w, &g), m), v) in params.iter_mut().zip(grads).zip(m).zip(v) {
            *m = beta1 * *m + fresh1 * g;
            *v = beta2 * *v + fresh2 * (g * g);
            *w = *w - shrink * *w - rate * *m / (v.sqrt() * spread + floor);
        }
    }
}
