//! `bdl prune`: a smaller model without the weights that are noise, and what the threshold costs.

use anyhow::Result;
use bdl_model::{Evaluation, LayerPruning, LayerUntouched, Measure, Model, Pruning};
use serde_json::{Map, Value, json};

use crate::args::{EvaluateArgs, Format, PruneArgs};
use crate::evaluate::score;
use crate::explain::method_text;
use crate::out::{self, Usage, count, counted, significant, table};
use crate::output_file::{check_writable, refuse_input};

pub(crate) fn run(args: &PruneArgs) -> Result<()> {
    if let Some(data) = &args.sweep {
        if data.as_os_str() == "-" {
            return Err(Usage::error("--sweep: expected a file, which is read once for each threshold"));
        }
        return sweep(args, &EvaluateArgs::for_sweep(args, data));
    }
    let Some(to) = &args.out else {
        return Err(Usage::error("expected --out MODEL, or --sweep DATA to write nothing"));
    };
    refuse_flags_of_a_sweep(args)?;
    refuse_input("--out", to, &[("the model", &args.model)])?;
    let model = Model::load(&args.model)?;
    // Before the file, so that a model that cannot be pruned says so first.
    model.measure()?;
    check_writable(to)?;
    let pruned = model.prune(args.threshold)?;
    pruned.save(to)?;
    let Some(pruning) = pruned.pruning() else { return Ok(()) };
    let bytes = pruned.to_bytes()?.len();
    if args.run.format == Format::Json {
        let mut value = pruning_json(pruning, bytes);
        if let Value::Object(fields) = &mut value {
            fields.insert("out".to_owned(), json!(to.display().to_string()));
        }
        return Ok(out::json(&value)?);
    }
    out::line(layer_table(pruning))?;
    for layer in pruning.untouched() {
        out::line(untouched_text(&layer))?;
    }
    Ok(out::line(format_args!(
        "{}: weights with {} are gone: {}\nfile: {}, {} before",
        to.display(),
        rule(pruning.measure, pruning.threshold),
        kept_text(pruning),
        counted(bytes, "byte"),
        count(pruning.dense_bytes as usize),
    ))?)
}

