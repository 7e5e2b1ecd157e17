//! Names in messages: lists, counts, excerpts, and the closest name to a misspelled one.

use std::fmt;
use std::sync::Arc;

use crate::error::Error;

/// How many names or values a message lists before it says "and n more".
const LISTED: usize = 30;

/// How many known levels an error carries.
pub(crate) const LEVELS_LISTED: usize = 8;

/// Characters of a cell that a message repeats.
const EXCERPT: usize = 60;

/// Names in quotes, with commas; the second field is the number of all names.
pub(crate) struct Listed<'a>(pub(crate) &'a [String], pub(crate) usize);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.len().min(LISTED);
        for (i, name) in self.0[..shown].iter().enumerate() {
            write!(f, "{}{name:?}", if i == 0 { "" } else { ", " })?;
        }
        match self.1 - shown {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Numbers with commas, at most the first few.
pub(crate) struct Numbers<'a>(pub(crate) &'a [usize]);

impl fmt::Display for Numbers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.len().min(LISTED);
        for (i, number) in self.0[..shown].iter().enumerate() {
            write!(f, "{}{number}", if i == 0 { "" } else { ", " })?;
        }
        match self.0.len() - shown {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Names with their counts.
pub(crate) struct Counts<'a>(pub(crate) &'a [(String, usize)]);

impl fmt::Display for Counts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.len().min(LISTED);
        for (i, (name, count)) in self.0[..shown].iter().enumerate() {
            write!(f, "{}{count} in {name:?}", if i == 0 { "" } else { ", " })?;
        }
        match self.0.len() - shown {
            0 => Ok(()),
            more => write!(f, " and more in {more} columns"),
        }
    }
}

/// `; did you mean "…"?`, or nothing.
pub(crate) struct Suggestion<'a>(pub(crate) &'a Option<String>);

impl fmt::Display for Suggestion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, " (did you mean {name:?}?)"),
            None => Ok(()),
        }
    }
}

/// The beginning of a cell, short enough for a message.
pub(crate) fn excerpt(cell: &str) -> String {
    match cell.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", &cell[..end]),
        None => cell.to_owned(),
    }
}

/// The name closest to `name`, unless even that one is quite different.
pub(crate) fn closest<'a>(name: &str, among: impl Iterator<Item = &'a str>) -> Option<String> {
    let limit = (name.chars().count() / 3).max(1);
    among
        .map(|other| (distance(name, other), other))
        .filter(|&(d, _)| d <= limit)
        .min_by_key(|&(d, _)| d)
        .map(|(_, other)| other.to_owned())
}

/// Levenshtein distance, without regard to case.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, &cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The position of the column `name`, which `flag` asked for, in the header `columns` of `file`.
pub(crate) fn find_column(
    flag: &'static str,
    file: &Arc<str>,
    columns: &[String],
    name: &str,
) -> Result<usize, Error> {
    let found = columns.iter().position(|column| column == name.trim());
    found.ok_or_else(|| Error::UnknownColumn {
        flag,
        file: file.clone(),
        name: name.to_owned(),
        suggestion: closest(name, columns.iter().map(String::as_str)),
        available: columns.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("Age", "age"), 0);
    }

    #[test]
    fn the_closest_name_is_near() {
        let names = ["quality", "alcohol"];
        assert_eq!(closest("qualty", names.into_iter()).as_deref(), Some("quality"));
        assert_eq!(closest("ALCOHOL", names.into_iter()).as_deref(), Some("alcohol"));
        assert_eq!(closest("ph", names.into_iter()), None);
    }

    #[test]
    fn long_lists_and_cells_are_cut() {
        let names: Vec<String> = (0..40).map(|i| i.to_string()).collect();
        assert!(Listed(&names, 40).to_string().ends_with("\"29\" and 10 more"));
        assert!(Numbers(&(1..=40).collect::<Vec<_>>()).to_string().ends_with("29, 30 and 10 more"));
        assert_eq!(excerpt(&"ä".repeat(100)).chars().count(), 61);
    }
}
