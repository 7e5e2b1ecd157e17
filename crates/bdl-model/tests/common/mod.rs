//! Small tables with known laws, and models trained on them in a moment.

#![allow(dead_code, reason = "each test file uses what it needs")]

use std::ops::ControlFlow;

use bdl_dist::{Noise, NoiseRng, Purpose};
use bdl_model::{
    FileEvent, FilePrediction, FileReport, Method, Model, PredictedRow, Prediction, RowReader, Table,
    TrainConfig, Training,
};
use bdl_tensor::{Pool, Serial};

pub(crate) fn reader(text: &str) -> RowReader {
    RowReader::from_reader("data.csv", std::io::Cursor::new(text.to_owned()), None).unwrap()
}

pub(crate) fn table(text: &str) -> Table {
    Table::from_reader(reader(text)).unwrap()
}

pub(crate) fn noise(seed: u64) -> NoiseRng {
    Noise::new(seed, Purpose::Other(1)).rng(0)
}

pub(crate) fn normal(rng: &mut NoiseRng) -> f64 {
    let mut one = [0.0];
    rng.normals(&mut one);
    f64::from(one[0])
}

/// Columns `a`, `b`, `colour` and a real `y = 3a − 2b + 5·(colour is red) + noise`.
pub(crate) fn real_text(rows: usize, seed: u64) -> String {
    let mut rng = noise(seed);
    let mut text = "a,b,colour,y\n".to_owned();
    for i in 0..rows {
        let (a, b) = (normal(&mut rng), 10.0 * normal(&mut rng));
        let colour = ["red", "green", "blue"][i * 7 % 3];
        let y = 3.0 * a - 0.2 * b + if colour == "red" { 5.0 } else { 0.0 } + 0.5 * normal(&mut rng);
        text += &format!("{a},{b},{colour},{y}\n");
    }
    text
}

/// Columns `a`, `b` and a class: which of `names` has the greatest score.
pub(crate) fn class_text(rows: usize, names: &[&str], seed: u64) -> String {
    let mut rng = noise(seed);
    let mut text = "a,b,label\n".to_owned();
    for _ in 0..rows {
        let (a, b) = (normal(&mut rng), normal(&mut rng));
        let scores = [a, b, -a - b];
        let score = |c: usize| scores[c] + 0.2 * ((a * 37.0 + c as f64).sin());
        let best = (1..names.len()).fold(0, |best, c| if score(c) > score(best) { c } else { best });
        text += &format!("{a},{b},{}\n", names[best]);
    }
    text
}

/// An IDX file of these axes.
pub(crate) fn idx(axes: &[u32], bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, axes.len() as u8];
    axes.iter().for_each(|n| file.extend(n.to_be_bytes()));
    file.extend(bytes);
    file
}

pub(crate) fn config(target: &str, method: Method) -> TrainConfig {
    let mut config = TrainConfig::for_target(target);
    config.architecture.method = method;
    config.architecture.hidden = vec![12];
    config.architecture.drop_prob = 0.05;
    config.fit.epochs = 5;
    config.fit.lr = 1e-2;
    config
}

pub(crate) fn train_on(text: &str, config: &TrainConfig, pool: &dyn Pool) -> Training {
    Model::train(&table(text), config, pool, &mut |_| ControlFlow::Continue(())).unwrap()
}

pub(crate) fn train(text: &str, config: &TrainConfig) -> Model {
    train_on(text, config, &Serial).model
}

/// A predicted row, as bits: number, prediction, probabilities, draws.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) number: u64,
    pub(crate) kept: Vec<String>,
    pub(crate) prediction: Prediction,
    pub(crate) bits: Vec<u64>,
}

impl Told {
    pub(crate) fn of(row: &PredictedRow<'_>) -> Self {
        Self {
            number: row.number,
            kept: row.kept.iter().map(|&s| s.to_owned()).collect(),
            prediction: *row.prediction,
            bits: row
                .reals
                .iter()
                .map(|p| Prediction::Real(*p))
                .fold(told_bits(row.prediction, row.probs, row.draws), |bits, real| {
                    [bits, told_bits(&real, &[], &[])].concat()
                }),
        }
    }
}

pub(crate) fn numbers(prediction: &Prediction) -> Vec<f64> {
    match *prediction {
        Prediction::Real(p) => {
            let mcse = p.mean_mcse.unwrap_or(-1.0);
            vec![p.mean, p.std, p.aleatoric_std, p.epistemic_std, p.lower, p.upper, mcse]
        }
        Prediction::Class(p) => {
            let mcse = p.mutual_information_mcse.unwrap_or(-1.0);
            let label = f64::from(p.label);
            vec![label, p.predictive_entropy, p.expected_entropy, p.mutual_information, mcse]
        }
        Prediction::Several { mcse } => vec![mcse.unwrap_or(-1.0)],
        _ => unreachable!("a number, a class or several numbers"),
    }
}

pub(crate) fn told_bits(prediction: &Prediction, probs: &[f64], draws: &[f64]) -> Vec<u64> {
    numbers(prediction).iter().chain(probs).chain(draws).map(|x| x.to_bits()).collect()
}

pub(crate) fn predict_with(
    model: &Model,
    text: &str,
    how: &FilePrediction,
    pool: &dyn Pool,
) -> Result<(Vec<Told>, FileReport), bdl_model::Error> {
    let mut told = Vec::new();
    let report = model.predict_file(reader(text), how, pool, &mut |event| {
        if let FileEvent::Row(row) = event {
            told.push(Told::of(&row));
        }
        Ok(())
    })?;
    Ok((told, report))
}

pub(crate) fn predict(model: &Model, text: &str, how: &FilePrediction) -> Vec<Told> {
    predict_with(model, text, how, &Serial).unwrap().0
}

pub(crate) fn bits(told: &[Told]) -> Vec<Vec<u64>> {
    told.iter().map(|row| row.bits.clone()).collect()
}

pub(crate) fn file_prediction(samples: usize) -> FilePrediction {
    let mut how = FilePrediction::default();
    how.passes.samples = samples;
    how
}

/// The regression and classification cases of every method, alone and as an ensemble, with a text to predict.
pub(crate) fn cases() -> Vec<(String, String, TrainConfig)> {
    let texts = [
        ("real", real_text(90, 1), "y"),
        ("two classes", class_text(90, &["0", "1"], 2), "label"),
        ("three text classes", class_text(90, &["oak", "ash", "elm"], 3), "label"),
    ];
    let mut cases = Vec::new();
    for (name, text, target) in &texts {
        for method in Method::ALL {
            for members in [1, 3] {
                let config = TrainConfig { members, ..config(target, method) };
                cases.push((format!("{name}, {}, {members}", method.name()), text.clone(), config));
            }
        }
    }
    cases
}
