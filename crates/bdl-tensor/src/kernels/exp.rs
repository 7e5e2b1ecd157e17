//! The exponential in `f64`, over slices.

use super::exp_table::{HEAD, TAIL};
use super::same_len;
use crate::dispatch::{Isa, dispatched};

/// Elements that are taken through the table at a time.
pub(super) const BLOCK: usize = 32;

/// 1.5·2⁵²: adding it rounds to the nearest integer, which is then in the low bits.
const ROUND: f64 = 6_755_399_441_055_744.0;
const LN_2: f64 = std::f64::consts::LN_2;
/// 128/ln 2.
const PER_STEP: f64 = 128.0 * std::f64::consts::LOG2_E;
/// −ln 2/128 in two parts; the first has 37 bits, so that its product with an exponent is exact.
const STEP_HI: f64 = -f64::from_bits(0x3f76_2e42_fefa_0000);
const STEP_LO: f64 = -f64::from_bits(0x3d0c_f79a_bc9e_3b3a);
/// `e^r = 1 + r + r²·(C2 + C3·r) + r⁴·(C4 + C5·r)` for `|r| ≤ ln 2/256`.
const C2: f64 = f64::from_bits(0x3fdf_ffff_ffff_fdbd);
const C3: f64 = f64::from_bits(0x3fc5_5555_5555_543c);
const C4: f64 = f64::from_bits(0x3fa5_5555_cf17_2b91);
const C5: f64 = f64::from_bits(0x3f81_1111_67a4_d017);

/// Head and tail of a power side by side: one line of cache for both.
static TABLE: [[u64; 2]; 128] = {
    let mut table = [[0; 2]; 128];
    let mut k = 0;
    while k < 128 {
        table[k] = [HEAD[k], TAIL[k]];
        k += 1;
    }
    table
};

/// Beyond, the result may be subnormal or infinite, and the standard library rounds it in another way.
const NORMAL: [f64; 2] = [-512.0, 511.0];
/// Below, the result is 0.
const ZERO: f64 = -746.0;

/// `e^r − 1` for `|r| ≤ ln 2/256`, on top of a `tail`.
#[inline(always)]
fn rest(r: f64, tail: f64) -> f64 {
    let r2 = r * r;
    let (low, high) = (r.mul_add(C3, C2), r.mul_add(C5, C4));
    (r2 * r2).mul_add(high, r2.mul_add(low, tail + r))
}

/// `e^x` of a block; where there are no fused operations by the standard library, which has the same algorithm there.
#[inline(always)]
pub(super) fn block<I: Isa>(x: &[f64; BLOCK]) -> [f64; BLOCK] {
    if !I::FUSED {
        return x.map(f64::exp);
    }
    let (mut steps, mut r) = ([0; BLOCK], [0.0; BLOCK]);
    for i in 0..BLOCK {
        let rounded = PER_STEP.mul_add(x[i], ROUND);
        steps[i] = rounded.to_bits();
        let n = rounded - ROUND;
        r[i] = n.mul_add(STEP_LO, n.mul_add(STEP_HI, x[i]));
    }
    // A loop of its own, because a look-up does not vectorize.
    let (mut head, mut tail) = ([0; BLOCK], [0; BLOCK]);
    for i in 0..BLOCK {
        [head[i], tail[i]] = TABLE[(steps[i] % 128) as usize];
    }
    let mut y = [0.0; BLOCK];
    let mut rare = false;
    for i in 0..BLOCK {
        let power = f64::from_bits(head[i].wrapping_add(steps[i] << 45));
        let fast = power.mul_add(rest(r[i], f64::from_bits(tail[i])), power);
        let zero = x[i] < ZERO;
        y[i] = if zero { 0.0 } else { fast };
        rare |= !zero & !((NORMAL[0] < x[i]) & (x[i] < NORMAL[1]));
    }
    if rare { edges(x, y) } else { y }
}

