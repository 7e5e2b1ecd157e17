//! A mask, the affine layer behind it and the activation behind that, in one go.
//!
//! ```text
//! y = f((z ⊙ x/keep_prob)·W + b)
//! ```
//!
//! Masked inputs are never written where a product can skip what is dropped; bias and activation are applied to
//! a few rows at a time, which are in cache.

use std::ops::Range;

use bdl_tensor::{Mat, MatMut, Panels, Serial, Store, kernels, matmul};

use super::group::Turn;
use super::{MonteCarlo, RowBlock};
use crate::dense::add_bias;
use crate::plan::Placed;
use crate::{Activation, Draw, Error, Form};

/// Above this probability that a unit is kept, skipping what is dropped costs what it saves.
pub(super) const KEEP_PROB: f64 = 0.75;

/// From this many outputs on a masked product is worth its panels.
const WIDE: usize = 64;

/// Floats of the rows that are worked on at a time, while they are in the first cache.
const CHUNK: usize = 1 << 12;

/// An affine layer, with the mask in front of it or in it.
pub(super) struct Affine<'p> {
    /// The layer that draws the mask, and the probability that it keeps a unit.
    pub(super) mask: Option<(usize, f64)>,
    pub(super) weight: Mat<'p>,
    pub(super) bias: &'p [f32],
    /// The layer of the weights.
    pub(super) at: usize,
}

impl<'p> Affine<'p> {
    /// What begins at layer `index`, if that is one.
    pub(super) fn of(layers: &'p [Placed], params: &'p [f32], index: usize) -> Option<Self> {
        let form = |index: usize| {
            let l: &Placed = layers.get(index)?;
            Some(l.layer.form(&params[l.start..l.end]))
        };
        let masked = |keep_prob| Some((index, keep_prob));
        let (mask, weight, bias, at) = match (form(index)?, form(index + 1)) {
            (Form::Affine { weight, bias }, _) => (None, weight, bias, index),
            (Form::MaskedAffine { keep_prob, weight, bias }, _) => (masked(keep_prob), weight, bias, index),
            (Form::Mask { keep_prob }, Some(Form::Affine { weight, bias })) => {
                (masked(keep_prob), weight, bias, index + 1)
            }
            _ => return None,
        };
        Some(Self { mask, weight, bias, at })
    }
}

/// Layers that are done together.
pub(super) struct Segment<'p> {
    /// The mask's layer and the probability that it keeps a unit.
    mask: Option<(usize, f64)>,
    weight: Mat<'p>,
    bias: &'p [f32],
    panels: Option<&'p Panels>,
    map: Option<Activation>,
    /// The layer behind.
    next: usize,
}

impl Segment<'_> {
    /// Words of the masks of so many rows.
    pub(super) fn words(&self, rows: usize) -> usize {
        if self.mask.is_some() { rows * self.weight.rows().div_ceil(64) } else { 0 }
    }

    /// Floats of masked rows, as many as are multiplied at a time.
    pub(super) fn floats(&self, rows: usize) -> usize {
        if self.mask.is_some() && self.panels.is_none() { self.chunk(rows) * self.weight.rows() } else { 0 }
    }

    /// Rows of a product: a narrow one costs nothing to begin, a wide one packs its weights.
    fn chunk(&self, rows: usize) -> usize {
        if self.weight.cols() < WIDE { (CHUNK / self.weight.rows()).clamp(1, rows.max(1)) } else { rows }
    }
}

/// The weights behind each mask that is worth skipping for, as a masked product takes them.
pub(super) fn panels(layers: &[Placed], params: &[f32]) -> Vec<Option<Panels>> {
    let mut panels: Vec<_> = (0..layers.len()).map(|_| None).collect();
    for index in 0..layers.len() {
        let Some(Affine { mask: Some((_, keep_prob)), weight, at, .. }) = Affine::of(layers, params, index)
        else {
            continue;
        };
        if keep_prob <= KEEP_PROB && weight.cols() >= WIDE {
            panels[at] = Some(Panels::new(weight));
        }
    }
    panels
}

