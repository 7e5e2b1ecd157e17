//! `bdl train`: from a table to a model file.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use bdl_model::{
    AUTO_CLASSES, BayesianLayers, ColumnKind, Images, KlKnown, KlSchedule, LayerSummary, Likelihood, Method,
    Model, Optimizer, Outputs, Progress, RayonPool, Schedule, Schema, SelectedColumn, Selection, Shape,
    StartFrom, Table, Task, TaskChoice, TrainConfig, TrainProgress, Training, Valid,
};
use serde_json::{Value, json};

use crate::args::Format;
use crate::explain::{method_name, metrics_json, metrics_table};
use crate::images;
use crate::layers::{layer_table, layers_json, warn};
use crate::out::{self, count, counted, listed, pairs, plural, significant};
use crate::output_file::{check_writable, refuse_input};
use crate::prior_predictive;
use crate::progress::Live;
use crate::train_args::TrainArgs;

/// A model that was trained and saved, and what it took.
#[derive(Debug)]
pub(crate) struct Trained {
    pub(crate) training: Training,
    pub(crate) seconds: f64,
    /// The kept epoch's figures; of an ensemble, their means.
    pub(crate) figures: Figures,
    features: usize,
}

/// NLL per training row, KL and ELBO, in nats and the target's units.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) nll: f64,
    pub(crate) kl: f64,
    pub(crate) elbo: f64,
}

impl Figures {
    /// The mean over the members.
    fn mean<'a>(members: impl ExactSizeIterator<Item = &'a Progress>) -> Self {
        let share = 1.0 / members.len() as f64;
        members.fold(Self::default(), |sum, p| Self {
            nll: sum.nll + share * p.nll_mean,
            kl: sum.kl + share * p.kl,
            elbo: sum.elbo + share * p.elbo,
        })
    }
}

pub(crate) fn run(args: &TrainArgs) -> Result<()> {
    if let Some(draws) = args.prior_predictive {
        return prior_predictive::run(args, draws);
    }
    let talk = args.run.format == Format::Text && !args.quiet;
    let trained = work(args, talk)?;
    let layers = trained.training.model.layers()?;
    warn(&layers);
    if let Some(e) = &trained.training.valid_error {
        out::warning(format_args!("the model is saved, but the rows held out have no scores: {e}"));
    }
    if args.run.format == Format::Json {
        return Ok(out::json(&as_json(args, &trained, &layers))?);
    }
    if talk {
        result(args, &trained, &layers)?;
    }
    Ok(())
}

/// Trains and saves; says what it understood if `talk`.
pub(crate) fn work(args: &TrainArgs, talk: bool) -> Result<Trained> {
    let mut config = args.config()?;
    refuse_input("--out", args.out()?, &inputs(args))?;
    check_writable(args.out()?)?;
    config.start = args.start()?;
    if Images::are_in(&args.data)? {
        return images::work(args, config, talk);
    }
    args.check_table()?;
    let table = Table::open(&args.data, args.read.delimiter)?;
    let selection = config.selection(&table)?;
    let why = why(&table, &selection, &config)?;
    args.check_task(selection.task(), &why)?;
    args.fit_to_rows(&mut config, selection.rows.len())?;
    // A target with one value is better told now than by the network that cannot be built for it.
    Schema::fit(&table, &selection, &selection.rows)?;
    if talk {
        out::line(understood(&table, &selection, &config, &why)?)?;
    }
    train(args, selection.features.len(), &|pool, observer| Model::train(&table, &config, pool, observer))
}

type Observer<'o> = dyn FnMut(&TrainProgress) -> ControlFlow<()> + 'o;

