//! Passes made together have the bits of passes made alone, whatever the route.

use crate::common::Spec::{self, Act, Concrete, ConcreteConv, Dense, Drop, Variational};
use crate::common::{bits, numbers, params, plan, predict};
use bdl_dist::{Noise, Purpose};
use bdl_layers::{Activation, Estimator, MonteCarlo, Pass, PassRows, Plan, Scope, Workspace};
use bdl_tensor::{Mat, Serial};
use bdl_testkit::oracle::OracleConv;

const RELU: Activation = Activation::Relu;
const SETTINGS: [(Scope, Estimator); 4] = [
    (Scope::Pass, Estimator::Local),
    (Scope::Row, Estimator::Local),
    (Scope::Row, Estimator::Sampling),
    (Scope::Row, Estimator::Flipout),
];

/// Two positions of three channels each.
const CONV: OracleConv = OracleConv {
    image: [1, 3, 2],
    channels: 3,
    kernel: [1, 2],
    stride: [1, 1],
    padding: [0, 0],
    dilation: [1, 1],
    groups: 1,
};

/// Networks whose passes have different things in common.
fn networks() -> Vec<(&'static str, Vec<Spec>)> {
    let last =
        |units, outputs| vec![Dense(5, units), Act(RELU, units), Drop(units, 0.1), Dense(units, outputs)];
    vec![
        ("nothing random", vec![Dense(5, 9), Act(RELU, 9), Dense(9, 2)]),
        ("last layer, one output", last(50, 1)),
        ("last layer, two outputs", last(257, 2)),
        ("mask first", vec![Drop(70, 0.3), Dense(70, 3)]),
        ("mask last", vec![Dense(4, 67), Act(Activation::Gelu, 67), Drop(67, 0.4)]),
        (
            "layer behind layer",
            vec![Dense(2, 8), Dense(8, 70), Drop(70, 0.5), Drop(70, 0.5), Dense(70, 65), Dense(65, 1)],
        ),
        ("no mask at all", vec![Dense(5, 8), Drop(8, 0.0), Dense(8, 2)]),
        (
            "two masks",
            vec![
                Drop(13, 0.05),
                Dense(13, 300),
                Act(Activation::Silu, 300),
                Drop(300, 0.5),
                Dense(300, 260),
                Act(RELU, 260),
                Drop(260, 0.5),
                Dense(260, 3),
            ],
        ),
        (
            "wide and half dropped",
            vec![
                Dense(7, 600),
                Act(RELU, 600),
                Drop(600, 0.5),
                Dense(600, 257),
                Act(Activation::Tanh, 257),
                Drop(257, 0.5),
                Dense(257, 256),
                Drop(256, 0.9),
                Dense(256, 10),
            ],
        ),
        (
            "half dropped, then something else",
            vec![Dense(3, 128), Drop(128, 0.5), Dense(128, 64), Act(RELU, 64), Variational(64, 2)],
        ),
        (
            "learned masks",
            vec![Concrete(5, 70), Act(RELU, 70), Concrete(70, 64), Act(RELU, 64), Concrete(64, 2)],
        ),
        ("learned mask last", vec![Dense(5, 33), Act(RELU, 33), Concrete(33, 2)]),
        ("learned mask alone", vec![Concrete(70, 3)]),
        ("learned mask behind a mask", vec![Dense(5, 70), Drop(70, 0.5), Concrete(70, 65), Dense(65, 1)]),
        ("learned mask over channels", vec![ConcreteConv(CONV), Act(RELU, 6), Concrete(6, 2)]),
        ("variational", vec![Variational(5, 33), Act(RELU, 33), Variational(33, 2)]),
        ("variational last", vec![Dense(5, 33), Act(RELU, 33), Variational(33, 1)]),
        (
            "variational behind a mask",
            vec![Drop(5, 0.2), Variational(5, 40), Act(RELU, 40), Drop(40, 0.2), Dense(40, 1)],
        ),
    ]
}

struct Case<'a> {
    plan: &'a Plan,
    params: &'a [f32],
    noise: Noise,
    scope: Scope,
    estimator: Estimator,
}

impl Case<'_> {
    fn alone(&self, x: &[f32], pass: u64, first_row: u64) -> Vec<u32> {
        let pass = Pass::predict(&self.noise, pass, self.scope, self.estimator).starting_at(first_row);
        bits(&predict(self.plan, self.params, x, &pass))
    }

    /// Passes `[passes, rows, outputs]` over blocks of at most `size` rows.
    fn together(&self, x: &[f32], passes: std::ops::Range<u64>, first_row: u64, size: usize) -> Vec<f32> {
        let (width, plan) = (self.plan.in_dim(), self.plan);
        let mc = MonteCarlo::new(plan, self.params, self.noise.clone(), self.scope, self.estimator).unwrap();
        let rows = x.len() / width;
        let mut out = vec![f32::NAN; (passes.end - passes.start) as usize * rows * plan.out_dim()];
        let mut ws = Workspace::new();
        for (b, x) in x.chunks(size * width).enumerate() {
            let x = Mat::new(x, x.len() / width, width).unwrap();
            let mut shared = vec![f32::NAN; mc.shared_len(x.rows())];
            mc.share(x, &Serial, &mut ws, &mut shared).unwrap();
            let out = PassRows { out: &mut out, rows, at: b * size };
            mc.run(passes.clone(), x, first_row + (b * size) as u64, &shared, &mut ws, out).unwrap();
        }
        out
    }

    fn check(&self, name: &str, rows: usize, passes: std::ops::Range<u64>, size: usize) {
        let x = numbers(7, rows * self.plan.in_dim());
        let got = self.together(&x, passes.clone(), 40, size);
        for (pass, got) in passes.zip(got.chunks_exact(rows * self.plan.out_dim())) {
            let expected = self.alone(&x, pass, 40);
            let at = format!("{name}, {:?}, {:?}: pass {pass} of {rows} rows", self.scope, self.estimator);
            assert_eq!(bits(got), expected, "{at} by {size}");
        }
    }
}

