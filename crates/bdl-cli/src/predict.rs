//! `bdl predict`: means, intervals and class probabilities of a table's rows.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Result, anyhow};
use bdl_model::{
    Error, Estimator, FileEvent, FilePrediction, FileReport, Images, Model, OnBadRow, OutputValue, Passes,
    PredictedRow, RayonPool, RowReader, Scope, Task, Telling, write_csv_header, write_csv_row,
};
use serde_json::{Map, Value, json};

use crate::args::{BadRowArg, Format, Names, PredictArgs, ScopeArg};
use crate::images::refuse_flags;
use crate::out::{self, Usage, counted, listed};
use crate::output_file::{OutputFile, refuse_input};

/// Rows left out that are told one by one.
const SKIPPED_SHOWN: u64 = 10;

pub(crate) fn run(args: &PredictArgs) -> Result<()> {
    let (report, samples) = work(args)?;
    tell(args, &report, samples);
    if let (Some(file), Format::Json) = (&args.out, args.run.format) {
        out::json(&json!({
            "out": file.display().to_string(),
            "rows": report.rows,
            "skipped": report.skipped,
            "samples": samples,
            "tolerance": args.tolerance,
            "beyond_tolerance": report.beyond_tolerance,
            "seed": seed(args),
            "ignored": report.ignored,
        }))?;
    }
    Ok(())
}

/// Predicts and writes; the report, and the passes if they are fixed.
pub(crate) fn work(args: &PredictArgs) -> Result<(FileReport, Option<usize>)> {
    if let Some(file) = &args.out {
        refuse_input("--out", file, &[("the data", &args.data), ("the model", &args.model)])?;
    }
    // Before the work, so that an output that cannot be written is known now.
    let file = args.out.as_deref().map(OutputFile::create).transpose()?;
    let model = match args.mean {
        true => Model::load(&args.model)?.at_mean()?,
        false => Model::load(&args.model)?,
    };
    check(args, &model)?;
    let data = Data::open(args)?;
    let how = how(args, &model);
    let columns = model.output_columns(&how.keep, how.telling.draws);
    let pool = RayonPool::new(args.run.threads.unwrap_or(0)).map_err(Error::from)?;

    let read = data.file().to_owned();
    let name = args.out.as_deref().unwrap_or(Path::new("standard output"));
    let mut sink = Sink::new(file, args.run.format == Format::Json && args.out.is_none());
    let mut skipped = 0;
    let mut on_event = |event: FileEvent<'_>| {
        match event {
            FileEvent::Row(row) => {
                sink.row(&model, &columns, &row).map_err(|source| write_error(name, source))?
            }
            FileEvent::Skipped(e) => {
                skipped += 1;
                if skipped <= SKIPPED_SHOWN {
                    out::notice(format_args!("skipped: {e}"));
                }
            }
            FileEvent::CaughtUp => sink.flush().map_err(|source| write_error(name, source))?,
            _ => {}
        }
        Ok(())
    };
    let report = match data {
        Data::Table(reader) => model.predict_file(*reader, &how, &pool, &mut on_event),
        Data::Images(images) => model.predict_images(&images, &how, &pool, &mut on_event),
    }?;
    if report.rows == 0 {
        let n = report.skipped;
        return Err(anyhow!("{read}: expected rows that can be predicted, got none among {n}"));
    }
    sink.finish(name)?;
    let samples = args.tolerance.is_none().then(|| model.predictor(how.passes).map(|p| p.samples()));
    Ok((report, samples.transpose()?))
}

/// Refuses flags that would have no effect on what this model says.
fn check(args: &PredictArgs, model: &Model) -> Result<()> {
    if args.interval.is_some() && model.task() == Task::Classification {
        return Err(Usage::error("--interval: is of numbers, but the model predicts classes"));
    }
    if args.seed.is_some() && args.mean && args.draws.is_none() {
        return Err(Usage::error("--seed: is of noise, but --mean without --draws has none"));
    }
    check_estimator(args, model)
}

/// An estimator that is asked for is used: rows draw for themselves, from posteriors over weights.
fn check_estimator(args: &PredictArgs, model: &Model) -> Result<()> {
    if args.estimator.is_none() {
        return Ok(());
    }
    if args.scope == ScopeArg::Pass {
        return Err(Usage::error("--estimator: is of --scope row, but the scope is pass"));
    }
    match model.method().is_variational() {
        true => Ok(()),
        false => Err(Usage::error(format!(
            "--estimator: draws from posteriors over weights, which a model of method {} does not have",
            model.method().name()
        ))),
    }
}

fn seed(args: &PredictArgs) -> u64 {
    args.seed.unwrap_or(0)
}

/// What is predicted.
enum Data {
    Table(Box<RowReader>),
    Images(Images),
}

impl Data {
    fn open(args: &PredictArgs) -> Result<Self> {
        if !Images::are_in(&args.data)? {
            return Ok(Self::Table(Box::new(RowReader::open(&args.data, args.read.delimiter)?)));
        }
        let given = [
            ("--delimiter", args.read.delimiter.is_some()),
            ("--on-bad-row", args.on_bad_row == BadRowArg::Skip),
        ];
        refuse_flags(&given, &args.data)?;
        Ok(Self::Images(Images::open(&args.data)?))
    }

