//! `memcheck`: the tests of the matrix products under valgrind, since reading past a buffer passes plain tests.
//!
//! Valgrind's processor has AVX2 and FMA but no AVX-512 and says so in CPUID, so kernels chosen at run time are
//! the AVX2 ones. It is some fifty times slower: hence only these tests, with few random cases.

use std::process::Command;

use crate::shell::{Outcome, RAN, cargo, have, no_args, require_tests, run as run_program, skip};

/// The modules around `unsafe` and their door: tests of them have one of these in their path.
const FILTERS: [&str; 4] = ["gemm", "dispatch", "few_rows", "matmul"];
const SELECT: [&str; 3] = ["--package", "bdl-tensor", "--tests"];
const RUNNER: &str = r#"target."cfg(all())".runner = ["valgrind", "--quiet", "--error-exitcode=9"]"#;

pub(crate) fn run(args: &[String]) -> Outcome {
    no_args(args)?;
    if !have(Command::new("valgrind").arg("--version")) {
        return skip("valgrind is not installed");
    }
    require_tests(&SELECT, &FILTERS)?;
    let mut test = cargo(["--config", RUNNER, "test"]);
    test.args(SELECT).arg("--").args(FILTERS).env("PROPTEST_CASES", "4");
    run_program(&mut test)?;
    RAN
}
