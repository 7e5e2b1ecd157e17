//! A posterior family of the user's own: every estimator, the KL, conformance and the way through a file.

use bdl_dist::{Noise, Purpose};
use bdl_layers::{
    DenseMap, Error, Estimator, Extent, Family, KlAt, KlTerm, Pass, Plan, Registry, Variational, conformance,
};

use crate::common::predict;

/// `q(w) = N(mu, sigma²)` with one `sigma = exp(raw)` for all weights of a layer, under a prior N(0, 1).
#[derive(Clone, Debug, PartialEq)]
struct Isotropic {
    init_raw: f32,
}

impl Isotropic {
    fn raw(params: &[f32], extent: &Extent) -> (usize, f32) {
        (extent.weights(), params[extent.weights()])
    }
}

impl Family for Isotropic {
    const KIND: &'static str = "isotropic";
    const RAW: &'static str = "ln_sigma";
    const RANDOM_BIAS: bool = false;
    const IN_PLACE: bool = false;
    type Config = f32;

    fn config(&self) -> f32 {
        self.init_raw
    }

    fn from_config(layer: &str, init_raw: f32, _: &Registry) -> Result<Self, Error> {
        match init_raw.is_finite() {
            true => Ok(Self { init_raw }),
            false => Err(Error::Argument {
                layer: layer.to_owned(),
                argument: "ln_sigma",
                expected: "finite".to_owned(),
                got: init_raw.to_string(),
            }),
        }
    }

    fn raw_shape(&self, _: &[usize]) -> Vec<usize> {
        vec![1]
    }

    fn init_raw(&self, _: usize, _: &[f32], raw: &mut [f32]) {
        raw.fill(self.init_raw);
    }

    fn sigma(&self, _: &[f32], raw: &[f32], sigma: &mut [f32]) {
        sigma.fill(raw[0].exp());
    }

    fn variance(&self, _: &[f32], raw: &[f32], variance: &mut [f32]) {
        variance.fill((2.0 * raw[0]).exp());
    }

    fn add_sigma_grad(&self, _: &[f32], raw: &[f32], d: &[f32], _: &mut [f32], d_raw: &mut [f32]) {
        d_raw[0] += raw[0].exp() * d.iter().sum::<f32>();
    }

    fn add_variance_grad(&self, _: &[f32], raw: &[f32], d: &mut [f32], _: &mut [f32], d_raw: &mut [f32]) {
        d_raw[0] += 2.0 * (2.0 * raw[0]).exp() * d.iter().sum::<f32>();
    }

    fn log_alpha(&self, mu: &[f32], raw: &[f32], log_alpha: &mut [f32]) {
        for (out, mu) in log_alpha.iter_mut().zip(mu) {
            *out = 2.0 * (raw[0] - mu.abs().ln());
        }
    }

    /// `Σ (sigma² + mu² − 1)/2 − ln sigma`.
    fn kl(&self, extent: &Extent, at: &KlAt<'_>) -> f64 {
        let (weights, raw) = Self::raw(at.params, extent);
        let raw = f64::from(raw);
        let squares: f64 = at.params[..weights].iter().map(|&mu| f64::from(mu).powi(2)).sum();
        0.5 * squares + weights as f64 * (0.5 * ((2.0 * raw).exp() - 1.0) - raw)
    }

    fn kl_grad(&self, extent: &Extent, at: &KlAt<'_>, weight: f32, grads: &mut [f32]) -> f64 {
        let (weights, raw) = Self::raw(at.params, extent);
        for (d, mu) in grads.iter_mut().zip(&at.params[..weights]) {
            *d += weight * mu;
        }
        grads[weights] += weight * weights as f32 * ((2.0 * raw).exp() - 1.0);
        self.kl(extent, at)
    }

    fn kl_terms(&self, _: &Extent) -> Option<Vec<KlTerm>> {
        None
    }
}

fn layer() -> Variational<DenseMap, Isotropic> {
    Variational::of(DenseMap::new("isotropic-dense", 3, 2).unwrap(), Isotropic { init_raw: -1.0 })
}

#[test]
fn a_family_of_ones_own_keeps_the_contract_once_it_is_registered() {
    let mut registry = Registry::default();
    let unknown = conformance::check(&layer(), &registry).unwrap_err().to_string();
    assert!(unknown.contains("\"isotropic-dense\" is unknown here"), "{unknown}");
    registry.register_variational::<DenseMap, Isotropic>().unwrap();
    conformance::check(&layer(), &registry).unwrap();
    let twice = registry.register_variational::<DenseMap, Isotropic>().unwrap_err();
    assert!(twice.to_string().contains("isotropic-dense"), "{twice}");
}

#[test]
fn it_has_the_blocks_and_every_estimator_of_the_others() {
    let plan = Plan::new(vec![Box::new(layer())]).unwrap();
    let blocks: Vec<(String, Vec<usize>)> =
        plan.entries().iter().map(|e| (e.block.name.clone(), e.block.shape.clone())).collect();
    let expected = [("weight.mu", vec![3, 2]), ("weight.ln_sigma", vec![1]), ("bias", vec![2])];
    assert_eq!(blocks, expected.map(|(name, shape)| (name.to_owned(), shape)));
    let (params, noise) = (plan.init(&Noise::new(3, Purpose::Init)), Noise::new(4, Purpose::Train));
    let outputs = Estimator::ALL.map(|estimator| {
        let pass = Pass::train(&noise, 0, estimator);
        predict(&plan, &params, &[0.5, -1.0, 2.0], &pass)
    });
    assert!(outputs[0] != outputs[1] && outputs[1] != outputs[2] && outputs[0] != outputs[2], "{outputs:?}");
}
