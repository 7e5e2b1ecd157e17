//! `test`: doctests first, then all other tests, so that the output ends with the latter's summary.

use std::process::Command;

use crate::shell::{Error, Outcome, RAN, cargo, have_nextest, run as run_program};

pub(crate) fn run(args: &[String]) -> Outcome {
    if let Some(flag) = args.iter().find(|a| a.starts_with('-')) {
        return Err(Error::Usage(format!("test takes parts of test names, not `{flag}`")));
    }
    run_program(cargo(["test", "--workspace", "--doc", "--quiet", "--"]).args(args))?;
    run_program(runner().args(args))?;
    RAN
}

/// All tests but doctests; arguments added to it are parts of names, of which a test must have one.
pub(crate) fn runner() -> Command {
    if have_nextest() {
        cargo(["nextest", "run", "--workspace", "--tests"])
    } else {
        cargo(["test", "--workspace", "--tests", "--"])
    }
}
