//! Flipout: one draw of the weights' deviations for the pass, on which each row puts its own signs.
//!
//! ```text
//! y = M(x) + m + r ⊙ (D(s ⊙ x) + d)        M, m: means    D, d: sigma·eps    s, r: ±1
//! ```

use bdl_tensor::{Mat, MatMut, Pool, Serial, Store, kernels};

use super::local::PREPARE_FROM;
use super::{SITE_SIGN_IN, SITE_SIGN_OUT, Variational};
use crate::family::Family;
use crate::layer::{Backward, Context};
use crate::map::LinearMap;
use crate::parallel::pair;
use crate::{Draw, Error};

/// Scratch: the deviations of weights and biases, their eps, and either's sigma or gradient; the signed inputs, the deviations
/// of the outputs, and what two products work in; the signs of each row.
struct Flipped<'a> {
    deviation: &'a mut [f32],
    eps: &'a mut [f32],
    other: &'a mut [f32],
    signed: MatMut<'a>,
    out: MatMut<'a>,
    maps: [&'a mut [f32]; 2],
    in_signs: &'a mut [u64],
    out_signs: &'a mut [u64],
}

impl<M: LinearMap, F: Family> Variational<M, F> {
    /// Words of the signs of a row's input units and output units.
    pub(super) fn sign_words(&self) -> [usize; 2] {
        [self.map.in_units(), self.map.units()].map(|units| units.div_ceil(64))
    }

    fn flipped<'a>(
        &self,
        rows: usize,
        floats: &'a mut [f32],
        words: &'a mut [u64],
    ) -> Result<Flipped<'a>, Error> {
        let (n, width_in, width) = (self.drawn(), self.map.in_dim(), self.map.out_dim());
        let (deviation, rest) = floats.split_at_mut(n);
        let (eps, rest) = rest.split_at_mut(n);
        let (other, rest) = rest.split_at_mut(n);
        let (signed, rest) = rest.split_at_mut(rows * width_in);
        let (out, rest) = rest.split_at_mut(rows * width);
        let (signed, out) = (MatMut::new(signed, rows, width_in)?, MatMut::new(out, rows, width)?);
        let maps = rest.split_at_mut(self.map.scratch(rows)).into();
        let (in_signs, out_signs) = words.split_at_mut(rows * self.sign_words()[0]);
        Ok(Flipped { deviation, eps, other, signed, out, maps, in_signs, out_signs })
    }

    /// In training, and in prediction, where sigma is prepared and the mean may be shared.
    pub(super) fn forward_flipout(
        &self,
        ctx: &mut Context<'_>,
        x: Mat<'_>,
        y: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        self.draw_flipped(ctx, x)?;
        let (pool, p, mean) = (ctx.pass.pool(), self.split(ctx.params), ctx.shared);
        let mut f = self.flipped(x.rows(), ctx.floats, ctx.words)?;
        let (weight, bias) = f.deviation.split_at(self.map.weights());
        let [of_mean, of_deviation] = f.maps;
        let mut deviate = |pool: &dyn Pool| {
            self.map.forward(pool, f.signed.as_mat(), weight, bias, of_deviation, &mut f.out)
        };
        if mean.is_empty() {
            let mut mean = |pool: &dyn Pool| self.map.forward(pool, x, p.weight_mu, p.bias_mu, of_mean, y);
            pair(pool, self.map.work(x.rows()), &mut mean, &mut deviate)?;
        } else {
            y.data_mut().copy_from_slice(mean);
            deviate(pool)?;
        }
        kernels::add_sign_rows(f.out.as_mat(), f.out_signs, self.map.units(), y);
        Ok(())
    }

    /// Draws deviations and signs, and puts the signs on x.
    fn draw_flipped(&self, ctx: &mut Context<'_>, x: Mat<'_>) -> Result<(), Error> {
        let (p, sites) = (self.split(ctx.params), self.pass_sites(ctx));
        let signs = [SITE_SIGN_IN, SITE_SIGN_OUT].map(|site| ctx.site(site, Draw::Row));
        let pool: &dyn Pool = if self.drawn() < PREPARE_FROM { &Serial } else { ctx.pass.pool() };
        let mut f = self.flipped(x.rows(), ctx.floats, ctx.words)?;
        pool.join(&mut || self.pass_normals(sites, f.eps), &mut || {
            if ctx.prepared.is_empty() {
                self.sigma_of(&p, f.other);
            }
            if let [Some(ins), Some(outs)] = signs {
                ins.mask(self.map.in_units(), 0.5, f.in_signs);
                outs.mask(self.map.units(), 0.5, f.out_signs);
            }
            kernels::sign_rows(x, f.in_signs, self.map.in_units(), &mut f.signed);
        });
        let sigma = if ctx.prepared.is_empty() { &*f.other } else { ctx.prepared };
        kernels::mul(sigma, f.eps, f.deviation);
        Ok(())
    }

    pub(super) fn backward_flipout(
        &self,
        ctx: &mut Context<'_>,
        grads: &mut [f32],
        io: Backward<'_>,
    ) -> Result<(), Error> {
        let (pool, p, weights) = (ctx.pass.pool(), self.split(ctx.params), self.map.weights());
        let Backward { x, dy, dx, .. } = io;
        let work = self.map.work(x.rows());
        let Flipped { deviation, eps, other, mut signed, mut out, maps, in_signs, out_signs } =
            self.flipped(x.rows(), ctx.floats, ctx.words)?;
        let ([of_mean, of_deviation], g) = (maps, self.split_grads(grads));
        kernels::sign_rows(dy, out_signs, self.map.units(), &mut out);
        let (d_weight, d_bias) = other.split_at_mut(weights);
        let (s_x, r_dy) = (signed.as_mat(), out.as_mat());
        pair(
            pool,
            work,
            &mut |pool| self.map.weight_grad(pool, x, dy, Store::Add, of_mean, g.weight_mu),
            &mut |pool| self.map.weight_grad(pool, s_x, r_dy, Store::Overwrite, of_deviation, d_weight),
        )?;
        if let Some(mut dx) = dx {
            // dx = dy·Mᵀ + s ⊙ ((r ⊙ dy)·Dᵀ)
            pair(
                pool,
                work,
                &mut |pool| self.map.input_grad(pool, dy, p.weight_mu, of_mean, &mut dx),
                &mut |pool| self.map.input_grad(pool, r_dy, &deviation[..weights], of_deviation, &mut signed),
            )?;
            kernels::add_sign_rows(signed.as_mat(), in_signs, self.map.in_units(), &mut dx);
        }
        self.map.bias_grad(dy, Store::Add, g.bias_mu)?;
        if F::RANDOM_BIAS {
            self.map.bias_grad(r_dy, Store::Overwrite, d_bias)?;
        }
        // Nobody asks for the deviations any more: d_sigma takes their place.
        kernels::mul(other, eps, deviation);
        self.add_sigma_grads(&p, deviation, g);
        Ok(())
    }
}
