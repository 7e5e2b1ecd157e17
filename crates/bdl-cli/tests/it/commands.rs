//! The commands from end to end: every method and task, the JSON keys, the forms that data comes in.

use crate::common::{Dir, classes, counts, numbers, short};
use serde_json::Value;

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

const METHODS: [&str; 15] = [
    "--method deterministic",
    "--method mc-dropout --drop-prob 0.2",
    "--method concrete-dropout --length-scale 0.5",
    "--method gaussian-dropout --drop-prob 0.2 --input-drop-prob 0",
    "--method variational-dropout",
    "--method variational-dropout --alpha-per weight --estimator sampling",
    "--method variational-dropout --weight-noise correlated --alpha-per layer",
    "--method sparse-vd",
    "--method mean-field",
    "--method mean-field --estimator sampling --prior normal:0.5",
    "--method mean-field --estimator flipout",
    "--method ensemble --members 2",
    "--method ensemble --members 2 --of mc-dropout",
    "--method ensemble --members 2 --of mean-field",
    "--method ensemble --members 2 --of concrete-dropout",
];

const REGRESSION: [&str; 9] = [
    "rmse",
    "mae",
    "nll",
    "crps",
    "coverage_50",
    "coverage_90",
    "coverage_95",
    "width_90",
    "calibration_error",
];

const CLASSIFICATION: [&str; 7] = ["accuracy", "nll", "brier", "ece", "adaptive_ece", "mce", "aurc"];

/// Trains, inspects, evaluates and predicts; returns the predictions' header.
fn all_commands(dir: &Dir, data: &str, train: &str, task: &str, metrics: &[&str]) -> String {
    let trained =
        dir.bdl(&short(&format!("train {data} --out m.bdl --valid 0.2 --format json {train}"))).json();
    assert_eq!(
        keys(&trained),
        [
            "model",
            "task",
            "method",
            "rows",
            "features",
            "parameters",
            "epochs",
            "seconds",
            "elbo",
            "nll",
            "kl",
            "valid",
            "elbo_is_bound",
            "layers"
        ],
        "{train}"
    );
    assert_eq!((&trained["task"], &trained["epochs"]), (&task.into(), &3.into()));
    assert!(train.contains(&format!("--method {}", trained["method"].as_str().unwrap())));
    assert_eq!(keys(&trained["valid"]), metrics);
    let [elbo, nll, kl, rows] = ["elbo", "nll", "kl", "rows"].map(|key| trained[key].as_f64().unwrap());
    assert!((elbo + rows * nll + kl).abs() < 1e-6 * elbo.abs(), "{trained}");

    let inspected = dir.bdl("inspect m.bdl --format json").json();
    assert_eq!(keys(&inspected)[..5], ["format_version", "task", "method", "parameters", "layers"]);
    assert_eq!(
        (&inspected["parameters"], &inspected["method"]),
        (&trained["parameters"], &trained["method"])
    );
    let layer = &inspected["layers"][0];
    let first =
        ["name", "kind", "shape", "parameters", "kl", "snr_median", "sparsity", "at_prior", "collapsed"];
    let then = ["drop_prob", "kl_per_weight", "snr", "log_alpha", "noise", "prior_std_dev", "inside"];
    assert_eq!(keys(layer), [&first[..], &then].concat());
    assert_eq!(inspected["layers"], trained["layers"]);
    assert!(dir.bdl("inspect m.bdl").ok().contains(task));

    let evaluated = dir.bdl(&format!("evaluate m.bdl {data} --samples 5 --seed 3 --format json")).json();
    assert_eq!(keys(&evaluated), ["task", "rows", "samples", "seed", "metrics"]);
    assert_eq!((&evaluated["task"], &evaluated["seed"]), (&task.into(), &3.into()));
    assert_eq!(keys(&evaluated["metrics"]), metrics);
    assert_eq!(keys(&evaluated["metrics"][metrics[0]]), ["value", "low", "high"]);
    let shown = dir.bdl(&format!("evaluate m.bdl {data}")).ok();
    assert!(metrics.iter().all(|name| shown.contains(name)), "{shown}");

    let out = dir.bdl(&format!("predict m.bdl {data} --samples 5")).ok();
    assert_eq!(out.lines().count(), dir.text(data).lines().count());
    let run = dir.bdl(&format!("predict m.bdl {data} --samples 5 --out p.csv"));
    assert_eq!((run.code, run.out.as_str(), dir.text("p.csv")), (0, "", out.clone()));
    assert!(run.err.contains("seed 0"), "{run:?}");
    out.lines().next().unwrap().to_owned()
}

