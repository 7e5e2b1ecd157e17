//! From a method and a few settings to a network with its likelihood.

use bdl_infer::Bnn;
use bdl_layers::{
    Activation, ActivationLayer, BatchNorm, ConcreteDropout, Conv2dMap, CorrelatedVd, DenseMap, Dropout,
    Dropout2d, GaussianDropout, Grain, Image, IndependentVd, Largest, Layer, LayerNorm, LinearMap, Mean,
    Plain, Plan, Pool2d, Pooling, Prior, Residual, SparseVd, Variational, Window,
};

use crate::net::{Net, Part, Shape, is_activated};
use crate::{BayesianLayers, Error, Likelihood, Method, WeightNoise};

/// What the network is to predict.
#[derive(Clone, Debug, PartialEq)]
pub enum Outputs {
    /// A number.
    Real,
    /// A count.
    Counts {
        /// The mean count of the training rows, at which the network starts.
        mean: f64,
    },
    /// One of so many classes.
    Classes(usize),
    /// Several numbers or counts, each with the standard deviation by which it was divided.
    Several(Vec<(Outputs, f64)>),
}

/// The settings of a network.
///
/// | name | default | range | meaning |
/// |---|---|---|---|
/// | `method` | mc-dropout | | how the weights are treated |
/// | `likelihood` | auto | | what stands between the network's output and the target |
/// | `hidden` | 50 | each ≥ 1 | widths of the hidden layers |
/// | `net` | none | | the whole network, in the place of `hidden` |
/// | `activation` | relu | | behind each hidden layer |
/// | `drop_prob` | 0.02 | `[0, 1)` | of inputs and hidden units, mc-dropout and gaussian-dropout only |
/// | `input_drop_prob` | `drop_prob` | `[0, 1)` | of inputs, where it differs |
/// | `length_scale` | 1 | > 0 | weights of deterministic, mc-dropout, concrete-dropout and gaussian-dropout have prior N(0, 1/length_scale²) |
/// | `prior` | N(0, 1/in_dim) | > 0 | of the weights of mean-field |
/// | `weight_noise` | independent | | what shares a draw under variational-dropout |
/// | `grain` | unit | not weight where `weight_noise` is correlated | what has an alpha of its own under variational-dropout |
/// | `bayesian` | all | | layers that the method is for; the others have the prior of the length scale |
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// How the weights are treated.
    pub method: Method,
    /// What stands between the network's output and the target.
    pub likelihood: Likelihood,
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// The whole network, in the place of `hidden`.
    pub net: Option<Net>,
    /// Activation behind each hidden layer.
    pub activation: Activation,
    /// Probability that a unit is dropped.
    pub drop_prob: f64,
    /// Probability that an input of the network is dropped, where it differs from that of a hidden unit.
    pub input_drop_prob: Option<f64>,
    /// Length scale of the prior of weights that are points.
    pub length_scale: f64,
    /// Prior of mean-field weights.
    pub prior: Prior,
    /// What shares a draw of the noise of variational dropout.
    pub weight_noise: WeightNoise,
    /// What has a noise variance of its own under variational dropout.
    pub grain: Grain,
    /// Layers that the method is for.
    pub bayesian: BayesianLayers,
}

impl Default for Architecture {
    fn default() -> Self {
        Self {
            method: Method::default(),
            likelihood: Likelihood::Auto,
            hidden: vec![50],
            net: None,
            activation: Activation::Relu,
            drop_prob: 0.02,
            input_drop_prob: None,
            length_scale: 1.0,
            prior: Prior::FanIn(1.0),
            weight_noise: WeightNoise::default(),
            grain: Grain::default(),
            bayesian: BayesianLayers::All,
        }
    }
}

