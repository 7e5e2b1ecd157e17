//! What the estimators that draw weights have in common: their noise, and the way through sigma and back.

use super::{Grads, Params, SITE_BIAS, SITE_WEIGHT, Variational};
use crate::Draw;
use crate::family::Family;
use crate::layer::Context;
use crate::map::LinearMap;
use crate::pass::Site;

impl<M: LinearMap, F: Family> Variational<M, F> {
    /// Where what holds for a whole pass is drawn.
    pub(super) fn pass_sites<'a>(&self, ctx: &Context<'a>) -> [Option<Site<'a>>; 2] {
        [SITE_WEIGHT, SITE_BIAS].map(|site| ctx.site(site, Draw::Pass))
    }

    /// One standard normal for each weight and each bias that is drawn.
    pub(super) fn pass_normals(&self, [weight, bias]: [Option<Site<'_>>; 2], eps: &mut [f32]) {
        let (eps_w, eps_b) = eps.split_at_mut(self.map.weights());
        for (site, eps) in [(weight, eps_w), (bias, eps_b)] {
            // A pruned layer may have nothing to draw.
            if let Some(site) = site.filter(|_| !eps.is_empty()) {
                site.normals(eps.len(), eps);
            }
        }
    }

    /// Writes sigma of each weight and each bias that is drawn.
    pub(super) fn sigma_of(&self, p: &Params<'_>, sigma: &mut [f32]) {
        let (weight, bias) = sigma.split_at_mut(self.map.weights());
        self.family.sigma(p.weight_mu, p.weight_raw, weight);
        if F::RANDOM_BIAS {
            self.family.sigma(p.bias_mu, p.bias_raw, bias);
        }
    }

    /// Adds what comes through sigma.
    pub(super) fn add_sigma_grads(&self, p: &Params<'_>, d_sigma: &[f32], g: Grads<'_>) {
        let (weight, bias) = d_sigma.split_at(self.map.weights());
        self.family.add_sigma_grad(p.weight_mu, p.weight_raw, weight, g.weight_mu, g.weight_raw);
        if F::RANDOM_BIAS {
            self.family.add_sigma_grad(p.bias_mu, p.bias_raw, bias, g.bias_mu, g.bias_raw);
        }
    }
}
