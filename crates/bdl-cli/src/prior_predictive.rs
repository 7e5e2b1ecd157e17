//! `bdl train --prior-predictive`: functions drawn from the prior beside the data, before any training.

use anyhow::Result;
use bdl_model::{
    ClassFunctions, Error, Images, Labels, Model, PriorPredictive, RayonPool, RealFunctions, Spread, Table,
    Task,
};
use serde_json::{Map, Value, json};

use crate::args::Format;
use crate::layers::named;
use crate::out::{self, counted, significant, table};
use crate::train::{method, why};
use crate::train_args::TrainArgs;

pub(crate) fn run(args: &TrainArgs, draws: usize) -> Result<()> {
    let (told, config, classes) = look(args, draws)?;
    if args.run.format == Format::Json {
        return Ok(out::json(&as_json(&told, &config, &classes, draws, args.seed))?);
    }
    let functions = counted(draws, "function");
    out::line(format_args!("{functions} drawn from the prior of {config}, seed {}\n", args.seed))?;
    out::line(match &told {
        PriorPredictive::Real(told) => numbers(told),
        PriorPredictive::Class(told) => of_classes(told, &classes),
        _ => String::new(),
    })
    .map_err(Into::into)
}

/// What was drawn, the network in words, and the names of the classes.
fn look(args: &TrainArgs, draws: usize) -> Result<(PriorPredictive, String, Vec<String>)> {
    let mut config = args.config()?;
    config.start = args.start()?;
    let pool = RayonPool::new(args.run.threads.unwrap_or(0)).map_err(Error::from)?;
    if Images::are_in(&args.data)? {
        args.check_images()?;
        let images = Images::open(&args.data)?;
        let labels = Labels::of(&images, args.labels.as_deref())?;
        let told = Model::prior_predictive_of_images(&images, &labels, &config, draws, &pool)?;
        return Ok((told, method(&config, Task::Classification), labels.names()));
    }
    args.check_table()?;
    let table = Table::open(&args.data, args.read.delimiter)?;
    let selection = config.selection(&table)?;
    args.check_task(selection.task(), &why(&table, &selection, &config)?)?;
    let told = Model::prior_predictive(&table, &config, draws, &pool)?;
    let classes = selection.target.levels.clone().unwrap_or_default();
    Ok((told, method(&config, selection.task()), classes))
}

fn numbers(told: &[RealFunctions]) -> String {
    let row = |name: String, of: &Spread| {
        let cells = spread(of).into_iter().map(|(_, x)| significant(x, 4));
        [name].into_iter().chain(cells).collect::<Vec<_>>()
    };
    let rows = |of: &RealFunctions| {
        let functions = match told.len() {
            1 => "functions of the prior".to_owned(),
            _ => format!("functions of the prior, {:?}", of.target),
        };
        [row(functions, &of.functions), row(format!("targets {:?}", of.target), &of.targets)]
    };
    let header = ["", "mean", "sd", "q05", "q25", "q50", "q75", "q95"];
    let told = table(&header, &[1, 2, 3, 4, 5, 6, 7], told.iter().flat_map(rows).collect());
    format!("{told}\nOver all functions and training rows, without the noise of the target.")
}

/// What is told of a spread, and its keys.
fn spread(of: &Spread) -> Vec<(&'static str, f64)> {
    [("mean", of.mean), ("std", of.std)].into_iter().chain(named(of.quantiles)).collect()
}

fn of_classes(told: &ClassFunctions, classes: &[String]) -> String {
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let rows = classes.iter().zip(told.probs.iter().zip(&told.shares));
    let rows = rows.map(|(name, (p, share))| vec![name.clone(), percent(*p), percent(*share)]).collect();
    let of_classes = table(&["class", "prior", "training rows"], &[1, 2], rows);
    let of = told.entropy.quantiles;
    let [low, high] = [of.q05, of.q95].map(|x| significant(x, 3));
    let most = significant((classes.len() as f64).ln(), 3);
    format!(
        "{of_classes}\nEntropy of the class probabilities: {low} to {high} nats (5 % to 95 %), mean {}, of at most {most}.\n\
         Sure of a class, with more than 0.95: {} of all functions and rows.",
        significant(told.entropy.mean, 3),
        percent(told.sure)
    )
}

fn as_json(told: &PriorPredictive, network: &str, classes: &[String], draws: usize, seed: u64) -> Value {
    let spread = |of: &Spread| {
        Value::Object(spread(of).into_iter().map(|(name, x)| (name.to_owned(), x.into())).collect())
    };
    let of_target = |of: &RealFunctions, targets: usize| {
        let key = |what: &str| if targets == 1 { what.to_owned() } else { format!("{what}_{}", of.target) };
        [(key("functions"), spread(&of.functions)), (key("targets"), spread(&of.targets))]
    };
    let of_class = |x: &[f64]| {
        Value::Object(classes.iter().cloned().zip(x.iter().map(|x| Value::from(*x))).collect::<Map<_, _>>())
    };
    let own = match told {
        PriorPredictive::Real(told) => {
            Value::Object(told.iter().flat_map(|of| of_target(of, told.len())).collect())
        }
        PriorPredictive::Class(told) => json!({
            "entropy": spread(&told.entropy),
            "sure": told.sure,
            "probabilities": of_class(&told.probs),
            "shares": of_class(&told.shares),
        }),
        _ => Value::Null,
    };
    json!({ "network": network, "draws": draws, "seed": seed, "prior_predictive": own })
}
