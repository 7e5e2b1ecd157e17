//! `reproduce uci`: the UCI regression study.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use bdl_benches::uci::{Error, Method, Outcome, Set, Summary, methods, splits, study, table};
use rayon::prelude::*;

use crate::args::UciArgs;

pub(crate) fn run(args: &UciArgs) -> Result<Vec<Summary>, Error> {
    let start = Instant::now();
    let sets = read_sets(&args.data, &args.sets)?;
    let methods = if args.methods.is_empty() { methods() } else { args.methods.clone() };
    let mut lines = all(&sets, &methods, args.splits.clone(), args.threads, |lines| {
        if args.json { print_json(lines) } else { Ok(()) }
    })?;
    // By set for the reader; the work was by method.
    lines.sort_by_key(|line| sets.iter().position(|s| s.name == line.set));
    if !args.json {
        println!("{}", report(&lines, &methods, start));
    }
    Ok(lines)
}

/// Every method on every set, in this order; `on_method` gets the lines of each method as they are done.
pub(crate) fn all(
    sets: &[Set],
    methods: &[Method],
    splits: Range<usize>,
    threads: usize,
    mut on_method: impl FnMut(&[Summary]) -> Result<(), Error>,
) -> Result<Vec<Summary>, Error> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let mut lines = Vec::new();
    for method in methods {
        let start = Instant::now();
        let new = pool.install(|| one_method(sets, method, splits.clone()))?;
        eprintln!("{}: {:.0} s", method.name, start.elapsed().as_secs_f64());
        on_method(&new)?;
        lines.extend(new);
    }
    Ok(lines)
}

/// One method: a task for each set and split, collected in order, so that threads change nothing.
fn one_method(sets: &[Set], method: &Method, range: Range<usize>) -> Result<Vec<Summary>, Error> {
    let tasks: Vec<_> = sets
        .iter()
        .flat_map(|set| {
            splits(set.y.len()).drain(range.clone()).map(move |split| (set, split)).collect::<Vec<_>>()
        })
        .collect();
    let outcomes: Result<Vec<Outcome>, Error> =
        tasks.par_iter().with_max_len(1).map(|(set, split)| study(set, split, method)).collect();
    let of_sets = outcomes?;
    Ok(sets
        .iter()
        .zip(of_sets.chunks(range.len()))
        .map(|(set, o)| Summary::new(&set.name, method, o))
        .collect())
}

fn read_sets(dir: &Path, names: &[String]) -> Result<Vec<Set>, Error> {
    let found = sets_in(dir)?;
    let all: Vec<String>;
    let names = if names.is_empty() {
        all = found.keys().cloned().collect();
        &all
    } else {
        names
    };
    let read = |name: &String| match found.get(name) {
        Some(path) => Set::read(name, path),
        None => {
            let known = found.keys().cloned().collect::<Vec<_>>().join(", ");
            Err(format!("unknown set `{name}`: {} has {known}", dir.display()).into())
        }
    };
    names.iter().map(read).collect()
}

/// The CSV files of a folder by their names.
fn sets_in(dir: &Path) -> Result<BTreeMap<String, std::path::PathBuf>, Error> {
    let entries = std::fs::read_dir(dir).map_err(|e| format!("--data {}: {e}", dir.display()))?;
    let mut found = BTreeMap::new();
    for entry in entries {
        let path = entry?.path();
        if let (Some("csv"), Some(name)) = (extension(&path), path.file_stem().and_then(|s| s.to_str())) {
            found.insert(name.to_owned(), path.clone());
        }
    }
    if found.is_empty() {
        return Err(format!("--data {}: expected *.csv, got none", dir.display()).into());
    }
    Ok(found)
}

fn extension(path: &Path) -> Option<&str> {
    path.extension().and_then(|e| e.to_str())
}

fn print_json(lines: &[Summary]) -> Result<(), Error> {
    for line in lines {
        println!("{}", serde_json::to_string(line)?);
    }
    Ok(())
}

/// The table, what was chosen among how many settings, and the time.
fn report(lines: &[Summary], methods: &[Method], start: Instant) -> String {
    let mut text = table(lines);
    text += "\nRMSE and NLL (nats per row) in the target's units, mean ± standard error over the splits.\n";
    for line in lines.iter().filter(|l| l.chosen.len() > 1) {
        let chosen: Vec<_> = line.chosen.iter().map(|(label, times)| format!("{label}: {times}")).collect();
        text += &format!("{} on {}: splits that chose {}\n", line.method, line.set, chosen.join(", "));
    }
    for method in methods {
        let spent: f64 = lines.iter().filter(|l| l.method == method.name).map(|l| l.seconds).sum();
        let tried = method.settings.len();
        text += &format!("{}: {tried} setting(s) tried, {spent:.0} s of one thread\n", method.name);
    }
    text + &format!("total: {:.0} s", start.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_folder_is_named() {
        let error = read_sets(Path::new("no/such/folder"), &[]).unwrap_err().to_string();
        assert!(error.starts_with("--data no/such/folder: "), "{error}");
    }

    #[test]
    fn an_unknown_set_is_named_with_those_there_are() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/bdl-cli/data");
        let error = read_sets(&dir, &["iris".to_owned()]).unwrap_err().to_string();
        assert!(error.starts_with("unknown set `iris`: ") && error.ends_with("winequality-red"), "{error}");
    }

    #[test]
    fn threads_change_nothing() {
        let rows = (0..40).map(|i| format!("{},{},{}\n", i % 7, i % 5, i % 7 + 2 * (i % 5)));
        let sets = [Set::parse("sum", &("a,b,y\n".to_owned() + &rows.collect::<String>())).unwrap()];
        let mut method = methods().swap_remove(1);
        method.settings.iter_mut().for_each(|s| s.fit.epochs = 3);
        let scores = |threads| {
            let lines = all(&sets, std::slice::from_ref(&method), 0..3, threads, |_| Ok(())).unwrap();
            (lines[0].rmse, lines[0].nll, lines[0].chosen.clone())
        };
        assert_eq!(scores(1), scores(3));
    }
}
