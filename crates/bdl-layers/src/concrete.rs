//! Concrete dropout: a linear map behind a mask whose drop probability is learned with the weights.

mod masks;
mod rate;

use bdl_dist::NoiseRng;
use bdl_tensor::{Mat, MatMut, Store, kernels};
use serde::{Deserialize, Serialize};

use crate::conv::{Conv2dMap, Filters};
use crate::dense::{check_positive, fill_normal, init_he};
use crate::image::Image;
use crate::layer::{Backward, Context, Form, KlAt, Layer, Scratch};
use crate::map::{DenseMap, LinearMap};
use crate::report::share;
use crate::{AtMean, Block, Draw, Error, LayerReport, Means, Pass, Plain, Registry, Role, codec};
use masks::Tape;
use rate::Rate;

/// A linear map whose input units are dropped with a probability p that is learned: concrete dropout.
///
/// ```text
/// y = W(m ⊙ x) + b,    p = sigmoid(logit)
/// training:     m_i = (1 − d_i)/(1 − p),   d_i = sigmoid((logit + λ_i)/concrete_temp),   λ_i standard logistic, per row and unit
/// prediction:   m_i = z_i/(1 − p),         z_i ~ Bernoulli(1 − p),                       per row and unit, or per pass
/// at the mean:  m_i = 1
/// KL = l²‖W‖²/(2(1 − p)) + l²‖b‖²/2 − units·H(p)      in nats, up to a constant;  H(p) = −p·ln p − (1 − p)·ln(1 − p)
/// ```
///
/// Mask and map are one layer, since the KL couples weights and probability. It needs no number of training rows: as every KL in
/// nats it is weighed against the rows by the objective. A unit is an input column, or an input channel with one mask
/// at all of its positions. The relaxed mask of training is what a gradient in p can go through; predictions draw the
/// masks that the KL speaks of. The logit acts as if it were within ±20, beyond which it has no gradient.
///
/// | setting | default | range | meaning |
/// |---|---|---|---|
/// | `length_scale` | – | > 0 | the weights' prior is N(0, 1/length_scale²) |
/// | `drop_prob` | 0.1 | (0, 1) | where the learned probability starts |
/// | `concrete_temp` | 0.1 | > 0 | temperature of the relaxation: the masks' own as it goes to 0 |
///
/// Noise: the masks of predictions at site 0; λ at site 1, one slot per row.
///
/// # References
/// Gal, Hron & Kendall 2017, *Concrete dropout*, §3; `docs/math.md#concrete-dropout`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConcreteDropout<M> {
    kind: String,
    map: M,
    length_scale: f64,
    drop_prob: f64,
    concrete_temp: f64,
}

/// Concrete dropout in front of a dense layer.
pub type ConcreteDense = ConcreteDropout<DenseMap>;

/// Concrete dropout in front of a convolution: whole channels are dropped.
pub type ConcreteConv2d = ConcreteDropout<Conv2dMap>;

/// The form in which a file holds a [`ConcreteDropout`]; frozen.
#[derive(Serialize, Deserialize)]
struct V1<M> {
    map: M,
    length_scale: f64,
    drop_prob: f64,
    concrete_temp: f64,
}

impl ConcreteDense {
    pub(crate) const KIND: &'static str = "concrete-dense";

    /// The layer with the prior of a length scale.
    ///
    /// # Errors
    /// [`Error::Argument`] for a width of 0, or a length scale that is not finite and > 0.
    pub fn new(in_dim: usize, out_dim: usize, length_scale: f64) -> Result<Self, Error> {
        Self::of(DenseMap::new(Self::KIND, in_dim, out_dim)?, length_scale)
    }
}

impl ConcreteConv2d {
    pub(crate) const KIND: &'static str = "concrete-conv2d";

    /// The layer with the prior of a length scale.
    ///
    /// # Errors
    /// [`Error::Argument`] for a convolution that does not fit its image, or a length scale that is not finite and > 0.
    pub fn new(image: Image, filters: Filters, length_scale: f64) -> Result<Self, Error> {
        Self::of(Conv2dMap::new(Self::KIND, image, filters)?, length_scale)
    }
}

impl<M: LinearMap> ConcreteDropout<M> {
    /// The layer on any linear map. Its kind is made of the map's name: `concrete-dense`.
    ///
    /// # Errors
    /// [`Error::Argument`] unless the length scale is finite and > 0.
    pub fn of(map: M, length_scale: f64) -> Result<Self, Error> {
        let kind = Self::kind_of();
        check_positive(&kind, "length_scale", length_scale)?;
        Ok(Self { kind, map, length_scale, drop_prob: 0.1, concrete_temp: 0.1 })
    }

