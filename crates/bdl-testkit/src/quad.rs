//! Integrals in one dimension: expectations under a normal, and the CRPS from its definition.

use crate::stats::normal_pdf;

/// `∫_a^b f` by adaptive Simpson, to about `tol` absolute; halves at most 50 times.
///
/// The interval is first cut into 16 panels, so that a narrow feature is not missed at the first look.
///
/// # References
/// Lyness, 1969, "Notes on the adaptive Simpson quadrature routine".
pub fn adaptive_simpson(f: &impl Fn(f64) -> f64, a: f64, b: f64, tol: f64) -> f64 {
    const PANELS: u32 = 16;
    let at = |i: u32| a + (b - a) * f64::from(i) / f64::from(PANELS);
    (0..PANELS).map(|i| refine(f, Panel::new(f, at(i), at(i + 1)), tol / f64::from(PANELS), 50)).sum()
}

#[derive(Clone, Copy)]
struct Panel {
    a: f64,
    b: f64,
    fa: f64,
    fm: f64,
    fb: f64,
}

impl Panel {
    fn new(f: &impl Fn(f64) -> f64, a: f64, b: f64) -> Self {
        Self { a, b, fa: f(a), fm: f(0.5 * (a + b)), fb: f(b) }
    }

    fn simpson(&self) -> f64 {
        (self.b - self.a) / 6.0 * (self.fa + 4.0 * self.fm + self.fb)
    }

    fn halves(&self, f: &impl Fn(f64) -> f64) -> (Self, Self) {
        let m = 0.5 * (self.a + self.b);
        let left = Self { a: self.a, b: m, fa: self.fa, fm: f(0.5 * (self.a + m)), fb: self.fm };
        let right = Self { a: m, b: self.b, fa: self.fm, fm: f(0.5 * (m + self.b)), fb: self.fb };
        (left, right)
    }
}

fn refine(f: &impl Fn(f64) -> f64, whole: Panel, tol: f64, depth: u32) -> f64 {
    let (left, right) = whole.halves(f);
    let halved = left.simpson() + right.simpson();
    let error = halved - whole.simpson();
    if depth == 0 || error.abs() <= 15.0 * tol {
        return halved + error / 15.0;
    }
    refine(f, left, 0.5 * tol, depth - 1) + refine(f, right, 0.5 * tol, depth - 1)
}

/// `E f(x)` for `x ~ N(mu, sigma²)`, by [`adaptive_simpson`] over `mu ± 12·sigma`; kinks in `f` are welcome.
///
/// # Examples
/// ```
/// let relu = bdl_testkit::quad::normal_expectation(|x: f64| x.max(0.0), 0.0, 1.0);
/// assert!((relu - 0.398_942_280_401_432_7).abs() < 1e-10);
/// ```
pub fn normal_expectation(f: impl Fn(f64) -> f64, mu: f64, sigma: f64) -> f64 {
    assert!(sigma >= 0.0, "normal_expectation: sigma must be >= 0, got {sigma}");
    adaptive_simpson(&|t| f(mu + sigma * t) * normal_pdf(t), -12.0, 12.0, 1e-12)
}

/// Gauss–Hermite quadrature for the standard normal: exact for polynomials of degree below `2n`.
///
/// ```text
/// E f(x) ≈ Σ_i weight_i·f(mu + sigma·node_i),   He_n(node_i) = 0,   weight_i = 1 / (n·h_{n−1}(node_i)²)
/// ```
///
/// with `h_k = He_k/√k!`, the orthonormal Hermite polynomials. The nodes are found by bisection between those of the
/// polynomial before, with which they interlace.
///
/// # References
/// Szegő, 1939, "Orthogonal Polynomials", 3.3 (interlacing) and 3.4 (weights).
#[derive(Debug, Clone)]
pub struct GaussHermite {
    nodes: Vec<f64>,
    weights: Vec<f64>,
}

