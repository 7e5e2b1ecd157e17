//! Several targets of a row, each with a likelihood of its own.

#[cfg(test)]
mod tests;

use std::ops::Range;

use bdl_layers::{Block, codec};
use bdl_tensor::{Mat, MatMut};
use serde::{Deserialize, Serialize};

use super::{Likelihood, Predicts, Reads, Targets};
use crate::Error;
use crate::error::{check_arg, check_len};

/// Several numbers per row, independent of each other *given the network's output*, each with a likelihood of its own.
///
/// ```text
/// −ln p(y_1, …, y_K | out) = Σ_k −ln p_k(y_k | out_k)
/// ```
///
/// The network's outputs are those of the first likelihood, then those of the second, and so on; parameters of their own too, so
/// that each target has, for instance, a learned noise of its own. The targets share the network: its passes, and with them the
/// epistemic part, are common to all, so that the *predictive* distribution has dependent targets.
/// [`Predictive::target`](crate::Predictive::target) is that of one of them.
///
/// ```
/// use bdl_infer::{Gaussian, Independent, Likelihood, NoiseSd, Targets};
/// use bdl_tensor::Mat;
/// let gaussian = |sd| Ok::<_, bdl_infer::Error>(Box::new(Gaussian::new(NoiseSd::Fixed(sd))?) as Box<dyn Likelihood>);
/// let both = Independent::new(vec![gaussian(1.0)?, gaussian(2.0)?])?;
/// let y = Targets::Several { y: &[1.0, 5.0], targets: 2 };
/// let nll = both.nll_sum(&[], Mat::new(&[1.0, 5.0], 1, 2)?, y)?;
/// assert!((nll - (std::f64::consts::TAU.ln() + 2.0_f64.ln())).abs() < 1e-12);
/// # Ok::<(), bdl_infer::Error>(())
/// ```
///
/// The formulas: `docs/math.md#likelihood-independent`.
#[derive(Debug)]
pub struct Independent {
    parts: Vec<Part>,
    reads: Reads,
}

/// The likelihood of one target, and where its outputs and parameters are.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) likelihood: Box<dyn Likelihood>,
    pub(crate) outputs: Range<usize>,
    pub(crate) params: Range<usize>,
}

/// Frozen: what [`Independent::config`] writes, kind and configuration of each part.
#[derive(Serialize, Deserialize)]
struct ConfigV1 {
    parts: Vec<(String, Vec<u8>)>,
}

/// Rows that a part is handed at a time, their columns gathered on the stack.
const ROWS: usize = 64;

/// The most outputs that a part may read.
const WIDEST: usize = 4;

impl Independent {
    /// Key of the registry.
    pub const KIND: &'static str = "independent";

    /// Of one likelihood for each target.
    ///
    /// # Errors
    /// [`Error::Argument`] without any, and for one that does not predict a number or reads more than four outputs.
    pub fn new(likelihoods: Vec<Box<dyn Likelihood>>) -> Result<Self, Error> {
        check_arg("independent: likelihoods", ">= 1", likelihoods.len() as f64, !likelihoods.is_empty())?;
        let mut reads = Reads { kind: Self::KIND, outputs: 0, params: 0 };
        let parts = likelihoods.into_iter().map(|likelihood| {
            let (outputs, params) =
                (likelihood.outputs(), likelihood.blocks().iter().map(Block::len).sum::<usize>());
            if !matches!(likelihood.predicts(), Predicts::Real(_)) || !(1..=WIDEST).contains(&outputs) {
                let got = format!("{} with {outputs} outputs", likelihood.kind());
                return Err(Error::argument(
                    "independent: likelihood",
                    "of one number, from 1 to 4 outputs",
                    got,
                ));
            }
            let first = (reads.outputs, reads.params);
            (reads.outputs, reads.params) = (first.0 + outputs, first.1 + params);
            Ok(Part { likelihood, outputs: first.0..reads.outputs, params: first.1..reads.params })
        });
        Ok(Self { parts: parts.collect::<Result<_, _>>()?, reads })
    }

    /// Builds again what [`config`](Likelihood::config) wrote; `build` makes a part from its kind and configuration.
    ///
    /// # Errors
    /// [`Error::Layers`] for other bytes, whatever `build` returns, and as [`new`](Self::new).
    pub fn from_config<B>(bytes: &[u8], build: B) -> Result<Self, Error>
    where
        B: Fn(&str, &[u8]) -> Result<Box<dyn Likelihood>, Error>,
    {
        let ConfigV1 { parts } = codec::decode(Self::KIND, bytes)?;
        Self::new(parts.iter().map(|(kind, config)| build(kind, config)).collect::<Result<_, _>>()?)
    }

    /// Number of targets.
    #[must_use]
    pub fn targets(&self) -> usize {
        self.parts.len()
    }

    /// The likelihood of one target.
    ///
    /// # Errors
    /// [`Error::Argument`] if there is no such target.
    pub fn target(&self, target: usize) -> Result<&dyn Likelihood, Error> {
        Ok(&*self.part(target)?.likelihood)
    }

    pub(crate) fn part(&self, target: usize) -> Result<&Part, Error> {
        let none = || Error::argument("independent: target", "below the number of targets", target);
        self.parts.get(target).ok_or_else(none)
    }

