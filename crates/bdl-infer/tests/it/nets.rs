//! Networks, data and shorthands that several tests use.

use std::ops::ControlFlow;

use bdl_dist::{Noise, Purpose};
use bdl_infer::{Bnn, Data, Error, FitConfig, FitSummary, Likelihood, Progress, fit};
use bdl_layers::{Activation, ActivationLayer, Dense, Dropout, Layer, Plan, Prior, VariationalDense};
use bdl_tensor::{Mat, Pool, Serial};
use bdl_testkit::source::{SplitMix64, to_f32};

/// How the weights of a network are uncertain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Dense,
    Dropout,
    Variational,
}

/// `widths[0] - … - widths[last]`, an activation behind every layer but the last, dropout behind the activation.
pub(crate) fn plan(method: Method, activation: Activation, widths: &[usize]) -> Plan {
    let mut layers: Vec<Box<dyn Layer>> = Vec::new();
    for (i, w) in widths.windows(2).enumerate() {
        if i > 0 {
            layers.push(Box::new(ActivationLayer::new(activation, w[0]).unwrap()));
        }
        if i > 0 && method == Method::Dropout {
            layers.push(Box::new(Dropout::new(w[0], 0.3).unwrap()));
        }
        layers.push(match method {
            Method::Variational => Box::new(VariationalDense::new(w[0], w[1], Prior::FanIn(1.3)).unwrap()),
            _ => Box::new(Dense::new(w[0], w[1]).unwrap().with_length_scale(0.7).unwrap()),
        });
    }
    Plan::new(layers).unwrap()
}

pub(crate) fn bnn(method: Method, widths: &[usize], likelihood: impl Likelihood + 'static) -> Bnn {
    Bnn::new(plan(method, Activation::Tanh, widths), Box::new(likelihood)).unwrap()
}

pub(crate) fn init(bnn: &Bnn) -> Vec<f32> {
    bnn.init(&Noise::new(0, Purpose::Init))
}

/// x `[rows, dim]` of normals, and one number per row that depends on them.
pub(crate) fn rows(seed: u64, rows: usize, dim: usize) -> (Vec<f32>, Vec<f32>) {
    let mut source = SplitMix64::new(seed);
    let x = source.normals(rows * dim);
    let y: Vec<f64> = x.chunks(dim).map(|r| (1.5 * r[0]).sin() + 0.2 * source.normal()).collect();
    (to_f32(&x), to_f32(&y))
}

pub(crate) fn mat(data: &[f32], cols: usize) -> Mat<'_> {
    Mat::new(data, data.len() / cols, cols).unwrap()
}

pub(crate) fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|v| v.to_bits()).collect()
}

/// [`fit`] on `pool` without validation rows, from the initial parameters.
pub(crate) fn trained(bnn: &Bnn, data: Data<'_>, config: &FitConfig, pool: &dyn Pool) -> Vec<f32> {
    let mut params = init(bnn);
    fit(bnn, &mut params, data, None, config, pool, &mut |_| ControlFlow::Continue(())).unwrap();
    params
}

/// [`fit`] on one thread, and every report.
pub(crate) fn run(
    bnn: &Bnn,
    params: &mut [f32],
    train: Data<'_>,
    valid: Option<Data<'_>>,
    config: &FitConfig,
) -> (Result<FitSummary, Error>, Vec<Progress>) {
    let mut reports = Vec::new();
    let done = fit(bnn, params, train, valid, config, &Serial, &mut |p| {
        reports.push(p.clone());
        ControlFlow::Continue(())
    });
    (done, reports)
}
