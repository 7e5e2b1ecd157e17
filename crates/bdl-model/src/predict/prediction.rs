//! What is said of rows.

/// What is said of a row with a real target, in the target's units.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RealPrediction {
    /// Mean of the predictive distribution.
    pub mean: f64,
    /// Its standard deviation.
    pub std: f64,
    /// The part that more data would not take away.
    pub aleatoric_std: f64,
    /// The part that more data would.
    pub epistemic_std: f64,
    /// Lower end of the central interval.
    pub lower: f64,
    /// Its upper end.
    pub upper: f64,
    /// Monte Carlo standard error of the mean, where there is more than one pass.
    pub mean_mcse: Option<f64>,
}

/// What is said of a row whose target is a class; entropies in nats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassPrediction {
    /// The most probable class, by its index in [`Schema::class_names`](crate::Schema::class_names).
    pub label: u32,
    /// Entropy of the mean probabilities.
    pub predictive_entropy: f64,
    /// Mean over the passes of their entropies.
    pub expected_entropy: f64,
    /// Their difference, the part that more data would take away.
    pub mutual_information: f64,
    /// Monte Carlo standard error of the mutual information, where there is more than one pass.
    pub mutual_information_mcse: Option<f64>,
}

/// What is said of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Prediction {
    /// A real target.
    Real(RealPrediction),
    /// A class.
    Class(ClassPrediction),
    /// Several real targets, which are told beside: [`Predictions::reals`], [`RowScratch::reals`](super::RowScratch::reals).
    Several {
        /// The greatest Monte Carlo standard error of their means.
        mcse: Option<f64>,
    },
}

/// The predictions of a chunk of rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predictions {
    /// One for each row.
    pub rows: Vec<Prediction>,
    /// Class probabilities `[rows, classes]`; empty in regression.
    pub probs: Vec<f64>,
    /// Of several targets `[rows, targets]`; else empty.
    pub reals: Vec<RealPrediction>,
    /// Draws `[rows, targets, draws]`, class indices in classification.
    pub draws: Vec<f64>,
    /// Rows whose Monte Carlo error is still above the tolerance at the largest number of passes.
    pub beyond_tolerance: usize,
}

impl Prediction {
    /// Monte Carlo standard error: of the mean, or of the mutual information.
    #[must_use]
    pub fn mcse(&self) -> Option<f64> {
        match self {
            Self::Real(p) => p.mean_mcse,
            Self::Class(p) => p.mutual_information_mcse,
            Self::Several { mcse } => *mcse,
        }
    }
}

impl Predictions {
    /// Puts `new` in the place of the rows `at`.
    pub(super) fn replace(&mut self, at: &[usize], new: &Self) {
        for (from, &to) in at.iter().enumerate() {
            self.rows[to] = new.rows[from];
            copy_row(&mut self.probs, to, &new.probs, from, new.rows.len());
            copy_row(&mut self.reals, to, &new.reals, from, new.rows.len());
            copy_row(&mut self.draws, to, &new.draws, from, new.rows.len());
        }
    }

    /// What of the prediction of row `i` is no number, if anything.
    pub(crate) fn not_finite(&self, i: usize) -> Option<String> {
        match &self.rows[i] {
            Prediction::Real(real) => real.not_finite(),
            Prediction::Class(class) => not_finite([("predictive_entropy", class.predictive_entropy)]),
            Prediction::Several { .. } => {
                let targets = self.reals.len() / self.rows.len();
                self.reals[i * targets..][..targets].iter().find_map(RealPrediction::not_finite)
            }
        }
    }
}

/// Copies row `from` of `rows` rows over row `to`.
fn copy_row<T: Copy>(all: &mut [T], to: usize, new: &[T], from: usize, rows: usize) {
    let width = new.len() / rows;
    all[to * width..][..width].copy_from_slice(&new[from * width..][..width]);
}

impl RealPrediction {
    fn not_finite(&self) -> Option<String> {
        not_finite([("mean", self.mean), ("lower", self.lower), ("upper", self.upper)])
    }
}

/// The first that is no number, in words.
pub(crate) fn not_finite(values: impl IntoIterator<Item = (&'static str, f64)>) -> Option<String> {
    let (what, value) = values.into_iter().find(|(_, value)| !value.is_finite())?;
    Some(format!("{what} = {value}"))
}
