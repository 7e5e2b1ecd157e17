//! `bdl prune` from end to end.

use crate::common::{Dir, classes, numbers, short};
use serde_json::Value;

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// A directory with a mean-field model `m.bdl` of `a.csv`.
fn trained(data: String, target: &str) -> Dir {
    let dir = Dir::new().with("a.csv", data);
    dir.bdl(&short(&format!("train a.csv --target {target} --out m.bdl --method mean-field --quiet"))).ok();
    dir
}

#[test]
fn a_pruned_model_goes_wherever_a_model_goes() {
    let dir = trained(numbers(60), "y --ignore id,flat");
    let pruned = dir.bdl("prune m.bdl --out s.bdl --threshold 1 --format json").json();
    assert_eq!(
        keys(&pruned),
        ["measure", "threshold", "weights", "kept", "compression", "bytes", "dense_bytes", "layers", "out"]
    );
    assert_eq!(
        (&pruned["measure"], &pruned["threshold"], &pruned["weights"]),
        (&"snr".into(), &1.0.into(), &20.into())
    );
    let (kept, weights) = (pruned["kept"].as_f64().unwrap(), 20.0);
    assert!(kept < weights && (pruned["compression"].as_f64().unwrap() - weights / kept).abs() < 1e-9);
    assert_eq!(pruned["bytes"], dir.bytes("s.bdl").len());
    assert_eq!(pruned["dense_bytes"], dir.bytes("m.bdl").len());
    assert_eq!(keys(&pruned["layers"][0]), ["name", "weights", "kept", "constant", "units", "units_kept"]);

    let inspected = dir.bdl("inspect s.bdl --format json").json();
    let known = &inspected["pruning"];
    for key in ["measure", "threshold", "weights", "kept", "bytes", "dense_bytes", "layers"] {
        assert_eq!(known[key], pruned[key], "{key}");
    }
    for key in ["row_seconds", "dense_row_seconds"] {
        assert!(known[key].as_f64().unwrap() > 0.0);
    }
    assert_eq!(dir.bdl("inspect m.bdl --format json").json()["pruning"], Value::Null);
    let text = dir.bdl("inspect s.bdl").ok();
    for words in [
        "|mu|/sigma < 1: ",
        "of 20 weights that can be pruned are left",
        "before",
        "measured now",
        "one synthetic row",
    ] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }

    dir.bdl("evaluate s.bdl a.csv --samples 5").ok();
    for scope in ["pass", "row"] {
        let predict = format!("predict s.bdl a.csv --samples 5 --scope {scope} --threads");
        let [one, two] = [1, 2].map(|threads| dir.bdl(&format!("{predict} {threads}")).ok());
        assert_eq!((one.lines().count(), one), (61, two));
    }
}

#[test]
fn what_is_printed_says_what_went() {
    let dir = trained(classes(60, 3), "kind");
    let text = dir.bdl("prune m.bdl --out s.bdl --threshold 0.7").ok();
    for words in ["layer", "weights", "share", "s.bdl: weights with |mu|/sigma < 0.7 are gone: ", "before"] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    // The default is the rule of sparse variational dropout.
    assert!(dir.bdl("prune m.bdl --out s.bdl").ok().contains("|mu|/sigma < 0.223"));
}

#[test]
fn a_sweep_shows_error_against_sparsity_and_writes_nothing() {
    for (data, target, error) in
        [(numbers(60), "y --ignore id,flat", "rmse"), (classes(60, 3), "kind", "error")]
    {
        let dir = trained(data, target);
        let line = "prune m.bdl --sweep a.csv --samples 5";
        let swept = dir.bdl(&format!("{line} --thresholds 0,1,1e9 --format json")).json();
        assert_eq!(keys(&swept), ["measure", "rows", "samples", "seed", "sweep"]);
        let points = swept["sweep"].as_array().unwrap();
        assert_eq!(
            keys(&points[0]),
            ["threshold", "weights", "kept", "sparsity", "compression", error, "nll"]
        );
        let thresholds: Vec<_> = points.iter().map(|point| point["threshold"].as_f64()).collect();
        assert_eq!(thresholds, [None, Some(0.0), Some(1.0), Some(1e9)]);
        let score = |point: &Value| (point[error].clone(), point["nll"].clone());
        assert_eq!(score(&points[0]), score(&points[1]), "nothing goes at 0");
        assert_eq!((&points[3]["sparsity"], &points[3]["compression"]), (&1.0.into(), &Value::Null));
        assert!(points.windows(2).all(|p| p[0]["sparsity"].as_f64() <= p[1]["sparsity"].as_f64()));
        let text = dir.bdl(line).ok();
        for words in ["whole", "sparsity", "times fewer", error, "nll", "|mu|/sigma < 0.223"] {
            assert!(text.contains(words), "{words:?} is not in {text}");
        }
        assert_eq!(dir.files(), ["a.csv", "m.bdl"]);
    }
}

#[test]
fn what_cannot_be_done_is_refused() {
    let dir = trained(numbers(60), "y --ignore id,flat");
    dir.bdl("prune m.bdl").fails(2, &["--out"]);
    dir.bdl("prune m.bdl --out m.bdl").fails(2, &["--out: m.bdl is the model"]);
    dir.bdl("prune m.bdl --out s.bdl --threshold -1")
        .fails(2, &["--threshold: must be a finite |mu|/sigma >= 0, got -1"]);
    dir.bdl("prune m.bdl --out s.bdl --threshold x").fails(2, &["--threshold", "expected a number"]);
    dir.bdl("prune m.bdl --out s.bdl --sweep a.csv").fails(2, &["--sweep"]);
    for flag in ["--thresholds 1", "--labels l", "--samples 5", "--seed 1", "--delimiter comma"] {
        let name = flag.split(' ').next().unwrap();
        dir.bdl(&format!("prune m.bdl --out s.bdl {flag}")).fails(2, &[name, "only goes with --sweep"]);
    }
    dir.bdl("prune m.bdl --sweep -").fails(2, &["--sweep: expected a file"]);
    dir.bdl("prune m.bdl --sweep none.csv").fails(1, &["none.csv"]);
    dir.bdl("prune none.bdl --out s.bdl").fails(1, &["none.bdl"]);
    assert_eq!(dir.files(), ["a.csv", "m.bdl"]);
    dir.bdl("prune m.bdl --out s.bdl").ok();
    dir.bdl("prune s.bdl --out t.bdl").fails(1, &["it is pruned already"]);
    dir.bdl(&short("train a.csv --target y --out d.bdl --ignore id,flat --quiet")).ok();
    dir.bdl("prune d.bdl --out t.bdl").fails(1, &["mc-dropout has no posterior over single weights"]);
    assert_eq!(dir.files(), ["a.csv", "d.bdl", "m.bdl", "s.bdl"]);
}
