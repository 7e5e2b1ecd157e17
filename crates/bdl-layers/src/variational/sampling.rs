//! Weight sampling: one draw of the weights for the whole pass, in training.

use bdl_tensor::{Mat, MatMut, Store, kernels};

use super::{SITE_BIAS, SITE_WEIGHT, Variational, draw};
use crate::family::Family;
use crate::layer::{Backward, Context};
use crate::map::LinearMap;
use crate::{Draw, Error};

/// Scratch: the drawn weights and biases, the eps they were drawn with, and the gradient of what was drawn.
struct Sampled<'a> {
    drawn: &'a mut [f32],
    eps: &'a mut [f32],
    d_drawn: &'a mut [f32],
    map: &'a mut [f32],
}

impl<M: LinearMap, F: Family> Variational<M, F> {
    fn sampled<'a>(&self, floats: &'a mut [f32]) -> Sampled<'a> {
        let n = self.drawn();
        let (drawn, rest) = floats.split_at_mut(n);
        let (eps, rest) = rest.split_at_mut(n);
        let (d_drawn, map) = rest.split_at_mut(n);
        Sampled { drawn, eps, d_drawn, map }
    }

    pub(super) fn forward_sampling(
        &self,
        ctx: &mut Context<'_>,
        x: Mat<'_>,
        y: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        let (p, weights) = (self.split(ctx.params), self.map.weights());
        let sites = [SITE_WEIGHT, SITE_BIAS].map(|site| ctx.site(site, Draw::Pass));
        let Sampled { drawn, eps, d_drawn: sigma, map } = self.sampled(ctx.floats);
        let (eps_w, eps_b) = eps.split_at_mut(weights);
        if let [Some(weight), Some(bias)] = sites {
            draw(weight, eps_w);
            draw(bias, eps_b);
        }
        let (sigma_w, sigma_b) = sigma.split_at_mut(weights);
        let (drawn_w, drawn_b) = drawn.split_at_mut(weights);
        self.family.sigma(p.weight_mu, p.weight_raw, sigma_w);
        kernels::mul_add_into(p.weight_mu, sigma_w, eps_w, drawn_w);
        if F::RANDOM_BIAS {
            self.family.sigma(p.bias_mu, p.bias_raw, sigma_b);
            kernels::mul_add_into(p.bias_mu, sigma_b, eps_b, drawn_b);
        }
        let bias = if F::RANDOM_BIAS { &*drawn_b } else { p.bias_mu };
        self.map.forward(ctx.pass.pool(), x, drawn_w, bias, map, y)
    }

    pub(super) fn backward_sampling(
        &self,
        ctx: &mut Context<'_>,
        grads: &mut [f32],
        io: Backward<'_>,
    ) -> Result<(), Error> {
        let (pool, p, weights) = (ctx.pass.pool(), self.split(ctx.params), self.map.weights());
        let Sampled { drawn, eps, d_drawn, map } = self.sampled(ctx.floats);
        let (d_weight, d_bias) = d_drawn.split_at_mut(weights);
        self.map.weight_grad(pool, io.x, io.dy, Store::Overwrite, map, d_weight)?;
        if let Some(mut dx) = io.dx {
            self.map.input_grad(pool, io.dy, &drawn[..weights], map, &mut dx)?;
        }
        let g = self.split_grads(grads);
        let (eps_w, eps_b) = eps.split_at(weights);
        let (tmp_w, tmp_b) = drawn.split_at_mut(weights);
        kernels::axpy(1.0, d_weight, g.weight_mu);
        kernels::mul(d_weight, eps_w, tmp_w);
        self.family.add_sigma_grad(p.weight_mu, p.weight_raw, tmp_w, g.weight_mu, g.weight_raw);
        if !F::RANDOM_BIAS {
            return self.map.bias_grad(io.dy, Store::Add, g.bias_mu);
        }
        self.map.bias_grad(io.dy, Store::Overwrite, d_bias)?;
        kernels::axpy(1.0, d_bias, g.bias_mu);
        kernels::mul(d_bias, eps_b, tmp_b);
        self.family.add_sigma_grad(p.bias_mu, p.bias_raw, tmp_b, g.bias_mu, g.bias_raw);
        Ok(())
    }
}
