//! The commands on IDX images, and networks that are spelled.

use crate::common::{Dir, numbers};

fn idx(axes: &[u32], bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, axes.len() as u8];
    axes.iter().for_each(|n| file.extend(n.to_be_bytes()));
    file.extend(bytes);
    file
}

/// Sixty images of 3×2, dark with label 0 or bright with label 4.
fn folder() -> Dir {
    let labels: Vec<u8> = (0..60).map(|i| [0, 4][i % 2]).collect();
    let pixels: Vec<u8> =
        labels.iter().flat_map(|&label| (0..6).map(move |at| 40 * label + 9 * at)).collect();
    Dir::new()
        .with("a-images-idx3-ubyte", idx(&[60, 3, 2], &pixels))
        .with("a-labels-idx1-ubyte", idx(&[60], &labels))
        .with("alone-images-idx3-ubyte", idx(&[60, 3, 2], &pixels))
        .with("a.csv", numbers(30))
}

const TRAIN: &str = "train a-images-idx3-ubyte --out m.bdl --epochs 20";

#[test]
fn images_are_trained_on_scored_and_predicted() {
    let dir = folder();
    let told = dir.bdl(TRAIN).ok();
    assert!(
        told.contains("60 images of 3×2, 1 channel") && told.contains("2 classes: \"0\", \"4\""),
        "{told}"
    );
    let trained = dir.bdl(&format!("{TRAIN} --valid 0.2 --format json")).json();
    assert_eq!(
        (&trained["task"], &trained["rows"], &trained["features"]),
        (&"classification".into(), &48.into(), &6.into())
    );
    let scores = dir.bdl("evaluate m.bdl a-images-idx3-ubyte --format json").json();
    assert_eq!((&scores["rows"], &scores["metrics"]["accuracy"]["value"]), (&60.into(), &1.0.into()));
    let same =
        dir.bdl("evaluate m.bdl alone-images-idx3-ubyte --labels a-labels-idx1-ubyte --format json").json();
    assert_eq!(same, scores);
    let csv = dir.bdl("predict m.bdl alone-images-idx3-ubyte").ok();
    let labels: Vec<&str> = csv.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!((labels[0], labels.len()), ("label", 61));
    assert!(labels[1..].iter().enumerate().all(|(i, label)| *label == ["0", "4"][i % 2]));
    let inspected = dir.bdl("inspect m.bdl --format json").json();
    assert_eq!(inspected["target"]["name"], "label");
    assert_eq!(
        (&inspected["features"][0]["kind"], &inspected["features"][0]["height"]),
        (&"image".into(), &3.into())
    );
    assert!(dir.bdl("inspect m.bdl").ok().contains("3×2, 1 channel"));
}

#[test]
fn what_is_for_tables_alone_is_refused_for_images_and_the_other_way_round() {
    let dir = folder();
    dir.bdl(TRAIN).ok();
    for flags in [
        "--ignore id",
        "--categorical x",
        "--missing drop",
        "--delimiter comma",
        "--valid-by x",
        "--task regression",
    ] {
        let flag = flags.split(' ').next().unwrap();
        dir.bdl(&format!("{TRAIN} {flags}")).fails(2, &[flag, "is for tables", "holds IDX images"]);
    }
    dir.bdl(&format!("{TRAIN} --noise 1")).fails(2, &["--noise", "the data are images with labels"]);
    dir.bdl("predict m.bdl a-images-idx3-ubyte --delimiter comma")
        .fails(2, &["--delimiter", "is for tables"]);
    dir.bdl("predict m.bdl a-images-idx3-ubyte --on-bad-row skip")
        .fails(2, &["--on-bad-row", "is for tables"]);
    dir.bdl("predict m.bdl a-images-idx3-ubyte --keep id").fails(2, &["--keep", "images have no columns"]);
    dir.bdl("evaluate m.bdl a-images-idx3-ubyte --delimiter comma")
        .fails(2, &["--delimiter", "is for tables"]);
    dir.bdl("train a.csv --out m.bdl").fails(2, &["--target", "expected the column to predict, got none"]);
    dir.bdl("train a.csv --target y --labels x --out m.bdl").fails(2, &["--labels", "a.csv is a table"]);
    dir.bdl("evaluate m.bdl a.csv --labels x").fails(2, &["--labels", "a.csv is a table"]);
    dir.bdl("predict m.bdl a.csv").fails(1, &["a.csv: expected IDX images of 3×2×1", "got a table"]);
    dir.bdl("train alone-images-idx3-ubyte --out m.bdl")
        .fails(1, &["alone-images-idx3-ubyte", "--labels FILE, got none"]);
    dir.bdl("evaluate m.bdl alone-images-idx3-ubyte").fails(1, &["--labels FILE, got none"]);
    dir.bdl("train a-images-idx3-ubyte --out a-images-idx3-ubyte").fails(2, &["--out", "is the data"]);
    dir.bdl("train alone-images-idx3-ubyte --labels a-labels-idx1-ubyte --out ./a-labels-idx1-ubyte")
        .fails(2, &["--out", "is the labels"]);
}

