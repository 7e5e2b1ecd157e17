//! Products of a matrix with patches of rows, which are never written down: convolutions.

mod lines;

use std::ops::Range;

use crate::gemm::{SPLIT_FROM, expect};
use crate::packed::with_tile;
use crate::{Error, Mat, MatMut, Pool, Store, kernels};
use lines::{WeightSums, inputs, outputs, weights};

/// Left and right numbers of a chunk of positions, which stay in the second cache while the matrix passes by.
const CHUNK: usize = 1 << 15;

/// Fewer positions do not pay for packing the matrix.
const FEWEST: usize = 512;

/// Rows of a task are a multiple of the micro-kernel's.
const STEP: usize = 4;

/// Where the patches of a row lie: the same places in each row of a matrix.
///
/// ```text
/// patch[q, l] = x[starts[q] + offsets[l]]        q: positions, l: terms
/// ```
///
/// With groups there are as many patches at each position, the next one `group_step` elements further on, and the
/// columns of the matrix that they meet are shared out among the groups in order.
/// A product reads the patches where they lie. Every element is one sum in one
/// order, that of [`matmul`](crate::matmul) over the terms, whatever the pool.
///
/// # Examples
/// ```
/// use bdl_tensor::{Mat, MatMut, Patches, Serial};
/// // Differences of neighbours.
/// let patches = Patches::new(4, vec![0, 1, 2], vec![0, 1])?;
/// let (x, w) = (Mat::new(&[1.0, 4.0, 9.0, 16.0], 1, 4)?, Mat::new(&[-1.0, 1.0], 2, 1)?);
/// let mut y = [f32::NAN; 3];
/// patches.matmul(&Serial, x, w, &[], &mut MatMut::new(&mut y, 1, 3)?)?;
/// assert_eq!(y, [3.0, 5.0, 7.0]);
/// # Ok::<(), bdl_tensor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patches {
    row_len: usize,
    starts: Vec<u32>,
    offsets: Vec<u32>,
    /// Elements from the start of a patch to behind its last.
    span: usize,
    /// Terms that lie side by side.
    runs: Vec<Range<usize>>,
    groups: usize,
    group_step: usize,
}

impl Patches {
    /// Patches of rows of `row_len` elements, in one group.
    ///
    /// # Errors
    /// [`Error::TooShort`] if the row is shorter than its patches reach.
    pub fn new(row_len: usize, starts: Vec<u32>, offsets: Vec<u32>) -> Result<Self, Error> {
        let span = offsets.iter().max().map_or(0, |&last| last as usize + 1);
        let runs = runs(&offsets);
        let patches = Self { row_len, starts, offsets, span, runs, groups: 1, group_step: 0 };
        patches.check()
    }

    /// The same in `groups` groups, each `group_step` elements behind the one before.
    ///
    /// # Errors
    /// [`Error::TooShort`] if the row is shorter than the patches of the last group reach, or without a group.
    pub fn with_groups(self, groups: usize, group_step: usize) -> Result<Self, Error> {
        Self { groups, group_step, ..self }.check()
    }

    fn check(self) -> Result<Self, Error> {
        let (what, got) = ("patches row", self.row_len);
        let shift = self.groups.saturating_sub(1).saturating_mul(self.group_step);
        let first = self.starts.iter().max().map_or(0, |&start| start as usize);
        let needs = self.span.saturating_add(first).saturating_add(shift);
        let fits = self.groups > 0 && needs <= got;
        if fits { Ok(self) } else { Err(Error::TooShort { what, needs, got }) }
    }

    /// Length of a row.
    #[must_use]
    pub fn row_len(&self) -> usize {
        self.row_len
    }

    /// Where in a row the patches of the first group start.
    #[must_use]
    pub fn starts(&self) -> &[u32] {
        &self.starts
    }

    /// Where a term of a patch of a group lies, from its start.
    ///
    /// # Panics
    /// If `term` is not below [`terms`](Self::terms).
    #[must_use]
    pub fn place(&self, term: usize, group: usize) -> u32 {
        self.offsets[term] + (group * self.group_step) as u32
    }

