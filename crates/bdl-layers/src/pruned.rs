//! Linear maps that have lost most of their weights.

mod index;

use bdl_tensor::{Mat, MatMut, Pattern, Pool, Store};
use serde::{Deserialize, Serialize};

use crate::dense::add_bias;
use crate::family::Family;
use crate::layer::Layer;
use crate::map::{DenseMap, LinearMap};
use crate::prior::MAX_FAN_IN;
use crate::prune::Cut;
use crate::{Conv2dMap, Error, MeanField, SparseVd, Variational};
use index::IndexV1;

/// A map of which weights can be removed one by one, and units of either side.
pub trait Thin: LinearMap {
    /// Name of the map that is left: `pruned-dense`.
    const PRUNED: &'static str;

    /// The map between the units that are left. Called only with units that are all there if [`LinearMap::narrows`] says no.
    ///
    /// # Errors
    /// For a map without units.
    fn narrowed(&self, inputs: &[bool], units: &[bool]) -> Result<Self, Error>;

    /// The pattern of these weights, ascending, as a product reads it.
    ///
    /// # Errors
    /// For weights that are out of order or beyond the map.
    fn pattern(&self, weights: &[usize]) -> Result<Pattern, Error>;

    /// The weights of a pattern.
    fn weights_of(&self, pattern: &Pattern) -> Vec<usize> {
        pattern.elements().collect()
    }

    /// The positions in a row that the pattern is put at.
    fn starts(&self) -> &[u32];

    /// Calls `f(first_row, rows)` for the rows of x as the pattern reads them, block by block.
    ///
    /// # Errors
    /// Those of `f`.
    fn reading(
        &self,
        pool: &dyn Pool,
        x: Mat<'_>,
        scratch: &mut [f32],
        f: &mut dyn FnMut(usize, Mat<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let _ = (pool, scratch);
        f(0, x)
    }

    /// Writes dx from what `f(first_row, rows)` writes for its rows as the pattern reads them, block by block.
    ///
    /// # Errors
    /// Those of `f`.
    fn writing(
        &self,
        pool: &dyn Pool,
        dx: &mut MatMut<'_>,
        scratch: &mut [f32],
        f: &mut dyn FnMut(usize, &mut MatMut<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let _ = (pool, scratch);
        f(0, dx)
    }
}

/// What is left of a map after pruning: the same product with the weights that are there, and no other.
///
/// ```text
/// y_j = Σ_{(i, j) there} x_i·w_ij + a_j + b_j
/// ```
///
/// `a_j` are weights, too: those of an input that is always 1. They stand for units in front that were the same number for every row, and that
/// are gone: `docs/math.md#pruning-units`. The weights lie in the order of the map they were cut from, those of the constant input behind the others.
/// Sums run in the blocks of that map, so that outputs have its bits with zeros for what is gone, as long as there is no `a`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pruned<M> {
    map: M,
    pattern: Pattern,
    /// Output units with a weight of the constant input.
    always: Vec<usize>,
    /// Rows at which the blocks of a sum end; none where they are those of the map itself.
    blocks: Vec<usize>,
    /// Of the map it was cut from: weights, and how many an output is a sum over.
    whole: [usize; 2],
    /// Where the weights lie among all of the map, if so many are left that a product with zeros for the others costs less; else nothing.
    among: Vec<u32>,
}

/// What is left of a dense layer with mean-field posteriors.
pub type PrunedVariationalDense = Variational<Pruned<DenseMap>, MeanField>;

/// What is left of a convolution with mean-field posteriors.
pub type PrunedVariationalConv2d = Variational<Pruned<Conv2dMap>, MeanField>;

/// What is left of a dense layer under sparse variational dropout.
pub type PrunedSparseVdDense = Variational<Pruned<DenseMap>, SparseVd>;

/// What is left of a convolution under sparse variational dropout.
pub type PrunedSparseVdConv2d = Variational<Pruned<Conv2dMap>, SparseVd>;

impl PrunedVariationalDense {
    pub(crate) const KIND: &'static str = "variational-pruned-dense";
}

impl PrunedVariationalConv2d {
    pub(crate) const KIND: &'static str = "variational-pruned-conv2d";
}

impl PrunedSparseVdDense {
    pub(crate) const KIND: &'static str = "sparse-vd-pruned-dense";
}

impl PrunedSparseVdConv2d {
    pub(crate) const KIND: &'static str = "sparse-vd-pruned-conv2d";
}

/// Products are dense from one weight in so many on: about where sixteen rows take as many instructions either way. One row by itself
/// takes up to twice as many, but the bits of a row must not depend on how many there are.
const FULL: usize = 2;

/// The form in which a file holds a [`Pruned`] map; frozen.
#[derive(Debug, Serialize, Deserialize)]
pub struct PrunedV1<C> {
    map: C,
    weights: IndexV1,
    always: IndexV1,
    blocks: Vec<u64>,
    whole: [u64; 2],
}

/// The layer that is left of posteriors on a map.
pub(crate) fn layer<M: Thin, F: Family>(
    map: &M,
    family: F,
    bias: bool,
    cut: &Cut,
) -> Result<Box<dyn Layer>, Error> {
    let layer = Variational::of(Pruned::of(map, cut)?, family);
    Ok(Box::new(if bias { layer } else { layer.without_bias() }))
}

impl<M: Thin> Pruned<M> {
    /// What is left of `map`.
    fn of(map: &M, cut: &Cut) -> Result<Self, Error> {
        let rows = map.weights() / map.units();
        let there: Vec<bool> = (0..rows).map(|row| cut.inputs[map.ends(row * map.units())[0]]).collect();
        let (rows, units) = (Ranks::of(&there), Ranks::of(&cut.units));
        let weights = cut.kept.iter().enumerate().filter(|(_, kept)| **kept).map(|(at, _)| {
            let (row, unit) = (at / map.units(), at % map.units());
            rows.before[row] * units.count + units.before[unit]
        });
        let weights: Vec<usize> = weights.collect();
        let narrow = map.narrowed(&cut.inputs, &cut.units)?;
        let blocks = if rows.count == there.len() { Vec::new() } else { rows.blocks() };
        let always = cut.always(map).into_iter().map(|unit| units.before[unit]).collect();
        Self::with(narrow, &weights, always, blocks, [map.weights(), map.fan_in()])
    }

