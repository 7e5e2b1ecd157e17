//! Which epoch's parameters a training returns.

use super::{FitSummary, Progress};

/// The parameters that training will return.
pub(super) struct Kept {
    pub(super) params: Vec<f32>,
    /// The report of their epoch.
    report: Option<Progress>,
    /// What the next epoch must beat.
    best: Option<f64>,
    /// Epochs that could have beaten it and did not.
    pub(super) waited: usize,
}

impl Kept {
    /// Before any epoch.
    pub(super) fn new(params: &[f32]) -> Self {
        Self { params: params.to_vec(), report: None, best: None, waited: 0 }
    }

    pub(super) fn take(&mut self, progress: &Progress, params: &[f32]) {
        self.params.copy_from_slice(params);
        self.report = Some(progress.clone());
    }

    /// Takes the epoch if it is better, of those that are `comparable`; before the first of these, any.
    pub(super) fn consider(&mut self, progress: &Progress, params: &[f32], comparable: bool) {
        let better = match (progress.valid_nll, self.best) {
            (Some(new), Some(old)) => comparable && new < old,
            _ => true,
        };
        if better {
            self.take(progress, params);
            self.best = progress.valid_nll.filter(|_| comparable);
        }
        self.waited = if better { 0 } else { self.waited + usize::from(comparable) };
    }

    pub(super) fn summary(self, last: Progress, stopped_early: bool) -> FitSummary {
        FitSummary { kept: self.report.unwrap_or_else(|| last.clone()), last, stopped_early }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_that_cannot_be_compared_is_kept_only_before_the_first_that_can() {
        let mut kept = Kept::new(&[0.0]);
        let mut consider = |epoch, nll, comparable| {
            let valid_nll = Some(nll);
            let (nll_mean, kl, elbo, kl_weight, lr) = Default::default();
            let (step, rows_seen) = Default::default();
            let progress = Progress { epoch, step, rows_seen, nll_mean, kl, elbo, kl_weight, lr, valid_nll };
            kept.consider(&progress, &[nll as f32], comparable);
            (kept.params[0], kept.waited)
        };
        let epochs = [(1.0, false), (2.0, true), (0.5, false), (1.5, true), (0.25, false), (1.75, true)];
        let told: Vec<_> = (1..).zip(epochs).map(|(epoch, (nll, can))| consider(epoch, nll, can)).collect();
        assert_eq!(told, [(1.0, 0), (2.0, 0), (2.0, 0), (1.5, 0), (1.5, 0), (1.5, 1)]);
    }
}
