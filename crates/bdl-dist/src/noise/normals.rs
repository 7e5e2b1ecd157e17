//! Standard normals, a run of a stream at a time.

use bdl_tensor::kernels::{self, Blocks};

use super::Noise;

/// Normals drawn at a time: sixteen blocks of sixteen words.
const RUN: usize = 256;

impl Noise {
    /// Standard normals: `out` holds whole slots of `len` elements each, the first being slot `slot` of
    /// the stream.
    ///
    /// A slot takes `2⌈len/2⌉` words; pairs of words become pairs of normals by Box–Muller.
    ///
    /// # Panics
    /// If `len` is 0 or does not divide `out.len()`.
    pub fn normals(&self, stream: u64, slot: u64, len: usize, out: &mut [f32]) {
        assert!(
            len > 0 && out.len().is_multiple_of(len),
            "normals: {} elements are no whole slots of {len}",
            out.len()
        );
        let start = u128::from(slot) * len.next_multiple_of(2) as u128;
        let mut normals = Normals::at(self, stream, start);
        if len.is_multiple_of(2) {
            return normals.fill(out);
        }
        for slot in out.chunks_exact_mut(len) {
            normals.fill(slot);
            normals.next += 1; // the second of the slot's last pair
        }
    }

    /// A part of what [`normals`](Noise::normals) gives for one slot of `len` elements: those from `from` on.
    ///
    /// ```
    /// use bdl_dist::{Noise, Purpose};
    /// let noise = Noise::new(0, Purpose::Train);
    /// let (mut whole, mut part) = ([0.0; 7], [0.0; 3]);
    /// noise.normals(5, 2, 7, &mut whole);
    /// noise.normals_within(5, 2, 7, 3, &mut part);
    /// assert_eq!(whole[3..6], part);
    /// ```
    ///
    /// # Panics
    /// If the part reaches beyond the slot.
    pub fn normals_within(&self, stream: u64, slot: u64, len: usize, from: usize, out: &mut [f32]) {
        let fits = from <= len && out.len() <= len - from;
        assert!(fits, "normals_within: {} elements from {from} on are not in a slot of {len}", out.len());
        let start = u128::from(slot) * len.next_multiple_of(2) as u128 + from as u128;
        Normals::at(self, stream, start).fill(out);
    }
}

/// The normals of a stream, in order.
struct Normals<'a> {
    noise: &'a Noise,
    stream: u64,
    /// The first block that is not drawn yet.
    block: u64,
    /// The last run that was not wanted whole, and how many of it are used up.
    run: [f32; RUN],
    next: usize,
}

impl<'a> Normals<'a> {
    /// The normals from a word of the stream on.
    fn at(noise: &'a Noise, stream: u64, word: u128) -> Self {
        let mut normals = Self { noise, stream, block: (word / 16) as u64, run: [0.0; RUN], next: RUN };
        let within = (word % 16) as usize;
        if within > 0 {
            normals.draw_run();
            normals.next = within;
        }
        normals
    }

    fn fill(&mut self, out: &mut [f32]) {
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
        kernels::box_muller_blocks(&blocks, run);
    }
}
