//! Loops over slices: what follows a product, divergences, the optimizer, class probabilities.

use bdl_benches::network::normals;
use bdl_dist::{Normal, kl_normal, kl_normal_grad};
use bdl_infer::{Optimizer, OptimizerState};
use bdl_tensor::{MatMut, kernels};
use criterion::{Criterion, Throughput, criterion_group};

/// Weights of a layer.
const N: usize = 1 << 18;

fn epilogues(c: &mut Criterion) {
    const ROWS: usize = 128;
    const WIDTH: usize = 400;
    let (m, eps, bias) = (normals(ROWS * WIDTH), normals(ROWS * WIDTH), normals(WIDTH));
    let v: Vec<f32> = m.iter().map(|m| m * m).collect();
    let (mut y, mut out) = (m.clone(), vec![0.0; ROWS * WIDTH]);
    let mut group = c.benchmark_group("behind a product");
    group.throughput(Throughput::Elements((ROWS * WIDTH) as u64));
    group.bench_function("bias, then relu", |bench| {
        bench.iter(|| {
            kernels::add_bias_rows(&bias, &mut MatMut::new(&mut y, ROWS, WIDTH)?);
            kernels::relu(&y, &mut out);
            Ok::<_, bdl_tensor::Error>(())
        });
    });
    group.bench_function("m + √v·eps", |bench| {
        bench.iter(|| kernels::sqrt_mul_add(&m, &v, &eps, &mut out))
    });
    let bits: Vec<u64> =
        (0..ROWS * WIDTH / 64).map(|i| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
    group.bench_function("mask and scale", |bench| {
        bench.iter(|| kernels::mask_scale(&m, &bits, 2.0, &mut out));
    });
    group.bench_function("exp", |bench| bench.iter(|| kernels::exp(&m, &mut out)));
    group.bench_function("softplus", |bench| bench.iter(|| kernels::softplus(&m, &mut out)));
}

fn optimizer(c: &mut Criterion) {
    let (mut params, grads) = (normals(N), normals(N));
    let mut adam = OptimizerState::new(Optimizer::default(), N).expect("valid");
    let mut group = c.benchmark_group("optimizer");
    group.throughput(Throughput::Elements(N as u64));
    group.bench_function("adam", |bench| bench.iter(|| adam.step(&mut params, &grads, 1e-3)));
}

fn divergence(c: &mut Criterion) {
    let (mu, rho, prior) = (normals(N), vec![-5.0; N], Normal::new(0.0, 1.0).expect("valid"));
    let (mut d_mu, mut d_rho) = (vec![0.0; N], vec![0.0; N]);
    let mut group = c.benchmark_group("kl of normals");
    group.throughput(Throughput::Elements(N as u64));
    group.bench_function("value", |bench| bench.iter(|| kl_normal(&mu, &rho, &prior)));
    group.bench_function("value and gradient", |bench| {
        bench.iter(|| kl_normal_grad(&mu, &rho, &prior, 1e-4, &mut d_mu, &mut d_rho));
    });
}

fn classes(c: &mut Criterion) {
    let (logits, mut probs) = (normals(10), [0.0; 10]);
    c.bench_function("softmax of 10", |bench| bench.iter(|| kernels::softmax(&logits, &mut probs)));
    c.bench_function("log softmax of 10", |bench| bench.iter(|| kernels::log_softmax(&logits, &mut probs)));
}

criterion_group!(benches, epilogues, optimizer, divergence, classes);
