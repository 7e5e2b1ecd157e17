//! `workloads`: how fast training, prediction and noise are. `cargo xtask bench --json` calls it.
//!
//! Exit code 1: the work failed; 2: the call is wrong.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a command: it talks to the terminal")]

mod args;
mod ceiling;
mod noise;
mod prediction;
mod training;

use std::process::ExitCode;

use bdl_benches::Error;
use bdl_benches::timing::{Line, Repeat, Timing};
use bdl_infer::RayonPool;
use clap::Parser;

use args::Args;

/// What every workload is given.
struct Bench {
    pool: RayonPool,
    repeat: Repeat,
}

type Run = dyn Fn(&Bench) -> Result<Timing, Error>;

/// A workload in one of its variants.
struct Workload {
    name: String,
    variant: String,
    unit: &'static str,
    run: Box<Run>,
}

impl Workload {
    fn new(
        name: &str,
        variant: &str,
        unit: &'static str,
        run: impl Fn(&Bench) -> Result<Timing, Error> + 'static,
    ) -> Self {
        Self { name: name.to_owned(), variant: variant.to_owned(), unit, run: Box::new(run) }
    }
}

fn all() -> Vec<Workload> {
    let mut all = prediction::workloads();
    all.extend(training::workloads());
    all.extend(noise::workloads());
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all.extend(ceiling::workloads());
    all
}

fn main() -> ExitCode {
    let (args, all) = (Args::parse(), all());
    if let Some(unknown) = args.only.iter().find(|o| !all.iter().any(|w| w.name.contains(o.as_str()))) {
        eprintln!("error: no workload has `{unknown}` in its name; there are\n{}", names(&all));
        return ExitCode::from(2);
    }
    match run(&args, &all) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn names(all: &[Workload]) -> String {
    let mut names: Vec<_> = all.iter().map(|w| format!("  {}", w.name)).collect();
    names.dedup();
    names.join("\n")
}

fn run(args: &Args, all: &[Workload]) -> Result<(), Error> {
    let repeat = if args.smoke { Repeat::ONCE } else { Repeat::MEASURE };
    let bench = Bench { pool: RayonPool::new(args.threads)?, repeat };
    for workload in all.iter().filter(|w| args.wants(&w.name)) {
        let Workload { name, variant, unit, .. } = workload;
        let timing = (workload.run)(&bench).map_err(|e| format!("{name}, {variant}: {e}"))?;
        println!("{}", serde_json::to_string(&Line::new(name, variant, unit, timing))?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_of_the_peers_is_there_and_no_line_twice() {
        let all = all();
        for first in ["W1", "W2a", "W2b", "W2c", "W3", "W4", "W5a", "W5b", "W6", "ceiling"] {
            assert!(all.iter().any(|w| w.name.split(' ').next() == Some(first)), "{first}");
        }
        let mut lines: Vec<_> = all.iter().map(|w| (&w.name, &w.variant)).collect();
        lines.sort();
        lines.dedup();
        assert_eq!(lines.len(), all.len());
    }
}
