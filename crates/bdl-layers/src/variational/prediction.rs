//! The variational dense layer in prediction: nobody looks back, and many passes share their work.
//!
//! | draw | prepared, of the parameters | shared, of the rows |
//! |---|---|---|
//! | one per pass | sigma | |
//! | one per row | sigma² | m and v |

use bdl_tensor::{Mat, MatMut, kernels};

use super::{SITE_BIAS, SITE_ROW, SITE_WEIGHT, VariationalDense};
use crate::dense::{affine, split_weights};
use crate::layer::Context;
use crate::{Draw, Error, Pass};

impl VariationalDense {
    /// Weights and biases.
    fn drawn(&self) -> usize {
        self.weights() + self.biases()
    }

    pub(super) fn prepared_len(&self, pass: &Pass<'_>) -> usize {
        if pass.weight_draw() == Draw::Mean { 0 } else { self.drawn() }
    }

    pub(super) fn prepare_draws(&self, params: &[f32], draw: Draw, prepared: &mut [f32]) {
        let of_rho = match draw {
            Draw::Mean => return,
            Draw::Pass => kernels::softplus,
            Draw::Row => kernels::softplus_square,
        };
        let p = self.split(params);
        let (weight, bias) = prepared.split_at_mut(self.weights());
        of_rho(p.weight_rho, weight);
        of_rho(p.bias_rho, bias);
    }

    /// Floats of m and v.
    pub(super) fn shared_len(&self, rows: usize, pass: &Pass<'_>) -> usize {
        if pass.weight_draw() == Draw::Row { 2 * rows * self.out_dim } else { 0 }
    }

    /// One draw for the pass: `y = x·(mu + sigma·eps) + b`.
    pub(super) fn predict_function(
        &self,
        ctx: &mut Context<'_>,
        x: Mat<'_>,
        y: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        let p = self.split(ctx.params);
        let sites = [SITE_WEIGHT, SITE_BIAS].map(|site| ctx.site(site, Draw::Pass));
        let drawn = &mut ctx.floats[..self.drawn()];
        let (sigma_w, sigma_b) = ctx.prepared.split_at(self.weights());
        let (drawn_w, drawn_b) = drawn.split_at_mut(self.weights());
        if let [Some(weight), Some(bias)] = sites {
            weight.normals(self.weights(), drawn_w);
            if self.bias {
                bias.normals(self.out_dim, drawn_b);
            }
        }
        kernels::mul_add_assign(p.weight_mu, sigma_w, drawn_w);
        kernels::mul_add_assign(p.bias_mu, sigma_b, drawn_b);
        let (weight, bias) = split_weights(drawn, self.in_dim, self.out_dim);
        affine(ctx.pass.pool(), x, weight, bias, y)
    }

    /// One draw per row: `y = m + √v·eps`.
    pub(super) fn predict_rows(
        &self,
        ctx: &mut Context<'_>,
        x: Mat<'_>,
        y: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        let outputs = x.rows() * self.out_dim;
        let site = ctx.site(SITE_ROW, Draw::Row);
        let (eps, own) = ctx.floats.split_at_mut(outputs);
        if let Some(site) = site {
            site.normals(self.out_dim, eps);
        }
        if ctx.shared.is_empty() {
            let (var, x2) = own.split_at_mut(outputs);
            self.moments(ctx.pass, ctx.params, ctx.prepared, x, x2, [y.data_mut(), var])?;
            kernels::add_sqrt_mul(var, eps, y.data_mut());
        } else {
            let (mean, var) = ctx.shared.split_at(outputs);
            kernels::sqrt_mul_add(mean, var, eps, y.data_mut());
        }
        Ok(())
    }

    /// m and v for all passes over these rows.
    pub(super) fn share_moments(
        &self,
        ctx: &mut Context<'_>,
        x: Mat<'_>,
        shared: &mut [f32],
    ) -> Result<(), Error> {
        let (mean, var) = shared.split_at_mut(x.rows() * self.out_dim);
        self.moments(ctx.pass, ctx.params, ctx.prepared, x, ctx.floats, [mean, var])
    }

    /// Writes m and v, each `[rows, out_dim]`.
    fn moments(
        &self,
        pass: &Pass<'_>,
        params: &[f32],
        prepared: &[f32],
        x: Mat<'_>,
        x2: &mut [f32],
        [mean, var]: [&mut [f32]; 2],
    ) -> Result<(), Error> {
        let (rows, p) = (x.rows(), self.split(params));
        let (weight_var, bias_var) = prepared.split_at(self.weights());
        let x2 = &mut x2[..rows * self.in_dim];
        kernels::square(x.data(), x2);
        let x2 = Mat::new(x2, rows, self.in_dim)?;
        let mut var = MatMut::new(var, rows, self.out_dim)?;
        affine(pass.pool(), x2, self.as_weight(weight_var)?, bias_var, &mut var)?;
        let mut mean = MatMut::new(mean, rows, self.out_dim)?;
        affine(pass.pool(), x, self.as_weight(p.weight_mu)?, p.bias_mu, &mut mean)
    }
}
