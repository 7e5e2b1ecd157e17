//! From a method and a few settings to a network with its likelihood.

use bdl_infer::{Bnn, Categorical, Gaussian, Heteroscedastic, Likelihood, NoiseSd};
use bdl_layers::{
    Activation, ActivationLayer, Dense, DenseMap, Dropout, Layer, LinearMap, Plan, Prior, Variational,
};

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
/// | `activation` | relu | | behind each hidden layer |
/// | `drop_prob` | 0.02 | `[0, 1)` | of inputs and hidden units, mc-dropout only |
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
    /// Activation behind each hidden layer.
    pub activation: Activation,
    /// Probability that a unit is dropped.
    pub drop_prob: f64,
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
            activation: Activation::Relu,
            drop_prob: 0.02,
            length_scale: 1.0,
            prior: Prior::FanIn(1.0),
        }
    }
}

/// Initial standard deviation of a learned noise, in standard deviations of the target.
const INIT_NOISE: f64 = 0.5;

impl Architecture {
    /// The network for `in_dim` inputs. `target_sd` is the standard deviation by which a real target was
    /// divided.
    ///
    /// # Errors
    /// For a setting outside its range, named.
    pub fn build(&self, in_dim: usize, outputs: Outputs, target_sd: f64) -> Result<Bnn, Error> {
        let likelihood = self.likelihood(outputs, target_sd)?;
        let mut layers: Vec<Box<dyn Layer>> = Vec::new();
        let mut width = in_dim;
        for &hidden in &self.hidden {
            self.push(&mut layers, DenseMap::new("dense", width, hidden)?)?;
            layers.push(Box::new(ActivationLayer::new(self.activation, hidden)?));
            width = hidden;
        }
        self.push(&mut layers, DenseMap::new("dense", width, likelihood.outputs())?)?;
        check_size(in_dim, &self.hidden, likelihood.outputs())?;
        Ok(Bnn::new(Plan::new(layers)?, likelihood)?)
    }

    /// Puts a layer of weights behind the others, and in front of it what the method wants there.
    fn push<M: Weights>(&self, layers: &mut Vec<Box<dyn Layer>>, map: M) -> Result<(), Error> {
        layers.extend(self.mask(&map)?);
        layers.push(self.layer(map)?);
        Ok(())
    }

    /// What the method puts on the inputs of a layer of weights.
    fn mask<M: Weights>(&self, map: &M) -> Result<Option<Box<dyn Layer>>, Error> {
        Ok(match self.method {
            Method::McDropout => Some(Box::new(Dropout::new(map.in_dim(), self.drop_prob)?)),
            Method::Deterministic | Method::MeanField => None,
        })
    }

    /// What the method makes of a linear map.
    fn layer<M: Weights>(&self, map: M) -> Result<Box<dyn Layer>, Error> {
        Ok(match self.method {
            Method::Deterministic | Method::McDropout => map.plain(self.length_scale)?,
            Method::MeanField => Box::new(Variational::mean_field(map, self.prior.clone())?),
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
fn check_size(in_dim: usize, hidden: &[usize], outputs: usize) -> Result<(), Error> {
    let widths = std::iter::once(in_dim).chain(hidden.iter().copied()).chain([outputs]);
    let widths: Vec<usize> = widths.collect();
    let layer = |pair: &[usize]| pair[0].saturating_add(1).saturating_mul(pair[1]);
    match widths.windows(2).map(layer).fold(0, usize::saturating_add) {
        0..=MAX_WEIGHTS => Ok(()),
        got => Err(Error::Argument {
            what: "--hidden",
            expected: "widths that make at most 100000000 weights",
            got: format!("{got}, with {in_dim} inputs"),
        }),
    }
}
