//! Which task a table is for.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::table::{Cell, ColumnKind, Table};

/// The most distinct integers of a target that [`TaskChoice::Auto`] takes for classes.
pub const AUTO_CLASSES: usize = 10;

/// What a model predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// A real number.
    Regression,
    /// One of several classes.
    Classification,
}

impl std::fmt::Display for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Task::Regression => "regression",
            Task::Classification => "classification",
        })
    }
}

/// How the task is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TaskChoice {
    /// Classification if the target is text, is listed as categorical, or has integers only and at most
    /// [`AUTO_CLASSES`] distinct ones; else regression.
    #[default]
    Auto,
    /// This one.
    Is(Task),
    /// Regression of counts: whole numbers from 0 on, which are not standardized.
    Counts,
    /// Classification into two classes.
    TwoClasses,
}

/// Several targets are numbers, whatever they look like.
pub(super) fn task_of_several(
    table: &Table,
    targets: &[usize],
    choice: TaskChoice,
    categorical: &[usize],
) -> Result<Task, Error> {
    let names =
        || targets.iter().map(|&target| table.columns()[target].clone()).collect::<Vec<_>>().join(",");
    let classes = matches!(choice, TaskChoice::Is(Task::Classification) | TaskChoice::TwoClasses);
    if classes || targets.iter().any(|target| categorical.contains(target)) {
        let expected = "one column of classes, or several of numbers";
        return Err(Error::Argument {
            what: "--target",
            expected,
            got: format!("{:?} for classes", names()),
        });
    }
    let all: Vec<usize> = (0..table.rows()).collect();
    targets.iter().try_for_each(|&target| table.numbers(target, &all).map(|_| ()))?;
    Ok(Task::Regression)
}

pub(super) fn task(
    table: &Table,
    target: usize,
    choice: TaskChoice,
    categorical: bool,
) -> Result<Task, Error> {
    match choice {
        TaskChoice::Is(Task::Regression) | TaskChoice::Counts => {
            let rows: Vec<usize> = (0..table.rows()).collect();
            table.numbers(target, &rows).map(|_| Task::Regression)
        }
        TaskChoice::Is(Task::Classification) | TaskChoice::TwoClasses => Ok(Task::Classification),
        TaskChoice::Auto if categorical || table.kind(target)? == ColumnKind::Categorical => {
            Ok(Task::Classification)
        }
        TaskChoice::Auto if has_few_integers(table, target) => Ok(Task::Classification),
        TaskChoice::Auto => Ok(Task::Regression),
    }
}

fn has_few_integers(table: &Table, column: usize) -> bool {
    let mut seen: Vec<f64> = Vec::with_capacity(AUTO_CLASSES + 1);
    for row in 0..table.rows() {
        let Cell::Number(x) = Cell::parse(table.cell(row, column)) else { continue };
        if !seen.contains(&x) {
            seen.push(x);
        }
        if x.fract() != 0.0 || seen.len() > AUTO_CLASSES {
            return false;
        }
    }
    true
}
