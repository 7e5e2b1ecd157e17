//! The product itself.
//!
//! Sixteen positions are multiplied side by side: their terms are turned into vectors over positions, and each element of the
//! matrix is one multiply-add of whole vectors. A position by itself goes over its terms one by one and skips those that are 0.

use super::turned::{gather, rows_of, vectors};
use super::{Pattern, Positions};
use crate::dispatch::{Isa, dispatched};
use crate::tile::{LANES, Vector, multiply_add, stored};
use crate::{Error, Mat, MatMut, Store};

/// From this many positions on, a vector of them costs less than one after the other.
const FEW: usize = 3;

impl Pattern {
    /// `y = x·W`, over the patches of x at `starts` in each row.
    ///
    /// # Shapes
    /// values `[len]`, x `[b, n]`, y `[b, starts.len()·cols]`, [`scratch`](Self::scratch) floats. The last place behind the last start is
    /// below n.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Length`] when the shapes do not fit.
    pub fn product(
        &self,
        values: &[f32],
        x: Mat<'_>,
        starts: &[u32],
        scratch: &mut [f32],
        y: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        self.check("sparse product", values.len(), [x.shape(), y.shape()], starts)?;
        self.check_scratch("sparse product scratch", scratch.len())?;
        if y.data().is_empty() || self.is_empty() {
            y.data_mut().fill(0.0);
            return Ok(());
        }
        let positions = Positions::new(x, starts);
        let (panel, rest) = vectors(scratch).split_at_mut(self.used.len());
        let (sums, chains) = rest.split_at_mut(self.cols);
        let chains = &mut chains[..self.cols];
        for (group, y) in y.data_mut().chunks_mut(LANES * self.cols).enumerate() {
            let (first, count) = (group * LANES, y.len() / self.cols);
            if count < FEW {
                for (position, y) in (first..).zip(y.chunks_exact_mut(self.cols)) {
                    let x = &x.data()[positions.base(position)..];
                    one(self, values, x, &mut chains.as_flattened_mut()[..self.cols], y);
                }
                continue;
            }
            gather(x.data(), &positions.bases(first, count), &self.places, panel);
            many(self, values, panel, chains, sums);
            rows_of(sums, y);
        }
        Ok(())
    }

    /// Of each block: the first of its used rows, and one behind the last.
    #[inline(always)]
    fn blocks(&self) -> impl Iterator<Item = (usize, usize)> {
        let starts = std::iter::once(0).chain(self.blocks.iter().copied());
        starts.zip(&self.blocks).map(|(start, &end)| (start as usize, end as usize))
    }
}

dispatched! {
    /// All columns of a vector of positions.
    fn many<I>(of: &Pattern, values: &[f32], panel: &[Vector], chains: &mut [Vector], sums: &mut [Vector]) {
        let mut element = 0;
        for (block, (start, end)) in of.blocks().enumerate() {
            chains.fill([0.0; LANES]);
            for (x, &last) in panel[start..end].iter().zip(&of.ends[start..end]) {
                let run = element..last as usize;
                for (&j, &w) in of.columns[run.clone()].iter().zip(&values[run]) {
                    let chain = &mut chains[j as usize];
                    let old = *chain;
                    *chain = std::array::from_fn(|t| multiply_add::<I>(w, x[t], old[t]));
                }
                element = last as usize;
            }
            put::<I>(chains.as_flattened(), block == 0, sums.as_flattened_mut());
        }
    }

    /// All columns of one position, whose patch `x` begins with.
    fn one<I>(of: &Pattern, values: &[f32], x: &[f32], chains: &mut [f32], y: &mut [f32]) {
        let mut element = 0;
        for (block, (start, end)) in of.blocks().enumerate() {
            chains.fill(0.0);
            for (&place, &last) in of.places[start..end].iter().zip(&of.ends[start..end]) {
                let (x, run) = (x[place as usize], element..last as usize);
                if x != 0.0 {
                    for (&j, &w) in of.columns[run.clone()].iter().zip(&values[run]) {
                        let chain = &mut chains[j as usize];
                        *chain = multiply_add::<I>(w, x, *chain);
                    }
                }
                element = last as usize;
            }
            put::<I>(chains, block == 0, y);
        }
    }
}

#[inline(always)]
fn put<I: Isa>(chains: &[f32], replace: bool, sums: &mut [f32]) {
    let store = if replace { Store::Overwrite } else { Store::Add };
    for (sum, &chain) in sums.iter_mut().zip(chains) {
        *sum = stored::<I>(chain, store, *sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::forced::at_each_level;
    use crate::{Serial, matmul};

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let word = |i: u32| (i + seed).wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(40_503);
        (0..n as u32).map(|i| word(i) as f32 / 2_147_483_648.0 - 1.0).collect()
    }

    #[test]
    fn a_sparse_product_has_the_bits_of_the_dense_one_with_zeros_at_every_level() {
        for (k, n) in [(1, 1), (13, 3), (256, 17), (257, 9), (600, 50)] {
            let draws = numbers(k * n, 3);
            let at: Vec<usize> = (0..k * n).filter(|&e| draws[e] < -0.8).collect();
            let values = numbers(at.len(), 4);
            let mut w = vec![0.0; k * n];
            at.iter().zip(&values).for_each(|(&at, &value)| w[at] = value);
            let pattern = Pattern::new(k, n, at).unwrap();
            let w = Mat::new(&w, k, n).unwrap();
            let x: Vec<f32> = numbers(35 * k, 5).iter().map(|x| x.max(0.0)).collect();
            for (level, (got, expected)) in at_each_level(|| {
                let (mut got, mut expected) = (vec![f32::NAN; 35 * n], vec![f32::NAN; 35 * n]);
                let mut y = MatMut::new(&mut got, 35, n).unwrap();
                let rows = Mat::new(&x, 35, k).unwrap();
                pattern.product(&values, rows, &[0], &mut vec![f32::NAN; pattern.scratch()], &mut y).unwrap();
                for (x, y) in rows.iter_rows().zip(expected.chunks_mut(n)) {
                    let mut y = MatMut::new(y, 1, n).unwrap();
                    matmul(&Serial, Mat::new(x, 1, k).unwrap(), w, Store::Overwrite, &mut y).unwrap();
                }
                (got, expected)
            }) {
                let differ = (0..got.len()).find(|&i| got[i].to_bits() != expected[i].to_bits());
                assert_eq!(differ, None, "{level:?} [{k}, {n}]");
            }
        }
    }
}
