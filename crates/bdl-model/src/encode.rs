//! From cells to the numbers that a network sees.

use std::sync::Arc;

use crate::chunk::{Chunk, Row};
use crate::error::{Error, Place};
use crate::levels::LevelIndex;
use crate::names::{LEVELS_LISTED, excerpt};
use crate::row_buffer::RowBuffer;
use crate::schema::{ColumnMap, FeatureKind, Schema, TargetKind, product};
use crate::select::MissingPolicy;
use crate::table::{Cell, Table, is_missing};

/// Encodes rows as a [`Schema`] says. Cheap to clone, and may be shared by threads.
///
/// | feature | encoded as | missing, under `Impute` |
/// |---|---|---|
/// | numeric | `(x − mean) / std` | 0, the training mean |
/// | categorical | one-hot over its levels | its most frequent level |
/// | image | `byte / 255`, pixel after pixel | |
///
/// # Examples
///
/// ```
/// use bdl_model::{Chunk, Encoder, RowReader, Schema, SelectOptions, Table};
///
/// let text = "x,colour,y\n1,red,0\n3,blue,1\n";
/// let table = Table::from_reader(RowReader::from_reader("train.csv", text.as_bytes(), None)?)?;
/// let schema = Schema::infer(&table, &SelectOptions { target: "y".into(), ..Default::default() })?;
/// let encoder = Encoder::new(schema)?;
///
/// let mut reader = RowReader::from_reader("new.csv", "colour,id,x\nred,17,5\n".as_bytes(), None)?;
/// let map = encoder.schema().match_header(reader.file(), reader.columns())?;
/// let (mut chunk, mut rows) = (Chunk::new(), Vec::new());
/// reader.next_chunk(1000, &mut chunk)?;
/// encoder.encode_chunk(&chunk, &map, &mut rows)?;
/// assert_eq!(rows, [3.0, 0.0, 1.0]); // (5 − 2) / 1, colour=blue, colour=red
/// # Ok::<(), bdl_model::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Encoder {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    schema: Schema,
    width: usize,
    /// How each feature is encoded.
    codes: Vec<Code>,
    /// Positions of the features in the order of their names.
    by_name: Vec<usize>,
    classes: Option<LevelIndex>,
}

#[derive(Debug)]
pub(crate) enum Code {
    Numeric { mean: f64, std: f64 },
    Categorical { levels: LevelIndex, len: usize, most_frequent: usize },
    Image { len: usize },
}

/// A cell whose meaning is known.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value {
    Missing,
    Number(f64),
    Level(usize),
    /// Pixels, which stand elsewhere.
    Image,
}

impl Encoder {
    /// Prepares to encode as `schema` says.
    ///
    /// # Errors
    ///
    /// If the schema is not one that [`Schema::fit`] can have made.
    pub fn new(schema: Schema) -> Result<Encoder, Error> {
        schema.validate()?;
        let codes = schema.features.iter().map(|feature| code(&feature.kind)).collect::<Result<_, _>>()?;
        let classes = match &schema.target.kind {
            TargetKind::Class { names } => Some(level_index(names)?),
            _ => None,
        };
        let mut by_name: Vec<usize> = (0..schema.features.len()).collect();
        by_name.sort_by_key(|&i| &schema.features[i].name);
        Ok(Encoder { inner: Arc::new(Inner { width: schema.width(), schema, codes, by_name, classes }) })
    }

