//! The Bernoulli distribution.

use rand::distr::Distribution;
use rand::{Rng, RngExt};

use bdl_tensor::special::xlogx;

use crate::Error;

/// The Bernoulli distribution: 1 with probability `prob`, else 0.
///
/// For masks over whole layers use [`Noise::mask`](crate::Noise::mask), which draws bits in bulk.
///
/// ```
/// use bdl_dist::Bernoulli;
/// let (q, p) = (Bernoulli::new(0.9)?, Bernoulli::new(0.5)?);
/// assert!((q.kl_from(&p) - 0.368_064).abs() < 1e-6); // ln 2 − H(0.9)
/// # Ok::<(), bdl_dist::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bernoulli {
    prob: f64,
}

impl Bernoulli {
    /// The distribution with P(1) = `prob`.
    ///
    /// # Errors
    /// [`Error::Probability`] unless `prob` is in `[0, 1]`.
    pub fn new(prob: f64) -> Result<Self, Error> {
        if !(0.0..=1.0).contains(&prob) {
            return Err(Error::Probability { what: "bernoulli prob", range: "[0, 1]", got: prob });
        }
        Ok(Self { prob })
    }

    /// P(1).
    #[must_use]
    pub fn prob(&self) -> f64 {
        self.prob
    }

    /// Entropy in nats, `−p ln p − (1−p) ln(1−p)` with 0·ln 0 = 0.
    #[must_use]
    pub fn entropy(&self) -> f64 {
        -xlogx(self.prob) - xlogx(1.0 - self.prob)
    }

    /// `KL(self‖p)` in nats; infinite where `p` rules out what `self` allows.
    #[must_use]
    pub fn kl_from(&self, p: &Self) -> f64 {
        let term = |q: f64, p: f64| if q == 0.0 { 0.0 } else { q * (q / p).ln() };
        // Rounding may leave −1e−17 where the two are nearly the same.
        (term(self.prob, p.prob) + term(1.0 - self.prob, 1.0 - p.prob)).max(0.0)
    }
}

impl Distribution<bool> for Bernoulli {
    fn sample<R: Rng + ?Sized>(&self, rng: &mut R) -> bool {
        rng.random::<f64>() < self.prob
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kl_is_zero_at_itself_and_infinite_where_p_has_no_mass() {
        for prob in [0.0, 0.3, 1.0] {
            let q = Bernoulli::new(prob).unwrap();
            assert_eq!(q.kl_from(&q), 0.0);
        }
        let never = Bernoulli::new(0.0).unwrap();
        assert_eq!(Bernoulli::new(0.5).unwrap().kl_from(&never), f64::INFINITY);
        assert_eq!(never.entropy(), 0.0);
    }

    #[test]
    fn a_probability_outside_zero_and_one_is_refused() {
        let e = Bernoulli::new(1.5).unwrap_err();
        assert_eq!(e.to_string(), "bernoulli prob: must be in [0, 1], got 1.5");
        assert!(Bernoulli::new(f64::NAN).is_err());
    }
}
