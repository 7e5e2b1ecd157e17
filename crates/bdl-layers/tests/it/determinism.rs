//! The same bits for any number of threads, any split of the rows and, per pass, any order of them.

use crate::common::Spec::{Act, Concrete, ConcreteConv, Dense, Drop, Variational, VariationalConv};
use crate::common::{bits, numbers, params, plan, predict, train};
use bdl_dist::{Noise, Purpose};
use bdl_layers::{Activation, Estimator, Pass, Plan, Scope};
use bdl_tensor::Pool;
use bdl_testkit::crew::Crew;
use bdl_testkit::oracle::OracleConv;

/// Real threads that remember who worked.
#[derive(Debug)]
struct Threads(Crew);

impl Threads {
    fn new(threads: usize) -> Self {
        Self(Crew::new(threads))
    }
}

impl Pool for Threads {
    fn threads(&self) -> usize {
        self.0.threads()
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        self.0.run(tasks, task);
    }

    fn chunks(&self, data: &mut [f32], len: usize, task: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        self.0.chunks(data, len, task);
    }
}

/// Sizes that cross the blocks of 256 in which products are summed.
const WIDTHS: [usize; 4] = [255, 256, 257, 600];
const ROWS: [usize; 5] = [1, 2, 3, 17, 1_000];

fn variational(width: usize) -> Plan {
    plan(&[Variational(width, 24), Act(Activation::Relu, 24), Drop(24, 0.2), Variational(24, 3)])
}

fn dropout(width: usize) -> Plan {
    plan(&[Drop(width, 0.1), Dense(width, 24), Act(Activation::Silu, 24), Drop(24, 0.5), Dense(24, 3)])
}

fn concrete(width: usize) -> Plan {
    plan(&[Concrete(width, 24), Act(Activation::Silu, 24), Concrete(24, 3)])
}

#[test]
fn forward_and_backward_have_the_same_bits_on_one_two_and_three_threads() {
    let noise = Noise::new(1, Purpose::Train);
    let pools = [Threads::new(1), Threads::new(2), Threads::new(3)];
    for width in WIDTHS {
        for rows in ROWS {
            let (x, dy) = (numbers(1, rows * width), numbers(2, rows * 3));
            for (plan, estimator) in [
                (variational(width), Estimator::Local),
                (variational(width), Estimator::Sampling),
                (variational(width), Estimator::Flipout),
                (dropout(width), Estimator::Local),
                (concrete(width), Estimator::Local),
            ] {
                let params = params(&plan);
                let pass = Pass::train(&noise, 5, estimator);
                let (y, grads) = train(&plan, &params, &x, &dy, &pass);
                for pool in &pools {
                    let (y_there, grads_there) = train(&plan, &params, &x, &dy, &pass.on(pool));
                    let what =
                        format!("width {width}, rows {rows}, {estimator:?}, {} threads", pool.threads());
                    assert_eq!(bits(&y), bits(&y_there), "{what}: output");
                    assert_eq!(bits(&grads), bits(&grads_there), "{what}: gradient");
                }
            }
        }
    }
    assert!(pools[1].0.workers() >= 2 && pools[2].0.workers() >= 3, "the pools had nothing to do");
}

/// A padded and a grouped convolution.
fn convolutions() -> Plan {
    let first = OracleConv {
        image: [9, 8, 3],
        channels: 8,
        kernel: [3, 3],
        stride: [1, 1],
        padding: [1, 1],
        dilation: [1, 1],
        groups: 1,
    };
    let second =
        OracleConv { image: [9, 8, 8], channels: 20, padding: [0, 0], stride: [2, 1], groups: 2, ..first };
    let third = OracleConv { image: second.out_image(), channels: 6, stride: [1, 2], groups: 1, ..second };
    let inner = first.out_dim();
    plan(&[
        VariationalConv(first),
        Act(Activation::Relu, inner),
        VariationalConv(second),
        ConcreteConv(third),
        Variational(third.out_dim(), 3),
    ])
}

