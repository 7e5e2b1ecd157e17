//! The same bits: for any number of threads, any batch of rows and any order of rows.

use crate::common::{Dir, classes, numbers};

const METHODS: [&str; 5] = [
    "--method mc-dropout --hidden 33,17",
    "--method mean-field --hidden 33",
    "--method mean-field --estimator sampling --hidden 33",
    "--method mean-field --estimator flipout --hidden 33",
    "--method ensemble --members 2 --of mean-field --hidden 9",
];

fn trained(data: String, flags: &str) -> Dir {
    let dir = Dir::new().with("a.csv", data);
    dir.bdl(&format!("train a.csv --epochs 4 --batch 50 --valid 0.2 --out m.bdl --quiet {flags}")).ok();
    dir
}

#[test]
fn models_and_predictions_have_equal_bits_on_1_2_and_3_threads() {
    for (data, target) in [(numbers(301), "--target y --ignore id"), (classes(301, 3), "--target kind")] {
        for method in METHODS {
            let dir = Dir::new().with("a.csv", &data);
            let of = |threads: &str| {
                let train = format!(
                    "train a.csv --epochs 3 --batch 70 --valid 0.2 --quiet --out {threads}.bdl --threads {threads}"
                );
                dir.bdl(&format!("{train} {target} {method}")).ok();
                let model = dir.bytes(&format!("{threads}.bdl"));
                let how = format!("a.csv --samples 7 --threads {threads}");
                let pass = dir.bdl(&format!("predict {threads}.bdl {how} --draws=2")).ok();
                let row = dir.bdl(&format!("predict {threads}.bdl {how} --scope row")).ok();
                let scores = dir.bdl(&format!("evaluate {threads}.bdl {how} --format json")).ok();
                (model, pass, row, scores)
            };
            let one = of("1");
            assert_ne!(one.1, one.2, "{method}");
            assert!(one == of("2") && one == of("3"), "{method}");
        }
    }
}

#[test]
fn another_seed_gives_another_model_and_the_same_seed_the_same_bits() {
    let dir = trained(numbers(60), "--target y --ignore id");
    for (seed, equal) in [(0, true), (1, false)] {
        let line = format!("train a.csv --epochs 4 --batch 50 --valid 0.2 --out n.bdl --quiet --seed {seed}");
        dir.bdl(&format!("{line} --target y --ignore id")).ok();
        assert_eq!(dir.bytes("m.bdl") == dir.bytes("n.bdl"), equal);
        let p = |seed: i32| dir.bdl(&format!("predict m.bdl a.csv --samples 3 --seed {seed}")).ok();
        assert_eq!(p(0) == p(seed), equal);
    }
}

#[test]
fn a_row_has_the_same_bits_alone_in_the_file_and_in_another_order() {
    for method in METHODS {
        let dir = trained(numbers(61), &format!("--target y --ignore id {method}"));
        let data = dir.text("a.csv");
        let (header, rows) = data.split_once('\n').unwrap();
        let rows: Vec<&str> = rows.lines().collect();
        let predict = |rows: &[&str]| {
            dir.write("b.csv", format!("{header}\n{}\n", rows.join("\n")));
            let out = dir.bdl("predict m.bdl b.csv --keep id --samples 9").ok();
            out.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
        };
        let whole = predict(&rows);
        let mut order: Vec<usize> = (0..rows.len()).map(|i| i * 17 % rows.len()).collect();
        let permuted = predict(&order.iter().map(|&i| rows[i]).collect::<Vec<_>>());
        assert!(order.iter().zip(&permuted).all(|(&i, row)| *row == whole[i]), "{method}");
        order.truncate(5);
        assert!(order.iter().all(|&i| predict(&rows[i..=i])[0] == whole[i]), "{method}");
    }
}

#[test]
fn files_longer_than_a_chunk_have_the_bits_of_their_parts() {
    let dir = trained(numbers(61), "--target y --ignore id");
    dir.write("long.csv", numbers(2500));
    let whole = dir.bdl("predict m.bdl long.csv --samples 4").ok();
    let data = numbers(2500);
    let lines: Vec<&str> = data.lines().collect();
    dir.write("part.csv", format!("{}\n{}\n", lines[0], lines[1001..2201].join("\n")));
    let part = dir.bdl("predict m.bdl part.csv --samples 4").ok();
    let whole: Vec<&str> = whole.lines().collect();
    assert_eq!(part.lines().skip(1).collect::<Vec<_>>(), whole[1001..2201]);
}
