//! `bdl demo`: a first look, on data that comes along.
//!
//! It runs the same code as the commands that it prints.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use bdl_model::{Evaluation, Table};
use clap::Parser;
use serde_json::{Value, json};

use crate::args::{Cli, Command, DemoArgs, EvaluateArgs, Format, PredictArgs};
use crate::out::{self, significant, table};
use crate::train_args::TrainArgs;
use crate::{evaluate, layers, predict, train};

const WINE: &str = include_str!("../data/winequality-red.csv");
const TRAIN: &str = "train.csv";
const TEST: &str = "test.csv";
const MODEL: &str = "model.bdl";
const PREDICTIONS: &str = "predictions.csv";

const TRAIN_FLAGS: &str = "--target quality --task regression --likelihood heteroscedastic --drop-prob 0.1";

/// Of all wines, one in so many is held out.
const HELD_OUT: u64 = 5;

pub(crate) fn run(args: &DemoArgs) -> Result<()> {
    let start = Instant::now();
    let calls = Calls::new(args)?;
    let [train_text, test_text] = split(WINE);
    prepare(&args.dir, &train_text, &test_text)?;
    let talk = args.run.format == Format::Text;
    if talk {
        out::line(intro(args, &train_text, &test_text))?;
    }
    let trained = train::work(&calls.train, false)?;
    layers::warn(&trained.training.model.layers()?);
    let evaluation = evaluate::score(&calls.evaluate, &trained.training.model)?;
    predict::work(&calls.predict)?;
    let rows = predictions(&args.dir.join(PREDICTIONS))?;
    let mean_only = Baseline::new(&targets(&args.dir.join(TRAIN))?, &targets(&args.dir.join(TEST))?);
    let seconds = start.elapsed().as_secs_f64();
    if !talk {
        return Ok(out::json(&as_json(args, &evaluation, &mean_only, seconds))?);
    }
    out::line(scores(&evaluation, &mean_only))?;
    out::line(some_rows(&rows))?;
    Ok(out::line(closing(&calls, &trained, seconds))?)
}

/// The commands that the demo stands for, as a user would type them.
struct Calls {
    lines: [String; 3],
    train: TrainArgs,
    evaluate: EvaluateArgs,
    predict: PredictArgs,
}

impl Calls {
    fn new(args: &DemoArgs) -> Result<Self> {
        let path = |name: &str| args.dir.join(name).display().to_string();
        let [train, test, model, predictions] = [TRAIN, TEST, MODEL, PREDICTIONS].map(path);
        let mut train = vec!["train", &train];
        train.extend(TRAIN_FLAGS.split(' '));
        train.extend(["--out", &model]);
        let calls = [
            train,
            vec!["evaluate", &model, &test],
            vec!["predict", &model, &test, "--keep", "quality", "--out", &predictions],
        ];
        let [train, evaluate, predict] = calls.clone().map(parse);
        match (train?, evaluate?, predict?) {
            (Command::Train(mut train), Command::Evaluate(mut evaluate), Command::Predict(mut predict)) => {
                train.run.threads = args.run.threads;
                evaluate.run = args.run.clone();
                predict.run.threads = args.run.threads;
                Ok(Self { lines: calls.map(as_typed), train: *train, evaluate, predict })
            }
            _ => Err(anyhow!("the demo's commands are not what they should be")),
        }
    }
}

fn parse(words: Vec<&str>) -> Result<Command> {
    Ok(Cli::try_parse_from(["bdl"].into_iter().chain(words))?.command)
}

/// A command as a shell takes it.
fn as_typed(words: Vec<&str>) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:".contains(c);
    let quoted = |word: &str| match word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    };
    format!("bdl {}", words.into_iter().map(quoted).collect::<Vec<_>>().join(" "))
}

/// Training and test part. Which one a wine goes to depends on its line alone, so that the wines that occur
/// twice are not in both.
fn split(csv: &str) -> [String; 2] {
    let mut lines = csv.lines();
    let header = lines.next().unwrap_or_default();
    let mut parts = [format!("{header}\n"), format!("{header}\n")];
    for line in lines {
        let held_out = fnv(line.as_bytes()).is_multiple_of(HELD_OUT);
        parts[usize::from(held_out)] += &format!("{line}\n");
    }
    parts
}

