//! Which columns and rows of a table a model is trained on, and for which task.

mod missing;
mod task;

use bdl_infer::Poisson;

use crate::error::Error;
use crate::levels::{LevelIndex, distinct};
use crate::names::excerpt;
use crate::table::{ColumnKind, Table, is_missing};

pub use missing::MissingPolicy;
use missing::{missing_target, rows};
pub use task::{AUTO_CLASSES, Task, TaskChoice};
use task::{task, task_of_several};

/// The most levels of a categorical feature; a column with more is one of identifiers or free text.
pub const MAX_LEVELS: usize = 255;

/// The most classes of a target.
pub const MAX_CLASSES: usize = 1000;

/// What [`Selection::new`] is told.
///
/// | name | default | meaning |
/// |---|---|---|
/// | `target` | – | the column to predict, or several of numbers, separated by commas |
/// | `task` | `Auto` | regression or classification |
/// | `ignore` | none | columns that are no features |
/// | `categorical` | none | columns of numbers that are categories |
/// | `missing` | `Error` | what is done about missing cells |
#[derive(Debug, Clone, Default)]
pub struct SelectOptions {
    /// The column to predict. If there is none of this name, several of numbers, separated by commas.
    pub target: String,
    /// Regression or classification.
    pub task: TaskChoice,
    /// Columns that are no features.
    pub ignore: Vec<String>,
    /// Columns of numbers that are categories.
    pub categorical: Vec<String>,
    /// What is done about missing cells.
    pub missing: MissingPolicy,
}

/// A column of a table and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedColumn {
    /// Its position in the table.
    pub index: usize,
    /// Its levels or classes in order, if it has them; `None` for numbers.
    pub levels: Option<Vec<String>>,
}

/// The columns and rows of a table that a model is trained and validated on.
///
/// Levels and classes are those of all selected rows, so that a rare one that happens to be in the validation
/// rows is known; means and standard deviations come later, from the training rows alone
/// ([`Schema::fit`](crate::Schema::fit)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Features in the table's order.
    pub features: Vec<SelectedColumn>,
    /// The target, or the first of several.
    pub target: SelectedColumn,
    /// Positions of further targets, all of numbers.
    pub further_targets: Vec<usize>,
    /// Whether the target is a count.
    pub counts: bool,
    /// What to do about missing cells.
    pub missing: MissingPolicy,
    /// Positions of the rows, ascending.
    pub rows: Vec<usize>,
}

impl Selection {
    /// Chooses columns, task and rows.
    ///
    /// # Errors
    ///
    /// If an option names no column, if nothing is left to predict from, if a column is neither numbers nor
    /// categories, if it has too many categories, or if missing cells are not allowed.
    pub fn new(table: &Table, options: &SelectOptions) -> Result<Selection, Error> {
        let targets = targets(table, &options.target)?;
        let target = targets[0];
        let ignore = columns(table, "--ignore", &options.ignore)?;
        let categorical = columns(table, "--categorical", &options.categorical)?;
        if let Some(target) = targets.iter().find(|target| ignore.contains(target)) {
            return Err(Error::TargetIgnored { name: table.columns()[*target].clone() });
        }
        let features: Vec<usize> =
            (0..table.columns().len()).filter(|c| !targets.contains(c) && !ignore.contains(c)).collect();
        if features.is_empty() {
            return Err(Error::NoFeatures { file: table.shared_file(), target: options.target.clone() });
        }
        let kinds = kinds(table, &features, &categorical)?;
        let task = match targets.len() {
            1 => task(table, target, options.task, categorical.contains(&target)).map_err(|e| match e {
                // Its advice to ignore the column would not do.
                Error::EmptyColumn { .. } => missing_target(table, 0, target),
                other => other,
            })?,
            _ => task_of_several(table, &targets, options.task, &categorical)?,
        };
        let rows = rows(table, &features, &targets, options.missing)?;

        let with_levels = |(&index, &kind): (&usize, &ColumnKind)| match kind {
            ColumnKind::Numeric => Ok(SelectedColumn { index, levels: None }),
            ColumnKind::Categorical => select_levels(table, index, &rows, MAX_LEVELS, FEATURE_HINT),
        };
        let features = features.iter().zip(&kinds).map(with_levels).collect::<Result<_, _>>()?;
        let target = match task {
            Task::Regression => SelectedColumn { index: target, levels: None },
            Task::Classification => select_classes(table, target, &rows, options.task)?,
        };
        let counts = options.task == TaskChoice::Counts;
        if counts {
            targets.iter().try_for_each(|&target| check_counts(table, target, &rows))?;
        }
        let further_targets = targets[1..].to_vec();
        Ok(Selection { features, target, further_targets, counts, missing: options.missing, rows })
    }