#[test]
fn convolutions_have_the_same_bits_on_one_two_and_three_threads_and_row_by_row() {
    let noise = Noise::new(1, Purpose::Train);
    let pools = [Threads::new(1), Threads::new(2), Threads::new(3)];
    let plan = convolutions();
    let (params, width) = (params(&plan), plan.in_dim());
    for rows in [1, 3, 17, 300] {
        let (x, dy) = (numbers(1, rows * width), numbers(2, rows * 3));
        for estimator in Estimator::ALL {
            let pass = Pass::train(&noise, 5, estimator);
            let (y, grads) = train(&plan, &params, &x, &dy, &pass);
            for pool in &pools {
                let (y_there, grads_there) = train(&plan, &params, &x, &dy, &pass.on(pool));
                let what = format!("rows {rows}, {estimator:?}, {} threads", pool.threads());
                assert_eq!(bits(&y), bits(&y_there), "{what}: output");
                assert_eq!(bits(&grads), bits(&grads_there), "{what}: gradient");
            }
            assert_eq!(
                bits(&y),
                bits(&in_chunks(&plan, &params, &x, 1, &pass)),
                "rows {rows}, {estimator:?}"
            );
        }
    }
    assert!(pools[1].0.workers() >= 2 && pools[2].0.workers() >= 3, "the pools had nothing to do");
}

/// Outputs of `x` cut into chunks of `rows`, each told where it begins.
fn in_chunks(plan: &Plan, params: &[f32], x: &[f32], rows: usize, pass: &Pass<'_>) -> Vec<f32> {
    let chunks = x.chunks(rows * plan.in_dim()).enumerate();
    chunks.flat_map(|(i, x)| predict(plan, params, x, &pass.starting_at((i * rows) as u64))).collect()
}

#[test]
fn per_pass_a_row_has_the_same_bits_whole_in_chunks_alone_and_in_another_order() {
    let noise = Noise::new(2, Purpose::Predict);
    for width in WIDTHS {
        for plan in [variational(width), dropout(width), concrete(width)] {
            let params = params(&plan);
            let rows = 203;
            let x = numbers(3, rows * width);
            let pass = Pass::predict(&noise, 4, Scope::Pass, Estimator::Local);
            let whole = predict(&plan, &params, &x, &pass);
            for chunk in [1, 2, 3, 17, 100] {
                let y = in_chunks(&plan, &params, &x, chunk, &pass);
                assert_eq!(bits(&whole), bits(&y), "width {width}, chunks of {chunk}");
            }
            let order = noise.rng(9).permutation(rows);
            let of = |y: &[f32], width: usize| -> Vec<f32> {
                order.iter().flat_map(|&i| y[i * width..(i + 1) * width].to_vec()).collect()
            };
            let permuted = predict(&plan, &params, &of(&x, width), &pass);
            assert_eq!(bits(&of(&whole, 3)), bits(&permuted), "width {width}, permuted");
        }
    }
}

#[test]
fn per_row_a_row_has_the_bits_of_its_number_in_any_chunk() {
    let noise = Noise::new(2, Purpose::Predict);
    for estimator in Estimator::ALL {
        for plan in [variational(257), dropout(257), concrete(257)] {
            let params = params(&plan);
            let x = numbers(3, 103 * 257);
            let pass = Pass::predict(&noise, 4, Scope::Row, estimator);
            let whole = predict(&plan, &params, &x, &pass);
            for chunk in [1, 2, 3, 17, 100] {
                let y = in_chunks(&plan, &params, &x, chunk, &pass);
                assert_eq!(bits(&whole), bits(&y), "{estimator:?}, chunks of {chunk}");
            }
            assert_ne!(bits(&whole), bits(&predict(&plan, &params, &x, &pass.starting_at(1))));
        }
    }
}

#[test]
fn a_workspace_used_before_changes_no_bits() {
    use bdl_layers::Workspace;
    use bdl_tensor::{Mat, MatMut};
    let noise = Noise::new(2, Purpose::Predict);
    let (plan, mut ws) = (variational(255), Workspace::new());
    let params = params(&plan);
    let pass = Pass::predict(&noise, 0, Scope::Row, Estimator::Local);
    for rows in [17, 3, 50, 1] {
        let x = numbers(rows as u64, rows * 255);
        let mut y = vec![f32::NAN; rows * 3];
        let x_mat = Mat::new(&x, rows, 255).unwrap();
        plan.forward(&params, x_mat, &pass, &mut ws, &mut MatMut::new(&mut y, rows, 3).unwrap()).unwrap();
        assert_eq!(bits(&y), bits(&predict(&plan, &params, &x, &pass)), "rows {rows}");
    }
}
