//! Central differences of an oracle, and the comparison of a fast gradient with them.
//!
//! A central difference with step `h` errs by `h²·f‴/6` (truncation) and about `2⁻⁵³·|f|/h` (rounding). With
//! `h = 6e-6`, the cube root of the machine epsilon, both are near 1e-11 for functions of order one: far below what
//! `f32` can show (math.md#finite-differences). Keep kinks further away than `h`: see [`OracleNet::relu_margin`](crate::oracle::OracleNet::relu_margin).

/// The step of [`central_gradient`] for a coordinate of size one: the cube root of 2⁻⁵².
pub const STEP: f64 = 6.055_454_452_393_343e-6;

/// `(∂f/∂x_i)_i` at `at`, each by one central difference with step `STEP·max(1, |x_i|)`.
///
/// # Examples
/// ```
/// let gradient = bdl_testkit::finite::central_gradient(|x| x[0] * x[0] + 3.0 * x[1], &[2.0, 5.0]);
/// assert!((gradient[0] - 4.0).abs() < 1e-8 && (gradient[1] - 3.0).abs() < 1e-8);
/// ```
pub fn central_gradient(f: impl FnMut(&[f64]) -> f64, at: &[f64]) -> Vec<f64> {
    central_gradient_with_step(f, at, STEP)
}

/// [`central_gradient`] with step `step·max(1, |x_i|)`.
pub fn central_gradient_with_step(mut f: impl FnMut(&[f64]) -> f64, at: &[f64], step: f64) -> Vec<f64> {
    let mut x = at.to_vec();
    let mut gradient = Vec::with_capacity(at.len());
    for i in 0..at.len() {
        let h = step * at[i].abs().max(1.0);
        let (above, below) = (at[i] + h, at[i] - h);
        x[i] = above;
        let f_above = f(&x);
        x[i] = below;
        let f_below = f(&x);
        x[i] = at[i];
        // The step that was really taken, after rounding.
        gradient.push((f_above - f_below) / (above - below));
    }
    gradient
}

/// `d/dt f(at + t·direction)` at `t = 0`: two evaluations, however many coordinates.
///
/// A wrong gradient `g` shows as `g·direction` differing from this for almost every direction.
pub fn directional_derivative(mut f: impl FnMut(&[f64]) -> f64, at: &[f64], direction: &[f64]) -> f64 {
    assert_eq!(at.len(), direction.len(), "directional_derivative: direction and point differ in length");
    let size = at.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
    let length = direction.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    assert!(length > 0.0, "directional_derivative: the direction is zero");
    let h = STEP * size / length;
    let mut along = |t: f64| {
        let x: Vec<f64> = at.iter().zip(direction).map(|(x, d)| x + t * d).collect();
        f(&x)
    };
    (along(h) - along(-h)) / (2.0 * h)
}

/// `‖a − b‖ / max(‖a‖, ‖b‖)`, Euclidean; 0 if both are zero, infinite if anything is not finite.
///
/// Norm-wise, because a coordinate that happens to be near zero has no relative error worth asserting.
pub fn norm_relative_error<A: Copy + Into<f64>, B: Copy + Into<f64>>(a: &[A], b: &[B]) -> f64 {
    assert_eq!(a.len(), b.len(), "norm_relative_error: lengths differ");
    let (mut aa, mut bb, mut dd) = (0.0, 0.0, 0.0);
    for (&a, &b) in a.iter().zip(b) {
        let (a, b): (f64, f64) = (a.into(), b.into());
        aa += a * a;
        bb += b * b;
        dd += (a - b) * (a - b);
    }
    let size = f64::max(aa, bb).sqrt();
    match (dd.is_finite() && size.is_finite(), dd == 0.0) {
        (false, _) => f64::INFINITY,
        (true, true) => 0.0,
        (true, false) => dd.sqrt() / size,
    }
}

/// Panics unless [`norm_relative_error`] of `got` and `expected` is at most `tol`; names the worst coordinate.
pub fn assert_gradient_close<A: Copy + Into<f64>>(name: &str, got: &[A], expected: &[f64], tol: f64) {
    assert_eq!(got.len(), expected.len(), "{name}: expected {} values, got {}", expected.len(), got.len());
    let error = norm_relative_error(got, expected);
    if error <= tol {
        return;
    }
    let difference = |i: usize| (got[i].into() - expected[i]).abs();
    // total_cmp puts NaN above everything, so a NaN is what gets named.
    let worst = (0..got.len()).max_by(|&i, &j| difference(i).total_cmp(&difference(j))).unwrap_or(0);
    panic!(
        "{name}: norm-wise relative error {error:.3e} exceeds {tol:.1e}; worst at {worst}: expected {:e}, got {:e}",
        expected[worst],
        got[worst].into(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f(x: &[f64]) -> f64 {
        x[0].sin() * x[1].exp() + 1e-3 * x[2].powi(3)
    }

    fn gradient(x: &[f64]) -> Vec<f64> {
        vec![x[0].cos() * x[1].exp(), x[0].sin() * x[1].exp(), 3e-3 * x[2] * x[2]]
    }

    #[test]
    fn central_differences_match_a_known_gradient() {
        let at = [0.3, -0.7, 40.0];
        assert!(norm_relative_error(&central_gradient(f, &at), &gradient(&at)) < 1e-9);
        let direction = [1.0, -2.0, 0.5];
        let expected: f64 = gradient(&at).iter().zip(&direction).map(|(g, d)| g * d).sum();
        assert!((directional_derivative(f, &at, &direction) / expected - 1.0).abs() < 1e-7);
    }

    #[test]
    fn step_is_the_cube_root_of_epsilon() {
        assert!((STEP / f64::EPSILON.cbrt() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn relative_error_of_the_limits() {
        assert_eq!(norm_relative_error(&[0.0f32; 2], &[0.0f64; 2]), 0.0);
        assert_eq!(norm_relative_error(&[3.0, 4.0], &[0.0, 0.0]), 1.0);
        assert_eq!(norm_relative_error(&[f32::NAN], &[1.0]), f64::INFINITY);
        assert_eq!(norm_relative_error(&[f64::INFINITY], &[f64::INFINITY]), f64::INFINITY);
        assert!((norm_relative_error(&[3.0, 4.0], &[3.0, 4.5]) - 0.5 / 29.25f64.sqrt()).abs() < 1e-15);
    }

    #[test]
    #[should_panic(expected = "worst at 1: expected 2e0, got 3e0")]
    fn a_wrong_coordinate_is_named() {
        assert_gradient_close("planted", &[1.0f32, 3.0, -1.0], &[1.0, 2.0, -1.0], 1e-3);
    }

    #[test]
    #[should_panic(expected = "worst at 0")]
    fn a_nan_never_passes() {
        assert_gradient_close("planted", &[f32::NAN, 3.0], &[1.0, 2.0], 1e30);
    }
}
