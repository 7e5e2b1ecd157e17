//! Traces of variances, from pairs of gradients.

use std::ops::Range;

use bdl_dist::{Noise, Purpose};
use bdl_infer::{Bnn, Elbo, Targets};
use bdl_layers::{Estimator, Pass, Role, Workspace};
use bdl_metrics::{Estimate, mean_and_mcse};
use bdl_tensor::{Mat, Pool};

use crate::Error;

/// The variance of the gradient in one layer's means or raw scales, summed over them.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// The layer, as its plan names it.
    pub layer: String,
    /// `mu` or `rho`.
    pub parameter: &'static str,
    /// The sum of the variances.
    pub trace: f64,
    /// Its standard error.
    pub std_error: f64,
}

impl Trace {
    /// This trace over that of another estimator, with its standard error by the delta method: the draws of both are independent.
    #[must_use]
    pub fn ratio(&self, other: &Self) -> (f64, f64) {
        let ratio = self.trace / other.trace;
        let relative = (self.std_error / self.trace).hypot(other.std_error / other.trace);
        (ratio, ratio.abs() * relative)
    }
}

/// The traces of all variational layers, for the gradient of the batch's mean NLL in nats per row.
///
/// The batch is the same for all gradients and the KL has no noise, so that what varies are the draws of the weights alone.
/// Half the squared distance of two independent gradients has the trace of the variance as its mean; `pairs` of them are
/// averaged, and their standard error is that of independent numbers.
///
/// # Errors
/// For a batch that does not fit the network, fewer than two pairs, or a gradient that is not finite.
pub fn traces(
    bnn: &Bnn,
    params: &[f32],
    (x, y): (Mat<'_>, Targets<'_>),
    estimator: Estimator,
    pairs: usize,
    pool: &dyn Pool,
) -> Result<Vec<Trace>, Error> {
    let elbo = Elbo::new(x.rows())?.with_kl_weight(0.0)?;
    // Estimators draw from lanes of their own, so that their errors are independent.
    let noise = Noise::in_lane(0, Purpose::Other(7), estimator as u64);
    let mut ws = Workspace::new();
    let mut gradient = |step: usize, grads: &mut [f32]| -> Result<(), Error> {
        let pass = Pass::train(&noise, step as u64, estimator).on(pool);
        elbo.gradient(bnn, params, x, y, &pass, &mut ws, grads)?;
        Ok(())
    };
    let groups = groups(bnn);
    let mut halves = vec![Vec::with_capacity(pairs); groups.len()];
    let (mut one, mut other) = (vec![0.0; params.len()], vec![0.0; params.len()]);
    for pair in 0..pairs {
        gradient(2 * pair, &mut one)?;
        gradient(2 * pair + 1, &mut other)?;
        for (group, halves) in groups.iter().zip(&mut halves) {
            halves.push(group.half_square(&one, &other));
        }
    }
    groups.into_iter().zip(&halves).map(|(group, halves)| group.trace(halves)).collect()
}

/// A layer's means, or its raw scales: of weights and of biases.
struct Group {
    layer: String,
    parameter: &'static str,
    ranges: Vec<Range<usize>>,
}

fn groups(bnn: &Bnn) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for entry in bnn.entries() {
        let parameter = match entry.block.role {
            Role::Mean => "mu",
            Role::RawScale => "rho",
            _ => continue,
        };
        match groups.iter_mut().find(|g| g.layer == entry.owner && g.parameter == parameter) {
            Some(group) => group.ranges.push(entry.range.clone()),
            None => {
                let ranges = vec![entry.range.clone()];
                groups.push(Group { layer: entry.owner.clone(), parameter, ranges });
            }
        }
    }
    groups
}

impl Group {
    /// `½‖one − other‖²` over the group.
    fn half_square(&self, one: &[f32], other: &[f32]) -> f64 {
        let of = |range: &Range<usize>| -> f64 {
            let pairs = one[range.clone()].iter().zip(&other[range.clone()]);
            pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
        };
        0.5 * self.ranges.iter().map(of).sum::<f64>()
    }

    fn trace(self, halves: &[f64]) -> Result<Trace, Error> {
        let Estimate { value, mcse } = mean_and_mcse(halves)?;
        let std_error = mcse.ok_or("gradvar: pairs must be at least 2")?;
        Ok(Trace { layer: self.layer, parameter: self.parameter, trace: value, std_error })
    }
}
