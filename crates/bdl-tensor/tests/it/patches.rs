//! Products of patches against products of the patches written down, bit for bit, and against `f64` loops.

use crate::common::numbers;
use crate::common::threads::Threads;
use bdl_tensor::{Error, Mat, MatMut, Patches, Pool, Serial, Store, matmul, matmul_tn};

/// Patches of `kernel` neighbouring pixels of an image of `side²` pixels of `channels` numbers, `step` pixels apart.
#[derive(Clone, Copy, Debug)]
struct Case {
    side: usize,
    channels: usize,
    kernel: usize,
    step: usize,
    groups: usize,
    /// Columns of the matrix, per group.
    per_group: usize,
    rows: usize,
}

impl Case {
    fn row_len(&self) -> usize {
        self.side * self.side * self.channels
    }

    fn starts(&self) -> Vec<u32> {
        let along = || (0..=self.side - self.kernel).step_by(self.step);
        let at = |i, j| ((i * self.side + j) * self.channels) as u32;
        along().flat_map(|i| along().map(move |j| at(i, j))).collect()
    }

    fn offsets(&self) -> Vec<u32> {
        let (kernel, width) = (self.kernel, self.channels / self.groups);
        let at = |i, j, c| ((i * self.side + j) * self.channels + c) as u32;
        (0..kernel * kernel * width).map(|l| at(l / width / kernel, l / width % kernel, l % width)).collect()
    }

    fn patches(&self) -> Patches {
        let patches = Patches::new(self.row_len(), self.starts(), self.offsets()).unwrap();
        patches.with_groups(self.groups, self.channels / self.groups).unwrap()
    }

    fn units(&self) -> usize {
        self.groups * self.per_group
    }

    /// The patches of a group, `[rows·positions, terms]`.
    fn written(&self, x: &[f32], group: usize) -> Vec<f32> {
        let (starts, offsets) = (self.starts(), self.offsets());
        let shift = group * (self.channels / self.groups);
        let mut written = Vec::new();
        for row in x.chunks(self.row_len()) {
            for start in &starts {
                written.extend(offsets.iter().map(|offset| row[(start + offset) as usize + shift]));
            }
        }
        written
    }

    /// The columns of a group of a matrix of all units.
    fn columns(&self, m: &[f32], group: usize) -> Vec<f32> {
        m.chunks(self.units())
            .flat_map(|row| row[group * self.per_group..][..self.per_group].to_vec())
            .collect()
    }
}

/// Patches that are rows, positions that are columns of a tile, sums that cross blocks and chunks, one of each.
const CASES: [Case; 8] = [
    Case { side: 5, channels: 1, kernel: 3, step: 1, groups: 1, per_group: 7, rows: 3 },
    Case { side: 12, channels: 1, kernel: 5, step: 1, groups: 1, per_group: 20, rows: 30 },
    Case { side: 8, channels: 30, kernel: 3, step: 1, groups: 1, per_group: 50, rows: 9 },
    Case { side: 7, channels: 6, kernel: 3, step: 2, groups: 3, per_group: 5, rows: 4 },
    Case { side: 4, channels: 8, kernel: 2, step: 2, groups: 8, per_group: 1, rows: 2 },
    Case { side: 6, channels: 3, kernel: 1, step: 1, groups: 1, per_group: 70, rows: 5 },
    Case { side: 3, channels: 40, kernel: 3, step: 1, groups: 1, per_group: 300, rows: 17 },
    Case { side: 1, channels: 1, kernel: 1, step: 1, groups: 1, per_group: 1, rows: 1 },
];

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Outputs, gradient of the matrix (added to `start`) and gradient of the rows.
struct Products {
    y: Vec<f32>,
    d_w: Vec<f32>,
    dx: Vec<f32>,
}