/// Trains in sight of the user, and saves.
pub(crate) fn train(
    args: &TrainArgs,
    features: usize,
    work: &dyn Fn(&RayonPool, &mut Observer<'_>) -> Result<Training, bdl_model::Error>,
) -> Result<Trained> {
    let pool = RayonPool::new(args.run.threads.unwrap_or(0)).map_err(bdl_model::Error::from)?;
    let (start, mut live) = (Instant::now(), Live::new(!args.quiet));
    let training = work(&pool, &mut |at| {
        live.show(at);
        ControlFlow::Continue(())
    });
    live.done();
    let training = training?;
    training.model.save(args.out()?)?;
    let figures = Figures::mean(training.members.iter().map(|member| &member.kept));
    Ok(Trained { training, seconds: start.elapsed().as_secs_f64(), figures, features })
}

fn inputs(args: &TrainArgs) -> Vec<(&'static str, &Path)> {
    let config = args.config.as_deref().map(|file| ("the configuration", file));
    let labels = args.labels.as_deref().map(|file| ("the labels", file));
    let start = args.init_from.as_deref().map(|file| ("the model to start from", file));
    config.into_iter().chain(labels).chain(start).chain([("the data", args.data.as_path())]).collect()
}

/// Why the task is what it is.
pub(crate) fn why(table: &Table, selection: &Selection, config: &TrainConfig) -> Result<String> {
    if let TaskChoice::Is(_) = config.select.task {
        return Ok("asked for with --task".to_owned());
    }
    match config.architecture.likelihood {
        Likelihood::Poisson => return Ok("--likelihood poisson is of counts".to_owned()),
        Likelihood::Bernoulli => return Ok("--likelihood bernoulli is of two classes".to_owned()),
        _ => {}
    }
    if !selection.further_targets.is_empty() {
        return Ok("several targets are numbers".to_owned());
    }
    if config.select.categorical.contains(&config.select.target) {
        return Ok("the target is listed in --categorical".to_owned());
    }
    Ok(match (&selection.target.levels, table.kind(selection.target.index)?) {
        (Some(_), ColumnKind::Categorical) => "the target is text".to_owned(),
        (Some(levels), ColumnKind::Numeric) => format!(
            "the target has {} different integers, at most {AUTO_CLASSES}; --task regression predicts a number",
            levels.len()
        ),
        (None, _) => "the target is a number".to_owned(),
    })
}

/// What was understood of the data and the flags, as a table.
fn understood(table: &Table, selection: &Selection, config: &TrainConfig, why: &str) -> Result<String> {
    let target: Vec<&str> = selection.targets().iter().map(|&at| table.columns()[at].as_str()).collect();
    let task = selection.task();
    let mut rows = vec![
        ("data", data(table, selection)),
        ("features", features(selection)),
        ("target", format!("{}{}", listed(&target), classes(selection))),
        ("task", format!("{task}: {why}")),
        ("method", method(config, task)),
        ("parameters", count(parameters(width(selection), outputs(selection), config)?)),
        ("training", training(config)),
        ("held out", valid(config)),
        ("seed", config.fit.seed.to_string()),
    ];
    let constant = constant(table, selection)?;
    if !constant.is_empty() {
        rows.insert(2, ("constant", format!("{}: of no use to the model", listed(&constant))));
    }
    Ok(pairs(rows))
}

fn data(table: &Table, selection: &Selection) -> String {
    let dropped = match selection.dropped(table) {
        0 => String::new(),
        n => format!(", {} left out for missing cells", counted(n, "row")),
    };
    format!("{}, {}{dropped}", table.file(), counted(table.rows(), "row"))
}

fn features(selection: &Selection) -> String {
    let categorical = selection.features.iter().filter(|f| f.levels.is_some()).count();
    let numeric = selection.features.len() - categorical;
    match categorical {
        0 => counted(numeric, "number"),
        _ => format!(
            "{} and {}: {} to the network",
            counted(numeric, "number"),
            plural(categorical, "category", "categories"),
            counted(width(selection), "input")
        ),
    }
}

fn classes(selection: &Selection) -> String {
    match &selection.target.levels {
        Some(names) => format!(", {}: {}", plural(names.len(), "class", "classes"), listed(names)),
        None => String::new(),
    }
}

/// Columns with one value throughout the selected rows.
fn constant(table: &Table, selection: &Selection) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for SelectedColumn { index, levels } in &selection.features {
        let constant = match levels {
            Some(levels) => levels.len() == 1,
            None => {
                let mut numbers = table.numbers(*index, &selection.rows)?.into_iter().flatten();
                let first = numbers.next();
                numbers.all(|x| Some(x) == first)
            }
        };
        if constant {
            names.push(table.columns()[*index].clone());
        }
    }
    Ok(names)
}

