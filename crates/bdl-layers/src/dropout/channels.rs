//! Dropout of whole channels.

use bdl_tensor::{Mat, MatMut};
use serde::{Deserialize, Serialize};

use super::Masks;
use crate::image::Image;
use crate::layer::{Backward, Context, KlAt, Layer, LayerReport, Scratch};
use crate::{Error, Pass, codec};

/// Dropout of whole channels of an image, with inverted scaling, on in training and in Monte Carlo prediction.
///
/// ```text
/// y[i, j, c] = z[c]·x[i, j, c]/(1 − drop_prob),    z[c] ~ Bernoulli(1 − drop_prob)
/// ```
///
/// Neighbouring pixels are alike, so that what [`Dropout`](crate::Dropout) drops of a pixel its neighbours tell. In front of a
/// [`Conv2d`](crate::Conv2d) this draws its weights as `diag(z)·W`, the rows of one input channel together, at all positions
/// alike: the variational posterior whose prior its length scale is. Put it *directly* in front, as with
/// [`Dropout`](crate::Dropout), whose passes and scopes it shares.
///
/// Noise: the mask, one bit per channel, is drawn at site 0.
///
/// # References
/// Tompson et al. 2015, *Efficient object localization using convolutional networks*, §3.2; `docs/math.md#channel-dropout`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropout2d {
    masks: Masks,
    image: Image,
}

/// The form in which a file holds a [`Dropout2d`]; frozen.
#[derive(Serialize, Deserialize)]
struct V1 {
    image: [u64; 3],
    drop_prob: f64,
}

impl Dropout2d {
    pub(crate) const KIND: &'static str = "dropout2d";

    /// Dropout over the channels of images, each dropped with probability `drop_prob`.
    ///
    /// # Errors
    /// [`Error::Argument`] for an empty image, or unless `drop_prob` is in `[0, 1)`.
    pub fn new(image: Image, drop_prob: f64) -> Result<Self, Error> {
        image.check(Self::KIND, "image")?;
        let masks = Masks::new(Self::KIND, image.channels, image.height * image.width, drop_prob)?;
        Ok(Self { masks, image })
    }

    pub(crate) fn build(config: &[u8]) -> Result<Box<dyn Layer>, Error> {
        let v: V1 = codec::decode("layer dropout2d", config)?;
        Ok(Box::new(Self::new(Image::of_file(v.image), v.drop_prob)?))
    }
}

impl Layer for Dropout2d {
    fn kind(&self) -> &str {
        Self::KIND
    }

    fn config(&self) -> Result<Vec<u8>, Error> {
        let v = V1 { image: self.image.to_file(), drop_prob: self.masks.drop_prob };
        codec::encode("layer dropout2d", &v)
    }

    fn in_dim(&self) -> usize {
        self.image.len()
    }

    fn out_dim(&self) -> usize {
        self.image.len()
    }

    fn is_random(&self) -> bool {
        self.masks.drop_prob > 0.0
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
