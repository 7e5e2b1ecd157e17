//! A pass: what all layers of a network share while it is evaluated once.

use bdl_dist::Noise;
use bdl_tensor::{Pool, Serial};

/// How many layers of a plan can be told apart in a noise address.
pub(crate) const MAX_LAYERS: usize = 1 << 12;

/// What a network is evaluated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Weights at their means, no masks, no noise.
    Mean,
    /// One noisy step of training.
    Train,
    /// One noisy pass of prediction.
    Predict,
}

/// What one draw of noise covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The whole pass: it is a function drawn from the posterior, and rows do not depend on each other.
    #[default]
    Pass,
    /// One row: ordinary dropout, local reparameterization.
    Row,
}

/// How a variational layer draws while training, and when predicting under [`Scope::Row`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Estimator {
    /// Local reparameterization: each row's pre-activations are drawn from their own normal.
    #[default]
    Local,
    /// One draw of the weights, shared by the batch.
    Sampling,
    /// One draw of the weights' deviations from their means, whose signs each row draws for itself.
    Flipout,
}

impl Estimator {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Local, Self::Sampling, Self::Flipout];
}

/// What a variational layer draws in a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Draw {
    /// Nothing: the mean.
    Mean,
    /// One draw for the whole pass.
    Pass,
    /// One draw for each row.
    Row,
    /// One draw for the whole pass, and for each row signs that it puts on the deviations from the mean. The noise of a
    /// site is that of the pass, and a layer without such signs treats this as [`Draw::Pass`].
    Flipout,
}

/// One evaluation of a network: mode, noise and its address, and the pool to work on.
///
/// ```
/// use bdl_dist::{Noise, Purpose};
/// use bdl_layers::{Draw, Estimator, Pass, Scope};
/// let noise = Noise::new(0, Purpose::Predict);
/// let pass = Pass::predict(&noise, 3, Scope::Row, Estimator::Sampling);
/// assert_eq!((pass.mask_draw(), pass.weight_draw()), (Draw::Row, Draw::Pass));
/// assert_eq!(Pass::mean().weight_draw(), Draw::Mean);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    mode: Mode,
    scope: Scope,
    estimator: Estimator,
    noise: Option<&'a Noise>,
    index: u64,
    first_row: u64,
    pool: &'a dyn Pool,
}

impl<'a> Pass<'a> {
    /// Evaluation at the mean of the weights.
    #[must_use]
    pub fn mean() -> Self {
        Self {
            mode: Mode::Mean,
            scope: Scope::Pass,
            estimator: Estimator::Local,
            noise: None,
            index: 0,
            first_row: 0,
            pool: &Serial,
        }
    }

    /// Training step number `step`.
    #[must_use]
    pub fn train(noise: &'a Noise, step: u64, estimator: Estimator) -> Self {
        Self {
            mode: Mode::Train,
            scope: Scope::Row,
            estimator,
            noise: Some(noise),
            index: step,
            ..Self::mean()
        }
    }

    /// Monte Carlo pass number `index` of a prediction.
    #[must_use]
    pub fn predict(noise: &'a Noise, index: u64, scope: Scope, estimator: Estimator) -> Self {
        Self { mode: Mode::Predict, scope, estimator, noise: Some(noise), index, ..Self::mean() }
    }

    /// The same, for rows of which the first has the number `first_row` in the whole input.
    #[must_use]
    pub fn starting_at(self, first_row: u64) -> Self {
        Self { first_row, ..self }
    }

    /// The same, on a pool.
    #[must_use]
    pub fn on(self, pool: &'a dyn Pool) -> Self {
        Self { pool, ..self }
    }

