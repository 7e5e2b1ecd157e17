//! The deterministic dense layer, with the prior that MC dropout puts on it.

use bdl_dist::NoiseRng;
use bdl_tensor::{Mat, MatMut, Pool, Store, kernels, matmul, matmul_nt, matmul_tn};
use serde::{Deserialize, Serialize};

use crate::layer::{Backward, Context, Form, KlAt, Layer, LayerReport};
use crate::{Block, Error, KlForm, KlTerm, Pass, Role, codec};

/// A dense layer `y = x·W + b` with one value per weight.
///
/// ```text
/// x: [rows, in_dim]   W: [in_dim, out_dim]   b: [out_dim]   y: [rows, out_dim]
/// ```
/// `docs/math.md#dense`.
///
/// With a length scale `l` it has the prior under which dropout on its inputs is variational inference.
/// With keep probability k of the mask in front of it (1 without one) and inverted scaling,
///
/// ```text
/// KL = l²‖W‖²/(2k) + l²‖b‖²/2     in nats, up to a constant
/// ```
///
/// which without dropout is minus the log density of the prior `N(0, 1/l²)`. Without a length scale the KL is 0.
///
/// # References
/// Gal & Ghahramani 2016, *Dropout as a Bayesian approximation*, appendix; `docs/math.md#mc-dropout-prior`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    in_dim: usize,
    out_dim: usize,
    length_scale: Option<f64>,
}

/// The form in which a file holds a [`Dense`]; frozen.
#[derive(Serialize, Deserialize)]
struct V1 {
    in_dim: u64,
    out_dim: u64,
    length_scale: Option<f64>,
}

impl Dense {
    pub(crate) const KIND: &'static str = "dense";

    /// A dense layer without a prior.
    ///
    /// # Errors
    /// [`Error::Argument`] if a width is 0.
    pub fn new(in_dim: usize, out_dim: usize) -> Result<Self, Error> {
        check_dims(Self::KIND, in_dim, out_dim)?;
        Ok(Self { in_dim, out_dim, length_scale: None })
    }

    /// The same with the prior of length scale `l`.
    ///
    /// # Errors
    /// [`Error::Argument`] unless `l` is finite and > 0.
    pub fn with_length_scale(self, l: f64) -> Result<Self, Error> {
        check_positive(Self::KIND, "length_scale", l)?;
        Ok(Self { length_scale: Some(l), ..self })
    }

    pub(crate) fn build(config: &[u8]) -> Result<Box<dyn Layer>, Error> {
        let v: V1 = codec::decode("layer dense", config)?;
        let layer = Self::new(v.in_dim as usize, v.out_dim as usize)?;
        Ok(Box::new(match v.length_scale {
            Some(l) => layer.with_length_scale(l)?,
            None => layer,
        }))
    }

    fn split<'a>(&self, params: &'a [f32]) -> (Mat<'a>, &'a [f32]) {
        split_weights(params, self.in_dim, self.out_dim)
    }

    /// KL = l²‖W‖²/(2k) + l²‖b‖²/2.
    fn terms(&self, input_keep_prob: f64) -> [KlTerm; 2] {
        let weights = self.in_dim * self.out_dim;
        let form = |keep: f64| match self.length_scale {
            Some(l) => KlForm::Squares { half_precision: l * l / (2.0 * keep) },
            None => KlForm::Zero,
        };
        [
            KlTerm { range: 0..weights, form: form(input_keep_prob) },
            KlTerm { range: weights..weights + self.out_dim, form: form(1.0) },
        ]
    }
}

impl Layer for Dense {
    fn kind(&self) -> &str {
        Self::KIND
    }

    fn config(&self) -> Result<Vec<u8>, Error> {
        let v =
            V1 { in_dim: self.in_dim as u64, out_dim: self.out_dim as u64, length_scale: self.length_scale };
        codec::encode("layer dense", &v)
    }

    fn in_dim(&self) -> usize {
        self.in_dim
    }

    fn out_dim(&self) -> usize {
        self.out_dim
    }

    fn blocks(&self) -> Vec<Block> {
        vec![
            Block::new("weight", &[self.in_dim, self.out_dim], Role::Plain),
            Block::new("bias", &[self.out_dim], Role::Plain),
        ]
    }

    /// He initialization: `W ~ N(0, 2/in_dim)`, `b = 0` (He et al. 2015, eq. 10).
    fn init(&self, params: &mut [f32], rng: &mut NoiseRng) {
        let (weight, bias) = params.split_at_mut(self.in_dim * self.out_dim);
        init_he(weight, self.in_dim, rng);
        bias.fill(0.0);
    }

