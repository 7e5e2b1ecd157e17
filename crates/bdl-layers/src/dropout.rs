//! Inverted dropout, a layer of its own in front of the layer whose inputs it masks.

use std::fmt::Debug;

use bdl_tensor::{Mat, MatMut, kernels};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::dense::check_dims;
use crate::image::Image;
use crate::layer::{Backward, Context, Form, KlAt, Layer, Scratch};
use crate::{Activation, AtMean, Draw, Error, LayerReport, Pass, codec};

/// Dropout with inverted scaling, on in training and in Monte Carlo prediction: one bit for each unit, which holds at all positions
/// of a row.
///
/// ```text
/// y = z ⊙ x / (1 − drop_prob),  z ~ Bernoulli(1 − drop_prob)      E[y] = x,  Var[y] = x²·drop_prob/(1 − drop_prob)
/// ```
///
/// Put it *directly* in front of the layer of weights that it is for: the KL of that layer knows of no mask behind which
/// something else stands, not even an activation. Under [`Scope::Row`](crate::Scope::Row), and always in training, each row has its
/// own mask; under [`Scope::Pass`](crate::Scope::Pass) one mask holds for the pass. At the mean, and with `drop_prob` 0, y = x.
///
/// Noise: the mask, one bit per unit, is drawn at site 0.
#[derive(Clone, Debug, PartialEq)]
pub struct DropoutOver<U> {
    over: U,
    drop_prob: f64,
}

/// Dropout of single units.
///
/// In front of a [`Dense`](crate::Dense) layer this draws its weights as `diag(z)·W`.
///
/// # References
/// Srivastava et al. 2014, *Dropout*, §10; Gal & Ghahramani 2016; `docs/math.md#inverted-dropout`.
pub type Dropout = DropoutOver<Columns>;

/// Dropout of whole channels of an image.
///
/// Neighbouring pixels are alike, so that what [`Dropout`] drops of a pixel its neighbours tell. In front of a
/// [`Conv2d`](crate::Conv2d) this draws its weights as `diag(z)·W`, the rows of one input channel together, at all positions
/// alike: the variational posterior whose prior its length scale is.
///
/// # References
/// Tompson et al. 2015, *Efficient object localization using convolutional networks*, §3.2; `docs/math.md#channel-dropout`.
pub type Dropout2d = DropoutOver<Channels>;

/// What has a bit of its own: [`Columns`] or [`Channels`].
///
/// Sealed: a file knows dropout by its kind and reads it back as one of these two, so that nothing else can implement it. A mask of another
/// shape is a [`Layer`] of its own, which a [`Registry`](crate::Registry) knows by its own kind.
///
/// ```compile_fail
/// #[derive(Clone, Debug, PartialEq)]
/// struct Rows(usize);
///
/// impl bdl_layers::Over for Rows {
///     const KIND: &'static str = "dropout-of-rows";
///     type Config = u64;
///     fn config(&self) -> u64 { self.0 as u64 }
///     fn from_config(rows: u64) -> Result<Self, bdl_layers::Error> { Ok(Self(rows as usize)) }
///     fn units(&self) -> usize { self.0 }
///     fn positions(&self) -> usize { 1 }
/// }
/// ```
pub trait Over: sealed::Sealed + Clone + Debug + PartialEq + Send + Sync + Sized + 'static {
    /// Kind of the layer.
    const KIND: &'static str;

    /// The form in which a file holds the units; frozen.
    type Config: Serialize + DeserializeOwned;

    /// What [`from_config`](Over::from_config) needs.
    fn config(&self) -> Self::Config;

    /// The units of a file.
    ///
    /// # Errors
    /// [`Error::Argument`] for no unit.
    fn from_config(config: Self::Config) -> Result<Self, Error>;

    /// Number of units.
    fn units(&self) -> usize;

    /// Number of positions at which each unit stands.
    fn positions(&self) -> usize;
}

/// So many columns, for [`Dropout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns(usize);

/// The channels of an image, for [`Dropout2d`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels(Image);

mod sealed {
    /// What nobody else can name.
    pub trait Sealed {}

    impl Sealed for super::Columns {}
    impl Sealed for super::Channels {}
}

impl Over for Columns {
    const KIND: &'static str = "dropout";

    type Config = u64;

    fn config(&self) -> u64 {
        self.0 as u64
    }

    fn from_config(dim: u64) -> Result<Self, Error> {
        check_dims(Self::KIND, dim as usize, dim as usize)?;
        Ok(Self(dim as usize))
    }

    fn units(&self) -> usize {
        self.0
    }

    fn positions(&self) -> usize {
        1
    }
}

impl Over for Channels {
    const KIND: &'static str = "dropout2d";

    type Config = [u64; 3];

    fn config(&self) -> [u64; 3] {
        self.0.to_file()
    }

    fn from_config(image: [u64; 3]) -> Result<Self, Error> {
        let image = Image::of_file(image);
        image.check(Self::KIND, "image")?;
        Ok(Self(image))
    }

