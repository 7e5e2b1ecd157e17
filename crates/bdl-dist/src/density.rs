//! Densities on the real line, as the prior of a weight, and their means under normals.

use std::fmt::Debug;
use std::sync::Arc;

use crate::{NoiseRng, Normal};

/// A density that a weight may have as its prior: what a KL divergence `KL(N(mu, sigma²)‖p)` asks of p.
///
/// The first four functions are all that a density of one's own has to have; the others are worked out from them, by
/// quadrature, and are there to be replaced where something faster or exact is known.
///
/// ```
/// use bdl_dist::{Density, NoiseRng};
/// /// `1/(π(1 + x²))`.
/// #[derive(Debug)]
/// struct Cauchy;
/// impl Density for Cauchy {
///     fn ln_prob(&self, x: f64) -> f64 {
///         -(std::f64::consts::PI * (1.0 + x * x)).ln()
///     }
///     fn slope(&self, x: f64) -> f64 {
///         -2.0 * x / (1.0 + x * x)
///     }
///     fn width(&self) -> f64 {
///         1.0
///     }
///     fn draw(&self, rng: &mut NoiseRng) -> Option<f64> {
///         Some((std::f64::consts::PI * (rng.uniform() - 0.5)).tan())
///     }
/// }
/// // E ln p under N(0.5, 0.2²)
/// assert!((Cauchy.expected_ln_prob(0.5, 0.2) + 1.387_372).abs() < 1e-6);
/// ```
pub trait Density: Debug + Send + Sync {
    /// Log density in nats; of an improper density up to a constant.
    fn ln_prob(&self, x: f64) -> f64;

    /// `d ln p(x)/dx`. At a kink any value between those on either side.
    fn slope(&self, x: f64) -> f64;

    /// A length, > 0: on |x| up to it, and beyond in proportion to |x|, the log density is smooth, except for a kink at
    /// 0. Quadrature makes its panels so.
    fn width(&self) -> f64;

    /// A draw; `None` if the density is improper.
    fn draw(&self, rng: &mut NoiseRng) -> Option<f64>;

    /// [`slope`](Density::slope) of each element: what a training step calls, for some hundred weights at a time.
    fn slopes(&self, x: &[f32], out: &mut [f32]) {
        out.iter_mut().zip(x).for_each(|(o, &x)| *o = self.slope(x.into()) as f32);
    }

    /// Whether [`expected_slopes`](Density::expected_slopes) is a closed form, so that training takes it in place of a draw.
    fn closed_form(&self) -> bool {
        false
    }

    /// `E ln p(w)` for `w ~ N(mu, sigma²)`.
    fn expected_ln_prob(&self, mu: f64, sigma: f64) -> f64 {
        let [mean] = normal_mean(mu, sigma, self.width(), |w, _| [self.ln_prob(w)]);
        mean
    }

    /// The derivatives of [`expected_ln_prob`](Density::expected_ln_prob) in mu and in ln sigma: `E p′/p` and
    /// `E sigma·eps·p′/p`.
    fn expected_slopes(&self, mu: f64, sigma: f64) -> [f64; 2] {
        normal_mean(mu, sigma, self.width(), |w, step| {
            let slope = self.slope(w);
            [slope, slope * step]
        })
    }

    /// The sum of [`expected_ln_prob`](Density::expected_ln_prob) over some weights.
    fn expected_ln_prob_sum(&self, mu: &[f32], sigma: &[f64]) -> f64 {
        mu.iter().zip(sigma).map(|(&mu, &sigma)| self.expected_ln_prob(mu.into(), sigma)).sum()
    }

    /// [`expected_slopes`](Density::expected_slopes) of each of some weights.
    fn expected_slopes_of(&self, mu: &[f32], sigma: &[f32], by_mu: &mut [f32], by_ln_sigma: &mut [f32]) {
        let out = by_mu.iter_mut().zip(by_ln_sigma);
        for ((&mu, &sigma), (by_mu, by_ln_sigma)) in mu.iter().zip(sigma).zip(out) {
            let slopes = self.expected_slopes(mu.into(), sigma.into());
            [*by_mu, *by_ln_sigma] = slopes.map(|slope| slope as f32);
        }
    }

    /// The normal posterior of a weight that has learned nothing: the normal around 0 nearest to this density, in the sense
    /// of `KL(normal‖p)`. `None` if any width is as near as any other.
    fn nearest_normal(&self) -> Option<Normal> {
        let far = |ln_sigma: f64| -ln_sigma - self.expected_ln_prob(0.0, ln_sigma.exp());
        let centre = self.width().ln();
        let std_dev = least(far, centre - 12.0, centre + 12.0).exp();
        Normal::new(0.0, std_dev).ok()
    }
}

