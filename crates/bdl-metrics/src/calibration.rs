//! Calibration of the most probable class: reliability tables and the errors read off them.

use crate::ranking::{Group, Ranking};
use crate::{Error, check};

/// How rows are binned by the probability of their most probable class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binning {
    /// This many bins ((k−1)/M, k/M].
    EqualWidth(usize),
    /// This many bins of equal numbers of rows: rows ⌊kB/M⌋ to ⌊(k+1)B/M⌋ in increasing order of confidence.
    EqualMass(usize),
}

/// A bin of a reliability table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    /// Lower edge; of equal-mass bins the least confidence in it.
    pub lower: f64,
    /// Upper edge; of equal-mass bins the greatest confidence in it.
    pub upper: f64,
    /// Rows in the bin.
    pub count: usize,
    /// Mean probability of the most probable class.
    pub confidence: f64,
    /// Share of rows whose most probable class is the label.
    pub accuracy: f64,
}

impl Bin {
    fn gap(&self) -> f64 {
        (self.accuracy - self.confidence).abs()
    }
}

/// Confidence against accuracy, bin by bin in increasing confidence; bins without rows are left out.
///
/// Where an edge of an equal-mass bin falls among rows of equal confidence, each bin takes its share of them with their
/// mean accuracy, so that the order of the rows does not matter.
///
/// # Shapes
/// `labels` `[B]`, `probs` `[B, C]` row by row, with C = `probs.len() / labels.len()`.
///
/// # Errors
/// There are no rows, `probs` is not a multiple of `labels`, a probability is outside [0, 1], a row does not sum to 1
/// within [`PROB_SUM_TOLERANCE`](crate::PROB_SUM_TOLERANCE), a label is not below C, or the number of bins is 0.
///
/// # Examples
/// ```
/// use bdl_metrics::{Binning, reliability};
/// let table = reliability(&[0, 1, 0], &[0.75, 0.25, 0.75, 0.25, 1.0, 0.0], Binning::EqualWidth(4))?;
/// assert_eq!(table.len(), 2);
/// assert_eq!((table[0].count, table[0].confidence, table[0].accuracy), (2, 0.75, 0.5));
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
///
/// # References
/// DeGroot & Fienberg (1983), *The Comparison and Evaluation of Forecasters*; Niculescu-Mizil & Caruana (2005),
/// *Predicting Good Probabilities with Supervised Learning*.
pub fn reliability(labels: &[u32], probs: &[f64], binning: Binning) -> Result<Vec<Bin>, Error> {
    let (Binning::EqualWidth(bins) | Binning::EqualMass(bins)) = binning;
    check::at_least_one("bins", bins)?;
    let classes = check::labelled(labels, probs)?;
    Ok(table(&Ranking::of_top_labels(labels, probs, classes).groups(), binning))
}

/// Expected calibration error over equal-width bins of the most probable class, a probability.
///
/// ```text
/// ece = Σₘ (nₘ/B) |accuracyₘ − confidenceₘ|
/// ```
///
/// It is biased upwards when rows are few, and depends on the number of bins; 15 is customary.
///
/// # Shapes
/// As [`reliability`].
///
/// # Errors
/// As [`reliability`].
///
/// # Examples
/// ```
/// // Two rows at 0.75, one of them right; one at 1, right: (2/3)·0.25.
/// let ece = bdl_metrics::ece(&[0, 1, 0], &[0.75, 0.25, 0.75, 0.25, 1.0, 0.0], 10)?;
/// assert!((ece - 1.0 / 6.0).abs() < 1e-15);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
///
/// # References
/// Naeini, Cooper & Hauskrecht (2015), *Obtaining Well Calibrated Probabilities Using Bayesian Binning*; Guo, Pleiss, Sun
/// & Weinberger (2017), *On Calibration of Modern Neural Networks*, eq. 3.
pub fn ece(labels: &[u32], probs: &[f64], bins: usize) -> Result<f64, Error> {
    reliability(labels, probs, Binning::EqualWidth(bins)).map(|table| expected_gap(&table))
}

