//! The masks of concrete dropout: relaxed in training, bits in prediction.

use bdl_tensor::{Mat, MatMut, kernels};

use super::ConcreteDropout;
use super::rate::Rate;
use crate::dropout::mask_units;
use crate::layer::Context;
use crate::map::LinearMap;
use crate::parallel::draw_rows;
use crate::{Draw, Error, Mode, Pass};

const SITE_MASK: u64 = 0;
const SITE_RELAXED: u64 = 1;

/// Scratch: the inputs as the mask leaves them, their gradient, the relaxed factors, and what the map works in.
pub(super) struct Tape<'a> {
    pub(super) kept: MatMut<'a>,
    pub(super) d_kept: MatMut<'a>,
    factors: &'a mut [f32],
    pub(super) map: &'a mut [f32],
}

impl<M: LinearMap> ConcreteDropout<M> {
    /// Floats of a [`Tape`].
    pub(super) fn floats(&self, rows: usize, pass: &Pass<'_>) -> usize {
        2 * rows * self.map.in_dim() + self.factors(rows, pass) + self.map.scratch(rows)
    }

    /// Words of the masks, which only a prediction has.
    pub(super) fn words(&self, rows: usize, pass: &Pass<'_>) -> usize {
        let masks = match (pass.mode(), pass.mask_draw()) {
            (Mode::Train, _) => 0,
            (_, Draw::Row) => rows,
            _ => 1,
        };
        masks * self.map.in_units().div_ceil(64)
    }

    /// Factors of a relaxed mask for each row, which only training has.
    fn factors(&self, rows: usize, pass: &Pass<'_>) -> usize {
        if pass.mode() == Mode::Train { rows * self.map.in_units() } else { 0 }
    }

    pub(super) fn tape<'a>(
        &self,
        rows: usize,
        pass: &Pass<'_>,
        floats: &'a mut [f32],
    ) -> Result<Tape<'a>, Error> {
        let width = self.map.in_dim();
        let (kept, rest) = floats.split_at_mut(rows * width);
        let (d_kept, rest) = rest.split_at_mut(rows * width);
        let (factors, map) = rest.split_at_mut(self.factors(rows, pass));
        let (kept, d_kept) = (MatMut::new(kept, rows, width)?, MatMut::new(d_kept, rows, width)?);
        Ok(Tape { kept, d_kept, factors, map })
    }

    /// Draws the masks and writes what they keep of x.
    pub(super) fn keep<'c>(
        &self,
        ctx: &'c mut Context<'_>,
        rate: &Rate,
        x: Mat<'_>,
    ) -> Result<Tape<'c>, Error> {
        let (pass, units, draw) = (ctx.pass, self.map.in_units(), ctx.pass.mask_draw());
        let (relaxed_at, masked_at) = (ctx.site(SITE_RELAXED, draw), ctx.site(SITE_MASK, draw));
        let mut tape = self.tape(x.rows(), pass, ctx.floats)?;
        match (pass.mode(), relaxed_at, masked_at) {
            (Mode::Train, Some(site), _) => {
                let (logit, temp) = (rate.logit, self.concrete_temp as f32);
                draw_rows(pass.pool(), site, units, tape.factors, &|site, factors| {
                    site.logistics(units, factors);
                    kernels::concrete_factors(logit, temp, factors);
                });
                kernels::scale_unit_rows(x, tape.factors, units, &mut tape.kept);
            }
            (_, _, Some(site)) => {
                // Of a NaN the minimum is 1: all is kept, and scaled to NaN.
                site.mask(units, rate.keep_prob.min(1.0), ctx.words);
                mask_units(units, ctx.words, rate.scale(), x, &mut tape.kept)?;
            }
            _ => tape.kept.data_mut().copy_from_slice(x.data()),
        }
        Ok(tape)
    }

    /// Writes dx of the masks that [`keep`](Self::keep) drew, and returns the slope in the logit.
    pub(super) fn keep_backward(
        &self,
        pass: &Pass<'_>,
        words: &[u64],
        rate: &Rate,
        tape: Tape<'_>,
        dx: Option<MatMut<'_>>,
    ) -> Result<f64, Error> {
        let (kept, d_kept, units) = (tape.kept.as_mat(), tape.d_kept.as_mat(), self.map.in_units());
        if pass.mode() != Mode::Train {
            if let Some(mut dx) = dx {
                mask_units(units, words, rate.scale(), d_kept, &mut dx)?;
            }
            // A mask that is drawn has no slope, but its scale has: ∂ ln(1/(1 − p))/∂logit = p.
            return Ok(rate.drop_prob * kernels::dot_f64(kept.data(), d_kept.data()));
        }
        if let Some(mut dx) = dx {
            kernels::scale_unit_rows(d_kept, tape.factors, units, &mut dx);
        }
        // ∂(m·x)/∂logit = m·x·∂ ln m/∂logit
        kernels::concrete_slopes(rate.logit, self.concrete_temp as f32, tape.factors);
        Ok(kernels::dot_unit_rows_f64(kept, d_kept, tape.factors, units))
    }
}
