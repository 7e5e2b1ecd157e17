//! The files that the rules look at: what git tracks or would track, or a tree made up for a test.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::manifest::Manifest;
use crate::project;
use crate::shell::{Error, output};

/// Paths relative to the root, with `/`; the text of those that are text.
#[derive(Default)]
pub(super) struct Tree {
    paths: BTreeSet<String>,
    texts: BTreeMap<String, String>,
}

impl Tree {
    /// Tracked files, and new ones that are not ignored.
    pub(super) fn of_repository() -> Result<Self, Error> {
        let root = project::root();
        let mut ls = Command::new("git");
        ls.args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"]).current_dir(root);
        let mut tree = Self::default();
        for path in output(&mut ls)?.split_terminator('\0') {
            // A file that is tracked and deleted is not there to be read.
            let Ok(bytes) = std::fs::read(root.join(path)) else { continue };
            tree.paths.insert(path.to_owned());
            if let Ok(text) = String::from_utf8(bytes) {
                tree.texts.insert(path.to_owned(), text);
            }
        }
        Ok(tree)
    }

    #[cfg(test)]
    pub(super) fn insert(&mut self, path: &str, text: &str) {
        self.paths.insert(path.to_owned());
        self.texts.insert(path.to_owned(), text.to_owned());
    }

    #[cfg(test)]
    pub(super) fn remove(&mut self, path: &str) {
        self.paths.remove(path);
        self.texts.remove(path);
    }

    /// Whether this is a file or a directory of the tree.
    pub(super) fn has(&self, path: &str) -> bool {
        let inside = format!("{path}/");
        path.is_empty() || self.paths.contains(path) || self.paths.iter().any(|p| p.starts_with(&inside))
    }

    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// All text files.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// All text files whose name ends so.
    pub(super) fn texts_with(&self, end: &str) -> impl Iterator<Item = (&str, &str)> {
        self.texts().filter(move |(path, _)| path.ends_with(end))
    }

    /// The crates under `crates/`: directory, name and manifest.
    pub(super) fn crates(&self) -> impl Iterator<Item = (String, String, Manifest)> {
        self.texts_with("/Cargo.toml").filter_map(|(path, text)| {
            let name =
                path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml").filter(|n| !n.contains('/'))?;
            Some((format!("crates/{name}"), name.to_owned(), Manifest::parse(text)))
        })
    }
}
