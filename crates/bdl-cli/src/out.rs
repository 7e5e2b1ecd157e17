//! Everything that is printed goes through here: results to standard output, the rest to standard error.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use comfy_table::{CellAlignment, Table, presets};

/// A call that contradicts itself; exit code 2.
#[derive(Debug)]
pub(crate) struct Usage(String);

impl Usage {
    pub(crate) fn error(message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Self(message.into()))
    }
}

impl Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl std::error::Error for Usage {}

/// One line to standard output.
pub(crate) fn line(text: impl Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// One JSON object to standard output, on one line.
pub(crate) fn json(value: &serde_json::Value) -> io::Result<()> {
    line(value)
}

/// One line to standard error. That it cannot be shown is no reason to fail.
pub(crate) fn notice(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A warning to standard error.
pub(crate) fn warning(text: impl Display) {
    notice(format_args!("{} {text}", colored("warning:", "33")));
}

/// An error with its causes, on one line.
pub(crate) fn error(e: &anyhow::Error) {
    notice(format_args!("{} {}", colored("error:", "31"), chain(e)));
    if e.is::<Usage>() {
        notice("\nFor more information, try '--help'.");
    }
}

/// Messages joined by colons; one that its predecessor already repeats is left out.
fn chain(e: &anyhow::Error) -> String {
    let mut text = e.to_string();
    for cause in e.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn colored(word: &str, color: &str) -> String {
    // https://no-color.org: any value but the empty one turns colours off.
    let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    if plain || !io::stderr().is_terminal() {
        return word.to_owned();
    }
    format!("\x1b[1;{color}m{word}\x1b[0m")
}

/// Whether something failed because the reader of our output has gone.
pub(crate) fn is_broken_pipe(e: &anyhow::Error) -> bool {
    e.chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe))
}

/// A table without borders. Columns named in `right` are aligned to the right.
pub(crate) fn table(header: &[&str], right: &[usize], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if !header.is_empty() {
        table.set_header(header.to_vec());
    }
    table.add_rows(rows);
    if let Some(first) = table.column_mut(0) {
        first.set_padding((0, 1));
    }
    for &column in right {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// A table of names and what they stand for.
pub(crate) fn pairs(rows: Vec<(&str, String)>) -> String {
    table(&[], &[], rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect())
}

/// A number with about `digits` significant digits, in plain notation where that is readable.
pub(crate) fn significant(x: f64, digits: usize) -> String {
    if !x.is_finite() {
        return x.to_string();
    }
    let magnitude = if x == 0.0 { 0 } else { x.abs().log10().floor() as i32 };
    if !(-5..9).contains(&magnitude) {
        return format!("{x:.*e}", digits.saturating_sub(1));
    }
    let decimals = (digits as i32 - 1 - magnitude).max(0) as usize;
    format!("{x:.decimals$}")
}

/// A count with thin groups of three: `12 345`.
pub(crate) fn count(n: usize) -> String {
    let digits = n.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) && digits.len() > 4 {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 row`, `2 rows`.
pub(crate) fn counted(n: usize, one: &str) -> String {
    plural(n, one, &format!("{one}s"))
}

/// `1 class`, `2 classes`.
pub(crate) fn plural(n: usize, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// The first few names, quoted, and how many more there are.
pub(crate) fn listed<S: AsRef<str>>(names: &[S]) -> String {
    const SHOWN: usize = 8;
    let shown = names.iter().take(SHOWN).map(|name| format!("{:?}", name.as_ref()));
    let shown = shown.collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_significant_digits() {
        let shown = [0.0, 1.0, -0.012_345, 123_456.7, 1e-9, f64::INFINITY].map(|x| significant(x, 4));
        assert_eq!(shown, ["0.000", "1.000", "-0.01235", "123457", "1.000e-9", "inf"]);
    }

    #[test]
    fn counts_are_grouped_from_five_digits_on() {
        assert_eq!([7, 1599, 12_345, 1_234_567].map(count), ["7", "1599", "12 345", "1 234 567"]);
        assert_eq!((counted(1, "row"), counted(2, "row")), ("1 row".to_owned(), "2 rows".to_owned()));
    }

    #[test]
    fn a_cause_that_is_told_already_is_not_repeated() {
        let inner = anyhow::anyhow!("no such file");
        assert_eq!(chain(&inner.context("a.csv: no such file")), "a.csv: no such file");
        assert_eq!(chain(&anyhow::anyhow!("gone").context("a.csv")), "a.csv: gone");
    }
}
