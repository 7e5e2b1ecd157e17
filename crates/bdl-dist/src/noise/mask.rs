//! Mask bits: one random byte per unit, ties decided by more bits.

use bdl_tensor::kernels::{self, Blocks};

use super::Noise;

/// Blocks drawn at a time.
const RUN: usize = 16;

impl Noise {
    /// Mask bits: bit `i % 64` of word `i / 64` is 1 (kept) with probability `keep_prob`, else 0.
    ///
    /// `out` holds whole slots of `⌈len/64⌉` words each, the first being slot `slot` of the stream; the
    /// bits behind the last unit are 0. One random byte is drawn per unit and compared with
    /// `⌊256·keep_prob⌋`; equality, one case in 256, is decided by 32 further bits addressed by
    /// (stream, slot, unit), so that the probability is exact to 2⁻⁴⁰.
    ///
    /// ```
    /// use bdl_dist::{Noise, Purpose};
    /// let mut mask = [0_u64; 2];
    /// Noise::new(1, Purpose::Train).mask(0, 0, 100, 0.8, &mut mask);
    /// let kept: u32 = mask.iter().map(|w| w.count_ones()).sum();
    /// assert!((65..95).contains(&kept));
    /// assert_eq!(mask[1] >> 36, 0);
    /// ```
    ///
    /// # Panics
    /// If `len` is 0, if `out` is not whole slots, or if `keep_prob` is not in `[0, 1]`.
    pub fn mask(&self, stream: u64, slot: u64, len: usize, keep_prob: f64, out: &mut [u64]) {
        let words = len.div_ceil(64);
        assert!(
            len > 0 && out.len().is_multiple_of(words),
            "mask: {} words are no whole slots of {len} bits",
            out.len()
        );
        assert!((0.0..=1.0).contains(&keep_prob), "mask: keep_prob must be in [0, 1], got {keep_prob}");
        let threshold = (keep_prob * 256.0).floor();
        let tie = Tie {
            key: self.tie_key ^ mix(stream),
            below: ((keep_prob * 256.0 - threshold) * 4_294_967_296.0) as u64,
        };
        let start = u128::from(slot) * len.div_ceil(4) as u128;
        let mut bits = Bits::at(self, stream, start, threshold as u32, tie.below != 0);
        for (s, one) in (slot..).zip(out.chunks_exact_mut(words)) {
            for (w, word) in one.iter_mut().enumerate() {
                let (kept, ties) = bits.next((len - 64 * w).min(64));
                *word = kept | tie.kept_of(ties, s, 64 * w);
            }
        }
    }
}

/// The bytes of a stream, each as two bits: kept, and tied.
struct Bits<'a> {
    noise: &'a Noise,
    stream: u64,
    /// The first block that is not drawn yet.
    block: u64,
    threshold: u32,
    has_ties: bool,
    /// The last word of the run before, and those of this run.
    kept: [u64; 1 + RUN],
    ties: [u64; 1 + RUN],
    /// Of the next byte, in these.
    position: usize,
}

impl<'a> Bits<'a> {
    /// The bits from a word of the stream on.
    fn at(noise: &'a Noise, stream: u64, word: u128, threshold: u32, has_ties: bool) -> Self {
        let (kept, ties) = ([0; 1 + RUN], [0; 1 + RUN]);
        let mut bits =
            Self { noise, stream, block: (word / 16) as u64, threshold, has_ties, kept, ties, position: 0 };
        bits.draw();
        bits.position = 64 + 4 * (word % 16) as usize;
        bits
    }

    /// The next `n` ≤ 64 bits of both kinds, the rest of a word of four bytes being skipped.
    #[inline]
    fn next(&mut self, n: usize) -> (u64, u64) {
        if self.position > 64 * RUN {
            self.draw();
            self.position -= 64 * RUN;
        }
        let (word, shift) = (self.position / 64, self.position % 64);
        self.position += n.next_multiple_of(4);
        let mask = u64::MAX >> (64 - n);
        let above = |bits: &[u64; 1 + RUN]| bits.get(word + 1).map_or(0, |x| x << 1 << (63 - shift));
        let both = |bits: &[u64; 1 + RUN]| (bits[word] >> shift | above(bits)) & mask;
        (both(&self.kept), both(&self.ties))
    }

    /// Draws the next blocks; the last word stays, since a slot may begin within it.
    fn draw(&mut self) {
        (self.kept[0], self.ties[0]) = (self.kept[RUN], self.ties[RUN]);
        let mut blocks: Blocks = [[0; RUN]; 16];
        kernels::chacha8(&self.noise.key, self.stream, self.block, &mut blocks);
        self.block = self.block.wrapping_add(RUN as u64);
        let [mut kept, mut reached] = [[0; RUN]; 2];
        kernels::bytes_below(&blocks, self.threshold, &mut kept);
        self.kept[1..].copy_from_slice(&kept);
        if self.has_ties {
            kernels::bytes_below(&blocks, self.threshold + 1, &mut reached);
            for (tie, (kept, reached)) in self.ties[1..].iter_mut().zip(kept.iter().zip(&reached)) {
                *tie = kept ^ reached;
            }
        }
    }
}

/// Decides the units whose byte equals the threshold.
struct Tie {
    key: u64,
    /// Of 2³², how many values keep the unit.
    below: u64,
}

impl Tie {
    /// Those of the tied units `first + i`, i the bits of `ties`, that are kept.
    #[inline]
    fn kept_of(&self, mut ties: u64, slot: u64, first: usize) -> u64 {
        let mut kept = 0;
        while ties != 0 {
            let i = ties.trailing_zeros();
            kept |= u64::from(self.keeps(slot, first as u64 + u64::from(i))) << i;
            ties &= ties - 1;
        }
        kept
    }

    fn keeps(&self, slot: u64, unit: u64) -> bool {
        mix(mix(self.key ^ slot).wrapping_add(unit)) >> 32 < self.below
    }
}

/// The finalizer of SplitMix64 (Steele, Lea & Flood 2014), a bijection that spreads every bit.
const fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}