    fn with(
        map: M,
        weights: &[usize],
        always: Vec<usize>,
        blocks: Vec<usize>,
        whole: [usize; 2],
    ) -> Result<Self, Error> {
        let mut pattern = map.pattern(weights)?;
        if !blocks.is_empty() {
            pattern = pattern.in_blocks(&blocks)?;
        }
        // The map's own product has blocks of its own.
        let is_full = blocks.len() <= 1 && weights.len() >= map.weights().div_ceil(FULL);
        let among = if is_full { weights.iter().map(|&at| at as u32).collect() } else { Vec::new() };
        Ok(Self { map, pattern, always, blocks, whole, among })
    }

    /// `W(x)` without the weights of the constant input.
    fn product(
        &self,
        pool: &dyn Pool,
        x: Mat<'_>,
        values: &[f32],
        scratch: &mut [f32],
        y: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        if !self.among.is_empty() {
            let (whole, of_map) = scratch.split_at_mut(self.map.weights());
            whole.fill(0.0);
            self.among.iter().zip(values).for_each(|(&at, &value)| whole[at as usize] = value);
            return self.map.forward(pool, x, whole, &[], of_map, y);
        }
        let (scratch, of_map) = scratch.split_at_mut(self.pattern.scratch());
        let (starts, width) = (self.map.starts(), y.cols());
        self.map.reading(pool, x, of_map, &mut |first, x| {
            let y = &mut y.data_mut()[first * width..(first + x.rows()) * width];
            Ok(self.pattern.product(values, x, starts, scratch, &mut MatMut::new(y, x.rows(), width)?)?)
        })
    }

    /// The map between the units that are left.
    #[must_use]
    pub fn map(&self) -> &M {
        &self.map
    }

    /// Values of the pattern, and of the constant input.
    fn split<'a>(&self, weight: &'a [f32]) -> (&'a [f32], &'a [f32]) {
        weight.split_at(self.pattern.len())
    }
}

/// Of some that are left among others: how many there are before each.
struct Ranks {
    before: Vec<usize>,
    count: usize,
}

/// Terms of a sum that are added in one chain.
pub(crate) const BLOCK: usize = 256;

impl Ranks {
    fn of(there: &[bool]) -> Self {
        let mut count = 0;
        let rank = |&there: &bool| {
            count += usize::from(there);
            count - usize::from(there)
        };
        let before = there.iter().map(rank).collect();
        Self { before, count }
    }

    /// Where the blocks of the sums end that were blocks of all.
    fn blocks(&self) -> Vec<usize> {
        let ends = (1..=self.before.len().div_ceil(BLOCK)).map(|block| block * BLOCK);
        ends.map(|end| self.before.get(end).copied().unwrap_or(self.count)).collect()
    }
}

impl<M: Thin> LinearMap for Pruned<M> {
    const KIND: &'static str = M::PRUNED;

    type Config = PrunedV1<M::Config>;

