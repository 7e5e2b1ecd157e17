//! Files of several chunks, which are read, predicted and told on different threads.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bdl_infer::RayonPool;
use bdl_model::{Error, FileEvent, FilePrediction, Method, Model, OnBadRow, RowReader};
use bdl_tensor::Serial;
use common::{bits, config, file_prediction, predict, predict_with, reader, real_text, train};

/// Rows that the library takes at a time.
const CHUNK: usize = 1024;

fn model() -> Model {
    let mut config = config("y", Method::McDropout);
    config.fit.epochs = 1;
    train(&real_text(40, 1), &config)
}

/// A row of `text`, counted from 0, replaced.
fn with_bad(text: &str, rows: &[(usize, &str)]) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    rows.iter().for_each(|(row, bad)| lines[row + 1] = bad);
    lines.join("\n") + "\n"
}

/// Cells that cannot be encoded, and a row that cannot be read.
const BAD: [&str; 2] = ["?,oops,red,1", "1"];

#[test]
fn a_bad_row_in_any_chunk_stops_after_the_rows_before_it() {
    let (model, text, how) = (model(), real_text(3 * CHUNK + 5, 2), file_prediction(3));
    let whole = bits(&predict(&model, &text, &how));
    for at in [CHUNK - 1, CHUNK, 2 * CHUNK + 1, 3 * CHUNK + 4] {
        for bad in BAD {
            let mut told = 0;
            let failed =
                model.predict_file(&mut reader(&with_bad(&text, &[(at, bad)])), &how, &Serial, &mut |e| {
                    told += usize::from(matches!(e, FileEvent::Row(_)));
                    Ok(())
                });
            let message = failed.unwrap_err().to_string();
            assert!(message.contains(&format!("row {}", at + 1)), "{message}");
            assert_eq!(told, at, "{bad}");
        }
    }
    assert_eq!(whole.len(), 3 * CHUNK + 5);
}

#[test]
fn skipped_rows_of_several_chunks_are_told_in_order_and_change_no_other() {
    let (model, text) = (model(), real_text(3 * CHUNK, 2));
    let how = FilePrediction { on_bad_row: OnBadRow::Skip, ..file_prediction(3) };
    let at = [0, 7, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK - 1];
    let bad: Vec<_> = at.iter().enumerate().map(|(i, &row)| (row, BAD[i % 2])).collect();
    let mut whole = bits(&predict(&model, &text, &how));
    for threads in [1, 2, 3] {
        let pool = RayonPool::new(threads).unwrap();
        let (told, report) = predict_with(&model, &with_bad(&text, &bad), &how, &pool).unwrap();
        assert_eq!((report.rows, report.skipped), (3 * CHUNK as u64 - 7, 7));
        at.iter().for_each(|&row| whole[row].clear());
        assert!(bits(&told).iter().eq(whole.iter().filter(|row| !row.is_empty())), "{threads}");
        assert!(told.is_sorted_by_key(|row| row.number));
    }
}

#[test]
fn a_sink_that_fails_ends_the_run_with_its_error() {
    let (model, text) = (model(), real_text(5 * CHUNK, 2));
    for last in [1, CHUNK, 2 * CHUNK + 9] {
        let mut told = 0;
        let failed = model.predict_file(&mut reader(&text), &file_prediction(3), &Serial, &mut |_| {
            told += 1;
            let full = Error::Argument { what: "disk", expected: "free", got: "full".into() };
            if told == last { Err(full) } else { Ok(()) }
        });
        assert!(failed.unwrap_err().to_string().contains("disk"));
        assert_eq!(told, last);
    }
}

/// Rows without an end, and how many were read.
struct Endless {
    row: Vec<u8>,
    text: Vec<u8>,
    read: Arc<AtomicUsize>,
}

impl Read for Endless {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.text.is_empty() {
            self.text.clone_from(&self.row);
            self.read.fetch_add(1, Ordering::Relaxed);
        }
        let n = (&self.text[..]).read(out)?;
        self.text.drain(..n);
        Ok(n)
    }
}

#[test]
fn reading_is_never_far_ahead_of_what_was_told() {
    let (model, text, read) = (model(), real_text(1, 2), Arc::new(AtomicUsize::new(0)));
    let (header, row) = text.split_once('\n').unwrap();
    let source = Endless { row: row.into(), text: format!("{header}\n").into(), read: Arc::clone(&read) };
    let mut reader = RowReader::from_reader("endless", source, None).unwrap();
    let mut told = 0;
    let failed = model.predict_file(&mut reader, &file_prediction(2), &Serial, &mut |_| {
        told += 1;
        // Being read, predicted and told, one waiting in each queue, and one on its way; 64 KiB are buffered.
        let ahead = read.load(Ordering::Relaxed) - told;
        assert!(ahead <= 6 * CHUNK + (1 << 16) / row.len(), "{ahead} rows are in memory");
        let enough = Error::Argument { what: "enough", expected: "", got: String::new() };
        if told == 40 * CHUNK { Err(enough) } else { Ok(()) }
    });
    assert!(failed.unwrap_err().to_string().contains("enough"));
}