#[test]
fn layers_are_reported_and_an_elbo_that_bounds_nothing_says_so() {
    let dir = Dir::new().with("a.csv", numbers(40));
    let train = |flags: &str| short(&format!("train a.csv --target y --ignore id,flat --out n.bdl {flags}"));
    dir.bdl(&short("train a.csv --target y --ignore id,flat --out m.bdl --method deterministic")).ok();
    for (flags, is_bound, words) in [
        ("--method mean-field", true, "(-rows·NLL - KL)"),
        ("--method deterministic", false, "up to a constant, so no bound"),
        (
            "--method mean-field --init-from m.bdl --moped 0.1",
            false,
            "no bound, since the prior is centred on",
        ),
        ("--method sparse-vd", false, "no bound, since the log-uniform prior is improper"),
        (
            "--method mean-field --prior log-uniform",
            false,
            "no bound, since the log-uniform prior is improper",
        ),
    ] {
        let text = dir.bdl(&train(flags)).ok();
        assert!(text.contains(words), "{words:?} is not in {text}");
        let trained = dir.bdl(&format!("{} --format json", train(flags))).json();
        assert_eq!(trained["elbo_is_bound"], is_bound, "{flags}");
        let layer = &trained["layers"][0];
        let of_posteriors = !flags.contains("deterministic");
        assert!(layer["kl_per_weight"].as_f64().is_some_and(|kl| kl > 0.0), "{trained}");
        for key in ["snr", "log_alpha"] {
            let quantiles = &layer[key];
            assert_eq!(quantiles.is_object(), of_posteriors, "{flags}");
            if of_posteriors {
                assert_eq!(keys(quantiles), ["q05", "q25", "q50", "q75", "q95"]);
                assert!(quantiles["q05"].as_f64() <= quantiles["q95"].as_f64());
            }
        }
        for told in [&text, &dir.bdl("inspect n.bdl").ok()] {
            for column in ["per weight", "SNR 5, 50, 95 %", "ln alpha 5, 50, 95 %"] {
                assert_eq!(
                    told.contains(column),
                    of_posteriors || column == "per weight",
                    "{column}: {told}"
                );
            }
        }
    }
}

#[test]
fn a_layer_that_has_learned_nothing_is_warned_of_by_name() {
    let dir = Dir::new().with("a.csv", numbers(40));
    let flags = "--method mean-field --kl-weight 1e6 --kl-warmup 0 --epochs 200 --lr 0.1 --hidden 4 --quiet";
    let run = dir.bdl(&format!("train a.csv --target y --ignore id,flat --out m.bdl {flags}"));
    let inspected = dir.bdl("inspect m.bdl");
    for run in [run, inspected] {
        let warned = run.err.lines().filter(|line| line.starts_with("warning: 0.variational-dense: "));
        assert_eq!((run.code, warned.count()), (0, 1), "{run:?}");
        assert!(run.err.contains("of the weights are still at their prior"), "{run:?}");
    }
}

#[test]
fn every_method_regresses() {
    for method in METHODS {
        let dir = Dir::new().with("a.csv", numbers(40));
        let header = all_commands(
            &dir,
            "a.csv",
            &format!("--target y --ignore id {method}"),
            "regression",
            &REGRESSION,
        );
        assert_eq!(header, "mean,std,aleatoric_std,epistemic_std,lower,upper,mean_mcse");
    }
    for likelihood in ["--likelihood gaussian", "--noise 0.5", "--likelihood heteroscedastic"] {
        let dir = Dir::new().with("a.csv", numbers(40));
        let train = format!("--target y --method mc-dropout --ignore id {likelihood}");
        all_commands(&dir, "a.csv", &train, "regression", &REGRESSION);
    }
}

#[test]
fn every_method_classifies_two_and_three_classes() {
    for method in METHODS {
        for (n, probs) in [(2, "prob_no,prob_yes"), (3, "prob_maybe,prob_no,prob_yes")] {
            let dir = Dir::new().with("a.csv", classes(42, n));
            let train = format!("--target kind {method}");
            let header = all_commands(&dir, "a.csv", &train, "classification", &CLASSIFICATION);
            let entropies = "predictive_entropy,expected_entropy,mutual_information,mutual_information_mcse";
            assert_eq!(header, format!("label,{probs},{entropies}"));
        }
    }
}

