//! One method on one split: standardize on the training rows, train, predict the test rows, score.

use std::ops::ControlFlow;
use std::time::Instant;

use bdl_dist::{Noise, Purpose};
use bdl_infer::{Bnn, Data, FitConfig, MixtureScratch, Passes, Predictor, Targets, Units, fit};
use bdl_model::Outputs;
use bdl_tensor::{Mat, Serial};

use super::{Error, Method, Set, Setting, Split};

/// Scores on the test rows, in the target's own units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// Root mean squared error of the predictive mean.
    pub rmse: f64,
    /// Minus mean log predictive density, nats per row.
    pub nll: f64,
    /// Share of test rows within their central 90 % interval.
    pub coverage_90: f64,
}

/// What a method came to on one split.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Which of the method's settings was chosen on the validation rows.
    pub chosen: usize,
    /// Its scores on the test rows.
    pub scores: Scores,
    /// Time it took on its one thread, the choice included, seconds.
    pub seconds: f64,
}

/// Chooses the method's setting, trains it on all training rows and scores it on the test rows, once.
///
/// # Errors
/// If training fails.
pub fn study(set: &Set, split: &Split, method: &Method) -> Result<Outcome, Error> {
    let start = Instant::now();
    let chosen = choose(set, split, method)?;
    let scores = run(set, split, &method.settings[chosen])
        .map_err(|e| format!("{}, {}: {e}", set.name, method.name))?;
    Ok(Outcome { chosen, scores, seconds: start.elapsed().as_secs_f64() })
}

/// The setting with the lowest NLL on the [validation rows](Split::validation); test rows are not looked at.
///
/// Of an ensemble, one member is tried.
///
/// # Errors
/// If training fails.
pub fn choose(set: &Set, split: &Split, method: &Method) -> Result<usize, Error> {
    let inner = split.validation();
    let mut best = (0, f64::INFINITY);
    for (i, setting) in method.settings.iter().enumerate().filter(|_| method.settings.len() > 1) {
        let nll = run(set, &inner, &Setting { members: 1, ..setting.clone() })?.nll;
        if nll < best.1 {
            best = (i, nll);
        }
    }
    Ok(best.0)
}

/// Trains on the first rows of `split` and scores on the second.
///
/// # Errors
/// If training fails.
pub fn run(set: &Set, split: &Split, setting: &Setting) -> Result<Scores, Error> {
    let rows = Rows::new(set, split);
    let bnn = setting.architecture.build(rows.in_dim, Outputs::Real, rows.target.1)?;
    let data =
        Data::new(Mat::new(&rows.x_train, split.train.len(), rows.in_dim)?, Targets::Real(&rows.y_train))?;
    let members = (0..setting.members as u64).map(|lane| train(&bnn, data, setting, lane));
    let members = members.collect::<Result<Vec<_>, _>>()?;
    let (samples, seed) = (setting.samples, setting.fit.seed);
    let predictor = Predictor::new(&bnn, &members, Passes { samples, seed, ..Passes::default() })?;
    let outputs = predictor.outputs(Mat::new(&rows.x_test, split.test.len(), rows.in_dim)?, 0, &Serial)?;
    let (mean, sd) = rows.target;
    let predictive = predictor.predictive(&outputs, split.test.len())?.in_units(Units::new(mean, sd)?);
    let mut scratch = MixtureScratch::new();
    let mut predictions = Vec::with_capacity(split.test.len());
    for (i, &row) in split.test.iter().enumerate() {
        let (p, y) = (predictive.real(i, &mut scratch)?, set.y[row]);
        predictions.push(Prediction { y, mean: p.mean(), ln_density: p.ln_density(y), cdf: p.cdf(y) });
    }
    Ok(score(&predictions))
}

fn train(bnn: &Bnn, data: Data<'_>, setting: &Setting, lane: u64) -> Result<Vec<f32>, Error> {
    let mut params = bnn.init(&Noise::in_lane(setting.fit.seed, Purpose::Init, lane));
    let config = FitConfig { lane, ..setting.fit.clone() };
    fit(bnn, &mut params, data, None, &config, &Serial, &mut |_| ControlFlow::Continue(()))?;
    Ok(params)
}

/// A test row's target with what was predicted: the mean, and log density and distribution function at the target.
struct Prediction {
    y: f64,
    mean: f64,
    ln_density: f64,
    cdf: f64,
}