impl GaussHermite {
    /// The rule with `n` nodes, 1 ≤ n ≤ 100.
    #[must_use]
    pub fn new(n: usize) -> Self {
        assert!((1..=100).contains(&n), "gauss-hermite: n must be in 1..=100, got {n}");
        let mut nodes = vec![0.0];
        for k in 2..=n {
            let outside = 2.0 * (k as f64).sqrt() + 1.0;
            let ends: Vec<f64> = [-outside].into_iter().chain(nodes).chain([outside]).collect();
            nodes = ends.windows(2).map(|w| hermite_root(k, w[0], w[1])).collect();
        }
        let weights = nodes.iter().map(|&x| 1.0 / (n as f64 * hermite(n - 1, x).powi(2))).collect();
        Self { nodes, weights }
    }

    /// Nodes, ascending.
    #[must_use]
    pub fn nodes(&self) -> &[f64] {
        &self.nodes
    }

    /// Weights; they sum to one.
    #[must_use]
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// `E f(x)` for `x ~ N(mu, sigma²)`, `f` smooth.
    pub fn expectation(&self, f: impl Fn(f64) -> f64, mu: f64, sigma: f64) -> f64 {
        self.nodes.iter().zip(&self.weights).map(|(x, w)| w * f(mu + sigma * x)).sum()
    }
}

/// The orthonormal Hermite polynomial of degree `k`: `√(k+1)·h_{k+1} = x·h_k − √k·h_{k−1}`.
fn hermite(k: usize, x: f64) -> f64 {
    let (mut before, mut now) = (0.0, 1.0);
    for j in 0..k {
        let next = (x * now - (j as f64).sqrt() * before) / ((j + 1) as f64).sqrt();
        (before, now) = (now, next);
    }
    now
}

fn hermite_root(k: usize, mut low: f64, mut high: f64) -> f64 {
    let rising = hermite(k, high) > 0.0;
    for _ in 0..80 {
        let middle = 0.5 * (low + high);
        if (hermite(k, middle) > 0.0) == rising {
            high = middle;
        } else {
            low = middle;
        }
    }
    0.5 * (low + high)
}

