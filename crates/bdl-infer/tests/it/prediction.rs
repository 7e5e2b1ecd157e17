//! Monte Carlo prediction: how many passes, of what, and that they have the right distribution.

use bdl_dist::{Noise, Purpose};
use bdl_infer::{Categorical, Gaussian, MixtureScratch, NoiseSd, Passes, Predictor, Targets, mean_nll};
use bdl_layers::{Activation, Plan, Scope};
use bdl_tensor::{Serial, special};
use bdl_testkit::masks::dropout_moments;
use bdl_testkit::oracle::{FrozenMask, OracleActivation, OracleLayer, OracleNet};
use bdl_testkit::source::{SplitMix64, rounded, to_f32};
use bdl_testkit::stats::{MomentCheck, assert_counts};

use crate::nets::{Method, bits, bnn, init, mat, rows};

fn fixed() -> Gaussian {
    Gaussian::new(NoiseSd::Fixed(0.3)).unwrap()
}

fn passes(samples: usize) -> Passes {
    Passes { samples, ..Passes::default() }
}

#[test]
fn an_ensemble_has_members_times_samples_passes_and_one_without_noise_its_members() {
    for (method, of_one, of_three) in
        [(Method::Dense, 1, 3), (Method::Dropout, 7, 21), (Method::Variational, 7, 21)]
    {
        let bnn = bnn(method, &[2, 3, 1], fixed());
        let members = [init(&bnn), init(&bnn), init(&bnn)];
        assert_eq!(Predictor::new(&bnn, &members[..1], passes(7)).unwrap().samples(), of_one);
        let predictor = Predictor::new(&bnn, &members, passes(7)).unwrap();
        assert_eq!(predictor.samples(), of_three);
        let outputs = predictor.outputs(mat(&[0.0; 8], 2), 0, &Serial).unwrap();
        assert_eq!(outputs.len(), of_three * 4);
        let predictive = predictor.predictive(&outputs, 4).unwrap();
        assert_eq!((predictive.samples(), predictive.members(), predictive.rows()), (of_three, 3, 4));
    }
}

#[test]
fn another_number_of_passes_of_the_same_predictor_has_the_bits_of_one_of_its_own() {
    for method in [Method::Dense, Method::Dropout, Method::Variational] {
        let bnn = bnn(method, &[2, 3, 1], fixed());
        let members = [init(&bnn), init(&bnn)];
        for (scope, n) in [(Scope::Pass, 1), (Scope::Pass, 2), (Scope::Row, 2)] {
            let passes = |samples| Passes { samples, scope, seed: 3, ..Passes::default() };
            let outputs = |p: &Predictor<'_>| bits(&p.outputs(mat(&[0.5; 8], 2), 0, &Serial).unwrap());
            let predictor = Predictor::new(&bnn, &members[..n], passes(7)).unwrap();
            for samples in [1, 7, 40] {
                let own = Predictor::new(&bnn, &members[..n], passes(samples)).unwrap();
                let same = predictor.with_samples(samples).unwrap();
                assert_eq!((outputs(&same), same.samples()), (outputs(&own), own.samples()));
            }
            assert!(predictor.with_samples(0).unwrap_err().to_string().contains("samples"));
        }
    }
}

#[test]
fn one_pass_has_no_epistemic_part_and_no_error() {
    let bnn = bnn(Method::Dense, &[2, 3, 1], fixed());
    let members = [init(&bnn)];
    let predictor = Predictor::new(&bnn, &members, passes(50)).unwrap();
    let outputs = predictor.outputs(mat(&[1.0, -1.0], 2), 0, &Serial).unwrap();
    let (predictive, mut scratch) = (predictor.predictive(&outputs, 1).unwrap(), MixtureScratch::new());
    let y = predictive.real(0, &mut scratch).unwrap();
    assert_eq!((y.mean(), y.epistemic_variance(), y.mean_mcse()), (outputs[0].into(), 0.0, None));
    assert!((y.aleatoric_variance() - 0.09).abs() < 1e-15);
}

#[test]
fn no_rows_are_no_outputs() {
    let bnn = bnn(Method::Variational, &[2, 3, 1], fixed());
    let members = [init(&bnn)];
    let predictor = Predictor::new(&bnn, &members, passes(5)).unwrap();
    let outputs = predictor.outputs(mat(&[], 2), 0, &Serial).unwrap();
    assert!(outputs.is_empty());
    assert_eq!(predictor.predictive(&outputs, 0).unwrap().rows(), 0);
}

