//! Convolutions, as linear maps.

use bdl_tensor::{Mat, MatMut, Patches, Pattern, Pool, Store};
use serde::{Deserialize, Serialize};

use crate::dense::bias_grad;
use crate::image::{Image, Table, Window, refuse};
use crate::map::LinearMap;
use crate::pruned::{self, BLOCK, Thin};
use crate::{Cut, Error, Family, Layer};

/// Elements of padded images that are worked on at a time.
const PADDED: usize = 1 << 18;

/// The most weights of a convolution.
const MOST_WEIGHTS: usize = 1 << 31;

/// The filters of a convolution: how many, and how they move.
///
/// ```
/// use bdl_layers::{Filters, Window};
/// let filters = Filters::new(32, Window::new([3, 3]).padding([1, 1])).groups(4);
/// assert_ne!(filters, Filters::new(32, Window::new([3, 3])));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filters {
    channels: usize,
    window: Window,
    groups: usize,
}

impl Filters {
    /// As many filters as there are to be output channels.
    #[must_use]
    pub const fn new(channels: usize, window: Window) -> Self {
        Self { channels, window, groups: 1 }
    }

    /// The same in groups: the g-th part of the filters sees the g-th part of the input channels. Both numbers of
    /// channels must be multiples of `groups`; with as many groups as input channels each channel has filters of its own.
    #[must_use]
    pub const fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }
}

/// A convolution over images, channels last.
///
/// ```text
/// y[i, j, o] = b[o] + Σ_{a, c, k} x[i·s₁ + a·d₁ − p₁, j·s₂ + c·d₂ − p₂, group(o)·C/G + k]·W[a, c, k, o]
/// ```
/// with strides s, dilations d and paddings p of the [`Window`], G groups of the C input channels, and x = 0 outside the
/// image. (What the literature on images calls a convolution is a correlation: the kernel is not turned over.)
/// `docs/math.md#convolution`.
///
/// # Shapes
/// x `[rows, height·width·channels]`, W `[kernel height, kernel width, channels/groups, filters]`, b `[filters]`,
/// y `[rows, positions·filters]`, an image of [`out_image`](Conv2dMap::out_image).
///
/// # Examples
/// ```
/// use bdl_layers::{Conv2dMap, Filters, Image, LinearMap, Window};
/// let map = Conv2dMap::new("conv2d", Image::new(28, 28, 1), Filters::new(20, Window::new([5, 5])))?;
/// assert_eq!(map.out_image(), Image::new(24, 24, 20));
/// assert_eq!(map.weight_shape(), [5, 5, 1, 20]);
/// // Over a sequence of 100 steps of 3 values, at every other step.
/// let filters = Filters::new(8, Window::line(4).stride([1, 2]));
/// assert_eq!(Conv2dMap::new("conv2d", Image::line(100, 3), filters)?.out_image(), Image::line(49, 8));
/// # Ok::<(), bdl_layers::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conv2dMap {
    image: Image,
    filters: Filters,
    out: Image,
    padded: Image,
    patches: Table<Patches>,
}

/// The form in which a file holds a [`Conv2dMap`]; frozen.
#[derive(Debug, Serialize, Deserialize)]
pub struct Conv2dV1 {
    image: [u64; 3],
    channels: u64,
    /// Kernel, stride, padding and dilation.
    window: [[u64; 2]; 4],
    groups: u64,
}

impl Conv2dMap {
    /// The convolution of images with filters, for a layer of the kind `layer`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a size or step of 0, a kernel larger than the padded image, or a number of groups that does
    /// not divide both numbers of channels.
    pub fn new(layer: &str, image: Image, filters: Filters) -> Result<Self, Error> {
        let window = filters.window;
        let [height, width] = window.positions(layer, image)?;
        let (groups, channels) = (filters.groups, filters.channels);
        let out = Image { height, width, channels };
        out.check(layer, "output")?;
        if !image.channels.is_multiple_of(groups) || !channels.is_multiple_of(groups) {
            let expected = format!("a divisor of {} input and {channels} output channels", image.channels);
            return refuse(layer, "groups", expected, groups.to_string());
        }
        let padded = window.padded(image);
        let per_group = image.channels / groups;
        let terms = window.kernel[0] * window.kernel[1] * per_group;
        if terms.saturating_mul(channels) > MOST_WEIGHTS {
            let got = terms.saturating_mul(channels).to_string();
            return refuse(layer, "weights", format!("at most {MOST_WEIGHTS}"), got);
        }
        Ok(Self { image, filters, out, padded, patches: Table::new() })
    }