#[test]
fn every_other_likelihood_has_the_columns_and_scores_of_its_task() {
    let real = "mean,std,aleatoric_std,epistemic_std,lower,upper,mean_mcse";
    let method = "--method mc-dropout";
    for likelihood in ["student-t", "student-t --dof 4"] {
        let dir = Dir::new().with("a.csv", numbers(40));
        let train = format!("--target y --ignore id {method} --likelihood {likelihood}");
        assert_eq!(all_commands(&dir, "a.csv", &train, "regression", &REGRESSION), real);
        assert_eq!(dir.bdl("inspect m.bdl --format json").json()["likelihood"], "student-t");
    }

    let dir = Dir::new().with("a.csv", counts(40));
    let train = format!("--target n {method} --likelihood poisson");
    assert_eq!(all_commands(&dir, "a.csv", &train, "regression", &REGRESSION), real);
    let inspected = dir.bdl("inspect m.bdl --format json").json();
    assert_eq!(inspected["likelihood"], "poisson");
    assert_eq!(keys(&inspected["target"]), ["name", "counts", "mean"]);
    assert!(dir.bdl("inspect m.bdl").ok().contains("\"n\", counts, mean "));
    let scores = dir.bdl("evaluate m.bdl a.csv").ok();
    assert!(scores.contains("true counts inside the 90 % intervals; honest is 0.90 or more"), "{scores}");
    let told = dir.bdl("predict m.bdl a.csv --draws=2").ok();
    for line in told.lines().skip(1) {
        let cells: Vec<f64> = line.split(',').map(|cell| cell.parse().unwrap()).collect();
        assert!([4, 5, 7, 8].iter().all(|&c| cells[c] >= 0.0 && cells[c].fract() == 0.0), "{line}");
    }
    dir.write("b.csv", "x,n\n1,2\n2,2.5\n");
    dir.bdl("evaluate m.bdl b.csv")
        .fails(1, &["row 2 (line 3), column \"n\"", "expected a count", "\"2.5\""]);

    let dir = Dir::new().with("a.csv", classes(40, 2));
    let train = format!("--target kind {method} --likelihood bernoulli");
    let header = all_commands(&dir, "a.csv", &train, "classification", &CLASSIFICATION);
    assert!(header.starts_with("label,prob_no,prob_yes,predictive_entropy"), "{header}");
    let inspected = dir.bdl("inspect m.bdl --format json").json();
    assert_eq!(
        (&inspected["likelihood"], &inspected["target"]["classes"][1]),
        (&"bernoulli".into(), &"yes".into())
    );
}

#[test]
fn several_targets_have_columns_and_scores_of_their_own() {
    let text = numbers(40).lines().enumerate().fold(String::new(), |text, (i, line)| match i {
        0 => format!("{line},z\n"),
        i => format!("{text}{line},{}\n", i * i % 17),
    });
    let of_each =
        |names: &[&str]| ["y", "z"].map(|t| names.iter().map(|n| format!("{n}_{t}")).collect::<Vec<_>>());
    let metrics: Vec<String> = [vec!["nll".to_owned()], of_each(&REGRESSION).concat()].concat();
    let metrics: Vec<&str> = metrics.iter().map(String::as_str).collect();
    let columns = of_each(&["mean", "std", "aleatoric_std", "epistemic_std", "lower", "upper", "mean_mcse"])
        .concat()
        .join(",");
    for (method, likelihood) in
        [("mc-dropout", "gaussian"), ("mean-field", "heteroscedastic"), ("ensemble", "student-t")]
    {
        let dir = Dir::new().with("a.csv", &text);
        let train = format!("--target y,z --ignore id --method {method} --likelihood {likelihood}");
        assert_eq!(all_commands(&dir, "a.csv", &train, "regression", &metrics), columns);
        let inspected = dir.bdl("inspect m.bdl --format json").json();
        assert_eq!(
            (&inspected["likelihood"], &inspected["target"][1]["name"]),
            (&likelihood.into(), &"z".into())
        );
        assert!(dir.bdl("inspect m.bdl").ok().contains("\"y\", mean "));
    }
    let dir = Dir::new().with("a.csv", &text);
    let out = dir.bdl(&short("train a.csv --target y,z --ignore id --out m.bdl")).ok();
    for words in ["\"y\", \"z\"", "several targets are numbers"] {
        assert!(out.contains(words), "{out}");
    }
    let line = dir.bdl("predict m.bdl a.csv --draws=1 --format json --keep id").ok();
    let row: Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    assert!(row["mean_z"].is_number() && row["draw_1_y"].is_number() && row["id"] == "r0", "{row}");
    dir.write("b.csv", "id,x,colour,flat,y\nr,1,red,7,2\n");
    assert_eq!(dir.bdl("predict m.bdl b.csv").ok().lines().count(), 2, "targets are not needed");
    let run = dir.bdl("evaluate m.bdl b.csv");
    assert!(run.code == 1 && run.err.contains("b.csv: expected the target \"z\""), "{run:?}");
    for flags in ["--noise 1", "--likelihood categorical", "--likelihood bernoulli", "--task classification"]
    {
        let run = dir.bdl(&short(&format!("train a.csv --target y,z --ignore id --out m.bdl {flags}")));
        assert_eq!(run.code, 2, "{run:?}");
        assert!(run.err.contains(if flags == "--noise 1" { "--noise" } else { "--" }), "{run:?}");
    }
}

