//! Variational layers: a normal posterior over the weights of a linear map.

mod at_mean;
mod cut;
mod draw;
mod flipout;
mod local;
mod prediction;
mod sampling;

use bdl_dist::NoiseRng;
use bdl_tensor::{Mat, MatMut, Store};
use serde::{Deserialize, Serialize};

use crate::conv::{Conv2dMap, Filters};
use crate::dense::init_he;
use crate::family::{Extent, Family, MeanField};
use crate::image::Image;
use crate::layer::{Backward, Context, KlAt, Layer, Scratch};
use crate::map::{DenseMap, LinearMap};
use crate::{
    AtMean, Block, Draw, Error, KlKnown, KlTerm, LayerReport, Pass, Prior, Prunable, Registry, Role, codec,
};

/// A layer whose weights have independent normal posteriors: a family of posteriors on a linear map.
///
/// ```text
/// q(w) = N(mu, sigma²),  sigma from the family's raw parameters
/// one draw per pass:  w = mu + sigma·eps,  y = W(x) + b                     eps ~ N(0, 1) per weight
/// one draw per row:   y_j = m_j + √v_j·eps_j                                eps ~ N(0, 1) per row and output
///                     m_j = Σ_i x_i mu_ij + mu_b,j    v_j = Σ_i x_i² sigma_ij² + sigma_b,j²
/// Flipout:            y_j = m_j + r_j (Σ_i s_i x_i sigma_ij eps_ij + sigma_b,j eps_b,j)
///                     eps ~ N(0, 1) per weight, s, r = ±1 per row and unit
/// ```
///
/// The second, local reparameterization, gives each row the exact marginal distribution of its
/// pre-activations, independent of the other rows. An output of variance 0 has gradient 0 through `√v`. The third gives
/// each row an exact draw of weights and biases, uncorrelated with those of the other rows; units are columns, or channels
/// with one sign at all of their positions.
///
/// Noise: the weights' eps at site 0 and the biases' at site 1, one slot per pass; under one draw per row the
/// pre-activations' eps at site 2, one slot per row; under Flipout also the signs of inputs at site 3 and of outputs at
/// site 4, mask bits of which 1 is + and 0 is −, one slot per row.
///
/// # References
/// Blundell et al. 2015, *Weight uncertainty in neural networks*; Kingma, Salimans & Welling 2015,
/// *Variational dropout and the local reparameterization trick*, §2.2; Wen et al. 2018, *Flipout*, §3;
/// `docs/math.md#local-reparameterization`, `docs/math.md#flipout`.
#[derive(Clone, Debug, PartialEq)]
pub struct Variational<M, F> {
    kind: String,
    map: M,
    family: F,
    bias: bool,
    /// Raw parameters of the weights.
    raws: usize,
    /// What the family needs to know of the map; asked for in every step.
    extent: Extent,
}

/// A dense layer with mean-field normal posteriors over weights and biases.
pub type VariationalDense = Variational<DenseMap, MeanField>;

/// A convolution with mean-field normal posteriors over weights and biases.
///
/// With one draw per row the outputs at two positions of an image are drawn independently: each has its own exact
/// distribution, but that they share weights, and so vary together, is dropped. One draw per pass keeps it.
/// `docs/math.md#convolution-local`.
pub type VariationalConv2d = Variational<Conv2dMap, MeanField>;

/// The form in which a file holds a [`Variational`] layer; frozen.
#[derive(Serialize, Deserialize)]
struct V1<M, F> {
    map: M,
    family: F,
    bias: bool,
}

/// Where a layer draws: weights, biases, pre-activations, or signs.
const SITE_WEIGHT: u64 = 0;
const SITE_BIAS: u64 = 1;
const SITE_ROW: u64 = 2;
const SITE_SIGN_IN: u64 = 3;
const SITE_SIGN_OUT: u64 = 4;

impl VariationalDense {
    pub(crate) const KIND: &'static str = "variational-dense";

    /// The layer with a prior, its posterior initialized around He weights with a standard deviation of
    /// `0.1/√in_dim`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a width of 0 or a prior out of range.
    pub fn new(in_dim: usize, out_dim: usize, prior: Prior) -> Result<Self, Error> {
        Self::mean_field(DenseMap::new(Self::KIND, in_dim, out_dim)?, prior)
    }
}

