//! Priors over the weights of a variational layer.

use bdl_dist::Normal;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::dense::check_positive;

/// The normal prior `N(0, s²)` over a layer's weights and biases: `docs/math.md#prior-scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Prior {
    /// The same standard deviation for all weights and biases of the layer.
    StdDev(f64),
    /// `gain/√in_dim` for weights, `gain` for biases: pre-activations keep the same prior variance in
    /// layers of any width.
    FanIn(f64),
}

impl Default for Prior {
    fn default() -> Self {
        Self::StdDev(1.0)
    }
}

/// The form in which a file holds a [`Prior`]; frozen.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum V1 {
    StdDev(f64),
    FanIn(f64),
}

impl From<Prior> for V1 {
    fn from(prior: Prior) -> Self {
        match prior {
            Prior::StdDev(s) => Self::StdDev(s),
            Prior::FanIn(gain) => Self::FanIn(gain),
        }
    }
}

impl From<V1> for Prior {
    fn from(v: V1) -> Self {
        match v {
            V1::StdDev(s) => Self::StdDev(s),
            V1::FanIn(gain) => Self::FanIn(gain),
        }
    }
}

impl Prior {
    pub(crate) fn check(&self, layer: &str) -> Result<(), Error> {
        match *self {
            Self::StdDev(s) => check_positive(layer, "prior std_dev", s),
            Self::FanIn(gain) => check_positive(layer, "prior gain", gain),
        }
    }

    /// Priors of a weight and of a bias of a layer with `in_dim` inputs.
    pub(crate) fn of_weight_and_bias(&self, in_dim: usize) -> Result<(Normal, Normal), Error> {
        let (weight, bias) = match *self {
            Self::StdDev(s) => (s, s),
            Self::FanIn(gain) => (gain / (in_dim as f64).sqrt(), gain),
        };
        Ok((Normal::new(0.0, weight)?, Normal::new(0.0, bias)?))
    }
}
