//! `package`: would each crate build for a user who has nothing but its published archive?
//!
//! The crates depend on each other and are not published yet: the archives are unpacked side by side outside the
//! repository, under a workspace that patches each crate to its unpacked sibling, and each is checked alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::project::{self, Krate};
use crate::shell::{Error, Outcome, RAN, TempDir, cargo, failed, no_args, run as run_program};

pub(crate) fn run(args: &[String]) -> Outcome {
    no_args(args)?;
    let crates: Vec<Krate> = project::crates()?.into_iter().filter(|k| k.is_published).collect();
    let target = project::target_dir().join("package-check");
    let archives = archive(&crates, &target)?;
    let outside = TempDir::new("package")?;
    unpack(&crates, &archives, outside.path())?;
    write_workspace(&crates, outside.path())?;
    crates.iter().try_for_each(|k| check_alone(k, outside.path(), &target))?;
    RAN
}

/// The directory with an archive of each of these crates.
fn archive(crates: &[Krate], target: &Path) -> Result<PathBuf, Error> {
    let archives = target.join("package");
    if archives.is_dir() {
        // Archives of an earlier run must not stand in for missing ones.
        std::fs::remove_dir_all(&archives).map_err(failed)?;
    }
    let mut package = cargo(["package", "--no-verify", "--allow-dirty", "--target-dir"]);
    package.arg(target);
    for krate in crates {
        package.args(["-p", &krate.name]);
    }
    run_program(&mut package)?;
    Ok(archives)
}

fn unpack(crates: &[Krate], archives: &Path, into: &Path) -> Result<(), Error> {
    let version = version()?;
    for krate in crates {
        let stem = format!("{}-{version}", krate.name);
        let mut tar = Command::new("tar");
        // -m: an archive's dates are years old, and cargo would take what it built last time for fresh.
        tar.arg("-xzmf").arg(archives.join(format!("{stem}.crate"))).arg("-C").arg(into);
        run_program(&mut tar)?;
        std::fs::rename(into.join(&stem), into.join(&krate.name)).map_err(failed)?;
    }
    Ok(())
}

fn version() -> Result<String, Error> {
    let root = project::read(&project::root().join("Cargo.toml"))?;
    let manifest = crate::manifest::Manifest::parse(&root);
    let version = manifest.get("workspace.package", "version");
    version.map(ToOwned::to_owned).ok_or_else(|| failed("Cargo.toml: [workspace.package] has no version"))
}

/// A workspace over the unpacked crates, with the repository's lock file so that nothing else changes.
fn write_workspace(crates: &[Krate], dir: &Path) -> Result<(), Error> {
    let mut text = String::from("[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\n\n[patch.crates-io]\n");
    for krate in crates {
        text += &format!("{0} = {{ path = \"{0}\" }}\n", krate.name);
    }
    std::fs::write(dir.join("Cargo.toml"), text).map_err(failed)?;
    std::fs::copy(project::root().join("Cargo.lock"), dir.join("Cargo.lock")).map_err(failed)?;
    Ok(())
}

/// Libraries with and without default features, programs as they are.
fn check_alone(krate: &Krate, dir: &Path, target: &Path) -> Result<(), Error> {
    let feature_sets: &[&[&str]] = if krate.is_library { &[&[], &["--no-default-features"]] } else { &[&[]] };
    for features in feature_sets {
        let mut check = cargo(["check", "-p", &krate.name, "--target-dir"]);
        run_program(check.arg(target).args(*features).current_dir(dir))?;
    }
    Ok(())
}
