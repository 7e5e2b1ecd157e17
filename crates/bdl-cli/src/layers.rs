//! What each layer learned: a table, JSON, and warnings.

use bdl_model::{LayerSummary, LayerWarning, Quantiles};
use serde_json::{Value, json};

use crate::out::{self, count, significant, table};

/// A column: what stands above it, and what a layer shows there, nothing where it does not apply.
type Column = (&'static str, fn(&LayerSummary) -> String);

const COLUMNS: [Column; 13] = [
    ("layer", |layer| layer.name.clone()),
    ("shape", |layer| format!("{} → {}", layer.shape[0], layer.shape[1])),
    ("parameters", |layer| count(layer.parameters)),
    ("KL", |layer| if layer.parameters == 0 { String::new() } else { significant(layer.report.kl, 4) }),
    ("per weight", |layer| shown(layer.report.kl_per_weight(), 3)),
    ("SNR 5, 50, 95 %", |layer| spread(layer.report.snr)),
    ("ln alpha 5, 50, 95 %", |layer| spread(layer.report.log_alpha)),
    ("noise", |layer| percent(layer.report.noise)),
    ("at prior", |layer| percent(layer.report.at_prior)),
    ("collapsed", |layer| percent(layer.report.collapsed)),
    ("drop prob", |layer| shown(layer.report.drop_prob, 2)),
    ("zeros", |layer| percent(layer.report.sparsity)),
    ("prior sd", |layer| shown(layer.report.prior_std_dev, 3)),
];

/// A row for each layer, those inside another one behind it.
pub(crate) fn layer_table(layers: &[LayerSummary]) -> String {
    let rows: Vec<Vec<String>> = flat(layers, 0)
        .into_iter()
        .map(|(depth, layer)| {
            let mut row: Vec<String> = COLUMNS.iter().map(|(_, show)| show(layer)).collect();
            row[0].insert_str(0, &"  ".repeat(depth));
            row
        })
        .collect();
    // What no layer of this network has is not worth a column.
    let shown: Vec<usize> =
        (0..COLUMNS.len()).filter(|&c| rows.iter().any(|row| !row[c].is_empty())).collect();
    let header: Vec<&str> = shown.iter().map(|&c| COLUMNS[c].0).collect();
    let rows = rows.iter().map(|row| shown.iter().map(|&c| row[c].clone()).collect()).collect();
    table(&header, &(2..header.len()).collect::<Vec<_>>(), rows)
}

/// The layers in order with how deep they lie, each followed by those inside it.
fn flat(layers: &[LayerSummary], depth: usize) -> Vec<(usize, &LayerSummary)> {
    layers
        .iter()
        .flat_map(|layer| [vec![(depth, layer)], flat(&layer.report.inside, depth + 1)].concat())
        .collect()
}

fn shown(x: Option<f64>, digits: usize) -> String {
    x.map_or(String::new(), |x| significant(x, digits))
}

fn percent(x: Option<f64>) -> String {
    x.map_or(String::new(), |x| format!("{:.1} %", 100.0 * x))
}

fn spread(of: Option<Quantiles>) -> String {
    let text = |q: Quantiles| [q.q05, q.median, q.q95].map(|x| significant(x, 3)).join("  ");
    of.map_or(String::new(), text)
}

/// A layer, its keys as `docs/cli.md` lists them.
fn layer_json(layer: &LayerSummary) -> Value {
    let report = &layer.report;
    json!({
        "name": layer.name,
        "kind": layer.kind,
        "shape": layer.shape,
        "parameters": layer.parameters,
        "kl": report.kl,
        "snr_median": report.snr.map(|snr| snr.median),
        "sparsity": report.sparsity,
        "at_prior": report.at_prior,
        "collapsed": report.collapsed,
        "drop_prob": report.drop_prob,
        "kl_per_weight": report.kl_per_weight(),
        "snr": report.snr.map(quantiles_json),
        "log_alpha": report.log_alpha.map(quantiles_json),
        "noise": report.noise,
        "prior_std_dev": report.prior_std_dev,
        "inside": layers_json(&report.inside),
    })
}

pub(crate) fn layers_json(layers: &[LayerSummary]) -> Vec<Value> {
    layers.iter().map(layer_json).collect()
}

fn quantiles_json(of: Quantiles) -> Value {
    Value::Object(named(of).map(|(name, x)| (name.to_owned(), x.into())).into_iter().collect())
}

/// Quantiles and what they are called.
pub(crate) fn named(of: Quantiles) -> [(&'static str, f64); 5] {
    [("q05", of.q05), ("q25", of.q25), ("q50", of.median), ("q75", of.q75), ("q95", of.q95)]
}

/// Warns of posteriors that say nothing.
pub(crate) fn warn(layers: &[LayerSummary]) {
    for (_, LayerSummary { name, report, .. }) in flat(layers, 0) {
        for warning in report.warnings() {
            out::warning(format_args!("{name}: {}", worded(warning)));
        }
    }
}

fn worded(warning: LayerWarning) -> String {
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    match warning {
        LayerWarning::AtPrior(share) => format!(
            "{} of the weights are still at their prior, so the layer has learned little; \
             try more epochs, --kl-warmup or fewer hidden units",
            percent(share)
        ),
        LayerWarning::AllNoise => "all of the weights are noise, so the layer has learned nothing; \
             try more epochs, --kl-warmup or fewer hidden units"
            .to_owned(),
        LayerWarning::Collapsed(share) => format!(
            "{} of the weights have shrunk to a point, so predictions will look surer than they are; \
             try a larger --kl-weight or a smaller --lr",
            percent(share)
        ),
        other => format!("{other:?}"),
    }
}
