//! What a reader wants to know about a trained layer: `docs/math.md#report`.

use crate::layer::{KlAt, Layer};
use crate::plan::{Placed, check_len};
use crate::{Error, KlKnown, KlTerm, Plan};

/// A weight counts as at its prior if its KL is within so many nats of the least that its posterior can have.
pub(crate) const AT_PRIOR: f64 = 0.01;

/// A weight counts as shrunk to a point if its sigma is below this share of its prior's, or of |mu| where the prior has no scale.
pub(crate) const POINT: f64 = 1e-6;

/// Weights beyond this are noise: `ln alpha` of the rule of [`Measure::threshold`](crate::Measure::threshold).
const NOISE: f32 = 3.0;

/// A layer is flat or collapsed if more of its weights are at the prior or shrunk to a point.
const MOST: f64 = 0.9;

/// What a layer learned.
///
/// A *weight* is what has noise of its own: a weight with a posterior, or a unit with multiplicative noise.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct LayerReport {
    /// KL divergence in nats, summed over the layer's weights.
    pub kl: f64,
    /// Number of weights and biases that the KL is a sum over; `None` where there are none, or it has another form.
    pub kl_weights: Option<usize>,
    /// Quantiles of |mu|/sigma.
    pub snr: Option<Quantiles>,
    /// Quantiles of `ln alpha = ln(sigma²/mu²)`.
    pub log_alpha: Option<Quantiles>,
    /// Share of weights that are noise: `ln alpha > 3`, which is |mu|/sigma < 0.223.
    pub noise: Option<f64>,
    /// Share of weights whose posterior is the prior: a KL within 0.01 nats of the least that it can be.
    pub at_prior: Option<f64>,
    /// Share of weights whose posterior has shrunk to a point: sigma below 1e-6 of the prior's, or of |mu| where the prior
    /// has no scale.
    pub collapsed: Option<f64>,
    /// Share of weights that are exactly zero, or that are gone.
    pub sparsity: Option<f64>,
    /// Probability that a unit is dropped, or that gives the variance of its noise.
    pub drop_prob: Option<f64>,
    /// Standard deviation of the prior, if it was learned: of biases, and of weights times the square root of their fan-in where it
    /// follows that.
    pub prior_std_dev: Option<f64>,
    /// Whether the posterior says next to nothing: more than nine weights in ten at their prior; where the prior is there to
    /// make weights noise, all of them.
    pub flat: bool,
    /// The layers that this one holds.
    pub inside: Vec<LayerSummary>,
}

/// What a layer is to be warned of: `docs/math.md#report`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum LayerWarning {
    /// Flat: this share of its weights, more than nine in ten, is still at the prior.
    AtPrior(f64),
    /// Flat: all of its weights are noise, under a prior that is there to make some of them so.
    AllNoise,
    /// Collapsed: this share of its weights, more than nine in ten, has shrunk to a point.
    Collapsed(f64),
}

/// A layer of a network, for a reader.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LayerSummary {
    /// Its name, such as `1.dense`.
    pub name: String,
    /// Its kind, such as `dense`.
    pub kind: String,
    /// Input and output width.
    pub shape: [usize; 2],
    /// Number of its parameters.
    pub parameters: usize,
    /// What it learned.
    pub report: LayerReport,
}

/// Five of n numbers: those at place ⌊p·n⌋ of the sorted row, counted from 0. This is the one rule for quantiles of numbers that are
/// there, whatever they are of: `docs/math.md#report`.
///
/// ```
/// use bdl_layers::Quantiles;
/// let of = Quantiles::of(&[4.0, 1.0, 3.0, 2.0]).unwrap();
/// assert_eq!((of.q05, of.q25, of.median, of.q75, of.q95), (1.0, 2.0, 3.0, 4.0, 4.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Quantiles {
    /// p = 0.05.
    pub q05: f64,
    /// p = 0.25.
    pub q25: f64,
    /// p = 0.5.
    pub median: f64,
    /// p = 0.75.
    pub q75: f64,
    /// p = 0.95.
    pub q95: f64,
}

impl Quantiles {
    /// Those of some numbers; `None` of none.
    #[must_use]
    pub fn of(numbers: &[f64]) -> Option<Self> {
        let mut sorted = numbers.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        Self::of_sorted(&sorted)
    }

    fn of_sorted(sorted: &[impl Copy + Into<f64>]) -> Option<Self> {
        let last = sorted.len().checked_sub(1)?;
        let at = |p: f64| sorted[((p * sorted.len() as f64) as usize).min(last)].into();
        Some(Self { q05: at(0.05), q25: at(0.25), median: at(0.5), q75: at(0.75), q95: at(0.95) })
    }
}

