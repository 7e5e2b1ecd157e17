//! A layer on the test bench: parameters, inputs, and memory full of NaN.

use bdl_dist::{Noise, Purpose};
use bdl_tensor::{Mat, MatMut, Pool};

use crate::{Backward, Context, Error, Layer, Pass};

/// Where in a plan the layer pretends to stand.
pub(super) const PLACE: usize = 3;

const ROWS: usize = 5;

pub(super) struct Rig<'a> {
    pub(super) layer: &'a dyn Layer,
    pub(super) params: Vec<f32>,
    /// `[ROWS, in_dim]`.
    pub(super) x: Vec<f32>,
}

/// What a forward pass leaves.
pub(super) struct Tape {
    pub(super) y: Vec<f32>,
    floats: Vec<f32>,
    words: Vec<u64>,
}

impl<'a> Rig<'a> {
    /// Initial parameters moved by a tenth of a normal, inputs of magnitude 0.2 and more.
    pub(super) fn new(layer: &'a dyn Layer) -> Self {
        let mut params = vec![0.0; layer.blocks().iter().map(crate::Block::len).sum()];
        layer.init(&mut params, &mut Noise::new(2, Purpose::Init).rng(0));
        let moves = numbers(0, params.len());
        params.iter_mut().zip(moves).for_each(|(p, n)| *p += 0.1 * n);
        let x = numbers(1, ROWS * layer.in_dim()).into_iter().map(|n| n + 0.2_f32.copysign(n)).collect();
        Self { layer, params, x }
    }

    /// The same with another layer, which must have the same blocks and widths.
    pub(super) fn with<'b>(&self, layer: &'b dyn Layer) -> Rig<'b> {
        Rig { layer, params: self.params.clone(), x: self.x.clone() }
    }

    pub(super) fn forward(&self, x: &[f32], pass: &Pass<'_>) -> Result<Tape, Error> {
        self.forward_at(PLACE, &self.params, x, pass)
    }

    pub(super) fn forward_at(
        &self,
        place: usize,
        params: &[f32],
        x: &[f32],
        pass: &Pass<'_>,
    ) -> Result<Tape, Error> {
        let (width_in, width) = (self.layer.in_dim(), self.layer.out_dim());
        let rows = x.len() / width_in;
        let scratch = self.layer.scratch(rows, pass);
        let mut tape = Tape {
            y: vec![f32::NAN; rows * width],
            floats: vec![f32::NAN; scratch.floats],
            words: vec![u64::MAX; scratch.words],
        };
        let Tape { y, floats, words } = &mut tape;
        let mut ctx = Context { pass, params, floats, words, prepared: &[], shared: &[], layer: place };
        self.layer.forward(&mut ctx, Mat::new(x, rows, width_in)?, &mut MatMut::new(y, rows, width)?)?;
        Ok(tape)
    }

    /// Adds to `grads` and writes `dx`, for the pass that left `tape`.
    pub(super) fn backward(
        &self,
        tape: Tape,
        pass: &Pass<'_>,
        dy: &[f32],
        grads: &mut [f32],
        dx: Option<&mut [f32]>,
    ) -> Result<(), Error> {
        self.back(tape, pass, dy, dx, |ctx, io| self.layer.backward(ctx, grads, io))
    }

    /// Writes `grads` and `dx`, for the pass that left `tape`.
    pub(super) fn write_backward(
        &self,
        tape: Tape,
        pass: &Pass<'_>,
        dy: &[f32],
        grads: &mut [f32],
        dx: Option<&mut [f32]>,
    ) -> Result<(), Error> {
        self.back(tape, pass, dy, dx, |ctx, io| self.layer.write_backward(ctx, grads, io))
    }

    fn back(
        &self,
        mut tape: Tape,
        pass: &Pass<'_>,
        dy: &[f32],
        dx: Option<&mut [f32]>,
        f: impl FnOnce(&mut Context<'_>, Backward<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (width_in, width) = (self.layer.in_dim(), self.layer.out_dim());
        let rows = self.x.len() / width_in;
        let Tape { y, floats, words } = &mut tape;
        let mut ctx =
            Context { pass, params: &self.params, floats, words, prepared: &[], shared: &[], layer: PLACE };
        let io = Backward {
            x: Mat::new(&self.x, rows, width_in)?,
            y: Mat::new(y, rows, width)?,
            dy: Mat::new(dy, rows, width)?,
            dx: dx.map(|dx| MatMut::new(dx, rows, width_in)).transpose()?,
        };
        f(&mut ctx, io)
    }
}

/// Standard normals, the same for the same stream.
pub(super) fn numbers(stream: u64, n: usize) -> Vec<f32> {
    let mut out = vec![0.0; n];
    Noise::new(0, Purpose::Other(0xc0f)).rng(stream).normals(&mut out);
    out
}

/// Says where two slices differ in bits.
pub(super) fn same_bits(expected: &[f32], got: &[f32]) -> Result<(), String> {
    match expected.iter().zip(got).position(|(a, b)| a.to_bits() != b.to_bits()) {
        Some(i) => Err(format!("element {i}: expected {:e}, got {:e}", expected[i], got[i])),
        None if expected.len() != got.len() => {
            Err(format!("expected {} elements, got {}", expected.len(), got.len()))
        }
        None => Ok(()),
    }
}

/// A pool of three threads.
#[derive(Debug)]
pub(super) struct Threads;

impl Pool for Threads {
    fn threads(&self) -> usize {
        3
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|s| {
            for first in 0..self.threads() {
                s.spawn(move || (first..tasks).step_by(self.threads()).for_each(task));
            }
        });
    }

    fn chunks(&self, data: &mut [f32], len: usize, task: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        std::thread::scope(|s| {
            for (i, chunk) in data.chunks_mut(len).enumerate() {
                s.spawn(move || task(i, chunk));
            }
        });
    }
}
