//! Convolution and pooling by the definition: loops over everything, channels last.

/// A convolution; vertical first, horizontal second in each pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OracleConv {
    /// Height, width and channels of the input.
    pub image: [usize; 3],
    /// Output channels.
    pub channels: usize,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Steps between positions.
    pub stride: [usize; 2],
    /// Zeros around the image.
    pub padding: [usize; 2],
    /// Steps between the pixels of the kernel.
    pub dilation: [usize; 2],
    /// The g-th part of the filters sees the g-th part of the input channels.
    pub groups: usize,
}

impl OracleConv {
    /// Height, width and channels of the output.
    #[must_use]
    pub fn out_image(&self) -> [usize; 3] {
        let side = |d: usize| {
            let extent = self.dilation[d] * (self.kernel[d] - 1) + 1;
            (self.image[d] + 2 * self.padding[d] - extent) / self.stride[d] + 1
        };
        [side(0), side(1), self.channels]
    }

    /// Elements of an output row.
    #[must_use]
    pub fn out_dim(&self) -> usize {
        self.out_image().iter().product()
    }

    /// Weights that one output is a sum over.
    #[must_use]
    pub fn fan_in(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.image[2] / self.groups
    }

    /// Number of weights, `[kernel, kernel, channels/groups, out]`.
    #[must_use]
    pub fn weights(&self) -> usize {
        self.fan_in() * self.channels
    }

    /// Where in a row the pixel lies that tap `tap` sees from position `position`; `None` outside the image.
    #[must_use]
    pub fn pixel(&self, position: [usize; 2], tap: [usize; 2]) -> Option<usize> {
        let at = |d: usize| {
            let at =
                (position[d] * self.stride[d] + tap[d] * self.dilation[d]).checked_sub(self.padding[d])?;
            (at < self.image[d]).then_some(at)
        };
        Some((at(0)? * self.image[1] + at(1)?) * self.image[2])
    }

    /// `[rows, out]` from `x: [rows, in]`, weights and biases; an empty `b` is no bias. math.md#convolution
    ///
    /// # Examples
    /// ```
    /// use bdl_testkit::oracle::OracleConv;
    /// let conv = OracleConv {
    ///     image: [1, 4, 1], channels: 1, kernel: [1, 2], stride: [1, 1], padding: [0, 1], dilation: [1, 1], groups: 1,
    /// };
    /// let y = conv.forward(&[1.0, 4.0, 9.0, 16.0], &[-1.0, 1.0], &[0.5], 1);
    /// assert_eq!(y, [1.5, 3.5, 5.5, 7.5, -15.5]);
    /// ```
    #[must_use]
    pub fn forward(&self, x: &[f64], w: &[f64], b: &[f64], rows: usize) -> Vec<f64> {
        assert_eq!(w.len(), self.weights(), "conv: w has {} values", w.len());
        assert_eq!(x.len(), rows * self.image.iter().product::<usize>(), "conv: x has {} values", x.len());
        let [height, width, channels] = self.out_image();
        let per_group = self.image[2] / self.groups;
        let mut y = Vec::with_capacity(rows * self.out_dim());
        for row in x.chunks(x.len() / rows) {
            for at in (0..height * width * channels)
                .map(|at| [at / channels / width, at / channels % width, at % channels])
            {
                let [i, j, o] = at;
                let mut sum = b.get(o).copied().unwrap_or(0.0);
                for (l, w) in w.chunks(channels).map(|filters| filters[o]).enumerate() {
                    let tap = [l / per_group / self.kernel[1], l / per_group % self.kernel[1]];
                    let first = o / (channels / self.groups) * per_group;
                    if let Some(pixel) = self.pixel([i, j], tap) {
                        sum += row[pixel + first + l % per_group] * w;
                    }
                }
                y.push(sum);
            }
        }
        y
    }
}

/// Pooling over the kernel of a convolution, whose `channels` and `groups` are not looked at.
///
/// Padding is never the largest, and counts as zeros in a mean. math.md#pooling
///
/// # Examples
/// ```
/// use bdl_testkit::oracle::{OracleConv, pool};
/// let window = OracleConv {
///     image: [1, 4, 1], channels: 1, kernel: [1, 2], stride: [1, 2], padding: [0, 0], dilation: [1, 1], groups: 1,
/// };
/// assert_eq!(pool(&window, true, &[1.0, 4.0, 3.0, 2.0], 1), [4.0, 3.0]);
/// assert_eq!(pool(&window, false, &[1.0, 4.0, 3.0, 2.0], 1), [2.5, 2.5]);
/// ```
#[must_use]
pub fn pool(window: &OracleConv, largest: bool, x: &[f64], rows: usize) -> Vec<f64> {
    let ([height, width, _], channels) = (window.out_image(), window.image[2]);
    let mut y = Vec::new();
    for row in x.chunks(x.len() / rows) {
        for at in 0..height * width * channels {
            let position = [at / channels / width, at / channels % width];
            let taps = (0..window.kernel[0]).flat_map(|a| (0..window.kernel[1]).map(move |e| [a, e]));
            let seen: Vec<f64> =
                taps.filter_map(|tap| Some(row[window.pixel(position, tap)? + at % channels])).collect();
            y.push(match largest {
                true => seen.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                false => seen.iter().sum::<f64>() / (window.kernel[0] * window.kernel[1]) as f64,
            });
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conv(image: [usize; 3], channels: usize, kernel: [usize; 2]) -> OracleConv {
        OracleConv { image, channels, kernel, stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 }
    }

    // The example of a 3×3 image and a 2×2 kernel that every text has.
    #[test]
    fn a_small_image_by_hand() {
        let x: Vec<f64> = (1..10).map(f64::from).collect();
        let y = conv([3, 3, 1], 1, [2, 2]).forward(&x, &[1.0, 2.0, 3.0, 4.0], &[], 1);
        assert_eq!(y, [37.0, 47.0, 67.0, 77.0]);
        let strided = OracleConv { stride: [2, 1], padding: [1, 0], ..conv([3, 3, 1], 1, [2, 2]) };
        // Rows −1 and 0, then 1 and 2.
        assert_eq!(strided.forward(&x, &[1.0, 2.0, 3.0, 4.0], &[], 1), [11.0, 18.0, 67.0, 77.0]);
        let dilated = OracleConv { dilation: [2, 2], ..conv([3, 3, 1], 1, [2, 2]) };
        assert_eq!(dilated.forward(&x, &[1.0, 2.0, 3.0, 4.0], &[1.0], 1), [1.0 + 1.0 + 6.0 + 21.0 + 36.0]);
    }

    #[test]
    fn groups_see_their_own_channels_and_channels_add() {
        // Two pixels of two channels.
        let x = [1.0, 10.0, 2.0, 20.0];
        let both = conv([1, 2, 2], 2, [1, 1]);
        assert_eq!(both.forward(&x, &[1.0, 0.0, 1.0, 2.0], &[], 1), [11.0, 20.0, 22.0, 40.0]);
        let apart = OracleConv { groups: 2, ..both };
        assert_eq!((apart.fan_in(), apart.weights()), (1, 2));
        assert_eq!(apart.forward(&x, &[3.0, 5.0], &[0.0, 1.0], 1), [3.0, 51.0, 6.0, 101.0]);
    }
}
