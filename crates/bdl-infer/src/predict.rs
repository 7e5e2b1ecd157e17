//! Monte Carlo prediction: S passes over rows, in parallel.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bdl_dist::{Noise, Purpose};
use bdl_layers::{Estimator, MonteCarlo, PassRows, Scope, Workspace};
use bdl_tensor::{Mat, Pool, Serial, kernels};

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

/// Multiply-adds from which a prediction is worth sharing out to threads: some 30 µs of one core.
const SPLIT_FROM: usize = 1 << 17;

/// Outputs whose moments one task takes.
const MOMENTS: usize = 1 << 12;

/// Floats that rows may share between passes: 16 MiB at a time.
const SHARED_FLOATS: usize = 1 << 22;

/// Predicts with one network, or with an ensemble of the same plan.
///
/// The outputs are `[S, rows, C]`, S = members × samples, member after member. Pass s of member m draws from
/// (seed, lane m, pass s): the same rows give the same bits on any pool, and under [`Scope::Pass`] also in any
/// batches and any order.
#[derive(Debug)]
pub struct Predictor<'a> {
    bnn: &'a Bnn,
    passes: Passes,
    prepared: Arc<Prepared<'a>>,
}

/// What does not depend on the number of passes, and the buffers.
#[derive(Debug)]
struct Prepared<'a> {
    /// The passes of each member.
    members: Vec<MonteCarlo<'a>>,
    /// Each member's parameters of the likelihood.
    noise_params: Vec<&'a [f32]>,
    workspaces: Mutex<Vec<Workspace>>,
    shared: Mutex<Vec<Vec<f32>>>,
}

impl<'a> Predictor<'a> {
    /// A predictor with the parameter vectors of its members.
    ///
    /// # Errors
    /// [`Error::Argument`] without a member, with `samples` 0, or with more of them than have an address;
    /// [`Error::Length`] for a vector of another length.
    pub fn new<P: AsRef<[f32]>>(bnn: &'a Bnn, members: &'a [P], passes: Passes) -> Result<Self, Error> {
        check_arg("predict: members", ">= 1", members.len() as f64, !members.is_empty())?;
        members.iter().try_for_each(|params| bnn.check_params(params.as_ref()))?;
        let passes = Passes { samples: checked_samples(bnn, members.len(), passes.samples)?, ..passes };
        let prepare = |(lane, params): (u64, &'a P)| {
            let noise = Noise::in_lane(passes.seed, Purpose::Predict, lane);
            let network = &params.as_ref()[bnn.network()];
            MonteCarlo::new(bnn.plan(), network, noise, passes.scope, passes.estimator)
        };
        let prepared = Prepared {
            members: (0..).zip(members).map(prepare).collect::<Result<_, _>>()?,
            noise_params: members.iter().map(|params| &params.as_ref()[bnn.noise()]).collect(),
            workspaces: Mutex::default(),
            shared: Mutex::default(),
        };
        Ok(Self { bnn, passes, prepared: Arc::new(prepared) })
    }

    /// The same with another number of passes of each member, of which the first are the same; what does not depend on
    /// that number is not prepared again.
    ///
    /// # Errors
    /// [`Error::Argument`] with `samples` 0, or with more of them than have an address.
    pub fn with_samples(&self, samples: usize) -> Result<Self, Error> {
        let samples = checked_samples(self.bnn, self.members().len(), samples)?;
        let passes = Passes { samples, ..self.passes };
        Ok(Self { bnn: self.bnn, passes, prepared: Arc::clone(&self.prepared) })
    }

    fn members(&self) -> &[MonteCarlo<'a>] {
        &self.prepared.members
    }

