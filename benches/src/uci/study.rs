//! One method on one split: standardize on the training rows, train, predict the test rows, score.

use std::error::Error;
use std::ops::ControlFlow;

use bdl_dist::{Noise, Purpose};
use bdl_infer::{Data, FitConfig, MixtureScratch, Passes, Predictor, Targets, Units, fit};
use bdl_model::{Architecture, Outputs};
use bdl_tensor::{Mat, Serial};

use super::Split;

/// A data set: rows of numbers, the target in the last column.
#[derive(Clone, Debug)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// Rows of inputs.
    pub x: Vec<Vec<f64>>,
    /// Targets.
    pub y: Vec<f64>,
}

impl Set {
    /// Reads a CSV with a header, numbers only.
    ///
    /// # Errors
    /// If the file cannot be read or a cell is no number.
    pub fn read(name: &str, text: &str) -> Result<Self, Box<dyn Error>> {
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for line in text.lines().skip(1).filter(|l| !l.trim().is_empty()) {
            let cells = line.split(',').map(|c| c.trim().parse());
            let mut row = cells.collect::<Result<Vec<f64>, _>>().map_err(|e| format!("{name}: {line:?}: {e}"))?;
            y.push(row.pop().ok_or("empty row")?);
            x.push(row);
        }
        Ok(Self { name: name.to_owned(), x, y })
    }
}

/// What is run on a split.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Name of the method in the table.
    pub name: &'static str,
    /// The network.
    pub architecture: Architecture,
    /// How it is trained.
    pub fit: FitConfig,
    /// Members of an ensemble; 1 for none.
    pub members: usize,
    /// Passes of each member at prediction.
    pub samples: usize,
}

/// Scores on the test rows, in the target's own units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// Root mean squared error of the predictive mean.
    pub rmse: f64,
    /// Minus mean log predictive density.
    pub nll: f64,
    /// Share of test rows within their central 90 % interval.
    pub coverage_90: f64,
}

/// Trains on the first rows and scores on the second.
///
/// # Errors
/// If training fails.
pub fn run(set: &Set, split: &Split, setting: &Setting) -> Result<Scores, Box<dyn Error>> {
    let (x_train, y_train) = standardized(set, split, &split.train);
    let (x_test, _) = standardized(set, split, &split.test);
    let in_dim = set.x[0].len();
    let [mean, sd] = moments(split.train.iter().map(|&r| set.y[r]));
    let bnn = setting.architecture.build(in_dim, Outputs::Real, sd)?;
    let data = Data::new(Mat::new(&x_train, split.train.len(), in_dim)?, Targets::Real(&y_train))?;
    let mut members = Vec::new();
    for lane in 0..setting.members as u64 {
        let mut params = bnn.init(&Noise::in_lane(setting.fit.seed, Purpose::Init, lane));
        let config = FitConfig { lane, ..setting.fit.clone() };
        fit(&bnn, &mut params, data, None, &config, &Serial, &mut |_| ControlFlow::Continue(()))?;
        members.push(params);
    }
    let passes = Passes { samples: setting.samples, seed: setting.fit.seed, ..Passes::default() };
    let predictor = Predictor::new(&bnn, &members, passes)?;
    let outputs = predictor.outputs(Mat::new(&x_test, split.test.len(), in_dim)?, 0, &Serial)?;
    let predictive = predictor.predictive(&outputs, split.test.len())?.in_units(Units::new(mean, sd)?);
    let (mut squares, mut nll, mut covered) = (0.0, 0.0, 0.0);
    let mut scratch = MixtureScratch::new();
    for (i, &row) in split.test.iter().enumerate() {
        let (p, y) = (predictive.real(i, &mut scratch)?, set.y[row]);
        squares += (p.mean() - y).powi(2);
        nll -= p.ln_density(y);
        covered += f64::from((0.05..=0.95).contains(&p.cdf(y)));
    }
    let n = split.test.len() as f64;
    Ok(Scores { rmse: (squares / n).sqrt(), nll: nll / n, coverage_90: covered / n })
}

fn standardized(set: &Set, split: &Split, rows: &[usize]) -> (Vec<f32>, Vec<f32>) {
    let columns: Vec<[f64; 2]> =
        (0..set.x[0].len()).map(|c| moments(split.train.iter().map(|&r| set.x[r][c]))).collect();
    let [mean, sd] = moments(split.train.iter().map(|&r| set.y[r]));
    let x = |&r: &usize| set.x[r].iter().zip(&columns).map(|(x, [m, s])| ((x - m) / s) as f32).collect::<Vec<_>>();
    (rows.iter().flat_map(x).collect(), rows.iter().map(|&r| ((set.y[r] - mean) / sd) as f32).collect())
}

/// Mean and standard deviation; a constant column is divided by 1.
fn moments(values: impl Iterator<Item = f64> + Clone) -> [f64; 2] {
    let n = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / n;
    let sd = (values.map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
    [mean, if sd > 0.0 { sd } else { 1.0 }]
}
