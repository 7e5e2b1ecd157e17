//! Normals and mask bits, on one thread.

use bdl_dist::{Noise, Purpose};
use criterion::{Criterion, Throughput, criterion_group};

const N: usize = 1 << 16;

fn normals(c: &mut Criterion) {
    let (source, mut out) = (Noise::new(0, Purpose::Train), vec![0.0; N]);
    let mut group = c.benchmark_group("normals");
    group.throughput(Throughput::Elements(N as u64));
    for slot in [16, 1 << 10, N] {
        group.bench_function(format!("slots of {slot}"), |bench| {
            bench.iter(|| source.normals(0, 0, slot, &mut out));
        });
    }
}

fn masks(c: &mut Criterion) {
    let (source, mut bits) = (Noise::new(0, Purpose::Train), vec![0; N / 64]);
    let mut group = c.benchmark_group("mask");
    group.throughput(Throughput::Elements(N as u64));
    for (slot, keep) in [(64, 0.9), (1 << 10, 0.5), (1 << 10, 0.9)] {
        group.bench_function(format!("slots of {slot}, keep {keep}"), |bench| {
            bench.iter(|| source.mask(0, 0, slot, keep, &mut bits));
        });
    }
    group.throughput(Throughput::Elements(50));
    group.bench_function("one slot of 50, keep 0.9", |bench| {
        bench.iter(|| source.mask(0, 7, 50, 0.9, &mut bits[..1]));
    });
}

criterion_group!(benches, normals, masks);
