//! Where something that is not finite comes from.

use bdl_layers::{BlockEntry, Pass, Workspace};
use bdl_tensor::{Mat, kernels};

use super::Run;
use crate::update::Updated;
use crate::{ElboTerms, Error};

impl Run<'_> {
    /// The error of a step that met something not finite. Shards without it have moved, and perhaps beyond all bounds,
    /// so that only what the step saw is to blame.
    pub(super) fn blame_update(&self, params: &[f32], updated: &Updated) -> Result<Option<Error>, Error> {
        let found =
            |what, at, x: &[f32]| Ok(Some(self.non_finite(what, self.bnn.block_of(at), x[at].into())));
        if let Some(at) = updated.bad_param {
            return found("parameter", at, params);
        }
        let Some(at) = updated.bad_grad else { return Ok(None) };
        // A gradient may be lost with the KL, whose shard is where it was.
        let kl = self.bnn.plan().kl(&params[self.bnn.network()])?;
        if !kl.is_finite() && kernels::first_non_finite(params).is_none() {
            return Ok(Some(self.blame_kl(params, kl)));
        }
        found("gradient", at, &self.grads)
    }

    pub(super) fn non_finite(&self, what: &'static str, place: String, value: f64) -> Error {
        Error::NonFinite { what, epoch: self.epoch + 1, step: self.step, place, value }
    }

    /// Finds where a non-finite loss comes from: a parameter, a layer's output, the likelihood or the KL.
    pub(super) fn blame_loss(&self, params: &[f32], x: Mat<'_>, pass: &Pass<'_>, terms: ElboTerms) -> Error {
        if let Some(index) = kernels::first_non_finite(params) {
            return self.non_finite("parameter", self.bnn.block_of(index), params[index].into());
        }
        if terms.nll_sum.is_finite() {
            return self.blame_kl(params, terms.kl);
        }
        let network = &params[self.bnn.network()];
        let layer = self.bnn.plan().first_non_finite_layer(network, x, pass, &mut Workspace::new());
        let owner = layer.ok().flatten().unwrap_or("likelihood");
        self.non_finite("loss", self.largest_block(owner, params), terms.nll_sum)
    }

    /// Finds the layer whose KL is not finite.
    fn blame_kl(&self, params: &[f32], kl: f64) -> Error {
        let reports = self.bnn.report(params).unwrap_or_default();
        let bad = reports.iter().position(|r| !r.kl.is_finite());
        let layer = bad.and_then(|i| self.bnn.plan().layers().nth(i)).map_or("network", |(name, _)| name);
        self.non_finite("kl", self.largest_block(layer, params), kl)
    }

    /// Path of the owner's block with the largest parameter; its name alone if it has no block.
    fn largest_block(&self, owner: &str, params: &[f32]) -> String {
        let largest = |e: &&BlockEntry| params[e.range.clone()].iter().fold(0.0_f32, |m, p| m.max(p.abs()));
        let own = self.bnn.entries().iter().filter(|e| e.owner == owner);
        let block = own.max_by(|a, b| largest(a).total_cmp(&largest(b)));
        block.map_or_else(|| owner.to_owned(), BlockEntry::path)
    }
}
