//! A variational layer at the mean of its weights, and one that starts from there.

use super::Variational;
use crate::at_mean::start_sigma;
use crate::family::Family;
use crate::layer::Layer;
use crate::map::LinearMap;
use crate::{Error, Means, Plain, Registry};

impl<M: LinearMap, F: Family> Variational<M, F> {
    /// Raw parameters of deviations in proportion to the weights; as they are in a family where they do not say the deviation.
    fn start_raws(&self, weights: &[f32], ratio: f64, raws: &mut [f32]) {
        for (raw, &w) in raws.iter_mut().zip(weights) {
            if let Some(of_sigma) = self.family.raw_of(start_sigma(w, ratio, self.extent.fan_in)) {
                *raw = of_sigma;
            }
        }
    }
}

impl<M: LinearMap, F: Family> Means for Variational<M, F> {
    /// A plain layer without a prior; a layer without biases has some of 0.
    fn plain(&self, _: &Registry) -> Result<Box<dyn Layer>, Error> {
        Ok(Box::new(Plain::of(self.map.clone())))
    }

    fn mean_params(&self, params: &[f32]) -> Vec<f32> {
        let p = self.split(params);
        let mut mean = [p.weight_mu, p.bias_mu].concat();
        mean.resize(self.map.weights() + self.map.units(), 0.0);
        mean
    }

    fn start_at(&self, mean: &[f32], sigma_ratio: Option<f64>, params: &mut [f32]) {
        let (weight, bias) = mean.split_at(self.map.weights());
        let bias = &bias[..self.biases()];
        let (posteriors, of_prior) = params.split_at_mut(self.of_posteriors());
        let own = self.split_grads(posteriors);
        own.weight_mu.copy_from_slice(weight);
        own.bias_mu.copy_from_slice(bias);
        if let Some(ratio) = sigma_ratio {
            self.start_raws(weight, ratio, own.weight_raw);
            self.start_raws(bias, ratio, own.bias_raw);
        }
        self.family.start_prior([weight, bias], of_prior);
    }
}
