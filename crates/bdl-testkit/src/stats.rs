//! Statistical tests with stated false-alarm rates. math.md#statistical-tests
//!
//! All are meant for a **fixed seed**: the test is then deterministic, and the false-alarm rate is the chance that the
//! seed chosen once was an unlucky one. Never change a seed because a test failed.
//!
//! | check | false-alarm rate |
//! |---|---|
//! | [`assert_ks`] | its argument `alpha`; use 1e-4 for a single test, 1e-6 in a table of many |
//! | [`MomentCheck::assert`] | 5 standard errors: 5.7e-7 where the estimate is near normal |
//! | [`assert_counts`] | its argument `alpha` |

use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// How many standard errors [`MomentCheck::assert`] allows.
pub const ALLOWED_STD_ERRORS: f64 = 5.0;

/// `φ(x) = exp(−x²/2) / √(2π)`.
#[must_use]
pub fn normal_pdf(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * PI).sqrt()
}

/// `Φ(x)`, the standard normal distribution function, to about 1e-15 absolute, and relative in the lower tail 1e-12.
///
/// ```text
/// |x| < 3:  Φ(x) = ½ + φ(x)·(x + x³/3 + x⁵/(3·5) + x⁷/(3·5·7) + …)
/// else:     1 − Φ(x) = φ(x) / (x + 1/(x + 2/(x + 3/(x + …))))
/// ```
///
/// # References
/// Abramowitz and Stegun, 1964, "Handbook of Mathematical Functions", 26.2.11 and 26.2.14.
#[must_use]
pub fn normal_cdf(x: f64) -> f64 {
    if x.is_nan() {
        f64::NAN
    } else if x.abs() < 3.0 {
        0.5 + normal_pdf(x) * odd_factorial_series(x)
    } else if x > 0.0 {
        1.0 - normal_upper_tail(x)
    } else {
        normal_upper_tail(-x)
    }
}

fn odd_factorial_series(x: f64) -> f64 {
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while term.abs() > 1e-18 * sum.abs() {
        odd += 2.0;
        term *= x * x / odd;
        sum += term;
    }
    sum
}

fn normal_upper_tail(x: f64) -> f64 {
    let fraction = (1..=300).rev().fold(x, |below, k| x + f64::from(k) / below);
    normal_pdf(x) / fraction
}

