//! The regularized incomplete gamma functions: the distribution functions of Poisson and gamma variables.

use super::gamma::ln_gamma;
use super::norm_cdf;

/// `P(a, x) = (1/Γ(a)) ∫₀ˣ t^{a−1} e^{−t} dt` for `a > 0`, `x ≥ 0`: the lower part; NaN elsewhere.
///
/// Relative error below 1e-12 where P is the smaller part, and near 1 that of [`gamma_q`] absolutely. See there.
///
/// ```
/// use bdl_tensor::special::gamma_p;
/// assert!((gamma_p(1.0, 2.0) - (1.0 - (-2f64).exp())).abs() < 1e-15);
/// ```
#[must_use]
pub fn gamma_p(a: f64, x: f64) -> f64 {
    parts(a, x)[0]
}

/// `Q(a, x) = 1 − P(a, x)`: the upper part. `P(Y ≤ k) = Q(k + 1, λ)` for `Y ~ Poisson(λ)`.
///
/// ```text
/// x < a + 1:   P = x^a e^{−x}/Γ(a + 1) · Σ_n xⁿ/((a + 1)…(a + n))
/// x ≥ a + 1:   Q = x^a e^{−x}/Γ(a) · 1/(x + 1 − a − 1(1 − a)/(x + 3 − a − 2(2 − a)/(x + 5 − a − …)))
/// a ≥ 20 and |x − a| ≤ a/2:  Temme's expansion about the normal distribution, the same cost for any a
/// ```
/// The smaller part is computed and the other is its complement. Relative error of the smaller below 1e-12 up to a = 10⁷ within
/// ten deviations √a of a, where it matters; further out that of a number of the size of `a·ln a` in an exponent.
///
/// ```
/// use bdl_tensor::special::gamma_q;
/// let at_most_2 = (-1.5f64).exp() * (1.0 + 1.5 + 1.5 * 1.5 / 2.0);
/// assert!((gamma_q(3.0, 1.5) - at_most_2).abs() < 1e-15);
/// ```
///
/// # References
/// DLMF 8.7.1, 8.9.2, 8.12.3–8.12.12; Temme (1979), The asymptotic expansion of the incomplete gamma functions.
#[must_use]
pub fn gamma_q(a: f64, x: f64) -> f64 {
    parts(a, x)[1]
}

/// From this `a` on Temme's expansion is as accurate as the others and cheaper.
const TEMME_FROM: f64 = 20.0;

/// `[P, Q]`.
fn parts(a: f64, x: f64) -> [f64; 2] {
    if !(a > 0.0 && x >= 0.0 && a.is_finite()) {
        return [f64::NAN; 2];
    }
    if x == 0.0 || x == f64::INFINITY {
        return if x == 0.0 { [0.0, 1.0] } else { [1.0, 0.0] };
    }
    if a >= TEMME_FROM && (x - a).abs() <= 0.5 * a {
        return temme(a, x);
    }
    let ln_power = a * x.ln() - x;
    if x < a + 1.0 {
        let p = (ln_power - ln_gamma(a + 1.0)).exp() * series(a, x);
        return [p, 1.0 - p];
    }
    let q = (ln_power - ln_gamma(a)).exp() * fraction(a, x);
    [1.0 - q, q]
}

/// `Σ_n xⁿ/((a + 1)…(a + n))`.
fn series(a: f64, x: f64) -> f64 {
    let (mut sum, mut term, mut n) = (1.0, 1.0, a);
    while term > f64::EPSILON * sum {
        n += 1.0;
        term *= x / n;
        sum += term;
    }
    sum
}

/// The continued fraction, by the modified algorithm of Lentz. For x ≥ a + 1 no denominator is 0.
fn fraction(a: f64, x: f64) -> f64 {
    let mut b = x + 1.0 - a;
    let (mut c, mut d) = (f64::INFINITY, 1.0 / b);
    let mut value = d;
    for n in 1..MOST_TERMS {
        let n = f64::from(n);
        let numerator = n * (a - n);
        b += 2.0;
        d = 1.0 / (numerator * d + b);
        c = b + numerator / c;
        let step = c * d;
        value *= step;
        if (step - 1.0).abs() <= f64::EPSILON {
            break;
        }
    }
    value
}

/// Some 60 are enough where the fraction is used.
const MOST_TERMS: u32 = 500;

