//! Priors over the weights of a variational layer.

mod informed;
mod spec;

use std::sync::Arc;

use bdl_dist::{Density, Laplace, LogUniform, NoiseRng, Normal, ScaleMixture, Scaled, StudentT};
use serde::{Deserialize, Serialize};

use crate::dense::check_positive;
use crate::{Error, KlForm, Registry};

pub(crate) use informed::Informed;

/// The prior over a layer's weights and biases, independent for each: `docs/math.md#prior-scale`.
///
/// ```
/// use bdl_dist::ScaleMixture;
/// use bdl_layers::{Prior, Scaling, VariationalDense};
/// let prior = Prior::Mixture(ScaleMixture::default(), Scaling::Same);
/// let layer = VariationalDense::new(784, 400, prior)?;
/// # Ok::<(), bdl_layers::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Prior {
    /// `N(0, s²)`, the same for all weights and biases of the layer.
    StdDev(f64),
    /// `N(0, gain²/fan_in)` for weights, `N(0, gain²)` for biases: pre-activations keep the same prior variance in
    /// layers of any width.
    FanIn(f64),
    /// A mixture of a wide and a narrow normal: `docs/math.md#prior-scale-mixture`.
    Mixture(ScaleMixture, Scaling),
    /// A Laplace distribution: `docs/math.md#prior-laplace`.
    Laplace(Laplace, Scaling),
    /// Student's t: `docs/math.md#prior-student-t`.
    StudentT(StudentT, Scaling),
    /// The improper log-uniform density, under which an ELBO bounds nothing: `docs/math.md#prior-log-uniform`.
    LogUniform,
    /// A density of the user's own.
    Own(OwnPrior, Scaling),
    /// `N(m, s²)` with this s and a mean of its own for each weight and bias: a block of the parameter vector that is not learned,
    /// 0 until [`Plan::start_at`](crate::Plan::start_at) puts it at the weights of another network. `docs/math.md#prior-around`.
    Around(f64, Scaling),
    /// `N(0, s²)` with one s for the layer that is learned from this value on: `docs/math.md#prior-learned-scale`.
    Learned(f64, Scaling),
}

/// Whether a prior's scale follows the size of the layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scaling {
    /// The same prior for all weights and biases.
    #[default]
    Same,
    /// The prior of `w·√fan_in` for weights, of the bias itself for biases.
    FanIn,
}

impl Scaling {
    /// What scales of weights are multiplied with, for so many inputs to a unit.
    pub(crate) fn factor(self, fan_in: usize) -> f64 {
        match self {
            Self::Same => 1.0,
            Self::FanIn => (fan_in as f64).sqrt().recip(),
        }
    }

    /// From whether it follows the fan-in, as a file says it.
    fn of_file(fan_in: bool) -> Self {
        if fan_in { Self::FanIn } else { Self::Same }
    }
}

/// A density of the user's own as a prior, with what a file needs to hold it.
///
/// Its kind is the key under which [`Registry::register_prior`] finds the builder when a file is loaded.
#[derive(Clone, Debug)]
pub struct OwnPrior {
    kind: String,
    config: Vec<u8>,
    density: Arc<dyn Density>,
}

impl OwnPrior {
    /// The density, its kind, and the bytes from which the registry builds it again.
    #[must_use]
    pub fn new(kind: &str, config: Vec<u8>, density: Arc<dyn Density>) -> Self {
        Self { kind: kind.to_owned(), config, density }
    }

    /// Key of the registry.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The density.
    #[must_use]
    pub fn density(&self) -> &dyn Density {
        &*self.density
    }
}

impl PartialEq for OwnPrior {
    /// Of the same kind and configuration.
    fn eq(&self, other: &Self) -> bool {
        (&self.kind, &self.config) == (&other.kind, &other.config)
    }
}

impl Default for Prior {
    fn default() -> Self {
        Self::StdDev(1.0)
    }
}

/// The form in which a file holds a [`Prior`]; frozen, new variants behind the others.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum V1 {
    StdDev(f64),
    FanIn(f64),
    Mixture { pi: f64, std_devs: [f64; 2], fan_in: bool },
    Laplace { scale: f64, fan_in: bool },
    StudentT { df: f64, scale: f64, fan_in: bool },
    LogUniform,
    Own { kind: String, config: Vec<u8>, fan_in: bool },
    Around { std_dev: f64, fan_in: bool },
    Learned { init: f64, fan_in: bool },
}

impl From<&Prior> for V1 {
    fn from(prior: &Prior) -> Self {
        let fan_in = |scaling: &Scaling| *scaling == Scaling::FanIn;
        match prior {
            Prior::StdDev(s) => Self::StdDev(*s),
            Prior::FanIn(gain) => Self::FanIn(*gain),
            Prior::Mixture(p, s) => Self::Mixture { pi: p.pi(), std_devs: p.std_devs(), fan_in: fan_in(s) },
            Prior::Laplace(p, s) => Self::Laplace { scale: p.scale(), fan_in: fan_in(s) },
            Prior::StudentT(p, s) => Self::StudentT { df: p.df(), scale: p.scale(), fan_in: fan_in(s) },
            Prior::LogUniform => Self::LogUniform,
            Prior::Own(p, s) => {
                Self::Own { kind: p.kind.clone(), config: p.config.clone(), fan_in: fan_in(s) }
            }
            Prior::Around(std_dev, s) => Self::Around { std_dev: *std_dev, fan_in: fan_in(s) },
            Prior::Learned(init, s) => Self::Learned { init: *init, fan_in: fan_in(s) },
        }
    }
}

