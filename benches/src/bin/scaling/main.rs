//! `scaling`: how the cost of prediction grows with passes, rows, width and threads. `cargo xtask bench --scaling` calls it.
//!
//! Prints a table with the fitted exponents and draws a picture for each quantity that grows.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a command: it talks to the terminal")]

mod chart;
mod sweep;

use std::path::PathBuf;
use std::process::ExitCode;

use bdl_benches::Error;
use bdl_benches::timing::Repeat;
use clap::Parser;

use sweep::{METHODS, Sweep, sweeps};

/// How the cost of Monte Carlo prediction grows with passes, rows, width and threads
#[derive(Debug, Parser)]
#[command(name = "scaling")]
struct Args {
    /// Folder of the pictures
    #[arg(long, value_name = "DIR", default_value = "docs/performance")]
    out: PathBuf,
    /// Threads, except where their number grows
    #[arg(long, value_name = "N", default_value_t = 2)]
    threads: usize,
    /// Run the smallest two sizes once and draw nothing, to see that it works
    #[arg(long)]
    smoke: bool,
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
    let repeat = if args.smoke { Repeat::ONCE } else { Repeat::MEASURE };
    for mut sweep in sweeps(args.threads) {
        if args.smoke {
            sweep.sizes.truncate(2);
        }
        let lines = METHODS.iter().map(|m| sweep.measure(m, repeat)).collect::<Result<Vec<_>, _>>()?;
        print!("{}", table(&sweep, &lines));
        if !args.smoke {
            std::fs::create_dir_all(&args.out)?;
            chart::draw(&args.out.join(format!("{}.svg", sweep.name)), &sweep, &lines)?;
        }
    }
    Ok(())
}

/// Microseconds for a row-pass at each size, and the exponent of the whole time.
fn table(sweep: &Sweep, lines: &[Vec<f64>]) -> String {
    let mut text = format!("\n{:<18}", sweep.name);
    sweep.sizes.iter().for_each(|size| text += &format!("{size:>10}"));
    text += "  exponent of the whole time\n";
    for (method, times) in METHODS.iter().zip(lines) {
        text += &format!("{:<18}", method.name);
        let per_row_pass = times.iter().zip(&sweep.sizes).map(|(t, s)| t / sweep.row_passes(*s) * 1e6);
        per_row_pass.for_each(|micros| text += &format!("{micros:>10.3}"));
        text += &format!("{:>10.2}\n", sweep::exponent(&sweep.sizes, times));
    }
    text
}
