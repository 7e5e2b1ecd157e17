//! The Poisson likelihood: counts, whose rate the network puts out as a logarithm.

use bdl_dist::NoiseRng;
use bdl_layers::codec;
use bdl_tensor::special::{gamma_p, gamma_q, ln_gamma};
use bdl_tensor::{Mat, MatMut};
use serde::{Deserialize, Serialize};

use super::{Likelihood, Predicts, Reads, RealLikelihood, Targets};
use crate::Error;
use crate::error::check_arg;
use crate::predictive::{Tail, whole_quantile};

/// Poisson likelihood of counts: the network's one output is the log of the rate, relative to `base`.
///
/// ```text
/// rate = base·e^out
/// −ln P(y | out) = rate − y·ln rate + ln y!
/// ```
///
/// | name | default | range | meaning |
/// |---|---|---|---|
/// | `base` | 1 | finite and > 0 | the rate where the network puts out 0 |
///
/// The base does for counts what standardization does for numbers: with the mean count there, a network starts where the data are and
/// a prior around 0 is one around the mean. Counts themselves are never scaled. They are whole numbers from 0 to
/// [`Poisson::MOST`]; mean and variance are both the rate. The formulas: `docs/math.md#likelihood-poisson`.
///
/// ```
/// use bdl_infer::{Likelihood, Poisson, Targets};
/// use bdl_tensor::Mat;
/// let nll = Poisson::new(3.0)?.nll_sum(&[], Mat::new(&[0.0], 1, 1)?, Targets::Real(&[2.0]))?;
/// assert!((nll - (3.0 - 2.0 * 3.0_f64.ln() + 2.0_f64.ln())).abs() < 1e-12);
/// # Ok::<(), bdl_infer::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Poisson {
    base: f64,
    ln_base: f64,
}

/// Frozen: what [`Poisson::config`] writes.
#[derive(Serialize, Deserialize)]
struct ConfigV1 {
    base: f64,
}

impl Poisson {
    /// Key of the registry.
    pub const KIND: &'static str = "poisson";

    /// The largest count, 2²⁴: up to here every whole number is an `f32`.
    pub const MOST: f64 = 16_777_216.0;

    /// With the rate `base` where the network puts out 0.
    ///
    /// # Errors
    /// [`Error::Argument`] unless `base` is finite and positive.
    pub fn new(base: f64) -> Result<Self, Error> {
        check_arg("poisson: base", "finite and > 0", base, base > 0.0 && base.is_finite())?;
        Ok(Self { base, ln_base: base.ln() })
    }

    /// Builds again what [`config`](Likelihood::config) wrote.
    ///
    /// # Errors
    /// [`Error::Layers`] for other bytes, [`Error::Argument`] for a base out of range.
    pub fn from_config(bytes: &[u8]) -> Result<Self, Error> {
        let ConfigV1 { base } = codec::decode(Self::KIND, bytes)?;
        Self::new(base)
    }

    /// Whether `y` is a count: a whole number from 0 to [`MOST`](Self::MOST).
    #[must_use]
    pub fn is_count(y: f64) -> bool {
        (0.0..=Self::MOST).contains(&y) && y.fract() == 0.0
    }

    /// The rate where the network puts out 0.
    #[must_use]
    pub fn base(&self) -> f64 {
        self.base
    }

    fn ln_rate(&self, out: f32) -> f64 {
        self.ln_base + f64::from(out)
    }

    fn rate(&self, out_row: &[f32]) -> f64 {
        self.ln_rate(out_row[0]).exp()
    }
}

const READS: Reads = Reads { kind: Poisson::KIND, outputs: 1, params: 0 };

/// The counts of a batch that fits.
fn counts<'a>(params: &[f32], out: Mat<'_>, y: Targets<'a>) -> Result<&'a [f32], Error> {
    let y = READS.numbers(params, out, y)?;
    match y.iter().position(|&y| !Poisson::is_count(y.into())) {
        Some(row) => Err(Error::Count { row, value: y[row] }),
        None => Ok(y),
    }
}

