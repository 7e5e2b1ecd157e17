//! An affine layer with what stands behind it, while its product is still in cache.

use std::ops::Range;

use bdl_tensor::{Mat, MatMut, Serial, Store, kernels, matmul};

use super::group::Turn;
use super::{MonteCarlo, RowBlock};
use crate::dropout::mask_scale;
use crate::{Activation, Draw, Error, Form};

/// Floats of the rows that bias, activation and mask are applied to at a time: half of the first cache.
const CHUNK: usize = 1 << 12;

/// An affine layer, the activation behind it, and the mask behind that, with one draw per row.
#[derive(Clone, Copy)]
pub(super) struct Fused<'p> {
    weight: Mat<'p>,
    bias: &'p [f32],
    map: Activation,
    mask: Option<f64>,
}

impl<'p> Fused<'p> {
    /// How many layers it is.
    fn layers(&self) -> usize {
        2 + usize::from(self.mask.is_some())
    }

    /// Words of the masks of so many rows.
    pub(super) fn words(&self, rows: usize) -> usize {
        if self.mask.is_some() { rows * self.weight.cols().div_ceil(64) } else { 0 }
    }
}

impl MonteCarlo<'_> {
    /// What stands at layer `index`, if it can be fused and something stands behind it.
    pub(super) fn fused(&self, index: usize) -> Option<Fused<'_>> {
        let (Some(Form::Affine { weight, bias }), Some(Form::Map(map))) =
            (self.form(index), self.form(index + 1))
        else {
            return None;
        };
        let mask = match self.form(index + 2) {
            Some(Form::Mask { keep_prob }) if self.pass(0).mask_draw() == Draw::Row => Some(keep_prob),
            _ => None,
        };
        let fused = Fused { weight, bias, map, mask };
        (index + fused.layers() < self.plan.layers.len()).then_some(fused)
    }

    pub(super) fn run_fused(
        &self,
        fused: &Fused<'_>,
        passes: &Range<u64>,
        block: &RowBlock<'_>,
        turn: &mut Turn<'_>,
        rows: usize,
    ) -> Result<(), Error> {
        let (index, width) = (turn.index, fused.weight.cols());
        let mut product = MatMut::new(&mut turn.back[..rows * width], rows, width)?;
        let input = if turn.started {
            Mat::new(&turn.front[..rows * fused.weight.rows()], rows, fused.weight.rows())?
        } else {
            block.x
        };
        matmul(&Serial, input, fused.weight, Store::Overwrite, &mut product)?;
        let bits = &mut turn.words[..fused.words(rows)];
        if let Some(keep_prob) = fused.mask {
            self.draw_row_masks(index + 2, passes, block, [width, rows], keep_prob, bits);
        }
        let chunk = (CHUNK / width).max(1);
        let bits_of = |i: usize| &bits[i * chunk * width.div_ceil(64)..];
        let chunks = turn.back[..rows * width].chunks_mut(chunk * width);
        for (i, (y, other)) in chunks.zip(turn.front.chunks_mut(chunk * width)).enumerate() {
            let other = &mut other[..y.len()];
            kernels::add_bias_rows(fused.bias, &mut MatMut::new(y, y.len() / width, width)?);
            fused.map.apply(y, other);
            if let Some(keep_prob) = fused.mask {
                mask_rows(other, bits_of(i), width, (1.0 / keep_prob) as f32, y);
            }
        }
        // The masks wrote to the back, where the product was; without them the activation wrote to the front.
        if fused.mask.is_some() {
            turn.swap();
        }
        turn.started = true;
        turn.index += fused.layers();
        Ok(())
    }

    /// The masks of the rows of each pass.
    fn draw_row_masks(
        &self,
        layer: usize,
        passes: &Range<u64>,
        block: &RowBlock<'_>,
        [width, rows]: [usize; 2],
        keep_prob: f64,
        out: &mut [u64],
    ) {
        let per_pass = out.len() / rows * block.x.rows();
        for (pass, out) in passes.clone().zip(out.chunks_exact_mut(per_pass)) {
            let pass = self.pass(pass).starting_at(block.first_row);
            if let Some(site) = pass.site(layer, 0, Draw::Row) {
                site.mask(width, keep_prob, out);
            }
        }
    }
}

/// Rows of `width`, each with its own mask.
fn mask_rows(x: &[f32], bits: &[u64], width: usize, scale: f32, out: &mut [f32]) {
    let rows = x.chunks_exact(width).zip(bits.chunks_exact(width.div_ceil(64)));
    for ((x, bits), out) in rows.zip(out.chunks_exact_mut(width)) {
        mask_scale(x, bits, scale, out);
    }
}
