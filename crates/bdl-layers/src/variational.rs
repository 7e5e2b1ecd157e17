//! The variational dense layer: a normal posterior over every weight and bias.

mod prediction;

use bdl_dist::{NoiseRng, Normal, kl_normal, raw_scale, reparameterize};
use bdl_tensor::{Mat, MatMut, Pool, Serial, Store, kernels, math, matmul_nt, matmul_tn};
use serde::{Deserialize, Serialize};

use crate::dense::{affine, affine_backward, bias_grad, check_dims, check_positive, init_he, split_weights};
use crate::layer::{Backward, Context, KlAt, Layer, LayerReport, Scratch};
use crate::parallel::{in_pieces, in_pieces_of_two, pair};
use crate::pass::Site;
use crate::{Block, Draw, Error, KlForm, KlTerm, Pass, Prior, Role, codec, prior};

/// A dense layer whose weights and biases have independent normal posteriors.
///
/// ```text
/// q(w) = N(mu, sigma²),  sigma = softplus(rho)
/// one draw per pass:  w = mu + sigma·eps,  y = x·w + b                      eps ~ N(0, 1) per weight
/// one draw per row:   y_j = m_j + √v_j·eps_j                                eps ~ N(0, 1) per row and unit
///                     m_j = Σ_i x_i mu_ij + mu_b,j    v_j = Σ_i x_i² sigma_ij² + sigma_b,j²
/// ```
///
/// The second, local reparameterization, gives each row the exact marginal distribution of its
/// pre-activations, independent of the other rows. A unit of variance 0 has gradient 0 through `√v`.
///
/// Noise: the weights' eps at site 0 and the biases' at site 1, one slot per pass; under one draw per row the
/// pre-activations' eps at site 2, one slot per row.
///
/// # References
/// Blundell et al. 2015, *Weight uncertainty in neural networks*; Kingma, Salimans & Welling 2015,
/// *Variational dropout and the local reparameterization trick*, §2.2; `docs/math.md#local-reparameterization`.
#[derive(Clone, Debug, PartialEq)]
pub struct VariationalDense {
    in_dim: usize,
    out_dim: usize,
    prior: Prior,
    init_sigma: f64,
    bias: bool,
    priors: (Normal, Normal),
}

/// The form in which a file holds a [`VariationalDense`]; frozen.
#[derive(Serialize, Deserialize)]
struct V1 {
    in_dim: u64,
    out_dim: u64,
    prior: prior::V1,
    init_sigma: f64,
    bias: bool,
}

/// Where a layer draws: weights, biases, or pre-activations.
const SITE_WEIGHT: u64 = 0;
const SITE_BIAS: u64 = 1;
const SITE_ROW: u64 = 2;

/// Weights from which their variances are worth a second thread.
const PREPARE_FROM: usize = 1 << 15;

/// Normals that one thread draws at a time: some 15 µs.
const NORMALS_FROM: usize = 1 << 13;

impl VariationalDense {
    pub(crate) const KIND: &'static str = "variational-dense";

    /// The layer with a prior, its posterior initialized around He weights with a standard deviation of
    /// `0.1/√in_dim`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a width of 0 or a prior whose scale is not finite and > 0.
    pub fn new(in_dim: usize, out_dim: usize, prior: Prior) -> Result<Self, Error> {
        check_dims(Self::KIND, in_dim, out_dim)?;
        prior.check(Self::KIND)?;
        let init_sigma = 0.1 / (in_dim as f64).sqrt();
        Ok(Self { in_dim, out_dim, prior, init_sigma, bias: true, priors: prior.of_weight_and_bias(in_dim)? })
    }

    /// The same with another initial standard deviation of the posterior.
    ///
    /// # Errors
    /// [`Error::Argument`] unless it is finite and > 0.
    pub fn with_init_sigma(self, init_sigma: f64) -> Result<Self, Error> {
        check_positive(Self::KIND, "init_sigma", init_sigma)?;
        Ok(Self { init_sigma, ..self })
    }