impl Architecture {
    /// The network for rows of a shape. `target_sd` is the standard deviation by which a real target was
    /// divided.
    ///
    /// # Errors
    /// For a setting outside its range, named; for a `net` that does not fit, with the part and both shapes.
    pub fn build(&self, input: impl Into<Shape>, outputs: Outputs, target_sd: f64) -> Result<Bnn, Error> {
        let likelihood = self.likelihood.build(outputs, target_sd)?;
        let (input, outputs) = (input.into(), likelihood.outputs());
        let net = match &self.net {
            Some(net) => net.clone(),
            None => Net::dense(input, self.hidden.iter().copied().chain([outputs])),
        };
        net.check_input(input)?;
        self.bayesian.check(self.method, net.maps())?;
        let mut stack = Stack { of: self, net: &net, layers: Vec::new(), maps: 0, weights: 0 };
        let ends = stack.push_parts("", net.parts(), net.input())?;
        net.check_outputs(ends, outputs)?;
        self.check_size(stack.weights, input)?;
        let plan = Plan::new(stack.layers)?;
        if self.bayesian != BayesianLayers::All && !plan.is_random() {
            return Err(Error::Argument {
                what: "--bayesian",
                expected: "a layer that the method makes random",
                got: self.bayesian.to_string(),
            });
        }
        Ok(Bnn::new(plan, likelihood)?)
    }

    /// Refuses a network that memory cannot hold, before it is asked for.
    fn check_size(&self, weights: usize, input: Shape) -> Result<(), Error> {
        match weights {
            0..=MAX_WEIGHTS => Ok(()),
            got => Err(Error::Argument {
                what: if self.net.is_some() { "--net" } else { "--hidden" },
                expected: "widths that make at most 100000000 weights",
                got: format!("{got}, with {} inputs", input.len()),
            }),
        }
    }
}

/// Layers as they come about, one behind the other.
struct Stack<'a> {
    of: &'a Architecture,
    net: &'a Net,
    layers: Vec<Box<dyn Layer>>,
    /// Layers of weights so far.
    maps: usize,
    /// Their weights and biases.
    weights: usize,
}

