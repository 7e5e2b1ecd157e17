//! The evidence lower bound of a mini-batch, and its gradient.

use bdl_layers::{Pass, Workspace};
use bdl_tensor::Mat;

use crate::error::{check_arg, check_len};
use crate::{Bnn, Error, Targets};

/// The evidence lower bound for a training set of known size.
///
/// ```text
/// elbo = (n_train / batch)·Σ_b ln p(y_b | x_b, w) − kl_weight·KL(q‖p)        w ~ q, nats
/// ```
///
/// Since `n_train` is part of the objective, a mini-batch cannot be mis-scaled against the KL. With
/// `kl_weight = 1` this is an unbiased estimate of a lower bound on the log evidence, provided that the prior is
/// proper and the KL exact (under MC dropout it is known up to a constant only).
///
/// # References
/// Graves 2011, *Practical variational inference for neural networks*, eq. 8; `docs/math.md#elbo`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Elbo {
    n_train: usize,
    kl_weight: f64,
}

/// The parts of one estimate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ElboTerms {
    /// Negative log-likelihood of the batch, summed over its rows, nats.
    pub nll_sum: f64,
    /// Rows of the batch.
    pub batch: usize,
    /// KL divergence, summed over weights, nats; not weighted.
    pub kl: f64,
    /// The estimate, nats, for all training rows.
    pub elbo: f64,
}

impl Elbo {
    /// The bound for `n_train` training rows, with KL weight 1.
    ///
    /// # Errors
    /// [`Error::Argument`] if `n_train` is 0.
    pub fn new(n_train: usize) -> Result<Self, Error> {
        check_arg("elbo: n_train", ">= 1", n_train as f64, n_train >= 1)?;
        Ok(Self { n_train, kl_weight: 1.0 })
    }

    /// The same with another KL weight: a warm-up, or a tempered posterior.
    ///
    /// # Errors
    /// [`Error::Argument`] unless it is finite and ≥ 0.
    pub fn with_kl_weight(self, kl_weight: f64) -> Result<Self, Error> {
        check_arg(
            "elbo: kl_weight",
            "finite and >= 0",
            kl_weight,
            kl_weight.is_finite() && kl_weight >= 0.0,
        )?;
        Ok(Self { kl_weight, ..self })
    }

    /// The bound from its parts: the batch's summed NLL, its rows (at least 1), and the KL.
    #[must_use]
    pub fn value(&self, nll_sum: f64, batch: usize, kl: f64) -> f64 {
        -(self.n_train as f64 / batch as f64) * nll_sum - self.kl_weight * kl
    }

    /// One estimate from the batch (x, y) under the noise of `pass`.
    ///
    /// Overwrites `grads` with the gradient of **`−elbo / n_train`**, the loss per training row, so that a
    /// learning rate means the same for any number of rows.
    ///
    /// # Shapes
    /// x `[batch, in_dim]`, `batch` targets, `params` and `grads` as long as [`Bnn::n_params`].
    ///
    /// # Errors
    /// For shapes and targets that do not fit the network and its likelihood.
    #[expect(
        clippy::too_many_arguments,
        reason = "what an estimate depends on; a struct of them would have one user"
    )]
    pub fn gradient(
        &self,
        bnn: &Bnn,
        params: &[f32],
        x: Mat<'_>,
        y: Targets<'_>,
        pass: &Pass<'_>,
        ws: &mut Workspace,
        grads: &mut [f32],
    ) -> Result<ElboTerms, Error> {
        let nll_sum = self.likelihood_gradient(bnn, params, x, y, pass, ws, grads)?;
        let network = bnn.network();
        let kl = bnn.plan().estimate_kl_grad(
            &params[network.clone()],
            pass,
            self.kl_scale(),
            &mut grads[network],
        )?;
        Ok(self.terms(nll_sum, x.rows(), kl))
    }

    /// The part of [`gradient`](Elbo::gradient) without the KL: overwrites `grads` with the gradient of the mean
    /// NLL and returns the sum.
    #[expect(clippy::too_many_arguments, reason = "those of `gradient`")]
    pub(crate) fn likelihood_gradient(
        &self,
        bnn: &Bnn,
        params: &[f32],
        x: Mat<'_>,
        y: Targets<'_>,
        pass: &Pass<'_>,
        ws: &mut Workspace,
        grads: &mut [f32],
    ) -> Result<f64, Error> {
        bnn.check_params(params)?;
        check_len("elbo: gradients", params.len(), grads.len())?;
        check_len("elbo: targets, one per row", x.rows(), y.len())?;
        check_arg("elbo: batch", ">= 1", x.rows() as f64, x.rows() >= 1)?;
        let (network, noise) = params.split_at(bnn.network().end);
        let (d_network, d_noise) = grads.split_at_mut(network.len());
        bnn.plan().forward_train(network, x, pass, ws)?;
        let (out, mut d_out) = ws.output_and_grad();
        let per_row = (1.0 / x.rows() as f64) as f32;
        d_noise.fill(0.0);
        let nll_sum = bnn.likelihood().nll_grad(noise, out, y, per_row, &mut d_out, d_noise)?;
        bnn.plan().write_backward(network, x, pass, ws, d_network)?;
        Ok(nll_sum)
    }

    /// Factor of the KL in the loss per training row.
    pub(crate) fn kl_scale(&self) -> f32 {
        (self.kl_weight / self.n_train as f64) as f32
    }

    pub(crate) fn terms(&self, nll_sum: f64, batch: usize, kl: f64) -> ElboTerms {
        ElboTerms { nll_sum, batch, kl, elbo: self.value(nll_sum, batch, kl) }
    }
}
