//! Gaussian dropout with a fixed rate.

use bdl_tensor::{Mat, MatMut};
use serde::{Deserialize, Serialize};

use super::Noisy;
use crate::dense::check_dims;
use crate::dropout::check_drop_prob;
use crate::family::logit;
use crate::layer::{Backward, Context, KlAt, Layer, Scratch};
use crate::{AtMean, Error, LayerReport, Pass, codec};

/// Multiplicative Gaussian noise with the moments of [`Dropout`](crate::Dropout), on in training and in Monte Carlo prediction.
///
/// ```text
/// y = x·m,  m ~ N(1, drop_prob/(1 − drop_prob))      E[y] = x,  Var[y] = x²·drop_prob/(1 − drop_prob)
/// ```
///
/// In front of a [`Dense`](crate::Dense) layer with a prior, that layer's KL is the one under dropout of this probability: of m it asks `E m² = 1/(1 − drop_prob)`
/// alone. Each row has its own noise under [`Scope::Row`](crate::Scope::Row) and always in training; under [`Scope::Pass`](crate::Scope::Pass) one draw
/// holds for the pass, as if it were a draw of the weights behind. At the mean, and with `drop_prob` 0, y = x.
///
/// Noise: eps of `m = 1 + √alpha·eps` at site 0, one per unit.
///
/// # References
/// Srivastava et al. 2014, *Dropout*, §10; `docs/math.md#gaussian-dropout`.
#[derive(Clone, Debug, PartialEq)]
pub struct GaussianDropout {
    noisy: Noisy,
    drop_prob: f64,
}

/// The form in which a file holds a [`GaussianDropout`]; frozen.
#[derive(Serialize, Deserialize)]
struct V1 {
    units: u64,
    positions: u64,
    drop_prob: f64,
}

impl GaussianDropout {
    pub(crate) const KIND: &'static str = "gaussian-dropout";

    /// Noise on `units` inputs, of the variance that a drop probability of `drop_prob` has.
    ///
    /// # Errors
    /// [`Error::Argument`] for a width of 0, and unless `drop_prob` is in `[0, 1)`.
    pub fn new(units: usize, drop_prob: f64) -> Result<Self, Error> {
        check_dims(Self::KIND, units, units)?;
        check_drop_prob(Self::KIND, drop_prob)?;
        Ok(Self { noisy: Noisy { units, positions: 1 }, drop_prob })
    }

    /// The same over `positions` positions of `units` channels each, which share their noise.
    ///
    /// # Errors
    /// [`Error::Argument`] for no position.
    pub fn over_positions(self, positions: usize) -> Result<Self, Error> {
        check_dims(Self::KIND, positions, self.noisy.units.saturating_mul(positions))?;
        Ok(Self { noisy: Noisy { positions, ..self.noisy }, ..self })
    }

    pub(crate) fn build(config: &[u8]) -> Result<Box<dyn Layer>, Error> {
        let v: V1 = codec::decode("layer gaussian-dropout", config)?;
        let layer = Self::new(v.units as usize, v.drop_prob)?;
        Ok(Box::new(layer.over_positions(v.positions as usize)?))
    }

    fn std_dev(&self) -> f32 {
        (self.drop_prob / (1.0 - self.drop_prob)).sqrt() as f32
    }
}

impl Layer for GaussianDropout {
    fn kind(&self) -> &str {
        Self::KIND
    }

    fn config(&self) -> Result<Vec<u8>, Error> {
        let Noisy { units, positions } = self.noisy;
        let v = V1 { units: units as u64, positions: positions as u64, drop_prob: self.drop_prob };
        codec::encode("layer gaussian-dropout", &v)
    }

    fn in_dim(&self) -> usize {
        self.noisy.dim()
    }

    fn out_dim(&self) -> usize {
        self.noisy.dim()
    }

    fn is_random(&self) -> bool {
        self.drop_prob > 0.0
    }

    fn scratch(&self, rows: usize, pass: &Pass<'_>) -> Scratch {
        self.noisy.scratch(rows, pass)
    }

    fn forward(&self, ctx: &mut Context<'_>, x: Mat<'_>, y: &mut MatMut<'_>) -> Result<(), Error> {
        self.noisy.forward(ctx, x, y, |_, sd| sd.fill(self.std_dev()));
        Ok(())
    }

    fn backward(&self, ctx: &mut Context<'_>, _: &mut [f32], io: Backward<'_>) -> Result<(), Error> {
        self.noisy.backward(ctx, io.dy, io.dx);
        Ok(())
    }

    fn keep_prob(&self) -> Option<f64> {
        Some(1.0 - self.drop_prob)
    }

    fn at_mean(&self) -> AtMean<'_> {
        AtMean::Identity
    }

    /// The noise is given, so that nothing can be learned of it.
    fn report(&self, _: &KlAt<'_>) -> LayerReport {
        let log_alpha = if self.drop_prob > 0.0 { vec![logit(self.drop_prob)] } else { Vec::new() };
        let LayerReport { snr, log_alpha, .. } = LayerReport::of_log_alpha(log_alpha);
        LayerReport { snr, log_alpha, drop_prob: Some(self.drop_prob), ..LayerReport::default() }
    }
}
