//! Thinned passes: under one mask per pass, dropped units are neither multiplied nor computed.
//!
//! ```text
//! y[:, kept'] = f(x[:, kept]/keep_prob · W[kept, kept'] + b[kept'])
//! ```
//!
//! The activations between two masks hold the kept units alone, side by side.

use bdl_tensor::{Mat, MatMut, gather_columns, kernels, matmul_thinned};

use super::group::Turn;
use super::segment::{Affine, KEEP_PROB};
use super::{MonteCarlo, RowBlock};
use crate::dense::add_bias;
use crate::{Activation, Draw, Error, Form};

/// From this many rows on the product pays for the gathering of the weights.
const ROWS: usize = 32;

/// A mask, the affine layer behind it, and an activation behind that, if there is one.
#[derive(Clone, Copy)]
pub(super) struct Link<'p> {
    mask: usize,
    keep_prob: f64,
    weight: Mat<'p>,
    bias: &'p [f32],
    map: Option<Activation>,
    /// The layer behind.
    next: usize,
}

impl<'p> Link<'p> {
    /// Floats that the gathered biases take.
    pub(super) fn scratch(&self) -> usize {
        self.bias.len()
    }

    /// Words of the mask.
    pub(super) fn words(&self) -> usize {
        self.weight.rows().div_ceil(64)
    }
}

impl MonteCarlo<'_> {
    /// What stands at layer `index`, if it is worth thinning for so many rows.
    pub(super) fn link(&self, index: usize, rows: usize) -> Option<Link<'_>> {
        if rows < ROWS || self.pass(0).mask_draw() != Draw::Pass {
            return None;
        }
        let Affine { mask, weight, bias, at } = self.affine(index)?;
        let (mask, keep_prob) = mask?;
        let (map, next) = match self.form(at + 1) {
            Some(Form::Map(map)) => (Some(map), at + 2),
            _ => (None, at + 1),
        };
        (keep_prob <= KEEP_PROB).then_some(Link { mask, keep_prob, weight, bias, map, next })
    }

    /// As many links as stand one behind the other in pass number `pass`; the outputs are in `turn`'s front, or
    /// in `out` if nothing stands behind them.
    pub(super) fn thinned<'p>(
        &'p self,
        link: Link<'p>,
        pass: u64,
        block: &RowBlock<'_>,
        turn: &mut Turn<'_>,
        out: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        let words = std::mem::take(&mut turn.words);
        let (one, other) = words.split_at_mut(words.len() / 2);
        self.chain(link, pass, block, turn, [one, other], out)?;
        turn.words = words;
        Ok(())
    }

    fn chain<'p>(
        &'p self,
        mut link: Link<'p>,
        pass: u64,
        block: &RowBlock<'_>,
        turn: &mut Turn<'_>,
        [mut kept_in, mut kept_out]: [&mut [u64]; 2],
        out: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        let rows = block.x.rows();
        self.draw(&link, pass, kept_in);
        let mut width = count(&kept_in[..link.words()]);
        {
            let units = link.weight.rows();
            let input =
                if turn.started { Mat::new(&turn.front[..rows * units], rows, units)? } else { block.x };
            let mut kept = MatMut::new(&mut turn.back[..rows * width], rows, width)?;
            gather_columns(input, &kept_in[..link.words()], (1.0 / link.keep_prob) as f32, &mut kept)?;
        }
        turn.swap();
        loop {
            let behind = self.link(link.next, rows);
            if let Some(behind) = &behind {
                self.draw(behind, pass, kept_out);
            }
            let kept = behind.as_ref().map(|behind| &kept_out[..behind.words()]);
            let width_out = kept.map_or(link.weight.cols(), count);
            let x = Mat::new(&turn.front[..rows * width], rows, width)?;
            let last = link.next == self.plan.layers.len();
            let direct = last && link.map.is_none();
            let target = if direct { out.data_mut() } else { &mut turn.back[..rows * width_out] };
            let mut y = MatMut::new(target, rows, width_out)?;
            let bias = &mut turn.floats[..link.bias.len()];
            matmul_thinned(x, &kept_in[..link.words()], link.weight, kept, &mut y)?;
            add_bias(gathered(link.bias, kept, bias)?, &mut y);
            turn.index = link.next;
            if direct {
                return Ok(());
            }
            if let Some(map) = link.map {
                let target = if last { out.data_mut() } else { &mut turn.front[..rows * width_out] };
                map.apply(&turn.back[..rows * width_out], target);
            } else {
                turn.swap();
            }
            let Some(next) = behind else { return Ok(()) };
            kernels::scale((1.0 / next.keep_prob) as f32, &mut turn.front[..rows * width_out]);
            (link, width) = (next, width_out);
            std::mem::swap(&mut kept_in, &mut kept_out);
        }
    }

    fn draw(&self, link: &Link<'_>, pass: u64, out: &mut [u64]) {
        let out = &mut out[..link.words()];
        self.draw_masks(link.mask, pass, link.weight.rows(), link.keep_prob, out);
    }
}

/// How many units a mask keeps.
fn count(mask: &[u64]) -> usize {
    mask.iter().map(|word| word.count_ones() as usize).sum()
}

/// The kept elements of a bias, all without a mask.
fn gathered<'b>(bias: &'b [f32], kept: Option<&[u64]>, out: &'b mut [f32]) -> Result<&'b [f32], Error> {
    let Some(kept) = kept.filter(|_| !bias.is_empty()) else { return Ok(bias) };
    let width = count(kept);
    let mut row = MatMut::new(&mut out[..width], 1, width)?;
    gather_columns(Mat::new(bias, 1, bias.len())?, kept, 1.0, &mut row)?;
    Ok(&out[..width])
}
