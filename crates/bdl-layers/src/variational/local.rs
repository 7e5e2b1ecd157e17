//! Local reparameterization: each row's pre-activations are drawn from their own normal, in training.

use bdl_tensor::{Mat, MatMut, Pool, Serial, Store, kernels};

use super::{Params, SITE_ROW, Variational};
use crate::family::Family;
use crate::layer::{Backward, Context};
use crate::map::LinearMap;
use crate::parallel::{draw_rows, in_pieces, in_pieces_of_two, pair};
use crate::{Draw, Error};

/// Weights from which what is made of each is worth a second thread.
pub(super) const PREPARE_FROM: usize = 1 << 15;

/// Scratch: the variances of weights and biases, the squared inputs, the variances of the outputs and their eps, and
/// what two products work in. The mean of the outputs is not kept: it is y − √v·eps.
struct Local<'a> {
    weight_var: &'a mut [f32],
    bias_var: &'a mut [f32],
    x2: &'a mut [f32],
    var: &'a mut [f32],
    eps: &'a mut [f32],
    maps: [&'a mut [f32]; 2],
}

impl<M: LinearMap, F: Family> Variational<M, F> {
    fn local<'a>(&self, rows: usize, floats: &'a mut [f32]) -> Local<'a> {
        let (weight_var, rest) = floats.split_at_mut(self.map.weights());
        let (bias_var, rest) = rest.split_at_mut(self.random_biases());
        let (x2, rest) = rest.split_at_mut(rows * self.map.in_dim());
        let (var, rest) = rest.split_at_mut(rows * self.map.out_dim());
        let (eps, rest) = rest.split_at_mut(rows * self.map.out_dim());
        let maps = rest.split_at_mut(self.map.scratch(rows));
        Local { weight_var, bias_var, x2, var, eps, maps: maps.into() }
    }

    pub(super) fn forward_local(
        &self,
        ctx: &mut Context<'_>,
        x: Mat<'_>,
        y: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        let (rows, p) = (x.rows(), self.split(ctx.params));
        let (pool, site) = (ctx.pass.pool(), ctx.site(SITE_ROW, Draw::Row));
        let Local { weight_var, bias_var, x2, var, eps, maps: [of_mean, of_var] } =
            self.local(rows, ctx.floats);
        self.prepare_local(pool, &p, weight_var, &mut |pool| {
            in_pieces(pool, x.data(), x2, &kernels::square);
            if let Some(site) = site {
                let len = self.map.out_dim();
                draw_rows(pool, site, len, eps, &|site, eps| site.normals(len, eps));
            }
        });
        if F::RANDOM_BIAS {
            self.family.variance(p.bias_mu, p.bias_raw, bias_var);
        }
        let x2 = Mat::new(x2, rows, self.map.in_dim())?;
        let (mut mean, mut v) = (y.reborrow(), MatMut::new(var, rows, self.map.out_dim())?);
        pair(
            pool,
            self.map.work(rows),
            &mut |pool| self.map.forward(pool, x, p.weight_mu, p.bias_mu, of_mean, &mut mean),
            &mut |pool| self.map.forward(pool, x2, weight_var, bias_var, of_var, &mut v),
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
        if self.map.weights() < PREPARE_FROM || pool.threads() == 1 {
            self.family.variance(p.weight_mu, p.weight_raw, weight_var);
            return rest(&Serial);
        }
        pool.join(&mut || self.variances(pool, p, weight_var), &mut || rest(pool));
    }

    /// In pieces where each depends on its own raw parameters alone.
    fn variances(&self, pool: &dyn Pool, p: &Params<'_>, weight_var: &mut [f32]) {
        if F::IN_PLACE {
            in_pieces(pool, p.weight_raw, weight_var, &|raw, var| self.family.variance(&[], raw, var));
        } else {
            self.family.variance(p.weight_mu, p.weight_raw, weight_var);
        }
    }

    pub(super) fn backward_local(
        &self,
        ctx: &mut Context<'_>,
        grads: &mut [f32],
        store: Store,
        io: Backward<'_>,
    ) -> Result<(), Error> {
        let (rows, p) = (io.x.rows(), self.split(ctx.params));
        let pool = ctx.pass.pool();
        let Local { weight_var, bias_var, x2, var, eps, maps: [of_mean, of_var] } =
            self.local(rows, ctx.floats);
        let Backward { x, dy, dx, .. } = io;
        in_pieces_of_two(pool, dy.data(), eps, var, &|dy, eps, var| kernels::sqrt_mul_backward(dy, eps, var));
        let d_var = Mat::new(var, rows, self.map.out_dim())?;
        if let Some(dx) = dx {
            let weights = [p.weight_mu, &*weight_var];
            self.input_grads(pool, weights, [dy, d_var], x, x2, dx, [&mut *of_mean, &mut *of_var])?;
            // The gradient of x² was there.
            in_pieces(pool, x.data(), x2, &kernels::square);
        }
        let g = self.split_grads(grads);
        // From here on nobody asks for the variances. What is overwritten needs no second place.
        let d_weight_var = if store == Store::Overwrite { &mut *g.weight_raw } else { &mut *weight_var };
        let x2 = Mat::new(x2, rows, self.map.in_dim())?;
        pair(
            pool,
            self.map.work(rows),
            &mut |pool| self.map.weight_grad(pool, x, dy, store, of_mean, g.weight_mu),
            &mut |pool| self.map.weight_grad(pool, x2, d_var, Store::Overwrite, of_var, d_weight_var),
        )?;
        self.map.bias_grad(dy, store, g.bias_mu)?;
        self.map.bias_grad(d_var, Store::Overwrite, bias_var)?;
        match store {
            Store::Overwrite => {
                in_pieces(pool, p.weight_raw, g.weight_raw, &|raw, d| {
                    self.family.variance_grad_in_place(raw, d)
                });
                if F::RANDOM_BIAS {
                    g.bias_raw.copy_from_slice(bias_var);
                    self.family.variance_grad_in_place(p.bias_raw, g.bias_raw);
                }
            }
            Store::Add => {
                let (mu, raw) = (p.weight_mu, p.weight_raw);
                self.family.add_variance_grad(mu, raw, weight_var, g.weight_mu, g.weight_raw);
                if F::RANDOM_BIAS {
                    let (mu, raw) = (p.bias_mu, p.bias_raw);
                    self.family.add_variance_grad(mu, raw, bias_var, g.bias_mu, g.bias_raw);
                }
            }
        }
        Ok(())
    }

    /// `dx = dy·muᵀ + 2x ⊙ (dv·(sigma²)ᵀ)`; the gradient of x² passes through `d_x2`.
    #[expect(clippy::too_many_arguments, reason = "mean and variance of each of the products' operands")]
    fn input_grads(
        &self,
        pool: &dyn Pool,
        [mu, weight_var]: [&[f32]; 2],
        [dy, d_var]: [Mat<'_>; 2],
        x: Mat<'_>,
        d_x2: &mut [f32],
        mut dx: MatMut<'_>,
        [of_mean, of_var]: [&mut [f32]; 2],
    ) -> Result<(), Error> {
        let mut d_x2 = MatMut::new(d_x2, x.rows(), self.map.in_dim())?;
        pair(
            pool,
            self.map.work(x.rows()),
            &mut |pool| self.map.input_grad(pool, dy, mu, of_mean, &mut dx),
            &mut |pool| self.map.input_grad(pool, d_var, weight_var, of_var, &mut d_x2),
        )?;
        in_pieces_of_two(pool, x.data(), d_x2.data_mut(), dx.data_mut(), &|x, d_x2, dx| {
            kernels::add_square_backward(x, d_x2, dx);
        });
        Ok(())
    }
}
