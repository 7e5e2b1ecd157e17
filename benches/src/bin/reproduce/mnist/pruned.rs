//! What is left of a network when the weights that are noise are taken out: `ln(sigma²/mu²) > 3`.

use bdl_benches::uci::Error;
use bdl_infer::Bnn;
use bdl_layers::{Pass, Role, SparseVd, Workspace};
use bdl_model::{Images, Labels, Model};
use bdl_tensor::{Mat, MatMut, Pool};
use serde::Serialize;

/// Images that go through the network at a time.
const CHUNK: usize = 1000;

/// The weights that are kept, and the test error of their means alone.
#[derive(Serialize)]
pub(crate) struct Pruned {
    /// Share of weights that go, layer by layer.
    sparsity: Vec<f64>,
    weights: usize,
    kept: usize,
    /// Weights by kept weights; biases, which all are kept, do not count.
    pub(crate) compression: f64,
    pub(crate) error: f64,
}

/// Prunes a network of sparse variational dropout; of any other there is nothing to say.
pub(crate) fn pruned(
    model: &Model,
    images: &Images,
    labels: &Labels,
    pool: &dyn Pool,
) -> Result<Option<Pruned>, Error> {
    let mut params = model.members()[0].clone();
    let (mut sparsity, mut weights, mut kept) = (Vec::new(), 0, 0);
    let entries = model.bnn().plan().entries();
    for pair in entries.windows(2) {
        let [mu, ln_sigma2] = pair else { continue };
        if mu.block.role != Role::Mean || !ln_sigma2.block.name.ends_with("ln_sigma2") {
            continue;
        }
        let raw = params[ln_sigma2.range.clone()].to_vec();
        let means = &mut params[mu.range.clone()];
        let noise = |mu: f32, raw: f32| raw - 2.0 * mu.abs().ln() > SparseVd::THRESHOLD;
        means.iter_mut().zip(&raw).filter(|(mu, raw)| noise(**mu, **raw)).for_each(|(mu, _)| *mu = 0.0);
        let of_layer = means.iter().filter(|mu| **mu != 0.0).count();
        sparsity.push(1.0 - of_layer as f64 / means.len() as f64);
        (weights, kept) = (weights + means.len(), kept + of_layer);
    }
    if sparsity.is_empty() {
        return Ok(None);
    }
    let error = error_of_means(model.bnn(), &params, images, labels, pool)?;
    Ok(Some(Pruned { sparsity, weights, kept, compression: weights as f64 / kept.max(1) as f64, error }))
}

/// Share of images whose greatest output is not their label's.
fn error_of_means(
    bnn: &Bnn,
    params: &[f32],
    images: &Images,
    labels: &Labels,
    pool: &dyn Pool,
) -> Result<f64, Error> {
    let (plan, mut ws, mut wrong) = (bnn.plan(), Workspace::new(), 0);
    let (width, classes) = (plan.in_dim(), plan.out_dim());
    for (pixels, labels) in images.pixels().chunks(CHUNK * width).zip(labels.as_slice().chunks(CHUNK)) {
        let x: Vec<f32> = pixels.iter().map(|&byte| f32::from(byte) / 255.0).collect();
        let mut y = vec![0.0; labels.len() * classes];
        let x = Mat::new(&x, labels.len(), width)?;
        let pass = Pass::mean().on(pool);
        plan.forward(
            &params[bnn.network()],
            x,
            &pass,
            &mut ws,
            &mut MatMut::new(&mut y, labels.len(), classes)?,
        )?;
        let best = |row: &[f32]| (1..classes).fold(0, |best, c| if row[c] > row[best] { c } else { best });
        wrong +=
            y.chunks(classes).zip(labels).filter(|(row, label)| best(row) != usize::from(**label)).count();
    }
    Ok(wrong as f64 / images.len() as f64)
}