    /// `Σ_k ln p_k(y_k | out_k)` of one output, by who answers for each target.
    pub(crate) fn ln_density(&self, params: &[f32], out_row: &[f32], y: impl Fn(usize) -> f64) -> f64 {
        let each = self.parts.iter().enumerate().map(|(k, part)| match part.likelihood.predicts() {
            Predicts::Real(of) => {
                of.ln_density(&params[part.params.clone()], &out_row[part.outputs.clone()], y(k))
            }
            // `new` lets nothing else in.
            _ => f64::NAN,
        });
        each.sum()
    }

    fn check<'a>(&self, params: &[f32], out: Mat<'_>, y: Targets<'a>) -> Result<&'a [f32], Error> {
        let of = y.several(Self::KIND)?;
        check_len("likelihood: numbers of all targets", out.rows() * self.targets(), of.len())?;
        self.reads.check(params, out, y.len())?;
        Ok(of)
    }
}

/// The columns of one part in some rows, side by side.
struct Columns {
    rows: Range<usize>,
    width: usize,
    out: [f32; ROWS * WIDEST],
    y: [f32; ROWS],
}

impl Columns {
    /// Gathers those of part `k`, blocks of rows one after the other.
    fn each<'a>(part: &'a Part, k: usize, out: Mat<'a>, y: &'a [f32]) -> impl Iterator<Item = Self> + 'a {
        let (targets, width) = (y.len() / out.rows().max(1), part.outputs.len());
        (0..out.rows()).step_by(ROWS).map(move |first| {
            let rows = first..(first + ROWS).min(out.rows());
            let mut columns = Self { rows: rows.clone(), width, out: [0.0; ROWS * WIDEST], y: [0.0; ROWS] };
            for (at, row) in rows.enumerate() {
                columns.out[at * width..][..width].copy_from_slice(&out.row(row)[part.outputs.clone()]);
                columns.y[at] = y[row * targets + k];
            }
            columns
        })
    }

    fn out(&self) -> Result<Mat<'_>, Error> {
        Ok(Mat::new(&self.out[..self.rows.len() * self.width], self.rows.len(), self.width)?)
    }

    fn y(&self) -> Targets<'_> {
        Targets::Real(&self.y[..self.rows.len()])
    }

    /// The same error with the row's number in the batch.
    fn blame(&self, e: Error) -> Error {
        match e {
            Error::Count { row, value } => Error::Count { row: self.rows.start + row, value },
            e => e,
        }
    }
}

impl Likelihood for Independent {
    fn kind(&self) -> &str {
        Self::KIND
    }

    fn config(&self) -> Result<Vec<u8>, Error> {
        let part = |part: &Part| Ok((part.likelihood.kind().to_owned(), part.likelihood.config()?));
        let parts = self.parts.iter().map(part).collect::<Result<_, Error>>()?;
        Ok(codec::encode(Self::KIND, &ConfigV1 { parts })?)
    }

    fn outputs(&self) -> usize {
        self.reads.outputs
    }

    /// Those of all parts, behind the number of their target: `0.noise.raw`.
    fn blocks(&self) -> Vec<Block> {
        let own = |(k, part): (usize, &Part)| {
            let named = move |block: Block| Block { name: format!("{k}.{}", block.name), ..block };
            part.likelihood.blocks().into_iter().map(named)
        };
        self.parts.iter().enumerate().flat_map(own).collect()
    }

    fn init(&self, params: &mut [f32]) {
        self.parts.iter().for_each(|part| part.likelihood.init(&mut params[part.params.clone()]));
    }

    fn nll_sum(&self, params: &[f32], out: Mat<'_>, y: Targets<'_>) -> Result<f64, Error> {
        let y = self.check(params, out, y)?;
        let mut nll = 0.0;
        for (k, part) in self.parts.iter().enumerate() {
            let own = &params[part.params.clone()];
            for columns in Columns::each(part, k, out, y) {
                let of_rows = part.likelihood.nll_sum(own, columns.out()?, columns.y());
                nll += of_rows.map_err(|e| columns.blame(e))?;
            }
        }
        Ok(nll)
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
        let y = self.check(params, out, y)?;
        self.reads.check_grads(out, d_out, d_params)?;
        let mut nll = 0.0;
        for (k, part) in self.parts.iter().enumerate() {
            let (own, d_own) = (&params[part.params.clone()], &mut d_params[part.params.clone()]);
            for columns in Columns::each(part, k, out, y) {
                let (rows, width) = (columns.rows.len(), columns.width);
                let mut d = [0.0; ROWS * WIDEST];
                let mut of_rows = MatMut::new(&mut d[..rows * width], rows, width)?;
                let part_nll =
                    part.likelihood.nll_grad(own, columns.out()?, columns.y(), scale, &mut of_rows, d_own);
                nll += part_nll.map_err(|e| columns.blame(e))?;
                for (row, d) in columns.rows.clone().zip(d.chunks_exact(width)) {
                    d_out.row_mut(row)[part.outputs.clone()].copy_from_slice(d);
                }
            }
        }
        Ok(nll)
    }

    fn predicts(&self) -> Predicts<'_> {
        Predicts::Several(self)
    }
}
