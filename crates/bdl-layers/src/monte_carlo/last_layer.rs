//! Where a mask stands in front of the last layer alone, passes share the transpose of the rows. With one draw
//! per pass all passes are one product; with one per row, rows run along the lanes.
//!
//! ```text
//! y_s = (z_s ⊙ h/keep_prob)·W + b = (h/keep_prob)·(z_s ⊙ W) + b
//! h: [rows, units]   W: [units, out_dim]   z_s ⊙ W for all passes: [passes, units] per column of W
//! ```

use std::ops::Range;

use bdl_tensor::{Mat, MatMut, Serial, Store, kernels, masked_affine, matmul};

use super::segment::Affine;
use super::{MonteCarlo, PassRows, RowBlock};
use crate::{Draw, Error, Plan, Scope, Workspace};

/// Passes that share one reading of the rows.
pub(super) const PASSES: usize = 64;

/// Rows that are transposed at a time: a line of the cache of floats.
const TURNED: usize = 16;

/// The widest output that a draw per row computes in lanes of rows.
const NARROW: usize = 16;

/// The last layer, masked: `Wᵀ` `[out_dim, units]` and b.
#[derive(Debug)]
pub(super) struct LastLayer {
    keep_prob: f64,
    weight: Vec<f32>,
    bias: Vec<f32>,
    units: usize,
}

impl LastLayer {
    /// If from `first` on there is a masked affine layer, and nothing else.
    pub(super) fn of(plan: &Plan, params: &[f32], first: usize, scope: Scope) -> Option<Self> {
        let Affine { mask, weight, bias, at } = Affine::of(&plan.layers, params, first)?;
        let (_, keep_prob) = mask.filter(|_| at + 1 == plan.layers.len())?;
        if scope == Scope::Row && weight.cols() > NARROW {
            return None;
        }
        let column = |c: usize| weight.iter_rows().map(move |row| row[c]);
        let transposed = (0..weight.cols()).flat_map(column).collect();
        let bias = if bias.is_empty() { vec![0.0; weight.cols()] } else { bias.to_vec() };
        Some(Self { keep_prob, weight: transposed, bias, units: weight.rows() })
    }
}

impl LastLayer {
    /// Writes `(h/keep_prob)ᵀ`, `[units, rows]`, as a masked layer scales what it keeps.
    pub(super) fn share(&self, h: Mat<'_>, out: &mut [f32]) {
        let scale = (1.0 / self.keep_prob) as f32;
        // A few rows at a time, so that a line of the output is written before it leaves the cache.
        for first in (0..h.rows()).step_by(TURNED) {
            let some = h.rows_in(first..h.rows().min(first + TURNED));
            for (unit, out) in out.chunks_exact_mut(h.rows()).enumerate() {
                for (out, row) in out[first..].iter_mut().zip(some.iter_rows()) {
                    *out = row[unit] * scale;
                }
            }
        }
    }

    /// Length of what [`share`](Self::share) writes.
    pub(super) fn shared(&self, rows: usize) -> usize {
        rows * self.units
    }

    /// Words of a mask.
    fn words(&self) -> usize {
        self.units.div_ceil(64)
    }
}

impl MonteCarlo<'_> {
    /// All passes over a block of rows, of which `shared` holds the transpose.
    pub(super) fn last_layer(
        &self,
        last: &LastLayer,
        passes: Range<u64>,
        block: &RowBlock<'_>,
        ws: &mut Workspace,
        out: &mut PassRows<'_>,
    ) -> Result<(), Error> {
        let turned = Mat::new(block.shared, last.units, block.x.rows())?;
        match self.pass(0).mask_draw() {
            Draw::Row => self.masked_rows(last, passes, block.first_row, turned, ws, out),
            _ => self.masked_weights(last, passes, turned, ws, out),
        }
    }

    /// One draw per pass: `(z_s ⊙ W)ᵀ·hᵀ` for many passes s.
    fn masked_weights(
        &self,
        last: &LastLayer,
        passes: Range<u64>,
        turned: Mat<'_>,
        ws: &mut Workspace,
        out: &mut PassRows<'_>,
    ) -> Result<(), Error> {
        let (rows, units) = (turned.cols(), last.units);
        ws.fit(rows * PASSES, PASSES * units, PASSES * last.words());
        for start in passes.clone().step_by(PASSES) {
            let count = (passes.end - start).min(PASSES as u64) as usize;
            let bits = &mut ws.words[..count * last.words()];
            self.draw_masks(self.first, start, units, last.keep_prob, bits);
            for (c, (column, &bias)) in last.weight.chunks_exact(units).zip(&last.bias).enumerate() {
                let masked = &mut ws.floats[..count * units];
                for (bits, masked) in bits.chunks_exact(last.words()).zip(masked.chunks_exact_mut(units)) {
                    kernels::mask_scale(column, bits, 1.0, masked);
                }
                let tile = &mut ws.acts[..count * rows];
                let (masked, mut product) =
                    (Mat::new(masked, count, units)?, MatMut::new(tile, count, rows)?);
                matmul(&Serial, masked, turned, Store::Overwrite, &mut product)?;
                let first = (start - passes.start) as usize;
                put_column(tile, first, c, bias, last.bias.len(), rows, out);
            }
        }
        Ok(())
    }

    /// One draw per row.
    fn masked_rows(
        &self,
        last: &LastLayer,
        passes: Range<u64>,
        first_row: u64,
        turned: Mat<'_>,
        ws: &mut Workspace,
        out: &mut PassRows<'_>,
    ) -> Result<(), Error> {
        let (rows, width) = (turned.cols(), last.bias.len());
        ws.fit(0, 0, rows * last.words());
        let masks = &mut ws.words[..rows * last.words()];
        let weight = Mat::new(&last.weight, width, last.units)?;
        for (i, pass) in passes.enumerate() {
            let pass = self.pass(pass).starting_at(first_row);
            if let Some(site) = pass.site(self.plan.layers[self.first].place, 0, Draw::Row) {
                site.mask(last.units, last.keep_prob, masks);
            }
            let mut y = MatMut::new(out.of(i, rows, width), rows, width)?;
            masked_affine(turned, masks, weight, &last.bias, &mut y)?;
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
