//! KL divergences of a normal from the log-uniform prior, as functions of `ln alpha = ln(sigma²/mu²)`.

use super::{exp, ln, sigmoid, softplus};

const K1: f32 = 0.635_76;
const K2: f32 = 1.873_20;
const K3: f32 = 1.486_95;

/// Of the polynomial for alpha ≤ 1, and what makes it comparable with [`log_uniform_kl`].
const C1: f32 = 1.161_451_2;
const C2: f32 = -1.502_041_2;
const C3: f32 = 0.586_299_2;
const AT_INFINITY: f32 = 0.655_35;

/// `ln(sigma²/mu²)`, +∞ at `mu = 0`, of which subnormal numbers are part.
#[inline(always)]
#[must_use]
pub fn log_alpha(mu: f32, ln_sigma2: f32) -> f32 {
    // Worked out for every mu, so that a loop has nothing to branch on.
    let log_alpha = ln_sigma2 - 2.0 * ln(mu.abs());
    if mu.abs() < f32::MIN_POSITIVE { f32::INFINITY } else { log_alpha }
}

/// `(t/(1 + t), t)` with `t = e^{−|x|}`: sigmoid of `−|x|`.
#[inline(always)]
fn tail(x: f32) -> (f32, f32) {
    let t = exp(-x.abs());
    (t / (1.0 + t), t)
}

/// The KL divergence of `N(mu, sigma²)` from the log-uniform prior, up to the constant that makes it 0 at `alpha = ∞`.
/// Error ≤ 3 ulp for ln alpha in [−100, 8]; of the exact divergence 0.0095 nats.
///
/// ```text
/// KL(log_alpha) ≈ k1·sigmoid(−(k2 + k3·log_alpha)) + ½·ln(1 + 1/alpha)
/// ```
///
/// Positive, decreasing; `k1 − ½·log_alpha` at −∞.
///
/// # References
/// Molchanov, Ashukha & Vetrov 2017, *Variational dropout sparsifies deep neural networks*, eq. 14;
/// `docs/math.md#kl-log-uniform`.
#[inline(always)]
#[must_use]
pub fn log_uniform_kl(log_alpha: f32) -> f32 {
    let u = K2 + K3 * log_alpha;
    let (small, _) = tail(u);
    let above = 1.0 - small;
    K1 * (if u > 0.0 { small } else { above }) + 0.5 * softplus(-log_alpha)
}

/// The derivative of [`log_uniform_kl`]: in [−0.74, 0]. Error ≤ 3 ulp for ln alpha in [−100, 8].
///
/// ```text
/// KL′ = −k1·k3·s·(1 − s) − ½·sigmoid(−log_alpha),   s = sigmoid(k2 + k3·log_alpha)
/// ```
#[inline(always)]
#[must_use]
pub fn log_uniform_kl_slope(log_alpha: f32) -> f32 {
    let (small, _) = tail(K2 + K3 * log_alpha);
    let (below, t) = tail(log_alpha);
    let above = 1.0 / (1.0 + t);
    let below = if log_alpha > 0.0 { below } else { above };
    -(K1 * K3 * small * (1.0 - small) + 0.5 * below)
}

/// The KL divergence of `N(mu, alpha·mu²)` from the log-uniform prior for `alpha = sigmoid(x) < 1`, up to the constant that
/// makes it 0 at `alpha = ∞`. Error ≤ 4 ulp for x in [−100, 100]; of the exact divergence 0.0203 nats.
///
/// ```text
/// KL ≈ 0.65535 − ½·ln alpha − c1·alpha − c2·alpha² − c3·alpha³
/// ```
///
/// Positive, decreasing in x; 0.40964 at +∞.
///
/// # References
/// Kingma, Salimans & Welling 2015, *Variational dropout and the local reparameterization trick*, eq. 14;
/// `docs/math.md#variational-dropout`.
#[inline(always)]
#[must_use]
pub fn dropout_kl(x: f32) -> f32 {
    let alpha = sigmoid(x);
    0.5 * softplus(-x) + (AT_INFINITY - alpha * (C1 + alpha * (C2 + alpha * C3)))
}

/// The derivative of [`dropout_kl`] in x: in [−0.53, 0]. Error ≤ 8 ulp for x in [−100, 80].
///
/// ```text
/// KL′ = −(½ + c1·alpha + 2·c2·alpha² + 3·c3·alpha³)·(1 − alpha)
/// ```
#[inline(always)]
#[must_use]
pub fn dropout_kl_slope(x: f32) -> f32 {
    let alpha = sigmoid(x);
    -(0.5 + alpha * (C1 + alpha * (2.0 * C2 + alpha * (3.0 * C3)))) * sigmoid(-x)
}
