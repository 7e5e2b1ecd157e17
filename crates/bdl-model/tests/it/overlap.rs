//! Files of several chunks, which are read, predicted and told on different threads.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::common::{Told, bits, config, file_prediction, predict, predict_with, reader, real_text, train};
use bdl_infer::RayonPool;
use bdl_model::{Error, FileEvent, FilePrediction, Method, Model, OnBadRow, RowReader};
use bdl_tensor::Serial;

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
                model.predict_file(reader(&with_bad(&text, &[(at, bad)])), &how, &Serial, &mut |e| {
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
        let failed = model.predict_file(reader(&text), &file_prediction(3), &Serial, &mut |_| {
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
        // As much as is asked for, so that chunks are full.
        while self.text.len() < out.len() {
            self.text.extend(&self.row);
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
    let reader = RowReader::from_reader("endless", source, None).unwrap();
    let mut told = 0;
    let failed = model.predict_file(reader, &file_prediction(2), &Serial, &mut |event| {
        told += usize::from(matches!(event, FileEvent::Row(_)));
        // Being read, predicted and told, one waiting in each queue, and one on its way; 64 KiB are buffered.
        let ahead = read.load(Ordering::Relaxed) - told;
        assert!(ahead <= 6 * CHUNK + (1 << 16) / row.len(), "{ahead} rows are in memory");
        let enough = Error::Argument { what: "enough", expected: "", got: String::new() };
        if told == 40 * CHUNK { Err(enough) } else { Ok(()) }
    });
    assert!(failed.unwrap_err().to_string().contains("enough"));
}

/// A pipe: what is sent, and silence until more is sent or the sender is gone.
struct Pipe {
    sent: Receiver<String>,
    text: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.text.is_empty() {
            self.text = self.sent.recv().unwrap_or_default().into();
        }
        let n = (&self.text[..]).read(out)?;
        self.text.drain(..n);
        Ok(n)
    }
}

/// A pipe, and a reader of it that need not find the delimiter.
fn pipe(text: &str) -> (Sender<String>, RowReader) {
    let (send, sent) = channel();
    send.send(text.to_owned()).unwrap();
    let source = Pipe { sent, text: Vec::new() };
    (send, in_time(|| RowReader::from_reader("pipe", source, Some(b',')).unwrap()))
}

/// What `work` comes to, on a thread of its own; fails if it takes more than half a minute.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, done) = channel();
    std::thread::spawn(move || send.send(work()));
    done.recv_timeout(Duration::from_secs(30)).expect("the rows that have come are waited for no longer")
}

#[test]
fn a_failure_does_not_wait_for_a_silent_pipe() {
    for rows in [1, 5, CHUNK, 3 * CHUNK + 5] {
        // The last row is bad; or the sink fails at it.
        for bad in [Some(BAD[0]), Some(BAD[1]), None] {
            let text = with_bad(&real_text(rows, 2), &bad.map_or(vec![], |bad| vec![(rows - 1, bad)]));
            let (silent, reader) = pipe(&text);
            let message = in_time(move || {
                let mut told = 0;
                let failed = model().predict_file(reader, &file_prediction(3), &Serial, &mut |e| {
                    told += usize::from(matches!(e, FileEvent::Row(_)));
                    let full = Error::Argument { what: "disk", expected: "free", got: "full".into() };
                    if told == rows { Err(full) } else { Ok(()) }
                });
                assert_eq!(told, rows - usize::from(bad.is_some()));
                failed.unwrap_err().to_string()
            });
            let expected = if bad.is_some() { format!("row {rows} ") } else { "disk".to_owned() };
            assert!(message.contains(&expected), "{message}");
            drop(silent);
        }
    }
}

#[test]
fn rows_of_a_pipe_are_told_before_the_next_have_come_and_have_the_bits_of_the_file() {
    for line_end in ["\n", "\r\n"] {
        let (model, text) = (model(), real_text(20, 2).replace('\n', line_end));
        let whole = bits(&predict(&model, &text, &file_prediction(3)));
        let mut lines: Vec<_> = text.split_inclusive('\n').map(str::to_owned).collect();
        let later = lines.split_off(4);
        let (send, reader) = pipe(&lines.concat());
        let told = in_time(move || {
            let (mut told, mut later, mut send) = (Vec::new(), later.into_iter(), Some(send));
            let report = model.predict_file(reader, &file_prediction(3), &Serial, &mut |e| {
                match e {
                    FileEvent::Row(row) => told.push(Told::of(&row)),
                    // The next row is sent only now; behind the last there is the end.
                    FileEvent::CaughtUp => match later.next() {
                        Some(row) => send.as_ref().unwrap().send(row).unwrap(),
                        None => send = None,
                    },
                    other => panic!("{other:?}"),
                }
                Ok(())
            });
            assert_eq!(report.unwrap().rows, 20);
            told
        });
        assert_eq!(bits(&told), whole);
    }
}

#[test]
fn a_panic_of_the_source_is_not_taken_for_the_end() {
    struct Faulty(Vec<u8>);
    impl Read for Faulty {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            assert!(!self.0.is_empty(), "a fault of the source");
            let n = (&self.0[..]).read(out)?;
            self.0.drain(..n);
            Ok(n)
        }
    }
    let text = real_text(3 * CHUNK, 2);
    let outcome = in_time(|| {
        let reader = RowReader::from_reader("faulty", Faulty(text.into()), None).unwrap();
        catch_unwind(AssertUnwindSafe(|| {
            model().predict_file(reader, &file_prediction(2), &Serial, &mut |_| Ok(()))
        }))
    });
    let panic = outcome.expect_err("the panic is passed on");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"a fault of the source"));
}
