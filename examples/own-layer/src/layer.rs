//! A dense layer with a random gain on each input.

use bdl_dist::{NoiseRng, Normal, kl_normal, kl_normal_grad, raw_scale, reparameterize};
use bdl_layers::{Backward, Block, Context, Draw, Error, KlAt, Layer, Pass, Role, Scratch, codec};
use bdl_tensor::{Mat, MatMut, Store, kernels, math, matmul, matmul_nt, matmul_tn};
use serde::{Deserialize, Serialize};

/// A dense layer whose inputs are multiplied by random gains.
///
/// ```text
/// y = (x ⊙ g)·W + b          x: [rows, in_dim]   g: [in_dim]   W: [in_dim, out_dim]   b: [out_dim]
/// posterior  q(g_i) = N(mu_i, sigma_i²),  sigma_i = softplus(rho_i)
/// prior      p(g_i) = N(1, prior_sd²)
/// ```
///
/// Only the gains are random: `2·in_dim` variational parameters in place of `2·in_dim·out_dim`. W and b have one
/// value each. The layer draws the gains once per pass or once per row, as the pass asks.
///
/// # References
/// Dusenberry et al. 2020, *Efficient and scalable Bayesian neural nets with rank-1 factors*, section 3.
#[derive(Clone, Debug, PartialEq)]
pub struct GainDense {
    in_dim: usize,
    out_dim: usize,
    prior: Normal,
}

/// What a file holds of a [`GainDense`]. Frozen: a change of it would be a `V2`.
#[derive(Serialize, Deserialize)]
struct V1 {
    in_dim: u64,
    out_dim: u64,
    prior_sd: f64,
}

impl GainDense {
    /// Key of the registry.
    pub const KIND: &'static str = "gain-dense";

    /// The layer with prior `N(1, prior_sd²)` on its gains.
    ///
    /// # Errors
    /// [`Error::Argument`] if a width is 0, [`Error::Dist`] unless `prior_sd` is finite and > 0.
    pub fn new(in_dim: usize, out_dim: usize, prior_sd: f64) -> Result<Self, Error> {
        for (argument, width) in [("in_dim", in_dim), ("out_dim", out_dim)] {
            if width == 0 {
                let (layer, expected, got) = (Self::KIND.to_owned(), ">= 1".to_owned(), "0".to_owned());
                return Err(Error::Argument { layer, argument, expected, got });
            }
        }
        Ok(Self { in_dim, out_dim, prior: Normal::new(1.0, prior_sd)? })
    }

    /// Builds the layer from its configuration: what the registry calls.
    ///
    /// # Errors
    /// [`Error::Decode`] for other bytes; as [`new`](Self::new).
    pub fn build(config: &[u8]) -> Result<Box<dyn Layer>, Error> {
        let v: V1 = codec::decode("layer gain-dense", config)?;
        Ok(Box::new(Self::new(v.in_dim as usize, v.out_dim as usize, v.prior_sd)?))
    }

    /// Sets of gains in a pass: one for each row, or one for all of them.
    fn sets(&self, rows: usize, pass: &Pass<'_>) -> usize {
        if pass.weight_draw() == Draw::Row { rows } else { 1 }
    }

    fn split<'a>(&self, params: &'a [f32]) -> Result<Params<'a>, Error> {
        let (mu, rest) = params.split_at(self.in_dim);
        let (rho, rest) = rest.split_at(self.in_dim);
        let (weight, bias) = rest.split_at(self.in_dim * self.out_dim);
        Ok(Params { mu, rho, weight: Mat::new(weight, self.in_dim, self.out_dim)?, bias })
    }

    /// The scratch memory by name.
    fn tape<'a>(&self, sets: usize, rows: usize, floats: &'a mut [f32]) -> Tape<'a> {
        let (eps, rest) = floats.split_at_mut(sets * self.in_dim);
        let (gain, rest) = rest.split_at_mut(sets * self.in_dim);
        let (xg, d_xg) = rest.split_at_mut(rows * self.in_dim);
        Tape { eps, gain, xg, d_xg }
    }
}

/// The parameters, as [`GainDense::blocks`] lays them out.
struct Params<'a> {
    mu: &'a [f32],
    rho: &'a [f32],
    weight: Mat<'a>,
    bias: &'a [f32],
}

/// What `forward` leaves for `backward`: `[sets, in_dim]` twice, `x ⊙ g` `[rows, in_dim]`, and room for its gradient.
struct Tape<'a> {
    eps: &'a mut [f32],
    gain: &'a mut [f32],
    xg: &'a mut [f32],
    d_xg: &'a mut [f32],
}

impl Layer for GainDense {
    fn kind(&self) -> &str {
        Self::KIND
    }

    fn config(&self) -> Result<Vec<u8>, Error> {
        let prior_sd = self.prior.std_dev();
        codec::encode(
            "layer gain-dense",
            &V1 { in_dim: self.in_dim as u64, out_dim: self.out_dim as u64, prior_sd },
        )
    }

    fn in_dim(&self) -> usize {
        self.in_dim
    }

    fn out_dim(&self) -> usize {
        self.out_dim
    }

