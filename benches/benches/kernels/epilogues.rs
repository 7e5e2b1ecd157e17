//! Layers in one go beside the product alone: masks drawn and scaled in front of it, and bias, activation and noise behind it
//! while rows are in cache. One pass over 256 rows, on one thread.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use bdl_benches::Error;
use bdl_benches::network::normals;
use bdl_dist::{Noise, Purpose};
use bdl_layers::{
    Activation, ActivationLayer, Dense, Dropout, Estimator, Layer, MonteCarlo, PassRows, Plan, Prior, Scope,
    VariationalDense, Workspace,
};
use bdl_tensor::{Mat, MatMut, Serial, Store, matmul};
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, measurement::WallTime};

const ROWS: usize = 256;

type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// A mask, an affine layer of `width` inputs and outputs, and an activation.
fn layers(
    width: usize,
    drop_prob: f64,
    affine: impl Layer + 'static,
    map: Activation,
) -> Result<Plan, Error> {
    Ok(Plan::new(vec![
        Box::new(Dropout::new(width, drop_prob)?),
        Box::new(affine),
        Box::new(ActivationLayer::new(map, width)?),
    ])?)
}

/// One pass of the plan, as a prediction makes it.
fn pass(group: &mut Group<'_>, name: &str, plan: &Plan, scope: Scope) -> Result<(), Error> {
    let params = plan.init(&Noise::new(0, Purpose::Init));
    let passes = MonteCarlo::new(plan, &params, Noise::new(0, Purpose::Predict), scope, Estimator::Local)?;
    let (x, width) = (normals(ROWS * plan.in_dim()), plan.out_dim());
    let x = Mat::new(&x, ROWS, plan.in_dim())?;
    let (mut ws, mut shared) = (Workspace::new(), vec![0.0; passes.shared_len(ROWS)]);
    passes.share(x, &Serial, &mut ws, &mut shared)?;
    let mut out = vec![0.0; ROWS * width];
    group.bench_function(name, |bench| {
        bench
            .iter(|| passes.run(0..1, x, 0, &shared, &mut ws, PassRows { out: &mut out, rows: ROWS, at: 0 }));
    });
    Ok(())
}

/// `count` products of the layers' shape and nothing else.
fn alone(group: &mut Group<'_>, width: usize, count: usize) {
    let (a, b, mut out) = (normals(ROWS * width), normals(width * width), vec![0.0; ROWS * width]);
    group.throughput(Throughput::Elements((2 * count * ROWS * width * width) as u64));
    group.bench_function(format!("{count} × product alone"), |bench| {
        bench.iter(|| {
            (0..count).try_for_each(|_| {
                let (a, b) = (Mat::new(&a, ROWS, width)?, Mat::new(&b, width, width)?);
                matmul(&Serial, a, b, Store::Overwrite, &mut MatMut::new(&mut out, ROWS, width)?)
            })
        });
    });
}

fn dropout(c: &mut Criterion) {
    const WIDTH: usize = 1024;
    let mut group = c.benchmark_group("mask, product, bias, relu: 256x1024x1024");
    alone(&mut group, WIDTH, 1);
    let variants = [
        ("a mask per row, keep 0.9: scaled in front", 0.1, Scope::Row),
        ("a mask per row, keep 0.5: dropped terms skipped", 0.5, Scope::Row),
        ("one mask, keep 0.5: dropped rows skipped", 0.5, Scope::Pass),
    ];
    for (name, drop_prob, scope) in variants {
        let dense = Dense::new(WIDTH, WIDTH).expect("widths");
        let plan = layers(WIDTH, drop_prob, dense, Activation::Relu).expect("valid");
        pass(&mut group, name, &plan, scope).expect("shapes");
    }
}

fn noise(c: &mut Criterion) {
    const WIDTH: usize = 400;
    let mut group = c.benchmark_group("mask, two products, bias, noise, relu: 256x400x400");
    alone(&mut group, WIDTH, 2);
    let affine = VariationalDense::new(WIDTH, WIDTH, Prior::StdDev(1.0)).expect("widths");
    let plan = layers(WIDTH, 0.1, affine, Activation::Relu).expect("valid");
    pass(&mut group, "noise of each output drawn behind them", &plan, Scope::Row).expect("shapes");
    pass(&mut group, "weights drawn, and one product", &plan, Scope::Pass).expect("shapes");
}

criterion_group!(benches, dropout, noise);
