//! Elementwise and reduction loops over slices (in work).
use crate::math;

/// `out[i] = softplus(x[i])`.
pub fn softplus(x: &[f32], out: &mut [f32]) { for (o, &x) in out.iter_mut().zip(x) { *o = math::softplus(x); } }
