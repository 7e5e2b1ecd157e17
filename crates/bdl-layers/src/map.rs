//! Maps that are linear in their weights: what a posterior over weights is put on.

use std::fmt::Debug;

use bdl_tensor::{Mat, MatMut, Pattern, Pool, Store, matmul, matmul_nt, matmul_tn};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::dense::{add_bias, bias_grad, check_dims};
use crate::pruned::{self, Thin};
use crate::{Cut, Error, Family, Layer};

/// A map `y = W(x) + b` that is linear in its weights W and in x: a dense product, a convolution.
///
/// It has no parameters of its own; whoever uses it hands in weights and biases, a mean, a draw or a variance. So an
/// estimator or a posterior is written once and serves every map. With squared inputs and the variances of
/// the weights the same map gives the variances of its outputs, since each output is a sum of products of one weight
/// and one input.
///
/// Shapes: x `[rows, in_dim]`, y `[rows, out_dim]`, weights [`weight_shape`](LinearMap::weight_shape) in row-major order, of
/// which the last axis is the output unit (channel), biases `[units]` or nothing. Channels lie last: column k of x belongs
/// to input unit `k mod in_units`, column k of y to output unit `k mod units`, and a weight joins one input unit to one output
/// unit. A row's bits never depend on the rows beside it.
pub trait LinearMap: Clone + Debug + PartialEq + Send + Sync + Sized + 'static {
    /// Name of the map, the last part of a layer's kind: `dense`, `conv2d`.
    const KIND: &'static str;

    /// The form in which a file holds the map; frozen.
    type Config: Serialize + DeserializeOwned;

    /// What [`from_config`](LinearMap::from_config) needs.
    fn config(&self) -> Self::Config;

    /// The map of a file.
    ///
    /// # Errors
    /// [`Error::Argument`] for sizes that do not fit, on behalf of the layer of the kind `layer`.
    fn from_config(layer: &str, config: Self::Config) -> Result<Self, Error>;

    /// Input width.
    fn in_dim(&self) -> usize;

    /// Output width.
    fn out_dim(&self) -> usize;

    /// Shape of the weights; the last axis is the output unit.
    fn weight_shape(&self) -> Vec<usize>;

    /// Number of weights, the product of their shape; asked for in every pass, so that it must not allocate.
    fn weights(&self) -> usize;

    /// Number of output units, each with a bias: columns, or channels.
    fn units(&self) -> usize;

    /// Number of input units: columns, or channels.
    fn in_units(&self) -> usize;

    /// Number of weights that one output is a sum over.
    fn fan_in(&self) -> usize;

    /// The matrix `[in_dim, out_dim]` of a map that is a product with one: `W(x) = x·W`.
    fn matrix<'a>(&self, weight: &'a [f32]) -> Option<Mat<'a>> {
        let _ = weight;
        None
    }

    /// Multiply-adds of a product with so many rows.
    fn work(&self, rows: usize) -> usize;

    /// Floats that a product with so many rows wants to work in.
    fn scratch(&self, rows: usize) -> usize;

    /// `y = W(x) + b`.
    ///
    /// # Errors
    /// For shapes that do not fit.
    fn forward(
        &self,
        pool: &dyn Pool,
        x: Mat<'_>,
        weight: &[f32],
        bias: &[f32],
        scratch: &mut [f32],
        y: &mut MatMut<'_>,
    ) -> Result<(), Error>;

    /// `dW (+)= ∂(dy·W(x))/∂W`.
    ///
    /// # Errors
    /// For shapes that do not fit.
    fn weight_grad(
        &self,
        pool: &dyn Pool,
        x: Mat<'_>,
        dy: Mat<'_>,
        store: Store,
        scratch: &mut [f32],
        d_weight: &mut [f32],
    ) -> Result<(), Error>;

    /// `dx = ∂(dy·W(x))/∂x`, written.
    ///
    /// # Errors
    /// For shapes that do not fit.
    fn input_grad(
        &self,
        pool: &dyn Pool,
        dy: Mat<'_>,
        weight: &[f32],
        scratch: &mut [f32],
        dx: &mut MatMut<'_>,
    ) -> Result<(), Error>;

    /// `db (+)= Σ dy` over rows and positions, if there is a bias.
    ///
    /// # Errors
    /// For shapes that do not fit.
    fn bias_grad(&self, dy: Mat<'_>, store: Store, d_bias: &mut [f32]) -> Result<(), Error>;

    /// Whether [`pruned`](LinearMap::pruned) knows what is left of the map when weights are removed.
    const THIN: bool = false;

    /// The input and the output unit that a weight joins.
    fn ends(&self, weight: usize) -> [usize; 2] {
        [weight / self.units(), weight % self.units()]
    }

    /// Whether units can be removed, and with them their weights.
    fn narrows(&self) -> bool {
        true
    }

    /// Whether an input unit that is the same number everywhere adds the same number to an output unit everywhere: not where
    /// borders are padded.
    fn is_uniform(&self) -> bool {
        true
    }

    /// What is left of a layer of this map when weights and units are removed.
    ///
    /// # Errors
    /// [`Error::Argument`] for a map that is not [`THIN`](LinearMap::THIN).
    fn pruned<F: Family>(&self, family: F, bias: bool, cut: &Cut) -> Result<Box<dyn Layer>, Error> {
        let _ = (family, bias, cut);
        let (layer, got) = (Self::KIND.to_owned(), "this one".to_owned());
        let expected = "a map that can lose weights".to_owned();
        Err(Error::Argument { layer, argument: "map", expected, got })
    }

    /// Of what is left of a map: the share of its weights that it has lost.
    fn sparsity(&self) -> Option<f64> {
        None
    }
}

