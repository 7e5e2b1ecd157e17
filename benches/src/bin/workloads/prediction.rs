//! W1, W2 and W6: Monte Carlo prediction, mean and standard deviation over the passes included.

use bdl_benches::Error;
use bdl_benches::network::{Kind, normals, perceptron, uniforms, weights};
use bdl_benches::timing::Timing;
use bdl_dist::{Noise, Purpose};
use bdl_infer::{Passes, Predictor};
use bdl_layers::{Estimator, Pass, Scope, Workspace};
use bdl_tensor::{Mat, MatMut, Pool, Serial};

use crate::{Bench, Workload};

/// Passes of every workload.
const SAMPLES: usize = 100;

/// A network and the rows it predicts.
#[derive(Clone, Copy)]
struct Task {
    name: &'static str,
    widths: &'static [usize],
    kind: Kind,
    rows: usize,
}

const W1: Task = Task {
    name: "W1 mc-dropout 784-1024-1024-10 B256 T100",
    widths: &[784, 1024, 1024, 10],
    kind: Kind::HiddenDropout(0.5),
    rows: 256,
};
const W2A: Task = Task {
    name: "W2a mc-dropout latency 13-50-1 B1 T100",
    widths: &[13, 50, 1],
    kind: Kind::HiddenDropout(0.1),
    rows: 1,
};
const W2B: Task = Task {
    name: "W2b mc-dropout latency 784-512-512-10 B1 T100",
    widths: &[784, 512, 512, 10],
    kind: Kind::HiddenDropout(0.5),
    rows: 1,
};
const W2C: Task = Task {
    name: "W2c mc-dropout table 13-50-1 B10000 T100",
    widths: &[13, 50, 1],
    kind: Kind::HiddenDropout(0.1),
    rows: 10_000,
};
const W6: Task = Task {
    name: "W6 LRT predict 784-400-400-10 B256 T100",
    widths: &[784, 400, 400, 10],
    kind: Kind::MeanField(0.01),
    rows: 256,
};

pub(crate) fn workloads() -> Vec<Workload> {
    let serial =
        |task: Task| task.workload("pass, 1 thread", move |bench| task.predict(bench, Scope::Pass, &Serial));
    vec![
        W1.on_pool("row", Scope::Row),
        W1.workload("row, nothing shared", |bench| W1.pass_by_pass(bench)),
        W1.on_pool("pass", Scope::Pass),
        W2A.on_pool("pass", Scope::Pass),
        serial(W2A),
        W2B.on_pool("pass", Scope::Pass),
        serial(W2B),
        W2C.on_pool("row", Scope::Row),
        W2C.on_pool("pass", Scope::Pass),
        W6.on_pool("row", Scope::Row),
        W6.on_pool("pass", Scope::Pass),
    ]
}

impl Task {
    fn workload(self, variant: &str, run: impl Fn(&Bench) -> Result<Timing, Error> + 'static) -> Workload {
        Workload::new(self.name, variant, "row-passes/s", run)
    }

    fn on_pool(self, variant: &str, scope: Scope) -> Workload {
        self.workload(variant, move |bench| self.predict(bench, scope, &bench.pool))
    }

    fn inputs(self) -> Vec<f32> {
        let n = self.rows * self.widths[0];
        match self.kind {
            Kind::MeanField(_) => uniforms(n),
            _ => normals(n),
        }
    }

    /// What a service and `bdl predict` do: [`Predictor`], then what is asked of its outputs.
    fn predict(self, bench: &Bench, scope: Scope, pool: &dyn Pool) -> Result<Timing, Error> {
        let bnn = perceptron(self.widths, self.kind)?;
        let (members, x) = ([weights(&bnn)], self.inputs());
        let passes = Passes { samples: SAMPLES, scope, ..Passes::default() };
        let predictor = Predictor::new(&bnn, &members, passes)?;
        let width = bnn.plan().out_dim();
        let mut outputs = vec![0.0; SAMPLES * self.rows * width];
        let (mut mean, mut std_dev) = (vec![0.0; self.rows * width], vec![0.0; self.rows * width]);
        self.timed(bench, || {
            predictor.outputs_into(Mat::new(&x, self.rows, self.widths[0])?, 0, pool, &mut outputs)?;
            predictor.moments_into(&outputs, pool, &mut mean, &mut std_dev)?;
            std::hint::black_box((&mean, &std_dev));
            Ok(())
        })
    }

    /// Every pass for itself, as the peers do it: nothing is shared between passes, not even the first layer.
    fn pass_by_pass(self, bench: &Bench) -> Result<Timing, Error> {
        let bnn = perceptron(self.widths, self.kind)?;
        let (members, x) = ([weights(&bnn)], self.inputs());
        let (params, noise) = (&members[0][bnn.network()], Noise::new(0, Purpose::Predict));
        let predictor = Predictor::new(&bnn, &members, Passes { samples: SAMPLES, ..Passes::default() })?;
        let width = bnn.plan().out_dim();
        let mut outputs = vec![0.0; SAMPLES * self.rows * width];
        let (mut mean, mut std_dev) = (vec![0.0; self.rows * width], vec![0.0; self.rows * width]);
        let mut ws = Workspace::new();
        self.timed(bench, || {
            for (index, out) in (0..).zip(outputs.chunks_mut(self.rows * width)) {
                let pass = Pass::predict(&noise, index, Scope::Row, Estimator::Local).on(&bench.pool);
                let (x, mut y) =
                    (Mat::new(&x, self.rows, self.widths[0])?, MatMut::new(out, self.rows, width)?);
                bnn.plan().forward(params, x, &pass, &mut ws, &mut y)?;
            }
            predictor.moments_into(&outputs, &bench.pool, &mut mean, &mut std_dev)?;
            std::hint::black_box((&mean, &std_dev));
            Ok(())
        })
    }

    fn timed(self, bench: &Bench, work: impl FnMut() -> Result<(), Error>) -> Result<Timing, Error> {
        Ok(Timing { seconds: bench.repeat.median(work)?, per: self.rows * SAMPLES })
    }
}
