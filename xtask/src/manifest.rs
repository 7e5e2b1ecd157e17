//! As much of `Cargo.toml` as the checks need: `key = value` lines under `[section]` headings.

/// A manifest's lines in order.
pub(crate) struct Manifest {
    entries: Vec<Entry>,
}

/// One `key = value` line, or a heading `[…dependencies.NAME]` read as a dependency.
struct Entry {
    section: String,
    key: String,
    value: String,
    line: usize,
}

/// Which of a manifest's tables a dependency stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Dev,
    Build,
}

/// A dependency, under its package's name.
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) line: usize,
}

impl Manifest {
    pub(crate) fn parse(text: &str) -> Self {
        let mut entries = Vec::new();
        let mut section = String::new();
        for (i, raw) in text.lines().enumerate() {
            let line = raw.trim();
            if let Some(heading) = line.strip_prefix('[').and_then(|l| l.split_once(']')) {
                section = heading.0.trim().to_owned();
                entries.extend(heading_entry(&mut section, i + 1));
            } else if let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
                let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
                entries.push(Entry { section: section.clone(), key, value, line: i + 1 });
            }
        }
        Self { entries }
    }

    /// The value of `key` in `[section]`, without its quotes.
    pub(crate) fn get(&self, section: &str, key: &str) -> Option<&str> {
        let entry = self.entries.iter().find(|e| e.section == section && e.key == key)?;
        Some(entry.value.trim_matches('"'))
    }

    pub(crate) fn is_published(&self) -> bool {
        self.get("package", "publish") != Some("false")
    }

    /// All dependencies, of every kind and target.
    pub(crate) fn dependencies(&self) -> Vec<Dependency> {
        self.entries.iter().filter_map(Entry::dependency).collect()
    }
}

/// `[dependencies.NAME]` opens the table of one dependency: an entry of `[dependencies]`, and a section
/// whose own keys are no dependencies.
fn heading_entry(section: &mut String, line: usize) -> Option<Entry> {
    let (table, name) = section.rsplit_once('.')?;
    kind_of(table)?;
    let entry = Entry { section: table.to_owned(), key: name.to_owned(), value: String::new(), line };
    *section = format!("one dependency: {name}");
    Some(entry)
}

fn kind_of(section: &str) -> Option<Kind> {
    // `[target.'cfg(unix)'.dependencies]` counts like `[dependencies]`.
    match section.rsplit('.').next()? {
        _ if section.starts_with("workspace") => None,
        "dependencies" => Some(Kind::Normal),
        "dev-dependencies" => Some(Kind::Dev),
        "build-dependencies" => Some(Kind::Build),
        _ => None,
    }
}

impl Entry {
    fn dependency(&self) -> Option<Dependency> {
        let kind = kind_of(&self.section)?;
        let key = self.key.split('.').next()?.trim_matches('"');
        let name = renamed(&self.value).unwrap_or(key).to_owned();
        Some(Dependency { name, kind, line: self.line })
    }
}

/// The `package = "…"` of an inline table, which gives a dependency another name.
fn renamed(value: &str) -> Option<&str> {
    let (_, rest) = value.split_once("package")?;
    rest.trim_start().strip_prefix('=')?.trim_start().strip_prefix('"')?.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
[package]
name = "a"
publish = false

[dependencies]
plain = "1" # with a comment
inherited.workspace = true
alias = { version = "1", package = "real" }
# commented = "1"

[dev-dependencies.tabled]
version = "1"

[target.'cfg(unix)'.build-dependencies]
unixy = "1"

[features]
default = ["plain"]
"#;

    #[test]
    fn dependencies_are_found_in_every_spelling() {
        let found = Manifest::parse(TEXT).dependencies();
        let found: Vec<_> = found.iter().map(|d| (d.name.as_str(), d.kind, d.line)).collect();
        assert_eq!(
            found,
            [
                ("plain", Kind::Normal, 7),
                ("inherited", Kind::Normal, 8),
                ("real", Kind::Normal, 9),
                ("tabled", Kind::Dev, 12),
                ("unixy", Kind::Build, 16),
            ]
        );
    }

    #[test]
    fn values_lose_their_quotes_and_publish_is_read() {
        let manifest = Manifest::parse(TEXT);
        assert_eq!(manifest.get("package", "name"), Some("a"));
        assert_eq!(manifest.get("package", "version"), None);
        assert!(!manifest.is_published());
        assert!(Manifest::parse("[package]\nname = \"b\"").is_published());
    }
}
