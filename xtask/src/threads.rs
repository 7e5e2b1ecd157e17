//! `threads`: the determinism tests again under a global pool of 1, 2 and 3 threads.

use crate::shell::{Outcome, RAN, no_args, require_tests, run as run_program};
use crate::test::runner;

/// A determinism test has one of these in its name.
const FILTERS: [&str; 2] = ["threads", "bits"];

pub(crate) fn run(args: &[String]) -> Outcome {
    no_args(args)?;
    require_tests(&["--workspace", "--tests"], &FILTERS)?;
    for count in ["1", "2", "3"] {
        run_program(runner().args(FILTERS).env("RAYON_NUM_THREADS", count))?;
    }
    RAN
}
