//! Many passes over the same rows, without doing twice what no pass changes.
//!
//! Whatever route the passes take, a row has the bits that [`Plan::forward`] gives it, as long as weights are
//! finite: a product of 0 with an infinite weight is NaN, and its absence is nothing.

mod group;
mod last_layer;
mod segment;
mod thin;

use std::ops::Range;

use bdl_dist::Noise;
use bdl_tensor::{Mat, MatMut, Panels, Pool, kernels};

use crate::layer::Layer;
use crate::plan::{Placed, check_len};
use crate::{Error, Estimator, Form, Pass, Plan, Scope, Workspace};
use last_layer::LastLayer;

/// Up to this many rows, passes are stacked as rows: the products of one pass would be too small.
const FEW_ROWS: usize = 8;

/// Rows of a block are at least so many, so that a product is worth the packing of its weights …
const BLOCK_ROWS: usize = 256;
/// … and more where rows are narrow: about so many floats per layer, which the second cache holds.
const BLOCK_FLOATS: usize = 1 << 15;

/// Outputs of the widest layer that a thread holds at most, unless a single row has more: 16 MB, twice.
const MOST_FLOATS: usize = 1 << 22;

/// The Monte Carlo passes of a network with given parameters: what their forward functions have in common is
/// computed once.
///
/// * Of the parameters alone: [`Layer::prepare`], when this is made.
/// * Of the rows, but not of the pass: the layers in front of the first random one, and [`Layer::share`] of
///   that one, by [`share`](Self::share).
/// * Under [`Scope::Pass`] a unit that a mask drops is neither multiplied nor computed; where only the last
///   layer is masked, all passes are one product; few rows meet many passes in one product.
///
/// ```
/// use bdl_dist::{Noise, Purpose};
/// use bdl_layers::{Activation, ActivationLayer, Dense, Dropout, Estimator, MonteCarlo, PassRows, Plan, Scope, Workspace};
/// use bdl_tensor::{Mat, Serial};
/// let plan = Plan::new(vec![
///     Box::new(Dense::new(2, 8)?),
///     Box::new(ActivationLayer::new(Activation::Relu, 8)?),
///     Box::new(Dropout::new(8, 0.5)?),
///     Box::new(Dense::new(8, 1)?),
/// ])?;
/// let params = plan.init(&Noise::new(0, Purpose::Init));
/// let noise = Noise::new(0, Purpose::Predict);
/// let passes = MonteCarlo::new(&plan, &params, noise, Scope::Pass, Estimator::Local)?;
/// let (x, mut ws) = (Mat::new(&[0.5, -1.0], 1, 2)?, Workspace::new());
/// let mut shared = vec![0.0; passes.shared_len(1)];
/// passes.share(x, &Serial, &mut ws, &mut shared)?;
/// let mut y = [f32::NAN; 20]; // 20 passes, one row, one output
/// passes.run(0..20, x, 0, &shared, &mut ws, PassRows { out: &mut y, rows: 1, at: 0 })?;
/// assert!(y.iter().all(|y| y.is_finite()) && y.iter().any(|other| *other != y[0]));
/// # Ok::<(), bdl_layers::Error>(())
/// ```
#[derive(Debug)]
pub struct MonteCarlo<'a> {
    plan: &'a Plan,
    params: &'a [f32],
    noise: Noise,
    scope: Scope,
    estimator: Estimator,
    /// Index of the first random layer; the number of layers where there is none.
    first: usize,
    prepared: Vec<f32>,
    /// Where each layer's part of `prepared` ends.
    prepared_ends: Vec<usize>,
    last_layer: Option<LastLayer>,
    /// Of each layer, its weights for masked products, where they pay.
    panels: Vec<Option<Panels>>,
}

/// Rows `at..` of the outputs `[passes, rows, out_dim]`.
#[derive(Debug)]
pub struct PassRows<'o> {
    /// The outputs of all rows.
    pub out: &'o mut [f32],
    /// How many rows there are.
    pub rows: usize,
    /// The first of those to be written.
    pub at: usize,
}

