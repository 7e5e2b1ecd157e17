//! Gradients against central differences of the layer's own outputs.

use std::ops::Range;

use bdl_dist::{Noise, Purpose};

use super::rig::{PLACE, Rig, Tape, numbers, same_bits};
use super::{Failure, Judge};
use crate::{BlockEntry, Estimator, KlAt, KlTerm, Layer, Pass, Role, place};

/// Steps of the differences: the better of the two counts, so that one of them may straddle a kink.
const STEPS: [f32; 2] = [1.0 / 128.0, 1.0 / 1024.0];

/// Allowed deviation, relative to the norm of a block's gradient.
const TOLERANCE: f64 = 1e-2;

pub(super) fn check_backward(judge: &Judge<'_>, rig: &Rig<'_>, pass: &Pass<'_>) -> Result<(), Failure> {
    let tape = || judge.no_error(rig.forward(&rig.x, pass));
    // The loss is Σ c·y.
    let c = numbers(2, tape()?.y.len());
    let (mut grads, mut dx) = (vec![0.0; rig.params.len()], vec![f32::NAN; rig.x.len()]);
    judge.no_error(rig.backward(tape()?, pass, &c, &mut grads, Some(&mut dx)))?;
    check_added(judge, rig, pass, tape()?, &c, &grads)?;
    check_written(judge, rig, pass, tape()?, &c, [&grads, &dx])?;

    let loss = |params: &[f32], x: &[f32]| {
        let y = judge.no_error(rig.forward_at(PLACE, params, x, pass))?.y;
        Ok(y.iter().zip(&c).map(|(y, c)| f64::from(*y) * f64::from(*c)).sum())
    };
    let size = norm(&tape()?.y.iter().zip(&c).map(|(y, c)| f64::from(y * c)).collect::<Vec<_>>());
    let of_params = differences(&rig.params, &grads, |params| loss(params, &rig.x))?;
    for BlockEntry { block, range, .. } in place("", judge.layer.blocks(), 0) {
        if block.role == Role::Buffer {
            continue;
        }
        close(&grads[range.clone()], &of_params[range], size).map_err(|e| {
            judge.fail("backward gives the gradient of the parameters", format!("{}: {e}", block.name))
        })?;
    }
    let of_x = differences(&rig.x, &dx, |x| loss(&rig.params, x))?;
    close(&dx, &of_x, size).map_err(|e| judge.fail("backward writes the gradient of x", e))
}

/// Where the layer's buffers are.
fn buffers(layer: &dyn Layer) -> impl Iterator<Item = Range<usize>> {
    let entries = place("", layer.blocks(), 0).into_iter();
    entries.filter(|e| e.block.role == Role::Buffer).map(|e| e.range)
}

/// Without dx the gradient is the same, and it is added to what stands there.
fn check_added(
    judge: &Judge<'_>,
    rig: &Rig<'_>,
    pass: &Pass<'_>,
    tape: Tape,
    c: &[f32],
    grads: &[f32],
) -> Result<(), Failure> {
    let mut without_dx = vec![0.0; grads.len()];
    let again = judge.no_error(rig.forward(&rig.x, pass))?;
    judge.no_error(rig.backward(again, pass, c, &mut without_dx, None))?;
    same_bits(grads, &without_dx)
        .map_err(|e| judge.fail("the gradient does not depend on being asked for dx", e))?;
    let mut added = vec![0.5; grads.len()];
    judge.no_error(rig.backward(tape, pass, c, &mut added, None))?;
    is_added("backward adds to grads", judge, grads, &added, 1.0)
}

/// Written over NaN, the gradient is what is added to zeros.
fn check_written(
    judge: &Judge<'_>,
    rig: &Rig<'_>,
    pass: &Pass<'_>,
    tape: Tape,
    c: &[f32],
    [grads, dx]: [&[f32]; 2],
) -> Result<(), Failure> {
    let (mut written, mut to_x) = (vec![f32::NAN; grads.len()], vec![f32::NAN; dx.len()]);
    judge.no_error(rig.write_backward(tape, pass, c, &mut written, Some(&mut to_x)))?;
    // A sum that underflowed to −0 is +0 when it has been added to zero.
    written.iter_mut().for_each(|g| *g += 0.0);
    same_bits(grads, &written)
        .and_then(|()| same_bits(dx, &to_x))
        .map_err(|e| judge.fail("write_backward writes what backward adds to zeros", e))
}

/// Checks `added = 0.5 + weight·grads`, to rounding.
fn is_added(
    clause: &'static str,
    judge: &Judge<'_>,
    grads: &[f32],
    added: &[f32],
    weight: f32,
) -> Result<(), Failure> {
    for (i, (&g, &a)) in grads.iter().zip(added).enumerate() {
        let expected = 0.5 + weight * g;
        let near = (expected - a).abs() <= 1e-5 * (1.0 + expected.abs());
        judge.that(near, clause, || format!("element {i}: expected 0.5 + {weight}·{g:e}, got {a:e}"))?;
    }
    Ok(())
}

