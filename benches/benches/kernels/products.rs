//! Matrix products at the sizes that occur: one row, small batches, narrow outputs, and the forms of backward.

use bdl_benches::network::normals;
use bdl_tensor::{Mat, MatMut, Pattern, Serial, Store, matmul, matmul_nt, matmul_tn};
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, measurement::WallTime};

fn bench_each(
    group: &mut BenchmarkGroup<'_, WallTime>,
    sizes: &[[usize; 3]],
    product: impl Fn(&[f32], &[f32], [usize; 3], &mut [f32]) -> Result<(), bdl_tensor::Error>,
) {
    for &[m, k, n] in sizes {
        let (a, b, mut out) = (normals(m * k), normals(k * n), vec![0.0; m * n]);
        group.throughput(Throughput::Elements((2 * m * k * n) as u64));
        group.bench_function(format!("{m}x{k}x{n}"), |bench| {
            bench.iter(|| product(&a, &b, [m, k, n], &mut out));
        });
    }
}

fn one_row(c: &mut Criterion) {
    let sizes = [[1, 13, 50], [1, 50, 1], [1, 784, 512], [1, 512, 512], [1, 512, 10]];
    bench_each(&mut c.benchmark_group("one row"), &sizes, plain);
}

fn forward(c: &mut Criterion) {
    let sizes = [
        [32, 13, 50],
        [32, 50, 1],
        [256, 1024, 10],
        [10_000, 50, 1],
        [128, 784, 400],
        [256, 512, 512],
        [256, 1024, 1024],
    ];
    bench_each(&mut c.benchmark_group("a·b"), &sizes, plain);
}

fn weight_gradients(c: &mut Criterion) {
    let sizes = [[13, 32, 50], [50, 32, 1], [784, 128, 400], [400, 128, 10]];
    bench_each(&mut c.benchmark_group("aᵀ·b"), &sizes, |a, b, [m, k, n], out| {
        let (a, b) = (Mat::new(a, k, m)?, Mat::new(b, k, n)?);
        matmul_tn(&Serial, a, b, Store::Add, &mut MatMut::new(out, m, n)?)
    });
}

fn input_gradients(c: &mut Criterion) {
    let sizes = [[32, 1, 50], [128, 10, 400], [128, 400, 400]];
    bench_each(&mut c.benchmark_group("a·bᵀ"), &sizes, |a, b, [m, k, n], out| {
        let (a, b) = (Mat::new(a, m, k)?, Mat::new(b, n, k)?);
        matmul_nt(&Serial, a, b, Store::Overwrite, &mut MatMut::new(out, m, n)?)
    });
}

fn plain(a: &[f32], b: &[f32], [m, k, n]: [usize; 3], out: &mut [f32]) -> Result<(), bdl_tensor::Error> {
    matmul(&Serial, Mat::new(a, m, k)?, Mat::new(b, k, n)?, Store::Overwrite, &mut MatMut::new(out, m, n)?)
}

/// One weight in so many is there: the layers of a pruned 784-300-100-10 beside the dense products of the same shapes.
fn sparse(c: &mut Criterion) {
    let sizes = [[784, 300, 20], [784, 300, 90], [300, 100, 35], [100, 10, 3]];
    let mut group = c.benchmark_group("sparse a·b");
    for [k, n, every] in sizes {
        let pattern = Pattern::new(k, n, (0..k * n).filter(|at| at * 7919 % every == 0));
        let Ok(pattern) = pattern else { continue };
        let (values, mut scratch) = (normals(pattern.len()), vec![0.0; pattern.scratch()]);
        for m in [1, 256] {
            let (a, mut out) = (normals(m * k), vec![0.0; m * n]);
            group.bench_function(format!("{m}x{k}x{n}, 1 of {every}"), |bench| {
                bench.iter(|| {
                    let (a, mut out) = (Mat::new(&a, m, k)?, MatMut::new(&mut out, m, n)?);
                    pattern.product(&values, a, &[0], &mut scratch, &mut out)
                });
            });
        }
    }
    drop(group);
    let dense =
        [[1, 784, 300], [256, 784, 300], [1, 300, 100], [256, 300, 100], [1, 100, 10], [256, 100, 10]];
    bench_each(&mut c.benchmark_group("dense beside sparse"), &dense, plain);
}

criterion_group!(benches, one_row, forward, weight_gradients, input_gradients, sparse);
