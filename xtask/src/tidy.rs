//! `tidy`: the repository's own rules, which no compiler knows. Each fault is reported as `file:line: message`.

mod code;
mod layers;
mod source;
mod text;
mod tree;

use std::fmt;

use crate::shell::{Outcome, RAN, failed, no_args};
use tree::Tree;

/// A broken rule and where.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fault {
    path: String,
    line: usize,
    message: String,
}

impl Fault {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// All rules; each looks at the whole tree.
const RULES: &[fn(&Tree) -> Vec<Fault>] = &[
    layers::dependencies_point_left,
    layers::some_dependencies_have_one_home,
    layers::xtask_has_no_dependencies,
    source::unsafe_stays_behind_its_doors,
    source::roots_forbid_unsafe,
    source::no_hidden_generator,
    source::no_leftovers,
    source::modules_have_docs,
    text::architecture_names_every_crate,
    text::changelog_has_the_version,
    text::libraries_have_readme_and_example,
    text::no_machine_paths_or_registry_hosts,
    text::no_conflict_markers,
    text::links_lead_somewhere,
];

pub(crate) fn run(args: &[String]) -> Outcome {
    no_args(args)?;
    let faults = faults(&Tree::of_repository()?);
    faults.iter().for_each(|fault| eprintln!("{fault}"));
    if faults.is_empty() { RAN } else { Err(failed(format!("tidy found {} fault(s)", faults.len()))) }
}

fn faults(tree: &Tree) -> Vec<Fault> {
    let mut found: Vec<Fault> = RULES.iter().flat_map(|rule| rule(tree)).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small repository without a fault.
    fn clean() -> Tree {
        let mut tree = Tree::default();
        for (path, text) in [
            ("Cargo.toml", "[workspace.package]\nversion = \"0.1.0\"\n"),
            ("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n\n## [0.1.0] - unreleased\n\n## [0.0.1]\n"),
            (
                "docs/architecture.md",
                "`bdl-tensor` `bdl-dist` `bdl-testkit`, [the list](../CHANGELOG.md#top)\n",
            ),
            ("xtask/Cargo.toml", "[package]\nname = \"xtask\"\n"),
            ("xtask/src/main.rs", "//! Commands.\n#![forbid(unsafe_code)]\nfn main() {}\n"),
            (
                "crates/bdl-tensor/Cargo.toml",
                "[package]\nname = \"bdl-tensor\"\n[dependencies]\nmatrixmultiply = \"0.3\"\n",
            ),
            ("crates/bdl-tensor/README.md", "Tensors.\n"),
            ("crates/bdl-tensor/src/lib.rs", "//! Tensors.\n"),
            ("crates/bdl-tensor/src/gemm.rs", "//! Products.\nfn f() { unsafe {} }\n"),
            ("crates/bdl-tensor/examples/a.rs", "//! An example.\n"),
            (
                "crates/bdl-dist/Cargo.toml",
                "[package]\nname = \"bdl-dist\"\n[dependencies]\nbdl-tensor = \"0.1\"\n[dev-dependencies]\nbdl-testkit = \"0.1\"\n",
            ),
            ("crates/bdl-dist/README.md", "Noise, see [tensor](../bdl-tensor) and `[this](is code)`.\n"),
            (
                "crates/bdl-dist/src/lib.rs",
                "//! Noise; not unsafe, no dbg!\n#![forbid(unsafe_code)]\nconst S: &str = \"todo!()\";\n",
            ),
            ("crates/bdl-dist/examples/a.rs", "//! An example.\n"),
            ("crates/bdl-testkit/Cargo.toml", "[package]\nname = \"bdl-testkit\"\npublish = false\n"),
            ("crates/bdl-testkit/README.md", "Oracles.\n"),
            ("crates/bdl-testkit/src/lib.rs", "//! Oracles.\n#![forbid(unsafe_code)]\n"),
        ] {
            tree.insert(path, text);
        }
        tree
    }

    /// Adds `text` to a file of the clean tree and expects exactly one fault: at `line`, with `says`.
    fn planted(path: &str, text: &str, line: usize, says: &str) {
        let mut tree = clean();
        let old = tree.text(path).unwrap_or_default().to_owned();
        tree.insert(path, &(old + text));
        expect_one(&tree, path, line, says);
    }

    /// Replaces `old` by `new` in a file of the clean tree and expects exactly one fault.
    fn replaced(path: &str, (old, new): (&str, &str), line: usize, says: &str) {
        let mut tree = clean();
        let text = tree.text(path).unwrap().to_owned();
        assert!(text.contains(old));
        tree.insert(path, &text.replace(old, new));
        expect_one(&tree, path, line, says);
    }

    fn expect_one(tree: &Tree, path: &str, line: usize, says: &str) {
        let found = faults(tree);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].path.as_str(), found[0].line), (path, line), "{found:?}");
        assert!(found[0].message.contains(says), "{found:?}");
    }

    #[test]
    fn a_clean_tree_has_no_fault() {
        assert_eq!(faults(&clean()), []);
    }

    #[test]
    fn a_dependency_to_the_right_is_a_fault_of_any_kind() {
        let tensor = "crates/bdl-tensor/Cargo.toml";
        planted(tensor, "bdl-dist.workspace = true\n", 5, "bdl-tensor may not use bdl-dist");
        planted(tensor, "[dev-dependencies]\nbdl-dist = \"0.1\"\n", 6, "bdl-tensor may not use bdl-dist");
        planted(
            tensor,
            "[build-dependencies.bdl-dist]\npath = \"x\"\n",
            5,
            "bdl-tensor may not use bdl-dist",
        );
        planted(tensor, "x = { package = \"bdl-dist\" }\n", 5, "bdl-tensor may not use bdl-dist");
    }

    #[test]
    fn testkit_is_for_tests_and_knows_none_of_us() {
        let testkit = "crates/bdl-testkit/Cargo.toml";
        planted("crates/bdl-tensor/Cargo.toml", "bdl-testkit = \"0.1\"\n", 5, "only as a dev-dependency");
        planted(testkit, "[dependencies]\nbdl-tensor = \"0.1\"\n", 5, "bdl-testkit may not use bdl-tensor");
    }

    #[test]
    fn metrics_use_only_tensors() {
        let mut tree = clean();
        let path = "crates/bdl-metrics/Cargo.toml";
        tree.insert(
            path,
            "[package]\nname = \"bdl-metrics\"\n[dependencies]\nbdl-tensor = \"1\"\nbdl-dist = \"1\"\n",
        );
        tree.insert("docs/architecture.md", "`bdl-tensor` `bdl-dist` `bdl-testkit` `bdl-metrics`\n");
        expect_one(&tree, path, 5, "bdl-metrics may not use bdl-dist");
    }

    #[test]
    fn a_crate_outside_the_matrix_is_a_fault() {
        let mut tree = clean();
        tree.insert("crates/bdl-new/Cargo.toml", "[package]\nname = \"bdl-new\"\n");
        tree.insert("docs/architecture.md", "`bdl-tensor` `bdl-dist` `bdl-testkit` `bdl-new`\n");
        expect_one(&tree, "crates/bdl-new/Cargo.toml", 1, "not in the layer matrix");
    }

    #[test]
    fn matrixmultiply_rayon_and_rand_have_their_homes() {
        let dist = "crates/bdl-dist/Cargo.toml";
        planted(dist, "matrixmultiply = \"0.3\"\n", 7, "matrixmultiply");
        planted(dist, "rayon.workspace = true\n", 7, "rayon");
        planted("crates/bdl-tensor/Cargo.toml", "rand = \"0.10\"\n", 5, "rand");
    }

    #[test]
    fn xtask_depends_on_nothing() {
        planted("xtask/Cargo.toml", "[dependencies]\nanyhow = \"1\"\n", 4, "anyhow");
    }

    #[test]
    fn unsafe_elsewhere_is_a_fault() {
        planted("crates/bdl-tensor/src/lib.rs", "unsafe fn f() {}\n", 2, "unsafe");
        planted("crates/bdl-tensor/examples/a.rs", "fn main() { /* why */ unsafe { g() } }\n", 2, "unsafe");
    }

    #[test]
    fn a_root_that_does_not_forbid_unsafe_is_a_fault() {
        let forbid = ("#![forbid(unsafe_code)]", "");
        replaced("crates/bdl-dist/src/lib.rs", forbid, 1, "forbid(unsafe_code)");
        replaced("crates/bdl-testkit/src/lib.rs", forbid, 1, "forbid(unsafe_code)");
        replaced("xtask/src/main.rs", forbid, 1, "forbid(unsafe_code)");
    }

    #[test]
    fn a_hidden_generator_is_a_fault() {
        planted("crates/bdl-dist/src/lib.rs", "fn f() { g(&mut rand::rng()) }\n", 4, "rand::rng(");
        planted("crates/bdl-dist/examples/a.rs", "use rand::thread_rng;\n", 2, "thread_rng");
    }

    #[test]
    fn leftovers_are_faults() {
        for what in ["todo!", "unimplemented!", "dbg!"] {
            planted("crates/bdl-dist/src/lib.rs", &format!("fn f() {{ {what}(1) }}\n"), 4, what);
        }
    }

    #[test]
    fn a_file_without_module_docs_is_a_fault() {
        let mut tree = clean();
        tree.insert("crates/bdl-dist/src/normal.rs", "/// Not of the module.\nfn f() {}\n");
        expect_one(&tree, "crates/bdl-dist/src/normal.rs", 1, "module docs");
    }

    #[test]
    fn a_crate_that_architecture_does_not_name_is_a_fault() {
        replaced("docs/architecture.md", ("`bdl-dist`", "dist"), 1, "bdl-dist");
    }

    #[test]
    fn a_changelog_of_another_version_is_a_fault() {
        replaced("CHANGELOG.md", ("[0.1.0]", "[0.2.0]"), 5, "0.2.0");
    }

    #[test]
    fn a_library_without_readme_or_example_is_a_fault() {
        for (missing, says) in
            [("crates/bdl-dist/README.md", "README.md"), ("crates/bdl-dist/examples/a.rs", "examples/")]
        {
            let mut tree = clean();
            tree.remove(missing);
            expect_one(&tree, "crates/bdl-dist/Cargo.toml", 1, says);
        }
    }

    #[test]
    fn machine_paths_and_registry_hosts_are_faults() {
        for root in ["work", "farm", "root"] {
            planted("crates/bdl-dist/README.md", &format!("see /{root}/x\n"), 2, root);
        }
        let host = ["https://", "crates.io/x"].concat();
        planted("crates/bdl-dist/README.md", &format!("see {host}\n"), 2, "registry");
        planted("CHANGELOG.md", &["in bash", "_jobs\n"].concat(), 8, "machine");
    }

    #[test]
    fn paths_that_only_look_alike_are_none() {
        let mut tree = clean();
        tree.insert("docs/a.md", "a/work/b, ../root/c, framework/d and http://example.org/farm/.\n");
        assert_eq!(faults(&tree), []);
    }

    #[test]
    fn conflict_markers_are_faults() {
        for sign in ["<", ">"] {
            planted("CHANGELOG.md", &format!("{} ours\n", sign.repeat(7)), 8, "conflict");
        }
    }

    #[test]
    fn a_dead_link_is_a_fault() {
        planted("docs/architecture.md", "[a](math.md)\n", 2, "math.md");
        planted("crates/bdl-dist/README.md", "![p](../../docs/p.png \"title\")\n", 2, "p.png");
    }

    #[test]
    fn a_fault_is_printed_with_file_and_line() {
        assert_eq!(Fault::new("a/b.rs", 3, "no").to_string(), "a/b.rs:3: no");
    }
}