pub(super) fn check_kl(judge: &Judge<'_>, rig: &Rig<'_>) -> Result<(), Failure> {
    let source = Noise::new(5, Purpose::Train);
    for input_keep_prob in [1.0, 0.8] {
        let at = KlAt { params: &rig.params, input_keep_prob, noise: None };
        let kl = judge.layer.kl(&at);
        judge.that(kl.is_finite(), "kl is finite", || format!("got {kl}"))?;
        let returned = judge.layer.kl_grad(&at, 1.0, &mut vec![0.0; rig.params.len()]);
        let same = returned.to_bits() == kl.to_bits();
        judge.that(same, "kl_grad returns what kl returns", || format!("kl is {kl}, kl_grad {returned}"))?;
        let report = judge.layer.report(&at).kl;
        judge.that(report.to_bits() == kl.to_bits(), "report has the KL", || {
            format!("kl is {kl}, report {report}")
        })?;
        let of_kl = |params: &[f32]| judge.layer.kl(&KlAt { params, ..at });
        check_kl_grad(judge, rig, &at, &of_kl)?;
        let noisy =
            KlAt { noise: Pass::train(&source, 3, Estimator::Local).kl_noise(rig.params.len()), ..at };
        let of_estimate = |params: &[f32]| {
            judge.layer.kl_grad(&KlAt { params, ..noisy }, 0.0, &mut vec![0.0; params.len()])
        };
        check_kl_grad(judge, rig, &noisy, &of_estimate)?;
    }
    Ok(())
}

/// The gradient of the KL, or with noise in `at` of its estimate.
fn check_kl_grad(
    judge: &Judge<'_>,
    rig: &Rig<'_>,
    at: &KlAt<'_>,
    kl: &dyn Fn(&[f32]) -> f64,
) -> Result<(), Failure> {
    let mut grads = vec![0.0; rig.params.len()];
    let returned = judge.layer.kl_grad(at, 1.0, &mut grads);
    let mut expected = differences(&rig.params, &grads, |params| Ok(kl(params)))?;
    // A buffer that the KL reads is no parameter of it.
    buffers(judge.layer).for_each(|buffer| expected[buffer].fill(0.0));
    close(&grads, &expected, 1e-3 * returned.abs())
        .map_err(|e| judge.fail("kl_grad adds the gradient of kl", e))?;
    let mut added = vec![0.5; rig.params.len()];
    judge.layer.kl_grad(at, 0.25, &mut added);
    is_added("kl_grad adds weight times the gradient", judge, &grads, &added, 0.25)?;
    check_kl_terms(judge, rig, at, returned, &grads)
}

/// The terms cover the parameters in order and give the KL and its gradient, to the bit.
fn check_kl_terms(
    judge: &Judge<'_>,
    rig: &Rig<'_>,
    at: &KlAt<'_>,
    kl: f64,
    grads: &[f32],
) -> Result<(), Failure> {
    let Some(terms) = judge.layer.kl_terms(at.input_keep_prob) else { return Ok(()) };
    let mut end = 0;
    for term in &terms {
        let clause = "kl_terms cover the parameters in order";
        judge.that(term.range.start == end, clause, || format!("{:?} after {end}", term.range))?;
        end = term.range.end;
    }
    judge.that(end == rig.params.len(), "kl_terms cover all parameters", || format!("they end at {end}"))?;
    let mut of_terms = vec![0.0; grads.len()];
    let of_term = |term: &KlTerm| term.estimate_grad(&rig.params, at.noise, 1.0, &mut of_terms);
    let sum: f64 = terms.iter().map(of_term).sum();
    judge.that(sum == kl, "kl_terms sum to kl", || format!("kl is {kl}, the sum {sum}"))?;
    same_bits(grads, &of_terms).map_err(|e| judge.fail("kl_terms have the gradient of kl", e))
}

/// Central differences of `f`, for each coordinate with the step that comes closer to `claimed`.
fn differences(
    at: &[f32],
    claimed: &[f32],
    mut f: impl FnMut(&[f32]) -> Result<f64, Failure>,
) -> Result<Vec<f64>, Failure> {
    let mut moved = at.to_vec();
    let mut out = Vec::with_capacity(at.len());
    for (i, &claimed) in claimed.iter().enumerate() {
        let mut best = f64::NAN;
        for step in STEPS {
            let (above, below) = (at[i] + step, at[i] - step);
            moved[i] = above;
            let f_above = f(&moved)?;
            moved[i] = below;
            let slope = (f_above - f(&moved)?) / (f64::from(above) - f64::from(below));
            let error = |slope: f64| (slope - f64::from(claimed)).abs();
            best = if best.is_nan() || error(slope) < error(best) { slope } else { best };
        }
        moved[i] = at[i];
        out.push(best);
    }
    Ok(out)
}

/// Checks the norm of the difference; `size` is that of the sum whose rounding the differences see.
fn close(got: &[f32], expected: &[f64], size: f64) -> Result<(), String> {
    let got: Vec<f64> = got.iter().copied().map(f64::from).collect();
    let difference: Vec<f64> = got.iter().zip(expected).map(|(a, b)| a - b).collect();
    let rounding = 4e-6 * (got.len() as f64).sqrt() * size;
    let allowed = TOLERANCE * norm(&got).max(norm(expected)) + rounding;
    if norm(&difference) <= allowed {
        return Ok(());
    }
    // total_cmp puts NaN above everything, so that a NaN is what gets named.
    let worst =
        (0..got.len()).max_by(|&i, &j| difference[i].abs().total_cmp(&difference[j].abs())).unwrap_or(0);
    let (e, g) = (expected[worst], got[worst]);
    Err(format!(
        "differs by {:.1e}, allowed {allowed:.1e}; worst at {worst}: expected {e:e}, got {g:e}",
        norm(&difference)
    ))
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}
