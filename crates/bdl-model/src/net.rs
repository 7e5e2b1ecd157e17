//! Networks as they are spelled: `784-300-100-10`, `28x28x1-conv20:5-pool2-conv50:5-pool2-500-10`.

mod spelling;

use bdl_layers::{Filters, Image, Window};

use crate::Error;

/// A network as it is spelled: what a row is, then its parts from input to output.
///
/// ```text
/// net    = input, "-", part, { "-", part }
/// input  = units | height "x" width "x" channels
/// part   = units                                        a dense layer
///        | "conv" channels ":" pair { ":" option }      a convolution with a kernel
///        | "pool" pair { ":" option }                   the largest of each window
///        | "avgpool" pair { ":" option }                the mean of each window
///        | "bn" | "ln"                                  batch normalization, layer normalization
///        | "res", "+", part, { "+", part }              what comes in, plus these parts of it; no "res" among them
/// option = "s" pair | "p" pair | "d" pair | "g" groups
/// pair   = both | height "x" width
/// ```
/// Options are the stride (1, of pooling its window), the padding (0), the dilation (1) and, of a convolution, the groups (1). The last part is
/// dense and puts out what the target asks for: a unit for each class, or for a number one, or two where the
/// network puts out its deviation too. `lenet-300-100` and `lenet5-caffe` are names.
///
/// ```
/// use bdl_model::{Net, Part};
/// let net: Net = "784-300-10".parse()?;
/// assert_eq!((net.input().len(), net.parts()), (784, &[Part::Dense(300), Part::Dense(10)][..]));
/// assert_eq!("lenet5-caffe".parse::<Net>()?.to_string(), "28x28x1-conv20:5-pool2-conv50:5-pool2-500-10");
/// # Ok::<(), bdl_model::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Net {
    input: Shape,
    parts: Vec<Part>,
}

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// So many columns.
    Flat(usize),
    /// An image: height, width, channels.
    Image([usize; 3]),
}

/// A part of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// A dense layer of so many units.
    Dense(usize),
    /// A convolution.
    Conv(Conv),
    /// Pooling.
    Pool(Pooling),
    /// Normalization of each unit, or channel, by the moments of the batch.
    BatchNorm,
    /// Normalization of each row, or of the channels at each pixel, by its own moments.
    LayerNorm,
    /// What comes in, plus these parts of it.
    Residual(Vec<Part>),
}

/// A convolution; pairs are height, then width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Output channels.
    pub channels: usize,
    /// Size of the kernel.
    pub kernel: [usize; 2],
    /// Steps from one position to the next.
    pub stride: [usize; 2],
    /// Pixels of zeros around the image.
    pub padding: [usize; 2],
    /// Steps from one pixel of the kernel to the next.
    pub dilation: [usize; 2],
    /// Groups of channels, each with filters of its own.
    pub groups: usize,
}

/// Pooling; pairs are height, then width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pooling {
    /// Whether it takes the mean of a window, and not the largest.
    pub mean: bool,
    /// Size of the window.
    pub window: [usize; 2],
    /// Steps from one position to the next.
    pub stride: [usize; 2],
    /// Pixels around the image.
    pub padding: [usize; 2],
    /// Steps from one pixel of the window to the next.
    pub dilation: [usize; 2],
}

impl Part {
    /// Layers of weights in it.
    fn maps(&self) -> usize {
        match self {
            Self::Dense(_) | Self::Conv(_) => 1,
            Self::Residual(parts) => parts.iter().map(Self::maps).sum(),
            _ => 0,
        }
    }

    /// Whether there are weights in it.
    fn has_weights(&self) -> bool {
        matches!(self, Self::Dense(_) | Self::Conv(_) | Self::Residual(_))
    }

    fn is_norm(&self) -> bool {
        matches!(self, Self::BatchNorm | Self::LayerNorm)
    }
}

/// Whether the activation stands behind part `index`: behind each but the last that has weights, and if a normalization follows, behind
/// that.
pub(crate) fn is_activated(parts: &[Part], index: usize) -> bool {
    let followed = parts.get(index + 1).is_some_and(Part::is_norm);
    let of = match index.checked_sub(1) {
        Some(before) if parts[index].is_norm() => before,
        _ if followed => return false,
        _ => index,
    };
    parts[of].has_weights() && parts[index + 1..].iter().any(Part::has_weights)
}

/// Whether any part is such, those inside residual blocks, too.
fn any(parts: &[Part], such: &dyn Fn(&[Part], usize) -> bool) -> bool {
    (0..parts.len())
        .any(|at| such(parts, at) || matches!(&parts[at], Part::Residual(inside) if any(inside, such)))
}

impl Conv {
    /// The filters.
    #[must_use]
    pub fn filters(&self) -> Filters {
        let window =
            Window::new(self.kernel).stride(self.stride).padding(self.padding).dilation(self.dilation);
        Filters::new(self.channels, window).groups(self.groups)
    }
}

impl Pooling {
    /// The window.
    #[must_use]
    pub fn window(&self) -> Window {
        Window::new(self.window).stride(self.stride).padding(self.padding).dilation(self.dilation)
    }
}

