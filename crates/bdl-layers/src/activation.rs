//! Elementwise activations.

use bdl_tensor::{Mat, MatMut, kernels};
use serde::{Deserialize, Serialize};

use crate::dense::check_dims;
use crate::layer::{Backward, Context, Form, Layer};
use crate::{Error, Prunable, Units, codec};

/// An activation function: `docs/math.md#activations`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activation {
    /// `x`.
    Identity,
    /// `max(x, 0)`, with derivative 0 at 0.
    #[default]
    Relu,
    /// `tanh x`.
    Tanh,
    /// `x·sigmoid(x)` (Elfwing et al. 2018), also called swish.
    Silu,
    /// `x·Φ(x)`, exact and not the tanh approximation (Hendrycks & Gimpel 2016).
    Gelu,
    /// `1/(1 + e^{−x})`.
    Sigmoid,
}

impl Activation {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Identity, Self::Relu, Self::Tanh, Self::Silu, Self::Gelu, Self::Sigmoid];

    /// Its name, as on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Relu => "relu",
            Self::Tanh => "tanh",
            Self::Silu => "silu",
            Self::Gelu => "gelu",
            Self::Sigmoid => "sigmoid",
        }
    }

    /// `y = f(x)`, element by element.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn apply(self, x: &[f32], y: &mut [f32]) {
        match self {
            Self::Identity => y.copy_from_slice(x),
            Self::Relu => kernels::relu(x, y),
            Self::Tanh => kernels::tanh(x, y),
            Self::Silu => kernels::silu(x, y),
            Self::Gelu => kernels::gelu(x, y),
            Self::Sigmoid => kernels::sigmoid(x, y),
        }
    }

    /// The activation of a name.
    ///
    /// ```
    /// use bdl_layers::Activation;
    /// assert_eq!(Activation::from_name("gelu"), Some(Activation::Gelu));
    /// assert_eq!(Activation::from_name("step"), None);
    /// ```
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name)
    }
}

/// A layer that applies an [`Activation`] to each element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivationLayer {
    activation: Activation,
    dim: usize,
}

/// The form in which a file holds an [`ActivationLayer`]; frozen.
#[derive(Serialize, Deserialize)]
struct V1 {
    activation: String,
    dim: u64,
}

impl ActivationLayer {
    pub(crate) const KIND: &'static str = "activation";

    /// The activation over `dim` units.
    ///
    /// # Errors
    /// [`Error::Argument`] if `dim` is 0.
    pub fn new(activation: Activation, dim: usize) -> Result<Self, Error> {
        check_dims(Self::KIND, dim, dim)?;
        Ok(Self { activation, dim })
    }

    pub(crate) fn build(config: &[u8]) -> Result<Box<dyn Layer>, Error> {
        let v: V1 = codec::decode("layer activation", config)?;
        let activation = Activation::from_name(&v.activation).ok_or_else(|| {
            let expected = Activation::ALL.map(Activation::name).join(", ");
            Error::Argument {
                layer: Self::KIND.into(),
                argument: "activation",
                expected,
                got: v.activation.clone(),
            }
        })?;
        Ok(Box::new(Self::new(activation, v.dim as usize)?))
    }
}

impl Layer for ActivationLayer {
    fn kind(&self) -> &str {
        Self::KIND
    }

    fn config(&self) -> Result<Vec<u8>, Error> {
        let v = V1 { activation: self.activation.name().to_owned(), dim: self.dim as u64 };
        codec::encode("layer activation", &v)
    }

    fn in_dim(&self) -> usize {
        self.dim
    }

    fn out_dim(&self) -> usize {
        self.dim
    }

    fn forward(&self, _: &mut Context<'_>, x: Mat<'_>, y: &mut MatMut<'_>) -> Result<(), Error> {
        self.activation.apply(x.data(), y.data_mut());
        Ok(())
    }

    fn form<'a>(&self, _: &'a [f32]) -> Form<'a> {
        Form::Map(self.activation)
    }

    fn prunable(&self) -> Prunable<'_> {
        Prunable::Units(self)
    }

    fn backward(&self, _: &mut Context<'_>, _: &mut [f32], io: Backward<'_>) -> Result<(), Error> {
        let Some(mut dx) = io.dx else { return Ok(()) };
        let (x, y, dy, dx) = (io.x.data(), io.y.data(), io.dy.data(), dx.data_mut());
        match self.activation {
            Activation::Identity => dx.copy_from_slice(dy),
            Activation::Relu => kernels::relu_backward(y, dy, dx),
            Activation::Tanh => kernels::tanh_backward(y, dy, dx),
            Activation::Silu => kernels::silu_backward(x, dy, dx),
            Activation::Gelu => kernels::gelu_backward(x, dy, dx),
            Activation::Sigmoid => kernels::sigmoid_backward(y, dy, dx),
        }
        Ok(())
    }
}

impl Units for ActivationLayer {
    fn narrowed(&self, kept: &[bool]) -> Result<Box<dyn Layer>, Error> {
        let left = kept.iter().filter(|kept| **kept).count();
        Ok(Box::new(Self::new(self.activation, self.dim / kept.len() * left)?))
    }

    fn constant(&self, x: f32) -> Option<f32> {
        let mut y = [0.0];
        self.activation.apply(&[x], &mut y);
        Some(y[0])
    }
}
