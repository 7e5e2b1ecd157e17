//! Rules about Rust source files.

use super::Fault;
use super::code::{code_only, has_word};
use super::tree::Tree;

/// The two doors behind which `unsafe` lives.
const UNSAFE_DOORS: [&str; 2] = ["crates/bdl-tensor/src/gemm.rs", "crates/bdl-tensor/src/dispatch.rs"];

/// Generators with hidden entropy: with them a result cannot be drawn again.
const HIDDEN_GENERATORS: [&str; 3] = ["thread_rng", "rand::rng(", "from_os_rng"];

const LEFTOVERS: [&str; 3] = ["todo!", "unimplemented!", "dbg!"];

/// Source files that need no module docs, by name: such a file is one enum, which has docs of its own.
const WITHOUT_DOCS: [&str; 1] = ["error.rs"];

pub(super) fn unsafe_stays_behind_its_doors(tree: &Tree) -> Vec<Fault> {
    let mut faults =
        words(tree, &["unsafe"], "is allowed only behind bdl-tensor's two doors, gemm.rs and dispatch.rs");
    faults.retain(|f| !UNSAFE_DOORS.contains(&f.path.as_str()));
    faults
}

pub(super) fn no_hidden_generator(tree: &Tree) -> Vec<Fault> {
    words(tree, &HIDDEN_GENERATORS, "is a hidden generator: take a noise handle or an rng as an argument")
}

pub(super) fn no_leftovers(tree: &Tree) -> Vec<Fault> {
    words(tree, &LEFTOVERS, "is a leftover")
}

/// A fault for each line of code that has one of these words.
fn words(tree: &Tree, words: &[&str], why: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (path, source) in tree.texts_with(".rs").filter(|(_, s)| words.iter().any(|w| s.contains(w))) {
        for (i, line) in code_only(source).lines().enumerate() {
            let found = words.iter().filter(|w| has_word(line, w));
            faults.extend(found.map(|w| Fault::new(path, i + 1, format!("`{w}` {why}"))));
        }
    }
    faults
}

/// The compiler then holds the line above for all crates but one.
pub(super) fn roots_forbid_unsafe(tree: &Tree) -> Vec<Fault> {
    let is_root = |path: &str| {
        let of_crate = path.strip_prefix("crates/").and_then(|p| p.split_once('/'));
        path == "xtask/src/main.rs"
            || of_crate.is_some_and(|(name, file)| {
                name != "bdl-tensor" && ["src/lib.rs", "src/main.rs"].contains(&file)
            })
    };
    let forbids = |source: &str| source.lines().any(|l| l == "#![forbid(unsafe_code)]");
    tree.texts_with(".rs")
        .filter(|(path, source)| is_root(path) && !forbids(source))
        .map(|(path, _)| Fault::new(path, 1, "a crate's root says #![forbid(unsafe_code)]"))
        .collect()
}

pub(super) fn modules_have_docs(tree: &Tree) -> Vec<Fault> {
    let has_docs = |source: &str| source.starts_with("//!") || source.starts_with("#![doc = include_str!(");
    let is_exempt = |path: &str| path.rsplit('/').next().is_some_and(|name| WITHOUT_DOCS.contains(&name));
    tree.texts_with(".rs")
        .filter(|(path, source)| !has_docs(source) && !is_exempt(path))
        .map(|(path, _)| Fault::new(path, 1, "a source file begins with `//!` module docs"))
        .collect()
}
