//! Bad input: a clear error, the right exit code, and nothing overwritten or left behind.

use crate::common::{Dir, classes, numbers, short};

/// Trains on `data` with `flags`, which must fail and leave an older model alone.
fn train_fails(data: &str, flags: &str, code: i32, words: &[&str]) {
    let dir = Dir::new().with("a.csv", data).with("m.bdl", "an older model");
    let run = dir.bdl(&short(&format!("train a.csv --out m.bdl {flags}")));
    // What was understood may be told before training itself fails.
    assert_eq!(run.code, code, "{run:?}");
    assert!(run.err.starts_with("error: ") && !run.err.contains("panicked"), "{run:?}");
    for word in words {
        assert!(run.err.contains(word), "{word:?} is not in {run:?}");
    }
    assert_eq!(dir.bytes("m.bdl"), b"an older model");
    assert_eq!(dir.files(), ["a.csv", "m.bdl"]);
}

fn model() -> Dir {
    let dir = Dir::new().with("a.csv", numbers(40));
    dir.bdl(&short("train a.csv --target y --ignore id --out m.bdl")).ok();
    dir
}

#[test]
fn files_that_are_not_there_or_empty_are_named() {
    let dir = Dir::new().with("empty.csv", "").with("header.csv", "x,y\n");
    dir.bdl("train none.csv --target y --out m.bdl").fails(1, &["none.csv", "No such file"]);
    dir.bdl("train . --target y --out m.bdl").fails(1, &["expected a file, got a directory"]);
    dir.bdl("train empty.csv --target y --out m.bdl").fails(1, &["empty.csv", "got an empty file"]);
    dir.bdl("train header.csv --target y --out m.bdl")
        .fails(1, &["header.csv", "expected rows below the header"]);
    dir.bdl("predict none.bdl header.csv").fails(1, &["none.bdl", "No such file"]);
    dir.bdl("inspect none.bdl").fails(1, &["none.bdl"]);
    dir.bdl("train header.csv --target y --out m.bdl --config none.toml")
        .fails(1, &["--config", "none.toml"]);
    assert_eq!(dir.files(), ["empty.csv", "header.csv"]);
}

#[test]
fn rows_and_cells_are_named() {
    let train = |data: &str, words: &[&str]| train_fails(data, "--target y", 1, words);
    train("x,y\n1,2.5\n3\n", &["row 2 (line 3)", "expected 2 fields", "got 1", "after column \"x\""]);
    train("x,y\n1,2.5\n3,4,5\n", &["row 2 (line 3)", "got 3"]);
    train("x,y\n1,2.5\ninf,3.5\n", &["row 2", "column \"x\"", "\"inf\""]);
    train("x,y\n1,2.5\n2,1e999\n", &["row 2", "column \"y\"", "\"1e999\""]);
    train("x,y\n1,2.5\nNaN,3.5\n", &["row 2", "column \"x\"", "missing cells: 1 in \"x\"", "--missing drop"]);
    train("x,y\n1,2.5\n2,\n", &["row 2", "column \"y\"", "expected a value"]);
    train("x,y\n1,\n2,\n", &["row 1", "column \"y\"", "expected a value of the target"]);
    train(&",".repeat(100_000), &["expected a name for each of 100001 columns", "30 and 99971 more"]);
    train("x,y\n\"1,2.5\n2,3\n", &["row 1", "closing quote"]);
    train("x,x,y\n1,1,2.5\n", &["distinct column names", "\"x\""]);
    train("x,,y\n1,1,2.5\n", &["expected a name", "column 2"]);
    train("x,y\n1,5.5\n2,5.5\n", &["\"y\"", "at least two different values", "5.5"]);
    train("x,y\n1,a\n2,a\n", &["\"y\"", "at least two classes", "\"a\""]);
    train("y\n1.5\n2.5\n", &["at least one column besides the target"]);
    let mut mixed = numbers(30);
    mixed += "r,oops,red,7,1.5\n";
    train(&mixed, &["row 31", "column \"x\"", "\"oops\"", "--categorical"]);
}