impl PassRows<'_> {
    /// Outputs of `count` rows in pass `pass`.
    fn of(&mut self, pass: usize, count: usize, width: usize) -> &mut [f32] {
        let start = (pass * self.rows + self.at) * width;
        &mut self.out[start..start + count * width]
    }
}

impl<'a> MonteCarlo<'a> {
    /// Prepares the passes that draw from `noise`.
    ///
    /// # Errors
    /// [`Error::Length`] for a parameter vector of the wrong length.
    pub fn new(
        plan: &'a Plan,
        params: &'a [f32],
        noise: Noise,
        scope: Scope,
        estimator: Estimator,
    ) -> Result<Self, Error> {
        check_len("forward params", plan.n_params(), params.len())?;
        let first = plan.layers.iter().position(|l| l.layer.is_random()).unwrap_or(plan.layers.len());
        let pass = Pass::predict(&noise, 0, scope, estimator);
        let (mut prepared, mut prepared_ends) = (Vec::new(), Vec::new());
        for l in &plan.layers {
            let start = prepared.len();
            prepared.resize(start + l.layer.prepared(&pass), 0.0);
            l.layer.prepare(&params[l.start..l.end], &pass, &mut prepared[start..]);
            prepared_ends.push(prepared.len());
        }
        let last_layer = LastLayer::of(plan, params, first, scope);
        let panels = segment::panels(&plan.layers, params);
        Ok(Self { plan, params, noise, scope, estimator, first, prepared, prepared_ends, last_layer, panels })
    }

    /// How many rows [`share`](Self::share) and [`run`](Self::run) take at a time.
    #[must_use]
    pub fn block_rows(&self) -> usize {
        let rows = match self.first == self.plan.layers.len() {
            true => BLOCK_ROWS,
            false => (BLOCK_FLOATS / self.widest()).max(BLOCK_ROWS),
        };
        rows.min(self.most_rows())
    }

    /// Inputs or outputs of the widest layer.
    fn widest(&self) -> usize {
        let widths = self.plan.layers.iter().map(|l| l.layer.in_dim().max(l.layer.out_dim()));
        widths.max().unwrap_or(1)
    }

    /// Rows of all passes that are made together, by memory.
    fn most_rows(&self) -> usize {
        (MOST_FLOATS / self.widest()).max(1)
    }

    /// How many passes over `rows` rows are best made together.
    #[must_use]
    pub fn together(&self, rows: usize) -> usize {
        if self.last_layer.is_some() {
            last_layer::PASSES
        } else if rows <= FEW_ROWS {
            (BLOCK_ROWS.min(self.most_rows()) / rows.max(1)).max(1)
        } else {
            1
        }
    }

    /// About how many multiply-adds `passes` passes over one row take, with the drawing of their noise.
    #[must_use]
    pub fn work(&self, passes: usize) -> usize {
        let each = |l: &Placed| (l.end - l.start) + 8 * l.layer.out_dim();
        let sum = |layers: &[Placed]| layers.iter().map(each).sum::<usize>();
        let (front, rest) = self.plan.layers.split_at(self.first);
        sum(front).saturating_add(sum(rest).saturating_mul(passes))
    }

    /// Length of what passes over `rows` rows share.
    #[must_use]
    pub fn shared_len(&self, rows: usize) -> usize {
        let of_first = match &self.last_layer {
            Some(last) => last.shared(rows),
            None => self.first_layer().map_or(0, |l| l.shared(rows, &self.pass(0))),
        };
        self.front_len(rows) + of_first
    }

