//! What every public function asks of its arguments.

use crate::{Error, PROB_SUM_TOLERANCE};

/// `values` has `rows` elements, at least one, all finite.
pub(crate) fn column(what: &'static str, values: &[f64], rows: usize) -> Result<(), Error> {
    length(what, values.len(), rows)?;
    each(what, values, "finite", f64::is_finite)
}

/// As [`column`], with values above 0.
pub(crate) fn positive(what: &'static str, values: &[f64], rows: usize) -> Result<(), Error> {
    length(what, values.len(), rows)?;
    each(what, values, "finite and > 0", is_positive)
}

/// As [`column`], with values of at least 0.
pub(crate) fn not_negative(what: &'static str, values: &[f64], rows: usize) -> Result<(), Error> {
    length(what, values.len(), rows)?;
    each(what, values, "finite and >= 0", is_not_negative)
}

/// As [`column`], with values in [0, 1].
pub(crate) fn unit(what: &'static str, values: &[f64], rows: usize) -> Result<(), Error> {
    length(what, values.len(), rows)?;
    each(what, values, "in [0, 1]", is_unit)
}

/// Number of passes of `values`, `[samples, rows]`, all finite.
pub(crate) fn passes(what: &'static str, values: &[f64], rows: usize) -> Result<usize, Error> {
    if rows == 0 {
        return Err(Error::Empty { what: "y" });
    }
    multiple(what, values.len(), rows, "rows")?;
    each(what, values, "finite", f64::is_finite)?;
    Ok(values.len() / rows)
}

/// `lower` and `upper` have `rows` elements and are in order.
pub(crate) fn bounds(lower: &[f64], upper: &[f64], rows: usize) -> Result<(), Error> {
    column("lower", lower, rows)?;
    column("upper", upper, rows)?;
    match lower.iter().zip(upper).position(|(l, u)| l > u) {
        Some(index) => Err(Error::Order { index, upper: upper[index], got: lower[index] }),
        None => Ok(()),
    }
}

/// Number of classes of `probs`, `[rows, classes]`, one label a row.
pub(crate) fn labelled(labels: &[u32], probs: &[f64]) -> Result<usize, Error> {
    if labels.is_empty() {
        return Err(Error::Empty { what: "labels" });
    }
    multiple("probs", probs.len(), labels.len(), "rows")?;
    let classes = probs.len() / labels.len();
    simplex(probs, classes)?;
    match labels.iter().position(|&label| label as usize >= classes) {
        Some(index) => Err(Error::Label { index, classes, got: labels[index] }),
        None => Ok(classes),
    }
}

/// `probs` divides into at least one row of `classes` probabilities.
pub(crate) fn distributions(probs: &[f64], classes: usize) -> Result<(), Error> {
    at_least_one("classes", classes)?;
    multiple("probs", probs.len(), classes, "classes")?;
    simplex(probs, classes)
}

/// `level` lies strictly between 0 and 1.
pub(crate) fn level(level: f64) -> Result<(), Error> {
    if level > 0.0 && level < 1.0 {
        return Ok(());
    }
    Err(Error::Setting { what: "level", expected: "in (0, 1)", got: level })
}

pub(crate) fn at_least_one(what: &'static str, got: usize) -> Result<(), Error> {
    match got {
        0 => Err(Error::Setting { what, expected: "at least 1", got: 0.0 }),
        _ => Ok(()),
    }
}

pub(crate) fn length(what: &'static str, got: usize, expected: usize) -> Result<(), Error> {
    if got != expected {
        return Err(Error::Length { what, expected, got });
    }
    if got == 0 { Err(Error::Empty { what }) } else { Ok(()) }
}

pub(crate) fn is_positive(x: f64) -> bool {
    x > 0.0 && x < f64::INFINITY
}

pub(crate) fn is_not_negative(x: f64) -> bool {
    (0.0..f64::INFINITY).contains(&x)
}

fn is_unit(x: f64) -> bool {
    (0.0..=1.0).contains(&x)
}