    /// The task.
    #[must_use]
    pub fn task(&self) -> Task {
        if self.target.levels.is_some() { Task::Classification } else { Task::Regression }
    }

    /// Positions of all targets.
    #[must_use]
    pub fn targets(&self) -> Vec<usize> {
        [&[self.target.index], &self.further_targets[..]].concat()
    }

    /// How many rows of `table` were left out for their missing cells.
    #[must_use]
    pub fn dropped(&self, table: &Table) -> usize {
        table.rows() - self.rows.len()
    }
}

/// The column of this name, or those of the names in it.
fn targets(table: &Table, spec: &str) -> Result<Vec<usize>, Error> {
    if !spec.contains(',') || table.columns().iter().any(|name| name == spec) {
        return Ok(vec![table.column("--target", spec)?]);
    }
    let names: Vec<String> = spec.split(',').map(|name| name.trim().to_owned()).collect();
    let targets = columns(table, "--target", &names)?;
    match (1..targets.len()).find(|&at| targets[..at].contains(&targets[at])) {
        Some(at) => {
            let got = format!("{:?} twice", names[at]);
            Err(Error::Argument { what: "--target", expected: "different columns", got })
        }
        None => Ok(targets),
    }
}

fn columns(table: &Table, flag: &'static str, names: &[String]) -> Result<Vec<usize>, Error> {
    names.iter().map(|name| table.column(flag, name)).collect()
}

fn kinds(table: &Table, features: &[usize], categorical: &[usize]) -> Result<Vec<ColumnKind>, Error> {
    let kind = |&column: &usize| match categorical.contains(&column) {
        true => Ok(ColumnKind::Categorical),
        false => table.kind(column),
    };
    features.iter().map(kind).collect()
}

fn check_counts(table: &Table, target: usize, rows: &[usize]) -> Result<(), Error> {
    let is_count = |y: &Option<f64>| y.is_none_or(Poisson::is_count);
    match table.numbers(target, rows)?.iter().position(|y| !is_count(y)) {
        None => Ok(()),
        Some(at) => Err(Error::NotACount {
            place: table.place(rows[at]),
            column: table.columns()[target].clone(),
            value: excerpt(table.cell(rows[at], target).trim()),
        }),
    }
}

const FEATURE_HINT: &str = "if these are identifiers or free text, leave the column out with --ignore";
const TARGET_HINT: &str = "a target of numbers is predicted by --task regression";

fn select_classes(
    table: &Table,
    target: usize,
    rows: &[usize],
    choice: TaskChoice,
) -> Result<SelectedColumn, Error> {
    if choice != TaskChoice::TwoClasses {
        return select_levels(table, target, rows, MAX_CLASSES, TARGET_HINT);
    }
    let target = select_levels(table, target, rows, usize::MAX, TARGET_HINT)?;
    check_two_classes(table, &target, rows)?;
    Ok(target)
}

/// Names the first cell that is of neither class of the rows before it.
fn check_two_classes(table: &Table, target: &SelectedColumn, rows: &[usize]) -> Result<(), Error> {
    let names = target.levels.as_deref().unwrap_or_default();
    let Some(index) = LevelIndex::new(names) else { return Ok(()) };
    let mut seen: Vec<usize> = Vec::with_capacity(2);
    for &row in rows {
        let cell = table.cell(row, target.index).trim();
        match (index.find(cell), &seen[..]) {
            (Some(class), seen) if seen.contains(&class) => {}
            (Some(_), [first, second]) => {
                return Err(Error::ThirdClass {
                    place: table.place(row),
                    column: table.columns()[target.index].clone(),
                    classes: Box::new([first, second].map(|&class| excerpt(&names[class]))),
                    value: excerpt(cell),
                });
            }
            (Some(class), _) => seen.push(class),
            (None, _) => {}
        }
    }
    Ok(())
}

fn select_levels(
    table: &Table,
    index: usize,
    rows: &[usize],
    limit: usize,
    hint: &'static str,
) -> Result<SelectedColumn, Error> {
    let cells = rows.iter().map(|&row| table.cell(row, index).trim()).filter(|cell| !is_missing(cell));
    let levels = distinct(cells);
    match levels.len() {
        0 => Err(table.empty_column(index, "the selected rows")),
        got if got > limit => {
            let column = table.columns()[index].clone();
            Err(Error::TooManyLevels { file: table.shared_file(), column, limit, got, hint })
        }
        _ => Ok(SelectedColumn { index, levels: Some(levels) }),
    }
}
