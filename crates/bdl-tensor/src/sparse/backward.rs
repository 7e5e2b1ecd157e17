//! The gradients of values and inputs, sixteen positions at a time.

use super::turned::{columns_of, gather, scatter_add, vectors};
use super::{Pattern, Positions};
use crate::dispatch::dispatched;
use crate::tile::{LANES, Vector, multiply_add};
use crate::{Error, Mat, MatMut};

impl Pattern {
    /// `d_values += ∂(dy·x·W)/∂W` at the elements: over all positions, sixteen after sixteen.
    ///
    /// # Shapes
    /// As for [`product`](Self::product): x `[b, n]`, dy `[b, starts.len()·cols]`, d_values `[len]`.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Length`] when the shapes do not fit.
    pub fn add_value_grad(
        &self,
        x: Mat<'_>,
        starts: &[u32],
        dy: Mat<'_>,
        scratch: &mut [f32],
        d_values: &mut [f32],
    ) -> Result<(), Error> {
        self.check("sparse value gradient", d_values.len(), [x.shape(), dy.shape()], starts)?;
        self.check_scratch("sparse value gradient scratch", scratch.len())?;
        let positions = Positions::new(x, starts);
        let (panel, rest) = vectors(scratch).split_at_mut(self.used.len());
        let columns = &mut rest[..self.cols];
        for (group, dy) in dy.data().chunks((LANES * self.cols).max(1)).enumerate() {
            let count = dy.len() / self.cols;
            gather(x.data(), &positions.bases(group * LANES, count), &self.places, panel);
            columns_of(dy, columns);
            values(self, panel, columns, d_values);
        }
        Ok(())
    }

    /// `dx = ∂(dy·x·W)/∂x`, written: 0 where no element reads.
    ///
    /// # Shapes
    /// As for [`product`](Self::product): values `[len]`, dy `[b, starts.len()·cols]`, dx `[b, n]`.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Length`] when the shapes do not fit.
    pub fn input_grad(
        &self,
        values: &[f32],
        starts: &[u32],
        dy: Mat<'_>,
        scratch: &mut [f32],
        dx: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        self.check("sparse input gradient", values.len(), [dx.shape(), dy.shape()], starts)?;
        self.check_scratch("sparse input gradient scratch", scratch.len())?;
        let positions = Positions::new(dx.as_mat(), starts);
        let (panel, rest) = vectors(scratch).split_at_mut(self.used.len());
        let columns = &mut rest[..self.cols];
        dx.data_mut().fill(0.0);
        for (group, dy) in dy.data().chunks((LANES * self.cols).max(1)).enumerate() {
            let count = dy.len() / self.cols;
            columns_of(dy, columns);
            terms(self, values, columns, panel);
            let bases = positions.bases(group * LANES, count);
            scatter_add(panel, &bases[..count], &self.places, dx.data_mut());
        }
        Ok(())
    }
}

dispatched! {
    /// `d_values[e] += Σ over lanes of panel·columns`.
    fn values(of: &Pattern, panel: &[Vector], columns: &[Vector], d_values: &mut [f32]) {
        let mut element = 0;
        for (x, &last) in panel.iter().zip(&of.ends) {
            let run = element..last as usize;
            for (&j, d) in of.columns[run.clone()].iter().zip(&mut d_values[run]) {
                *d += dot(x, &columns[j as usize]);
            }
            element = last as usize;
        }
    }

    /// `panel[u] = Σ over the elements of row u of W·columns`.
    fn terms<I>(of: &Pattern, values: &[f32], columns: &[Vector], panel: &mut [Vector]) {
        let mut element = 0;
        for (to, &last) in panel.iter_mut().zip(&of.ends) {
            let run = element..last as usize;
            let mut sum = [0.0; LANES];
            for (&j, &w) in of.columns[run.clone()].iter().zip(&values[run]) {
                let (dy, old) = (&columns[j as usize], sum);
                sum = std::array::from_fn(|t| multiply_add::<I>(w, dy[t], old[t]));
            }
            *to = sum;
            element = last as usize;
        }
    }
}

/// Σ x·y, in halves.
#[inline(always)]
fn dot(x: &Vector, y: &Vector) -> f32 {
    let mut sum: Vector = std::array::from_fn(|t| x[t] * y[t]);
    for half in [8, 4, 2, 1] {
        for t in 0..half {
            sum[t] += sum[t + half];
        }
    }
    sum[0]
}
