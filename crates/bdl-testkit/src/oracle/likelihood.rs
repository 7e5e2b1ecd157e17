//! Negative log likelihoods, summed over rows, in nats, with all constants.

use super::{ln_softplus, log_sum_exp, softplus};
use crate::quad::adaptive_simpson;
use std::f64::consts::{FRAC_PI_2, PI};

/// A likelihood's formula. math.md#likelihoods
///
/// # Shapes
/// Gaussian with fixed or learned noise: outputs and targets `[rows, D]`, any D, one noise for all.
/// Heteroscedastic: outputs `[rows, 2]` as (mean, raw), targets `[rows]`. Categorical: outputs (logits) `[rows,
/// classes]`, targets `[rows]`, each a class index. Bernoulli: outputs (logits of class 1) and targets `[rows]`. Poisson: outputs
/// and targets `[rows]`, each a count. Student's t: outputs and targets `[rows]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OracleLikelihood {
    /// `y ~ N(output, sigma²)`.
    GaussianFixed {
        /// Standard deviation of the noise, > 0.
        sigma: f64,
    },
    /// `y ~ N(output, softplus(raw)²)`; `raw` is the likelihood's only parameter.
    GaussianLearned,
    /// `y ~ N(mean, softplus(raw)²)`, both from the network.
    Heteroscedastic,
    /// `y ~ Categorical(softmax(outputs))`.
    Categorical {
        /// Number of classes, ≥ 2.
        classes: usize,
    },
    /// `P(y = 1) = sigmoid(output)`.
    Bernoulli,
    /// `y ~ Poisson(base·e^output)`.
    Poisson {
        /// The rate at output 0, > 0.
        base: f64,
    },
    /// `y = output + softplus(raw)·t`, t of Student's distribution; `raw` is the likelihood's first parameter.
    StudentT {
        /// Degrees of freedom; `None`: `2.1 + softplus` of the likelihood's second parameter.
        dof: Option<f64>,
    },
}

impl OracleLikelihood {
    /// Number of parameters of the likelihood's own.
    #[must_use]
    pub fn param_len(&self) -> usize {
        match self {
            Self::GaussianLearned | Self::StudentT { dof: Some(_) } => 1,
            Self::StudentT { dof: None } => 2,
            _ => 0,
        }
    }

    /// `−Σ_rows ln p(target | output)`.
    ///
    /// # Examples
    /// ```
    /// use bdl_testkit::oracle::OracleLikelihood;
    /// let nll = OracleLikelihood::Categorical { classes: 2 }.nll_sum(&[0.0, 3f64.ln()], &[1.0], &[]);
    /// assert!((nll - (4.0f64 / 3.0).ln()).abs() < 1e-15);
    /// ```
    #[must_use]
    pub fn nll_sum(&self, outputs: &[f64], targets: &[f64], params: &[f64]) -> f64 {
        assert_eq!(params.len(), self.param_len(), "nll_sum: wrong number of likelihood parameters");
        let width = match self {
            Self::Heteroscedastic => 2,
            Self::Categorical { classes } => *classes,
            _ => 1,
        };
        let dof = match self {
            Self::StudentT { dof } => dof.unwrap_or_else(|| 2.1 + softplus(params[1])),
            _ => f64::NAN,
        };
        let ln_area = if dof.is_nan() { f64::NAN } else { student_ln_area(dof) };
        assert_eq!(outputs.len(), width * targets.len(), "nll_sum: outputs and targets do not fit");
        let row = |(output, &y): (&[f64], &f64)| match self {
            Self::GaussianFixed { sigma } => gaussian_nll(output[0], sigma.ln(), y),
            Self::GaussianLearned => gaussian_nll(output[0], ln_softplus(params[0]), y),
            Self::Heteroscedastic => gaussian_nll(output[0], ln_softplus(output[1]), y),
            Self::Categorical { classes } => {
                assert!(
                    y >= 0.0 && y.fract() == 0.0 && (y as usize) < *classes,
                    "nll_sum: {y} is not a class"
                );
                log_sum_exp(output) - output[y as usize]
            }
            Self::Bernoulli => {
                assert!(y == 0.0 || y == 1.0, "nll_sum: {y} is neither 0 nor 1");
                softplus(if y == 1.0 { -output[0] } else { output[0] })
            }
            Self::Poisson { base } => {
                assert!(y >= 0.0 && y.fract() == 0.0, "nll_sum: {y} is not a count");
                let ln_factorial: f64 = (1..=y as u32).map(|k| f64::from(k).ln()).sum();
                base * output[0].exp() - y * (base.ln() + output[0]) + ln_factorial
            }
            Self::StudentT { .. } => {
                let z = (y - output[0]) / ln_softplus(params[0]).exp();
                ln_softplus(params[0]) + ln_area + 0.5 * (dof + 1.0) * (z * z / dof).ln_1p()
            }
        };
        outputs.chunks(width).zip(targets).map(row).sum()
    }
}

fn gaussian_nll(mean: f64, ln_sigma: f64, y: f64) -> f64 {
    let z = (y - mean) / ln_sigma.exp();
    0.5 * (2.0 * PI).ln() + ln_sigma + 0.5 * z * z
}