#[test]
fn passes_made_together_have_the_bits_of_passes_made_alone() {
    for (name, specs) in networks() {
        let plan = plan(&specs);
        let params = params(&plan);
        for (scope, estimator) in SETTINGS {
            let noise = Noise::new(5, Purpose::Predict);
            let case = Case { plan: &plan, params: &params, noise, scope, estimator };
            for (rows, passes) in [(1, 0..70), (2, 3..9), (3, 9..10), (8, 0..40), (9, 1..4), (17, 5..8)] {
                case.check(name, rows, passes, rows);
            }
            case.check(name, 300, 2..4, 300);
        }
    }
}

#[test]
fn blocks_of_rows_do_not_matter() {
    for (name, specs) in networks() {
        let plan = plan(&specs);
        let params = params(&plan);
        for (scope, estimator) in SETTINGS {
            let noise = Noise::new(5, Purpose::Predict);
            let case = Case { plan: &plan, params: &params, noise, scope, estimator };
            case.check(name, 40, 0..3, 19);
            case.check(name, 20, 0..3, 1);
        }
    }
}

#[test]
fn more_passes_than_are_made_at_a_time_are_all_made() {
    let plan = plan(&[Dense(3, 20), Act(RELU, 20), Drop(20, 0.3), Dense(20, 2)]);
    let params = params(&plan);
    let (scope, estimator) = (Scope::Pass, Estimator::Local);
    let case =
        Case { plan: &plan, params: &params, noise: Noise::new(1, Purpose::Predict), scope, estimator };
    case.check("last layer", 12, 0..150, 12);
    case.check("last layer", 1, 0..700, 1);
}

#[test]
fn a_dropped_unit_that_is_infinite_is_zero_on_every_route() {
    for (name, specs) in networks() {
        let plan = plan(&specs);
        let params: Vec<f32> = params(&plan).iter().map(|p| p.abs()).collect();
        for (scope, estimator) in SETTINGS {
            let case = Case {
                plan: &plan,
                params: &params,
                noise: Noise::new(5, Purpose::Predict),
                scope,
                estimator,
            };
            for rows in [1, 40] {
                let mut x = vec![0.5; rows * plan.in_dim()];
                x[..plan.in_dim()].fill(2e38);
                let got = case.together(&x, 0..40, 0, rows);
                for (pass, got) in (0..40).zip(got.chunks_exact(rows * plan.out_dim())) {
                    let alone = case.alone(&x, pass, 0);
                    let same =
                        |(a, b): (&f32, &u32)| a.to_bits() == *b || a.is_nan() && f32::from_bits(*b).is_nan();
                    assert!(
                        got.iter().zip(&alone).all(same),
                        "{name}, {scope:?}, {estimator:?}, {rows} rows, pass {pass}"
                    );
                }
            }
        }
    }
}

#[test]
fn no_rows_are_no_outputs() {
    for (_, specs) in networks() {
        let plan = plan(&specs);
        let params = params(&plan);
        for (scope, estimator) in SETTINGS {
            let noise = Noise::new(1, Purpose::Predict);
            let mc = MonteCarlo::new(&plan, &params, noise, scope, estimator).unwrap();
            let (x, mut ws) = (Mat::new(&[], 0, plan.in_dim()).unwrap(), Workspace::new());
            mc.share(x, &Serial, &mut ws, &mut []).unwrap();
            mc.run(0..3, x, 0, &[], &mut ws, PassRows { out: &mut [], rows: 0, at: 0 }).unwrap();
        }
    }
}

/// A million numbers in each row: four rows are 16 MB, however many rows or passes there are.
#[test]
fn rows_and_passes_of_a_wide_layer_are_made_a_few_at_a_time() {
    let wide = 1 << 20;
    let plan = plan(&[Drop(wide, 0.5), Act(RELU, wide), Drop(wide, 0.5), Act(RELU, wide)]);
    let noise = Noise::new(1, Purpose::Predict);
    let mc = MonteCarlo::new(&plan, &[], noise, Scope::Pass, Estimator::Local).unwrap();
    assert_eq!((mc.block_rows(), mc.together(1), mc.together(2)), (4, 4, 2));
}

#[test]
fn wrong_lengths_are_named() {
    let plan = plan(&[Dense(3, 20), Drop(20, 0.3), Dense(20, 2)]);
    let (params, noise) = (params(&plan), Noise::new(1, Purpose::Predict));
    let e = MonteCarlo::new(&plan, &params[1..], noise.clone(), Scope::Pass, Estimator::Local).unwrap_err();
    assert_eq!(e.to_string(), "forward params: must have 122 elements, got 121");
    let mc = MonteCarlo::new(&plan, &params, noise, Scope::Pass, Estimator::Local).unwrap();
    let (x, mut ws) = (Mat::new(&[0.0; 6], 2, 3).unwrap(), Workspace::new());
    let e = mc.share(x, &Serial, &mut ws, &mut [0.0; 39]).unwrap_err();
    assert_eq!(e.to_string(), "shared: must have 80 elements, got 39");
    let out = PassRows { out: &mut [0.0; 7], rows: 2, at: 0 };
    let e = mc.run(0..2, x, 0, &[0.0; 80], &mut ws, out).unwrap_err();
    assert_eq!(e.to_string(), "outputs: must have 8 elements, got 7");
}
