//! What functions drawn from the prior look like on the training rows, before anything is learned.

use std::fmt::Display;

use bdl_dist::{Noise, Purpose};
use bdl_infer::{Bnn, MixtureScratch, Passes, Predictor, Units};
use bdl_layers::{Quantiles, Registry};
use bdl_tensor::{Mat, Pool};

use crate::evaluate::Truth;
use crate::idx::{Images, Labels};
use crate::rows::Rows;
use crate::schema::Schema;
use crate::table::Table;
use crate::{Error, Model, TrainConfig};

/// Functions drawn from the prior of the weights, on training rows, beside the targets.
///
/// A function is a network whose weights and biases are one draw from their prior, without masks and noise; gains of
/// normalizations are as they start. `docs/math.md#prior-predictive`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PriorPredictive {
    /// Of targets that are numbers, each by itself.
    Real(Vec<RealFunctions>),
    /// Of a target that is a class.
    Class(ClassFunctions),
}

/// What functions drawn from the prior say of a target that is a number, in its own units.
#[derive(Clone, Debug, PartialEq)]
pub struct RealFunctions {
    /// Name of the target.
    pub target: String,
    /// Its mean under each function, at each row: over all functions and rows.
    pub functions: Spread,
    /// The target itself, over these rows.
    pub targets: Spread,
}

/// Where numbers lie.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub std: f64,
    /// Quantiles.
    pub quantiles: Quantiles,
}

/// What functions drawn from the prior say of classes; entropies in nats.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ClassFunctions {
    /// Entropy of the class probabilities of each function at each row: 0 is sure, ln of the number of classes knows nothing.
    pub entropy: Spread,
    /// Share of functions and rows with a class of more than 0.95.
    pub sure: f64,
    /// For each class its mean probability, over functions and rows.
    pub probs: Vec<f64>,
    /// For each class the share of the rows.
    pub shares: Vec<f64>,
}

/// Rows that are looked at; of more, so many that are evenly spread.
const MAX_ROWS: usize = 1000;

/// A probability that counts as sure.
const SURE: f64 = 0.95;

impl Spread {
    /// Of at least one number.
    fn of(x: &[f64]) -> Result<Self, Error> {
        let quantiles = Quantiles::of(x).ok_or_else(|| refuse("asked of at least one number", "none"))?;
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        let std = (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
        Ok(Self { mean, std, quantiles })
    }
}

impl Model {
    /// Draws so many functions from the prior of the network that these settings would train on the table.
    ///
    /// # Errors
    /// As [`train`](Model::train); [`Error::Argument`] without a draw, and for weights without a proper prior.
    ///
    /// ```
    /// use bdl_model::{Method, Model, PriorPredictive, RowReader, Table, TrainConfig};
    /// let text: String = (0..40).map(|i| format!("{i},{}\n", 2 * i + i % 3)).collect();
    /// let reader = RowReader::from_reader("line.csv", std::io::Cursor::new(format!("x,y\n{text}")), None)?;
    /// let mut config = TrainConfig::for_target("y");
    /// config.architecture.method = Method::MeanField;
    /// let told = Model::prior_predictive(&Table::from_reader(reader)?, &config, 50, &bdl_tensor::Serial)?;
    /// let PriorPredictive::Real(told) = told else { unreachable!() };
    /// assert!(told[0].targets.quantiles.q95 == 78.0 && told[0].functions.std > 0.0);
    /// # Ok::<(), bdl_model::Error>(())
    /// ```
    pub fn prior_predictive(
        table: &Table,
        config: &TrainConfig,
        draws: usize,
        pool: &dyn Pool,
    ) -> Result<PriorPredictive, Error> {
        config.check()?;
        Functions::new(&Rows::new(table, config)?, config)?.look(draws, pool)
    }