#[test]
fn targets_that_a_likelihood_does_not_take_are_named() {
    let poisson = |cell: &str| {
        let words =
            ["row 2 (line 3), column \"y\"", "expected a count, a whole number from 0", &format!("{cell:?}")];
        train_fails(&format!("x,y\n1,3\n2,{cell}\n"), "--target y --likelihood poisson", 1, &words);
    };
    ["-1", "2.5", "1e9"].into_iter().for_each(poisson);
    let text = ["row 2", "column \"y\"", "\"many\""];
    train_fails("x,y\n1,3\n2,many\n", "--target y --likelihood poisson", 1, &text);
    let third = ["row 3 (line 4), column \"y\"", "expected \"0\" or \"1\"", "got \"2\""];
    train_fails("x,y\n1,0\n2,1\n3,2\n", "--target y --likelihood bernoulli", 1, &third);
    let third = ["row 3 (line 4), column \"y\"", "expected \"no\" or \"yes\"", "got \"maybe\""];
    train_fails(&classes(9, 3).replace("kind", "y"), "--target y --likelihood bernoulli", 1, &third);
}

#[test]
fn columns_that_flags_name_must_be_there() {
    train_fails(&numbers(20), "--target Y", 1, &["--target", "did you mean \"y\"?"]);
    train_fails(&numbers(20), "--target y --ignore nope", 1, &["--ignore", "\"nope\""]);
    train_fails(&numbers(20), "--target y --categorical nope", 1, &["--categorical", "\"nope\""]);
    train_fails(&numbers(20), "--target y --valid-by nope", 1, &["--valid-by", "\"nope\""]);
    train_fails(&numbers(20), "--target y --ignore y", 1, &["--ignore", "the target \"y\""]);
}

#[test]
fn numbers_out_of_range_are_wrong_calls() {
    for (flags, words) in [
        ("--drop-prob 1", ["--drop-prob", "up to but not including 1"]),
        ("--drop-prob -0.1", ["--drop-prob", "-0.1"]),
        ("--epochs 0", ["--epochs", "from 1"]),
        ("--batch 0", ["--batch", "from 1"]),
        ("--lr -1", ["--lr", "above 0"]),
        ("--lr nan", ["--lr", "above 0"]),
        ("--lr inf", ["--lr", "above 0"]),
        ("--hidden 0", ["--hidden", "from 1"]),
        ("--hidden 8,,8", ["--hidden", "whole number"]),
        ("--valid 1", ["--valid", "between 0 and 1"]),
        ("--valid 0", ["--valid", "between 0 and 1"]),
        ("--noise 0", ["--noise", "above 0"]),
        ("--likelihood student-t --dof 2", ["--dof", "above 2"]),
        ("--likelihood student-t --dof inf", ["--dof", "above 2"]),
        ("--members 1", ["--members", "from 2"]),
        ("--threads 0", ["--threads", "from 1"]),
        ("--threads 1000000", ["--threads", "to 1024"]),
        ("--hidden 65536,65536", ["--hidden", "at most 100000000 weights"]),
        ("--noise 1e300", ["--noise", "within a factor of 1e12"]),
        ("--noise 1e-300", ["--noise", "within a factor of 1e12"]),
        ("--patience 0", ["--patience", "from 1"]),
        ("--prior normal", ["--prior", "normal:SD"]),
        ("--schedule step:1", ["--schedule", "step:EVERY:FACTOR"]),
        ("--method bayes", ["--method", "mc-dropout"]),
        ("--method variational-dropout --alpha-per row", ["--alpha-per", "layer, unit, weight"]),
        ("--method variational-dropout --weight-noise both", ["--weight-noise", "independent, correlated"]),
        ("--kl-weight -1", ["--kl-weight", "0 or above"]),
        ("--kl-schedule cyclical:0", ["--kl-schedule", "from 1"]),
        ("--kl-schedule cyclical:2:1", ["--kl-schedule", "between 0 and 1"]),
        ("--kl-schedule linear", ["--kl-schedule", "cyclical:CYCLES:RISE"]),
        ("--seed x", ["--seed", "invalid digit"]),
        ("--delimiter ab", ["--delimiter", "one ASCII character"]),
        ("--no-such-flag", ["--no-such-flag", "unexpected"]),
    ] {
        let dir = Dir::new().with("a.csv", numbers(20)).with("m.bdl", "an older model");
        let run = dir.bdl(&format!("train a.csv --target y --out m.bdl {flags}"));
        run.fails(2, &words);
        assert_eq!(dir.bytes("m.bdl"), b"an older model");
    }
    let dir = Dir::new();
    for flags in
        ["--samples 0", "--tolerance 0", "--interval 1.5", "--interval 0", "--draws=0", "--scope all"]
    {
        dir.bdl(&format!("predict m.bdl a.csv {flags}")).fails(2, &[flags.split([' ', '=']).next().unwrap()]);
    }
    dir.bdl("predict m.bdl a.csv --samples 3 --tolerance 0.1").fails(2, &["--samples", "--tolerance"]);
    dir.bdl("predict m.bdl a.csv --samples 1000000000").fails(2, &["--samples", "to 1000000"]);
    dir.bdl("evaluate m.bdl a.csv --samples 0").fails(2, &["--samples"]);
    dir.bdl("evaluate m.bdl a.csv --samples 1000000000").fails(2, &["--samples", "to 1000000"]);
    assert_eq!(dir.bdl("").code, 2);
    assert_eq!(dir.bdl("trian").code, 2);
}

