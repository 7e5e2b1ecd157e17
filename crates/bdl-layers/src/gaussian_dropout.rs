//! Multiplicative Gaussian noise on a layer's inputs, of a fixed variance or of one that is learned.

mod correlated;
mod fixed;

use bdl_tensor::{Mat, MatMut, kernels};

pub use correlated::CorrelatedVd;
pub use fixed::GaussianDropout;

use crate::layer::Context;
use crate::{Draw, Pass, Scratch};

/// Rows of `units·positions` elements, of which those of one unit share their noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Noisy {
    units: usize,
    positions: usize,
}

/// Scratch: the deviation of each unit, eps for each draw, and what a layer wants beside.
struct Drawn<'a> {
    sd: &'a mut [f32],
    eps: &'a mut [f32],
    rest: &'a mut [f32],
}

impl Noisy {
    fn dim(self) -> usize {
        self.units * self.positions
    }

    fn draws(self, rows: usize, pass: &Pass<'_>) -> usize {
        match pass.mask_draw() {
            Draw::Mean => 0,
            Draw::Row => rows,
            Draw::Pass | Draw::Flipout => 1,
        }
    }

    fn scratch(self, rows: usize, pass: &Pass<'_>) -> Scratch {
        let draws = self.draws(rows, pass);
        Scratch { floats: if draws == 0 { 0 } else { (1 + draws) * self.units }, words: 0 }
    }

    fn drawn<'a>(self, rows: usize, pass: &Pass<'_>, floats: &'a mut [f32]) -> Drawn<'a> {
        let (sd, rest) = floats.split_at_mut(self.units);
        let (eps, rest) = rest.split_at_mut(self.draws(rows, pass) * self.units);
        Drawn { sd, eps, rest }
    }

    /// `y = x·(1 + sd·eps)` with eps drawn at site 0 and sd written by `deviations`; x where nothing is drawn.
    fn forward(
        self,
        ctx: &mut Context<'_>,
        x: Mat<'_>,
        y: &mut MatMut<'_>,
        deviations: impl FnOnce(&[f32], &mut [f32]),
    ) {
        let Some(site) = ctx.site(0, ctx.pass.mask_draw()) else {
            return y.data_mut().copy_from_slice(x.data());
        };
        let Drawn { sd, eps, .. } = self.drawn(x.rows(), ctx.pass, ctx.floats);
        deviations(ctx.params, sd);
        site.normals(self.units, eps);
        self.apply(x, sd, eps, y);
    }

    /// `dx = dy·(1 + sd·eps)`, with what `forward` left.
    fn backward(self, ctx: &mut Context<'_>, dy: Mat<'_>, dx: Option<MatMut<'_>>) {
        let Some(mut dx) = dx else { return };
        if ctx.pass.mask_draw() == Draw::Mean {
            return dx.data_mut().copy_from_slice(dy.data());
        }
        let Drawn { sd, eps, .. } = self.drawn(dy.rows(), ctx.pass, ctx.floats);
        self.apply(dy, sd, eps, &mut dx);
    }

    fn apply(self, x: Mat<'_>, sd: &[f32], eps: &[f32], out: &mut MatMut<'_>) {
        for i in 0..x.rows() {
            let eps = self.of_row(eps, i);
            for (x, out) in x.row(i).chunks(self.units).zip(out.row_mut(i).chunks_mut(self.units)) {
                kernels::mul_noise(x, sd, eps, out);
            }
        }
    }

    /// Writes the gradient of the deviations.
    fn deviation_grads(self, x: Mat<'_>, dy: Mat<'_>, eps: &[f32], d_sd: &mut [f32]) {
        d_sd.fill(0.0);
        for i in 0..x.rows() {
            let eps = self.of_row(eps, i);
            for (x, dy) in x.row(i).chunks(self.units).zip(dy.row(i).chunks(self.units)) {
                kernels::mul_noise_backward(x, dy, eps, d_sd);
            }
        }
    }

    /// eps of row i: its own, or that of the pass.
    fn of_row(self, eps: &[f32], i: usize) -> &[f32] {
        &eps[i * self.units % eps.len()..][..self.units]
    }
}
