//! Inverted dropout, a layer of its own in front of the layer whose inputs it masks.

mod channels;

pub use channels::Dropout2d;

use bdl_tensor::{Mat, MatMut, kernels};
use serde::{Deserialize, Serialize};

use crate::dense::check_dims;
use crate::layer::{Backward, Context, Form, KlAt, Layer, LayerReport, Scratch};
use crate::{Activation, Draw, Error, Pass, codec};

/// Dropout with inverted scaling, on in training and in Monte Carlo prediction.
///
/// ```text
/// y = z ⊙ x / (1 − drop_prob),  z ~ Bernoulli(1 − drop_prob)      E[y] = x,  Var[y] = x²·drop_prob/(1 − drop_prob)
/// ```
///
/// In front of a [`Dense`](crate::Dense) layer this draws its weights as `diag(z)·W`. Put it *directly* in front: the KL
/// of the dense layer knows of no mask behind which something else stands, not even an activation. Under
/// [`Scope::Row`](crate::Scope::Row), and always in training, each row has its own mask; under
/// [`Scope::Pass`](crate::Scope::Pass) one mask holds for the pass. At the mean, and with `drop_prob` 0, y = x.
///
/// Noise: the mask is drawn at site 0.
///
/// # References
/// Srivastava et al. 2014, *Dropout*, §10; Gal & Ghahramani 2016; `docs/math.md#inverted-dropout`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropout {
    masks: Masks,
}

/// The form in which a file holds a [`Dropout`]; frozen.
#[derive(Serialize, Deserialize)]
struct V1 {
    dim: u64,
    drop_prob: f64,
}

impl Dropout {
    pub(crate) const KIND: &'static str = "dropout";

    /// Dropout over `dim` units, each dropped with probability `drop_prob`.
    ///
    /// # Errors
    /// [`Error::Argument`] unless `drop_prob` is in `[0, 1)`: at 1 nothing is left to scale up.
    pub fn new(dim: usize, drop_prob: f64) -> Result<Self, Error> {
        check_dims(Self::KIND, dim, dim)?;
        Ok(Self { masks: Masks::new(Self::KIND, dim, 1, drop_prob)? })
    }

    pub(crate) fn build(config: &[u8]) -> Result<Box<dyn Layer>, Error> {
        let v: V1 = codec::decode("layer dropout", config)?;
        Ok(Box::new(Self::new(v.dim as usize, v.drop_prob)?))
    }
}

/// One bit for each unit, which holds at all positions of a row: `units` numbers at each of `positions`.
#[derive(Clone, Debug, PartialEq)]
struct Masks {
    units: usize,
    positions: usize,
    drop_prob: f64,
}

impl Masks {
    fn new(layer: &str, units: usize, positions: usize, drop_prob: f64) -> Result<Self, Error> {
        check_drop_prob(layer, drop_prob)?;
        Ok(Self { units, positions, drop_prob })
    }

    fn keep(&self) -> f64 {
        1.0 - self.drop_prob
    }

    fn dim(&self) -> usize {
        self.units * self.positions
    }

    /// What is drawn in this pass: nothing where nothing is dropped.
    fn draw(&self, pass: &Pass<'_>) -> Draw {
        if self.drop_prob == 0.0 { Draw::Mean } else { pass.mask_draw() }
    }

    /// Words of one mask.
    fn words(&self) -> usize {
        self.units.div_ceil(64)
    }

    fn scratch(&self, rows: usize, pass: &Pass<'_>) -> Scratch {
        let words = match self.draw(pass) {
            Draw::Mean => 0,
            Draw::Pass | Draw::Flipout => self.words(),
            Draw::Row => rows * self.words(),
        };
        Scratch { floats: 0, words }
    }

    /// `out = mask ⊙ input / keep_prob`, with the masks in `words`: one, or one per row.
    fn apply(&self, words: &[u64], input: Mat<'_>, out: &mut MatMut<'_>) -> Result<(), Error> {
        mask_units(self.units, words, (1.0 / self.keep()) as f32, input, out)
    }

