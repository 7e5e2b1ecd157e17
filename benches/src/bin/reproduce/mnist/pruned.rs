//! What is left of a network when the weights that are noise are taken out, `ln(sigma²/mu²) > 3`, and what that saves.

use std::path::Path;
use std::time::Instant;

use bdl_benches::uci::Error;
use bdl_layers::{Pass, Workspace};
use bdl_model::{Images, Labels, LayerPruning, Measure, Model, Passes};
use bdl_tensor::{Mat, MatMut, Pool};
use serde::Serialize;

/// Images that go through a network at a time.
const CHUNK: usize = 1000;
/// Times that all test images go through each network, to see how long it takes.
const REPEATS: usize = 5;
/// Passes of a prediction of one row.
const SAMPLES: usize = 100;

/// A pruned network beside the one that it was.
#[derive(Serialize)]
pub(crate) struct Pruned {
    layers: Vec<Layer>,
    weights: usize,
    kept: usize,
    /// Weights by kept weights; biases, which all are kept, do not count.
    pub(crate) compression: f64,
    /// Test error of the means of what is left.
    pub(crate) error: f64,
    /// Of the model files, and how many times smaller the pruned one is.
    bytes: u64,
    dense_bytes: u64,
    pub(crate) smaller: f64,
    /// Of all test images at the means, one after the other: the least of several.
    seconds: f64,
    dense_seconds: f64,
    pub(crate) faster: f64,
    /// Of one row by so many passes on one thread: medians.
    row_samples: usize,
    row_seconds: f64,
    dense_row_seconds: f64,
}

#[derive(Serialize)]
struct Layer {
    name: String,
    weights: usize,
    kept: usize,
    sparsity: f64,
    units: [usize; 2],
}

impl Layer {
    fn of(layer: &LayerPruning) -> Self {
        let LayerPruning { name, weights, kept, units, .. } = layer.clone();
        Self { name, weights, kept, sparsity: 1.0 - kept as f64 / weights as f64, units }
    }
}

/// Prunes a network of sparse variational dropout and writes it to a file, if one is named; of any other network there is nothing to say.
pub(crate) fn pruned(
    dense: &Model,
    images: &Images,
    labels: &Labels,
    pool: &dyn Pool,
    file: Option<&Path>,
) -> Result<Option<Pruned>, Error> {
    if dense.measure().ok() != Some(Measure::LnAlpha) {
        return Ok(None);
    }
    let model = dense.prune(None)?;
    if let Some(file) = file {
        model.save(file)?;
    }
    let (Some(pruning), bytes) = (model.pruning(), model.to_bytes()?.len() as u64) else { return Ok(None) };
    let x: Vec<f32> = images.pixels().iter().map(|&byte| f32::from(byte) / 255.0).collect();
    let (seconds, digits) = timed([&model, dense], &x, pool)?;
    let wrong = digits.iter().zip(labels.as_slice()).filter(|(digit, label)| **digit != usize::from(**label));
    let passes = Passes { samples: SAMPLES, ..model.passes() };
    let row = model.row_times(passes)?.ok_or("expected times of a pruned model")?;
    Ok(Some(Pruned {
        layers: pruning.layers.iter().map(Layer::of).collect(),
        weights: pruning.weights(),
        kept: pruning.kept(),
        compression: pruning.compression(),
        error: wrong.count() as f64 / images.len() as f64,
        bytes,
        dense_bytes: pruning.dense_bytes,
        smaller: pruning.dense_bytes as f64 / bytes as f64,
        seconds: seconds[0],
        dense_seconds: seconds[1],
        faster: seconds[1] / seconds[0],
        row_samples: row.samples,
        row_seconds: row.pruned,
        dense_row_seconds: row.dense,
    }))
}

/// The least time that each network takes for all rows, in turn, and what the first one takes them for.
fn timed(models: [&Model; 2], x: &[f32], pool: &dyn Pool) -> Result<([f64; 2], Vec<usize>), Error> {
    let mut seconds = [f64::INFINITY; 2];
    let mut found = [Vec::new(), Vec::new()];
    for _ in 0..REPEATS {
        for ((model, seconds), found) in models.iter().zip(&mut seconds).zip(&mut found) {
            let start = Instant::now();
            *found = digits(model, x, pool)?;
            *seconds = seconds.min(start.elapsed().as_secs_f64());
        }
    }
    let [found, _] = found;
    Ok((seconds, found))
}

/// The greatest output of each row at the means of the weights.
fn digits(model: &Model, x: &[f32], pool: &dyn Pool) -> Result<Vec<usize>, Error> {
    let (plan, params) = (model.bnn().plan(), &model.members()[0][model.bnn().network()]);
    let (width, classes) = (plan.in_dim(), plan.out_dim());
    let (mut ws, mut y, mut found) = (Workspace::new(), vec![0.0; CHUNK * classes], Vec::new());
    for x in x.chunks(CHUNK * width) {
        let rows = x.len() / width;
        let y = &mut y[..rows * classes];
        let pass = Pass::mean().on(pool);
        plan.forward(params, Mat::new(x, rows, width)?, &pass, &mut ws, &mut MatMut::new(y, rows, classes)?)?;
        let best = |row: &[f32]| (1..classes).fold(0, |best, c| if row[c] > row[best] { c } else { best });
        found.extend(y.chunks(classes).map(best));
    }
    Ok(found)
}
