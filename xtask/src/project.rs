//! Where things are: the repository, the build directory, the member crates.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::manifest::Manifest;
use crate::shell::{Error, failed};

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The cargo that runs us.
pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into())
}

/// The build directory, absolute; commands that look into it also pass it on as `--target-dir`.
pub(crate) fn target_dir() -> PathBuf {
    let dir = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    std::path::absolute(&dir).unwrap_or(dir)
}

/// A crate under `crates/`.
pub(crate) struct Krate {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) is_library: bool,
    pub(crate) is_published: bool,
}

/// All crates under `crates/`, by name.
pub(crate) fn crates() -> Result<Vec<Krate>, Error> {
    subdirs(&root().join("crates"))?
        .into_iter()
        .filter(|d| d.join("Cargo.toml").is_file())
        .map(krate)
        .collect()
}

fn krate(dir: PathBuf) -> Result<Krate, Error> {
    let manifest = Manifest::parse(&read(&dir.join("Cargo.toml"))?);
    let name =
        manifest.get("package", "name").ok_or_else(|| failed(format!("{}: no name", dir.display())))?;
    Ok(Krate {
        name: name.to_owned(),
        is_library: dir.join("src/lib.rs").is_file(),
        is_published: manifest.is_published(),
        dir,
    })
}

/// The directories in `dir`, sorted.
pub(crate) fn subdirs(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    Ok(entries(dir)?.into_iter().filter(|p| p.is_dir()).collect())
}

/// What is in `dir`, sorted; nothing if there is no such directory.
pub(crate) fn entries(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let at = |e| failed(format!("{}: {e}", dir.display()));
    let mut found = std::fs::read_dir(dir)
        .map_err(at)?
        .map(|e| Ok(e.map_err(at)?.path()))
        .collect::<Result<Vec<_>, _>>()?;
    found.sort();
    Ok(found)
}

pub(crate) fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|e| failed(format!("{}: {e}", path.display())))
}