    /// The same without biases: `y = x·w`.
    #[must_use]
    pub fn without_bias(self) -> Self {
        Self { bias: false, ..self }
    }

    pub(crate) fn build(config: &[u8]) -> Result<Box<dyn Layer>, Error> {
        let v: V1 = codec::decode("layer variational-dense", config)?;
        let layer = Self::new(v.in_dim as usize, v.out_dim as usize, v.prior.into())?;
        Ok(Box::new(Self { bias: v.bias, ..layer.with_init_sigma(v.init_sigma)? }))
    }

    fn weights(&self) -> usize {
        self.in_dim * self.out_dim
    }

    fn biases(&self) -> usize {
        if self.bias { self.out_dim } else { 0 }
    }

    fn split<'a>(&self, params: &'a [f32]) -> Params<'a> {
        let (weight_mu, rest) = params.split_at(self.weights());
        let (weight_rho, rest) = rest.split_at(self.weights());
        let (bias_mu, bias_rho) = rest.split_at(self.biases());
        Params { weight_mu, weight_rho, bias_mu, bias_rho }
    }

    fn split_grads<'a>(&self, grads: &'a mut [f32]) -> Grads<'a> {
        let (weight_mu, rest) = grads.split_at_mut(self.weights());
        let (weight_rho, rest) = rest.split_at_mut(self.weights());
        let (bias_mu, bias_rho) = rest.split_at_mut(self.biases());
        Grads { weight_mu, weight_rho, bias_mu, bias_rho }
    }

    fn as_weight<'a>(&self, data: &'a [f32]) -> Result<Mat<'a>, Error> {
        Ok(Mat::new(data, self.in_dim, self.out_dim)?)
    }

    /// Scratch under one draw per pass: the drawn weights and biases, the eps they were drawn with, and the
    /// gradient of what was drawn.
    fn shared<'a>(&self, floats: &'a mut [f32]) -> Shared<'a> {
        let n = self.weights() + self.biases();
        let (drawn, rest) = floats.split_at_mut(n);
        let (eps, d_drawn) = rest.split_at_mut(n);
        Shared { drawn, eps, d_drawn }
    }

    fn forward_shared(&self, ctx: &mut Context<'_>, x: Mat<'_>, y: &mut MatMut<'_>) -> Result<(), Error> {
        let p = self.split(ctx.params);
        let sites = [SITE_WEIGHT, SITE_BIAS].map(|site| ctx.site(site, Draw::Pass));
        let Shared { drawn, eps, .. } = self.shared(ctx.floats);
        let (eps_w, eps_b) = eps.split_at_mut(self.weights());
        let (drawn_w, drawn_b) = drawn.split_at_mut(self.weights());
        if let [Some(weight), Some(bias)] = sites {
            weight.normals(self.weights(), eps_w);
            if self.bias {
                bias.normals(self.out_dim, eps_b);
            }
        }
        reparameterize(p.weight_mu, p.weight_rho, eps_w, drawn_w)?;
        reparameterize(p.bias_mu, p.bias_rho, eps_b, drawn_b)?;
        let drawn = &ctx.floats[..self.weights() + self.biases()];
        let (weight, bias) = split_weights(drawn, self.in_dim, self.out_dim);
        affine(ctx.pass.pool(), x, weight, bias, y)
    }

    fn backward_shared(
        &self,
        ctx: &mut Context<'_>,
        grads: &mut [f32],
        io: Backward<'_>,
    ) -> Result<(), Error> {
        let p = self.split(ctx.params);
        let Shared { drawn, eps, d_drawn } = self.shared(ctx.floats);
        let (d_weight, d_bias) = d_drawn.split_at_mut(self.weights());
        let weight = Mat::new(&drawn[..self.weights()], self.in_dim, self.out_dim)?;
        affine_backward(ctx.pass, weight, Store::Overwrite, d_weight, d_bias, io)?;
        let g = self.split_grads(grads);
        let (eps_w, eps_b) = eps.split_at_mut(self.weights());
        let (tmp_w, tmp_b) = drawn.split_at_mut(self.weights());
        shared_grads(d_weight, p.weight_rho, eps_w, tmp_w, g.weight_mu, g.weight_rho);
        shared_grads(d_bias, p.bias_rho, eps_b, tmp_b, g.bias_mu, g.bias_rho);
        Ok(())
    }

    /// Scratch under one draw per row: the variances of weights and biases, the squared inputs, the variances of
    /// the outputs and their eps. The mean of the outputs is not kept: it is y − √v·eps.
    fn local<'a>(&self, rows: usize, floats: &'a mut [f32]) -> Local<'a> {
        let (weight_var, rest) = floats.split_at_mut(self.weights());
        let (bias_var, rest) = rest.split_at_mut(self.biases());
        let (x2, rest) = rest.split_at_mut(rows * self.in_dim);
        let (var, eps) = rest.split_at_mut(rows * self.out_dim);
        Local { weight_var, bias_var, x2, var, eps }
    }

    /// Multiply-adds of one product with the weights.
    fn work(&self, rows: usize) -> usize {
        rows.saturating_mul(self.weights())
    }

    fn forward_local(&self, ctx: &mut Context<'_>, x: Mat<'_>, y: &mut MatMut<'_>) -> Result<(), Error> {
        let (rows, p) = (x.rows(), self.split(ctx.params));
        let (pool, site) = (ctx.pass.pool(), ctx.site(SITE_ROW, Draw::Row));
        let Local { weight_var, bias_var, x2, var, eps } = self.local(rows, ctx.floats);
        self.prepare_local(pool, &p, weight_var, &mut |pool| {
            in_pieces(pool, x.data(), x2, &kernels::square);
            if let Some(site) = site {
                row_normals(pool, site, self.out_dim, eps);
            }
        });
        kernels::softplus_square(p.bias_rho, bias_var);
        let (x2, weight_var) = (Mat::new(x2, rows, self.in_dim)?, self.as_weight(weight_var)?);
        let (mut of_mean, mut of_var) = (y.reborrow(), MatMut::new(var, rows, self.out_dim)?);
        pair(
            pool,
            self.work(rows),
            &mut |pool| affine(pool, x, self.as_weight(p.weight_mu)?, p.bias_mu, &mut of_mean),
            &mut |pool| affine(pool, x2, weight_var, bias_var, &mut of_var),
        )?;
        in_pieces_of_two(pool, var, eps, y.data_mut(), &|var, eps, y| kernels::add_sqrt_mul(var, eps, y));
        Ok(())
    }

    /// The variances of the weights, beside what else comes before the products.
    fn prepare_local(
        &self,
        pool: &dyn Pool,
        p: &Params<'_>,
        weight_var: &mut [f32],
        rest: &mut (dyn FnMut(&dyn Pool) + Send),
    ) {
        if self.weights() < PREPARE_FROM || pool.threads() == 1 {
            kernels::softplus_square(p.weight_rho, weight_var);
            return rest(&Serial);
        }
        pool.join(&mut || in_pieces(pool, p.weight_rho, weight_var, &kernels::softplus_square), &mut || {
            rest(pool)
        });
    }

    fn backward_local(
        &self,
        ctx: &mut Context<'_>,
        grads: &mut [f32],
        store: Store,
        io: Backward<'_>,
    ) -> Result<(), Error> {
        let (rows, p) = (io.x.rows(), self.split(ctx.params));
        let pool = ctx.pass.pool();
        let Local { weight_var, bias_var, x2, var, eps } = self.local(rows, ctx.floats);
        let Backward { x, dy, dx, .. } = io;
        in_pieces_of_two(pool, dy.data(), eps, var, &|dy, eps, var| kernels::sqrt_mul_backward(dy, eps, var));
        let d_var = Mat::new(var, rows, self.out_dim)?;
        if let Some(dx) = dx {
            let weights = [self.as_weight(p.weight_mu)?, self.as_weight(weight_var)?];
            self.input_grads(pool, weights, [dy, d_var], x, x2, dx)?;
            // The gradient of x² was there.
            in_pieces(pool, x.data(), x2, &kernels::square);
        }
        let g = self.split_grads(grads);
        // From here on nobody asks for the variances. What is overwritten needs no second place.
        let d_weight_var = if store == Store::Overwrite { &mut *g.weight_rho } else { &mut *weight_var };
        let x2 = Mat::new(x2, rows, self.in_dim)?;
        let mut d_mu = MatMut::new(g.weight_mu, self.in_dim, self.out_dim)?;
        let mut d_weight_var = MatMut::new(d_weight_var, self.in_dim, self.out_dim)?;
        pair(
            pool,
            self.work(rows),
            &mut |pool| Ok(matmul_tn(pool, x, dy, store, &mut d_mu)?),
            &mut |pool| Ok(matmul_tn(pool, x2, d_var, Store::Overwrite, &mut d_weight_var)?),
        )?;
        bias_grad(dy, store, g.bias_mu);
        bias_grad(d_var, Store::Overwrite, bias_var);
        match store {
            Store::Overwrite => {
                in_pieces(pool, p.weight_rho, g.weight_rho, &kernels::softplus_square_backward);
                g.bias_rho.copy_from_slice(bias_var);
                kernels::softplus_square_backward(p.bias_rho, g.bias_rho);
            }
            Store::Add => {
                in_pieces_of_two(pool, p.weight_rho, weight_var, g.weight_rho, &add_scale_grads);
                add_scale_grads(p.bias_rho, bias_var, g.bias_rho);
            }
        }
        Ok(())
    }

    /// `dx = dy·muᵀ + 2x ⊙ (dv·(sigma²)ᵀ)`; the gradient of x² passes through `d_x2`.
    fn input_grads(
        &self,
        pool: &dyn Pool,
        [mu, var]: [Mat<'_>; 2],
        [dy, d_var]: [Mat<'_>; 2],
        x: Mat<'_>,
        d_x2: &mut [f32],
        mut dx: MatMut<'_>,
    ) -> Result<(), Error> {
        let mut d_x2 = MatMut::new(d_x2, x.rows(), self.in_dim)?;
        pair(
            pool,
            self.work(x.rows()),
            &mut |pool| Ok(matmul_nt(pool, dy, mu, Store::Overwrite, &mut dx)?),
            &mut |pool| Ok(matmul_nt(pool, d_var, var, Store::Overwrite, &mut d_x2)?),
        )?;
        in_pieces_of_two(pool, x.data(), d_x2.data_mut(), dx.data_mut(), &|x, d_x2, dx| {
            kernels::add_square_backward(x, d_x2, dx);
        });
        Ok(())
    }

    fn terms(&self) -> [KlTerm; 2] {
        let (n, all) = (2 * self.weights(), 2 * (self.weights() + self.biases()));
        let (of_weight, of_bias) = self.priors;
        [
            KlTerm { range: 0..n, form: KlForm::Normal { prior: of_weight } },
            KlTerm { range: n..all, form: KlForm::Normal { prior: of_bias } },
        ]
    }
}

struct Params<'a> {
    weight_mu: &'a [f32],
    weight_rho: &'a [f32],
    bias_mu: &'a [f32],
    bias_rho: &'a [f32],
}