impl Net {
    /// The network of dense layers of these widths.
    #[must_use]
    pub fn dense(input: Shape, widths: impl IntoIterator<Item = usize>) -> Self {
        Self { input, parts: widths.into_iter().map(Part::Dense).collect() }
    }

    /// What a row is.
    #[must_use]
    pub fn input(&self) -> Shape {
        self.input
    }

    /// The parts, from input to output.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Layers of weights, those inside residual blocks, too.
    #[must_use]
    pub fn maps(&self) -> usize {
        self.parts.iter().map(Part::maps).sum()
    }

    /// Whether the activation stands anywhere in it.
    ///
    /// ```
    /// use bdl_model::Net;
    /// assert!(!"9-bn-1".parse::<Net>()?.has_activation() && "9-8-1".parse::<Net>()?.has_activation());
    /// # Ok::<(), bdl_model::Error>(())
    /// ```
    #[must_use]
    pub fn has_activation(&self) -> bool {
        any(&self.parts, &is_activated)
    }

    /// Whether anything in it is normalized.
    #[must_use]
    pub fn has_norm(&self) -> bool {
        any(&self.parts, &|parts, at| parts[at].is_norm())
    }

    /// Refuses data that the network does not take.
    ///
    /// Columns and the pixels of an image may stand for each other where they are as many.
    pub(crate) fn check_input(&self, data: Shape) -> Result<(), Error> {
        let images_differ = matches!((self.input, data), (Shape::Image(a), Shape::Image(b)) if a != b);
        if images_differ || self.input.len() != data.len() {
            let what = format!("expected an input of {data}, as the data have it, got {}", self.input);
            return Err(self.refuse("input", what));
        }
        Ok(())
    }

    /// Refuses a network whose last part, which takes and gives these shapes, has no unit for each output.
    pub(crate) fn check_outputs(&self, [takes, gives]: [Shape; 2], outputs: usize) -> Result<(), Error> {
        if gives == Shape::Flat(outputs) {
            return Ok(());
        }
        let what = format!("expected {takes} → {outputs}, a unit for each output, got {takes} → {gives}");
        Err(self.refuse(&format!("layer {}", self.parts.len()), what))
    }

    pub(crate) fn refuse(&self, place: &str, what: String) -> Error {
        Error::Net { net: self.to_string(), place: place.to_owned(), what }
    }
}

impl Shape {
    /// Number of elements.
    #[must_use]
    pub fn len(self) -> usize {
        match self {
            Self::Flat(n) => n,
            Self::Image(sides) => crate::schema::product(&sides),
        }
    }

    /// The image that it is.
    pub(crate) fn image(self) -> Option<Image> {
        match self {
            Self::Flat(_) => None,
            Self::Image([height, width, channels]) => Some(Image::new(height, width, channels)),
        }
    }

    /// Units and positions: columns, or the channels and pixels of an image.
    pub(crate) fn units(self) -> [usize; 2] {
        match self {
            Self::Flat(n) => [n, 1],
            Self::Image([height, width, channels]) => [channels, height * width],
        }
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

impl From<usize> for Shape {
    fn from(columns: usize) -> Self {
        Self::Flat(columns)
    }
}

impl From<Image> for Shape {
    fn from(image: Image) -> Self {
        Self::Image([image.height, image.width, image.channels])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_stand_behind_weights_and_their_normalization_unless_they_are_the_last() {
        let after = |net: &str| {
            let net: Net = net.parse().unwrap();
            let all = 0..net.parts().len();
            all.filter(|&i| is_activated(net.parts(), i))
                .map(|i| net.parts()[i].to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(after("9-8-7-1"), ["8", "7"]);
        assert_eq!(after("9-8-bn-7-ln-1-bn-1"), ["bn", "ln", "bn"]);
        assert_eq!(after("9-bn-8-bn-ln-1"), ["bn"]);
        assert_eq!(after("8x8x2-conv3:1-pool2-bn-res+conv3:1-1"), ["conv3:1", "res+conv3:1"]);
        let block: Net = "9-res+8+bn+9+ln-1".parse().unwrap();
        let Part::Residual(inside) = &block.parts()[0] else { panic!("not a residual block") };
        assert_eq!((0..4).map(|i| is_activated(inside, i)).collect::<Vec<_>>(), [false, true, false, false]);
    }

    #[test]
    fn an_input_that_does_not_fit_names_both_shapes() {
        let check = |net: &str, data| net.parse::<Net>().unwrap().check_input(data);
        let image = Shape::Image([28, 28, 1]);
        for net in ["784-9-10", "28x28x1-10"] {
            check(net, Shape::Flat(784)).and(check(net, image)).unwrap();
        }
        let message = |net, data| check(net, data).unwrap_err().to_string();
        assert_eq!(
            message("784-9-10", Shape::Flat(13)),
            "--net 784-9-10: input: expected an input of 13, as the data have it, got 784"
        );
        assert_eq!(
            message("14x56x1-10", image),
            "--net 14x56x1-10: input: expected an input of 28x28x1, as the data have it, got 14x56x1"
        );
    }
}