/// Expected calibration error over bins of equal numbers of rows, a probability.
///
/// ```text
/// adaptive_ece = Σₘ (nₘ/B) |accuracyₘ − confidenceₘ|,   n₁ ≈ … ≈ n_M
/// ```
///
/// # Shapes
/// As [`reliability`].
///
/// # Errors
/// As [`reliability`].
///
/// # Examples
/// ```
/// let ece = bdl_metrics::adaptive_ece(&[0, 1, 0, 0], &[0.75, 0.25, 0.75, 0.25, 1.0, 0.0, 0.9, 0.1], 2)?;
/// assert!((ece - (0.5 * 0.25 + 0.5 * 0.05)).abs() < 1e-15);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
///
/// # References
/// Nguyen & O'Connor (2015), *Posterior calibration and exploratory analysis for natural language processing models*;
/// Nixon, Dusenberry, Zhang, Jerfel & Tran (2019), *Measuring Calibration in Deep Learning*.
pub fn adaptive_ece(labels: &[u32], probs: &[f64], bins: usize) -> Result<f64, Error> {
    reliability(labels, probs, Binning::EqualMass(bins)).map(|table| expected_gap(&table))
}

/// Largest calibration error among equal-width bins that have rows, a probability.
///
/// ```text
/// mce = maxₘ |accuracyₘ − confidenceₘ|
/// ```
///
/// A bin of a single row may decide it: read it beside the counts of [`reliability`].
///
/// # Shapes
/// As [`reliability`].
///
/// # Errors
/// As [`reliability`].
///
/// # Examples
/// ```
/// let mce = bdl_metrics::mce(&[0, 1, 0], &[0.75, 0.25, 0.75, 0.25, 1.0, 0.0], 10)?;
/// assert_eq!(mce, 0.25);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
///
/// # References
/// Guo, Pleiss, Sun & Weinberger (2017), *On Calibration of Modern Neural Networks*, eq. 5.
pub fn mce(labels: &[u32], probs: &[f64], bins: usize) -> Result<f64, Error> {
    reliability(labels, probs, Binning::EqualWidth(bins)).map(|table| largest_gap(&table))
}

/// The reliability table of groups in increasing confidence.
pub(crate) fn table(groups: &[Group], binning: Binning) -> Vec<Bin> {
    match binning {
        Binning::EqualWidth(bins) => equal_width(groups, bins),
        Binning::EqualMass(bins) => equal_mass(groups, bins),
    }
}

pub(crate) fn expected_gap(table: &[Bin]) -> f64 {
    let rows: usize = table.iter().map(|bin| bin.count).sum();
    table.iter().map(|bin| bin.count as f64 * bin.gap()).sum::<f64>() / rows as f64
}

pub(crate) fn largest_gap(table: &[Bin]) -> f64 {
    table.iter().map(Bin::gap).fold(0.0, f64::max)
}

fn equal_width(groups: &[Group], bins: usize) -> Vec<Bin> {
    let mut filling = Filling::default();
    for group in groups.iter().filter(|group| group.count > 0) {
        filling.add(width_bin(group.confidence, bins), group, group.count);
    }
    let edge = |k: usize| k as f64 / bins as f64;
    filling.finish().into_iter().map(|(k, bin)| Bin { lower: edge(k), upper: edge(k + 1), ..bin }).collect()
}

/// The k with k/bins < confidence ≤ (k+1)/bins.
fn width_bin(confidence: f64, bins: usize) -> usize {
    let last = bins - 1;
    let k = ((confidence * bins as f64).ceil() as usize).saturating_sub(1).min(last);
    // The product may round across an edge.
    if k > 0 && confidence <= k as f64 / bins as f64 {
        k - 1
    } else if k < last && confidence > (k + 1) as f64 / bins as f64 {
        k + 1
    } else {
        k
    }
}

fn equal_mass(groups: &[Group], bins: usize) -> Vec<Bin> {
    let rows: usize = groups.iter().map(|group| group.count).sum();
    // With more bins than rows each row has a bin of its own, as with as many.
    let bins = bins.min(rows);
    let end = |k: usize| ((k + 1) as u128 * rows as u128 / bins as u128) as usize;
    let mut filling = Filling::default();
    let (mut k, mut filled) = (0, 0);
    for group in groups {
        let mut left = group.count;
        while left > 0 {
            let taken = left.min(end(k) - filled);
            filling.add(k, group, taken);
            (left, filled) = (left - taken, filled + taken);
            k += usize::from(filled == end(k));
        }
    }
    filling.finish().into_iter().map(|(_, bin)| bin).collect()
}

