//! What a row costs, before and after.

use std::time::{Duration, Instant};

use bdl_dist::{Noise, Purpose};
use bdl_infer::{Bnn, Passes, Predictor};
use bdl_tensor::{Mat, Serial};

use crate::Error;

/// How long a prediction of one synthetic row takes, in seconds: the median of several.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RowTimes {
    /// Of the pruned model.
    pub pruned: f64,
    /// Of an unpruned network of the size that it was before, with initial parameters.
    pub dense: f64,
    /// Passes over all members.
    pub samples: usize,
}

/// Predictions of each network at least …
const LEAST: usize = 3;
/// … and until this much time has gone, but not …
const LONG_ENOUGH: Duration = Duration::from_millis(200);
/// … more than this.
const MOST: usize = 1_000;

/// Both networks in turn, so that both meet the same machine.
pub(super) fn of_row(
    bnn: &Bnn,
    members: &[Vec<f32>],
    dense: &Bnn,
    passes: Passes,
) -> Result<RowTimes, Error> {
    // A file of few weights may claim many members, each as large before as any that was trained.
    let initial = [dense.init(&Noise::new(0, Purpose::Init))];
    let mut x = vec![0.0; bnn.plan().in_dim()];
    Noise::new(0, Purpose::Other(0)).rng(0).normals(&mut x);
    let x = Mat::new(&x, 1, x.len()).map_err(bdl_infer::Error::from)?;
    let pruned = Predictor::new(bnn, members, passes)?;
    let samples = pruned.samples();
    let predictors = [pruned, Predictor::new(dense, &initial, Passes { samples, ..passes })?];
    let mut out = vec![0.0; samples * bnn.plan().out_dim()];
    let mut seconds = [Vec::new(), Vec::new()];
    let begin = Instant::now();
    while seconds[1].len() < LEAST || (begin.elapsed() < LONG_ENOUGH && seconds[1].len() < MOST) {
        for (predictor, seconds) in predictors.iter().zip(&mut seconds) {
            let start = Instant::now();
            predictor.outputs_into(x, 0, &Serial, &mut out)?;
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    let [pruned, dense] = seconds.map(median);
    Ok(RowTimes { pruned, dense, samples })
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
