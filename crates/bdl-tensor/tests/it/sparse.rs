//! Sparse products against the dense product with zeros in the absent places, bit for bit, and against a naive `f64` twin.

use crate::common::numbers;
use bdl_tensor::{Error, Mat, MatMut, Pattern, Serial, Store, matmul};
use proptest::prelude::*;

/// Where a share of the elements of a matrix is.
fn places(size: usize, share: f32, seed: u64) -> Vec<usize> {
    let draws = numbers(size, seed);
    (0..size).filter(|&at| (draws[at] + 1.0) / 2.0 < share).collect()
}

/// The whole matrix.
fn dense(size: usize, at: &[usize], values: &[f32]) -> Vec<f32> {
    let mut w = vec![0.0; size];
    at.iter().zip(values).for_each(|(&at, &value)| w[at] = value);
    w
}

/// Numbers of which a third is 0, as behind a relu.
fn inputs(n: usize, seed: u64) -> Vec<f32> {
    numbers(n, seed).into_iter().map(|x| if x < -0.3 { 0.0 } else { x }).collect()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

fn product(pattern: &Pattern, values: &[f32], x: Mat<'_>, starts: &[u32]) -> Vec<f32> {
    let width = starts.len() * pattern.shape()[1];
    let mut y = vec![f32::NAN; x.rows() * width];
    let mut scratch = vec![f32::NAN; pattern.scratch()];
    let mut out = MatMut::new(&mut y, x.rows(), width).unwrap();
    pattern.product(values, x, starts, &mut scratch, &mut out).unwrap();
    y
}

fn dense_product(x: Mat<'_>, w: Mat<'_>) -> Vec<f32> {
    let mut y = vec![f32::NAN; x.rows() * w.cols()];
    let mut out = MatMut::new(&mut y, x.rows(), w.cols()).unwrap();
    matmul(&Serial, x, w, Store::Overwrite, &mut out).unwrap();
    y
}

#[test]
fn a_sparse_product_has_the_bits_of_the_dense_one_with_zeros() {
    for (k, n) in [(1, 1), (13, 50), (255, 10), (256, 33), (257, 16), (784, 300), (1_024, 7)] {
        for share in [0.0, 0.01, 0.2, 1.0] {
            let at = places(k * n, share, 1);
            let values = numbers(at.len(), 2);
            let w = dense(k * n, &at, &values);
            let pattern = Pattern::new(k, n, at.iter().copied()).unwrap();
            assert_eq!(pattern.elements().collect::<Vec<_>>(), at);
            for rows in [0, 1, 2, 3, 15, 16, 17, 33, 100] {
                let x = inputs(rows * k, 3);
                let x = Mat::new(&x, rows, k).unwrap();
                let got = product(&pattern, &values, x, &[0]);
                let expected = dense_product(x, Mat::new(&w, k, n).unwrap());
                assert_eq!(bits(&got), bits(&expected), "[{rows}, {k}]·[{k}, {n}], {share} there");
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_alone_and_among_others() {
    let (k, n, rows) = (600, 21, 1_000);
    let at = places(k * n, 0.05, 1);
    let (values, x) = (numbers(at.len(), 2), inputs(rows * k, 3));
    let pattern = Pattern::new(k, n, at).unwrap();
    let x = Mat::new(&x, rows, k).unwrap();
    let whole = product(&pattern, &values, x, &[0]);
    for (first, count) in [(0, 1), (7, 2), (500, 3), (983, 17), (1, 999)] {
        let part = product(&pattern, &values, x.rows_in(first..first + count), &[0]);
        assert_eq!(bits(&part), bits(&whole[first * n..(first + count) * n]), "rows {first}+{count}");
    }
}

/// Rows `keep` of a matrix and their columns of x, summed where they were summed before.
#[test]
fn a_matrix_that_has_lost_rows_sums_as_before() {
    let (k, n, rows) = (700, 12, 20);
    let at: Vec<usize> = places(k * n, 0.1, 1).into_iter().filter(|at| at / n % 3 != 0).collect();
    let (values, x) = (numbers(at.len(), 2), inputs(rows * k, 3));
    let x = Mat::new(&x, rows, k).unwrap();
    let keep: Vec<usize> = (0..k).filter(|l| l % 3 != 0).collect();
    let before = |row: usize| keep.iter().filter(|&&l| l < row).count();
    let thinned: Vec<f32> = x.iter_rows().flat_map(|row| keep.iter().map(|&l| row[l])).collect();
    let moved = at.iter().map(|at| before(at / n) * n + at % n);
    let pattern = Pattern::new(keep.len(), n, moved).unwrap();
    let pattern = pattern.in_blocks(&[before(256), before(512), before(700)]).unwrap();
    let expected = product(&Pattern::new(k, n, at.iter().copied()).unwrap(), &values, x, &[0]);
    let got = product(&pattern, &values, Mat::new(&thinned, rows, keep.len()).unwrap(), &[0]);
    assert_eq!(bits(&got), bits(&expected));
}

#[test]
fn what_an_absent_element_would_have_read_does_not_matter() {
    let pattern = Pattern::new(3, 1, [0, 2]).unwrap();
    let x = [1.0, f32::INFINITY, 2.0].repeat(20);
    for rows in [1, 20] {
        let y = product(&pattern, &[1.0, 0.5], Mat::new(&x[..3 * rows], rows, 3).unwrap(), &[0]);
        assert_eq!(y, vec![2.0; rows]);
    }
}

/// Patches of x by the definition, as rows.
fn patches(x: Mat<'_>, starts: &[u32], place: impl Fn(usize) -> u32, terms: usize) -> Vec<f32> {
    let patch = |row: &[f32], start: u32| -> Vec<f32> {
        (0..terms).map(|l| row[(start + place(l)) as usize]).collect()
    };
    x.iter_rows()
        .flat_map(|row| starts.iter().flat_map(move |&start| patch(row, start)).collect::<Vec<_>>())
        .collect()
}

#[test]
fn patches_are_read_where_they_lie() {
    // 2 × 3 patches of 5 × 7 images, taken at every other column.
    let place = |l: usize| (l / 3 * 7 + l % 3) as u32;
    let starts: Vec<u32> = (0..4).flat_map(|row| [0, 2, 4].map(|col| row * 7 + col)).collect();
    let at = places(6 * 5, 0.5, 1);
    let values = numbers(at.len(), 2);
    let w = dense(6 * 5, &at, &values);
    let pattern = Pattern::new(6, 5, at).unwrap().read_at(place);
    for rows in [1, 3, 8] {
        let x = inputs(rows * 35, 4);
        let x = Mat::new(&x, rows, 35).unwrap();
        let turned = patches(x, &starts, place, 6);
        let turned = Mat::new(&turned, rows * starts.len(), 6).unwrap();
        let expected = dense_product(turned, Mat::new(&w, 6, 5).unwrap());
        assert_eq!(bits(&product(&pattern, &values, x, &starts)), bits(&expected), "{rows} rows");
    }
}

proptest! {
    #[test]
    fn gradients_are_those_of_the_naive_twin(
        (rows, k, n, positions) in (0usize..40, 1usize..20, 1usize..20, 1usize..4),
        share in 0f32..1.0,
        seed in 0u64..1_000,
    ) {
        let at = places(k * n, share, seed);
        let values = numbers(at.len(), seed + 1);
        let starts: Vec<u32> = (0..positions as u32).collect();
        let (width, len) = (positions * n, k + positions - 1);
        let (x, dy) = (inputs(rows * len, seed + 2), numbers(rows * width, seed + 3));
        let (x, dy) = (Mat::new(&x, rows, len).unwrap(), Mat::new(&dy, rows, width).unwrap());
        let pattern = Pattern::new(k, n, at.iter().copied()).unwrap();
        let mut scratch = vec![f32::NAN; pattern.scratch()];
        let mut d_values = vec![1.0; at.len()];
        pattern.add_value_grad(x, &starts, dy, &mut scratch, &mut d_values).unwrap();
        let each = |i: usize, q: usize, l: usize, j: usize| {
            (f64::from(x.row(i)[q + l]), f64::from(dy.row(i)[q * n + j]))
        };
        let all = || (0..rows).flat_map(|i| (0..positions).map(move |q| (i, q)));
        for (&at, &got) in at.iter().zip(&d_values) {
            let sum: f64 = all().map(|(i, q)| { let (x, dy) = each(i, q, at / n, at % n); x * dy }).sum();
            prop_assert!((f64::from(got) - 1.0 - sum).abs() < 1e-4, "{at}: {got} {sum}");
        }
        let mut dx = vec![f32::NAN; rows * len];
        let mut out = MatMut::new(&mut dx, rows, len).unwrap();
        pattern.input_grad(&values, &starts, dy, &mut scratch, &mut out).unwrap();
        let mut expected = vec![0.0; rows * len];
        for (i, q) in all() {
            for (&at, &w) in at.iter().zip(&values) {
                expected[i * len + q + at / n] += each(i, q, at / n, at % n).1 * f64::from(w);
            }
        }
        for (got, expected) in dx.iter().zip(&expected) {
            prop_assert!((f64::from(*got) - expected).abs() < 1e-4, "{got} {expected}");
        }
    }
}

#[test]
fn elements_that_are_out_of_order_or_of_place_are_named() {
    let message = |at: &[usize]| Pattern::new(2, 3, at.iter().copied()).unwrap_err().to_string();
    assert_eq!(message(&[1, 1]), "sparse matrix: element 1 must be at least 2 and below 6, got 1");
    assert_eq!(message(&[0, 4, 3]), "sparse matrix: element 2 must be at least 5 and below 6, got 3");
    assert_eq!(message(&[6]), "sparse matrix: element 0 must be at least 0 and below 6, got 6");
    let too_large = Pattern::new(1 << 20, 1 << 12, []).unwrap_err();
    assert_eq!(too_large, Error::TooLarge { what: "sparse matrix", shape: [1 << 20, 1 << 12] });
    let blocks = |ends: &[usize]| Pattern::new(9, 1, [3]).unwrap().in_blocks(ends);
    assert!(blocks(&[4, 9]).is_ok() && blocks(&[4, 4, 9]).is_ok());
    for ends in [&[][..], &[4], &[5, 4, 9], &[4, 10]] {
        assert!(matches!(blocks(ends), Err(Error::Element { .. })), "{ends:?}");
    }
}

#[test]
fn operands_that_do_not_fit_are_named() {
    let pattern = Pattern::new(3, 2, [1, 4]).unwrap();
    let x = [1.0; 6];
    let run = |values: usize, x: Mat<'_>, starts: &[u32], floats: usize, width: usize| {
        let mut y = vec![0.0; x.rows() * width];
        let mut y = MatMut::new(&mut y, x.rows(), width).unwrap();
        pattern
            .product(&x.data()[..values], x, starts, &mut vec![0.0; floats], &mut y)
            .map_err(|e| e.to_string())
    };
    let (x, floats) = (Mat::new(&x, 2, 3).unwrap(), pattern.scratch());
    assert_eq!(run(2, x, &[0], floats, 2), Ok(()));
    assert_eq!(run(2, x, &[0], floats, 3).unwrap_err(), "sparse product: must be [2, 2], got [2, 3]");
    assert_eq!(run(3, x, &[0], floats, 2).unwrap_err(), "sparse product: [1, 2] needs 2 elements, got 3");
    assert_eq!(run(2, x, &[1], floats, 2).unwrap_err(), "sparse product: [1, 4] needs 4 elements, got 3");
    assert!(run(2, x, &[0], floats - 1, 2).unwrap_err().starts_with("sparse product scratch"));
}
