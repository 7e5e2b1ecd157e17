//! Networks whose noise is part of the layer, so that `forward` is a plain function of the parameters.

use super::{OracleConv, pool, sigmoid, softplus};
use crate::stats::normal_cdf;
use std::ops::Range;

/// Elementwise functions. math.md#activations
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OracleActivation {
    /// `max(x, 0)`.
    Relu,
    /// Hyperbolic tangent.
    Tanh,
    /// `x·sigmoid(x)`.
    Silu,
    /// `x·Φ(x)`, the exact form, not its tanh approximation.
    Gelu,
    /// `1 / (1 + e^{−x})`.
    Sigmoid,
    /// `x`.
    Identity,
}

impl OracleActivation {
    /// Every kind, for tables of tests.
    pub const ALL: [Self; 6] =
        [Self::Relu, Self::Tanh, Self::Silu, Self::Gelu, Self::Sigmoid, Self::Identity];

    /// The function of a name in lower case, such as `relu`; panics if there is none.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let found = Self::ALL.into_iter().find(|a| format!("{a:?}").eq_ignore_ascii_case(name));
        found.unwrap_or_else(|| panic!("oracle: no activation is called {name:?}"))
    }

    /// The function's value.
    #[must_use]
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Self::Relu => x.max(0.0),
            Self::Tanh => x.tanh(),
            Self::Silu => x * sigmoid(x),
            Self::Gelu => x * normal_cdf(x),
            Self::Sigmoid => sigmoid(x),
            Self::Identity => x,
        }
    }
}

/// Which units a dropout layer keeps.
#[derive(Debug, Clone, PartialEq)]
pub enum FrozenMask {
    /// No noise: the layer is the identity.
    Mean,
    /// One mask for all rows, `[dim]`.
    Pass(Vec<bool>),
    /// One mask per row, `[rows, dim]`.
    Row(Vec<bool>),
}

impl FrozenMask {
    /// A mask over channels as one over units, channels last.
    fn at_each_pixel(&self, pixels: usize, channels: usize) -> Self {
        let spread = |mask: &[bool]| mask.chunks(channels).flat_map(|m| m.repeat(pixels)).collect();
        match self {
            Self::Mean => Self::Mean,
            Self::Pass(mask) => Self::Pass(spread(mask)),
            Self::Row(mask) => Self::Row(spread(mask)),
        }
    }
}

/// The noise of a variational layer, which also says by which estimator it enters.
#[derive(Debug, Clone, PartialEq)]
pub enum FrozenEps {
    /// No noise: the weights are their means.
    Mean,
    /// One draw of weights and biases for all rows: `w = mu + softplus(rho)·eps`.
    Sampling {
        /// One value per weight, in their order.
        eps_w: Vec<f64>,
        /// One value per bias, empty without.
        eps_b: Vec<f64>,
    },
    /// Local reparameterization, a draw per pre-activation. math.md#local-reparameterization
    Local {
        /// `[rows, out_dim]`.
        eps: Vec<f64>,
    },
    /// One draw of weights and biases for each row, as Flipout has it.
    Rows {
        /// `[rows, weights]`.
        eps_w: Vec<f64>,
        /// `[rows, biases]`, empty without.
        eps_b: Vec<f64>,
    },
}

/// A linear map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OracleMap {
    /// `y = x·W + b`, weights `[in_dim, out_dim]`.
    Dense {
        /// Input width.
        in_dim: usize,
        /// Output width.
        out_dim: usize,
    },
    /// A convolution.
    Conv2d(OracleConv),
}

impl OracleMap {
    /// Number of weights, and of output units.
    fn sizes(&self) -> (usize, usize) {
        match self {
            Self::Dense { in_dim, out_dim } => (in_dim * out_dim, *out_dim),
            Self::Conv2d(conv) => (conv.weights(), conv.channels),
        }
    }

