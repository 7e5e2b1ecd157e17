//! Operands of a product, plain or transposed.

use crate::Mat;

/// A matrix whose element `(i, j)` is `data[i * row_stride + j * col_stride]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strided<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) row_stride: usize,
    pub(crate) col_stride: usize,
}

impl<'a> Strided<'a> {
    pub(crate) fn plain(m: Mat<'a>) -> Self {
        Self { data: m.data(), row_stride: m.cols(), col_stride: 1 }
    }

    pub(crate) fn transposed(m: Mat<'a>) -> Self {
        Self { data: m.data(), row_stride: 1, col_stride: m.cols() }
    }

    pub(crate) fn skip_rows(self, first: usize) -> Self {
        Self { data: &self.data[first * self.row_stride..], ..self }
    }

    /// Whether the last element of `[rows, cols]`, neither of them 0, lies in the data.
    pub(crate) fn covers(&self, rows: usize, cols: usize) -> bool {
        let row = (rows - 1).checked_mul(self.row_stride);
        let col = (cols - 1).checked_mul(self.col_stride);
        matches!((row, col), (Some(r), Some(c)) if r.checked_add(c).is_some_and(|last| last < self.data.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_that_are_too_short_are_seen() {
        let data = [0.0; 12];
        let m = Mat::new(&data, 3, 4).unwrap();
        assert!(Strided::plain(m).covers(3, 4));
        assert!(!Strided::plain(m).covers(4, 4));
        assert!(Strided::transposed(m).covers(4, 3));
        assert!(!Strided::transposed(m).covers(4, 4));
        assert!(!Strided::plain(m).covers(usize::MAX, 4));
        assert!(Strided::plain(m).skip_rows(2).covers(1, 4));
        assert!(!Strided::plain(m).skip_rows(2).covers(2, 4));
    }
}
