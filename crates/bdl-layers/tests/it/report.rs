//! Each figure of a layer's report is that of a naive computation in f64.

use crate::common::numbers;
use bdl_dist::{Laplace, Noise, Purpose, raw_scale};
use bdl_layers::{
    CorrelatedVd, Dense, Dropout, GaussianDropout, Grain, IndependentVdDense, KlKnown, Layer, LayerReport,
    LayerWarning, Plan, Prior, Quantiles, Registry, Residual, Scaling, SparseVdDense, VariationalDense,
};

/// One weight: `ln(sigma²/mu²)`, its KL, and sigma over that of its prior or |mu|.
struct Weight {
    log_alpha: f64,
    /// KL above the least that it can be.
    excess: f64,
    width: f64,
}

fn naive_quantiles(mut values: Vec<f64>) -> [f64; 5] {
    values.sort_by(f64::total_cmp);
    [0.05, 0.25, 0.5, 0.75, 0.95].map(|p| values[(p * values.len() as f64).floor() as usize])
}

fn of(q: Quantiles) -> [f64; 5] {
    [q.q05, q.q25, q.median, q.q75, q.q95]
}

fn share(weights: &[Weight], such: impl Fn(&Weight) -> bool) -> Option<f64> {
    Some(weights.iter().filter(|w| such(w)).count() as f64 / weights.len() as f64)
}

fn assert_near(name: &str, got: [f64; 5], expected: [f64; 5]) {
    for (got, expected) in got.into_iter().zip(expected) {
        assert!((got - expected).abs() <= 2e-6 * (1.0 + expected.abs()), "{name}: {got} {expected}");
    }
}

/// All columns that speak of weights.
fn assert_is(name: &str, report: &LayerReport, weights: &[Weight]) {
    let snr = weights.iter().map(|w| (-0.5 * w.log_alpha).exp()).collect();
    assert_near(name, of(report.snr.unwrap()).map(f64::ln_1p), naive_quantiles(snr).map(f64::ln_1p));
    let log_alpha = naive_quantiles(weights.iter().map(|w| w.log_alpha).collect());
    assert_near(name, of(report.log_alpha.unwrap()), log_alpha);
    assert_eq!(report.noise, share(weights, |w| w.log_alpha > 3.0), "{name}");
    assert_eq!(report.at_prior, share(weights, |w| w.excess < 0.01), "{name}");
    assert_eq!(report.collapsed, share(weights, |w| w.width < 1e-6), "{name}");
}

fn softplus(raw: f32) -> f64 {
    f64::from(raw).exp().ln_1p()
}

/// mu and rho of weights: half of them with nothing learned of N(0, 0.7²), some that have shrunk to a point, the others in between.
fn some_weights(n: usize) -> [Vec<f32>; 2] {
    let (draws, widths) = (numbers(1, n), numbers(2, n));
    let mu = (0..n).map(|i| if i % 2 == 0 { 0.01 * draws[i] } else { draws[i] });
    let rho = (0..n).map(|i| match i {
        _ if i % 2 == 0 => raw_scale(0.7),
        _ if i % 7 == 1 => -25.0,
        _ => raw_scale(0.1 * f64::from(widths[i].exp())),
    });
    [mu.collect(), rho.collect()]
}

fn warnings(of: &LayerReport) -> Vec<LayerWarning> {
    of.warnings().collect()
}

fn report(layer: impl Layer + 'static, params: &[f32]) -> LayerReport {
    Plan::new(vec![Box::new(layer)]).unwrap().report(params).unwrap().remove(0)
}

/// `N(mu, sigma²)` from `N(0, s²)`.
fn kl_normal(mu: f64, sigma: f64, s: f64) -> f64 {
    (s / sigma).ln() + (sigma * sigma + mu * mu) / (2.0 * s * s) - 0.5
}

