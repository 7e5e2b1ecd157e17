//! Networks that start from a trained model, models at the mean of their weights, and functions drawn from the prior.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::common::{bits, class_text, config, file_prediction, predict, real_text, table, train, train_on};
use bdl_infer::{Passes, Predictor, RayonPool};
use bdl_layers::{Pass, Workspace};
use bdl_model::{
    Method, Model, Prior, PriorPredictive, RealFunctions, Schema, Spread, StartFrom, TrainConfig, Training,
    Valid,
};
use bdl_tensor::{Mat, MatMut, Pool, Serial};
use bdl_testkit::stats::Estimate;

/// A training that starts from a model, as MOPED does with a ratio.
fn from(model: Model, ratio: Option<f64>) -> TrainConfig {
    let mut config = config("y", Method::MeanField);
    if ratio.is_some() {
        config.architecture.prior = config.architecture.prior.around().unwrap();
    }
    config.start = Some(StartFrom { model: Arc::new(model), sigma_ratio: ratio });
    config
}

fn deterministic(text: &str) -> Model {
    let mut config = config("y", Method::Deterministic);
    config.fit.epochs = 30;
    train(text, &config)
}

/// The outputs of the mean pass on some rows.
fn mean_pass(model: &Model, x: &[f32]) -> Vec<u32> {
    let plan = model.bnn().plan();
    let rows = x.len() / plan.in_dim();
    let mut y = vec![0.0; rows * plan.out_dim()];
    let params = &model.members()[0][model.bnn().network()];
    let out = &mut MatMut::new(&mut y, rows, plan.out_dim()).unwrap();
    let x = Mat::new(x, rows, plan.in_dim()).unwrap();
    plan.forward(params, x, &Pass::mean(), &mut Workspace::new(), out).unwrap();
    y.iter().map(|y| y.to_bits()).collect()
}

const X: [f32; 10] = [0.5, -1.0, 1.0, 0.0, 0.0, 2.0, 0.3, 0.0, 1.0, 0.0];

#[test]
fn moped_starts_at_the_weights_of_the_model_and_its_prior_stays_there() {
    let text = real_text(60, 21);
    let source = deterministic(&text);
    let weights = source.members()[0].clone();
    let config = from(source, Some(0.1));
    let mut still = config.clone();
    (still.fit.lr, still.fit.epochs) = (1e-30, 1);
    for (model, moved) in [(train(&text, &still), false), (train(&text, &config), true)] {
        let of = |block: &str| -> Vec<f32> {
            let entries = model.bnn().entries().iter().filter(|e| e.block.name == block);
            entries.flat_map(|e| model.members()[0][e.range.clone()].to_vec()).collect()
        };
        let all = |weight: &str, bias: &str| -> Vec<u32> {
            let (w, b) = (of(weight), of(bias));
            // The means of the prior are the weights whatever training does: 5 inputs and 12 units, then one.
            [&w[..60], &b[..12], &w[60..], &b[12..]].concat().iter().map(|x| x.to_bits()).collect()
        };
        let expected: Vec<u32> = weights[..85].iter().map(|w| w.to_bits()).collect();
        assert_eq!(all("prior.weight.mean", "prior.bias.mean"), expected);
        assert_eq!(all("weight.mu", "bias.mu") != expected, moved);
    }
}

#[test]
fn a_start_without_training_has_the_predictions_of_the_model_at_the_mean() {
    let text = real_text(60, 22);
    for method in [Method::Deterministic, Method::McDropout, Method::MeanField] {
        let source = train(&text, &config("y", method));
        let expected = mean_pass(&source, &X);
        let mut config = from(source, None);
        // A step of Adam is at most the learning rate, and mu + 1e-30 is mu.
        (config.fit.lr, config.fit.epochs) = (1e-30, 1);
        assert_eq!(mean_pass(&train(&text, &config), &X), expected, "{method:?}");
    }
    // Through normalizations and residual blocks.
    let net = Some("5-6-ln-res+6+ln-1".parse().unwrap());
    let mut plain = config("y", Method::McDropout);
    plain.architecture.net = net.clone();
    let source = train(&text, &plain);
    let expected = mean_pass(&source, &X);
    let mut config = from(source, Some(0.1));
    config.architecture.net = net;
    (config.fit.lr, config.fit.epochs) = (1e-30, 1);
    assert_eq!(mean_pass(&train(&text, &config), &X), expected);
}

