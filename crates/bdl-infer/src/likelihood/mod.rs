//! Likelihoods: what the network's output says about the target.
//!
//! A [`Likelihood`] turns a batch of outputs into a negative log-likelihood and its gradient, which is all that
//! training asks of it; [`RealLikelihood`] or [`ClassLikelihood`] answers for one output, which is all that
//! [`Predictive`](crate::Predictive) asks. Both are object-safe and can be implemented outside this crate.

mod batch;
mod bernoulli;
mod categorical;
mod gaussian;
mod heteroscedastic;
mod independent;
mod poisson;
mod scale;
mod student_t;
mod targets;
#[cfg(test)]
mod tests;

use std::fmt::Debug;

use bdl_dist::NoiseRng;
use bdl_layers::Block;
use bdl_tensor::{Mat, MatMut};

pub use bernoulli::Bernoulli;
pub use categorical::Categorical;
pub use gaussian::{Gaussian, NoiseSd};
pub use heteroscedastic::Heteroscedastic;
pub use independent::Independent;
pub use poisson::Poisson;
pub use student_t::{Dof, StudentT};
pub use targets::{Target, Targets};

use batch::Reads;
pub(crate) use targets::kind_error;

use crate::Error;

/// The distribution of a target given the network's output: `p(y | out)`.
///
/// It may have parameters of its own, such as a learned noise. They are blocks behind the network's in the flat
/// vector; every method is handed the likelihood's part of that vector as `params`.
pub trait Likelihood: Debug + Send + Sync {
    /// Name of the kind, the key of the registry, such as `gaussian`.
    fn kind(&self) -> &str;

    /// What the registry needs to build this likelihood again.
    ///
    /// # Errors
    /// If the configuration cannot be written.
    fn config(&self) -> Result<Vec<u8>, Error>;

    /// Width C of the network output that it reads.
    fn outputs(&self) -> usize;

    /// Its own parameters, in order.
    fn blocks(&self) -> Vec<Block> {
        Vec::new()
    }

    /// Writes the initial values of its own parameters.
    fn init(&self, params: &mut [f32]) {
        let _ = params;
    }

    /// Negative log-likelihood in nats, summed over rows.
    ///
    /// ```text
    /// nll_sum = Σ_b −ln p(y_b | out_b)
    /// ```
    ///
    /// # Shapes
    /// `out`: `[B, C]`, `y`: B targets.
    ///
    /// # Errors
    /// For targets of the wrong kind, another number of rows or columns, and a class that there is not.
    fn nll_sum(&self, params: &[f32], out: Mat<'_>, y: Targets<'_>) -> Result<f64, Error>;

    /// Like [`nll_sum`](Self::nll_sum), and the gradients of `scale · nll_sum`.
    ///
    /// The gradient in `out` is written to `d_out`; the gradient in `params` is added to `d_params`.
    ///
    /// # Shapes
    /// `out`, `d_out`: `[B, C]`, `y`: B targets, `d_params`: as `params`.
    ///
    /// # Errors
    /// As [`nll_sum`](Self::nll_sum), and for gradients of another shape.
    fn nll_grad(
        &self,
        params: &[f32],
        out: Mat<'_>,
        y: Targets<'_>,
        scale: f32,
        d_out: &mut MatMut<'_>,
        d_params: &mut [f32],
    ) -> Result<f64, Error>;

    /// What it says about one output.
    fn predicts(&self) -> Predicts<'_>;
}

/// The kind of target that a likelihood predicts, and who answers for one output.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Predicts<'a> {
    /// A number.
    Real(&'a dyn RealLikelihood),
    /// One of several classes.
    Class(&'a dyn ClassLikelihood),
    /// Several numbers, independent of each other given the outputs.
    Several(&'a Independent),
}

/// The outputs of the passes of one row that share the likelihood's parameters.
#[derive(Clone, Copy, Debug)]
pub struct PassOutputs<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) stride: usize,
    pub(crate) width: usize,
}

impl<'a> PassOutputs<'a> {
    /// The outputs, each `[C]`, pass after pass.
    pub fn iter(&self) -> impl Iterator<Item = &'a [f32]> + use<'a> {
        let width = self.width;
        self.data.chunks(self.stride).map(move |pass| &pass[..width])
    }
}

/// What a likelihood over real targets says about one output, in the units in which it was trained.
pub trait RealLikelihood: Debug + Send + Sync {
    /// Mean and standard deviation of the target.
    fn mean_sd(&self, params: &[f32], out_row: &[f32]) -> (f64, f64);

    /// `ln p(y | out)` in nats; of a [discrete](Self::is_discrete) target `ln P(y | out)`.
    fn ln_density(&self, params: &[f32], out_row: &[f32], y: f64) -> f64;

    /// `P(Y ≤ y | out)`.
    fn cdf(&self, params: &[f32], out_row: &[f32], y: f64) -> f64;

    /// `P(Y > y | out)`; to be overridden where the upper tail can be told better than as `1 − cdf`.
    fn survival(&self, params: &[f32], out_row: &[f32], y: f64) -> f64 {
        1.0 - self.cdf(params, out_row, y)
    }

    /// One draw of the target.
    fn draw(&self, params: &[f32], out_row: &[f32], rng: &mut NoiseRng) -> f64;

    /// Whether the target is Gaussian given the output, so that its mean and deviation say all and
    /// [`Predictive`](crate::Predictive) may use closed forms.
    fn is_gaussian(&self) -> bool {
        false
    }

    /// Whether the target takes whole numbers only. Quantiles are then whole numbers, and units have to be
    /// the default ones: a count has no other.
    fn is_discrete(&self) -> bool {
        false
    }

    /// [`mean_sd`](Self::mean_sd) of several outputs; to be overridden where much is common to all of them.
    fn mean_sds(&self, params: &[f32], outs: PassOutputs<'_>, mean: &mut [f64], sd: &mut [f64]) {
        for ((out_row, mean), sd) in outs.iter().zip(mean).zip(sd) {
            (*mean, *sd) = self.mean_sd(params, out_row);
        }
    }
}

/// What a likelihood over classes says about one output.
pub trait ClassLikelihood: Debug + Send + Sync {
    /// Number of classes.
    fn classes(&self) -> usize;

    /// Writes `ln P(class | out)` of each class, in nats.
    fn ln_probs(&self, params: &[f32], out_row: &[f32], ln_probs: &mut [f64]);

    /// Writes `P(class | out)` of each class.
    fn probs(&self, params: &[f32], out_row: &[f32], probs: &mut [f64]) {
        self.ln_probs(params, out_row, probs);
        probs.iter_mut().for_each(|p| *p = p.exp());
    }
}

/// A standard normal draw.
fn standard_normal(rng: &mut NoiseRng) -> f64 {
    let mut z = [0.0];
    rng.normals(&mut z);
    z[0].into()
}
