//! A service that loads a trained model once and answers from several threads, each row by named values.
//!
//! ```sh
//! cargo run --release -p bdl-model --example service
//! ```

#![allow(clippy::print_stdout, reason = "an example")]

use std::io::Cursor;
use std::ops::ControlFlow;
use std::time::Instant;

use allocation_counter::measure;
use bdl_infer::{Passes, RayonPool};
use bdl_model::{Method, Model, ModelPredictor, Prediction, RealPrediction, RowReader, Table, TrainConfig};

type Failure = Box<dyn std::error::Error>;

/// Features of the model; the network is 13-50-1.
const FEATURES: usize = 13;
const CALLS: usize = 2000;

fn main() -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    for method in [Method::McDropout, Method::MeanField] {
        let path = dir.path().join(format!("{}.bdl", method.name()));
        train(method)?.save(&path)?;
        serve(&Model::load(&path)?)?;
    }
    Ok(())
}

/// Trains on `y = x0 − 2·x1 + a pattern`.
fn train(method: Method) -> Result<Model, Failure> {
    let names: Vec<String> = (0..FEATURES).map(|i| format!("x{i}")).collect();
    let mut text = format!("{},y\n", names.join(","));
    for row in 0..200 {
        let x: Vec<f64> =
            (0..FEATURES).map(|i| f64::from((row * (2 * i as u32 + 3) + 7) % 101) / 50.0).collect();
        let cells: Vec<String> = x.iter().map(f64::to_string).collect();
        text += &format!("{},{}\n", cells.join(","), x[0] - 2.0 * x[1] + 0.1 * f64::from(row % 5));
    }
    let table = Table::from_reader(RowReader::from_reader("example.csv", Cursor::new(text), None)?)?;
    let mut config = TrainConfig::for_target("y");
    config.architecture.method = method;
    config.fit.epochs = 40;
    config.fit.lr = 1e-2;
    Ok(Model::train(&table, &config, &RayonPool::new(0)?, &mut |_| ControlFlow::Continue(()))?.model)
}

/// Answers from two threads that share the model; what changes is each thread's own scratch.
fn serve(model: &Model) -> Result<(), Failure> {
    let predictor = model.predictor(Passes { samples: 100, ..model.passes() })?;
    let (first, second) = std::thread::scope(|scope| {
        let other = scope.spawn(|| client(&predictor).map_err(|e| e.to_string()));
        (client(&predictor).map_err(|e| e.to_string()), other.join())
    });
    let (first, second) = (first?, second.map_err(|_| "a client panicked")??);
    assert_eq!(first, second, "the same row has the same answer in any thread");
    assert!(first.lower < first.mean && first.mean < first.upper);
    assert!((first.mean - 1.0).abs() < 1.5, "the mean of y at the mean of x is near {}", first.mean);

    let (micros, allocations) = latency(&predictor)?;
    assert_eq!(allocations, 0, "a steady call allocates nothing");
    println!(
        "{:11} {FEATURES}-50-1, S = {}: {:.3} ± {:.3} (epistemic {:.3}), median of {CALLS} calls {micros:.1} µs, \
         {allocations} allocations",
        model.method().name(),
        predictor.samples(),
        first.mean,
        first.std,
        first.epistemic_std,
    );
    Ok(())
}

/// One row, from named values.
fn client(predictor: &ModelPredictor<'_>) -> Result<RealPrediction, Failure> {
    let mut scratch = predictor.scratch();
    for i in 0..FEATURES {
        scratch.row.set_number(i, 1.0)?;
    }
    scratch.row.set_number("x0", 1.5)?;
    scratch.row.set_text("x1", "0.25")?;
    match predictor.predict_row(&mut scratch, 0.9)? {
        Prediction::Real(p) => Ok(p),
        other => Err(format!("a number was expected, got {other:?}").into()),
    }
}

/// Median time of a call in microseconds, and the allocations of one.
fn latency(predictor: &ModelPredictor<'_>) -> Result<(f64, u64), Failure> {
    let mut scratch = predictor.scratch();
    for i in 0..FEATURES {
        scratch.row.set_number(i, 1.0)?;
    }
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let start = Instant::now();
        scratch.row.set_number("x0", 0.5)?;
        predictor.predict_row(&mut scratch, 0.9)?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    let mut called = Ok(());
    let counted = measure(|| called = predictor.predict_row(&mut scratch, 0.9).map(drop));
    called?;
    times.sort_by(f64::total_cmp);
    Ok((times[CALLS / 2], counted.count_total))
}