impl VariationalConv2d {
    pub(crate) const KIND: &'static str = "variational-conv2d";

    /// The layer with a prior, its posterior initialized around He weights with a standard deviation of
    /// `0.1/√fan_in`, where the fan-in is the number of weights of a filter.
    ///
    /// # Errors
    /// [`Error::Argument`] for filters that do not fit the image or a prior whose scale is not finite and > 0.
    pub fn new(image: Image, filters: Filters, prior: Prior) -> Result<Self, Error> {
        let map = Conv2dMap::new(Self::KIND, image, filters)?;
        let family = MeanField::new(Self::KIND, prior, 0.1 / (map.fan_in() as f64).sqrt())?;
        Ok(Self::of(map, family))
    }
}

impl<M: LinearMap> Variational<M, MeanField> {
    /// Mean-field normal posteriors over the weights of a map, initialized around He weights with a standard
    /// deviation of `0.1/√fan_in`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a prior out of range.
    pub fn mean_field(map: M, prior: Prior) -> Result<Self, Error> {
        let kind = kind_of::<M, MeanField>();
        let family = MeanField::new(&kind, prior, 0.1 / (map.fan_in() as f64).sqrt())?;
        Ok(Self::of(map, family))
    }

    /// The same with another initial standard deviation of the posterior.
    ///
    /// # Errors
    /// [`Error::Argument`] unless it is finite and > 0.
    pub fn with_init_sigma(self, init_sigma: f64) -> Result<Self, Error> {
        let family = self.family.with_init_sigma(&self.kind, init_sigma)?;
        Ok(Self { family, ..self })
    }
}

impl<M: LinearMap, F: Family> Variational<M, F> {
    /// A family of posteriors on a map, with biases. The layer's kind is made of the names of both: `variational-dense`.
    #[must_use]
    pub fn of(map: M, family: F) -> Self {
        let extent = Extent { weight_shape: map.weight_shape(), biases: map.units(), fan_in: map.fan_in() };
        let raws = family.raw_shape(&extent.weight_shape).iter().product();
        Self { kind: kind_of::<M, F>(), map, family, bias: true, raws, extent }
    }

    /// The same without biases: `y = W(x)`.
    #[must_use]
    pub fn without_bias(self) -> Self {
        let extent = Extent { biases: 0, ..self.extent };
        Self { bias: false, extent, ..self }
    }

    /// The linear map.
    #[must_use]
    pub fn map(&self) -> &M {
        &self.map
    }

    /// The family of posteriors.
    #[must_use]
    pub fn family(&self) -> &F {
        &self.family
    }

    /// The same with another family of its kind.
    pub(crate) fn with_family(self, family: F) -> Self {
        Self { family, ..self }
    }

    pub(crate) fn build(registry: &Registry, config: &[u8]) -> Result<Box<dyn Layer>, Error> {
        let kind = kind_of::<M, F>();
        let v: V1<M::Config, F::Config> = codec::decode("variational layer", config)?;
        let layer = Self::of(M::from_config(&kind, v.map)?, F::from_config(&kind, v.family, registry)?);
        Ok(Box::new(if v.bias { layer } else { layer.without_bias() }))
    }

    fn biases(&self) -> usize {
        if self.bias { self.map.units() } else { 0 }
    }

    /// Biases that are drawn.
    fn random_biases(&self) -> usize {
        if F::RANDOM_BIAS { self.biases() } else { 0 }
    }

    /// Parameters of the posteriors; behind them lie those of the prior, if it has any.
    fn of_posteriors(&self) -> usize {
        self.map.weights() + self.raws + self.biases() + self.random_biases()
    }

