//! Rows of a CSV file, in chunks of bounded memory.
//!
//! The header is required. Fields may be quoted and may then hold delimiters, line ends and doubled quotes.
//! Line ends are LF or CRLF; a byte order mark is skipped, and so are blank lines. See [`RowReader`].

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use crate::chunk::Chunk;
use crate::error::{Error, Place};
use crate::records::{Records, bytecount};
use crate::sniff::{LINES, sniff_delimiter};

/// Bytes read ahead at most to find the delimiter.
const HEAD_BYTES: usize = 1 << 16;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads a CSV file or standard input by rows.
///
/// | | |
/// |---|---|
/// | delimiter | given, or found among [`DELIMITERS`](crate::DELIMITERS) in the first ten lines |
/// | quotes | `"`, doubled within a quoted field |
/// | lines | LF or CRLF; blank lines are skipped and count as lines, not as rows |
/// | text | UTF-8, with or without a byte order mark |
/// | names | trimmed, none empty, all different |
///
/// # Examples
///
/// ```
/// use bdl_model::{Chunk, RowReader};
///
/// let mut reader = RowReader::from_reader("data.csv", "x,y\n1,2\n3,4\n5,6\n".as_bytes(), None)?;
/// assert_eq!(reader.columns(), ["x", "y"]);
///
/// let mut chunk = Chunk::new();
/// let mut sizes = Vec::new();
/// while reader.next_chunk(2, &mut chunk)? {
///     sizes.push(chunk.len());
/// }
/// assert_eq!(sizes, [2, 1]);
/// # Ok::<(), bdl_model::Error>(())
/// ```
pub struct RowReader {
    file: Arc<str>,
    columns: Vec<String>,
    delimiter: u8,
    records: Records,
    row: u64,
    /// Whether a read may have to wait for whoever writes: anything but a regular file.
    waits: bool,
}

/// What stands behind the rows of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing.
    End,
    /// Rows, or the end, that need not be waited for.
    Here,
    /// Rows, or the end, that may not have come yet.
    Later,
}

impl std::fmt::Debug for RowReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let RowReader { file, columns, delimiter, row, .. } = self;
        write!(f, "RowReader {{ file: {file:?}, columns: {columns:?}, delimiter: {delimiter}, row: {row} }}")
    }
}

impl RowReader {
    /// Opens the file at `path`, or standard input if it is `-`.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened, is a directory, or has no proper header.
    pub fn open(path: &Path, delimiter: Option<u8>) -> Result<RowReader, Error> {
        if path.as_os_str() == "-" {
            return RowReader::from_reader("standard input", io::stdin(), delimiter);
        }
        let name = path.display().to_string();
        let fail = |source| Error::Io { file: name.as_str().into(), source };
        let file = File::open(path).map_err(fail)?;
        let meta = file.metadata().map_err(fail)?;
        if meta.is_dir() {
            return Err(Error::Directory { file: name.into() });
        }
        Ok(RowReader { waits: !meta.is_file(), ..RowReader::from_reader(&name, file, delimiter)? })
    }

    /// Reads from `source`, which messages call `name`.
    ///
    /// # Errors
    ///
    /// If reading fails, if there is no header, if its names are empty or not distinct, or if `delimiter`
    /// cannot be one.
    pub fn from_reader(
        name: &str,
        source: impl Read + Send + 'static,
        delimiter: Option<u8>,
    ) -> Result<RowReader, Error> {
        let file: Arc<str> = name.into();
        if let Some(got) = delimiter.filter(|d| !d.is_ascii() || b"\"\r\n\0".contains(d)) {
            return Err(Error::Delimiter { got: got.into() });
        }
        let mut source = BufReader::with_capacity(HEAD_BYTES, source);
        // A delimiter that is given need not be looked for.
        let lines = if delimiter.is_some() { 0 } else { LINES };
        let head =
            read_head(&mut source, lines).map_err(|source| Error::Io { file: Arc::clone(&file), source })?;
        let delimiter = delimiter.unwrap_or_else(|| sniff_delimiter(first_lines(&head)));
        let mut records =
            Records::new(Arc::clone(&file), Box::new(Cursor::new(head).chain(source)), delimiter);
        let columns = read_header(&mut records)?;
        Ok(RowReader { file, columns, delimiter, records, row: 0, waits: true })
    }

    /// The file's name as messages give it.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Names of the columns in the file's order.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The delimiter that was given or found.
    #[must_use]
    pub fn delimiter(&self) -> u8 {
        self.delimiter
    }

