//! `reproduce`: published results, run again by the program of that name in `benches/`.

use crate::shell::{Outcome, RAN, cargo, run as run_program};

pub(crate) fn run(args: &[String]) -> Outcome {
    // The gate takes seconds: the profile of the tests does, whose libraries are there already.
    let profile = if args.first().is_some_and(|study| study == "gate") { "dev" } else { "release" };
    let mut reproduce = cargo(["run", "--profile", profile, "-p", "bdl-benches", "--bin", "reproduce", "--"]);
    run_program(reproduce.args(args))?;
    RAN
}
