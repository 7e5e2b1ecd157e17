//! Sums over the components of a mixture of normal distributions, in `f64`.

use std::f64::consts::{FRAC_1_SQRT_2, TAU};

use super::exp::{BLOCK, block, small};
use super::same_len;
use crate::dispatch::{Isa, dispatched};
use crate::special::{ERFCX, head_26};

/// `½ ln 2π`.
const HALF_LN_TAU: f64 = 0.918_938_533_204_672_7;

/// The components of a mixture of normals with equal weights.
///
/// The sums below run in index order and have, where `f64::exp` does, the same bits as the scalar functions of
/// [`special`](crate::special) added up, at every level.
#[derive(Clone, Copy, Debug)]
pub struct Normals<'a> {
    /// Means.
    pub means: &'a [f64],
    /// Standard deviations, positive.
    pub sds: &'a [f64],
    /// Their logarithms.
    pub ln_sds: &'a [f64],
}

impl Normals<'_> {
    /// Components `from..` in arrays, as far as there are any; others have mean 0 and deviation 1.
    #[inline(always)]
    fn block(&self, from: usize) -> ([f64; BLOCK], [f64; BLOCK], usize) {
        let n = (self.means.len() - from).min(BLOCK);
        let (mut means, mut sds) = ([0.0; BLOCK], [1.0; BLOCK]);
        means[..n].copy_from_slice(&self.means[from..from + n]);
        sds[..n].copy_from_slice(&self.sds[from..from + n]);
        (means, sds, n)
    }

    #[inline(always)]
    fn check(&self) {
        same_len("normals sds", self.means.len(), self.sds.len());
        same_len("normals ln_sds", self.means.len(), self.ln_sds.len());
    }
}

/// `e^{−x²·half}` where the square is taken in two parts, as [`special`](crate::special) does; 0 beyond 1000.
#[inline(always)]
fn exp_neg_half_square<I: Isa>(x: &[f64; BLOCK]) -> [f64; BLOCK] {
    let (mut arg, mut rest) = ([0.0; BLOCK], [0.0; BLOCK]);
    for i in 0..BLOCK {
        let head = head_26(x[i]);
        arg[i] = -0.5 * head * head;
        rest[i] = 0.5 * (x[i] - head) * (x[i] + head);
        // There the first factor is 0, and the second would need its table.
        rest[i] = if x[i].abs() > 100.0 { 0.0 } else { rest[i] };
    }
    let mut y = block::<I>(&arg);
    for i in 0..BLOCK {
        y[i] *= small::<I>(-rest[i]);
    }
    y
}

/// `Φ(z)` of a block: [`special::norm_cdf`](crate::special::norm_cdf), operation by operation.
#[inline(always)]
fn norm_cdf<I: Isa>(z: &[f64; BLOCK]) -> [f64; BLOCK] {
    let mut y = exp_neg_half_square::<I>(&z.map(f64::abs));
    let erfcx = erfcx(z);
    for i in 0..BLOCK {
        let tail = 0.5 * erfcx[i] * y[i];
        y[i] = if z[i] < 0.0 { tail } else { 1.0 - tail };
    }
    y
}

/// `e^{x²}·erfc(x)` for `x = |z|/√2`. Clenshaw's recurrence is one long chain: several vectors take it side by side.
#[inline(always)]
fn erfcx(z: &[f64; BLOCK]) -> [f64; BLOCK] {
    let (mut x, mut t) = ([0.0; BLOCK], [0.0; BLOCK]);
    for i in 0..BLOCK {
        // Beyond, the exponential is 0, and infinity must not become NaN.
        let a = if z[i].abs() > 1e3 { 1e3 } else { z[i].abs() };
        x[i] = a * FRAC_1_SQRT_2;
        t[i] = (x[i] - 3.75) / (x[i] + 3.75);
    }
    let (mut b1, mut b2) = ([0.0; BLOCK], [0.0; BLOCK]);
    for c in ERFCX[1..].iter().rev() {
        for i in 0..BLOCK {
            (b1[i], b2[i]) = (2.0 * t[i] * b1[i] - b2[i] + c, b1[i]);
        }
    }
    for i in 0..BLOCK {
        x[i] = (t[i] * b1[i] - b2[i] + ERFCX[0]) / (1.0 + 2.0 * x[i]);
    }
    x
}

