//! Plain layers: one value per weight of a linear map, with the prior that MC dropout puts on it.

use bdl_dist::NoiseRng;
use bdl_tensor::{Mat, MatMut, Store};
use serde::{Deserialize, Serialize};

use crate::conv::{Conv2dMap, Filters};
use crate::dense::{check_positive, fill_normal, init_he};
use crate::image::Image;
use crate::layer::{Backward, Context, Form, KlAt, Layer, Scratch};
use crate::map::{DenseMap, LinearMap};
use crate::report::share;
use crate::{Block, Error, KlForm, KlTerm, LayerReport, Pass, Pruned, Role, codec};

/// A layer `y = W(x) + b` with one value per weight of a linear map.
///
/// With a length scale `l` it has the prior under which dropout on its inputs is variational inference.
/// With keep probability k of the mask in front of it (1 without one) and inverted scaling,
///
/// ```text
/// KL = l²‖W‖²/(2k) + l²‖b‖²/2     in nats, up to a constant
/// ```
///
/// which without dropout is minus the log density of the prior `N(0, 1/l²)`. Without a length scale the KL is 0.
///
/// # References
/// Gal & Ghahramani 2016, *Dropout as a Bayesian approximation*, appendix; `docs/math.md#mc-dropout-prior`.
#[derive(Clone, Debug, PartialEq)]
pub struct Plain<M> {
    map: M,
    length_scale: Option<f64>,
}

/// A dense layer `y = x·W + b` with one value per weight.
///
/// ```text
/// x: [rows, in_dim]   W: [in_dim, out_dim]   b: [out_dim]   y: [rows, out_dim]
/// ```
/// `docs/math.md#dense`.
pub type Dense = Plain<DenseMap>;

/// A convolution with one value per weight: see [`Conv2dMap`].
///
/// Behind a [`Dropout2d`](crate::Dropout2d) its weights are drawn as `diag(z)·W`, z one bit per input channel, the same at
/// all positions, which is what the prior of a length scale asks for. Behind a [`Dropout`](crate::Dropout) each pixel
/// has a bit of its own, and a weight is not one random variable but one for each position.
pub type Conv2d = Plain<Conv2dMap>;

/// What is left of a dense layer after pruning, with one value per weight: see [`Pruned`].
pub type PrunedDense = Plain<Pruned<DenseMap>>;

/// What is left of a convolution after pruning, with one value per weight: see [`Pruned`].
pub type PrunedConv2d = Plain<Pruned<Conv2dMap>>;

/// The form in which a file holds a [`Plain`] layer; frozen.
#[derive(Serialize, Deserialize)]
struct V1<M> {
    map: M,
    length_scale: Option<f64>,
}

impl Dense {
    /// A dense layer without a prior.
    ///
    /// # Errors
    /// [`Error::Argument`] if a width is 0.
    pub fn new(in_dim: usize, out_dim: usize) -> Result<Self, Error> {
        Ok(Self::of(DenseMap::new(Self::KIND, in_dim, out_dim)?))
    }
}

impl Conv2d {
    /// A convolution without a prior.
    ///
    /// # Errors
    /// [`Error::Argument`] for filters that do not fit the image.
    pub fn new(image: Image, filters: Filters) -> Result<Self, Error> {
        Ok(Self::of(Conv2dMap::new(Self::KIND, image, filters)?))
    }
}

impl<M: LinearMap> Plain<M> {
    pub(crate) const KIND: &'static str = M::KIND;

    /// The layer of a linear map, without a prior. Its kind is the name of the map.
    #[must_use]
    pub fn of(map: M) -> Self {
        Self { map, length_scale: None }
    }

    /// The same with the prior of length scale `l`.
    ///
    /// # Errors
    /// [`Error::Argument`] unless `l` is finite and > 0.
    pub fn with_length_scale(self, l: f64) -> Result<Self, Error> {
        check_positive(Self::KIND, "length_scale", l)?;
        Ok(Self { length_scale: Some(l), ..self })
    }

    /// The linear map.
    #[must_use]
    pub fn map(&self) -> &M {
        &self.map
    }

    pub(crate) fn build(config: &[u8]) -> Result<Box<dyn Layer>, Error> {
        let v: V1<M::Config> = codec::decode("plain layer", config)?;
        let layer = Self::of(M::from_config(Self::KIND, v.map)?);
        Ok(Box::new(match v.length_scale {
            Some(l) => layer.with_length_scale(l)?,
            None => layer,
        }))
    }

