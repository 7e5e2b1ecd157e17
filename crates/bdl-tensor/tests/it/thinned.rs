//! Thinned products against the dense product with zeros in the dropped places, bit for bit.

use crate::common::numbers;
use bdl_tensor::{Mat, MatMut, Serial, Store, gather_columns, matmul, matmul_thinned};

/// A mask of `units` that keeps about `share` of them, with garbage behind the last.
fn mask(units: usize, share: f32, seed: u64) -> Vec<u64> {
    let draws = numbers(units.div_ceil(64) * 64, seed);
    let word = |w: &[f32]| w.iter().rev().fold(0, |bits, &x| bits << 1 | u64::from((x + 1.0) / 2.0 < share));
    let mut words: Vec<u64> = draws.chunks(64).map(word).collect();
    if let (Some(last), rest @ 1..) = (words.last_mut(), units % 64) {
        *last |= u64::MAX << rest;
    }
    words
}

fn keeps(mask: &[u64], unit: usize) -> bool {
    mask[unit / 64] >> (unit % 64) & 1 == 1
}

fn kept(mask: &[u64], units: usize) -> Vec<usize> {
    (0..units).filter(|&unit| keeps(mask, unit)).collect()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// `x[:, kept]·scale` by [`gather_columns`].
fn gathered(x: Mat<'_>, mask: &[u64], scale: f32) -> Vec<f32> {
    let columns = kept(mask, x.cols()).len();
    let mut out = vec![f32::NAN; x.rows() * columns];
    gather_columns(x, mask, scale, &mut MatMut::new(&mut out, x.rows(), columns).unwrap()).unwrap();
    out
}

fn check(m: usize, k: usize, n: usize, kept_in: &[u64], kept_out: Option<&[u64]>) {
    let (x, w) = (numbers(m * k, 1), numbers(k * n, 2));
    let (x, b) = (Mat::new(&x, m, k).unwrap(), Mat::new(&w, k, n).unwrap());
    let dropped: Vec<f32> =
        x.data().iter().enumerate().map(|(at, &x)| if keeps(kept_in, at % k) { x } else { 0.0 }).collect();
    let mut dense = vec![f32::NAN; m * n];
    let mut out = MatMut::new(&mut dense, m, n).unwrap();
    matmul(&Serial, Mat::new(&dropped, m, k).unwrap(), b, Store::Overwrite, &mut out).unwrap();

    let columns = kept_out.map_or((0..n).collect(), |mask| kept(mask, n));
    let a = gathered(x, kept_in, 1.0);
    let a = Mat::new(&a, m, kept(kept_in, k).len()).unwrap();
    let mut c = vec![f32::NAN; m * columns.len()];
    let mut out = MatMut::new(&mut c, m, columns.len()).unwrap();
    matmul_thinned(a, kept_in, b, kept_out, &mut out).unwrap();
    let want: Vec<f32> = dense.chunks(n).flat_map(|row| columns.iter().map(|&j| row[j])).collect();
    assert_eq!(bits(&c), bits(&want), "[{m}, {k}]·[{k}, {n}], {} columns", columns.len());
}

#[test]
fn thinned_products_have_the_bits_of_dense_ones_with_zeros() {
    for m in [1, 2, 3, 8, 9, 17, 1_000] {
        for (k, n) in [(1, 1), (64, 10), (255, 50), (256, 130), (257, 65), (600, 147)] {
            let (kept_in, kept_out) = (mask(k, 0.5, 3), mask(n, 0.5, 4));
            check(m, k, n, &kept_in, Some(&kept_out));
            check(m, k, n, &kept_in, None);
        }
    }
}

#[test]
fn blocks_and_sides_may_be_kept_whole_or_not_at_all() {
    let half = mask(600, 0.5, 5);
    let hole: Vec<u64> =
        half.iter().enumerate().map(|(i, &w)| if (4..8).contains(&i) { 0 } else { w }).collect();
    let late: Vec<u64> = half.iter().enumerate().map(|(i, &w)| if i < 4 { 0 } else { w }).collect();
    for kept_in in [hole, late, vec![0; 10], vec![u64::MAX; 10]] {
        for kept_out in [vec![0; 2], vec![u64::MAX; 2], mask(70, 0.1, 6)] {
            check(9, 600, 70, &kept_in, Some(&kept_out));
        }
    }
}

#[test]
fn gathered_columns_are_the_kept_ones_scaled() {
    let x = numbers(3 * 147, 7);
    let x = Mat::new(&x, 3, 147).unwrap();
    let mask = mask(147, 0.7, 8);
    let want: Vec<f32> =
        x.iter_rows().flat_map(|row| kept(&mask, 147).into_iter().map(|j| row[j] * 1.25)).collect();
    assert_eq!(gathered(x, &mask, 1.25), want);
}

#[test]
fn what_does_not_fit_is_named() {
    let x = [1.0; 12];
    let (a, b) = (Mat::new(&x[..2], 1, 2).unwrap(), Mat::new(&x, 4, 3).unwrap());
    let message = |kept_in: &[u64], kept_out: Option<&[u64]>, width: usize| {
        let mut c = vec![0.0; width];
        let mut c = MatMut::new(&mut c, 1, width).unwrap();
        matmul_thinned(a, kept_in, b, kept_out, &mut c).unwrap_err().to_string()
    };
    assert_eq!(message(&[], None, 3), "matmul_thinned kept_in: [1, 1] needs 1 elements, got 0");
    assert_eq!(message(&[0b111], None, 3), "matmul_thinned a: must be [1, 3], got [1, 2]");
    assert_eq!(message(&[0b11], Some(&[1, 1]), 3), "matmul_thinned kept_out: [1, 1] needs 1 elements, got 2");
    assert_eq!(message(&[0b11], Some(&[0b101]), 3), "matmul_thinned c: must be [1, 2], got [1, 3]");
}