/// `ln ∫ (1 + z²/dof)^{−(dof + 1)/2} dz`, with `z = √dof·tan θ` the integral of `√dof·cos^{dof − 1} θ`; no gamma function in sight.
fn student_ln_area(dof: f64) -> f64 {
    let power = |theta: f64| theta.cos().max(0.0).powf(dof - 1.0);
    0.5 * dof.ln() + adaptive_simpson(&power, -FRAC_PI_2, FRAC_PI_2, 1e-12).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finite::{assert_gradient_close, central_gradient};
    use crate::oracle::{inverse_softplus, sigmoid, softmax};

    #[test]
    fn gaussian_by_hand() {
        // ½ln 2π + ln 2 + ½·(3/2)², then with (−1/2)².
        let expected = (2.0 * PI).ln() + 2.0 * 2f64.ln() + 0.5 * (2.25 + 0.25);
        let fixed = OracleLikelihood::GaussianFixed { sigma: 2.0 };
        assert!((fixed.nll_sum(&[1.0, 1.0], &[4.0, 0.0], &[]) - expected).abs() < 1e-14);
        let raw = inverse_softplus(2.0);
        let learned = OracleLikelihood::GaussianLearned.nll_sum(&[1.0, 1.0], &[4.0, 0.0], &[raw]);
        assert!((learned - expected).abs() < 1e-14);
        let hetero = OracleLikelihood::Heteroscedastic.nll_sum(&[1.0, raw, 1.0, raw], &[4.0, 0.0], &[]);
        assert!((hetero - expected).abs() < 1e-14);
    }

    #[test]
    fn densities_integrate_to_one() {
        let density = |y: f64| (-OracleLikelihood::Heteroscedastic.nll_sum(&[0.3, -0.4], &[y], &[])).exp();
        assert!((adaptive_simpson(&density, -8.0, 8.0, 1e-12) - 1.0).abs() < 1e-10);
        let three = OracleLikelihood::Categorical { classes: 3 };
        let total: f64 =
            (0..3).map(|y| (-three.nll_sum(&[0.2, -1.0, 4.0], &[f64::from(y)], &[])).exp()).sum();
        assert!((total - 1.0).abs() < 1e-14);
        for dof in [2.5, 30.0] {
            let t = OracleLikelihood::StudentT { dof: Some(dof) };
            // With y = tan θ the tails are finite.
            let density = |a: f64| (-t.nll_sum(&[0.3], &[a.tan()], &[-0.4])).exp() / a.cos().powi(2);
            assert!((adaptive_simpson(&density, -1.56, 1.56, 1e-9) - 1.0).abs() < 1e-4);
        }
        let poisson = OracleLikelihood::Poisson { base: 2.0 };
        let total: f64 = (0..60).map(|y| (-poisson.nll_sum(&[0.7], &[f64::from(y)], &[])).exp()).sum();
        assert!((total - 1.0).abs() < 1e-13);
        let two: f64 =
            (0..2).map(|y| (-OracleLikelihood::Bernoulli.nll_sum(&[0.7], &[f64::from(y)], &[])).exp()).sum();
        assert!((two - 1.0).abs() < 1e-15);
    }

    #[test]
    fn heavy_tails_and_counts_by_hand() {
        // Cauchy at 1 scale: ln π + ln 2; of 3 degrees of freedom at 0: ln(π√3/2).
        assert!((student_ln_area(1.0) - PI.ln()).abs() < 1e-12);
        let raw = inverse_softplus(1.0);
        let three = OracleLikelihood::StudentT { dof: Some(3.0) }.nll_sum(&[0.0], &[0.0], &[raw]);
        assert!((three - (PI * 3f64.sqrt() / 2.0).ln()).abs() < 1e-12);
        let learned = OracleLikelihood::StudentT { dof: None };
        assert!((learned.nll_sum(&[0.0], &[0.0], &[raw, inverse_softplus(0.9)]) - three).abs() < 1e-12);
        let counts = OracleLikelihood::Poisson { base: 3.0 }.nll_sum(&[0.0, 0.0], &[0.0, 2.0], &[]);
        assert!((counts - (6.0 - 2.0 * 3f64.ln() + 2f64.ln())).abs() < 1e-14);
        let coin = OracleLikelihood::Bernoulli.nll_sum(&[3f64.ln(), 3f64.ln()], &[1.0, 0.0], &[]);
        assert!((coin - (4.0f64 / 3.0).ln() - 4f64.ln()).abs() < 1e-14);
    }

    // The closed gradients of math.md#likelihoods, against central differences.
    #[test]
    fn gradients_are_those_of_the_closed_forms() {
        let (mean, raw, y) = (0.4, -0.8, 1.5);
        let z = (y - mean) / softplus(raw);
        let closed = [-z / softplus(raw), (1.0 - z * z) * sigmoid(raw) / softplus(raw)];
        let got = central_gradient(|o| OracleLikelihood::Heteroscedastic.nll_sum(o, &[y], &[]), &[mean, raw]);
        assert_gradient_close("heteroscedastic", &got, &closed, 1e-9);
        let logits = [0.3, -0.2, 1.1];
        let mut closed = softmax(&logits);
        closed[1] -= 1.0;
        let three = OracleLikelihood::Categorical { classes: 3 };
        let got = central_gradient(|o| three.nll_sum(o, &[1.0], &[]), &logits);
        assert_gradient_close("categorical", &got, &closed, 1e-9);
    }

    #[test]
    #[should_panic(expected = "3 is not a class")]
    fn a_class_out_of_range_is_named() {
        let _ = OracleLikelihood::Categorical { classes: 3 }.nll_sum(&[0.0; 3], &[3.0], &[]);
    }
}
