//! The command line.

use std::ops::Range;
use std::path::PathBuf;

use bdl_benches::uci::{Method, SPLITS, method_named};
use clap::{Parser, Subcommand};

/// Published results, run again
#[derive(Debug, Parser)]
#[command(name = "reproduce")]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to run.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Every method on the standard splits of UCI regression sets
    Uci(UciArgs),
    /// The gated methods on three splits of the set that is shipped
    Gate(GateArgs),
    /// Known results on MNIST, trained from scratch
    Mnist(MnistArgs),
    /// A long file through prediction: rows per second and peak memory, at a tenth of the rows and at all
    Stream(StreamArgs),
}

/// Arguments of `uci`.
#[derive(Debug, clap::Args)]
pub(crate) struct UciArgs {
    /// Folder of the sets, SET.csv: a header, numbers only, the target in the last column
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Splits to run, FROM..TO
    #[arg(long, value_name = "RANGE", default_value = "0..20", value_parser = splits)]
    pub(crate) splits: Range<usize>,
    /// Sets to run, comma-separated [default: every DIR/*.csv]
    #[arg(long, value_name = "SETS", value_delimiter = ',')]
    pub(crate) sets: Vec<String>,
    /// Methods to run, comma-separated [default: all]
    #[arg(long, value_name = "METHODS", value_delimiter = ',', value_parser = method_named)]
    pub(crate) methods: Vec<Method>,
    /// Threads; 0 for as many as the machine has cores
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) threads: usize,
    /// One JSON object per line, for each set and method, and no table
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `gate`.
#[derive(Debug, clap::Args)]
pub(crate) struct GateArgs {
    /// Threads; 0 for as many as the machine has cores
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) threads: usize,
}

/// Arguments of `mnist`.
#[derive(Debug, clap::Args)]
pub(crate) struct MnistArgs {
    /// Folder of train-images-idx3-ubyte, t10k-images-idx3-ubyte and their labels, with or without .gz
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// What to train, comma-separated [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Epochs [default: as many as each needs]
    #[arg(long, value_name = "N")]
    pub(crate) epochs: Option<usize>,
    /// Seed of everything that is random
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// A line every so many epochs
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(usize))]
    pub(crate) every: usize,
    /// Save each trained model to DIR/NAME.bdl, and what pruning leaves of it to DIR/NAME-pruned.bdl
    #[arg(long, value_name = "DIR")]
    pub(crate) save: Option<PathBuf>,
    /// Threads; 0 for as many as the machine has cores
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) threads: usize,
}

/// Arguments of `stream`.
#[derive(Debug, clap::Args)]
pub(crate) struct StreamArgs {
    /// Rows of the file, 13 features each: 10 million take a gigabyte in the temporary folder, and as much for the output
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub(crate) rows: u64,
}

fn splits(text: &str) -> Result<Range<usize>, String> {
    let range = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    let fits = |r: &Range<usize>| r.start < r.end && r.end <= SPLITS;
    range.filter(fits).ok_or_else(|| format!("expected FROM..TO with FROM < TO <= {SPLITS}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::error::ErrorKind;

    fn parse(words: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(words.split(' '))
    }

    #[test]
    fn every_flag_is_read() {
        let words = "reproduce uci --data d --splits 3..7 --sets a,b --methods mean-field --threads 2 --json";
        let Command::Uci(args) = parse(words).unwrap().command else { panic!("not uci") };
        assert_eq!((args.splits, args.sets, args.threads), (3..7, vec!["a".to_owned(), "b".to_owned()], 2));
        assert!(args.json && args.methods.len() == 1);
    }

    #[test]
    fn bad_flags_are_refused() {
        for bad in ["--splits 5..5", "--splits 0..21", "--splits 3", "--methods hmc", "--threads -1"] {
            let error = parse(&format!("reproduce uci --data d {bad}")).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{bad}");
        }
        assert_eq!(parse("reproduce uci").unwrap_err().kind(), ErrorKind::MissingRequiredArgument);
    }
}
