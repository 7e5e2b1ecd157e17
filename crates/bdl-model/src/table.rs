//! A whole table in memory, as text; what its cells and columns are.

use std::path::Path;
use std::sync::Arc;

use crate::chunk::{Chunk, Row};
use crate::error::{Error, Place};
use crate::names::{excerpt, find_column};
use crate::reader::RowReader;

/// Cells that count as missing, besides the empty one; spaces around them do not matter.
pub const MISSING_MARKS: [&str; 7] = ["NA", "N/A", "NaN", "nan", "null", "None", "?"];

/// A column with at least this share of numbers is meant to be one of numbers.
const NUMERIC_SHARE: f64 = 0.9;

/// What a cell is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// Empty, or one of [`MISSING_MARKS`].
    Missing,
    /// A finite number.
    Number(f64),
    /// A number that is not finite, such as `inf` or `1e999`.
    NotFinite(&'a str),
    /// Anything else, trimmed.
    Text(&'a str),
}

impl<'a> Cell<'a> {
    /// Says what `text` is; spaces around it do not matter.
    ///
    /// # Examples
    ///
    /// ```
    /// use bdl_model::Cell;
    ///
    /// assert_eq!(Cell::parse(" 1.5 "), Cell::Number(1.5));
    /// assert_eq!(Cell::parse("?"), Cell::Missing);
    /// assert_eq!(Cell::parse("1e999"), Cell::NotFinite("1e999"));
    /// assert_eq!(Cell::parse("red"), Cell::Text("red"));
    /// ```
    #[must_use]
    pub fn parse(text: &'a str) -> Cell<'a> {
        let text = text.trim();
        match text.parse::<f64>() {
            Ok(x) if x.is_finite() => Cell::Number(x),
            _ if is_missing(text) => Cell::Missing,
            Ok(_) => Cell::NotFinite(text),
            Err(_) => Cell::Text(text),
        }
    }
}

pub(crate) fn is_missing(trimmed: &str) -> bool {
    trimmed.is_empty() || MISSING_MARKS.contains(&trimmed)
}

/// What a column of a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Every cell that is not missing is a finite number.
    Numeric,
    /// Text.
    Categorical,
}

/// A table in memory: named columns and rows of text.
///
/// # Examples
///
/// ```
/// use bdl_model::{ColumnKind, RowReader, Table};
///
/// let text = "size,colour\n1,red\nNA,blue\n3,red\n";
/// let table = Table::from_reader(RowReader::from_reader("data.csv", text.as_bytes(), None)?)?;
/// assert_eq!((table.rows(), table.cell(1, 1)), (3, "blue"));
/// assert_eq!(table.kind(0)?, ColumnKind::Numeric);
/// assert_eq!(table.kind(1)?, ColumnKind::Categorical);
/// # Ok::<(), bdl_model::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<String>,
    data: Chunk,
}

impl Table {
    /// Reads the file at `path`, or standard input if it is `-`.
    ///
    /// # Errors
    ///
    /// As of [`RowReader::open`] and [`Table::from_reader`].
    pub fn open(path: &Path, delimiter: Option<u8>) -> Result<Table, Error> {
        Table::from_reader(RowReader::open(path, delimiter)?)
    }

    /// Reads all rows that are left.
    ///
    /// # Errors
    ///
    /// If reading fails, if a row is not as it should be, or if there is none.
    pub fn from_reader(mut reader: RowReader) -> Result<Table, Error> {
        let mut data = Chunk::new();
        reader.append_rows(usize::MAX, &mut data)?;
        if data.is_empty() {
            return Err(Error::HeaderOnly { file: data.file });
        }
        Ok(Table { columns: reader.columns().to_vec(), data })
    }

