//! Predicting a whole file, chunk by chunk, in constant memory.

use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

use bdl_infer::Passes;
use bdl_tensor::Pool;

use crate::chunk::{Chunk, Row};
use crate::model::Model;
use crate::names::find_column;
use crate::predict::{Prediction, Predictions, Telling};
use crate::reader::RowReader;
use crate::schema::ColumnMap;
use crate::select::Task;
use crate::{Error, ModelPredictor};

/// What to do with a row that cannot be read or encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBadRow {
    /// Stop with its error.
    #[default]
    Stop,
    /// Leave it out and go on.
    Skip,
}

/// How a file is predicted.
///
/// | name | default | meaning |
/// |---|---|---|
/// | `passes` | 100 per row, `Scope::Pass`, seed 0 | the Monte Carlo passes |
/// | `telling` | 90 % interval | interval, tolerance, draws |
/// | `keep` | none | columns copied to the predictions |
/// | `on_bad_row` | stop | what to do with a row that cannot be read or encoded |
#[derive(Clone, Debug, Default)]
pub struct FilePrediction {
    /// The Monte Carlo passes.
    pub passes: Passes,
    /// Interval, tolerance, draws.
    pub telling: Telling,
    /// Columns copied to the predictions.
    pub keep: Vec<String>,
    /// What to do with a row that cannot be read or encoded.
    pub on_bad_row: OnBadRow,
}

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
    /// Draws, class indices in classification.
    pub draws: &'a [f64],
}

/// What predicting a file came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileReport {
    /// Rows predicted.
    pub rows: u64,
    /// Rows left out.
    pub skipped: u64,
    /// Rows whose Monte Carlo error stayed above the tolerance.
    pub beyond_tolerance: u64,
    /// Columns of the file that the model does not know and that were not kept.
    pub ignored: Vec<String>,
}