/// Inputs of the network.
fn width(selection: &Selection) -> usize {
    selection.features.iter().map(|f| f.levels.as_ref().map_or(1, Vec::len)).sum()
}

fn outputs(selection: &Selection) -> Outputs {
    let number = if selection.counts { Outputs::Counts { mean: 1.0 } } else { Outputs::Real };
    match (&selection.target.levels, selection.targets().len()) {
        (Some(names), _) => Outputs::Classes(names.len()),
        (None, 1) => number,
        (None, several) => Outputs::Several(vec![(number, 1.0); several]),
    }
}

pub(crate) fn parameters(input: impl Into<Shape>, outputs: Outputs, config: &TrainConfig) -> Result<usize> {
    let network = config.architecture.build(input, outputs, 1.0)?;
    Ok(config.members * network.n_params())
}

pub(crate) fn method(config: &TrainConfig, task: Task) -> String {
    let a = &config.architecture;
    let own = match a.method {
        Method::McDropout | Method::GaussianDropout => {
            let of_inputs = a.input_drop_prob.map_or(String::new(), |p| format!(" ({p} of inputs)"));
            format!(", drop probability {}{of_inputs}, length scale {}", a.drop_prob, a.length_scale)
        }
        Method::MeanField => format!(", prior {}", a.prior),
        Method::VariationalDropout => {
            format!(", {} noise, an alpha per {}", a.weight_noise.name(), a.grain.name())
        }
        Method::SparseVd => String::new(),
        _ => format!(", length scale {}", a.length_scale),
    };
    let layers = match &a.bayesian {
        BayesianLayers::All => String::new(),
        layers => format!(", Bayesian layers {layers} (length scale {} in the others)", a.length_scale),
    };
    let members = match config.members {
        1 => String::new(),
        n => format!("ensemble of {n} "),
    };
    let widths: Vec<String> = a.hidden.iter().map(ToString::to_string).collect();
    let hidden = match &a.net {
        Some(net) => format!("{net} {}", a.activation.name()),
        None if widths.is_empty() => "no hidden layer".to_owned(),
        None => format!("hidden {} {}", widths.join(","), a.activation.name()),
    };
    let likelihood = match (task, a.likelihood) {
        (Task::Classification, Likelihood::Auto) => Likelihood::Categorical,
        (Task::Regression, Likelihood::Auto) => Likelihood::Gaussian { noise: None },
        (_, given) => given,
    };
    let start = match &config.start {
        None => String::new(),
        Some(StartFrom { sigma_ratio: None, .. }) => ", from the weights of a model".to_owned(),
        Some(StartFrom { sigma_ratio: Some(ratio), .. }) => {
            format!(", from the weights of a model with deviations {ratio} of their size")
        }
    };
    format!("{members}{}{own}{layers}, {hidden}, {likelihood}{start}", a.method.name())
}

pub(crate) fn training(config: &TrainConfig) -> String {
    let fit = &config.fit;
    let optimizer = match fit.optimizer {
        Optimizer::Sgd { momentum } => format!("sgd with momentum {momentum}"),
        Optimizer::AdamW { weight_decay, .. } => format!("adamw with weight decay {weight_decay}"),
        _ => "adam".to_owned(),
    };
    let schedule = match fit.schedule {
        Schedule::Cosine { .. } => ", cosine".to_owned(),
        Schedule::Linear { hold } => format!(", falling in a line behind {hold} of the epochs"),
        Schedule::Step { every, factor } => format!(", times {factor} every {}", epochs(every)),
        _ => String::new(),
    };
    let from = match fit.kl_warmup.start() {
        0.0 => "over".to_owned(),
        start => format!("from epoch {start} to"),
    };
    let kl = match (fit.kl_weight, fit.kl_warmup.epochs()) {
        (1.0, 0.0) => String::new(),
        (weight, 0.0) => format!(", KL times {weight}"),
        (weight, long) => format!(", KL raised to {weight} {from} {}", epochs(long)),
    };
    let along = match fit.kl_schedule {
        KlSchedule::Cyclical { cycles: 1, rise } => format!(", KL in 1 cycle that rises over {rise} of it"),
        KlSchedule::Cyclical { cycles, rise } => {
            format!(", KL in {cycles} cycles that rise over {rise} of each")
        }
        KlSchedule::Blundell => ", KL halved from batch to batch".to_owned(),
        _ => String::new(),
    };
    format!(
        "{}, batches of {}, {optimizer}, learning rate {}{schedule}{kl}{along}",
        counted(fit.epochs, "epoch"),
        fit.batch,
        fit.lr
    )
}