#[test]
fn a_mean_field_layer_is_reported_as_computed_by_hand() {
    let [mu, rho] = some_weights(60);
    let (bias, bias_rho) = ([0.5, -1.0, 0.0], [raw_scale(0.3); 3]);
    let params = [&mu[..], &rho, &bias, &bias_rho].concat();
    let pairs = || mu.iter().zip(&rho).map(|(&mu, &rho)| (f64::from(mu), softplus(rho)));
    let weights: Vec<Weight> = pairs()
        .map(|(mu, sigma)| Weight {
            log_alpha: 2.0 * (sigma.ln() - mu.abs().ln()),
            excess: kl_normal(mu, sigma, 0.7),
            width: sigma / 0.7,
        })
        .collect();
    let got = report(VariationalDense::new(20, 3, Prior::StdDev(0.7)).unwrap(), &params);
    assert_is("normal", &got, &weights);
    let kl: f64 = pairs().map(|(mu, sigma)| kl_normal(mu, sigma, 0.7)).sum::<f64>()
        + bias.iter().map(|&b| kl_normal(f64::from(b), softplus(bias_rho[0]), 0.7)).sum::<f64>();
    assert!((got.kl / kl - 1.0).abs() < 1e-5, "{} {kl}", got.kl);
    assert_eq!((got.kl_weights, warnings(&got)), (Some(63), vec![]));
    assert_eq!(got.kl_per_weight(), Some(got.kl / 63.0));
    assert_eq!((got.sparsity, got.drop_prob), (None, None));
    // Under a prior that has no scale a point is as small as that beside its mean, and at the prior is what is all noise.
    let got = report(VariationalDense::new(20, 3, Prior::LogUniform).unwrap(), &params);
    let weights: Vec<Weight> = pairs()
        .map(|(mu, sigma)| {
            let log_alpha = 2.0 * (sigma.ln() - mu.abs().ln());
            let excess = bdl_testkit::oracle::kl_log_uniform(log_alpha);
            Weight { log_alpha, excess, width: sigma / mu.abs() }
        })
        .collect();
    assert_is("log-uniform", &got, &weights);
}

#[test]
fn a_layer_under_sparse_variational_dropout_is_reported_as_computed_by_hand() {
    let [mu, rho] = some_weights(60);
    let raw: Vec<f32> = rho.iter().map(|&rho| (2.0 * softplus(rho).ln()) as f32).collect();
    let kl = |log_alpha: f64| {
        let log_alpha = log_alpha.min(8.0);
        0.63576 / (1.0 + (1.8732 + 1.48695 * log_alpha).exp()) + 0.5 * (-log_alpha).exp().ln_1p()
    };
    let weights: Vec<Weight> = mu
        .iter()
        .zip(&raw)
        .map(|(&mu, &raw)| {
            let log_alpha = f64::from(raw) - 2.0 * f64::from(mu).abs().ln();
            Weight { log_alpha, excess: kl(log_alpha), width: (0.5 * log_alpha).exp() }
        })
        .collect();
    let params = [&mu[..], &raw, &[0.0; 3]].concat();
    let got = report(SparseVdDense::new(20, 3).unwrap(), &params);
    assert_is("sparse", &got, &weights);
    let expected: f64 = weights.iter().map(|w| w.excess).sum();
    assert!((got.kl / expected - 1.0).abs() < 1e-5, "{} {expected}", got.kl);
    // Biases have no prior.
    assert_eq!((got.kl_weights, got.kl_per_weight()), (Some(60), Some(got.kl / 60.0)));
}

/// `−½·ln alpha − c1·alpha − c2·alpha² − c3·alpha³`, less the same at 1.
fn vd_excess(alpha: f64) -> f64 {
    let f = |a: f64| -0.5 * a.ln() - a * (1.16145124 + a * (-1.50204118 + a * 0.58629921));
    f(alpha) - f(1.0)
}

fn vd_weight(raw: f32) -> Weight {
    let alpha = 1.0 / (1.0 + (-f64::from(raw)).exp());
    Weight { log_alpha: alpha.ln(), excess: vd_excess(alpha), width: alpha.sqrt() }
}

/// Raw parameters of alphas all over (0, 1), some at either end.
fn some_alphas(n: usize) -> Vec<f32> {
    numbers(3, n).iter().enumerate().map(|(i, z)| [2.0 * z, 5.0 + z.abs(), -30.0 - z.abs()][i % 3]).collect()
}