    /// The same for images and their labels.
    ///
    /// # Errors
    /// As [`prior_predictive`](Model::prior_predictive).
    pub fn prior_predictive_of_images(
        images: &Images,
        labels: &Labels,
        config: &TrainConfig,
        draws: usize,
        pool: &dyn Pool,
    ) -> Result<PriorPredictive, Error> {
        config.check()?;
        Functions::new(&Rows::of_images(images, labels, config)?, config)?.look(draws, pool)
    }
}

/// The network and the rows that its functions are looked at on.
struct Functions<'a> {
    config: &'a TrainConfig,
    schema: &'a Schema,
    bnn: Bnn,
    /// The network without posteriors and masks.
    plain: Bnn,
    x: Vec<f32>,
    truth: Truth,
}

impl<'a> Functions<'a> {
    fn new(rows: &'a Rows, config: &'a TrainConfig) -> Result<Self, Error> {
        let bnn = rows.network(&config.architecture)?;
        if bnn.plan().couples_rows() {
            // Its running moments are those of no data yet: a draw would be another function than training sees.
            return Err(refuse("asked of a network without batch normalization", "one with bn"));
        }
        let plain = bnn.with_plan(bnn.plan().at_mean(&Registry::default())?)?;
        let (width, n) = (rows.encoder.width(), rows.train.y.len());
        let some: Vec<usize> = (0..n.min(MAX_ROWS)).map(|i| i * n / n.min(MAX_ROWS)).collect();
        let x = some.iter().flat_map(|&row| &rows.train.x[row * width..][..width]).copied().collect();
        let truth = match &rows.train.truth {
            Truth::Real { y, targets } => {
                let of_row = |row: &usize| y[row * targets..][..*targets].iter().copied();
                Truth::Real { y: some.iter().flat_map(of_row).collect(), targets: *targets }
            }
            Truth::Class(y) => Truth::Class(some.iter().map(|&row| y[row]).collect()),
        };
        Ok(Self { config, schema: rows.encoder.schema(), bnn, plain, x, truth })
    }

    fn look(&self, draws: usize, pool: &dyn Pool) -> Result<PriorPredictive, Error> {
        if draws == 0 {
            return Err(refuse(">= 1", draws));
        }
        match &self.truth {
            Truth::Real { y, .. } => self.numbers(y, draws, pool),
            Truth::Class(y) => self.classes(y, draws, pool),
        }
    }

    fn numbers(&self, y: &[f64], draws: usize, pool: &dyn Pool) -> Result<PriorPredictive, Error> {
        let (targets, units) = (self.schema.targets(), self.schema.units()?);
        let mut means = vec![Vec::new(); targets.len()];
        self.each(draws, pool, &mut |function| {
            let mut each = means.iter_mut().zip(&units).enumerate();
            each.try_for_each(|(k, (means, units))| function.means(k, *units, means))
        })?;
        let told = |(k, means): (usize, &Vec<f64>)| {
            let y: Vec<f64> = y.iter().skip(k).step_by(targets.len()).copied().collect();
            let target = targets[k].name.clone();
            Ok(RealFunctions { target, functions: Spread::of(means)?, targets: Spread::of(&y)? })
        };
        Ok(PriorPredictive::Real(means.iter().enumerate().map(told).collect::<Result<_, Error>>()?))
    }

    fn classes(&self, y: &[u32], draws: usize, pool: &dyn Pool) -> Result<PriorPredictive, Error> {
        let classes = self.schema.class_names().len();
        let (mut entropies, mut sure, mut probs) = (Vec::new(), 0, vec![0.0; classes]);
        self.each(draws, pool, &mut |function| {
            function.classes(&mut |of_row, entropy| {
                entropies.push(entropy);
                sure += usize::from(of_row.iter().any(|p| *p > SURE));
                probs.iter_mut().zip(of_row).for_each(|(sum, p)| *sum += p);
            })
        })?;
        let n = entropies.len() as f64;
        let share = |class: usize| y.iter().filter(|y| **y as usize == class).count() as f64 / y.len() as f64;
        Ok(PriorPredictive::Class(ClassFunctions {
            entropy: Spread::of(&entropies)?,
            sure: sure as f64 / n,
            probs: probs.iter().map(|sum| sum / n).collect(),
            shares: (0..classes).map(share).collect(),
        }))
    }

