//! `bdl prune` from end to end.

use crate::common::{Dir, classes, numbers, short};
use serde_json::Value;

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// A number as JSON tells it.
fn near(value: &Value, expected: f64) -> bool {
    value.as_f64().is_some_and(|value| (value - expected).abs() < 1e-12)
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
        [
            "measure",
            "threshold",
            "weights",
            "kept",
            "compression",
            "network_weights",
            "network_kept",
            "network_compression",
            "bytes",
            "dense_bytes",
            "layers",
            "untouched",
            "out"
        ]
    );
    for [all, prunable] in
        [["network_weights", "weights"], ["network_kept", "kept"], ["network_compression", "compression"]]
    {
        assert_eq!(pruned[all], pruned[prunable], "every weight can be pruned");
    }
    assert_eq!(pruned["untouched"], serde_json::json!([]));
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
    for key in ["measure", "threshold", "weights", "kept", "compression", "bytes", "dense_bytes", "layers"] {
        assert_eq!(known[key], pruned[key], "{key}");
    }
    for key in ["row_seconds", "dense_row_seconds"] {
        assert!(known[key].as_f64().unwrap() > 0.0);
    }
    assert_eq!(dir.bdl("inspect m.bdl --format json").json()["pruning"], Value::Null);
    let text = dir.bdl("inspect s.bdl").ok();
    assert!(!text.contains("whole network") && !text.contains("not pruned"), "{text}");
    let bytes = [dir.bytes("s.bdl").len(), dir.bytes("m.bdl").len()];
    let smaller =
        format!("{}, {} before: {:.3} times smaller", bytes[0], bytes[1], bytes[1] as f64 / bytes[0] as f64);
    assert!(text.contains(&smaller), "{smaller:?} is not in {text}");
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
            [
                "threshold",
                "weights",
                "kept",
                "sparsity",
                "compression",
                "network_weights",
                "network_kept",
                "network_compression",
                error,
                "nll"
            ]
        );
        for point in points {
            let [weights, kept] = ["weights", "kept"].map(|key| point[key].as_f64().unwrap());
            assert!(near(&point["sparsity"], 1.0 - kept / weights), "{point}");
            assert!(kept == 0.0 || near(&point["compression"], weights / kept), "{point}");
        }
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
    for line in ["prune d.bdl --out t.bdl", "prune d.bdl --sweep a.csv"] {
        dir.bdl(line).fails(1, &["1.dense has no posteriors over its weights"]);
    }
    assert_eq!(dir.files(), ["a.csv", "d.bdl", "m.bdl", "s.bdl"]);
}

