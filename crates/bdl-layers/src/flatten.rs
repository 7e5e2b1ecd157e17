//! From an image to a row of numbers.

use bdl_tensor::{Mat, MatMut};
use serde::{Deserialize, Serialize};

use crate::image::Image;
use crate::layer::{Backward, Context, Form, Layer};
use crate::{Activation, Error, Prunable, Units, codec};

/// The order in which the numbers of an image stand in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ImageOrder {
    /// `(i·width + j)·channels + c`: what the layers of this library work on.
    #[default]
    ChannelsLast,
    /// `(c·height + i)·width + j`: what other frameworks flatten to.
    ChannelsFirst,
}

/// An image as a row of numbers, for the dense layers behind convolutions.
///
/// Channels last it is a copy, and no network needs it: an image *is* a row. Channels first it turns the row, so that the weights of
/// a dense layer that was trained behind a channels-first flatten serve as they are.
///
/// ```
/// use bdl_layers::{Flatten, Image, ImageOrder, Pass, Plan, Workspace};
/// use bdl_tensor::{Mat, MatMut};
/// let plan = Plan::new(vec![Box::new(Flatten::new(Image::new(1, 3, 2), ImageOrder::ChannelsFirst)?)])?;
/// let (x, mut y) = (Mat::new(&[1.0, 10.0, 2.0, 20.0, 3.0, 30.0], 1, 6)?, [0.0; 6]);
/// plan.forward(&[], x, &Pass::mean(), &mut Workspace::new(), &mut MatMut::new(&mut y, 1, 6)?)?;
/// assert_eq!(y, [1.0, 2.0, 3.0, 10.0, 20.0, 30.0]);
/// # Ok::<(), bdl_layers::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flatten {
    image: Image,
    order: ImageOrder,
}

/// The form in which a file holds a [`Flatten`]; frozen.
#[derive(Serialize, Deserialize)]
struct V1 {
    image: [u64; 3],
    order: OrderV1,
}

/// The orders of a file, by number; frozen.
#[derive(Serialize, Deserialize)]
enum OrderV1 {
    ChannelsLast,
    ChannelsFirst,
}

impl Flatten {
    pub(crate) const KIND: &'static str = "flatten";

    /// Images in an order.
    ///
    /// # Errors
    /// [`Error::Argument`] for an empty image.
    pub fn new(image: Image, order: ImageOrder) -> Result<Self, Error> {
        image.check(Self::KIND, "image")?;
        Ok(Self { image, order })
    }

    pub(crate) fn build(config: &[u8]) -> Result<Box<dyn Layer>, Error> {
        let v: V1 = codec::decode("layer flatten", config)?;
        let order = match v.order {
            OrderV1::ChannelsLast => ImageOrder::ChannelsLast,
            OrderV1::ChannelsFirst => ImageOrder::ChannelsFirst,
        };
        Ok(Box::new(Self::new(Image::of_file(v.image), order)?))
    }

    /// Pixels and channels.
    fn sides(&self) -> [usize; 2] {
        [self.image.height * self.image.width, self.image.channels]
    }
}

/// `out[j, i] = x[i, j]` in each row of `lines·columns` elements.
fn turn(x: &[f32], [lines, columns]: [usize; 2], out: &mut [f32]) {
    for (x, out) in x.chunks_exact(lines * columns).zip(out.chunks_exact_mut(lines * columns)) {
        for (j, out) in out.chunks_exact_mut(lines).enumerate() {
            for (i, out) in out.iter_mut().enumerate() {
                *out = x[i * columns + j];
            }
        }
    }
}

impl Layer for Flatten {
    fn kind(&self) -> &str {
        Self::KIND
    }

    fn config(&self) -> Result<Vec<u8>, Error> {
        let order = match self.order {
            ImageOrder::ChannelsLast => OrderV1::ChannelsLast,
            ImageOrder::ChannelsFirst => OrderV1::ChannelsFirst,
        };
        codec::encode("layer flatten", &V1 { image: self.image.to_file(), order })
    }

    fn in_dim(&self) -> usize {
        self.image.len()
    }

    fn out_dim(&self) -> usize {
        self.image.len()
    }

    fn form<'a>(&self, _: &'a [f32]) -> Form<'a> {
        match self.order {
            ImageOrder::ChannelsLast => Form::Map(Activation::Identity),
            ImageOrder::ChannelsFirst => Form::Opaque,
        }
    }

    fn forward(&self, _: &mut Context<'_>, x: Mat<'_>, y: &mut MatMut<'_>) -> Result<(), Error> {
        match self.order {
            ImageOrder::ChannelsLast => y.data_mut().copy_from_slice(x.data()),
            ImageOrder::ChannelsFirst => turn(x.data(), self.sides(), y.data_mut()),
        }
        Ok(())
    }

    fn backward(&self, _: &mut Context<'_>, _: &mut [f32], io: Backward<'_>) -> Result<(), Error> {
        let Some(mut dx) = io.dx else { return Ok(()) };
        let [pixels, channels] = self.sides();
        match self.order {
            ImageOrder::ChannelsLast => dx.data_mut().copy_from_slice(io.dy.data()),
            ImageOrder::ChannelsFirst => turn(io.dy.data(), [channels, pixels], dx.data_mut()),
        }
        Ok(())
    }
    fn prunable(&self) -> Prunable<'_> {
        match self.order {
            ImageOrder::ChannelsLast => Prunable::Units(self),
            ImageOrder::ChannelsFirst => {
                Prunable::No("puts channels first, so that units are no longer side by side")
            }
        }
    }
}

impl Units for Flatten {
    fn units(&self) -> Option<usize> {
        Some(self.image.channels)
    }

    fn narrowed(&self, kept: &[bool]) -> Result<Box<dyn Layer>, Error> {
        Ok(Box::new(Self::new(self.image.narrowed(kept), self.order)?))
    }

    fn constant(&self, x: f32) -> Option<f32> {
        Some(x)
    }
}
