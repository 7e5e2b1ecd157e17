//! The scale mixture of two normals.

use std::f64::consts::TAU;

use bdl_tensor::kernels;
use rand::distr::Distribution;
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use crate::{Density, Error, NoiseRng, Normal};

/// The mixture of a wide and a narrow normal around 0, `pi·N(0, wide²) + (1 − pi)·N(0, narrow²)`.
///
/// | name | default | range | meaning |
/// |---|---|---|---|
/// | `pi` | ½ | (0, 1) | share of the wide component |
/// | `std_devs` | `[1, e^−6]` | 1e-15 to 1e15, the first larger | wide and narrow deviation |
///
/// As a prior it is a mixture for each weight: most may be next to 0, and those that are not pay little for their size. The
/// defaults are among the values that were searched by Blundell et al.
///
/// ```
/// use bdl_dist::{Density, ScaleMixture};
/// let p = ScaleMixture::new(0.25, [2.0, 0.5])?;
/// // ln(0.25·N(1; 0, 4) + 0.75·N(1; 0, 0.25))
/// assert!((p.ln_prob(1.0) + 2.079_485).abs() < 1e-6);
/// # Ok::<(), bdl_dist::Error>(())
/// ```
///
/// # References
/// Blundell et al. 2015, *Weight uncertainty in neural networks*, eq. 7 and section 5.1; `docs/math.md#prior-scale-mixture`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScaleMixture {
    pi: f64,
    std_devs: [f64; 2],
}

impl Default for ScaleMixture {
    fn default() -> Self {
        Self { pi: 0.5, std_devs: [1.0, (-6.0_f64).exp()] }
    }
}

impl ScaleMixture {
    /// The mixture of a share `pi` of the first, wider component and of the second.
    ///
    /// # Errors
    /// [`Error::Argument`] for what is outside the ranges above. A share of 0 or 1 is no mixture.
    pub fn new(pi: f64, std_devs: [f64; 2]) -> Result<Self, Error> {
        let refuse = |what, expected, got| Err(Error::Argument { what, expected, got });
        if !(pi > 0.0 && pi < 1.0) {
            return refuse("scale mixture: pi", "in (0, 1)", pi);
        }
        if let Some(&got) = std_devs.iter().find(|s| !(1e-15..=1e15).contains(*s)) {
            return refuse("scale mixture: std_dev", "between 1e-15 and 1e15", got);
        }
        if std_devs[1] >= std_devs[0] {
            return refuse("scale mixture: second std_dev", "below the first", std_devs[1]);
        }
        Ok(Self { pi, std_devs })
    }

    /// Share of the wide component.
    #[must_use]
    pub fn pi(&self) -> f64 {
        self.pi
    }

    /// Wide and narrow deviation.
    #[must_use]
    pub fn std_devs(&self) -> [f64; 2] {
        self.std_devs
    }

    /// The same with both deviations multiplied.
    ///
    /// # Errors
    /// [`Error::Argument`] where that leaves their range.
    pub fn scaled(&self, factor: f64) -> Result<Self, Error> {
        Self::new(self.pi, self.std_devs.map(|s| factor * s))
    }

    fn kernel(&self) -> kernels::ScaleMixture {
        let [wide, narrow] = self.std_devs;
        let ln_odds = ((1.0 - self.pi) / self.pi).ln() + (wide / narrow).ln();
        kernels::ScaleMixture { precisions: [wide.powi(-2), narrow.powi(-2)], ln_odds }
    }

    /// `ln pi + E ln N(w; 0, wide²)`, which the narrow component adds to, for `E w² = second_moment`.
    fn of_wide(&self, second_moment: f64) -> f64 {
        let wide = self.std_devs[0];
        self.pi.ln() - wide.ln() - 0.5 * TAU.ln() - 0.5 * second_moment / (wide * wide)
    }
}

impl Density for ScaleMixture {
    /// By logsumexp: `ln p = ln(pi·N(x; 0, wide²)) + softplus(ln odds of the narrow component)`.
    fn ln_prob(&self, x: f64) -> f64 {
        let kernel = self.kernel();
        let odds = kernel.ln_odds - 0.5 * (kernel.precisions[1] - kernel.precisions[0]) * x * x;
        self.of_wide(x * x) + bdl_tensor::special::softplus(odds)
    }

    fn slope(&self, x: f64) -> f64 {
        let kernel = self.kernel();
        let odds = kernel.ln_odds - 0.5 * (kernel.precisions[1] - kernel.precisions[0]) * x * x;
        let shares = [-odds, odds].map(bdl_tensor::special::sigmoid);
        -x * (shares[0] * kernel.precisions[0] + shares[1] * kernel.precisions[1])
    }

    /// Half the narrow deviation: where one component takes over from the other, the slope turns within as much.
    fn width(&self) -> f64 {
        0.5 * self.std_devs[1]
    }

    fn draw(&self, rng: &mut NoiseRng) -> Option<f64> {
        Some(self.sample(rng))
    }

    fn slopes(&self, x: &[f32], out: &mut [f32]) {
        kernels::scale_mixture_slope(&self.kernel(), x, out);
    }

    fn expected_ln_prob_sum(&self, mu: &[f32], sigma: &[f64]) -> f64 {
        let square = |(&mu, sigma): (&f32, &f64)| f64::from(mu).powi(2) + sigma * sigma;
        let of_wide: f64 = mu.iter().zip(sigma).map(|weight| self.of_wide(square(weight))).sum();
        of_wide + kernels::scale_mixture_excess(&self.kernel(), mu, sigma)
    }

    /// The wide component: a weight that has learned that it is 0 is near the narrow one.
    fn nearest_normal(&self) -> Option<Normal> {
        Normal::new(0.0, self.std_devs[0]).ok()
    }
}

impl Distribution<f64> for ScaleMixture {
    fn sample<R: Rng + ?Sized>(&self, rng: &mut R) -> f64 {
        let narrow = usize::from(rng.random::<f64>() >= self.pi);
        let eps: f64 = StandardNormal.sample(rng);
        self.std_devs[narrow] * eps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_mixture_is_refused() {
        let message = |pi, std_devs| ScaleMixture::new(pi, std_devs).unwrap_err().to_string();
        assert_eq!(message(1.0, [1.0, 0.1]), "scale mixture: pi must be in (0, 1), got 1");
        assert_eq!(message(0.5, [1.0, 0.0]), "scale mixture: std_dev must be between 1e-15 and 1e15, got 0");
        assert_eq!(message(0.5, [1.0, 1.0]), "scale mixture: second std_dev must be below the first, got 1");
        assert!(ScaleMixture::new(f64::NAN, [1.0, 0.1]).is_err());
        assert!(ScaleMixture::new(0.5, [f64::NAN, 0.1]).is_err());
        assert!(ScaleMixture::default().scaled(1e-14).is_err());
    }

    #[test]
    fn the_default_is_a_mixture() {
        let p = ScaleMixture::default();
        assert_eq!(ScaleMixture::new(p.pi(), p.std_devs()), Ok(p));
        // Either component alone gives other densities, at 0 and away from it.
        for (x, std_dev) in [(0.0, p.std_devs()[1]), (1.0, p.std_devs()[0])] {
            let alone = Normal::new(0.0, std_dev).unwrap().ln_prob(x);
            assert!((p.ln_prob(x) - alone - 0.5_f64.ln()).abs() < 0.01, "{x}: {}", p.ln_prob(x));
        }
    }
}
