//! Priors that are no normals: the KL of a layer, its estimate by draws, and the way through a file. Seeds are fixed; a
//! moment check (5 SE) raises a false alarm with probability 5.7e-7.

use std::f64::consts::{E, PI, TAU};
use std::sync::Arc;

use bdl_dist::{Density, Laplace, Noise, NoiseRng, Purpose, ScaleMixture, StudentT};
use bdl_layers::{
    Activation, ActivationLayer, Container, Error, Estimator, OwnPrior, Pass, Plan, Prior, Registry,
    Residual, Role, Scaling, VariationalDense, conformance, push_network, read_network,
};
use bdl_testkit::oracle::{log_sum_exp, softplus};
use bdl_testkit::stats::{Estimate, MomentCheck, normal_pdf};

/// A density of one's own: `1/(π·scale·(1 + (x/scale)²))`.
#[derive(Debug)]
struct Cauchy {
    scale: f64,
}

impl Density for Cauchy {
    fn ln_prob(&self, x: f64) -> f64 {
        -(PI * self.scale * (1.0 + (x / self.scale).powi(2))).ln()
    }

    fn slope(&self, x: f64) -> f64 {
        -2.0 * x / (self.scale.powi(2) + x * x)
    }

    fn width(&self) -> f64 {
        self.scale
    }

    fn draw(&self, rng: &mut NoiseRng) -> Option<f64> {
        Some(self.scale * (PI * (rng.uniform() - 0.5)).tan())
    }
}

fn cauchy(scale: f64) -> Prior {
    Prior::Own(
        OwnPrior::new("cauchy", scale.to_le_bytes().to_vec(), Arc::new(Cauchy { scale })),
        Scaling::FanIn,
    )
}

fn build_cauchy(config: &[u8]) -> Result<Arc<dyn Density>, Error> {
    let bytes = config.try_into().map_err(|_| Error::File("prior cauchy must have 8 bytes".into()))?;
    Ok(Arc::new(Cauchy { scale: f64::from_le_bytes(bytes) }))
}

fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.register_prior("cauchy", build_cauchy).unwrap();
    registry
}

/// A naive log density.
type LnProb = Box<dyn Fn(f64) -> f64>;

/// Each prior with the naive log density of a weight of a layer with four inputs, and of a bias.
fn priors() -> Vec<(Prior, [LnProb; 2])> {
    let mixture = |pi: f64, wide: f64, narrow: f64| -> LnProb {
        let ln_of = |x: f64, s: f64| -0.5 * (x / s).powi(2) - (s * TAU.sqrt()).ln();
        Box::new(move |x| log_sum_exp(&[pi.ln() + ln_of(x, wide), (1.0 - pi).ln() + ln_of(x, narrow)]))
    };
    let laplace = |b: f64| -> LnProb { Box::new(move |x: f64| -x.abs() / b - (2.0 * b).ln()) };
    // Γ(2)/(Γ(1.5)·√(3π)) = 2/(π√3)
    let t3 = |s: f64| -> LnProb {
        Box::new(move |x: f64| {
            (2.0 / (PI * 3.0_f64.sqrt() * s)).ln() - 2.0 * (1.0 + (x / s).powi(2) / 3.0).ln()
        })
    };
    let own = |s: f64| -> LnProb { Box::new(move |x| Cauchy { scale: s }.ln_prob(x)) };
    let narrow = (-6.0_f64).exp();
    vec![
        (
            Prior::Mixture(ScaleMixture::default(), Scaling::Same),
            [mixture(0.5, 1.0, narrow), mixture(0.5, 1.0, narrow)],
        ),
        (
            Prior::Mixture(ScaleMixture::new(0.25, [2.0, 0.3]).unwrap(), Scaling::FanIn),
            [mixture(0.25, 1.0, 0.15), mixture(0.25, 2.0, 0.3)],
        ),
        (Prior::Laplace(Laplace::new(0.6).unwrap(), Scaling::Same), [laplace(0.6), laplace(0.6)]),
        (Prior::Laplace(Laplace::new(0.6).unwrap(), Scaling::FanIn), [laplace(0.3), laplace(0.6)]),
        (Prior::StudentT(StudentT::new(3.0, 0.5).unwrap(), Scaling::Same), [t3(0.5), t3(0.5)]),
        (Prior::StudentT(StudentT::new(3.0, 0.5).unwrap(), Scaling::FanIn), [t3(0.25), t3(0.5)]),
        (cauchy(0.8), [own(0.4), own(0.8)]),
    ]
}