/// What happens while a file is predicted.
#[derive(Debug)]
#[non_exhaustive]
pub enum FileEvent<'a> {
    /// A row, in input order.
    Row(PredictedRow<'a>),
    /// A row that was left out, and why; in input order too.
    Skipped(&'a Error),
}

/// Rows read and predicted at a time.
const CHUNK: usize = 1024;

impl Model {
    /// Predicts all rows of a file and hands them to `sink` in input order.
    ///
    /// Memory is bounded whatever the length of the file and the number of passes: reading, predicting and `sink` run side
    /// by side with a few chunks of rows between them, each on a thread of its own beside those of the pool, if the file
    /// has more than one chunk. `sink` is called on the caller's. After an error all have ended when this returns, so that
    /// it may wait for the row that is being read from a pipe. Under
    /// [`Scope::Row`](bdl_layers::Scope::Row) a row's noise is addressed by its number among the *predicted* rows:
    /// a skipped row has none.
    ///
    /// # Errors
    /// For a file without a row, a feature or a kept column; for a kept column named as one of the predictions;
    /// for a bad row under [`OnBadRow::Stop`], after the
    /// rows before it; and whatever `sink` returns.
    pub fn predict_file(
        &self,
        reader: &mut RowReader,
        how: &FilePrediction,
        pool: &dyn Pool,
        sink: &mut dyn FnMut(FileEvent<'_>) -> Result<(), Error>,
    ) -> Result<FileReport, Error> {
        how.telling.check()?;
        check_distinct(&self.output_columns(&how.keep, how.telling.draws))?;
        let map = self.schema().match_header(reader.file(), reader.columns())?;
        let keep = kept_columns(reader, &how.keep)?;
        let name = |&column: &usize| reader.columns()[column].clone();
        let ignored = map.ignored.iter().filter(|c| !keep.contains(c)).map(name).collect();
        let mut run = Run { how, keep, report: FileReport { ignored, ..FileReport::default() } };
        let stage = Stage { predictor: self.predictor(how.passes)?, how, pool, map, x: Vec::new(), rows: 0 };
        let mut first = Chunk::new();
        let read = reader.next_chunk(CHUNK, &mut first);
        let is_all = read.is_ok() && first.len() < CHUNK || !goes_on(&read, how.on_bad_row);
        if is_all {
            run.here(reader, stage, first, read, sink)?;
        } else {
            run.overlapped(reader, stage, (first, read), sink)?;
        }
        if run.report.rows + run.report.skipped == 0 {
            return Err(Error::HeaderOnly { file: reader.file().into() });
        }
        Ok(run.report)
    }

    /// Names of the columns that [`write_csv_row`] writes: the kept ones, then the prediction's.
    #[must_use]
    pub fn output_columns(&self, keep: &[String], draws: usize) -> Vec<String> {
        let mut columns = keep.to_vec();
        let own: &[&str] = match self.task() {
            Task::Regression => {
                &["mean", "std", "aleatoric_std", "epistemic_std", "lower", "upper", "mean_mcse"]
            }
            Task::Classification => {
                columns.push("label".to_owned());
                columns.extend(self.schema().class_names().iter().map(|class| format!("prob_{class}")));
                &["predictive_entropy", "expected_entropy", "mutual_information", "mutual_information_mcse"]
            }
        };
        columns.extend(own.iter().map(|&name| name.to_owned()));
        columns.extend((1..=draws).map(|i| format!("draw_{i}")));
        columns
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
        let (label, numbers, mcse) = match *row.prediction {
            Prediction::Real(p) => {
                let numbers = [p.mean, p.std, p.aleatoric_std, p.epistemic_std, p.lower, p.upper];
                (None, (numbers, 6), p.mean_mcse)
            }
            Prediction::Class(p) => {
                let [a, b, c] = [p.predictive_entropy, p.expected_entropy, p.mutual_information];
                let label = Some(class(f64::from(p.label)));
                (label, ([a, b, c, 0.0, 0.0, 0.0], 3), p.mutual_information_mcse)
            }
        };
        let of_classes = label.is_some();
        let draw = move |x: f64| if of_classes { class(x) } else { ValueRef::Number(x) };
        let (numbers, n) = numbers;
        label
            .into_iter()
            .chain(row.probs.iter().copied().map(ValueRef::Number))
            .chain(numbers.into_iter().take(n).map(ValueRef::Number))
            .chain(std::iter::once(mcse.map_or(ValueRef::Absent, ValueRef::Number)))
            .chain(row.draws.iter().copied().map(draw))
    }
}

/// An [`OutputValue`] whose text stands elsewhere.
enum ValueRef<'a> {
    Number(f64),
    Text(&'a str),
    Absent,
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

/// A kept column must not have the name of another that is written.
fn check_distinct(columns: &[String]) -> Result<(), Error> {
    let mut seen = HashSet::with_capacity(columns.len());
    match columns.iter().find(|name| !seen.insert(*name)) {
        Some(name) => {
            let got = format!("{name:?}");
            Err(Error::Argument { what: "--keep", expected: "names that no other output column has", got })
        }
        None => Ok(()),
    }
}

fn kept_columns(reader: &RowReader, keep: &[String]) -> Result<Vec<usize>, Error> {
    let file = reader.file().into();
    keep.iter().map(|name| find_column("--keep", &file, reader.columns(), name)).collect()
}

/// What has been told of a file so far.
struct Run<'a> {
    how: &'a FilePrediction,
    keep: Vec<usize>,
    report: FileReport,
}

/// Encodes and predicts chunks, one after the other.
struct Stage<'a> {
    predictor: ModelPredictor<'a>,
    how: &'a FilePrediction,
    pool: &'a dyn Pool,
    map: ColumnMap,
    /// The rows of a chunk that could be encoded.
    x: Vec<f32>,
    /// How many rows were predicted before.
    rows: u64,
}

/// A chunk, and what came of it.
struct Told {
    chunk: Chunk,
    /// Whether there may be more to read, or why there was no next row.
    read: Result<bool, Error>,
    predictions: Result<Predictions, Error>,
    /// Where and why rows could not be encoded.
    bad: Vec<(usize, Error)>,
}

type Sink<'s> = dyn FnMut(FileEvent<'_>) -> Result<(), Error> + 's;

/// Chunks that wait between two threads.
const QUEUE: usize = 1;