    fn forward(&self, x: &[f64], w: &[f64], b: &[f64]) -> Vec<f64> {
        match self {
            Self::Dense { in_dim, out_dim } => dense(x, x.len() / in_dim, *in_dim, *out_dim, w, b),
            Self::Conv2d(conv) => conv.forward(x, w, b, x.len() / conv.image.iter().product::<usize>()),
        }
    }
}

/// A family of normal posteriors `N(mu, sigma²)` of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OracleFamily {
    /// `sigma² = e^raw`, a raw parameter `ln_sigma2` per weight. math.md#sparse-variational-dropout
    SparseVd,
    /// `sigma² = mu²·sigmoid(raw)`, with so many raw parameters `logit_alpha`: weight i has the one of `i mod alphas`.
    /// math.md#variational-dropout
    IndependentVd {
        /// Number of raw parameters.
        alphas: usize,
    },
}

impl OracleFamily {
    /// Name and number of the raw parameters.
    fn raw(self, weights: usize) -> (&'static str, usize) {
        match self {
            Self::SparseVd => ("weight.ln_sigma2", weights),
            Self::IndependentVd { alphas } => ("weight.logit_alpha", alphas),
        }
    }

    /// Standard deviation of each weight.
    fn sigma(self, mu: &[f64], raw: &[f64]) -> Vec<f64> {
        let of_weight = |(i, mu): (usize, &f64)| match self {
            Self::SparseVd => raw[i].exp().sqrt(),
            Self::IndependentVd { alphas } => mu.abs() * sigmoid(raw[i % alphas]).sqrt(),
        };
        mu.iter().enumerate().map(of_weight).collect()
    }
}

/// The variance of multiplicative noise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OracleAlpha {
    /// A fixed one.
    Fixed(f64),
    /// `sigmoid(logit_alpha)`, a block of so many: 1, or one per unit.
    Learned(usize),
}

/// The masks of concrete dropout.
#[derive(Debug, Clone, PartialEq)]
pub enum FrozenConcrete {
    /// Drawn bits, or no mask at all.
    Hard(FrozenMask),
    /// Relaxed: a standard logistic number for each row and unit, and the temperature. math.md#concrete-dropout
    Relaxed {
        /// `[rows, units]`.
        lambda: Vec<f64>,
        /// `concrete_temp`.
        temp: f64,
    },
}

impl FrozenConcrete {
    /// x as the masks over `units` units leave it at this logit.
    fn keep(&self, logit: f64, units: usize, x: &[f64], rows: usize) -> Vec<f64> {
        let (drop_prob, dim) = (sigmoid(logit), x.len() / rows);
        match self {
            Self::Hard(mask) => dropout(drop_prob, &mask.at_each_pixel(dim / units, units), x, rows),
            Self::Relaxed { lambda, temp } => {
                let factor = |k: usize| {
                    let lambda = lambda[k / dim * units + k % dim % units];
                    (1.0 - sigmoid((logit + lambda) / temp)) / (1.0 - drop_prob)
                };
                x.iter().enumerate().map(|(k, x)| x * factor(k)).collect()
            }
        }
    }
}

