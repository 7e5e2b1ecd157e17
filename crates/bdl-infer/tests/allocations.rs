//! Steady steps of `fit` and steady predictions allocate nothing, on any thread.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use allocation_counter::measure;
use bdl_dist::{Noise, Purpose};
use bdl_infer::{
    Bnn, Data, FitConfig, Gaussian, Heteroscedastic, Independent, NoiseSd, Passes, Predictor, Predicts,
    RayonPool, Targets, fit,
};
use bdl_layers::{
    Activation, ActivationLayer, AvgPool2d, Dense, Dropout, Dropout2d, Estimator, Filters, Image, Layer,
    MaxPool2d, Plan, Prior, Scope, SparseVdConv2d, VariationalConv2d, VariationalDense, Window,
};
use bdl_tensor::{Mat, Pool, Serial};

/// A pool that counts the allocations of its tasks, on whatever thread they run.
#[derive(Debug)]
struct Counting {
    pool: RayonPool,
    count: AtomicU64,
}

impl Counting {
    /// The counter counts for its own thread: tasks inside a counted task are counted with it.
    fn counted(&self, task: impl FnOnce()) {
        thread_local!(static INSIDE: Cell<bool> = const { Cell::new(false) });
        if INSIDE.replace(true) {
            return task();
        }
        let count = measure(task).count_total;
        INSIDE.set(false);
        self.count.fetch_add(count, Ordering::Relaxed);
    }
}

impl Pool for Counting {
    fn threads(&self) -> usize {
        self.pool.threads()
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        self.pool.run(tasks, &|i| self.counted(|| task(i)));
    }

    fn chunks(&self, data: &mut [f32], len: usize, task: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        self.pool.chunks(data, len, &|i, chunk| self.counted(|| task(i, chunk)));
    }

    fn join(&self, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send)) {
        self.pool.join(&mut || self.counted(&mut *a), &mut || self.counted(&mut *b));
    }
}

fn network(layers: Vec<Box<dyn Layer>>) -> Bnn {
    let gaussian = Gaussian::new(NoiseSd::Learned { init: 0.5 }).unwrap();
    Bnn::new(Plan::new(layers).unwrap(), Box::new(gaussian)).unwrap()
}

fn mc_dropout(inputs: usize, hidden: usize) -> Bnn {
    network(vec![
        Box::new(Dropout::new(inputs, 0.05).unwrap()),
        Box::new(Dense::new(inputs, hidden).unwrap().with_length_scale(0.1).unwrap()),
        Box::new(ActivationLayer::new(Activation::Relu, hidden).unwrap()),
        Box::new(Dropout::new(hidden, 0.05).unwrap()),
        Box::new(Dense::new(hidden, 1).unwrap().with_length_scale(0.1).unwrap()),
    ])
}

fn mean_field(inputs: usize, hidden: usize) -> Bnn {
    network(vec![
        Box::new(VariationalDense::new(inputs, hidden, Prior::StdDev(1.0)).unwrap()),
        Box::new(ActivationLayer::new(Activation::Relu, hidden).unwrap()),
        Box::new(VariationalDense::new(hidden, 1, Prior::StdDev(1.0)).unwrap()),
    ])
}

/// Padded, grouped and pooled convolutions over 13 steps of a sequence, with posteriors of both families.
fn convolutions() -> Bnn {
    let filters = |channels| Filters::new(channels, Window::line(3).padding([0, 1]));
    let (line, halves) = (Image::line(13, 6), Window::line(2).stride([1, 2]));
    let pooled = MaxPool2d::new(line, halves).unwrap();
    let sparse = SparseVdConv2d::new(pooled.out_image(), filters(4).groups(2)).unwrap();
    let mean = AvgPool2d::new(Image::line(6, 4), halves).unwrap();
    network(vec![
        Box::new(VariationalConv2d::new(Image::line(13, 1), filters(6), Prior::StdDev(1.0)).unwrap()),
        Box::new(ActivationLayer::new(Activation::Relu, line.len()).unwrap()),
        Box::new(pooled),
        Box::new(Dropout2d::new(Image::line(6, 6), 0.1).unwrap()),
        Box::new(sparse),
        Box::new(mean),
        Box::new(Dense::new(12, 1).unwrap()),
    ])
}

/// Three targets from four outputs.
fn several(inputs: usize, hidden: usize) -> Bnn {
    let gaussian = || Box::new(Gaussian::new(NoiseSd::Learned { init: 0.5 }).unwrap());
    let each = Independent::new(vec![gaussian(), Box::new(Heteroscedastic::new()), gaussian()]).unwrap();
    let layers: Vec<Box<dyn Layer>> = vec![
        Box::new(VariationalDense::new(inputs, hidden, Prior::StdDev(1.0)).unwrap()),
        Box::new(ActivationLayer::new(Activation::Relu, hidden).unwrap()),
        Box::new(VariationalDense::new(hidden, 4, Prior::StdDev(1.0)).unwrap()),
    ];
    Bnn::new(Plan::new(layers).unwrap(), Box::new(each)).unwrap()
}