    fn split<'a>(&self, params: &'a [f32]) -> Params<'a> {
        let (weight_mu, rest) = params.split_at(self.map.weights());
        let (weight_raw, rest) = rest.split_at(self.raws);
        let (bias_mu, rest) = rest.split_at(self.biases());
        Params { weight_mu, weight_raw, bias_mu, bias_raw: &rest[..self.random_biases()] }
    }

    fn split_grads<'a>(&self, grads: &'a mut [f32]) -> Grads<'a> {
        let (weight_mu, rest) = grads.split_at_mut(self.map.weights());
        let (weight_raw, rest) = rest.split_at_mut(self.raws);
        let (bias_mu, rest) = rest.split_at_mut(self.biases());
        Grads { weight_mu, weight_raw, bias_mu, bias_raw: &mut rest[..self.random_biases()] }
    }

    /// What is drawn: weights, and biases that have a posterior.
    fn drawn(&self) -> usize {
        self.map.weights() + self.random_biases()
    }

    /// The gradient of the mean pass.
    fn backward_mean(&self, ctx: &mut Context<'_>, grads: &mut [f32], io: Backward<'_>) -> Result<(), Error> {
        let (pool, p, g) = (ctx.pass.pool(), self.split(ctx.params), self.split_grads(grads));
        self.map.weight_grad(pool, io.x, io.dy, Store::Add, ctx.floats, g.weight_mu)?;
        self.map.bias_grad(io.dy, Store::Add, g.bias_mu)?;
        match io.dx {
            Some(mut dx) => self.map.input_grad(pool, io.dy, p.weight_mu, ctx.floats, &mut dx),
            None => Ok(()),
        }
    }
}

/// The kind of a layer: `variational-dense`.
pub(crate) fn kind_of<M: LinearMap, F: Family>() -> String {
    format!("{}-{}", F::KIND, M::KIND)
}

/// A layer's parameters: `bias_mu` holds plain biases, and `bias_raw` nothing, where the family draws none.
struct Params<'a> {
    weight_mu: &'a [f32],
    weight_raw: &'a [f32],
    bias_mu: &'a [f32],
    bias_raw: &'a [f32],
}

struct Grads<'a> {
    weight_mu: &'a mut [f32],
    weight_raw: &'a mut [f32],
    bias_mu: &'a mut [f32],
    bias_raw: &'a mut [f32],
}

impl<M: LinearMap, F: Family> Layer for Variational<M, F> {
    fn kind(&self) -> &str {
        &self.kind
    }

    fn config(&self) -> Result<Vec<u8>, Error> {
        let v = V1 { map: self.map.config(), family: self.family.config(), bias: self.bias };
        codec::encode("variational layer", &v)
    }

    fn in_dim(&self) -> usize {
        self.map.in_dim()
    }

    fn out_dim(&self) -> usize {
        self.map.out_dim()
    }

    fn blocks(&self) -> Vec<Block> {
        let (weight, bias) = (self.map.weight_shape(), [self.map.units()]);
        let raw = |of: &str| format!("{of}.{}", F::RAW);
        let mut blocks = vec![
            Block::new("weight.mu", &weight, Role::Mean),
            Block::new(raw("weight"), &self.family.raw_shape(&weight), Role::RawScale),
        ];
        if self.bias && F::RANDOM_BIAS {
            blocks.push(Block::new("bias.mu", &bias, Role::Mean));
            blocks.push(Block::new(raw("bias"), &bias, Role::RawScale));
        } else if self.bias {
            blocks.push(Block::new("bias", &bias, Role::Plain));
        }
        blocks.extend(self.family.prior_blocks(&self.extent));
        // A map may have lost all of its weights.
        blocks.retain(|block| !block.is_empty());
        blocks
    }

    fn init(&self, params: &mut [f32], rng: &mut NoiseRng) {
        let (posteriors, of_prior) = params.split_at_mut(self.of_posteriors());
        self.family.init_prior(of_prior);
        let g = self.split_grads(posteriors);
        init_he(g.weight_mu, self.map.fan_in(), rng);
        g.bias_mu.fill(0.0);
        self.family.init_raw(self.map.fan_in(), g.weight_mu, g.weight_raw);
        if F::RANDOM_BIAS {
            self.family.init_raw(self.map.fan_in(), g.bias_mu, g.bias_raw);
        }
    }

    fn is_random(&self) -> bool {
        self.drawn() > 0
    }

    fn prepared(&self, pass: &Pass<'_>) -> usize {
        self.prepared_len(pass)
    }

    fn prepare(&self, params: &[f32], pass: &Pass<'_>, prepared: &mut [f32]) {
        self.prepare_draws(params, pass.weight_draw(), prepared);
    }

    fn shared(&self, rows: usize, pass: &Pass<'_>) -> usize {
        self.shared_len(rows, pass)
    }

