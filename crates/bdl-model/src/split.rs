//! Which rows train and which validate.
//!
//! Nothing here is random: where chance decides, the caller hands in a permutation.

use crate::error::Error;
use crate::levels::distinct;
use crate::table::{Cell, Table, is_missing};

/// Positions of the rows on either side, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Rows to train on, at least one.
    pub train: Vec<usize>,
    /// Rows to validate on, at least one.
    pub valid: Vec<usize>,
}

/// What a column says about splitting, for each row.
///
/// Equal values have equal entries; entries are 0, 1, … without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SplitKey {
    /// The values have an order: numbers, or dates such as `2026-01-31`. See [`split_by_order`].
    Ordered(Vec<usize>),
    /// The values are names of groups. See [`split_by_group`].
    Groups(Vec<usize>),
}

/// Holds out the first `fraction` of `permutation`, which is one of `0..n`.
///
/// At least one row stands on either side.
///
/// # Errors
///
/// If `fraction` is not in (0, 1) or if there are fewer than two rows.
///
/// # Examples
///
/// ```
/// let split = bdl_model::split_by_fraction(&[3, 0, 2, 1], 0.5)?;
/// assert_eq!((split.train, split.valid), (vec![1, 2], vec![0, 3]));
/// # Ok::<(), bdl_model::Error>(())
/// ```
pub fn split_by_fraction(permutation: &[usize], fraction: f64) -> Result<Split, Error> {
    check_fraction(fraction)?;
    check_count("--valid", "rows", permutation.len())?;
    let (valid, train) = permutation.split_at(wanted(permutation.len(), fraction));
    let sorted = |rows: &[usize]| {
        let mut rows = rows.to_vec();
        rows.sort_unstable();
        rows
    };
    Ok(Split { train: sorted(train), valid: sorted(valid) })
}

/// Holds out the rows with the last values, about `fraction` of all; equal values stay together.
///
/// `ranks` has an entry for each row: 0 for the first value, 1 for the next. Of the two cuts beside the
/// wanted number of rows the nearer one is taken, or the one with fewer rows held out.
///
/// # Errors
///
/// If `fraction` is not in (0, 1) or if there are fewer than two values.
///
/// # Examples
///
/// ```
/// let split = bdl_model::split_by_order(&[0, 2, 1, 1, 0], 0.5)?;
/// assert_eq!((split.train, split.valid), (vec![0, 4], vec![1, 2, 3]));
/// # Ok::<(), bdl_model::Error>(())
/// ```
pub fn split_by_order(ranks: &[usize], fraction: f64) -> Result<Split, Error> {
    let last_first: Vec<usize> = (0..groups(ranks)).rev().collect();
    hold_out(ranks, fraction, &last_first)
}

/// Holds out whole groups, about `fraction` of all rows, in the order of `permutation`, which is one of the
/// groups.
///
/// `group` has an entry for each row. Of the two cuts beside the wanted number of rows the nearer one is
/// taken.
///
/// # Errors
///
/// If `fraction` is not in (0, 1), if there are fewer than two groups, or if `permutation` is not of their
/// number.
pub fn split_by_group(group: &[usize], fraction: f64, permutation: &[usize]) -> Result<Split, Error> {
    let expected = groups(group);
    if permutation.len() != expected {
        return Err(Error::Length { what: "split_by_group: permutation", expected, got: permutation.len() });
    }
    hold_out(group, fraction, permutation)
}

/// Number of groups or ranks.
fn groups(of: &[usize]) -> usize {
    of.iter().max().map_or(0, |max| max + 1)
}

fn hold_out(group: &[usize], fraction: f64, order: &[usize]) -> Result<Split, Error> {
    check_fraction(fraction)?;
    check_count("--valid-by", "different values", order.len())?;
    let mut sizes = vec![0_usize; order.len()];
    group.iter().for_each(|&g| sizes[g] += 1);

    let wanted = wanted(group.len(), fraction);
    let mut held = vec![false; order.len()];
    let mut rows = 0_usize;
    for (i, &g) in order[..order.len() - 1].iter().enumerate() {
        let with = rows + sizes[g];
        if i > 0 && with.abs_diff(wanted) >= rows.abs_diff(wanted) {
            break;
        }
        held[g] = true;
        rows = with;
    }
    let (valid, train) = (0..group.len()).partition(|&row| held[group[row]]);
    Ok(Split { train, valid })
}

/// The nearest whole number of rows that leaves both sides some.
fn wanted(rows: usize, fraction: f64) -> usize {
    ((rows as f64 * fraction).round() as usize).clamp(1, rows.max(2) - 1)
}

fn check_fraction(got: f64) -> Result<(), Error> {
    if got > 0.0 && got < 1.0 { Ok(()) } else { Err(Error::Fraction { got }) }
}