/// Where f is least between `low` and `high`, by the golden section; f has one minimum.
fn least(f: impl Fn(f64) -> f64, mut low: f64, mut high: f64) -> f64 {
    const SHARE: f64 = 0.618_033_988_749_894_9;
    for _ in 0..60 {
        let (left, right) = (high - SHARE * (high - low), low + SHARE * (high - low));
        if f(left) < f(right) {
            high = right;
        } else {
            low = left;
        }
    }
    0.5 * (low + high)
}

/// The density of `factor·x` where x has another density: a prior whose scale follows the size of a layer.
#[derive(Clone, Debug)]
pub struct Scaled {
    density: Arc<dyn Density>,
    factor: f64,
}

impl Scaled {
    /// The density of `factor·x`; the factor is positive.
    #[must_use]
    pub fn new(density: Arc<dyn Density>, factor: f64) -> Self {
        Self { density, factor }
    }
}

impl Density for Scaled {
    fn ln_prob(&self, x: f64) -> f64 {
        self.density.ln_prob(x / self.factor) - self.factor.ln()
    }

    fn slope(&self, x: f64) -> f64 {
        self.density.slope(x / self.factor) / self.factor
    }

    fn width(&self) -> f64 {
        self.factor * self.density.width()
    }

    fn draw(&self, rng: &mut NoiseRng) -> Option<f64> {
        Some(self.factor * self.density.draw(rng)?)
    }

    fn closed_form(&self) -> bool {
        self.density.closed_form()
    }

    fn expected_ln_prob(&self, mu: f64, sigma: f64) -> f64 {
        self.density.expected_ln_prob(mu / self.factor, sigma / self.factor) - self.factor.ln()
    }

    fn expected_slopes(&self, mu: f64, sigma: f64) -> [f64; 2] {
        let [by_mu, by_ln_sigma] = self.density.expected_slopes(mu / self.factor, sigma / self.factor);
        [by_mu / self.factor, by_ln_sigma]
    }

    fn nearest_normal(&self) -> Option<Normal> {
        let normal = self.density.nearest_normal()?;
        Normal::new(self.factor * normal.mean(), self.factor * normal.std_dev()).ok()
    }
}

/// Positive nodes of Gauss–Legendre quadrature with 12 nodes on [−1, 1], and their weights.
const LEGENDRE: [[f64; 2]; 6] = [
    [0.125_233_408_511_468_9, 0.249_147_045_813_402_77],
    [0.367_831_498_998_180_2, 0.233_492_536_538_354_8],
    [0.587_317_954_286_617_5, 0.203_167_426_723_065_92],
    [0.769_902_674_194_304_7, 0.160_078_328_543_346_22],
    [0.904_117_256_370_474_9, 0.106_939_325_995_318_43],
    [0.981_560_634_246_719_2, 0.047_175_336_386_511_83],
];

/// Beyond so many deviations a normal has 1e-16 of its mass.
const REACH: f64 = 8.3;

/// A panel is at most so many deviations wide, and 12 nodes then have a normal to 1e-13.
const PANEL: f64 = 2.8;

/// `E f(w, w − mu)` for `w ~ N(mu, sigma²)`, for an f that is smooth as [`Density::width`] says.
///
/// Gauss–Legendre quadrature in panels that grow in proportion to |w| from `width` on: where sigma is much larger than
/// the width, nodes of the normal alone (Gauss–Hermite) would step over what f does around 0.
///
/// `docs/math.md#kl-quadrature`.
fn normal_mean<const N: usize>(
    mu: f64,
    sigma: f64,
    width: f64,
    f: impl Fn(f64, f64) -> [f64; N],
) -> [f64; N] {
    // So narrow a normal is a point: what is left out is of the order (sigma/width)².
    let is_wide = sigma > 1e-8 * width && sigma > 1e-10 * mu.abs();
    if !is_wide {
        return f(if sigma.is_nan() { sigma } else { mu }, 0.0);
    }
    let mut sum = [0.0; N];
    let (low, high) = (mu - REACH * sigma, mu + REACH * sigma);
    for (sign, from, to) in [(1.0, low.max(0.0), high), (-1.0, (-high).max(0.0), -low)] {
        let mut from = from;
        while from < to {
            let end = (from + from.max(width).min(PANEL * sigma)).min(to);
            let (middle, half) = (0.5 * (from + end), 0.5 * (end - from));
            for [node, weight] in LEGENDRE {
                for x in [middle - half * node, middle + half * node] {
                    let step = sign * x - mu;
                    let z = step / sigma;
                    let mass = weight * half / sigma * bdl_tensor::special::norm_pdf(z);
                    let values = f(sign * x, step);
                    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += mass * value);
                }
            }
            from = end;
        }
    }
    sum
}