impl MonteCarlo<'_> {
    /// The affine layer that begins at layer `index`, mask and all, if one does.
    pub(super) fn affine(&self, index: usize) -> Option<Affine<'_>> {
        Affine::of(&self.plan.layers, self.params, index)
    }

    /// The segment that begins at layer `index`, if one does.
    pub(super) fn segment(&self, index: usize) -> Option<Segment<'_>> {
        let Affine { mask, weight, bias, at } = self.affine(index)?;
        let (map, next) = match self.form(at + 1) {
            Some(Form::Map(map)) => (Some(map), at + 2),
            _ => (None, at + 1),
        };
        Some(Segment { mask, weight, bias, panels: self.panels[at].as_ref(), map, next })
    }

    /// The outputs of all passes of a group in `turn`'s front, or in `out` if nothing stands behind them.
    pub(super) fn run_segment(
        &self,
        segment: &Segment<'_>,
        passes: &Range<u64>,
        block: &RowBlock<'_>,
        turn: &mut Turn<'_>,
        out: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        let (rows, width) = (out.rows(), segment.weight.cols());
        let input = if turn.started {
            Mat::new(&turn.front[..rows * segment.weight.rows()], rows, segment.weight.rows())?
        } else {
            block.x
        };
        let last = segment.next == self.plan.layers.len();
        let direct = last && segment.map.is_none();
        let y = if direct { out.data_mut() } else { &mut turn.back[..rows * width] };
        let mut y = MatMut::new(y, rows, width)?;
        if let Some((mask, keep_prob)) = segment.mask {
            let bits = &mut turn.words[..segment.words(rows)];
            self.draw_row_masks(mask, passes, block, segment.weight.rows(), keep_prob, bits);
            let masked = Masked { x: input, bits, scale: (1.0 / keep_prob) as f32 };
            masked.times(segment, turn.floats, &mut y)?;
        } else {
            matmul(&Serial, input, segment.weight, Store::Overwrite, &mut y)?;
        }
        turn.index = segment.next;
        if direct {
            add_bias(segment.bias, &mut y);
            return Ok(());
        }
        self.finish(segment, turn, last.then_some(out), rows)
    }

    /// Bias and activation of what stands in `turn`'s back.
    fn finish(
        &self,
        segment: &Segment<'_>,
        turn: &mut Turn<'_>,
        out: Option<&mut MatMut<'_>>,
        rows: usize,
    ) -> Result<(), Error> {
        let width = segment.weight.cols();
        let y = &mut turn.back[..rows * width];
        let Some(map) = segment.map else {
            add_bias(segment.bias, &mut MatMut::new(y, rows, width)?);
            turn.swap();
            return Ok(());
        };
        let target = out.map_or(&mut turn.front[..rows * width], MatMut::data_mut);
        let chunk = (CHUNK / width).max(1) * width;
        for (y, target) in y.chunks_mut(chunk).zip(target.chunks_mut(chunk)) {
            add_bias(segment.bias, &mut MatMut::new(y, y.len() / width, width)?);
            map.apply(y, target);
        }
        turn.started = true;
        Ok(())
    }

    /// A mask for each row of each pass, `⌈units/64⌉` words each.
    fn draw_row_masks(
        &self,
        layer: usize,
        passes: &Range<u64>,
        block: &RowBlock<'_>,
        units: usize,
        keep_prob: f64,
        out: &mut [u64],
    ) {
        let (rows, words) = (block.x.rows(), units.div_ceil(64));
        if self.pass(0).mask_draw() == Draw::Pass {
            let count = out.len() / words / rows;
            self.draw_masks(layer, passes.start, units, keep_prob, &mut out[..count * words]);
            // From the last row back, so that no mask is overwritten before it has been copied.
            for row in (1..count * rows).rev() {
                out.copy_within(row / rows * words..(row / rows + 1) * words, row * words);
            }
            return;
        }
        for (pass, out) in passes.clone().zip(out.chunks_exact_mut(rows * words)) {
            let pass = self.pass(pass).starting_at(block.first_row);
            if let Some(site) = pass.site(self.plan.layers[layer].place, 0, Draw::Row) {
                site.mask(units, keep_prob, out);
            }
        }
    }
}

/// Rows with a mask each; the rows of x are taken again from the first on.
struct Masked<'a> {
    x: Mat<'a>,
    bits: &'a [u64],
    scale: f32,
}

impl Masked<'_> {
    /// `y = (z ⊙ x·scale)·W`.
    fn times(&self, segment: &Segment<'_>, floats: &mut [f32], y: &mut MatMut<'_>) -> Result<(), Error> {
        if let Some(panels) = segment.panels {
            return Ok(panels.masked_product(self.x, self.bits, self.scale, y)?);
        }
        let (units, width) = (segment.weight.rows(), segment.weight.cols());
        let (words, chunk) = (units.div_ceil(64), segment.chunk(y.rows()));
        for (c, y) in y.data_mut().chunks_mut(chunk * width).enumerate() {
            let rows = y.len() / width;
            let masked = &mut floats[..rows * units];
            for (row, out) in (c * chunk..).zip(masked.chunks_exact_mut(units)) {
                let bits = &self.bits[row * words..(row + 1) * words];
                kernels::mask_scale(self.x.row(row % self.x.rows()), bits, self.scale, out);
            }
            let masked = Mat::new(masked, rows, units)?;
            let mut y = MatMut::new(y, rows, width)?;
            matmul(&Serial, masked, segment.weight, Store::Overwrite, &mut y)?;
        }
        Ok(())
    }
}
