//! Pruning a trained model, and what a pruned model remembers of the model that it was.

mod time;

use bdl_infer::{Bnn, Kinds};
use bdl_layers::{Measure, Plan, codec};
use serde::{Deserialize, Serialize};

use crate::architecture::MAX_WEIGHTS;
use crate::encode::Encoder;
use crate::{Error, Model};

pub use time::RowTimes;

/// Tag of the section that a pruned model has besides.
pub(crate) const PRUNED: [u8; 4] = *b"PRUN";

/// How a model was pruned, and what it was before.
#[derive(Debug)]
pub struct Pruning {
    /// How the threshold says that a weight is noise.
    pub measure: Measure,
    /// The threshold.
    pub threshold: f64,
    /// What became of each layer with posteriors over weights.
    pub layers: Vec<LayerPruning>,
    /// Bytes of the model's file before.
    pub dense_bytes: u64,
    /// A network of the size before, with the likelihood.
    dense: Bnn,
}

/// What became of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerPruning {
    /// Its name before.
    pub name: String,
    /// Its weights before.
    pub weights: usize,
    /// Those that are left, with those of a constant input.
    pub kept: usize,
    /// Those of a constant input, which stand for units that are gone.
    pub constant: usize,
    /// Its output units or channels, before and after.
    pub units: [usize; 2],
}

/// How a model was pruned, as a file holds it; frozen.
#[derive(Serialize, Deserialize)]
struct V1 {
    measure: MeasureV1,
    threshold: f64,
    dense_bytes: u64,
    /// Kind and configuration of each layer before.
    dense: Vec<(String, Vec<u8>)>,
    layers: Vec<LayerV1>,
}

#[derive(Serialize, Deserialize)]
enum MeasureV1 {
    LnAlpha,
    SignalToNoise,
}

#[derive(Serialize, Deserialize)]
struct LayerV1 {
    index: u64,
    kept: u64,
    constant: u64,
    weights: u64,
    units: [u64; 2],
}

impl Pruning {
    /// Weights of all layers that can be pruned, before.
    #[must_use]
    pub fn weights(&self) -> usize {
        self.layers.iter().map(|layer| layer.weights).sum()
    }

    /// Those that are left.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.layers.iter().map(|layer| layer.kept).sum()
    }

    /// All weights for each that is left; infinite if none is.
    #[must_use]
    pub fn compression(&self) -> f64 {
        self.weights() as f64 / self.kept() as f64
    }

    /// The network before, without its parameters.
    #[must_use]
    pub fn dense(&self) -> &Plan {
        self.dense.plan()
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let index = |name: &str| self.dense().layers().position(|(n, _)| n == name).unwrap_or(0);
        let v = V1 {
            measure: match self.measure {
                Measure::LnAlpha => MeasureV1::LnAlpha,
                Measure::SignalToNoise => MeasureV1::SignalToNoise,
            },
            threshold: self.threshold,
            dense_bytes: self.dense_bytes,
            dense: kinds_of(self.dense())?,
            layers: self.layers.iter().map(|layer| layer.to_file(index(&layer.name))).collect(),
        };
        Ok(codec::encode("section PRUN", &v)?)
    }

    pub(crate) fn from_bytes(bytes: &[u8], bnn: &Bnn, kinds: &Kinds) -> Result<Self, Error> {
        let v: V1 = codec::decode("section PRUN", bytes)?;
        let dense = bnn.with_plan(plan_of(&v.dense, kinds)?)?;
        check_dense(dense.plan(), bnn.plan())?;
        let measure = match v.measure {
            MeasureV1::LnAlpha => Measure::LnAlpha,
            MeasureV1::SignalToNoise => Measure::SignalToNoise,
        };
        let layer = |layer| LayerPruning::of_file(layer, dense.plan());
        let layers = v.layers.iter().map(layer).collect::<Result<_, _>>()?;
        Ok(Self { measure, threshold: v.threshold, layers, dense_bytes: v.dense_bytes, dense })
    }
}

impl LayerPruning {
    fn to_file(&self, index: usize) -> LayerV1 {
        let [index, kept, constant, weights] =
            [index, self.kept, self.constant, self.weights].map(|n| n as u64);
        LayerV1 { index, kept, constant, weights, units: self.units.map(|n| n as u64) }
    }

    fn of_file(v: &LayerV1, dense: &Plan) -> Result<Self, Error> {
        let Some((name, _)) = dense.layers().nth(v.index as usize) else {
            let what = format!("it was pruned in layer {}, but had {} layers", v.index, dense.layers().len());
            return Err(Error::Schema { what });
        };
        let [kept, constant, weights] = [v.kept, v.constant, v.weights].map(|n| n as usize);
        Ok(Self { name: name.to_owned(), weights, kept, constant, units: v.units.map(|n| n as usize) })
    }
}

