//! Batch normalization.

use bdl_dist::NoiseRng;
use bdl_tensor::{Mat, MatMut, kernels};
use serde::{Deserialize, Serialize};

use super::{FLOOR, gain_and_shift};
use crate::dense::check_dims;
use crate::layer::{Backward, Context, Layer};
use crate::{Block, Error, KlForm, KlTerm, Mode, Pass, Role, Scratch, codec};

/// Batch normalization: in training each unit is brought to mean 0 and variance 1 over the batch, in prediction by the running
/// moments of training, then scaled and shifted.
///
/// ```text
/// y_j = gain_j·(x_j − m_j)/√(v_j + 1e-5) + shift_j
/// Mode::Train           m, v: mean and variance (1/n) over the rows of the batch, and the positions of an image
/// Mode::Predict, Mean   m, v: running moments
/// running ← running + rate·(batch − running)                               with the variance's 1/(n − 1)
/// ```
///
/// The moments stay frozen while dropout is on at prediction, since that is [`Mode::Predict`](crate::Mode::Predict) and not training: a
/// prediction depends on no other row. In *training* a row does depend on its companions, so that the mini-batch
/// objective is no unbiased estimate of the ELBO any more; prefer [`LayerNorm`](crate::LayerNorm) where that matters.
///
/// Parameters: `gain` (initially 1) and `shift` (0) without a prior; `running.mean` (0) and `running.variance` (1) of
/// [`Role::Buffer`], which training moves by `backward` and nothing else. With
/// [`over_positions`](BatchNorm::over_positions) the units are the channels of an image.
///
/// # References
/// Ioffe & Szegedy 2015, *Batch normalization*, algorithms 1 and 2; `docs/math.md#normalization`.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    units: usize,
    positions: usize,
    rate: f64,
}

/// The form in which a file holds a [`BatchNorm`]; frozen.
#[derive(Serialize, Deserialize)]
struct V1 {
    units: u64,
    positions: u64,
    rate: f64,
}

/// Share of a batch in the running moments.
const RATE: f64 = 0.1;

impl BatchNorm {
    pub(crate) const KIND: &'static str = "batch-norm";

    /// Normalization of rows of `units` units, with a rate of 0.1 for the running moments.
    ///
    /// # Errors
    /// [`Error::Argument`] for a width of 0.
    pub fn new(units: usize) -> Result<Self, Error> {
        check_dims(Self::KIND, units, units)?;
        Ok(Self { units, positions: 1, rate: RATE })
    }

    /// The same for the channels of images of so many positions, whose channels lie side by side.
    ///
    /// # Errors
    /// [`Error::Argument`] for no position, or a row too wide.
    pub fn over_positions(self, positions: usize) -> Result<Self, Error> {
        check_dims(Self::KIND, positions, self.units.saturating_mul(positions))?;
        Ok(Self { positions, ..self })
    }

    /// The same with another rate of the running moments.
    ///
    /// # Errors
    /// [`Error::Argument`] unless it is in `(0, 1]`.
    pub fn with_rate(self, rate: f64) -> Result<Self, Error> {
        if rate > 0.0 && rate <= 1.0 {
            return Ok(Self { rate, ..self });
        }
        let (layer, expected) = (Self::KIND.to_owned(), "in (0, 1]".to_owned());
        Err(Error::Argument { layer, argument: "rate", expected, got: rate.to_string() })
    }

    pub(crate) fn build(config: &[u8]) -> Result<Box<dyn Layer>, Error> {
        let v: V1 = codec::decode("layer batch-norm", config)?;
        let layer = Self::new(v.units as usize)?.over_positions(v.positions as usize)?;
        Ok(Box::new(layer.with_rate(v.rate)?))
    }

    /// One row for each position.
    fn by_position<'a>(&self, x: Mat<'a>) -> Result<Mat<'a>, Error> {
        Ok(Mat::new(x.data(), x.rows() * self.positions, self.units)?)
    }

    fn split<'a>(&self, params: &'a [f32]) -> [&'a [f32]; 4] {
        let (gain, rest) = params.split_at(self.units);
        let (shift, rest) = rest.split_at(self.units);
        let (mean, variance) = rest.split_at(self.units);
        [gain, shift, mean, variance]
    }

    /// Scratch: moments of the batch, 1/√(v + floor), x̂, and what sums over rows are taken of.
    fn tape<'a>(&self, n: usize, floats: &'a mut [f32]) -> Tape<'a> {
        let (mean, rest) = floats.split_at_mut(self.units);
        let (variance, rest) = rest.split_at_mut(self.units);
        let (inv_sd, rest) = rest.split_at_mut(self.units);
        let (x_hat, terms) = rest.split_at_mut(n);
        Tape { mean, variance, inv_sd, x_hat, terms }
    }

    /// Writes the moments to normalize with: those of the rows in training, else the running ones.
    fn moments(&self, ctx_mode: Mode, params: &[f32], x: Mat<'_>, tape: &mut Tape<'_>) {
        let [_, _, mean, variance] = self.split(params);
        if ctx_mode == Mode::Train {
            kernels::col_moments(x, 0, tape.mean, tape.variance);
            tape.variance.iter_mut().for_each(|sd| *sd *= *sd);
        } else {
            tape.mean.copy_from_slice(mean);
            tape.variance.copy_from_slice(variance);
        }
        for (inv_sd, v) in tape.inv_sd.iter_mut().zip(&*tape.variance) {
            *inv_sd = 1.0 / (v + FLOOR).sqrt();
        }
    }

    /// Adds the step of the running moments, as a gradient to be subtracted.
    fn add_running(&self, n: usize, params: &[f32], tape: &Tape<'_>, grads: &mut [f32]) {
        let [_, _, mean, variance] = self.split(params);
        let (d_mean, d_variance) = grads.split_at_mut(self.units);
        let rate = self.rate as f32;
        // The variance of a single row says nothing about others.
        let unbiased = if n > 1 { (n as f64 / (n - 1) as f64) as f32 } else { 1.0 };
        for j in 0..self.units {
            d_mean[j] += rate * (mean[j] - tape.mean[j]);
            d_variance[j] += rate * (variance[j] - unbiased * tape.variance[j]);
        }
    }
}

