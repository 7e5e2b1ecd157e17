//! The categorical likelihood: softmax over the network's outputs.

use bdl_layers::codec;
use bdl_tensor::{Mat, MatMut, kernels};
use serde::{Deserialize, Serialize};

use super::{ClassLikelihood, Likelihood, Predicts, Reads, Targets};
use crate::Error;

/// Categorical likelihood: the network's outputs are one logit per class.
///
/// ```text
/// P(class | out) = exp(out[class] − logsumexp(out))
/// ```
/// `docs/math.md#likelihood-categorical`.
///
/// ```
/// use bdl_infer::{Categorical, Likelihood, Targets};
/// use bdl_tensor::Mat;
/// let likelihood = Categorical::new(3)?;
/// let nll = likelihood.nll_sum(&[], Mat::new(&[0.0, 0.0, 0.0], 1, 3)?, Targets::Class(&[2]))?;
/// assert!((nll - 3.0_f64.ln()).abs() < 1e-12);
/// # Ok::<(), bdl_infer::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Categorical {
    classes: usize,
}

/// Frozen: what [`Categorical::config`] writes.
#[derive(Serialize, Deserialize)]
struct ConfigV1 {
    classes: u64,
}

impl Categorical {
    /// Key of the registry.
    pub const KIND: &'static str = "categorical";

    /// A likelihood over `classes` classes.
    ///
    /// # Errors
    /// [`Error::Argument`] for fewer than two classes, or more than `u32` can count.
    pub fn new(classes: usize) -> Result<Self, Error> {
        if classes < 2 || u32::try_from(classes).is_err() {
            return Err(Error::argument("categorical: classes", "at least 2 and below 2^32", classes));
        }
        Ok(Self { classes })
    }

    /// Builds again what [`config`](Likelihood::config) wrote.
    ///
    /// # Errors
    /// [`Error::Layers`] for other bytes, [`Error::Argument`] for a number of classes out of range.
    pub fn from_config(bytes: &[u8]) -> Result<Self, Error> {
        let ConfigV1 { classes } = codec::decode(Self::KIND, bytes)?;
        Self::new(usize::try_from(classes).unwrap_or(usize::MAX))
    }

    fn reads(&self) -> Reads {
        Reads { kind: Self::KIND, outputs: self.classes, params: 0 }
    }
}

/// `ln Σ e^logit`, shifted by the largest.
fn logsumexp(logits: &[f32]) -> f64 {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    max + logits.iter().map(|&l| (f64::from(l) - max).exp()).sum::<f64>().ln()
}

impl Likelihood for Categorical {
    fn kind(&self) -> &str {
        Self::KIND
    }

    fn config(&self) -> Result<Vec<u8>, Error> {
        Ok(codec::encode(Self::KIND, &ConfigV1 { classes: self.classes as u64 })?)
    }

    fn outputs(&self) -> usize {
        self.classes
    }

    fn nll_sum(&self, params: &[f32], out: Mat<'_>, y: Targets<'_>) -> Result<f64, Error> {
        let y = self.reads().classes(params, out, y, self.classes)?;
        let row_nll =
            |(logits, &class): (&[f32], &u32)| logsumexp(logits) - f64::from(logits[class as usize]);
        Ok(out.iter_rows().zip(y).map(row_nll).sum())
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
        let y = self.reads().classes(params, out, y, self.classes)?;
        self.reads().check_grads(out, d_out, d_params)?;
        let mut nll = 0.0;
        for (row, (logits, &class)) in out.iter_rows().zip(y).enumerate() {
            nll += row_grad(logits, class as usize, scale.into(), d_out.row_mut(row));
        }
        Ok(nll)
    }

    fn predicts(&self) -> Predicts<'_> {
        Predicts::Class(self)
    }
}

/// One row: writes `d = scale·(softmax − onehot)`, returns the nll.
fn row_grad(logits: &[f32], class: usize, scale: f64, d: &mut [f32]) -> f64 {
    let lse = logsumexp(logits);
    for (d, &l) in d.iter_mut().zip(logits) {
        *d = (scale * (f64::from(l) - lse).exp()) as f32;
    }
    let nll = lse - f64::from(logits[class]);
    // p − 1 = expm1(ln p), which is exact where p is next to 1.
    d[class] = (scale * (-nll).exp_m1()) as f32;
    nll
}

impl ClassLikelihood for Categorical {
    fn classes(&self) -> usize {
        self.classes
    }

    fn ln_probs(&self, _: &[f32], out_row: &[f32], ln_probs: &mut [f64]) {
        kernels::log_softmax(out_row, ln_probs);
    }
}