#[test]
fn the_scaling_of_the_model_is_used_for_other_rows() {
    let source = deterministic(&real_text(60, 23));
    let schema = source.schema().clone();
    let other = train(&real_text(80, 24), &from(source, Some(0.2)));
    assert_eq!(other.schema(), &schema);
    assert_ne!(
        &Schema::infer(&table(&real_text(80, 24)), &config("y", Method::MeanField).select).unwrap(),
        &schema
    );
}

#[test]
fn what_differs_between_model_and_data_is_named() {
    let refused = |source: Model, text: &str, target: &str, hidden: usize| {
        let mut config = TrainConfig { start: from(source, None).start, ..config(target, Method::MeanField) };
        config.architecture.hidden = vec![hidden];
        let done = Model::train(&table(text), &config, &Serial, &mut |_| ControlFlow::Continue(()));
        done.unwrap_err().to_string()
    };
    let text = real_text(30, 1);
    let source = || deterministic(&text);
    let oak = |names: &[&str]| class_text(40, names, 2);
    assert_eq!(
        refused(source(), &oak(&["oak", "ash"]), "label", 12),
        "--init-from: the model does regression of \"y\", expected classification of \"label\" as the data have it"
    );
    let classes = train(&oak(&["oak", "ash", "elm"]), &config("label", Method::Deterministic));
    assert_eq!(
        refused(classes, &oak(&["oak", "ash"]), "label", 12),
        "--init-from: the model's classes are [\"ash\", \"elm\", \"oak\"], expected [\"ash\", \"oak\"] as the data have it"
    );
    assert_eq!(
        refused(source(), &text.replacen("a,b,", "a,c,", 1), "y", 12),
        "--init-from: the model's features are [\"a\", \"b\", \"colour\"], expected [\"a\", \"c\", \"colour\"] as the data \
         have it"
    );
    assert_eq!(
        refused(source(), &text.replace("blue", "gold"), "y", 12),
        "--init-from: the model's feature \"colour\" is one of [\"blue\", \"green\", \"red\"], expected one of [\"gold\", \
         \"green\", \"red\"] as the data have it"
    );
    assert_eq!(
        refused(source(), &text, "y", 7),
        "--init-from: 0.variational-dense: the network to start from must be dense 5 → 7, got dense 5 → 12"
    );
    let ensemble = train(&text, &TrainConfig { members: 2, ..config("y", Method::Deterministic) });
    assert_eq!(
        refused(ensemble, &text, "y", 12),
        "--init-from: expected a model of one network, as are trained, got 2 networks"
    );
    let single = TrainConfig { members: 3, ..from(source(), None) };
    let done = Model::train(&table(&text), &single, &Serial, &mut |_| ControlFlow::Continue(()));
    assert_eq!(
        done.unwrap_err().to_string(),
        "--init-from: expected a model of 3 networks, one for each member, got one network; members that start at the same \
         weights stay near each other"
    );
}

#[test]
fn members_of_an_ensemble_start_each_from_its_own() {
    let text = real_text(60, 30);
    let source = train(&text, &TrainConfig { members: 3, ..config("y", Method::Deterministic) });
    let bytes = source.to_bytes().unwrap();
    let weights = |model: &Model, member: usize, blocks: [&str; 2]| -> Vec<u32> {
        let entries = model.bnn().entries().iter().filter(|e| blocks.contains(&e.block.name.as_str()));
        let of = |range: std::ops::Range<usize>| model.members()[member][range].to_vec();
        entries.flat_map(|e| of(e.range.clone())).map(f32::to_bits).collect()
    };
    for ratio in [None, Some(0.1)] {
        let mut config = TrainConfig { members: 3, ..from(Model::from_bytes(&bytes).unwrap(), ratio) };
        // A step of Adam is at most the learning rate, and mu + 1e-30 is mu.
        (config.fit.lr, config.fit.epochs) = (1e-30, 1);
        let started = train(&text, &config);
        for member in 0..3 {
            let own = weights(&source, member, ["weight", "bias"]);
            assert_eq!(weights(&started, member, ["weight.mu", "bias.mu"]), own, "{member} {ratio:?}");
        }
    }
}

