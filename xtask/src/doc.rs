//! `doc`: the documentation builds without a warning.

use crate::shell::{Outcome, RAN, cargo, no_args, run as run_program};

pub(crate) fn run(args: &[String]) -> Outcome {
    no_args(args)?;
    run_program(cargo(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    RAN
}
