//! What layers with weights and biases share.

use bdl_dist::NoiseRng;
use bdl_tensor::{Mat, MatMut, Store, kernels};

use crate::Error;

/// Adds the bias, if there is one, to each row.
pub(crate) fn add_bias(bias: &[f32], y: &mut MatMut<'_>) {
    if !bias.is_empty() {
        kernels::add_bias_rows(bias, y);
    }
}

/// `db (+)= Σ_rows dy`, if there is a bias.
pub(crate) fn bias_grad(dy: Mat<'_>, store: Store, d_bias: &mut [f32]) {
    if d_bias.is_empty() {
        return;
    }
    if store == Store::Overwrite {
        d_bias.fill(0.0);
    }
    kernels::col_sums_add(dy, d_bias);
}

/// `N(0, 2/in_dim)` (He et al. 2015, *Delving deep into rectifiers*, eq. 10; `docs/math.md#initialization`).
pub(crate) fn init_he(weight: &mut [f32], in_dim: usize, rng: &mut NoiseRng) {
    fill_normal((2.0 / in_dim as f64).sqrt(), weight, rng);
}

/// `N(0, std_dev²)`.
pub(crate) fn fill_normal(std_dev: f64, out: &mut [f32], rng: &mut NoiseRng) {
    rng.normals(out);
    kernels::scale(std_dev as f32, out);
}

pub(crate) fn check_dims(layer: &str, in_dim: usize, out_dim: usize) -> Result<(), Error> {
    for (argument, got) in [("in_dim", in_dim), ("out_dim", out_dim)] {
        if got == 0 || got > 1 << 24 {
            let expected = "between 1 and 16777216".to_owned();
            return Err(Error::Argument {
                layer: layer.to_owned(),
                argument,
                expected,
                got: got.to_string(),
            });
        }
    }
    Ok(())
}

pub(crate) fn check_finite(layer: &str, argument: &'static str, got: f64) -> Result<(), Error> {
    if got.is_finite() {
        return Ok(());
    }
    let (layer, expected) = (layer.to_owned(), "finite".to_owned());
    Err(Error::Argument { layer, argument, expected, got: got.to_string() })
}

pub(crate) fn check_alpha(layer: &str, got: f64) -> Result<(), Error> {
    if got > 0.0 && got < 1.0 {
        return Ok(());
    }
    let (layer, expected) = (layer.to_owned(), "in (0, 1)".to_owned());
    Err(Error::Argument { layer, argument: "init_alpha", expected, got: got.to_string() })
}

pub(crate) fn check_positive(layer: &str, argument: &'static str, got: f64) -> Result<(), Error> {
    if got.is_finite() && got > 0.0 {
        return Ok(());
    }
    let expected = "finite and > 0".to_owned();
    Err(Error::Argument { layer: layer.to_owned(), argument, expected, got: got.to_string() })
}