#[test]
fn a_network_is_spelled_with_its_ends() {
    let dir = folder();
    assert!(dir.bdl(&format!("{TRAIN} --net 6-5-2")).ok().contains("6-5-2 relu"));
    let shapes = |dir: &Dir| -> Vec<String> {
        let inspected = dir.bdl("inspect m.bdl --format json").json();
        let layers = inspected["layers"].as_array().unwrap().clone();
        layers.iter().filter(|l| l["kind"] == "dense").map(|l| l["shape"].to_string()).collect()
    };
    assert_eq!(shapes(&dir), ["[6,5]", "[5,2]"]);
    dir.bdl("train a.csv --target y --ignore id,colour --net 2-3-1 --epochs 1 --out m.bdl").ok();
    assert_eq!(shapes(&dir), ["[2,3]", "[3,1]"]);
    for (net, words) in [
        ("6-5-3", ["--net 6-5-3: layer 2", "expected 5 → 2, a unit for each output, got 5 → 3"]),
        ("7-2", ["--net 7-2: input", "expected an input of 3x2x1, as the data have it, got 7"]),
        ("2x3x1-2", ["--net 2x3x1-2: input", "got 2x3x1"]),
        ("lenet-300-100", ["--net 784-300-100-10: input", "got 784"]),
        ("6", ["--net <NET>", "expected 1 to 100 layers"]),
        ("6-x-2", ["layer 1", "expected units up to 65536, conv, pool, avgpool, bn, ln or res, got \"x\""]),
        ("6-2 --hidden 5", ["--net", "cannot be used with '--hidden"]),
    ] {
        dir.bdl(&format!("{TRAIN} --net {net}")).fails(2, &words);
    }
}

#[test]
fn convolutions_are_trained_scored_predicted_and_inspected() {
    let (dir, net) = (folder(), "3x2x1-conv4:2:p1-pool2x1:s1-conv4:2-6-2");
    for method in ["deterministic", "mc-dropout", "mean-field", "sparse-vd"] {
        let train = "train a-images-idx3-ubyte --out m.bdl --epochs 60 --lr 0.01";
        let told = dir.bdl(&format!("{train} --method {method} --net {net}")).ok();
        assert!(told.contains(&format!("{net} relu")), "{told}");
        let scores = dir.bdl("evaluate m.bdl a-images-idx3-ubyte --format json").json();
        assert_eq!(scores["metrics"]["accuracy"]["value"], 1.0, "{method}: {scores}");
        assert_eq!(dir.bdl("predict m.bdl alone-images-idx3-ubyte").ok().lines().count(), 61);
        let inspected = dir.bdl("inspect m.bdl --format json").json();
        let layers = inspected["layers"].as_array().unwrap();
        let kind = |l: &serde_json::Value| l["kind"].as_str().unwrap().rsplit('-').next().unwrap().to_owned();
        let seen: Vec<String> = layers.iter().map(|l| format!("{}{}", kind(l), l["shape"])).collect();
        for shape in ["conv2d[6,48]", "pool2d[48,36]", "conv2d[36,16]", "dense[16,6]", "dense[6,2]"] {
            assert!(seen.iter().any(|seen| seen == shape), "{method}: {shape} in {seen:?}");
        }
    }
}

#[test]
fn a_convolution_that_does_not_fit_is_named_with_both_shapes() {
    let dir = folder();
    for (net, words) in [
        ("3x2x1-conv4:3-2", ["layer 1, conv4:3", "an input of [3, 2, 1] padded by [0, 0], got [3, 3]"]),
        ("3x2x1-conv4:1-conv6:1:g3-2", ["layer 2, conv6:1:g3", "a divisor of 4 input and 6 output channels"]),
        ("3x2x1-conv4:1-pool4-2", ["layer 2, pool4", "an input of [3, 2, 4] padded by [0, 0], got [4, 4]"]),
        (
            "6-conv4:1-2",
            ["layer 1, conv4:1", "expected an image HEIGHTxWIDTHxCHANNELS in front of it, got 6"],
        ),
        ("3x2x1-conv4:2-3", ["layer 2", "expected 2x1x4 → 2, a unit for each output, got 2x1x4 → 3"]),
        (
            "3x2x1-conv4:2",
            ["layer 1", "expected units as the last layer, a unit for each output, got conv4:2"],
        ),
        ("lenet5-caffe", ["--net 28x28x1-conv20:5-pool2-conv50:5-pool2-500-10: input", "got 28x28x1"]),
    ] {
        dir.bdl(&format!("{TRAIN} --net {net}")).fails(2, &words);
    }
}

#[test]
fn the_labels_that_are_found_beside_the_images_are_not_overwritten() {
    let dir = folder();
    let labels = dir.bytes("a-labels-idx1-ubyte");
    dir.bdl("train a-images-idx3-ubyte --out a-labels-idx1-ubyte --epochs 1")
        .fails(2, &["--out", "the labels"]);
    assert_eq!(dir.bytes("a-labels-idx1-ubyte"), labels);
}

#[test]
fn labels_of_one_class_are_refused_with_their_file() {
    let dir = folder().with("alone-labels-idx1-ubyte", idx(&[60], &[3; 60]));
    dir.bdl("train alone-images-idx3-ubyte --out m.bdl")
        .fails(1, &["alone-labels-idx1-ubyte", "at least two classes", "only \"3\""]);
}
