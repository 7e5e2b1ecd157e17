//! Where a mask per pass stands in front of the last layer alone, all passes are one product.
//!
//! ```text
//! y_s = (z_s ⊙ h/keep_prob)·W + b = (h/keep_prob)·(z_s ⊙ W) + b
//! h: [rows, units]   W: [units, out_dim]   z_s ⊙ W for all passes: [passes, units] per column of W
//! ```

use std::ops::Range;

use bdl_tensor::{Mat, MatMut, Serial, Store, kernels, matmul_nt};

use super::{MonteCarlo, PassRows, RowBlock};
use crate::{Error, Form, Plan, Workspace};

/// Passes that share one reading of the rows.
pub(super) const PASSES: usize = 64;

/// The last layer, masked: `Wᵀ` `[out_dim, units]` and b.
#[derive(Debug)]
pub(super) struct LastLayer {
    keep_prob: f64,
    weight: Vec<f32>,
    bias: Vec<f32>,
    units: usize,
}

impl LastLayer {
    /// If from `first` on there is a mask and an affine layer, and nothing else.
    pub(super) fn of(plan: &Plan, params: &[f32], first: usize) -> Option<Self> {
        let [mask, affine] = plan.layers.get(first..)? else { return None };
        let Form::Mask { keep_prob } = mask.layer.form(&[]) else { return None };
        let Form::Affine { weight, bias } = affine.layer.form(&params[affine.start..affine.end]) else {
            return None;
        };
        let column = |c: usize| weight.iter_rows().map(move |row| row[c]);
        let transposed = (0..weight.cols()).flat_map(column).collect();
        Some(Self { keep_prob, weight: transposed, bias: bias.to_vec(), units: weight.rows() })
    }
}

impl MonteCarlo<'_> {
    pub(super) fn last_layer(
        &self,
        last: &LastLayer,
        passes: Range<u64>,
        block: &RowBlock<'_>,
        ws: &mut Workspace,
        out: &mut PassRows<'_>,
    ) -> Result<(), Error> {
        let (rows, units, row_words) = (block.x.rows(), last.units, last.units.div_ceil(64));
        ws.fit(rows * units.max(PASSES), PASSES * units, PASSES * row_words);
        let Workspace { acts, other, floats, words, .. } = ws;
        let scaled = &mut acts[..rows * units];
        scaled.copy_from_slice(block.x.data());
        kernels::scale((1.0 / last.keep_prob) as f32, scaled);
        let scaled = Mat::new(scaled, rows, units)?;
        for start in passes.clone().step_by(PASSES) {
            let count = (passes.end - start).min(PASSES as u64) as usize;
            let bits = &mut words[..count * row_words];
            self.draw_masks(self.first, start, units, last.keep_prob, bits);
            for (c, (column, &bias)) in last.weight.chunks_exact(units).zip(&last.bias).enumerate() {
                let masked = &mut floats[..count * units];
                for (bits, masked) in bits.chunks_exact(row_words).zip(masked.chunks_exact_mut(units)) {
                    kernels::mask_scale(column, bits, 1.0, masked);
                }
                let tile = &mut other[..count * rows];
                let (masked, mut product) =
                    (Mat::new(masked, count, units)?, MatMut::new(tile, count, rows)?);
                matmul_nt(&Serial, masked, scaled, Store::Overwrite, &mut product)?;
                let first = (start - passes.start) as usize;
                put_column(tile, first, c, bias, last.bias.len(), rows, out);
            }
        }
        Ok(())
    }
}

/// Column `c` of the outputs of passes `first..` from `[passes, rows]`, with the bias.
fn put_column(
    tile: &[f32],
    first: usize,
    c: usize,
    bias: f32,
    width: usize,
    rows: usize,
    out: &mut PassRows<'_>,
) {
    for (i, tile) in tile.chunks_exact(rows).enumerate() {
        let out = out.of(first + i, rows, width);
        if width == 1 {
            out.iter_mut().zip(tile).for_each(|(out, &y)| *out = y + bias);
        } else {
            out[c..].iter_mut().step_by(width).zip(tile).for_each(|(out, &y)| *out = y + bias);
        }
    }
}