impl LayerReport {
    /// Of a layer whose weights have these `ln alpha`.
    #[must_use]
    pub fn of_log_alpha(mut log_alpha: Vec<f32>) -> Self {
        log_alpha.sort_unstable_by(f32::total_cmp);
        // |mu|/sigma = alpha^{−½}, the largest first.
        let snr: Vec<f32> = log_alpha.iter().rev().map(|&x| (-0.5 * f64::from(x)).exp() as f32).collect();
        let point = (2.0 * POINT.ln()) as f32;
        Self {
            snr: Quantiles::of_sorted(&snr),
            log_alpha: Quantiles::of_sorted(&log_alpha),
            noise: share(log_alpha.iter(), |x| *x > NOISE),
            collapsed: share(log_alpha.iter(), |x| *x < point),
            ..Self::default()
        }
    }

    /// With this share of weights at their prior, flat if these are most.
    pub(crate) fn with_at_prior(self, at_prior: Option<f64>) -> Self {
        Self { at_prior, flat: at_prior.is_some_and(|share| share > MOST), ..self }
    }

    /// Flat only if nothing but noise is left, of posteriors whose prior is there to make weights noise.
    pub(crate) fn flat_if_all_noise(self) -> Self {
        Self { flat: self.noise == Some(1.0), ..self }
    }

    /// KL in nats for each of the weights that it is a sum over.
    #[must_use]
    pub fn kl_per_weight(&self) -> Option<f64> {
        self.kl_weights.filter(|&n| n > 0).map(|n| self.kl / n as f64)
    }

    /// What it is to be warned of: whether it is flat, and whether it has collapsed.
    pub fn warnings(&self) -> impl Iterator<Item = LayerWarning> {
        let most = |share: &f64| *share > MOST;
        let flat = self.flat.then(|| match self.at_prior.filter(most) {
            Some(share) => LayerWarning::AtPrior(share),
            None => LayerWarning::AllNoise,
        });
        flat.into_iter().chain(self.collapsed.filter(most).map(LayerWarning::Collapsed))
    }
}

/// The share of some that are such; `None` of none.
pub(crate) fn share<T>(of: impl ExactSizeIterator<Item = T>, such: impl Fn(T) -> bool) -> Option<f64> {
    let n = of.len();
    (n > 0).then(|| of.map(such).filter(|such| *such).count() as f64 / n as f64)
}

impl Plan {
    /// A report for each layer.
    ///
    /// # Errors
    /// [`Error::Length`](crate::Error::Length) for a parameter vector of the wrong length.
    pub fn report(&self, params: &[f32]) -> Result<Vec<LayerReport>, Error> {
        Ok(self.summary(params)?.into_iter().map(|layer| layer.report).collect())
    }

    /// What a reader wants to know about each layer.
    ///
    /// # Errors
    /// [`Error::Length`](crate::Error::Length) for a parameter vector of the wrong length.
    pub fn summary(&self, params: &[f32]) -> Result<Vec<LayerSummary>, Error> {
        check_len("report params", self.n_params(), params.len())?;
        Ok(self.summary_inside(&KlAt { params, input_keep_prob: 1.0, noise: None }))
    }

    /// What the KL of the network is known up to: as of that layer of which the least is known.
    ///
    /// ```
    /// use bdl_layers::{KlKnown, Plan, Prior, SparseVdDense, VariationalDense};
    /// let proper = VariationalDense::new(2, 3, Prior::StdDev(1.0))?;
    /// let plan = Plan::new(vec![Box::new(proper.clone())])?;
    /// assert_eq!(plan.kl_known(), KlKnown::Exactly);
    /// let plan = Plan::new(vec![Box::new(proper), Box::new(SparseVdDense::new(3, 1)?)])?;
    /// assert_eq!(plan.kl_known(), KlKnown::Improper);
    /// # Ok::<(), bdl_layers::Error>(())
    /// ```
    #[must_use]
    pub fn kl_known(&self) -> KlKnown {
        self.layers().map(|(_, layer)| layer.kl_known()).max().unwrap_or(KlKnown::Exactly)
    }

    /// [`summary`](Plan::summary) of layers behind whatever masks the input of the first.
    pub(crate) fn summary_inside(&self, at: &KlAt<'_>) -> Vec<LayerSummary> {
        let of_layer = |(placed, (name, layer)): (&Placed, (&str, &dyn Layer))| {
            let at = self.kl_at(placed, at);
            let report = layer.report(&at);
            let terms = layer.kl_terms(at.input_keep_prob);
            let kl_weights = terms.map(|terms| terms.iter().map(KlTerm::summed).sum()).filter(|n| *n > 0);
            LayerSummary {
                name: name.to_owned(),
                kind: layer.kind().to_owned(),
                shape: [layer.in_dim(), layer.out_dim()],
                parameters: at.params.len(),
                report: LayerReport { kl_weights: kl_weights.or(report.kl_weights), ..report },
            }
        };
        self.layers.iter().zip(self.layers()).map(of_layer).collect()
    }
}