struct Grads<'a> {
    weight_mu: &'a mut [f32],
    weight_rho: &'a mut [f32],
    bias_mu: &'a mut [f32],
    bias_rho: &'a mut [f32],
}

struct Shared<'a> {
    drawn: &'a mut [f32],
    eps: &'a mut [f32],
    d_drawn: &'a mut [f32],
}

struct Local<'a> {
    weight_var: &'a mut [f32],
    bias_var: &'a mut [f32],
    x2: &'a mut [f32],
    var: &'a mut [f32],
    eps: &'a mut [f32],
}

/// `d_mu += dw`, `d_rho += dw·eps·sigmoid(rho)`; `eps` and `tmp` are used up.
fn shared_grads(
    dw: &[f32],
    rho: &[f32],
    eps: &mut [f32],
    tmp: &mut [f32],
    d_mu: &mut [f32],
    d_rho: &mut [f32],
) {
    kernels::axpy(1.0, dw, d_mu);
    kernels::mul(dw, eps, tmp);
    kernels::softplus_backward(rho, tmp, eps);
    kernels::axpy(1.0, eps, d_rho);
}

/// `d_rho += ∂L/∂sigma²·2 sigma·sigmoid(rho)`; `d_var` is used up.
fn add_scale_grads(rho: &[f32], d_var: &mut [f32], d_rho: &mut [f32]) {
    kernels::softplus_square_backward(rho, d_var);
    kernels::axpy(1.0, d_var, d_rho);
}