    /// S, the number of passes over all members.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.members().len() * self.passes.samples
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
        let len = self.outputs_len(x.rows())?;
        check_len("predict: outputs", len, out.len())?;
        if x.rows() == 0 {
            return Ok(());
        }
        let work = self.members()[0].work(self.passes.samples).saturating_mul(x.rows());
        let pool = if work < SPLIT_FROM { &Serial } else { pool };
        for (member, out) in self.members().iter().zip(out.chunks_exact_mut(len / self.members().len())) {
            let span = rows_at_a_time(member);
            for from in (0..x.rows()).step_by(span) {
                let rows = x.rows_in(from..(from + span).min(x.rows()));
                let shared = 0..member.shared_len(rows.rows());
                let rows = Rows { x: rows, first_row: first_row + from as u64, from, of: x.rows(), shared };
                self.member(member, &rows, pool, out)?;
            }
        }
        Ok(())
    }

    /// The passes of one member over rows that fit into memory with what they share.
    fn member(
        &self,
        member: &MonteCarlo<'_>,
        rows: &Rows<'_>,
        pool: &dyn Pool,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let mut shared = take(&self.prepared.shared);
        shared.resize(rows.shared.end, 0.0);
        let done = self
            .share(member, rows, pool, &mut shared)
            .and_then(|()| self.run(member, rows, &shared, pool, out));
        give(&self.prepared.shared, shared);
        done
    }

    fn share(
        &self,
        member: &MonteCarlo<'_>,
        rows: &Rows<'_>,
        pool: &dyn Pool,
        shared: &mut [f32],
    ) -> Result<(), Error> {
        let per_block = member.shared_len(member.block_rows());
        if rows.x.rows() <= member.block_rows() || per_block == 0 {
            return self.share_block(member, rows.x, pool, shared);
        }
        let fault = Fault::default();
        pool.chunks(shared, per_block, &|b, shared| {
            fault.note(self.share_block(member, rows.block(b, member).x, &Serial, shared));
        });
        fault.into_result()
    }

    fn share_block(
        &self,
        member: &MonteCarlo<'_>,
        x: Mat<'_>,
        pool: &dyn Pool,
        shared: &mut [f32],
    ) -> Result<(), Error> {
        let ws = &mut take(&self.prepared.workspaces);
        let done = member.share(x, pool, ws, shared);
        give(&self.prepared.workspaces, std::mem::take(ws));
        Ok(done?)
    }

    /// Tasks of some passes over all rows; where there are too few passes, of one pass over a block of rows.
    fn run(
        &self,
        member: &MonteCarlo<'_>,
        rows: &Rows<'_>,
        shared: &[f32],
        pool: &dyn Pool,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let (samples, width, size) = (self.passes.samples, self.bnn.plan().out_dim(), member.block_rows());
        let blocks = rows.x.rows().div_ceil(size);
        let fault = Fault::default();
        if samples >= pool.threads() || blocks == 1 {
            let group = member.together(rows.x.rows()).min(samples.div_ceil(pool.threads()));
            pool.chunks(out, group * rows.of * width, &|task, out| {
                let first = task * group;
                let passes = first as u64..(first + group).min(samples) as u64;
                fault.note((0..blocks).try_for_each(|b| {
                    let out = PassRows { out: &mut *out, rows: rows.of, at: rows.from + b * size };
                    self.block(member, &rows.block(b, member), shared, passes.clone(), out)
                }));
            });
            return fault.into_result();
        }
        for (pass, out) in (0..).zip(out.chunks_exact_mut(rows.of * width)) {
            let out = &mut out[rows.from * width..(rows.from + rows.x.rows()) * width];
            pool.chunks(out, size * width, &|b, out| {
                let block = rows.block(b, member);
                let out = PassRows { out, rows: block.x.rows(), at: 0 };
                fault.note(self.block(member, &block, shared, pass..pass + 1, out));
            });
        }
        fault.into_result()
    }

    fn block(
        &self,
        member: &MonteCarlo<'_>,
        block: &Rows<'_>,
        shared: &[f32],
        passes: Range<u64>,
        out: PassRows<'_>,
    ) -> Result<(), Error> {
        let shared = &shared[block.shared.clone()];
        let ws = &mut take(&self.prepared.workspaces);
        let done = member.run(passes, block.x, block.first_row, shared, ws, out);
        give(&self.prepared.workspaces, std::mem::take(ws));
        Ok(done?)
    }

    /// Length of `[S, rows, C]`.
    fn outputs_len(&self, rows: usize) -> Result<usize, Error> {
        check_size("predict: [samples, rows, outputs]", [self.samples(), rows, self.bnn.plan().out_dim()])
    }

    /// Mean and standard deviation over all passes of each output, `[rows, C]`, from the outputs `[S, rows, C]`:
    /// of what the network puts out, before the likelihood reads it.
    ///
    /// # Errors
    /// [`Error::Length`] unless the outputs have `S·rows·C` elements for some number of rows, and `mean` and
    /// `std_dev` `rows·C`.
    pub fn moments_into(
        &self,
        outputs: &[f32],
        pool: &dyn Pool,
        mean: &mut [f32],
        std_dev: &mut [f32],
    ) -> Result<(), Error> {
        check_len("predict: outputs", self.samples() * mean.len(), outputs.len())?;
        check_len("predict: std_dev", mean.len(), std_dev.len())?;
        let outputs = Mat::new(outputs, self.samples(), mean.len())?;
        moments(outputs, 0, pool, mean, std_dev);
        Ok(())
    }

    /// The predictive distribution of `rows` rows from their outputs `[S, rows, C]`.
    ///
    /// # Errors
    /// [`Error::Length`] unless the outputs have `S·rows·C` elements.
    pub fn predictive<'b>(&'b self, outputs: &'b [f32], rows: usize) -> Result<Predictive<'b>, Error> {
        check_len("predict: outputs", self.outputs_len(rows)?, outputs.len())?;
        Ok(Predictive::of_checked(
            self.bnn.likelihood(),
            &self.prepared.noise_params,
            outputs,
            self.samples(),
            rows,
        ))
    }
}