/// [`block`] for `|x| ≤ ln 2/256`, where the power is 1 and there is nothing to look up.
#[inline(always)]
pub(super) fn small<I: Isa>(x: f64) -> f64 {
    debug_assert!(x.is_nan() || x.abs() <= LN_2 / 256.0);
    if I::FUSED { 1.0 + rest(x, 0.0) } else { x.exp() }
}

/// Mends what [`block`] makes of results next to 0 or infinity, and of NaN.
#[cold]
fn edges(x: &[f64; BLOCK], mut y: [f64; BLOCK]) -> [f64; BLOCK] {
    for (y, &x) in y.iter_mut().zip(x) {
        if !(NORMAL[0] < x && x < NORMAL[1]) {
            *y = x.exp();
        }
    }
    y
}

dispatched! {
    /// `out = e^x` in `f64`. Error ≤ 0.511 ulp.
    ///
    /// `x = n·ln 2/128 + r`, then `e^x = 2^(n/128)·(1 + r + r²·q(r))` in fused operations: where the processor has them,
    /// the bits of glibc's and musl's `exp` (and of `f64::exp`, which calls it), at a fifth of the time.
    ///
    /// # Panics
    /// If the lengths differ.
    ///
    /// # Examples
    /// ```
    /// let mut y = [0.0; 3];
    /// bdl_tensor::kernels::exp_f64(&[0.0, 1.0, f64::NEG_INFINITY], &mut y);
    /// assert_eq!(y, [1.0, std::f64::consts::E, 0.0]);
    /// ```
    ///
    /// # References
    /// Nagy (2018), exp in Arm's Optimized Routines: the polynomial. Tang (1989), Table-driven implementation of the
    /// exponential function in IEEE floating-point arithmetic: the method.
    pub fn exp_f64<I>(x: &[f64], out: &mut [f64]) {
        same_len("exp_f64 out", x.len(), out.len());
        let (x, x_rest) = x.as_chunks::<BLOCK>();
        let (out, out_rest) = out.as_chunks_mut::<BLOCK>();
        for (out, x) in out.iter_mut().zip(x) {
            *out = block::<I>(x);
        }
        if !x_rest.is_empty() {
            let mut last = [0.0; BLOCK];
            last[..x_rest.len()].copy_from_slice(x_rest);
            out_rest.copy_from_slice(&block::<I>(&last)[..x_rest.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::forced::at_each_level;

    /// From −20 to 20 densely, the whole range coarsely, and its edges.
    fn arguments() -> Vec<f64> {
        let dense = (-40_000..40_000).map(|i| f64::from(i) * (5e-4 + 1e-13 * f64::from(i)));
        let whole = (-7_600..7_200).map(|i| f64::from(i) * 0.1 + 1e-5);
        let tiny = (0..80).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 } * 0.003 / f64::powi(2.0, i));
        let edges = [
            0.0,
            -0.0,
            -708.0,
            -512.0,
            511.0,
            512.0,
            709.0,
            709.9,
            -745.2,
            -746.0,
            -1e300,
            1e300,
            f64::MIN,
            f64::MAX,
        ];
        let not_finite = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
        dense.chain(whole).chain(tiny).chain(edges).chain(not_finite).collect()
    }

    fn bits(x: f64) -> u64 {
        if x.is_nan() { u64::MAX } else { x.to_bits() }
    }

    #[test]
    fn the_bits_are_those_of_the_standard_library_at_every_level() {
        let all = arguments();
        for n in [0, 1, 31, 32, 33, all.len()] {
            for (level, y) in at_each_level(|| {
                let mut y = vec![f64::NAN; n];
                exp_f64(&all[..n], &mut y);
                y
            }) {
                for (x, y) in all.iter().zip(y) {
                    // Other systems' exp may round otherwise.
                    let glibc = cfg!(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"));
                    let ulp = if glibc { 0 } else { 1 };
                    assert!(bits(y).abs_diff(bits(x.exp())) <= ulp, "{level:?} {x}: {y} {}", x.exp());
                }
            }
        }
    }
}