    fn share(&self, ctx: &mut Context<'_>, x: Mat<'_>, shared: &mut [f32]) -> Result<(), Error> {
        match ctx.pass.weight_draw() {
            Draw::Flipout => self.share_mean(ctx, x, shared),
            _ => self.share_moments(ctx, x, shared),
        }
    }

    fn scratch(&self, rows: usize, pass: &Pass<'_>) -> Scratch {
        let of_map = self.map.scratch(rows);
        let (floats, words) = match pass.weight_draw() {
            Draw::Mean => (of_map, 0),
            Draw::Pass => (3 * self.drawn() + of_map, 0),
            Draw::Row => (self.drawn() + rows * (self.in_dim() + 2 * self.out_dim()) + 2 * of_map, 0),
            Draw::Flipout => {
                let floats = 3 * self.drawn() + rows * (self.in_dim() + self.out_dim()) + 2 * of_map;
                (floats, rows * self.sign_words().iter().sum::<usize>())
            }
        };
        Scratch { floats, words }
    }

    fn forward(&self, ctx: &mut Context<'_>, x: Mat<'_>, y: &mut MatMut<'_>) -> Result<(), Error> {
        match (ctx.pass.weight_draw(), ctx.prepared.is_empty()) {
            (Draw::Pass, false) => self.predict_function(ctx, x, y),
            (Draw::Row, false) => self.predict_rows(ctx, x, y),
            (Draw::Pass, true) => self.forward_sampling(ctx, x, y),
            (Draw::Row, true) => self.forward_local(ctx, x, y),
            (Draw::Flipout, _) => self.forward_flipout(ctx, x, y),
            (Draw::Mean, _) => {
                let p = self.split(ctx.params);
                self.map.forward(ctx.pass.pool(), x, p.weight_mu, p.bias_mu, ctx.floats, y)
            }
        }
    }

    fn backward(&self, ctx: &mut Context<'_>, grads: &mut [f32], io: Backward<'_>) -> Result<(), Error> {
        match ctx.pass.weight_draw() {
            Draw::Pass => self.backward_sampling(ctx, grads, io),
            Draw::Row => self.backward_local(ctx, grads, Store::Add, io),
            Draw::Flipout => self.backward_flipout(ctx, grads, io),
            Draw::Mean => self.backward_mean(ctx, grads, io),
        }
    }

    fn write_backward(
        &self,
        ctx: &mut Context<'_>,
        grads: &mut [f32],
        io: Backward<'_>,
    ) -> Result<(), Error> {
        if F::IN_PLACE && ctx.pass.weight_draw() == Draw::Row {
            grads[self.of_posteriors()..].fill(0.0);
            return self.backward_local(ctx, grads, Store::Overwrite, io);
        }
        grads.fill(0.0);
        self.backward(ctx, grads, io)
    }

    fn kl(&self, at: &KlAt<'_>) -> f64 {
        self.family.kl(&self.extent, at)
    }

    fn kl_grad(&self, at: &KlAt<'_>, weight: f32, grads: &mut [f32]) -> f64 {
        self.family.kl_grad(&self.extent, at, weight, grads)
    }

    fn kl_terms(&self, _: f64) -> Option<Vec<KlTerm>> {
        self.family.kl_terms(&self.extent)
    }

    fn weights(&self) -> usize {
        self.map.weights()
    }

    fn prunable(&self) -> Prunable<'_> {
        self.as_prunable()
    }

    fn kl_known(&self) -> KlKnown {
        self.family.kl_known(&self.extent)
    }

    fn at_mean(&self) -> AtMean<'_> {
        AtMean::Plain(self)
    }

    fn sample_prior(&self, params: &mut [f32], rng: &mut NoiseRng) -> Result<(), Error> {
        let (posteriors, of_prior) = params.split_at_mut(self.of_posteriors());
        let Grads { weight_mu, bias_mu, .. } = self.split_grads(posteriors);
        let drawn = self.family.sample_prior(&self.extent, of_prior, [weight_mu, bias_mu], rng);
        drawn.map_err(|got| Error::NoPrior { layer: self.kind.clone(), got })
    }

    fn report(&self, at: &KlAt<'_>) -> LayerReport {
        let report = self.family.report(&self.extent, at);
        LayerReport { sparsity: self.map.sparsity().or(report.sparsity), ..report }
    }
}
