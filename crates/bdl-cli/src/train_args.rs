//! The flags of `bdl train`, what contradicts what, and the settings they come to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use bdl_model::{
    Activation, Architecture, BayesianLayers, Estimator, FitConfig, Grain, KlSchedule, KlWarmup, Likelihood,
    Method, MissingPolicy, Model, Net, Optimizer, Prior, Schedule, SelectOptions, StartFrom, Task,
    TaskChoice, TrainConfig, Valid, WeightNoise,
};
use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Args, ValueEnum};

use crate::args::{
    Names, ReadArgs, RunArgs, above_2, at_least_one, below_1, count_up_to, inside_0_1, names, not_negative,
    one_of, positive,
};
use crate::images::refuse_flags;
use crate::out::Usage;

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
    /// Activation behind each hidden layer
    #[arg(long, value_parser = one_of(Activation::ALL.map(Activation::name), Activation::from_name), default_value = "relu", help_heading = "Network")]
    pub(crate) activation: Activation,
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

    /// Start from the weights of this model, or the means of its posteriors; columns, classes and layers must be the same
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum TaskArg {
    /// Classes if the target is text, or has integers only and at most 10 different ones
    #[default]
    Auto,
    /// A number
    Regression,
    /// One of several classes
    Classification,
}

/// One network by a method, or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MethodArg {
    One(Method),
    Ensemble,
}

impl Default for MethodArg {
    fn default() -> Self {
        Self::One(Method::default())
    }
}

impl ValueEnum for MethodArg {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [MethodArg; Method::ALL.len() + 1] = {
            let mut all = [MethodArg::Ensemble; Method::ALL.len() + 1];
            let mut i = 0;
            while i < Method::ALL.len() {
                all[i] = MethodArg::One(Method::ALL[i]);
                i += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::One(method) => PossibleValue::new(method.name()).help(method.about()),
            Self::Ensemble => {
                PossibleValue::new("ensemble").help("Several networks, trained apart; see --members and --of")
            }
        })
    }
}

/// Whether a method has what a flag sets.
type Has = fn(Method) -> bool;

