//! Training between the measurements, and the time of a step.

use std::ops::ControlFlow;
use std::time::Instant;

use bdl_infer::{Bnn, FitConfig, fit};
use bdl_layers::Estimator;
use bdl_tensor::Pool;

use super::Rows;
use crate::Error;
use crate::timing::{Repeat, median};

/// Rows of a training step.
pub const STEP_ROWS: usize = 128;

/// Steps of an epoch whose time is taken.
const TIMED_STEPS: usize = 20;

/// Trains `params` for some epochs: Adam at 10⁻³, local reparameterization, the whole KL from the first step on.
///
/// # Errors
/// As for [`fit`].
pub fn train(
    bnn: &Bnn,
    params: &mut [f32],
    rows: &Rows,
    epochs: usize,
    pool: &dyn Pool,
) -> Result<(), Error> {
    let config = FitConfig { epochs, batch: STEP_ROWS, ..FitConfig::default() };
    fit(bnn, params, rows.first(usize::MAX)?, None, &config, pool, &mut |_| ControlFlow::Continue(()))?;
    Ok(())
}

/// Median time of a training step of [`STEP_ROWS`] rows, from these parameters on.
///
/// # Errors
/// As for [`fit`].
pub fn seconds_per_step(
    bnn: &Bnn,
    params: &[f32],
    rows: &Rows,
    estimator: Estimator,
    repeat: Repeat,
    pool: &dyn Pool,
) -> Result<f64, Error> {
    let data = rows.first(TIMED_STEPS * STEP_ROWS)?;
    let (warm_up, runs) = repeat.runs();
    // The first epoch sets up as well.
    let config =
        FitConfig { epochs: warm_up + 1 + runs, batch: STEP_ROWS, estimator, ..FitConfig::default() };
    let (mut last, mut times) = (Instant::now(), Vec::new());
    fit(bnn, &mut params.to_vec(), data, None, &config, pool, &mut |_| {
        times.push(last.elapsed().as_secs_f64());
        last = Instant::now();
        ControlFlow::Continue(())
    })?;
    Ok(median(&mut times[warm_up + 1..]) / data.rows().div_ceil(STEP_ROWS) as f64)
}