/// Bins being filled in order; `confidence` and `accuracy` hold sums until the end.
#[derive(Default)]
struct Filling(Vec<(usize, Bin)>);

impl Filling {
    /// Puts `count` of the group's rows into bin `k`.
    fn add(&mut self, k: usize, group: &Group, count: usize) {
        let Group { confidence, .. } = *group;
        if self.0.last().is_none_or(|&(last, _)| last != k) {
            self.0.push((
                k,
                Bin { lower: confidence, upper: confidence, count: 0, confidence: 0.0, accuracy: 0.0 },
            ));
        }
        if let Some((_, bin)) = self.0.last_mut() {
            bin.upper = confidence;
            bin.count += count;
            bin.confidence += count as f64 * confidence;
            bin.accuracy += (group.count as f64 - group.loss) * (count as f64 / group.count as f64);
        }
    }

    fn finish(mut self) -> Vec<(usize, Bin)> {
        for (_, bin) in &mut self.0 {
            bin.confidence /= bin.count as f64;
            bin.accuracy /= bin.count as f64;
        }
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::classification::top;
    use crate::testing::{close, coarse_probs, uniforms};

    #[test]
    fn known_bins_by_hand() {
        // Confidences 0.6 (right), 0.7 (wrong), 0.9 (right), 1.0 (right); bins (0.5, 0.75] and (0.75, 1].
        let probs = [0.6, 0.4, 0.3, 0.7, 0.9, 0.1, 0.0, 1.0];
        let labels = [0, 0, 0, 1];
        let table = reliability(&labels, &probs, Binning::EqualWidth(4)).unwrap();
        assert_eq!(table.len(), 2);
        assert_eq!((table[0].lower, table[0].upper, table[0].count, table[0].accuracy), (0.5, 0.75, 2, 0.5));
        assert_eq!((table[1].lower, table[1].upper, table[1].count, table[1].accuracy), (0.75, 1.0, 2, 1.0));
        close(ece(&labels, &probs, 4).unwrap(), 0.5 * 0.15 + 0.5 * 0.05, 1e-15);
        close(mce(&labels, &probs, 4).unwrap(), 0.15, 1e-15);
        close(adaptive_ece(&labels, &probs, 2).unwrap(), 0.5 * 0.15 + 0.5 * 0.05, 1e-15);
        close(adaptive_ece(&labels, &probs, 4).unwrap(), (0.4 + 0.7 + 0.1 + 0.0) / 4.0, 1e-15);
    }

    #[test]
    fn confidence_on_an_edge_belongs_to_the_bin_below() {
        for bins in 1..200 {
            for k in 0..bins {
                assert_eq!(width_bin((k + 1) as f64 / bins as f64, bins), k);
                assert_eq!(width_bin((k as f64 / bins as f64).next_up(), bins), k);
            }
        }
    }

    #[test]
    fn tied_rows_are_shared_between_the_bins_they_straddle() {
        // Four rows at 0.75, three right, in two bins: each has accuracy 0.75 whichever row comes first.
        let probs = [0.75, 0.25].repeat(4);
        for labels in [[1, 0, 0, 0], [0, 0, 0, 1]] {
            let table = reliability(&labels, &probs, Binning::EqualMass(2)).unwrap();
            assert_eq!(
                table.iter().map(|b| (b.count, b.accuracy)).collect::<Vec<_>>(),
                [(2, 0.75), (2, 0.75)]
            );
            assert_eq!(adaptive_ece(&labels, &probs, 2), Ok(0.0));
        }
    }

    #[test]
    fn perfect_and_single_class_predictions_are_calibrated() {
        for bins in [1, 15, usize::MAX] {
            assert_eq!(ece(&[0, 1], &[1.0, 0.0, 0.0, 1.0], bins), Ok(0.0));
            assert_eq!(adaptive_ece(&[0], &[1.0], bins), Ok(0.0));
            assert_eq!(mce(&[0], &[1.0], bins), Ok(0.0));
        }
    }

    #[test]
    fn error_of_calibrated_rows_vanishes_and_of_overconfident_rows_does_not() {
        // 20 000 rows, right with probability c and with probability c − 0.2; bias and noise are below 0.02.
        let u = uniforms(40_000, 6);
        let confidence: Vec<f64> = u[..20_000].iter().map(|u| 0.7 + 0.3 * u).collect();
        let probs: Vec<f64> = confidence.iter().flat_map(|&c| [c, 1.0 - c]).collect();
        let labels = |less: f64| -> Vec<u32> {
            confidence.iter().zip(&u[20_000..]).map(|(c, u)| u32::from(*u > c - less)).collect()
        };
        assert!(ece(&labels(0.0), &probs, 15).unwrap() < 0.02);
        close(ece(&labels(0.2), &probs, 15).unwrap(), 0.2, 0.02);
        close(adaptive_ece(&labels(0.2), &probs, 15).unwrap(), 0.2, 0.02);
    }

    #[test]
    fn no_bins_are_refused() {
        assert_eq!(ece(&[0], &[1.0], 0).unwrap_err().to_string(), "bins: must be at least 1, got 0");
        assert_eq!(
            adaptive_ece(&[], &[], 5).unwrap_err().to_string(),
            "labels: must not be empty, got 0 elements"
        );
    }

    fn naive_rows(labels: &[u32], probs: &[f64]) -> Vec<(f64, f64)> {
        let row = |(l, p): (&u32, &[f64])| (top(p).1, f64::from(top(p).0 == *l as usize));
        labels.iter().zip(probs.chunks(2)).map(row).collect()
    }

    fn naive_gap(rows: &[(f64, f64)]) -> f64 {
        (rows.iter().map(|r| r.1 - r.0).sum::<f64>() / rows.len() as f64).abs()
    }

    proptest! {
        #[test]
        fn errors_match_the_naive_loops(data in prop::collection::vec((any::<u8>(), 0..2_u32), 1..60), bins in 1..20_usize) {
            let (bytes, labels): (Vec<u8>, Vec<u32>) = data.into_iter().unzip();
            let probs = coarse_probs(&bytes);
            let rows = naive_rows(&labels, &probs);
            let n = rows.len();
            let (mut expected, mut largest) = (0.0, 0.0_f64);
            for k in 0..bins {
                let inside = |c: f64| c > k as f64 / bins as f64 && c <= (k + 1) as f64 / bins as f64;
                let bin: Vec<_> = rows.iter().copied().filter(|r| inside(r.0)).collect();
                if !bin.is_empty() {
                    expected += bin.len() as f64 / n as f64 * naive_gap(&bin);
                    largest = largest.max(naive_gap(&bin));
                }
            }
            prop_assert!((ece(&labels, &probs, bins).unwrap() - expected).abs() < 1e-12);
            prop_assert!((mce(&labels, &probs, bins).unwrap() - largest).abs() < 1e-12);

            let tied_mean = |c: f64| {
                let tied: Vec<f64> = rows.iter().filter(|r| r.0 == c).map(|r| r.1).collect();
                tied.iter().sum::<f64>() / tied.len() as f64
            };
            let mut sorted: Vec<_> = rows.iter().map(|r| (r.0, tied_mean(r.0))).collect();
            sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
            let chunk = |k: usize| &sorted[k * n / bins..(k + 1) * n / bins];
            let adaptive: f64 = (0..bins).map(chunk).filter(|c| !c.is_empty()).map(|c| c.len() as f64 / n as f64 * naive_gap(c)).sum();
            prop_assert!((adaptive_ece(&labels, &probs, bins).unwrap() - adaptive).abs() < 1e-12);
        }

        #[test]
        fn order_of_the_rows_does_not_matter(data in prop::collection::vec((any::<u8>(), 0..2_u32), 1..40), turn in 0..40_usize) {
            let mut data = data;
            let errors = |data: &[(u8, u32)]| {
                let (bytes, labels): (Vec<u8>, Vec<u32>) = data.iter().copied().unzip();
                let probs = coarse_probs(&bytes);
                [ece(&labels, &probs, 7), adaptive_ece(&labels, &probs, 7), mce(&labels, &probs, 7)].map(Result::unwrap)
            };
            let before = errors(&data);
            let middle = turn % data.len();
            data.rotate_left(middle);
            data[middle..].reverse();
            prop_assert_eq!(before, errors(&data));
        }
    }
}
