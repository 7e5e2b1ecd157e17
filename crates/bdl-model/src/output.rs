//! What is written of a predicted row: columns, values, CSV.

use std::collections::HashSet;
use std::io::{self, Write};

use crate::model::Model;
use crate::predict::{ClassPrediction, Prediction, RealPrediction};
use crate::schema::Schema;
use crate::select::Task;

/// One predicted row of a file.
#[derive(Clone, Copy, Debug)]
pub struct PredictedRow<'a> {
    /// Number of the data row in the file, from 1.
    pub number: u64,
    /// The kept cells, as they stand in the file.
    pub kept: &'a [&'a str],
    /// The prediction.
    pub prediction: &'a Prediction,
    /// Class probabilities; empty in regression.
    pub probs: &'a [f64],
    /// Of each of several targets; else empty.
    pub reals: &'a [RealPrediction],
    /// Draws, class indices in classification; of several targets those of the first, then those of the second, and so on.
    pub draws: &'a [f64],
}

/// What is written of a real target.
const REAL: [&str; 7] = ["mean", "std", "aleatoric_std", "epistemic_std", "lower", "upper", "mean_mcse"];
/// What is written of a class behind its label and probabilities.
const CLASS: [&str; 4] =
    ["predictive_entropy", "expected_entropy", "mutual_information", "mutual_information_mcse"];

/// Names of the columns of a prediction.
pub(crate) fn prediction_columns(schema: &Schema, draws: usize) -> Vec<String> {
    let mut columns = Vec::new();
    if schema.task() == Task::Classification {
        columns.push("label".to_owned());
        columns.extend(schema.class_names().iter().map(|class| format!("prob_{class}")));
        columns.extend(CLASS.map(str::to_owned));
        columns.extend((1..=draws).map(|i| format!("draw_{i}")));
        return columns;
    }
    let suffixes: Vec<String> = match schema.targets() {
        [_] => vec![String::new()],
        several => several.iter().map(|target| format!("_{}", target.name)).collect(),
    };
    columns.extend(suffixes.iter().flat_map(|suffix| REAL.map(|name| format!("{name}{suffix}"))));
    let draw = |suffix| (1..=draws).map(move |i| format!("draw_{i}{suffix}"));
    columns.extend(suffixes.iter().flat_map(draw));
    columns
}

/// A name that is there twice.
pub(crate) fn twice(columns: &[String]) -> Option<&String> {
    let mut seen = HashSet::with_capacity(columns.len());
    columns.iter().find(|name| !seen.insert(*name))
}

impl Model {
    /// Names of the columns that [`write_csv_row`] writes: the kept ones, then the prediction's. Of several targets each name has
    /// `_` and the target's name behind it.
    #[must_use]
    pub fn output_columns(&self, keep: &[String], draws: usize) -> Vec<String> {
        [keep.to_vec(), prediction_columns(self.schema(), draws)].concat()
    }

    /// Values of the columns of [`output_columns`](Model::output_columns) behind the kept ones.
    ///
    /// An absent Monte Carlo error is an empty text; classes are told by name.
    #[must_use]
    pub fn output_values(&self, row: &PredictedRow<'_>) -> Vec<OutputValue> {
        self.values(row)
            .map(|value| match value {
                ValueRef::Number(x) => OutputValue::Number(x),
                ValueRef::Text(text) => OutputValue::Text(text.to_owned()),
                ValueRef::Absent => OutputValue::Absent,
            })
            .collect()
    }

    /// The same without a copy.
    fn values<'a>(&'a self, row: &PredictedRow<'a>) -> impl Iterator<Item = ValueRef<'a>> {
        let class = |i: f64| ValueRef::Text(&self.schema().class_names()[i as usize]);
        let (reals, of_class) = match row.prediction {
            Prediction::Real(p) => (std::slice::from_ref(p), None),
            Prediction::Class(p) => (&[][..], Some(*p)),
            Prediction::Several { .. } => (row.reals, None),
        };
        let draw = move |x: f64| if of_class.is_some() { class(x) } else { ValueRef::Number(x) };
        of_class
            .map(|p| class(f64::from(p.label)))
            .into_iter()
            .chain(row.probs.iter().copied().map(ValueRef::Number))
            .chain(reals.iter().flat_map(real_values))
            .chain(of_class.into_iter().flat_map(class_values))
            .chain(row.draws.iter().copied().map(draw))
    }
}

/// In the order of [`REAL`].
fn real_values<'a>(p: &RealPrediction) -> [ValueRef<'a>; 7] {
    let [mean, std, aleatoric, epistemic, lower, upper] =
        [p.mean, p.std, p.aleatoric_std, p.epistemic_std, p.lower, p.upper].map(ValueRef::Number);
    [mean, std, aleatoric, epistemic, lower, upper, ValueRef::of(p.mean_mcse)]
}

/// In the order of [`CLASS`].
fn class_values<'a>(p: ClassPrediction) -> [ValueRef<'a>; 4] {
    let [predictive, expected, mutual] =
        [p.predictive_entropy, p.expected_entropy, p.mutual_information].map(ValueRef::Number);
    [predictive, expected, mutual, ValueRef::of(p.mutual_information_mcse)]
}

/// An [`OutputValue`] whose text stands elsewhere.
enum ValueRef<'a> {
    Number(f64),
    Text(&'a str),
    Absent,
}

impl ValueRef<'_> {
    fn of(x: Option<f64>) -> Self {
        x.map_or(Self::Absent, Self::Number)
    }
}

/// A value of a predicted row.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum OutputValue {
    /// A number.
    Number(f64),
    /// A text: the name of a class.
    Text(String),
    /// Nothing: there is no such value.
    Absent,
}

/// A number in its shortest exact form, without an allocation.
struct Digits {
    text: [u8; LONGEST],
    len: usize,
}

/// −5e−324 has 327 characters.
const LONGEST: usize = 400;

impl Digits {
    fn of(x: f64) -> Result<Self, csv::Error> {
        let mut digits = Self { text: [0; LONGEST], len: 0 };
        write!(digits, "{x}")?;
        Ok(digits)
    }

    fn as_bytes(&self) -> &[u8] {
        &self.text[..self.len]
    }
}

impl Write for Digits {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let n = (&mut self.text[self.len..]).write(text)?;
        self.len += n;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes the header of the predictions.
///
/// # Errors
/// If the writer does not take it.
pub fn write_csv_header<W: Write>(csv: &mut csv::Writer<W>, columns: &[String]) -> Result<(), csv::Error> {
    csv.write_record(columns)
}

/// Writes a predicted row: the kept cells as they stand in the file, numbers in their shortest exact form.
///
/// # Errors
/// If the writer does not take it.
pub fn write_csv_row<W: Write>(
    csv: &mut csv::Writer<W>,
    model: &Model,
    row: &PredictedRow<'_>,
) -> Result<(), csv::Error> {
    for kept in row.kept {
        csv.write_field(kept)?;
    }
    for value in model.values(row) {
        match value {
            ValueRef::Number(x) => csv.write_field(Digits::of(x)?.as_bytes())?,
            ValueRef::Text(text) => csv.write_field(text)?,
            ValueRef::Absent => csv.write_field("")?,
        }
    }
    csv.write_record(None::<&[u8]>)
}
