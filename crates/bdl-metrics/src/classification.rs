//! Scores of class probabilities.

use crate::{Error, check, mean};

/// Share of rows whose most probable class is the label; among equally probable classes the first one counts.
///
/// ```text
/// accuracy = (1/B) Σ 1{argmax_c p_c = label}
/// ```
///
/// # Shapes
/// `labels` `[B]`, `probs` `[B, C]` row by row, with C = `probs.len() / labels.len()`.
///
/// # Errors
/// There are no rows, `probs` is not a multiple of `labels`, a probability is outside [0, 1], a row does not sum to 1
/// within [`PROB_SUM_TOLERANCE`](crate::PROB_SUM_TOLERANCE), or a label is not below C.
///
/// # Examples
/// ```
/// assert_eq!(bdl_metrics::accuracy(&[0, 1], &[0.9, 0.1, 0.8, 0.2])?, 0.5);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
pub fn accuracy(labels: &[u32], probs: &[f64]) -> Result<f64, Error> {
    let classes = check::labelled(labels, probs)?;
    let hits = rows(labels, probs, classes).filter(|(label, p)| top(p).0 == *label).count();
    Ok(hits as f64 / labels.len() as f64)
}

/// Mean of [`nll_rows`].
///
/// # Errors
/// As [`accuracy`].
///
/// # Examples
/// ```
/// assert_eq!(bdl_metrics::nll(&[0, 1], &[0.5, 0.5, 0.5, 0.5])?, 2.0_f64.ln());
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
pub fn nll(labels: &[u32], probs: &[f64]) -> Result<f64, Error> {
    nll_rows(labels, probs).map(|rows| mean(&rows))
}

/// Minus the log probability of each label, in nats.
///
/// ```text
/// nll = −ln p_label
/// ```
///
/// A label of probability 0 scores +∞: nothing is clipped, so a prediction that excluded what happened cannot hide.
///
/// # Shapes
/// As [`accuracy`].
///
/// # Errors
/// As [`accuracy`].
///
/// # Examples
/// ```
/// assert_eq!(bdl_metrics::nll_rows(&[0, 1], &[1.0, 0.0, 1.0, 0.0])?, [0.0, f64::INFINITY]);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
///
/// # References
/// Good (1952), *Rational Decisions*; Gneiting & Raftery (2007), *Strictly Proper Scoring Rules, Prediction, and
/// Estimation*, §3.
pub fn nll_rows(labels: &[u32], probs: &[f64]) -> Result<Vec<f64>, Error> {
    let classes = check::labelled(labels, probs)?;
    Ok(rows(labels, probs, classes).map(|(label, p)| log_score(label, p)).collect())
}

/// Mean of [`brier_rows`].
///
/// # Errors
/// As [`accuracy`].
///
/// # Examples
/// ```
/// assert_eq!(bdl_metrics::brier(&[0, 1], &[1.0, 0.0, 1.0, 0.0])?, 1.0);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
pub fn brier(labels: &[u32], probs: &[f64]) -> Result<f64, Error> {
    brier_rows(labels, probs).map(|rows| mean(&rows))
}

/// Brier score of each row, summed over classes: in [0, 2], and twice the one-probability form for two classes.
///
/// ```text
/// brier = Σ_c (p_c − 1{c = label})²
/// ```
///
/// # Shapes
/// As [`accuracy`].
///
/// # Errors
/// As [`accuracy`].
///
/// # Examples
/// ```
/// assert_eq!(bdl_metrics::brier_rows(&[0, 1], &[0.5, 0.5, 1.0, 0.0])?, [0.5, 2.0]);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
///
/// # References
/// Brier (1950), *Verification of Forecasts Expressed in Terms of Probability*, eq. 2.
pub fn brier_rows(labels: &[u32], probs: &[f64]) -> Result<Vec<f64>, Error> {
    let classes = check::labelled(labels, probs)?;
    Ok(rows(labels, probs, classes).map(|(label, p)| brier_score(label, p)).collect())
}