#[test]
fn the_likelihood_says_what_the_target_is() {
    let dir = Dir::new().with("a.csv", counts(40));
    let out = dir.bdl(&short("train a.csv --target n --out m.bdl --likelihood poisson")).ok();
    assert!(out.contains("regression: --likelihood poisson is of counts"), "{out}");
    let asked = "train a.csv --target n --out m.bdl --likelihood poisson --task regression";
    assert!(dir.bdl(&short(asked)).ok().contains("asked for with --task"));
    assert!(dir.bdl("inspect m.bdl").ok().contains("counts"));
    let dir = Dir::new().with("a.csv", "x,y\n1,0\n2,0.5\n3,0\n4,0.5\n");
    let out = dir.bdl(&short("train a.csv --target y --out m.bdl --likelihood bernoulli")).ok();
    assert!(out.contains("classification: --likelihood bernoulli is of two classes"), "{out}");
    let dir = Dir::new().with("a.csv", numbers(40));
    let out =
        dir.bdl(&short("train a.csv --target y --ignore id --out m.bdl --likelihood student-t --dof 3")).ok();
    assert!(out.contains("student-t with 3 degrees of freedom"), "{out}");
}

#[test]
fn training_says_what_it_understood() {
    let dir = Dir::new().with("a.csv", numbers(40).replacen("r3,1,", "r3,NA,", 1));
    let out = dir.bdl(&short("train a.csv --target y --ignore id --missing drop --out m.bdl")).ok();
    for words in
        ["40 rows", "regression: the target is a number", "\"flat\": of no use", "mc-dropout", "seed", "0"]
    {
        assert!(out.contains(words), "{words:?} is not in {out}");
    }
    let dir = Dir::new().with("a.csv", "x,grade\n1,3\n2,4\n3,3\n4,4\n");
    let out = dir.bdl(&short("train a.csv --target grade --out m.bdl")).ok();
    assert!(out.contains("2 different integers") && out.contains("--task regression"), "{out}");
    let out = dir.bdl(&short("train a.csv --target grade --task regression --out m.bdl")).ok();
    assert!(out.contains("asked for with --task"), "{out}");
    let quiet = dir.bdl(&short("train a.csv --target grade --out m.bdl --quiet"));
    assert_eq!((quiet.code, quiet.out.as_str(), quiet.err.as_str()), (0, "", ""));
}

#[test]
fn the_weight_of_the_kl_follows_its_schedule() {
    let train = |flags: &str| {
        let dir = Dir::new().with("a.csv", numbers(40));
        let line = format!("train a.csv --target y --ignore id --method mean-field --out m.bdl {flags}");
        let out = dir.bdl(&short(&line)).ok();
        (out, dir.bytes("m.bdl"))
    };
    let (warmed, plain) = (train(""), train("--kl-warmup 0"));
    assert!(warmed.0.contains("KL raised to 1 over 1 epoch\n") && warmed.1 != plain.1, "{}", warmed.0);
    assert_eq!(plain.1, train("--kl-warmup 0 --kl-schedule constant").1);
    for (spec, words) in [
        ("cyclical:3", "KL in 3 cycles that rise over 0.5 of each"),
        ("cyclical:1:0.9", "KL in 1 cycle that rises over 0.9 of it"),
        ("blundell", "KL halved from batch to batch"),
    ] {
        let (out, bytes) = train(&format!("--kl-schedule {spec}"));
        assert!(out.contains(words) && !out.contains("KL raised"), "{out}");
        assert_ne!(bytes, plain.1, "{spec}");
        assert_eq!(
            bytes,
            train(&format!("--kl-warmup 0 --kl-schedule {spec}")).1,
            "no warm-up unless asked for"
        );
    }
}

