//! A directory to run the command in, and small data.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    /// Standard output of a run that succeeded.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// The one JSON object that it printed.
    pub(crate) fn json(self) -> serde_json::Value {
        let out = self.ok();
        assert_eq!(out.lines().count(), 1, "{out}");
        serde_json::from_str(&out).unwrap()
    }

    /// Asserts failure with this code, nothing on standard output and these words on standard error.
    pub(crate) fn fails(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.out, "", "{self:?}");
        assert!(self.err.starts_with("error: "), "{self:?}");
        assert!(!self.err.contains("panicked"), "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in {self:?}");
        }
    }
}

/// An empty directory in which commands run.
#[derive(Debug)]
pub(crate) struct Dir(TempDir);

impl Dir {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn with(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.path().join(name), text).unwrap();
        self
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8(self.bytes(name)).unwrap()
    }

    /// Names of the files, sorted.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Runs `bdl` with the words of `line`.
    pub(crate) fn bdl(&self, line: &str) -> Run {
        self.run(&line.split_whitespace().collect::<Vec<_>>(), b"")
    }

    /// Runs `bdl` with data on standard input.
    pub(crate) fn run(&self, args: &[&str], input: &[u8]) -> Run {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bdl"))
            .args(args)
            .current_dir(self.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A run that fails early does not read its input.
        let _ = stdin.write_all(input);
        drop(stdin);
        let done = child.wait_with_output().unwrap();
        Run {
            code: done.status.code().unwrap_or(-1),
            out: String::from_utf8(done.stdout).unwrap(),
            err: String::from_utf8(done.stderr).unwrap(),
        }
    }
}

/// Rows `id,x,colour,flat,y` with y real.
pub(crate) fn numbers(rows: usize) -> String {
    let mut text = String::from("id,x,colour,flat,y\n");
    for i in 0..rows {
        let x = (i * 37 % 101) as f64 / 10.0;
        let colour = ["red", "green", "blue"][i % 3];
        let y = 3.0 + 0.5 * x + (i % 3) as f64 + (i * 13 % 7) as f64 / 10.0;
        text += &format!("r{i},{x},{colour},7,{y}\n");
    }
    text
}

/// Rows `a,b,kind` with kind one of so many names.
pub(crate) fn classes(rows: usize, classes: usize) -> String {
    let mut text = String::from("a,b,kind\n");
    for i in 0..rows {
        let class = i % classes;
        let noise = (i * 29 % 17) as f64 / 10.0;
        text +=
            &format!("{},{},{}\n", class as f64 + noise, noise - class as f64, ["no", "yes", "maybe"][class]);
    }
    text
}

/// Rows `x,n` with n a whole number from 0 to 6.
pub(crate) fn counts(rows: usize) -> String {
    let row = |i: usize| format!("{},{}\n", i as f64 / 10.0, i * i % 7);
    (0..rows).map(row).fold("x,n\n".to_owned(), |text, row| text + &row)
}

/// Flags that make training short.
pub(crate) const SHORT: &str = "--epochs 3 --hidden 4 --batch 16";

/// `line` with [`SHORT`] behind it.
pub(crate) fn short(line: &str) -> String {
    format!("{line} {SHORT}")
}