    /// The schema.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.inner.schema
    }

    /// Length of an encoded row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.inner.width
    }

    /// An empty row to fill by names.
    #[must_use]
    pub fn row(&self) -> RowBuffer {
        RowBuffer::new(self.clone())
    }

    /// Encodes one row of text into `out`; nothing is allocated.
    ///
    /// # Shapes
    ///
    /// `out`: `[width]`.
    ///
    /// # Errors
    ///
    /// If a cell is missing and not imputed, is no finite number where one belongs, or no known level.
    ///
    /// # Panics
    ///
    /// If `map` is not of the row's file.
    pub fn encode_row(&self, row: &Row<'_>, map: &ColumnMap, out: &mut [f32]) -> Result<(), Error> {
        self.check_len("encode_row: out", self.width(), out.len())?;
        self.check_len("encode_row: map.features", self.inner.codes.len(), map.features.len())?;
        let mut rest = out;
        for (feature, &column) in map.features.iter().enumerate() {
            let text = row.cell(column);
            let value =
                self.value(feature, text).map_err(|reason| reason.at(self, feature, text, row.place()))?;
            let (own, after) = rest.split_at_mut(self.feature_width(feature));
            let written = self.write(feature, value, own);
            written.map_err(|reason| reason.at(self, feature, text, row.place()))?;
            rest = after;
        }
        Ok(())
    }

    /// Replaces `out` by all rows of `chunk`, one behind the other.
    ///
    /// # Errors
    ///
    /// As [`Encoder::encode_row`], at the first bad row; `out` then holds the rows before it.
    pub fn encode_chunk(&self, chunk: &Chunk, map: &ColumnMap, out: &mut Vec<f32>) -> Result<(), Error> {
        out.clear();
        chunk.rows().try_for_each(|row| self.append_row(&row, map, out))
    }

    /// The rows `rows` of `table`, one behind the other.
    ///
    /// # Errors
    ///
    /// As [`Encoder::encode_row`].
    pub fn encode_table(&self, table: &Table, rows: &[usize], map: &ColumnMap) -> Result<Vec<f32>, Error> {
        let mut out = Vec::with_capacity(rows.len() * self.width());
        rows.iter().try_for_each(|&row| self.append_row(&table.row(row), map, &mut out))?;
        Ok(out)
    }

    /// Appends the encoded row to `out`, which is as it was if there is an error.
    pub(crate) fn append_row(&self, row: &Row<'_>, map: &ColumnMap, out: &mut Vec<f32>) -> Result<(), Error> {
        let start = out.len();
        out.resize(start + self.width(), 0.0);
        let encoded = self.encode_row(row, map, &mut out[start..]);
        if encoded.is_err() {
            out.truncate(start);
        }
        encoded
    }

    pub(crate) fn classes(&self) -> Option<&LevelIndex> {
        self.inner.classes.as_ref()
    }

    pub(crate) fn check_len(&self, what: &'static str, expected: usize, got: usize) -> Result<(), Error> {
        if expected == got { Ok(()) } else { Err(Error::Length { what, expected, got }) }
    }

    /// The position of the feature `name`; nothing is allocated.
    pub(crate) fn feature(&self, name: &str) -> Option<usize> {
        let Inner { schema, by_name, .. } = &*self.inner;
        let found = by_name.binary_search_by(|&i| schema.features[i].name.as_str().cmp(name));
        found.ok().map(|at| by_name[at])
    }

    pub(crate) fn feature_width(&self, feature: usize) -> usize {
        match &self.inner.codes[feature] {
            Code::Numeric { .. } => 1,
            Code::Categorical { len, .. } | Code::Image { len } => *len,
        }
    }

    /// What `text` means as a cell of `feature`.
    #[inline]
    pub(crate) fn value(&self, feature: usize, text: &str) -> Result<Value, Reason> {
        match &self.inner.codes[feature] {
            Code::Numeric { .. } => match Cell::parse(text) {
                Cell::Number(x) => Ok(Value::Number(x)),
                Cell::Missing => self.missing(),
                Cell::NotFinite(_) | Cell::Text(_) => Err(Reason::NotANumber),
            },
            Code::Categorical { levels, .. } => match levels.find(text.trim()) {
                Some(level) => Ok(Value::Level(level)),
                None if is_missing(text.trim()) => self.missing(),
                None => Err(Reason::UnknownLevel),
            },
            Code::Image { .. } => Err(Reason::NotPixels),
        }
    }

    /// What the number `x` means as a cell of `feature`.
    pub(crate) fn number(&self, feature: usize, x: f64) -> Result<Value, Reason> {
        match &self.inner.codes[feature] {
            _ if !x.is_finite() => Err(Reason::NotANumber),
            Code::Numeric { .. } => Ok(Value::Number(x)),
            Code::Categorical { levels, .. } => {
                levels.find_number(x).map(Value::Level).ok_or(Reason::UnknownLevel)
            }
            Code::Image { .. } => Err(Reason::NotPixels),
        }
    }

    pub(crate) fn missing(&self) -> Result<Value, Reason> {
        match self.schema().missing {
            MissingPolicy::Impute => Ok(Value::Missing),
            MissingPolicy::Error | MissingPolicy::Drop => Err(Reason::Missing),
        }
    }

    /// Writes `value` into the part of the row that is the feature's.
    #[inline]
    pub(crate) fn write(&self, feature: usize, value: Value, out: &mut [f32]) -> Result<(), Reason> {
        match (&self.inner.codes[feature], value) {
            (Code::Numeric { mean, std }, Value::Number(x)) => {
                out[0] = ((x - mean) / std) as f32;
                if out[0].is_finite() { Ok(()) } else { Err(Reason::OutOfRange) }
            }
            (Code::Categorical { most_frequent, .. }, value) => {
                out.fill(0.0);
                out[if let Value::Level(level) = value { level } else { *most_frequent }] = 1.0;
                Ok(())
            }
            (Code::Numeric { .. }, _) => {
                out[0] = 0.0;
                Ok(())
            }
            (Code::Image { .. }, _) => Err(Reason::NotPixels),
        }
    }
}

