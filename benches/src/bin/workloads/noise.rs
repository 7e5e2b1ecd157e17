//! W5: noise in bulk, on all threads.

use std::sync::{Mutex, PoisonError};

use bdl_benches::Error;
use bdl_benches::timing::Timing;
use bdl_dist::{Noise, Purpose};
use bdl_tensor::{Pool, kernels};

use crate::{Bench, Workload};

const SAMPLES: usize = 1 << 22;
/// Units of a layer, which draws a slot of as many for each of its rows.
const UNITS: usize = 1 << 10;
/// Rows of a task.
const ROWS: usize = 1 << 6;
const TASKS: usize = SAMPLES / UNITS / ROWS;
const KEEP: f64 = 0.9;

pub(crate) fn workloads() -> Vec<Workload> {
    let masks =
        |variant, run: fn(&Bench) -> _| Workload::new("W5a bernoulli masks 4Mi", variant, "samples/s", run);
    vec![
        masks("bits", bits),
        masks("f32", floats),
        Workload::new("W5b standard normals 4Mi", "", "samples/s", normals),
    ]
}

fn timed(bench: &Bench, work: impl FnMut() -> Result<(), Error>) -> Result<Timing, Error> {
    Ok(Timing { seconds: bench.repeat.median(work)?, per: SAMPLES })
}

/// As the layers use them: a bit for each unit.
fn bits(bench: &Bench) -> Result<Timing, Error> {
    let noise = Noise::new(0, Purpose::Train);
    let tasks: Vec<_> = (0..TASKS).map(|_| Mutex::new(vec![0_u64; ROWS * UNITS / 64])).collect();
    timed(bench, || {
        bench.pool.run(TASKS, &|task| {
            let mut words = tasks[task].lock().unwrap_or_else(PoisonError::into_inner);
            noise.mask(0, (task * ROWS) as u64, UNITS, KEEP, &mut words);
        });
        Ok(())
    })
}

/// As numbers, 0 or 1.
fn floats(bench: &Bench) -> Result<Timing, Error> {
    let noise = Noise::new(0, Purpose::Train);
    let (ones, mut out) = ([1.0; UNITS], vec![0.0; SAMPLES]);
    timed(bench, || {
        bench.pool.chunks(&mut out, ROWS * UNITS, &|task, out| {
            let mut words = [0; ROWS * UNITS / 64];
            noise.mask(0, (task * ROWS) as u64, UNITS, KEEP, &mut words);
            for (words, out) in words.chunks_exact(UNITS / 64).zip(out.chunks_exact_mut(UNITS)) {
                kernels::mask_scale(&ones, words, 1.0, out);
            }
        });
        Ok(())
    })
}

fn normals(bench: &Bench) -> Result<Timing, Error> {
    let noise = Noise::new(0, Purpose::Train);
    let mut out = vec![0.0; SAMPLES];
    timed(bench, || {
        bench.pool.chunks(&mut out, ROWS * UNITS, &|task, out| {
            noise.normals(0, (task * ROWS) as u64, UNITS, out);
        });
        Ok(())
    })
}
