//! Products against a naive `f64` oracle, in their limits, and in their bits.

use crate::common::numbers;
use crate::common::threads::Threads;
use bdl_tensor::{Error, Mat, MatMut, Pool, Serial, Store, matmul, matmul_nt, matmul_tn};
use proptest::prelude::*;

/// `Σ_l a(i, l)·b(l, j)` in `f64`, and `Σ_l |a·b|` beside it, which bounds what rounding can do.
fn naive(k: usize, a: impl Fn(usize) -> f32, b: impl Fn(usize) -> f32) -> (f64, f64) {
    (0..k).fold((0.0, 0.0), |(sum, size), l| {
        let term = f64::from(a(l)) * f64::from(b(l));
        (sum + term, size + term.abs())
    })
}

/// The transpose, row-major.
fn transpose(m: Mat<'_>) -> Vec<f32> {
    (0..m.cols()).flat_map(|j| m.iter_rows().map(move |row| row[j])).collect()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// `A·B` into an output prefilled with NaN.
fn product(pool: &dyn Pool, a: Mat<'_>, b: Mat<'_>) -> Vec<f32> {
    let mut c = vec![f32::NAN; a.rows() * b.cols()];
    let mut out = MatMut::new(&mut c, a.rows(), b.cols()).unwrap();
    matmul(pool, a, b, Store::Overwrite, &mut out).unwrap();
    c
}

/// The same product by all three routes: plain, from Aᵀ, from Bᵀ; added to `start`, or overwriting NaN.
fn three_routes(pool: &dyn Pool, a: Mat<'_>, b: Mat<'_>, start: Option<&[f32]>) -> [Vec<f32>; 3] {
    let (at, bt) = (transpose(a), transpose(b));
    let at = Mat::new(&at, a.cols(), a.rows()).unwrap();
    let bt = Mat::new(&bt, b.cols(), b.rows()).unwrap();
    let store = if start.is_some() { Store::Add } else { Store::Overwrite };
    let (m, n) = (a.rows(), b.cols());
    let mut out = [(); 3].map(|()| start.map_or(vec![f32::NAN; m * n], <[f32]>::to_vec));
    let [c0, c1, c2] = &mut out;
    matmul(pool, a, b, store, &mut MatMut::new(c0, m, n).unwrap()).unwrap();
    matmul_tn(pool, at, b, store, &mut MatMut::new(c1, m, n).unwrap()).unwrap();
    matmul_nt(pool, a, bt, store, &mut MatMut::new(c2, m, n).unwrap()).unwrap();
    out
}

#[test]
fn few_rows_have_the_bits_of_the_same_rows_in_many() {
    for k in [1, 2, 13, 255, 256, 257, 512, 600, 1_024] {
        for n in [1, 7, 10, 50, 400] {
            let rows = if n == 50 { 1_000 } else { 17 };
            let (a, b) = (numbers(rows * k, 1), numbers(k * n, 2));
            let (a, b) = (Mat::new(&a, rows, k).unwrap(), Mat::new(&b, k, n).unwrap());
            let many = product(&Serial, a, b);
            for few in 1..=8 {
                for first in [0, 5, rows - few] {
                    let part = product(&Serial, a.rows_in(first..first + few), b);
                    let same = &many[first * n..(first + few) * n];
                    assert_eq!(bits(&part), bits(same), "k {k}, n {n}, rows {first}+{few} of {rows}");
                }
            }
        }
    }
}

#[test]
fn adding_few_rows_has_the_bits_of_adding_many() {
    for k in [1, 256, 257, 600] {
        for n in [1, 10, 147] {
            let (a, b, start) = (numbers(17 * k, 3), numbers(k * n, 4), numbers(17 * n, 5));
            let (a, b) = (Mat::new(&a, 17, k).unwrap(), Mat::new(&b, k, n).unwrap());
            let [many, ..] = three_routes(&Serial, a, b, Some(&start));
            for few in 1..=8 {
                let mut c = start[3 * n..(3 + few) * n].to_vec();
                let mut out = MatMut::new(&mut c, few, n).unwrap();
                matmul(&Serial, a.rows_in(3..3 + few), b, Store::Add, &mut out).unwrap();
                assert_eq!(bits(&c), bits(&many[3 * n..(3 + few) * n]), "k {k}, n {n}, {few} rows");
            }
        }
    }
}

#[test]
fn sums_that_underflow_keep_the_sign_that_many_rows_have() {
    let (a, b) = (vec![-1e-30; 17 * 3], vec![1e-30; 3 * 21]);
    let (a, b) = (Mat::new(&a, 17, 3).unwrap(), Mat::new(&b, 3, 21).unwrap());
    let many = product(&Serial, a, b);
    assert_eq!(bits(&product(&Serial, a.rows_in(0..1), b)), bits(&many[..21]));
}

#[test]
fn any_number_of_threads_gives_the_bits_of_one() {
    for (m, k, n) in [(17, 1_024, 400), (1_000, 257, 50), (1_000, 600, 7), (257, 255, 256), (130, 256, 131)] {
        let (a, b, start) = (numbers(m * k, 1), numbers(k * n, 2), numbers(m * n, 3));
        let (a, b) = (Mat::new(&a, m, k).unwrap(), Mat::new(&b, k, n).unwrap());
        for start in [None, Some(&start[..])] {
            let serial = three_routes(&Serial, a, b, start).map(|c| bits(&c));
            assert_eq!(serial[0], serial[1]);
            assert_eq!(serial[0], serial[2]);
            for threads in [1, 2, 3] {
                let pool = Threads::new(threads);
                assert_eq!(three_routes(&pool, a, b, start).map(|c| bits(&c)), serial, "{threads} threads");
                assert!(threads == 1 || pool.workers() >= 2, "[{m}, {k}]·[{k}, {n}] was not split");
            }
        }
    }
}

#[test]
fn no_terms_and_no_elements_are_products_too() {
    for (m, k, n) in [(0, 3, 2), (2, 3, 0), (2, 0, 3), (17, 0, 3), (0, 0, 0), (17, 3, 0)] {
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let (a, b) = (Mat::new(&a, m, k).unwrap(), Mat::new(&b, k, n).unwrap());
        let zeros = vec![0.0; m * n];
        let sevens = vec![7.0; m * n];
        assert_eq!(three_routes(&Serial, a, b, None), [zeros.clone(), zeros.clone(), zeros]);
        let kept = three_routes(&Serial, a, b, Some(&sevens));
        assert_eq!(kept, [sevens.clone(), sevens.clone(), sevens]);
    }
}

#[test]
fn shapes_that_do_not_fit_are_named_with_both_shapes() {
    type Route = fn(&dyn Pool, Mat<'_>, Mat<'_>, Store, &mut MatMut<'_>) -> Result<(), Error>;
    let x = [0.0; 64];
    let mat = |rows, cols| Mat::new(&x[..rows * cols], rows, cols).unwrap();
    let message = |f: Route, a, b, c: [usize; 2]| {
        let mut out = vec![0.0; c[0] * c[1]];
        let mut out = MatMut::new(&mut out, c[0], c[1]).unwrap();
        f(&Serial, a, b, Store::Add, &mut out).unwrap_err().to_string()
    };
    let cases = [
        (message(matmul, mat(5, 3), mat(2, 4), [5, 4]), "matmul b: must be [3, 4], got [2, 4]"),
        (message(matmul, mat(1, 3), mat(3, 4), [2, 4]), "matmul c: must be [1, 4], got [2, 4]"),
        (message(matmul_tn, mat(5, 3), mat(3, 4), [3, 4]), "matmul_tn b: must be [5, 4], got [3, 4]"),
        (message(matmul_tn, mat(5, 3), mat(5, 4), [5, 4]), "matmul_tn c: must be [3, 4], got [5, 4]"),
        (message(matmul_nt, mat(5, 3), mat(3, 4), [5, 4]), "matmul_nt b: must be [3, 3], got [3, 4]"),
        (message(matmul_nt, mat(5, 3), mat(4, 3), [4, 5]), "matmul_nt c: must be [5, 4], got [4, 5]"),
    ];
    for (got, want) in cases {
        assert_eq!(got, want);
    }
}

proptest! {
    #[test]
    fn products_are_within_rounding_of_the_naive_sum(
        m in 0usize..40, k in 0usize..300, n in 0usize..40, seed in 0u64..1_000, add in any::<bool>(),
    ) {
        let (a, b, start) = (numbers(m * k, seed), numbers(k * n, seed + 1), numbers(m * n, seed + 2));
        let (a, b) = (Mat::new(&a, m, k).unwrap(), Mat::new(&b, k, n).unwrap());
        for c in three_routes(&Serial, a, b, add.then_some(&start[..])) {
            for (at, &got) in c.iter().enumerate() {
                let (i, j) = (at / n, at % n);
                let (sum, size) = naive(k, |l| a.row(i)[l], |l| b.row(l)[j]);
                let first = if add { f64::from(start[at]) } else { 0.0 };
                let bound = (size + first.abs()) * (k + 2) as f64 * f64::from(f32::EPSILON);
                prop_assert!((f64::from(got) - sum - first).abs() <= bound, "[{i}, {j}]: {got}, not {sum}");
            }
        }
    }

    /// Sums of small integers are exact, so algebra holds to the bit: (A·B)·C = A·(B·C), and
    /// A·(B + C) = A·B + A·C by `Store::Add`.
    #[test]
    fn integers_obey_algebra_exactly(
        m in 1usize..20, k in 1usize..20, n in 1usize..20, p in 1usize..20, seed in 0u64..1_000,
    ) {
        let whole = |n, seed| -> Vec<f32> { numbers(n, seed).iter().map(|x| (x * 8.0).round()).collect() };
        let (a, b, c, d) = (whole(m * k, seed), whole(k * n, seed + 1), whole(n * p, seed + 2), whole(k * n, seed + 3));
        let (a, c) = (Mat::new(&a, m, k).unwrap(), Mat::new(&c, n, p).unwrap());
        let mat_b = Mat::new(&b, k, n).unwrap();
        let (ab, bc) = (product(&Serial, a, mat_b), product(&Serial, mat_b, c));
        let left = product(&Serial, Mat::new(&ab, m, n).unwrap(), c);
        prop_assert_eq!(left, product(&Serial, a, Mat::new(&bc, k, p).unwrap()));

        let sum: Vec<f32> = b.iter().zip(&d).map(|(x, y)| x + y).collect();
        let together = product(&Serial, a, Mat::new(&sum, k, n).unwrap());
        let mut apart = ab;
        let mut out = MatMut::new(&mut apart, m, n).unwrap();
        matmul(&Serial, a, Mat::new(&d, k, n).unwrap(), Store::Add, &mut out).unwrap();
        prop_assert_eq!(together, apart);
    }
}
