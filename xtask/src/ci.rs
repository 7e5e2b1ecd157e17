//! `ci`: every check, cheapest first, `test` last, so that the output ends with the test runner's own summary.

use std::time::{Duration, Instant};

use crate::run_command;
use crate::shell::{Done, Error, Outcome, TempDir, failed, no_args};

/// What is run before the tests, with its arguments; `DIR` is replaced by a temporary directory.
const STEPS: &[&[&str]] = &[
    &["fmt"],
    &["tidy"],
    &["lint"],
    &["doc"],
    &["memcheck"],
    &["threads"],
    &["examples"],
    &["package"],
    &["bench", "--smoke"],
    &["reproduce", "gate"],
    &["demo", DIR],
];
const DIR: &str = "DIR";

/// A step that passed.
struct Row {
    name: String,
    time: Duration,
    done: Done,
}

pub(crate) fn run(args: &[String]) -> Outcome {
    no_args(args)?;
    let dir = TempDir::new("ci")?;
    let dir = dir.path().to_string_lossy();
    let mut rows = Vec::new();
    for words in STEPS {
        let args: Vec<String> =
            words[1..].iter().map(|w| if *w == DIR { &*dir } else { w }.to_owned()).collect();
        let name = words.join(" ").replace(" DIR", "");
        rows.push(step(words[0], &name, &args).inspect_err(|_| eprint!("{}", table(&rows)))?);
    }
    eprint!("{}", table(&rows));
    step("test", "test", &[]).map(|row| row.done)
}

fn step(command: &str, name: &str, args: &[String]) -> Result<Row, Error> {
    eprintln!("\n=== {name}");
    let start = Instant::now();
    let done = run_command(command, args).map_err(|e| stopped(name, e))?;
    Ok(Row { name: name.to_owned(), time: start.elapsed(), done })
}

fn stopped(name: &str, error: Error) -> Error {
    let (Error::Usage(message) | Error::Failed(message)) = error;
    failed(format!("ci stopped at `{name}`: {message}"))
}

fn table(rows: &[Row]) -> String {
    let mut text = format!("\n{:<16} {:>9}\n", "step", "time");
    for row in rows {
        let note = match &row.done {
            Done::Ran => String::new(),
            Done::Skipped(reason) => format!("  skipped: {reason}"),
        };
        text += &format!("{:<16} {:>7.1} s{note}\n", row.name, row.time.as_secs_f64());
    }
    let total: Duration = rows.iter().map(|r| r.time).sum();
    text + &format!("{:<16} {:>7.1} s\n", "total", total.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_but_golden_and_ci_is_a_step() {
        let steps: Vec<_> = STEPS.iter().map(|s| s[0]).chain(["test"]).collect();
        for command in crate::COMMANDS.iter().filter(|c| !["golden", "ci"].contains(&c.name)) {
            assert!(steps.contains(&command.name), "{} is not in ci", command.name);
        }
        assert_eq!(steps.len() + 2, crate::COMMANDS.len());
    }

    #[test]
    fn the_table_has_a_time_per_step_a_total_and_what_was_skipped() {
        let row = |name: &str, ms, done| Row { name: name.to_owned(), time: Duration::from_millis(ms), done };
        let text =
            table(&[row("fmt", 400, Done::Ran), row("memcheck", 100, Done::Skipped("no tool".to_owned()))]);
        assert_eq!(
            text,
            "\nstep                  time\n\
             fmt                  0.4 s\n\
             memcheck             0.1 s  skipped: no tool\n\
             total                0.5 s\n"
        );
    }

    #[test]
    fn a_failure_names_its_step() {
        let Err(Error::Failed(message)) = step("fmt", "fmt", &["x".to_owned()]) else { panic!("it passed") };
        assert_eq!(message, "ci stopped at `fmt`: unexpected argument `x`");
    }
}
