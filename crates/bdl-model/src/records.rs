//! Bytes into records: fields, line numbers, quotes that are not closed.

use std::io::{self, BufRead};
use std::sync::Arc;

use csv_core::{ReadRecordResult, ReaderBuilder};

use crate::error::{Error, Place};

/// The greatest length of a row. A longer one is a quote that is not closed, and would take the file into
/// memory.
pub const MAX_ROW_BYTES: usize = 1 << 24;

/// Splits bytes into records, and knows in which line each begins.
///
/// `csv_core` and not `csv`, whose positions are those before the line ends that precede a record, and which
/// takes the rest of the file for a field if a quote is not closed.
pub(crate) struct Records {
    pub(crate) file: Arc<str>,
    source: Box<dyn BufRead + Send>,
    core: csv_core::Reader,
    /// The current record's bytes and ends of fields, and how much of both is used.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    len: usize,
    fields: usize,
    /// Line ends consumed so far, and before the current record, plus one.
    line_ends: u64,
    pub(crate) first_line: u64,
    /// Whether the current record's own line end was among those consumed.
    ended_by_lf: bool,
    /// Whether bytes of a further record were read with the current one's.
    next_is_here: bool,
    done: bool,
}

impl Records {
    pub(crate) fn new(file: Arc<str>, source: Box<dyn BufRead + Send>, delimiter: u8) -> Records {
        Records {
            file,
            source,
            core: ReaderBuilder::new().delimiter(delimiter).build(),
            bytes: vec![0; 256],
            ends: vec![0; 16],
            len: 0,
            fields: 0,
            line_ends: 0,
            first_line: 1,
            ended_by_lf: false,
            next_is_here: false,
            done: false,
        }
    }

    /// Reads the next record, which is row `row`; `false` at the end.
    pub(crate) fn read(&mut self, row: u64) -> Result<bool, Error> {
        if self.done {
            return Ok(false);
        }
        let outcome = self.read_or_end(row);
        self.done = !matches!(outcome, Ok(true));
        outcome
    }

    fn read_or_end(&mut self, row: u64) -> Result<bool, Error> {
        if !self.skip_line_ends()? {
            return Ok(false);
        }
        self.first_line = self.line_ends + 1;
        (self.len, self.fields) = (0, 0);
        self.read_fields(row)?;
        Ok(true)
    }

    /// Goes to the first byte of the next record, if there is one.
    fn skip_line_ends(&mut self) -> Result<bool, Error> {
        loop {
            let buffer = fill(&mut *self.source, &self.file)?;
            if buffer.is_empty() {
                return Ok(false);
            }
            let blank = buffer.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
            let found = blank < buffer.len();
            self.line_ends += bytecount(&buffer[..blank], b'\n') as u64;
            self.source.consume(blank);
            if found {
                return Ok(true);
            }
        }
    }

    fn read_fields(&mut self, row: u64) -> Result<(), Error> {
        loop {
            let buffer = fill(&mut *self.source, &self.file)?;
            // A line end that the file lacks: it ends the record, unless a quote is open.
            let at_end = buffer.is_empty();
            let input = if at_end { b"\n" } else { buffer };
            let (bytes, ends) = (&mut self.bytes[self.len..], &mut self.ends[self.fields..]);
            let (result, read, written, ended) = self.core.read_record(input, bytes, ends);
            self.len += written;
            self.fields += ended;
            self.next_is_here = !at_end && buffer[read..].iter().any(|b| !matches!(b, b'\r' | b'\n'));
            if !at_end {
                self.line_ends += bytecount(&buffer[..read], b'\n') as u64;
                self.ended_by_lf = read > 0 && buffer[read - 1] == b'\n';
                self.source.consume(read);
            }
            match result {
                ReadRecordResult::Record | ReadRecordResult::End => {
                    self.ended_by_lf &= !at_end;
                    return Ok(());
                }
                ReadRecordResult::OutputFull => self.grow(row)?,
                ReadRecordResult::OutputEndsFull => self.ends.resize(2 * self.ends.len(), 0),
                ReadRecordResult::InputEmpty if at_end => {
                    return Err(Error::UnclosedQuote { place: self.place(row), field: self.fields + 1 });
                }
                ReadRecordResult::InputEmpty => {}
            }
        }
    }

    fn grow(&mut self, row: u64) -> Result<(), Error> {
        if self.bytes.len() >= MAX_ROW_BYTES {
            return Err(Error::RowTooLong { place: self.place(row), limit: MAX_ROW_BYTES });
        }
        self.bytes.resize(2 * self.bytes.len(), 0);
        Ok(())
    }

    /// Whether the next record is here, or at least its beginning: what is written by rows is read without waiting.
    pub(crate) fn is_next_here(&self) -> bool {
        self.next_is_here
    }

    pub(crate) fn ends(&self) -> &[usize] {
        &self.ends[..self.fields]
    }

    /// One field of spaces: a blank line, where there is more than one column.
    pub(crate) fn is_blank(&self) -> bool {
        self.fields == 1 && self.bytes[..self.len].trim_ascii().is_empty()
    }

    pub(crate) fn text(&self, row: u64) -> Result<&str, Error> {
        let bytes = &self.bytes[..self.len];
        match str::from_utf8(bytes) {
            Ok(text) if self.ends().iter().all(|&end| text.is_char_boundary(end)) => Ok(text),
            _ => Err(self.not_utf8(row)),
        }
    }

    #[cold]
    fn not_utf8(&self, row: u64) -> Error {
        let mut start = 0;
        for (field, &end) in (1..).zip(self.ends()) {
            if let Err(e) = str::from_utf8(&self.bytes[start..end]) {
                return Error::NotUtf8 {
                    place: self.place(row),
                    field,
                    byte: self.bytes[start + e.valid_up_to()],
                };
            }
            start = end;
        }
        unreachable!("the fields are UTF-8 and the record is not")
    }

    pub(crate) fn last_line(&self) -> u64 {
        self.line_ends + 1 - u64::from(self.ended_by_lf)
    }

    pub(crate) fn place(&self, row: u64) -> Place {
        Place { file: Arc::clone(&self.file), row, line: self.first_line }
    }
}

fn fill<'a>(source: &'a mut (dyn BufRead + Send), file: &Arc<str>) -> Result<&'a [u8], Error> {
    loop {
        match source.fill_buf() {
            Ok([]) => return Ok(&[]),
            Ok(_) => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(Error::Io { file: Arc::clone(file), source }),
        }
    }
    // Asked again, since a borrow cannot leave a loop: the buffer is there and nothing is read.
    source.fill_buf().map_err(|source| Error::Io { file: Arc::clone(file), source })
}

pub(crate) fn bytecount(bytes: &[u8], byte: u8) -> usize {
    bytes.iter().filter(|b| **b == byte).count()
}
