//! Scores as a table with what they mean, and as JSON.

use bdl_model::{Evaluation, Metric, Model, Schema, Target, TargetKind, TargetScores, Task};
use serde_json::{Map, Value, json};

use crate::out::{significant, table};

/// The scores on data of this schema, a row each: value, interval, meaning.
pub(crate) fn metrics_table(evaluation: &Evaluation, schema: &Schema) -> String {
    let row = |name: String, m: &Metric, target: &Target| {
        let interval = format!("{} to {}", significant(m.low, 4), significant(m.high, 4));
        vec![name, significant(m.value, 4), interval, meaning(evaluation.task, m.name, target)]
    };
    let own = evaluation.metrics.iter().map(|m| row(m.name.to_owned(), m, &schema.target));
    let of_targets = of_targets(evaluation).map(|(name, m, at)| row(name, m, &schema.targets()[at]));
    table(&["metric", "value", "95 % interval", "meaning"], &[1], own.chain(of_targets).collect())
}

/// The scores of each of several targets, with a name, `rmse_price`, and the number of the target.
fn of_targets(evaluation: &Evaluation) -> impl Iterator<Item = (String, &Metric, usize)> {
    evaluation.targets.iter().enumerate().flat_map(|(at, TargetScores { name, metrics, .. })| {
        metrics.iter().map(move |m| (format!("{}_{name}", m.name), m, at))
    })
}

/// One line in plain language.
fn meaning(task: Task, name: &str, target: &Target) -> String {
    let units = format!("in units of {:?}", target.name);
    match (task, name) {
        (_, "rmse") => format!("typical error of the mean, {units}; large errors count more"),
        (_, "mae") => format!("average error of the mean, {units}"),
        (Task::Regression, "nll") => "surprise at the true values, nats a row; lower is better".to_owned(),
        (_, "crps") => format!("distance of the prediction from the truth, {units}; lower is better"),
        (_, "coverage_50") => coverage("50", target),
        (_, "coverage_90") => coverage("90", target),
        (_, "coverage_95") => coverage("95", target),
        (_, "width_90") => format!("average width of the 90 % intervals, {units}; narrow is sharp"),
        (_, "calibration_error") => "average gap between promised and observed shares; best is 0".to_owned(),
        (_, "accuracy") => "share of rows whose most probable class is the true one".to_owned(),
        (_, "nll") => "surprise at the true classes, nats a row; lower is better".to_owned(),
        (_, "brier") => "squared error of the class probabilities, 0 to 2; lower is better".to_owned(),
        (_, "ece") => "gap between confidence and accuracy, bins of equal width; best is 0".to_owned(),
        (_, "adaptive_ece") => "the same with bins of equal numbers of rows; best is 0".to_owned(),
        (_, "mce") => "the largest such gap of a bin; best is 0".to_owned(),
        (_, "aurc") => {
            "error rate when the least confident rows are left out first; lower is better".to_owned()
        }
        _ => String::new(),
    }
}

/// Intervals of counts hold at least their probability: `docs/math.md#mixture-nll`.
fn coverage(percent: &str, target: &Target) -> String {
    match target.kind {
        TargetKind::Count { .. } => {
            format!("share of true counts inside the {percent} % intervals; honest is 0.{percent} or more")
        }
        _ => format!("share of true values inside the {percent} % intervals; best is 0.{percent}"),
    }
}

/// `{NAME: {"value", "low", "high"}}`; of several targets NAME has the target's behind it.
pub(crate) fn metrics_json(evaluation: &Evaluation) -> Value {
    let entry = |name: String, m: &Metric| (name, json!({ "value": m.value, "low": m.low, "high": m.high }));
    let own = evaluation.metrics.iter().map(|m| entry(m.name.to_owned(), m));
    let of_targets = of_targets(evaluation).map(|(name, m, _)| entry(name, m));
    Value::Object(own.chain(of_targets).collect::<Map<_, _>>())
}

/// The method's name on the command line: of several members, `ensemble`.
pub(crate) fn method_name(model: &Model) -> &'static str {
    if model.members().len() > 1 { "ensemble" } else { model.method().name() }
}

/// The method for people: `ensemble of 5 deterministic networks`.
pub(crate) fn method_text(model: &Model) -> String {
    match model.members().len() {
        1 => model.method().name().to_owned(),
        n => format!("ensemble of {n} {} networks", model.method().name()),
    }
}