    /// Hands each function to `f`.
    fn each(
        &self,
        draws: usize,
        pool: &dyn Pool,
        f: &mut dyn FnMut(&Function<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let rows = self.x.len() / self.plain.plan().in_dim();
        let x = Mat::new(&self.x, rows, self.plain.plan().in_dim()).map_err(bdl_infer::Error::from)?;
        for draw in 0..draws as u64 {
            let members = [self.draw(draw)?];
            let predictor =
                Predictor::new(&self.plain, &members, Passes { samples: 1, ..Passes::default() })?;
            let outputs = predictor.outputs(x, 0, pool)?;
            f(&Function { predictor: &predictor, outputs: &outputs, rows })?;
        }
        Ok(())
    }

    /// The parameters of a function at the mean; where members start from weights of their own, they take turns.
    fn draw(&self, draw: u64) -> Result<Vec<f32>, Error> {
        let seed = self.config.fit.seed;
        let mut params = self.bnn.init(&Noise::in_lane(seed, Purpose::Init, draw));
        if let Some(start) = &self.config.start {
            let member = (draw % self.config.members as u64) as usize;
            start.write(&self.bnn, member, &mut params)?;
        }
        let (network, noise) = (self.bnn.network(), self.bnn.noise());
        let of_prior = Noise::in_lane(seed, Purpose::Prior, draw);
        self.bnn.plan().sample_prior(&of_prior, &mut params[network.clone()]).map_err(improper)?;
        let mut mean = self.bnn.plan().mean_params(&params[network])?;
        mean.extend_from_slice(&params[noise]);
        Ok(mean)
    }
}

/// One function on all rows.
struct Function<'a> {
    predictor: &'a Predictor<'a>,
    outputs: &'a [f32],
    rows: usize,
}

impl Function<'_> {
    /// Adds the mean of a target at each row, in its own units.
    fn means(&self, target: usize, units: Units, means: &mut Vec<f64>) -> Result<(), Error> {
        let all = self.predictor.predictive(self.outputs, self.rows)?;
        let predictive = if all.targets() > 1 { all.target(target)? } else { all }.in_units(units);
        let mut scratch = MixtureScratch::new();
        for row in 0..self.rows {
            means.push(predictive.real(row, &mut scratch)?.mean());
        }
        Ok(())
    }

    /// Hands the class probabilities of each row and their entropy to `f`.
    fn classes(&self, f: &mut dyn FnMut(&[f64], f64)) -> Result<(), Error> {
        let predictive = self.predictor.predictive(self.outputs, self.rows)?;
        let mut scratch = MixtureScratch::new();
        for row in 0..self.rows {
            let told = predictive.class(row, &mut scratch)?;
            f(told.probs(), told.predictive_entropy());
        }
        Ok(())
    }
}

fn refuse(expected: &'static str, got: impl Display) -> Error {
    Error::Argument { what: "--prior-predictive", expected, got: got.to_string() }
}

/// A flag is to blame for weights that cannot be drawn.
fn improper(e: bdl_layers::Error) -> Error {
    match e {
        bdl_layers::Error::NoPrior { layer, got } => {
            refuse("asked of weights with a proper prior", format_args!("{layer} with {got}"))
        }
        e => e.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_mean_deviation_and_order_statistics() {
        let x: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        let Spread { mean, std, quantiles: q } = Spread::of(&x).unwrap();
        assert_eq!((mean, q.q05, q.q25, q.median, q.q75, q.q95), (10.5, 2.0, 6.0, 11.0, 16.0, 20.0));
        assert!((std - 33.25_f64.sqrt()).abs() < 1e-12);
        assert_eq!(Spread::of(&[3.0]).unwrap().quantiles.q05, 3.0);
        assert!(Spread::of(&[]).is_err());
    }
}
