//! Images in rows of activations, and windows that move over them.

use std::sync::OnceLock;

use crate::Error;

/// The most elements of an image, padded or not.
const LARGEST: usize = 1 << 24;

/// How a row of activations is an image, channels last: element `(i, j, c)` is
/// `row[(i·width + j)·channels + c]`.
///
/// ```
/// use bdl_layers::Image;
/// assert_eq!(Image::new(28, 28, 1).len(), 784);
/// assert_eq!(Image::line(100, 3), Image::new(1, 100, 3));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// Number of lines.
    pub height: usize,
    /// Number of pixels in a line.
    pub width: usize,
    /// Number of values of a pixel.
    pub channels: usize,
}

impl Image {
    /// An image of `height × width` pixels.
    #[must_use]
    pub const fn new(height: usize, width: usize, channels: usize) -> Self {
        Self { height, width, channels }
    }

    /// A sequence: an image of height 1, over which [`Window::line`] moves.
    #[must_use]
    pub const fn line(length: usize, channels: usize) -> Self {
        Self::new(1, length, channels)
    }

    /// Number of elements: the width of the row.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an image of a layer is never empty")]
    pub const fn len(&self) -> usize {
        self.height.saturating_mul(self.width).saturating_mul(self.channels)
    }

    /// Checks the sides, on behalf of the layer of the kind `layer`.
    pub(crate) fn check(&self, layer: &str, argument: &'static str) -> Result<(), Error> {
        if (1..=LARGEST).contains(&self.len()) {
            return Ok(());
        }
        refuse(layer, argument, format!("of 1 to {LARGEST} elements"), self.shape())
    }

    /// With the channels that are kept.
    pub(crate) fn narrowed(self, kept: &[bool]) -> Self {
        Self { channels: kept.iter().filter(|kept| **kept).count(), ..self }
    }

    pub(crate) fn shape(&self) -> String {
        format!("[{}, {}, {}]", self.height, self.width, self.channels)
    }

    pub(crate) fn to_file(self) -> [u64; 3] {
        [self.height, self.width, self.channels].map(|n| n as u64)
    }

    pub(crate) fn of_file([height, width, channels]: [u64; 3]) -> Self {
        Self::new(height as usize, width as usize, channels as usize)
    }
}

/// A window that moves over an image: vertical first, horizontal second in each pair.
///
/// | setting | default | meaning |
/// |---|---|---|
/// | `kernel` | none | lines and pixels that it looks at |
/// | `stride` | `[1, 1]` | steps from one position to the next |
/// | `padding` | `[0, 0]` | lines above and below, pixels left and right that are thought around the image |
/// | `dilation` | `[1, 1]` | steps from one pixel that it looks at to the next |
///
/// ```text
/// extent = dilation·(kernel − 1) + 1
/// positions = ⌊(size + 2·padding − extent)/stride⌋ + 1        in each direction
/// ```
/// The division rounds down: what is left at the right and at the bottom and too narrow for a step is not looked at.
///
/// ```
/// use bdl_layers::Window;
/// let window = Window::new([3, 5]).stride([2, 2]).padding([1, 2]);
/// assert_eq!(Window::line(4), Window::new([1, 4]));
/// assert_ne!(window, Window::new([3, 5]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) padding: [usize; 2],
    pub(crate) dilation: [usize; 2],
}

impl Window {
    /// A window of `kernel` lines and pixels that moves in steps of 1.
    #[must_use]
    pub const fn new(kernel: [usize; 2]) -> Self {
        Self { kernel, stride: [1, 1], padding: [0, 0], dilation: [1, 1] }
    }

    /// A window over a sequence: a kernel `[1, length]`.
    #[must_use]
    pub const fn line(length: usize) -> Self {
        Self::new([1, length])
    }

    /// The same in larger steps.
    #[must_use]
    pub const fn stride(self, stride: [usize; 2]) -> Self {
        Self { stride, ..self }
    }

    /// The same over a padded image.
    #[must_use]
    pub const fn padding(self, padding: [usize; 2]) -> Self {
        Self { padding, ..self }
    }

    /// The same looking at pixels further apart.
    #[must_use]
    pub const fn dilation(self, dilation: [usize; 2]) -> Self {
        Self { dilation, ..self }
    }

    pub(crate) fn to_file(self) -> [[u64; 2]; 4] {
        [self.kernel, self.stride, self.padding, self.dilation].map(|pair| pair.map(|n| n as u64))
    }

    pub(crate) fn of_file(v: [[u64; 2]; 4]) -> Self {
        let [kernel, stride, padding, dilation] = v.map(|pair| pair.map(|n| n as usize));
        Self { kernel, stride, padding, dilation }
    }

    /// First elements of the pixels of the image that the window sees at a position, in order.
    pub(crate) fn pixels(&self, image: Image, at: [usize; 2]) -> Vec<u32> {
        let along = |d: usize, size: usize| self.along(d, at[d], size);
        let columns = |i: usize| along(1, image.width).map(move |j| (i * image.width + j) * image.channels);
        along(0, image.height).flat_map(columns).map(|at| at as u32).collect()
    }

    /// What it sees of a side of the image of this size, at a position in that direction.
    fn along(&self, d: usize, at: usize, size: usize) -> impl Iterator<Item = usize> + use<> {
        let [first, step, padding] = [at * self.stride[d], self.dilation[d], self.padding[d]];
        let steps = (0..self.kernel[d]).map(move |k| first + k * step);
        steps.filter_map(move |i| i.checked_sub(padding).filter(|i| *i < size))
    }