    fn units(&self) -> usize {
        self.0.channels
    }

    fn positions(&self) -> usize {
        self.0.height * self.0.width
    }
}

/// The form in which a file holds dropout; frozen.
#[derive(Serialize, Deserialize)]
struct V1<C> {
    over: C,
    drop_prob: f64,
}

impl Dropout {
    /// Dropout over `dim` units, each dropped with probability `drop_prob`.
    ///
    /// # Errors
    /// [`Error::Argument`] unless `drop_prob` is in `[0, 1)`: at 1 nothing is left to scale up.
    pub fn new(dim: usize, drop_prob: f64) -> Result<Self, Error> {
        Self::over(Columns::from_config(dim as u64)?, drop_prob)
    }
}

impl Dropout2d {
    /// Dropout over the channels of images, each dropped with probability `drop_prob`.
    ///
    /// # Errors
    /// [`Error::Argument`] for an empty image, or unless `drop_prob` is in `[0, 1)`.
    pub fn new(image: Image, drop_prob: f64) -> Result<Self, Error> {
        Self::over(Channels::from_config(image.to_file())?, drop_prob)
    }
}

impl<U: Over> DropoutOver<U> {
    pub(crate) const KIND: &'static str = U::KIND;

    fn over(over: U, drop_prob: f64) -> Result<Self, Error> {
        check_drop_prob(U::KIND, drop_prob)?;
        Ok(Self { over, drop_prob })
    }

    pub(crate) fn build(config: &[u8]) -> Result<Box<dyn Layer>, Error> {
        let v: V1<U::Config> = codec::decode("dropout layer", config)?;
        Ok(Box::new(Self::over(U::from_config(v.over)?, v.drop_prob)?))
    }

    fn keep(&self) -> f64 {
        1.0 - self.drop_prob
    }

    fn dim(&self) -> usize {
        self.over.units() * self.over.positions()
    }

    /// What is drawn in this pass: nothing where nothing is dropped.
    fn draw(&self, pass: &Pass<'_>) -> Draw {
        if self.drop_prob == 0.0 { Draw::Mean } else { pass.mask_draw() }
    }

    /// `out = mask ⊙ x / keep_prob`, with the masks in `words`: one, or one per row.
    fn apply(&self, words: &[u64], x: Mat<'_>, out: &mut MatMut<'_>) -> Result<(), Error> {
        mask_units(self.over.units(), words, (1.0 / self.keep()) as f32, x, out)
    }
}

impl<U: Over> Layer for DropoutOver<U> {
    fn kind(&self) -> &str {
        U::KIND
    }

    fn config(&self) -> Result<Vec<u8>, Error> {
        codec::encode("dropout layer", &V1 { over: self.over.config(), drop_prob: self.drop_prob })
    }

    fn in_dim(&self) -> usize {
        self.dim()
    }

    fn out_dim(&self) -> usize {
        self.dim()
    }

    fn is_random(&self) -> bool {
        self.drop_prob > 0.0
    }

    fn form<'a>(&self, _: &'a [f32]) -> Form<'a> {
        match (self.is_random(), self.over.positions()) {
            (false, _) => Form::Map(Activation::Identity),
            (true, 1) => Form::Mask { keep_prob: self.keep() },
            _ => Form::Opaque,
        }
    }

    fn scratch(&self, rows: usize, pass: &Pass<'_>) -> Scratch {
        let masks = match self.draw(pass) {
            Draw::Mean => 0,
            Draw::Pass | Draw::Flipout => 1,
            Draw::Row => rows,
        };
        Scratch { floats: 0, words: masks * self.over.units().div_ceil(64) }
    }

    fn forward(&self, ctx: &mut Context<'_>, x: Mat<'_>, y: &mut MatMut<'_>) -> Result<(), Error> {
        match ctx.site(0, self.draw(ctx.pass)) {
            Some(site) => {
                site.mask(self.over.units(), self.keep(), ctx.words);
                self.apply(ctx.words, x, y)
            }
            None => {
                y.data_mut().copy_from_slice(x.data());
                Ok(())
            }
        }
    }

    fn backward(&self, ctx: &mut Context<'_>, _: &mut [f32], io: Backward<'_>) -> Result<(), Error> {
        let Some(mut dx) = io.dx else { return Ok(()) };
        match self.draw(ctx.pass) {
            Draw::Mean => {
                dx.data_mut().copy_from_slice(io.dy.data());
                Ok(())
            }
            _ => self.apply(ctx.words, io.dy, &mut dx),
        }
    }

    fn keep_prob(&self) -> Option<f64> {
        Some(self.keep())
    }

    fn at_mean(&self) -> AtMean<'_> {
        AtMean::Identity
    }

    fn report(&self, _: &KlAt<'_>) -> LayerReport {
        LayerReport { drop_prob: Some(self.drop_prob), ..LayerReport::default() }
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
