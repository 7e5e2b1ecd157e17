//! `fmt`: is the code formatted?

use crate::shell::{Outcome, RAN, cargo, no_args, run as run_program};

pub(crate) fn run(args: &[String]) -> Outcome {
    no_args(args)?;
    run_program(&mut cargo(["fmt", "--all", "--check"]))?;
    RAN
}