    /// Whether there is a pixel of the image at every one of so many positions.
    pub(crate) fn sees_pixels(&self, image: Image, positions: [usize; 2]) -> bool {
        let sides = [image.height, image.width];
        (0..2).all(|d| (0..positions[d]).all(|at| self.along(d, at, sides[d]).next().is_some()))
    }

    /// The image with its padding.
    pub(crate) fn padded(&self, image: Image) -> Image {
        let side = |size: usize, padding: usize| size.saturating_add(padding.saturating_mul(2));
        let (height, width) = (side(image.height, self.padding[0]), side(image.width, self.padding[1]));
        Image { height, width, ..image }
    }

    /// Positions in each direction.
    ///
    /// # Errors
    /// [`Error::Argument`] for a setting of 0 or a kernel that is larger than the padded image, on behalf of the layer of
    /// the kind `layer`.
    pub(crate) fn positions(&self, layer: &str, image: Image) -> Result<[usize; 2], Error> {
        image.check(layer, "image")?;
        for (argument, got) in [("kernel", self.kernel), ("stride", self.stride), ("dilation", self.dilation)]
        {
            if got.contains(&0) {
                return refuse(layer, argument, "at least [1, 1]".to_owned(), pair(got));
            }
        }
        let padded = self.padded(image);
        padded.check(layer, "padded image")?;
        let sides = [padded.height, padded.width];
        let extent = [0, 1].map(|d| self.dilation[d].saturating_mul(self.kernel[d] - 1).saturating_add(1));
        if extent[0] > sides[0] || extent[1] > sides[1] {
            let expected = format!("within an input of {} padded by {}", image.shape(), pair(self.padding));
            let got = format!("{} dilated by {}", pair(self.kernel), pair(self.dilation));
            return refuse(layer, "kernel", expected, got);
        }
        Ok([0, 1].map(|d| (sides[d] - extent[d]) / self.stride[d] + 1))
    }
}

/// A table of places in an image, made when it is first read: what a file says of an image takes no memory before. It follows from what
/// stands beside it, so that any two are equal.
#[derive(Clone, Debug)]
pub(crate) struct Table<T>(OnceLock<T>);

impl<T> Table<T> {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// The table that `make` makes.
    ///
    /// # Panics
    /// If that fails, for sizes that were checked.
    pub(crate) fn get(&self, make: impl FnOnce() -> Result<T, bdl_tensor::Error>) -> &T {
        self.0.get_or_init(|| make().unwrap_or_else(|_| unreachable!("sizes are checked on construction")))
    }
}

impl<T> PartialEq for Table<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for Table<T> {}

pub(crate) fn pair([a, b]: [usize; 2]) -> String {
    format!("[{a}, {b}]")
}

/// An [`Error::Argument`].
pub(crate) fn refuse<T>(
    layer: &str,
    argument: &'static str,
    expected: String,
    got: String,
) -> Result<T, Error> {
    Err(Error::Argument { layer: layer.to_owned(), argument, expected, got })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_counted_rounding_down() {
        let count = |window: Window, image| window.positions("conv2d", image).unwrap();
        let image = Image::new(28, 7, 3);
        assert_eq!(count(Window::new([5, 3]), image), [24, 5]);
        assert_eq!(count(Window::new([5, 3]).stride([2, 3]), image), [12, 2]);
        assert_eq!(count(Window::new([3, 3]).padding([1, 1]), image), [28, 7]);
        assert_eq!(count(Window::new([3, 3]).dilation([4, 3]), image), [20, 1]);
        assert_eq!(count(Window::line(7), Image::line(7, 2)), [1, 1]);
    }

    #[test]
    fn what_does_not_fit_is_named_with_both_shapes() {
        let message = |window: Window, image| window.positions("conv2d", image).unwrap_err().to_string();
        let image = Image::new(4, 6, 1);
        assert_eq!(
            message(Window::new([5, 5]), image),
            "conv2d: kernel must be within an input of [4, 6, 1] padded by [0, 0], got [5, 5] dilated by [1, 1]"
        );
        assert_eq!(
            message(Window::new([3, 3]).dilation([1, 4]).padding([0, 1]), image),
            "conv2d: kernel must be within an input of [4, 6, 1] padded by [0, 1], got [3, 3] dilated by [1, 4]"
        );
        assert_eq!(
            message(Window::new([2, 2]).stride([1, 0]), image),
            "conv2d: stride must be at least [1, 1], got [1, 0]"
        );
        assert_eq!(message(Window::new([2, 0]), image), "conv2d: kernel must be at least [1, 1], got [2, 0]");
        assert_eq!(
            message(Window::new([1, 1]), Image::new(0, 6, 1)),
            "conv2d: image must be of 1 to 16777216 elements, got [0, 6, 1]"
        );
    }

    #[test]
    fn numbers_that_overflow_are_refused() {
        let huge = usize::MAX;
        assert!(Window::new([1, 1]).positions("conv2d", Image::new(huge, huge, huge)).is_err());
        assert!(Window::new([huge; 2]).positions("conv2d", Image::new(4, 4, 1)).is_err());
        assert!(Window::new([2, 2]).dilation([huge; 2]).positions("conv2d", Image::new(4, 4, 1)).is_err());
        assert!(Window::new([2, 2]).padding([huge; 2]).positions("conv2d", Image::new(4, 4, 1)).is_err());
        let far = Window::new([2, 2]).stride([huge; 2]);
        assert_eq!(far.positions("conv2d", Image::new(4, 4, 1)).unwrap(), [1, 1]);
    }
}
