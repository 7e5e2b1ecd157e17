//! Rows sorted once by confidence, for statistics that a bootstrap takes of many resamples of them.

use crate::classification::{rows, top};

/// Rows in groups of equal confidence, so that no statistic can depend on the order of tied rows.
#[derive(Debug)]
pub(crate) struct Ranking {
    /// Confidence of each group, increasing.
    confidence: Vec<f64>,
    /// Group and loss of each row.
    rows: Vec<(usize, f64)>,
}

/// The rows of a sample that have one confidence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pub(crate) confidence: f64,
    pub(crate) count: usize,
    /// Summed over the rows.
    pub(crate) loss: f64,
}

impl Ranking {
    pub(crate) fn new(confidence: &[f64], loss: &[f64]) -> Self {
        let mut order: Vec<usize> = (0..confidence.len()).collect();
        order.sort_unstable_by(|&a, &b| confidence[a].total_cmp(&confidence[b]));
        let mut ranking = Self { confidence: Vec::new(), rows: loss.iter().map(|&loss| (0, loss)).collect() };
        for row in order {
            // Not by `dedup`: 0 and −0 are one confidence.
            if ranking.confidence.last() != Some(&confidence[row]) {
                ranking.confidence.push(confidence[row]);
            }
            ranking.rows[row].0 = ranking.confidence.len() - 1;
        }
        ranking
    }

    /// By the probability of the most probable class, the loss 1 where it is wrong.
    pub(crate) fn of_top_labels(labels: &[u32], probs: &[f64], classes: usize) -> Self {
        let one = |(label, p)| {
            let (class, confidence) = top(p);
            (confidence, f64::from(class != label))
        };
        let (confidence, loss): (Vec<f64>, Vec<f64>) = rows(labels, probs, classes).map(one).unzip();
        Self::new(&confidence, &loss)
    }

    /// The groups of all rows, least confident first.
    pub(crate) fn groups(&self) -> Vec<Group> {
        let mut groups = Vec::new();
        self.tally(0..self.rows.len(), &mut groups);
        groups
    }

    /// Refills `groups` with the groups of a sample, of which some may be empty.
    pub(crate) fn tally(&self, sample: impl IntoIterator<Item = usize>, groups: &mut Vec<Group>) {
        groups.clear();
        groups.extend(self.confidence.iter().map(|&confidence| Group { confidence, count: 0, loss: 0.0 }));
        for row in sample {
            let (group, loss) = self.rows[row];
            groups[group].count += 1;
            groups[group].loss += loss;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_confidences_are_one_group_whatever_their_sign_of_zero() {
        let groups = Ranking::new(&[0.5, 0.0, -0.0, 0.5], &[1.0, 2.0, 3.0, 4.0]).groups();
        let summary: Vec<_> = groups.iter().map(|g| (g.confidence, g.count, g.loss)).collect();
        assert_eq!(summary, [(0.0, 2, 5.0), (0.5, 2, 5.0)]);
    }

    #[test]
    fn sample_may_repeat_and_omit_rows() {
        let ranking = Ranking::new(&[0.2, 0.1], &[1.0, 0.0]);
        let mut groups = ranking.groups();
        ranking.tally([0, 0], &mut groups);
        assert_eq!((groups[0].count, groups[1].count, groups[1].loss), (0, 2, 2.0));
    }
}
