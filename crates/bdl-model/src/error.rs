//! What can go wrong between a file and its encoded rows, each with its place, what was expected and what was
//! got.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::names::{Counts, Listed, Numbers, Suggestion};

/// Where a row stands: file, number of the data row, line.
///
/// Data rows are counted from 1 without the header and without blank lines; lines of the file are counted
/// from 1. Row 0 is the header. A row that comes from no file has line 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file's name as it was given, or `standard input`.
    pub file: Arc<str>,
    /// Number of the data row, from 1; 0 is the header.
    pub row: u64,
    /// Line of the file in which the row begins, from 1.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.row, self.line) {
            (_, 0) => write!(f, "{}", self.file),
            (0, line) => write!(f, "{}: header (line {line})", self.file),
            (row, line) => write!(f, "{}: row {row} (line {line})", self.file),
        }
    }
}

/// An error of this crate.
///
/// The variants whose [`Error::is_bad_row`] is true concern one row of data and leave the reader usable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An error of training, prediction or a likelihood.
    #[error(transparent)]
    Infer(#[from] bdl_infer::Error),
    /// An error of a layer, a plan or a model file.
    #[error(transparent)]
    Layers(#[from] bdl_layers::Error),
    /// An error of the scores.
    #[error(transparent)]
    Metrics(#[from] bdl_metrics::Error),
    /// A setting out of range.
    #[error("{what}: must be {expected}, got {got}")]
    Argument {
        /// The setting.
        what: &'static str,
        /// The range.
        expected: &'static str,
        /// The value.
        got: String,
    },
    /// A network that is spelled wrong, or does not fit the data or the target.
    #[error("--net {net}: {place}: {what}")]
    Net {
        /// The network as it is spelled.
        net: String,
        /// Its input, or the number of a layer.
        place: String,
        /// What was expected and what was got.
        what: String,
    },
    /// A model that a network cannot start from.
    #[error("--init-from: {what}")]
    Start {
        /// What was expected and what was got.
        what: String,
    },
    /// The prediction of a row, or the score of one, is no number.
    #[error(
        "{place}: the prediction must be finite, got {got}: a feature may be far outside what the model was trained on"
    )]
    NoPrediction {
        /// Where the row stands.
        place: Place,
        /// What the prediction is.
        got: String,
    },
    /// A model file that is not one, or not a whole one.
    #[error("{file}: {source}")]
    Model {
        /// The file's name.
        file: Arc<str>,
        /// What is wrong.
        source: Box<Error>,
    },
    /// The operating system could not write the file.
    #[error("{file}: cannot be written: {source}")]
    Write {
        /// The file's name.
        file: Arc<str>,
        /// What the operating system said.
        source: io::Error,
    },
    // Reading.
    /// The operating system could not open or read the file.
    #[error("{file}: {source}")]
    Io {
        /// The file's name.
        file: Arc<str>,
        /// What the operating system said.
        source: io::Error,
    },
    /// A directory was given where a file was expected.
    #[error("{file}: expected a file, got a directory")]
    Directory {
        /// The directory.
        file: Arc<str>,
    },
    /// The file has not even a header.
    #[error("{file}: expected a header and rows, got an empty file")]
    EmptyFile {
        /// The file's name.
        file: Arc<str>,
    },
    /// The file has a header and no data rows.
    #[error("{file}: expected rows below the header, got none")]
    HeaderOnly {
        /// The file's name.
        file: Arc<str>,
    },
    /// The delimiter cannot separate fields.
    #[error("delimiter: must be an ASCII character other than a quote or a line end, got {got:?}")]
    Delimiter {
        /// What was given.
        got: char,
    },
    /// Columns without a name.
    #[error("{place}: expected a name for each of {columns} columns, got none for column {}", Numbers(.positions))]
    EmptyNames {
        /// The header.
        place: Place,
        /// Number of columns.
        columns: usize,
        /// Positions of the columns without a name, from 1.
        positions: Vec<usize>,
    },
    /// One name for several columns.
    #[error("{place}: expected distinct column names, got {name:?} for columns {}", Numbers(.positions))]
    DuplicateNames {
        /// The header.
        place: Place,
        /// The name that repeats.
        name: String,
        /// Positions of the columns of that name, from 1.
        positions: Vec<usize>,
    },
    /// A row has more or fewer fields than the header.
    #[error("{place}: expected {expected} fields as in the header, got {got} ({what}){}", spans(.place, *.last_line))]
    Ragged {
        /// The row.
        place: Place,
        /// Number of columns.
        expected: usize,
        /// Number of fields in the row.
        got: usize,
        /// Where it goes wrong.
        what: String,
        /// Line in which the row ends.
        last_line: u64,
    },
    /// Bytes that are not UTF-8.
    #[error("{place}: expected UTF-8 text, got the byte {byte:#04x} in field {field}")]
    NotUtf8 {
        /// The row.
        place: Place,
        /// Position of the field, from 1.
        field: usize,
        /// The first byte that does not fit.
        byte: u8,
    },
    /// The file ends within a quoted field.
    #[error("{place}: expected a closing quote for field {field}, got the end of the file")]
    UnclosedQuote {
        /// The row in which the quote was opened.
        place: Place,
        /// Position of the quoted field, from 1.
        field: usize,
    },
    /// A row is too long to be one: most likely a quote is not closed.
    #[error("{place}: expected a row of at most {limit} bytes, got a longer one (is a quote not closed?)")]
    RowTooLong {
        /// The row.
        place: Place,
        /// The greatest length.
        limit: usize,
    },

    /// A file of images or labels that is none, not a whole one, or not of this model.
    #[error("{file}: expected {expected}, got {got}")]
    Idx {
        /// The file's name.
        file: Arc<str>,
        /// What belongs there.
        expected: String,
        /// What is there.
        got: String,
    },

    // Cells.
    /// Text, or an infinite number, where a finite number belongs.
    #[error("{place}, column {column:?}: expected a finite number, got {value:?}")]
    NotANumber {
        /// The row.
        place: Place,
        /// The column's name.
        column: String,
        /// The cell.
        value: String,
    },
    /// A number so far from the training rows that its encoding is no `f32`.
    #[error(
        "{place}, column {column:?}: expected a number near the training rows' mean {mean}, got {value:?}"
    )]
    OutOfRange {
        /// The row.
        place: Place,
        /// The column's name.
        column: String,
        /// The cell.
        value: String,
        /// Mean of the training rows.
        mean: f64,
    },
    /// A target of counts that is none.
    #[error("{place}, column {column:?}: expected a count, a whole number from 0 to 16777216, got {value:?}")]
    NotACount {
        /// The row.
        place: Place,
        /// The column's name.
        column: String,
        /// The cell.
        value: String,
    },
    /// A class beside two others, where there may be only two.
    #[error(
        "{place}, column {column:?}: expected {:?} or {:?}, the classes of the rows before, got {value:?}; \
         --likelihood categorical takes more than two",
        classes[0], classes[1]
    )]
    ThirdClass {
        /// The row.
        place: Place,
        /// The column's name.
        column: String,
        /// The classes of the rows before.
        classes: Box<[String; 2]>,
        /// The cell.
        value: String,
    },
    /// A category that the training data did not have.
    #[error("{place}, column {column:?}: expected one of {}, got {value:?}", Listed(.levels, *.total))]
    UnknownLevel {
        /// The row.
        place: Place,
        /// The column's name.
        column: String,
        /// The cell.
        value: String,
        /// The first few known levels.
        levels: Vec<String>,
        /// Number of known levels.
        total: usize,
    },
    /// A missing cell where the model does not impute.
    #[error(
        "{place}, column {column:?}: expected a value, got {value:?}; the model was not trained with --missing impute"
    )]
    MissingCell {
        /// The row.
        place: Place,
        /// The column's name.
        column: String,
        /// The cell: empty, or a mark such as `NA`.
        value: String,
    },
    /// The target's cell of a row is missing where it is needed.
    #[error(
        "{place}, column {column:?}: expected a value of the target, got {value:?}; targets are never imputed"
    )]
    MissingTarget {
        /// The row.
        place: Place,
        /// The target's name.
        column: String,
        /// The cell: empty, or a mark such as `NA`.
        value: String,
    },
    /// A cell of a [`RowBuffer`](crate::RowBuffer) was not set.
    #[error("row: column {column:?} was not set")]
    NotSet {
        /// The first column that was not set.
        column: String,
    },
    /// A cell of a [`RowBuffer`](crate::RowBuffer) that is an image.
    #[error("row: column {column:?}: expected pixels, got {value:?}")]
    NotPixels {
        /// The column's name.
        column: String,
        /// What was given.
        value: String,
    },
    /// A [`RowBuffer`](crate::RowBuffer) has no such column.
    #[error("row: no column {name:?}{}", Suggestion(.suggestion))]
    UnknownCell {
        /// The name or position that was asked for.
        name: String,
        /// The closest name.
        suggestion: Option<String>,
    },

    // Columns of a training table.
    /// A flag names a column that does not exist.
    #[error("{flag}: {file} has no column {name:?}{}; its columns are {}", Suggestion(.suggestion), Listed(.available, .available.len()))]
    UnknownColumn {
        /// The flag.
        flag: &'static str,
        /// The file's name.
        file: Arc<str>,
        /// The name that was given.
        name: String,
        /// The closest name.
        suggestion: Option<String>,
        /// All names.
        available: Vec<String>,
    },
    /// The target is also to be ignored.
    #[error("--ignore: the target {name:?} cannot be ignored")]
    TargetIgnored {
        /// The target's name.
        name: String,
    },
    /// Nothing is left to predict from.
    #[error(
        "{file}: expected at least one column besides the target {target:?}, got none that is not ignored"
    )]
    NoFeatures {
        /// The file's name.
        file: Arc<str>,
        /// The target's name.
        target: String,
    },
    /// A column of numbers with some cells of text.
    #[error(
        "{place}, column {column:?}: expected a number as in {numbers} of {cells} cells, got {value:?}; \
         if these are categories, list the column in --categorical"
    )]
    MixedColumn {
        /// The first row that does not fit.
        place: Place,
        /// The column's name.
        column: String,
        /// Its cell.
        value: String,
        /// Number of cells that are numbers.
        numbers: usize,
        /// Number of cells that are not missing.
        cells: usize,
    },
    /// Numbers that are written with a decimal comma.
    #[error(
        "{place}, column {column:?}: expected a decimal point, got {value:?} (every cell is a number with a comma); \
         if these are categories, list the column in --categorical"
    )]
    DecimalComma {
        /// The first row with a comma.
        place: Place,
        /// The column's name.
        column: String,
        /// Its cell.
        value: String,
    },
    /// A column without any value.
    #[error(
        "{file}: column {column:?}: expected values, got only missing cells in {rows}; leave it out with --ignore"
    )]
    EmptyColumn {
        /// The file's name.
        file: Arc<str>,
        /// The column's name.
        column: String,
        /// Which rows were looked at.
        rows: &'static str,
    },
    /// Too many categories for a one-hot encoding: free text or identifiers.
    #[error("{file}: column {column:?}: expected at most {limit} categories, got {got}; {hint}")]
    TooManyLevels {
        /// The file's name.
        file: Arc<str>,
        /// The column's name.
        column: String,
        /// The greatest number of levels.
        limit: usize,
        /// Number of distinct values.
        got: usize,
        /// What to do about it.
        hint: &'static str,
    },
    /// Numbers whose spread is no `f64`.
    #[error("{file}: column {column:?}: expected numbers with a finite spread, got {min:e} to {max:e}")]
    ColumnRange {
        /// The file's name.
        file: Arc<str>,
        /// The column's name.
        column: String,
        /// Least value.
        min: f64,
        /// Greatest value.
        max: f64,
    },
    /// Missing cells under [`MissingPolicy::Error`](crate::MissingPolicy::Error).
    #[error(
        "{place}, column {column:?}: expected a value, got {value:?}; missing cells: {}; \
         choose --missing drop, or --missing impute, which fills features and no target", Counts(.counts)
    )]
    Missing {
        /// The first row with a missing cell.
        place: Place,
        /// Its first column with one.
        column: String,
        /// The cell: empty, or a mark such as `NA`.
        value: String,
        /// Number of missing cells of each column that has any.
        counts: Vec<(String, usize)>,
    },
    /// No rows are left without a missing cell.
    #[error("{file}: expected rows without missing cells, got none among {rows}; missing cells: {}", Counts(.counts))]
    AllDropped {
        /// The file's name.
        file: Arc<str>,
        /// Number of rows.
        rows: usize,
        /// Number of missing cells of each column that has any.
        counts: Vec<(String, usize)>,
    },
    /// A classification target with a single class.
    #[error(
        "{file}: target {column:?}: expected at least two classes in the training rows, got only {class:?}"
    )]
    OneClass {
        /// The file's name.
        file: Arc<str>,
        /// The target's name.
        column: String,
        /// The class.
        class: String,
    },
    /// A regression target with a single value.
    #[error(
        "{file}: target {column:?}: expected at least two different values in the training rows, got only {value}"
    )]
    ConstantTarget {
        /// The file's name.
        file: Arc<str>,
        /// The target's name.
        column: String,
        /// The value.
        value: f64,
    },

    // Prediction.
    /// A file lacks columns of the model.
    #[error("{file}: expected the model's columns, got none named {}", Listed(.columns, .columns.len()))]
    MissingColumns {
        /// The file's name.
        file: Arc<str>,
        /// The columns that are not there.
        columns: Vec<String>,
    },
    /// The target was asked of data that does not have it.
    #[error("{file}: expected the target {column:?}, got no column of that name")]
    NoTarget {
        /// The file's name.
        file: Arc<str>,
        /// The target's name.
        column: String,
    },
    /// A slice of the wrong length.
    #[error("{what}: must have length {expected}, got {got}")]
    Length {
        /// The argument.
        what: &'static str,
        /// Its length.
        expected: usize,
        /// The length that it had.
        got: usize,
    },
    /// A model from which no weights can be removed.
    #[error("model: cannot be pruned: {why}")]
    Unprunable {
        /// Why not.
        why: String,
    },
    /// A schema that no training table can have made.
    #[error("schema: {what}")]
    Schema {
        /// What is wrong with it.
        what: String,
    },

    // Splitting.
    /// A missing cell in the column that decides on the split.
    #[error("--valid-by: {place}, column {column:?}: expected a value, got {value:?}")]
    MissingSplitCell {
        /// The row.
        place: Place,
        /// The column's name.
        column: String,
        /// The cell: empty, or a mark such as `NA`.
        value: String,
    },
    /// The share of rows to hold out is no fraction.
    #[error("--valid: must be greater than 0 and less than 1, got {got}")]
    Fraction {
        /// What was given.
        got: f64,
    },
    /// Too little to have two sides.
    #[error("{flag}: expected at least two {what} to split, got {got}")]
    SplitTooSmall {
        /// The flag.
        flag: &'static str,
        /// What is split.
        what: &'static str,
        /// How many there are.
        got: usize,
    },
}

