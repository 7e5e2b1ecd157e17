//! The command `bdl`: train, predict, evaluate, inspect and prune Bayesian neural networks.
//!
//! One file per subcommand; everything else a library user would want is in `bdl-model`.

#![forbid(unsafe_code)]

mod args;
mod completions;
mod config;
mod demo;
mod evaluate;
mod explain;
mod export;
mod images;
mod inspect;
mod layers;
mod out;
mod output_file;
mod predict;
mod prior_predictive;
mod progress;
mod prune;
mod train;
mod train_args;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use out::Usage;

fn main() -> ExitCode {
    match config::arguments(std::env::args_os().collect()) {
        Ok(arguments) => match Cli::try_parse_from(arguments.all) {
            Ok(cli) => exit(run(&cli.command)),
            Err(e) => refuse(&e, arguments.config.as_deref()),
        },
        Err(e) => exit(Err(e)),
    }
}

fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Train(args) => train::run(args).map(|_| ()),
        Command::Predict(args) => predict::run(args),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Prune(args) => prune::run(args),
        Command::Export(args) => export::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Completions(args) => completions::run(args),
    }
}

/// What clap has to say: help and version to standard output, errors to standard error.
fn refuse(e: &clap::Error, config: Option<&str>) -> ExitCode {
    let shown = e.print();
    if e.use_stderr()
        && let Some(file) = config
    {
        out::notice(format_args!("note: the flags include those of {file}"));
    }
    match (shown, e.exit_code()) {
        (Ok(()), 0) => ExitCode::SUCCESS,
        (Ok(()), _) => ExitCode::from(2),
        (Err(_), _) => ExitCode::FAILURE,
    }
}

fn exit(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has seen enough: `bdl predict … | head`.
        Err(e) if out::is_broken_pipe(&e) => ExitCode::SUCCESS,
        Err(e) => {
            out::error(&e);
            ExitCode::from(if is_wrong_call(&e) { 2 } else { 1 })
        }
    }
}

/// Whether a flag is to blame, and neither the data nor the model.
fn is_wrong_call(e: &anyhow::Error) -> bool {
    let of_a_flag =
        |e: &bdl_model::Error| matches!(e, bdl_model::Error::Argument { .. } | bdl_model::Error::Net { .. });
    e.is::<Usage>() || e.downcast_ref().is_some_and(of_a_flag)
}
