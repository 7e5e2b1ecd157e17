//! The code and its documentation cite each other truly.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All `.rs` and `.md` files below `dir`, builds left out.
fn texts(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            texts(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs" || e == "md")
            && let Ok(text) = fs::read_to_string(&path)
        {
            found.push((path, text));
        }
    }
}

fn project() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for dir in ["crates", "examples", "benches", "docs"] {
        texts(&root().join(dir), &mut found);
    }
    found
}

fn is_slug(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-'
}

/// What follows each `key` in `text`, as long as it is a name.
fn after<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(key).skip(1).map(|rest| rest.split(|c| !is_slug(c)).next().unwrap_or_default())
}

#[test]
fn every_heading_of_the_mathematics_is_cited_by_code_and_every_citation_has_its_heading() {
    let math = fs::read_to_string(root().join("docs/math.md")).unwrap_or_default();
    let headings: BTreeSet<String> = math
        .lines()
        .filter_map(|line| line.strip_prefix("### ").or(line.strip_prefix("## ")))
        .map(|heading| heading.trim().to_lowercase().replace(' ', "-"))
        .collect();
    assert!(headings.len() > 30, "docs/math.md has {} headings", headings.len());
    let mut cited: BTreeMap<String, PathBuf> = BTreeMap::new();
    for (path, text) in project() {
        let own = path.ends_with("docs/math.md");
        for key in if own { vec!["](#", "math.md#"] } else { vec!["math.md#"] } {
            for name in after(&text, key).filter(|name| !name.is_empty()) {
                assert!(headings.contains(name), "{}: docs/math.md has no heading {name:?}", path.display());
                if path.extension().is_some_and(|e| e == "rs") {
                    cited.entry(name.to_owned()).or_insert_with(|| path.clone());
                }
            }
        }
    }
    let idle: Vec<_> = headings.iter().filter(|heading| !cited.contains_key(*heading)).collect();
    assert!(idle.is_empty(), "no code cites {idle:?}");
}

/// `docs/testing.md` names tests in code marks; a name with `…` stands for its beginning.
#[test]
fn every_test_that_the_documentation_names_exists() {
    let page = fs::read_to_string(root().join("docs/testing.md")).unwrap_or_default();
    let code: String = project()
        .into_iter()
        .filter(|(path, _)| path.extension().is_some_and(|e| e == "rs"))
        .map(|(_, t)| t)
        .collect();
    let is_name = |name: &str| {
        name.matches('_').count() >= 3
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_…".contains(c))
    };
    let mut named = 0;
    // Every second part stands between code marks.
    for name in page.split('`').skip(1).step_by(2).filter(|name| is_name(name)) {
        let begins = name.trim_end_matches('…');
        let wanted = if begins == name { format!("fn {name}(") } else { format!("fn {begins}") };
        assert!(code.contains(&wanted), "docs/testing.md names {name}, which no code defines");
        named += 1;
    }
    assert!(named > 50, "docs/testing.md names {named} tests");
}