/// One layer; noise included, parameters not.
#[derive(Debug, Clone, PartialEq)]
pub enum OracleLayer {
    /// `y = x·W + b`; blocks `weight` `[in_dim, out_dim]`, `bias` `[out_dim]`.
    Dense {
        /// Input width.
        in_dim: usize,
        /// Output width.
        out_dim: usize,
        /// Whether there is a bias block.
        bias: bool,
    },
    /// Elementwise.
    Activation(OracleActivation),
    /// Inverted dropout: kept units are divided by `1 − drop_prob`.
    Dropout {
        /// Probability that a unit is zeroed, in [0, 1).
        drop_prob: f64,
        /// Which are.
        mask: FrozenMask,
    },
    /// Blocks `weight.mu`, `weight.rho` `[in_dim, out_dim]`, `bias.mu`, `bias.rho` `[out_dim]`, in this order.
    VariationalDense {
        /// Input width.
        in_dim: usize,
        /// Output width.
        out_dim: usize,
        /// Whether there are bias blocks.
        bias: bool,
        /// Estimator and noise.
        eps: FrozenEps,
    },
    /// Inputs times `1 + √alpha·eps`, one eps for each of the units and unit `k mod units` for element k of a row.
    /// math.md#gaussian-dropout
    MulNoise {
        /// Number of units.
        units: usize,
        /// The variance of the noise.
        alpha: OracleAlpha,
        /// `[units]` for all rows or `[rows, units]`; empty for no noise.
        eps: Vec<f64>,
    },
    /// A linear map under one of the families with plain biases: blocks `weight.mu`, `weight.<raw>`, `bias`. The eps of the biases, where
    /// they are asked for, do nothing.
    Family {
        /// What the weights do.
        map: OracleMap,
        /// How they are distributed.
        family: OracleFamily,
        /// Whether there is a bias block.
        bias: bool,
        /// Estimator and noise.
        eps: FrozenEps,
    },
    /// A linear map behind a mask over its input units, dropped with a learned probability: blocks `weight`, `bias`, `drop.logit`.
    Concrete {
        /// What the weights do.
        map: OracleMap,
        /// Number of input units: columns, or channels.
        units: usize,
        /// Which are dropped, and how much.
        masks: FrozenConcrete,
    },
    /// A convolution; blocks `weight` `[kernel, kernel, channels/groups, out]`, `bias` `[out]`.
    Conv2d {
        /// Its geometry.
        conv: OracleConv,
        /// Whether there is a bias block.
        bias: bool,
    },
    /// Dropout of whole channels: [`Dropout`](OracleLayer::Dropout) with a mask `[channels]`, or `[rows, channels]`.
    Dropout2d {
        /// Number of channels; the last axis of the image.
        channels: usize,
        /// Probability that a channel is zeroed, in [0, 1).
        drop_prob: f64,
        /// Which are.
        mask: FrozenMask,
    },
    /// The largest number, or the mean, of each window.
    Pool {
        /// Its window.
        window: OracleConv,
        /// Whether the largest.
        largest: bool,
    },
    /// Blocks `weight.mu`, `weight.rho`, `bias.mu`, `bias.rho`, of the shapes of [`Conv2d`](OracleLayer::Conv2d). Local
    /// reparameterization draws each output of each position on its own. math.md#convolution-local
    VariationalConv2d {
        /// Its geometry.
        conv: OracleConv,
        /// Whether there are bias blocks.
        bias: bool,
        /// Estimator and noise.
        eps: FrozenEps,
    },
}

const PLAIN: &[&str] = &["weight", "bias"];
const VARIATIONAL: &[&str] = &["weight.mu", "weight.rho", "bias.mu", "bias.rho"];

impl OracleLayer {
    /// Names and lengths of the layer's blocks, in order.
    fn blocks(&self) -> Vec<(&'static str, usize)> {
        let (names, weights, biases, bias) = match self {
            Self::MulNoise { alpha: OracleAlpha::Learned(n), .. } => return vec![("logit_alpha", *n)],
            Self::MulNoise { .. } => return Vec::new(),
            Self::Family { map, family, bias, .. } => {
                let ((weights, units), (raw, raws)) = (map.sizes(), family.raw(map.sizes().0));
                let blocks = [("weight.mu", weights), (raw, raws), ("bias", units)];
                return blocks[..if *bias { 3 } else { 2 }].to_vec();
            }
            Self::Concrete { map, .. } => {
                let (weights, units) = map.sizes();
                return vec![("weight", weights), ("bias", units), ("drop.logit", 1)];
            }
            Self::Activation(_) | Self::Dropout { .. } => return Vec::new(),
            Self::Dropout2d { .. } | Self::Pool { .. } => return Vec::new(),
            Self::Dense { in_dim, out_dim, bias } => (PLAIN, in_dim * out_dim, *out_dim, bias),
            Self::VariationalDense { in_dim, out_dim, bias, .. } => {
                (VARIATIONAL, in_dim * out_dim, *out_dim, bias)
            }
            Self::Conv2d { conv, bias } => (PLAIN, conv.weights(), conv.channels, bias),
            Self::VariationalConv2d { conv, bias, .. } => (VARIATIONAL, conv.weights(), conv.channels, bias),
        };
        let length = |name: &str| if name.starts_with("weight") { weights } else { biases };
        let present = |name: &&str| *bias || name.starts_with("weight");
        names.iter().copied().filter(present).map(|name| (name, length(name))).collect()
    }