/// A method of the networks of an ensemble.
fn member_method() -> impl TypedValueParser<Value = Method> {
    one_of(Method::ALL.map(Method::name), Method::from_name)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LikelihoodArg {
    /// A number with the same noise everywhere
    Gaussian,
    /// A number with noise that depends on the row
    Heteroscedastic,
    /// A number with outliers: noise with heavy tails
    StudentT,
    /// A count: a whole number from 0 on
    Poisson,
    /// A class
    Categorical,
    /// One of two classes, from one logit
    Bernoulli,
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OptimizerArg {
    Sgd,
    #[default]
    Adam,
    #[value(name = "adamw")]
    AdamW,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum MissingArg {
    /// They are an error that says where
    #[default]
    Error,
    /// Leave out rows that have any
    Drop,
    /// Features take their mean or most frequent category
    Impute,
}

/// Widths of the hidden layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hidden(pub(crate) Vec<usize>);

fn hidden(text: &str) -> Result<Hidden, String> {
    if text == "none" {
        return Ok(Hidden(Vec::new()));
    }
    let widths: Vec<usize> =
        text.split(',').map(|width| count_up_to(width, 1, 65_536)).collect::<Result<_, _>>()?;
    if widths.len() > 100 {
        return Err("expected at most 100 layers".to_owned());
    }
    Ok(Hidden(widths))
}

fn net(text: &str) -> Result<Net, String> {
    text.parse().map_err(|e: bdl_model::Error| match e {
        bdl_model::Error::Net { place, what, .. } => format!("{place}: {what}"),
        e => e.to_string(),
    })
}

fn members(text: &str) -> Result<usize, String> {
    count_up_to(text, 2, 1000)
}

fn prior(text: &str) -> Result<Prior, String> {
    text.parse::<Prior>().map_err(|e| e.to_string())
}

/// Functions whose outputs memory can hold.
fn functions(text: &str) -> Result<usize, String> {
    count_up_to(text, 1, 10_000)
}

fn bayesian(text: &str) -> Result<BayesianLayers, String> {
    text.parse().map_err(|_| "expected all, last, or different numbers from 1, such as 1,3".to_owned())
}

fn kl_warmup(text: &str) -> Result<KlWarmup, String> {
    let (start, end) = text.split_once(':').unwrap_or(("0", text));
    let (start, end) = (not_negative(start)?, not_negative(end)?);
    let warmup = KlWarmup::new(end).and_then(|warmup| warmup.starting_at(start));
    warmup.map_err(|_| format!("expected a START of at most {end}"))
}

fn kl_schedule(text: &str) -> Result<KlSchedule, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (cycles, rise) = match *parts {
        ["constant"] => return Ok(KlSchedule::Constant),
        ["blundell"] => return Ok(KlSchedule::Blundell),
        ["cyclical", cycles] => (cycles, 0.5),
        ["cyclical", cycles, rise] => (cycles, inside_0_1(rise)?),
        _ => {
            return Err(
                "expected constant, cyclical:CYCLES, cyclical:CYCLES:RISE or blundell, such as cyclical:4:0.5"
                    .to_owned(),
            );
        }
    };
    Ok(KlSchedule::Cyclical { cycles: at_least_one(cycles)?, rise })
}

fn schedule(text: &str) -> Result<Schedule, String> {
    let parts: Vec<&str> = text.split(':').collect();
    match *parts {
        ["constant"] => Ok(Schedule::Constant),
        ["cosine"] => Ok(Schedule::Cosine { end: 0.0 }),
        ["linear", hold] => match hold.parse() {
            Ok(hold) if (0.0..1.0).contains(&hold) => Ok(Schedule::Linear { hold }),
            _ => Err(format!("expected a HOLD in [0, 1), got {hold}")),
        },
        ["step", every, factor] => {
            let factor = positive(factor)?;
            if factor > 1.0 {
                return Err("expected a FACTOR of at most 1".to_owned());
            }
            Ok(Schedule::Step { every: positive(every)?, factor })
        }
        _ => {
            Err("expected constant, cosine, linear:HOLD or step:EVERY:FACTOR, such as step:50:0.5".to_owned())
        }
    }
}

/// Names in a sentence: `a`, `a and b`, `a, b and c`.
fn and(names: &[&str]) -> String {
    match names {
        [front @ .., last] if !front.is_empty() => format!("{} and {last}", front.join(", ")),
        names => names.concat(),
    }
}

impl TrainArgs {
    /// The settings, if the flags do not contradict each other.
    pub(crate) fn config(&self) -> Result<TrainConfig> {
        self.check_method()?;
        self.check_likelihood()?;
        if self.patience.is_some() && self.valid.is_none() && self.valid_by.is_none() {
            return Err(Usage::error("--patience: needs validation rows; add --valid 0.1 or --valid-by COL"));
        }
        Ok(TrainConfig {
            select: SelectOptions {
                target: self.target_name().to_owned(),
                task: match self.task {
                    TaskArg::Auto => TaskChoice::Auto,
                    TaskArg::Regression => TaskChoice::Is(Task::Regression),
                    TaskArg::Classification => TaskChoice::Is(Task::Classification),
                },
                ignore: Names::all(&self.ignore),
                categorical: Names::all(&self.categorical),
                missing: match self.missing {
                    MissingArg::Error => MissingPolicy::Error,
                    MissingArg::Drop => MissingPolicy::Drop,
                    MissingArg::Impute => MissingPolicy::Impute,
                },
            },
            architecture: self.architecture()?,
            members: match self.method {
                MethodArg::Ensemble => self.members.unwrap_or(5),
                _ => 1,
            },
            fit: self.fit()?,
            start: None,
            valid: match (&self.valid_by, self.valid) {
                (Some(column), fraction) => {
                    Valid::By { column: column.clone(), fraction: fraction.unwrap_or(0.1) }
                }
                (None, Some(fraction)) => Valid::Fraction(fraction),
                (None, None) => Valid::None,
            },
        })
    }

    /// The model that training starts from.
    pub(crate) fn start(&self) -> Result<Option<StartFrom>> {
        let Some(file) = &self.init_from else { return Ok(None) };
        let model = Arc::new(Model::load(file)?);
        Ok(Some(StartFrom { model, sigma_ratio: self.moped }))
    }

    /// Where the model goes, which is known unless nothing is trained.
    pub(crate) fn out(&self) -> Result<&Path> {
        self.out.as_deref().ok_or_else(|| Usage::error("--out: expected the model file to write, got none"))
    }

    /// The target's name, which only images go without.
    pub(crate) fn target_name(&self) -> &str {
        self.target.as_deref().unwrap_or("label")
    }

    /// Flags that a table does not have, and one that it must have.
    pub(crate) fn check_table(&self) -> Result<()> {
        if self.labels.is_some() {
            return Err(Usage::error(format!(
                "--labels: is for IDX images, but {} is a table",
                self.data.display()
            )));
        }
        match self.target {
            Some(_) => Ok(()),
            None => Err(Usage::error(
                "--target: expected the column to predict, got none; only IDX images go without",
            )),
        }
    }

    /// Flags that images do not have.
    pub(crate) fn check_images(&self) -> Result<()> {
        let given = [
            ("--ignore", !self.ignore.is_empty()),
            ("--categorical", !self.categorical.is_empty()),
            ("--missing", self.missing != MissingArg::Error),
            ("--delimiter", self.read.delimiter.is_some()),
            ("--valid-by", self.valid_by.is_some()),
            ("--task", self.task == TaskArg::Regression),
        ];
        refuse_flags(&given, &self.data)?;
        self.check_task(Task::Classification, "the data are images with labels")
    }

    fn architecture(&self) -> Result<Architecture> {
        let default = Architecture::default();
        let prior = self.prior.clone().unwrap_or(default.prior);
        Ok(Architecture {
            method: self.member_method(),
            likelihood: self.likelihood(),
            hidden: self.hidden.0.clone(),
            net: self.net.clone(),
            activation: self.activation,
            drop_prob: self.drop_prob.unwrap_or(default.drop_prob),
            input_drop_prob: self.input_drop_prob,
            length_scale: self.length_scale.unwrap_or(default.length_scale),
            prior: match self.moped {
                Some(_) => prior.around().map_err(|e| Usage::error(format!("--moped: {e}")))?,
                None => prior,
            },
            weight_noise: self.weight_noise.unwrap_or_default(),
            grain: self.alpha_per.unwrap_or_default(),
            bayesian: self.bayesian.clone().unwrap_or(default.bayesian),
        })
    }

    fn likelihood(&self) -> Likelihood {
        match self.likelihood {
            None if self.noise.is_none() => Likelihood::Auto,
            None | Some(LikelihoodArg::Gaussian) => Likelihood::Gaussian { noise: self.noise },
            Some(LikelihoodArg::Heteroscedastic) => Likelihood::Heteroscedastic,
            Some(LikelihoodArg::StudentT) => Likelihood::StudentT { dof: self.dof },
            Some(LikelihoodArg::Poisson) => Likelihood::Poisson,
            Some(LikelihoodArg::Categorical) => Likelihood::Categorical,
            Some(LikelihoodArg::Bernoulli) => Likelihood::Bernoulli,
        }
    }

    fn fit(&self) -> Result<FitConfig> {
        Ok(FitConfig {
            batch: self.batch,
            optimizer: self.optimizer()?,
            lr: self.lr,
            schedule: self.schedule,
            kl_weight: self.kl_weight,
            kl_schedule: self.kl_schedule,
            estimator: match self.estimator {
                None | Some(EstimatorArg::Local) => Estimator::Local,
                Some(EstimatorArg::Sampling) => Estimator::Sampling,
                Some(EstimatorArg::Flipout) => Estimator::Flipout,
            },
            patience: self.patience,
            seed: self.seed,
            ..FitConfig::default()
        })
    }

    /// Sets what depends on the number of rows, where no flag says otherwise.
    pub(crate) fn fit_to_rows(&self, config: &mut TrainConfig, rows: usize) -> Result<()> {
        config.fit.epochs = self.epochs.unwrap_or_else(|| config.recommended_epochs(rows));
        config.fit.kl_warmup = match self.kl_warmup {
            Some(warmup) => warmup,
            None if self.kl_schedule != KlSchedule::Constant => KlWarmup::default(),
            None => KlWarmup::new(config.recommended_kl_warmup() as f64)?,
        };
        Ok(())
    }

    fn optimizer(&self) -> Result<Optimizer> {
        if self.momentum.is_some() && self.optimizer != OptimizerArg::Sgd {
            return Err(Usage::error("--momentum: only --optimizer sgd has one"));
        }
        if self.weight_decay.is_some() && self.optimizer != OptimizerArg::AdamW {
            return Err(Usage::error("--weight-decay: only --optimizer adamw has one"));
        }
        Ok(match self.optimizer {
            OptimizerArg::Sgd => Optimizer::Sgd { momentum: self.momentum.unwrap_or(0.0) },
            OptimizerArg::Adam => Optimizer::adam(),
            OptimizerArg::AdamW => match (Optimizer::adam_w(), self.weight_decay) {
                (Optimizer::AdamW { beta1, beta2, floor, .. }, Some(weight_decay)) => {
                    Optimizer::AdamW { beta1, beta2, floor, weight_decay }
                }
                (default, _) => default,
            },
        })
    }

    /// The method of a network, alone or in an ensemble.
    fn member_method(&self) -> Method {
        match self.method {
            MethodArg::One(method) => method,
            MethodArg::Ensemble => self.of.unwrap_or(Method::Deterministic),
        }
    }

    /// The Bayesian layers, if these are not all.
    fn chosen_layers(&self) -> Option<&BayesianLayers> {
        self.bayesian.as_ref().filter(|layers| **layers != BayesianLayers::All)
    }

    /// Flags that the method does not have.
    fn check_method(&self) -> Result<()> {
        if self.method != MethodArg::Ensemble {
            let given = [("--members", self.members.is_some()), ("--of", self.of.is_some())];
            if let Some((flag, _)) = given.iter().find(|(_, given)| *given) {
                return Err(Usage::error(format!("{flag}: only --method ensemble has members")));
            }
        }
        if self.init_from.is_some() && self.method == MethodArg::Ensemble {
            return Err(Usage::error("--init-from: starts one network, but the method is ensemble"));
        }
        let method = self.member_method();
        // Layers that are not Bayesian have the prior of the length scale under any method.
        let length_scale = self.length_scale.filter(|_| self.chosen_layers().is_none());
        let fits: [(&str, bool, Has); 9] = [
            ("--drop-prob", self.drop_prob.is_some(), Method::has_drop_prob),
            ("--input-drop-prob", self.input_drop_prob.is_some(), Method::has_drop_prob),
            ("--bayesian", self.chosen_layers().is_some(), Method::has_bayesian_layers),
            ("--length-scale", length_scale.is_some(), Method::has_length_scale),
            ("--prior", self.prior.is_some(), Method::has_prior),
            ("--weight-noise", self.weight_noise.is_some(), Method::has_alpha),
            ("--alpha-per", self.alpha_per.is_some(), Method::has_alpha),
            ("--moped", self.moped.is_some(), Method::has_prior),
            ("--estimator", self.estimator.is_some(), Method::is_variational),
        ];
        for (flag, given, has) in fits {
            if given && !has(method) {
                let names: Vec<_> = Method::ALL.into_iter().filter(|m| has(*m)).map(Method::name).collect();
                let (names, got) = (and(&names), method.name());
                return Err(Usage::error(format!("{flag}: is of method {names}, but the method is {got}")));
            }
        }
        self.check_weight_noise()
    }

    /// Flags that noise on inputs does not have.
    fn check_weight_noise(&self) -> Result<()> {
        let flag = match (self.weight_noise, self.alpha_per, self.estimator) {
            (Some(WeightNoise::Correlated), Some(Grain::Weight), _) => "--alpha-per weight",
            (Some(WeightNoise::Correlated), _, Some(_)) => "--estimator",
            _ => return Ok(()),
        };
        Err(Usage::error(format!("{flag}: is of --weight-noise independent, but the noise is correlated")))
    }

    fn check_likelihood(&self) -> Result<()> {
        match self.task {
            TaskArg::Auto => {}
            TaskArg::Regression => self.check_task(Task::Regression, "asked for with --task")?,
            TaskArg::Classification => self.check_task(Task::Classification, "asked for with --task")?,
        }
        let likelihood = self.likelihood();
        let name = likelihood.name();
        if self.dof.is_some() && !matches!(likelihood, Likelihood::StudentT { .. }) {
            return Err(Usage::error("--dof: only --likelihood student-t has degrees of freedom"));
        }
        match likelihood {
            _ if self.noise.is_none() => Ok(()),
            Likelihood::Heteroscedastic | Likelihood::StudentT { .. } => Err(Usage::error(format!(
                "--noise: a known noise contradicts --likelihood {name}, which learns it"
            ))),
            Likelihood::Poisson | Likelihood::Categorical | Likelihood::Bernoulli => {
                Err(Usage::error(format!("--noise: --likelihood {name} has no noise")))
            }
            _ => Ok(()),
        }
    }

    /// Whether likelihood and noise are of this task, which is so for the reason `why`.
    pub(crate) fn check_task(&self, task: Task, why: &str) -> Result<()> {
        let likelihood = self.likelihood();
        let Some(other) = likelihood.task().filter(|other| *other != task) else { return Ok(()) };
        let wrong = match self.likelihood {
            Some(_) => format!("--likelihood {}", likelihood.name()),
            None => "--noise".to_owned(),
        };
        Err(Usage::error(format!("{wrong}: is for {other}, but the task is {task} ({why})")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_are_parsed_or_say_what_they_want() {
        assert_eq!(prior("normal:0.5"), Ok(Prior::StdDev(0.5)));
        assert_eq!(prior("fan-in:1"), Ok(Prior::FanIn(1.0)));
        assert!(prior("normal:0").is_err() && prior("horseshoe:1").is_err());
        assert_eq!(kl_schedule("cyclical:4"), Ok(KlSchedule::Cyclical { cycles: 4, rise: 0.5 }));
        assert_eq!(kl_schedule("cyclical:2:0.9"), Ok(KlSchedule::Cyclical { cycles: 2, rise: 0.9 }));
        for spec in ["cyclical", "cyclical:0", "cyclical:2:1", "blundell:2", "linear:2"] {
            assert!(kl_schedule(spec).is_err(), "{spec}");
        }
        assert_eq!(schedule("linear:0.5"), Ok(Schedule::Linear { hold: 0.5 }));
        assert!(schedule("linear:1").is_err());
        assert_eq!(schedule("step:50:0.5"), Ok(Schedule::Step { every: 50.0, factor: 0.5 }));
        assert!(
            schedule("step:50").is_err() && schedule("step:50:2").is_err() && schedule("linear").is_err()
        );
        assert_eq!(hidden("64,32"), Ok(Hidden(vec![64, 32])));
        assert_eq!(hidden("none"), Ok(Hidden(Vec::new())));
        assert!(hidden("0").is_err() && hidden("64,").is_err());
    }
}