#[test]
fn flags_that_contradict_each_other_are_wrong_calls() {
    for (flags, words) in [
        ("--method mean-field --drop-prob 0.1", ["--drop-prob", "mc-dropout"]),
        ("--method mean-field --length-scale 2", ["--length-scale", "mean-field"]),
        ("--method mc-dropout --prior normal:1", ["--prior", "mean-field"]),
        ("--method deterministic --estimator local", ["--estimator", "mean-field"]),
        ("--method concrete-dropout --drop-prob 0.1", ["--drop-prob", "mc-dropout and gaussian-dropout"]),
        ("--method variational-dropout --drop-prob 0.1", ["--drop-prob", "variational-dropout"]),
        ("--method variational-dropout --length-scale 1", ["--length-scale", "variational-dropout"]),
        ("--method variational-dropout --prior normal:1", ["--prior", "mean-field"]),
        ("--method mean-field --alpha-per unit", ["--alpha-per", "variational-dropout"]),
        ("--method sparse-vd --weight-noise independent", ["--weight-noise", "variational-dropout"]),
        (
            "--method gaussian-dropout --estimator local",
            ["--estimator", "mean-field, variational-dropout and sparse-vd"],
        ),
        (
            "--method variational-dropout --weight-noise correlated --alpha-per weight",
            ["--alpha-per weight", "--weight-noise independent"],
        ),
        (
            "--method variational-dropout --weight-noise correlated --estimator flipout",
            ["--estimator", "--weight-noise independent"],
        ),
        ("--method ensemble --of deterministic --drop-prob 0.1", ["--drop-prob", "deterministic"]),
        ("--members 3", ["--members", "ensemble"]),
        ("--of mean-field", ["--of", "ensemble"]),
        ("--momentum 0.9", ["--momentum", "sgd"]),
        ("--optimizer sgd --weight-decay 0.1", ["--weight-decay", "adamw"]),
        ("--patience 3", ["--patience", "--valid"]),
        ("--noise 1 --likelihood heteroscedastic", ["--noise", "heteroscedastic"]),
        ("--noise 1 --likelihood categorical", ["--noise", "categorical"]),
        ("--noise 1 --likelihood student-t", ["--noise", "student-t"]),
        ("--noise 1 --likelihood poisson", ["--noise", "poisson has no noise"]),
        ("--noise 1 --likelihood bernoulli", ["--noise", "bernoulli has no noise"]),
        ("--dof 3", ["--dof", "only --likelihood student-t"]),
        ("--dof 3 --likelihood gaussian", ["--dof", "only --likelihood student-t"]),
        ("--task classification --likelihood poisson", ["--likelihood poisson", "classification"]),
        ("--task classification --likelihood student-t", ["--likelihood student-t", "classification"]),
        ("--task regression --likelihood bernoulli", ["--likelihood bernoulli", "regression"]),
        ("--task regression --likelihood categorical", ["--likelihood categorical", "regression"]),
        ("--task classification --likelihood gaussian", ["--likelihood gaussian", "classification"]),
        ("--task classification --noise 1", ["--noise", "classification"]),
        ("--likelihood categorical", ["--likelihood categorical", "the target is a number"]),
    ] {
        train_fails(&numbers(20), &format!("--target y {flags}"), 2, &words);
    }
    train_fails(&classes(20, 2), "--target kind --noise 1", 2, &["--noise", "the target is text"]);
}