impl Error {
    pub(crate) fn read(path: &Path, source: io::Error) -> Error {
        Error::Io { file: path.display().to_string().into(), source }
    }

    pub(crate) fn write(path: &Path, source: io::Error) -> Error {
        Error::Write { file: path.display().to_string().into(), source }
    }

    /// Whether one row is at fault and the rows after it can still be read and encoded.
    #[must_use]
    pub fn is_bad_row(&self) -> bool {
        use Error::{
            MissingCell, MissingTarget, NoPrediction, NotACount, NotANumber, NotUtf8, OutOfRange, Ragged,
            UnknownLevel,
        };
        match self {
            Ragged { .. }
            | NoPrediction { .. }
            | NotACount { .. }
            | NotANumber { .. }
            | OutOfRange { .. }
            | UnknownLevel { .. } => true,
            MissingCell { .. } | MissingTarget { .. } => true,
            NotUtf8 { place, .. } => place.row > 0,
            _ => false,
        }
    }
}

fn spans(place: &Place, last_line: u64) -> String {
    if last_line <= place.line {
        return String::new();
    }
    format!("; the row goes on to line {last_line}: is a quote not closed?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_small_enough_to_return() {
        assert!(size_of::<Error>() <= 128, "{}", size_of::<Error>());
    }

    #[test]
    fn a_place_says_what_it_has() {
        let place = |row, line| Place { file: "a.csv".into(), row, line }.to_string();
        assert_eq!(place(17, 18), "a.csv: row 17 (line 18)");
        assert_eq!(place(0, 1), "a.csv: header (line 1)");
        assert_eq!(place(0, 0), "a.csv");
    }
}