struct Tape<'a> {
    mean: &'a mut [f32],
    variance: &'a mut [f32],
    inv_sd: &'a mut [f32],
    x_hat: &'a mut [f32],
    terms: &'a mut [f32],
}

impl Layer for BatchNorm {
    fn kind(&self) -> &str {
        Self::KIND
    }

    fn config(&self) -> Result<Vec<u8>, Error> {
        let (units, positions) = (self.units as u64, self.positions as u64);
        codec::encode("layer batch-norm", &V1 { units, positions, rate: self.rate })
    }

    fn in_dim(&self) -> usize {
        self.units * self.positions
    }

    fn out_dim(&self) -> usize {
        self.units * self.positions
    }

    fn blocks(&self) -> Vec<Block> {
        let mut blocks = gain_and_shift(self.units);
        blocks.push(Block::new("running.mean", &[self.units], Role::Buffer));
        blocks.push(Block::new("running.variance", &[self.units], Role::Buffer));
        blocks
    }

    fn init(&self, params: &mut [f32], _: &mut NoiseRng) {
        for (block, value) in params.chunks_mut(self.units).zip([1.0, 0.0, 0.0, 1.0]) {
            block.fill(value);
        }
    }

    fn couples_rows(&self, pass: &Pass<'_>) -> bool {
        pass.mode() == Mode::Train
    }

    fn scratch(&self, rows: usize, _: &Pass<'_>) -> Scratch {
        Scratch { floats: 3 * self.units + 2 * rows * self.in_dim(), words: 0 }
    }

    fn forward(&self, ctx: &mut Context<'_>, x: Mat<'_>, y: &mut MatMut<'_>) -> Result<(), Error> {
        let x = self.by_position(x)?;
        let [gain, shift, ..] = self.split(ctx.params);
        let mut tape = self.tape(x.data().len(), ctx.floats);
        self.moments(ctx.pass.mode(), ctx.params, x, &mut tape);
        let rows =
            x.iter_rows().zip(tape.x_hat.chunks_mut(self.units)).zip(y.data_mut().chunks_mut(self.units));
        for ((x, x_hat), y) in rows {
            for j in 0..self.units {
                x_hat[j] = (x[j] - tape.mean[j]) * tape.inv_sd[j];
                y[j] = gain[j] * x_hat[j] + shift[j];
            }
        }
        Ok(())
    }

    fn backward(&self, ctx: &mut Context<'_>, grads: &mut [f32], io: Backward<'_>) -> Result<(), Error> {
        let (dy, n) = (self.by_position(io.dy)?, io.dy.rows() * self.positions);
        let [gain, ..] = self.split(ctx.params);
        let tape = self.tape(dy.data().len(), ctx.floats);
        let (d_units, d_running) = grads.split_at_mut(2 * self.units);
        let (d_gain, d_shift) = d_units.split_at_mut(self.units);
        kernels::mul(dy.data(), tape.x_hat, tape.terms);
        let training = ctx.pass.mode() == Mode::Train;
        if training {
            self.add_running(n, ctx.params, &tape, d_running);
        }
        // From here on nobody asks for the moments: their places take the sums over the rows.
        let (sum_gain, sum_shift) = (tape.mean, tape.variance);
        sum_gain.fill(0.0);
        sum_shift.fill(0.0);
        kernels::col_sums_add(Mat::new(tape.terms, n, self.units)?, sum_gain);
        kernels::col_sums_add(dy, sum_shift);
        kernels::axpy(1.0, sum_gain, d_gain);
        kernels::axpy(1.0, sum_shift, d_shift);
        let Some(mut dx) = io.dx else { return Ok(()) };
        let by_n = if training { 1.0 / n as f32 } else { 0.0 };
        let rows =
            dy.iter_rows().zip(tape.x_hat.chunks(self.units)).zip(dx.data_mut().chunks_mut(self.units));
        for ((dy, x_hat), dx) in rows {
            for j in 0..self.units {
                let moved = by_n * (sum_shift[j] + x_hat[j] * sum_gain[j]);
                dx[j] = gain[j] * tape.inv_sd[j] * (dy[j] - moved);
            }
        }
        Ok(())
    }

    /// The gains.
    fn weights(&self) -> usize {
        self.units
    }

    /// Gains and shifts have no prior.
    fn sample_prior(&self, _: &mut [f32], _: &mut NoiseRng) -> Result<(), Error> {
        Ok(())
    }

    fn kl_terms(&self, _: f64) -> Option<Vec<KlTerm>> {
        Some(vec![KlTerm { range: 0..4 * self.units, form: KlForm::Zero }])
    }
}