#[test]
fn trainings_with_given_or_learned_priors_have_the_same_bits_on_any_pool_and_after_loading() {
    let text = real_text(60, 25);
    let mut learned = config("y", Method::MeanField);
    learned.architecture.prior = "normal:learned".parse().unwrap();
    learned.valid = Valid::Fraction(0.2);
    for config in [from(deterministic(&text), Some(0.1)), learned] {
        let bytes = |training: Training| training.model.to_bytes().unwrap();
        let serial = bytes(train_on(&text, &config, &Serial));
        assert_eq!(bytes(train_on(&text, &config, &RayonPool::new(3).unwrap())), serial);
        let (model, loaded) = (train(&text, &config), Model::from_bytes(&serial).unwrap());
        assert_eq!(loaded.to_bytes().unwrap(), serial);
        let kl = |m: &Model| m.bnn().plan().kl(&m.members()[0][m.bnn().network()]).unwrap();
        assert_eq!(kl(&loaded).to_bits(), kl(&model).to_bits());
        let how = file_prediction(4);
        assert_eq!(bits(&predict(&loaded, &text, &how)), bits(&predict(&model, &text, &how)));
    }
}

#[test]
fn training_moves_the_learned_scale_of_each_layer_and_inspection_tells_it() {
    let mut config = config("y", Method::MeanField);
    config.architecture.prior = "normal:learned".parse().unwrap();
    config.fit.epochs = 40;
    let scales: Vec<f64> = train(&real_text(60, 26), &config)
        .layers()
        .unwrap()
        .iter()
        .filter_map(|l| l.report.prior_std_dev)
        .collect();
    assert!(scales.len() == 2 && scales.iter().all(|s| *s < 0.9 && *s > 0.01), "{scales:?}");
}

#[test]
fn a_model_at_its_mean_predicts_the_bits_of_the_mean_pass_with_a_network_of_plain_layers() {
    let mut layered = config("y", Method::SparseVd);
    layered.architecture.bayesian = "1".parse().unwrap();
    let cases = Method::ALL.map(|method| config("y", method)).into_iter().chain([layered]);
    for config in cases {
        let text = real_text(60, 27);
        let model = train(&text, &config);
        let plain = model.at_mean().unwrap();
        assert_eq!(plain.method(), Method::Deterministic);
        assert!(
            plain.bnn().plan().layers().all(|(_, layer)| ["dense", "activation"].contains(&layer.kind()))
        );
        assert_eq!(mean_pass(&plain, &X), mean_pass(&model, &X));
        // Through the predictor, whose one pass is that of the mean.
        let predictor = Predictor::new(plain.bnn(), plain.members(), Passes::default()).unwrap();
        let outputs = predictor.outputs(Mat::new(&X, 2, 5).unwrap(), 0, &Serial).unwrap();
        assert_eq!(outputs.iter().map(|y| y.to_bits()).collect::<Vec<_>>(), mean_pass(&model, &X));
        let loaded = Model::from_bytes(&plain.to_bytes().unwrap()).unwrap();
        let how = file_prediction(3);
        assert_eq!(bits(&predict(&loaded, &text, &how)), bits(&predict(&plain, &text, &how)));
        assert_eq!(loaded.members(), plain.members());
    }
}

fn numbers(told: PriorPredictive) -> Vec<RealFunctions> {
    match told {
        PriorPredictive::Real(told) => told,
        other => panic!("{other:?}"),
    }
}

/// Draws of a linear model under N(0, 0.8²) on a table with x = ±1.
fn linear(target: &str, text: &str, draws: usize, pool: &dyn Pool) -> Vec<RealFunctions> {
    let mut config = config(target, Method::MeanField);
    config.architecture.hidden = Vec::new();
    config.architecture.prior = Prior::StdDev(0.8);
    numbers(Model::prior_predictive(&table(text), &config, draws, pool).unwrap())
}

