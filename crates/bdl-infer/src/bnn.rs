//! A network with a likelihood behind it: what is trained and what predicts.

use std::ops::Range;
use std::sync::Arc;

use bdl_dist::Noise;
use bdl_layers::{BlockEntry, LayerReport, Plan, place};

use crate::error::check_len;
use crate::{Error, Likelihood};

/// A Bayesian neural network without its parameters: plan and likelihood.
///
/// One flat vector holds the plan's parameters and, behind them, the likelihood's.
///
/// ```
/// use bdl_infer::{Bnn, Gaussian, NoiseSd};
/// use bdl_layers::{Plan, Prior, VariationalDense};
/// let plan = Plan::new(vec![Box::new(VariationalDense::new(5, 1, Prior::StdDev(1.0))?)])?;
/// let bnn = Bnn::new(plan, Box::new(Gaussian::new(NoiseSd::Learned { init: 0.5 })?))?;
/// assert_eq!(bnn.n_params(), 2 * 5 + 2 + 1);
/// assert_eq!(bnn.entries().last().unwrap().path(), "likelihood/noise.raw");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Bnn {
    plan: Plan,
    likelihood: Arc<dyn Likelihood>,
    entries: Vec<BlockEntry>,
}

impl Bnn {
    /// Joins a plan and a likelihood.
    ///
    /// # Errors
    /// [`Error::Length`] unless the plan puts out as many columns as the likelihood reads.
    pub fn new(plan: Plan, likelihood: Box<dyn Likelihood>) -> Result<Self, Error> {
        Self::of(plan, likelihood.into())
    }

    /// The same likelihood behind another plan.
    ///
    /// # Errors
    /// As for [`new`](Bnn::new).
    pub fn with_plan(&self, plan: Plan) -> Result<Self, Error> {
        Self::of(plan, Arc::clone(&self.likelihood))
    }

    fn of(plan: Plan, likelihood: Arc<dyn Likelihood>) -> Result<Self, Error> {
        check_len(
            "network: columns of the output, as the likelihood reads them",
            likelihood.outputs(),
            plan.out_dim(),
        )?;
        let mut entries = plan.entries().to_vec();
        entries.extend(place("likelihood", likelihood.blocks(), plan.n_params()));
        Ok(Self { plan, likelihood, entries })
    }

    /// The network.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The likelihood.
    #[must_use]
    pub fn likelihood(&self) -> &dyn Likelihood {
        &*self.likelihood
    }

    /// The directory of the whole vector.
    #[must_use]
    pub fn entries(&self) -> &[BlockEntry] {
        &self.entries
    }

    /// Length of the whole vector.
    #[must_use]
    pub fn n_params(&self) -> usize {
        self.entries.last().map_or(0, |e| e.range.end)
    }

    /// The network's part of the vector.
    #[must_use]
    pub fn network(&self) -> Range<usize> {
        0..self.plan.n_params()
    }

    /// The likelihood's part of the vector.
    #[must_use]
    pub fn noise(&self) -> Range<usize> {
        self.plan.n_params()..self.n_params()
    }

    /// Initial parameters.
    #[must_use]
    pub fn init(&self, noise: &Noise) -> Vec<f32> {
        let mut params = self.plan.init(noise);
        params.resize(self.n_params(), 0.0);
        self.likelihood.init(&mut params[self.noise()]);
        params
    }

    /// Path of the block, such as `1.dense/weight`, that holds element `index` of the vector.
    #[must_use]
    pub fn block_of(&self, index: usize) -> String {
        self.entries.iter().find(|e| e.range.contains(&index)).map_or_else(String::new, BlockEntry::path)
    }

    /// A report for each layer.
    ///
    /// # Errors
    /// [`Error::Length`] for a vector of another length.
    pub fn report(&self, params: &[f32]) -> Result<Vec<LayerReport>, Error> {
        self.check_params(params)?;
        Ok(self.plan.report(&params[self.network()])?)
    }

    pub(crate) fn check_params(&self, params: &[f32]) -> Result<(), Error> {
        check_len("network: parameters", self.n_params(), params.len())
    }
}