/// The passes of each of `members` networks: one where there is no noise.
fn checked_samples(bnn: &Bnn, members: usize, samples: usize) -> Result<usize, Error> {
    check_arg("predict: samples", ">= 1", samples as f64, samples >= 1)?;
    let samples = if bnn.plan().is_random() { samples } else { 1 };
    check_size("predict: [members, samples, outputs]", [members, samples, bnn.plan().out_dim()])?;
    Ok(samples)
}

/// Some of the rows of a prediction.
struct Rows<'a> {
    x: Mat<'a>,
    /// Number of the first in the whole input.
    first_row: u64,
    /// Its place in the outputs, and how many rows these have.
    from: usize,
    of: usize,
    /// Where in the shared floats these rows' part is.
    shared: Range<usize>,
}

impl<'a> Rows<'a> {
    /// Block number `b` of those that `member` takes at a time.
    fn block(&self, b: usize, member: &MonteCarlo<'_>) -> Rows<'a> {
        let from = b * member.block_rows();
        let x = self.x.rows_in(from..(from + member.block_rows()).min(self.x.rows()));
        let start = b * member.shared_len(member.block_rows());
        Rows {
            x,
            first_row: self.first_row + from as u64,
            from: self.from + from,
            of: self.of,
            shared: start..start + member.shared_len(x.rows()),
        }
    }
}

/// How many rows may share what they have in common at a time: whole blocks.
fn rows_at_a_time(member: &MonteCarlo<'_>) -> usize {
    let per_block = member.shared_len(member.block_rows()).max(1);
    (SHARED_FLOATS / per_block).max(1) * member.block_rows()
}

/// The error of a task, if one has failed.
#[derive(Default)]
struct Fault(Mutex<Option<Error>>);

impl Fault {
    fn note(&self, done: Result<(), Error>) {
        if let Err(e) = done {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
        }
    }

    fn into_result(self) -> Result<(), Error> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}

/// A spare buffer, or a new one.
fn take<T: Default>(spares: &Mutex<Vec<T>>) -> T {
    spares.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
}

/// Keeps a buffer for the next who wants one.
fn give<T>(spares: &Mutex<Vec<T>>, spare: T) {
    spares.lock().unwrap_or_else(PoisonError::into_inner).push(spare);
}

/// Moments of the columns from `first` on, shared out in halves down to [`MOMENTS`].
fn moments(outputs: Mat<'_>, first: usize, pool: &dyn Pool, mean: &mut [f32], std_dev: &mut [f32]) {
    if mean.len() <= MOMENTS || outputs.rows() * mean.len() < SPLIT_FROM {
        return kernels::col_moments(outputs, first, mean, std_dev);
    }
    let half = mean.len() / 2;
    let ((mean_a, mean_b), (sd_a, sd_b)) = (mean.split_at_mut(half), std_dev.split_at_mut(half));
    pool.join(&mut || moments(outputs, first, pool, mean_a, sd_a), &mut || {
        moments(outputs, first + half, pool, mean_b, sd_b);
    });
}