#[test]
fn variational_dropout_is_reported_as_computed_by_hand() {
    for grain in [Grain::Layer, Grain::Unit, Grain::Weight] {
        let alphas = some_alphas([1, 5, 30][grain as usize]);
        let mu = numbers(4, 30);
        let weights: Vec<Weight> =
            (0..30).map(|at| vd_weight(alphas[[0, at % 5, at][grain as usize]])).collect();
        let params = [&mu[..], &alphas, &[0.0; 5]].concat();
        let got = report(IndependentVdDense::new(6, 5, grain).unwrap(), &params);
        assert_is(&format!("{grain:?}"), &got, &weights);
        assert_eq!((got.kl_weights, got.kl_per_weight()), (Some(30), Some(got.kl / 30.0)));
    }
    for (grain, count) in [(Grain::Layer, 1), (Grain::Unit, 24)] {
        let alphas = some_alphas(count);
        let got = report(CorrelatedVd::new(24, grain).unwrap(), &alphas);
        assert_is(&format!("{grain:?}"), &got, &alphas.iter().map(|&raw| vd_weight(raw)).collect::<Vec<_>>());
        // The KL counts units.
        assert_eq!((got.kl_weights, got.kl_per_weight()), (Some(24), Some(got.kl / 24.0)));
    }
}

#[test]
fn dropout_is_reported_with_its_rate_and_the_noise_that_goes_with_it() {
    let got = report(GaussianDropout::new(7, 0.2).unwrap(), &[]);
    assert_near("gaussian dropout", of(got.log_alpha.unwrap()), [0.25f64.ln(); 5]);
    assert_near("gaussian dropout", of(got.snr.unwrap()), [2.0; 5]);
    assert_eq!((got.drop_prob, got.noise, got.at_prior, got.collapsed), (Some(0.2), None, None, None));
    assert_eq!((got.kl, got.kl_weights), (0.0, None));
    let none = report(GaussianDropout::new(7, 0.0).unwrap(), &[]);
    assert_eq!((none.drop_prob, none.log_alpha), (Some(0.0), None));
    assert_eq!(report(Dropout::new(7, 0.2).unwrap(), &[]).drop_prob, Some(0.2));
    let dense =
        report(Dense::new(2, 2).unwrap().with_length_scale(2.0).unwrap(), &[0.0, 1.0, 0.0, 0.0, 5.0, 6.0]);
    assert_eq!((dense.sparsity, dense.snr, dense.kl_weights), (Some(0.75), None, Some(6)));
}

#[test]
fn layers_inside_a_residual_one_are_reported_as_if_they_stood_alone() {
    let inside = || -> Vec<Box<dyn Layer>> {
        vec![
            Box::new(VariationalDense::new(4, 4, Prior::StdDev(1.0)).unwrap()),
            Box::new(GaussianDropout::new(4, 0.3).unwrap()),
            Box::new(Dense::new(4, 4).unwrap().with_length_scale(2.0).unwrap()),
        ]
    };
    let alone = Plan::new(inside()).unwrap();
    let block = Plan::new(vec![Box::new(Residual::new(inside()).unwrap())]).unwrap();
    let params = alone.init(&Noise::new(0, Purpose::Init));
    let [got] = &block.summary(&params).unwrap()[..] else { panic!("one layer") };
    assert_eq!(got.report.inside, alone.summary(&params).unwrap());
    assert_eq!((got.parameters, got.report.kl_weights), (params.len(), Some(40)));
    let sum: f64 = got.report.inside.iter().map(|layer| layer.report.kl).sum();
    assert!((got.report.kl / sum - 1.0).abs() < 1e-12);
    assert_eq!(got.report.inside[1].name, "1.gaussian-dropout");
}