#[test]
fn missing_cells_are_dropped_or_imputed_if_asked_for() {
    let data = "x,c,y\n1,a,1.5\n,b,2.5\n3,NA,3.5\n4,a,4.5\n5,b,5.5\n";
    let dir = Dir::new().with("a.csv", data);
    let dropped = dir.bdl(&short("train a.csv --target y --missing drop --out d.bdl --format json")).json();
    let imputed = dir.bdl(&short("train a.csv --target y --missing impute --out i.bdl --format json")).json();
    assert_eq!((&dropped["rows"], &imputed["rows"]), (&3.into(), &5.into()));
    assert_eq!(dir.bdl("predict i.bdl a.csv").ok().lines().count(), 6);
    dir.bdl("predict d.bdl a.csv --out p.csv").fails(1, &["row 2", "--missing impute"]);
}

#[test]
fn early_stopping_keeps_the_best_epoch() {
    let dir = Dir::new().with("a.csv", numbers(60));
    let flags =
        "--target y --ignore id --valid 0.3 --patience 2 --epochs 500 --lr 0.1 --hidden 32 --format json";
    let trained = dir.bdl(&format!("train a.csv --out m.bdl {flags}")).json();
    let kept = dir.bdl("inspect m.bdl --format json").json()["training"].clone();
    assert!(trained["epochs"].as_u64() < Some(500), "{trained}");
    assert_eq!(kept["epochs"].as_u64(), kept["kept_epoch"].as_u64().map(|kept| kept + 2), "{kept}");
}

#[test]
fn rows_are_held_out_by_a_column() {
    let dir = Dir::new().with("a.csv", numbers(60));
    let line = "train a.csv --target y --ignore id --valid-by colour --valid 0.3 --out m.bdl --format json";
    let trained = dir.bdl(&short(line)).json();
    assert_eq!(trained["rows"], 40, "one of three colours is held out");
}

#[test]
fn a_configuration_gives_flags_and_the_command_line_wins() {
    let config = "target = \"y\"\nepochs = 2\nhidden = [4, 3]\nignore = [\"id\", \"flat\"]\nlr = 0.01\n\
                  method = \"deterministic\"\nquiet = false\nseed = 4\n";
    let dir = Dir::new().with("a.csv", numbers(40)).with("c.toml", config);
    let by_config = dir.bdl("train a.csv --config c.toml --seed 5 --out c.bdl --format json").json();
    let by_flags = dir
        .bdl(
            "train a.csv --target y --epochs 2 --hidden 4,3 --ignore id,flat --lr 0.01 --method deterministic \
             --seed 5 --out f.bdl --format json",
        )
        .json();
    assert_eq!(by_config["epochs"], 2);
    assert_eq!(by_config["parameters"], by_flags["parameters"]);
    assert_eq!(dir.bytes("c.bdl"), dir.bytes("f.bdl"));
}

#[test]
fn data_may_come_in_many_forms() {
    let data = numbers(40);
    let dir = Dir::new().with("a.csv", &data);
    dir.bdl(&short("train a.csv --target y --ignore id --out m.bdl")).ok();
    let expected = dir.bdl("predict m.bdl a.csv").ok();
    let quoted: String = data.lines().map(|l| format!("\"{}\"\r\n", l.replace(',', "\",\""))).collect();
    for (form, text) in [
        ("byte order mark and CRLF", format!("\u{feff}{}", data.replace('\n', "\r\n"))),
        ("semicolons", data.replace(',', ";")),
        ("tabs", data.replace(',', "\t")),
        ("quotes", quoted),
        ("no last line end", data.trim_end().to_owned()),
    ] {
        dir.write("b.csv", text);
        assert_eq!(dir.bdl("predict m.bdl b.csv").ok(), expected, "{form}");
        dir.bdl(&short("train b.csv --target y --ignore id --out n.bdl")).ok();
        assert_eq!(dir.bytes("n.bdl"), dir.bytes("m.bdl"), "{form}");
    }
    dir.write("b.csv", data.replace(',', "^"));
    assert_eq!(dir.bdl("predict m.bdl b.csv --delimiter ^").ok(), expected);
    assert_eq!(dir.run(&["predict", "m.bdl", "-"], data.as_bytes()).ok(), expected);
    let line = short("train - --target y --ignore id --out n.bdl");
    dir.run(&line.split_whitespace().collect::<Vec<_>>(), data.as_bytes()).ok();
    assert_eq!(dir.bytes("n.bdl"), dir.bytes("m.bdl"));
    // Columns in another order, without the target, with one that the model does not know.
    let reordered: String = data
        .lines()
        .enumerate()
        .map(|(i, line)| {
            let cell: Vec<&str> = line.split(',').collect();
            format!("{},{},{},{}\n", cell[3], cell[2], cell[1], if i == 0 { "new" } else { "?" })
        })
        .collect();
    dir.write("b.csv", reordered);
    let run = dir.bdl("predict m.bdl b.csv");
    assert!(run.err.contains("ignored: \"new\""), "{run:?}");
    assert_eq!(run.ok(), expected);
}