    fn param_len(&self) -> usize {
        self.blocks().iter().map(|(_, len)| len).sum()
    }

    /// `[rows, out]` from `[rows, in]`.
    fn forward(&self, params: &[f64], x: &[f64], rows: usize) -> Vec<f64> {
        match self {
            Self::Dense { in_dim, out_dim, .. } => {
                let (w, b) = params.split_at(in_dim * out_dim);
                dense(x, rows, *in_dim, *out_dim, w, b)
            }
            Self::Activation(kind) => x.iter().map(|&v| kind.apply(v)).collect(),
            Self::Dropout { drop_prob, mask } => dropout(*drop_prob, mask, x, rows),
            Self::Dropout2d { channels, drop_prob, mask } => {
                let pixels = x.len() / rows / channels;
                dropout(*drop_prob, &mask.at_each_pixel(pixels, *channels), x, rows)
            }
            Self::Pool { window, largest } => pool(window, *largest, x, rows),
            Self::VariationalDense { in_dim, out_dim, eps, .. } => {
                let linear =
                    |x: &[f64], w: &[f64], b: &[f64]| dense(x, x.len() / in_dim, *in_dim, *out_dim, w, b);
                variational(&Posterior::split(params, in_dim * out_dim), eps, x, &linear)
            }
            Self::Concrete { map, units, masks } => {
                let ((w, rest), biases) = (params.split_at(map.sizes().0), map.sizes().1);
                map.forward(&masks.keep(rest[biases], *units, x, rows), w, &rest[..biases])
            }
            Self::Conv2d { conv, .. } => {
                let (w, b) = params.split_at(conv.weights());
                conv.forward(x, w, b, rows)
            }
            Self::VariationalConv2d { conv, eps, .. } => {
                let pixels: usize = conv.image.iter().product();
                let linear = |x: &[f64], w: &[f64], b: &[f64]| conv.forward(x, w, b, x.len() / pixels);
                variational(&Posterior::split(params, conv.weights()), eps, x, &linear)
            }
            Self::MulNoise { units, alpha, eps } => {
                let alpha = |unit: usize| match alpha {
                    OracleAlpha::Fixed(alpha) => *alpha,
                    OracleAlpha::Learned(n) => sigmoid(params[unit % n]),
                };
                mul_noise(x, rows, *units, alpha, eps)
            }
            Self::Family { map, family, eps, .. } => {
                let (weights, _) = map.sizes();
                let (mu_w, rest) = params.split_at(weights);
                let (raw, mu_b) = rest.split_at(family.raw(weights).1);
                let sigma_w = family.sigma(mu_w, raw);
                let q = Posterior { mu_w, sigma_w, mu_b, sigma_b: vec![0.0; mu_b.len()] };
                variational(&q, eps, x, &|x, w, b| map.forward(x, w, b))
            }
        }
    }
}

/// One block of parameters in the flat vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OracleBlock {
    /// Index of the layer.
    pub layer: usize,
    /// Such as `weight` or `weight.mu`.
    pub name: &'static str,
    /// Where it lies.
    pub range: Range<usize>,
}

