//! One quantity grows, the others stay.

use bdl_benches::Error;
use bdl_benches::network::{Kind, normals, perceptron, weights};
use bdl_benches::timing::Repeat;
use bdl_infer::{Passes, Predictor, RayonPool};
use bdl_layers::Scope;
use bdl_tensor::Mat;

/// A way to predict.
pub(crate) struct Method {
    pub(crate) name: &'static str,
    kind: Kind,
    scope: Scope,
}

pub(crate) const METHODS: [Method; 4] = [
    Method { name: "dropout, row", kind: Kind::HiddenDropout(0.5), scope: Scope::Row },
    Method { name: "dropout, pass", kind: Kind::HiddenDropout(0.5), scope: Scope::Pass },
    Method { name: "mean-field, row", kind: Kind::MeanField(0.01), scope: Scope::Row },
    Method { name: "mean-field, pass", kind: Kind::MeanField(0.01), scope: Scope::Pass },
];

/// The size of a prediction: a network of two hidden layers.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    samples: usize,
    rows: usize,
    width: usize,
    threads: usize,
}

/// Sizes along one quantity.
pub(crate) struct Sweep {
    pub(crate) name: &'static str,
    pub(crate) sizes: Vec<usize>,
    at: fn(Size, usize) -> Size,
    base: Size,
}

pub(crate) fn sweeps(threads: usize) -> [Sweep; 4] {
    let base = Size { samples: 100, rows: 128, width: 256, threads };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let sweep = |name, sizes: &[usize], at| Sweep { name, sizes: sizes.to_vec(), at, base };
    [
        sweep("passes", &[25, 50, 100, 200, 400, 800], |base, samples| Size { samples, ..base }),
        sweep("rows", &[1, 4, 16, 64, 256, 1024], |base, rows| Size { rows, ..base }),
        sweep("width", &[32, 64, 128, 256, 512, 1024], |base, width| Size { width, ..base }),
        Sweep {
            sizes: (1..=cores).collect(),
            ..sweep("threads", &[], |base, threads| Size { threads, ..base })
        },
    ]
}

/// Inputs of the network.
const IN_DIM: usize = 64;

impl Sweep {
    /// Seconds of a prediction at each size.
    pub(crate) fn measure(&self, method: &Method, repeat: Repeat) -> Result<Vec<f64>, Error> {
        self.sizes.iter().map(|size| predict((self.at)(self.base, *size), method, repeat)).collect()
    }

    /// Row-passes of a prediction.
    pub(crate) fn row_passes(&self, size: usize) -> f64 {
        let Size { samples, rows, .. } = (self.at)(self.base, size);
        (samples * rows) as f64
    }
}

fn predict(size: Size, method: &Method, repeat: Repeat) -> Result<f64, Error> {
    let Size { samples, rows, width, threads } = size;
    let bnn = perceptron(&[IN_DIM, width, width, 10], method.kind)?;
    let (members, pool) = ([weights(&bnn)], RayonPool::new(threads)?);
    let passes = Passes { samples, scope: method.scope, ..Passes::default() };
    let predictor = Predictor::new(&bnn, &members, passes)?;
    let (x, mut out) = (normals(rows * IN_DIM), vec![0.0; samples * rows * 10]);
    repeat.median(|| Ok(predictor.outputs_into(Mat::new(&x, rows, IN_DIM)?, 0, &pool, &mut out)?))
}

/// The slope of ln time over ln size, by least squares; NaN where there is one size.
pub(crate) fn exponent(sizes: &[usize], times: &[f64]) -> f64 {
    let n = sizes.len() as f64;
    let points = || sizes.iter().zip(times).map(|(&s, t)| ((s as f64).ln(), t.ln()));
    let (x, y) = points().fold((0.0, 0.0), |(a, b), (x, y)| (a + x / n, b + y / n));
    let (xy, xx) =
        points().fold((0.0, 0.0), |(a, b), (px, py)| (a + (px - x) * (py - y), b + (px - x).powi(2)));
    xy / xx
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponent_of_a_power_law_is_its_power() {
        let sizes = [1, 2, 4, 8];
        let times = sizes.map(|s| 3.0 * (s as f64).powf(1.5));
        assert!((exponent(&sizes, &times) - 1.5).abs() < 1e-12);
    }
}
