//! `reproduce stream`: a long file through prediction, and what it costs in time and memory.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use bdl_benches::uci::{Error, Summary};
use bdl_dist::{Noise, Purpose};
use bdl_model::{FileEvent, FilePrediction, Model, RayonPool, RowReader, Table, TrainConfig, write_csv_row};
use bdl_tensor::Serial;

use crate::args::StreamArgs;

const FEATURES: usize = 13;
const TRAIN_ROWS: usize = 1000;

pub(crate) fn run(args: &StreamArgs) -> Result<Vec<Summary>, Error> {
    let dir = std::env::temp_dir().join(format!("bdl-stream-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let done = in_dir(args, &dir);
    std::fs::remove_dir_all(&dir)?;
    done.map(|()| Vec::new())
}

fn in_dir(args: &StreamArgs, dir: &Path) -> Result<(), Error> {
    let [train_file, file, out] = ["train.csv", "rows.csv", "out.csv"].map(|name| dir.join(name));
    write_rows(&train_file, TRAIN_ROWS as u64)?;
    let model = fit(&train_file)?;
    println!("rows       threads  seconds  rows/s     peak memory, MB");
    for rows in [args.rows / 10, args.rows] {
        write_rows(&file, rows)?;
        for threads in [1, 2] {
            let start = Instant::now();
            predict(&model, &file, &out, threads)?;
            let seconds = start.elapsed().as_secs_f64();
            let peak = peak_memory().map_or("unknown".to_owned(), |mb| format!("{mb:.1}"));
            println!("{rows:<10} {threads:<8} {seconds:<8.2} {:<10.0} {peak}", rows as f64 / seconds);
        }
    }
    Ok(())
}

/// A table of normals whose target is the sum of a few of them.
fn write_rows(path: &Path, rows: u64) -> Result<(), Error> {
    let mut out = BufWriter::new(File::create(path)?);
    let header: Vec<String> = (0..FEATURES).map(|i| format!("x{i}")).collect();
    writeln!(out, "{},y", header.join(","))?;
    let mut rng = Noise::new(0, Purpose::Init).rng(0);
    let mut row = [0.0_f32; FEATURES + 1];
    for _ in 0..rows {
        rng.normals(&mut row);
        let y = row[0] + row[1] * row[2] + 0.3 * row[FEATURES];
        row[..FEATURES].iter().try_for_each(|x| write!(out, "{:.4},", 10.0 + 5.0 * x))?;
        writeln!(out, "{y:.4}")?;
    }
    Ok(out.flush()?)
}

/// The default network, 13-50-1 under MC dropout.
fn fit(path: &Path) -> Result<Model, Error> {
    let table = Table::from_reader(RowReader::open(path, None)?)?;
    let mut config = TrainConfig::for_target("y");
    config.fit.epochs = 20;
    Ok(Model::train(&table, &config, &Serial, &mut |_| ControlFlow::Continue(()))?.model)
}

fn predict(model: &Model, file: &Path, out: &Path, threads: usize) -> Result<(), Error> {
    let mut csv = csv::Writer::from_path(out)?;
    let how = FilePrediction { passes: model.passes(), ..FilePrediction::default() };
    let pool = RayonPool::new(threads)?;
    let mut failed = None;
    model.predict_file(RowReader::open(file, None)?, &how, &pool, &mut |event| {
        if let FileEvent::Row(row) = event
            && let Err(e) = write_csv_row(&mut csv, model, &row)
        {
            failed.get_or_insert(e);
        }
        Ok(())
    })?;
    failed.map_or(Ok(()), |e| Err(e.into())).and_then(|()| Ok(csv.flush()?))
}

/// The most memory that this process has had so far, where the system tells it.
fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}