    /// Writes what passes over the rows x `[rows, in_dim]` share.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Length`] for arguments that do not fit.
    pub fn share(
        &self,
        x: Mat<'_>,
        pool: &dyn Pool,
        ws: &mut Workspace,
        shared: &mut [f32],
    ) -> Result<(), Error> {
        self.plan.check_forward(self.params, x)?;
        check_len("shared", self.shared_len(x.rows()), shared.len())?;
        let (rows, pass) = (x.rows(), self.pass(0).on(pool));
        let (front, of_first) = shared.split_at_mut(self.front_len(rows));
        if self.first > 0 {
            let mut out = MatMut::new(front, rows, self.front_width())?;
            self.plan.forward_front(self.first, self.params, x, &pass, ws, &mut out)?;
        }
        if let Some(last) = &self.last_layer {
            last.share(self.input(x, front)?, of_first);
            return Ok(());
        }
        let Some(layer) = self.first_layer().filter(|_| !of_first.is_empty()) else { return Ok(()) };
        let scratch = layer.scratch(rows, &pass);
        ws.fit(0, scratch.floats, scratch.words);
        let (floats, words) = (&mut ws.floats[..scratch.floats], &mut ws.words[..scratch.words]);
        let mut ctx = self.context(self.first, &pass, &[], floats, words);
        layer.share(&mut ctx, self.input(x, front)?, of_first)
    }

    /// Outputs of the passes over the rows x, of which the first has the number `first_row` in the whole input.
    ///
    /// # Errors
    /// As for [`share`](Self::share), which has written `shared` for the same rows.
    pub fn run(
        &self,
        passes: Range<u64>,
        x: Mat<'_>,
        first_row: u64,
        shared: &[f32],
        ws: &mut Workspace,
        mut out: PassRows<'_>,
    ) -> Result<(), Error> {
        self.plan.check_forward(self.params, x)?;
        check_len("shared", self.shared_len(x.rows()), shared.len())?;
        let count = (passes.end - passes.start) as usize;
        check_len("outputs", count * out.rows * self.plan.out_dim(), out.out.len())?;
        if x.rows() == 0 {
            return Ok(());
        }
        let (front, of_first) = shared.split_at(self.front_len(x.rows()));
        let block = RowBlock { x: self.input(x, front)?, shared: of_first, first_row };
        match &self.last_layer {
            // An infinite unit times a dropped weight is NaN, where a dropped unit is 0.
            Some(last) if kernels::first_non_finite(of_first).is_none() => {
                self.last_layer(last, passes, &block, ws, &mut out)
            }
            _ => self.groups(passes, &block, ws, &mut out),
        }
    }

    fn pass(&self, index: u64) -> Pass<'_> {
        Pass::predict(&self.noise, index, self.scope, self.estimator)
    }

    /// What layer `index` is, if there is one.
    fn form(&self, index: usize) -> Option<Form<'_>> {
        let l = self.plan.layers.get(index)?;
        Some(l.layer.form(&self.params[l.start..l.end]))
    }

    fn first_layer(&self) -> Option<&dyn Layer> {
        self.plan.layers.get(self.first).map(|l| &*l.layer)
    }

    /// Width of what the first random layer is given.
    fn front_width(&self) -> usize {
        self.first_layer().map_or(self.plan.out_dim(), Layer::in_dim)
    }

    fn front_len(&self, rows: usize) -> usize {
        if self.first == 0 { 0 } else { rows * self.front_width() }
    }

    /// What the first random layer is given: x, or what stands in `front`.
    fn input<'m>(&self, x: Mat<'m>, front: &'m [f32]) -> Result<Mat<'m>, Error> {
        if self.first == 0 { Ok(x) } else { Ok(Mat::new(front, x.rows(), self.front_width())?) }
    }

    fn context<'c>(
        &'c self,
        index: usize,
        pass: &'c Pass<'c>,
        shared: &'c [f32],
        floats: &'c mut [f32],
        words: &'c mut [u64],
    ) -> crate::Context<'c> {
        let start = if index == 0 { 0 } else { self.prepared_ends[index - 1] };
        let prepared = &self.prepared[start..self.prepared_ends[index]];
        let shared = if index == self.first { shared } else { &[] };
        crate::Context {
            prepared,
            shared,
            ..self.plan.layers[index].context(pass, self.params, floats, words)
        }
    }
}

/// Rows that passes are made over, as the first random layer sees them.
struct RowBlock<'b> {
    x: Mat<'b>,
    shared: &'b [f32],
    first_row: u64,
}