    /// Number of positions in a row.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.starts.len()
    }

    /// Number of terms of a patch.
    #[must_use]
    pub fn terms(&self) -> usize {
        self.offsets.len()
    }

    /// `y = patches(x)·W + b`; an empty b is no bias.
    ///
    /// ```text
    /// y[i, q, j] = b[j] + Σ_l x[i, starts[q] + offsets[l] + group(j)·group_step]·W[l, j]
    /// ```
    ///
    /// # Shapes
    /// x `[rows, row_len]`, W `[terms, units]`, b `[units]`, y `[rows, positions·units]`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shapes do not fit.
    pub fn matmul(
        &self,
        pool: &dyn Pool,
        x: Mat<'_>,
        w: Mat<'_>,
        bias: &[f32],
        y: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        let units = self.units("patches matmul", x, w, y.shape())?;
        if !bias.is_empty() {
            expect("patches matmul bias", [1, units], [1, bias.len()])?;
        }
        let per_chunk = (CHUNK / units.max(1)).max(FEWEST);
        let task = |first: usize, y: &mut [f32]| {
            for (chunk, y) in y.chunks_mut(per_chunk * units).enumerate() {
                with_tile(|tile| outputs(self, x.data(), w, first + chunk * per_chunk, tile, y));
                if !bias.is_empty() {
                    let rows = y.len() / units;
                    let mut y =
                        MatMut::new(y, rows, units).unwrap_or_else(|_| unreachable!("whole positions"));
                    kernels::add_bias_rows(bias, &mut y);
                }
            }
        };
        split(pool, self.work(x.rows(), units), [units, STEP], y.data_mut(), &task);
        Ok(())
    }

    /// `dW = patches(x)ᵀ·dy` or `dW += patches(x)ᵀ·dy`: the gradient of the matrix.
    ///
    /// ```text
    /// dW[l, j] = (dW[l, j] +) Σ_{i, q} x[i, starts[q] + offsets[l] + group(j)·group_step]·dy[i, q, j]
    /// ```
    ///
    /// # Shapes
    /// x `[rows, row_len]`, dy `[rows, positions·units]`, dW `[terms, units]`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shapes do not fit.
    pub fn matmul_tn(
        &self,
        pool: &dyn Pool,
        x: Mat<'_>,
        dy: Mat<'_>,
        store: Store,
        d_w: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        let units = self.units("patches matmul_tn", x, d_w.as_mat(), dy.shape())?;
        if dy.data().is_empty() && store == Store::Overwrite {
            d_w.data_mut().fill(0.0);
        }
        let sums = WeightSums { patches: self, x: x.data(), dy: dy.data(), units, store };
        let task = |first: usize, d_w: &mut [f32]| with_tile(|tile| weights(&sums, first, tile, d_w));
        split(pool, self.work(x.rows(), units), [units, STEP], d_w.data_mut(), &task);
        Ok(())
    }

    /// `dx = dy·Wᵀ`, each product added where its patch lies: the gradient of the rows.
    ///
    /// ```text
    /// dx[i, s] = Σ_{q, l, j: starts[q] + offsets[l] + group(j)·group_step = s} dy[i, q, j]·W[l, j]
    /// ```
    ///
    /// # Shapes
    /// dy `[rows, positions·units]`, W `[terms, units]`, dx `[rows, row_len]`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shapes do not fit.
    pub fn matmul_nt(
        &self,
        pool: &dyn Pool,
        dy: Mat<'_>,
        w: Mat<'_>,
        dx: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        let units = self.units("patches matmul_nt", dx.as_mat(), w, dy.shape())?;
        let width = self.positions() * units;
        let per_chunk = (FEWEST / self.positions().max(1)).max(CHUNK / width.max(1)).max(1);
        let task = |first: usize, dx: &mut [f32]| {
            dx.fill(0.0);
            for (chunk, dx) in dx.chunks_mut(per_chunk * self.row_len).enumerate() {
                let dy = &dy.data()[(first + chunk * per_chunk) * width..];
                with_tile(|tile| inputs(self, dy, w, tile, dx));
            }
        };
        split(pool, self.work(dy.rows(), units), [self.row_len, 1], dx.data_mut(), &task);
        Ok(())
    }

    /// Checks the shapes and returns the number of units.
    fn units(&self, what: &'static str, x: Mat<'_>, w: Mat<'_>, y: [usize; 2]) -> Result<usize, Error> {
        let units = w.cols();
        expect(what, [x.rows(), self.row_len], x.shape())?;
        expect(what, [self.terms(), units / self.groups * self.groups], w.shape())?;
        expect(what, [x.rows(), self.positions() * units], y)?;
        Ok(units)
    }

    /// Multiply-adds of a product.
    fn work(&self, rows: usize, units: usize) -> usize {
        rows.saturating_mul(self.positions()).saturating_mul(units / self.groups).saturating_mul(self.terms())
    }

    /// The first elements of the patches of `R` positions from `first` on, counted through all rows.
    #[inline(always)]
    fn bases<const R: usize>(&self, first: usize) -> [usize; R] {
        let (mut row, mut at) = (first / self.starts.len(), first % self.starts.len());
        let mut bases = [0; R];
        for base in &mut bases {
            *base = row * self.row_len + self.starts[at] as usize;
            at += 1;
            if at == self.starts.len() {
                (row, at) = (row + 1, 0);
            }
        }
        bases
    }
}

/// Shares out lines of `len` elements where that pays, in multiples of `step`: `task(first_line, lines)`.
fn split(
    pool: &dyn Pool,
    work: usize,
    [len, step]: [usize; 2],
    out: &mut [f32],
    task: &(dyn Fn(usize, &mut [f32]) + Sync),
) {
    if out.is_empty() {
        return;
    }
    let lines = out.len() / len;
    let per_task = lines.div_ceil(pool.threads().max(1)).next_multiple_of(step);
    if work < SPLIT_FROM || per_task >= lines {
        return task(0, out);
    }
    pool.chunks(out, per_task * len, &|i, lines| task(i * per_task, lines));
}

/// Ranges of terms that lie side by side, in order.
fn runs(offsets: &[u32]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for l in 0..offsets.len() {
        match runs.last_mut() {
            Some(run) if offsets[l].checked_sub(1) == Some(offsets[l - 1]) => run.end = l + 1,
            _ => runs.push(l..l + 1),
        }
    }
    runs
}