/// A sequence of layers.
///
/// # Examples
/// ```
/// use bdl_testkit::oracle::{FrozenMask, OracleActivation, OracleLayer, OracleNet};
/// let net = OracleNet::new(vec![
///     OracleLayer::Dense { in_dim: 2, out_dim: 2, bias: true },
///     OracleLayer::Activation(OracleActivation::Relu),
///     OracleLayer::Dropout { drop_prob: 0.5, mask: FrozenMask::Pass(vec![true, false]) },
/// ]);
/// // W = [[1, 2], [3, 4]], b = [-1, 0]: x·W + b = [3, 6]; the first unit is kept and doubled.
/// assert_eq!(net.forward(&[1.0, 2.0, 3.0, 4.0, -1.0, 0.0], &[1.0, 1.0], 1), [6.0, 0.0]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct OracleNet {
    /// The layers, first to last.
    pub layers: Vec<OracleLayer>,
}

impl OracleNet {
    /// The network of these layers.
    #[must_use]
    pub fn new(layers: Vec<OracleLayer>) -> Self {
        Self { layers }
    }

    /// Number of parameters.
    #[must_use]
    pub fn param_len(&self) -> usize {
        self.layers.iter().map(OracleLayer::param_len).sum()
    }

    /// The directory of the flat vector.
    #[must_use]
    pub fn blocks(&self) -> Vec<OracleBlock> {
        let mut start = 0;
        let mut blocks = Vec::new();
        for (layer, spec) in self.layers.iter().enumerate() {
            for (name, len) in spec.blocks() {
                blocks.push(OracleBlock { layer, name, range: start..start + len });
                start += len;
            }
        }
        blocks
    }

    /// Outputs `[rows, out]` for `x: [rows, in]`.
    #[must_use]
    pub fn forward(&self, params: &[f64], x: &[f64], rows: usize) -> Vec<f64> {
        self.activations(params, x, rows).pop().unwrap_or_else(|| x.to_vec())
    }

    /// The output of every layer, in order; the last is the network's.
    #[must_use]
    pub fn activations(&self, params: &[f64], x: &[f64], rows: usize) -> Vec<Vec<f64>> {
        assert_eq!(params.len(), self.param_len(), "oracle net: wrong number of parameters");
        let mut rest = params;
        let mut outputs: Vec<Vec<f64>> = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let (own, behind) = rest.split_at(layer.param_len());
            rest = behind;
            outputs.push(layer.forward(own, outputs.last().map_or(x, Vec::as_slice), rows));
        }
        outputs
    }

    /// The smallest `|pre-activation|` in front of any ReLU; infinite without ReLU.
    ///
    /// Central differences are meaningless across a kink: a test should redraw its input until this is well above the
    /// change that one step makes, say 1e-3. Units that an earlier mask has set to exactly zero without a bias count.
    #[must_use]
    pub fn relu_margin(&self, params: &[f64], x: &[f64], rows: usize) -> f64 {
        let outputs = self.activations(params, x, rows);
        let mut margin = f64::INFINITY;
        for (i, layer) in self.layers.iter().enumerate() {
            if *layer == OracleLayer::Activation(OracleActivation::Relu) {
                let input = if i == 0 { x } else { &outputs[i - 1] };
                margin = input.iter().fold(margin, |m, v| m.min(v.abs()));
            }
        }
        margin
    }
}

/// `x·W + b`, by the definition; an empty `b` is no bias.
fn dense(x: &[f64], rows: usize, in_dim: usize, out_dim: usize, w: &[f64], b: &[f64]) -> Vec<f64> {
    let mut y = super::matmul(x, w, rows, in_dim, out_dim);
    for (k, v) in y.iter_mut().enumerate() {
        *v += b.get(k % out_dim).copied().unwrap_or(0.0);
    }
    y
}

fn dropout(drop_prob: f64, mask: &FrozenMask, x: &[f64], rows: usize) -> Vec<f64> {
    assert!((0.0..1.0).contains(&drop_prob), "dropout: drop_prob must be in [0, 1), got {drop_prob}");
    let dim = x.len() / rows;
    let kept = |k: usize| match mask {
        FrozenMask::Mean => None,
        FrozenMask::Pass(mask) => {
            assert_eq!(mask.len(), dim, "dropout: a pass mask must be [{dim}]");
            Some(mask[k % dim])
        }
        FrozenMask::Row(mask) => {
            assert_eq!(mask.len(), x.len(), "dropout: a row mask must be [{rows}, {dim}]");
            Some(mask[k])
        }
    };
    let scaled = |(k, &v): (usize, &f64)| match kept(k) {
        None => v,
        Some(true) => v / (1.0 - drop_prob),
        Some(false) => 0.0,
    };
    x.iter().enumerate().map(scaled).collect()
}