    fn blocks(&self) -> Vec<Block> {
        vec![
            Block::new("gain.mu", &[self.in_dim], Role::Mean),
            Block::new("gain.rho", &[self.in_dim], Role::RawScale),
            Block::new("weight", &[self.in_dim, self.out_dim], Role::Plain),
            Block::new("bias", &[self.out_dim], Role::Plain),
        ]
    }

    fn init(&self, params: &mut [f32], rng: &mut NoiseRng) {
        let (mu, rest) = params.split_at_mut(self.in_dim);
        let (rho, rest) = rest.split_at_mut(self.in_dim);
        let (weight, bias) = rest.split_at_mut(self.in_dim * self.out_dim);
        mu.fill(1.0);
        rho.fill(raw_scale(0.1));
        rng.normals(weight);
        kernels::scale((1.0 / self.in_dim as f64).sqrt() as f32, weight);
        bias.fill(0.0);
    }

    fn is_random(&self) -> bool {
        true
    }

    fn scratch(&self, rows: usize, pass: &Pass<'_>) -> Scratch {
        Scratch { floats: 2 * (self.sets(rows, pass) + rows) * self.in_dim, words: 0 }
    }

    fn forward(&self, ctx: &mut Context<'_>, x: Mat<'_>, y: &mut MatMut<'_>) -> Result<(), Error> {
        let (p, rows) = (self.split(ctx.params)?, x.rows());
        let site = ctx.site(0, ctx.pass.weight_draw());
        let tape = self.tape(self.sets(rows, ctx.pass), rows, ctx.floats);
        match site {
            Some(site) => site.normals(self.in_dim, tape.eps),
            None => tape.eps.fill(0.0), // Mode::Mean
        }
        for (eps, gain) in tape.eps.chunks(self.in_dim).zip(tape.gain.chunks_mut(self.in_dim)) {
            reparameterize(p.mu, p.rho, eps, gain)?;
        }
        let gains = tape.gain.chunks(self.in_dim).cycle();
        for ((xg, x), gain) in tape.xg.chunks_mut(self.in_dim).zip(x.iter_rows()).zip(gains) {
            kernels::mul(x, gain, xg);
        }
        matmul(ctx.pass.pool(), Mat::new(tape.xg, rows, self.in_dim)?, p.weight, Store::Overwrite, y)?;
        kernels::add_bias_rows(p.bias, y);
        Ok(())
    }

    fn backward(&self, ctx: &mut Context<'_>, grads: &mut [f32], io: Backward<'_>) -> Result<(), Error> {
        let (p, rows, pool) = (self.split(ctx.params)?, io.x.rows(), ctx.pass.pool());
        let tape = self.tape(self.sets(rows, ctx.pass), rows, ctx.floats);
        let (d_mu, rest) = grads.split_at_mut(self.in_dim);
        let (d_rho, rest) = rest.split_at_mut(self.in_dim);
        let (d_weight, d_bias) = rest.split_at_mut(self.in_dim * self.out_dim);
        // dW += (x ⊙ g)ᵀ·dy,   db += Σ_rows dy,   d(x ⊙ g) = dy·Wᵀ
        let xg = Mat::new(tape.xg, rows, self.in_dim)?;
        matmul_tn(pool, xg, io.dy, Store::Add, &mut MatMut::new(d_weight, self.in_dim, self.out_dim)?)?;
        kernels::col_sums_add(io.dy, d_bias);
        matmul_nt(pool, io.dy, p.weight, Store::Overwrite, &mut MatMut::new(tape.d_xg, rows, self.in_dim)?)?;
        // dg = d(x ⊙ g) ⊙ x,   dmu += dg,   drho += dg·eps·sigmoid(rho), since g = mu + softplus(rho)·eps
        let eps = tape.eps.chunks(self.in_dim).cycle();
        for ((d_xg, x), eps) in tape.d_xg.chunks(self.in_dim).zip(io.x.iter_rows()).zip(eps) {
            for i in 0..self.in_dim {
                let d_gain = d_xg[i] * x[i];
                d_mu[i] += d_gain;
                d_rho[i] += d_gain * eps[i] * math::sigmoid(p.rho[i]);
            }
        }
        if let Some(mut dx) = io.dx {
            let gains = tape.gain.chunks(self.in_dim).cycle();
            for ((r, d_xg), gain) in tape.d_xg.chunks(self.in_dim).enumerate().zip(gains) {
                kernels::mul(d_xg, gain, dx.row_mut(r));
            }
        }
        Ok(())
    }

    /// `Σ_i KL(N(mu_i, sigma_i²) ‖ N(1, prior_sd²))`, in nats.
    fn kl(&self, at: &KlAt<'_>) -> f64 {
        let (mu, rest) = at.params.split_at(self.in_dim);
        kl_normal(mu, &rest[..self.in_dim], &self.prior).unwrap_or(f64::NAN)
    }

    fn kl_grad(&self, at: &KlAt<'_>, weight: f32, grads: &mut [f32]) -> f64 {
        let (mu, rest) = at.params.split_at(self.in_dim);
        let (d_mu, d_rest) = grads.split_at_mut(self.in_dim);
        let (rho, d_rho) = (&rest[..self.in_dim], &mut d_rest[..self.in_dim]);
        kl_normal_grad(mu, rho, &self.prior, weight, d_mu, d_rho).unwrap_or(f64::NAN)
    }
}
