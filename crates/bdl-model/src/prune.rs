//! Pruning a trained model, and what a pruned model remembers of the model that it was.

mod time;

use bdl_infer::{Bnn, Kinds};
use bdl_layers::{Leaf, Measure, Plan, Prunable, codec};
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

/// A layer whose weights all stayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerUntouched {
    /// Its name.
    pub name: String,
    /// Its weights.
    pub weights: usize,
    /// Why they stayed, in words that follow the name: `has no posteriors over its weights`.
    pub why: &'static str,
}

/// What became of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerPruning {
    /// Its name before, inside a residual connection `3.residual/0.variational-dense`.
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
    /// See [`place_of`].
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

    /// Weights of the whole network, before: those that could be pruned, and those of the [untouched](Self::untouched) layers.
    #[must_use]
    pub fn network_weights(&self) -> usize {
        self.dense().weights()
    }

    /// Those that are left.
    #[must_use]
    pub fn network_kept(&self) -> usize {
        self.network_weights() - self.weights() + self.kept()
    }

    /// All weights of the whole network for each that is left; infinite if none is.
    #[must_use]
    pub fn network_compression(&self) -> f64 {
        self.network_weights() as f64 / self.network_kept() as f64
    }

    /// The layers with weights that could not be pruned.
    #[must_use]
    pub fn untouched(&self) -> Vec<LayerUntouched> {
        let untouched = |leaf: Leaf<'_>| match (leaf.layer.prunable(), leaf.layer.weights()) {
            (Prunable::No(why), weights @ 1..) => Some(LayerUntouched { name: leaf.name, weights, why }),
            _ => None,
        };
        self.dense().leaves().into_iter().filter_map(untouched).collect()
    }

    /// The network before, without its parameters.
    #[must_use]
    pub fn dense(&self) -> &Plan {
        self.dense.plan()
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let leaves = self.dense().leaves();
        let index = |name: &str| leaves.iter().find(|leaf| leaf.name == name).map_or(0, place_of);
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
        check_layers(v.dense.len(), bnn.plan())?;
        let dense = bnn.with_plan(plan_of(&v.dense, kinds)?)?;
        check_dense(dense.plan(), bnn.plan())?;
        let measure = match v.measure {
            MeasureV1::LnAlpha => Measure::LnAlpha,
            MeasureV1::SignalToNoise => Measure::SignalToNoise,
        };
        let leaves = dense.plan().leaves();
        let layer = |layer| LayerPruning::of_file(layer, &leaves);
        let layers = v.layers.iter().map(layer).collect::<Result<_, _>>()?;
        Ok(Self { measure, threshold: v.threshold, layers, dense_bytes: v.dense_bytes, dense })
    }
}

impl LayerPruning {
    fn to_file(&self, index: u64) -> LayerV1 {
        let [kept, constant, weights] = [self.kept, self.constant, self.weights].map(|n| n as u64);
        LayerV1 { index, kept, constant, weights, units: self.units.map(|n| n as u64) }
    }

    fn of_file(v: &LayerV1, dense: &[Leaf<'_>]) -> Result<Self, Error> {
        let Some(leaf) = dense.iter().find(|leaf| place_of(leaf) == v.index) else {
            let had = dense.iter().map(|leaf| leaf.index + 1).max().unwrap_or(0);
            let what = format!("it was pruned in layer {}, but had {had} layers", v.index);
            return Err(Error::Schema { what });
        };
        let had = match leaf.layer.prunable() {
            Prunable::Weights(_) => leaf.layer.weights(),
            _ => 0,
        };
        if v.weights != had as u64 || v.kept > v.weights || v.constant > v.kept {
            let LayerV1 { kept, constant, weights, .. } = v;
            let what = format!(
                "{} had {had} weights that can be pruned, got {weights}, of which {kept} are left and {constant} constant",
                leaf.name
            );
            return Err(Error::Schema { what });
        }
        let [kept, constant, weights] = [v.kept, v.constant, v.weights].map(|n| n as usize);
        let (name, units) = (leaf.name.clone(), v.units.map(|n| n as usize));
        Ok(Self { name, weights, kept, constant, units })
    }
}

/// Where a layer stands, as a file says it: its index, and if it is inside a residual connection the index of that, with one more
/// than its own there in the upper half.
fn place_of(leaf: &Leaf<'_>) -> u64 {
    leaf.index as u64 | leaf.inside.map_or(0, |inside| (inside as u64 + 1) << 32)
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
        let of_layer = |layer: bdl_layers::PrunedLayer| LayerPruning {
            name: layer.name,
            weights: layer.weights,
            kept: layer.kept,
            constant: layer.constant,
            units: layer.units,
        };
        let pruning = Pruning {
            measure,
            threshold,
            layers: pruned.layers.into_iter().map(of_layer).collect(),
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
        self.bnn().plan().measure().map_err(|e| Error::Unprunable {
            why: format!("{e}; the posteriors of sparse-vd and mean-field say which weights are noise"),
        })
    }

    /// Times of predicting one synthetic row with these passes, of a pruned model and of a network of the size that it was before, in
    /// turn: measured now, on the caller's thread. `None` for a model that is not pruned.
    ///
    /// Of an ensemble all passes before are those of one member, so that no more than one such network takes memory.
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

/// Refuses a network before of more layers than are left, before they are built.
fn check_layers(before: usize, left: &Plan) -> Result<(), Error> {
    match left.layers().len() {
        has if before > has => Err(Error::Schema {
            what: format!("it was pruned from a network of {before} layers, but has {has}"),
        }),
        _ => Ok(()),
    }
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