#[test]
fn weights_that_could_not_be_touched_are_counted_and_say_why() {
    let dir = Dir::new().with("a.csv", numbers(60));
    let train =
        "train a.csv --target y --ignore id,flat --out m.bdl --method mean-field --bayesian last --quiet";
    dir.bdl(&format!("{train} --net 4-6-ln-res+6-1 --epochs 3")).ok();
    let line = "prune m.bdl --out s.bdl --threshold 1e9";
    let pruned = dir.bdl(&format!("{line} --format json")).json();
    let counts =
        ["weights", "kept", "network_weights", "network_kept"].map(|key| pruned[key].as_u64().unwrap());
    // Four inputs to six units, six gains, six to six, six to one.
    assert_eq!(counts, [6, 0, 24 + 6 + 36 + 6, 24 + 6 + 36]);
    assert_eq!(pruned["compression"], Value::Null);
    assert!(near(&pruned["network_compression"], 72.0 / 66.0), "{pruned}");
    let untouched = pruned["untouched"].as_array().unwrap();
    assert_eq!(keys(&untouched[0]), ["name", "weights", "why"]);
    let names: Vec<_> = untouched.iter().map(|layer| layer["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["0.dense", "1.layer-norm", "3.residual/0.dense"]);
    let words = [
        "0 of 6 weights that can be pruned are left; of the whole network 66 of 72, 1.09 times fewer",
        "1.layer-norm keeps 6 weights: it has no posteriors over its weights",
        "3.residual/0.dense keeps 36 weights: it has no posteriors over its weights",
    ];
    for text in [dir.bdl(line).ok(), dir.bdl("inspect s.bdl").ok()] {
        words.iter().for_each(|words| assert!(text.contains(words), "{words:?} is not in {text}"));
    }
    let inspected = dir.bdl("inspect s.bdl --format json").json();
    for key in ["network_weights", "network_kept", "network_compression", "untouched"] {
        assert_eq!(inspected["pruning"][key], pruned[key], "{key}");
    }
    let sweep = "prune m.bdl --sweep a.csv --samples 1 --thresholds 1e9";
    let swept = dir.bdl(&format!("{sweep} --format json")).json();
    let told =
        |at: usize| ["network_weights", "network_kept"].map(|key| swept["sweep"][at][key].as_u64().unwrap());
    assert_eq!([told(0), told(1)], [[72, 72], [72, 66]]);
    let text = dir.bdl(sweep).ok();
    assert!(text.contains("60 rows of a.csv, 1 pass, seed 0"), "{text}");
    assert!(text.contains("left of all"), "{text}");
}

#[test]
fn a_sweep_of_one_threshold_has_the_counts_of_pruning_there() {
    let dir = trained(numbers(60), "y --ignore id,flat");
    let pruned = dir.bdl("prune m.bdl --out s.bdl --threshold 1.5 --format json").json();
    let swept = dir.bdl("prune m.bdl --sweep a.csv --thresholds 1.5 --samples 5 --format json").json();
    let [whole, point] = [0, 1].map(|at| &swept["sweep"][at]);
    for key in ["weights", "kept", "compression"] {
        assert_eq!(point[key], pruned[key], "{key}");
    }
    let scores = |model: &str| dir.bdl(&format!("evaluate {model} a.csv --samples 5 --format json")).json();
    for (point, model) in [(whole, "m.bdl"), (point, "s.bdl")] {
        assert_eq!(point["rmse"], scores(model)["metrics"]["rmse"]["value"], "{model}");
    }
    let dir = trained(classes(60, 3), "kind");
    let swept = dir.bdl("prune m.bdl --sweep a.csv --thresholds 0 --samples 5 --format json").json();
    let told = dir.bdl("evaluate m.bdl a.csv --samples 5 --format json").json();
    let accuracy = told["metrics"]["accuracy"]["value"].as_f64().unwrap();
    assert!(near(&swept["sweep"][0]["error"], 1.0 - accuracy), "{swept} {accuracy}");
}

/// Nothing is left of 90 000 weights: some hundred times less work.
#[test]
fn the_time_of_a_pruned_model_stands_before_that_of_the_one_before() {
    let dir = Dir::new().with("a.csv", numbers(60));
    let train = "train a.csv --target y --ignore id,flat --out m.bdl --method mean-field --quiet";
    dir.bdl(&format!("{train} --hidden 300,300 --epochs 1")).ok();
    dir.bdl("prune m.bdl --out s.bdl --threshold 1e9").ok();
    let known = &dir.bdl("inspect s.bdl --format json").json()["pruning"];
    assert!(known["row_seconds"].as_f64().unwrap() < known["dense_row_seconds"].as_f64().unwrap(), "{known}");
    let text = dir.bdl("inspect s.bdl").ok();
    let line = text.lines().find(|line| line.starts_with("time of a row")).unwrap();
    let ms: Vec<f64> =
        line.split(" ms").take(2).map(|part| part.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert!(ms[0] < ms[1], "{line}");
}

#[test]
fn one_of_a_thing_is_not_many() {
    let dir = Dir::new().with("a.csv", numbers(60));
    let line = "train a.csv --target y --ignore id,flat --out m.bdl --method sparse-vd --hidden 3 --epochs 1 --kl-warmup 1";
    let text = dir.bdl(line).ok();
    assert!(
        text.contains("1 epoch, batches") && text.contains("over 1 epoch") && !text.contains("1 epochs"),
        "{text}"
    );
    assert!(dir.bdl("inspect m.bdl").ok().contains("60 rows, 1 epoch, batches"));
    let run = dir.bdl("predict m.bdl a.csv --samples 1");
    assert!(run.err.contains("1 pass, seed") && !run.err.contains("1 passes"), "{}", run.err);
    assert!(dir.bdl("evaluate m.bdl a.csv --samples 1").ok().contains("1 pass,"));
}
