//! Selective prediction: the risk that remains when the least confident rows are refused.

use crate::ranking::{Group, Ranking};
use crate::{Error, check};

/// A point of a risk–coverage curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RiskPoint {
    /// Share of rows accepted.
    pub coverage: f64,
    /// Mean loss of the accepted rows.
    pub risk: f64,
}

/// Risk at each coverage 1/B, 2/B, … 1, the most confident rows accepted first.
///
/// ```text
/// risk(k/B) = (1/k) Σ loss of the k most confident rows
/// ```
///
/// Among rows of equal confidence each has their mean loss: the expectation over their orders.
/// Any confidence and any loss will do, such as minus the mutual information and the squared error.
///
/// # Errors
/// Lengths differ, there are no rows, or a value is not finite.
///
/// # Examples
/// ```
/// let curve = bdl_metrics::risk_coverage(&[0.9, 0.1], &[0.0, 1.0])?;
/// assert_eq!((curve[0].coverage, curve[0].risk), (0.5, 0.0));
/// assert_eq!((curve[1].coverage, curve[1].risk), (1.0, 0.5));
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
///
/// # References
/// El-Yaniv & Wiener (2010), *On the Foundations of Noise-free Selective Classification*.
pub fn risk_coverage(confidence: &[f64], loss: &[f64]) -> Result<Vec<RiskPoint>, Error> {
    check_losses(confidence, loss)?;
    let rows = loss.len() as f64;
    let mut curve = Vec::with_capacity(loss.len());
    let mut each = |accepted: f64, risk| curve.push(RiskPoint { coverage: accepted / rows, risk });
    walk(&Ranking::new(confidence, loss).groups(), &mut each);
    Ok(curve)
}

/// Area under the risk–coverage curve of the most probable class, with loss 1 where it is wrong; in [0, 1], lower is
/// better.
///
/// ```text
/// aurc = (1/B) Σₖ (errors among the k most confident rows) / k
/// ```
///
/// The confidence is the greatest class probability; rows of equal confidence count as in [`risk_coverage`], so the
/// order of the rows does not matter.
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
/// // Right, wrong, right in falling confidence: risks 0, 1/2, 1/3.
/// let aurc = bdl_metrics::aurc(&[0, 1, 0], &[0.9, 0.1, 0.8, 0.2, 0.7, 0.3])?;
/// assert!((aurc - (1.0 / 2.0 + 1.0 / 3.0) / 3.0).abs() < 1e-15);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
///
/// # References
/// Geifman, Uziel & El-Yaniv (2019), *Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers*, §3.
pub fn aurc(labels: &[u32], probs: &[f64]) -> Result<f64, Error> {
    let classes = check::labelled(labels, probs)?;
    Ok(area(&Ranking::of_top_labels(labels, probs, classes).groups()))
}

/// Area under the risk–coverage curve of any confidence and loss: the mean risk of [`risk_coverage`].
///
/// # Errors
/// As [`risk_coverage`].
///
/// # Examples
/// ```
/// assert_eq!(bdl_metrics::aurc_of(&[0.9, 0.1], &[0.0, 1.0])?, 0.25);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
pub fn aurc_of(confidence: &[f64], loss: &[f64]) -> Result<f64, Error> {
    check_losses(confidence, loss)?;
    Ok(area(&Ranking::new(confidence, loss).groups()))
}

/// Mean risk over the coverages of groups in increasing confidence.
pub(crate) fn area(groups: &[Group]) -> f64 {
    let (mut rows, mut sum) = (0.0, 0.0);
    walk(groups, &mut |accepted, risk| (rows, sum) = (accepted, sum + risk));
    sum / rows
}

/// Calls `each` with the number of rows accepted and their risk, the most confident first.
fn walk(groups: &[Group], each: &mut impl FnMut(f64, f64)) {
    let (mut accepted, mut lost) = (0.0, 0.0);
    for group in groups.iter().rev().filter(|group| group.count > 0) {
        let loss = group.loss / group.count as f64;
        for k in 1..=group.count {
            let k = k as f64;
            each(accepted + k, (lost + k * loss) / (accepted + k));
        }
        accepted += group.count as f64;
        lost += group.loss;
    }
}

