//! What the machine can do at most, in the parts that the workloads are made of, on one thread and on all.

use std::sync::{Mutex, PoisonError};

use bdl_benches::Error;
use bdl_benches::network::normals;
use bdl_benches::timing::Timing;
use bdl_dist::{Noise, Purpose};
use bdl_tensor::{Mat, MatMut, Pool, Serial, Store, kernels, matmul, matmul_nt, matmul_tn};
use rand::Rng;

use crate::{Bench, Workload};

/// How the factors of a product lie in memory.
#[derive(Clone, Copy)]
enum Form {
    Plain,
    /// Aᵀ·B: the gradient of weights.
    Tn,
    /// A·Bᵀ: the gradient of inputs.
    Nt,
}

/// The products of the workloads: where they occur, their form, and m, k, n.
const PRODUCTS: [(&str, Form, [usize; 3]); 9] = [
    ("W1 first layer", Form::Plain, [256, 784, 1024]),
    ("W1 dense", Form::Plain, [256, 1024, 1024]),
    ("W1 thinned", Form::Plain, [256, 512, 512]),
    ("W3 forward, first layer", Form::Plain, [128, 784, 400]),
    ("W3 forward", Form::Plain, [128, 400, 400]),
    ("W3 backward, first weights", Form::Tn, [784, 128, 400]),
    ("W3 backward, weights", Form::Tn, [400, 128, 400]),
    ("W3 backward, inputs", Form::Nt, [128, 400, 400]),
    ("W6", Form::Plain, [256, 400, 400]),
];

/// Operations of a run of products on each thread. With runs of a few milliseconds both threads were seen to share one core,
/// while the other was free, until the system moved one: 40 ms are long enough.
const OPERATIONS: usize = 1 << 32;
/// Random bytes of a run on each thread.
const WORDS: usize = 1 << 28;
/// Bytes that are copied at a time, and how often in a run.
const BYTES: usize = 1 << 26;
const COPIES: usize = 8;
/// Elements on which a thread computes exponentials: they stay in the second-level cache.
const SLICE: usize = 1 << 14;
/// Times that a thread goes over them in a run.
const ROUNDS: usize = 1 << 12;

pub(crate) fn workloads() -> Vec<Workload> {
    let products = PRODUCTS.iter().flat_map(|&(place, form, [m, k, n])| {
        let form_name = ["", " tn", " nt"][form as usize];
        let name = format!("ceiling sgemm{form_name} {m}x{k}x{n} ({place})");
        both(name, "FLOP/s", move |bench, pool| product(bench, pool, form, [m, k, n]))
    });
    products
        .chain(both("ceiling random words".to_owned(), "bytes/s", words))
        .chain(both("ceiling memory copy".to_owned(), "bytes/s", copy))
        .chain(both("ceiling exp of a slice".to_owned(), "elements/s", exp))
        .collect()
}

/// The work on one thread and on all of the pool.
fn both(
    name: String,
    unit: &'static str,
    run: impl Fn(&Bench, &dyn Pool) -> Result<Timing, Error> + Copy + 'static,
) -> [Workload; 2] {
    [
        Workload::new(&name, "1 thread", unit, move |bench| run(bench, &Serial)),
        Workload::new(&name, "all threads", unit, move |bench| run(bench, &bench.pool)),
    ]
}

/// The same work side by side on every thread of the pool, each with a state of its own; `per` units on each.
fn side_by_side<S: Send>(
    bench: &Bench,
    pool: &dyn Pool,
    per: usize,
    state: impl Fn() -> S,
    work: impl Fn(&mut S) + Sync,
) -> Result<Timing, Error> {
    let states: Vec<_> = (0..pool.threads()).map(|_| Mutex::new(state())).collect();
    let seconds = bench.repeat.median(|| {
        pool.run(states.len(), &|task| {
            work(&mut states[task].lock().unwrap_or_else(PoisonError::into_inner))
        });
        Ok(())
    })?;
    Ok(Timing { seconds, per: per * states.len() })
}

/// Products on one thread each, the factors in whatever cache they fit into.
fn product(bench: &Bench, pool: &dyn Pool, form: Form, [m, k, n]: [usize; 3]) -> Result<Timing, Error> {
    let operations = 2 * m * k * n;
    let rounds = OPERATIONS.div_ceil(operations);
    let state = || (normals(m * k), normals(k * n), vec![0.0; m * n]);
    side_by_side(bench, pool, rounds * operations, state, |(a, b, c)| {
        for _ in 0..rounds {
            multiply(form, a, b, c, [m, k, n]).expect("the shapes fit");
        }
        std::hint::black_box(c);
    })
}

fn multiply(
    form: Form,
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    [m, k, n]: [usize; 3],
) -> Result<(), bdl_tensor::Error> {
    let c = &mut MatMut::new(c, m, n)?;
    match form {
        Form::Plain => matmul(&Serial, Mat::new(a, m, k)?, Mat::new(b, k, n)?, Store::Overwrite, c),
        Form::Tn => matmul_tn(&Serial, Mat::new(a, k, m)?, Mat::new(b, k, n)?, Store::Overwrite, c),
        Form::Nt => matmul_nt(&Serial, Mat::new(a, m, k)?, Mat::new(b, n, k)?, Store::Overwrite, c),
    }
}

/// ChaCha8, a kilobyte at a time.
fn words(bench: &Bench, pool: &dyn Pool) -> Result<Timing, Error> {
    let state = || (Noise::new(0, Purpose::Other(2)).rng(0), [0_u8; 1 << 10]);
    side_by_side(bench, pool, WORDS, state, |(rng, bytes)| {
        for _ in 0..WORDS / bytes.len() {
            rng.fill_bytes(bytes);
            std::hint::black_box(&bytes);
        }
    })
}

/// Bytes read and as many written, beyond the caches.
fn copy(bench: &Bench, pool: &dyn Pool) -> Result<Timing, Error> {
    let state = || (vec![1_u8; BYTES], vec![0_u8; BYTES]);
    side_by_side(bench, pool, COPIES * BYTES, state, |(from, to)| {
        for _ in 0..COPIES {
            to.copy_from_slice(std::hint::black_box(from));
            std::hint::black_box(&to);
        }
    })
}

fn exp(bench: &Bench, pool: &dyn Pool) -> Result<Timing, Error> {
    let state = || (normals(SLICE), vec![0.0; SLICE]);
    side_by_side(bench, pool, SLICE * ROUNDS, state, |(x, out)| {
        for _ in 0..ROUNDS {
            kernels::exp(std::hint::black_box(x), out);
        }
        std::hint::black_box(out);
    })
}
