//! Output files: checked before the work starts, written beside their name and renamed at the end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use crate::out::Usage;

/// A file that takes its name only when it is whole; nothing is left behind otherwise.
#[derive(Debug)]
pub(crate) struct OutputFile {
    file: File,
    /// Where it stands until it is whole; none for a device, which is written as it comes.
    beside: Option<PathBuf>,
    path: PathBuf,
}

impl OutputFile {
    /// Opens a file beside `path`, or `path` itself if that is a device or a pipe.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let fail = |e: io::Error| anyhow!("{}: cannot be written: {e}", path.display());
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => {
                return Err(anyhow!("{}: expected a file to write, got a directory", path.display()));
            }
            Ok(meta) if !meta.is_file() => {
                let file = OpenOptions::new().write(true).open(path).map_err(fail)?;
                return Ok(Self { file, beside: None, path: path.to_owned() });
            }
            _ => {}
        }
        if path.file_name().is_none() {
            return Err(anyhow!("{}: expected the name of a file to write", path.display()));
        }
        let (file, beside) = create_beside(path).map_err(fail)?;
        Ok(Self { file, beside: Some(beside), path: path.to_owned() })
    }

    /// Gives the file its name.
    pub(crate) fn finish(mut self) -> Result<()> {
        let fail = || format!("{}: cannot be written", self.path.display());
        let Some(beside) = &self.beside else { return self.file.flush().with_context(fail) };
        self.file.sync_all().with_context(fail)?;
        fs::rename(beside, &self.path).with_context(fail)?;
        self.beside = None;
        Ok(())
    }
}

impl Write for OutputFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            let _ = fs::remove_file(beside);
        }
    }
}

/// Files of earlier runs that are stepped over.
const MAX_LEFT_BEHIND: u32 = 1000;

/// A new file beside `path`. A run that was killed leaves its own behind, and in a container the next run has
/// the same process number.
fn create_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    let mut left_behind = 0;
    loop {
        // Not made of the name, which may be as long as a name can be.
        let beside = path.with_file_name(format!(".bdl-{}-{left_behind}.partial", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&beside) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && left_behind < MAX_LEFT_BEHIND => {
                left_behind += 1;
            }
            opened => return opened.map(|file| (file, beside)),
        }
    }
}

/// Fails now if `path` could not be written later. A file that stands there is not touched.
pub(crate) fn check_writable(path: &Path) -> Result<()> {
    if fs::metadata(path).is_ok_and(|meta| !meta.is_dir() && !meta.is_file()) {
        return Err(anyhow!("{}: expected a file to write, got a device", path.display()));
    }
    OutputFile::create(path).map(drop)
}

/// Refuses to write `out` over one of the inputs, each given with what it is.
pub(crate) fn refuse_input(flag: &str, out: &Path, inputs: &[(&str, &Path)]) -> Result<()> {
    let Ok(whole) = fs::canonicalize(out) else { return Ok(()) };
    for (what, input) in inputs {
        if fs::canonicalize(input).is_ok_and(|input| input == whole) {
            let message = format!("{flag}: {} is {what}; choose another name", out.display());
            return Err(Usage::error(message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_runs_that_were_killed_are_stepped_over() {
        let dir = std::env::temp_dir().join(format!("bdl-left-behind-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("p.csv");
        let [first, second] = [(); 2].map(|()| OutputFile::create(&path).unwrap());
        assert_ne!(first.beside, second.beside);
        drop(first);
        second.finish().unwrap();
        let files: Vec<_> = fs::read_dir(&dir).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(files, ["p.csv"]);
        fs::remove_dir_all(&dir).unwrap();
    }
}
