//! Numbers of a stream, a run at a time.

use bdl_tensor::kernels::{self, Blocks};

use super::Noise;

/// Numbers drawn at a time: sixteen blocks of sixteen words.
const RUN: usize = 256;

/// From the words of a run to its numbers, in the order of the stream.
type Draw = fn(&Blocks, &mut [f32; RUN]);

/// The numbers of a stream in order, one for each word.
pub(super) struct Runs<'a> {
    noise: &'a Noise,
    stream: u64,
    numbers: Draw,
    /// The first block that is not drawn yet.
    block: u64,
    /// The last run that was not wanted whole, and how many of it are used up.
    run: [f32; RUN],
    next: usize,
}

impl<'a> Runs<'a> {
    /// The numbers from a word of the stream on.
    pub(super) fn at(noise: &'a Noise, stream: u64, word: u128, numbers: Draw) -> Self {
        let block = (word / 16) as u64;
        let mut runs = Self { noise, stream, numbers, block, run: [0.0; RUN], next: RUN };
        let within = (word % 16) as usize;
        if within > 0 {
            runs.draw_run();
            runs.next = within;
        }
        runs
    }

    pub(super) fn fill(&mut self, out: &mut [f32]) {
        let out = self.take(out);
        let (runs, rest) = out.as_chunks_mut::<RUN>();
        for run in runs {
            self.draw(run);
        }
        if !rest.is_empty() {
            self.draw_run();
            self.take(rest);
        }
    }

    /// Passes over a number of the run that was drawn last, which must hold one more.
    pub(super) fn skip_one(&mut self) {
        self.next += 1;
    }

    /// Copies what the run still holds to the front of `out`, and returns the rest of `out`.
    #[inline]
    fn take<'o>(&mut self, out: &'o mut [f32]) -> &'o mut [f32] {
        let held = &self.run[self.next..];
        let (taken, rest) = out.split_at_mut(held.len().min(out.len()));
        taken.copy_from_slice(&held[..taken.len()]);
        self.next += taken.len();
        rest
    }

    fn draw_run(&mut self) {
        let mut run = [0.0; RUN];
        self.draw(&mut run);
        (self.run, self.next) = (run, 0);
    }

    fn draw(&mut self, run: &mut [f32; RUN]) {
        let mut blocks: Blocks = [[0; 16]; 16];
        kernels::chacha8(&self.noise.key, self.stream, self.block, &mut blocks);
        self.block = self.block.wrapping_add(16);
        (self.numbers)(&blocks, run);
    }
}
