//! `reproduce`: published results, run again by the program of that name in `benches/`.

use crate::shell::{Outcome, RAN, cargo, run as run_program};

pub(crate) fn run(args: &[String]) -> Outcome {
    let mut reproduce = cargo(["run", "--release", "-p", "bdl-benches", "--bin", "reproduce", "--"]);
    run_program(reproduce.args(args))?;
    RAN
}