#[test]
fn flags_that_nothing_in_the_network_has_are_wrong_calls() {
    for (flags, words) in [
        ("--bayesian last --input-drop-prob 0.1", ["--input-drop-prob", "first layer"]),
        ("--hidden none --drop-prob 0.1 --input-drop-prob 0.2", ["--drop-prob", "--input-drop-prob"]),
        ("--bayesian 1 --drop-prob 0.1 --input-drop-prob 0.2", ["--drop-prob", "there are none"]),
        ("--method mean-field --bayesian 1,2 --length-scale 2", ["--length-scale", "not Bayesian"]),
        (
            "--method sparse-vd --hidden none --bayesian last --length-scale 2",
            ["--length-scale", "all of them"],
        ),
        ("--hidden none --activation tanh", ["--activation", "hidden layers"]),
        ("--net 3-bn-1 --activation relu", ["--activation", "there are none"]),
        ("--method mean-field --optimizer adamw --weight-decay 0.1", ["--weight-decay", "mean-field"]),
        ("--kl-weight 0 --kl-warmup 3", ["--kl-warmup", "--kl-weight 0"]),
        ("--kl-weight 0 --kl-schedule cyclical:2", ["--kl-schedule", "--kl-weight 0"]),
        ("--ignore id,x --categorical x", ["--categorical", "\"x\" is left out by --ignore"]),
        ("--task regression --categorical y", ["--categorical", "--task regression takes for a number"]),
        ("--likelihood poisson --categorical y", ["--categorical", "--likelihood poisson takes"]),
        ("--prior-predictive --quiet", ["--quiet", "--format json"]),
    ] {
        let dir = Dir::new().with("a.csv", numbers(20));
        dir.bdl(&format!("train a.csv --target y --out m.bdl {flags}")).fails(2, &words);
        assert_eq!(dir.files(), ["a.csv"]);
    }
}

/// The neighbours of what is refused above.
#[test]
fn flags_that_something_in_the_network_has_are_taken() {
    let dir = Dir::new().with("a.csv", numbers(20));
    for flags in [
        "--hidden 4 --bayesian 1 --input-drop-prob 0.1",
        "--hidden none --input-drop-prob 0.1",
        "--hidden 4 --drop-prob 0.1 --input-drop-prob 0.2",
        "--hidden 4 --method mean-field --bayesian last --length-scale 2",
        "--hidden 4 --activation tanh",
        "--net 2-res+2+bn+2-1 --activation tanh",
        "--net 2-bn-1 --method mean-field --optimizer adamw --weight-decay 0.1",
        "--hidden 4 --method sparse-vd --optimizer adamw --weight-decay 0.1",
        "--hidden 4 --kl-weight 0 --kl-warmup 0",
    ] {
        dir.bdl(&format!("train a.csv --target y --ignore id,colour --out m.bdl --epochs 2 {flags}")).ok();
    }
    dir.bdl("train a.csv --target y --ignore id --prior-predictive=3 --quiet --format json").json();
}

#[test]
fn flags_that_a_model_has_no_use_for_are_wrong_calls() {
    let dir = model().with("c.csv", classes(20, 2));
    dir.bdl(&short("train c.csv --target kind --method mean-field --out c.bdl")).ok();
    dir.bdl("predict c.bdl c.csv --interval 0.5").fails(2, &["--interval", "predicts classes"]);
    dir.bdl("predict m.bdl a.csv --mean --seed 1").fails(2, &["--seed", "--draws"]);
    dir.bdl("predict m.bdl a.csv --mean --seed 1 --draws=2").ok();
    dir.bdl("prune c.bdl --out p.bdl --threads 1").fails(2, &["--threads", "--sweep"]);
    assert_eq!(dir.files(), ["a.csv", "c.bdl", "c.csv", "m.bdl"]);
}

