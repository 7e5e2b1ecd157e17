//! Categories and class names: which there are, their order, and which of them a cell is.

use crate::table::Cell;

/// The distinct `cells`, sorted.
///
/// If all are finite numbers they are compared as numbers, so that `1`, `1.0` and `01` are one level, which
/// keeps the shortest spelling; else as text.
pub(crate) fn distinct<'a>(cells: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<&str> = cells.collect::<std::collections::HashSet<_>>().into_iter().collect();
    match names.iter().map(|name| number(name)).collect::<Option<Vec<f64>>>() {
        None => names.sort_unstable(),
        Some(values) => {
            let mut pairs: Vec<(f64, &str)> = values.into_iter().zip(names).collect();
            pairs.sort_unstable_by(|a, b| {
                a.0.total_cmp(&b.0).then(a.1.len().cmp(&b.1.len())).then(a.1.cmp(b.1))
            });
            pairs.dedup_by_key(|pair| pair.0);
            names = pairs.into_iter().map(|pair| pair.1).collect();
        }
    }
    names.into_iter().map(str::to_owned).collect()
}

/// Finite numbers only; −0 is 0.
fn number(text: &str) -> Option<f64> {
    match Cell::parse(text) {
        Cell::Number(x) => Some(x + 0.0),
        _ => None,
    }
}

/// Finds the level of a cell.
#[derive(Debug, Clone)]
pub(crate) enum LevelIndex {
    /// Levels that are all numbers, ascending.
    Numbers(Vec<f64>),
    /// Levels of text, ascending.
    Names(Vec<String>),
}

impl LevelIndex {
    /// `None` if the levels are not as [`distinct`] makes them.
    pub(crate) fn new(levels: &[String]) -> Option<LevelIndex> {
        if let Some(numbers) = levels.iter().map(|level| number(level)).collect::<Option<Vec<f64>>>() {
            return numbers.is_sorted_by(|a, b| a < b).then_some(LevelIndex::Numbers(numbers));
        }
        levels.is_sorted_by(|a, b| a < b).then(|| LevelIndex::Names(levels.to_vec()))
    }

    pub(crate) fn find(&self, trimmed: &str) -> Option<usize> {
        match self {
            LevelIndex::Numbers(_) => self.find_number(number(trimmed)?),
            LevelIndex::Names(names) => names.binary_search_by(|name| name.as_str().cmp(trimmed)).ok(),
        }
    }

    pub(crate) fn find_number(&self, x: f64) -> Option<usize> {
        match self {
            LevelIndex::Numbers(numbers) => {
                numbers.binary_search_by(|level| level.total_cmp(&(x + 0.0))).ok()
            }
            LevelIndex::Names(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_levels_by_value_and_text_by_spelling() {
        assert_eq!(distinct(["10", "9", "9.0", "-0", "0"].into_iter()), ["0", "9", "10"]);
        assert_eq!(distinct(["10", "9", "x", "9.0"].into_iter()), ["10", "9", "9.0", "x"]);
    }

    #[test]
    fn an_index_finds_its_levels_and_no_other() {
        let index = LevelIndex::new(&distinct(["1", "10", "2"].into_iter())).unwrap();
        assert_eq!((index.find("10.0"), index.find("3"), index.find("x")), (Some(2), None, None));
        let index = LevelIndex::new(&distinct(["b", "a", "1"].into_iter())).unwrap();
        assert_eq!((index.find("b"), index.find("1.0"), index.find_number(1.0)), (Some(2), None, None));
    }

    #[test]
    fn levels_out_of_order_are_refused() {
        for bad in [["b", "a"], ["a", "a"], ["2", "1"], ["1", "1.0"]] {
            assert!(LevelIndex::new(&bad.map(str::to_owned)).is_none(), "{bad:?}");
        }
    }
}
