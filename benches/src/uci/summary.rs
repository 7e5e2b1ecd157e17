//! One method on one set over the splits, and the table of such lines.

use serde::{Serialize, Serializer};

use super::{Figure, Method, Outcome, Target, published};

/// A line of the table; as JSON, a line of `--json`.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The set.
    pub set: String,
    /// The method.
    pub method: &'static str,
    /// Number of splits.
    pub splits: usize,
    /// Root mean squared error, in the target's units.
    pub rmse: Figure,
    /// Minus mean log predictive density, nats per row, in the target's units.
    pub nll: Figure,
    /// Coverage of central 90 % intervals.
    pub coverage_90: Figure,
    /// Published RMSE of the reference.
    pub published_rmse: Option<Figure>,
    /// Published NLL of the reference.
    pub published_nll: Option<Figure>,
    /// The bounds, if the method is gated on this set.
    pub target: Option<Target>,
    /// Whether they are met.
    pub passed: Option<bool>,
    /// The settings tried on validation rows, each with the number of splits that chose it.
    pub chosen: Vec<(String, usize)>,
    /// Time of all splits together, seconds of one thread.
    pub seconds: f64,
}

impl Summary {
    /// Collects the outcomes of `method` on the set `set`.
    #[must_use]
    pub fn new(set: &str, method: &Method, outcomes: &[Outcome]) -> Self {
        let figure = |of: fn(&Outcome) -> f64| Figure::of(&outcomes.iter().map(of).collect::<Vec<_>>());
        let (rmse, nll) = (figure(|o| o.scores.rmse), figure(|o| o.scores.nll));
        let published = published(set);
        let target = published.and_then(|p| Target::of(p, method.reference, outcomes.len()));
        let target = target.filter(|_| method.gated);
        let times_chosen = |i| outcomes.iter().filter(|o| o.chosen == i).count();
        let settings = method.settings.iter().enumerate();
        Self {
            set: set.to_owned(),
            method: method.name,
            splits: outcomes.len(),
            rmse,
            nll,
            coverage_90: figure(|o| o.scores.coverage_90),
            published_rmse: published.and_then(|p| p.rmse(method.reference)),
            published_nll: published.and_then(|p| p.nll(method.reference)),
            target,
            passed: target.map(|t| t.is_met(rmse.mean, nll.mean)),
            chosen: settings.map(|(i, s)| (s.label.clone(), times_chosen(i))).collect(),
            seconds: outcomes.iter().map(|o| o.seconds).sum(),
        }
    }

    fn cells(&self) -> [String; 10] {
        let published = |f: Option<Figure>| f.map_or_else(|| "-".to_owned(), figure);
        let most = |bound: Option<f64>| bound.map_or_else(|| "-".to_owned(), |b| format!("{b:.3}"));
        let verdict = match self.passed {
            Some(true) => "pass",
            Some(false) => "FAIL",
            None => "-",
        };
        [
            self.set.clone(),
            self.method.to_owned(),
            figure(self.rmse),
            published(self.published_rmse),
            most(self.target.and_then(|t| t.rmse)),
            figure(self.nll),
            published(self.published_nll),
            most(self.target.map(|t| t.nll)),
            figure(self.coverage_90),
            verdict.to_owned(),
        ]
    }
}

/// The lines under each other, beside what was published.
#[must_use]
pub fn table(lines: &[Summary]) -> String {
    let head =
        ["set", "method", "RMSE", "published", "at most", "NLL", "published", "at most", "coverage 90", ""];
    let rows: Vec<_> =
        [head.map(str::to_owned)].into_iter().chain(lines.iter().map(Summary::cells)).collect();
    let width = |column: usize| rows.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &[String; 10]| {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, &w)| format!("{cell:<w$}")).collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn figure(f: Figure) -> String {
    match f.se {
        Some(se) => format!("{:.3} ± {se:.3}", f.mean),
        None => format!("{:.3}", f.mean),
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([("mean", Some(self.mean)), ("se", self.se)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uci::{Reference, Scores, Setting};

    fn summary(rmse: [f64; 2]) -> Summary {
        let mut tried = Setting::mc_dropout(0.01);
        tried.label = "tried".to_owned();
        let method = Method {
            name: "mc-dropout",
            settings: vec![tried],
            reference: Reference::McDropout,
            gated: true,
        };
        let outcome = |rmse| {
            let scores = Scores { rmse, nll: 2.5, coverage_90: 0.875 };
            Outcome { chosen: 0, scores, seconds: 1.5 }
        };
        Summary::new("boston", &method, &rmse.map(outcome))
    }

    #[test]
    fn a_line_has_means_errors_bounds_and_a_verdict() {
        let line = summary([3.0, 4.0]);
        assert_eq!((line.rmse, line.seconds), (Figure { mean: 3.5, se: Some(0.5) }, 3.0));
        assert_eq!((line.passed, summary([5.0, 5.0]).passed), (Some(true), Some(false)));
        assert_eq!(line.chosen, [("tried".to_owned(), 2)]);
    }

    #[test]
    fn the_table_lines_up() {
        let text = table(&[summary([3.0, 4.0]), summary([5.0, 5.0])]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1].split("  ").filter(|c| !c.is_empty()).count(), 10, "{text}");
        let column =
            |line: &str| line.char_indices().position(|(i, _)| line[i..].starts_with("2.402")).unwrap();
        assert_eq!(column(lines[1]), column(lines[2]));
        assert!(lines[1].ends_with("pass") && lines[2].ends_with("FAIL"));
    }

    #[test]
    fn json_has_a_null_where_there_is_no_standard_error() {
        let json = serde_json::to_string(&Figure { mean: 1.0, se: None }).unwrap();
        assert_eq!(json, r#"{"mean":1.0,"se":null}"#);
    }
}
