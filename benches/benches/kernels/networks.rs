//! Networks small and large: the gradient of a step, and prediction of one row.

use bdl_benches::network::{Kind, normals, perceptron, weights};
use bdl_dist::{Noise, Purpose};
use bdl_infer::{Elbo, Passes, Predictor, Targets};
use bdl_layers::{Estimator, Pass, Workspace};
use bdl_tensor::{Mat, Serial};
use criterion::{Criterion, Throughput, criterion_group};

fn gradient(c: &mut Criterion) {
    let mut group = c.benchmark_group("gradient");
    group.sample_size(20);
    let nets: [(_, &[usize], _, _); 2] = [
        ("mean-field 784-400-400-10, 128 rows", &[784, 400, 400, 10], Kind::MeanField(0.01), 128),
        ("mc-dropout 13-50-2, 32 rows", &[13, 50, 2], Kind::Dropout(0.05), 32),
    ];
    for (name, widths, kind, batch) in nets {
        let bnn = perceptron(widths, kind).expect("valid");
        let (params, x, y) = (weights(&bnn), normals(batch * widths[0]), vec![1; batch]);
        let (noise, mut ws, mut grads) =
            (Noise::new(0, Purpose::Train), Workspace::new(), vec![0.0; bnn.n_params()]);
        let elbo = Elbo::new(60_000).expect("rows");
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(name, |bench| {
            bench.iter(|| {
                let pass = Pass::train(&noise, 0, Estimator::Local);
                let x = Mat::new(&x, batch, widths[0]).expect("length");
                elbo.gradient(&bnn, &params, x, Targets::Class(&y), &pass, &mut ws, &mut grads)
            });
        });
    }
}

fn prediction(c: &mut Criterion) {
    const SAMPLES: usize = 100;
    let mut group = c.benchmark_group("one row, 100 passes");
    group.sample_size(20).throughput(Throughput::Elements(SAMPLES as u64));
    let nets =
        [("mc-dropout 13-50-2", Kind::HiddenDropout(0.1)), ("mean-field 13-50-2", Kind::MeanField(0.01))];
    for (name, kind) in nets {
        let bnn = perceptron(&[13, 50, 2], kind).expect("valid");
        let members = [weights(&bnn)];
        let passes = Passes { samples: SAMPLES, ..Passes::default() };
        let predictor = Predictor::new(&bnn, &members, passes).expect("valid");
        let (x, mut out) = (normals(13), vec![0.0; 2 * SAMPLES]);
        group.bench_function(name, |bench| {
            bench.iter(|| predictor.outputs_into(Mat::new(&x, 1, 13).expect("length"), 0, &Serial, &mut out));
        });
    }
}

criterion_group!(benches, gradient, prediction);