    /// The same with another probability to start from.
    ///
    /// # Errors
    /// [`Error::Argument`] unless its logit is within ±20, which leaves out 2·10⁻⁹ at either end: there it could not be learned.
    pub fn with_drop_prob(self, drop_prob: f64) -> Result<Self, Error> {
        if (drop_prob / (1.0 - drop_prob)).ln().abs() < f64::from(rate::MOST_LOGIT) {
            return Ok(Self { drop_prob, ..self });
        }
        let (layer, expected, got) = (self.kind, "in (2.1e-9, 1 - 2.1e-9)".to_owned(), drop_prob.to_string());
        Err(Error::Argument { layer, argument: "drop_prob", expected, got })
    }

    /// The same with another temperature.
    ///
    /// # Errors
    /// [`Error::Argument`] unless it is finite and > 0.
    pub fn with_concrete_temp(self, concrete_temp: f64) -> Result<Self, Error> {
        check_positive(&self.kind, "concrete_temp", concrete_temp)?;
        Ok(Self { concrete_temp, ..self })
    }

    /// The linear map.
    #[must_use]
    pub fn map(&self) -> &M {
        &self.map
    }

    fn kind_of() -> String {
        format!("concrete-{}", M::KIND)
    }

    pub(crate) fn build(config: &[u8]) -> Result<Box<dyn Layer>, Error> {
        let v: V1<M::Config> = codec::decode("layer concrete dropout", config)?;
        let layer = Self::of(M::from_config(&Self::kind_of(), v.map)?, v.length_scale)?;
        Ok(Box::new(layer.with_drop_prob(v.drop_prob)?.with_concrete_temp(v.concrete_temp)?))
    }

    fn split<'a>(&self, params: &'a [f32]) -> Params<'a> {
        let (weight, rest) = params.split_at(self.map.weights());
        let (bias, logit) = rest.split_at(self.map.units());
        Params { weight, bias, rate: Rate::new(logit[0]) }
    }

    fn split_mut<'a>(&self, of_params: &'a mut [f32]) -> [&'a mut [f32]; 3] {
        let (weight, rest) = of_params.split_at_mut(self.map.weights());
        let (bias, logit) = rest.split_at_mut(self.map.units());
        [weight, bias, logit]
    }

    /// The KL of the weights, of the biases, and minus the entropy of the masks.
    fn kl_parts(&self, p: &Params<'_>) -> [f64; 3] {
        let half = 0.5 * self.length_scale * self.length_scale;
        let [of_weights, of_bias] = [p.weight, p.bias].map(|x| half * kernels::sum_squares_f64(x));
        [of_weights / p.rate.keep_prob, of_bias, -(self.map.in_units() as f64) * p.rate.entropy()]
    }
}

/// A layer's parameters.
struct Params<'a> {
    weight: &'a [f32],
    bias: &'a [f32],
    rate: Rate,
}

impl<M: LinearMap> Layer for ConcreteDropout<M> {
    fn kind(&self) -> &str {
        &self.kind
    }

    fn config(&self) -> Result<Vec<u8>, Error> {
        let Self { length_scale, drop_prob, concrete_temp, .. } = *self;
        let v = V1 { map: self.map.config(), length_scale, drop_prob, concrete_temp };
        codec::encode("layer concrete dropout", &v)
    }

    fn in_dim(&self) -> usize {
        self.map.in_dim()
    }

    fn out_dim(&self) -> usize {
        self.map.out_dim()
    }

    fn blocks(&self) -> Vec<Block> {
        vec![
            Block::new("weight", &self.map.weight_shape(), Role::Plain),
            Block::new("bias", &[self.map.units()], Role::Plain),
            Block::new("drop.logit", &[1], Role::Hyper),
        ]
    }

    /// He weights, biases of 0, and the logit of the probability to start from.
    fn init(&self, params: &mut [f32], rng: &mut NoiseRng) {
        let [weight, bias, logit] = self.split_mut(params);
        init_he(weight, self.map.fan_in(), rng);
        bias.fill(0.0);
        logit[0] = (self.drop_prob / (1.0 - self.drop_prob)).ln() as f32;
    }

    fn is_random(&self) -> bool {
        true
    }

