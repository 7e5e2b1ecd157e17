//! The layer trait: what a network is made of, and what a user's own layer implements.

use std::fmt::Debug;

use bdl_dist::NoiseRng;
use bdl_tensor::{Mat, MatMut};

use crate::pass::{KlNoise, Site};
use crate::{Activation, AtMean, Block, Draw, Error, KlKnown, KlTerm, LayerReport, Pass, Prunable, Role};

/// A layer: a specification without parameters, and the functions that go with it.
///
/// Shapes: x `[rows, in_dim]`, y `[rows, out_dim]`, parameters one slice in the order of
/// [`blocks`](Layer::blocks), gradients alike. The [`Plan`](crate::Plan) has checked every shape and length
/// before it calls a layer.
///
/// A layer's contract, which [`conformance::check`](crate::conformance::check) tests:
/// * `forward` writes every element of y, from x, the parameters and the context's noise alone;
/// * `backward` *adds* to `grads` and *writes* dx, for the noise that `forward` drew;
/// * in [`Mode::Mean`](crate::Mode::Mean) nothing is drawn;
/// * `write_backward` writes what `backward` adds to zeros;
/// * `kl_grad` adds `weight` times the gradient of what it returns: without noise the bits of `kl`, with noise an
///   unbiased estimate of it;
/// * `kl_terms`, where there are any, sum to the same bits;
/// * `form` says what `forward` does, and a pass that was prepared or shares has the bits of one that was not.
///
/// `backward` may use up what `forward` left in the scratch: each forward pass is followed at most once.
pub trait Layer: Debug + Send + Sync {
    /// Name of the kind, the key of the registry: `dense`, `dropout`, …
    fn kind(&self) -> &str;

    /// The bytes from which the registry builds this layer again.
    ///
    /// # Errors
    /// When the specification cannot be encoded.
    fn config(&self) -> Result<Vec<u8>, Error>;

    /// Input width.
    fn in_dim(&self) -> usize;

    /// Output width.
    fn out_dim(&self) -> usize;

    /// The parameters, in the order in which they lie.
    fn blocks(&self) -> Vec<Block> {
        Vec::new()
    }

    /// Writes initial values into all of the layer's parameters.
    fn init(&self, params: &mut [f32], rng: &mut NoiseRng) {
        let _ = (params, rng);
    }

    /// Whether predictions through this layer depend on noise.
    fn is_random(&self) -> bool {
        false
    }

    /// Whether in this pass a row's output depends on the rows beside it, as under batch normalization in training.
    fn couples_rows(&self, pass: &Pass<'_>) -> bool {
        let _ = pass;
        false
    }

    /// How many places the layer takes up in the addresses of noise: one, or as many as the layers it holds.
    fn places(&self) -> usize {
        1
    }

