//! Times of the kernels beneath training and prediction.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use bdl_dist::{Noise, Purpose};
use bdl_infer::{Bnn, Categorical, Elbo, Passes, Predictor, Targets};
use bdl_layers::{
    Activation, ActivationLayer, Dense, Dropout, Estimator, Layer, Pass, Plan, Prior, VariationalDense,
    Workspace,
};
use bdl_tensor::kernels::{AdamStep, adam};
use bdl_tensor::{Mat, MatMut, Serial, Store, matmul};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn normals(n: usize) -> Vec<f32> {
    let mut out = vec![0.0; n];
    Noise::new(0, Purpose::Other(0)).rng(0).normals(&mut out);
    out
}

fn products(c: &mut Criterion) {
    let mut group = c.benchmark_group("matmul");
    for [m, k, n] in [[1, 13, 50], [1, 784, 512], [32, 13, 50], [128, 784, 400], [256, 1024, 1024]] {
        let (a, b, mut out) = (normals(m * k), normals(k * n), vec![0.0; m * n]);
        group.throughput(Throughput::Elements((2 * m * k * n) as u64));
        group.bench_function(format!("{m}x{k}x{n}"), |bench| {
            bench.iter(|| {
                let (a, b) = (Mat::new(&a, m, k)?, Mat::new(&b, k, n)?);
                matmul(&Serial, a, b, Store::Overwrite, &mut MatMut::new(&mut out, m, n)?)
            });
        });
    }
}

fn noise(c: &mut Criterion) {
    const N: usize = 1 << 16;
    let source = Noise::new(0, Purpose::Train);
    let mut group = c.benchmark_group("noise");
    group.throughput(Throughput::Elements(N as u64));
    let mut floats = vec![0.0; N];
    group.bench_function("normals", |bench| bench.iter(|| source.normals(0, 0, N, &mut floats)));
    let mut bits = vec![0; N / 64];
    group.bench_function("mask 0.5", |bench| bench.iter(|| source.mask(0, 0, N, 0.5, &mut bits)));
    group.bench_function("mask 0.9", |bench| bench.iter(|| source.mask(0, 0, N, 0.9, &mut bits)));
}

fn optimizer(c: &mut Criterion) {
    const N: usize = 1 << 18;
    let (mut params, grads) = (normals(N), normals(N));
    let (mut m, mut v) = (vec![0.0; N], vec![0.0; N]);
    let step = AdamStep {
        lr: 1e-3,
        beta1: 0.9,
        beta2: 0.999,
        floor: 1e-8,
        bias1: 0.1,
        bias2: 0.001,
        weight_decay: 0.0,
    };
    let mut group = c.benchmark_group("optimizer");
    group.throughput(Throughput::Elements(N as u64));
    group.bench_function("adam", |bench| bench.iter(|| adam(&step, &mut params, &grads, &mut m, &mut v)));
}

/// The networks of the workloads: dropout on hidden layers, or a mean-field posterior on all of them.
fn network(widths: &[usize], drop_prob: Option<f64>) -> Bnn {
    let mut layers: Vec<Box<dyn Layer>> = Vec::new();
    for (i, pair) in widths.windows(2).enumerate() {
        if let (Some(p), true) = (drop_prob, i > 0) {
            layers.push(Box::new(Dropout::new(pair[0], p).expect("valid")));
        }
        layers.push(match drop_prob {
            Some(_) => Box::new(Dense::new(pair[0], pair[1]).expect("valid")),
            None => Box::new(VariationalDense::new(pair[0], pair[1], Prior::FanIn(1.0)).expect("valid")),
        });
        if i + 2 < widths.len() {
            layers.push(Box::new(ActivationLayer::new(Activation::Relu, pair[1]).expect("valid")));
        }
    }
    let classes = widths[widths.len() - 1];
    let plan = Plan::new(layers).expect("widths fit");
    Bnn::new(plan, Box::new(Categorical::new(classes).expect("valid"))).expect("widths fit")
}

fn training(c: &mut Criterion) {
    const BATCH: usize = 128;
    let bnn = network(&[784, 400, 400, 10], None);
    let params = bnn.init(&Noise::new(0, Purpose::Init));
    let (x, y) = (normals(BATCH * 784), vec![3; BATCH]);
    let (noise, mut ws, mut grads) =
        (Noise::new(0, Purpose::Train), Workspace::new(), vec![0.0; bnn.n_params()]);
    let elbo = Elbo::new(60_000).expect("rows");
    let mut group = c.benchmark_group("training");
    group.sample_size(20).throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("mean-field 784-400-400-10, gradient", |bench| {
        bench.iter(|| {
            let pass = Pass::train(&noise, 0, Estimator::Local);
            let x = Mat::new(&x, BATCH, 784).expect("length");
            elbo.gradient(&bnn, &params, x, Targets::Class(&y), &pass, &mut ws, &mut grads)
        });
    });
}

fn prediction(c: &mut Criterion) {
    const SAMPLES: usize = 100;
    let mut group = c.benchmark_group("prediction");
    group.sample_size(20);
    for (name, drop_prob) in [("mc-dropout 13-50-2, 1 row", Some(0.1)), ("mean-field 13-50-2, 1 row", None)] {
        let bnn = network(&[13, 50, 2], drop_prob);
        let members = [bnn.init(&Noise::new(0, Purpose::Init))];
        let passes = Passes { samples: SAMPLES, ..Passes::default() };
        let predictor = Predictor::new(&bnn, &members, passes).expect("valid");
        let (x, mut out) = (normals(13), vec![0.0; 2 * SAMPLES]);
        group.throughput(Throughput::Elements(SAMPLES as u64));
        group.bench_function(name, |bench| {
            bench.iter(|| predictor.outputs_into(Mat::new(&x, 1, 13).expect("length"), 0, &Serial, &mut out));
        });
    }
}

criterion_group!(benches, products, noise, optimizer, training, prediction);
criterion_main!(benches);
