//! Mixtures of a wide and a narrow normal around 0: the slope of their log density, and its mean under normals.

use super::kl_slope::{ATANH, exp, poly11};
use super::same_len;
use crate::dispatch::dispatched;
use crate::math;

/// The mixture `pi·N(0, wide²) + (1 − pi)·N(0, narrow²)`, as its kernels want it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScaleMixture {
    /// `1/wide²` and `1/narrow²`, the second the larger. Both are finite in `f32`.
    pub precisions: [f64; 2],
    /// `ln((1 − pi)/narrow) − ln(pi/wide)`: the log odds of the narrow component at 0.
    pub ln_odds: f64,
}

impl ScaleMixture {
    /// h of the log odds `ln_odds − h·x²` at x.
    #[inline(always)]
    fn half_gap(&self) -> f64 {
        0.5 * (self.precisions[1] - self.precisions[0])
    }
}

/// Positive nodes of Gauss–Legendre quadrature with 48 nodes on [−1, 1], and their weights.
const LEGENDRE: [[f64; 2]; 24] = [
    [0.032_380_170_962_869_36, 0.064_737_696_812_683_92],
    [0.097_004_699_209_462_7, 0.064_466_164_435_950_09],
    [0.161_222_356_068_891_7, 0.063_924_238_584_648_19],
    [0.224_763_790_394_689_05, 0.063_114_192_286_254_02],
    [0.287_362_487_355_455_55, 0.062_039_423_159_892_665],
    [0.348_755_886_292_160_75, 0.060_704_439_165_893_88],
    [0.408_686_481_990_716_7, 0.059_114_839_698_395_635],
    [0.466_902_904_750_958_4, 0.057_277_292_100_403_214],
    [0.523_160_974_722_233, 0.055_199_503_699_984_165],
    [0.577_224_726_083_972_7, 0.052_890_189_485_193_67],
    [0.628_867_396_776_513_6, 0.050_359_035_553_854_47],
    [0.677_872_379_632_663_9, 0.047_616_658_492_490_48],
    [0.724_034_130_923_814_6, 0.044_674_560_856_694_28],
    [0.767_159_032_515_740_4, 0.041_545_082_943_464_75],
    [0.807_066_204_029_442_6, 0.038_241_351_065_830_71],
    [0.843_588_261_624_393_5, 0.034_777_222_564_770_44],
    [0.876_572_020_274_247_9, 0.031_167_227_832_798_09],
    [0.905_879_136_715_569_6, 0.027_426_509_708_356_948],
    [0.931_386_690_706_554_3, 0.023_570_760_839_324_38],
    [0.952_987_703_160_430_9, 0.019_616_160_457_355_53],
    [0.970_591_592_546_247_3, 0.015_579_315_722_943_849],
    [0.984_124_583_722_826_9, 0.011_477_234_579_234_54],
    [0.993_530_172_266_350_8, 0.007_327_553_901_276_262_5],
    [0.998_771_007_252_426_1, 0.003_153_346_052_305_838_5],
];

/// Beyond so many deviations a normal has 1e-16 of its mass.
const REACH: f64 = 8.3;
/// `softplus(−25)` is 1e-11: where the log odds are lower, the narrow component adds nothing.
const LEAST_ODDS: f64 = -25.0;
/// A normal of so small a `sigma²·h` is a point to 1e-11.
const POINT: f64 = 1e-12;
/// `1/√(2π)`.
const INV_SQRT_TAU: f64 = 0.398_942_280_401_432_7;

/// `softplus(z) = max(z, 0) + ln_1p(e^{−|z|})`.
#[inline(always)]
fn softplus(z: f64) -> f64 {
    let t = exp(-z.abs());
    let inverse = 1.0 / (2.0 + t);
    let s = t * inverse;
    let above = if z > 0.0 { z } else { 0.0 };
    above + 2.0 * s * poly11(s * s, ATANH)
}

