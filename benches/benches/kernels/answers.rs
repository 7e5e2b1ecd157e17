//! What is asked of a predictive distribution of 100 passes, and scores.

use bdl_benches::network::normals;
use bdl_infer::{Categorical, Gaussian, MixtureScratch, NoiseSd, Predictive};
use bdl_metrics::crps_gaussian;
use bdl_tensor::{Mat, kernels::col_moments};
use criterion::{Criterion, Throughput, criterion_group};

const SAMPLES: usize = 100;

fn of_a_number(c: &mut Criterion) {
    let likelihood = Gaussian::new(NoiseSd::Fixed(0.5)).expect("valid");
    let outputs = normals(SAMPLES);
    let predictive = Predictive::new(&likelihood, &[&[]], &outputs, SAMPLES, 1).expect("valid");
    let mut scratch = MixtureScratch::new();
    let mut group = c.benchmark_group("mixture of 100 normals");
    group.bench_function("mean and deviations", |bench| {
        bench.iter(|| predictive.real(0, &mut scratch).map(|y| (y.mean(), y.epistemic_variance())));
    });
    group.bench_function("quantile", |bench| {
        bench.iter(|| predictive.real(0, &mut scratch).and_then(|y| y.quantile(0.9)));
    });
    group
        .bench_function("crps", |bench| bench.iter(|| predictive.real(0, &mut scratch).map(|y| y.crps(0.3))));
}

fn of_a_class(c: &mut Criterion) {
    let likelihood = Categorical::new(10).expect("valid");
    let outputs = normals(SAMPLES * 10);
    let predictive = Predictive::new(&likelihood, &[&[]], &outputs, SAMPLES, 1).expect("valid");
    let mut scratch = MixtureScratch::new();
    c.bench_function("mixture of 100 passes over 10 classes, mutual information", |bench| {
        bench.iter(|| predictive.class(0, &mut scratch).map(|y| y.mutual_information()));
    });
}

fn moments(c: &mut Criterion) {
    let (outputs, mut mean, mut std_dev) = (normals(SAMPLES * 2560), vec![0.0; 2560], vec![0.0; 2560]);
    let mut group = c.benchmark_group("moments");
    group.throughput(Throughput::Elements(outputs.len() as u64));
    group.bench_function("mean and std of 100 passes, 256 rows of 10", |bench| {
        let outputs = Mat::new(&outputs, SAMPLES, 2560).expect("length");
        bench.iter(|| col_moments(outputs, 0, &mut mean, &mut std_dev));
    });
}

fn scores(c: &mut Criterion) {
    let y: Vec<f64> = normals(1024).into_iter().map(f64::from).collect();
    let std = vec![0.7; y.len()];
    let mut group = c.benchmark_group("scores");
    group.throughput(Throughput::Elements(y.len() as u64));
    group.bench_function("crps of normals", |bench| bench.iter(|| crps_gaussian(&y, &std, &std)));
}

criterion_group!(benches, of_a_number, of_a_class, moments, scores);