/// Standard normals of consecutive rows, in halves.
fn row_normals(pool: &dyn Pool, site: Site<'_>, len: usize, eps: &mut [f32]) {
    let rows = eps.len() / len;
    if eps.len() < NORMALS_FROM || rows < 2 || pool.threads() == 1 {
        return site.normals(len, eps);
    }
    let (front, back) = eps.split_at_mut(rows / 2 * len);
    let rest = site.skip(rows / 2);
    pool.join(&mut || row_normals(pool, site, len, front), &mut || row_normals(pool, rest, len, back));
}

impl Layer for VariationalDense {
    fn kind(&self) -> &str {
        Self::KIND
    }

    fn config(&self) -> Result<Vec<u8>, Error> {
        let v = V1 {
            in_dim: self.in_dim as u64,
            out_dim: self.out_dim as u64,
            prior: self.prior.into(),
            init_sigma: self.init_sigma,
            bias: self.bias,
        };
        codec::encode("layer variational-dense", &v)
    }

    fn in_dim(&self) -> usize {
        self.in_dim
    }

    fn out_dim(&self) -> usize {
        self.out_dim
    }

    fn blocks(&self) -> Vec<Block> {
        let (weight, bias) = ([self.in_dim, self.out_dim], [self.out_dim]);
        let mut blocks = vec![
            Block::new("weight.mu", &weight, Role::Mean),
            Block::new("weight.rho", &weight, Role::RawScale),
            Block::new("bias.mu", &bias, Role::Mean),
            Block::new("bias.rho", &bias, Role::RawScale),
        ];
        blocks.truncate(if self.bias { 4 } else { 2 });
        blocks
    }