impl V1 {
    /// The prior, those of the user's own from the registry.
    pub(crate) fn build(self, registry: &Registry) -> Result<Prior, Error> {
        let scaling = Scaling::of_file;
        Ok(match self {
            Self::StdDev(s) => Prior::StdDev(s),
            Self::FanIn(gain) => Prior::FanIn(gain),
            Self::Mixture { pi, std_devs, fan_in } => {
                Prior::Mixture(ScaleMixture::new(pi, std_devs)?, scaling(fan_in))
            }
            Self::Laplace { scale, fan_in } => Prior::Laplace(Laplace::new(scale)?, scaling(fan_in)),
            Self::StudentT { df, scale, fan_in } => {
                Prior::StudentT(StudentT::new(df, scale)?, scaling(fan_in))
            }
            Self::LogUniform => Prior::LogUniform,
            Self::Own { kind, config, fan_in } => {
                let density = registry.build_prior(&kind, &config)?;
                Prior::Own(OwnPrior { kind, config, density }, scaling(fan_in))
            }
            Self::Around { std_dev, fan_in } => Prior::Around(std_dev, scaling(fan_in)),
            Self::Learned { init, fan_in } => Prior::Learned(init, scaling(fan_in)),
        })
    }
}

/// The prior of one weight.
#[derive(Clone, Debug)]
pub(crate) enum OfWeight {
    Normal(Normal),
    Other(Arc<dyn Density>),
}

impl OfWeight {
    /// The KL of `N(mu, softplus(rho)²)` from it.
    pub(crate) fn kl_form(self) -> KlForm {
        match self {
            Self::Normal(prior) => KlForm::Normal { prior },
            Self::Other(prior) => KlForm::Density { prior },
        }
    }

    /// Fills `out` with draws, if there is a density to draw from.
    fn sample(&self, out: &mut [f32], rng: &mut NoiseRng) -> Option<()> {
        match self {
            Self::Normal(prior) => {
                rng.normals(out);
                let (mean, std_dev) = (prior.mean() as f32, prior.std_dev() as f32);
                out.iter_mut().for_each(|w| *w = mean + std_dev * *w);
            }
            Self::Other(prior) => {
                for w in out {
                    *w = prior.draw(rng)? as f32;
                }
            }
        }
        Some(())
    }

    /// The posterior of a weight that has learned nothing.
    pub(crate) fn nearest_normal(&self) -> Option<Normal> {
        match self {
            Self::Normal(prior) => Some(*prior),
            Self::Other(prior) => prior.nearest_normal(),
        }
    }
}

/// No layer has a larger fan-in.
pub(crate) const MAX_FAN_IN: usize = 1 << 32;

impl Prior {
    /// This normal prior around the weights of another network, in the place of 0.
    ///
    /// # Errors
    /// [`Error::Argument`] for a prior of another shape.
    pub fn around(&self) -> Result<Self, Error> {
        match *self {
            Self::StdDev(s) => Ok(Self::Around(s, Scaling::Same)),
            Self::FanIn(gain) => Ok(Self::Around(gain, Scaling::FanIn)),
            _ => Err(Error::Argument {
                layer: "prior".to_owned(),
                argument: "shape",
                expected: "normal:SD or fan-in:GAIN around the weights of a network".to_owned(),
                got: self.to_string(),
            }),
        }
    }

    pub(crate) fn check(&self, layer: &str) -> Result<(), Error> {
        match *self {
            Self::StdDev(s) | Self::Around(s, _) | Self::Learned(s, _) => {
                check_positive(layer, "prior std_dev", s)?;
            }
            Self::FanIn(gain) => check_positive(layer, "prior gain", gain)?,
            _ => {}
        }
        // Scales that are in range stay there in the largest layer.
        self.of_weight_and_bias(MAX_FAN_IN).map(|_| ()).map_err(|e| Error::Argument {
            layer: layer.to_owned(),
            argument: "prior",
            expected: format!("scales that a layer of {MAX_FAN_IN} inputs can have ({e})"),
            got: self.to_string(),
        })
    }

    /// Priors of a weight and of a bias of a layer with so many inputs to a unit.
    pub(crate) fn of_weight_and_bias(&self, fan_in: usize) -> Result<[OfWeight; 2], Error> {
        let narrower = Scaling::FanIn.factor(fan_in);
        let factor = |scaling: &Scaling| scaling.factor(fan_in);
        let normal = |s: f64| Normal::new(0.0, s).map(OfWeight::Normal);
        let other = |p: Arc<dyn Density>| OfWeight::Other(p);
        Ok(match self {
            Self::StdDev(s) => [normal(*s)?, normal(*s)?],
            Self::FanIn(gain) => [normal(gain * narrower)?, normal(*gain)?],
            // Of deviations from the means; as the scale starts.
            Self::Around(std_dev, s) | Self::Learned(std_dev, s) => {
                [normal(std_dev * factor(s))?, normal(*std_dev)?]
            }
            Self::Mixture(p, s) => [other(Arc::new(p.scaled(factor(s))?)), other(Arc::new(*p))],
            Self::Laplace(p, s) => [other(Arc::new(p.scaled(factor(s))?)), other(Arc::new(*p))],
            Self::StudentT(p, s) => [other(Arc::new(p.scaled(factor(s))?)), other(Arc::new(*p))],
            Self::LogUniform => [other(Arc::new(LogUniform)), other(Arc::new(LogUniform))],
            Self::Own(p, Scaling::Same) => [other(p.density.clone()), other(p.density.clone())],
            Self::Own(p, Scaling::FanIn) => {
                [other(Arc::new(Scaled::new(p.density.clone(), narrower))), other(p.density.clone())]
            }
        })
    }
}