/// `Q = ½ erfc(η √(a/2)) + R`, `R = e^{−aη²/2}/√(2πa) · Σ_k C_k(η) a^{−k}`, `η²/2 = μ − ln(1 + μ)`, `μ = x/a − 1`.
fn temme(a: f64, x: f64) -> [f64; 2] {
    let mu = (x - a) / a;
    let half_square = mu_less_ln_1p(mu);
    let eta = (2.0 * half_square).sqrt().copysign(mu);
    let z = eta * a.sqrt();
    let sum = TEMME.iter().rev().fold(0.0, |sum, c| sum / a + polynomial(c, eta));
    let rest = (-a * half_square).exp() / (std::f64::consts::TAU * a).sqrt() * sum;
    if mu < 0.0 {
        let p = norm_cdf(z) - rest;
        return [p, 1.0 - p];
    }
    let q = norm_cdf(-z) + rest;
    [1.0 - q, q]
}

/// `μ − ln(1 + μ)`, by its series where that cancels.
fn mu_less_ln_1p(mu: f64) -> f64 {
    if mu.abs() > 0.1 {
        return mu - mu.ln_1p();
    }
    // μ²·(1/2 − μ/3 + μ²/4 − …), the last term 0.1^16/18.
    mu * mu * (2..19).rev().fold(0.0, |sum, n| 1.0 / f64::from(n) - mu * sum)
}

fn polynomial(c: &[f64], x: f64) -> f64 {
    c.iter().rev().fold(0.0, |sum, &c| sum * x + c)
}

/// Functions C_k, and coefficients of each.
const FUNCTIONS: usize = 8;
const COEFFICIENTS: usize = 20;

/// `C_k(η) = Σ_n d_{k,n} ηⁿ`: the error is 3e-14 at a = 20 and falls with a⁻⁸.
const TEMME: [[f64; COEFFICIENTS]; FUNCTIONS] = temme_coefficients();

/// ```text
/// μ = Σ_n α_n ηⁿ, α_1 = 1:       (n + 1) α_n = α_{n−1} − Σ_{j=2}^{n−1} j α_j α_{n−j+1}
/// d_{0,0} = −1/3,                d_{0,n} = (n + 2) α_{n+2}
/// d_{k,n} = (−1)^k g_k d_{0,n} + (n + 2) d_{k−1,n+2},      g_k = (2k + 1)!! α_{2k+1}
/// ```
const fn temme_coefficients() -> [[f64; COEFFICIENTS]; FUNCTIONS] {
    // Each function takes two coefficients more of the one before.
    const LONG: usize = COEFFICIENTS + 2 * FUNCTIONS;
    let mut alpha = [0.0; LONG + 2];
    alpha[1] = 1.0;
    let mut n = 2;
    while n < alpha.len() {
        let (mut sum, mut j) = (alpha[n - 1], 2);
        while j < n {
            sum -= j as f64 * alpha[j] * alpha[n - j + 1];
            j += 1;
        }
        alpha[n] = sum / (n + 1) as f64;
        n += 1;
    }
    let mut d = [[0.0; LONG]; FUNCTIONS];
    let (mut k, mut g) = (0, 1.0);
    while k < FUNCTIONS {
        let mut n = 0;
        while n + 2 * k < LONG {
            d[k][n] = match k {
                0 => (n + 2) as f64 * alpha[n + 2],
                _ => g * d[0][n] + (n + 2) as f64 * d[k - 1][n + 2],
            };
            n += 1;
        }
        if k == 0 {
            d[0][0] -= 1.0;
        }
        k += 1;
        g = g_coefficient(k, alpha[2 * k + 1]);
    }
    shortened(&d)
}

/// `(−1)^k (2k + 1)!! α_{2k+1}`.
const fn g_coefficient(k: usize, alpha: f64) -> f64 {
    let (mut g, mut j) = (alpha, 1);
    while j <= k {
        g *= -((2 * j + 1) as f64);
        j += 1;
    }
    g
}

const fn shortened<const LONG: usize>(d: &[[f64; LONG]; FUNCTIONS]) -> [[f64; COEFFICIENTS]; FUNCTIONS] {
    let mut short = [[0.0; COEFFICIENTS]; FUNCTIONS];
    let mut k = 0;
    while k < FUNCTIONS {
        let mut n = 0;
        while n < COEFFICIENTS {
            short[k][n] = d[k][n];
            n += 1;
        }
        k += 1;
    }
    short
}
