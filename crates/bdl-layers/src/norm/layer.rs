//! Layer normalization.

use bdl_dist::NoiseRng;
use bdl_tensor::{Mat, MatMut, kernels};
use serde::{Deserialize, Serialize};

use super::{FLOOR, gain_and_shift};
use crate::dense::check_dims;
use crate::layer::{Backward, Context, Layer};
use crate::{Block, Error, KlForm, KlTerm, Pass, Scratch, codec};

/// Layer normalization: each group of units of a row is brought to mean 0 and variance 1, then scaled and shifted.
///
/// ```text
/// y_i = gain_i·(x_i − m)/√(v + 1e-5) + shift_i      m, v: mean and variance over the units of the group
/// ```
///
/// A group is the whole row, or with [`over_positions`](LayerNorm::over_positions) the channels at one position
/// of an image. The same in every mode: a row depends on nothing but itself.
///
/// Parameters: `gain` (initially 1) and `shift` (0), one per unit, without a prior.
///
/// # References
/// Ba, Kiros & Hinton 2016, *Layer normalization*, eq. 3 and 4; `docs/math.md#normalization`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerNorm {
    units: usize,
    positions: usize,
}

/// The form in which a file holds a [`LayerNorm`]; frozen.
#[derive(Serialize, Deserialize)]
struct V1 {
    units: u64,
    positions: u64,
}

impl LayerNorm {
    pub(crate) const KIND: &'static str = "layer-norm";

    /// Normalization of rows of `units` units.
    ///
    /// # Errors
    /// [`Error::Argument`] for a width of 0.
    pub fn new(units: usize) -> Result<Self, Error> {
        check_dims(Self::KIND, units, units)?;
        Ok(Self { units, positions: 1 })
    }

    /// The same for each of so many positions of a row, whose units lie side by side.
    ///
    /// # Errors
    /// [`Error::Argument`] for no position, or a row too wide.
    pub fn over_positions(self, positions: usize) -> Result<Self, Error> {
        check_dims(Self::KIND, positions, self.units.saturating_mul(positions))?;
        Ok(Self { positions, ..self })
    }

    pub(crate) fn build(config: &[u8]) -> Result<Box<dyn Layer>, Error> {
        let v: V1 = codec::decode("layer layer-norm", config)?;
        Ok(Box::new(Self::new(v.units as usize)?.over_positions(v.positions as usize)?))
    }

    /// Writes x̂ into `out` and returns 1/√(v + floor).
    fn normalize(x: &[f32], out: &mut [f32]) -> f32 {
        let n = x.len() as f64;
        let mean = (kernels::sum_f64(x) / n) as f32;
        out.iter_mut().zip(x).for_each(|(o, x)| *o = x - mean);
        let variance = (kernels::sum_squares_f64(out) / n) as f32;
        let inv_sd = 1.0 / (variance + FLOOR).sqrt();
        kernels::scale(inv_sd, out);
        inv_sd
    }
}

impl Layer for LayerNorm {
    fn kind(&self) -> &str {
        Self::KIND
    }

    fn config(&self) -> Result<Vec<u8>, Error> {
        codec::encode("layer layer-norm", &V1 { units: self.units as u64, positions: self.positions as u64 })
    }

    fn in_dim(&self) -> usize {
        self.units * self.positions
    }

    fn out_dim(&self) -> usize {
        self.units * self.positions
    }

    fn blocks(&self) -> Vec<Block> {
        gain_and_shift(self.units)
    }

    fn init(&self, params: &mut [f32], _: &mut NoiseRng) {
        let (gain, shift) = params.split_at_mut(self.units);
        gain.fill(1.0);
        shift.fill(0.0);
    }

    fn scratch(&self, _: usize, _: &Pass<'_>) -> Scratch {
        Scratch { floats: self.units, words: 0 }
    }

    fn forward(&self, ctx: &mut Context<'_>, x: Mat<'_>, y: &mut MatMut<'_>) -> Result<(), Error> {
        let (gain, shift) = ctx.params.split_at(self.units);
        for (x, y) in x.data().chunks(self.units).zip(y.data_mut().chunks_mut(self.units)) {
            Self::normalize(x, y);
            y.iter_mut().zip(gain).zip(shift).for_each(|((y, gain), shift)| *y = gain * *y + shift);
        }
        Ok(())
    }

    fn backward(&self, ctx: &mut Context<'_>, grads: &mut [f32], io: Backward<'_>) -> Result<(), Error> {
        let (gain, units) = (&ctx.params[..self.units], self.units);
        let (d_gain, d_shift) = grads.split_at_mut(units);
        let x_hat = &mut ctx.floats[..units];
        let mut dx = io.dx;
        for (group, (x, dy)) in io.x.data().chunks(units).zip(io.dy.data().chunks(units)).enumerate() {
            let inv_sd = Self::normalize(x, x_hat);
            for i in 0..units {
                d_gain[i] += dy[i] * x_hat[i];
                d_shift[i] += dy[i];
            }
            if let Some(dx) = &mut dx {
                let dx = &mut dx.data_mut()[group * units..(group + 1) * units];
                input_grad(gain, dy, x_hat, inv_sd, dx);
            }
        }
        Ok(())
    }

    fn kl_terms(&self, _: f64) -> Option<Vec<KlTerm>> {
        Some(vec![KlTerm { range: 0..2 * self.units, form: KlForm::Zero }])
    }

    /// The gains.
    fn weights(&self) -> usize {
        self.units
    }

    /// Gains and shifts have no prior.
    fn sample_prior(&self, _: &mut [f32], _: &mut NoiseRng) -> Result<(), Error> {
        Ok(())
    }
}

/// `dx = inv_sd·(d − mean(d) − x̂·mean(d·x̂))`, d = gain·dy: what is left of d when the directions in which x̂ cannot move are
/// taken out.
fn input_grad(gain: &[f32], dy: &[f32], x_hat: &[f32], inv_sd: f32, dx: &mut [f32]) {
    kernels::mul(gain, dy, dx);
    let n = dx.len() as f64;
    let mean = (kernels::sum_f64(dx) / n) as f32;
    let along = (kernels::dot_f64(dx, x_hat) / n) as f32;
    dx.iter_mut().zip(x_hat).for_each(|(d, x_hat)| *d = inv_sd * (*d - mean - x_hat * along));
}
