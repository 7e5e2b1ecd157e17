//! The flags of `bdl train`.

mod check;
mod choices;
mod settings;
mod spec;

use std::path::PathBuf;

use bdl_model::{
    Activation, BayesianLayers, FitConfig, Grain, KlSchedule, KlWarmup, Method, Net, Prior, Schedule,
    TrainConfig, WeightNoise,
};
use clap::Args;

use crate::args::{
    EstimatorArg, Names, ReadArgs, RunArgs, above_2, at_least_one, below_1, inside_0_1, names, not_negative,
    one_of, positive,
};
use choices::{LikelihoodArg, MethodArg, MissingArg, OptimizerArg, TaskArg};
use spec::{
    Hidden, bayesian, functions, hidden, kl_schedule, kl_warmup, member_method, members, net, prior, schedule,
};

const EXAMPLES: &str = "\
Examples:
  bdl train houses.csv --target price --out houses.bdl
  bdl train houses.csv --target price --out houses.bdl --valid 0.1 --patience 20 --ignore id
  bdl train iris.csv --target species --out iris.bdl --method mean-field --kl-warmup 50
  bdl train houses.csv --target price --out houses.bdl --likelihood heteroscedastic --hidden 64,64
  bdl train houses.csv --target price --out houses.bdl --method ensemble --members 5 --of deterministic
  bdl train houses.csv --target price --method mean-field --prior normal:3 --prior-predictive
  bdl train houses.csv --target price --out bayes.bdl --method mean-field --init-from houses.bdl --moped 0.1
  bdl train train-images-idx3-ubyte.gz --out digits.bdl --net 784-300-100-10 --epochs 20 --batch 100";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TrainArgs {
    /// A CSV file with a header, - for standard input; or a file of IDX images, plain or gzipped
    pub(crate) data: PathBuf,
    /// The column to predict, or several of numbers, comma-separated; of images, what their labels are called
    /// [default: label]
    #[arg(long, value_name = "COL[,COL…]")]
    pub(crate) target: Option<String>,
    /// The model file to write; with --prior-predictive none is written
    #[arg(long, value_name = "MODEL", required_unless_present = "prior_predictive")]
    pub(crate) out: Option<PathBuf>,
    /// What to predict: a number or a class
    #[arg(long, value_enum, default_value_t)]
    pub(crate) task: TaskArg,
    /// Flags from a TOML file, keys as the flags are called; the command line wins
    #[arg(long, value_name = "FILE.toml")]
    pub(crate) config: Option<PathBuf>,

    /// How the weights are treated
    #[arg(long, value_enum, default_value_t, help_heading = "Network")]
    pub(crate) method: MethodArg,
    /// Networks of an ensemble [default: 5]
    #[arg(long, value_name = "N", value_parser = members, help_heading = "Network")]
    pub(crate) members: Option<usize>,
    /// Method of the networks of an ensemble [default: deterministic]
    #[arg(long, value_name = "METHOD", value_parser = member_method(), help_heading = "Network")]
    pub(crate) of: Option<Method>,
    /// What stands between network and target [default: gaussian, or categorical for classes]
    #[arg(long, value_enum, help_heading = "Network")]
    pub(crate) likelihood: Option<LikelihoodArg>,
    /// Known standard deviation of the target's noise, in its units [default: learned]
    #[arg(long, value_name = "SD", value_parser = positive, allow_negative_numbers = true, help_heading = "Network")]
    pub(crate) noise: Option<f64>,
    /// Known degrees of freedom of the noise, above 2; student-t [default: learned]
    #[arg(long, value_name = "N", value_parser = above_2, allow_negative_numbers = true, help_heading = "Network")]
    pub(crate) dof: Option<f64>,
    /// Widths of the hidden layers, or none for a linear model
    #[arg(long, value_name = "N,N,…", value_parser = hidden, default_value = "50", help_heading = "Network")]
    pub(crate) hidden: Hidden,
    /// The whole network from its inputs to a unit for each output, such as 784-300-100-10 or 28x28x1-conv20:5-pool2-10; by name
    /// lenet-300-100, lenet5-caffe
    #[arg(long, value_name = "NET", value_parser = net, conflicts_with = "hidden", help_heading = "Network")]
    pub(crate) net: Option<Net>,
    /// Activation behind each hidden layer [default: relu]
    #[arg(long, value_parser = one_of(Activation::ALL.map(Activation::name), Activation::from_name), help_heading = "Network")]
    pub(crate) activation: Option<Activation>,
    /// Probability that an input or hidden unit is dropped; mc-dropout, and gaussian-dropout, which has noise of the same
    /// variance [default: 0.02]
    #[arg(long, value_name = "P", value_parser = below_1, allow_negative_numbers = true, help_heading = "Network")]
    pub(crate) drop_prob: Option<f64>,
    /// Probability that an input is dropped; mc-dropout and gaussian-dropout [default: as --drop-prob]
    #[arg(long, value_name = "P", value_parser = below_1, allow_negative_numbers = true, help_heading = "Network")]
    pub(crate) input_drop_prob: Option<f64>,
    /// Weights have prior N(0, 1/L²); deterministic, mc-dropout, concrete-dropout, gaussian-dropout [default: 1]
    #[arg(long, value_name = "L", value_parser = positive, allow_negative_numbers = true, help_heading = "Network")]
    pub(crate) length_scale: Option<f64>,
    /// Prior of the weights; mean-field: normal:SD, normal:learned, mixture:PI:SD1:SD2, laplace:SCALE, student-t:DF:SCALE,
    /// log-uniform, each but the last behind fan-in: for scales times 1/√inputs [default: fan-in:1]
    #[arg(long, value_name = "SPEC", value_parser = prior, help_heading = "Network")]
    pub(crate) prior: Option<Prior>,
    /// What shares a draw of the noise; variational-dropout: independent for each weight, or correlated, one draw for all
    /// weights of an input [default: independent]
    #[arg(long, value_name = "KIND", value_parser = one_of(WeightNoise::ALL.map(WeightNoise::name), WeightNoise::from_name), help_heading = "Network")]
    pub(crate) weight_noise: Option<WeightNoise>,
    /// What has a noise variance of its own; variational-dropout [default: unit]
    #[arg(long, value_name = "GRAIN", value_parser = one_of(Grain::ALL.map(Grain::name), Grain::from_name), help_heading = "Network")]
    pub(crate) alpha_per: Option<Grain>,
    /// Layers of weights that the method is for: all, last, or numbers from 1 such as 1,3. The others have one
    /// value per weight, with the prior of --length-scale; not deterministic [default: all]
    #[arg(long, value_name = "LAYERS", value_parser = bayesian, help_heading = "Network")]
    pub(crate) bayesian: Option<BayesianLayers>,

    /// Start from the weights of this model, or the means of its posteriors; columns, classes, layers and the number of
    /// members must be the same
    #[arg(long, value_name = "MODEL", help_heading = "Network")]
    pub(crate) init_from: Option<PathBuf>,
    /// MOPED: put the prior around these weights and start with deviations of FRACTION times their size; mean-field
    #[arg(long, value_name = "FRACTION", value_parser = positive, requires = "init_from", allow_negative_numbers = true, help_heading = "Network")]
    pub(crate) moped: Option<f64>,
    /// Show N functions drawn from the prior beside the training rows, and stop without training [N: 100]
    #[arg(long, value_name = "N", value_parser = functions, num_args = 0..=1, require_equals = true, default_missing_value = "100", help_heading = "Network")]
    pub(crate) prior_predictive: Option<usize>,

    /// Passes over the training rows [default: about 50 000 steps, 20 to 2000 epochs; deterministic at most 400]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Training")]
    pub(crate) epochs: Option<usize>,
    /// Rows of a step; at most as many as there are
    #[arg(long, value_name = "N", value_parser = at_least_one, default_value_t = FitConfig::default().batch, help_heading = "Training")]
    pub(crate) batch: usize,
    /// Update rule
    #[arg(long, value_enum, default_value_t, help_heading = "Training")]
    pub(crate) optimizer: OptimizerArg,
    /// Learning rate
    #[arg(long, value_name = "X", value_parser = positive, default_value_t = TrainConfig::for_target("").fit.lr, allow_negative_numbers = true, help_heading = "Training")]
    pub(crate) lr: f64,
    /// Share of the last step that is kept; sgd [default: 0]
    #[arg(long, value_name = "X", value_parser = below_1, allow_negative_numbers = true, help_heading = "Training")]
    pub(crate) momentum: Option<f64>,
    /// Shrinks the weights, times the learning rate, at each step; adamw [default: 0.01]
    #[arg(long, value_name = "X", value_parser = not_negative, allow_negative_numbers = true, help_heading = "Training")]
    pub(crate) weight_decay: Option<f64>,
    /// Learning rate over training: constant, cosine, linear:HOLD, or step:EVERY:FACTOR in epochs
    #[arg(long, value_name = "SPEC", value_parser = schedule, default_value = "cosine", help_heading = "Training")]
    pub(crate) schedule: Schedule,
    /// How posteriors over weights are drawn in training; mean-field, variational-dropout, sparse-vd [default: local]
    #[arg(long, value_enum, help_heading = "Training")]
    pub(crate) estimator: Option<EstimatorArg>,
    /// Factor of the KL; below 1 the posterior is tempered
    #[arg(long, value_name = "X", value_parser = not_negative, default_value_t = 1.0, allow_negative_numbers = true, help_heading = "Training")]
    pub(crate) kl_weight: f64,
    /// Raise the KL's factor from 0 over the first E epochs, or from START to E [default: half of all epochs for
    /// posteriors over weights, else 0]
    #[arg(long, value_name = "[START:]E", value_parser = kl_warmup, allow_negative_numbers = true, help_heading = "Training")]
    pub(crate) kl_warmup: Option<KlWarmup>,
    /// KL's factor after the warm-up: constant, cyclical:CYCLES or cyclical:CYCLES:RISE (from 0 to 1 over the share RISE of each
    /// cycle, 0.5 by default, then 1), or blundell (halved from batch to batch of an epoch)
    #[arg(long, value_name = "SPEC", value_parser = kl_schedule, default_value = "constant", help_heading = "Training")]
    pub(crate) kl_schedule: KlSchedule,
    /// Share of the rows held out to watch training [default: none; 0.1 with --valid-by]
    #[arg(long, value_name = "FRACTION", value_parser = inside_0_1, allow_negative_numbers = true, help_heading = "Training")]
    pub(crate) valid: Option<f64>,
    /// Hold out by this column: whole groups if it has names, the last rows if it has numbers or dates
    #[arg(long, value_name = "COL", help_heading = "Training")]
    pub(crate) valid_by: Option<String>,
    /// Stop after N epochs without a better validation NLL and keep the best; needs --valid or --valid-by
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Training")]
    pub(crate) patience: Option<usize>,
    /// Seed of everything that is random
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Training")]
    pub(crate) seed: u64,

    /// IDX labels of the images [default: train-labels-idx1-ubyte beside train-images-idx3-ubyte, or either with .gz]
    #[arg(long, value_name = "FILE", help_heading = "Reading")]
    pub(crate) labels: Option<PathBuf>,
    /// Columns to leave out, comma-separated
    #[arg(long, value_name = "COLS", value_parser = names, help_heading = "Reading")]
    pub(crate) ignore: Vec<Names>,
    /// Columns of numbers that are categories, comma-separated
    #[arg(long, value_name = "COLS", value_parser = names, help_heading = "Reading")]
    pub(crate) categorical: Vec<Names>,
    /// What to do about missing cells: empty, NA, N/A, NaN, null, None, ?
    #[arg(long, value_enum, default_value_t, help_heading = "Reading")]
    pub(crate) missing: MissingArg,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Print only warnings and errors (and the JSON object with --format json)
    #[arg(long, help_heading = "Running and printing")]
    pub(crate) quiet: bool,
}