/// A layer of 4 inputs and 3 outputs, and parameters: standard deviations from 0.002 to 1.
fn network(prior: &Prior) -> (Plan, Vec<f32>) {
    let plan = Plan::new(vec![Box::new(VariationalDense::new(4, 3, prior.clone()).unwrap())]).unwrap();
    let mut params = plan.init(&Noise::new(0, Purpose::Init));
    for entry in plan.entries().iter().filter(|e| e.block.role == Role::RawScale) {
        let n = entry.range.len() as f32;
        params[entry.range.clone()].iter_mut().enumerate().for_each(|(i, p)| *p = -6.0 + 6.5 * i as f32 / n);
    }
    (plan, params)
}

/// `E f(w)` for `w ~ N(mu, sigma²)` by the trapezoid rule with 200 000 steps.
fn mean(f: &dyn Fn(f64) -> f64, mu: f64, sigma: f64) -> f64 {
    let n = 200_000;
    let at = |i: i32| {
        let z = 20.0 * f64::from(i) / f64::from(n) - 10.0;
        normal_pdf(z) * f(mu + sigma * z)
    };
    (0..=n).map(at).sum::<f64>() * 20.0 / f64::from(n)
}

#[test]
fn every_prior_keeps_the_contract_of_layers() {
    let of_log_uniform = (Prior::LogUniform, ());
    for prior in priors().into_iter().map(|(p, _)| p).chain([of_log_uniform.0]) {
        let layer = VariationalDense::new(3, 2, prior.clone()).unwrap().with_init_sigma(0.3).unwrap();
        conformance::check(&layer, &registry()).unwrap_or_else(|e| panic!("{prior:?}: {e}"));
        conformance::check(&layer.without_bias(), &registry()).unwrap_or_else(|e| panic!("{prior:?}: {e}"));
    }
}

#[test]
fn the_kl_is_the_integral_summed_over_all_weights_and_biases_each_under_its_own_prior() {
    for (prior, ln_prob) in priors() {
        let (plan, params) = network(&prior);
        let (weights, biases) = params.split_at(24);
        let sum = |own: &[f32], ln_prob: &dyn Fn(f64) -> f64| -> f64 {
            let (mu, rho) = own.split_at(own.len() / 2);
            let one = |(&mu, &rho): (&f32, &f32)| {
                let (mu, sigma) = (f64::from(mu), softplus(rho.into()));
                -sigma.ln() - 0.5 * (TAU * E).ln() - mean(ln_prob, mu, sigma)
            };
            mu.iter().zip(rho).map(one).sum()
        };
        let expected = sum(weights, &ln_prob[0]) + sum(biases, &ln_prob[1]);
        let kl = plan.kl(&params).unwrap();
        assert!((kl / expected - 1.0).abs() < 1e-6, "{prior:?}: {kl} {expected}");
    }
}

// 20 000 steps, 5 SE in each of 30 parameters and in the KL.
#[test]
fn the_estimate_of_a_training_step_is_unbiased() {
    let noise = Noise::new(7, Purpose::Train);
    for (prior, _) in priors() {
        let (plan, params) = network(&prior);
        let mut expected = vec![0.0; params.len()];
        let kl = plan.kl_grad(&params, 1.0, &mut expected).unwrap();
        let mut draws = vec![Vec::new(); params.len() + 1];
        for step in 0..20_000 {
            let mut grads = vec![0.0; params.len()];
            let pass = Pass::train(&noise, step, Estimator::Local);
            let estimate = plan.estimate_kl_grad(&params, &pass, 1.0, &mut grads).unwrap();
            grads.iter().zip(&mut draws).for_each(|(g, draws)| draws.push(f64::from(*g)));
            draws[params.len()].push(estimate);
        }
        let all = expected.iter().map(|&g| f64::from(g)).chain([kl]);
        for (i, (draws, expected)) in draws.iter().zip(all).enumerate() {
            if draws.iter().all(|d| *d == draws[0]) {
                assert!(
                    (draws[0] - expected).abs() <= 1e-6 * expected.abs().max(1e-3),
                    "closed form, {prior:?} {i}"
                );
                continue;
            }
            Estimate::of(draws).check(&format!("{prior:?}, element {i}"), expected).assert();
        }
    }
}

