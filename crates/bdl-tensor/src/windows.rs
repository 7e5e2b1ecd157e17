//! The largest number and the sum over windows of rows: pooling.

use crate::dispatch::dispatched;
use crate::gemm::expect;
use crate::{Error, Mat, MatMut, Pool};

/// Elements from which the rows are shared out among threads: some 15 µs.
const SPLIT_FROM: usize = 1 << 15;

/// Windows over the rows of a matrix, the same in each: which pixels each of them looks at.
///
/// A pixel is `channels` consecutive elements, and each channel is pooled on its own:
///
/// ```text
/// y[i, q, c] = max_k x[i, pixel(q, k) + c]    or    scale·Σ_k x[i, pixel(q, k) + c]
/// ```
///
/// # Examples
/// ```
/// use bdl_tensor::{Mat, MatMut, Serial, Windows};
/// // The second window has lost a pixel at the border.
/// let windows = Windows::new(3, 1, [vec![0, 1], vec![2]])?;
/// let (x, mut y) = (Mat::new(&[1.0, 4.0, 2.0], 1, 3)?, [f32::NAN; 2]);
/// windows.max(&Serial, x, &mut MatMut::new(&mut y, 1, 2)?)?;
/// assert_eq!(y, [4.0, 2.0]);
/// windows.sum(&Serial, x, 0.5, &mut MatMut::new(&mut y, 1, 2)?)?;
/// assert_eq!(y, [2.5, 1.0]);
/// # Ok::<(), bdl_tensor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    row_len: usize,
    channels: usize,
    /// First elements of the pixels, window after window.
    pixels: Vec<u32>,
    /// Where in them each window ends.
    ends: Vec<usize>,
}

impl Windows {
    /// Windows over rows of `row_len` elements: for each the first elements of its pixels, one at least.
    ///
    /// # Errors
    /// [`Error::TooShort`] if a window is empty or reaches beyond the row.
    pub fn new(
        row_len: usize,
        channels: usize,
        windows: impl IntoIterator<Item = Vec<u32>>,
    ) -> Result<Self, Error> {
        let (mut pixels, mut ends) = (Vec::new(), Vec::new());
        for window in windows {
            if window.is_empty() {
                return Err(Error::TooShort { what: "window", needs: 1, got: 0 });
            }
            pixels.extend(window);
            ends.push(pixels.len());
        }
        let needs = pixels.iter().max().map_or(0, |&last| last as usize + channels);
        if needs > row_len {
            return Err(Error::TooShort { what: "windows row", needs, got: row_len });
        }
        Ok(Self { row_len, channels, pixels, ends })
    }

    /// Elements of a row of outputs.
    #[must_use]
    pub fn out_len(&self) -> usize {
        self.ends.len() * self.channels
    }

    /// The largest of each window; NaN if one of its numbers is.
    ///
    /// # Shapes
    /// x `[rows, row_len]`, y `[rows, out_len]`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shapes do not fit.
    pub fn max(&self, pool: &dyn Pool, x: Mat<'_>, y: &mut MatMut<'_>) -> Result<(), Error> {
        self.check("windows max", x.shape(), y.shape())?;
        rows(pool, y.data_mut(), self.out_len(), &|i, y| max_row(self, x.row(i), y));
        Ok(())
    }

    /// The gradient of [`max`](Windows::max): each window's goes to the first of its numbers that is the largest.
    ///
    /// # Shapes
    /// x and dx `[rows, row_len]`, y and dy `[rows, out_len]`; dx is written.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shapes do not fit.
    pub fn max_backward(
        &self,
        pool: &dyn Pool,
        x: Mat<'_>,
        [y, dy]: [Mat<'_>; 2],
        dx: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        self.check("windows max_backward", x.shape(), y.shape())?;
        self.check("windows max_backward", dx.shape(), dy.shape())?;
        expect("windows max_backward dx", x.shape(), dx.shape())?;
        rows(pool, dx.data_mut(), self.row_len, &|i, dx| {
            max_row_backward(self, x.row(i), y.row(i), dy.row(i), dx)
        });
        Ok(())
    }

    /// `scale` times the sum of each window, added in the order of its pixels.
    ///
    /// # Shapes
    /// x `[rows, row_len]`, y `[rows, out_len]`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shapes do not fit.
    pub fn sum(&self, pool: &dyn Pool, x: Mat<'_>, scale: f32, y: &mut MatMut<'_>) -> Result<(), Error> {
        self.check("windows sum", x.shape(), y.shape())?;
        rows(pool, y.data_mut(), self.out_len(), &|i, y| sum_row(self, x.row(i), scale, y));
        Ok(())
    }

    /// The gradient of [`sum`](Windows::sum): `scale` times each window's goes to all of its numbers.
    ///
    /// # Shapes
    /// dy `[rows, out_len]`, dx `[rows, row_len]`, written.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shapes do not fit.
    pub fn sum_backward(
        &self,
        pool: &dyn Pool,
        dy: Mat<'_>,
        scale: f32,
        dx: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        self.check("windows sum_backward", dx.shape(), dy.shape())?;
        rows(pool, dx.data_mut(), self.row_len, &|i, dx| sum_row_backward(self, dy.row(i), scale, dx));
        Ok(())
    }

    fn check(&self, what: &'static str, x: [usize; 2], y: [usize; 2]) -> Result<(), Error> {
        expect(what, [x[0], self.row_len], x)?;
        expect(what, [x[0], self.out_len()], y)
    }

    /// The pixels of each window.
    #[inline(always)]
    fn each(&self) -> impl Iterator<Item = &[u32]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let pixels = &self.pixels[start..end];
            start = end;
            pixels
        })
    }
}