    /// What the layer is, for a plan that can do it together with its neighbours.
    ///
    /// `params` are all of the layer's parameters. A layer that answers anything but [`Form::Opaque`] may find that nobody calls its `forward` in
    /// prediction: what the form says is done instead, and has the same bits.
    fn form<'a>(&self, params: &'a [f32]) -> Form<'a> {
        let _ = params;
        Form::Opaque
    }

    /// Number of floats that hold what neither the rows nor the number of a pass change.
    fn prepared(&self, pass: &Pass<'_>) -> usize {
        let _ = pass;
        0
    }

    /// Writes them, where there are any, from the parameters alone. Passes of the same mode, scope and estimator find them in
    /// [`Context::prepared`].
    fn prepare(&self, params: &[f32], pass: &Pass<'_>, prepared: &mut [f32]) {
        let _ = (params, pass, prepared);
    }

    /// Number of floats, in proportion to `rows`, that hold what of a pass over these rows does not depend on
    /// the noise.
    fn shared(&self, rows: usize, pass: &Pass<'_>) -> usize {
        let _ = (rows, pass);
        0
    }

    /// Writes them, where there are any, for rows that all passes have in common. Passes over these rows find them in
    /// [`Context::shared`].
    ///
    /// # Errors
    /// As for [`forward`](Layer::forward).
    fn share(&self, ctx: &mut Context<'_>, x: Mat<'_>, shared: &mut [f32]) -> Result<(), Error> {
        let _ = (ctx, x, shared);
        Ok(())
    }

    /// Memory wanted in a pass over `rows` rows. `forward` may leave there what `backward` needs.
    fn scratch(&self, rows: usize, pass: &Pass<'_>) -> Scratch {
        let _ = (rows, pass);
        Scratch::default()
    }

    /// y from x.
    ///
    /// # Errors
    /// When a product or a draw fails; never for shapes, which the plan has checked.
    fn forward(&self, ctx: &mut Context<'_>, x: Mat<'_>, y: &mut MatMut<'_>) -> Result<(), Error>;

    /// Adds the gradient of the parameters to `grads` and writes the gradient of x into `dx`, if wanted.
    ///
    /// # Errors
    /// As for [`forward`](Layer::forward).
    fn backward(&self, ctx: &mut Context<'_>, grads: &mut [f32], io: Backward<'_>) -> Result<(), Error>;

    /// As [`backward`](Layer::backward), but *writes* `grads`, whatever they held.
    ///
    /// # Errors
    /// As for [`forward`](Layer::forward).
    fn write_backward(
        &self,
        ctx: &mut Context<'_>,
        grads: &mut [f32],
        io: Backward<'_>,
    ) -> Result<(), Error> {
        grads.fill(0.0);
        self.backward(ctx, grads, io)
    }

    /// Of a layer that masks its units: the probability that a unit is kept.
    fn keep_prob(&self) -> Option<f64> {
        None
    }

    /// KL divergence of this layer's posterior from its prior, summed over its weights, in nats. Under MC
    /// dropout, and for a deterministic layer with a prior, up to a constant.
    fn kl(&self, at: &KlAt<'_>) -> f64 {
        let _ = at;
        0.0
    }

    /// Returns [`kl`](Layer::kl) and adds `weight` times its gradient to `grads`. With noise in `at` it may return an
    /// unbiased estimate of `kl` instead, and then adds the gradient of that.
    fn kl_grad(&self, at: &KlAt<'_>, weight: f32, grads: &mut [f32]) -> f64 {
        let _ = (weight, grads);
        self.kl(at)
    }

    /// What [`kl`](Layer::kl) and [`kl_grad`](Layer::kl_grad) sum, where that is a sum over weights: runs that
    /// cover the layer's parameters in order, the same for any parameters. Training then works on several runs at
    /// a time and on each only once. `None` for a KL of another form.
    fn kl_terms(&self, input_keep_prob: f64) -> Option<Vec<KlTerm>> {
        let _ = input_keep_prob;
        self.blocks().is_empty().then(Vec::new)
    }

    /// How many weights the layer has, of one value or of one posterior each: what it adds to its outputs, biases and shifts, is
    /// not among them. Unless the layer says otherwise, all its plain parameters and means.
    fn weights(&self) -> usize {
        let is_weight = |block: &&Block| matches!(block.role, Role::Plain | Role::Mean);
        self.blocks().iter().filter(is_weight).map(Block::len).sum()
    }

    /// What pruning can do with the layer, or why it can do nothing: see [`Plan::prune`](crate::Plan::prune).
    fn prunable(&self) -> Prunable<'_> {
        Prunable::No("has no posteriors over its weights")
    }

    /// Whether the KL is exact: as its terms say, and without terms, unless the layer knows better, up to a constant.
    fn kl_known(&self) -> KlKnown {
        KlTerm::known(self.kl_terms(1.0), KlKnown::UpToConstant)
    }

    /// What the layer is at the mean of its weights: see [`Plan::at_mean`](crate::Plan::at_mean).
    fn at_mean(&self) -> AtMean<'_> {
        AtMean::Same
    }

    /// Replaces weights and biases, or the means of their posteriors, by a draw from their prior, so that the mean pass is a function drawn from it.
    /// What has no prior and is no weight, as the gains of a normalization, stays as it is.
    ///
    /// # Errors
    /// [`Error::NoPrior`] for weights without a proper prior.
    fn sample_prior(&self, params: &mut [f32], rng: &mut NoiseRng) -> Result<(), Error> {
        let _ = rng;
        match params.is_empty() {
            true => Ok(()),
            false => Err(Error::NoPrior { layer: self.kind().to_owned(), got: "none" }),
        }
    }

    /// What a reader wants to know about the trained layer.
    fn report(&self, at: &KlAt<'_>) -> LayerReport {
        LayerReport {
            kl: self.kl(at),
            drop_prob: self.keep_prob().map(|keep| 1.0 - keep),
            ..LayerReport::default()
        }
    }
}