    /// Where the patches lie in a padded image.
    fn patches(&self) -> &Patches {
        self.patches.get(|| {
            let (window, groups, per_group) = (self.filters.window, self.filters.groups, self.per_group());
            let starts = pixels(self.padded, [self.out.height, self.out.width], window.stride, 1);
            let offsets = pixels(self.padded, window.kernel, window.dilation, per_group);
            Patches::new(self.padded.len(), starts, offsets)?.with_groups(groups, per_group)
        })
    }

    /// Input channels of a group.
    fn per_group(&self) -> usize {
        self.image.channels / self.filters.groups
    }

    /// Terms of a sum.
    fn terms(&self) -> usize {
        let [height, width] = self.filters.window.kernel;
        height * width * self.per_group()
    }

    /// Positions of the filters in an image.
    fn positions(&self) -> usize {
        self.out.height * self.out.width
    }

    /// The image that the map takes.
    #[must_use]
    pub fn image(&self) -> Image {
        self.image
    }

    /// The image that the map gives.
    #[must_use]
    pub fn out_image(&self) -> Image {
        self.out
    }

    fn weight<'a>(&self, weight: &'a [f32]) -> Result<Mat<'a>, Error> {
        Ok(Mat::new(weight, self.terms(), self.out.channels)?)
    }

    /// The group of an output channel.
    fn group(&self, unit: usize) -> usize {
        unit / (self.out.channels / self.filters.groups)
    }

    fn is_padded(&self) -> bool {
        self.padded != self.image
    }

    /// Rows that are padded at a time.
    fn block(&self) -> usize {
        (PADDED / self.padded.len()).max(1)
    }

    /// Calls `f(first_row, rows, scratch)` for blocks of rows, with place for their padded images.
    fn in_blocks(
        &self,
        rows: usize,
        scratch: &mut [f32],
        mut f: impl FnMut(usize, usize, MatMut<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for first in (0..rows).step_by(self.block()) {
            let some = self.block().min(rows - first);
            let len = self.padded.len();
            f(first, some, MatMut::new(&mut scratch[..some * len], some, len)?)?;
        }
        Ok(())
    }

    /// Copies images into the middle of padded ones.
    fn pad(&self, pool: &dyn Pool, x: Mat<'_>, padded: &mut MatMut<'_>) {
        let per_task = x.rows().div_ceil(pool.threads()).max(1);
        pool.chunks(padded.data_mut(), per_task * self.padded.len(), &|task, rows| {
            rows.fill(0.0);
            for (i, row) in rows.chunks_exact_mut(self.padded.len()).enumerate() {
                let lines = x.row(task * per_task + i).chunks_exact(self.line());
                for (at, line) in self.lines().zip(lines) {
                    row[at..at + line.len()].copy_from_slice(line);
                }
            }
        });
    }

    /// Copies the middle of padded images.
    fn crop(&self, pool: &dyn Pool, padded: Mat<'_>, x: &mut [f32]) {
        let per_task = padded.rows().div_ceil(pool.threads()).max(1);
        pool.chunks(x, per_task * self.image.len(), &|task, rows| {
            for (i, row) in rows.chunks_exact_mut(self.image.len()).enumerate() {
                let from = padded.row(task * per_task + i);
                for (at, line) in self.lines().zip(row.chunks_exact_mut(self.line())) {
                    line.copy_from_slice(&from[at..at + line.len()]);
                }
            }
        });
    }

    /// Elements of a line of the image.
    fn line(&self) -> usize {
        self.image.width * self.image.channels
    }

    /// Where in the padded image the lines of the image begin.
    fn lines(&self) -> impl Iterator<Item = usize> {
        let ([top, left], padded) = (self.filters.window.padding, self.padded);
        (top..).map(move |i| (i * padded.width + left) * padded.channels)
    }
}

