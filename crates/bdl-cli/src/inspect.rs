//! `bdl inspect`: what a model file holds.

use anyhow::Result;
use bdl_model::{
    FORMAT_VERSION, Feature, FeatureKind, LayerSummary, MissingPolicy, Model, Pruning, RowTimes, Target,
    TargetKind,
};
use serde_json::{Value, json};

use crate::args::{Format, InspectArgs};
use crate::explain::{method_name, method_text};
use crate::layers::{layer_table, layers_json, warn};
use crate::out::{self, count, counted, listed, pairs, significant, table};
use crate::prune::{kept_text, pruning_json, rule, untouched_text};

pub(crate) fn run(args: &InspectArgs) -> Result<()> {
    let model = Model::load(&args.model)?;
    let layers = model.layers()?;
    warn(&layers);
    let times = model.row_times(model.passes())?;
    if args.format == Format::Json {
        return Ok(out::json(&as_json(&model, &layers, times)?)?);
    }
    out::line(header(args, &model, &layers))?;
    if let (Some(pruning), Some(times)) = (model.pruning(), times) {
        out::line(pruned(pruning, model.to_bytes()?.len(), &times))?;
    }
    out::line(layer_table(&layers))?;
    if model.members().len() > 1 {
        out::line("Layers are those of the first member.\n")?;
    }
    Ok(out::line(feature_table(&model).trim_end())?)
}

fn header(args: &InspectArgs, model: &Model, layers: &[LayerSummary]) -> String {
    let record = model.record();
    let kl: f64 = layers.iter().map(|layer| layer.report.kl).sum();
    let kept = match record.kept_epoch == record.epochs {
        true => String::new(),
        false => format!(", kept epoch {}", record.kept_epoch),
    };
    let rows = vec![
        ("file", format!("{}, format {FORMAT_VERSION}", args.model.display())),
        ("task", model.task().to_string()),
        ("target", target_text(&model.schema().target)),
        ("method", method_text(model)),
        ("likelihood", model.likelihood().to_owned()),
        ("parameters", count(model.n_params())),
        ("KL", format!("{} nats", significant(kl, 4))),
        (
            "trained on",
            format!(
                "{}, {}{kept}, batches of {}, learning rate {}, seed {}",
                counted(record.rows as usize, "row"),
                counted(record.epochs as usize, "epoch"),
                record.batch,
                record.lr,
                record.seed
            ),
        ),
        ("missing cells", missing(model).to_owned()),
    ];
    pairs(rows)
}

/// What is left, and what it costs beside the model before.
fn pruned(pruning: &Pruning, bytes: usize, times: &RowTimes) -> String {
    let [now, before] = [times.pruned, times.dense].map(|seconds| significant(1e3 * seconds, 3));
    let dense = pruning.dense_bytes as usize;
    let share = significant(dense as f64 / bytes as f64, 3);
    let untouched = pruning.untouched();
    let mut rows =
        vec![("pruned", format!("{}: {}", rule(pruning.measure, pruning.threshold), kept_text(pruning)))];
    rows.extend(untouched.iter().map(|layer| ("not pruned", untouched_text(layer))));
    rows.extend([
        ("bytes", format!("{}, {} before: {share} times smaller", count(bytes), count(dense))),
        (
            "time of a row",
            format!(
                "{now} ms, {before} ms before (measured now: {} over one synthetic row, one thread)",
                out::plural(times.samples, "pass", "passes")
            ),
        ),
    ]);
    pairs(rows)
}

fn target_text(target: &Target) -> String {
    match &target.kind {
        TargetKind::Real { mean, std } => {
            let [mean, std] = [mean, std].map(|x| significant(*x, 4));
            format!("{:?}, mean {mean}, standard deviation {std}", target.name)
        }
        TargetKind::Count { mean } => format!("{:?}, counts, mean {}", target.name, significant(*mean, 4)),
        TargetKind::Class { names } => {
            format!("{:?}, {}: {}", target.name, out::plural(names.len(), "class", "classes"), listed(names))
        }
        TargetKind::Several { targets } => targets.iter().map(target_text).collect::<Vec<_>>().join("; "),
    }
}

