//! The loops of concrete dropout: relaxed masks, their use on units, and their slope in the logit of the drop probability.

use super::same_len;
use crate::dispatch::dispatched;
use crate::{Mat, MatMut, math};

/// Lanes of a sum.
const LANES: usize = 8;

/// Panics unless each row of x has whole positions and as many factors as units.
#[inline(always)]
fn check_units(what: &str, x: Mat<'_>, factors: &[f32], units: usize) {
    let whole = units > 0 && x.cols().is_multiple_of(units);
    assert!(whole, "{what} units: must divide the width {}, got {units}", x.cols());
    let expected = x.rows() * units;
    assert!(
        factors.len() == expected,
        "{what} factors: must have {expected} elements, got {}",
        factors.len()
    );
}

dispatched! {
    /// Replaces each standard logistic number λ by the factor of a unit that is kept in part.
    ///
    /// ```text
    /// λ ↦ (1 − d)/(1 − p) = exp(softplus(logit) − softplus((logit + λ)/temp)),   d = sigmoid((logit + λ)/temp),  p = sigmoid(logit)
    /// ```
    ///
    /// # Examples
    /// ```
    /// let mut m = [-9.0, 0.0, 9.0]; // kept, half kept, dropped, at p = ½
    /// bdl_tensor::kernels::concrete_factors(0.0, 0.1, &mut m);
    /// assert_eq!(m.map(|m| (m * 1e6).round() / 1e6), [2.0, 1.0, 0.0]);
    /// ```
    pub fn concrete_factors(logit: f32, temp: f32, x: &mut [f32]) {
        let (all, sharp) = (math::softplus(logit), 1.0 / temp);
        for x in x {
            *x = math::exp(all - math::softplus((logit + *x) * sharp));
        }
    }

    /// Replaces each factor m of [`concrete_factors`] by `∂ ln m/∂logit = p − d/temp`, with `d = 1 − (1 − p)·m`.
    pub fn concrete_slopes(logit: f32, temp: f32, m: &mut [f32]) {
        let (p, k, sharp) = (math::sigmoid(logit), math::sigmoid(-logit), 1.0 / temp);
        for m in m {
            *m = p - (1.0 - k * *m) * sharp;
        }
    }

    /// `out[i, k] = x[i, k]·factors[i, k mod units]`: a factor for each row and unit, the same at all of a row's positions.
    ///
    /// # Shapes
    /// x and out `[m, positions·units]`, factors `[m, units]`.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn scale_unit_rows(x: Mat<'_>, factors: &[f32], units: usize, out: &mut MatMut<'_>) {
        check_units("scale_unit_rows", x, factors, units);
        assert!(
            x.shape() == out.shape(),
            "scale_unit_rows out: must be {:?}, got {:?}", x.shape(), out.shape(),
        );
        for (i, factors) in factors.chunks_exact(units).enumerate() {
            let positions = x.row(i).chunks_exact(units);
            for (x, out) in positions.zip(out.row_mut(i).chunks_exact_mut(units)) {
                for ((out, x), factor) in out.iter_mut().zip(x).zip(factors) {
                    *out = x * factor;
                }
            }
        }
    }

    /// `Σ_ik a[i, k]·b[i, k]·factors[i, k mod units]`, position after position in `f64`.
    ///
    /// # Shapes
    /// a and b `[m, positions·units]`, factors `[m, units]`.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[must_use]
    pub fn dot_unit_rows_f64(a: Mat<'_>, b: Mat<'_>, factors: &[f32], units: usize) -> f64 {
        check_units("dot_unit_rows_f64", a, factors, units);
        same_len("dot_unit_rows_f64 b", a.data().len(), b.data().len());
        let mut sums = [0.0; LANES];
        for (i, factors) in factors.chunks_exact(units).enumerate() {
            for (a, b) in a.row(i).chunks_exact(units).zip(b.row(i).chunks_exact(units)) {
                for ((a, b), f) in a.chunks(LANES).zip(b.chunks(LANES)).zip(factors.chunks(LANES)) {
                    for (((s, &a), &b), &f) in sums.iter_mut().zip(a).zip(b).zip(f) {
                        *s += f64::from(a) * f64::from(b) * f64::from(f);
                    }
                }
            }
        }
        sums.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::forced::assert_levels_agree;

    fn numbers(n: usize, seed: f32) -> Vec<f32> {
        (0..n).map(|i| ((i as f32 + seed) * 0.731).sin() * [0.1, 1.0, 5.0][i % 3]).collect()
    }

    fn sigmoid(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    #[test]
    fn factors_and_slopes_are_their_formulas_at_every_level() {
        for (logit, temp) in [(-2.2_f32, 0.1_f32), (0.0, 0.1), (1.5, 0.5), (-7.0, 1.0)] {
            let lambda: Vec<f32> = (0..200).map(|i| (i as f32 - 100.0) * 0.21).collect();
            assert_levels_agree("concrete_factors", || {
                let mut m = lambda.clone();
                concrete_factors(logit, temp, &mut m);
                let mut slope = m.clone();
                concrete_slopes(logit, temp, &mut slope);
                let (logit, temp) = (f64::from(logit), f64::from(temp));
                for ((lambda, m), slope) in lambda.iter().zip(&m).zip(&slope) {
                    let kept = sigmoid(-(logit + f64::from(*lambda)) / temp);
                    let expected = kept / sigmoid(-logit);
                    assert!((f64::from(*m) - expected).abs() <= 2e-5 * expected + 1e-30, "{m} {expected}");
                    let expected = sigmoid(logit) - (1.0 - kept) / temp;
                    assert!((f64::from(*slope) - expected).abs() < 1e-5 / temp, "{slope} {expected}");
                }
                [m, slope].map(|x| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
            });
        }
    }

    // At a logit of 20 all units are dropped, but for a λ that occurs once in 4·10⁹.
    #[test]
    fn factors_are_finite_wherever_a_logit_is_clipped() {
        for logit in [-20.0, 20.0] {
            for lambda in [-22.9, 0.0, 22.9] {
                let mut m = [lambda];
                concrete_factors(logit, 0.1, &mut m);
                assert!(m[0].is_finite() && m[0] >= 0.0, "{logit}, {lambda}: {m:?}");
                concrete_slopes(logit, 0.1, &mut m);
                assert!(m[0].is_finite(), "{logit}, {lambda}: {m:?}");
            }
        }
    }

    #[test]
    fn a_row_has_its_factors_at_all_of_its_positions() {
        for (units, positions) in [(1, 1), (1, 9), (3, 5), (8, 2), (17, 1), (40, 3)] {
            let (m, n) = (4, units * positions);
            let (x, other, factors) = (numbers(m * n, 1.0), numbers(m * n, 2.0), numbers(m * units, 3.0));
            let factor = |at: usize| factors[at / n * units + at % n % units];
            let scaled: Vec<f32> = (0..m * n).map(|at| x[at] * factor(at)).collect();
            let terms = (0..m * n).map(|at| f64::from(x[at]) * f64::from(other[at]) * f64::from(factor(at)));
            let dot: f64 = terms.sum();
            let (x, other) = (Mat::new(&x, m, n).unwrap(), Mat::new(&other, m, n).unwrap());
            assert_levels_agree("scale_unit_rows", || {
                let mut out = vec![f32::NAN; m * n];
                scale_unit_rows(x, &factors, units, &mut MatMut::new(&mut out, m, n).unwrap());
                assert_eq!(out, scaled);
                let got = dot_unit_rows_f64(x, other, &factors, units);
                assert!((got - dot).abs() < 1e-12, "{got} {dot}");
                got.to_bits()
            });
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let of = |f: fn()| *std::panic::catch_unwind(f).unwrap_err().downcast::<String>().unwrap();
        let units = of(|| {
            let x = Mat::new(&[0.0; 6], 1, 6).unwrap();
            let _ = dot_unit_rows_f64(x, x, &[0.0; 4], 4);
        });
        assert_eq!(units, "dot_unit_rows_f64 units: must divide the width 6, got 4");
        let factors = of(|| {
            let x = Mat::new(&[0.0; 6], 1, 6).unwrap();
            scale_unit_rows(x, &[0.0; 2], 3, &mut MatMut::new(&mut [0.0; 6], 1, 6).unwrap());
        });
        assert_eq!(factors, "scale_unit_rows factors: must have 3 elements, got 2");
    }
}
