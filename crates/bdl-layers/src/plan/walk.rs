//! From layer to layer with a tape: forward, leaving everything, and back.

use bdl_tensor::{Mat, MatMut};

use super::{Placed, Plan};
use crate::layer::{Backward, Context, Layer};
use crate::{Error, Pass};

/// [`Layer::backward`] or [`Layer::write_backward`].
pub(crate) type LayerBackward<'a> =
    dyn Fn(&dyn Layer, &mut Context<'_>, &mut [f32], Backward<'_>) -> Result<(), Error> + 'a;

/// Memory of a pass, in which each layer has a region of its own: outputs, floats and mask words, one behind the other.
pub(crate) struct TapeMut<'a> {
    pub(crate) acts: &'a mut [f32],
    pub(crate) floats: &'a mut [f32],
    pub(crate) words: &'a mut [u64],
    /// What the layers have prepared, or nothing.
    pub(crate) prepared: &'a [f32],
}

/// What the way back needs.
pub(crate) struct Back<'a> {
    /// Gradients change places from layer to layer between two buffers; that of the output stands in the first.
    pub(crate) buffers: [&'a mut [f32]; 2],
    /// Whether the gradient of the input is asked for.
    pub(crate) wants_dx: bool,
    pub(crate) backward: &'a LayerBackward<'a>,
}

impl Placed {
    /// The layer's input: x for the first, else the output in front, which ends the tape `before`.
    fn input<'a>(&self, index: usize, x: Mat<'a>, before: &'a [f32]) -> Result<Mat<'a>, Error> {
        if index == 0 {
            return Ok(x);
        }
        let (rows, width) = (x.rows(), self.layer.in_dim());
        Ok(Mat::new(&before[before.len() - rows * width..], rows, width)?)
    }
}

impl Plan {
    /// Forward through all layers, of which the first stands at place `base`; returns where the output ends in
    /// the tape.
    pub(crate) fn walk(
        &self,
        base: usize,
        params: &[f32],
        x: Mat<'_>,
        pass: &Pass<'_>,
        tape: TapeMut<'_>,
    ) -> Result<usize, Error> {
        let (rows, mut act) = (x.rows(), 0);
        let TapeMut { acts, mut floats, mut words, mut prepared } = tape;
        for (index, l) in self.layers.iter().enumerate() {
            let scratch = l.layer.scratch(rows, pass);
            let (own_floats, rest_floats) = floats.split_at_mut(scratch.floats);
            let (own_words, rest_words) = words.split_at_mut(scratch.words);
            (floats, words) = (rest_floats, rest_words);
            let mut ctx = l.context(pass, params, own_floats, own_words);
            ctx.layer += base;
            if !prepared.is_empty() {
                (ctx.prepared, prepared) = prepared.split_at(l.layer.prepared(pass));
            }
            let width = l.layer.out_dim();
            let (before, after) = acts.split_at_mut(act);
            let input = l.input(index, x, before)?;
            l.layer.forward(&mut ctx, input, &mut MatMut::new(&mut after[..rows * width], rows, width)?)?;
            act += rows * width;
        }
        Ok(act)
    }

    /// Back through all layers, after [`walk`](Plan::walk) with the same arguments. Returns the gradient of x if that is asked
    /// for.
    #[expect(clippy::too_many_arguments, reason = "those of `walk`, and what the way back adds to them")]
    pub(crate) fn walk_back<'a>(
        &self,
        base: usize,
        params: &[f32],
        x: Mat<'_>,
        pass: &Pass<'_>,
        tape: TapeMut<'_>,
        back: Back<'a>,
        grads: &mut [f32],
    ) -> Result<Option<&'a mut [f32]>, Error> {
        let rows = x.rows();
        let (mut act, mut float, mut word) = crate::workspace::tape_ends(self, rows, pass);
        let TapeMut { acts, floats, words, .. } = tape;
        let Back { buffers: [mut dy, mut dx], wants_dx, backward } = back;
        for (index, l) in self.layers.iter().enumerate().rev() {
            let scratch = l.layer.scratch(rows, pass);
            let (width_in, width) = (l.layer.in_dim(), l.layer.out_dim());
            act -= rows * width;
            float -= scratch.floats;
            word -= scratch.words;
            let floats = &mut floats[float..float + scratch.floats];
            let words = &mut words[word..word + scratch.words];
            let mut ctx = l.context(pass, params, floats, words);
            ctx.layer += base;
            let (before, after) = acts.split_at(act);
            // Whoever stands in front has something to learn only if there are parameters there.
            let wanted = l.start > 0 || wants_dx;
            let io = Backward {
                x: l.input(index, x, before)?,
                y: Mat::new(&after[..rows * width], rows, width)?,
                dy: Mat::new(&dy[..rows * width], rows, width)?,
                dx: wanted.then(|| MatMut::new(&mut dx[..rows * width_in], rows, width_in)).transpose()?,
            };
            backward(&*l.layer, &mut ctx, &mut grads[l.start..l.end], io)?;
            if !wanted {
                return Ok(None);
            }
            std::mem::swap(&mut dy, &mut dx);
        }
        Ok(wants_dx.then(|| &mut dy[..rows * self.in_dim()]))
    }
}
