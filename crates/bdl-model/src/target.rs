//! From the target's cells to the numbers that a likelihood takes.

use std::sync::Arc;

use bdl_infer::Poisson;

use crate::chunk::{Chunk, Row};
use crate::encode::Encoder;
use crate::error::{Error, Place};
use crate::evaluate::Truth;
use crate::names::excerpt;
use crate::schema::{ColumnMap, Target, TargetKind};
use crate::table::{Cell, Table, is_missing};

/// The encoded targets of some rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// Standardized, `(y − mean) / std`; counts as they are.
    Real(Vec<f32>),
    /// Positions among the class names.
    Class(Vec<u32>),
}

impl Targets {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.view().len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As a likelihood takes them.
    #[must_use]
    pub fn view(&self) -> bdl_infer::Targets<'_> {
        match self {
            Targets::Real(y) => bdl_infer::Targets::Real(y),
            Targets::Class(y) => bdl_infer::Targets::Class(y),
        }
    }
}

impl Encoder {
    /// The encoded targets of `rows` of `table`.
    ///
    /// # Errors
    ///
    /// If the table has no target, or as [`Encoder::real_target`] and [`Encoder::class_target`].
    pub fn encode_targets(&self, table: &Table, rows: &[usize], map: &ColumnMap) -> Result<Targets, Error> {
        let column = self.target_column(map, &table.shared_file())?;
        self.targets(rows.iter().map(|&row| table.row(row)), column)
    }

    /// The encoded targets of all rows of `chunk`, which was read from `file`.
    ///
    /// # Errors
    ///
    /// As [`Encoder::encode_targets`].
    pub fn chunk_targets(&self, file: &str, chunk: &Chunk, map: &ColumnMap) -> Result<Targets, Error> {
        let column = self.target_column(map, &file.into())?;
        self.targets(chunk.rows(), column)
    }

    pub(crate) fn target_column(&self, map: &ColumnMap, file: &Arc<str>) -> Result<usize, Error> {
        let lacking = || Error::NoTarget { file: file.clone(), column: self.schema().target.name.clone() };
        map.target.ok_or_else(lacking)
    }

    fn targets<'a>(&self, rows: impl Iterator<Item = Row<'a>>, column: usize) -> Result<Targets, Error> {
        match self.classes() {
            None => {
                rows.map(|row| self.real_target(&row, column)).collect::<Result<_, _>>().map(Targets::Real)
            }
            Some(_) => {
                rows.map(|row| self.class_target(&row, column)).collect::<Result<_, _>>().map(Targets::Class)
            }
        }
    }

    /// The standardized target in `column` of a row.
    ///
    /// # Errors
    ///
    /// If the cell is missing, is no number that fits or no count where one belongs, or if the target is a class.
    pub fn real_target(&self, row: &Row<'_>, column: usize) -> Result<f32, Error> {
        self.both_targets(row, column).map(|(_, z)| z)
    }

    /// The targets of `rows` in their own units.
    pub(crate) fn truth<'a>(
        &self,
        rows: impl Iterator<Item = Row<'a>>,
        column: usize,
    ) -> Result<Truth, Error> {
        match self.classes() {
            None => {
                let own = |row| self.both_targets(&row, column).map(|(y, _)| y);
                rows.map(own).collect::<Result<_, _>>().map(Truth::Real)
            }
            Some(_) => {
                rows.map(|row| self.class_target(&row, column)).collect::<Result<_, _>>().map(Truth::Class)
            }
        }
    }

    /// The target of a row in its own units and standardized.
    fn both_targets(&self, row: &Row<'_>, column: usize) -> Result<(f64, f32), Error> {
        let Target { name, kind } = &self.schema().target;
        let Some((mean, std)) = kind.moments() else { return Err(self.not("a real number")) };
        let text = row.cell(column);
        let place = || row.place();
        match Cell::parse(text) {
            Cell::Number(y) if matches!(kind, TargetKind::Count { .. }) && !Poisson::is_count(y) => {
                Err(Error::NotACount { place: place(), column: name.clone(), value: excerpt(text.trim()) })
            }
            Cell::Number(y) => match ((y - mean) / std) as f32 {
                z if z.is_finite() => Ok((y, z)),
                _ => Err(Error::OutOfRange {
                    place: place(),
                    column: name.clone(),
                    value: excerpt(text.trim()),
                    mean,
                }),
            },
            Cell::Missing => Err(missing_target(place(), name, text)),
            _ => Err(Error::NotANumber { place: place(), column: name.clone(), value: excerpt(text.trim()) }),
        }
    }

    /// The position of the class in `column` of a row.
    ///
    /// # Errors
    ///
    /// If the cell is missing or is no known class, or if the target is real.
    pub fn class_target(&self, row: &Row<'_>, column: usize) -> Result<u32, Error> {
        let Some(classes) = self.classes() else { return Err(self.not("a class")) };
        let text = row.cell(column).trim();
        let name = &self.schema().target.name;
        match classes.find(text) {
            Some(class) => Ok(class as u32),
            None if is_missing(text) => Err(missing_target(row.place(), name, text)),
            None => Err(Error::unknown_level(row.place(), name, text, self.schema().class_names())),
        }
    }

    fn not(&self, what: &str) -> Error {
        Error::column(&self.schema().target.name, &format!("must be {what}"))
    }
}

fn missing_target(place: Place, column: &str, text: &str) -> Error {
    Error::MissingTarget { place, column: column.to_owned(), value: excerpt(text.trim()) }
}