    fn config(&self) -> Self::Config {
        PrunedV1 {
            map: self.map.config(),
            weights: IndexV1::of(&self.map.weights_of(&self.pattern), self.map.weights()),
            always: IndexV1::of(&self.always, self.map.units()),
            blocks: self.blocks.iter().map(|&end| end as u64).collect(),
            whole: self.whole.map(|n| n as u64),
        }
    }

    fn from_config(layer: &str, v: Self::Config) -> Result<Self, Error> {
        let map = M::from_config(layer, v.map)?;
        let (weights, always) = (v.weights.read(map.weights())?, v.always.read(map.units())?);
        let blocks = v.blocks.iter().map(|&end| end as usize).collect();
        let whole = v.whole.map(|n| n as usize);
        if whole[0] < weights.len() || !(1..=MAX_FAN_IN).contains(&whole[1]) {
            let expected = format!(
                "at least {} weights, each of an output that is a sum over 1 to {MAX_FAN_IN}",
                weights.len()
            );
            let got = format!("{whole:?}");
            return Err(Error::Argument { layer: layer.to_owned(), argument: "whole", expected, got });
        }
        Self::with(map, &weights, always, blocks, whole)
    }

    fn in_dim(&self) -> usize {
        self.map.in_dim()
    }

    fn out_dim(&self) -> usize {
        self.map.out_dim()
    }

    /// The weights that are there, in a row.
    fn weight_shape(&self) -> Vec<usize> {
        vec![self.weights()]
    }

    fn weights(&self) -> usize {
        self.pattern.len() + self.always.len()
    }

    fn units(&self) -> usize {
        self.map.units()
    }

    fn in_units(&self) -> usize {
        self.map.in_units()
    }

    /// That of the whole map: the scale of priors and of initial weights does not change with what is removed.
    fn fan_in(&self) -> usize {
        self.whole[1]
    }

    fn work(&self, rows: usize) -> usize {
        rows.saturating_mul(self.map.starts().len()).saturating_mul(self.weights())
    }

    fn scratch(&self, rows: usize) -> usize {
        let dense = if self.among.is_empty() { 0 } else { self.map.weights() };
        self.pattern.scratch().max(dense) + self.map.scratch(rows)
    }

    fn forward(
        &self,
        pool: &dyn Pool,
        x: Mat<'_>,
        weight: &[f32],
        bias: &[f32],
        scratch: &mut [f32],
        y: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        let (values, always) = self.split(weight);
        self.product(pool, x, values, scratch, y)?;
        if !always.is_empty() {
            for row in y.data_mut().chunks_exact_mut(self.units()) {
                self.always.iter().zip(always).for_each(|(&unit, &a)| row[unit] += a);
            }
        }
        let positions = y.data().len() / self.units();
        add_bias(bias, &mut MatMut::new(y.data_mut(), positions, self.units())?);
        Ok(())
    }

    fn weight_grad(
        &self,
        pool: &dyn Pool,
        x: Mat<'_>,
        dy: Mat<'_>,
        store: Store,
        scratch: &mut [f32],
        d_weight: &mut [f32],
    ) -> Result<(), Error> {
        if store == Store::Overwrite {
            d_weight.fill(0.0);
        }
        let (d_values, d_always) = d_weight.split_at_mut(self.pattern.len());
        for row in dy.data().chunks_exact(self.units()) {
            self.always.iter().zip(&mut *d_always).for_each(|(&unit, d)| *d += row[unit]);
        }
        let (scratch, of_map) = scratch.split_at_mut(self.pattern.scratch());
        self.map.reading(pool, x, of_map, &mut |first, x| {
            let dy = dy.rows_in(first..first + x.rows());
            Ok(self.pattern.add_value_grad(x, self.map.starts(), dy, scratch, d_values)?)
        })
    }

    fn input_grad(
        &self,
        pool: &dyn Pool,
        dy: Mat<'_>,
        weight: &[f32],
        scratch: &mut [f32],
        dx: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        let values = self.split(weight).0;
        let (scratch, of_map) = scratch.split_at_mut(self.pattern.scratch());
        self.map.writing(pool, dx, of_map, &mut |first, dx| {
            let dy = dy.rows_in(first..first + dx.rows());
            Ok(self.pattern.input_grad(values, self.map.starts(), dy, scratch, dx)?)
        })
    }

    fn bias_grad(&self, dy: Mat<'_>, store: Store, d_bias: &mut [f32]) -> Result<(), Error> {
        self.map.bias_grad(dy, store, d_bias)
    }

    fn sparsity(&self) -> Option<f64> {
        Some(1.0 - self.weights() as f64 / self.whole[0] as f64)
    }
}