impl Run<'_> {
    /// All on this thread: a file of one chunk is not worth another.
    fn here(
        &mut self,
        reader: &mut RowReader,
        mut stage: Stage<'_>,
        first: Chunk,
        read: Result<bool, Error>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        let mut told = stage.tell(first, read);
        while let Some(mut chunk) = self.emit(told, sink)? {
            let read = reader.next_chunk(CHUNK, &mut chunk);
            told = stage.tell(chunk, read);
        }
        Ok(())
    }

    /// A thread reads, a thread predicts (with the pool), and this one writes what comes of it.
    ///
    /// Whoever fails or is done closes its ends of the channels, upon which the others end too.
    fn overlapped(
        &mut self,
        reader: &mut RowReader,
        mut stage: Stage<'_>,
        first: (Chunk, Result<bool, Error>),
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        let on_bad_row = self.how.on_bad_row;
        let (to_stage, read) = sync_channel(QUEUE);
        let (to_sink, told) = sync_channel(QUEUE);
        let (to_reader, spare) = channel();
        std::thread::scope(|threads| {
            threads.spawn(move || read_ahead(reader, first, on_bad_row, &to_stage, &spare));
            threads.spawn(move || {
                for (chunk, read) in read {
                    if to_sink.send(stage.tell(chunk, read)).is_err() {
                        break;
                    }
                }
            });
            // Moved here, so that they are closed before the threads are waited for.
            let (told, to_reader) = (told, to_reader);
            for told in &told {
                match self.emit(told, sink)? {
                    // The reader may have come to the end and gone.
                    Some(chunk) => drop(to_reader.send(chunk)),
                    None => break,
                }
            }
            Ok(())
        })
    }

    /// Hands a chunk to the sink, and back; `None` if it was the last.
    fn emit(&mut self, told: Told, sink: &mut Sink<'_>) -> Result<Option<Chunk>, Error> {
        let Told { chunk, read, predictions, bad } = told;
        let told = predictions?;
        self.report.rows += told.rows.len() as u64;
        self.report.beyond_tolerance += told.beyond_tolerance as u64;
        let mut bad = bad.into_iter().peekable();
        let mut next = 0;
        for (at, row) in chunk.rows().enumerate() {
            match bad.next_if(|(bad, _)| *bad == at) {
                Some((_, e)) => self.bad_row(e, sink)?,
                None => {
                    emit_row(&row, &self.keep, &told, next, sink)?;
                    next += 1;
                }
            }
        }
        match read {
            Ok(more) => Ok(more.then_some(chunk)),
            Err(e) if e.is_bad_row() => self.bad_row(e, sink).map(|()| Some(chunk)),
            Err(e) => Err(e),
        }
    }

    fn bad_row(&mut self, e: Error, sink: &mut Sink<'_>) -> Result<(), Error> {
        match self.how.on_bad_row {
            OnBadRow::Stop => Err(e),
            OnBadRow::Skip => {
                self.report.skipped += 1;
                sink(FileEvent::Skipped(&e))
            }
        }
    }
}

/// Whether more of the file is wanted after what was read.
fn goes_on(read: &Result<bool, Error>, on_bad_row: OnBadRow) -> bool {
    match read {
        Ok(more) => *more,
        Err(e) => e.is_bad_row() && on_bad_row == OnBadRow::Skip,
    }
}

/// Reads chunks until the end, an error that ends the file, or until nobody takes them.
fn read_ahead(
    reader: &mut RowReader,
    first: (Chunk, Result<bool, Error>),
    on_bad_row: OnBadRow,
    to_stage: &SyncSender<(Chunk, Result<bool, Error>)>,
    spare: &Receiver<Chunk>,
) {
    let mut next = first;
    loop {
        let more = goes_on(&next.1, on_bad_row);
        if to_stage.send(next).is_err() || !more {
            return;
        }
        let mut chunk = spare.try_recv().unwrap_or_default();
        let read = reader.next_chunk(CHUNK, &mut chunk);
        next = (chunk, read);
    }
}

impl Stage<'_> {
    fn tell(&mut self, chunk: Chunk, read: Result<bool, Error>) -> Told {
        let bad = self.encode(&chunk);
        let predictions = self.predictor.predict(&self.x, self.rows, &self.how.telling, self.pool);
        self.rows += predictions.as_ref().map_or(0, |told| told.rows.len() as u64);
        Told { chunk, read, predictions, bad }
    }

    /// Encodes the rows of a chunk, under [`OnBadRow::Stop`] those before the first bad one.
    fn encode(&mut self, chunk: &Chunk) -> Vec<(usize, Error)> {
        let encoder = self.predictor.model().encoder();
        let mut bad = Vec::new();
        self.x.clear();
        for (at, row) in chunk.rows().enumerate() {
            if let Err(e) = encoder.append_row(&row, &self.map, &mut self.x) {
                bad.push((at, e));
                if self.how.on_bad_row == OnBadRow::Stop {
                    break;
                }
            }
        }
        bad
    }
}

fn emit_row(
    row: &Row<'_>,
    keep: &[usize],
    told: &Predictions,
    i: usize,
    sink: &mut Sink<'_>,
) -> Result<(), Error> {
    let n = told.rows.len();
    let part = |all: &[f64]| i * (all.len() / n)..(i + 1) * (all.len() / n);
    let kept: Vec<&str> = keep.iter().map(|&column| row.cell(column)).collect();
    sink(FileEvent::Row(PredictedRow {
        number: row.number(),
        kept: &kept,
        prediction: &told.rows[i],
        probs: &told.probs[part(&told.probs)],
        draws: &told.draws[part(&told.draws)],
    }))
}
