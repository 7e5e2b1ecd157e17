//! Predicting a whole file, chunk by chunk, in constant memory.

use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use bdl_infer::Passes;
use bdl_tensor::Pool;

use crate::chunk::Chunk;
use crate::error::Place;
use crate::model::Model;
use crate::names::find_column;
use crate::output::{PredictedRow, twice};
use crate::predict::{Predictions, Telling};
use crate::reader::{Next, RowReader};
use crate::schema::ColumnMap;
use crate::{Error, ModelPredictor};

/// What to do with a row that cannot be read or encoded, or whose prediction is no number.
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
/// | `on_bad_row` | stop | what to do with a row that cannot be read or encoded, or whose prediction is no number |
#[derive(Clone, Debug, Default)]
pub struct FilePrediction {
    /// The Monte Carlo passes.
    pub passes: Passes,
    /// Interval, tolerance, draws.
    pub telling: Telling,
    /// Columns copied to the predictions.
    pub keep: Vec<String>,
    /// What to do with a row that cannot be read or encoded, or whose prediction is no number.
    pub on_bad_row: OnBadRow,
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
    /// All rows that had come are told, and the next may have to be waited for: the time to flush.
    CaughtUp,
}

/// Rows read and predicted at a time, at most.
const CHUNK: usize = 1024;

impl Model {
    /// Predicts all rows of a file and hands them to `sink` in input order.
    ///
    /// Memory is bounded whatever the length of the file and the number of passes: reading, predicting and `sink` run side
    /// by side with a few chunks of rows between them, each on a thread of its own beside those of the pool, if the file
    /// has more than one chunk. `sink` is called on the caller's. Rows of a pipe are told as they come. After an error
    /// nothing is waited for: a thread that hangs on a silent pipe is left behind, and ends with the next row or the end.
    /// Under [`Scope::Row`](bdl_layers::Scope::Row) a row's noise is addressed by its number among the *predicted* rows:
    /// a skipped row has none.
    ///
    /// # Errors
    /// For a file without a row, a feature or a kept column; for a kept column named as one of the predictions;
    /// for a bad row under [`OnBadRow::Stop`], after the
    /// rows before it; and whatever `sink` returns.
    pub fn predict_file(
        &self,
        mut reader: RowReader,
        how: &FilePrediction,
        pool: &dyn Pool,
        sink: &mut dyn FnMut(FileEvent<'_>) -> Result<(), Error>,
    ) -> Result<FileReport, Error> {
        how.telling.check()?;
        check_distinct(&self.output_columns(&how.keep, how.telling.draws))?;
        let map = self.schema().match_header(reader.file(), reader.columns())?;
        let keep = kept_columns(&reader, &how.keep)?;
        let name = |&column: &usize| reader.columns()[column].clone();
        let ignored = map.ignored.iter().filter(|c| !keep.contains(c)).map(name).collect();
        let mut run = Run { how, keep, report: FileReport { ignored, ..FileReport::default() } };
        let stage = Stage { predictor: self.predictor(how.passes)?, how, pool, map, x: Vec::new(), rows: 0 };
        let file = reader.file().into();
        let mut chunk = Chunk::new();
        let next = reader.next_rows(CHUNK, &mut chunk);
        let is_all = matches!(next, Ok(Next::Here)) && chunk.len() < CHUNK || !goes_on(&next, how.on_bad_row);
        let first = Read { chunk, next };
        if is_all {
            run.here(reader, stage, first, sink)?;
        } else {
            run.overlapped(reader, stage, first, sink)?;
        }
        match run.report.rows + run.report.skipped {
            0 => Err(Error::HeaderOnly { file }),
            _ => Ok(run.report),
        }
    }
}

/// A kept column must not have the name of another that is written.
fn check_distinct(columns: &[String]) -> Result<(), Error> {
    match twice(columns) {
        Some(name) => {
            let got = format!("{name:?}");
            Err(Error::Argument { what: "--keep", expected: "names that no other output column has", got })
        }
        None => Ok(()),
    }
}

/// Images have no columns.
pub(crate) fn no_keep(how: &FilePrediction) -> Result<(), Error> {
    match how.keep.first() {
        Some(name) => {
            let (expected, got) = ("used with a table: images have no columns", format!("{name:?}"));
            Err(Error::Argument { what: "--keep", expected, got })
        }
        None => Ok(()),
    }
}

fn kept_columns(reader: &RowReader, keep: &[String]) -> Result<Vec<usize>, Error> {
    let file = reader.file().into();
    keep.iter().map(|name| find_column("--keep", &file, reader.columns(), name)).collect()
}

/// What has been told of a file so far.
pub(crate) struct Run<'a> {
    pub(crate) how: &'a FilePrediction,
    pub(crate) keep: Vec<usize>,
    pub(crate) report: FileReport,
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

/// A chunk, and what follows it, or why there was no next row.
struct Read {
    chunk: Chunk,
    next: Result<Next, Error>,
}

/// A chunk, and what came of it.
struct Told {
    read: Read,
    predictions: Result<Predictions, Error>,
    /// Where and why rows could not be encoded.
    bad: Vec<(usize, Error)>,
}

pub(crate) type Sink<'s> = dyn FnMut(FileEvent<'_>) -> Result<(), Error> + 's;

/// Chunks that wait between two threads.
const QUEUE: usize = 1;

/// Tells the stage when it is dropped that nothing more will come, whoever else could still send.
struct End(SyncSender<Option<Read>>);

impl Drop for End {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.0.send(None);
    }
}

