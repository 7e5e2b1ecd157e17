//! `bench`: the workloads as JSON lines, how cost grows, or the kernels' times by criterion; `--smoke` runs each once.

use std::process::Command;

use crate::shell::{Error, Outcome, RAN, cargo, run as run_program};

pub(crate) const HELP: &str = "\
benchmarks: the workloads as JSON lines, or the kernels by criterion (ARGS are its own); --smoke runs each once

  --json [--only TEXT]… [--threads N]   the speed workloads, one JSON line each on standard output
  --json --only gradvar [--data DIR]    the variance of gradients under each estimator, on MNIST if DIR has its files
  --scaling [--threads N] [--out DIR]   how cost grows with passes, rows, width and threads: a table, and SVG pictures
  --smoke                               every workload and every benchmark once, to see that they work";

/// What can be asked for; without any, it is criterion.
const MODES: [&str; 3] = ["--json", "--scaling", "--smoke"];

pub(crate) fn run(args: &[String]) -> Outcome {
    let mode = args.iter().find(|a| MODES.contains(&a.as_str()));
    let rest: Vec<&String> = args.iter().filter(|a| Some(*a) != mode).collect();
    match mode.map(String::as_str) {
        Some("--json") => match without(&rest, ["--only", "gradvar"]) {
            Some(rest) => run_program(program("gradvar", "release").args(rest))?,
            None => run_program(program("workloads", "release").args(rest))?,
        },
        Some("--scaling") => run_program(program("scaling", "release").args(rest))?,
        Some(_) => smoke(&rest)?,
        None => run_program(criterion("bench").args(rest))?,
    }
    RAN
}

/// The arguments without a pair that stands side by side in them.
fn without<'a>(args: &[&'a String], pair: [&str; 2]) -> Option<Vec<&'a String>> {
    let at = args.windows(2).position(|two| two[0] == pair[0] && two[1] == pair[1])?;
    Some([&args[..at], &args[at + 2..]].concat())
}

fn smoke(rest: &[&String]) -> Result<(), Error> {
    if let Some(other) = rest.first() {
        return Err(Error::Usage(format!("--smoke stands alone, got `{other}`")));
    }
    // Times mean nothing here: the profile of the tests, whose libraries are there already.
    run_program(program("workloads", "dev").arg("--smoke"))?;
    run_program(program("scaling", "dev").arg("--smoke"))?;
    run_program(program("gradvar", "dev").arg("--smoke"))?;
    run_program(criterion("dev").arg("--test"))
}

/// A program of `benches/`.
fn program(name: &str, profile: &str) -> Command {
    cargo(["run", "--quiet", "--profile", profile, "-p", "bdl-benches", "--bin", name, "--"])
}

fn criterion(profile: &str) -> Command {
    cargo(["bench", "--profile", profile, "-p", "bdl-benches", "--benches", "--"])
}
