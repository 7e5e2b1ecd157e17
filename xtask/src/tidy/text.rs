//! Rules about what else stands in the repository: pages, the changelog, links, leaks of a machine's paths.

use super::Fault;
use super::tree::Tree;
use crate::manifest::Manifest;

pub(super) fn architecture_names_every_crate(tree: &Tree) -> Vec<Fault> {
    let path = "docs/architecture.md";
    let page = tree.text(path).unwrap_or_default();
    tree.crates()
        .filter(|(_, name, _)| !page.contains(&format!("`{name}`")))
        .map(|(_, name, _)| Fault::new(path, 1, format!("the page does not name `{name}`")))
        .collect()
}

pub(super) fn changelog_has_the_version(tree: &Tree) -> Vec<Fault> {
    let manifest = Manifest::parse(tree.text("Cargo.toml").unwrap_or_default());
    let version = manifest.get("workspace.package", "version").unwrap_or("none");
    let path = "CHANGELOG.md";
    match newest_version(tree.text(path).unwrap_or_default()) {
        Some((_, newest)) if newest == version => Vec::new(),
        Some((line, newest)) => {
            vec![Fault::new(
                path,
                line,
                format!("newest is {newest}, but the workspace's version is {version}"),
            )]
        }
        None => vec![Fault::new(path, 1, format!("no `## [{version}]`, the workspace's version"))],
    }
}

/// The first heading `## [1.2.3]`, with its line; `## [Unreleased]` has no number yet.
fn newest_version(changelog: &str) -> Option<(usize, &str)> {
    changelog.lines().enumerate().find_map(|(i, line)| {
        let (version, _) = line.strip_prefix("## [")?.split_once(']')?;
        version.starts_with(|c: char| c.is_ascii_digit()).then_some((i + 1, version))
    })
}

/// An example only where there are users: not in a crate that is never published.
pub(super) fn libraries_have_readme_and_example(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (dir, name, manifest) in tree.crates().filter(|(dir, ..)| tree.has(&format!("{dir}/src/lib.rs"))) {
        let path = format!("{dir}/Cargo.toml");
        if !tree.has(&format!("{dir}/README.md")) {
            faults.push(Fault::new(&path, 1, format!("library {name} has no README.md")));
        }
        if manifest.is_published() && !tree.has(&format!("{dir}/examples")) {
            faults.push(Fault::new(&path, 1, format!("library {name} has nothing in examples/")));
        }
    }
    faults
}

/// The lock file names its registry by design.
pub(super) fn no_machine_paths_or_registry_hosts(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| !path.ends_with(".lock")) {
        for (i, line) in text.lines().enumerate() {
            faults.extend(leak(line).map(|message| Fault::new(path, i + 1, message)));
        }
    }
    faults
}

/// Top-level directories of the machines that we work on.
const ROOTS: [&str; 3] = ["work", "farm", "root"];
/// What the hosts of package registries have in their names.
const REGISTRIES: [&str; 5] = ["crate", "pypi", "pythonhosted", "npm", "debian"];

fn leak(line: &str) -> Option<String> {
    if let Some(root) = ROOTS.iter().find(|root| has_root(line, root)) {
        return Some(format!("names an absolute path of a machine: /{root}"));
    }
    if line.contains(concat!("bash", "_jobs")) {
        return Some("names an absolute path of a machine".to_owned());
    }
    let host = urls(line).find(|url| REGISTRIES.iter().any(|r| url.contains(r)))?;
    Some(format!("names a registry host: {host}"))
}

/// Whether the line has this directory where a path begins: after a word or a dot it would be relative.
fn has_root(line: &str, root: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    line.match_indices(&format!("/{root}/")).any(|(at, _)| !line[..at].ends_with(inside))
}

fn urls(line: &str) -> impl Iterator<Item = &str> {
    let ends = |c: char| [' ', ')', '"'].contains(&c);
    line.match_indices("://")
        .filter(|(at, _)| line[..*at].ends_with("http") || line[..*at].ends_with("https"))
        .filter_map(move |(at, _)| line[at + 3..].split(ends).next())
}

pub(super) fn no_conflict_markers(tree: &Tree) -> Vec<Fault> {
    let markers = ["<", ">"].map(|sign| sign.repeat(7) + " ");
    let mut faults = Vec::new();
    for (path, text) in tree.texts() {
        let marked = text.lines().enumerate().filter(|(_, l)| markers.iter().any(|m| l.starts_with(m)));
        faults.extend(marked.map(|(i, _)| Fault::new(path, i + 1, "a conflict marker")));
    }
    faults
}

/// Relative links in pages lead to files of the tree.
pub(super) fn links_lead_somewhere(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (path, page) in tree.texts_with(".md") {
        let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
        for (line, link) in links(page) {
            if !tree.has(&resolve(dir, link)) {
                faults.push(Fault::new(path, line, format!("the link leads nowhere: {link}")));
            }
        }
    }
    faults
}

/// The relative links of a Markdown page, without their anchors, with their lines; code is left out.
fn links(page: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (i, line) in page.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            // Every other piece between backticks is code.
            let prose = line.split('`').step_by(2);
            found.extend(prose.flat_map(links_in).map(|link| (i + 1, link)));
        }
    }
    found
}

fn links_in(prose: &str) -> impl Iterator<Item = &str> {
    // What follows `](` up to `)`, without a title or an anchor. A label that is code leaves `](…)` in the next piece.
    prose.split("](").skip(1).filter_map(|rest| {
        let target = rest.split([')', ' ', '#']).next()?;
        let absolute = target.contains("://") || target.starts_with("mailto:");
        (!absolute && !target.is_empty()).then_some(target)
    })
}

/// The path of `link` seen from `dir`, without `.` and `..`.
fn resolve(dir: &str, link: &str) -> String {
    let mut parts: Vec<&str> = dir.split('/').filter(|p| !p.is_empty()).collect();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_outside_code_only() {
        let page = "[a](b.md) and [`c`](d.md#e)\n```text\n[f](g.md)\n```\n`[h](i.md)` [j](https://k) [l](#m)\n![n](o.png)\n";
        assert_eq!(links(page), [(1, "b.md"), (1, "d.md"), (6, "o.png")]);
    }

    #[test]
    fn links_resolve_from_their_page() {
        assert_eq!(resolve("docs", "../crates/./a/README.md"), "crates/a/README.md");
        assert_eq!(resolve("", "docs/"), "docs");
        assert_eq!(resolve("docs", ".."), "");
    }
}