/// `CRPS = ∫ (F(z) − 1{z ≥ y})² dz` over [`low`, `high`], which must hold `y` and practically all of the distribution.
///
/// # References
/// Gneiting and Raftery, 2007, "Strictly proper scoring rules, prediction, and estimation", equation 20. math.md#crps
pub fn crps(cdf: impl Fn(f64) -> f64, y: f64, low: f64, high: f64) -> f64 {
    assert!(low <= y && y <= high, "crps: y = {y} must lie in [{low}, {high}]");
    let below = adaptive_simpson(&|z| cdf(z).powi(2), low, y, 1e-12);
    below + adaptive_simpson(&|z| (1.0 - cdf(z)).powi(2), y, high, 1e-12)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::normal_cdf;
    use std::f64::consts::PI;

    #[test]
    fn simpson_integrates_what_has_a_primitive() {
        assert!((adaptive_simpson(&f64::sin, 0.0, PI, 1e-12) - 2.0).abs() < 1e-11);
        assert!((adaptive_simpson(&f64::sqrt, 0.0, 1.0, 1e-10) - 2.0 / 3.0).abs() < 1e-9);
        assert!((adaptive_simpson(&|x: f64| (x - 0.3).abs(), 0.0, 1.0, 1e-12) - 0.29).abs() < 1e-11);
        assert!(
            (adaptive_simpson(&|x: f64| x.exp(), 1.0, 0.0, 1e-12) + std::f64::consts::E - 1.0).abs() < 1e-11
        );
    }

    #[test]
    fn both_rules_integrate_the_moments_of_a_normal() {
        let rule = GaussHermite::new(20);
        let (mu, sigma) = (0.7f64, 1.3f64);
        let s2 = sigma * sigma;
        let moments = [
            1.0,
            mu,
            mu * mu + s2,
            mu.powi(3) + 3.0 * mu * s2,
            mu.powi(4) + 6.0 * mu * mu * s2 + 3.0 * s2 * s2,
        ];
        for (k, expected) in moments.into_iter().enumerate() {
            let power = |x: f64| x.powi(k as i32);
            assert!(
                (rule.expectation(power, mu, sigma) - expected).abs() < 1e-11,
                "Gauss–Hermite, moment {k}"
            );
            assert!((normal_expectation(power, mu, sigma) - expected).abs() < 1e-9, "Simpson, moment {k}");
        }
        // E exp(x) = exp(mu + sigma²/2); E cos(x) = cos(mu)·exp(−sigma²/2).
        assert!((rule.expectation(f64::exp, mu, sigma) / (mu + s2 / 2.0).exp() - 1.0).abs() < 1e-9);
        assert!((rule.expectation(f64::cos, mu, sigma) - mu.cos() * (-s2 / 2.0).exp()).abs() < 1e-9);
    }

    #[test]
    fn gauss_hermite_is_exact_up_to_its_degree() {
        let rule = GaussHermite::new(3);
        for (got, expected) in rule.nodes().iter().zip([-3f64.sqrt(), 0.0, 3f64.sqrt()]) {
            assert!((got - expected).abs() < 1e-15);
        }
        for (got, expected) in rule.weights().iter().zip([1.0 / 6.0, 2.0 / 3.0, 1.0 / 6.0]) {
            assert!((got - expected).abs() < 1e-14);
        }
        assert!((rule.expectation(|x| x.powi(4), 0.0, 1.0) - 3.0).abs() < 1e-13);
        assert!((rule.expectation(|x| x.powi(6), 0.0, 1.0) - 15.0).abs() > 1.0);
        let large = GaussHermite::new(100);
        assert!((large.weights().iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!((large.expectation(|x| x.powi(8), 0.0, 1.0) / 105.0 - 1.0).abs() < 1e-11);
    }

    #[test]
    fn an_expectation_under_a_point_is_the_value_there() {
        assert!((normal_expectation(|x| x * x, 3.0, 0.0) - 9.0).abs() < 1e-11);
    }

    #[test]
    fn crps_of_a_normal_is_its_closed_form() {
        // math.md#crps: z(2Φ(z) − 1) + 2φ(z) − 1/√π.
        for y in [-1.7, 0.0, 0.4] {
            let closed = y * (2.0 * normal_cdf(y) - 1.0) + 2.0 * normal_pdf(y) - 1.0 / PI.sqrt();
            assert!((crps(normal_cdf, y, -12.0, 12.0) - closed).abs() < 1e-10, "y = {y}");
        }
    }

    // math.md#crps: E|Y − y| − ½·E|Y − Y′| with A(m, v) = E|N(m, v)|.
    #[test]
    fn crps_of_a_mixture_is_its_closed_form() {
        let abs = |m: f64, v: f64| {
            let s = v.sqrt();
            2.0 * s * normal_pdf(m / s) + m * (2.0 * normal_cdf(m / s) - 1.0)
        };
        let parts = [(-1.0f64, 0.5f64), (0.3, 1.2), (2.0, 0.1)];
        let y = 0.7;
        let to_y: f64 = parts.iter().map(|(m, s)| abs(y - m, s * s)).sum::<f64>() / 3.0;
        let pair = |(m, s): (f64, f64)| parts.iter().map(|(n, t)| abs(m - n, s * s + t * t)).sum::<f64>();
        let closed = to_y - parts.iter().map(|&p| pair(p)).sum::<f64>() / 18.0;
        let cdf = |z: f64| parts.iter().map(|(m, s)| normal_cdf((z - m) / s)).sum::<f64>() / 3.0;
        assert!((crps(cdf, y, -15.0, 15.0) - closed).abs() < 1e-9);
    }
}
