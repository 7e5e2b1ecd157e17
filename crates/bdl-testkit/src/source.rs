//! A small deterministic generator, so that tests have inputs without the code under test.

/// SplitMix64: the 64-bit counter `state += 0x9E37…15`, scrambled.
///
/// Good enough to make test inputs; not the noise of any model.
///
/// # Examples
/// ```
/// let mut source = bdl_testkit::source::SplitMix64::new(1);
/// let x = source.normals(3);
/// assert_eq!(x, bdl_testkit::source::SplitMix64::new(1).normals(3));
/// ```
///
/// # References
/// Steele, Lea and Flood, 2014, "Fast splittable pseudorandom number generators".
#[derive(Debug, Clone)]
pub struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// The generator that starts at `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform on [0, 1), 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform on 0, 1, …, `n` − 1 (biased by at most `n`·2⁻⁵³).
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "below: n must be > 0");
        (self.uniform() * n as f64) as usize
    }

    /// Standard normal, by Marsaglia's polar method (the code under test uses Box–Muller).
    pub fn normal(&mut self) -> f64 {
        loop {
            let (u, v) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let s = u * u + v * v;
            if s > 0.0 && s < 1.0 {
                return u * (-2.0 * s.ln() / s).sqrt();
            }
        }
    }

    /// `n` uniforms on [`low`, `high`).
    pub fn uniforms(&mut self, n: usize, low: f64, high: f64) -> Vec<f64> {
        (0..n).map(|_| low + (high - low) * self.uniform()).collect()
    }

    /// `n` standard normals.
    pub fn normals(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.normal()).collect()
    }

    /// `n` mask entries, each kept (`true`) with probability `keep_prob`.
    pub fn mask(&mut self, n: usize, keep_prob: f64) -> Vec<bool> {
        (0..n).map(|_| self.uniform() < keep_prob).collect()
    }
}

/// `x` as the nearest `f32` values: the fast code's input.
#[must_use]
pub fn to_f32(x: &[f64]) -> Vec<f32> {
    x.iter().map(|&v| v as f32).collect()
}

/// `x` as `f64`, exactly.
#[must_use]
pub fn to_f64(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&v| f64::from(v)).collect()
}

/// `x` rounded to `f32` and back, so that oracle and fast code start from equal numbers.
#[must_use]
pub fn rounded(x: &[f64]) -> Vec<f64> {
    to_f64(&to_f32(x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{MomentCheck, assert_ks, normal_cdf};

    #[test]
    fn bits_are_those_of_the_published_reference() {
        // Vigna's splitmix64.c from seed 1234567.
        let mut source = SplitMix64::new(1_234_567);
        let bits: Vec<u64> = (0..5).map(|_| source.next_u64()).collect();
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(bits, expected);
    }

    // 20 000 draws, false-alarm rate 1e-4 each, seed fixed.
    #[test]
    fn uniforms_and_normals_have_their_distributions() {
        let mut source = SplitMix64::new(7);
        assert_ks("uniform", &source.uniforms(20_000, 0.0, 1.0), |x| x.clamp(0.0, 1.0), 1e-4);
        let normals = source.normals(20_000);
        assert_ks("normal", &normals, normal_cdf, 1e-4);
        MomentCheck::normal_variance("normal", &normals, 1.0).assert();
    }

    #[test]
    fn masks_keep_their_share() {
        let mut source = SplitMix64::new(3);
        let kept = source.mask(40_000, 0.8).iter().filter(|&&z| z).count();
        MomentCheck::proportion("mask", kept, 40_000, 0.8).assert();
        assert!((0..1000).all(|_| source.below(7) < 7));
    }

    #[test]
    fn rounding_is_idempotent() {
        let x = SplitMix64::new(5).normals(10);
        assert_eq!(rounded(&rounded(&x)), rounded(&x));
    }
}
