//! What pruning leaves of a variational layer.

use super::Variational;
use crate::family::Family;
use crate::layer::Layer;
use crate::map::LinearMap;
use crate::prune::{Cut, Weights};
use crate::{Error, Measure, Prunable};

impl<M: LinearMap, F: Family> Variational<M, F> {
    /// Weights, if the map can lose them, each has a raw parameter of its own that says what its sigma is, and it is known what
    /// becomes of the numbers of the prior.
    pub(super) fn as_prunable(&self) -> Prunable<'_> {
        let elementwise = self.raws == self.map.weights() && self.family.raw_of(1.0).is_some();
        let of_layer = self.family.prior_blocks(&self.extent).iter().all(|block| block.shape == [1]);
        if self.map.sparsity().is_some() {
            return Prunable::No("is pruned already");
        }
        match (M::THIN, elementwise, of_layer || self.family.prior_is_centred()) {
            (true, true, true) => Prunable::Weights(self),
            (false, _, _) => Prunable::No("has a linear map that cannot lose single weights"),
            (_, false, _) => Prunable::No("has posteriors whose deviations are no parameters of their own"),
            (_, _, false) => Prunable::No("has a prior with numbers of its own for each weight"),
        }
    }

    /// What is left of the numbers of the prior. The mean of a weight of a constant input is that of the sum it stands for.
    fn cut_prior(&self, of_prior: &[f32], cut: &Cut, constants: &[f32]) -> Vec<f32> {
        if !self.family.prior_is_centred() {
            return of_prior.to_vec();
        }
        let (of_weights, of_biases) = of_prior.split_at(self.map.weights());
        let mut sums = vec![0.0; cut.units.len()];
        for weight in (0..of_weights.len()).filter(|&weight| cut.folded[weight]) {
            let [input, unit] = self.map.ends(weight);
            sums[unit] += f64::from(constants[input]) * f64::from(of_weights[weight]);
        }
        let mut left = of_kept(of_weights, &cut.kept);
        left.extend(cut.always(&self.map).into_iter().map(|unit| sums[unit] as f32));
        left.extend(of_kept(of_biases, &cut.units));
        left
    }

    /// Mean and raw parameter of the weights of a constant input, of the output units that have one.
    fn constant_weights(&self, params: &[f32], cut: &Cut, constants: &[f32]) -> [Vec<f32>; 2] {
        let p = self.split(params);
        let mut sigma = vec![0.0; p.weight_mu.len()];
        self.family.sigma(p.weight_mu, p.weight_raw, &mut sigma);
        let mut moments = vec![[0.0; 2]; cut.units.len()];
        for weight in (0..sigma.len()).filter(|&weight| cut.folded[weight]) {
            let [input, unit] = self.map.ends(weight);
            let [mu, sigma, c] = [p.weight_mu[weight], sigma[weight], constants[input]].map(f64::from);
            moments[unit][0] += c * mu;
            moments[unit][1] += (c * sigma).powi(2);
        }
        let of = |unit: usize| moments[unit];
        let always = cut.always(&self.map);
        let mu = always.iter().map(|&unit| of(unit)[0] as f32).collect();
        let raw = always.iter().filter_map(|&unit| self.family.raw_of(of(unit)[1].sqrt())).collect();
        [mu, raw]
    }
}

impl<M: LinearMap, F: Family> Weights for Variational<M, F> {
    fn units(&self) -> [usize; 2] {
        [self.map.in_units(), self.map.units()]
    }

    fn ends(&self, weight: usize) -> [usize; 2] {
        self.map.ends(weight)
    }

    fn keeps(&self, params: &[f32], ln_alpha: f32) -> Vec<bool> {
        let p = self.split(params);
        self.family.keeps(p.weight_mu, p.weight_raw, ln_alpha)
    }

    fn measure(&self) -> Measure {
        F::MEASURE
    }

    fn biases<'a>(&self, params: &'a [f32]) -> Option<&'a [f32]> {
        (self.random_biases() == 0).then(|| self.split(params).bias_mu)
    }

    fn narrows(&self) -> bool {
        self.map.narrows()
    }

    fn is_uniform(&self) -> bool {
        self.map.is_uniform()
    }

    fn cut(&self, cut: &Cut) -> Result<Box<dyn Layer>, Error> {
        self.map.pruned(self.family.clone(), self.bias, cut)
    }

    fn cut_params(&self, params: &[f32], cut: &Cut, constants: &[f32]) -> Vec<f32> {
        let p = self.split(params);
        let [always_mu, always_raw] = self.constant_weights(params, cut, constants);
        let mut left = of_kept(p.weight_mu, &cut.kept);
        left.extend(always_mu);
        left.extend(of_kept(p.weight_raw, &cut.kept));
        left.extend(always_raw);
        left.extend(of_kept(p.bias_mu, &cut.units));
        left.extend(of_kept(p.bias_raw, &cut.units));
        left.extend(self.cut_prior(&params[self.of_posteriors()..], cut, constants));
        left
    }
}

/// The values that are kept; none of nothing.
fn of_kept(values: &[f32], kept: &[bool]) -> Vec<f32> {
    values.iter().zip(kept).filter(|(_, kept)| **kept).map(|(value, _)| *value).collect()
}