fn check_losses(confidence: &[f64], loss: &[f64]) -> Result<(), Error> {
    check::column("confidence", confidence, confidence.len())?;
    check::column("loss", loss, confidence.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{close, coarse_probs};

    #[test]
    fn constant_confidence_has_the_overall_risk_at_every_coverage() {
        let curve = risk_coverage(&[0.5; 4], &[1.0, 0.0, 0.0, 0.0]).unwrap();
        assert!(curve.iter().all(|point| point.risk == 0.25));
        assert_eq!(aurc_of(&[0.5; 4], &[0.0, 0.0, 0.0, 1.0]), Ok(0.25));
    }

    #[test]
    fn areas_of_all_right_and_all_wrong_are_zero_and_one() {
        assert_eq!(aurc(&[0, 0], &[0.9, 0.1, 0.6, 0.4]), Ok(0.0));
        assert_eq!(aurc(&[1, 1], &[0.9, 0.1, 0.6, 0.4]), Ok(1.0));
        assert_eq!(aurc(&[0], &[1.0]), Ok(0.0));
    }

    #[test]
    fn confidence_that_ranks_the_errors_last_has_the_least_area() {
        let loss = [0.0, 0.0, 1.0, 1.0];
        let best = aurc_of(&[4.0, 3.0, 2.0, 1.0], &loss).unwrap();
        close(best, (1.0 / 3.0 + 0.5) / 4.0, 1e-15);
        for confidence in [[1.0, 2.0, 3.0, 4.0], [4.0, 2.0, 3.0, 1.0], [0.0; 4]] {
            assert!(aurc_of(&confidence, &loss).unwrap() > best);
        }
    }

    #[test]
    fn bad_arguments_are_named() {
        assert_eq!(
            aurc_of(&[], &[]).unwrap_err().to_string(),
            "confidence: must not be empty, got 0 elements"
        );
        assert_eq!(
            risk_coverage(&[1.0], &[f64::NAN]).unwrap_err().to_string(),
            "loss[0]: must be finite, got NaN"
        );
    }

    proptest! {
        #[test]
        fn area_matches_the_naive_mean_over_coverages(data in prop::collection::vec((0..6_u8, -3.0..3.0_f64), 1..40)) {
            let (confidence, loss): (Vec<f64>, Vec<f64>) = data.into_iter().map(|(c, l)| (f64::from(c), l)).unzip();
            let tied_mean = |c: f64| {
                let tied: Vec<f64> = confidence.iter().zip(&loss).filter(|(d, _)| **d == c).map(|(_, l)| *l).collect();
                tied.iter().sum::<f64>() / tied.len() as f64
            };
            let mut sorted = confidence.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let risk = |k: usize| sorted[..k].iter().map(|&c| tied_mean(c)).sum::<f64>() / k as f64;
            let naive = (1..=sorted.len()).map(risk).sum::<f64>() / sorted.len() as f64;
            prop_assert!((aurc_of(&confidence, &loss).unwrap() - naive).abs() < 1e-12);
            let curve = risk_coverage(&confidence, &loss).unwrap();
            prop_assert!(curve.iter().zip(1..).all(|(p, k)| (p.risk - risk(k)).abs() < 1e-12));
            prop_assert_eq!(curve[curve.len() - 1].coverage, 1.0);
        }

        #[test]
        fn order_of_the_rows_does_not_matter(data in prop::collection::vec((any::<u8>(), 0..2_u32), 1..40)) {
            let area = |data: &[(u8, u32)]| {
                let (bytes, labels): (Vec<u8>, Vec<u32>) = data.iter().copied().unzip();
                aurc(&labels, &coarse_probs(&bytes)).unwrap()
            };
            let mut other = data.clone();
            other.sort_unstable();
            prop_assert_eq!(area(&data), area(&other));
        }
    }
}