    fn form<'a>(&self, params: &'a [f32]) -> Form<'a> {
        let Params { weight, bias, rate } = self.split(params);
        match self.map.matrix(weight) {
            // A probability that is not a number masks nothing that others could.
            Some(weight) if rate.keep_prob < 1.0 => {
                Form::MaskedAffine { keep_prob: rate.keep_prob, weight, bias }
            }
            _ => Form::Opaque,
        }
    }

    fn scratch(&self, rows: usize, pass: &Pass<'_>) -> Scratch {
        match pass.mask_draw() {
            Draw::Mean => Scratch { floats: self.map.scratch(rows), words: 0 },
            _ => Scratch { floats: self.floats(rows, pass), words: self.words(rows, pass) },
        }
    }

    fn forward(&self, ctx: &mut Context<'_>, x: Mat<'_>, y: &mut MatMut<'_>) -> Result<(), Error> {
        let (pool, p) = (ctx.pass.pool(), self.split(ctx.params));
        if ctx.pass.mask_draw() == Draw::Mean {
            return self.map.forward(pool, x, p.weight, p.bias, ctx.floats, y);
        }
        let Tape { kept, map, .. } = self.keep(ctx, &p.rate, x)?;
        self.map.forward(pool, kept.as_mat(), p.weight, p.bias, map, y)
    }

    fn backward(&self, ctx: &mut Context<'_>, grads: &mut [f32], io: Backward<'_>) -> Result<(), Error> {
        let (pool, p) = (ctx.pass.pool(), self.split(ctx.params));
        let [d_weight, d_bias, d_logit] = self.split_mut(grads);
        self.map.bias_grad(io.dy, Store::Add, d_bias)?;
        if ctx.pass.mask_draw() == Draw::Mean {
            self.map.weight_grad(pool, io.x, io.dy, Store::Add, ctx.floats, d_weight)?;
            return match io.dx {
                Some(mut dx) => self.map.input_grad(pool, io.dy, p.weight, ctx.floats, &mut dx),
                None => Ok(()),
            };
        }
        let mut tape = self.tape(io.x.rows(), ctx.pass, ctx.floats)?;
        self.map.weight_grad(pool, tape.kept.as_mat(), io.dy, Store::Add, tape.map, d_weight)?;
        self.map.input_grad(pool, io.dy, p.weight, tape.map, &mut tape.d_kept)?;
        let slope = self.keep_backward(ctx.pass, ctx.words, &p.rate, tape, io.dx)?;
        if p.rate.free {
            d_logit[0] += slope as f32;
        }
        Ok(())
    }

    fn kl(&self, at: &KlAt<'_>) -> f64 {
        self.kl_parts(&self.split(at.params)).iter().sum()
    }

    fn kl_grad(&self, at: &KlAt<'_>, weight: f32, grads: &mut [f32]) -> f64 {
        let (p, precision) = (self.split(at.params), self.length_scale * self.length_scale);
        let parts = self.kl_parts(&p);
        let [d_weight, d_bias, d_logit] = self.split_mut(grads);
        let Rate { logit, free, drop_prob, keep_prob } = p.rate;
        kernels::axpy((f64::from(weight) * precision / keep_prob) as f32, p.weight, d_weight);
        kernels::axpy(weight * precision as f32, p.bias, d_bias);
        if free {
            // ∂(1/(1 − p))/∂logit = p/(1 − p),  ∂H/∂logit = −logit·p·(1 − p)
            let of_entropy = self.map.in_units() as f64 * f64::from(logit) * drop_prob * keep_prob;
            d_logit[0] += (f64::from(weight) * (parts[0] * drop_prob + of_entropy)) as f32;
        }
        parts.iter().sum()
    }

    fn at_mean(&self) -> AtMean<'_> {
        AtMean::Plain(self)
    }

    fn weights(&self) -> usize {
        self.map.weights()
    }

    /// `N(0, 1/l²)` for weights and biases; the probability stays as it is.
    fn sample_prior(&self, params: &mut [f32], rng: &mut NoiseRng) -> Result<(), Error> {
        let of_weights = self.map.weights() + self.map.units();
        fill_normal(self.length_scale.recip(), &mut params[..of_weights], rng);
        Ok(())
    }

    fn report(&self, at: &KlAt<'_>) -> LayerReport {
        let p = self.split(at.params);
        LayerReport {
            kl: self.kl(at),
            sparsity: share(p.weight.iter(), |w| *w == 0.0),
            drop_prob: Some(p.rate.drop_prob),
            kl_weights: Some(p.weight.len() + p.bias.len()),
            ..LayerReport::default()
        }
    }
}

impl<M: LinearMap> Means for ConcreteDropout<M> {
    /// A plain layer with the same prior.
    fn plain(&self, _: &Registry) -> Result<Box<dyn Layer>, Error> {
        Ok(Box::new(Plain::of(self.map.clone()).with_length_scale(self.length_scale)?))
    }

    fn mean_params(&self, params: &[f32]) -> Vec<f32> {
        params[..self.map.weights() + self.map.units()].to_vec()
    }

    fn start_at(&self, mean: &[f32], _: Option<f64>, params: &mut [f32]) {
        params[..mean.len()].copy_from_slice(mean);
    }
}
