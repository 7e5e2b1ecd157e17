//! Means, standard deviations and most frequent levels of the training rows.

use crate::error::Error;
use crate::levels::LevelIndex;
use crate::names::excerpt;
use crate::schema::{Feature, FeatureKind, Schema, Target, TargetKind};
use crate::select::{SelectedColumn, Selection};
use crate::table::{Table, is_missing};

impl Schema {
    /// Takes means, standard deviations and most frequent levels from the rows `train` of `table`, which are
    /// some of
    /// `selection.rows`.
    ///
    /// # Errors
    ///
    /// If a feature has no value in these rows, or if the target has only one.
    pub fn fit(table: &Table, selection: &Selection, train: &[usize]) -> Result<Schema, Error> {
        let feature = |column: &SelectedColumn| {
            let kind = match &column.levels {
                None => fit_numeric(table, column.index, train)?,
                Some(levels) => fit_categorical(table, column.index, levels, train)?,
            };
            Ok(Feature { name: table.columns()[column.index].clone(), kind })
        };
        Ok(Schema {
            features: selection.features.iter().map(feature).collect::<Result<_, Error>>()?,
            target: fit_target(table, selection, train)?,
            missing: selection.missing,
        })
    }
}

fn fit_numeric(table: &Table, column: usize, rows: &[usize]) -> Result<FeatureKind, Error> {
    let numbers: Vec<f64> = table.numbers(column, rows)?.into_iter().flatten().collect();
    let moments = Moments::of(&numbers).ok_or_else(|| table.empty_column(column, "the training rows"))?;
    moments.check(table, column)?;
    let std = if moments.std > 0.0 { moments.std } else { 1.0 };
    Ok(FeatureKind::Numeric { mean: moments.mean, std })
}

fn fit_categorical(
    table: &Table,
    column: usize,
    levels: &[String],
    rows: &[usize],
) -> Result<FeatureKind, Error> {
    let counts = level_counts(table, column, levels, rows)?;
    // `max_by_key` takes the last of equals, and so the first from behind.
    match counts.iter().enumerate().rev().max_by_key(|(_, count)| **count) {
        Some((level, &count)) if count > 0 => {
            Ok(FeatureKind::Categorical { levels: levels.to_vec(), most_frequent: level as u32 })
        }
        _ => Err(table.empty_column(column, "the training rows")),
    }
}

fn level_counts(
    table: &Table,
    column: usize,
    levels: &[String],
    rows: &[usize],
) -> Result<Vec<usize>, Error> {
    let name = &table.columns()[column];
    let index =
        LevelIndex::new(levels).ok_or_else(|| Error::column(name, "must have distinct levels in order"))?;
    let mut counts = vec![0; levels.len()];
    for &row in rows {
        let cell = table.cell(row, column).trim();
        match index.find(cell) {
            Some(level) => counts[level] += 1,
            None if is_missing(cell) => {}
            None => return Err(Error::unknown_level(table.place(row), name, cell, levels)),
        }
    }
    Ok(counts)
}

fn fit_target(table: &Table, selection: &Selection, rows: &[usize]) -> Result<Target, Error> {
    let column = selection.target.index;
    if let Some(names) = &selection.target.levels {
        let kind = fit_class_target(table, column, names, rows)?;
        return Ok(Target { name: table.columns()[column].clone(), kind });
    }
    let number = |column| fit_number_target(table, column, selection.counts, rows);
    if selection.further_targets.is_empty() {
        return number(column);
    }
    let targets = selection.targets().into_iter().map(number).collect::<Result<Vec<_>, _>>()?;
    let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    Ok(Target { name: names.join(","), kind: TargetKind::Several { targets } })
}

fn fit_number_target(table: &Table, column: usize, counts: bool, rows: &[usize]) -> Result<Target, Error> {
    let kind = match (counts, fit_real_target(table, column, rows)?) {
        (true, TargetKind::Real { mean, .. }) => TargetKind::Count { mean },
        (_, kind) => kind,
    };
    Ok(Target { name: table.columns()[column].clone(), kind })
}

fn fit_real_target(table: &Table, column: usize, rows: &[usize]) -> Result<TargetKind, Error> {
    let numbers: Vec<f64> = table.numbers(column, rows)?.into_iter().flatten().collect();
    let moments = Moments::of(&numbers).ok_or_else(|| table.empty_column(column, "the training rows"))?;
    moments.check(table, column)?;
    if moments.std > 0.0 {
        return Ok(TargetKind::Real { mean: moments.mean, std: moments.std });
    }
    let name = table.columns()[column].clone();
    Err(Error::ConstantTarget { file: table.shared_file(), column: name, value: moments.min })
}

fn fit_class_target(
    table: &Table,
    column: usize,
    names: &[String],
    rows: &[usize],
) -> Result<TargetKind, Error> {
    let counts = level_counts(table, column, names, rows)?;
    let mut seen = names.iter().zip(&counts).filter(|(_, count)| **count > 0).map(|(name, _)| name);
    match (seen.next(), seen.next()) {
        (Some(_), Some(_)) => Ok(TargetKind::Class { names: names.to_vec() }),
        (None, _) => Err(table.empty_column(column, "the training rows")),
        (Some(class), None) => Err(Error::OneClass {
            file: table.shared_file(),
            column: table.columns()[column].clone(),
            class: excerpt(class),
        }),
    }
}

/// Mean, population standard deviation and range of a column.
struct Moments {
    mean: f64,
    std: f64,
    min: f64,
    max: f64,
}

impl Moments {
    /// `None` without values.
    ///
    /// The deviations are divided by the greatest of them before they are squared, so that no square over- or
    /// underflows; values that are all alike have exactly themselves as mean, and 0 as std.
    fn of(values: &[f64]) -> Option<Moments> {
        let min = values.iter().copied().reduce(f64::min)?;
        let max = values.iter().copied().fold(min, f64::max);
        if min == max {
            return Some(Moments { mean: min, std: 0.0, min, max });
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let scale = (max - mean).max(mean - min);
        let squares: f64 = values.iter().map(|x| ((x - mean) / scale).powi(2)).sum();
        Some(Moments { mean, std: scale * (squares / n).sqrt(), min, max })
    }

    fn check(&self, table: &Table, column: usize) -> Result<(), Error> {
        if self.mean.is_finite() && self.std.is_finite() {
            return Ok(());
        }
        let column = table.columns()[column].clone();
        Err(Error::ColumnRange { file: table.shared_file(), column, min: self.min, max: self.max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_population() {
        let m = Moments::of(&[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!((m.mean, m.std), (2.5, 1.25_f64.sqrt()));
        assert!(Moments::of(&[]).is_none());
    }

    #[test]
    fn equal_values_have_no_spread_whatever_their_sum_rounds_to() {
        let m = Moments::of(&[0.1; 10]).unwrap();
        assert_eq!((m.mean, m.std), (0.1, 0.0));
    }

    #[test]
    fn tiny_and_huge_values_keep_their_spread() {
        assert_eq!(Moments::of(&[0.0, 2e-200]).unwrap().std, 1e-200);
        assert_eq!(Moments::of(&[-1e200, 1e200]).unwrap().std, 1e200);
        assert!(!Moments::of(&[f64::MAX, f64::MAX, 0.0]).unwrap().mean.is_finite());
    }
}