/// `∫ φ((w − mu)/sigma)/sigma·softplus(ln_odds − h·w²) dw` from `from` to `to`.
#[inline(always)]
fn panel(ln_odds: f64, h: f64, mu: f64, sigma: f64, [from, to]: [f64; 2]) -> f64 {
    let (middle, half, inverse) = (0.5 * (from + to), 0.5 * (to - from), 1.0 / sigma);
    let mut at = [0.0; 48];
    for (i, [node, _]) in LEGENDRE.iter().enumerate() {
        at[i] = middle - half * node;
        at[24 + i] = middle + half * node;
    }
    for w in &mut at {
        let z = (*w - mu) * inverse;
        *w = exp(-0.5 * z * z) * softplus(ln_odds - h * *w * *w);
    }
    let sum: f64 = LEGENDRE.iter().enumerate().map(|(i, [_, weight])| weight * (at[i] + at[24 + i])).sum();
    half * inverse * INV_SQRT_TAU * sum
}

dispatched! {
    /// `out = d ln p(x)/dx` of the mixture's density p.
    ///
    /// ```text
    /// z = ln_odds − ½(1/narrow² − 1/wide²)·x²,   out = −x·((1 − sigmoid(z))/wide² + sigmoid(z)/narrow²)
    /// ```
    ///
    /// The two shares are formed apart, so that neither is lost beside the other. One exponential.
    ///
    /// # Panics
    /// If the lengths differ.
    ///
    /// # References
    /// `docs/math.md#prior-scale-mixture`.
    pub fn scale_mixture_slope(mixture: &ScaleMixture, x: &[f32], out: &mut [f32]) {
        same_len("scale_mixture_slope out", x.len(), out.len());
        let [wide, narrow] = mixture.precisions.map(|p| p as f32);
        let (ln_odds, h) = (mixture.ln_odds as f32, mixture.half_gap() as f32);
        for (o, &x) in out.iter_mut().zip(x) {
            let z = ln_odds - h * (x * x);
            let t = math::exp(-z.abs());
            let larger = 1.0 / (1.0 + t);
            let smaller = t * larger;
            let (of_narrow, of_wide) = if z > 0.0 { (larger, smaller) } else { (smaller, larger) };
            *o = -x * (of_wide * wide + of_narrow * narrow);
        }
    }

    /// `Σ E softplus(ln_odds − h·w²)` over the normals `w ~ N(mu[i], sigma[i]²)`, `h = ½(1/narrow² − 1/wide²)`: what the
    /// narrow component adds to the mean of the log density of the wide one. Error ≤ 1e-8 for each.
    ///
    /// By Gauss–Legendre quadrature with 48 nodes on either side of 0, over the part of `mu ± 8.3·sigma` in which the narrow
    /// component matters: nodes of the normal alone (Gauss–Hermite) step over it where sigma is large.
    ///
    /// # Panics
    /// If the lengths differ.
    #[must_use]
    pub fn scale_mixture_excess(mixture: &ScaleMixture, mu: &[f32], sigma: &[f64]) -> f64 {
        same_len("scale_mixture_excess sigma", mu.len(), sigma.len());
        let (ln_odds, h) = (mixture.ln_odds, mixture.half_gap());
        let matters = ((ln_odds - LEAST_ODDS).max(0.0) / h).sqrt();
        let mut sum = 0.0;
        for (&mu, &sigma) in mu.iter().zip(sigma) {
            let mu = f64::from(mu);
            if sigma * sigma * h < POINT {
                sum += softplus(ln_odds - h * mu * mu);
                continue;
            }
            let (from, to) = ((mu - REACH * sigma).max(-matters), (mu + REACH * sigma).min(matters));
            let middle = from.max(0.0).min(to);
            for ends in [[from, middle], [middle, to]] {
                if ends[0] < ends[1] {
                    sum += panel(ln_odds, h, mu, sigma, ends);
                }
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::forced::assert_levels_agree;
    use crate::special;

    fn mixture(pi: f64, wide: f64, narrow: f64) -> ScaleMixture {
        let ln_odds = ((1.0 - pi) / narrow).ln() - (pi / wide).ln();
        ScaleMixture { precisions: [wide.powi(-2), narrow.powi(-2)], ln_odds }
    }

    #[test]
    fn the_slope_is_that_of_the_log_density_at_every_level() {
        for (pi, wide, narrow) in [(0.5, 1.0, (-6.0_f64).exp()), (0.25, 2.0, 0.5), (0.9, 1e3, 1e-3)] {
            let m = mixture(pi, wide, narrow);
            let x: Vec<f32> =
                (-500..=500).map(|i| (i as f32 / 100.0).powi(5) * narrow as f32 / 40.0).collect();
            assert_levels_agree("scale_mixture_slope", || {
                let mut out = vec![f32::NAN; x.len()];
                scale_mixture_slope(&m, &x, &mut out);
                for (&x, &got) in x.iter().zip(&out) {
                    let x = f64::from(x);
                    let narrow_share = special::sigmoid(m.ln_odds - m.half_gap() * x * x);
                    let expected =
                        -x * ((1.0 - narrow_share) * m.precisions[0] + narrow_share * m.precisions[1]);
                    // What rounding does to the log odds, the shares see.
                    let near = 2e-6 * (1.0 + m.half_gap() * x * x).min(40.0) * expected.abs();
                    assert!((f64::from(got) - expected).abs() <= near, "{x:e}: {got:e} {expected:e}");
                }
                out.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
            });
        }
        let mut out = [0.0; 3];
        scale_mixture_slope(&mixture(0.5, 1.0, 1e-15), &[f32::NAN, 1e30, -0.0], &mut out);
        assert!(out[0].is_nan() && out[1] == -1e30 && out[2] == 0.0);
    }

    /// `E softplus(…)` by the trapezoid rule with 400 000 steps.
    fn naive(m: &ScaleMixture, mu: f64, sigma: f64) -> f64 {
        let n = 400_000;
        let term = |i: i32| {
            let z = 24.0 * f64::from(i) / f64::from(n) - 12.0;
            let w = mu + sigma * z;
            special::norm_pdf(z) * special::softplus(m.ln_odds - m.half_gap() * w * w)
        };
        (0..=n).map(term).sum::<f64>() * 24.0 / f64::from(n)
    }

    #[test]
    fn the_excess_is_the_integral_for_scales_of_every_size_and_at_every_level() {
        for (pi, wide, narrow) in [(0.5, 1.0, (-6.0_f64).exp()), (0.75, 1.0, 0.1), (0.99, 1.0, 0.5)] {
            let m = mixture(pi, wide, narrow);
            for sigma in [1e-3, 0.1, 0.5, 1.0, 3.0, 20.0, 400.0].map(|s| s * narrow) {
                for mu in
                    [0.0, 1.0, -3.5, 8.0, 1.5 * sigma / narrow, 9.5 * sigma / narrow].map(|m| m * narrow)
                {
                    let mu = mu as f32;
                    let expected = naive(&m, mu.into(), sigma);
                    assert_levels_agree("scale_mixture_excess", || {
                        let got = scale_mixture_excess(&m, &[mu], &[sigma]);
                        assert!((got - expected).abs() < 2e-8, "{pi} {mu} {sigma}: {got} {expected}");
                        got.to_bits()
                    });
                }
            }
            assert_eq!(scale_mixture_excess(&m, &[1e3], &[0.1]), 0.0);
            let points = scale_mixture_excess(&m, &[0.0, 0.5], &[0.0, 1e-9 * narrow]);
            let expected = [0.0, 0.25].map(|square| special::softplus(m.ln_odds - m.half_gap() * square));
            assert!((points - expected[0] - expected[1]).abs() < 1e-10);
        }
    }
}