/// The `prob`-quantile of the standard normal, by bisection of [`normal_cdf`].
#[must_use]
pub fn normal_quantile(prob: f64) -> f64 {
    assert!(prob > 0.0 && prob < 1.0, "normal_quantile: prob must be in (0, 1), got {prob}");
    let (mut low, mut high) = (-40.0, 40.0);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if normal_cdf(middle) < prob {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// `erf(x) = 2Φ(√2·x) − 1`.
#[must_use]
pub fn erf(x: f64) -> f64 {
    if x.abs() < 2.0 {
        2.0 * normal_pdf(x / FRAC_1_SQRT_2) * odd_factorial_series(x / FRAC_1_SQRT_2)
    } else {
        2.0 * normal_cdf(x / FRAC_1_SQRT_2) - 1.0
    }
}

/// The one-sample Kolmogorov–Smirnov statistic `D = sup |F_n − F|` for a continuous `cdf`.
#[must_use]
pub fn ks_statistic(sample: &[f64], cdf: impl Fn(f64) -> f64) -> f64 {
    assert!(!sample.is_empty(), "ks_statistic: the sample is empty");
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len() as f64;
    let gap = |(i, &x): (usize, &f64)| {
        let f = cdf(x);
        assert!((0.0..=1.0).contains(&f), "ks_statistic: cdf({x}) = {f}");
        ((i + 1) as f64 / n - f).max(f - i as f64 / n)
    };
    sorted.iter().enumerate().map(gap).fold(0.0, f64::max)
}

/// `P(D_n ≥ d)` under the hypothesis: the Kolmogorov limit at Stephens' corrected argument.
///
/// ```text
/// λ = (√n + 0.12 + 0.11/√n)·d
/// p = 2·Σ_{k≥1} (−1)^{k−1}·exp(−2k²λ²)
/// ```
///
/// Good to two digits for n ≥ 8 in the range of p that tests use.
///
/// # References
/// Stephens, 1970, "Use of the Kolmogorov–Smirnov, Cramér–von Mises and related statistics without extensive tables",
/// table 1; Marsaglia, Tsang and Wang, 2003, "Evaluating Kolmogorov's distribution".
#[must_use]
pub fn ks_p_value(d: f64, n: usize) -> f64 {
    let root = (n as f64).sqrt();
    let lambda = (root + 0.12 + 0.11 / root) * d;
    if lambda <= 0.0 {
        return 1.0;
    }
    if lambda < 1.0 {
        // The theta-function twin of the series converges fast where the series above does not.
        let term = |k: i32| (-(f64::from(2 * k - 1) * PI).powi(2) / (8.0 * lambda * lambda)).exp();
        return 1.0 - (2.0 * PI).sqrt() / lambda * (1..=20).map(term).sum::<f64>();
    }
    let term =
        |k: i32| f64::from(if k % 2 == 1 { 2 } else { -2 }) * (-2.0 * (f64::from(k) * lambda).powi(2)).exp();
    (1..=20).map(term).sum()
}

/// Panics if the sample differs from `cdf` with p-value below `alpha`, the false-alarm rate.
pub fn assert_ks(name: &str, sample: &[f64], cdf: impl Fn(f64) -> f64, alpha: f64) {
    let d = ks_statistic(sample, cdf);
    let p = ks_p_value(d, sample.len());
    assert!(p >= alpha, "{name}: KS statistic {d:.5} over {} draws, p = {p:.3e} < {alpha:.0e}", sample.len());
}

/// Mean of a sample.
#[must_use]
pub fn mean(sample: &[f64]) -> f64 {
    assert!(!sample.is_empty(), "mean: the sample is empty");
    sample.iter().sum::<f64>() / sample.len() as f64
}

/// Unbiased variance `Σ (x − x̄)² / (n − 1)`, in two passes.
#[must_use]
pub fn variance(sample: &[f64]) -> f64 {
    covariance(sample, sample)
}

/// Unbiased covariance `Σ (x − x̄)(y − ȳ) / (n − 1)`.
#[must_use]
pub fn covariance(x: &[f64], y: &[f64]) -> f64 {
    assert!(x.len() == y.len() && x.len() > 1, "covariance: need two samples of equal length > 1");
    let (mx, my) = (mean(x), mean(y));
    x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum::<f64>() / (x.len() - 1) as f64
}

/// A mean with its standard error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Mean over the draws.
    pub mean: f64,
    /// `√(variance / draws)`.
    pub std_error: f64,
}

impl Estimate {
    /// Mean and standard error of independent draws.
    #[must_use]
    pub fn of(sample: &[f64]) -> Self {
        Self { mean: mean(sample), std_error: (variance(sample) / sample.len() as f64).sqrt() }
    }

    /// The check that this estimates `expected`.
    #[must_use]
    pub fn check(&self, name: &str, expected: f64) -> MomentCheck {
        MomentCheck { name: name.to_owned(), estimate: self.mean, expected, std_error: self.std_error }
    }
}

/// One estimate, what it should be, and its standard error; see [`MomentCheck::assert`].
///
/// The constructors take the *known* moments of the hypothesis, so the standard error is exact and a degenerate sample
/// cannot make itself pass.
///
/// # Examples
/// ```
/// use bdl_testkit::{source::SplitMix64, stats::MomentCheck};
/// let draws = SplitMix64::new(0).normals(10_000);
/// let check = MomentCheck::mean("normals", &draws, 0.0, 1.0);
/// assert_eq!(check.std_error, 0.01);
/// check.assert();
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct MomentCheck {
    /// What is checked, for the message.
    pub name: String,
    /// From the sample.
    pub estimate: f64,
    /// From theory.
    pub expected: f64,
    /// Standard deviation of the estimate under the hypothesis.
    pub std_error: f64,
}

impl MomentCheck {
    /// Sample mean against `expected`, given the true variance: `SE = √(variance / n)`.
    #[must_use]
    pub fn mean(name: &str, sample: &[f64], expected: f64, true_variance: f64) -> Self {
        let std_error = (true_variance / sample.len() as f64).sqrt();
        Self { name: format!("{name}: mean"), estimate: mean(sample), expected, std_error }
    }

    /// Unbiased sample variance against `expected`, given the true fourth central moment.
    ///
    /// ```text
    /// SE² = (fourth_moment − expected²·(n − 3)/(n − 1)) / n
    /// ```
    #[must_use]
    pub fn variance(name: &str, sample: &[f64], expected: f64, fourth_moment: f64) -> Self {
        let n = sample.len() as f64;
        let std_error = ((fourth_moment - expected * expected * (n - 3.0) / (n - 1.0)) / n).sqrt();
        Self { name: format!("{name}: variance"), estimate: variance(sample), expected, std_error }
    }

    /// [`MomentCheck::variance`] of a normal sample: `SE = expected·√(2 / (n − 1))`.
    #[must_use]
    pub fn normal_variance(name: &str, sample: &[f64], expected: f64) -> Self {
        Self::variance(name, sample, expected, 3.0 * expected * expected)
    }

    /// Covariance of two jointly normal samples: `SE = √((var_x·var_y + expected²) / (n − 1))`.
    #[must_use]
    pub fn normal_covariance(
        name: &str,
        x: &[f64],
        y: &[f64],
        expected: f64,
        var_x: f64,
        var_y: f64,
    ) -> Self {
        let std_error = ((var_x * var_y + expected * expected) / (x.len() - 1) as f64).sqrt();
        Self { name: format!("{name}: covariance"), estimate: covariance(x, y), expected, std_error }
    }

    /// A share `hits / n` against `expected`: `SE = √(expected·(1 − expected) / n)`.
    #[must_use]
    pub fn proportion(name: &str, hits: usize, n: usize, expected: f64) -> Self {
        let std_error = (expected * (1.0 - expected) / n as f64).sqrt();
        Self { name: format!("{name}: share"), estimate: hits as f64 / n as f64, expected, std_error }
    }

    /// Distance from the expectation in standard errors; 0 if estimate and expectation are equal.
    #[must_use]
    pub fn z(&self) -> f64 {
        if self.estimate == self.expected { 0.0 } else { (self.estimate - self.expected) / self.std_error }
    }

    /// Panics unless `|estimate − expected| ≤ 5·std_error`.
    pub fn assert(&self) {
        self.assert_within(ALLOWED_STD_ERRORS);
    }

    /// Panics unless `|estimate − expected| ≤ allowed·std_error`.
    pub fn assert_within(&self, allowed: f64) {
        let Self { name, estimate, expected, std_error } = self;
        let z = self.z();
        assert!(
            z.abs() <= allowed,
            "{name}: expected {expected}, got {estimate} ({z:+.2} SE of {std_error:.3e})"
        );
    }
}

/// Pearson's statistic `Σ (observed − n·prob)² / (n·prob)` with `cells − 1` degrees of freedom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChiSquare {
    /// Pearson's statistic.
    pub statistic: f64,
    /// Degrees of freedom.
    pub dof: usize,
    /// Upper tail probability of the statistic, in the large-sample limit.
    pub p_value: f64,
}

