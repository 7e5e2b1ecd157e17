//! Committed numbers: a seed's initial parameters and what noisy passes make of them. Changing one is value-breaking and
//! belongs into CHANGELOG. Digests are FNV-1a over the bits of all outputs and gradients.

use crate::common::Spec::{
    Act, AvgPool, Concrete, ConcreteConv, Conv, Correlated, Dense, Drop, Drop2d, GaussianDrop, Independent,
    IndependentConv, MaxPool, Sparse, SparseConv, Variational, VariationalConv,
};
use crate::common::{bits, numbers, plan, predict, train};
use bdl_dist::{Noise, Purpose};
use bdl_layers::{Activation, Estimator, Grain, Pass, Scope};
use bdl_testkit::oracle::OracleConv;

fn digest(x: &[f32]) -> u64 {
    bits(x).into_iter().fold(0xcbf2_9ce4_8422_2325, |h, w| (h ^ u64::from(w)).wrapping_mul(0x0100_0000_01b3))
}

/// Initial parameters, then the outputs and gradients of four kinds of pass.
fn digests(specs: &[crate::common::Spec]) -> [u64; 5] {
    let plan = plan(specs);
    let params = plan.init(&Noise::new(5, Purpose::Init));
    let noise = Noise::new(5, Purpose::Predict);
    let (x, dy) = (numbers(1, 6 * plan.in_dim()), numbers(2, 6 * plan.out_dim()));
    let trained = |estimator| {
        let (y, grads) = train(&plan, &params, &x, &dy, &Pass::train(&noise, 8, estimator));
        digest(&[y, grads].concat())
    };
    let predicted =
        |scope| digest(&predict(&plan, &params, &x, &Pass::predict(&noise, 8, scope, Estimator::Local)));
    [
        digest(&params),
        trained(Estimator::Local),
        trained(Estimator::Sampling),
        predicted(Scope::Pass),
        predicted(Scope::Row),
    ]
}

#[test]
fn value_stability_of_a_variational_network() {
    assert_eq!(digests(&[Variational(5, 7), Act(Activation::Silu, 7), Variational(7, 2)]), VARIATIONAL);
}

#[test]
fn value_stability_of_a_sparse_vd_network() {
    assert_eq!(digests(&[Sparse(5, 7), Act(Activation::Silu, 7), Sparse(7, 2)]), SPARSE_VD);
}

#[test]
fn value_stability_of_variational_dropout_with_independent_noise() {
    let specs = [
        Independent(5, 7, Grain::Layer),
        Act(Activation::Silu, 7),
        Independent(7, 4, Grain::Unit),
        Act(Activation::Tanh, 4),
        Independent(4, 2, Grain::Weight),
    ];
    assert_eq!(digests(&specs), INDEPENDENT_VD);
}

#[test]
fn value_stability_of_multiplicative_noise() {
    let specs = [
        GaussianDrop(5, 1, 0.2),
        Dense(5, 8),
        Act(Activation::Silu, 8),
        Correlated(4, 2, Grain::Unit),
        Dense(8, 3),
        Correlated(3, 1, Grain::Layer),
        Dense(3, 2),
    ];
    assert_eq!(digests(&specs), MULTIPLICATIVE);
}

/// A kernel of 2×2 in steps of 1 over an image padded by a pixel, in groups.
fn conv(image: [usize; 3], channels: usize, groups: usize) -> OracleConv {
    let [stride, dilation] = [[1, 1]; 2];
    OracleConv { image, channels, kernel: [2, 2], stride, padding: [1, 1], dilation, groups }
}