/// Every value meets the condition that `expected` words.
pub(crate) fn each(
    what: &'static str,
    values: &[f64],
    expected: &'static str,
    ok: impl Fn(f64) -> bool,
) -> Result<(), Error> {
    match values.iter().position(|&x| !ok(x)) {
        Some(index) => Err(Error::Value { what, index, expected, got: values[index] }),
        None => Ok(()),
    }
}

fn multiple(what: &'static str, got: usize, factor: usize, unit: &'static str) -> Result<(), Error> {
    if got == 0 {
        return Err(Error::Empty { what });
    }
    if !got.is_multiple_of(factor) {
        return Err(Error::Multiple { what, factor, unit, got });
    }
    Ok(())
}

fn simplex(probs: &[f64], classes: usize) -> Result<(), Error> {
    each("probs", probs, "in [0, 1]", is_unit)?;
    for (row, p) in probs.chunks_exact(classes).enumerate() {
        let got: f64 = p.iter().sum();
        if (got - 1.0).abs() > PROB_SUM_TOLERANCE {
            return Err(Error::RowSum { what: "probs", row, tolerance: PROB_SUM_TOLERANCE, got });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(result: Result<impl std::fmt::Debug, Error>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn errors_name_argument_index_expected_and_got() {
        assert_eq!(text(column("mean", &[1.0], 2)), "mean: must have 2 elements, got 1");
        assert_eq!(text(column("y", &[], 0)), "y: must not be empty, got 0 elements");
        assert_eq!(text(column("y", &[0.0, f64::NAN], 2)), "y[1]: must be finite, got NaN");
        assert_eq!(text(positive("std", &[0.0], 1)), "std[0]: must be finite and > 0, got 0");
        assert_eq!(
            text(not_negative("std", &[f64::INFINITY], 1)),
            "std[0]: must be finite and >= 0, got inf"
        );
        assert_eq!(text(unit("pit", &[0.5, 1.5], 2)), "pit[1]: must be in [0, 1], got 1.5");
        assert_eq!(text(bounds(&[2.0], &[1.0], 1)), "lower[0]: must be at most upper[0] = 1, got 2");
        assert_eq!(text(level(1.0)), "level: must be in (0, 1), got 1");
        assert_eq!(text(level(f64::NAN)), "level: must be in (0, 1), got NaN");
        assert_eq!(text(at_least_one("bins", 0)), "bins: must be at least 1, got 0");
        assert_eq!(
            text(passes("draws", &[1.0; 7], 3)),
            "draws: number of elements must be a positive multiple of the 3 rows, got 7"
        );
        assert_eq!(text(passes("draws", &[], 3)), "draws: must not be empty, got 0 elements");
        assert_eq!(text(passes("draws", &[1.0], 0)), "y: must not be empty, got 0 elements");
    }

    #[test]
    fn probabilities_are_refused_by_row_or_index() {
        assert_eq!(text(labelled(&[], &[])), "labels: must not be empty, got 0 elements");
        assert_eq!(
            text(labelled(&[0, 0], &[1.0; 3])),
            "probs: number of elements must be a positive multiple of the 2 rows, got 3"
        );
        assert_eq!(text(labelled(&[0], &[0.5, 0.25])), "probs row 0: must sum to 1 within 0.0001, got 0.75");
        assert_eq!(text(labelled(&[0], &[1.5, -0.5])), "probs[0]: must be in [0, 1], got 1.5");
        assert_eq!(text(labelled(&[0], &[f64::NAN, 1.0])), "probs[0]: must be in [0, 1], got NaN");
        assert_eq!(text(labelled(&[0, 2], &[0.5; 4])), "labels[1]: must be less than the 2 classes, got 2");
        assert_eq!(text(distributions(&[1.0], 0)), "classes: must be at least 1, got 0");
    }

    #[test]
    fn probabilities_with_another_number_of_rows_than_labels_never_pass() {
        // Four rows of two classes, two labels: read as two rows of four classes, each sums to 2.
        assert_eq!(text(labelled(&[0, 1], &[0.5; 8])), "probs row 0: must sum to 1 within 0.0001, got 2");
    }

    #[test]
    fn single_precision_probabilities_pass() {
        let probs: Vec<f64> = (0..1000).map(|_| f64::from(0.001_f32)).collect();
        assert_eq!(labelled(&[999], &probs), Ok(1000));
    }
}
