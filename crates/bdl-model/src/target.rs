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
    /// Those of several targets, each as above.
    Several {
        /// `[rows, targets]`.
        z: Vec<f32>,
        /// Numbers of a row.
        targets: usize,
    },
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
            &Targets::Several { ref z, targets } => bdl_infer::Targets::Several { y: z, targets },
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
        let columns = self.target_columns(map, &table.shared_file())?;
        self.targets(rows.iter().map(|&row| table.row(row)), &columns)
    }

    /// The encoded targets of all rows of `chunk`, which was read from `file`.
    ///
    /// # Errors
    ///
    /// As [`Encoder::encode_targets`].
    pub fn chunk_targets(&self, file: &str, chunk: &Chunk, map: &ColumnMap) -> Result<Targets, Error> {
        let columns = self.target_columns(map, &file.into())?;
        self.targets(chunk.rows(), &columns)
    }

    /// Where all targets are.
    pub(crate) fn target_columns(&self, map: &ColumnMap, file: &Arc<str>) -> Result<Vec<usize>, Error> {
        let found = |(at, target): (&Option<usize>, &Target)| {
            at.ok_or_else(|| Error::NoTarget { file: file.clone(), column: target.name.clone() })
        };
        map.targets.iter().zip(self.schema().targets()).map(found).collect()
    }

    fn targets<'a>(&self, rows: impl Iterator<Item = Row<'a>>, columns: &[usize]) -> Result<Targets, Error> {
        if self.classes().is_some() {
            let classes = rows.map(|row| self.class_target(&row, columns[0]));
            return classes.collect::<Result<_, _>>().map(Targets::Class);
        }
        let numbers = self.numbers(rows, columns, |(_, z)| z)?;
        Ok(match columns.len() {
            1 => Targets::Real(numbers),
            targets => Targets::Several { z: numbers, targets },
        })
    }

    /// The standardized target in `column` of a row with one.
    ///
    /// # Errors
    ///
    /// If the cell is missing, is no number that fits or no count where one belongs, or if the target is a class or several.
    pub fn real_target(&self, row: &Row<'_>, column: usize) -> Result<f32, Error> {
        both_targets(&self.schema().target, row, column).map(|(_, z)| z)
    }

    /// The targets of `rows` in their own units.
    pub(crate) fn truth<'a>(
        &self,
        rows: impl Iterator<Item = Row<'a>>,
        columns: &[usize],
    ) -> Result<Truth, Error> {
        if self.classes().is_some() {
            let classes = rows.map(|row| self.class_target(&row, columns[0]));
            return classes.collect::<Result<_, _>>().map(Truth::Class);
        }
        Ok(Truth::Real { y: self.numbers(rows, columns, |(y, _)| y)?, targets: columns.len() })
    }

    /// A number of each target of each row, `[rows, targets]`.
    fn numbers<'a, T>(
        &self,
        rows: impl Iterator<Item = Row<'a>>,
        columns: &[usize],
        choose: impl Fn((f64, f32)) -> T,
    ) -> Result<Vec<T>, Error> {
        let mut numbers = Vec::with_capacity(columns.len() * rows.size_hint().0);
        for row in rows {
            for (target, &column) in self.schema().targets().iter().zip(columns) {
                numbers.push(choose(both_targets(target, &row, column)?));
            }
        }
        Ok(numbers)
    }

    /// The position of the class in `column` of a row.
    ///
    /// # Errors
    ///
    /// If the cell is missing or is no known class, or if the target is real.
    pub fn class_target(&self, row: &Row<'_>, column: usize) -> Result<u32, Error> {
        let Some(classes) = self.classes() else { return Err(not(&self.schema().target, "a class")) };
        let text = row.cell(column).trim();
        let name = &self.schema().target.name;
        match classes.find(text) {
            Some(class) => Ok(class as u32),
            None if is_missing(text) => Err(missing_target(row.place(), name, text)),
            None => Err(Error::unknown_level(row.place(), name, text, self.schema().class_names())),
        }
    }
}

/// The number of a target in `column` of a row, in its own units and standardized.
fn both_targets(target: &Target, row: &Row<'_>, column: usize) -> Result<(f64, f32), Error> {
    let Target { name, kind } = target;
    let Some((mean, std)) = kind.moments() else { return Err(not(target, "a real number")) };
    let text = row.cell(column);
    let value = || (name.clone(), excerpt(text.trim()));
    match Cell::parse(text) {
        Cell::Number(y) if matches!(kind, TargetKind::Count { .. }) && !Poisson::is_count(y) => {
            let (column, value) = value();
            Err(Error::NotACount { place: row.place(), column, value })
        }
        Cell::Number(y) => match ((y - mean) / std) as f32 {
            z if z.is_finite() => Ok((y, z)),
            _ => {
                let (column, value) = value();
                Err(Error::OutOfRange { place: row.place(), column, value, mean })
            }
        },
        Cell::Missing => Err(missing_target(row.place(), name, text)),
        _ => {
            let (column, value) = value();
            Err(Error::NotANumber { place: row.place(), column, value })
        }
    }
}

fn not(target: &Target, what: &str) -> Error {
    Error::column(&target.name, &format!("must be {what}"))
}

fn missing_target(place: Place, column: &str, text: &str) -> Error {
    Error::MissingTarget { place, column: column.to_owned(), value: excerpt(text.trim()) }
}