impl Stack<'_> {
    /// Puts parts behind the others, which take `at`, with their activations; the shapes that the last takes and gives. `inside`
    /// names the part that they are in.
    fn push_parts(&mut self, inside: &str, parts: &[Part], at: Shape) -> Result<[Shape; 2], Error> {
        let mut ends = [at; 2];
        for (i, part) in parts.iter().enumerate() {
            let place = format!("{inside}layer {}, {part}", i + 1);
            ends = [ends[1], self.push_part(&place, part, ends[1])?];
            if is_activated(parts, i) {
                self.layers.push(Box::new(ActivationLayer::new(self.of.activation, ends[1].len())?));
            }
        }
        Ok(ends)
    }

    /// Puts a part behind the others; the shape of what it gives.
    fn push_part(&mut self, place: &str, part: &Part, at: Shape) -> Result<Shape, Error> {
        let net = self.net;
        let fails = |e: bdl_layers::Error| net.refuse(place, e.to_string());
        let image = || {
            let what = || format!("expected an image HEIGHTxWIDTHxCHANNELS in front of it, got {at} columns");
            at.image().ok_or_else(|| net.refuse(place, what()))
        };
        match part {
            Part::Dense(units) => {
                self.push(DenseMap::new("dense", at.len(), *units)?, None)?;
                Ok(Shape::Flat(*units))
            }
            Part::Conv(conv) => {
                let map = Conv2dMap::new("conv2d", image()?, conv.filters()).map_err(fails)?;
                let out = map.out_image();
                self.push(map, at.image())?;
                Ok(out.into())
            }
            Part::Pool(pool) if pool.mean => self.push_pool::<Mean>(image()?, pool.window()).map_err(fails),
            Part::Pool(pool) => self.push_pool::<Largest>(image()?, pool.window()).map_err(fails),
            Part::BatchNorm | Part::LayerNorm => {
                let [units, positions] = at.units();
                self.layers.push(match part {
                    Part::BatchNorm => Box::new(BatchNorm::new(units)?.over_positions(positions)?),
                    _ => Box::new(LayerNorm::new(units)?.over_positions(positions)?),
                });
                Ok(at)
            }
            Part::Residual(parts) => self.push_residual(place, parts, at),
        }
    }

    fn push_pool<P: Pooling>(&mut self, image: Image, window: Window) -> Result<Shape, bdl_layers::Error> {
        let pool = Pool2d::<P>::new(image, window)?;
        let out = pool.out_image();
        self.layers.push(Box::new(pool));
        Ok(out.into())
    }

    /// Puts parts behind the others to whose output their input is added.
    fn push_residual(&mut self, place: &str, parts: &[Part], at: Shape) -> Result<Shape, Error> {
        let first = self.layers.len();
        let [_, gives] = self.push_parts(&format!("{place}: "), parts, at)?;
        if gives != at {
            let what = format!("expected {at} → {at}, so that both can be added, got {at} → {gives}");
            return Err(self.net.refuse(place, what));
        }
        let inside = self.layers.split_off(first);
        self.layers.push(Box::new(Residual::new(inside)?));
        Ok(at)
    }

    /// Puts a layer of weights behind the others, and in front of it what the method wants there; `image` is what the weights
    /// see, if they see one.
    fn push<M: LinearMap>(&mut self, map: M, image: Option<Image>) -> Result<(), Error> {
        self.maps += 1;
        let method = match self.of.bayesian.contains(self.maps, self.net.maps()) {
            true => self.of.method,
            false => Method::Deterministic,
        };
        self.layers.extend(self.mask(method, &map, image)?);
        let weights = map.weights().saturating_add(map.units());
        self.layers.push(self.layer(method, map, image)?);
        self.weights = self.weights.saturating_add(weights);
        Ok(())
    }

    /// Whether what comes next sees the inputs of the network.
    fn is_input(&self) -> bool {
        self.weights == 0
    }

    /// What the method puts on the inputs of a layer of weights: inputs of the network are dropped one by one, and
    /// so are units, channels in whole. Noise is on them in the same way.
    fn mask<M: LinearMap>(
        &self,
        method: Method,
        map: &M,
        image: Option<Image>,
    ) -> Result<Option<Box<dyn Layer>>, Error> {
        let Architecture { drop_prob, input_drop_prob, weight_noise, grain, .. } = self.of;
        let drop_prob = input_drop_prob.filter(|_| self.is_input()).unwrap_or(*drop_prob);
        let units = if self.is_input() { map.in_dim() } else { map.in_units() };
        let positions = map.in_dim() / units;
        Ok(match (method, image) {
            (Method::McDropout, Some(image)) if !self.is_input() => {
                Some(Box::new(Dropout2d::new(image, drop_prob)?))
            }
            (Method::McDropout, _) => Some(Box::new(Dropout::new(map.in_dim(), drop_prob)?)),
            (Method::GaussianDropout, _) => {
                Some(Box::new(GaussianDropout::new(units, drop_prob)?.over_positions(positions)?))
            }
            (Method::VariationalDropout, _) if *weight_noise == WeightNoise::Correlated => {
                Some(Box::new(CorrelatedVd::new(units, *grain)?.over_positions(positions)?))
            }
            _ => None,
        })
    }

    /// What the method makes of a linear map. Concrete dropout drops channels in whole, so that it leaves the images alone
    /// that the network is given: often they have but one.
    fn layer<M: LinearMap>(
        &self,
        method: Method,
        map: M,
        image: Option<Image>,
    ) -> Result<Box<dyn Layer>, Error> {
        let Architecture { length_scale, prior, weight_noise, grain, .. } = self.of;
        Ok(match (method, weight_noise) {
            (Method::ConcreteDropout, _) if image.is_none() || !self.is_input() => {
                Box::new(ConcreteDropout::of(map, *length_scale)?)
            }
            (Method::Deterministic | Method::McDropout | Method::ConcreteDropout, _)
            | (Method::GaussianDropout, _) => Box::new(Plain::of(map).with_length_scale(*length_scale)?),
            (Method::MeanField, _) => Box::new(Variational::mean_field(map, prior.clone())?),
            (Method::VariationalDropout, WeightNoise::Independent) => {
                Box::new(Variational::of(map, IndependentVd::new(*grain)))
            }
            (Method::VariationalDropout, WeightNoise::Correlated) => Box::new(Plain::of(map)),
            (Method::SparseVd, _) => Box::new(Variational::of(map, SparseVd::new())),
        })
    }
}

/// The most weights of a network: training takes about 30 bytes for each, mean-field twice that.
pub(crate) const MAX_WEIGHTS: usize = 100_000_000;