#[test]
fn wrong_calls_are_named() {
    let bnn = bnn(Method::Variational, &[2, 3, 1], fixed());
    let members = [init(&bnn)];
    let message = |members: &[Vec<f32>], samples| {
        Predictor::new(&bnn, members, passes(samples)).unwrap_err().to_string()
    };
    assert_eq!(message(&members, 0), "predict: samples must be >= 1, got 0");
    assert_eq!(message(&[], 5), "predict: members must be >= 1, got 0");
    assert_eq!(message(&[vec![0.0; 3]], 5), "network: parameters: expected 26, got 3");
    assert_eq!(
        message(&members, usize::MAX),
        format!(
            "predict: [members, samples, outputs] must be small enough to address, got [1, {}, 1]",
            usize::MAX
        )
    );
    let predictor = Predictor::new(&bnn, &members, passes(5)).unwrap();
    let e = predictor.outputs(mat(&[0.0; 3], 3), 0, &Serial).unwrap_err().to_string();
    assert_eq!(e, "forward x: must be [1, 2], got [1, 3]");
    let e = predictor.outputs_into(mat(&[0.0; 2], 2), 0, &Serial, &mut [0.0; 4]).unwrap_err().to_string();
    assert_eq!(e, "predict: outputs: expected 5, got 4");
    assert_eq!(
        predictor.predictive(&[0.0; 4], 1).unwrap_err().to_string(),
        "predict: outputs: expected 5, got 4"
    );
}

#[test]
fn mean_nll_is_the_mean_over_rows_of_the_mixture_density() {
    let bnn = bnn(Method::Dropout, &[2, 9, 1], fixed());
    let ((x, y), members) = (rows(1, 6, 2), [init(&bnn)]);
    let predictor = Predictor::new(&bnn, &members, passes(8)).unwrap();
    let outputs = predictor.outputs(mat(&x, 2), 0, &Serial).unwrap();
    let density = |row: usize| {
        let one = |s: usize| {
            let z = f64::from(y[row] - outputs[s * 6 + row]) / 0.3;
            (-0.5 * z * z).exp() / (0.3 * std::f64::consts::TAU.sqrt())
        };
        (0..8).map(one).sum::<f64>() / 8.0
    };
    let naive = -(0..6).map(|row| density(row).ln()).sum::<f64>() / 6.0;
    let predictive = predictor.predictive(&outputs, 6).unwrap();
    assert!((mean_nll(&predictive, Targets::Real(&y)).unwrap() - naive).abs() < 1e-5 * naive.abs());
    assert!(mean_nll(&predictive, Targets::Real(&y[1..])).is_err());
    assert!(mean_nll(&predictive, Targets::Class(&[0; 6])).is_err());
}

/// Two hidden layers, 4 and 3 units, dropout 0.3 behind each: 128 masks.
fn enumerable(plan: &Plan, source: &mut SplitMix64) -> (OracleNet, Vec<f64>) {
    let dense = |in_dim, out_dim| OracleLayer::Dense { in_dim, out_dim, bias: true };
    let act = OracleLayer::Activation(OracleActivation::Relu);
    let mask = OracleLayer::Dropout { drop_prob: 0.3, mask: FrozenMask::Mean };
    let layers = vec![dense(2, 4), act.clone(), mask.clone(), dense(4, 3), act, mask, dense(3, 1)];
    let net = OracleNet::new(layers);
    assert_eq!(net.param_len(), plan.n_params());
    let params = rounded(&source.normals(net.param_len()));
    (net, params)
}

