//! Pooling against loops: values and gradients are sums and choices without rounding of their own, so to the bit.

use crate::common::numbers;
use crate::common::threads::Threads;
use bdl_tensor::{Error, Mat, MatMut, Pool, Serial, Windows};

/// Windows of one to four pixels that overlap, over `pixels` pixels in a row.
fn layout(pixels: usize, channels: usize) -> Vec<Vec<u32>> {
    let at = |pixel: usize| (pixel % pixels * channels) as u32;
    (0..pixels + 2).map(|q| (0..1 + q % 4).map(|k| at(q + k * k)).collect()).collect()
}

/// y and dx of the largest, then of the sum by a quarter.
fn pooled(
    pool: &dyn Pool,
    pixels: usize,
    channels: usize,
    rows: usize,
    x: &[f32],
    dy: &[f32],
) -> [Vec<f32>; 4] {
    let windows = Windows::new(pixels * channels, channels, layout(pixels, channels)).unwrap();
    let (len, out) = (pixels * channels, windows.out_len());
    let nan = |n: usize| vec![f32::NAN; rows * n];
    let (mut y, mut dx, mut sum, mut d_sum) = (nan(out), nan(len), nan(out), nan(len));
    let (x, dy) = (Mat::new(x, rows, len).unwrap(), Mat::new(dy, rows, out).unwrap());
    windows.max(pool, x, &mut MatMut::new(&mut y, rows, out).unwrap()).unwrap();
    let of_y = Mat::new(&y, rows, out).unwrap();
    windows.max_backward(pool, x, [of_y, dy], &mut MatMut::new(&mut dx, rows, len).unwrap()).unwrap();
    windows.sum(pool, x, 0.25, &mut MatMut::new(&mut sum, rows, out).unwrap()).unwrap();
    windows.sum_backward(pool, dy, 0.25, &mut MatMut::new(&mut d_sum, rows, len).unwrap()).unwrap();
    [y, dx, sum, d_sum]
}

/// The same by loops, in the same order of additions.
fn by_loops(pixels: usize, channels: usize, rows: usize, x: &[f32], dy: &[f32]) -> [Vec<f32>; 4] {
    let windows = layout(pixels, channels);
    let (mut y, mut sum) = (Vec::new(), Vec::new());
    let mut to_x = [vec![0.0; x.len()], vec![0.0; x.len()]];
    for row in 0..rows {
        for pixels_seen in &windows {
            for c in 0..channels {
                let places: Vec<usize> =
                    pixels_seen.iter().map(|p| row * pixels * channels + *p as usize + c).collect();
                let first =
                    places.iter().fold(places[0], |best, &at| if x[at] > x[best] { at } else { best });
                to_x[0][first] += dy[y.len()];
                places.iter().for_each(|&at| to_x[1][at] += 0.25 * dy[y.len()]);
                y.push(x[first]);
                sum.push(places.iter().map(|&at| x[at]).sum::<f32>() * 0.25);
            }
        }
    }
    let [dx, d_sum] = to_x;
    [y, dx, sum, d_sum]
}

fn bits(x: &[f32]) -> Vec<u32> {
    // A sum of nothing is −0 to `Iterator::sum`.
    x.iter().map(|x| (x + 0.0).to_bits()).collect()
}

#[test]
fn values_and_gradients_are_those_of_the_loops_on_any_number_of_threads() {
    for (pixels, channels, rows) in [(1, 1, 1), (7, 3, 2), (9, 16, 3), (5, 20, 4), (12, 39, 200)] {
        // Few different numbers, so that windows have ties.
        let x: Vec<f32> = numbers(rows * pixels * channels, 1).iter().map(|x| (x * 4.0).round()).collect();
        let dy = numbers(rows * (pixels + 2) * channels, 2);
        let expected = by_loops(pixels, channels, rows, &x, &dy).map(|v| bits(&v));
        for threads in [1, 2, 3] {
            let pool = Threads::new(threads);
            let got = pooled(&pool, pixels, channels, rows, &x, &dy).map(|v| bits(&v));
            assert_eq!(got, expected, "{pixels} pixels of {channels}, {rows} rows, {threads} threads");
            assert!(rows < 200 || threads == 1 || pool.workers() > 1, "nobody shared the work");
        }
    }
}

#[test]
fn a_nan_is_not_pooled_away() {
    for at in 0..3 {
        let mut x = [1.0, 2.0, 3.0];
        x[at] = f32::NAN;
        let windows = Windows::new(3, 1, [vec![0, 1, 2]]).unwrap();
        let mut y = [0.0];
        windows.max(&Serial, Mat::new(&x, 1, 3).unwrap(), &mut MatMut::new(&mut y, 1, 1).unwrap()).unwrap();
        assert!(y[0].is_nan(), "{x:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused_with_both_sizes() {
    let e = Windows::new(4, 2, [vec![0], vec![]]).unwrap_err();
    assert_eq!(e.to_string(), "window: must have at least 1 elements, got 0");
    let e = Windows::new(4, 2, [vec![0, 3]]).unwrap_err();
    assert_eq!(e, Error::TooShort { what: "windows row", needs: 5, got: 4 });
    let windows = Windows::new(4, 2, [vec![0, 2]]).unwrap();
    let (x, mut y) = ([0.0; 8], [0.0; 4]);
    let e = windows.max(&Serial, Mat::new(&x, 2, 4).unwrap(), &mut MatMut::new(&mut y, 1, 4).unwrap());
    assert_eq!(e.unwrap_err().to_string(), "windows max: must be [2, 2], got [1, 4]");
    let e = windows.sum(&Serial, Mat::new(&x, 4, 2).unwrap(), 1.0, &mut MatMut::new(&mut y, 2, 2).unwrap());
    assert_eq!(e.unwrap_err().to_string(), "windows sum: must be [4, 4], got [4, 2]");
}