fn refuse_flags_of_a_sweep(args: &PruneArgs) -> Result<()> {
    let given = [
        ("--thresholds", !args.thresholds.is_empty()),
        ("--labels", args.labels.is_some()),
        ("--samples", args.samples.is_some()),
        ("--seed", args.seed.is_some()),
        ("--delimiter", args.read.delimiter.is_some()),
        ("--threads", args.run.threads.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(Usage::error(format!("{flag}: only goes with --sweep"))),
        None => Ok(()),
    }
}

/// `|mu|/sigma < 0.223`.
pub(crate) fn rule(measure: Measure, threshold: f64) -> String {
    let digits = significant(threshold, 4);
    let threshold = match digits.contains('.') && !digits.contains('e') {
        true => digits.trim_end_matches('0').trim_end_matches('.'),
        false => &digits,
    };
    match measure {
        Measure::LnAlpha => format!("ln alpha > {threshold}"),
        Measure::SignalToNoise => format!("|mu|/sigma < {threshold}"),
    }
}

/// `4436 of 266200 weights that can be pruned are left, 60.0 times fewer`, and where there are others
/// `; of the whole network 4536 of 266300, 58.7 times fewer`.
pub(crate) fn kept_text(pruning: &Pruning) -> String {
    let (kept, weights) = (pruning.kept(), pruning.weights());
    let of_prunable = format!(
        "{} of {} that can be pruned {} left{}",
        count(kept),
        counted(weights, "weight"),
        if kept == 1 { "is" } else { "are" },
        times_fewer(pruning.compression())
    );
    let [kept, all] = [pruning.network_kept(), pruning.network_weights()];
    match all == weights {
        true => of_prunable,
        false => format!(
            "{of_prunable}; of the whole network {} of {}{}",
            count(kept),
            count(all),
            times_fewer(pruning.network_compression())
        ),
    }
}

/// Nothing where none is left.
fn times_fewer(compression: f64) -> String {
    match compression.is_finite() {
        true => format!(", {} times fewer", significant(compression, 3)),
        false => String::new(),
    }
}

/// `2.dense keeps 600 weights: it has no posteriors over its weights`.
pub(crate) fn untouched_text(layer: &LayerUntouched) -> String {
    format!("{} keeps {}: it {}", layer.name, counted(layer.weights, "weight"), layer.why)
}

fn layer_table(pruning: &Pruning) -> String {
    let row = |layer: &LayerPruning| {
        let share = 100.0 * layer.kept as f64 / layer.weights as f64;
        vec![
            layer.name.clone(),
            count(layer.weights),
            count(layer.kept),
            format!("{share:.2} %"),
            count(layer.constant),
            count(layer.units[0]),
            count(layer.units[1]),
        ]
    };
    let header = ["layer", "weights", "left", "share", "of these constant", "units", "left"];
    table(&header, &[1, 2, 3, 4, 5, 6], pruning.layers.iter().map(row).collect())
}

/// What is known of a pruned model; the same in `inspect`.
pub(crate) fn pruning_json(pruning: &Pruning, bytes: usize) -> Value {
    let layer = |layer: &LayerPruning| {
        json!({
            "name": layer.name,
            "weights": layer.weights,
            "kept": layer.kept,
            "constant": layer.constant,
            "units": layer.units[0],
            "units_kept": layer.units[1],
        })
    };
    let untouched =
        |layer: &LayerUntouched| json!({ "name": layer.name, "weights": layer.weights, "why": layer.why });
    json!({
        "measure": measure_name(pruning.measure),
        "threshold": pruning.threshold,
        "weights": pruning.weights(),
        "kept": pruning.kept(),
        "compression": pruning.compression(),
        "network_weights": pruning.network_weights(),
        "network_kept": pruning.network_kept(),
        "network_compression": pruning.network_compression(),
        "bytes": bytes,
        "dense_bytes": pruning.dense_bytes,
        "layers": pruning.layers.iter().map(layer).collect::<Vec<_>>(),
        "untouched": pruning.untouched().iter().map(untouched).collect::<Vec<_>>(),
    })
}

fn measure_name(measure: Measure) -> &'static str {
    match measure {
        Measure::LnAlpha => "ln_alpha",
        Measure::SignalToNoise => "snr",
    }
}

/// Thresholds of a sweep that names none.
fn usual(measure: Measure) -> &'static [f64] {
    match measure {
        Measure::LnAlpha => &[5.0, 4.0, 3.0, 2.0, 1.0, 0.0],
        Measure::SignalToNoise => &[0.1, 0.223, 0.5, 1.0, 2.0, 3.0],
    }
}

/// A row of the sweep: the model with this threshold, or as it is.
struct Point {
    threshold: Option<f64>,
    left: Left,
    scores: Evaluation,
}

/// Weights before and after: those that can be pruned, and those of the whole network.
#[derive(Clone, Copy)]
struct Left {
    weights: usize,
    kept: usize,
    network_weights: usize,
    network_kept: usize,
}

impl Left {
    fn of(pruning: &Pruning) -> Self {
        Self {
            weights: pruning.weights(),
            kept: pruning.kept(),
            network_weights: pruning.network_weights(),
            network_kept: pruning.network_kept(),
        }
    }

    /// As it was before.
    fn whole(self) -> Self {
        Self { kept: self.weights, network_kept: self.network_weights, ..self }
    }

    fn sparsity(self) -> f64 {
        1.0 - self.kept as f64 / self.weights as f64
    }

    /// Of the weights that can be pruned, and of all.
    fn compressions(self) -> [f64; 2] {
        [(self.weights, self.kept), (self.network_weights, self.network_kept)]
            .map(|(all, kept)| all as f64 / kept as f64)
    }