fn products(case: &Case, pool: &dyn Pool, start: Option<&[f32]>) -> Products {
    let (patches, rows, units) = (case.patches(), case.rows, case.units());
    let (x, w, bias, dy) = operands(case);
    let width = patches.positions() * units;
    let (x, dy) = (Mat::new(&x, rows, case.row_len()).unwrap(), Mat::new(&dy, rows, width).unwrap());
    let w = Mat::new(&w, patches.terms(), units).unwrap();
    let mut y = vec![f32::NAN; rows * width];
    patches.matmul(pool, x, w, &bias, &mut MatMut::new(&mut y, rows, width).unwrap()).unwrap();
    let mut d_w = start.map_or(vec![f32::NAN; patches.terms() * units], <[f32]>::to_vec);
    let store = if start.is_some() { Store::Add } else { Store::Overwrite };
    let out = &mut MatMut::new(&mut d_w, patches.terms(), units).unwrap();
    patches.matmul_tn(pool, x, dy, store, out).unwrap();
    let mut dx = vec![f32::NAN; rows * case.row_len()];
    patches.matmul_nt(pool, dy, w, &mut MatMut::new(&mut dx, rows, case.row_len()).unwrap()).unwrap();
    Products { y, d_w, dx }
}

/// x, W, b and dy.
fn operands(case: &Case) -> (Vec<f32>, Vec<f32>, Vec<f32>, Vec<f32>) {
    let (units, patches) = (case.units(), case.patches());
    (
        numbers(case.rows * case.row_len(), 1),
        numbers(patches.terms() * units, 2),
        numbers(units, 3),
        numbers(case.rows * patches.positions() * units, 4),
    )
}

#[test]
fn outputs_and_weight_gradients_have_the_bits_of_patches_that_are_written_down() {
    for case in CASES {
        let (x, w, bias, dy) = operands(&case);
        let start = numbers(w.len(), 5);
        let (whole, added) = (products(&case, &Serial, None), products(&case, &Serial, Some(&start)));
        for group in 0..case.groups {
            let a = case.written(&x, group);
            let terms = case.patches().terms();
            let a = Mat::new(&a, a.len() / terms, terms).unwrap();
            let (w, dy, bias) =
                (case.columns(&w, group), case.columns(&dy, group), case.columns(&bias, group));
            let w = Mat::new(&w, terms, case.per_group).unwrap();
            let mut y = vec![f32::NAN; a.rows() * case.per_group];
            let out = &mut MatMut::new(&mut y, a.rows(), case.per_group).unwrap();
            matmul(&Serial, a, w, Store::Overwrite, out).unwrap();
            y.iter_mut().enumerate().for_each(|(i, y)| *y += bias[i % case.per_group]);
            assert_eq!(bits(&case.columns(&whole.y, group)), bits(&y), "{case:?} outputs");
            let dy = Mat::new(&dy, a.rows(), case.per_group).unwrap();
            for (got, start) in [(&whole.d_w, None), (&added.d_w, Some(case.columns(&start, group)))] {
                let store = if start.is_some() { Store::Add } else { Store::Overwrite };
                let mut d_w = start.unwrap_or_else(|| vec![f32::NAN; terms * case.per_group]);
                matmul_tn(&Serial, a, dy, store, &mut MatMut::new(&mut d_w, terms, case.per_group).unwrap())
                    .unwrap();
                assert_eq!(bits(&case.columns(got, group)), bits(&d_w), "{case:?} {store:?} weights");
            }
        }
    }
}