fn missing(model: &Model) -> &'static str {
    match model.schema().missing {
        MissingPolicy::Error => "an error",
        MissingPolicy::Drop => "rows left out in training, an error in prediction",
        MissingPolicy::Impute => "imputed: the mean or the most frequent category",
    }
}

fn feature_table(model: &Model) -> String {
    let row = |feature: &Feature| match &feature.kind {
        FeatureKind::Numeric { mean, std } => {
            let [mean, std] = [mean, std].map(|x| significant(*x, 4));
            vec![feature.name.clone(), "number".to_owned(), format!("mean {mean}, standard deviation {std}")]
        }
        FeatureKind::Categorical { levels, .. } => {
            let seen = format!("{}: {}", counted(levels.len(), "level"), listed(levels));
            vec![feature.name.clone(), "category".to_owned(), seen]
        }
        FeatureKind::Image { sides: [h, w, c] } => {
            let size = format!("{h}×{w}, {}, each byte/255", counted(*c, "channel"));
            vec![feature.name.clone(), "image".to_owned(), size]
        }
    };
    table(&["feature", "kind", "seen in training"], &[], model.schema().features.iter().map(row).collect())
}

fn as_json(model: &Model, layers: &[LayerSummary], times: Option<RowTimes>) -> Result<Value> {
    let record = model.record();
    Ok(json!({
        "format_version": FORMAT_VERSION,
        "task": model.task().to_string(),
        "method": method_name(model),
        "parameters": model.n_params(),
        "layers": layers_json(layers),
        "members": model.members().len(),
        "member_method": model.method().name(),
        "likelihood": model.likelihood(),
        "target": target_json(&model.schema().target),
        "features": model.schema().features.iter().map(feature_json).collect::<Vec<_>>(),
        "missing": match model.schema().missing {
            MissingPolicy::Error => "error",
            MissingPolicy::Drop => "drop",
            MissingPolicy::Impute => "impute",
        },
        "training": {
            "rows": record.rows,
            "epochs": record.epochs,
            "kept_epoch": record.kept_epoch,
            "batch": record.batch,
            "lr": record.lr,
            "seed": record.seed,
        },
        "pruning": match (model.pruning(), times) {
            (Some(pruning), Some(times)) => timed_json(pruning, model.to_bytes()?.len(), &times),
            _ => Value::Null,
        },
    }))
}

fn timed_json(pruning: &Pruning, bytes: usize, times: &RowTimes) -> Value {
    let mut value = pruning_json(pruning, bytes);
    if let Value::Object(fields) = &mut value {
        fields.insert("row_seconds".to_owned(), json!(times.pruned));
        fields.insert("dense_row_seconds".to_owned(), json!(times.dense));
        fields.insert("samples".to_owned(), json!(times.samples));
    }
    value
}

fn target_json(target: &Target) -> Value {
    match &target.kind {
        TargetKind::Real { mean, std } => json!({ "name": target.name, "mean": mean, "std": std }),
        TargetKind::Count { mean } => json!({ "name": target.name, "counts": true, "mean": mean }),
        TargetKind::Class { names } => json!({ "name": target.name, "classes": names }),
        TargetKind::Several { targets } => Value::Array(targets.iter().map(target_json).collect()),
    }
}

fn feature_json(feature: &Feature) -> Value {
    match &feature.kind {
        FeatureKind::Numeric { mean, std } => {
            json!({ "name": feature.name, "kind": "numeric", "mean": mean, "std": std })
        }
        FeatureKind::Categorical { levels, .. } => {
            json!({ "name": feature.name, "kind": "categorical", "levels": levels })
        }
        FeatureKind::Image { sides: [height, width, channels] } => json!({
            "name": feature.name, "kind": "image", "height": height, "width": width, "channels": channels
        }),
    }
}
