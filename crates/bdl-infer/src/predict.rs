//! Monte Carlo prediction: S passes over rows, in parallel.

use std::sync::{Mutex, PoisonError};

use bdl_dist::{Noise, Purpose};
use bdl_layers::{Estimator, Pass, Scope, Workspace};
use bdl_tensor::{Mat, MatMut, Pool};

use crate::error::{check_arg, check_len, check_size};
use crate::{Bnn, Error, Predictive};

/// Which passes a prediction makes.
///
/// | name | default | range | meaning |
/// |---|---|---|---|
/// | `samples` | 100 | ≥ 1 | passes of each member; a network without noise makes one |
/// | `scope` | pass | | what one draw of noise covers |
/// | `estimator` | local | | how variational layers draw under `Scope::Row` |
/// | `seed` | 0 | | where the noise comes from |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passes {
    /// Passes of each member.
    pub samples: usize,
    /// What one draw of noise covers.
    pub scope: Scope,
    /// How variational layers draw under [`Scope::Row`].
    pub estimator: Estimator,
    /// Seed of the noise.
    pub seed: u64,
}

impl Default for Passes {
    fn default() -> Self {
        Self { samples: 100, scope: Scope::default(), estimator: Estimator::default(), seed: 0 }
    }
}

/// Rows that one task of a network without noise takes.
const SHARD: usize = 256;

/// Predicts with one network, or with an ensemble of the same plan.
///
/// The outputs are `[S, rows, C]`, S = members × samples, member after member. Pass s of member m draws from
/// (seed, lane m, pass s): the same rows give the same bits on any pool, and under [`Scope::Pass`] also in any
/// batches and any order.
#[derive(Debug)]
pub struct Predictor<'a> {
    bnn: &'a Bnn,
    members: &'a [Vec<f32>],
    passes: Passes,
    noises: Vec<Noise>,
    /// Each member's parameters of the likelihood.
    noise_params: Vec<&'a [f32]>,
    workspaces: Mutex<Vec<Workspace>>,
}

impl<'a> Predictor<'a> {
    /// A predictor with the parameter vectors of its members.
    ///
    /// # Errors
    /// [`Error::Argument`] without a member, with `samples` 0, or with more of them than have an address;
    /// [`Error::Length`] for a vector of another length.
    pub fn new(bnn: &'a Bnn, members: &'a [Vec<f32>], passes: Passes) -> Result<Self, Error> {
        check_arg("predict: samples", ">= 1", passes.samples as f64, passes.samples >= 1)?;
        check_arg("predict: members", ">= 1", members.len() as f64, !members.is_empty())?;
        members.iter().try_for_each(|params| bnn.check_params(params))?;
        let samples = if bnn.plan().is_random() { passes.samples } else { 1 };
        check_size("predict: [members, samples, outputs]", [members.len(), samples, bnn.plan().out_dim()])?;
        let noises =
            (0..members.len() as u64).map(|m| Noise::in_lane(passes.seed, Purpose::Predict, m)).collect();
        let noise_params = members.iter().map(|params| &params[bnn.noise()]).collect();
        let passes = Passes { samples, ..passes };
        Ok(Self { bnn, members, passes, noises, noise_params, workspaces: Mutex::default() })
    }

    /// S, the number of passes over all members.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.members.len() * self.passes.samples
    }

    /// Outputs `[S, rows, C]` for x `[rows, in_dim]`, whose first row is number `first_row` of the whole input.
    ///
    /// # Errors
    /// For rows of another width, or so many that their outputs have no address.
    pub fn outputs(&self, x: Mat<'_>, first_row: u64, pool: &dyn Pool) -> Result<Vec<f32>, Error> {
        let mut out = vec![0.0; self.outputs_len(x.rows())?];
        self.outputs_into(x, first_row, pool, &mut out)?;
        Ok(out)
    }

    /// The same into `out`. Once it has seen as many rows, nothing is allocated here.
    ///
    /// # Errors
    /// [`Error::Length`] unless `out` has `S·rows·C` elements; rows of another width.
    pub fn outputs_into(
        &self,
        x: Mat<'_>,
        first_row: u64,
        pool: &dyn Pool,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let width = self.bnn.plan().out_dim();
        check_len("predict: outputs", self.outputs_len(x.rows())?, out.len())?;
        if x.rows() == 0 {
            return Ok(());
        }
        let shard = if self.samples() == 1 { SHARD.min(x.rows()) } else { x.rows() };
        let shards = x.rows().div_ceil(shard);
        let fault = Mutex::new(None);
        pool.chunks(out, shard * width, &|task, chunk| {
            let (sample, from) = (task / shards, task % shards * shard);
            let rows = x.rows_in(from..(from + shard).min(x.rows()));
            if let Err(e) = self.one_pass(sample, rows, first_row + from as u64, chunk) {
                fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
            }
        });
        match fault.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(e) => Err(e),
            None => Ok(()),
        }
    }

    /// Length of `[S, rows, C]`.
    fn outputs_len(&self, rows: usize) -> Result<usize, Error> {
        check_size("predict: [samples, rows, outputs]", [self.samples(), rows, self.bnn.plan().out_dim()])
    }

    fn one_pass(&self, sample: usize, x: Mat<'_>, first_row: u64, out: &mut [f32]) -> Result<(), Error> {
        let (member, index) = (sample / self.passes.samples, sample % self.passes.samples);
        let Passes { scope, estimator, .. } = self.passes;
        let pass = Pass::predict(&self.noises[member], index as u64, scope, estimator).starting_at(first_row);
        let network = &self.members[member][self.bnn.network()];
        let mut out = MatMut::new(out, x.rows(), self.bnn.plan().out_dim())?;
        let spares = || self.workspaces.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ws = spares().pop().unwrap_or_default();
        let done = self.bnn.plan().forward(network, x, &pass, &mut ws, &mut out);
        spares().push(ws);
        Ok(done?)
    }

    /// The predictive distribution of `rows` rows from their outputs `[S, rows, C]`.
    ///
    /// # Errors
    /// [`Error::Length`] unless the outputs have `S·rows·C` elements.
    pub fn predictive<'b>(&'b self, outputs: &'b [f32], rows: usize) -> Result<Predictive<'b>, Error> {
        check_len("predict: outputs", self.outputs_len(rows)?, outputs.len())?;
        Ok(Predictive::of_checked(self.bnn.likelihood(), &self.noise_params, outputs, self.samples(), rows))
    }
}