#[test]
fn gradients_of_rows_are_the_sums_over_all_patches_that_an_element_is_in() {
    for case in CASES {
        let (_, w, _, dy) = operands(&case);
        let (mut sum, mut size) = (vec![0.0; case.rows * case.row_len()], 0.0);
        let (starts, offsets, units) = (case.starts(), case.offsets(), case.units());
        for (at, &d) in dy.iter().enumerate() {
            let (i, q, j) = (at / units / starts.len(), at / units % starts.len(), at % units);
            let shift = j / case.per_group * (case.channels / case.groups);
            for (l, &offset) in offsets.iter().enumerate() {
                let term = f64::from(d) * f64::from(w[l * units + j]);
                sum[i * case.row_len() + starts[q] as usize + offset as usize + shift] += term;
                size = f64::max(size, term.abs());
            }
        }
        let scale = size * (offsets.len() * case.per_group) as f64;
        for (i, (got, expected)) in products(&case, &Serial, None).dx.iter().zip(&sum).enumerate() {
            let error = (f64::from(*got) - expected).abs();
            assert!(error <= 1e-6 * scale, "{case:?} element {i}: expected {expected}, got {got}");
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_bits_of_one() {
    for case in CASES {
        let case = Case { rows: case.rows + 40, ..case };
        let start = numbers(case.patches().terms() * case.units(), 5);
        let one = products(&case, &Serial, Some(&start));
        for threads in [2, 3] {
            let pool = Threads::new(threads);
            let many = products(&case, &pool, Some(&start));
            assert_eq!(bits(&one.y), bits(&many.y), "{case:?}: outputs on {threads} threads");
            assert_eq!(bits(&one.d_w), bits(&many.d_w), "{case:?}: weights on {threads} threads");
            assert_eq!(bits(&one.dx), bits(&many.dx), "{case:?}: rows on {threads} threads");
            let large = one.y.len() * case.patches().terms() >= 1 << 21 && case.groups == 1;
            assert!(!large || pool.workers() >= 2, "{case:?} was not split");
        }
    }
}

#[test]
fn a_row_has_the_same_bits_alone_and_among_others() {
    for case in CASES {
        let case = Case { rows: 33, ..case };
        let (patches, units) = (case.patches(), case.units());
        let (x, w, bias, _) = operands(&case);
        let w = Mat::new(&w, patches.terms(), units).unwrap();
        let whole = products(&case, &Serial, None).y;
        for (x, expected) in x.chunks(case.row_len()).zip(whole.chunks(patches.positions() * units)) {
            let mut y = vec![f32::NAN; expected.len()];
            let (x, len) = (Mat::new(x, 1, case.row_len()).unwrap(), y.len());
            patches.matmul(&Serial, x, w, &bias, &mut MatMut::new(&mut y, 1, len).unwrap()).unwrap();
            assert_eq!(bits(expected), bits(&y), "{case:?}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_with_both_sizes() {
    let e = Patches::new(5, vec![0, 3], vec![0, 2]).unwrap_err();
    assert_eq!(e.to_string(), "patches row: must have at least 6 elements, got 5");
    let patches = Patches::new(6, vec![0, 3], vec![0, 1]).unwrap();
    assert_eq!((patches.row_len(), patches.positions(), patches.terms()), (6, 2, 2));
    let e = patches.clone().with_groups(2, 2).unwrap_err();
    assert_eq!(e, Error::TooShort { what: "patches row", needs: 7, got: 6 });
    assert!(patches.clone().with_groups(0, 1).is_err());
    let two = patches.with_groups(2, 1).unwrap();
    let (x, w, mut y) = ([0.0; 6], [0.0; 6], [0.0; 6]);
    let mut product = |x: &[f32], w: &[f32], units, width: usize| {
        let (rows, x) = (x.len() / 6, Mat::new(x, x.len() / 6, 6).unwrap());
        let w = Mat::new(w, w.len() / units, units).unwrap();
        let y = &mut MatMut::new(&mut y[..rows * width], rows, width).unwrap();
        two.matmul(&Serial, x, w, &[], y).map_err(|e| e.to_string())
    };
    assert_eq!(product(&x, &w[..4], 2, 4), Ok(()));
    assert_eq!(product(&x, &w, 3, 6).unwrap_err(), "patches matmul: must be [2, 2], got [2, 3]");
    assert_eq!(product(&x, &w[..4], 2, 6).unwrap_err(), "patches matmul: must be [1, 4], got [1, 6]");
}

#[test]
fn without_rows_the_gradient_of_the_matrix_is_zero() {
    let patches = Patches::new(4, vec![0, 1], vec![0, 1]).unwrap();
    let (x, dy, mut d_w) = (Mat::new(&[], 0, 4).unwrap(), Mat::new(&[], 0, 6).unwrap(), [f32::NAN; 6]);
    let out = &mut MatMut::new(&mut d_w, 2, 3).unwrap();
    patches.matmul_tn(&Serial, x, dy, Store::Overwrite, out).unwrap();
    assert_eq!(d_w, [0.0; 6]);
}