/// `1 epoch`, `2.5 epochs`.
fn epochs(n: f64) -> String {
    if n == 1.0 { "1 epoch".to_owned() } else { format!("{n} epochs") }
}

pub(crate) fn valid(config: &TrainConfig) -> String {
    let rows = match &config.valid {
        Valid::Fraction(fraction) => format!("{fraction} of the rows, at random"),
        Valid::By { column, fraction } => format!("about {fraction} of the rows, by {column:?}"),
        _ => return "nothing (--valid 0.1 would watch for overfitting)".to_owned(),
    };
    match config.fit.patience {
        Some(epochs) => format!("{rows}; stop after {} without improvement", counted(epochs, "epoch")),
        None => rows,
    }
}

/// What came out.
fn result(args: &TrainArgs, trained: &Trained, layers: &[LayerSummary]) -> Result<()> {
    let Trained { training, figures, seconds, .. } = trained;
    let kept: Vec<String> = training.members.iter().map(|m| m.kept.epoch.to_string()).collect();
    let last: Vec<String> = training.members.iter().map(|m| m.last.epoch.to_string()).collect();
    let epoch = match kept == last {
        true => format!("{}, the last", kept.join(", ")),
        false => format!("{} of {} run", kept.join(", "), last.join(", ")),
    };
    let mut rows = vec![
        ("rows", format!("{} trained on, {} held out", count(training.rows), count(training.valid_rows))),
        ("NLL", format!("{} nats per training row", significant(figures.nll, 4))),
        ("KL", format!("{} nats over all weights", significant(figures.kl, 4))),
        ("ELBO", format!("{} nats (-rows·NLL - KL{})", significant(figures.elbo, 5), worth(&training.model))),
        ("kept epoch", epoch),
        ("time", format!("{} s", significant(*seconds, 2))),
        ("model", args.out()?.display().to_string()),
    ];
    if training.model.members().len() > 1 {
        rows.insert(4, ("", "means over the members".to_owned()));
    }
    out::line(pairs(rows))?;
    out::line(layer_table(layers).trim_end())?;
    if training.model.members().len() > 1 {
        out::line("Layers are those of the first member.")?;
    }
    if let Some(valid) = &training.valid {
        out::line("\nOn the rows held out:\n")?;
        out::line(metrics_table(valid, training.model.schema()).trim_end())?;
    }
    Ok(())
}

/// What the ELBO does not tell.
fn worth(model: &Model) -> &'static str {
    match model.bnn().plan().kl_known() {
        KlKnown::Exactly if model.elbo_is_bound() => "",
        KlKnown::Exactly => "; batch normalization couples rows, so no bound",
        KlKnown::FromFittedPrior => {
            "; no bound, since the prior is centred on a network that was trained before"
        }
        KlKnown::UpToConstant => "; up to a constant, so no bound",
        _ => "; no bound, since the log-uniform prior is improper: it orders runs of this network",
    }
}

/// Exactly the keys of the contract, see `docs/cli.md`.
fn as_json(args: &TrainArgs, trained: &Trained, layers: &[LayerSummary]) -> Value {
    let Trained { training, figures, seconds, features } = trained;
    json!({
        "model": args.out.as_ref().map(|file| file.display().to_string()),
        "task": training.model.task().to_string(),
        "method": method_name(&training.model),
        "rows": training.rows,
        "features": features,
        "parameters": training.model.n_params(),
        "epochs": training.members.iter().map(|m| m.last.epoch).max(),
        "seconds": seconds,
        "elbo": figures.elbo,
        "nll": figures.nll,
        "kl": figures.kl,
        "valid": training.valid.as_ref().map(metrics_json),
        "elbo_is_bound": training.model.elbo_is_bound(),
        "layers": layers_json(layers),
    })
}
