//! How long `bdl predict` takes from its start to its end where there is next to nothing to do.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::common::Dir;

/// Rows of 13 numbers and a target.
fn houses(rows: usize) -> String {
    let mut text: String = (1..=13).map(|i| format!("x{i},")).collect::<String>() + "y\n";
    for row in 0..rows {
        let x = |i: usize| (row * 37 + i * 11) % 101;
        (1..=13).for_each(|i| write!(text, "{},", x(i)).unwrap());
        writeln!(text, "{}", x(1) + x(2)).unwrap();
    }
    text
}

/// Some 25 times what a release build takes: enough for a debug build beside other work, and too little for work that
/// grows with the model or the passes, for a second look at the file, or for a pool that is waited for.
const BOUND: Duration = Duration::from_millis(50);

#[test]
fn one_row_of_a_small_model_is_answered_at_once() {
    let dir = Dir::new().with("d.csv", houses(64)).with("row.csv", houses(1));
    dir.bdl("train d.csv --target y --out m.bdl --task regression --hidden 50 --epochs 1").ok();
    let run = |_| {
        let start = Instant::now();
        assert_eq!(dir.bdl("predict m.bdl row.csv --quiet").ok().lines().count(), 2);
        start.elapsed()
    };
    let best = (0..20).map(run).min().unwrap();
    assert!(best < BOUND, "{best:?}");
}
