//! How much of a gradient's variance comes of the noise of the weights: one network, one fixed minibatch, every estimator.

mod classes;
mod measure;
mod training;

pub use classes::{CLASSES, PIXELS, Rows, patterns};
pub use measure::{Trace, traces};
pub use training::{STEP_ROWS, seconds_per_step, train};

#[cfg(test)]
mod tests {
    use bdl_layers::Estimator;
    use bdl_tensor::Serial;

    use super::*;
    use crate::network::{Kind, perceptron, weights};

    /// Traces of sampling, Flipout and local reparameterization, in this order.
    type All = [Vec<Trace>; 3];

    /// The largest number of standard errors by which `b` is above `a`.
    fn above(a: &Trace, b: &Trace) -> f64 {
        (b.trace - a.trace) / a.std_error.hypot(b.std_error)
    }

    /// `docs/performance.md`: for mu sampling > Flipout ≈ local, for rho sampling ≥ Flipout > local. "Greater" is by more than
    /// 5 standard errors, "at least" not less by 5, and "about" here within a third of each other and 5 standard errors.
    fn assert_ordered(when: &str, [sampling, flipout, local]: &All) {
        for ((sampling, flipout), local) in sampling.iter().zip(flipout).zip(local) {
            let what = format!("{when}: {sampling:?} {flipout:?} {local:?}");
            if sampling.parameter == "mu" {
                assert!(above(flipout, sampling) > 5.0, "{what}");
                let (ratio, std_error) = flipout.ratio(local);
                assert!((ratio.ln().abs() - 5.0 * std_error / ratio) < (4.0_f64 / 3.0).ln(), "{what}");
            } else {
                assert!(above(flipout, sampling) > -5.0, "{what}");
                assert!(above(local, flipout) > 5.0, "{what}");
            }
        }
    }

    #[test]
    fn estimators_are_ordered_before_and_after_training() {
        let bnn = perceptron(&[PIXELS, 40, 40, CLASSES], Kind::MeanField(0.05)).unwrap();
        let (rows, mut params) = (patterns(2000), weights(&bnn));
        let batch = rows.first(200).unwrap();
        for epochs in [0, 10] {
            if epochs > 0 {
                train(&bnn, &mut params, &rows, epochs, &Serial).unwrap();
            }
            let of =
                |estimator| traces(&bnn, &params, (batch.x(), batch.y()), estimator, 200, &Serial).unwrap();
            let all = [Estimator::Sampling, Estimator::Flipout, Estimator::Local].map(of);
            assert_ordered(&format!("{epochs} epochs"), &all);
        }
    }
}
