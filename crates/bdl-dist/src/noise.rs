//! Addressable noise: every random number has an address, and the same address gives the same number.
//!
//! The key of the generator is (seed, purpose, lane); within it there are 2⁶⁴ streams, and in each a
//! position counted in slots. See `docs/architecture.md`, "Randomness is addressable".

mod logistics;
mod mask;
mod normals;
mod runs;

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
    /// Where on the step of its count a probability integral transform lies.
    Pit,
    /// Weights from their prior.
    Prior,
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
            Self::Pit => 8,
            Self::Prior => 9,
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
    /// Of the ChaCha8 generator.
    key: [u32; 8],
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
        let words = key.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
        let mut noise = Self { key: [0; 8], tie_key: 0 };
        noise.key.iter_mut().zip(words).for_each(|(key, word)| *key = word);
        // The last stream is nobody's: layers number theirs from 0, and rows do not get that far.
        let Ok(tie_key) = noise.rng(u64::MAX).try_next_u64();
        Self { tie_key, ..noise }
    }

    /// A generator over one whole stream, for whatever needs [`rand::Rng`]: initial weights, shuffles.
    #[must_use]
    pub fn rng(&self, stream: u64) -> NoiseRng {
        let mut seed = [0; 32];
        seed.as_chunks_mut::<4>().0.iter_mut().zip(self.key).for_each(|(s, k)| *s = k.to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(seed);
        rng.set_stream(stream);
        NoiseRng(rng)
    }
}

/// Words that a generator draws at a time for normals.
const RUN: usize = 1024;

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
        let (pairs, odd) = out.split_at_mut(out.len() / 2 * 2);
        pairs.chunks_mut(RUN).for_each(|run| self.pairs(run));
        if let [last] = odd {
            let mut pair = [0.0; 2];
            self.pairs(&mut pair);
            *last = pair[0];
        }
    }

    /// At most [`RUN`] normals, an even number.
    fn pairs(&mut self, out: &mut [f32]) {
        let mut words = [0; RUN];
        let words = &mut words[..out.len()];
        for word in words.iter_mut() {
            let Ok(drawn) = self.0.try_next_u32();
            *word = drawn;
        }
        kernels::box_muller(words, out);
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