/// Where `counts` pixels of an image lie that are `steps` apart, and `channels` numbers of each.
fn pixels(image: Image, counts: [usize; 2], steps: [usize; 2], channels: usize) -> Vec<u32> {
    let mut at = Vec::with_capacity(counts[0] * counts[1] * channels);
    for i in 0..counts[0] {
        for j in 0..counts[1] {
            let first = (i * steps[0] * image.width + j * steps[1]) * image.channels;
            at.extend((first..first + channels).map(|at| at as u32));
        }
    }
    at
}

/// Rows of a matrix, for writing.
fn rows_mut<'a>(m: &'a mut MatMut<'_>, first: usize, rows: usize) -> Result<MatMut<'a>, Error> {
    let cols = m.cols();
    Ok(MatMut::new(&mut m.data_mut()[first * cols..(first + rows) * cols], rows, cols)?)
}

impl LinearMap for Conv2dMap {
    const KIND: &'static str = "conv2d";

    type Config = Conv2dV1;

    fn config(&self) -> Conv2dV1 {
        let Filters { channels, window, groups } = self.filters;
        Conv2dV1 {
            image: self.image.to_file(),
            channels: channels as u64,
            window: window.to_file(),
            groups: groups as u64,
        }
    }

    fn from_config(layer: &str, v: Conv2dV1) -> Result<Self, Error> {
        let window = Window::of_file(v.window);
        let filters = Filters { channels: v.channels as usize, window, groups: v.groups as usize };
        Self::new(layer, Image::of_file(v.image), filters)
    }

    fn in_dim(&self) -> usize {
        self.image.len()
    }

    fn out_dim(&self) -> usize {
        self.out.len()
    }

    fn weight_shape(&self) -> Vec<usize> {
        let [height, width] = self.filters.window.kernel;
        vec![height, width, self.per_group(), self.out.channels]
    }

    fn weights(&self) -> usize {
        self.terms() * self.out.channels
    }

    fn units(&self) -> usize {
        self.out.channels
    }

    fn in_units(&self) -> usize {
        self.image.channels
    }

    fn fan_in(&self) -> usize {
        self.terms()
    }

    fn work(&self, rows: usize) -> usize {
        let per_row = self.positions() * self.weights() / self.filters.groups;
        rows.saturating_mul(per_row)
    }

    fn scratch(&self, rows: usize) -> usize {
        if self.is_padded() { self.block().min(rows) * self.padded.len() } else { 0 }
    }

    fn forward(
        &self,
        pool: &dyn Pool,
        x: Mat<'_>,
        weight: &[f32],
        bias: &[f32],
        scratch: &mut [f32],
        y: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        let weight = self.weight(weight)?;
        if !self.is_padded() {
            return Ok(self.patches().matmul(pool, x, weight, bias, y)?);
        }
        self.in_blocks(x.rows(), scratch, |first, rows, mut padded| {
            self.pad(pool, x.rows_in(first..first + rows), &mut padded);
            let mut y = rows_mut(y, first, rows)?;
            Ok(self.patches().matmul(pool, padded.as_mat(), weight, bias, &mut y)?)
        })
    }

    fn weight_grad(
        &self,
        pool: &dyn Pool,
        x: Mat<'_>,
        dy: Mat<'_>,
        store: Store,
        scratch: &mut [f32],
        d_weight: &mut [f32],
    ) -> Result<(), Error> {
        let mut d_weight = MatMut::new(d_weight, self.terms(), self.out.channels)?;
        if !self.is_padded() || x.rows() == 0 {
            return Ok(self.patches().matmul_tn(pool, x, dy, store, &mut d_weight)?);
        }
        self.in_blocks(x.rows(), scratch, |first, rows, mut padded| {
            self.pad(pool, x.rows_in(first..first + rows), &mut padded);
            let store = if first == 0 { store } else { Store::Add };
            let dy = dy.rows_in(first..first + rows);
            Ok(self.patches().matmul_tn(pool, padded.as_mat(), dy, store, &mut d_weight)?)
        })
    }

