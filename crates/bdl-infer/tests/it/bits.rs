//! The same bits for any number of threads and any split of the rows.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

use bdl_infer::{Bnn, Data, FitConfig, Gaussian, NoiseSd, Passes, Predictor, RayonPool, Targets};
use bdl_layers::{Estimator, Scope};
use bdl_tensor::{Pool, Serial};

use crate::nets::{Method, bits, bnn, init, mat, rows, trained};

const METHODS: [(Method, Estimator); 5] = [
    (Method::Dense, Estimator::Local),
    (Method::Dropout, Estimator::Local),
    (Method::Variational, Estimator::Local),
    (Method::Variational, Estimator::Sampling),
    (Method::Variational, Estimator::Flipout),
];

fn network(method: Method, widths: &[usize]) -> Bnn {
    bnn(method, widths, Gaussian::new(NoiseSd::Learned { init: 0.5 }).unwrap())
}

/// A pool that sees who works, and lets the first tasks wait until two workers have come.
#[derive(Debug)]
struct Watched {
    pool: RayonPool,
    seen: Mutex<HashSet<ThreadId>>,
    came: Condvar,
}

impl Watched {
    fn new(threads: usize) -> Self {
        Self { pool: RayonPool::new(threads).unwrap(), seen: Mutex::default(), came: Condvar::new() }
    }

    fn workers(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn enter(&self) {
        let mut seen = self.seen.lock().unwrap();
        seen.insert(std::thread::current().id());
        self.came.notify_all();
        let few = |seen: &mut HashSet<ThreadId>| seen.len() < 2.min(self.pool.threads());
        drop(self.came.wait_timeout_while(seen, Duration::from_secs(20), few).unwrap());
    }
}

impl Pool for Watched {
    fn threads(&self) -> usize {
        self.pool.threads()
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        self.pool.run(tasks, &|i| {
            self.enter();
            task(i);
        });
    }

    fn chunks(&self, data: &mut [f32], len: usize, task: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        self.pool.chunks(data, len, &|i, chunk| {
            self.enter();
            task(i, chunk);
        });
    }

    fn join(&self, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send)) {
        let watched = |task: &mut (dyn FnMut() + Send)| {
            self.enter();
            task();
        };
        self.pool.join(&mut || watched(a), &mut || watched(b));
    }
}

#[test]
fn training_gives_the_same_bits_with_1_2_and_3_threads() {
    // 128·160·256 multiplications: the products of a step are split over the threads.
    let (x, y) = rows(1, 300, 160);
    let data = Data::new(mat(&x, 160), Targets::Real(&y)).unwrap();
    for (method, estimator) in METHODS {
        let bnn = network(method, &[160, 256, 1]);
        let config = FitConfig { epochs: 2, batch: 150, estimator, ..FitConfig::default() };
        let expected = bits(&trained(&bnn, data, &config, &Serial));
        for threads in [1, 2, 3] {
            let pool = Watched::new(threads);
            let got = bits(&trained(&bnn, data, &config, &pool));
            assert_eq!(got, expected, "{method:?} {estimator:?} with {threads} threads");
            assert!(threads == 1 || pool.workers() >= 2, "{threads} threads: only {} worked", pool.workers());
        }
        // As many threads as the environment or the machine says.
        assert_eq!(bits(&trained(&bnn, data, &config, &RayonPool::new(0).unwrap())), expected);
    }
}

#[test]
fn small_training_gives_the_same_bits_with_1_2_and_3_threads_and_each_seed_and_lane_its_own() {
    let (x, y) = rows(1, 33, 3);
    let data = Data::new(mat(&x, 3), Targets::Real(&y)).unwrap();
    for (method, estimator) in METHODS {
        let bnn = network(method, &[3, 7, 1]);
        let config = FitConfig { epochs: 5, batch: 8, estimator, ..FitConfig::default() };
        let expected = bits(&trained(&bnn, data, &config, &Serial));
        for threads in [1, 2, 3] {
            let pool = RayonPool::new(threads).unwrap();
            assert_eq!(pool.threads(), threads);
            assert_eq!(bits(&trained(&bnn, data, &config, &pool)), expected);
        }
        for other in [FitConfig { lane: 1, ..config.clone() }, FitConfig { seed: 1, ..config.clone() }] {
            assert_ne!(bits(&trained(&bnn, data, &other, &Serial)), expected, "{method:?}: {other:?}");
        }
    }
}

fn predicted(
    bnn: &Bnn,
    members: &[Vec<f32>],
    scope: Scope,
    x: &[f32],
    first_row: u64,
    pool: &dyn Pool,
) -> Vec<f32> {
    let passes = Passes { samples: 5, scope, ..Passes::default() };
    let predictor = Predictor::new(bnn, members, passes).unwrap();
    predictor.outputs(mat(x, bnn.plan().in_dim()), first_row, pool).unwrap()
}