/// Chi-square test of counts against cell probabilities (which sum to one); each cell must expect at least 5.
#[must_use]
pub fn chi_square(observed: &[u64], prob: &[f64]) -> ChiSquare {
    assert!(
        observed.len() == prob.len() && prob.len() > 1,
        "chi_square: need equal numbers of cells, at least 2"
    );
    assert!((prob.iter().sum::<f64>() - 1.0).abs() < 1e-9, "chi_square: probabilities must sum to 1");
    let n = observed.iter().sum::<u64>() as f64;
    let cell = |(&o, &p): (&u64, &f64)| {
        assert!(n * p >= 5.0, "chi_square: a cell expects {:.2} < 5", n * p);
        (o as f64 - n * p).powi(2) / (n * p)
    };
    let statistic = observed.iter().zip(prob).map(cell).sum();
    let dof = prob.len() - 1;
    ChiSquare { statistic, dof, p_value: chi_square_upper_tail(statistic, dof) }
}

/// Panics if [`chi_square`] gives a p-value below `alpha`, the false-alarm rate.
pub fn assert_counts(name: &str, observed: &[u64], prob: &[f64], alpha: f64) {
    let ChiSquare { statistic, dof, p_value } = chi_square(observed, prob);
    assert!(
        p_value >= alpha,
        "{name}: chi-square {statistic:.2} with {dof} dof, p = {p_value:.3e} < {alpha:.0e}"
    );
}

