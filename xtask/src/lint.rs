//! `lint`: clippy over everything, then over each library crate as a user without default features sees it.

use crate::project;
use crate::shell::{Outcome, RAN, cargo, no_args, run as run_program};

pub(crate) fn run(args: &[String]) -> Outcome {
    no_args(args)?;
    run_program(&mut cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    for krate in project::crates()?.iter().filter(|k| k.is_library) {
        let name = krate.name.as_str();
        run_program(&mut cargo([
            "clippy",
            "-p",
            name,
            "--lib",
            "--no-default-features",
            "--",
            "-D",
            "warnings",
        ]))?;
    }
    RAN
}
