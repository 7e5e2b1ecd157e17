//! `cargo xtask`: everything a developer does with this repository, one file per command.
//!
//! No dependencies, so that the first command on a fresh clone compiles in a second.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command's output is for the terminal")]

mod bench;
mod ci;
mod demo;
mod doc;
mod examples;
mod fmt;
mod golden;
mod lint;
mod manifest;
mod memcheck;
mod package;
mod project;
mod reproduce;
mod shell;
mod test;
mod threads;
mod tidy;

use std::process::ExitCode;

use shell::{Error, Outcome};

/// A command: its name, its arguments, a line of help, and what it runs.
struct Command {
    name: &'static str,
    args: &'static str,
    help: &'static str,
    run: fn(&[String]) -> Outcome,
}

const COMMANDS: &[Command] = &[
    command("fmt", "", "check the formatting", fmt::run),
    command(
        "tidy",
        "",
        "check the repository's own rules: layers, unsafe, module docs, links, leaks",
        tidy::run,
    ),
    command(
        "lint",
        "",
        "clippy with warnings denied, then each library crate without default features",
        lint::run,
    ),
    command("doc", "", "build the documentation with warnings denied", doc::run),
    command("test", "[FILTER…]", "doctests, then all other tests (cargo nextest if installed)", test::run),
    command("threads", "", "determinism tests with 1, 2 and 3 threads", threads::run),
    command("memcheck", "", "matrix product tests under valgrind, if installed", memcheck::run),
    command("examples", "", "run every example; each asserts its own numbers", examples::run),
    command("package", "", "build each crate from its archive, outside the repository", package::run),
    command("bench", "[--json … | --scaling | --smoke | ARGS…]", bench::HELP, bench::run),
    command("reproduce", "[ARGS…]", "reproduce published results", reproduce::run),
    command("demo", "[ARGS…]", "build the command bdl and run its demo", demo::run),
    command(
        "golden",
        "[--bless]",
        "value-stability tests; --bless rewrites the committed files",
        golden::run,
    ),
    command("ci", "", "all of the above but golden, with a time per step", ci::run),
];

const fn command(
    name: &'static str,
    args: &'static str,
    help: &'static str,
    run: fn(&[String]) -> Outcome,
) -> Command {
    Command { name, args, help, run }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args) {
        Ok(_) => ExitCode::SUCCESS,
        Err(Error::Usage(message)) => {
            eprintln!("xtask: {message}\nsee `cargo xtask --help`");
            ExitCode::from(2)
        }
        Err(Error::Failed(message)) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[String]) -> Outcome {
    let Some((name, rest)) = args.split_first() else {
        return Err(Error::Usage(format!("no command given\n\n{}", help())));
    };
    match name.as_str() {
        "-h" | "--help" | "help" => {
            print!("{}", help());
            shell::RAN
        }
        flag if flag.starts_with('-') => Err(Error::Usage(format!("unknown flag `{flag}`"))),
        name => run_command(name, rest),
    }
}

/// Runs the command called `name`, for `main` and for `ci`.
fn run_command(name: &str, rest: &[String]) -> Outcome {
    let Some(command) = COMMANDS.iter().find(|c| c.name == name) else {
        return Err(Error::Usage(format!("unknown command `{name}`")));
    };
    if matches!(rest, [only] if only == "-h" || only == "--help") {
        println!("cargo xtask {} {}\n\n{}", command.name, command.args, command.help);
        return shell::RAN;
    }
    (command.run)(rest)
}

fn help() -> String {
    let mut text = String::from("Usage: cargo xtask COMMAND\n\nCommands:\n");
    for c in COMMANDS {
        let call = format!("{} {}", c.name, c.args);
        text += &format!("  {call:<24} {}\n", c.help.lines().next().unwrap_or_default());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(args: &[&str]) -> Outcome {
        dispatch(&args.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn help_lists_every_command_on_a_line_of_its_own() {
        let text = help();
        for c in COMMANDS {
            assert_eq!(
                text.lines().filter(|l| l.trim_start().starts_with(&format!("{} ", c.name))).count(),
                1
            );
        }
    }

    #[test]
    fn unknown_commands_and_flags_are_usage_errors_that_name_them() {
        for (args, named) in [
            (&["frobnicate"][..], "`frobnicate`"),
            (&["--fast"], "`--fast`"),
            (&["fmt", "--fix"], "`--fix`"),
            (&["golden", "--curse"], "`--curse`"),
            (&["bench", "--smoke", "x"], "`x`"),
            (&[], "no command"),
        ] {
            let Err(Error::Usage(message)) = call(args) else { panic!("{args:?} was accepted") };
            assert!(message.contains(named), "{args:?}: {message}");
        }
    }
}
