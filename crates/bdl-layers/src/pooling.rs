//! Pooling: the largest or the mean of each window of an image.

use std::fmt::Debug;
use std::marker::PhantomData;

use bdl_tensor::{Mat, MatMut, Pool, Windows};
use serde::{Deserialize, Serialize};

use crate::image::{Image, Table, Window, pair, refuse};
use crate::layer::{Backward, Context, Layer};
use crate::{Error, Prunable, Units, codec};

/// The most pixels that all positions of a window look at: where they are is written down, in 256 MB.
const MOST_SEEN: usize = 1 << 26;

/// Pooling of images, channel by channel.
///
/// ```text
/// y[i, j, c] = max or mean over the kernel of x[i·s₁ + a·d₁ − p₁, j·s₂ + e·d₂ − p₂, c]
/// ```
/// Positions are counted as for a [`Window`], rounding down. Padding is at most half the kernel in each direction. It never is the
/// largest; in a mean it counts as zeros, so that each mean is a sum divided by all numbers of the kernel. A window steps by
/// what [`Window::stride`] says, which is 1 unless it is set: `Window::new([2, 2]).stride([2, 2])` halves an image.
///
/// # Examples
/// ```
/// use bdl_layers::{Image, Layer, MaxPool2d, Window};
/// let pool = MaxPool2d::new(Image::new(24, 24, 20), Window::new([2, 2]).stride([2, 2]))?;
/// assert_eq!((pool.out_image(), pool.out_dim()), (Image::new(12, 12, 20), 2880));
/// # Ok::<(), bdl_layers::Error>(())
/// ```
/// `docs/math.md#pooling`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool2d<P> {
    image: Image,
    window: Window,
    out: Image,
    windows: Table<Windows>,
    how: PhantomData<P>,
}

/// The largest number of each window. Its gradient goes to the first that is the largest.
pub type MaxPool2d = Pool2d<Largest>;

/// The mean of each window.
pub type AvgPool2d = Pool2d<Mean>;

/// What is made of a window.
pub trait Pooling: Debug + Send + Sync + 'static {
    /// Kind of the layer.
    const KIND: &'static str;

    /// y from x; `count` numbers are in the kernel.
    ///
    /// # Errors
    /// For shapes that do not fit.
    fn forward(
        pool: &dyn Pool,
        windows: &Windows,
        count: usize,
        x: Mat<'_>,
        y: &mut MatMut<'_>,
    ) -> Result<(), Error>;

    /// Writes dx.
    ///
    /// # Errors
    /// For shapes that do not fit.
    fn backward(
        pool: &dyn Pool,
        windows: &Windows,
        count: usize,
        io: &Backward<'_>,
        dx: &mut MatMut<'_>,
    ) -> Result<(), Error>;

    /// What becomes of a channel that is `x` everywhere; `None` if that is not one number everywhere.
    fn constant(window: &Window, x: f32) -> Option<f32>;
}

/// Of [`MaxPool2d`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Largest {}

/// Of [`AvgPool2d`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mean {}

impl Pooling for Largest {
    const KIND: &'static str = "max-pool2d";

    fn forward(
        pool: &dyn Pool,
        windows: &Windows,
        _: usize,
        x: Mat<'_>,
        y: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        Ok(windows.max(pool, x, y)?)
    }

    fn backward(
        pool: &dyn Pool,
        windows: &Windows,
        _: usize,
        io: &Backward<'_>,
        dx: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        Ok(windows.max_backward(pool, io.x, [io.y, io.dy], dx)?)
    }

    fn constant(_: &Window, x: f32) -> Option<f32> {
        Some(x)
    }
}

impl Pooling for Mean {
    const KIND: &'static str = "avg-pool2d";

    fn forward(
        pool: &dyn Pool,
        windows: &Windows,
        count: usize,
        x: Mat<'_>,
        y: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        Ok(windows.sum(pool, x, 1.0 / count as f32, y)?)
    }

    fn backward(
        pool: &dyn Pool,
        windows: &Windows,
        count: usize,
        io: &Backward<'_>,
        dx: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        Ok(windows.sum_backward(pool, io.dy, 1.0 / count as f32, dx)?)
    }