/// `y = x·W + b`, W `[in_dim, out_dim]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DenseMap {
    in_dim: usize,
    out_dim: usize,
}

/// The form in which a file holds a [`DenseMap`]; frozen.
#[derive(Debug, Serialize, Deserialize)]
pub struct DenseV1 {
    in_dim: u64,
    out_dim: u64,
}

impl DenseMap {
    /// The product with a matrix, for a layer of the kind `layer`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a width of 0.
    pub fn new(layer: &str, in_dim: usize, out_dim: usize) -> Result<Self, Error> {
        check_dims(layer, in_dim, out_dim)?;
        Ok(Self { in_dim, out_dim })
    }

    fn weight<'a>(&self, weight: &'a [f32]) -> Result<Mat<'a>, Error> {
        Ok(Mat::new(weight, self.in_dim, self.out_dim)?)
    }
}

impl LinearMap for DenseMap {
    const KIND: &'static str = "dense";

    type Config = DenseV1;

    fn config(&self) -> DenseV1 {
        DenseV1 { in_dim: self.in_dim as u64, out_dim: self.out_dim as u64 }
    }

    fn from_config(layer: &str, config: DenseV1) -> Result<Self, Error> {
        Self::new(layer, config.in_dim as usize, config.out_dim as usize)
    }

    fn in_dim(&self) -> usize {
        self.in_dim
    }

    fn out_dim(&self) -> usize {
        self.out_dim
    }

    fn weight_shape(&self) -> Vec<usize> {
        vec![self.in_dim, self.out_dim]
    }

    fn weights(&self) -> usize {
        self.in_dim * self.out_dim
    }

    fn units(&self) -> usize {
        self.out_dim
    }

    fn in_units(&self) -> usize {
        self.in_dim
    }

    fn fan_in(&self) -> usize {
        self.in_dim
    }

    fn matrix<'a>(&self, weight: &'a [f32]) -> Option<Mat<'a>> {
        self.weight(weight).ok()
    }

    fn work(&self, rows: usize) -> usize {
        rows.saturating_mul(self.weights())
    }

    fn scratch(&self, _: usize) -> usize {
        0
    }

    fn forward(
        &self,
        pool: &dyn Pool,
        x: Mat<'_>,
        weight: &[f32],
        bias: &[f32],
        _: &mut [f32],
        y: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        matmul(pool, x, self.weight(weight)?, Store::Overwrite, y)?;
        add_bias(bias, y);
        Ok(())
    }

    fn weight_grad(
        &self,
        pool: &dyn Pool,
        x: Mat<'_>,
        dy: Mat<'_>,
        store: Store,
        _: &mut [f32],
        d_weight: &mut [f32],
    ) -> Result<(), Error> {
        let mut d_weight = MatMut::new(d_weight, self.in_dim, self.out_dim)?;
        Ok(matmul_tn(pool, x, dy, store, &mut d_weight)?)
    }

    fn input_grad(
        &self,
        pool: &dyn Pool,
        dy: Mat<'_>,
        weight: &[f32],
        _: &mut [f32],
        dx: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        Ok(matmul_nt(pool, dy, self.weight(weight)?, Store::Overwrite, dx)?)
    }

    fn bias_grad(&self, dy: Mat<'_>, store: Store, d_bias: &mut [f32]) -> Result<(), Error> {
        bias_grad(dy, store, d_bias);
        Ok(())
    }

    const THIN: bool = true;

    fn pruned<F: Family>(&self, family: F, bias: bool, cut: &Cut) -> Result<Box<dyn Layer>, Error> {
        pruned::layer(self, family, bias, cut)
    }
}

impl Thin for DenseMap {
    const PRUNED: &'static str = "pruned-dense";

    fn narrowed(&self, inputs: &[bool], units: &[bool]) -> Result<Self, Error> {
        let [in_dim, out_dim] = [inputs, units].map(|units| units.iter().filter(|there| **there).count());
        Self::new(Self::PRUNED, in_dim, out_dim)
    }

    fn pattern(&self, weights: &[usize]) -> Result<Pattern, Error> {
        Ok(Pattern::new(self.in_dim, self.out_dim, weights.iter().copied())?)
    }

    fn starts(&self) -> &[u32] {
        &[0]
    }
}