/// `P(χ²_dof ≥ x)`, by the finite recursion over every second degree of freedom.
///
/// ```text
/// Q_1(x) = 2(1 − Φ(√x)),  Q_2(x) = exp(−x/2),  Q_{k+2}(x) = Q_k(x) + (x/2)^{k/2}·exp(−x/2) / Γ(k/2 + 1)
/// ```
///
/// # References
/// Abramowitz and Stegun, 1964, 26.4.4, 26.4.5 and 26.4.8.
#[must_use]
pub fn chi_square_upper_tail(x: f64, dof: usize) -> f64 {
    assert!(x >= 0.0 && dof > 0, "chi_square_upper_tail: need x >= 0 and dof > 0");
    if x == 0.0 {
        return 1.0;
    }
    let odd = dof % 2 == 1;
    let mut tail = if odd { 2.0 * normal_cdf(-x.sqrt()) } else { (-0.5 * x).exp() };
    let mut k = if odd { 1 } else { 2 };
    // ln of (x/2)^{k/2}·exp(−x/2)/Γ(k/2 + 1), built up factor by factor; Γ(3/2) = √π/2, Γ(2) = 1.
    let ln_gamma = if odd { (PI.sqrt() / 2.0).ln() } else { 0.0 };
    let mut ln_term = 0.5 * k as f64 * (0.5 * x).ln() - 0.5 * x - ln_gamma;
    while k < dof {
        tail += ln_term.exp();
        k += 2;
        ln_term += (0.5 * x).ln() - (0.5 * k as f64).ln();
    }
    tail.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quad::adaptive_simpson;
    use crate::source::SplitMix64;

    #[test]
    fn normal_cdf_has_its_tabulated_values() {
        // Checked against ½·erfc(−x/√2) of the C library.
        for (x, expected) in [
            (0.0, 0.5),
            (1.0, 0.841_344_746_068_542_9),
            (1.959_963_984_540_054, 0.975),
            (-3.0, 1.349_898_031_630_094_6e-3),
            (-5.0, 2.866_515_718_791_939e-7),
            (-10.0, 7.619_853_024_160_527e-24),
        ] {
            assert!((normal_cdf(x) / expected - 1.0).abs() < 1e-12, "x = {x}: {:e}", normal_cdf(x));
        }
        assert_eq!((normal_cdf(40.0), normal_cdf(-40.0)), (1.0, 0.0));
        assert!(normal_cdf(f64::NAN).is_nan());
    }

    #[test]
    fn normal_cdf_is_the_integral_of_its_density_and_symmetric() {
        for x in [-4.0, -2.999, -0.1, 0.7, 2.5, 3.001] {
            let integral = 0.5 + adaptive_simpson(&normal_pdf, 0.0, x, 1e-14);
            assert!((normal_cdf(x) - integral).abs() < 1e-12, "x = {x}");
            assert!((normal_cdf(x) + normal_cdf(-x) - 1.0).abs() < 1e-15);
        }
        assert!((erf(1.0) - 0.842_700_792_949_714_9).abs() < 1e-15);
        assert!((erf(1e-9) / 1.128_379_167_095_512_6e-9 - 1.0).abs() < 1e-14);
        assert!((erf(-2.5) + 0.999_593_047_982_555).abs() < 1e-15);
        assert!((normal_quantile(0.975) - 1.959_963_984_540_054).abs() < 1e-12);
    }

    #[test]
    fn kolmogorov_limit_has_its_critical_values() {
        // Stephens' modified statistic: 1.358 at 5 %, 1.628 at 1 %, 0.828 at 50 %.
        for (lambda, p) in [(1.358, 0.05), (1.628, 0.01), (0.8276, 0.5)] {
            let n = 1_000_000;
            let d = lambda / (1000.0 + 0.12 + 0.11e-3);
            assert!((ks_p_value(d, n) / p - 1.0).abs() < 0.01, "λ = {lambda}: {}", ks_p_value(d, n));
        }
        let root = 1000.0 + 0.12 + 0.11e-3;
        let (just_below, just_above) = ((1.0 - 1e-7) / root, (1.0 + 1e-7) / root);
        assert!((ks_p_value(just_below, 1_000_000) - ks_p_value(just_above, 1_000_000)).abs() < 1e-6);
        assert_eq!(ks_p_value(0.0, 10), 1.0);
    }

    #[test]
    fn ks_statistic_by_hand() {
        assert_eq!(ks_statistic(&[0.5], |x| x), 0.5);
        assert!((ks_statistic(&[0.9, 0.1, 0.2], |x| x) - (2.0 / 3.0 - 0.2)).abs() < 1e-15);
    }

    #[test]
    fn ks_accepts_uniform_and_rejects_shifted() {
        let u = SplitMix64::new(11).uniforms(5_000, 0.0, 1.0);
        assert_ks("uniform", &u, |x| x, 1e-4);
        let shifted: Vec<f64> = u.iter().map(|x| (x + 0.05).min(1.0)).collect();
        assert!(ks_p_value(ks_statistic(&shifted, |x| x), shifted.len()) < 1e-6);
    }

    // 400 samples of 500: the share of p < 0.1 is 0.1 within 5 SE, which checks the claimed false-alarm rate itself.
    #[test]
    fn ks_raises_false_alarms_at_the_stated_rate() {
        let mut source = SplitMix64::new(13);
        let alarm = |u: Vec<f64>| ks_p_value(ks_statistic(&u, |x| x), u.len()) < 0.1;
        let alarms = (0..400).filter(|_| alarm(source.uniforms(500, 0.0, 1.0))).count();
        MomentCheck::proportion("false alarms", alarms, 400, 0.1).assert();
    }

    #[test]
    fn sample_moments_by_hand() {
        let x = [1.0, 2.0, 4.0];
        let y = [0.0, 3.0, 3.0];
        assert!((mean(&x) - 7.0 / 3.0).abs() < 1e-15);
        assert!((variance(&x) - 7.0 / 3.0).abs() < 1e-15);
        assert!((covariance(&x, &y) - 2.0).abs() < 1e-15);
        assert!((Estimate::of(&x).std_error - (7.0f64 / 9.0).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn moment_checks_accept_the_truth_and_reject_a_shift() {
        let mut source = SplitMix64::new(17);
        let x = source.normals(20_000);
        let y: Vec<f64> = x.iter().map(|x| 0.6 * x + 0.8 * source.normal()).collect();
        MomentCheck::mean("x", &x, 0.0, 1.0).assert();
        MomentCheck::normal_variance("y", &y, 1.0).assert();
        MomentCheck::normal_covariance("xy", &x, &y, 0.6, 1.0, 1.0).assert();
        let u = source.uniforms(20_000, 0.0, 1.0);
        MomentCheck::variance("u", &u, 1.0 / 12.0, 1.0 / 80.0).assert();
        assert!(MomentCheck::mean("x", &x, 0.05, 1.0).z() < -5.0);
        assert!(MomentCheck::normal_variance("y", &y, 1.1).z() < -5.0);
        assert_eq!(MomentCheck::proportion("sure", 10, 10, 1.0).z(), 0.0);
    }

    #[test]
    fn normal_variance_has_the_textbook_standard_error() {
        let check = MomentCheck::normal_variance("x", &[0.0; 51], 3.0);
        assert!((check.std_error - 3.0 * (2.0f64 / 50.0).sqrt()).abs() < 1e-14);
    }

    #[test]
    #[should_panic(expected = "planted: mean: expected 1, got 0")]
    fn a_moment_check_names_what_it_expected_and_got() {
        MomentCheck::mean("planted", &[0.0; 100], 1.0, 1.0).assert();
    }

    #[test]
    fn chi_square_tail_has_its_tabulated_values() {
        for (x, dof, p) in [
            (3.841_459, 1, 0.05),
            (5.991_465, 2, 0.05),
            (7.814_728, 3, 0.05),
            (18.307_04, 10, 0.05),
            (24.995_79, 15, 0.05),
        ] {
            assert!((chi_square_upper_tail(x, dof) - p).abs() < 1e-7, "{x} with {dof}");
        }
        assert_eq!(chi_square_upper_tail(0.0, 5), 1.0);
        assert!(chi_square_upper_tail(1e4, 200) < 1e-300);
    }

    #[test]
    fn counts_of_a_fair_die_pass_and_of_a_loaded_one_fail() {
        let mut source = SplitMix64::new(19);
        let mut counts = [0u64; 6];
        (0..6_000).for_each(|_| counts[source.below(6)] += 1);
        assert_counts("die", &counts, &[1.0 / 6.0; 6], 1e-4);
        let fair = chi_square(&[1000; 6], &[1.0 / 6.0; 6]);
        assert!(fair.statistic < 1e-20 && fair.dof == 5 && fair.p_value > 1.0 - 1e-12);
        assert!(chi_square(&[1200, 960, 960, 960, 960, 960], &[1.0 / 6.0; 6]).p_value < 1e-6);
    }
}
