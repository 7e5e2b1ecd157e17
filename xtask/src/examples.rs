//! `examples`: runs every example of every crate, and the stand-alone workspace `examples/`.
//!
//! An example asserts its own numbers, so running it is its test.

use std::path::Path;

use crate::manifest::Manifest;
use crate::project;
use crate::shell::{Error, Outcome, RAN, cargo, no_args, run as run_program};

pub(crate) fn run(args: &[String]) -> Outcome {
    no_args(args)?;
    for krate in project::crates()? {
        for example in names(&krate.dir.join("examples"))? {
            run_program(&mut cargo(["run", "-p", &krate.name, "--example", &example]))?;
        }
    }
    let alone = project::root().join("examples");
    if alone.join("Cargo.toml").is_file() { stand_alone(&alone) } else { RAN }
}

/// `a.rs` and `b/main.rs` are the examples `a` and `b`.
fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let is_example = |p: &Path| p.extension().is_some_and(|e| e == "rs") || p.join("main.rs").is_file();
    let found = project::entries(dir)?.into_iter().filter(|p| is_example(p));
    Ok(found.filter_map(|p| Some(p.file_stem()?.to_str()?.to_owned())).collect())
}

/// Users of the crates, in a workspace of their own: test all packages, then run each program.
fn stand_alone(dir: &Path) -> Outcome {
    let run_there = |args: &[&str]| {
        run_program(cargo(args).current_dir(dir).env("CARGO_TARGET_DIR", project::target_dir()))
    };
    run_there(&["test", "--workspace"])?;
    for package in project::subdirs(dir)?.iter().map(|d| d.as_path()).chain([dir]) {
        if let Some(name) = program(package)? {
            run_there(&["run", "-p", &name])?;
        }
    }
    RAN
}

/// The package's name, if it is a program.
fn program(dir: &Path) -> Result<Option<String>, Error> {
    if !dir.join("Cargo.toml").is_file() || !dir.join("src/main.rs").is_file() {
        return Ok(None);
    }
    let manifest = Manifest::parse(&project::read(&dir.join("Cargo.toml"))?);
    Ok(manifest.get("package", "name").map(ToOwned::to_owned))
}