/// `[S, rows]` as one vector of S bits per row.
fn by_row(outputs: &[f32], rows: usize) -> Vec<Vec<u32>> {
    (0..rows).map(|r| outputs.iter().skip(r).step_by(rows).map(|v| v.to_bits()).collect()).collect()
}

/// Predicts `x` in chunks of `size` rows.
fn in_chunks(bnn: &Bnn, members: &[Vec<f32>], scope: Scope, x: &[f32], size: usize) -> Vec<Vec<u32>> {
    let dim = bnn.plan().in_dim();
    let mut got = Vec::new();
    for (i, chunk) in x.chunks(size * dim).enumerate() {
        let out = predicted(bnn, members, scope, chunk, (i * size) as u64, &Serial);
        got.extend(by_row(&out, chunk.len() / dim));
    }
    got
}

#[test]
fn predictions_have_the_same_bits_with_1_2_and_3_threads() {
    let (x, _) = rows(1, 700, 20);
    for method in [Method::Dense, Method::Dropout, Method::Variational] {
        let bnn = network(method, &[20, 33, 1]);
        let members = [init(&bnn), init(&bnn)];
        for members in [&members[..1], &members[..]] {
            for scope in [Scope::Pass, Scope::Row] {
                let expected = bits(&predicted(&bnn, members, scope, &x, 0, &Serial));
                for threads in [1, 2, 3] {
                    let pool = Watched::new(threads);
                    assert_eq!(bits(&predicted(&bnn, members, scope, &x, 0, &pool)), expected);
                    assert!(threads == 1 || pool.workers() >= 2, "only {} worked", pool.workers());
                }
            }
        }
    }
}

#[test]
fn under_pass_scope_a_row_has_the_same_bits_whole_in_chunks_alone_and_permuted() {
    const ROWS: usize = 40;
    for dim in [3, 255, 256, 257, 600] {
        let (x, _) = rows(2, ROWS, dim);
        for method in [Method::Dense, Method::Dropout, Method::Variational] {
            let bnn = network(method, &[dim, 300, 1]);
            let members = [init(&bnn)];
            let whole = by_row(&predicted(&bnn, &members, Scope::Pass, &x, 0, &Serial), ROWS);
            for size in [1, 2, 3, 4, 5, 17] {
                let got = in_chunks(&bnn, &members, Scope::Pass, &x, size);
                assert_eq!(got, whole, "{method:?}, {dim} inputs, chunks of {size}");
            }
            // Whatever number the first row has, and whatever stands beside it.
            let turned: Vec<f32> = x.chunks(dim).rev().flatten().copied().collect();
            let mut back = by_row(&predicted(&bnn, &members, Scope::Pass, &turned, 999, &Serial), ROWS);
            back.reverse();
            assert_eq!(back, whole, "{method:?}, {dim} inputs, permuted");
        }
    }
}

#[test]
fn under_row_scope_a_row_has_the_bits_of_its_number() {
    const ROWS: usize = 23;
    let (x, _) = rows(3, ROWS, 4);
    for method in [Method::Dropout, Method::Variational] {
        let bnn = network(method, &[4, 30, 1]);
        let members = [init(&bnn)];
        let whole = by_row(&predicted(&bnn, &members, Scope::Row, &x, 0, &Serial), ROWS);
        for size in [1, 2, 5] {
            assert_eq!(
                in_chunks(&bnn, &members, Scope::Row, &x, size),
                whole,
                "{method:?}, chunks of {size}"
            );
        }
        let moved = by_row(&predicted(&bnn, &members, Scope::Row, &x, 1, &Serial), ROWS);
        assert!(moved.iter().zip(&whole).all(|(a, b)| a != b), "{method:?}: row numbers must matter");
        // Equal rows get noise of their own.
        let same = [&x[..4], &x[..4]].concat();
        let pair = by_row(&predicted(&bnn, &members, Scope::Row, &same, 0, &Serial), 2);
        assert_ne!(pair[0], pair[1]);
        let pair = by_row(&predicted(&bnn, &members, Scope::Pass, &same, 0, &Serial), 2);
        assert_eq!(pair[0], pair[1]);
    }
}

#[test]
fn members_draw_in_lanes_of_their_own() {
    let (x, _) = rows(4, 9, 4);
    let bnn = network(Method::Variational, &[4, 6, 1]);
    let params = init(&bnn);
    let one = predicted(&bnn, std::slice::from_ref(&params), Scope::Pass, &x, 0, &Serial);
    let two = predicted(&bnn, &[params.clone(), params], Scope::Pass, &x, 0, &Serial);
    assert_eq!(bits(&two[..one.len()]), bits(&one), "the first member is what it is alone");
    assert_ne!(bits(&two[one.len()..]), bits(&one), "equal parameters, other noise");
}
