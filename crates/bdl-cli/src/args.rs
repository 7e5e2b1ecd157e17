//! The command line: subcommands, the flags they share, and the ranges of the numbers.

use std::path::{Path, PathBuf};

use bdl_model::Estimator;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::train_args::TrainArgs;

/// Neural networks that know what they do not know.
///
/// Trains Bayesian neural networks on tables of data and predicts with honest uncertainty, on a CPU.
#[derive(Debug, Parser)]
#[command(name = "bdl", version, propagate_version = true, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  bdl demo                                            a first look, on data that comes along
  bdl train houses.csv --target price --out houses.bdl
  bdl evaluate houses.bdl held-out.csv
  bdl predict houses.bdl new.csv --keep id --out predictions.csv

Exit codes: 0 success, 1 the data, the model or the work failed, 2 the call is wrong.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a model on a table
    Train(Box<TrainArgs>),
    /// Predict the rows of a table: means, intervals, class probabilities
    Predict(PredictArgs),
    /// Score a model on rows whose targets are known
    Evaluate(EvaluateArgs),
    /// Show what a model file holds
    Inspect(InspectArgs),
    /// Remove the weights that are noise
    Prune(PruneArgs),
    /// Write a model in another form: as a plain network
    Export(ExportArgs),
    /// Train, evaluate and predict on data that comes along
    Demo(DemoArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// One JSON object on a line
    Json,
}

/// How a table is read.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Reading")]
pub(crate) struct ReadArgs {
    /// Separates fields: one character, or comma, semicolon, tab, pipe [default: found in the file]
    #[arg(long, value_name = "CHAR", value_parser = delimiter)]
    pub(crate) delimiter: Option<u8>,
}

