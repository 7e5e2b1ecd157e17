//! Which layers are Bayesian, and where a network starts from.

use crate::common::{Dir, numbers, short};

fn data() -> Dir {
    Dir::new().with("a.csv", numbers(40))
}

fn kinds(dir: &Dir) -> Vec<String> {
    let inspected = dir.bdl("inspect m.bdl --format json").json();
    let layers = inspected["layers"].as_array().unwrap();
    layers.iter().map(|layer| layer["kind"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_chosen_layers_are_bayesian_from_the_flag_or_a_configuration() {
    let dir = data().with("c.toml", "method = \"mean-field\"\nbayesian = [2]\nhidden = [4, 3]\nepochs = 2\n");
    let train = "train a.csv --target y --ignore id --out m.bdl";
    let out = dir.bdl(&short(&format!("{train} --method mean-field --bayesian last --length-scale 2"))).ok();
    assert!(out.contains("Bayesian layers last (length scale 2 in the others)"), "{out}");
    assert_eq!(kinds(&dir), ["dense", "activation", "variational-dense"]);
    dir.bdl(&format!("{train} --config c.toml --quiet")).ok();
    assert_eq!(kinds(&dir), ["dense", "activation", "variational-dense", "activation", "dense"]);
    dir.bdl(&short(&format!("{train} --method mc-dropout --bayesian 2"))).ok();
    assert_eq!(kinds(&dir), ["dense", "activation", "dropout", "dense"]);
    assert_eq!(dir.bdl("predict m.bdl a.csv").ok().lines().count(), 41);
}

#[test]
fn layers_that_cannot_be_chosen_are_wrong_calls() {
    for (flags, words) in [
        ("--method deterministic --bayesian last", ["--bayesian", "deterministic"]),
        ("--method mean-field --bayesian 3", ["--bayesian", "got 3 where there are 2"]),
        ("--method mean-field --bayesian 0", ["--bayesian", "expected all, last"]),
        ("--method mean-field --bayesian all --length-scale 2", ["--length-scale", "mean-field"]),
    ] {
        let dir = data();
        let run = dir.bdl(&short(&format!("train a.csv --target y --ignore id --out m.bdl {flags}")));
        run.fails(2, &words);
        assert_eq!(dir.files(), ["a.csv"]);
    }
}

#[test]
fn moped_goes_from_a_trained_model_to_a_bayesian_one_and_back_to_a_plain_one() {
    let dir = data();
    let train = "train a.csv --target y --ignore id";
    dir.bdl(&short(&format!("{train} --method deterministic --out d.bdl"))).ok();
    let moped = format!("{train} --method mean-field --init-from d.bdl --moped 0.1 --out m.bdl");
    let out = dir.bdl(&short(&moped)).ok();
    assert!(
        out.contains("prior N(start, 1²) of w·√inputs") && out.contains("deviations 0.1 of their size"),
        "{out}"
    );
    let told = dir.bdl("export m.bdl --plain --out p.bdl --format json").json();
    assert_eq!(
        (told["method"].as_str(), told["from"]["method"].as_str()),
        (Some("deterministic"), Some("mean-field"))
    );
    assert!(told["parameters"].as_u64() < told["from"]["parameters"].as_u64());
    // One pass at the mean is what the plain network predicts.
    let at_mean = dir.bdl("predict m.bdl a.csv --mean").ok();
    assert_eq!(dir.bdl("predict p.bdl a.csv").ok(), at_mean);
    assert_ne!(dir.bdl("predict m.bdl a.csv").ok(), at_mean);
    assert!(dir.bdl("export m.bdl --plain --out p.bdl").ok().contains("mean-field"));
    // From the means of a Bayesian network, too.
    dir.bdl(&short(&format!("{train} --method mc-dropout --init-from m.bdl --out n.bdl"))).ok();
    // And an ensemble from an ensemble.
    let two = format!("{train} --method ensemble --members 2");
    dir.bdl(&short(&format!("{two} --out e.bdl"))).ok();
    dir.bdl(&short(&format!("{two} --of mean-field --init-from e.bdl --moped 0.1 --out f.bdl"))).ok();
}

#[test]
fn starts_that_cannot_be_are_refused() {
    let dir = data();
    let train = "train a.csv --target y --ignore id --out m.bdl";
    dir.bdl(&short("train a.csv --target y --ignore id --method deterministic --out d.bdl")).ok();
    for (flags, code, words) in [
        ("--method mean-field --moped 0.1", 2, ["--moped", "--init-from"]),
        ("--method mean-field --init-from d.bdl --moped 0", 2, ["--moped", "above 0"]),
        ("--method deterministic --init-from d.bdl --moped 0.1", 2, ["--moped", "mean-field"]),
        ("--method mean-field --init-from d.bdl --moped 0.1 --prior laplace:1", 2, ["--moped", "Laplace(1)"]),
        ("--method mean-field --init-from none.bdl", 1, ["none.bdl", "No such file"]),
        ("--method mean-field --init-from a.csv", 1, ["a.csv", "not a bdl model"]),
    ] {
        dir.bdl(&short(&format!("{train} {flags}"))).fails(code, &words);
    }
    let other = "--method mean-field --init-from d.bdl --hidden 7 --epochs 2";
    let run = dir.bdl(&format!("{train} {other}"));
    assert!(run.code == 1 && run.err.contains("--init-from: 0.variational-dense"), "{run:?}");
    let ensemble = format!("{train} --method ensemble --members 2 --of mean-field");
    let run = dir.bdl(&short(&format!("{ensemble} --init-from d.bdl")));
    assert!(run.code == 1 && run.err.contains("--init-from: expected a model of 2 networks"), "{run:?}");
    dir.bdl(&short("train a.csv --target y --ignore id --init-from d.bdl --out d.bdl"))
        .fails(2, &["--out", "the model to start from"]);
    dir.bdl("export d.bdl --out p.bdl").fails(2, &["--plain"]);
    dir.bdl("export d.bdl --plain --out d.bdl").fails(2, &["--out", "the model"]);
    dir.bdl("predict d.bdl a.csv --mean --samples 3").fails(2, &["--mean", "--samples"]);
    assert_eq!(dir.files(), ["a.csv", "d.bdl"]);
}

#[test]
fn a_learned_prior_scale_is_inspected() {
    let dir = data();
    let train = "train a.csv --target y --ignore id --method mean-field --prior normal:learned --out m.bdl";
    assert!(dir.bdl(&short(train)).ok().contains("N(0, s²) with s learned from 1"));
    let layers = dir.bdl("inspect m.bdl --format json").json()["layers"].clone();
    assert!(
        layers[0]["prior_std_dev"].as_f64().unwrap() > 0.0 && layers[1]["prior_std_dev"].is_null(),
        "{layers}"
    );
    assert!(dir.bdl("inspect m.bdl").ok().contains("prior sd"));
}

#[test]
fn functions_of_the_prior_are_shown_without_training_and_without_a_file() {
    let dir = data().with("c.csv", crate::common::classes(42, 3));
    let train = "train a.csv --target y --ignore id --method mean-field --prior normal:3";
    let out = dir.bdl(&format!("{train} --prior-predictive")).ok();
    for words in ["100 functions drawn from the prior of mean-field, prior N(0, 3²)", "q50", "targets \"y\""]
    {
        assert!(out.contains(words), "{words:?} is not in {out}");
    }
    let told = dir.bdl(&format!("{train} --prior-predictive=20 --out m.bdl --format json")).json();
    assert_eq!((&told["draws"], &told["seed"]), (&20.into(), &0.into()));
    let own = &told["prior_predictive"];
    assert!(own["functions"]["std"].as_f64().unwrap() > own["targets"]["std"].as_f64().unwrap(), "{told}");
    let told = dir.bdl("train c.csv --target kind --prior-predictive=20 --format json").json();
    let share = told["prior_predictive"]["shares"]["maybe"].as_f64().unwrap();
    assert!((share - 1.0 / 3.0).abs() < 1e-9, "{told}");
    assert!(dir.bdl("train c.csv --target kind --prior-predictive").ok().contains("Sure of a class"));
    let two = "train a.csv --target y,x --ignore id --prior-predictive=20";
    let own = dir.bdl(&format!("{two} --format json")).json()["prior_predictive"].clone();
    for key in ["functions_y", "targets_y", "functions_x", "targets_x"] {
        assert!(own[key]["q50"].is_number(), "{key}: {own}");
    }
    let out = dir.bdl(two).ok();
    assert!(out.contains("functions of the prior, \"x\"") && out.contains("targets \"x\""), "{out}");
    dir.bdl("train a.csv --target y --ignore id --method sparse-vd --prior-predictive")
        .fails(2, &["--prior-predictive", "improper"]);
    dir.bdl("train a.csv --target y --prior-predictive=0").fails(2, &["--prior-predictive", "from 1 to"]);
    dir.bdl("train a.csv --target y").fails(2, &["--out"]);
    assert_eq!(dir.files(), ["a.csv", "c.csv"]);
}

/// Means and their Monte Carlo errors of all rows.
fn means(predictions: &str) -> Vec<[f64; 2]> {
    let mut lines = predictions.lines();
    let columns: Vec<&str> = lines.next().unwrap().split(',').collect();
    let at = ["mean", "mean_mcse"].map(|name| columns.iter().position(|c| *c == name).unwrap());
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            at.map(|i| cells[i].parse().unwrap())
        })
        .collect()
}

/// 120 comparisons at 5 standard errors: a false alarm once in 15 000 seeds.
#[test]
fn one_trained_file_is_drawn_from_by_any_estimator() {
    let dir = data();
    let train = "train a.csv --target y --ignore id --method mean-field --estimator flipout --out m.bdl";
    dir.bdl(&short(train)).ok();
    let predict = |how: &str| dir.bdl(&format!("predict m.bdl a.csv --scope row --samples 400 {how}")).ok();
    let [local, sampling, flipout] =
        ["local", "sampling", "flipout"].map(|e| predict(&format!("--estimator {e}")));
    assert_eq!(predict(""), flipout, "the estimator of the training unless another is asked for");
    for (a, b) in [(&local, &sampling), (&local, &flipout), (&sampling, &flipout)] {
        assert_ne!(a, b);
        for (row, ([a, a_se], [b, b_se])) in means(a).into_iter().zip(means(b)).enumerate() {
            assert!((a - b).abs() < 5.0 * a_se.hypot(b_se), "row {row}: {a} ± {a_se}, {b} ± {b_se}");
        }
    }
    dir.bdl("predict m.bdl a.csv --estimator local").fails(2, &["--estimator", "--scope row"]);
    dir.bdl("predict m.bdl a.csv --mean --estimator local").fails(2, &["--estimator", "--mean"]);
    dir.bdl(&short("train a.csv --target y --ignore id --out d.bdl")).ok();
    dir.bdl("predict d.bdl a.csv --scope row --estimator local").fails(2, &["--estimator", "mc-dropout"]);
}