fn check_count(flag: &'static str, what: &'static str, got: usize) -> Result<(), Error> {
    if got >= 2 { Ok(()) } else { Err(Error::SplitTooSmall { flag, what, got }) }
}

/// The key of `column` of `table` for `rows`.
///
/// Numbers and ISO dates (`2026-01-31`, with or without a time behind it) are ordered; other text names
/// groups, and then an entry's number is its place among the sorted names.
///
/// # Errors
///
/// If a cell is missing.
pub fn split_key(table: &Table, rows: &[usize], column: usize) -> Result<SplitKey, Error> {
    let cell = |row: usize| table.cell(row, column).trim();
    if let Some(&row) = rows.iter().find(|&&row| is_missing(cell(row))) {
        let name = table.columns()[column].clone();
        return Err(Error::MissingSplitCell {
            place: table.place(row),
            column: name,
            value: cell(row).to_owned(),
        });
    }
    let names = distinct(rows.iter().map(|&row| cell(row)));
    let numbers: Option<Vec<f64>> = rows.iter().map(|&row| finite(cell(row))).collect();
    Ok(match numbers {
        Some(numbers) => {
            let levels: Vec<f64> = names.iter().filter_map(|name| finite(name)).collect();
            SplitKey::Ordered(numbers.iter().map(|x| levels.partition_point(|level| level < x)).collect())
        }
        None => {
            let places =
                rows.iter().map(|&row| names.partition_point(|name| name.as_str() < cell(row))).collect();
            if names.iter().all(|name| is_iso_date(name)) {
                SplitKey::Ordered(places)
            } else {
                SplitKey::Groups(places)
            }
        }
    })
}

fn finite(text: &str) -> Option<f64> {
    match Cell::parse(text) {
        Cell::Number(x) => Some(x + 0.0),
        _ => None,
    }
}

/// `yyyy-mm-dd`, and whatever follows if it is no letter or digit but `T`.
fn is_iso_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let date = bytes.len() >= 10
        && bytes[..10]
            .iter()
            .enumerate()
            .all(|(i, b)| if i == 4 || i == 7 { *b == b'-' } else { b.is_ascii_digit() });
    date && matches!(bytes.get(10), None | Some(b'T' | b' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sides(split: &Split) -> (&[usize], &[usize]) {
        (&split.train, &split.valid)
    }

    #[test]
    fn both_sides_have_a_row_whatever_the_fraction() {
        let split = split_by_fraction(&[1, 0], 0.01).unwrap();
        assert_eq!(sides(&split), (&[0][..], &[1][..]));
        let split = split_by_fraction(&[1, 0, 2], 0.99).unwrap();
        assert_eq!(sides(&split), (&[2][..], &[0, 1][..]));
    }

    #[test]
    fn equal_values_are_never_split() {
        let split = split_by_order(&[0, 0, 0, 1, 1, 2], 0.2).unwrap();
        assert_eq!(split.valid, [5]);
        let split = split_by_order(&[0, 1, 1, 1, 1, 1], 0.2).unwrap();
        assert_eq!(split.valid, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn groups_are_held_out_in_the_callers_order() {
        let group = [0, 0, 1, 1, 2, 2, 3, 3];
        assert_eq!(split_by_group(&group, 0.5, &[3, 0, 1, 2]).unwrap().valid, [0, 1, 6, 7]);
        assert_eq!(split_by_group(&group, 0.5, &[1, 2, 0, 3]).unwrap().valid, [2, 3, 4, 5]);
        assert_eq!(split_by_group(&group, 0.99, &[1, 2, 0, 3]).unwrap().train, [6, 7]);
    }

    #[test]
    fn what_cannot_be_split_is_an_error() {
        let message = |split: Result<Split, Error>| split.unwrap_err().to_string();
        assert_eq!(
            message(split_by_fraction(&[0, 1], 1.0)),
            "--valid: must be greater than 0 and less than 1, got 1"
        );
        assert_eq!(
            message(split_by_fraction(&[0], 0.5)),
            "--valid: expected at least two rows to split, got 1"
        );
        assert_eq!(
            message(split_by_order(&[0, 0], 0.5)),
            "--valid-by: expected at least two different values to split, got 1"
        );
        assert_eq!(
            message(split_by_group(&[0, 1], 0.5, &[0])),
            "split_by_group: permutation: must have length 2, got 1"
        );
    }

    #[test]
    fn dates_are_known_by_their_form() {
        assert!(is_iso_date("2026-01-31") && is_iso_date("2026-01-31T12:00:00Z"));
        assert!(!is_iso_date("31-01-2026") && !is_iso_date("2026-01-31x") && !is_iso_date("2026-1-31"));
    }
}