#[test]
fn kept_columns_and_draws_stand_beside_the_predictions() {
    let dir = Dir::new().with("a.csv", numbers(30));
    dir.bdl(&short("train a.csv --target y --ignore id --out m.bdl")).ok();
    let out = dir.bdl("predict m.bdl a.csv --keep y,id --draws=3 --samples 4").ok();
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("y,id,mean,std,") && lines[0].ends_with(",mean_mcse,draw_1,draw_2,draw_3"));
    assert!(lines[2].contains(",r1,"), "{}", lines[2]);
    let header = dir.bdl("predict m.bdl a.csv --draws").ok().lines().next().unwrap().to_owned();
    assert!(header.ends_with(",draw_100"));
    let narrow = dir.bdl("predict m.bdl a.csv --interval 0.5 --format json").ok();
    let wide = dir.bdl("predict m.bdl a.csv --interval 0.99 --format json --keep id").ok();
    for (narrow, wide) in narrow.lines().zip(wide.lines()) {
        let [narrow, wide]: [Value; 2] = [narrow, wide].map(|line| serde_json::from_str(line).unwrap());
        assert!(narrow["upper"].as_f64() < wide["upper"].as_f64());
        assert!(wide["id"].is_string() && narrow["mean"] == wide["mean"]);
    }
}

#[test]
fn bad_rows_are_skipped_if_asked_for() {
    let dir = Dir::new().with("a.csv", numbers(30));
    dir.bdl(&short("train a.csv --target y --ignore id --out m.bdl")).ok();
    let good = dir.bdl("predict m.bdl a.csv").ok();
    let lines: Vec<String> = numbers(30).lines().map(str::to_owned).collect();
    let mut bad = lines.clone();
    bad.insert(3, "r,oops,red,7,1".to_owned());
    bad.insert(9, "r,1,red".to_owned());
    dir.write("b.csv", bad.join("\n"));
    let run = dir.bdl("predict m.bdl b.csv --on-bad-row skip");
    assert!(run.err.contains("row 3 (line 4)") && run.err.contains("row 9 (line 10)"), "{run:?}");
    assert_eq!(run.ok(), good);
    let told = dir.bdl("predict m.bdl b.csv --on-bad-row skip --out p.csv --format json").json();
    assert_eq!((&told["rows"], &told["skipped"], &told["out"]), (&30.into(), &2.into(), &"p.csv".into()));
    dir.write("b.csv", "x,colour,flat\na,red,7\nb,red,7\n");
    let run = dir.bdl("predict m.bdl b.csv --on-bad-row skip --out q.csv");
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.err.contains("got none among 2") && !dir.files().contains(&"q.csv".to_owned()));
}

#[test]
fn passes_are_doubled_until_the_tolerance_is_met() {
    let dir = Dir::new().with("a.csv", numbers(30));
    dir.bdl(&short("train a.csv --target y --ignore id --drop-prob 0.3 --out m.bdl")).ok();
    for tolerance in [0.5, 0.1] {
        let out = dir.bdl(&format!("predict m.bdl a.csv --tolerance {tolerance} --format json")).ok();
        for line in out.lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            assert!(row["mean_mcse"].as_f64().unwrap() <= tolerance, "{row}");
        }
    }
    let run = dir.bdl("predict m.bdl a.csv --tolerance 1e-9 --out p.csv");
    assert!(run.code == 0 && run.err.contains("30 rows did not reach --tolerance"), "{run:?}");
}