/// What a layer is, seen by its plan.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Form<'a> {
    /// Something that only the layer itself knows.
    Opaque,
    /// `y = z ⊙ x / keep_prob` with mask bits z drawn at site 0, per pass or per row as
    /// [`Pass::mask_draw`] says.
    Mask {
        /// Probability that a unit is kept, below 1.
        keep_prob: f64,
    },
    /// `y = x·W + b`, whatever the pass.
    Affine {
        /// `W`, `[in_dim, out_dim]`.
        weight: Mat<'a>,
        /// `b`, `[out_dim]`, or nothing where there is no bias.
        bias: &'a [f32],
    },
    /// `y = (z ⊙ x / keep_prob)·W + b` with mask bits z as of [`Mask`](Form::Mask) in a prediction; its own business
    /// in training.
    MaskedAffine {
        /// Probability that a unit is kept, below 1.
        keep_prob: f64,
        /// `W`, `[in_dim, out_dim]`.
        weight: Mat<'a>,
        /// `b`, `[out_dim]`, or nothing where there is no bias.
        bias: &'a [f32],
    },
    /// An elementwise map.
    Map(Activation),
}

/// What `backward` is given: the pass's input and output, the output's gradient, and where the input's goes.
#[derive(Debug)]
pub struct Backward<'a> {
    /// Input, `[rows, in_dim]`.
    pub x: Mat<'a>,
    /// Output, `[rows, out_dim]`.
    pub y: Mat<'a>,
    /// Gradient of the output, `[rows, out_dim]`.
    pub dy: Mat<'a>,
    /// Gradient of the input, `[rows, in_dim]`, to be written; absent where nobody asks for it.
    pub dx: Option<MatMut<'a>>,
}

/// A layer's view of a pass: its parameters, its scratch, its noise.
#[derive(Debug)]
pub struct Context<'a> {
    /// The pass.
    pub pass: &'a Pass<'a>,
    /// The layer's parameters.
    pub params: &'a [f32],
    /// As many floats as [`Layer::scratch`] asked for.
    pub floats: &'a mut [f32],
    /// As many words as [`Layer::scratch`] asked for.
    pub words: &'a mut [u64],
    /// What [`Layer::prepare`] wrote; empty in a pass that nobody prepared, as in training.
    pub prepared: &'a [f32],
    /// What [`Layer::share`] wrote; empty in a pass that shares nothing with others.
    pub shared: &'a [f32],
    pub(crate) layer: usize,
}

impl<'a> Context<'a> {
    /// The noise at one of the layer's sites, numbered by the layer from 0 to 7. `None` if the pass has none.
    ///
    /// # Panics
    /// If `site` is above 7.
    #[must_use]
    pub fn site(&self, site: u64, draw: Draw) -> Option<Site<'a>> {
        self.pass.site(self.layer, site, draw)
    }
}

/// Scratch memory of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scratch {
    /// Number of `f32`.
    pub floats: usize,
    /// Number of `u64`, for mask bits.
    pub words: usize,
}

/// Where a KL divergence is evaluated.
#[derive(Clone, Copy, Debug)]
pub struct KlAt<'a> {
    /// The layer's parameters.
    pub params: &'a [f32],
    /// The probability that an input of this layer is kept by the mask in front of it, 1 without one.
    pub input_keep_prob: f64,
    /// The noise of a training step, for a KL that has no closed form. Without any, [`Layer::kl_grad`] gives the gradient
    /// of [`Layer::kl`].
    pub noise: Option<KlNoise<'a>>,
}