/// Calls `f(i, row)` for each row of `len` elements, on several threads where that pays.
fn rows(pool: &dyn Pool, out: &mut [f32], len: usize, f: &(dyn Fn(usize, &mut [f32]) + Sync)) {
    if out.is_empty() {
        return;
    }
    let count = out.len() / len;
    let per_task = if out.len() < SPLIT_FROM { count } else { count.div_ceil(pool.threads().max(1)) };
    pool.chunks(out, per_task * len, &|task, some| {
        some.chunks_exact_mut(len).enumerate().for_each(|(i, row)| f(task * per_task + i, row));
    });
}

/// Splits `channels` into pieces of 16, 4 and 1: `$body` for each, with its width and its first channel.
macro_rules! in_pieces {
    ($channels:expr, |$first:ident, $width:ident| $body:block) => {{
        let mut $first = 0;
        while $first + 16 <= $channels {
            const $width: usize = 16;
            $body
            $first += $width;
        }
        while $first + 4 <= $channels {
            const $width: usize = 4;
            $body
            $first += $width;
        }
        while $first < $channels {
            const $width: usize = 1;
            $body
            $first += $width;
        }
    }};
}

/// `W` numbers from `at` on.
#[inline(always)]
fn some<const W: usize>(x: &[f32], at: usize) -> [f32; W] {
    let mut out = [0.0; W];
    out.copy_from_slice(&x[at..at + W]);
    out
}

dispatched! {
    fn max_row(w: &Windows, x: &[f32], y: &mut [f32]) {
        for (pixels, y) in w.each().zip(y.chunks_exact_mut(w.channels)) {
            in_pieces!(w.channels, |c, W| {
                let mut largest: [f32; W] = some(x, pixels[0] as usize + c);
                for &pixel in &pixels[1..] {
                    let x: [f32; W] = some(x, pixel as usize + c);
                    for t in 0..W {
                        largest[t] = if x[t] > largest[t] || x[t].is_nan() { x[t] } else { largest[t] };
                    }
                }
                y[c..c + W].copy_from_slice(&largest);
            });
        }
    }

    fn max_row_backward(w: &Windows, x: &[f32], y: &[f32], dy: &[f32], dx: &mut [f32]) {
        dx.fill(0.0);
        for (q, pixels) in w.each().enumerate() {
            in_pieces!(w.channels, |c, W| {
                let largest: [f32; W] = some(y, q * w.channels + c);
                let mut left: [f32; W] = some(dy, q * w.channels + c);
                for &pixel in pixels {
                    let at = pixel as usize + c;
                    let (x, dx): ([f32; W], _) = (some(x, at), &mut dx[at..at + W]);
                    for t in 0..W {
                        let takes = x[t] == largest[t];
                        dx[t] += if takes { left[t] } else { 0.0 };
                        left[t] = if takes { 0.0 } else { left[t] };
                    }
                }
            });
        }
    }

    fn sum_row(w: &Windows, x: &[f32], scale: f32, y: &mut [f32]) {
        for (pixels, y) in w.each().zip(y.chunks_exact_mut(w.channels)) {
            in_pieces!(w.channels, |c, W| {
                let mut sum = [0.0; W];
                for &pixel in pixels {
                    let x: [f32; W] = some(x, pixel as usize + c);
                    for t in 0..W {
                        sum[t] += x[t];
                    }
                }
                for t in 0..W {
                    y[c + t] = sum[t] * scale;
                }
            });
        }
    }

    fn sum_row_backward(w: &Windows, dy: &[f32], scale: f32, dx: &mut [f32]) {
        dx.fill(0.0);
        for (q, pixels) in w.each().enumerate() {
            in_pieces!(w.channels, |c, W| {
                let dy: [f32; W] = some(dy, q * w.channels + c);
                for &pixel in pixels {
                    let dx = &mut dx[pixel as usize + c..][..W];
                    for t in 0..W {
                        dx[t] += scale * dy[t];
                    }
                }
            });
        }
    }
}