fn mul_noise(x: &[f64], rows: usize, units: usize, alpha: impl Fn(usize) -> f64, eps: &[f64]) -> Vec<f64> {
    let dim = x.len() / rows;
    let noisy = |(k, &v): (usize, &f64)| {
        let (row, unit) = (k / dim, k % dim % units);
        match eps.len() {
            0 => v,
            n => v * (1.0 + alpha(unit).sqrt() * eps[(row * units + unit) % n]),
        }
    };
    x.iter().enumerate().map(noisy).collect()
}

struct Posterior<'a> {
    mu_w: &'a [f64],
    sigma_w: Vec<f64>,
    mu_b: &'a [f64],
    sigma_b: Vec<f64>,
}

impl<'a> Posterior<'a> {
    fn split(params: &'a [f64], weights: usize) -> Self {
        let (w, b) = params.split_at(2 * weights);
        let (mu_w, rho_w) = w.split_at(weights);
        let (mu_b, rho_b) = b.split_at(b.len() / 2);
        let sigma = |rho: &[f64]| rho.iter().map(|&r| softplus(r)).collect();
        Self { mu_w, sigma_w: sigma(rho_w), mu_b, sigma_b: sigma(rho_b) }
    }
}

/// `linear(x, w, b)` is linear in weights and biases, and each of its outputs a sum of products of one weight and one
/// input.
type Linear<'a> = &'a dyn Fn(&[f64], &[f64], &[f64]) -> Vec<f64>;

fn variational(q: &Posterior<'_>, eps: &FrozenEps, x: &[f64], linear: Linear<'_>) -> Vec<f64> {
    match eps {
        FrozenEps::Mean => linear(x, q.mu_w, q.mu_b),
        FrozenEps::Sampling { eps_w, eps_b } => {
            assert_eq!(eps_w.len(), q.mu_w.len(), "sampling: eps_w must have one value per weight");
            assert_eq!(eps_b.len(), q.mu_b.len(), "sampling: eps_b must have one value per bias");
            let w = reparameterized(q.mu_w, &q.sigma_w, eps_w);
            let b = reparameterized(q.mu_b, &q.sigma_b, eps_b);
            linear(x, &w, &b)
        }
        FrozenEps::Local { eps } => {
            let square = |v: &[f64]| -> Vec<f64> { v.iter().map(|v| v * v).collect() };
            let variance = linear(&square(x), &square(&q.sigma_w), &square(&q.sigma_b));
            assert_eq!(eps.len(), variance.len(), "local: eps must have one value per output");
            let std: Vec<f64> = variance.iter().map(|v| v.sqrt()).collect();
            reparameterized(&linear(x, q.mu_w, q.mu_b), &std, eps)
        }
        FrozenEps::Rows { eps_w, eps_b } => {
            let rows = eps_w.len() / q.mu_w.len();
            let row = |b: usize| {
                let of = |v: &[f64]| v[b * (v.len() / rows)..][..v.len() / rows].to_vec();
                let one = FrozenEps::Sampling { eps_w: of(eps_w), eps_b: of(eps_b) };
                variational(q, &one, &of(x), linear)
            };
            (0..rows).flat_map(row).collect()
        }
    }
}

