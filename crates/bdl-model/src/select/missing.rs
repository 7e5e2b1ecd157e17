//! Missing cells: which rows they leave.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::names::excerpt;
use crate::table::{Table, is_missing};

/// What is done about missing cells of the features and the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum MissingPolicy {
    /// They are an error.
    #[default]
    Error,
    /// Training leaves out rows that have any; in prediction they are an error of the row.
    Drop,
    /// Features take the training rows' mean or most frequent level. A missing target is an error
    /// nevertheless.
    Impute,
}

/// The rows that the policy leaves.
pub(super) fn rows(
    table: &Table,
    features: &[usize],
    targets: &[usize],
    policy: MissingPolicy,
) -> Result<Vec<usize>, Error> {
    let mut used = features.to_vec();
    if policy != MissingPolicy::Impute {
        used.extend_from_slice(targets);
        used.sort_unstable();
    }
    let gaps = |row: usize, columns: &[usize]| {
        columns.iter().copied().find(|&c| is_missing(table.cell(row, c).trim()))
    };
    match policy {
        MissingPolicy::Error => match (0..table.rows()).find_map(|row| gaps(row, &used).map(|c| (row, c))) {
            Some((row, column)) => Err(missing(table, row, column, &used)),
            None => Ok((0..table.rows()).collect()),
        },
        MissingPolicy::Drop => {
            let kept: Vec<usize> = (0..table.rows()).filter(|&row| gaps(row, &used).is_none()).collect();
            match kept.is_empty() {
                true => Err(all_dropped(table, &used)),
                false => Ok(kept),
            }
        }
        MissingPolicy::Impute => match (0..table.rows()).find_map(|row| gaps(row, targets).map(|c| (row, c)))
        {
            Some((row, target)) => Err(missing_target(table, row, target)),
            None => Ok((0..table.rows()).collect()),
        },
    }
}

fn missing(table: &Table, row: usize, column: usize, used: &[usize]) -> Error {
    Error::Missing {
        place: table.place(row),
        column: table.columns()[column].clone(),
        value: excerpt(table.cell(row, column).trim()),
        counts: missing_counts(table, used),
    }
}

fn all_dropped(table: &Table, used: &[usize]) -> Error {
    Error::AllDropped { file: table.shared_file(), rows: table.rows(), counts: missing_counts(table, used) }
}

pub(super) fn missing_target(table: &Table, row: usize, target: usize) -> Error {
    Error::MissingTarget {
        place: table.place(row),
        column: table.columns()[target].clone(),
        value: excerpt(table.cell(row, target).trim()),
    }
}

/// Missing cells of each column that has any.
fn missing_counts(table: &Table, columns: &[usize]) -> Vec<(String, usize)> {
    let count = |&c: &usize| (0..table.rows()).filter(|&row| is_missing(table.cell(row, c).trim())).count();
    let counts = columns.iter().map(|c| (table.columns()[*c].clone(), count(c)));
    counts.filter(|(_, n)| *n > 0).collect()
}