impl Run<'_> {
    /// All on this thread: a file of one chunk is not worth another.
    fn here(
        &mut self,
        mut reader: RowReader,
        mut stage: Stage<'_>,
        first: Read,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        let mut told = stage.tell(first);
        while let Some(mut chunk) = self.emit(told, sink)? {
            let next = reader.next_rows(CHUNK, &mut chunk);
            told = stage.tell(Read { chunk, next });
        }
        Ok(())
    }

    /// A thread reads, a thread predicts (with the pool), and this one writes what comes of it.
    ///
    /// Whoever fails or is done closes its ends of the channels, upon which the others end too; but the one that reads
    /// may first have to wait for a row, for any time. So it owns what it uses, and is waited for only if it has ended.
    fn overlapped(
        &mut self,
        reader: RowReader,
        mut stage: Stage<'_>,
        first: Read,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        let on_bad_row = self.how.on_bad_row;
        let (to_stage, read) = sync_channel(QUEUE);
        let (to_sink, told) = sync_channel(QUEUE);
        let (to_reader, spare) = channel();
        let end = End(to_stage.clone());
        let reading = thread::spawn(move || read_ahead(reader, first, on_bad_row, &End(to_stage), &spare));
        thread::scope(|threads| {
            threads.spawn(move || stage.run(&read, &to_sink));
            // Dropped behind `told`, for which the stage may be waiting.
            let _end = end;
            self.emit_all(told, to_reader, sink)
        })?;
        reading.join().unwrap_or_else(|panic| resume_unwind(panic));
        Ok(())
    }

    /// Hands chunks to the sink until the last, and back to the reader.
    fn emit_all(
        &mut self,
        told: Receiver<Told>,
        spare: Sender<Chunk>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        for told in told {
            match self.emit(told, sink)? {
                // The reader may have come to the end and gone.
                Some(chunk) => drop(spare.send(chunk)),
                None => break,
            }
        }
        Ok(())
    }

    /// Hands a chunk to the sink, and back; `None` if it was the last.
    fn emit(&mut self, told: Told, sink: &mut Sink<'_>) -> Result<Option<Chunk>, Error> {
        let Told { read: Read { chunk, next }, predictions, bad } = told;
        let told = predictions?;
        self.report.beyond_tolerance += told.beyond_tolerance as u64;
        let mut bad = bad.into_iter().peekable();
        let mut i = 0;
        for (at, row) in chunk.rows().enumerate() {
            match bad.next_if(|(bad, _)| *bad == at) {
                Some((_, e)) => self.bad_row(e, sink)?,
                None => {
                    let kept: Vec<&str> = self.keep.iter().map(|&column| row.cell(column)).collect();
                    self.row((row.number(), &|| row.place()), &kept, (&told, i), sink)?;
                    i += 1;
                }
            }
        }
        match next {
            Ok(Next::End) => Ok(None),
            Ok(Next::Here) => Ok(Some(chunk)),
            Ok(Next::Later) => sink(FileEvent::CaughtUp).map(|()| Some(chunk)),
            // What follows a bad row is not known.
            Err(e) if e.is_bad_row() => {
                self.bad_row(e, sink)?;
                sink(FileEvent::CaughtUp).map(|()| Some(chunk))
            }
            Err(e) => Err(e),
        }
    }

    /// Hands row `i` of what was told to the sink, as number `number` of the file, if its prediction is one.
    pub(crate) fn row(
        &mut self,
        (number, place): (u64, &dyn Fn() -> Place),
        kept: &[&str],
        (told, i): (&Predictions, usize),
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        if let Some(got) = told.not_finite(i) {
            return self.bad_row(Error::NoPrediction { place: place(), got }, sink);
        }
        self.report.rows += 1;
        let n = told.rows.len();
        let part = |len: usize| i * (len / n)..(i + 1) * (len / n);
        sink(FileEvent::Row(PredictedRow {
            number,
            kept,
            prediction: &told.rows[i],
            probs: &told.probs[part(told.probs.len())],
            reals: &told.reals[part(told.reals.len())],
            draws: &told.draws[part(told.draws.len())],
        }))
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
fn goes_on(next: &Result<Next, Error>, on_bad_row: OnBadRow) -> bool {
    match next {
        Ok(next) => *next != Next::End,
        Err(e) => e.is_bad_row() && on_bad_row == OnBadRow::Skip,
    }
}

/// Reads chunks until the end, an error that ends the file, or until nobody takes them.
fn read_ahead(
    mut reader: RowReader,
    first: Read,
    on_bad_row: OnBadRow,
    to_stage: &End,
    spare: &Receiver<Chunk>,
) {
    let mut read = first;
    loop {
        let more = goes_on(&read.next, on_bad_row);
        if to_stage.0.send(Some(read)).is_err() || !more {
            return;
        }
        let mut chunk = spare.try_recv().unwrap_or_default();
        let next = reader.next_rows(CHUNK, &mut chunk);
        read = Read { chunk, next };
    }
}

impl Stage<'_> {
    /// Tells what was read until nothing more comes, or nobody takes it.
    fn run(&mut self, read: &Receiver<Option<Read>>, to_sink: &SyncSender<Told>) {
        while let Ok(Some(read)) = read.recv() {
            if to_sink.send(self.tell(read)).is_err() {
                return;
            }
        }
    }

    fn tell(&mut self, read: Read) -> Told {
        let bad = self.encode(&read.chunk);
        let predictions = self.predictor.predict(&self.x, self.rows, &self.how.telling, self.pool);
        self.rows += predictions.as_ref().map_or(0, |told| told.rows.len() as u64);
        Told { read, predictions, bad }
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
