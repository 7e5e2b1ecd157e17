//! Quantiles of a mixture: a guarded Newton iteration.

use std::f64::consts::TAU;

use bdl_tensor::kernels::{Normals, normals_rough};
use bdl_tensor::special::norm_quantile;

/// Which side of a point a mass lies on. The small side is solved for, so that it keeps its relative accuracy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    Lower,
    Upper,
}

impl Tail {
    /// +1 if the mass grows with the point.
    pub(super) fn sign(self) -> f64 {
        if self == Self::Lower { 1.0 } else { -1.0 }
    }

    /// The smaller of the masses on both sides of a quantile at `prob`, and where it lies.
    pub(super) fn of_prob(prob: f64) -> (Self, f64) {
        if prob <= 0.5 { (Self::Lower, prob) } else { (Self::Upper, 1.0 - prob) }
    }
}

/// What the solver asks of a mixture.
pub(super) trait Mixture {
    /// `P(Y ≤ y)` or `P(Y > y)`.
    fn tail_mass(&self, y: f64, tail: Tail) -> f64;
    /// The density at `y`.
    fn density(&self, y: f64) -> f64;
    /// The components if all are Gaussian.
    fn normals(&self) -> Option<Normals<'_>>;
}

/// The iteration ends when the mass is this close to the wanted one, relatively.
const MASS_TOL: f64 = 1e-13;
/// Bisection alone ends within this many steps from any finite bracket that spans a factor of 2⁶⁴.
const STEPS: u32 = 200;

/// `y` with `P(Y ≤ y) = prob`, `prob` in [0, 1]; `mean` and `sd` are the mixture's.
pub(super) fn solve(mixture: &impl Mixture, prob: f64, mean: f64, sd: f64) -> f64 {
    if prob == 0.0 || prob == 1.0 {
        return if prob == 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    // Only what is not Gaussian may do without a variance.
    let sd = if mixture.normals().is_none() && !(sd > 0.0 && sd.is_finite()) { 1.0 } else { sd };
    if !(mean + sd).is_finite() {
        return f64::NAN;
    }
    let (tail, mass) = Tail::of_prob(prob);
    let score = norm_quantile(mass);
    let bracket = match mixture.normals() {
        Some(normals) => normal_bracket(normals, tail.sign() * score),
        None => search_bracket(mixture, prob, mean, sd),
    };
    let start = mean + tail.sign() * sd * score;
    let solver = Solver { mixture, tail, mass, score };
    let start = mixture.normals().map_or(start, |normals| solver.approach(normals, bracket, start));
    solver.run(bracket, start)
}

/// A mixture's quantile lies between the least and the greatest of its components' quantiles.
fn normal_bracket(normals: Normals<'_>, z: f64) -> [f64; 2] {
    let quantiles = normals.means.iter().zip(normals.sds).map(|(m, sd)| m + z * sd);
    quantiles.fold([f64::INFINITY, f64::NEG_INFINITY], |[lo, hi], q| [lo.min(q), hi.max(q)])
}

/// Cantelli's inequality brackets the quantile of anything with this mean and deviation; doubled until it is so, because
/// they are only as good as the likelihood's answers.
fn search_bracket(mixture: &impl Mixture, prob: f64, mean: f64, sd: f64) -> [f64; 2] {
    let odds = (prob / (1.0 - prob)).sqrt();
    let (mut below, mut above) = (sd / odds, sd * odds);
    for _ in 0..64 {
        let low_fits = mixture.tail_mass(mean - below, Tail::Lower) <= prob;
        let high_fits = mixture.tail_mass(mean + above, Tail::Lower) >= prob;
        if low_fits && high_fits {
            break;
        }
        below *= if low_fits { 1.0 } else { 2.0 };
        above *= if high_fits { 1.0 } else { 2.0 };
    }
    [mean - below, mean + above]
}

struct Solver<'a, M> {
    mixture: &'a M,
    tail: Tail,
    mass: f64,
    /// `Φ⁻¹(mass)`.
    score: f64,
}

impl<M: Mixture> Solver<'_, M> {
    fn run(&self, [mut lo, mut hi]: [f64; 2], start: f64) -> f64 {
        let mut y = start.clamp(lo, hi);
        for step in 0..STEPS {
            if hi - lo <= 2.0 * f64::EPSILON * lo.abs().max(hi.abs()) {
                break;
            }
            let mass = self.mixture.tail_mass(y, self.tail);
            if (mass - self.mass).abs() <= MASS_TOL * self.mass {
                return y;
            }
            if (mass < self.mass) == (self.tail == Tail::Lower) {
                lo = y;
            } else {
                hi = y;
            }
            let newton = y + self.newton(y, mass);
            // Every fourth step halves the bracket: a mixture of spikes lies to Newton.
            let bisect = step % 4 == 3 || !(lo < newton && newton < hi);
            y = if bisect { 0.5 * (lo + hi) } else { newton };
        }
        y.clamp(lo, hi)
    }

    /// Newton's iteration on an approximate mass, which costs half of the exact one: only where the search starts
    /// depends on it.
    fn approach(&self, normals: Normals<'_>, [lo, hi]: [f64; 2], start: f64) -> f64 {
        let n = normals.means.len() as f64;
        let mut y = start.clamp(lo, hi);
        for _ in 0..6 {
            let (mass, density) = normals_rough(normals, y, self.tail.sign());
            let step = self.newton_step(mass / n, density / n);
            if !(lo <= y + step && y + step <= hi) {
                break;
            }
            y += step;
            if step.abs() <= 1e-6 * (hi - lo) {
                break;
            }
        }
        y
    }

    fn newton(&self, y: f64, mass: f64) -> f64 {
        self.newton_step(mass, self.mixture.density(y))
    }

    /// Newton's step on `Φ⁻¹(mass(y)) = Φ⁻¹(mass)`, a straight line for one Gaussian; NaN where it says nothing.
    fn newton_step(&self, mass: f64, density: f64) -> f64 {
        if !(mass > 0.0 && mass < 1.0) {
            return f64::NAN;
        }
        let score = norm_quantile(mass);
        let slope = density / ((-0.5 * score * score).exp() / TAU.sqrt());
        self.tail.sign() * (self.score - score) / slope
    }
}