    /// The file's name as messages give it.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.data.file
    }

    pub(crate) fn shared_file(&self) -> Arc<str> {
        Arc::clone(&self.data.file)
    }

    /// Names of the columns in the file's order.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Number of rows, at least one.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.data.len()
    }

    /// Row `row`, counted from 0.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    #[must_use]
    pub fn row(&self, row: usize) -> Row<'_> {
        self.data.row(row)
    }

    /// The cell of `row` and `column`, as it stands in the file, without its quotes.
    ///
    /// # Panics
    ///
    /// If there is no such row or column.
    #[must_use]
    pub fn cell(&self, row: usize, column: usize) -> &str {
        self.data.cell(row, column)
    }

    /// The position of the column `name`, which `flag` asked for.
    ///
    /// # Errors
    ///
    /// If there is none; the message lists the columns and suggests the closest.
    pub fn column(&self, flag: &'static str, name: &str) -> Result<usize, Error> {
        find_column(flag, &self.shared_file(), &self.columns, name)
    }

    /// Whether `column` holds numbers or categories.
    ///
    /// # Errors
    ///
    /// If all its cells are missing; if a number is not finite; or if at least nine cells in ten are numbers
    /// and the others are not, or all have a decimal comma: taking such a column for categories would be a
    /// silent disaster.
    pub fn kind(&self, column: usize) -> Result<ColumnKind, Error> {
        let tally = Tally::of(self, column);
        let numbers = tally.finite + tally.infinite;
        if tally.cells() == 0 {
            return Err(self.empty_column(column, "all rows"));
        }
        if (numbers as f64) < NUMERIC_SHARE * tally.cells() as f64 {
            return self.categorical_unless_decimal_comma(column, &tally);
        }
        match (tally.first_infinite, tally.first_text) {
            (_, Some(row)) => Err(Error::MixedColumn {
                place: self.place(row),
                column: self.columns[column].clone(),
                value: excerpt(self.cell(row, column).trim()),
                numbers,
                cells: tally.cells(),
            }),
            (Some(row), None) => Err(self.not_a_number(row, column)),
            (None, None) => Ok(ColumnKind::Numeric),
        }
    }

    fn categorical_unless_decimal_comma(&self, column: usize, tally: &Tally) -> Result<ColumnKind, Error> {
        match tally.first_text {
            Some(row) if tally.decimal_commas == tally.texts => Err(Error::DecimalComma {
                place: self.place(row),
                column: self.columns[column].clone(),
                value: excerpt(self.cell(row, column).trim()),
            }),
            _ => Ok(ColumnKind::Categorical),
        }
    }

    /// The finite numbers of `column` in `rows`; a missing cell is `None`.
    ///
    /// # Errors
    ///
    /// At the first cell that is neither.
    pub fn numbers(&self, column: usize, rows: &[usize]) -> Result<Vec<Option<f64>>, Error> {
        let number = |&row: &usize| match Cell::parse(self.cell(row, column)) {
            Cell::Number(x) => Ok(Some(x)),
            Cell::Missing => Ok(None),
            Cell::NotFinite(_) | Cell::Text(_) => Err(self.not_a_number(row, column)),
        };
        rows.iter().map(number).collect()
    }

    pub(crate) fn place(&self, row: usize) -> Place {
        self.row(row).place()
    }

    pub(crate) fn not_a_number(&self, row: usize, column: usize) -> Error {
        let value = excerpt(self.cell(row, column).trim());
        Error::NotANumber { place: self.place(row), column: self.columns[column].clone(), value }
    }

    pub(crate) fn empty_column(&self, column: usize, rows: &'static str) -> Error {
        Error::EmptyColumn { file: self.shared_file(), column: self.columns[column].clone(), rows }
    }
}

/// How many cells of a column are what.
#[derive(Default)]
struct Tally {
    finite: usize,
    infinite: usize,
    texts: usize,
    decimal_commas: usize,
    first_infinite: Option<usize>,
    first_text: Option<usize>,
}

impl Tally {
    fn of(table: &Table, column: usize) -> Tally {
        let mut tally = Tally::default();
        for row in 0..table.rows() {
            match Cell::parse(table.cell(row, column)) {
                Cell::Missing => {}
                Cell::Number(_) => tally.finite += 1,
                Cell::NotFinite(_) => {
                    tally.infinite += 1;
                    tally.first_infinite.get_or_insert(row);
                }
                Cell::Text(text) => {
                    tally.texts += 1;
                    tally.decimal_commas += usize::from(has_decimal_comma(text));
                    tally.first_text.get_or_insert(row);
                }
            }
        }
        tally
    }

    /// Cells that are not missing.
    fn cells(&self) -> usize {
        self.finite + self.infinite + self.texts
    }
}

fn has_decimal_comma(text: &str) -> bool {
    text.split_once(',').is_some_and(|(whole, rest)| {
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        digits(whole.trim_start_matches(['-', '+'])) && digits(rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missing_mark_is_missing() {
        for mark in MISSING_MARKS.into_iter().chain(["", "  ", " NA "]) {
            assert_eq!(Cell::parse(mark), Cell::Missing, "{mark:?}");
        }
        assert_eq!(Cell::parse("Na"), Cell::Text("Na"));
    }

    #[test]
    fn infinite_numbers_and_other_nans_are_not_finite() {
        for text in ["inf", "-inf", "Infinity", "1e999", "-1e999", "NAN", "-nan"] {
            assert_eq!(Cell::parse(text), Cell::NotFinite(text), "{text:?}");
        }
    }

    #[test]
    fn a_decimal_comma_stands_between_digits() {
        assert!(has_decimal_comma("-1,5") && has_decimal_comma("0,25"));
        assert!(!has_decimal_comma("a,b") && !has_decimal_comma("1,") && !has_decimal_comma("1,5,2"));
    }
}
