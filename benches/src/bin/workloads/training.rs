//! W3 and W4: training with `fit`.

use std::ops::ControlFlow;
use std::time::Instant;

use bdl_benches::Error;
use bdl_benches::network::{Kind, normals, perceptron, uniforms, weights};
use bdl_benches::timing::{Timing, median};
use bdl_infer::{Data, FitConfig, Targets, fit};
use bdl_tensor::Mat;

use crate::{Bench, Workload};

pub(crate) fn workloads() -> Vec<Workload> {
    vec![
        Workload::new("W3 LRT train 784-400-400-10 B128", "local", "rows/s", steady_steps),
        Workload::new("W4 uci-size MC-dropout train N455 d13 h50 B32 E40", "", "rows/s", whole_training),
    ]
}

/// softplus(−5), the standard deviation at which the peers start.
const INIT_SIGMA: f64 = 0.006_715_348;

/// Steps of 128 rows of a mean-field classifier: the time between the reports of two epochs, so that setting up is left out.
fn steady_steps(bench: &Bench) -> Result<Timing, Error> {
    const WIDTH: usize = 784;
    const CLASSES: usize = 10;
    const BATCH: usize = 128;
    const ROWS: usize = 100 * BATCH;
    let bnn = perceptron(&[WIDTH, 400, 400, CLASSES], Kind::MeanField(INIT_SIGMA))?;
    let (mut params, x) = (weights(&bnn), uniforms(ROWS * WIDTH));
    let y: Vec<u32> = uniforms(ROWS).iter().map(|u| (u * CLASSES as f32) as u32).collect();
    let data = Data::new(Mat::new(&x, ROWS, WIDTH)?, Targets::Class(&y))?;
    let (warm_up, runs) = bench.repeat.runs();
    let config = FitConfig { epochs: warm_up + 1 + runs, batch: BATCH, ..FitConfig::default() };
    let (mut last, mut times) = (Instant::now(), Vec::new());
    fit(&bnn, &mut params, data, None, &config, &bench.pool, &mut |_| {
        times.push(last.elapsed().as_secs_f64());
        last = Instant::now();
        ControlFlow::Continue(())
    })?;
    Ok(Timing { seconds: median(&mut times[warm_up + 1..]), per: ROWS })
}

/// A whole training of the size of a UCI regression set, from the initial weights on.
fn whole_training(bench: &Bench) -> Result<Timing, Error> {
    const ROWS: usize = 455;
    const WIDTH: usize = 13;
    const EPOCHS: usize = 40;
    let bnn = perceptron(&[WIDTH, 50, 1], Kind::Dropout(0.05))?;
    let (initial, x, y) = (weights(&bnn), normals(ROWS * WIDTH), normals(ROWS));
    let data = Data::new(Mat::new(&x, ROWS, WIDTH)?, Targets::Real(&y))?;
    let config = FitConfig { epochs: EPOCHS, batch: 32, ..FitConfig::default() };
    let mut params = initial.clone();
    let seconds = bench.repeat.median(|| {
        params.copy_from_slice(&initial);
        fit(&bnn, &mut params, data, None, &config, &bench.pool, &mut |_| ControlFlow::Continue(()))?;
        Ok(())
    })?;
    Ok(Timing { seconds, per: ROWS * EPOCHS })
}