    fn input_grad(
        &self,
        pool: &dyn Pool,
        dy: Mat<'_>,
        weight: &[f32],
        scratch: &mut [f32],
        dx: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        let weight = self.weight(weight)?;
        if !self.is_padded() {
            return Ok(self.patches().matmul_nt(pool, dy, weight, dx)?);
        }
        self.in_blocks(dy.rows(), scratch, |first, rows, mut padded| {
            self.patches().matmul_nt(pool, dy.rows_in(first..first + rows), weight, &mut padded)?;
            self.crop(pool, padded.as_mat(), rows_mut(dx, first, rows)?.data_mut());
            Ok(())
        })
    }

    fn bias_grad(&self, dy: Mat<'_>, store: Store, d_bias: &mut [f32]) -> Result<(), Error> {
        let positions = dy.rows() * self.positions();
        bias_grad(Mat::new(dy.data(), positions, self.out.channels)?, store, d_bias);
        Ok(())
    }

    const THIN: bool = true;

    fn ends(&self, weight: usize) -> [usize; 2] {
        let (term, unit) = (weight / self.out.channels, weight % self.out.channels);
        [self.group(unit) * self.per_group() + term % self.per_group(), unit]
    }

    /// Channels of one group cannot be fewer than those of another.
    fn narrows(&self) -> bool {
        self.filters.groups == 1
    }

    fn is_uniform(&self) -> bool {
        !self.is_padded()
    }

    fn pruned<F: Family>(&self, family: F, bias: bool, cut: &Cut) -> Result<Box<dyn Layer>, Error> {
        pruned::layer(self, family, bias, cut)
    }
}

/// In groups, row `term·groups + group` of the pattern is that of a term in a group: weights stay in their order.
impl Thin for Conv2dMap {
    const PRUNED: &'static str = "pruned-conv2d";

    fn narrowed(&self, inputs: &[bool], units: &[bool]) -> Result<Self, Error> {
        let channels = self.out.narrowed(units).channels;
        Self::new(Self::PRUNED, self.image.narrowed(inputs), Filters { channels, ..self.filters })
    }

    fn pattern(&self, weights: &[usize]) -> Result<Pattern, Error> {
        let (units, groups) = (self.out.channels, self.filters.groups);
        let at = weights.iter().map(|weight| {
            let (term, unit) = (weight / units, weight % units);
            (term * groups + self.group(unit)) * units + unit
        });
        let terms = self.terms();
        let ends: Vec<usize> = (1..=terms.div_ceil(BLOCK)).map(|b| (b * BLOCK).min(terms) * groups).collect();
        let pattern = Pattern::new(terms * groups, units, at)?.in_blocks(&ends)?;
        Ok(pattern.read_at(|row| self.patches().place(row / groups, row % groups)))
    }

    fn weights_of(&self, pattern: &Pattern) -> Vec<usize> {
        let (units, groups) = (self.out.channels, self.filters.groups);
        pattern.elements().map(|at| at / units / groups * units + at % units).collect()
    }

    fn starts(&self) -> &[u32] {
        self.patches().starts()
    }

    fn reading(
        &self,
        pool: &dyn Pool,
        x: Mat<'_>,
        scratch: &mut [f32],
        f: &mut dyn FnMut(usize, Mat<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if !self.is_padded() {
            return f(0, x);
        }
        self.in_blocks(x.rows(), scratch, |first, rows, mut padded| {
            self.pad(pool, x.rows_in(first..first + rows), &mut padded);
            f(first, padded.as_mat())
        })
    }

    fn writing(
        &self,
        pool: &dyn Pool,
        dx: &mut MatMut<'_>,
        scratch: &mut [f32],
        f: &mut dyn FnMut(usize, &mut MatMut<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if !self.is_padded() {
            return f(0, dx);
        }
        self.in_blocks(dx.rows(), scratch, |first, rows, mut padded| {
            f(first, &mut padded)?;
            self.crop(pool, padded.as_mat(), rows_mut(dx, first, rows)?.data_mut());
            Ok(())
        })
    }
}