// 4 000 draws: the gradient in mu of a Student t prior of infinite spread is the draw itself.
#[test]
fn draws_differ_between_weights_layers_and_steps_and_repeat_at_their_address() {
    let prior = Prior::StudentT(StudentT::new(1e6, 1.0).unwrap(), Scaling::Same);
    let layer = || Box::new(VariationalDense::new(2, 1, prior.clone()).unwrap().without_bias());
    let one = || Box::new(ActivationLayer::new(Activation::Identity, 1).unwrap());
    let widen = || Box::new(VariationalDense::new(1, 2, prior.clone()).unwrap().without_bias());
    let plan = Plan::new(vec![layer(), one(), widen(), layer()]).unwrap();
    // mu = 0 and sigma = 1: with p ≈ N(0, 1) the estimate of ∂KL/∂mu is eps.
    let params: Vec<f32> = plan
        .entries()
        .iter()
        .flat_map(|e| vec![if e.block.role == Role::Mean { 0.0 } else { 0.541_324_9 }; e.range.len()])
        .collect();
    let noise = Noise::new(8, Purpose::Train);
    let eps = |step: u64| -> Vec<f64> {
        let mut grads = vec![0.0; params.len()];
        let pass = Pass::train(&noise, step, Estimator::Local);
        plan.estimate_kl_grad(&params, &pass, 1.0, &mut grads).unwrap();
        let means = plan.entries().iter().filter(|e| e.block.role == Role::Mean);
        means.flat_map(|e| grads[e.range.clone()].iter().map(|g| f64::from(*g))).collect()
    };
    assert_eq!(eps(3), eps(3));
    let steps: Vec<Vec<f64>> = (0..4_000).map(eps).collect();
    let of = |i: usize, from: usize| steps[from..from + 3_999].iter().map(|e| e[i]).collect::<Vec<f64>>();
    for i in 0..6 {
        MomentCheck::mean("eps", &of(i, 0), 0.0, 1.0).assert();
        MomentCheck::normal_variance("eps", &of(i, 0), 1.0).assert();
        MomentCheck::normal_covariance("steps", &of(i, 0), &of(i, 1), 0.0, 1.0, 1.0).assert();
        for j in 0..i {
            MomentCheck::normal_covariance("weights", &of(i, 0), &of(j, 0), 0.0, 1.0, 1.0).assert();
        }
    }
}

#[test]
fn a_layer_inside_a_residual_connection_draws_at_its_own_addresses() {
    let (prior, _) = priors().swap_remove(0);
    let layer = || Box::new(VariationalDense::new(2, 2, prior.clone()).unwrap());
    let residual = Residual::new(vec![layer(), layer()]).unwrap();
    conformance::check(&residual, &registry()).unwrap();
    let (flat, nested) =
        (Plan::new(vec![layer(), layer()]).unwrap(), Plan::new(vec![Box::new(residual)]).unwrap());
    let params = flat.init(&Noise::new(0, Purpose::Init));
    let noise = Noise::new(9, Purpose::Train);
    let grads = |plan: &Plan| {
        let mut grads = vec![0.0; params.len()];
        let pass = Pass::train(&noise, 5, Estimator::Local);
        plan.estimate_kl_grad(&params, &pass, 1.0, &mut grads).unwrap();
        grads
    };
    assert_eq!(grads(&flat), grads(&nested));
}

#[test]
fn kl_and_gradients_are_finite_at_extreme_scales_of_the_posterior() {
    let noise = Noise::new(7, Purpose::Train);
    for prior in priors().into_iter().map(|(p, _)| p).chain([Prior::LogUniform]) {
        for rho in [-1e4, -110.0, -95.0, 40.0] {
            let (plan, mut params) = network(&prior);
            for entry in plan.entries() {
                match entry.block.role {
                    Role::RawScale => params[entry.range.clone()].fill(rho),
                    _ => params[entry.range.clone()].iter_mut().for_each(|mu| *mu += 0.01),
                }
            }
            for pass in [Pass::mean(), Pass::train(&noise, 0, Estimator::Local)] {
                let mut grads = vec![0.0; params.len()];
                let kl = plan.estimate_kl_grad(&params, &pass, 1.0, &mut grads).unwrap();
                assert!(
                    kl.is_finite() && grads.iter().all(|g| g.is_finite()),
                    "{prior:?} {rho}: {kl} {grads:?}"
                );
            }
        }
    }
}