impl Model {
    /// The model without the weights that its posteriors say are noise, and without the units that this leaves idle:
    /// [`Plan::prune`].
    ///
    /// The threshold is that of [`Measure`]: of ln alpha for sparse variational dropout, 3 by default, of |mu|/sigma for mean-field
    /// posteriors, 0.223 by default.
    ///
    /// # Errors
    /// [`Error::Unprunable`] for a model without posteriors over single weights, and for one that is pruned already;
    /// [`Error::Argument`] for a threshold that is not finite, or a negative one of |mu|/sigma.
    pub fn prune(&self, threshold: Option<f64>) -> Result<Self, Error> {
        self.prune_with(threshold, &Kinds::default())
    }

    /// The same for a model with kinds of the user's own.
    ///
    /// # Errors
    /// As [`prune`](Model::prune).
    pub fn prune_with(&self, threshold: Option<f64>, kinds: &Kinds) -> Result<Self, Error> {
        let measure = self.measure()?;
        let threshold = check_threshold(measure, threshold.unwrap_or_else(|| measure.threshold()))?;
        let (bnn, plan) = (self.bnn(), self.bnn().plan());
        let networks: Vec<&[f32]> = self.members().iter().map(|params| &params[bnn.network()]).collect();
        let pruned = plan.prune(&networks, measure.ln_alpha(threshold), &kinds.layers)?;
        let mut members = pruned.members;
        for (left, params) in members.iter_mut().zip(self.members()) {
            left.extend(&params[bnn.noise()]);
        }
        let names: Vec<&str> = plan.layers().map(|(name, _)| name).collect();
        let of_layer = |layer: &bdl_layers::PrunedLayer| LayerPruning {
            name: names[layer.index].to_owned(),
            weights: layer.weights,
            kept: layer.kept,
            constant: layer.constant,
            units: layer.units,
        };
        let pruning = Pruning {
            measure,
            threshold,
            layers: pruned.layers.iter().map(of_layer).collect(),
            dense_bytes: self.to_bytes()?.len() as u64,
            dense: bnn.with_plan(plan_of(&kinds_of(plan)?, kinds)?)?,
        };
        let encoder = Encoder::new(self.schema().clone())?;
        let model = Self::from_parts(
            encoder,
            bnn.with_plan(pruned.plan)?,
            members,
            self.record().clone(),
            self.method(),
        );
        Ok(model.after(pruning))
    }

    /// How thresholds of this model are given.
    ///
    /// # Errors
    /// [`Error::Unprunable`] as for [`prune`](Model::prune).
    pub fn measure(&self) -> Result<Measure, Error> {
        if self.pruning().is_some() {
            return Err(Error::Unprunable {
                why: "it is pruned already; prune the file that it was made from".to_owned(),
            });
        }
        let around = self.bnn().entries().iter().any(|e| e.block.name.starts_with("prior.weight.mean"));
        let why = || match around {
            true => "its prior lies around the weights of another model (--moped), which cannot be thinned"
                .to_owned(),
            false => format!(
                "{} has no posterior over single weights that says which are noise; sparse-vd and mean-field have",
                self.method().name()
            ),
        };
        self.bnn().plan().measure().ok_or_else(|| Error::Unprunable { why: why() })
    }

    /// Mean times of predicting one synthetic row with these passes, of a pruned model and of a network of the size that it was before, in
    /// turn: measured now, on the caller's thread. `None` for a model that is not pruned.
    ///
    /// # Errors
    /// If `samples` is 0.
    pub fn row_times(&self, passes: bdl_infer::Passes) -> Result<Option<RowTimes>, Error> {
        let Some(pruning) = self.pruning() else { return Ok(None) };
        time::of_row(self.bnn(), self.members(), &pruning.dense, passes).map(Some)
    }
}

fn check_threshold(measure: Measure, threshold: f64) -> Result<f64, Error> {
    let (expected, fits) = match measure {
        Measure::LnAlpha => ("a finite ln alpha", threshold.is_finite()),
        Measure::SignalToNoise => ("a finite |mu|/sigma >= 0", threshold.is_finite() && threshold >= 0.0),
    };
    if fits {
        return Ok(threshold);
    }
    Err(Error::Argument { what: "--threshold", expected, got: threshold.to_string() })
}

/// Whether a file's network before can be timed beside the one that is left.
fn check_dense(dense: &Plan, left: &Plan) -> Result<(), Error> {
    let (takes, inputs) = (dense.in_dim(), left.in_dim());
    if takes != inputs {
        let what = format!("it was pruned from a network of {takes} inputs, but takes {inputs}");
        return Err(Error::Schema { what });
    }
    // Two for each weight, and biases.
    match dense.n_params() {
        got if got > 4 * MAX_WEIGHTS => {
            Err(Error::Schema { what: format!("it was pruned from a network of {got} parameters") })
        }
        _ => Ok(()),
    }
}

fn kinds_of(plan: &Plan) -> Result<Vec<(String, Vec<u8>)>, Error> {
    plan.layers().map(|(_, layer)| Ok((layer.kind().to_owned(), layer.config()?))).collect()
}

fn plan_of(layers: &[(String, Vec<u8>)], kinds: &Kinds) -> Result<Plan, Error> {
    let build = |(kind, config): &(String, Vec<u8>)| kinds.layers.build(kind, config);
    Ok(Plan::new(layers.iter().map(build).collect::<Result<_, _>>()?)?)
}
