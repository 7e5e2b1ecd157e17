//! Scalar mathematics (in work: this first form leans on `std`; polynomials follow with the same signatures).

/// `e^x`.
#[must_use]
pub fn exp(x: f32) -> f32 { x.exp() }
/// `ln x`.
#[must_use]
pub fn ln(x: f32) -> f32 { x.ln() }
/// `softplus(x) = ln(1 + e^x) = max(x, 0) + ln_1p(e^{-|x|})`.
#[must_use]
pub fn softplus(x: f32) -> f32 { x.max(0.0) + (-x.abs()).exp().ln_1p() }
/// `ln softplus(x)`, finite for every finite x: tends to `x` as x → −∞.
#[must_use]
pub fn ln_softplus(x: f32) -> f32 { if x < -15.0 { x - 0.5 * x.exp() } else { softplus(x).ln() } }
/// `sigmoid(x) = 1 / (1 + e^{-x})`, the derivative of softplus.
#[must_use]
pub fn sigmoid(x: f32) -> f32 { if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { let e = x.exp(); e / (1.0 + e) } }
/// `tanh x`.
#[must_use]
pub fn tanh(x: f32) -> f32 { x.tanh() }