impl Default for Poisson {
    fn default() -> Self {
        Self { base: 1.0, ln_base: 0.0 }
    }
}

/// `rate − y·ln rate + ln y!`.
fn nll(ln_rate: f64, y: f64) -> f64 {
    // No event under a rate that has underflown costs nothing.
    let of_events = if y == 0.0 { 0.0 } else { y * ln_rate - ln_gamma(y + 1.0) };
    ln_rate.exp() - of_events
}

impl Likelihood for Poisson {
    fn kind(&self) -> &str {
        Self::KIND
    }

    fn config(&self) -> Result<Vec<u8>, Error> {
        Ok(codec::encode(Self::KIND, &ConfigV1 { base: self.base })?)
    }

    fn outputs(&self) -> usize {
        1
    }

    fn nll_sum(&self, params: &[f32], out: Mat<'_>, y: Targets<'_>) -> Result<f64, Error> {
        let y = counts(params, out, y)?;
        Ok(out.data().iter().zip(y).map(|(&out, &y)| nll(self.ln_rate(out), y.into())).sum())
    }

    fn nll_grad(
        &self,
        params: &[f32],
        out: Mat<'_>,
        y: Targets<'_>,
        scale: f32,
        d_out: &mut MatMut<'_>,
        d_params: &mut [f32],
    ) -> Result<f64, Error> {
        let y = counts(params, out, y)?;
        READS.check_grads(out, d_out, d_params)?;
        let mut sum = 0.0;
        for ((d, &out), &y) in d_out.data_mut().iter_mut().zip(out.data()).zip(y) {
            let ln_rate = self.ln_rate(out);
            sum += nll(ln_rate, y.into());
            *d = (f64::from(scale) * (ln_rate.exp() - f64::from(y))) as f32;
        }
        Ok(sum)
    }

    fn predicts(&self) -> Predicts<'_> {
        Predicts::Real(self)
    }
}

impl RealLikelihood for Poisson {
    fn mean_sd(&self, _: &[f32], out_row: &[f32]) -> (f64, f64) {
        let rate = self.rate(out_row);
        (rate, rate.sqrt())
    }

    fn ln_density(&self, _: &[f32], out_row: &[f32], y: f64) -> f64 {
        if y < 0.0 || y.fract() != 0.0 { f64::NEG_INFINITY } else { -nll(self.ln_rate(out_row[0]), y) }
    }

    fn cdf(&self, _: &[f32], out_row: &[f32], y: f64) -> f64 {
        at_most(self.rate(out_row), y)
    }

    fn survival(&self, _: &[f32], out_row: &[f32], y: f64) -> f64 {
        more_than(self.rate(out_row), y)
    }

    /// By inversion: one uniform number for each draw, whatever the rate.
    fn draw(&self, _: &[f32], out_row: &[f32], rng: &mut NoiseRng) -> f64 {
        let rate = self.rate(out_row);
        // In (0, 1]: a 1 would have no quantile.
        let prob = 1.0 - rng.uniform();
        whole_quantile(prob.min(1.0 - 0.5 * f64::EPSILON), rate, rate.sqrt(), |y, tail| match tail {
            Tail::Lower => at_most(rate, y),
            Tail::Upper => more_than(rate, y),
        })
    }

    fn is_discrete(&self) -> bool {
        true
    }
}

/// `P(Y ≤ y) = Q(⌊y⌋ + 1, rate)`.
fn at_most(rate: f64, y: f64) -> f64 {
    if y < 0.0 { 0.0 } else { gamma_q(y.floor() + 1.0, rate) }
}

/// `P(Y > y) = P(⌊y⌋ + 1, rate)`.
fn more_than(rate: f64, y: f64) -> f64 {
    if y < 0.0 { 1.0 } else { gamma_p(y.floor() + 1.0, rate) }
}
