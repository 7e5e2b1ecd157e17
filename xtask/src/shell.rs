//! Running other programs: their output is inherited, and a failure names the command line.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::project;

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum Error {
    /// The call is wrong: exit code 2.
    Usage(String),
    /// The work failed: exit code 1.
    Failed(String),
}

/// How a command that did not fail ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Ran,
    /// Not run, for the reason given; it has been printed.
    Skipped(String),
}

pub(crate) type Outcome = Result<Done, Error>;

/// The usual end of a command.
pub(crate) const RAN: Outcome = Ok(Done::Ran);

/// An `Error::Failed` from anything that can be printed.
pub(crate) fn failed(message: impl std::fmt::Display) -> Error {
    Error::Failed(message.to_string())
}

/// Refuses arguments, for commands that take none.
pub(crate) fn no_args(args: &[String]) -> Result<(), Error> {
    match args.first() {
        None => Ok(()),
        Some(arg) => Err(Error::Usage(format!("unexpected argument `{arg}`"))),
    }
}

/// Says that a step was skipped, and why.
pub(crate) fn skip(reason: &str) -> Outcome {
    eprintln!("skipped: {reason}");
    Ok(Done::Skipped(reason.to_owned()))
}

/// `cargo` with these arguments, in the root of the repository.
pub(crate) fn cargo<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(project::cargo());
    command.args(args).current_dir(project::root());
    command
}

/// Runs to the end, printing the command line first; fails if the program does.
pub(crate) fn run(command: &mut Command) -> Result<(), Error> {
    let line = show(command);
    eprintln!("$ {line}");
    let status = command.status().map_err(|e| failed(format!("`{line}` did not start: {e}")))?;
    if status.success() { Ok(()) } else { Err(failed(format!("`{line}` failed: {status}"))) }
}

/// What a program prints on standard output.
pub(crate) fn output(command: &mut Command) -> Result<String, Error> {
    let line = show(command);
    let out = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| failed(format!("`{line}` did not start: {e}")))?;
    if !out.status.success() {
        return Err(failed(format!("`{line}` failed: {}", out.status)));
    }
    String::from_utf8(out.stdout).map_err(|e| failed(format!("`{line}`: {e}")))
}

/// Whether this program can be started.
pub(crate) fn have(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// Whether `cargo nextest` is installed.
pub(crate) fn have_nextest() -> bool {
    have(&mut cargo(["nextest", "--version"]))
}

/// Fails unless at least one test matches, since a filter that matches nothing passes silently.
///
/// `select` are cargo's arguments that choose packages and targets.
pub(crate) fn require_tests(select: &[&str], filters: &[&str]) -> Result<(), Error> {
    let mut list = cargo(["test", "--quiet"]);
    list.args(select).arg("--").args(filters).arg("--list");
    if output(&mut list)?.lines().any(|l| l.ends_with(": test")) {
        return Ok(());
    }
    Err(failed(format!("no test has {} in its name", filters.join(" or "))))
}

/// The command line as one would type it.
fn show(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let vars = command
        .get_envs()
        .filter_map(|(k, v)| Some(format!("{}={}", k.to_string_lossy(), quote(&v?.to_string_lossy()))));
    let args = command.get_args().map(|a| quote(&a.to_string_lossy()));
    vars.chain([program.to_string_lossy().into_owned()]).chain(args).collect::<Vec<_>>().join(" ")
}

fn quote(word: &str) -> String {
    if word.contains([' ', '"', '(']) { format!("'{word}'") } else { word.to_owned() }
}

/// A directory that is removed when it goes out of scope.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new(name: &str) -> Result<Self, Error> {
        let path = std::env::temp_dir().join(format!("bdl-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|e| failed(format!("{}: {e}", path.display())))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What is left behind lies in the system's temporary directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_an_error_that_shows_the_command_line() {
        let mut command = cargo(["no-such subcommand"]);
        let Err(Error::Failed(message)) = run(command.stderr(Stdio::null())) else { panic!("it passed") };
        assert!(message.starts_with("`cargo 'no-such subcommand'` failed"), "{message}");
    }

    #[test]
    fn a_temporary_directory_goes_with_its_value() {
        let dir = TempDir::new("drop-test").unwrap();
        let path = dir.path().to_owned();
        assert!(path.is_dir());
        drop(dir);
        assert!(!path.exists());
    }
}
