//! Row-major matrix views over flat `f32` slices.

use std::ops::Range;

use crate::Error;

/// A read-only row-major matrix over a flat slice: element `(i, j)` is `data[i * cols + j]`.
///
/// ```
/// use bdl_tensor::Mat;
/// let m = Mat::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3)?;
/// assert_eq!(m.row(1), &[4.0, 5.0, 6.0]);
/// # Ok::<(), bdl_tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
}

impl<'a> Mat<'a> {
    /// Views `data` as a `[rows, cols]` matrix.
    ///
    /// # Errors
    /// [`Error::Length`] unless `data.len() == rows * cols`.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Result<Self, Error> {
        check_len(data.len(), rows, cols)?;
        Ok(Self { data, rows, cols })
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// `[rows, cols]`.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// The elements, row after row.
    #[must_use]
    pub fn data(&self) -> &'a [f32] {
        self.data
    }

    /// Row `i`.
    ///
    /// # Panics
    /// If `i >= rows`.
    #[must_use]
    pub fn row(&self, i: usize) -> &'a [f32] {
        &self.data[i * self.cols..(i + 1) * self.cols]
    }

    /// The rows of `range`, as a matrix.
    ///
    /// # Panics
    /// If `range` reaches beyond the rows.
    #[must_use]
    pub fn rows_in(&self, range: Range<usize>) -> Mat<'a> {
        Mat {
            data: &self.data[range.start * self.cols..range.end * self.cols],
            rows: range.len(),
            cols: self.cols,
        }
    }

    /// The rows in order. A matrix without columns has rows that are empty.
    pub fn iter_rows(&self) -> impl ExactSizeIterator<Item = &'a [f32]> + use<'a> {
        let (data, cols) = (self.data, self.cols);
        (0..self.rows).map(move |i| &data[i * cols..(i + 1) * cols])
    }
}

/// A writable row-major matrix over a flat slice.
#[derive(Debug, PartialEq)]
pub struct MatMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    cols: usize,
}

impl<'a> MatMut<'a> {
    /// Views `data` as a writable `[rows, cols]` matrix.
    ///
    /// # Errors
    /// [`Error::Length`] unless `data.len() == rows * cols`.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Result<Self, Error> {
        check_len(data.len(), rows, cols)?;
        Ok(Self { data, rows, cols })
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// `[rows, cols]`.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// The elements, row after row.
    #[must_use]
    pub fn data(&self) -> &[f32] {
        self.data
    }

    /// The elements, row after row, for writing.
    #[must_use]
    pub fn data_mut(&mut self) -> &mut [f32] {
        self.data
    }

    /// Row `i`, for writing.
    ///
    /// # Panics
    /// If `i >= rows`.
    #[must_use]
    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        &mut self.data[i * self.cols..(i + 1) * self.cols]
    }

    /// The same matrix, read-only.
    #[must_use]
    pub fn as_mat(&self) -> Mat<'_> {
        Mat { data: self.data, rows: self.rows, cols: self.cols }
    }

    /// The same matrix for a shorter time, so that it can be handed on and used again.
    #[must_use]
    pub fn reborrow(&mut self) -> MatMut<'_> {
        MatMut { data: self.data, rows: self.rows, cols: self.cols }
    }
}

fn check_len(got: usize, rows: usize, cols: usize) -> Result<(), Error> {
    match rows.checked_mul(cols) {
        Some(n) if n == got => Ok(()),
        _ => Err(Error::Length { what: "matrix", shape: [rows, cols], got }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_of_the_wrong_length_is_refused_with_both_sizes() {
        let e = Mat::new(&[0.0; 5], 2, 3).unwrap_err();
        assert_eq!(e.to_string(), "matrix: [2, 3] needs 6 elements, got 5");
        let mut d = [0.0; 7];
        assert!(MatMut::new(&mut d, 2, 3).is_err());
        assert!(Mat::new(&[], usize::MAX, 2).is_err());
    }

    #[test]
    fn rows_and_ranges_of_rows_view_the_same_memory() {
        let d: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let m = Mat::new(&d, 4, 3).unwrap();
        assert_eq!(m.rows_in(1..3).row(1), m.row(2));
        assert_eq!(m.rows_in(2..2).shape(), [0, 3]);
        assert_eq!(m.iter_rows().map(<[f32]>::len).sum::<usize>(), 12);
    }
}