/// `mu + sigma·eps`, elementwise.
fn reparameterized(mu: &[f64], sigma: &[f64], eps: &[f64]) -> Vec<f64> {
    mu.iter().zip(sigma).zip(eps).map(|((m, s), e)| m + s * e).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::inverse_softplus;
    use crate::source::SplitMix64;
    use crate::stats::MomentCheck;

    fn variational(eps: FrozenEps) -> OracleNet {
        OracleNet::new(vec![OracleLayer::VariationalDense { in_dim: 2, out_dim: 1, bias: true, eps }])
    }

    // mu_w = [1, -2], sigma_w = [0.5, 0.25], mu_b = 3, sigma_b = 0.1.
    fn params() -> Vec<f64> {
        let rho = inverse_softplus;
        vec![1.0, -2.0, rho(0.5), rho(0.25), 3.0, rho(0.1)]
    }

    #[test]
    fn activations_at_known_points() {
        use OracleActivation::{Gelu, Identity, Relu, Sigmoid, Silu, Tanh};
        assert_eq!((Relu.apply(-2.0), Relu.apply(2.0), Identity.apply(-1.5)), (0.0, 2.0, -1.5));
        for (kind, x, expected) in [
            (Tanh, 1.0, 0.761_594_155_955_764_9),
            (Sigmoid, 1.0, 0.731_058_578_630_004_9),
            (Silu, -1.0, -0.268_941_421_369_995_1),
            (Gelu, 1.0, 0.841_344_746_068_542_9),
            (Gelu, -1.0, -0.158_655_253_931_457_05),
        ] {
            assert!((kind.apply(x) - expected).abs() < 1e-15, "{kind:?}({x})");
        }
    }

    #[test]
    fn directory_covers_the_vector_in_order() {
        let net = OracleNet::new(vec![
            OracleLayer::Dense { in_dim: 3, out_dim: 2, bias: false },
            OracleLayer::Activation(OracleActivation::Tanh),
            OracleLayer::VariationalDense { in_dim: 2, out_dim: 4, bias: true, eps: FrozenEps::Mean },
        ]);
        let blocks: Vec<_> = net.blocks().into_iter().map(|b| (b.layer, b.name, b.range)).collect();
        let expected = [
            (0, "weight", 0..6),
            (2, "weight.mu", 6..14),
            (2, "weight.rho", 14..22),
            (2, "bias.mu", 22..26),
            (2, "bias.rho", 26..30),
        ];
        assert_eq!(blocks, expected);
        assert_eq!(net.param_len(), 30);
    }

    #[test]
    fn mean_and_sampling_by_hand() {
        let x = [2.0, 1.0, 0.0, -1.0];
        assert_eq!(variational(FrozenEps::Mean).forward(&params(), &x, 2), [3.0, 5.0]);
        // w = [1.5, -2.25], b = 3.2
        let eps = FrozenEps::Sampling { eps_w: vec![1.0, -1.0], eps_b: vec![2.0] };
        let y = variational(eps).forward(&params(), &x, 2);
        assert!((y[0] - 3.95).abs() < 1e-14 && (y[1] - 5.45).abs() < 1e-14, "{y:?}");
    }

    #[test]
    fn local_by_hand() {
        // Row [2, 1]: variance 4·0.25 + 0.0625 + 0.01 = 1.0725.
        let eps = FrozenEps::Local { eps: vec![-2.0] };
        let y = variational(eps).forward(&params(), &[2.0, 1.0], 1);
        assert!((y[0] - (3.0 - 2.0 * 1.0725f64.sqrt())).abs() < 1e-14, "{y:?}");
    }

    #[test]
    fn draws_of_each_row_by_hand() {
        // Row [2, 1]: weights 1 + 0.5·3 and −2 − 0.25·1, bias 3 + 0.1·2. Row [0, −1]: −2 + 0.25·4, 3 − 0.1·2.
        let eps = FrozenEps::Rows { eps_w: vec![3.0, -1.0, 7.0, 4.0], eps_b: vec![2.0, -2.0] };
        let y = variational(eps).forward(&params(), &[2.0, 1.0, 0.0, -1.0], 2);
        assert!((y[0] - (5.0 - 2.25 + 3.2)).abs() < 1e-14 && (y[1] - (1.0 + 2.8)).abs() < 1e-14, "{y:?}");
    }

    // 20 000 draws each, 5 SE.
    #[test]
    fn sampling_and_local_have_the_same_marginal_moments() {
        let mut source = SplitMix64::new(23);
        let mut draws = |local: bool| -> Vec<f64> {
            let mut one = || {
                let eps = match local {
                    true => FrozenEps::Local { eps: source.normals(1) },
                    false => FrozenEps::Sampling { eps_w: source.normals(2), eps_b: source.normals(1) },
                };
                variational(eps).forward(&params(), &[2.0, 1.0], 1)[0]
            };
            (0..20_000).map(|_| one()).collect()
        };
        for (name, local) in [("sampling", false), ("local", true)] {
            let sample = draws(local);
            MomentCheck::mean(name, &sample, 3.0, 1.0725).assert();
            MomentCheck::normal_variance(name, &sample, 1.0725).assert();
        }
    }

    #[test]
    fn a_posterior_of_no_width_is_its_mean_under_every_estimator() {
        let mut params = params();
        for k in [2, 3, 5] {
            params[k] = -1e4;
        }
        for eps in [
            FrozenEps::Sampling { eps_w: vec![3.0, 3.0], eps_b: vec![3.0] },
            FrozenEps::Local { eps: vec![3.0] },
            FrozenEps::Rows { eps_w: vec![3.0, 3.0], eps_b: vec![3.0] },
            FrozenEps::Mean,
        ] {
            assert_eq!(variational(eps).forward(&params, &[2.0, 1.0], 1), [3.0]);
        }
    }

    #[test]
    fn masks_per_pass_repeat_and_masks_per_row_do_not() {
        let layer = |mask| OracleNet::new(vec![OracleLayer::Dropout { drop_prob: 0.2, mask }]);
        let x = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(layer(FrozenMask::Mean).forward(&[], &x, 2), x);
        assert_eq!(layer(FrozenMask::Pass(vec![true, false])).forward(&[], &x, 2), [1.25, 0.0, 3.75, 0.0]);
        let row = FrozenMask::Row(vec![true, false, false, true]);
        assert_eq!(layer(row).forward(&[], &x, 2), [1.25, 0.0, 0.0, 5.0]);
    }

    // W = [2; 3], b = 1, p = ¼: kept units are divided by ¾; at temperature ½ and λ = 0, 1 − d = sigmoid(2·ln 3) = 0.9.
    #[test]
    fn concrete_masks_by_hand() {
        let (params, x) = ([2.0, 3.0, 1.0, -(3f64.ln())], [3.0, 6.0]);
        let of = |masks| {
            let map = OracleMap::Dense { in_dim: 2, out_dim: 1 };
            OracleNet::new(vec![OracleLayer::Concrete { map, units: 2, masks }]).forward(&params, &x, 1)[0]
        };
        assert!((of(FrozenConcrete::Hard(FrozenMask::Mean)) - 25.0).abs() < 1e-12);
        assert!((of(FrozenConcrete::Hard(FrozenMask::Pass(vec![true, false]))) - 9.0).abs() < 1e-12);
        let relaxed = FrozenConcrete::Relaxed { lambda: vec![0.0, 1e9], temp: 0.5 };
        assert!((of(relaxed) - (2.0 * 3.0 * 0.9 / 0.75 + 1.0)).abs() < 1e-12);
    }

    #[test]
    fn relu_margin_is_the_distance_to_the_nearest_kink() {
        let net = OracleNet::new(vec![
            OracleLayer::Dense { in_dim: 1, out_dim: 2, bias: true },
            OracleLayer::Activation(OracleActivation::Relu),
        ]);
        assert!((net.relu_margin(&[1.0, -1.0, 0.5, 0.9], &[1.0], 1) - 0.1).abs() < 1e-15);
        assert_eq!(OracleNet::new(vec![]).relu_margin(&[], &[1.0], 1), f64::INFINITY);
    }
}
