//! From a method and a few settings to a network with its likelihood.

use bdl_infer::{Bnn, Categorical, Gaussian, Heteroscedastic, Likelihood, NoiseSd};
use bdl_layers::{
    Activation, ActivationLayer, Dense, DenseMap, Dropout, Layer, LinearMap, Plan, Prior, SparseVd,
    Variational,
};

use crate::net::{Net, Part, Shape};
use crate::{Error, Method};

/// What stands between the network's output and the target.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Noise {
    /// Gaussian with one learned standard deviation for all rows.
    Learned,
    /// Gaussian with a known standard deviation, in the target's own units.
    Fixed(f64),
    /// Gaussian with a standard deviation that the network puts out for each row.
    Heteroscedastic,
}

/// What the network is to predict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// A number.
    Real,
    /// One of so many classes.
    Classes(usize),
}

/// The settings of a network.
///
/// | name | default | range | meaning |
/// |---|---|---|---|
/// | `method` | mc-dropout | | how the weights are treated |
/// | `noise` | learned | | the likelihood of a real target |
/// | `hidden` | 50 | each ≥ 1 | widths of the hidden layers |
/// | `net` | none | | the whole network, in the place of `hidden` |
/// | `activation` | relu | | behind each hidden layer |
/// | `drop_prob` | 0.02 | `[0, 1)` | of inputs and hidden units, mc-dropout only |
/// | `input_drop_prob` | `drop_prob` | `[0, 1)` | of inputs, where it differs |
/// | `length_scale` | 1 | > 0 | weights of deterministic and mc-dropout have prior N(0, 1/length_scale²) |
/// | `prior` | N(0, 1/in_dim) | > 0 | of the weights of mean-field |
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// How the weights are treated.
    pub method: Method,
    /// The likelihood of a real target.
    pub noise: Noise,
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
    /// Length scale of the prior of deterministic and mc-dropout weights.
    pub length_scale: f64,
    /// Prior of mean-field weights.
    pub prior: Prior,
}

impl Default for Architecture {
    fn default() -> Self {
        Self {
            method: Method::default(),
            noise: Noise::Learned,
            hidden: vec![50],
            net: None,
            activation: Activation::Relu,
            drop_prob: 0.02,
            input_drop_prob: None,
            length_scale: 1.0,
            prior: Prior::FanIn(1.0),
        }
    }
}

/// Initial standard deviation of a learned noise, in standard deviations of the target.
const INIT_NOISE: f64 = 0.5;

impl Architecture {
    /// The network for rows of a shape. `target_sd` is the standard deviation by which a real target was
    /// divided.
    ///
    /// # Errors
    /// For a setting outside its range, named; for a `net` that does not fit, with the part and both shapes.
    pub fn build(&self, input: impl Into<Shape>, outputs: Outputs, target_sd: f64) -> Result<Bnn, Error> {
        let likelihood = self.likelihood(outputs, target_sd)?;
        let net = self.net(input.into(), likelihood.outputs())?;
        let mut layers: Vec<Box<dyn Layer>> = Vec::new();
        let mut at = net.input();
        for (i, part) in net.parts().iter().enumerate() {
            at = self.push_part(&mut layers, at, part)?;
            if i + 1 < net.parts().len() {
                layers.push(Box::new(ActivationLayer::new(self.activation, at.len())?));
            }
        }
        Ok(Bnn::new(Plan::new(layers)?, likelihood)?)
    }

    /// The network as it is spelled, or that of the hidden layers, which fits.
    fn net(&self, input: Shape, outputs: usize) -> Result<Net, Error> {
        let net = match &self.net {
            Some(net) => net.clone(),
            None => Net::dense(input, self.hidden.iter().copied().chain([outputs])),
        };
        net.check_ends(input, outputs)?;
        check_size(&net, if self.net.is_some() { "--net" } else { "--hidden" })?;
        Ok(net)
    }

    /// Puts a part behind the others; the shape of what it gives.
    fn push_part(&self, layers: &mut Vec<Box<dyn Layer>>, at: Shape, part: &Part) -> Result<Shape, Error> {
        match *part {
            Part::Dense(units) => {
                self.push(layers, DenseMap::new("dense", at.len(), units)?)?;
                Ok(Shape::Flat(units))
            }
        }
    }