/// Trains on 5 batches of `batch` rows for some epochs.
fn train(bnn: &Bnn, batch: usize, estimator: Estimator, epochs: usize, pool: &dyn Pool) {
    let (rows, cols) = (5 * batch, bnn.plan().in_dim());
    let targets = match bnn.likelihood().predicts() {
        Predicts::Several(each) => each.targets(),
        _ => 1,
    };
    let (mut x, mut y) = (vec![0.0; rows * cols], vec![0.0; rows * targets]);
    let noise = Noise::new(0, Purpose::Other(0));
    noise.rng(0).normals(&mut x);
    noise.rng(1).normals(&mut y);
    let y = if targets == 1 { Targets::Real(&y) } else { Targets::Several { y: &y, targets } };
    let data = Data::new(Mat::new(&x, rows, cols).unwrap(), y).unwrap();
    let mut params = bnn.init(&Noise::new(0, Purpose::Init));
    let config = FitConfig { epochs, batch, estimator, ..FitConfig::default() };
    fit(bnn, &mut params, data, None, &config, pool, &mut |_| ControlFlow::Continue(())).unwrap();
}

/// Allocations of 20 epochs more, 100 steps.
fn steady(bnn: &Bnn, batch: usize, estimator: Estimator) -> u64 {
    let count = |epochs| measure(|| train(bnn, batch, estimator, epochs, &Serial)).count_total;
    // Tables that layers make when they first need them are then there.
    count(1);
    count(22) - count(2)
}

#[test]
fn steady_steps_of_small_networks_allocate_nothing() {
    for bnn in [mc_dropout(13, 50), mean_field(13, 50), convolutions(), several(13, 50)] {
        for estimator in Estimator::ALL {
            assert_eq!(steady(&bnn, 32, estimator), 0, "{estimator:?}");
        }
    }
}

/// A product may allocate a packing buffer for each of the tasks it is split into; nothing else may allocate.
#[test]
fn steady_steps_of_large_networks_allocate_nothing_but_packing_buffers() {
    // Products of a step: two layers forwards, both weights, and back to the hidden units; twice with variances.
    let (local, flipout) = (Estimator::Local, Estimator::Flipout);
    let mean_field = || mean_field(256, 128);
    for (bnn, estimator, products) in
        [(mc_dropout(256, 128), local, 5), (mean_field(), local, 10), (mean_field(), flipout, 10)]
    {
        let count = |epochs| {
            let pool = Counting { pool: RayonPool::new(2).unwrap(), count: AtomicU64::new(0) };
            train(&bnn, 128, estimator, epochs, &pool);
            pool.count.into_inner()
        };
        let more = count(12) - count(2);
        let allowed = 50 * 2 * products;
        assert!(more <= allowed, "{estimator:?}: {more} allocations in 50 steps of {products} products");
    }
}

/// A pool whose only thread is not the caller's, and which counts the allocations of its tasks.
#[derive(Debug, Default)]
struct Elsewhere {
    count: AtomicU64,
}

impl Elsewhere {
    fn there(&self, task: impl FnOnce() + Send) {
        let counted = || self.count.fetch_add(measure(task).count_total, Ordering::Relaxed);
        std::thread::scope(|threads| {
            threads.spawn(counted);
        });
    }
}

impl Pool for Elsewhere {
    fn threads(&self) -> usize {
        1
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        self.there(|| Serial.run(tasks, task));
    }

    fn chunks(&self, data: &mut [f32], len: usize, task: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        self.there(|| Serial.chunks(data, len, task));
    }
}

/// Every route of the passes: one masked layer, several, half the units dropped, weights and pre-activations drawn, convolutions.
fn networks() -> Vec<Bnn> {
    let dense = |i, o| -> Box<dyn Layer> { Box::new(Dense::new(i, o).unwrap()) };
    let relu = |n| -> Box<dyn Layer> { Box::new(ActivationLayer::new(Activation::Relu, n).unwrap()) };
    let drop = |n| -> Box<dyn Layer> { Box::new(Dropout::new(n, 0.5).unwrap()) };
    let deep = vec![dense(13, 64), relu(64), drop(64), dense(64, 64), relu(64), drop(64), dense(64, 1)];
    let last = vec![dense(13, 50), relu(50), drop(50), dense(50, 1)];
    vec![network(last), network(deep), mc_dropout(13, 50), mean_field(13, 50), convolutions()]
}

#[test]
fn steady_predictions_allocate_nothing_on_the_callers_thread_or_another() {
    for (n, bnn) in networks().iter().enumerate() {
        let members = [bnn.init(&Noise::new(0, Purpose::Init))];
        let draws = [
            (Scope::Pass, Estimator::Local),
            (Scope::Row, Estimator::Local),
            (Scope::Row, Estimator::Flipout),
        ];
        for (scope, estimator) in draws {
            for rows in [1, 40, 600] {
                let passes = Passes { samples: 30, scope, estimator, ..Passes::default() };
                let predictor = Predictor::new(bnn, &members, passes).unwrap();
                let (x, mut out) = (vec![0.5; rows * 13], vec![0.0; 30 * rows]);
                let mut predict = |pool: &dyn Pool| {
                    let x = Mat::new(&x, rows, 13).unwrap();
                    predictor.outputs_into(x, 0, pool, &mut out).unwrap();
                };
                predict(&Serial);
                let here = measure(|| predict(&Serial)).count_total;
                let elsewhere = Elsewhere::default();
                predict(&elsewhere);
                let there = elsewhere.count.into_inner();
                assert_eq!((here, there), (0, 0), "network {n}, {scope:?}, {estimator:?}, {rows} rows");
            }
        }
    }
}
