//! What has a noise of its own.

use serde::{Deserialize, Serialize};

/// What has an alpha of its own under variational dropout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Grain {
    /// The whole layer has one.
    Layer,
    /// Each unit: an output unit of a layer of weights, an input of a layer of noise.
    #[default]
    Unit,
    /// Each weight.
    Weight,
}

impl Grain {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Layer, Self::Unit, Self::Weight];

    /// Its name, as on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::Unit => "unit",
            Self::Weight => "weight",
        }
    }

    /// The grain of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grain| grain.name() == name)
    }
}

/// The form in which a file holds a [`Grain`]; frozen.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum GrainV1 {
    Layer,
    Unit,
    Weight,
}

impl From<Grain> for GrainV1 {
    fn from(grain: Grain) -> Self {
        match grain {
            Grain::Layer => Self::Layer,
            Grain::Unit => Self::Unit,
            Grain::Weight => Self::Weight,
        }
    }
}

impl From<GrainV1> for Grain {
    fn from(v: GrainV1) -> Self {
        match v {
            GrainV1::Layer => Self::Layer,
            GrainV1::Unit => Self::Unit,
            GrainV1::Weight => Self::Weight,
        }
    }
}