fn score(predictions: &[Prediction]) -> Scores {
    let mean =
        |of: fn(&Prediction) -> f64| predictions.iter().map(of).sum::<f64>() / predictions.len() as f64;
    Scores {
        rmse: mean(|p| (p.y - p.mean).powi(2)).sqrt(),
        nll: -mean(|p| p.ln_density),
        // y lies in the central 90 % interval if and only if its probability integral transform does.
        coverage_90: mean(|p| f64::from((0.05..=0.95).contains(&p.cdf))),
    }
}

/// The rows of a split, standardized with the moments of its training rows.
struct Rows {
    in_dim: usize,
    x_train: Vec<f32>,
    y_train: Vec<f32>,
    x_test: Vec<f32>,
    /// Mean and standard deviation of the target.
    target: (f64, f64),
}

impl Rows {
    fn new(set: &Set, split: &Split) -> Self {
        let in_dim = set.x[0].len();
        let columns: Vec<_> =
            (0..in_dim).map(|c| moments(split.train.iter().map(|&row| set.x[row][c]))).collect();
        let target = moments(split.train.iter().map(|&row| set.y[row]));
        let inputs = |rows: &[usize]| {
            let cells = rows.iter().flat_map(|&row| set.x[row].iter().zip(&columns));
            cells.map(|(&x, &column)| standardized(x, column)).collect()
        };
        let y_train = split.train.iter().map(|&row| standardized(set.y[row], target)).collect();
        Self { in_dim, x_train: inputs(&split.train), y_train, x_test: inputs(&split.test), target }
    }
}

fn standardized(x: f64, (mean, sd): (f64, f64)) -> f32 {
    ((x - mean) / sd) as f32
}

/// Mean and standard deviation; a constant column is divided by 1.
fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let n = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / n;
    let sd = (values.map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
    (mean, if sd > 0.0 { sd } else { 1.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uci::{Reference, splits};

    /// y = 3x + 20, without noise.
    fn line() -> Set {
        let x: Vec<Vec<f64>> = (0..60).map(|i| vec![f64::from(i), 1.0]).collect();
        let y = x.iter().map(|x| 3.0 * x[0] + 20.0).collect();
        Set { name: "line".to_owned(), x, y }
    }

    fn setting(epochs: usize) -> Setting {
        let mut setting = Setting::deterministic();
        setting.fit.epochs = epochs;
        setting
    }

    #[test]
    fn scores_by_hand() {
        let one = |y, mean, ln_density, cdf| Prediction { y, mean, ln_density, cdf };
        let rows = [one(1.0, 1.0, -1.0, 0.5), one(5.0, 2.0, -4.0, 0.96), one(0.0, 4.0, -4.0, 0.05)];
        let scores = score(&rows);
        assert_eq!(scores, Scores { rmse: (25.0_f64 / 3.0).sqrt(), nll: 3.0, coverage_90: 2.0 / 3.0 });
    }

    #[test]
    fn a_constant_column_is_divided_by_one() {
        let rows = Rows::new(&line(), &splits(60)[0]);
        assert!(rows.x_train.chunks(2).all(|x| x[1] == 0.0));
        assert!(rows.y_train.iter().map(|&y| f64::from(y)).sum::<f64>().abs() < 1e-4);
    }

    #[test]
    fn a_line_is_learned_and_scored_in_the_units_of_its_target() {
        let scores = run(&line(), &splits(60)[0], &setting(100)).unwrap();
        assert!(scores.rmse < 8.0, "the target's standard deviation is 52: {scores:?}");
    }

    #[test]
    fn the_choice_falls_on_the_better_setting_and_never_sees_the_test_rows() {
        let settings = vec![setting(1), setting(100)];
        let method = Method { name: "m", settings, reference: Reference::Nothing, gated: false };
        let mut split = splits(60)[0].clone();
        split.test = vec![usize::MAX];
        assert_eq!(choose(&line(), &split, &method).unwrap(), 1);
    }

    #[test]
    fn the_same_split_gives_the_same_bits() {
        let once = || run(&line(), &splits(60)[3], &setting(5)).unwrap();
        assert_eq!(once().nll.to_bits(), once().nll.to_bits());
    }
}