#[test]
fn help_and_completions_are_printed() {
    let dir = Dir::new();
    assert!(dir.bdl("--version").ok().starts_with("bdl 0."));
    for command in ["train", "predict", "evaluate"] {
        let help = dir.bdl(&format!("{command} --help")).ok();
        assert!(help.contains("Usage: bdl") && help.contains("--format"), "{help}");
    }
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(dir.bdl(&format!("completions {shell}")).ok().contains("evaluate"), "{shell}");
    }
}

/// Whoever reads the output may stop reading: `bdl predict … | head -1`.
#[cfg(unix)]
#[test]
fn a_closed_pipe_is_no_error() {
    let dir = Dir::new().with("a.csv", numbers(3000));
    dir.bdl(&short("train a.csv --target y --ignore id --out m.bdl")).ok();
    for line in
        ["predict m.bdl a.csv --draws=50 --samples 2", "predict m.bdl a.csv --samples 2 --format json"]
    {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_bdl"))
            .args(line.split(' '))
            .current_dir(dir.path())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let done = child.wait_with_output().unwrap();
        assert_eq!((done.status.code(), String::from_utf8(done.stderr).unwrap().as_str()), (Some(0), ""));
    }
}

#[test]
fn the_demo_can_be_run_again_and_writes_over_nothing_else() {
    let dir = Dir::new();
    let shown = dir.bdl("demo").ok();
    for words in ["held out", "RMSE", "always the mean", "least sure of", "bdl predict bdl-demo/model.bdl"] {
        assert!(shown.contains(words), "{words:?} is not in {shown}");
    }
    let again = dir.bdl("demo --format json").json();
    let rmse = |of: &Value| of["rmse"].as_f64().unwrap();
    assert!(
        again["evaluation"]["metrics"]["rmse"]["value"].as_f64().unwrap()
            < 0.9 * rmse(&again["predicting_the_mean"])
    );
    // The commands that it prints do the same.
    let (model, predictions) = (dir.bytes("bdl-demo/model.bdl"), dir.bytes("bdl-demo/predictions.csv"));
    for line in shown.lines().filter_map(|line| line.strip_prefix("  bdl ")) {
        dir.bdl(line).ok();
    }
    assert_eq!(
        (dir.bytes("bdl-demo/model.bdl"), dir.bytes("bdl-demo/predictions.csv")),
        (model, predictions)
    );

    dir.write("bdl-demo/thesis.txt", "mine");
    dir.bdl("demo").fails(1, &["bdl-demo", "thesis.txt"]);
    let other = Dir::new().with("train.csv", "mine");
    other.bdl("demo .").fails(1, &["train.csv"]);
    assert_eq!(other.files(), ["train.csv"]);
    other.bdl("demo train.csv").fails(1, &["train.csv"]);
}

/// Where outputs overflow there is no prediction: the row is named, and can be left out.
#[test]
fn a_prediction_that_is_no_number_is_a_bad_row() {
    let dir = Dir::new().with("a.csv", counts(40)).with("far.csv", "x,n\n1,2\n1e6,5\n2,3\n");
    dir.bdl(&short("train a.csv --target n --out m.bdl --likelihood poisson")).ok();
    let named = ["far.csv: row 2 (line 3)", "the prediction must be finite"];
    dir.bdl("predict m.bdl far.csv --out p.csv").fails(1, &named);
    dir.bdl("evaluate m.bdl far.csv").fails(1, &named);
    let skipped = dir.bdl("predict m.bdl far.csv --on-bad-row skip");
    assert_eq!((skipped.code, skipped.out.lines().count()), (0, 3), "{skipped:?}");
    assert!(skipped.err.contains(named[0]), "{skipped:?}");
    assert_eq!(dir.files(), ["a.csv", "far.csv", "m.bdl"]);
}

#[test]
fn a_kl_that_never_has_its_whole_weight_is_warned_of() {
    let dir = Dir::new().with("a.csv", numbers(30));
    let train = |warmup: &str| {
        let flags = "--target y --ignore id --method mean-field --out m.bdl";
        dir.bdl(&short(&format!("train a.csv {flags} --kl-warmup {warmup}"))).err
    };
    assert!(train("3:5").contains("never has its whole weight") && !train("3").contains("whole weight"));
}
