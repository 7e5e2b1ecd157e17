//! `demo`: the command `bdl`, built and shown.

use std::process::Command;

use crate::project;
use crate::shell::{Outcome, RAN, cargo, run as run_program};

/// Runs in the caller's directory, so that a relative `DIR` means what it says. The profile of the tests is optimized as well, and
/// its libraries may be there already.
pub(crate) fn run(args: &[String]) -> Outcome {
    let target = project::target_dir();
    run_program(cargo(["build", "-p", "bdl-cli", "--target-dir"]).arg(&target))?;
    let bdl = target.join("debug").join("bdl").with_extension(std::env::consts::EXE_EXTENSION);
    run_program(Command::new(bdl).arg("demo").args(args))?;
    RAN
}
