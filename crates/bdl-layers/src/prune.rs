//! Pruning: a network without the weights that its posterior says are noise, and without the units that this leaves idle:
//! `docs/math.md#pruning`, `docs/math.md#pruning-units`.

mod stages;

use crate::layer::Layer;
use crate::map::LinearMap;
use crate::{Error, Plan, Registry, Residual};
use stages::Stages;

/// What pruning can do with a layer.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Prunable<'a> {
    /// Nothing: it stays as it is, and so do the units on both sides of it. Why its weights stay, in words that follow its name:
    /// `has no posteriors over its weights`.
    No(&'static str),
    /// It has posteriors over the weights of a linear map.
    Weights(&'a dyn Weights),
    /// It does the same to each unit by itself, so that units can be taken out.
    Units(&'a dyn Units),
    /// It is a residual connection: weights go inside it as anywhere, and units between the layers there. What comes in and what goes
    /// out stay, since they are added.
    Inside(&'a Residual),
}

/// A layer with independent posteriors over the weights of a linear map, from which weights can be removed.
///
/// Channels lie last: column k of the input belongs to input unit `k mod in_units`.
pub trait Weights: Layer {
    /// Number of input and output units.
    fn units(&self) -> [usize; 2];

    /// The input and the output unit that a weight joins.
    fn ends(&self, weight: usize) -> [usize; 2];

    /// Which weights are more than noise: those of `ln(sigma²/mu²) ≤ ln_alpha`.
    fn keeps(&self, params: &[f32], ln_alpha: f32) -> Vec<bool>;

    /// How a threshold says that one of its weights is noise.
    fn measure(&self) -> Measure;

    /// The plain biases, nothing where there are none; `None` where they have posteriors of their own.
    fn biases<'a>(&self, params: &'a [f32]) -> Option<&'a [f32]>;

    /// Whether units can be removed, and with them their weights.
    fn narrows(&self) -> bool;

    /// Whether an input unit that is the same number everywhere can be replaced by weights of a constant.
    fn is_uniform(&self) -> bool;

    /// What is left of the layer.
    ///
    /// # Errors
    /// Of a layer that cannot be built.
    fn cut(&self, cut: &Cut) -> Result<Box<dyn Layer>, Error>;

    /// What is left of its parameters, where `constants` are the numbers that the input units with folded weights are.
    fn cut_params(&self, params: &[f32], cut: &Cut, constants: &[f32]) -> Vec<f32>;
}

/// A layer that does the same to each unit by itself: an activation, a pooling over positions.
///
/// Channels lie last: column k of the input belongs to unit `k mod units`.
pub trait Units: Layer {
    /// Number of units, where the layer works on so many and no other number will do.
    fn units(&self) -> Option<usize> {
        None
    }

    /// The same over the units that are kept.
    ///
    /// # Errors
    /// Of a layer that cannot be built.
    fn narrowed(&self, kept: &[bool]) -> Result<Box<dyn Layer>, Error>;

    /// What becomes of a unit that is `x` everywhere; `None` if that is not one number everywhere.
    fn constant(&self, x: f32) -> Option<f32>;
}

/// How a threshold says that a weight is noise; both are the same ratio: `docs/math.md#pruning`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Measure {
    /// `ln alpha = ln(sigma²/mu²)` above the threshold.
    LnAlpha,
    /// `|mu|/sigma` below the threshold.
    #[default]
    SignalToNoise,
}

impl Measure {
    /// The threshold that removes what has a drop probability above 0.95 under sparse variational dropout: `ln alpha > 3`.
    #[must_use]
    pub fn threshold(self) -> f64 {
        match self {
            Self::LnAlpha => 3.0,
            Self::SignalToNoise => 0.223,
        }
    }

    /// The ln alpha above which weights go.
    ///
    /// ```
    /// use bdl_layers::Measure;
    /// assert_eq!(Measure::SignalToNoise.ln_alpha(0.0), f32::INFINITY); // nothing goes
    /// assert!((Measure::SignalToNoise.ln_alpha(0.5) - 1.386).abs() < 1e-3);
    /// ```
    #[must_use]
    pub fn ln_alpha(self, threshold: f64) -> f32 {
        match self {
            Self::LnAlpha => threshold as f32,
            Self::SignalToNoise => (-2.0 * threshold.ln()) as f32,
        }
    }
}

/// What pruning leaves of a layer with posteriors over weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The weights that stay, of all.
    pub kept: Vec<bool>,
    /// The weights that stay as weights of a constant: those of input units that are gone since they were the same number for every row.
    pub folded: Vec<bool>,
    /// The input units that stay.
    pub inputs: Vec<bool>,
    /// The output units that stay.
    pub units: Vec<bool>,
}

impl Cut {
    /// Nothing is removed from a layer of so many weights and units.
    fn whole(kept: Vec<bool>, [inputs, units]: [usize; 2]) -> Self {
        Self { folded: vec![false; kept.len()], kept, inputs: vec![true; inputs], units: vec![true; units] }
    }

    /// Whether the layer is what it was.
    fn is_whole(&self) -> bool {
        self.kept.iter().chain(&self.inputs).chain(&self.units).all(|there| *there)
    }

