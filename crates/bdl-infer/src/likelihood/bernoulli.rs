//! The Bernoulli likelihood: two classes from one logit.

use bdl_layers::codec;
use bdl_tensor::special::{sigmoid, softplus};
use bdl_tensor::{Mat, MatMut};

use super::{ClassLikelihood, Likelihood, Predicts, Reads, Targets};
use crate::Error;

/// Bernoulli likelihood: the network's one output is the logit of class 1.
///
/// ```text
/// P(1 | out) = sigmoid(out) = 1/(1 + e^−out)
/// −ln p(y | out) = softplus(−out) for class 1, softplus(out) for class 0
/// ```
/// The same family as [`Categorical`](super::Categorical) with two classes, whose logits differ by `out`; with half of the output
/// layer's weights, and so with another prior over functions: `docs/math.md#likelihood-bernoulli`.
///
/// ```
/// use bdl_infer::{Bernoulli, Likelihood, Targets};
/// use bdl_tensor::Mat;
/// let logits = [3.0_f32.ln(); 2]; // odds of 3 to 1
/// let nll = Bernoulli.nll_sum(&[], Mat::new(&logits, 2, 1)?, Targets::Class(&[1, 0]))?;
/// assert!((nll - (4.0_f64 / 3.0).ln() - 4.0_f64.ln()).abs() < 1e-7);
/// # Ok::<(), bdl_infer::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bernoulli;

impl Bernoulli {
    /// Key of the registry.
    pub const KIND: &'static str = "bernoulli";

    /// Builds again what [`config`](Likelihood::config) wrote, which is nothing.
    ///
    /// # Errors
    /// [`Error::Layers`] for any bytes.
    pub fn from_config(bytes: &[u8]) -> Result<Self, Error> {
        codec::decode::<()>(Self::KIND, bytes)?;
        Ok(Self)
    }
}

/// Of the logit in the NLL of a class: `nll = softplus(sign·out)`.
fn sign(class: u32) -> f64 {
    if class == 0 { 1.0 } else { -1.0 }
}

const READS: Reads = Reads { kind: Bernoulli::KIND, outputs: 1, params: 0 };

impl Likelihood for Bernoulli {
    fn kind(&self) -> &str {
        Self::KIND
    }

    fn config(&self) -> Result<Vec<u8>, Error> {
        Ok(codec::encode(Self::KIND, &())?)
    }

    fn outputs(&self) -> usize {
        1
    }

    fn nll_sum(&self, params: &[f32], out: Mat<'_>, y: Targets<'_>) -> Result<f64, Error> {
        let y = READS.classes(params, out, y, 2)?;
        Ok(out.data().iter().zip(y).map(|(&logit, &class)| softplus(sign(class) * f64::from(logit))).sum())
    }

    fn nll_grad(
        &self,
        params: &[f32],
        out: Mat<'_>,
        y: Targets<'_>,
        scale: f32,
        d_out: &mut MatMut<'_>,
        d_params: &mut [f32],
    ) -> Result<f64, Error> {
        let y = READS.classes(params, out, y, 2)?;
        READS.check_grads(out, d_out, d_params)?;
        let mut nll = 0.0;
        for ((d, &logit), &class) in d_out.data_mut().iter_mut().zip(out.data()).zip(y) {
            let (sign, logit) = (sign(class), f64::from(logit));
            nll += softplus(sign * logit);
            *d = (f64::from(scale) * sign * sigmoid(sign * logit)) as f32;
        }
        Ok(nll)
    }

    fn predicts(&self) -> Predicts<'_> {
        Predicts::Class(self)
    }
}

impl ClassLikelihood for Bernoulli {
    fn classes(&self) -> usize {
        2
    }

    fn ln_probs(&self, _: &[f32], out_row: &[f32], ln_probs: &mut [f64]) {
        for (class, ln_prob) in (0..).zip(ln_probs) {
            *ln_prob = -softplus(sign(class) * f64::from(out_row[0]));
        }
    }
}