dispatched! {
    /// `Σ Φ(sign·(y − means[i])/sds[i])`: the number of components times the mixture's mass below y (sign 1) or above it
    /// (sign −1). y is finite.
    ///
    /// # Panics
    /// If the slices differ in length.
    #[must_use]
    pub fn normals_mass<I>(normals: Normals<'_>, y: f64, sign: f64) -> f64 {
        normals.check();
        let mut sum = 0.0;
        for from in (0..normals.means.len()).step_by(BLOCK) {
            let (means, sds, n) = normals.block(from);
            let mut z = [0.0; BLOCK];
            for i in 0..BLOCK {
                z[i] = sign * (y - means[i]) / sds[i];
            }
            norm_cdf::<I>(&z)[..n].iter().for_each(|mass| sum += mass);
        }
        sum
    }

    /// `Σ N(y; means[i], sds[i]²)`: the number of components times the mixture's density. y is finite.
    ///
    /// # Panics
    /// If the slices differ in length.
    #[must_use]
    pub fn normals_density<I>(normals: Normals<'_>, y: f64) -> f64 {
        normals.check();
        let mut sum = 0.0;
        for from in (0..normals.means.len()).step_by(BLOCK) {
            let (means, sds, n) = normals.block(from);
            let mut ln_sds = [0.0; BLOCK];
            ln_sds[..n].copy_from_slice(&normals.ln_sds[from..from + n]);
            let mut ln = [0.0; BLOCK];
            for i in 0..BLOCK {
                let z = (y - means[i]) / sds[i];
                ln[i] = -0.5 * z * z - ln_sds[i] - HALF_LN_TAU;
            }
            block::<I>(&ln)[..n].iter().for_each(|density| sum += density);
        }
        sum
    }

    /// Mass and density at once, with one exponential for both: [`normals_mass`] to 7.5e-8 a component, and
    /// [`normals_density`] to rounding.
    ///
    /// # Panics
    /// If the slices differ in length.
    ///
    /// # References
    /// Abramowitz & Stegun 1964, Handbook of Mathematical Functions, 26.2.17.
    #[must_use]
    pub fn normals_rough<I>(normals: Normals<'_>, y: f64, sign: f64) -> (f64, f64) {
        const B: [f64; 5] = [1.330_274_429, -1.821_255_978, 1.781_477_937, -0.356_563_782, 0.319_381_530];
        normals.check();
        let (mut mass, mut density) = (0.0, 0.0);
        for from in (0..normals.means.len()).step_by(BLOCK) {
            let (means, sds, n) = normals.block(from);
            let (mut z, mut arg) = ([0.0; BLOCK], [0.0; BLOCK]);
            for i in 0..BLOCK {
                z[i] = sign * (y - means[i]) / sds[i];
                arg[i] = -0.5 * z[i] * z[i];
            }
            let mut masses = block::<I>(&arg);
            let mut densities = [0.0; BLOCK];
            for i in 0..BLOCK {
                let pdf = masses[i] / TAU.sqrt();
                let t = 1.0 / (1.0 + 0.231_641_9 * z[i].abs());
                let mut poly = 0.0;
                for b in B {
                    poly = (poly + b) * t;
                }
                let beyond = pdf * poly;
                masses[i] = if z[i] < 0.0 { beyond } else { 1.0 - beyond };
                densities[i] = pdf / sds[i];
            }
            for i in 0..n {
                mass += masses[i];
                density += densities[i];
            }
        }
        (mass, density)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::forced::at_each_level;
    use crate::special;

    /// Means, deviations and their logarithms: `n` components of very different size, with far ones among them.
    fn parts(n: usize) -> [Vec<f64>; 3] {
        let mut s = 1_u32;
        let mut next = || {
            s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(s >> 8) / 8_388_608.0 - 1.0
        };
        let means: Vec<f64> = (0..n).map(|i| next() * if i % 7 == 3 { 300.0 } else { 2.0 }).collect();
        let sds: Vec<f64> =
            (0..n).map(|i| (3.0 * next()).exp() * if i % 11 == 5 { 1e-3 } else { 1.0 }).collect();
        let ln_sds = sds.iter().map(|sd| sd.ln()).collect();
        [means, sds, ln_sds]
    }

    /// `½ ln 2π` as the processor's logarithm has it.
    #[test]
    fn the_constant_is_the_logarithm() {
        assert_eq!(HALF_LN_TAU, 0.5 * TAU.ln());
    }

    /// Other systems' exp may round otherwise than ours.
    const GLIBC: bool = cfg!(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"));

    #[test]
    fn sums_have_the_bits_of_the_scalar_functions_at_every_level() {
        for n in [0, 1, 2, 31, 32, 33, 100, 257] {
            let [means, sds, ln_sds] = parts(n);
            let normals = Normals { means: &means, sds: &sds, ln_sds: &ln_sds };
            for y in [-200.0, -3.0, -0.4, 0.0, 1e-9, 0.7, 2.5, 41.0, 1e4] {
                for sign in [1.0, -1.0] {
                    let z = || means.iter().zip(&sds).map(|(m, sd)| sign * (y - m) / sd);
                    let mass = z().map(special::norm_cdf).sum::<f64>();
                    let ln = z().zip(&ln_sds).map(|(z, ln_sd)| -0.5 * z * z - ln_sd - HALF_LN_TAU);
                    let density = ln.map(f64::exp).sum::<f64>();
                    for (level, got) in
                        at_each_level(|| [normals_mass(normals, y, sign), normals_density(normals, y)])
                    {
                        let same = |(got, naive): (f64, f64)| {
                            got == naive || !GLIBC && (got / naive - 1.0).abs() < 1e-14
                        };
                        assert!(
                            [(got[0], mass), (got[1], density)].into_iter().all(same),
                            "{level:?} {n} {y} {sign}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_rough_sums_are_near_and_the_same_at_every_level() {
        for n in [1, 33, 100] {
            let [means, sds, ln_sds] = parts(n);
            let normals = Normals { means: &means, sds: &sds, ln_sds: &ln_sds };
            for (y, sign) in [(-3.0, 1.0), (0.3, -1.0), (2.0, 1.0), (4.0, -1.0)] {
                let all = at_each_level(|| normals_rough(normals, y, sign));
                for (level, (mass, density)) in &all {
                    assert!((mass - normals_mass(normals, y, sign)).abs() < 7.5e-8 * n as f64);
                    assert!((density / normals_density(normals, y) - 1.0).abs() < 1e-12);
                    if GLIBC {
                        assert_eq!((mass, density), (&all[0].1.0, &all[0].1.1), "{level:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_component_that_is_not_a_number_shows() {
        let (means, sds, ln_sds) = ([0.0, f64::NAN], [1.0; 2], [0.0; 2]);
        let normals = Normals { means: &means, sds: &sds, ln_sds: &ln_sds };
        assert!(normals_mass(normals, 0.0, 1.0).is_nan() && normals_density(normals, 0.0).is_nan());
    }
}