    /// Replaces the rows of `chunk` by the next ones, at most `max_rows`; `false` at the end of the file.
    ///
    /// # Errors
    ///
    /// If reading fails or a row is not as it should be. `chunk` then holds the rows before that one, and if
    /// [`Error::is_bad_row`], the next call goes on after it; else it returns `false`.
    pub fn next_chunk(&mut self, max_rows: usize, chunk: &mut Chunk) -> Result<bool, Error> {
        chunk.clear();
        self.append_rows(max_rows.max(1), chunk)?;
        Ok(!chunk.is_empty())
    }

    /// The same without waiting for a further row once there is one.
    pub(crate) fn next_rows(&mut self, max_rows: usize, chunk: &mut Chunk) -> Result<Next, Error> {
        chunk.clear();
        self.append(max_rows, chunk, RowReader::is_next_here)?;
        Ok(match (chunk.is_empty(), self.is_next_here()) {
            (true, _) => Next::End,
            (false, true) => Next::Here,
            (false, false) => Next::Later,
        })
    }

    fn is_next_here(&self) -> bool {
        !self.waits || self.records.is_next_here()
    }

    /// Appends at most `max_rows` rows.
    pub(crate) fn append_rows(&mut self, max_rows: usize, chunk: &mut Chunk) -> Result<(), Error> {
        self.append(max_rows, chunk, |_| true)
    }

    /// Appends at most `max_rows` rows, the second and later ones only if `goes_on`.
    fn append(
        &mut self,
        max_rows: usize,
        chunk: &mut Chunk,
        goes_on: impl Fn(&RowReader) -> bool,
    ) -> Result<(), Error> {
        chunk.file = Arc::clone(&self.file);
        chunk.columns = self.columns.len();
        let full = chunk.len().saturating_add(max_rows);
        while chunk.len() < full && (chunk.is_empty() || goes_on(self)) && self.records.read(self.row + 1)? {
            if self.columns.len() > 1 && self.records.is_blank() {
                continue;
            }
            self.row += 1;
            if self.records.ends().len() != self.columns.len() {
                return Err(self.ragged());
            }
            let text = self.records.text(self.row)?;
            chunk.push(text, self.records.ends(), self.row, self.records.first_line);
        }
        Ok(())
    }

    fn ragged(&self) -> Error {
        let (expected, got) = (self.columns.len(), self.records.ends().len());
        let what = match self.columns.get(got.wrapping_sub(1)) {
            Some(last) if got < expected => format!("the row ends after column {last:?}"),
            _ => format!("the row goes on after the last column, {:?}", self.columns[expected - 1]),
        };
        let last_line = self.records.last_line();
        Error::Ragged { place: self.records.place(self.row), expected, got, what, last_line }
    }
}

/// Reads until the first lines are there and a byte order mark would be, but not past what is buffered, so that a slow
/// pipe is not waited for.
fn read_head(source: &mut impl BufRead, lines: usize) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let is_enough = |head: &[u8]| head.len() >= BYTE_ORDER_MARK.len() && bytecount(head, b'\n') >= lines;
    while head.len() < HEAD_BYTES && !is_enough(&head) {
        let buffer = match source.fill_buf() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if buffer.is_empty() {
            break;
        }
        let read = buffer.len();
        head.extend_from_slice(buffer);
        source.consume(read);
    }
    if head.starts_with(BYTE_ORDER_MARK) {
        head.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(head)
}

/// The lines that decide on the delimiter: the same ones however the bytes arrive.
fn first_lines(head: &[u8]) -> &[u8] {
    let end = head.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(LINES - 1);
    &head[..end.map_or(head.len(), |(at, _)| at + 1).min(HEAD_BYTES)]
}

fn read_header(records: &mut Records) -> Result<Vec<String>, Error> {
    if !records.read(0)? {
        return Err(Error::EmptyFile { file: Arc::clone(&records.file) });
    }
    let text = records.text(0)?;
    let mut start = 0;
    let mut names = Vec::with_capacity(records.ends().len());
    for &end in records.ends() {
        names.push(text[start..end].trim().to_owned());
        start = end;
    }
    check_names(&names, || records.place(0))?;
    Ok(names)
}

fn check_names(names: &[String], place: impl Fn() -> Place) -> Result<(), Error> {
    let positions = |wanted: &str| (1..).zip(names).filter(|(_, n)| *n == wanted).map(|(i, _)| i).collect();
    let mut sorted: Vec<&String> = names.iter().collect();
    sorted.sort();
    if sorted.first().is_some_and(|name| name.is_empty()) {
        return Err(Error::EmptyNames { place: place(), columns: names.len(), positions: positions("") });
    }
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::DuplicateNames {
            place: place(),
            name: pair[0].clone(),
            positions: positions(pair[0]),
        }),
        None => Ok(()),
    }
}
