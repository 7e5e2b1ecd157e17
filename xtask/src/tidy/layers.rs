//! Which crate may use which: `tensor ← dist ← layers ← infer ← model ← cli`, `metrics` beside them.

use super::Fault;
use super::tree::Tree;
use crate::manifest::{Kind, Manifest};

const TESTKIT: &str = "bdl-testkit";

/// Each crate of ours with those of ours it may use; in tests `bdl-testkit` besides.
const MATRIX: &[(&str, &[&str])] = &[
    ("bdl-tensor", &[]),
    ("bdl-dist", &["bdl-tensor"]),
    ("bdl-layers", &["bdl-tensor", "bdl-dist"]),
    ("bdl-metrics", &["bdl-tensor"]),
    ("bdl-infer", &["bdl-tensor", "bdl-dist", "bdl-layers", "bdl-metrics"]),
    ("bdl-model", &["bdl-tensor", "bdl-dist", "bdl-layers", "bdl-metrics", "bdl-infer"]),
    ("bdl-cli", &["bdl-model"]),
    (TESTKIT, &[]),
];

/// Whether the package of this name may depend on something.
type May = fn(&str) -> bool;

/// Dependencies that enter at one place: name, and who may name it in a manifest.
const HOMES: &[(&str, May)] = &[
    ("matrixmultiply", |package| package == "bdl-tensor"),
    ("rayon", |package| ["bdl-infer", "bdl-benches"].contains(&package)),
    ("rand", |package| package != "bdl-tensor"),
    ("rand_chacha", |package| package != "bdl-tensor"),
    ("rand_distr", |package| package != "bdl-tensor"),
];

pub(super) fn dependencies_point_left(tree: &Tree) -> Vec<Fault> {
    tree.crates()
        .flat_map(|(dir, name, manifest)| of_crate(&format!("{dir}/Cargo.toml"), &name, &manifest))
        .collect()
}

fn of_crate(path: &str, name: &str, manifest: &Manifest) -> Vec<Fault> {
    let Some((_, left)) = MATRIX.iter().find(|(n, _)| *n == name) else {
        return vec![Fault::new(
            path,
            1,
            format!("{name} is not in the layer matrix of xtask/src/tidy/layers.rs"),
        )];
    };
    let mut faults = Vec::new();
    for dep in manifest.dependencies().iter().filter(|d| d.name.starts_with("bdl-")) {
        let message = match (dep.name.as_str(), dep.kind) {
            (TESTKIT, Kind::Dev) => continue,
            (TESTKIT, _) => format!("{TESTKIT} may be used only as a dev-dependency"),
            (dep, _) if left.contains(&dep) => continue,
            (dep, _) => format!("{name} may not use {dep}, which stands to its right"),
        };
        faults.push(Fault::new(path, dep.line, message));
    }
    faults
}

pub(super) fn some_dependencies_have_one_home(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (path, text) in tree.texts_with("/Cargo.toml").filter(|(path, _)| !path.starts_with("examples/")) {
        let manifest = Manifest::parse(text);
        let package = manifest.get("package", "name").unwrap_or_default();
        for dep in manifest.dependencies() {
            if HOMES.iter().any(|(name, may)| *name == dep.name && !may(package)) {
                faults.push(Fault::new(path, dep.line, format!("{package} may not use {}", dep.name)));
            }
        }
    }
    faults
}

pub(super) fn xtask_has_no_dependencies(tree: &Tree) -> Vec<Fault> {
    let path = "xtask/Cargo.toml";
    let dependencies = Manifest::parse(tree.text(path).unwrap_or_default()).dependencies();
    let fault = |name| format!("xtask has no dependencies, got {name}");
    dependencies.iter().map(|d| Fault::new(path, d.line, fault(&d.name))).collect()
}