    fn init(&self, params: &mut [f32], rng: &mut NoiseRng) {
        let g = self.split_grads(params);
        init_he(g.weight_mu, self.in_dim, rng);
        g.bias_mu.fill(0.0);
        g.weight_rho.fill(raw_scale(self.init_sigma));
        g.bias_rho.fill(raw_scale(self.init_sigma));
    }

    fn is_random(&self) -> bool {
        true
    }

    fn prepared(&self, pass: &Pass<'_>) -> usize {
        self.prepared_len(pass)
    }

    fn prepare(&self, params: &[f32], pass: &Pass<'_>, prepared: &mut [f32]) {
        self.prepare_draws(params, pass.weight_draw(), prepared);
    }

    fn shared(&self, rows: usize, pass: &Pass<'_>) -> usize {
        self.shared_len(rows, pass)
    }

    fn share(&self, ctx: &mut Context<'_>, x: Mat<'_>, shared: &mut [f32]) -> Result<(), Error> {
        self.share_moments(ctx, x, shared)
    }

    fn scratch(&self, rows: usize, pass: &Pass<'_>) -> Scratch {
        let n = self.weights() + self.biases();
        let floats = match pass.weight_draw() {
            Draw::Mean => 0,
            Draw::Pass => 3 * n,
            Draw::Row => n + rows * (self.in_dim + 2 * self.out_dim),
        };
        Scratch { floats, words: 0 }
    }

