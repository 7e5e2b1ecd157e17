//! Variational layers in prediction: nobody looks back, and many passes share their work.
//!
//! | draw | prepared, of the parameters | shared, of the rows |
//! |---|---|---|
//! | one per pass | sigma | |
//! | one per row | sigma² | m and v |

use bdl_tensor::{Mat, MatMut, kernels};

use super::{SITE_BIAS, SITE_ROW, SITE_WEIGHT, Variational, draw};
use crate::family::Family;
use crate::layer::Context;
use crate::map::LinearMap;
use crate::{Draw, Error, Pass};

impl<M: LinearMap, F: Family> Variational<M, F> {
    pub(super) fn prepared_len(&self, pass: &Pass<'_>) -> usize {
        if pass.weight_draw() == Draw::Mean { 0 } else { self.drawn() }
    }

    pub(super) fn prepare_draws(&self, params: &[f32], draw: Draw, prepared: &mut [f32]) {
        let of_raw = match draw {
            Draw::Mean => return,
            Draw::Pass => F::sigma,
            Draw::Row => F::variance,
        };
        let p = self.split(params);
        let (weight, bias) = prepared.split_at_mut(self.map.weights());
        of_raw(&self.family, p.weight_mu, p.weight_raw, weight);
        if F::RANDOM_BIAS {
            of_raw(&self.family, p.bias_mu, p.bias_raw, bias);
        }
    }

    /// Floats of m and v.
    pub(super) fn shared_len(&self, rows: usize, pass: &Pass<'_>) -> usize {
        if pass.weight_draw() == Draw::Row { 2 * rows * self.map.out_dim() } else { 0 }
    }

    /// One draw for the pass: `y = W(x) + b` at `mu + sigma·eps`.
    pub(super) fn predict_function(
        &self,
        ctx: &mut Context<'_>,
        x: Mat<'_>,
        y: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        let (p, weights) = (self.split(ctx.params), self.map.weights());
        let sites = [SITE_WEIGHT, SITE_BIAS].map(|site| ctx.site(site, Draw::Pass));
        let (drawn, rest) = ctx.floats.split_at_mut(self.drawn());
        let (sigma_w, sigma_b) = ctx.prepared.split_at(weights);
        let (drawn_w, drawn_b) = drawn.split_at_mut(weights);
        if let [Some(weight), Some(bias)] = sites {
            draw(weight, drawn_w);
            draw(bias, drawn_b);
        }
        kernels::mul_add_assign(p.weight_mu, sigma_w, drawn_w);
        if F::RANDOM_BIAS {
            kernels::mul_add_assign(p.bias_mu, sigma_b, drawn_b);
        }
        let bias = if F::RANDOM_BIAS { &*drawn_b } else { p.bias_mu };
        self.map.forward(ctx.pass.pool(), x, drawn_w, bias, rest, y)
    }

    /// One draw per row: `y = m + √v·eps`.
    pub(super) fn predict_rows(
        &self,
        ctx: &mut Context<'_>,
        x: Mat<'_>,
        y: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        let outputs = x.rows() * self.map.out_dim();
        let site = ctx.site(SITE_ROW, Draw::Row);
        let (eps, own) = ctx.floats.split_at_mut(outputs);
        if let Some(site) = site {
            site.normals(self.map.out_dim(), eps);
        }
        if ctx.shared.is_empty() {
            let (var, rest) = own.split_at_mut(outputs);
            self.moments(ctx.pass, ctx.params, ctx.prepared, x, rest, [y.data_mut(), var])?;
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
        let (mean, var) = shared.split_at_mut(x.rows() * self.map.out_dim());
        self.moments(ctx.pass, ctx.params, ctx.prepared, x, ctx.floats, [mean, var])
    }

    /// Writes m and v, each `[rows, out_dim]`.
    fn moments(
        &self,
        pass: &Pass<'_>,
        params: &[f32],
        prepared: &[f32],
        x: Mat<'_>,
        scratch: &mut [f32],
        [mean, var]: [&mut [f32]; 2],
    ) -> Result<(), Error> {
        let (rows, p) = (x.rows(), self.split(params));
        let (weight_var, bias_var) = prepared.split_at(self.map.weights());
        let (x2, rest) = scratch.split_at_mut(rows * self.map.in_dim());
        kernels::square(x.data(), x2);
        let x2 = Mat::new(x2, rows, self.map.in_dim())?;
        let mut var = MatMut::new(var, rows, self.map.out_dim())?;
        self.map.forward(pass.pool(), x2, weight_var, bias_var, rest, &mut var)?;
        let mut mean = MatMut::new(mean, rows, self.map.out_dim())?;
        self.map.forward(pass.pool(), x, p.weight_mu, p.bias_mu, rest, &mut mean)
    }
}