/// Why a cell cannot be encoded; the message is made where the place is known.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reason {
    NotANumber,
    OutOfRange,
    UnknownLevel,
    Missing,
    NotPixels,
}

impl Reason {
    #[cold]
    pub(crate) fn at(self, encoder: &Encoder, feature: usize, text: &str, place: Place) -> Error {
        let feature = &encoder.schema().features[feature];
        let (column, value) = (feature.name.clone(), excerpt(text.trim()));
        match (self, &feature.kind) {
            (Reason::UnknownLevel, FeatureKind::Categorical { levels, .. }) => {
                Error::unknown_level(place, &column, text.trim(), levels)
            }
            (Reason::OutOfRange, FeatureKind::Numeric { mean, .. }) => {
                Error::OutOfRange { place, column, value, mean: *mean }
            }
            (Reason::Missing, _) => Error::MissingCell { place, column, value },
            (Reason::NotPixels, _) => Error::NotPixels { column, value },
            _ => Error::NotANumber { place, column, value },
        }
    }
}

impl Error {
    pub(crate) fn unknown_level(place: Place, column: &str, value: &str, levels: &[String]) -> Error {
        let first = levels.iter().take(LEVELS_LISTED).cloned().collect();
        let (column, value) = (column.to_owned(), excerpt(value));
        Error::UnknownLevel { place, column, value, levels: first, total: levels.len() }
    }
}

fn code(kind: &FeatureKind) -> Result<Code, Error> {
    match kind {
        FeatureKind::Numeric { mean, std } => Ok(Code::Numeric { mean: *mean, std: *std }),
        FeatureKind::Categorical { levels, most_frequent } => Ok(Code::Categorical {
            levels: level_index(levels)?,
            len: levels.len(),
            most_frequent: *most_frequent as usize,
        }),
        FeatureKind::Image { sides } => Ok(Code::Image { len: product(sides) }),
    }
}

fn level_index(levels: &[String]) -> Result<LevelIndex, Error> {
    LevelIndex::new(levels)
        .ok_or_else(|| Error::Schema { what: "levels must be distinct and in order".to_owned() })
}