/// Targets are standardized to ±1, too: f = mean + std·(w·x + b), of variance std²·(0.64 + 0.64) at each row.
/// A function has f = ±w + b at its rows: its mean square over rows is (w² + b²)·std², of variance 2·2·(0.64·std²)².
fn check_linear(functions: &Spread, draws: usize, (at, std): (f64, f64)) {
    let (draws, one) = (draws as f64, 0.64 * std * std);
    let mean = Estimate { mean: functions.mean, std_error: (one / draws).sqrt() };
    mean.check("mean of the functions", at).assert();
    let square = functions.std.powi(2) + (functions.mean - at).powi(2);
    let squares = Estimate { mean: square, std_error: (4.0 * one * one / draws).sqrt() };
    squares.check("mean square of the functions", 2.0 * one).assert();
}

// 4 000 functions of a linear model: their mean and mean square over functions and rows against the closed form, 5 SE.
#[test]
fn functions_of_a_linear_prior_have_the_closed_form_in_the_units_of_the_target() {
    let text = "x,y\n-1,10.5\n1,30.5\n-1,10.5\n1,30.5\n";
    let told = linear("y", text, 4_000, &Serial);
    let [RealFunctions { functions, targets, .. }] = &told[..] else { panic!("one target") };
    let (q, low, high) = (targets.quantiles, 10.5, 30.5);
    assert_eq!((targets.mean, targets.std), (20.5, 10.0));
    assert_eq!([q.q05, q.q25, q.median, q.q75, q.q95], [low, low, high, high, high]);
    check_linear(functions, 4_000, (20.5, 10.0));
    assert_eq!(linear("y", text, 4_000, &RayonPool::new(2).unwrap()), told);
}

// The same of two targets, each by itself.
#[test]
fn functions_of_several_targets_are_told_of_each_in_its_own_units() {
    let told = linear("y,z", "x,y,z\n-1,10.5,3\n1,30.5,-1\n-1,10.5,3\n1,30.5,-1\n", 4_000, &Serial);
    let names: Vec<&str> = told.iter().map(|of| of.target.as_str()).collect();
    assert_eq!(names, ["y", "z"]);
    let moments = [(20.5, 10.0), (1.0, 2.0)];
    for (of, moments) in told.iter().zip(moments) {
        assert_eq!((of.targets.mean, of.targets.std), moments);
        check_linear(&of.functions, 4_000, moments);
    }
    let standardized = |of: &RealFunctions, (mean, std): (f64, f64)| (of.functions.mean - mean) / std;
    let [first, second] = [0, 1].map(|k| standardized(&told[k], moments[k]));
    assert!((first - second).abs() > 1e-6, "each has weights of its own: {first} {second}");
}

#[test]
fn functions_of_the_prior_of_classes_are_told_with_their_entropy() {
    let text = class_text(60, &["oak", "ash", "elm"], 28);
    let of = |prior: &str| {
        let mut config = config("label", Method::MeanField);
        config.architecture.prior = prior.parse().unwrap();
        match Model::prior_predictive(&table(&text), &config, 50, &Serial).unwrap() {
            PriorPredictive::Class(told) => told,
            other => panic!("{other:?}"),
        }
    };
    let (narrow, wide) = (of("normal:0.001"), of("normal:30"));
    assert!(narrow.entropy.mean > 0.999 * 3.0_f64.ln() && narrow.sure == 0.0, "{narrow:?}");
    assert!(wide.entropy.mean < 0.05 && wide.sure > 0.95, "{wide:?}");
    for told in [narrow, wide] {
        assert!((told.probs.iter().sum::<f64>() - 1.0).abs() < 1e-6);
        assert!((told.shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
}

#[test]
fn an_improper_prior_has_no_functions_and_the_layer_is_named() {
    let text = real_text(30, 29);
    let message = |config: &TrainConfig, draws| {
        Model::prior_predictive(&table(&text), config, draws, &Serial).unwrap_err().to_string()
    };
    assert_eq!(
        message(&config("y", Method::SparseVd), 10),
        "--prior-predictive: must be asked of weights with a proper prior, got sparse-vd-dense with the log-uniform density, \
         which is improper"
    );
    let mut improper = config("y", Method::MeanField);
    improper.architecture.prior = Prior::LogUniform;
    assert!(message(&improper, 10).contains("variational-dense with the log-uniform density"));
    assert_eq!(message(&config("y", Method::MeanField), 0), "--prior-predictive: must be >= 1, got 0");
    for method in [Method::Deterministic, Method::McDropout] {
        numbers(Model::prior_predictive(&table(&text), &config("y", method), 3, &Serial).unwrap());
    }
}