#[test]
fn an_interval_whose_ends_would_be_infinite_is_refused() {
    let dir = model();
    dir.bdl("predict m.bdl a.csv --interval 0.9999999999999999")
        .fails(2, &["--interval", "less than 1", "0.9999999999999999"]);
    let out = dir.bdl("predict m.bdl a.csv --interval 0.999999999999999").ok();
    assert!(!out.contains("inf") && !out.contains("NaN"), "{out}");
}

#[test]
fn files_without_an_end_are_not_read_to_it() {
    if !std::path::Path::new("/dev/zero").exists() {
        return;
    }
    let dir = Dir::new().with("a.csv", numbers(20));
    dir.bdl("inspect /dev/zero").fails(1, &["/dev/zero", "is not a bdl model"]);
    dir.bdl("train /dev/zero --target y --out m.bdl").fails(1, &["/dev/zero", "at most 16777216 bytes"]);
    dir.bdl("train a.csv --target y --out m.bdl --config /dev/zero")
        .fails(1, &["--config: /dev/zero", "at most 1048576 bytes"]);
    assert_eq!(dir.files(), ["a.csv"]);
}

#[test]
fn a_configuration_is_checked_like_the_flags() {
    for (text, code, words) in [
        ("epoch = 3\n", 2, ["unknown key \"epoch\"", "c.toml"]),
        ("epochs = 0\n", 2, ["--epochs", "c.toml"]),
        ("epochs = [[1]]\n", 2, ["\"epochs\"", "expected"]),
        ("quiet = 1\n", 2, ["\"quiet\"", "true or false"]),
        ("lr = 0.1\nepochs = \n", 1, ["c.toml, line 2", "--config"]),
        ("method = \"mean-field\"\ndrop-prob = 0.1\n", 2, ["--drop-prob", "mean-field"]),
    ] {
        let dir = Dir::new().with("a.csv", numbers(20)).with("c.toml", text);
        let run = dir.bdl("train a.csv --target y --out m.bdl --config c.toml");
        run.fails(code, &words);
        assert_eq!(dir.files(), ["a.csv", "c.toml"]);
    }
}

#[test]
fn outputs_that_cannot_be_written_are_known_before_the_work() {
    let dir = model();
    let before = dir.files();
    dir.bdl("train a.csv --target y --out no/m.bdl --epochs 100000000")
        .fails(1, &["no/m.bdl", "cannot be written"]);
    dir.bdl("train a.csv --target y --out . --epochs 100000000").fails(1, &["got a directory"]);
    dir.bdl("predict m.bdl a.csv --out no/p.csv").fails(1, &["no/p.csv", "cannot be written"]);
    dir.bdl("predict m.bdl a.csv --out .").fails(1, &["got a directory"]);
    assert_eq!(dir.files(), before);
}

#[test]
fn inputs_are_not_written_over() {
    let dir = model();
    let (data, model) = (dir.bytes("a.csv"), dir.bytes("m.bdl"));
    dir.bdl("train a.csv --target y --out ./a.csv").fails(2, &["--out", "is the data"]);
    dir.bdl("predict m.bdl a.csv --out a.csv").fails(2, &["--out", "is the data"]);
    dir.bdl("predict m.bdl a.csv --out ./m.bdl").fails(2, &["--out", "is the model"]);
    assert_eq!((dir.bytes("a.csv"), dir.bytes("m.bdl")), (data, model));
}

#[test]
fn rows_that_cannot_be_predicted_are_named_and_leave_no_file() {
    for (data, words) in [
        ("x,colour,flat\n1,red,7\nlow,red,7\n", ["row 2", "\"x\""]),
        ("x,colour,flat\n1,red,7\n2,pink,7\n", ["row 2", "\"pink\""]),
        ("x,colour,flat\n1,red,7\n,red,7\n", ["row 2", "expected a value"]),
        ("x,colour,flat\n1,red,7\ninf,red,7\n", ["row 2", "\"inf\""]),
        ("x,colour,flat\n1,red,7\n2,red\n", ["row 2", "after column \"colour\""]),
        ("x,colour,flat\n", ["b.csv", "expected rows below the header"]),
        ("", ["b.csv", "empty file"]),
        ("x,flat\n1,7\n", ["b.csv", "\"colour\""]),
        ("flat\n1\n", ["\"x\"", "\"colour\""]),
    ] {
        let dir = model().with("b.csv", data).with("p.csv", "older");
        dir.bdl("predict m.bdl b.csv --out p.csv").fails(1, &words);
        assert_eq!(dir.text("p.csv"), "older");
        assert_eq!(dir.files(), ["a.csv", "b.csv", "m.bdl", "p.csv"]);
    }
}

