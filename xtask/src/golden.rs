//! `golden`: the value-stability tests; `--bless` makes those that compare with a file rewrite it.
//!
//! Values that change break a promise to users: CHANGELOG.md lists every such change.

use crate::shell::{Error, Outcome, RAN, cargo, require_tests, run as run_program};

const FILTER: &str = "value_stability";

pub(crate) fn run(args: &[String]) -> Outcome {
    let bless = match args {
        [] => false,
        [flag] if flag == "--bless" => true,
        [first, rest @ ..] => {
            let wrong = if first == "--bless" { &rest[0] } else { first };
            return Err(Error::Usage(format!("unexpected argument `{wrong}`")));
        }
    };
    require_tests(&["--workspace", "--tests"], &[FILTER])?;
    // One thread: several tests may write into one file.
    let mut test =
        cargo(["test", "--workspace", "--tests", "--no-fail-fast", "--", FILTER, "--test-threads=1"]);
    if bless {
        test.env("BDL_BLESS", "1");
    }
    run_program(&mut test)?;
    if bless {
        eprintln!(
            "files rewritten (values within tests are edited by hand): read `git diff`, and list what changed in CHANGELOG.md as value-breaking"
        );
    }
    RAN
}