    fn forward(&self, ctx: &mut Context<'_>, x: Mat<'_>, y: &mut MatMut<'_>) -> Result<(), Error> {
        match (ctx.pass.weight_draw(), ctx.prepared.is_empty()) {
            (Draw::Pass, false) => self.predict_function(ctx, x, y),
            (Draw::Row, false) => self.predict_rows(ctx, x, y),
            (Draw::Pass, true) => self.forward_shared(ctx, x, y),
            (Draw::Row, true) => self.forward_local(ctx, x, y),
            (Draw::Mean, _) => {
                let p = self.split(ctx.params);
                affine(ctx.pass.pool(), x, self.as_weight(p.weight_mu)?, p.bias_mu, y)
            }
        }
    }

    fn backward(&self, ctx: &mut Context<'_>, grads: &mut [f32], io: Backward<'_>) -> Result<(), Error> {
        match ctx.pass.weight_draw() {
            Draw::Pass => self.backward_shared(ctx, grads, io),
            Draw::Row => self.backward_local(ctx, grads, Store::Add, io),
            Draw::Mean => {
                let (p, g) = (self.split(ctx.params), self.split_grads(grads));
                let weight = self.as_weight(p.weight_mu)?;
                affine_backward(ctx.pass, weight, Store::Add, g.weight_mu, g.bias_mu, io)
            }
        }
    }

    fn write_backward(
        &self,
        ctx: &mut Context<'_>,
        grads: &mut [f32],
        io: Backward<'_>,
    ) -> Result<(), Error> {
        if ctx.pass.weight_draw() == Draw::Row {
            return self.backward_local(ctx, grads, Store::Overwrite, io);
        }
        grads.fill(0.0);
        self.backward(ctx, grads, io)
    }

    fn kl(&self, at: &KlAt<'_>) -> f64 {
        self.terms().iter().map(|term| term.kl(at.params)).sum()
    }

    fn kl_grad(&self, at: &KlAt<'_>, weight: f32, grads: &mut [f32]) -> f64 {
        self.terms().iter().map(|term| term.kl_grad(at.params, weight, grads)).sum()
    }

    fn kl_terms(&self, _: f64) -> Option<Vec<KlTerm>> {
        Some(self.terms().to_vec())
    }

    fn report(&self, at: &KlAt<'_>) -> LayerReport {
        let p = self.split(at.params);
        let prior = &self.priors.0;
        let weights = p.weight_mu.iter().zip(p.weight_rho);
        let mut snr: Vec<f32> = weights.clone().map(|(mu, &rho)| mu.abs() / math::softplus(rho)).collect();
        let share = |count: usize| Some(count as f64 / snr.len() as f64);
        let at_prior = weights.filter(|(mu, rho)| kl_one(**mu, **rho, prior) < 0.01).count();
        let point = 1e-6 * prior.std_dev();
        let collapsed = p.weight_rho.iter().filter(|&&rho| f64::from(math::softplus(rho)) < point).count();
        let (at_prior, collapsed) = (share(at_prior), share(collapsed));
        let middle = snr.len() / 2;
        let median = *snr.select_nth_unstable_by(middle, f32::total_cmp).1;
        LayerReport {
            kl: self.kl(at),
            snr_median: Some(f64::from(median)),
            at_prior,
            collapsed,
            ..LayerReport::default()
        }
    }
}

fn kl_one(mu: f32, rho: f32, prior: &Normal) -> f64 {
    kl_normal(&[mu], &[rho], prior).unwrap_or(f64::NAN)
}
