//! `reproduce`: published results, run again. `cargo xtask reproduce` calls it.
//!
//! `reproduce uci` runs the UCI regression study, `reproduce gate` a small part of it on the set that is shipped;
//! `reproduce mnist` trains on MNIST; `reproduce stream` predicts a long file.
//! Exit code 1: the data or the work failed, or a target is missed; 2: the call is wrong.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a command: it talks to the terminal")]

mod args;
mod gate;
mod mnist;
mod stream;
mod uci;

use std::process::ExitCode;

use bdl_benches::uci::{Error, Summary};
use clap::Parser;

use args::{Args, Command};

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Uci(args) => uci::run(&args),
        Command::Gate(args) => gate::run(&args),
        Command::Mnist(args) => mnist::run(&args),
        Command::Stream(args) => stream::run(&args),
    };
    match done.and_then(|lines| verdict(&lines)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn verdict(lines: &[Summary]) -> Result<(), Error> {
    let missed: Vec<_> = lines.iter().filter(|l| l.passed == Some(false)).collect();
    let missed: Vec<_> = missed.iter().map(|l| format!("{} on {}", l.method, l.set)).collect();
    if missed.is_empty() { Ok(()) } else { Err(format!("targets missed: {}", missed.join(", ")).into()) }
}
