//! Mean and standard deviation over passes of every output of a network.

use bdl_tensor::Pool;

/// Outputs of a task: their `f64` sums stay in the first-level cache.
const TILE: usize = 1024;

/// Mean and standard deviation over the passes, `[mean, std]` for each output, in one sweep.
///
/// ```text
/// d_s = y_s − y_0;   mean = y_0 + Σ d_s/S;   std = √((Σ d_s² − (Σ d_s)²/S)/(S − 1))
/// ```
///
/// # Shapes
/// outputs `[samples, n]`, moments `[n, 2]`.
///
/// # Panics
/// If the lengths do not fit.
pub fn mean_and_std(pool: &dyn Pool, outputs: &[f32], moments: &mut [f32]) {
    let n = moments.len() / 2;
    assert!(outputs.len().is_multiple_of(n), "moments: {} outputs are no whole passes of {n}", outputs.len());
    pool.chunks(moments, 2 * TILE, &|tile, moments| {
        let columns = tile * TILE..tile * TILE + moments.len() / 2;
        of_columns(outputs.chunks_exact(n).map(|pass| &pass[columns.clone()]), moments);
    });
}

fn of_columns<'a>(mut passes: impl ExactSizeIterator<Item = &'a [f32]>, moments: &mut [f32]) {
    let samples = passes.len() as f64;
    let (mut sums, mut squares) = ([0.0; TILE], [0.0; TILE]);
    let Some(first) = passes.next() else { return };
    for pass in passes {
        for (((sum, square), &y), &first) in sums.iter_mut().zip(&mut squares).zip(pass).zip(first) {
            let d = f64::from(y) - f64::from(first);
            *sum += d;
            *square += d * d;
        }
    }
    for (((out, sum), square), &first) in
        moments.as_chunks_mut::<2>().0.iter_mut().zip(sums).zip(squares).zip(first)
    {
        let variance = (square - sum * sum / samples) / (samples - 1.0);
        *out = [(f64::from(first) + sum / samples) as f32, variance.max(0.0).sqrt() as f32];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bdl_tensor::Serial;

    #[test]
    fn mean_and_std_are_those_of_two_sweeps() {
        let (samples, n) = (7, TILE + 3);
        let outputs: Vec<f32> = (0..samples * n).map(|i| 100.0 + (i * 7919 % 1000) as f32 / 100.0).collect();
        let mut moments = vec![f32::NAN; 2 * n];
        mean_and_std(&Serial, &outputs, &mut moments);
        for (j, got) in moments.as_chunks::<2>().0.iter().enumerate() {
            let of_unit = || outputs.iter().skip(j).step_by(n).map(|&y| f64::from(y));
            let mean = of_unit().sum::<f64>() / samples as f64;
            let variance = of_unit().map(|y| (y - mean).powi(2)).sum::<f64>() / (samples - 1) as f64;
            assert!(
                (f64::from(got[0]) - mean).abs() < 1e-4 && (f64::from(got[1]) - variance.sqrt()).abs() < 1e-4
            );
        }
    }
}