#[test]
fn mc_dropout_has_the_mean_and_variance_of_all_its_masks() {
    const SAMPLES: usize = 20_000;
    let plan = crate::nets::plan(Method::Dropout, Activation::Relu, &[2, 4, 3, 1]);
    let mut source = SplitMix64::new(1);
    let (net, params) = enumerable(&plan, &mut source);
    let x = rounded(&source.normals(2 * 2));
    let exact = dropout_moments(&net, &params, &x, 2);
    let bnn = bdl_infer::Bnn::new(plan, Box::new(fixed())).unwrap();
    let members = [to_f32(&params)];
    let predictor = Predictor::new(&bnn, &members, passes(SAMPLES)).unwrap();
    let x = to_f32(&x);
    let outputs = predictor.outputs(mat(&x, 2), 0, &Serial).unwrap();
    let (predictive, mut scratch) = (predictor.predictive(&outputs, 2).unwrap(), MixtureScratch::new());
    for row in 0..2 {
        let y = predictive.real(row, &mut scratch).unwrap();
        let (variance, n) = (exact.variance[row], SAMPLES as f64);
        assert!(variance > 1e-3, "the masks should matter");
        let check = |name: &str, estimate, expected, std_error| {
            MomentCheck { name: format!("{name}, row {row}"), estimate, expected, std_error }.assert();
        };
        check("mean", y.mean(), exact.mean[row], (variance / n).sqrt());
        let of_variance =
            ((exact.fourth_moment[row] - variance * variance * (n - 3.0) / (n - 1.0)) / n).sqrt();
        check("variance", y.epistemic_variance(), variance, of_variance);
        // The standard error that it claims is the one it has.
        assert!((y.mean_mcse().unwrap() / (variance / n).sqrt() - 1.0).abs() < 0.1);
    }
}

#[test]
fn draws_of_a_class_follow_the_mixture() {
    // 30 000 draws over 300 passes; false alarm 1e-6, fixed seed.
    let bnn = bnn(Method::Variational, &[2, 5, 3], Categorical::new(3).unwrap());
    let members = [init(&bnn)];
    let predictor = Predictor::new(&bnn, &members, passes(300)).unwrap();
    let outputs = predictor.outputs(mat(&[1.0, -2.0], 2), 0, &Serial).unwrap();
    let (predictive, mut scratch) = (predictor.predictive(&outputs, 1).unwrap(), MixtureScratch::new());
    let y = predictive.class(0, &mut scratch).unwrap();
    let mut draws = vec![9; 30_000];
    y.draws(&mut Noise::new(0, Purpose::Draw).rng(0), &mut draws);
    let counts: Vec<u64> = (0..3).map(|c| draws.iter().filter(|d| **d == c).count() as u64).collect();
    assert_counts("classes", &counts, y.probs(), 1e-6);
}

#[test]
fn impossible_classes_are_never_drawn() {
    let likelihood = Categorical::new(3).unwrap();
    let outputs = [-1e4, 0.0, -1e4];
    let predictive = bdl_infer::Predictive::new(&likelihood, &[&[]], &outputs, 1, 1).unwrap();
    let (mut scratch, mut draws) = (MixtureScratch::new(), [0; 1000]);
    predictive.class(0, &mut scratch).unwrap().draws(&mut Noise::new(0, Purpose::Draw).rng(0), &mut draws);
    assert!(draws.iter().all(|d| *d == 1));
    assert_eq!(special::xlogx(0.0), 0.0);
}

#[test]
fn moments_of_outputs_are_those_of_each_column_on_any_pool() {
    let bnn = bnn(Method::Dropout, &[3, 12, 1], fixed());
    let members = [init(&bnn), init(&bnn)];
    let predictor = Predictor::new(&bnn, &members, passes(6)).unwrap();
    for count in [1, 7, 20_000] {
        let x = to_f32(&SplitMix64::new(3).normals(3 * count));
        let outputs = predictor.outputs(mat(&x, 3), 0, &Serial).unwrap();
        let run = |pool: &dyn bdl_tensor::Pool| {
            let (mut mean, mut sd) = (vec![f32::NAN; count], vec![f32::NAN; count]);
            predictor.moments_into(&outputs, pool, &mut mean, &mut sd).unwrap();
            (mean, sd)
        };
        let (mean, sd) = run(&Serial);
        assert_eq!(run(&bdl_infer::RayonPool::new(3).unwrap()), (mean.clone(), sd.clone()));
        for row in 0..count {
            let column = || outputs.iter().skip(row).step_by(count).map(|&y| f64::from(y));
            let m = column().sum::<f64>() / 12.0;
            let v = column().map(|y| (y - m).powi(2)).sum::<f64>() / 12.0;
            assert!((f64::from(mean[row]) - m).abs() <= 1e-6 * m.abs().max(1.0), "{} {m}", mean[row]);
            assert!((f64::from(sd[row]) - v.sqrt()).abs() <= 1e-6 * v.sqrt().max(1e-3), "{} {v}", sd[row]);
        }
    }
    let e = predictor.moments_into(&[0.0; 11], &Serial, &mut [0.0], &mut [0.0]).unwrap_err();
    assert_eq!(e.to_string(), "predict: outputs: expected 12, got 11");
}
