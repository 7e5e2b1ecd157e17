//! Addressable noise: every random number has an address, and the same address gives the same number.
//!
//! The key of the generator is (seed, purpose, lane); within it there are 2⁶⁴ streams, and in each a
//! position counted in slots. See `docs/architecture.md`, "Randomness is addressable".

use core::convert::Infallible;

use bdl_tensor::kernels;
use rand::{SeedableRng, TryRng};
use rand_chacha::ChaCha8Rng;

/// What noise is for. Numbers drawn for different purposes are independent under the same seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Purpose {
    /// Initial values of parameters.
    Init,
    /// The order of rows within an epoch.
    Shuffle,
    /// Which rows are held out.
    Split,
    /// Weights and masks during training.
    Train,
    /// Weights and masks during prediction.
    Predict,
    /// Draws from a predictive distribution.
    Draw,
    /// Resampling for intervals of metrics.
    Bootstrap,
    /// A purpose of the caller's own.
    Other(u32),
}

impl Purpose {
    const fn code(self) -> u64 {
        match self {
            Self::Init => 1,
            Self::Shuffle => 2,
            Self::Split => 3,
            Self::Train => 4,
            Self::Predict => 5,
            Self::Draw => 6,
            Self::Bootstrap => 7,
            Self::Other(n) => 1 << 32 | n as u64,
        }
    }
}

/// The source of all noise of one (seed, purpose, lane).
///
/// ```
/// use bdl_dist::{Noise, Purpose};
/// let noise = Noise::new(0, Purpose::Predict);
/// let (mut whole, mut second) = ([0.0; 8], [0.0; 4]);
/// noise.normals(7, 0, 4, &mut whole); // slots 0 and 1 of stream 7, four normals each
/// noise.normals(7, 1, 4, &mut second); // slot 1 alone
/// assert_eq!(whole[4..], second);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Noise {
    /// Positioned at word 0 of stream 0; cloned for each run.
    origin: ChaCha8Rng,
    /// Keys the ties of masks, see [`Noise::mask`].
    tie_key: u64,
}

impl std::fmt::Debug for Noise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Noise").finish_non_exhaustive()
    }
}

impl Noise {
    /// The noise of `seed` for one purpose, in lane 0.
    #[must_use]
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        Self::in_lane(seed, purpose, 0)
    }

    /// The noise of `seed` for one purpose in a lane of its own, such as the member of an ensemble.
    #[must_use]
    pub fn in_lane(seed: u64, purpose: Purpose, lane: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&purpose.code().to_le_bytes());
        key[16..24].copy_from_slice(&lane.to_le_bytes());
        key[24..].copy_from_slice(b"bdlnoise");
        let mut origin = ChaCha8Rng::from_seed(key);
        // The last stream is nobody's: layers number theirs from 0, and rows do not get that far.
        origin.set_stream(u64::MAX);
        let mut word = [0; 8];
        fill_bytes(&mut origin, &mut word);
        origin.set_stream(0);
        origin.set_word_pos(0);
        Self { origin, tie_key: u64::from_le_bytes(word) }
    }

    /// A generator over one whole stream, for whatever needs [`rand::Rng`]: initial weights, shuffles.
    #[must_use]
    pub fn rng(&self, stream: u64) -> NoiseRng {
        NoiseRng(self.at(stream, 0))
    }

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
        let mut rng = self.at(stream, u128::from(slot) * normal_words(len) as u128);
        if len.is_multiple_of(2) {
            fill_normals(&mut rng, out);
        } else if len < RUN {
            fill_odd_slots(&mut rng, len, out);
        } else {
            out.chunks_exact_mut(len).for_each(|slot| fill_odd(&mut rng, slot));
        }
    }

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
        let mut rng = self.at(stream, u128::from(slot) * mask_words(len) as u128);
        for (s, one) in (slot..).zip(out.chunks_exact_mut(words)) {
            fill_mask(&mut rng, s, len, threshold as u16, &tie, one);
        }
    }

    /// The generator at a word of a stream.
    fn at(&self, stream: u64, word: u128) -> ChaCha8Rng {
        let mut rng = self.origin.clone();
        rng.set_stream(stream);
        rng.set_word_pos(word);
        rng
    }
}

/// Words that a slot of `len` normals takes.
const fn normal_words(len: usize) -> usize {
    len.next_multiple_of(2)
}

/// Words that a slot of `len` mask bits takes.
const fn mask_words(len: usize) -> usize {
    len.div_ceil(4)
}

/// Decides the units whose byte equals the threshold.
struct Tie {
    key: u64,
    /// Of 2³², how many values keep the unit.
    below: u64,
}

impl Tie {
    fn keeps(&self, slot: u64, unit: usize) -> bool {
        mix(mix(self.key ^ slot).wrapping_add(unit as u64)) >> 32 < self.below
    }
}