    /// Windows that see padding have fewer numbers in their sum.
    fn constant(window: &Window, x: f32) -> Option<f32> {
        let count = window.kernel[0] * window.kernel[1];
        let mean = (0..count).map(|_| x).sum::<f32>() * (1.0 / count as f32);
        (x == 0.0 || window.padding == [0, 0]).then_some(mean)
    }
}

/// The form in which a file holds a [`Pool2d`]; frozen.
#[derive(Serialize, Deserialize)]
struct V1 {
    image: [u64; 3],
    window: [[u64; 2]; 4],
}

impl<P: Pooling> Pool2d<P> {
    pub(crate) const KIND: &'static str = P::KIND;

    /// Pooling of images over a window.
    ///
    /// # Errors
    /// [`Error::Argument`] for a size or step of 0, a kernel larger than the padded image, padding of more than half the kernel,
    /// a window that sees nothing but padding, or windows that see more than 2²⁶ pixels.
    pub fn new(image: Image, window: Window) -> Result<Self, Error> {
        let [height, width] = window.positions(P::KIND, image)?;
        let seen =
            [height, width].iter().chain(&window.kernel).fold(1, |n: usize, &side| n.saturating_mul(side));
        if seen > MOST_SEEN {
            let expected = format!("such that all {height}x{width} positions see at most {MOST_SEEN} pixels");
            return refuse(P::KIND, "kernel", expected, pair(window.kernel));
        }
        let half = window.kernel.map(|k| k / 2);
        if window.padding[0] > half[0] || window.padding[1] > half[1] {
            let expected = format!("at most half the kernel of {}", pair(window.kernel));
            return refuse(P::KIND, "padding", expected, pair(window.padding));
        }
        if !window.sees_pixels(image, [height, width]) {
            let (kernel, image) = (pair(window.kernel), image.shape());
            let expected = format!("such that each window of {kernel} sees a pixel of {image}");
            return refuse(P::KIND, "padding", expected, pair(window.padding));
        }
        let out = Image { height, width, ..image };
        Ok(Self { image, window, out, windows: Table::new(), how: PhantomData })
    }

    fn windows(&self) -> &Windows {
        self.windows.get(|| {
            let Image { height, width, .. } = self.out;
            let places = (0..height * width).map(|n| self.window.pixels(self.image, [n / width, n % width]));
            Windows::new(self.image.len(), self.image.channels, places)
        })
    }

    /// The image that the layer gives.
    #[must_use]
    pub fn out_image(&self) -> Image {
        self.out
    }

    pub(crate) fn build(config: &[u8]) -> Result<Box<dyn Layer>, Error> {
        let v: V1 = codec::decode("pooling layer", config)?;
        Ok(Box::new(Self::new(Image::of_file(v.image), Window::of_file(v.window))?))
    }

    fn count(&self) -> usize {
        self.window.kernel[0] * self.window.kernel[1]
    }
}

impl<P: Pooling> Layer for Pool2d<P> {
    fn kind(&self) -> &str {
        P::KIND
    }

    fn config(&self) -> Result<Vec<u8>, Error> {
        let v = V1 { image: self.image.to_file(), window: self.window.to_file() };
        codec::encode("pooling layer", &v)
    }

    fn in_dim(&self) -> usize {
        self.image.len()
    }

    fn out_dim(&self) -> usize {
        self.out.len()
    }

    fn forward(&self, ctx: &mut Context<'_>, x: Mat<'_>, y: &mut MatMut<'_>) -> Result<(), Error> {
        P::forward(ctx.pass.pool(), self.windows(), self.count(), x, y)
    }

    fn backward(&self, ctx: &mut Context<'_>, _: &mut [f32], mut io: Backward<'_>) -> Result<(), Error> {
        match io.dx.take() {
            Some(mut dx) => P::backward(ctx.pass.pool(), self.windows(), self.count(), &io, &mut dx),
            None => Ok(()),
        }
    }

    fn prunable(&self) -> Prunable<'_> {
        Prunable::Units(self)
    }
}

impl<P: Pooling> Units for Pool2d<P> {
    fn units(&self) -> Option<usize> {
        Some(self.image.channels)
    }

    fn narrowed(&self, kept: &[bool]) -> Result<Box<dyn Layer>, Error> {
        Ok(Box::new(Self::new(self.image.narrowed(kept), self.window)?))
    }

    fn constant(&self, x: f32) -> Option<f32> {
        P::constant(&self.window, x)
    }
}