#[test]
fn a_posterior_that_is_the_nearest_normal_counts_as_at_the_prior() {
    for (prior, _) in priors() {
        let (plan, mut params) = network(&prior);
        let narrow = plan.report(&params).unwrap().remove(0);
        assert!(narrow.at_prior.unwrap() < 0.3, "{prior:?}: {narrow:?}");
        let near = match &prior {
            Prior::Mixture(p, Scaling::Same) => p.std_devs()[0],
            Prior::Mixture(p, _) => p.std_devs()[0] / 2.0,
            Prior::Laplace(p, s) => p
                .scaled(if *s == Scaling::FanIn { 0.5 } else { 1.0 })
                .unwrap()
                .nearest_normal()
                .unwrap()
                .std_dev(),
            Prior::StudentT(p, s) => p
                .scaled(if *s == Scaling::FanIn { 0.5 } else { 1.0 })
                .unwrap()
                .nearest_normal()
                .unwrap()
                .std_dev(),
            _ => Cauchy { scale: 0.4 }.nearest_normal().unwrap().std_dev(),
        };
        params[..12].fill(0.0);
        params[12..24].fill(bdl_dist::raw_scale(near));
        assert_eq!(plan.report(&params).unwrap()[0].at_prior, Some(1.0), "{prior:?}");
    }
}

fn bytes_of(plan: &Plan, params: &[f32]) -> Vec<u8> {
    let mut file = Container::default();
    push_network(&mut file, plan, &[params.to_vec()]).unwrap();
    file.to_bytes().unwrap()
}

#[test]
fn every_prior_comes_back_from_its_file_with_the_same_kl_to_the_bit() {
    let noise = Noise::new(3, Purpose::Train);
    for prior in priors().into_iter().map(|(p, _)| p).chain([Prior::LogUniform]) {
        let (plan, params) = network(&prior);
        let bytes = bytes_of(&plan, &params);
        let (loaded, members) = read_network(&Container::from_bytes(&bytes).unwrap(), &registry()).unwrap();
        assert_eq!(bytes_of(&loaded, &members[0]), bytes, "{prior:?}");
        assert_eq!(loaded.kl(&params).unwrap().to_bits(), plan.kl(&params).unwrap().to_bits(), "{prior:?}");
        let grads = |plan: &Plan| {
            let mut grads = vec![0.0; params.len()];
            let pass = Pass::train(&noise, 2, Estimator::Local);
            (plan.estimate_kl_grad(&params, &pass, 1.0, &mut grads).unwrap(), grads)
        };
        assert_eq!(grads(&loaded), grads(&plan), "{prior:?}");
    }
}

#[test]
fn a_prior_of_ones_own_that_is_not_registered_is_named() {
    let (plan, params) = network(&cauchy(0.8));
    let bytes = bytes_of(&plan, &params);
    let file = Container::from_bytes(&bytes).unwrap();
    let message = |registry: &Registry| read_network(&file, registry).unwrap_err().to_string();
    assert_eq!(
        message(&Registry::default()),
        "prior kind \"cauchy\" is unknown here (known: none); register it before loading"
    );
    let mut other = Registry::default();
    other.register_prior("horseshoe", build_cauchy).unwrap();
    assert!(message(&other).contains("(known: horseshoe)"));
    let e = other.register_prior("horseshoe", build_cauchy).unwrap_err();
    assert_eq!(e.to_string(), "registry: kind \"horseshoe\" is registered already");
    assert_eq!(cauchy(0.8), cauchy(0.8));
    assert_ne!(cauchy(0.8), cauchy(0.9));
}

#[test]
fn a_prior_out_of_range_is_refused_when_the_layer_is_made() {
    let message = |prior| VariationalDense::new(2, 2, prior).unwrap_err().to_string();
    assert_eq!(
        message(Prior::StdDev(-1.0)),
        "variational-dense: prior std_dev must be finite and > 0, got -1"
    );
    let narrow = ScaleMixture::new(0.5, [1.0, 1e-14]).unwrap();
    let of_fan_in = message(Prior::Mixture(narrow, Scaling::FanIn));
    assert!(
        of_fan_in.starts_with(
            "variational-dense: prior must be scales that a layer of 4294967296 inputs can have"
        ) && of_fan_in.contains("std_dev"),
        "{of_fan_in}"
    );
    assert!(VariationalDense::new(2, 2, Prior::Mixture(narrow, Scaling::Same)).is_ok());
}