    /// Puts a layer of weights behind the others, and in front of it what the method wants there.
    fn push<M: Weights>(&self, layers: &mut Vec<Box<dyn Layer>>, map: M) -> Result<(), Error> {
        let drop_prob = match self.input_drop_prob {
            Some(of_inputs) if layers.is_empty() => of_inputs,
            _ => self.drop_prob,
        };
        layers.extend(self.mask(&map, drop_prob)?);
        layers.push(self.layer(map)?);
        Ok(())
    }

    /// What the method puts on the inputs of a layer of weights.
    fn mask<M: Weights>(&self, map: &M, drop_prob: f64) -> Result<Option<Box<dyn Layer>>, Error> {
        Ok(match self.method {
            Method::McDropout => Some(Box::new(Dropout::new(map.in_dim(), drop_prob)?)),
            Method::Deterministic | Method::MeanField | Method::SparseVd => None,
        })
    }

    /// What the method makes of a linear map.
    fn layer<M: Weights>(&self, map: M) -> Result<Box<dyn Layer>, Error> {
        Ok(match self.method {
            Method::Deterministic | Method::McDropout => map.plain(self.length_scale)?,
            Method::MeanField => Box::new(Variational::mean_field(map, self.prior.clone())?),
            Method::SparseVd => Box::new(Variational::of(map, SparseVd::new())),
        })
    }

    fn likelihood(&self, outputs: Outputs, target_sd: f64) -> Result<Box<dyn Likelihood>, Error> {
        Ok(match (outputs, self.noise) {
            (Outputs::Classes(classes), _) => Box::new(Categorical::new(classes)?),
            (Outputs::Real, Noise::Learned) => {
                Box::new(Gaussian::new(NoiseSd::Learned { init: INIT_NOISE })?)
            }
            (Outputs::Real, Noise::Fixed(sd)) => {
                Box::new(Gaussian::new(NoiseSd::Fixed(check_noise(sd, target_sd)?))?)
            }
            (Outputs::Real, Noise::Heteroscedastic) => Box::new(Heteroscedastic::new()),
        })
    }
}

/// A linear map that also has a layer with one value per weight.
trait Weights: LinearMap {
    /// This layer, its weights under the prior N(0, 1/length_scale²).
    fn plain(&self, length_scale: f64) -> Result<Box<dyn Layer>, Error>;
}

impl Weights for DenseMap {
    fn plain(&self, length_scale: f64) -> Result<Box<dyn Layer>, Error> {
        Ok(Box::new(Dense::new(self.in_dim(), self.out_dim())?.with_length_scale(length_scale)?))
    }
}

/// The noise in standard deviations of the target; far beyond 1 its square is no number to work with.
fn check_noise(sd: f64, target_sd: f64) -> Result<f64, Error> {
    let refuse = |expected, got| Err(Error::Argument { what: "--noise", expected, got });
    match sd / target_sd {
        _ if !(sd.is_finite() && sd > 0.0) => refuse("finite and > 0", sd.to_string()),
        relative if (1e-12..=1e12).contains(&relative) => Ok(relative),
        _ => refuse(
            "within a factor of 1e12 of the target's standard deviation",
            format!("{sd:e} where that is {target_sd:e}"),
        ),
    }
}

/// The most weights of a network: training takes about 30 bytes for each, mean-field twice that.
const MAX_WEIGHTS: usize = 100_000_000;

/// Refuses a network that memory cannot hold, before it is asked for.
fn check_size(net: &Net, what: &'static str) -> Result<(), Error> {
    let (mut at, mut weights) = (net.input().len(), 0_usize);
    for part in net.parts() {
        let Part::Dense(units) = *part;
        weights = weights.saturating_add(at.saturating_add(1).saturating_mul(units));
        at = units;
    }
    match weights {
        0..=MAX_WEIGHTS => Ok(()),
        got => Err(Error::Argument {
            what,
            expected: "widths that make at most 100000000 weights",
            got: format!("{got}, with {} inputs", net.input().len()),
        }),
    }
}
