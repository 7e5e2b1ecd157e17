//! Passes one by one, or stacked as rows, layer by layer.

use std::ops::Range;

use bdl_tensor::{Mat, MatMut, kernels};

use super::{FEW_ROWS, MonteCarlo, PassRows, RowBlock};
use crate::{Draw, Error, Form, Workspace};

impl MonteCarlo<'_> {
    /// All passes, in groups that are stacked where rows are few.
    pub(super) fn groups(
        &self,
        passes: Range<u64>,
        block: &RowBlock<'_>,
        ws: &mut Workspace,
        out: &mut PassRows<'_>,
    ) -> Result<(), Error> {
        let rows = block.x.rows();
        // Only where the block is all there is do the outputs of several passes lie side by side.
        let size = if rows == out.rows && rows <= FEW_ROWS { self.together(rows) } else { 1 };
        let mut done = 0;
        for start in passes.clone().step_by(size) {
            let group = start..passes.end.min(start + size as u64);
            let count = (group.end - group.start) as usize;
            let width = self.plan.out_dim();
            let out = out.of(done, count * rows, width);
            self.group(group, block, ws, &mut MatMut::new(out, count * rows, width)?)?;
            done += count;
        }
        Ok(())
    }

    /// The passes of a group: out `[passes·rows, out_dim]`.
    fn group(
        &self,
        passes: Range<u64>,
        block: &RowBlock<'_>,
        ws: &mut Workspace,
        out: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        let layers = &self.plan.layers;
        if self.first == layers.len() {
            let each = out.data_mut().chunks_exact_mut(block.x.data().len());
            each.for_each(|out| out.copy_from_slice(block.x.data()));
            return Ok(());
        }
        let rows = out.rows();
        self.fit(ws, rows, block.x.rows());
        let Workspace { acts, other, floats, words, .. } = ws;
        let mut turn = Turn { index: self.first, started: false, front: acts, back: other, floats, words };
        while turn.index < layers.len() {
            if let Some(link) = self.link(turn.index, rows).filter(|_| rows == block.x.rows()) {
                self.thinned(link, passes.start, block, &mut turn, out)?;
            } else if let Some(segment) = self.segment(turn.index) {
                self.run_segment(&segment, &passes, block, &mut turn, out)?;
            } else {
                self.step(&passes, block, &mut turn, out)?;
            }
        }
        Ok(())
    }

    /// Memory for a group of `stacked` rows, which are passes over `rows` rows.
    fn fit(&self, ws: &mut Workspace, stacked: usize, rows: usize) {
        let (pass, passes) = (self.pass(0), stacked / rows.max(1));
        let (mut width, mut floats, mut words) = (0, 0, 0);
        for l in &self.plan.layers[self.first..] {
            let scratch = l.layer.scratch(if l.layer.is_random() { rows } else { stacked }, &pass);
            width = width.max(l.layer.in_dim()).max(l.layer.out_dim());
            floats = floats.max(scratch.floats);
            words = words.max(scratch.words).max(passes * l.layer.in_dim().div_ceil(64));
        }
        for index in self.first..self.plan.layers.len() {
            if let Some(link) = self.link(index, stacked) {
                (floats, words) = (floats.max(link.scratch()), words.max(2 * link.words()));
            }
            if let Some(segment) = self.segment(index) {
                (floats, words) = (floats.max(segment.floats(stacked)), words.max(segment.words(stacked)));
            }
        }
        ws.fit(stacked * width, floats, words);
    }

    /// One layer of all passes of a group: into `turn`'s front, or into `out` if it is the last.
    fn step(
        &self,
        passes: &Range<u64>,
        block: &RowBlock<'_>,
        turn: &mut Turn<'_>,
        out: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        let (index, rows) = (turn.index, out.rows());
        let layer = &*self.plan.layers[index].layer;
        let input = if turn.started {
            Mat::new(&turn.front[..rows * layer.in_dim()], rows, layer.in_dim())?
        } else {
            block.x
        };
        let step = Step { passes: passes.clone(), block, index, input };
        turn.index += 1;
        if turn.index == self.plan.layers.len() {
            return self.layer(&step, turn.floats, turn.words, out);
        }
        let back = &mut turn.back[..rows * layer.out_dim()];
        self.layer(&step, turn.floats, turn.words, &mut MatMut::new(back, rows, layer.out_dim())?)?;
        turn.swap();
        Ok(())
    }

    fn layer(
        &self,
        step: &Step<'_>,
        floats: &mut [f32],
        words: &mut [u64],
        out: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        let layer = &*self.plan.layers[step.index].layer;
        let pass = self.pass(step.passes.start).starting_at(step.block.first_row);
        if !layer.is_random() {
            let scratch = layer.scratch(out.rows(), &pass);
            let (floats, words) = (&mut floats[..scratch.floats], &mut words[..scratch.words]);
            let mut ctx = self.context(step.index, &pass, &[], floats, words);
            return layer.forward(&mut ctx, step.input, out);
        }
        if let (Some(Form::Mask { keep_prob }), Draw::Pass) = (self.form(step.index), pass.mask_draw()) {
            self.mask(step, keep_prob, words, out);
            return Ok(());
        }
        let rows = step.block.x.rows();
        let scratch = layer.scratch(rows, &pass);
        let width = layer.out_dim();
        for (i, pass) in step.passes.clone().enumerate() {
            let pass = self.pass(pass).starting_at(step.block.first_row);
            let (floats, words) = (&mut floats[..scratch.floats], &mut words[..scratch.words]);
            let mut ctx = self.context(step.index, &pass, step.block.shared, floats, words);
            let out = &mut out.data_mut()[i * rows * width..(i + 1) * rows * width];
            layer.forward(&mut ctx, step.input_of(i), &mut MatMut::new(out, rows, width)?)?;
        }
        Ok(())
    }

    /// A mask for each pass, drawn in one run.
    fn mask(&self, step: &Step<'_>, keep_prob: f64, words: &mut [u64], out: &mut MatMut<'_>) {
        let (dim, rows) = (out.cols(), step.block.x.rows());
        let bits = &mut words[..out.rows() / rows * dim.div_ceil(64)];
        self.draw_masks(step.index, step.passes.start, dim, keep_prob, bits);
        let scale = (1.0 / keep_prob) as f32;
        for (i, bits) in bits.chunks_exact(dim.div_ceil(64)).enumerate() {
            for (r, x) in step.input_of(i).iter_rows().enumerate() {
                kernels::mask_scale(x, bits, scale, out.row_mut(i * rows + r));
            }
        }
    }

    /// The masks of consecutive passes, `⌈dim/64⌉` words each.
    pub(super) fn draw_masks(
        &self,
        layer: usize,
        first_pass: u64,
        dim: usize,
        keep_prob: f64,
        out: &mut [u64],
    ) {
        if let Some(site) = self.pass(first_pass).site(self.plan.layers[layer].place, 0, Draw::Pass) {
            site.mask(dim, keep_prob, out);
        }
    }
}

/// Where a group stands: which layer is next, and two buffers that change places from layer to layer.
pub(super) struct Turn<'w> {
    pub(super) index: usize,
    /// Whether the front holds anything yet.
    pub(super) started: bool,
    pub(super) front: &'w mut [f32],
    pub(super) back: &'w mut [f32],
    pub(super) floats: &'w mut [f32],
    pub(super) words: &'w mut [u64],
}

impl Turn<'_> {
    /// What has been written to the back is the front.
    pub(super) fn swap(&mut self) {
        std::mem::swap(&mut self.front, &mut self.back);
        self.started = true;
    }
}

/// A layer and its input.
struct Step<'s> {
    passes: Range<u64>,
    block: &'s RowBlock<'s>,
    index: usize,
    /// The rows of all passes; for the first random layer those that all passes share.
    input: Mat<'s>,
}

impl<'s> Step<'s> {
    /// The rows of pass number `i` of the group.
    fn input_of(&self, i: usize) -> Mat<'s> {
        let rows = self.block.x.rows();
        if self.input.rows() == rows { self.input } else { self.input.rows_in(i * rows..(i + 1) * rows) }
    }
}