/// FNV-1a with a final mix, for its low bits.
fn fnv(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

/// Makes the directory and writes the data, unless something of somebody else's stands there.
fn prepare(dir: &Path, train: &str, test: &str) -> Result<()> {
    let data = [(TRAIN, train), (TEST, test)];
    if dir.exists() {
        let ours =
            |name: &str, text: &str| fs::read(dir.join(name)).is_ok_and(|bytes| bytes == text.as_bytes());
        let known = data.iter().all(|(name, text)| ours(name, text));
        for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
            let name = entry?.file_name();
            if !known || ![TRAIN, TEST, MODEL, PREDICTIONS].iter().any(|own| name == *own) {
                return Err(anyhow!(
                    "{}: expected a new or empty directory or that of an earlier demo, got one with {name:?}; \
                     choose another: bdl demo DIR",
                    dir.display()
                ));
            }
        }
    }
    fs::create_dir_all(dir).with_context(|| format!("{}: cannot be made", dir.display()))?;
    for (name, text) in data {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    Ok(())
}

fn intro(args: &DemoArgs, train: &str, test: &str) -> String {
    let rows = |text: &str| text.lines().count() - 1;
    format!(
        "Red wines: 11 laboratory measurements each, and a quality from 0 to 10 given by tasters.\n\
         {} wines to learn from, {} held out to see how well that went; all files go to {}\n\n\
         The qualities are few whole numbers, which would make them classes; here they are predicted as a\n\
         number (--task regression), because 6 lies between 5 and 7. Tasters agree on some wines more than on\n\
         others, so the noise may differ from wine to wine (--likelihood heteroscedastic). A tenth of the units\n\
         is dropped at random (--drop-prob 0.1), as suits data with that much noise.\n\n\
         Training a network with Monte Carlo dropout …\n",
        rows(train),
        rows(test),
        args.dir.display()
    )
}

/// Always the same prediction: mean and standard deviation of the training rows.
struct Baseline {
    rmse: f64,
    nll: f64,
    coverage_90: f64,
    width_90: f64,
}

impl Baseline {
    fn new(train: &[f64], test: &[f64]) -> Self {
        let mean_of = |values: &[f64], f: &dyn Fn(f64) -> f64| {
            values.iter().map(|&y| f(y)).sum::<f64>() / values.len() as f64
        };
        let mean = mean_of(train, &|y| y);
        let variance = mean_of(train, &|y| (y - mean).powi(2));
        let half = 1.644_853_626_951_472_2 * variance.sqrt();
        let square = mean_of(test, &|y| (y - mean).powi(2));
        Self {
            rmse: square.sqrt(),
            nll: 0.5 * (std::f64::consts::TAU * variance).ln() + square / (2.0 * variance),
            coverage_90: mean_of(test, &|y| f64::from(u8::from((y - mean).abs() <= half))),
            width_90: 2.0 * half,
        }
    }

    fn value(&self, name: &str) -> Option<f64> {
        Some(match name {
            "rmse" => self.rmse,
            "nll" => self.nll,
            "coverage_90" => self.coverage_90,
            "width_90" => self.width_90,
            _ => return None,
        })
    }
}

fn targets(path: &Path) -> Result<Vec<f64>> {
    let table = Table::open(path, None)?;
    numbers(&table, "quality")
}

fn numbers(table: &Table, name: &str) -> Result<Vec<f64>> {
    let column = table.column("demo", name)?;
    let rows: Vec<usize> = (0..table.rows()).collect();
    Ok(table.numbers(column, &rows)?.into_iter().flatten().collect())
}

fn scores(evaluation: &Evaluation, mean_only: &Baseline) -> String {
    let meaning = |name: &str| match name {
        "rmse" => "RMSE, the typical error in points of quality; less is better",
        "nll" => "NLL, the surprise at the true quality in nats; less is better",
        "coverage_90" => "share of true qualities inside the 90 % intervals; 0.90 is honest",
        _ => "width of the 90 % intervals in points; narrow is better, if honest",
    };
    let shown = ["rmse", "nll", "coverage_90", "width_90"];
    let rows = evaluation.metrics.iter().filter(|m| shown.contains(&m.name)).map(|m| {
        let interval = format!("{} to {}", significant(m.low, 3), significant(m.high, 3));
        let other = mean_only.value(m.name).map_or(String::new(), |x| significant(x, 3));
        vec![meaning(m.name).to_owned(), significant(m.value, 3), interval, other]
    });
    let header =
        [&format!("On {} held-out wines", evaluation.rows), "network", "95 % interval", "always the mean"];
    table(&header, &[1, 3], rows.collect())
}

/// A predicted wine.
struct Row {
    /// Its row in the test file, from 1.
    number: usize,
    truth: f64,
    mean: f64,
    lower: f64,
    upper: f64,
    epistemic_std: f64,
}

fn predictions(path: &Path) -> Result<Vec<Row>> {
    let table = Table::open(path, None)?;
    let columns = ["quality", "mean", "lower", "upper", "epistemic_std"];
    let columns: Vec<Vec<f64>> = columns.iter().map(|name| numbers(&table, name)).collect::<Result<_>>()?;
    let row = |i: usize| Row {
        number: i + 1,
        truth: columns[0][i],
        mean: columns[1][i],
        lower: columns[2][i],
        upper: columns[3][i],
        epistemic_std: columns[4][i],
    };
    Ok((0..table.rows()).map(row).collect())
}

/// The first wines, and those that the network knows least.
fn some_rows(rows: &[Row]) -> String {
    let mut by_doubt: Vec<&Row> = rows.iter().collect();
    by_doubt.sort_by(|a, b| b.epistemic_std.total_cmp(&a.epistemic_std));
    let first: Vec<&Row> = rows.iter().take(5).collect();
    by_doubt.truncate(4);
    format!(
        "The first of them:\n\n{}\n\
         Those it is least sure of, because few like them were among the wines to learn from:\n\n{}\n\
         \"Own doubt\" is epistemic_std, the part of the spread that more data would take away.\n\
         The rest, aleatoric_std, is what these measurements cannot explain: tasters disagree.\n",
        rows_table(&first),
        rows_table(&by_doubt)
    )
}

fn rows_table(rows: &[&Row]) -> String {
    let cells = |row: &&Row| {
        let inside = (row.lower..=row.upper).contains(&row.truth);
        vec![
            row.number.to_string(),
            format!("{:.2}", row.mean),
            format!("{:.2} to {:.2}", row.lower, row.upper),
            format!("{:.2}", row.epistemic_std),
            format!("{}{}", row.truth, if inside { "" } else { "  outside the interval" }),
        ]
    };
    let header = ["wine", "predicted", "90 % interval", "own doubt", "true quality"];
    table(&header, &[0, 1, 3], rows.iter().map(cells).collect())
}

fn closing(calls: &Calls, trained: &train::Trained, seconds: f64) -> String {
    let [train, evaluate, predict] = &calls.lines;
    format!(
        "Done in {} s ({} s of it training). The same by hand, and then with your own table:\n\n  {train}\n  {evaluate}\n  {predict}\n",
        significant(seconds, 2),
        significant(trained.seconds, 2)
    )
}

fn as_json(args: &DemoArgs, evaluation: &Evaluation, mean_only: &Baseline, seconds: f64) -> Value {
    let path = |name: &str| args.dir.join(name).display().to_string();
    json!({
        "train": path(TRAIN),
        "test": path(TEST),
        "model": path(MODEL),
        "predictions": path(PREDICTIONS),
        "seconds": seconds,
        "evaluation": evaluate::json(evaluation),
        "predicting_the_mean": {
            "rmse": mean_only.rmse,
            "nll": mean_only.nll,
            "coverage_90": mean_only.coverage_90,
            "width_90": mean_only.width_90,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_a_fifth_is_held_out_and_no_wine_is_on_both_sides() {
        let [train, test] = split(WINE);
        let [train, test] = [&train, &test].map(|part| part.lines().skip(1).collect::<Vec<_>>());
        assert_eq!(train.len() + test.len(), 1599);
        assert!((270..370).contains(&test.len()), "{}", test.len());
        assert!(test.iter().all(|wine| !train.contains(wine)));
    }

    #[test]
    fn the_mean_alone_scores_as_a_normal_distribution() {
        let b = Baseline::new(&[-1.0, 1.0], &[-1.0, 1.0, 3.0]);
        assert!((b.rmse - (11.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        assert!((b.nll - (0.918_938_533_204_672_7 + 11.0 / 6.0)).abs() < 1e-12);
        assert_eq!(b.coverage_90, 2.0 / 3.0);
    }
}
