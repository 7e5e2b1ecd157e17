//! Distributions of whole numbers: their quantiles, and integrals over their steps.

use bdl_tensor::special::norm_quantile;

use super::quantile::Tail;

/// The smallest whole number `y` with `P(Y ≤ y) ≥ prob`, `prob` in (0, 1); NaN unless `mean` and `sd` are finite.
///
/// From the normal quantile with this mean and deviation on, by steps that double until the number is passed, and then by halves.
/// `mass` is `P(Y ≤ y)` or `P(Y > y)`; on the upper side the small tail is asked for, so that it keeps its accuracy.
pub(crate) fn whole_quantile(prob: f64, mean: f64, sd: f64, mass: impl Fn(f64, Tail) -> f64) -> f64 {
    let (tail, wanted) = Tail::of_prob(prob);
    let start = (mean + tail.sign() * sd * norm_quantile(wanted)).floor();
    if !start.is_finite() {
        return f64::NAN;
    }
    let enough = |y: f64| match tail {
        Tail::Lower => mass(y, tail) >= wanted,
        Tail::Upper => mass(y, tail) <= wanted,
    };
    let [mut below, mut at] = bracket(start, &enough);
    loop {
        let middle = (0.5 * below + 0.5 * at).floor();
        // Neighbours: whole numbers, or where these are no longer told apart, numbers.
        if middle <= below || middle >= at {
            return at;
        }
        *(if enough(middle) { &mut at } else { &mut below }) = middle;
    }
}

/// `[y, z]` with `y < z`, of which only z is enough; or z is further off than any number is looked for.
fn bracket(start: f64, enough: &impl Fn(f64) -> bool) -> [f64; 2] {
    let (mut y, mut step) = (start, 1.0);
    if enough(start) {
        while enough(y - step) && step < FAR {
            y -= step;
            step *= 2.0;
        }
        return [y - step, y];
    }
    while !enough(y + step) && step < FAR {
        y += step;
        step *= 2.0;
    }
    [y, y + step]
}

/// No quantile is looked for further from the normal one: that of rates of which some are huge is as far off as they are.
const FAR: f64 = 1e300;

/// Steps that are summed one by one; of more of them some are taken for all.
const STEPS: f64 = 512.0;

/// `∫_a^b f(t) dt` of a function that is constant from one whole number to the next.
///
/// Exact up to 512 steps. More are summed by Simpson's rule on every h-th of them with the Euler–Maclaurin correction at the ends, on
/// at most some 1000 of them: so many steps are smooth, since a Poisson has a deviation of the root of its rate.
pub(super) fn step_integral(a: f64, b: f64, mut f: impl FnMut(f64) -> f64) -> f64 {
    if a >= b {
        return 0.0;
    }
    let (first, last) = (a.floor(), b.ceil() - 1.0);
    if last - first < STEPS {
        let step = |k: u32| {
            let t = first + f64::from(k);
            f(t) * ((t + 1.0).min(b) - t.max(a))
        };
        return (0..=(last - first) as u32).map(step).sum();
    }
    let ends = f(first) * (first + 1.0 - a) + f(last) * (b - last);
    ends + smooth_sum(first + 1.0, last - 1.0, f)
}

/// `Σ_{k=a}^{b} f(k)` over many whole numbers, in which f changes little from one to the next.
fn smooth_sum(a: f64, b: f64, mut f: impl FnMut(f64) -> f64) -> f64 {
    let stride = ((b - a) / STEPS).floor().max(1.0);
    let pairs = ((b - a) / (2.0 * stride)).floor();
    // What is left over of whole pairs of strides is summed as it stands.
    let from = b - 2.0 * stride * pairs;
    let head: f64 = (0..(from - a) as u32).map(|k| f(a + f64::from(k))).sum();
    let simpson: f64 = (0..=2 * pairs as u32)
        .map(|i| {
            let weight = if i == 0 || f64::from(i) == 2.0 * pairs { 1.0 } else { f64::from(2 + 2 * (i % 2)) };
            weight * f(from + stride * f64::from(i))
        })
        .sum();
    let mut end = |at: f64, inwards: f64| {
        let [x, y, z] = [0.0, 1.0, 2.0].map(|i| f(at + inwards * i));
        // Half of the last term, and a twelfth of the slope there from three values.
        0.5 * x + (1.5 * x - 2.0 * y + 0.5 * z) / 12.0
    };
    head + stride / 3.0 * simpson + end(from, 1.0) + end(b, -1.0)
}