/// The finalizer of SplitMix64 (Steele, Lea & Flood 2014), a bijection that spreads every bit.
const fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// Words drawn at a time.
const RUN: usize = 1024;

/// Slots of an odd length below [`RUN`], many in one run; the last normal of each slot's pairs is dropped.
fn fill_odd_slots(rng: &mut ChaCha8Rng, len: usize, out: &mut [f32]) {
    let mut padded = [0.0; RUN];
    for slots in out.chunks_mut(RUN / (len + 1) * len) {
        let padded = &mut padded[..slots.len() / len * (len + 1)];
        fill_normals(rng, padded);
        for (slot, padded) in slots.chunks_exact_mut(len).zip(padded.chunks_exact(len + 1)) {
            slot.copy_from_slice(&padded[..len]);
        }
    }
}

/// An odd number of normals: the second of the last pair is dropped.
fn fill_odd(rng: &mut ChaCha8Rng, out: &mut [f32]) {
    let Some((last, pairs)) = out.split_last_mut() else { return };
    fill_normals(rng, pairs);
    let mut pair = [0.0; 2];
    fill_normals(rng, &mut pair);
    *last = pair[0];
}

fn fill_normals(rng: &mut ChaCha8Rng, out: &mut [f32]) {
    let mut bytes = [0_u8; 4 * RUN];
    let mut words = [0_u32; RUN];
    for run in out.chunks_mut(RUN) {
        let bytes = &mut bytes[..4 * run.len()];
        fill_bytes(rng, bytes);
        let words = &mut words[..run.len()];
        for (w, b) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *w = u32::from_le_bytes(*b);
        }
        kernels::box_muller(words, run);
    }
}

fn fill_mask(rng: &mut ChaCha8Rng, slot: u64, len: usize, threshold: u16, tie: &Tie, out: &mut [u64]) {
    let mut bytes = [0_u8; 4 * RUN];
    for (r, words) in out.chunks_mut(4 * RUN / 64).enumerate() {
        let first = r * 4 * RUN;
        let n = (len - first).min(4 * RUN);
        fill_bytes(rng, &mut bytes[..n.next_multiple_of(4)]);
        bytes[n..n.next_multiple_of(64)].fill(u8::MAX);
        for (w, (word, group)) in words.iter_mut().zip(bytes.as_chunks::<64>().0).enumerate() {
            let (mut kept, mut ties) = (0_u64, 0_u64);
            for (i, &byte) in group.iter().enumerate() {
                kept |= u64::from(u16::from(byte) < threshold) << i;
                ties |= u64::from(u16::from(byte) == threshold) << i;
            }
            while ties != 0 {
                let i = ties.trailing_zeros() as usize;
                kept |= u64::from(tie.keeps(slot, first + 64 * w + i)) << i;
                ties &= ties - 1;
            }
            *word = kept;
        }
    }
    if !len.is_multiple_of(64) {
        out[len / 64] &= (1 << (len % 64)) - 1;
    }
}

fn fill_bytes(rng: &mut ChaCha8Rng, out: &mut [u8]) {
    let Ok(()) = rng.try_fill_bytes(out);
}

/// A generator over one stream of a [`Noise`]: usable with everything that takes a [`rand::Rng`].
///
/// ```
/// use bdl_dist::{Noise, Purpose};
/// use rand::RngExt;
/// let mut rng = Noise::new(0, Purpose::Init).rng(3);
/// let u: f64 = rng.random();
/// assert!((0.0..1.0).contains(&u));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoiseRng(ChaCha8Rng);

impl NoiseRng {
    /// Fills `out` with standard normals, as many words as elements (one more for an odd number).
    pub fn normals(&mut self, out: &mut [f32]) {
        match out.len() % 2 {
            0 => fill_normals(&mut self.0, out),
            _ => fill_odd(&mut self.0, out),
        }
    }

    /// A uniform number in `[0, 1)`, a multiple of 2⁻⁵³.
    pub fn uniform(&mut self) -> f64 {
        let Ok(word) = self.0.try_next_u64();
        (word >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A uniform permutation of `0..n` (Fisher–Yates).
    #[must_use]
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        self.shuffle(&mut order);
        order
    }

    /// Puts `order` into a uniformly random order (Fisher–Yates, unbiased).
    pub fn shuffle(&mut self, order: &mut [usize]) {
        for i in (1..order.len()).rev() {
            order.swap(i, self.below(i as u64 + 1) as usize);
        }
    }

    /// A uniform integer below `n` (Lemire 2019, rejecting the biased low products).
    fn below(&mut self, n: u64) -> u64 {
        loop {
            let Ok(word) = self.0.try_next_u64();
            let wide = u128::from(word) * u128::from(n);
            if wide as u64 >= n.wrapping_neg() % n {
                return (wide >> 64) as u64;
            }
        }
    }
}

impl TryRng for NoiseRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.0.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0.try_next_u64()
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.0.try_fill_bytes(out)
    }
}
