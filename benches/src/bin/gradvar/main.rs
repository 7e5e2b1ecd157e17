//! `gradvar`: the variance of gradients under each estimator. `cargo xtask bench --json --only gradvar` calls it.
//!
//! Exit code 1: the work failed; 2: the call is wrong.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a command: it talks to the terminal")]

mod line;

use std::path::PathBuf;
use std::process::ExitCode;

use bdl_benches::Error;
use bdl_benches::gradvar::{CLASSES, PIXELS, Rows, patterns, seconds_per_step, traces, train};
use bdl_benches::network::{Kind, perceptron, weights};
use bdl_benches::timing::Repeat;
use bdl_infer::{Bnn, RayonPool};
use bdl_layers::Estimator;
use clap::Parser;

use line::{Line, Setting};

/// The variance of gradients under each estimator on one fixed minibatch, before and after training, as JSON lines
#[derive(Debug, Parser)]
#[command(name = "gradvar")]
struct Args {
    /// Folder of the MNIST files; without it, synthetic classes of 8×8 patterns
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Rows of the minibatch, the first of the training rows
    #[arg(long, value_name = "N", default_value_t = 1000)]
    batch: usize,
    /// Pairs of gradients behind each number
    #[arg(long, value_name = "N", default_value_t = 200)]
    pairs: usize,
    /// Epochs of training between the measurements
    #[arg(long, value_name = "N", default_value_t = 10)]
    epochs: usize,
    /// Threads; 0 for as many as the machine has cores
    #[arg(long, value_name = "N", default_value_t = 2)]
    threads: usize,
    /// Two pairs on few rows and one epoch, to see that it works
    #[arg(long, conflicts_with_all = ["data", "batch", "pairs", "epochs"])]
    smoke: bool,
}

/// Estimators as they are called, the one that the others are compared with last.
const ESTIMATORS: [(&str, Estimator); 3] =
    [("sampling", Estimator::Sampling), ("flipout", Estimator::Flipout), ("local", Estimator::Local)];

/// softplus(−5), the standard deviation at which the peers of W3 start.
const INIT_SIGMA: f64 = 0.006_715_348;

/// A network and its training rows.
struct Study {
    data: &'static str,
    widths: &'static [usize],
    rows: Rows,
}

impl Study {
    fn of(args: &Args) -> Result<Self, Error> {
        if let Some(folder) = &args.data {
            let rows = Rows::images(folder)?;
            return Ok(Self { data: "MNIST", widths: &[784, 400, 400, 10], rows });
        }
        let rows = patterns(if args.smoke { 200 } else { 10_000 });
        Ok(Self { data: "synthetic 8x8", widths: &[PIXELS, 100, 100, CLASSES], rows })
    }

    fn network(&self) -> String {
        self.widths.iter().map(usize::to_string).collect::<Vec<_>>().join("-")
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Error> {
    let (study, pool) = (Study::of(args)?, RayonPool::new(args.threads)?);
    let bnn = perceptron(study.widths, Kind::MeanField(INIT_SIGMA))?;
    let mut params = weights(&bnn);
    measure(args, &study, &bnn, &params, 0, &pool)?;
    let epochs = if args.smoke { 1 } else { args.epochs };
    train(&bnn, &mut params, &study.rows, epochs, &pool)?;
    measure(args, &study, &bnn, &params, epochs, &pool)
}

/// Prints a line for each estimator and each layer's parameters.
fn measure(
    args: &Args,
    study: &Study,
    bnn: &Bnn,
    params: &[f32],
    epochs: usize,
    pool: &RayonPool,
) -> Result<(), Error> {
    let batch = study.rows.first(args.batch)?;
    let (repeat, pairs) = if args.smoke { (Repeat::ONCE, 2) } else { (Repeat::MEASURE, args.pairs) };
    let of = |(name, estimator)| -> Result<_, Error> {
        let seconds_per_step = seconds_per_step(bnn, params, &study.rows, estimator, repeat, pool)?;
        let traces = traces(bnn, params, (batch.x(), batch.y()), estimator, pairs, pool)?;
        Ok((name, seconds_per_step, traces))
    };
    let all = ESTIMATORS.into_iter().map(of).collect::<Result<Vec<_>, _>>()?;
    let (data, network, batch) = (study.data, study.network(), batch.rows());
    let setting = Setting { workload: "gradvar", data, network, batch, pairs, epochs };
    for (estimator, seconds_per_step, traces) in &all {
        for (trace, local) in traces.iter().zip(&all[ESTIMATORS.len() - 1].2) {
            let line = Line::new(&setting, (estimator, *seconds_per_step), trace, local);
            println!("{}", serde_json::to_string(&line)?);
        }
    }
    Ok(())
}