#[test]
fn a_posterior_is_called_flat_or_collapsed_where_most_of_it_is() {
    let wide =
        |n: usize, rho: f32| [vec![0.0; n], vec![rho; n], vec![0.0; n / 10], vec![rho; n / 10]].concat();
    let dense = |prior: Prior| VariationalDense::new(10, 2, prior).unwrap();
    let [mut some, point] = [raw_scale(1.0), -30.0].map(|rho| wide(20, rho));
    let flat = report(dense(Prior::StdDev(1.0)), &some);
    assert_eq!((flat.flat, warnings(&flat)), (true, vec![LayerWarning::AtPrior(1.0)]));
    let collapsed = report(dense(Prior::StdDev(1.0)), &point);
    assert_eq!((collapsed.flat, warnings(&collapsed)), (false, vec![LayerWarning::Collapsed(1.0)]));
    some[..2].fill(3.0);
    assert!(!report(dense(Prior::StdDev(1.0)), &some).flat, "nine in ten are not more than nine in ten");
    // Under a prior that is there to make weights noise, one that is none is enough.
    assert_eq!(warnings(&report(dense(Prior::LogUniform), &some)), vec![]);
    assert!(report(dense(Prior::LogUniform), &wide(20, 0.0)).flat);
    let sparse = |mu: f32| {
        let mut params = [vec![1e-3; 20], vec![0.0; 20], vec![0.0; 2]].concat();
        params[7] = mu;
        report(SparseVdDense::new(10, 2).unwrap(), &params)
    };
    let [all, but_one] = [1e-3, 1.0].map(sparse);
    assert!(all.flat && !but_one.flat && but_one.at_prior == Some(0.95));
    assert_eq!((warnings(&all), warnings(&but_one)), (vec![LayerWarning::AtPrior(1.0)], vec![]));
    // Noise, by a little, and not yet at the prior.
    let noise = [vec![0.2; 20], vec![0.0; 20], vec![0.0; 2]].concat();
    let noise = report(SparseVdDense::new(10, 2).unwrap(), &noise);
    assert_eq!((noise.noise, warnings(&noise)), (Some(1.0), vec![LayerWarning::AllNoise]));
}

#[test]
fn what_is_left_of_a_pruned_layer_is_reported_and_what_is_gone_is_counted() {
    let plan = Plan::new(vec![Box::new(SparseVdDense::new(2, 2).unwrap())]).unwrap();
    // ln alpha = 0, 9, −2, ∞
    let params = [1.0, 1.0, 1.0, 0.0, 0.0, 9.0, -2.0, 0.0, 0.5, 0.5];
    let pruned = plan.prune(&[&params], 3.0, &Registry::default()).unwrap();
    let got = pruned.plan.report(&pruned.members[0]).unwrap().remove(0);
    assert_eq!((got.sparsity, got.kl_weights, got.noise), (Some(0.5), Some(2), Some(0.0)));
    assert_eq!(of(got.log_alpha.unwrap()), [-2.0, -2.0, 0.0, 0.0, 0.0]);
}

#[test]
fn a_kl_is_known_as_well_as_that_of_its_least_known_layer() {
    let variational =
        |prior: Prior| -> Box<dyn Layer> { Box::new(VariationalDense::new(3, 3, prior).unwrap()) };
    let plain = || -> Box<dyn Layer> { Box::new(Dense::new(3, 3).unwrap().with_length_scale(1.0).unwrap()) };
    let known = |layers: Vec<Box<dyn Layer>>| Plan::new(layers).unwrap().kl_known();
    let laplace = || Prior::Laplace(Laplace::new(1.0).unwrap(), Scaling::Same);
    assert_eq!(known(vec![variational(Prior::StdDev(1.0)), variational(laplace())]), KlKnown::Exactly);
    assert_eq!(known(vec![variational(laplace()), plain()]), KlKnown::UpToConstant);
    assert_eq!(known(vec![plain(), variational(Prior::LogUniform)]), KlKnown::Improper);
    assert_eq!(known(vec![Box::new(SparseVdDense::new(3, 3).unwrap())]), KlKnown::Improper);
    assert_eq!(known(vec![Box::new(CorrelatedVd::new(3, Grain::Unit).unwrap())]), KlKnown::Improper);
    let residual: Box<dyn Layer> = Box::new(Residual::new(vec![variational(Prior::LogUniform)]).unwrap());
    assert_eq!(known(vec![residual]), KlKnown::Improper);
}
