//! The networks of the benchmarks, with random weights and inputs.

use bdl_dist::{Noise, Purpose};
use bdl_infer::{Bnn, Categorical, Gaussian, Likelihood, NoiseSd};
use bdl_layers::{Activation, ActivationLayer, Dense, Dropout, Layer, Plan, Prior, VariationalDense};

use crate::Error;

/// What is random in a network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Dropout behind the hidden activations.
    HiddenDropout(f64),
    /// Dropout in front of every layer, as `bdl train` builds it.
    Dropout(f64),
    /// A normal posterior of this initial standard deviation on all weights.
    MeanField(f64),
}

impl Kind {
    fn mask(self, layer: usize) -> Option<f64> {
        match self {
            Self::Dropout(p) => Some(p),
            Self::HiddenDropout(p) => (layer > 0).then_some(p),
            Self::MeanField(_) => None,
        }
    }

    fn weights(self, in_dim: usize, out_dim: usize) -> Result<Box<dyn Layer>, Error> {
        Ok(match self {
            Self::MeanField(sd) => {
                Box::new(VariationalDense::new(in_dim, out_dim, Prior::StdDev(1.0))?.with_init_sigma(sd)?)
            }
            _ => Box::new(Dense::new(in_dim, out_dim)?.with_length_scale(1.0)?),
        })
    }
}

/// A perceptron with ReLU: one output has a Gaussian likelihood with learned noise, several are classes.
///
/// # Errors
/// For a width of 0 or a probability or deviation out of range.
pub fn perceptron(widths: &[usize], kind: Kind) -> Result<Bnn, Error> {
    let mut layers: Vec<Box<dyn Layer>> = Vec::new();
    for (i, pair) in widths.windows(2).enumerate() {
        if let Some(p) = kind.mask(i) {
            layers.push(Box::new(Dropout::new(pair[0], p)?));
        }
        layers.push(kind.weights(pair[0], pair[1])?);
        if i + 2 < widths.len() {
            layers.push(Box::new(ActivationLayer::new(Activation::Relu, pair[1])?));
        }
    }
    let plan = Plan::new(layers)?;
    let likelihood: Box<dyn Likelihood> = match plan.out_dim() {
        1 => Box::new(Gaussian::new(NoiseSd::Learned { init: 0.5 })?),
        classes => Box::new(Categorical::new(classes)?),
    };
    Ok(Bnn::new(plan, likelihood)?)
}

/// Random initial parameters.
#[must_use]
pub fn weights(bnn: &Bnn) -> Vec<f32> {
    bnn.init(&Noise::new(0, Purpose::Init))
}

/// `n` standard normals, the same at each call.
#[must_use]
pub fn normals(n: usize) -> Vec<f32> {
    let mut out = vec![0.0; n];
    Noise::new(0, Purpose::Other(0)).rng(0).normals(&mut out);
    out
}

/// `n` uniform numbers in `[0, 1)`, the same at each call.
#[must_use]
pub fn uniforms(n: usize) -> Vec<f32> {
    let mut rng = Noise::new(0, Purpose::Other(1)).rng(0);
    (0..n).map(|_| rng.uniform() as f32).collect()
}