    /// KL = l²‖W‖²/(2k) + l²‖b‖²/2.
    fn terms(&self, input_keep_prob: f64) -> [KlTerm; 2] {
        let weights = self.map.weights();
        let form = |keep: f64| match self.length_scale {
            Some(l) => KlForm::Squares { half_precision: l * l / (2.0 * keep) },
            None => KlForm::Zero,
        };
        [
            KlTerm { range: 0..weights, form: form(input_keep_prob) },
            KlTerm { range: weights..weights + self.map.units(), form: form(1.0) },
        ]
    }

    fn backward_stored(
        &self,
        ctx: &mut Context<'_>,
        store: Store,
        grads: &mut [f32],
        io: Backward<'_>,
    ) -> Result<(), Error> {
        let (pool, weights) = (ctx.pass.pool(), self.map.weights());
        let (d_weight, d_bias) = grads.split_at_mut(weights);
        self.map.weight_grad(pool, io.x, io.dy, store, ctx.floats, d_weight)?;
        self.map.bias_grad(io.dy, store, d_bias)?;
        match io.dx {
            Some(mut dx) => self.map.input_grad(pool, io.dy, &ctx.params[..weights], ctx.floats, &mut dx),
            None => Ok(()),
        }
    }
}

impl<M: LinearMap> Layer for Plain<M> {
    fn kind(&self) -> &str {
        Self::KIND
    }

    fn config(&self) -> Result<Vec<u8>, Error> {
        codec::encode("plain layer", &V1 { map: self.map.config(), length_scale: self.length_scale })
    }

    fn in_dim(&self) -> usize {
        self.map.in_dim()
    }

    fn out_dim(&self) -> usize {
        self.map.out_dim()
    }

    fn blocks(&self) -> Vec<Block> {
        let mut blocks = vec![
            Block::new("weight", &self.map.weight_shape(), Role::Plain),
            Block::new("bias", &[self.map.units()], Role::Plain),
        ];
        // A map may have lost all of its weights.
        blocks.retain(|block| !block.is_empty());
        blocks
    }

    /// He initialization: `W ~ N(0, 2/fan_in)`, `b = 0` (He et al. 2015, eq. 10).
    fn init(&self, params: &mut [f32], rng: &mut NoiseRng) {
        let (weight, bias) = params.split_at_mut(self.map.weights());
        init_he(weight, self.map.fan_in(), rng);
        bias.fill(0.0);
    }

    fn form<'a>(&self, params: &'a [f32]) -> Form<'a> {
        let (weight, bias) = params.split_at(self.map.weights());
        self.map.matrix(weight).map_or(Form::Opaque, |weight| Form::Affine { weight, bias })
    }

    fn scratch(&self, rows: usize, _: &Pass<'_>) -> Scratch {
        Scratch { floats: self.map.scratch(rows), words: 0 }
    }

    fn forward(&self, ctx: &mut Context<'_>, x: Mat<'_>, y: &mut MatMut<'_>) -> Result<(), Error> {
        let (weight, bias) = ctx.params.split_at(self.map.weights());
        self.map.forward(ctx.pass.pool(), x, weight, bias, ctx.floats, y)
    }

    fn backward(&self, ctx: &mut Context<'_>, grads: &mut [f32], io: Backward<'_>) -> Result<(), Error> {
        self.backward_stored(ctx, Store::Add, grads, io)
    }

    fn write_backward(
        &self,
        ctx: &mut Context<'_>,
        grads: &mut [f32],
        io: Backward<'_>,
    ) -> Result<(), Error> {
        self.backward_stored(ctx, Store::Overwrite, grads, io)
    }

    fn kl(&self, at: &KlAt<'_>) -> f64 {
        KlTerm::sum(&self.terms(at.input_keep_prob), at.params)
    }

    fn kl_grad(&self, at: &KlAt<'_>, weight: f32, grads: &mut [f32]) -> f64 {
        KlTerm::sum_grad(&self.terms(at.input_keep_prob), at, weight, grads)
    }

    fn kl_terms(&self, input_keep_prob: f64) -> Option<Vec<KlTerm>> {
        Some(self.terms(input_keep_prob).to_vec())
    }

    fn weights(&self) -> usize {
        self.map.weights()
    }

    /// `N(0, 1/l²)` for weights and biases.
    fn sample_prior(&self, params: &mut [f32], rng: &mut NoiseRng) -> Result<(), Error> {
        let Some(l) = self.length_scale else {
            return Err(Error::NoPrior { layer: self.kind().to_owned(), got: "no length scale" });
        };
        fill_normal(l.recip(), params, rng);
        Ok(())
    }

    fn report(&self, at: &KlAt<'_>) -> LayerReport {
        let weight = &at.params[..self.map.weights()];
        let zeros = || share(weight.iter(), |w| *w == 0.0);
        LayerReport {
            kl: self.kl(at),
            sparsity: self.map.sparsity().or_else(zeros),
            ..LayerReport::default()
        }
    }
}