/// Threads and printing.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Running and printing")]
pub(crate) struct RunArgs {
    /// Threads to work with; results do not depend on it [default: one for each core]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub(crate) threads: Option<usize>,
    /// How to print results
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

const PREDICT_EXAMPLES: &str = "\
Examples:
  bdl predict houses.bdl new.csv                      to the terminal
  bdl predict houses.bdl new.csv --keep id --interval 0.95 --out predictions.csv
  bdl predict houses.bdl new.csv --draws=20           with 20 draws from each predictive distribution
  gunzip -c new.csv.gz | bdl predict houses.bdl - --format json | head -3

Columns, regression:     mean, std, aleatoric_std, epistemic_std, lower, upper, mean_mcse
Columns, classification: label, prob_<class> …, predictive_entropy, expected_entropy, mutual_information,
                         mutual_information_mcse";

#[derive(Debug, Args)]
#[command(after_help = PREDICT_EXAMPLES)]
pub(crate) struct PredictArgs {
    /// A model file of `bdl train`
    pub(crate) model: PathBuf,
    /// A CSV file with the model's columns, in any order, - for standard input; or IDX images. The target may be absent
    pub(crate) data: PathBuf,
    /// Write the predictions to this file, in CSV [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Monte Carlo passes through each network
    #[arg(long, value_name = "S", value_parser = samples, default_value = "100", conflicts_with = "tolerance")]
    pub(crate) samples: usize,
    /// Double the passes from 32 until each row's Monte Carlo error is at most this
    #[arg(long, value_name = "EPS", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) tolerance: Option<f64>,
    /// One pass at the mean of the weights, without masks and noise: no uncertainty about the weights
    #[arg(long, conflicts_with_all = ["samples", "tolerance", "scope", "estimator"])]
    pub(crate) mean: bool,
    /// What one draw of the noise covers: a whole pass, or each row by itself
    #[arg(long, value_enum, default_value_t)]
    pub(crate) scope: ScopeArg,
    /// How posteriors over weights are drawn under --scope row [default: as in training]
    #[arg(long, value_enum)]
    pub(crate) estimator: Option<EstimatorArg>,
    /// Probability of the interval from lower to upper; not of classes [default: 0.9]
    #[arg(long, value_name = "P", value_parser = inside_0_1, allow_negative_numbers = true)]
    pub(crate) interval: Option<f64>,
    /// Add N draws from each row's predictive distribution [N: 100]
    #[arg(long, value_name = "N", value_parser = draws, num_args = 0..=1, require_equals = true, default_missing_value = "100")]
    pub(crate) draws: Option<usize>,
    /// Columns of DATA to copy in front of the predictions: identifiers, the target. Comma-separated
    #[arg(long, value_name = "COLS", value_parser = names)]
    pub(crate) keep: Vec<Names>,
    /// What to do about a row that cannot be read
    #[arg(long, value_enum, default_value_t)]
    pub(crate) on_bad_row: BadRowArg,
    /// Seed of the Monte Carlo noise [default: 0]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// No notices, only warnings and errors
    #[arg(long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EvaluateArgs {
    /// A model file of `bdl train`
    pub(crate) model: PathBuf,
    /// A CSV file with the model's columns and the target, - for standard input; or IDX images
    pub(crate) data: PathBuf,
    /// IDX labels of the images [default: t10k-labels-idx1-ubyte beside t10k-images-idx3-ubyte, or either with .gz]
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// Monte Carlo passes through each network
    #[arg(long, value_name = "S", value_parser = samples, default_value = "100")]
    pub(crate) samples: usize,
    /// Seed of the Monte Carlo noise and of the bootstrap
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

const PRUNE_EXAMPLES: &str = "\
Examples:
  bdl prune digits.bdl --out small.bdl
  bdl prune digits.bdl --sweep held-out.csv           what each threshold costs; nothing is written
  bdl prune digits.bdl --out small.bdl --threshold 2";

#[derive(Debug, Args)]
#[command(after_help = PRUNE_EXAMPLES)]
pub(crate) struct PruneArgs {
    /// A model file of `bdl train`, of the method sparse-vd or mean-field
    pub(crate) model: PathBuf,
    /// The model file to write
    #[arg(long, value_name = "MODEL", required_unless_present = "sweep", conflicts_with = "sweep")]
    pub(crate) out: Option<PathBuf>,
    /// Weights go whose ln alpha is above this [sparse-vd, default: 3] or whose |mean|/sigma is below [mean-field, default: 0.223]
    #[arg(long, value_name = "X", value_parser = finite, allow_negative_numbers = true, conflicts_with = "sweep")]
    pub(crate) threshold: Option<f64>,
    /// Print error against sparsity on this data, CSV with the target or IDX images, and write nothing
    #[arg(long, value_name = "DATA")]
    pub(crate) sweep: Option<PathBuf>,
    /// Thresholds of the sweep, separated by commas
    #[arg(long, value_name = "X,X,…", value_delimiter = ',', value_parser = finite, allow_negative_numbers = true)]
    pub(crate) thresholds: Vec<f64>,
    /// IDX labels of the sweep's images
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// Monte Carlo passes of the sweep through each network [default: 100]
    #[arg(long, value_name = "S", value_parser = samples)]
    pub(crate) samples: Option<usize>,
    /// Seed of the sweep's Monte Carlo noise [default: 0]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

impl EvaluateArgs {
    /// Scores of a sweep.
    pub(crate) fn for_sweep(args: &PruneArgs, data: &Path) -> Self {
        Self {
            model: args.model.clone(),
            data: data.to_owned(),
            labels: args.labels.clone(),
            samples: args.samples.unwrap_or(100),
            seed: args.seed.unwrap_or(0),
            read: args.read.clone(),
            run: args.run.clone(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A model file of `bdl train`
    pub(crate) model: PathBuf,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

const EXPORT_EXAMPLES: &str = "\
Examples:
  bdl export houses.bdl --plain --out plain.bdl       one value for each weight: the mean of its posterior";

#[derive(Debug, Args)]
#[command(after_help = EXPORT_EXAMPLES)]
pub(crate) struct ExportArgs {
    /// A model file of `bdl train`
    pub(crate) model: PathBuf,
    /// As a plain network: weights at the means of their posteriors, without masks and noise
    #[arg(long, required = true)]
    pub(crate) plain: bool,
    /// The model file to write
    #[arg(long, value_name = "MODEL")]
    pub(crate) out: PathBuf,
    /// How to print results
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Directory for the data, the model and the predictions; made if it is not there
    #[arg(default_value = "bdl-demo")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EstimatorArg {
    /// Draws each row's pre-activations: less variance
    Local,
    /// Draws the weights once for each batch
    Sampling,
    /// Draws the weights' deviations once for each batch, and their signs for each row
    Flipout,
}

impl From<EstimatorArg> for Estimator {
    fn from(arg: EstimatorArg) -> Self {
        match arg {
            EstimatorArg::Local => Self::Local,
            EstimatorArg::Sampling => Self::Sampling,
            EstimatorArg::Flipout => Self::Flipout,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScopeArg {
    /// A pass is a function drawn from the posterior: a row's prediction does not depend on other rows
    #[default]
    Pass,
    /// Independent noise for each row
    Row,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum BadRowArg {
    /// Fail, and write no file
    #[default]
    Stop,
    /// Leave it out, with a notice
    Skip,
}

/// The names of one occurrence of a flag, separated by commas; quoted as in CSV where a name has a comma.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names(Vec<String>);

impl Names {
    /// The names of all occurrences.
    pub(crate) fn all(of: &[Self]) -> Vec<String> {
        of.iter().flat_map(|names| names.0.iter().cloned()).collect()
    }
}

pub(crate) fn names(text: &str) -> Result<Names, String> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    let record = reader.records().next().ok_or("expected names of columns, got none")?;
    let record = record.map_err(|e| e.to_string())?;
    let names: Vec<String> = record.iter().map(|name| name.trim().to_owned()).collect();
    if names.iter().any(String::is_empty) {
        return Err("expected names of columns separated by commas, got an empty one".to_owned());
    }
    Ok(Names(names))
}

/// One of a closed list of names.
pub(crate) fn one_of<T: Clone + Send + Sync + 'static>(
    names: impl IntoIterator<Item = &'static str>,
    value: fn(&str) -> Option<T>,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(names)
        .try_map(move |name| value(&name).ok_or("expected one of the names above"))
}

fn number(text: &str) -> Result<f64, String> {
    text.trim().parse().map_err(|_| "expected a number".to_owned())
}

fn number_if(text: &str, expected: &str, fits: impl Fn(f64) -> bool) -> Result<f64, String> {
    number(text).and_then(|x| if fits(x) { Ok(x) } else { Err(format!("expected {expected}")) })
}

fn finite(text: &str) -> Result<f64, String> {
    number_if(text, "a finite number", f64::is_finite)
}

pub(crate) fn positive(text: &str) -> Result<f64, String> {
    number_if(text, "a finite number above 0", |x| x.is_finite() && x > 0.0)
}

pub(crate) fn above_2(text: &str) -> Result<f64, String> {
    number_if(text, "a finite number above 2", |x| x.is_finite() && x > 2.0)
}

pub(crate) fn not_negative(text: &str) -> Result<f64, String> {
    number_if(text, "a finite number, 0 or above", |x| x.is_finite() && x >= 0.0)
}

/// `[0, 1)`.
pub(crate) fn below_1(text: &str) -> Result<f64, String> {
    number_if(text, "a number from 0 up to but not including 1", |x| (0.0..1.0).contains(&x))
}

/// `(0, 1)`.
pub(crate) fn inside_0_1(text: &str) -> Result<f64, String> {
    number_if(text, "a number between 0 and 1, without these", |x| x > 0.0 && x < 1.0)
}

/// A count that memory can hold, from 1.
pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    count_up_to(text, 1, 1_000_000_000)
}

/// Passes whose outputs memory can hold, and time too.
fn samples(text: &str) -> Result<usize, String> {
    count_up_to(text, 1, 1_000_000)
}

/// Threads that an operating system can start.
fn threads(text: &str) -> Result<usize, String> {
    count_up_to(text, 1, 1024)
}

fn draws(text: &str) -> Result<usize, String> {
    count_up_to(text, 1, 100_000)
}

pub(crate) fn count_up_to(text: &str, least: usize, most: usize) -> Result<usize, String> {
    let fits = text.trim().parse().ok().filter(|n| (least..=most).contains(n));
    fits.ok_or_else(|| format!("expected a whole number from {least} to {most}"))
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text {
        "comma" => Ok(b','),
        "semicolon" => Ok(b';'),
        "tab" | "\\t" => Ok(b'\t'),
        "pipe" => Ok(b'|'),
        _ => {
            match *text.as_bytes() {
                [c] if c.is_ascii() && !b"\"\r\n\0".contains(&c) => Ok(c),
                _ => Err("expected one ASCII character other than a quote, or comma, semicolon, tab, pipe"
                    .to_owned()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn names_are_separated_by_commas_unless_quoted() {
        assert_eq!(names("a, b").unwrap(), Names(vec!["a".into(), "b".into()]));
        assert_eq!(names("\"a,b\",c").unwrap(), Names(vec!["a,b".into(), "c".into()]));
        assert!(names("a,,b").is_err() && names("").is_err());
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        for text in ["nan", "inf", "-1", "0", "x", ""] {
            assert!(positive(text).is_err(), "{text}");
        }
        assert!(
            below_1("1").is_err()
                && below_1("0").is_ok()
                && inside_0_1("0").is_err()
                && inside_0_1("nan").is_err()
        );
        assert!(at_least_one("0").is_err() && at_least_one("1.5").is_err() && at_least_one("3").is_ok());
    }
}