    fn form<'a>(&self, params: &'a [f32]) -> Form<'a> {
        let (weight, bias) = self.split(params);
        Form::Affine { weight, bias }
    }

    fn forward(&self, ctx: &mut Context<'_>, x: Mat<'_>, y: &mut MatMut<'_>) -> Result<(), Error> {
        let (weight, bias) = self.split(ctx.params);
        affine(ctx.pass.pool(), x, weight, bias, y)
    }

    fn backward(&self, ctx: &mut Context<'_>, grads: &mut [f32], io: Backward<'_>) -> Result<(), Error> {
        let (weight, _) = self.split(ctx.params);
        let (d_weight, d_bias) = grads.split_at_mut(weight.data().len());
        affine_backward(ctx.pass, weight, Store::Add, d_weight, d_bias, io)
    }

    fn write_backward(
        &self,
        ctx: &mut Context<'_>,
        grads: &mut [f32],
        io: Backward<'_>,
    ) -> Result<(), Error> {
        let (weight, _) = self.split(ctx.params);
        let (d_weight, d_bias) = grads.split_at_mut(weight.data().len());
        affine_backward(ctx.pass, weight, Store::Overwrite, d_weight, d_bias, io)
    }

    fn kl(&self, at: &KlAt<'_>) -> f64 {
        self.terms(at.input_keep_prob).iter().map(|term| term.kl(at.params)).sum()
    }

    fn kl_grad(&self, at: &KlAt<'_>, weight: f32, grads: &mut [f32]) -> f64 {
        self.terms(at.input_keep_prob).iter().map(|term| term.kl_grad(at.params, weight, grads)).sum()
    }

    fn kl_terms(&self, input_keep_prob: f64) -> Option<Vec<KlTerm>> {
        Some(self.terms(input_keep_prob).to_vec())
    }

    fn report(&self, at: &KlAt<'_>) -> LayerReport {
        let (weight, _) = self.split(at.params);
        let zeros = weight.data().iter().filter(|w| **w == 0.0).count();
        LayerReport {
            kl: self.kl(at),
            sparsity: Some(zeros as f64 / weight.data().len() as f64),
            ..LayerReport::default()
        }
    }
}

/// Weight `[in, out]` and what stands behind it: the bias, `[out]` or nothing.
pub(crate) fn split_weights(params: &[f32], in_dim: usize, out_dim: usize) -> (Mat<'_>, &[f32]) {
    let (weight, rest) = params.split_at(in_dim * out_dim);
    let weight = Mat::new(weight, in_dim, out_dim).unwrap_or_else(|_| unreachable!("split at its length"));
    (weight, rest)
}

/// `y = x·W + b`; an empty b is no bias.
pub(crate) fn affine(
    pool: &dyn Pool,
    x: Mat<'_>,
    weight: Mat<'_>,
    bias: &[f32],
    y: &mut MatMut<'_>,
) -> Result<(), Error> {
    matmul(pool, x, weight, Store::Overwrite, y)?;
    add_bias(bias, y);
    Ok(())
}

/// Adds the bias, if there is one, to each row.
pub(crate) fn add_bias(bias: &[f32], y: &mut MatMut<'_>) {
    if !bias.is_empty() {
        kernels::add_bias_rows(bias, y);
    }
}

/// `db (+)= Σ_rows dy`, if there is a bias.
pub(crate) fn bias_grad(dy: Mat<'_>, store: Store, d_bias: &mut [f32]) {
    if d_bias.is_empty() {
        return;
    }
    if store == Store::Overwrite {
        d_bias.fill(0.0);
    }
    kernels::col_sums_add(dy, d_bias);
}

/// `dW (+)= xᵀ·dy`, `db (+)= Σ_rows dy`, `dx = dy·Wᵀ`.
pub(crate) fn affine_backward(
    pass: &Pass<'_>,
    weight: Mat<'_>,
    store: Store,
    d_weight: &mut [f32],
    d_bias: &mut [f32],
    io: Backward<'_>,
) -> Result<(), Error> {
    let mut d_weight = MatMut::new(d_weight, weight.rows(), weight.cols())?;
    matmul_tn(pass.pool(), io.x, io.dy, store, &mut d_weight)?;
    bias_grad(io.dy, store, d_bias);
    if let Some(mut dx) = io.dx {
        matmul_nt(pass.pool(), io.dy, weight, Store::Overwrite, &mut dx)?;
    }
    Ok(())
}

/// `N(0, 2/in_dim)` (He et al. 2015, *Delving deep into rectifiers*, eq. 10; `docs/math.md#initialization`).
pub(crate) fn init_he(weight: &mut [f32], in_dim: usize, rng: &mut NoiseRng) {
    rng.normals(weight);
    kernels::scale((2.0 / in_dim as f64).sqrt() as f32, weight);
}

pub(crate) fn check_dims(layer: &str, in_dim: usize, out_dim: usize) -> Result<(), Error> {
    for (argument, got) in [("in_dim", in_dim), ("out_dim", out_dim)] {
        if got == 0 || got > 1 << 24 {
            let expected = "between 1 and 16777216".to_owned();
            return Err(Error::Argument {
                layer: layer.to_owned(),
                argument,
                expected,
                got: got.to_string(),
            });
        }
    }
    Ok(())
}

pub(crate) fn check_finite(layer: &str, argument: &'static str, got: f64) -> Result<(), Error> {
    if got.is_finite() {
        return Ok(());
    }
    let (layer, expected) = (layer.to_owned(), "finite".to_owned());
    Err(Error::Argument { layer, argument, expected, got: got.to_string() })
}

pub(crate) fn check_alpha(layer: &str, got: f64) -> Result<(), Error> {
    if got > 0.0 && got < 1.0 {
        return Ok(());
    }
    let (layer, expected) = (layer.to_owned(), "in (0, 1)".to_owned());
    Err(Error::Argument { layer, argument: "init_alpha", expected, got: got.to_string() })
}

pub(crate) fn check_positive(layer: &str, argument: &'static str, got: f64) -> Result<(), Error> {
    if got.is_finite() && got > 0.0 {
        return Ok(());
    }
    let expected = "finite and > 0".to_owned();
    Err(Error::Argument { layer: layer.to_owned(), argument, expected, got: got.to_string() })
}