    fn file(&self) -> &str {
        match self {
            Self::Table(reader) => reader.file(),
            Self::Images(images) => images.file(),
        }
    }
}

fn how(args: &PredictArgs, model: &Model) -> FilePrediction {
    let trained = model.passes();
    FilePrediction {
        passes: Passes {
            samples: args.samples,
            scope: match args.scope {
                ScopeArg::Pass => Scope::Pass,
                ScopeArg::Row => Scope::Row,
            },
            seed: seed(args),
            estimator: args.estimator.map_or(trained.estimator, Estimator::from),
        },
        telling: Telling {
            level: args.interval.unwrap_or(Telling::default().level),
            tolerance: args.tolerance,
            draws: args.draws.unwrap_or(0),
        },
        keep: Names::all(&args.keep),
        on_bad_row: match args.on_bad_row {
            BadRowArg::Stop => OnBadRow::Stop,
            BadRowArg::Skip => OnBadRow::Skip,
        },
    }
}

fn write_error(name: &Path, source: io::Error) -> Error {
    Error::Write { file: name.display().to_string().into(), source }
}

/// Notices and the summary, all to standard error.
fn tell(args: &PredictArgs, report: &FileReport, samples: Option<usize>) {
    if report.skipped > SKIPPED_SHOWN {
        out::notice(format_args!("skipped: {} more", report.skipped - SKIPPED_SHOWN));
    }
    if report.beyond_tolerance > 0 {
        let rows = counted(report.beyond_tolerance as usize, "row");
        out::warning(format_args!(
            "{rows} did not reach --tolerance with the largest number of passes, 16384"
        ));
    }
    if args.quiet {
        return;
    }
    if !report.ignored.is_empty() {
        out::notice(format_args!(
            "note: columns that the model does not know are ignored: {} (--keep copies them)",
            listed(&report.ignored)
        ));
    }
    let passes = match samples {
        _ if args.mean => "at the mean of the weights".to_owned(),
        Some(n) => out::plural(n, "pass", "passes"),
        None => "passes by tolerance".to_owned(),
    };
    let skipped = match report.skipped {
        0 => String::new(),
        n => format!(", {n} skipped"),
    };
    let to = args.out.as_deref().map_or(String::new(), |file| format!(" to {}", file.display()));
    let rows = counted(report.rows as usize, "row");
    out::notice(format_args!("predicted {rows}{to}{skipped}: {passes}, seed {}", seed(args)));
}

/// Where predicted rows go, and how they are written.
enum Sink {
    File { csv: csv::Writer<BufWriter<OutputFile>>, begun: bool },
    Csv { csv: csv::Writer<BufWriter<io::Stdout>>, begun: bool },
    JsonLines(BufWriter<io::Stdout>),
}

impl Sink {
    fn new(file: Option<OutputFile>, json: bool) -> Self {
        match file {
            Some(file) => Self::File { csv: csv::Writer::from_writer(BufWriter::new(file)), begun: false },
            None if json => Self::JsonLines(BufWriter::new(io::stdout())),
            None => Self::Csv { csv: csv::Writer::from_writer(BufWriter::new(io::stdout())), begun: false },
        }
    }

    fn row(&mut self, model: &Model, columns: &[String], row: &PredictedRow<'_>) -> io::Result<()> {
        match self {
            Self::File { csv, begun } => csv_row(csv, begun, model, columns, row),
            Self::Csv { csv, begun } => csv_row(csv, begun, model, columns, row),
            Self::JsonLines(out) => writeln!(out, "{}", json_row(model, columns, row)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File { csv, .. } => csv.flush(),
            Self::Csv { csv, .. } => csv.flush(),
            Self::JsonLines(out) => out.flush(),
        }
    }

    fn finish(self, name: &Path) -> Result<()> {
        let fail = |e: io::Error| anyhow::Error::from(write_error(name, e));
        match self {
            Self::Csv { mut csv, .. } => csv.flush().map_err(fail),
            Self::JsonLines(mut out) => out.flush().map_err(fail),
            Self::File { csv, .. } => {
                let buffer = csv.into_inner().map_err(|e| fail(e.into_error()))?;
                buffer.into_inner().map_err(|e| fail(e.into_error()))?.finish()
            }
        }
    }
}

fn csv_row<W: Write>(
    csv: &mut csv::Writer<W>,
    begun: &mut bool,
    model: &Model,
    columns: &[String],
    row: &PredictedRow<'_>,
) -> io::Result<()> {
    if !*begun {
        write_csv_header(csv, columns).map_err(io_error)?;
        *begun = true;
    }
    write_csv_row(csv, model, row).map_err(io_error)
}

/// The error of the writer itself, so that a closed pipe is known as one.
fn io_error(e: csv::Error) -> io::Error {
    match e.into_kind() {
        csv::ErrorKind::Io(e) => e,
        other => io::Error::other(format!("{other:?}")),
    }
}

fn json_row(model: &Model, columns: &[String], row: &PredictedRow<'_>) -> Value {
    let kept = row.kept.iter().map(|cell| Value::from(*cell));
    let own = model.output_values(row).into_iter().map(|value| match value {
        OutputValue::Number(x) => Value::from(x),
        OutputValue::Text(text) => Value::from(text),
        _ => Value::Null,
    });
    Value::Object(columns.iter().cloned().zip(kept.chain(own)).collect::<Map<_, _>>())
}