    /// The output units that a constant adds to.
    pub(crate) fn always<M: LinearMap>(&self, map: &M) -> Vec<usize> {
        let mut always = vec![false; self.units.len()];
        let folded = (0..self.folded.len()).filter(|&weight| self.folded[weight]);
        folded.for_each(|weight| always[map.ends(weight)[1]] = true);
        (0..always.len()).filter(|&unit| always[unit] && self.units[unit]).collect()
    }
}

/// A network after pruning.
#[derive(Debug)]
#[non_exhaustive]
pub struct PrunedPlan {
    /// The layers that are left.
    pub plan: Plan,
    /// The parameters of each member.
    pub members: Vec<Vec<f32>>,
    /// What became of each layer with posteriors over weights, in order.
    pub layers: Vec<PrunedLayer>,
}

/// What became of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrunedLayer {
    /// Its name, as of [`Leaf`].
    pub name: String,
    /// Its weights before.
    pub weights: usize,
    /// Those that are left, with those of the constant input.
    pub kept: usize,
    /// Those of the constant input.
    pub constant: usize,
    /// Its output units, or channels, before and after.
    pub units: [usize; 2],
}

/// A layer of a network that holds no others.
#[derive(Clone, Debug)]
pub struct Leaf<'a> {
    /// Its name: `1.dense`, and inside a residual connection `3.residual/0.dense`.
    pub name: String,
    /// Its index in the plan, or that of the residual connection around it.
    pub index: usize,
    /// Its index inside that.
    pub inside: Option<usize>,
    /// The layer.
    pub layer: &'a dyn Layer,
}

impl Plan {
    /// The layers that hold no others, in order, those inside a residual connection in its place.
    #[must_use]
    pub fn leaves(&self) -> Vec<Leaf<'_>> {
        let mut leaves = Vec::new();
        for (index, (name, layer)) in self.layers().enumerate() {
            let leaf = |name: String, inside, layer| Leaf { name, index, inside, layer };
            match layer.prunable() {
                Prunable::Inside(residual) => {
                    leaves.extend(
                        residual.inner().layers().enumerate().map(|(inside, (inner, layer))| {
                            leaf(name_inside(name, inner), Some(inside), layer)
                        }),
                    )
                }
                _ => leaves.push(leaf(name.to_owned(), None, layer)),
            }
        }
        leaves
    }

    /// How thresholds of pruning are given: as the first layer says that has posteriors over weights.
    ///
    /// # Errors
    /// [`Error::Unprunable`] if none has, with the first layer that has weights and why they stay.
    ///
    /// ```
    /// use bdl_layers::{Dense, Measure, Plan, SparseVdDense};
    /// let plan = Plan::new(vec![Box::new(Dense::new(2, 3)?), Box::new(SparseVdDense::new(3, 1)?)])?;
    /// assert_eq!(plan.measure()?, Measure::LnAlpha);
    /// let plan = Plan::new(vec![Box::new(Dense::new(2, 1)?)])?;
    /// assert_eq!(plan.measure().unwrap_err().to_string(), "0.dense has no posteriors over its weights");
    /// # Ok::<(), bdl_layers::Error>(())
    /// ```
    pub fn measure(&self) -> Result<Measure, Error> {
        let (leaves, mut refused) = (self.leaves(), None);
        for Leaf { name, layer, .. } in &leaves {
            match layer.prunable() {
                Prunable::Weights(weights) => return Ok(weights.measure()),
                Prunable::No(why) if layer.weights() > 0 => {
                    refused.get_or_insert((name, why));
                }
                _ => {}
            }
        }
        let (layer, why) =
            refused.map_or(("the network", "has no weights"), |(name, why)| (name.as_str(), why));
        Err(Error::Unprunable { layer: layer.to_owned(), why })
    }

    /// The network without the weights of `ln(sigma²/mu²) > ln_alpha`, and without the units that this leaves idle.
    ///
    /// * A weight goes if it goes in every one of `members`, whose parameters the network has.
    /// * An output unit goes if nobody reads it any more.
    /// * An output unit without weights and with a plain bias is the same number c for every row. It goes, and c times the
    ///   weights that read it become weights of a constant input of the layer behind, exactly: `N(Σ c·mu, Σ c²·sigma²)`.
    /// * Inputs and outputs of the network stay, and so do the units next to a layer that is not [`Prunable`]. Each layer
    ///   keeps a unit at least.
    /// * Inside a residual connection the same holds of the network there.
    ///
    /// A layer that loses nothing stays what it is. Layers that are left unchanged are built anew by `registry`. The pruned network
    /// has the outputs of the one whose removed weights are 0, mu and sigma: at the mean of the weights to the bit, if no unit was
    /// folded. Its noise has other addresses: under one draw per pass, eps are drawn for the weights that are left, in their order.
    ///
    /// # Errors
    /// [`Error::Length`] for parameters of another length; those of the registry.
    pub fn prune(&self, members: &[&[f32]], ln_alpha: f32, registry: &Registry) -> Result<PrunedPlan, Error> {
        for params in members {
            crate::plan::check_len("prune params", self.n_params(), params.len())?;
        }
        let mut stages = Stages::of(self, members.to_vec(), ln_alpha);
        stages.remove_idle_units();
        let plan = stages.plan(registry)?;
        let members = (0..members.len()).map(|member| stages.params(member)).collect();
        Ok(PrunedPlan { plan, members, layers: stages.report() })
    }
}

/// The name of a layer inside another one.
fn name_inside(outer: &str, inner: &str) -> String {
    format!("{outer}/{inner}")
}