#[test]
fn kept_columns_must_be_there_and_have_a_name_of_their_own() {
    let dir = model().with("b.csv", "x,colour,flat,mean\n1,red,7,4\n");
    dir.bdl("predict m.bdl b.csv --keep nope").fails(1, &["--keep", "\"nope\""]);
    dir.bdl("predict m.bdl b.csv --keep mean")
        .fails(2, &["--keep", "no other output column has", "\"mean\""]);
    dir.bdl("predict m.bdl b.csv --keep x,x").fails(2, &["--keep", "no other output column has", "\"x\""]);
}

#[test]
fn evaluation_needs_the_target_and_rows() {
    let dir = model().with("b.csv", "x,colour,flat\n1,red,7\n").with("h.csv", "x,colour,flat,y\n");
    dir.bdl("evaluate m.bdl b.csv").fails(1, &["b.csv", "expected the target \"y\""]);
    dir.bdl("evaluate m.bdl h.csv").fails(1, &["h.csv", "expected rows below the header"]);
    dir.write("b.csv", "x,colour,flat,y\n1,red,7,\n");
    dir.bdl("evaluate m.bdl b.csv").fails(1, &["row 1", "\"y\""]);
    let dir = Dir::new().with("a.csv", classes(30, 2)).with("b.csv", "a,b,kind\n1,2,perhaps\n");
    dir.bdl(&short("train a.csv --target kind --out m.bdl")).ok();
    dir.bdl("evaluate m.bdl b.csv").fails(1, &["row 1", "\"perhaps\"", "\"no\", \"yes\""]);
}

#[test]
fn a_model_file_that_is_none_or_damaged_or_newer_is_refused() {
    let dir = model();
    let whole = dir.bytes("m.bdl");
    let refused = |bytes: &[u8], words: &[&str]| {
        dir.write("bad.bdl", bytes);
        for line in ["inspect bad.bdl", "evaluate bad.bdl a.csv", "predict bad.bdl a.csv --out p.csv"] {
            dir.bdl(line).fails(1, &[&["bad.bdl"], words].concat());
        }
    };
    refused(b"", &[]);
    refused(b"x,y\n1,2\n", &[]);
    refused(&whole[..whole.len() - 1], &[]);
    refused(&whole[..20], &[]);
    for at in (0..whole.len()).step_by(97) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        dir.write("bad.bdl", &flipped);
        let run = dir.bdl("inspect bad.bdl");
        // Only padding between sections may differ without a loss.
        assert!(run.code == 1 || flipped[at] == 0x10, "byte {at}: {run:?}");
    }
    let mut newer = whole.clone();
    let version = 8; // behind the eight bytes of the magic number
    newer[version] = 99;
    refused(&newer, &["version", "99"]);
    assert_eq!(dir.files(), ["a.csv", "bad.bdl", "m.bdl"]);
}

#[test]
fn a_run_that_diverges_says_where_and_keeps_the_older_model() {
    let flags = "--target y --ignore id --optimizer sgd --lr 1e30 --noise 0.01";
    train_fails(&numbers(40), flags, 1, &["step", "training stopped"]);
}

#[test]
fn names_that_would_give_two_columns_of_one_name_are_refused_before_training() {
    let words = ["--target", "mean_mcse_y", "rename"];
    train_fails("x,y,mcse_y\n1,3,4\n2,4,6\n3,1,0\n", "--target y,mcse_y", 2, &words);
}

#[test]
fn normalization_over_a_batch_of_one_row_is_refused() {
    let dir = Dir::new().with("a.csv", "x,y\n1,3\n2,4\n3,1\n");
    dir.bdl("train a.csv --target y --task regression --out m.bdl --net 1-4-bn-1 --batch 1 --quiet")
        .fails(1, &["batch", "at least 2"]);
    assert_eq!(dir.files(), ["a.csv"]);
}
