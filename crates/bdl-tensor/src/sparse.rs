//! Products with a matrix of which most elements are 0: the others alone are stored, read and multiplied.

mod backward;
mod forward;
mod turned;

use crate::gemm::expect;
use crate::tile::{BLOCK, LANES};
use crate::{Error, Mat};

/// Which elements of a matrix W `[rows, cols]` there are, row after row; the others are 0.
///
/// ```text
/// y[i, q, j] = Σ over the elements (l, j) of  x[i, starts[q] + place(l)]·W[l, j]        q: positions in a row of x
/// ```
///
/// The values of the elements are a slice of their own, in the same order, so that one pattern serves a mean, a variance and every
/// draw. A plain product has one position at 0 and reads row `l` of W at place `l`; a convolution reads patches.
///
/// A term that is absent would add ±0 to its chain: sums are those of [`matmul`](crate::matmul) with zeros in the absent places,
/// in the same blocks (but for the sign of a sum that underflows), whatever the number of rows and positions. What an absent weight
/// would have met is not read: an infinite input is no NaN there.
///
/// ```
/// use bdl_tensor::{Mat, MatMut, Pattern};
/// // [[1, 0], [0, 0], [2, 3]]
/// let pattern = Pattern::new(3, 2, [0, 4, 5])?;
/// let mut scratch = vec![0.0; pattern.scratch()];
/// let (x, mut y) = (Mat::new(&[1.0, 9.0, 10.0], 1, 3)?, [f32::NAN; 2]);
/// pattern.product(&[1.0, 2.0, 3.0], x, &[0], &mut scratch, &mut MatMut::new(&mut y, 1, 2)?)?;
/// assert_eq!(y, [21.0, 30.0]);
/// # Ok::<(), bdl_tensor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    rows: usize,
    cols: usize,
    /// The rows that have an element.
    used: Vec<u32>,
    /// Where in a patch each of them is read.
    places: Vec<u32>,
    /// Where the elements of each of them end.
    ends: Vec<u32>,
    /// Column of each element.
    columns: Vec<u32>,
    /// Of each block of terms that is summed by itself, how many of the used rows are before its end.
    blocks: Vec<u32>,
}

impl Pattern {
    /// The elements at `at`, row-major and ascending: `l·cols + j`.
    ///
    /// # Errors
    /// [`Error::Element`] for one that is not behind its predecessor or beyond the matrix; [`Error::TooLarge`] for a matrix
    /// whose elements 32 bits cannot number.
    pub fn new(rows: usize, cols: usize, at: impl IntoIterator<Item = usize>) -> Result<Self, Error> {
        let size = check_size(rows, cols)?;
        let (mut used, mut ends, mut columns) = (Vec::new(), Vec::new(), Vec::new());
        let mut least = 0;
        for (index, got) in at.into_iter().enumerate() {
            if got < least || got >= size {
                return Err(Error::Element { index, least, below: size, got });
            }
            least = got + 1;
            let row = (got / cols) as u32;
            if used.last() != Some(&row) {
                used.push(row);
                ends.push(index as u32);
            }
            columns.push((got % cols) as u32);
            if let Some(end) = ends.last_mut() {
                *end = index as u32 + 1;
            }
        }
        let blocks = Vec::new();
        let pattern = Self { rows, cols, places: used.clone(), used, ends, columns, blocks };
        let ends: Vec<usize> = (1..=rows.div_ceil(BLOCK)).map(|b| (b * BLOCK).min(rows)).collect();
        pattern.in_blocks(&ends)
    }

    /// The same, with rows that end at `ends` summed in a chain of their own each, in place of 256 at a time: of a matrix that has lost
    /// rows, or that interleaves those of several.
    ///
    /// # Errors
    /// [`Error::Element`] for an end that is before its predecessor or beyond the matrix, or a last one that is not its end.
    pub fn in_blocks(self, ends: &[usize]) -> Result<Self, Error> {
        let mut least = 0;
        for (index, &got) in ends.iter().enumerate() {
            let last = index + 1 == ends.len();
            if got < least || got > self.rows || (last && got != self.rows) {
                return Err(Error::Element { index, least, below: self.rows + 1, got });
            }
            least = got;
        }
        if least != self.rows {
            return Err(Error::Element { index: 0, least: self.rows, below: self.rows + 1, got: 0 });
        }
        let before = |end: &usize| self.used.partition_point(|&row| (row as usize) < *end) as u32;
        Ok(Self { blocks: ends.iter().map(before).collect(), ..self })
    }

    /// The same, with row `l` read at `place(l)`.
    #[must_use]
    pub fn read_at(self, place: impl Fn(usize) -> u32) -> Self {
        Self { places: self.used.iter().map(|&row| place(row as usize)).collect(), ..self }
    }

    /// `[rows, cols]`.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The elements, row-major.
    pub fn elements(&self) -> impl Iterator<Item = usize> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let rows = self.used.iter().zip(starts.zip(&self.ends));
        rows.flat_map(move |(&row, (start, &end))| {
            let columns = &self.columns[start as usize..end as usize];
            columns.iter().map(move |&column| row as usize * self.cols + column as usize)
        })
    }

    /// Floats that products work in, whatever the number of rows.
    #[must_use]
    pub fn scratch(&self) -> usize {
        (self.used.len() + 2 * self.cols + 1) * LANES
    }

    /// Checks operands, of which one has as many elements as the pattern; `x` may be the gradient of the rows.
    fn check(
        &self,
        what: &'static str,
        values: usize,
        [x, y]: [[usize; 2]; 2],
        starts: &[u32],
    ) -> Result<(), Error> {
        expect(what, [x[0], starts.len() * self.cols], y)?;
        if values != self.len() {
            return Err(Error::Length { what, shape: [1, self.len()], got: values });
        }
        let (place, start) = (self.places.iter().max(), starts.iter().max());
        let needs = match (place, start) {
            (Some(&place), Some(&start)) => place as usize + start as usize + 1,
            _ => 0,
        };
        if needs > x[1] { Err(Error::Length { what, shape: [1, needs], got: x[1] }) } else { Ok(()) }
    }

    fn check_scratch(&self, what: &'static str, got: usize) -> Result<(), Error> {
        let needs = self.scratch();
        if got < needs { Err(Error::Length { what, shape: [1, needs], got }) } else { Ok(()) }
    }
}

/// Number of elements of a whole matrix.
fn check_size(rows: usize, cols: usize) -> Result<usize, Error> {
    let size = rows.checked_mul(cols).filter(|&size| size.max(rows).max(cols) <= u32::MAX as usize);
    size.ok_or(Error::TooLarge { what: "sparse matrix", shape: [rows, cols] })
}

/// The bases of consecutive positions of all rows of x.
#[derive(Clone, Copy)]
struct Positions<'a> {
    starts: &'a [u32],
    row_len: usize,
}

impl<'a> Positions<'a> {
    fn new(x: Mat<'_>, starts: &'a [u32]) -> Self {
        Self { starts, row_len: x.cols() }
    }

    fn base(self, position: usize) -> usize {
        let (row, at) = (position / self.starts.len(), position % self.starts.len());
        row * self.row_len + self.starts[at] as usize
    }

    /// The bases from `first` on, of which the last of `count` stands for those that there are not.
    fn bases(self, first: usize, count: usize) -> [usize; LANES] {
        std::array::from_fn(|lane| self.base(first + lane.min(count - 1)))
    }
}
