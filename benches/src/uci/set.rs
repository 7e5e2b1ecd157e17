//! A regression set: rows of numbers with the target in the last column.

use std::path::Path;

use super::Error;

/// A data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// Rows of inputs, all of the same width.
    pub x: Vec<Vec<f64>>,
    /// Targets.
    pub y: Vec<f64>,
}

impl Set {
    /// Reads a CSV with a header, numbers only.
    ///
    /// # Errors
    /// If the file cannot be read, a cell is no finite number or a row has another width; file, line and column are
    /// named.
    pub fn read(name: &str, path: &Path) -> Result<Self, Error> {
        let text =
            std::fs::read_to_string(path).map_err(|e| format!("set `{name}`: {}: {e}", path.display()))?;
        Self::parse(name, &text).map_err(|e| format!("{}: {e}", path.display()).into())
    }

    /// The same from the text.
    ///
    /// # Errors
    /// If a cell is no finite number or a row has another width.
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        let mut set = Self { name: name.to_owned(), x: Vec::new(), y: Vec::new() };
        let width = text.lines().next().map_or(0, |header| header.split(',').count());
        for (line, cells) in text.lines().enumerate().skip(1).filter(|(_, l)| !l.trim().is_empty()) {
            let mut row = numbers(cells).map_err(|e| format!("line {}: {e}", line + 1))?;
            if row.len() != width || width < 2 {
                let got = row.len();
                return Err(format!("line {}: expected {} cells, got {got}", line + 1, width.max(2)).into());
            }
            set.y.extend(row.pop());
            set.x.push(row);
        }
        if set.y.len() < 10 {
            return Err(format!("expected at least 10 rows, got {}", set.y.len()).into());
        }
        Ok(set)
    }
}

fn numbers(line: &str) -> Result<Vec<f64>, String> {
    let number = |(column, cell): (usize, &str)| match cell.trim().parse() {
        Ok(x) if f64::is_finite(x) => Ok(x),
        _ => Err(format!("column {}: expected a finite number, got {cell:?}", column + 1)),
    };
    line.split(',').enumerate().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_the_last_column() {
        let set = Set::parse("t", &format!("a,b,y\n{}", "1,2,3\n".repeat(10))).unwrap();
        assert_eq!((set.x[9].as_slice(), set.y[9], set.y.len()), (&[1.0, 2.0][..], 3.0, 10));
    }

    #[test]
    fn faults_are_named_by_line_and_column() {
        let error = |text| Set::parse("t", text).unwrap_err().to_string();
        assert_eq!(error("a,y\n1,2\n1,inf\n"), "line 3: column 2: expected a finite number, got \"inf\"");
        assert_eq!(error("a,y\n1,2,3\n"), "line 2: expected 2 cells, got 3");
        assert_eq!(error("a,y\n1,2\n"), "expected at least 10 rows, got 1");
    }
}