    /// Whether there are weights that cannot be pruned.
    fn has_others(self) -> bool {
        self.weights != self.network_weights
    }
}

fn sweep(args: &PruneArgs, how: &EvaluateArgs) -> Result<()> {
    let model = Model::load(&args.model)?;
    let measure = model.measure()?;
    let thresholds = if args.thresholds.is_empty() { usual(measure) } else { &args.thresholds };
    let mut points = Vec::new();
    for &threshold in thresholds {
        let pruned = model.prune(Some(threshold))?;
        let Some(left) = pruned.pruning().map(Left::of) else { continue };
        if points.is_empty() {
            points.push(Point { threshold: None, left: left.whole(), scores: score(how, &model)? });
        }
        points.push(Point { threshold: Some(threshold), left, scores: score(how, &pruned)? });
    }
    let first = &points[0].scores;
    if args.run.format == Format::Json {
        return Ok(out::json(&json!({
            "measure": measure_name(measure),
            "rows": first.rows,
            "samples": first.samples,
            "seed": first.seed,
            "sweep": points.iter().map(point_json).collect::<Vec<_>>(),
        }))?);
    }
    out::line(format_args!(
        "{} of {}, {}, seed {}; {}\n",
        out::counted(first.rows, "row"),
        how.data.display(),
        out::plural(first.samples, "pass", "passes"),
        first.seed,
        method_text(&model),
    ))?;
    Ok(out::line(sweep_table(measure, &points).trim_end())?)
}

/// Names and values of the scores that a sweep shows: of several targets the NLL alone.
fn errors(scores: &Evaluation) -> Vec<(&'static str, f64)> {
    let error = scores.metric("accuracy").map(|accuracy| ("error", 1.0 - accuracy.value));
    let others = ["rmse", "nll"].into_iter().filter_map(|name| scores.metric(name));
    error.into_iter().chain(others.map(|metric| (metric.name, metric.value))).collect()
}

fn sweep_table(measure: Measure, points: &[Point]) -> String {
    let has_others = points[0].left.has_others();
    let row = |point: &Point| {
        let rule = point.threshold.map_or("whole".to_owned(), |threshold| rule(measure, threshold));
        let [of_prunable, of_all] = point.left.compressions().map(|compression| significant(compression, 3));
        let mut row = vec![
            rule,
            count(point.left.kept),
            format!("{:.2} %", 100.0 * point.left.sparsity()),
            of_prunable,
        ];
        if has_others {
            row.extend([count(point.left.network_kept), of_all]);
        }
        row.extend(errors(&point.scores).iter().map(|(_, value)| significant(*value, 4)));
        row
    };
    let mut header = vec!["removed", "left", "sparsity", "times fewer"];
    if has_others {
        header.extend(["left of all", "times fewer of all"]);
    }
    header.extend(errors(&points[0].scores).iter().map(|(name, _)| *name));
    table(&header, &(1..header.len()).collect::<Vec<_>>(), points.iter().map(row).collect())
}

fn point_json(point: &Point) -> Value {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    put("threshold", json!(point.threshold));
    let Left { weights, kept, network_weights, network_kept } = point.left;
    let [compression, network_compression] = point.left.compressions();
    put("weights", json!(weights));
    put("kept", json!(kept));
    put("sparsity", json!(point.left.sparsity()));
    put("compression", json!(compression));
    put("network_weights", json!(network_weights));
    put("network_kept", json!(network_kept));
    put("network_compression", json!(network_compression));
    for (name, value) in errors(&point.scores) {
        put(name, json!(value));
    }
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_keeps_the_zeros_of_whole_thresholds() {
        assert_eq!(rule(Measure::LnAlpha, 1000.0), "ln alpha > 1000");
        assert_eq!(rule(Measure::LnAlpha, 3.0), "ln alpha > 3");
        assert_eq!(rule(Measure::SignalToNoise, 0.5), "|mu|/sigma < 0.5");
    }
}
