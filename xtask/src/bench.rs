//! `bench`: the benchmarks; `--smoke` runs each once, to see that it still works.

use crate::shell::{Error, Outcome, RAN, cargo, run as run_program};

pub(crate) fn run(args: &[String]) -> Outcome {
    let smoke = args.iter().any(|a| a == "--smoke");
    if let (true, Some(other)) = (smoke, args.iter().find(|a| *a != "--smoke")) {
        return Err(Error::Usage(format!("--smoke stands alone, got `{other}`")));
    }
    let mut bench = cargo(["bench", "-p", "bdl-benches", "--"]);
    run_program(if smoke { bench.arg("--test") } else { bench.args(args) })?;
    RAN
}