    /// The mode.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The pool to work on.
    #[must_use]
    pub fn pool(&self) -> &'a dyn Pool {
        self.pool
    }

    /// What a variational layer draws.
    #[must_use]
    pub fn weight_draw(&self) -> Draw {
        match (self.mode, self.scope, self.estimator) {
            (Mode::Mean, ..) => Draw::Mean,
            (_, Scope::Row, Estimator::Local) => Draw::Row,
            (_, Scope::Row, Estimator::Flipout) => Draw::Flipout,
            _ => Draw::Pass,
        }
    }

    /// What a mask layer draws.
    #[must_use]
    pub fn mask_draw(&self) -> Draw {
        match (self.mode, self.scope) {
            (Mode::Mean, _) => Draw::Mean,
            (_, Scope::Row) => Draw::Row,
            (_, Scope::Pass) => Draw::Pass,
        }
    }

    /// The noise for the KL divergence of a network of so many parameters, if this pass has any.
    #[must_use]
    pub fn kl_noise(&self, n_params: usize) -> Option<KlNoise<'a>> {
        let site = Site { noise: self.noise?, stream: KL_STREAM, slot: self.index };
        Some(KlNoise { site, n_params, start: 0 })
    }

    /// The noise of one site of the layer at position `layer` in its plan, if this pass has any.
    ///
    /// A site is a place where a layer draws; it numbers its own from 0 to 7 and says in its documentation
    /// what it draws there. Noise per pass lives in stream `layer << 8 | site`, noise per row in a stream of
    /// its own for each pass. Layers use [`Context::site`](crate::Context::site), which is this for their own
    /// position; here it is for whoever wants to see or repeat what a layer draws.
    ///
    /// # Panics
    /// If `layer` is not below 4096, `site` not below 8, or the pass number not below 2⁴⁸.
    #[must_use]
    pub fn site(&self, layer: usize, site: u64, draw: Draw) -> Option<Site<'a>> {
        let noise = self.noise?;
        assert!(layer < MAX_LAYERS, "site: layer must be below {MAX_LAYERS}, got {layer}");
        assert!(site < 8, "site: must be below 8, got {site}");
        assert!(self.index < 1 << 48, "site: pass must be below 2^48, got {}", self.index);
        let layer = layer as u64;
        match draw {
            Draw::Mean => None,
            Draw::Pass | Draw::Flipout => Some(Site { noise, stream: layer << 8 | site, slot: self.index }),
            Draw::Row => {
                let stream = 1 << 63 | layer << 51 | site << 48 | self.index;
                Some(Site { noise, stream, slot: self.first_row })
            }
        }
    }
}

/// The stream of the KL's noise: of a site that no layer has.
const KL_STREAM: u64 = 0xff;

/// The noise of the KL divergences of one training step: a standard normal for each element of the parameter vector, of which
/// a KL takes those at its means.
///
/// The address is (seed, step, element): which layer or thread asks, and for how many at a time, does not matter.
#[derive(Clone, Copy, Debug)]
pub struct KlNoise<'a> {
    site: Site<'a>,
    /// Length of the parameter vector.
    n_params: usize,
    /// Where in it the layer's parameters begin.
    start: usize,
}

impl KlNoise<'_> {
    /// The normals that belong to the layer's parameters from `from` on.
    ///
    /// # Panics
    /// If they reach beyond the parameter vector.
    pub fn normals(&self, from: usize, out: &mut [f32]) {
        let Site { noise, stream, slot } = self.site;
        noise.normals_within(stream, slot, self.n_params, self.start + from, out);
    }

    /// The same for a layer whose parameters begin `start` further on.
    pub(crate) fn behind(self, start: usize) -> Self {
        Self { start: self.start + start, ..self }
    }
}

/// An addressed site: where in which stream a layer's draws begin.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    noise: &'a Noise,
    stream: u64,
    slot: u64,
}

impl Site<'_> {
    /// The same site, `slots` further on.
    pub(crate) fn skip(self, slots: usize) -> Self {
        Self { slot: self.slot + slots as u64, ..self }
    }

    /// Standard normals for consecutive slots of `len` elements; one slot per row or one for the pass.
    ///
    /// # Panics
    /// If `len` is 0 or does not divide `out.len()`.
    pub fn normals(&self, len: usize, out: &mut [f32]) {
        self.noise.normals(self.stream, self.slot, len, out);
    }

    /// Standard logistic numbers for consecutive slots of `len` elements.
    ///
    /// # Panics
    /// If `len` is 0 or does not divide `out.len()`.
    pub fn logistics(&self, len: usize, out: &mut [f32]) {
        self.noise.logistics(self.stream, self.slot, len, out);
    }

    /// Mask bits for consecutive slots of `len` units, `⌈len/64⌉` words each.
    ///
    /// # Panics
    /// If `len` is 0, `out` is not whole slots, or `keep_prob` is not in `[0, 1]`.
    pub fn mask(&self, len: usize, keep_prob: f64, out: &mut [u64]) {
        self.noise.mask(self.stream, self.slot, len, keep_prob, out);
    }
}
