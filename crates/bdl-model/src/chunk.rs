//! Rows of text in one buffer.

use std::sync::Arc;

use crate::error::Place;

/// A block of rows: the text of all cells in one buffer, which is reused.
///
/// [`RowReader::next_chunk`](crate::RowReader::next_chunk) fills it; once it has grown to the size of a
/// block, it allocates nothing.
#[derive(Debug, Clone)]
pub struct Chunk {
    pub(crate) file: Arc<str>,
    pub(crate) columns: usize,
    text: String,
    /// End of each cell in `text`; cell `c` of row `r` is entry `r * columns + c`.
    ends: Vec<usize>,
    /// Number and line of each row.
    places: Vec<(u64, u64)>,
}

impl Default for Chunk {
    fn default() -> Chunk {
        Chunk::new()
    }
}

impl Chunk {
    /// A chunk without rows.
    #[must_use]
    pub fn new() -> Chunk {
        Chunk { file: Arc::from(""), columns: 0, text: String::new(), ends: Vec::new(), places: Vec::new() }
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Row `index`, counted from 0 within the chunk.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    #[must_use]
    pub fn row(&self, index: usize) -> Row<'_> {
        assert!(index < self.len(), "row {index} of a chunk of {}", self.len());
        Row { chunk: self, index }
    }

    /// All rows in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        (0..self.len()).map(|index| Row { chunk: self, index })
    }

    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.places.clear();
    }

    /// Appends a row; `ends` are the ends of its cells in `text`.
    pub(crate) fn push(&mut self, text: &str, ends: &[usize], row: u64, line: u64) {
        debug_assert_eq!(ends.len(), self.columns);
        let start = self.text.len();
        self.text.push_str(text);
        self.ends.extend(ends.iter().map(|end| start + end));
        self.places.push((row, line));
    }

    pub(crate) fn cell(&self, row: usize, column: usize) -> &str {
        assert!(column < self.columns, "column {column} of {}", self.columns);
        let at = row * self.columns + column;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.text[start..self.ends[at]]
    }
}

/// One row of a [`Chunk`] or a [`Table`](crate::Table).
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    chunk: &'a Chunk,
    index: usize,
}

impl<'a> Row<'a> {
    /// The cell of `column`, as it stands in the file, without its quotes.
    ///
    /// # Panics
    ///
    /// If there is no such column.
    #[must_use]
    pub fn cell(&self, column: usize) -> &'a str {
        self.chunk.cell(self.index, column)
    }

    /// All cells in the file's order.
    pub fn cells(&self) -> impl ExactSizeIterator<Item = &'a str> + use<'a> {
        let (chunk, index) = (self.chunk, self.index);
        (0..chunk.columns).map(move |column| chunk.cell(index, column))
    }

    /// Number of the data row in the file, from 1.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.chunk.places[self.index].0
    }

    /// Line of the file in which the row begins, from 1.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.chunk.places[self.index].1
    }

    /// Where the row stands, for messages.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { file: Arc::clone(&self.chunk.file), row: self.number(), line: self.line() }
    }
}