/// Labels beside their rows of probabilities.
pub(crate) fn rows<'a>(
    labels: &'a [u32],
    probs: &'a [f64],
    classes: usize,
) -> impl Iterator<Item = (usize, &'a [f64])> {
    labels.iter().map(|&label| label as usize).zip(probs.chunks_exact(classes))
}

/// The first most probable class, and its probability.
pub(crate) fn top(probs: &[f64]) -> (usize, f64) {
    let better = |best: (usize, f64), (class, &p): (usize, &f64)| if p > best.1 { (class, p) } else { best };
    probs.iter().enumerate().fold((0, probs[0]), better)
}

pub(crate) fn log_score(label: usize, probs: &[f64]) -> f64 {
    // Of −ln 1 = −0 the sign is dropped.
    -probs[label].ln() + 0.0
}

pub(crate) fn brier_score(label: usize, probs: &[f64]) -> f64 {
    let square = |(class, p): (usize, &f64)| (p - f64::from(class == label)).powi(2);
    probs.iter().enumerate().map(square).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::close;

    #[test]
    fn equal_probabilities_count_for_the_first_class() {
        assert_eq!(accuracy(&[0, 0, 1], &[0.5; 6]), Ok(2.0 / 3.0));
    }

    #[test]
    fn single_class_is_always_right() {
        assert_eq!(accuracy(&[0, 0], &[1.0, 1.0]), Ok(1.0));
        assert_eq!(nll(&[0, 0], &[1.0, 1.0]), Ok(0.0));
        assert_eq!(brier(&[0, 0], &[1.0, 1.0]), Ok(0.0));
    }

    #[test]
    fn one_excluded_label_makes_the_mean_nll_infinite() {
        assert_eq!(nll(&[0, 1], &[0.5, 0.5, 1.0, 0.0]), Ok(f64::INFINITY));
    }

    #[test]
    fn three_classes_by_hand() {
        let probs = [0.7, 0.2, 0.1, 0.1, 0.3, 0.6];
        close(brier(&[0, 1], &probs).unwrap(), (0.09 + 0.04 + 0.01 + 0.01 + 0.49 + 0.36) / 2.0, 1e-15);
        close(nll(&[0, 1], &probs).unwrap(), -(0.7_f64 * 0.3).ln() / 2.0, 1e-15);
        assert_eq!(accuracy(&[0, 1], &probs), Ok(0.5));
    }

    #[test]
    fn label_without_a_class_is_named() {
        assert_eq!(
            nll(&[2], &[0.5, 0.5]).unwrap_err().to_string(),
            "labels[0]: must be less than the 2 classes, got 2"
        );
    }

    fn simplex(weights: &[f64]) -> Vec<f64> {
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|w| w / sum).collect()
    }

    proptest! {
        #[test]
        fn expected_scores_are_least_at_the_true_probabilities(pairs in prop::collection::vec((0.01..1.0_f64, 0.01..1.0_f64), 2..6)) {
            let (truth, other): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
            let (truth, other) = (simplex(&truth), simplex(&other));
            let expected = |score: fn(&[u32], &[f64]) -> Result<f64, Error>, q: &[f64]| -> f64 {
                truth.iter().zip(0..).map(|(p, label)| p * score(&[label], q).unwrap()).sum()
            };
            prop_assert!(expected(nll, &truth) <= expected(nll, &other) + 1e-12);
            // Exactly the squared distance apart.
            let distance: f64 = truth.iter().zip(&other).map(|(p, q)| (p - q).powi(2)).sum();
            prop_assert!((expected(brier, &other) - expected(brier, &truth) - distance).abs() < 1e-12);
        }

        #[test]
        fn brier_lies_between_zero_and_two(weights in prop::collection::vec(0.0..1.0_f64, 1..6), label in 0..6_u32) {
            prop_assume!(weights.iter().sum::<f64>() > 0.0);
            let probs = simplex(&weights);
            let score = brier(&[label % probs.len() as u32], &probs).unwrap();
            prop_assert!((0.0..=2.0 + 1e-12).contains(&score));
        }
    }
}
