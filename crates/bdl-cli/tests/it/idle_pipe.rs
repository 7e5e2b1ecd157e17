//! `bdl predict` between pipes that stay open: it waits for rows, and for nothing else.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::common::{Dir, Run, numbers, short};

/// More than any machine takes, and less than the silence of a pipe that nobody writes to.
const BOUND: Duration = Duration::from_secs(30);

fn model() -> Dir {
    let dir = Dir::new().with("d.csv", numbers(60));
    dir.bdl(&short("train d.csv --target y --ignore id --out m.bdl")).ok();
    dir
}

/// Starts `bdl predict m.bdl -` and writes `text` to it, on a thread, since it may end before it has read all of it.
/// The pipe stays open as long as what comes back from that thread.
fn predict(dir: &Dir, flags: &str, text: String) -> (Child, std::thread::JoinHandle<ChildStdin>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bdl"))
        .args(["predict", "m.bdl", "-"])
        .args(flags.split_whitespace())
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writing = std::thread::spawn(move || {
        let _ = stdin.write_all(text.as_bytes());
        stdin
    });
    (child, writing)
}

/// Waits for the end, and no longer than [`BOUND`].
fn ended(mut child: Child) -> Run {
    let (send, done) = channel();
    let mut streams = (child.stdout.take(), child.stderr.take().unwrap());
    std::thread::spawn(move || {
        let (mut out, mut err) = (String::new(), String::new());
        if let Some(stream) = &mut streams.0 {
            stream.read_to_string(&mut out).unwrap();
        }
        streams.1.read_to_string(&mut err).unwrap();
        send.send((out, err))
    });
    match done.recv_timeout(BOUND) {
        Ok((out, err)) => Run { code: child.wait().unwrap().code().unwrap_or(-1), out, err },
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            child.kill().unwrap();
            panic!("still there after {BOUND:?}");
        }
    }
}

#[test]
fn a_bad_cell_is_told_at_once() {
    let dir = model();
    for rows in [12, 1024, 3000] {
        let text = numbers(rows) + "bad,many,red,7,1\n" + &numbers(5)["id,x,colour,flat,y\n".len()..];
        let (child, writing) = predict(&dir, "--on-bad-row stop --samples 3 --quiet", text);
        let run = ended(child);
        assert_eq!(run.code, 1, "{}", run.err);
        assert!(run.err.contains(&format!("row {} (line {})", rows + 1, rows + 2)), "{}", run.err);
        assert_eq!(run.out.lines().count(), rows + 1, "the rows before it are told");
        drop(writing.join().unwrap());
    }
}

#[test]
fn a_reader_that_is_gone_is_seen_at_once() {
    let dir = model();
    for rows in [12, 3000] {
        for format in ["text", "json"] {
            let flags = format!("--samples 3 --quiet --format {format}");
            let (mut child, writing) = predict(&dir, &flags, numbers(rows));
            drop(child.stdout.take());
            let run = ended(child);
            assert_eq!((run.code, run.err.as_str()), (0, ""));
            drop(writing.join().unwrap());
        }
    }
}

#[test]
fn rows_are_answered_as_they_come() {
    let dir = model();
    let text = numbers(3);
    let mut rows = text.split_inclusive('\n');
    let first: String = rows.by_ref().take(2).collect();
    let (mut child, writing) = predict(&dir, "--samples 3 --quiet --delimiter , --keep id", first);
    let mut stdin = writing.join().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (send, lines) = channel();
    std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
    let until = Instant::now() + BOUND;
    let next = || lines.recv_timeout(until - Instant::now()).expect("an answer");
    assert!(next().starts_with("id,mean,"));
    assert!(next().starts_with("r0,"));
    for (i, row) in rows.enumerate() {
        stdin.write_all(row.as_bytes()).unwrap();
        assert!(next().starts_with(&format!("r{},", i + 1)));
    }
    drop(stdin);
    assert_eq!(ended(child).code, 0);
}