    fn forward(&self, ctx: &mut Context<'_>, x: Mat<'_>, y: &mut MatMut<'_>) -> Result<(), Error> {
        match ctx.site(0, self.draw(ctx.pass)) {
            Some(site) => {
                site.mask(self.units, self.keep(), ctx.words);
                self.apply(ctx.words, x, y)
            }
            None => {
                y.data_mut().copy_from_slice(x.data());
                Ok(())
            }
        }
    }

    fn backward(&self, ctx: &Context<'_>, io: Backward<'_>) -> Result<(), Error> {
        let Some(mut dx) = io.dx else { return Ok(()) };
        match self.draw(ctx.pass) {
            Draw::Mean => {
                dx.data_mut().copy_from_slice(io.dy.data());
                Ok(())
            }
            _ => self.apply(ctx.words, io.dy, &mut dx),
        }
    }

    fn report(&self) -> LayerReport {
        LayerReport { drop_prob: Some(self.drop_prob), ..LayerReport::default() }
    }
}

impl Layer for Dropout {
    fn kind(&self) -> &str {
        Self::KIND
    }

    fn config(&self) -> Result<Vec<u8>, Error> {
        let v = V1 { dim: self.masks.units as u64, drop_prob: self.masks.drop_prob };
        codec::encode("layer dropout", &v)
    }

    fn in_dim(&self) -> usize {
        self.masks.dim()
    }

    fn out_dim(&self) -> usize {
        self.masks.dim()
    }

    fn is_random(&self) -> bool {
        self.masks.drop_prob > 0.0
    }

    fn form<'a>(&self, _: &'a [f32]) -> Form<'a> {
        let keep_prob = self.masks.keep();
        if self.is_random() { Form::Mask { keep_prob } } else { Form::Map(Activation::Identity) }
    }

    fn scratch(&self, rows: usize, pass: &Pass<'_>) -> Scratch {
        self.masks.scratch(rows, pass)
    }

    fn forward(&self, ctx: &mut Context<'_>, x: Mat<'_>, y: &mut MatMut<'_>) -> Result<(), Error> {
        self.masks.forward(ctx, x, y)
    }

    fn backward(&self, ctx: &mut Context<'_>, _: &mut [f32], io: Backward<'_>) -> Result<(), Error> {
        self.masks.backward(ctx, io)
    }

    fn keep_prob(&self) -> Option<f64> {
        Some(self.masks.keep())
    }

    fn report(&self, _: &KlAt<'_>) -> LayerReport {
        self.masks.report()
    }
}

/// `out = mask ⊙ x·scale` with a bit for each unit, the same at all positions of a row; one mask, or one for each row.
pub(crate) fn mask_units(
    units: usize,
    words: &[u64],
    scale: f32,
    x: Mat<'_>,
    out: &mut MatMut<'_>,
) -> Result<(), Error> {
    if x.cols() == units {
        kernels::mask_scale_rows(x, words, scale, out);
        return Ok(());
    }
    let positions = x.cols() / units;
    for (i, mask) in words.chunks(units.div_ceil(64)).cycle().take(x.rows()).enumerate() {
        let x = Mat::new(x.row(i), positions, units)?;
        let mut out = MatMut::new(out.row_mut(i), positions, units)?;
        kernels::mask_scale_rows(x, mask, scale, &mut out);
    }
    Ok(())
}

/// At 1 nothing is left to scale up.
pub(crate) fn check_drop_prob(layer: &str, got: f64) -> Result<(), Error> {
    if (0.0..1.0).contains(&got) {
        return Ok(());
    }
    let (layer, expected) = (layer.to_owned(), "in [0, 1)".to_owned());
    Err(Error::Argument { layer, argument: "drop_prob", expected, got: got.to_string() })
}