#[test]
fn value_stability_of_a_convolutional_network() {
    let halves = |image| OracleConv { stride: [2, 2], ..conv(image, 1, 1) };
    let specs = [
        Drop2d([4, 3, 2], 0.2),
        Conv(conv([4, 3, 2], 6, 2)),
        Act(Activation::Relu, 120),
        MaxPool(halves([5, 4, 6])),
        VariationalConv(conv([3, 3, 6], 4, 1)),
        Act(Activation::Silu, 64),
        SparseConv(OracleConv { padding: [0, 0], dilation: [2, 1], ..conv([4, 4, 4], 4, 2) }),
        AvgPool(OracleConv { padding: [0, 0], ..conv([2, 3, 4], 1, 1) }),
        IndependentConv(conv([1, 2, 4], 2, 1), Grain::Unit),
        Variational(12, 2),
    ];
    let plan = plan(&specs);
    let params = plan.init(&Noise::new(5, Purpose::Init));
    let noise = Noise::new(5, Purpose::Predict);
    let (x, dy) = (numbers(1, 6 * 24), numbers(2, 12));
    let (y, grads) = train(&plan, &params, &x, &dy, &Pass::train(&noise, 8, Estimator::Flipout));
    assert_eq!((digests(&specs), digest(&[y, grads].concat())), (CONVOLUTIONS, CONVOLUTIONS_FLIPOUT));
}

#[test]
fn value_stability_of_concrete_dropout() {
    let conv = OracleConv {
        image: [2, 3, 2],
        channels: 4,
        kernel: [2, 2],
        stride: [1, 1],
        padding: [0, 0],
        dilation: [1, 1],
        groups: 1,
    };
    let specs = [
        ConcreteConv(conv),
        Act(Activation::Silu, 8),
        Concrete(8, 70),
        Act(Activation::Tanh, 70),
        Concrete(70, 2),
    ];
    assert_eq!(digests(&specs), CONCRETE);
}

#[test]
fn value_stability_of_flipout() {
    let plan = plan(&[Variational(5, 70), Act(Activation::Silu, 70), Variational(70, 2)]);
    let params = plan.init(&Noise::new(5, Purpose::Init));
    let noise = Noise::new(5, Purpose::Predict);
    let (x, dy) = (numbers(1, 30), numbers(2, 12));
    let (y, grads) = train(&plan, &params, &x, &dy, &Pass::train(&noise, 8, Estimator::Flipout));
    let predicted = predict(&plan, &params, &x, &Pass::predict(&noise, 8, Scope::Row, Estimator::Flipout));
    assert_eq!([digest(&[y, grads].concat()), digest(&predicted)], FLIPOUT);
}

#[test]
fn value_stability_of_a_dropout_network() {
    let specs = [Drop(5, 0.1), Dense(5, 70), Act(Activation::Gelu, 70), Drop(70, 0.3), Dense(70, 2)];
    assert_eq!(digests(&specs), DROPOUT);
}

const VARIATIONAL: [u64; 5] = [
    9388994541050607518,
    12230243950220093435,
    7895769079864678846,
    2962452144431222596,
    14624731551095312871,
];
const DROPOUT: [u64; 5] = [
    7099994147714244023,
    14969221829510521926,
    14969221829510521926,
    7211508927667106377,
    9165416440927608190,
];
const CONCRETE: [u64; 5] = [
    16030496563110792979,
    2677197560487106502,
    2677197560487106502,
    8174292460434466166,
    15715256793122265219,
];
const SPARSE_VD: [u64; 5] = [
    12396041635653732126,
    6121501273435640908,
    14548731161663255477,
    15353128066775188206,
    475993717166731799,
];
const FLIPOUT: [u64; 2] = [13699683529439610162, 15516487653487971572];
const INDEPENDENT_VD: [u64; 5] = [
    5273115176205352489,
    1309334889408934367,
    11180104697905915574,
    13309675935396629276,
    16429780865207834201,
];
const MULTIPLICATIVE: [u64; 5] = [
    2072131670973578713,
    10455738226398513693,
    10455738226398513693,
    3335965084250576934,
    1657132553924126561,
];
const CONVOLUTIONS: [u64; 5] = [
    2916692106091609480,
    3195982235862948953,
    11874711323982654490,
    2779274175613292007,
    3120311777644130378,
];
const CONVOLUTIONS_FLIPOUT: u64 = 2152678822854807078;
