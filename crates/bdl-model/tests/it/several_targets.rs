//! Several targets of a row: from the table to the scores and back from a file.

use std::f64::consts::TAU;

use crate::common::{
    Told, bits, file_prediction, noise, normal, predict, predict_with, reader, table, train, train_on,
};
use bdl_dist::NoiseRng;
use bdl_infer::RayonPool;
use bdl_model::{
    Activation, Evaluation, KlWarmup, Likelihood, Method, Model, Passes, Prediction, RealPrediction,
    TargetKind, TrainConfig,
};
use bdl_tensor::Serial;

fn means(x: f64) -> [f64; 2] {
    [10.0 + 3.0 * (2.0 * x).sin(), -100.0 * x]
}

/// Of the noise; under `by_row` that of `a` depends on the row.
fn sds(x: f64, by_row: bool) -> [f64; 2] {
    [if by_row && x > 0.0 { 1.8 } else { 0.6 }, 50.0]
}

/// Rows `x,a,b` with x uniform in (−2, 2), and noise of its own in each target.
fn text(rows: usize, seed: u64, by_row: bool) -> String {
    let mut rng: NoiseRng = noise(seed);
    let mut text = "x,a,b\n".to_owned();
    for _ in 0..rows {
        let x = 4.0 * rng.uniform() - 2.0;
        let (means, sds) = (means(x), sds(x, by_row));
        let [a, b] = [0, 1].map(|k| means[k] + sds[k] * normal(&mut rng));
        text += &format!("{x},{a},{b}\n");
    }
    text
}

/// The mean of minus the true log density of both targets.
fn true_nll(text: &str, by_row: bool) -> f64 {
    let row = |line: &str| -> f64 {
        let cells: Vec<f64> = line.split(',').map(|cell| cell.parse().unwrap()).collect();
        let (means, sds) = (means(cells[0]), sds(cells[0], by_row));
        (0..2).map(|k| 0.5 * ((cells[k + 1] - means[k]) / sds[k]).powi(2) + (sds[k] * TAU.sqrt()).ln()).sum()
    };
    let each: Vec<f64> = text.lines().skip(1).map(row).collect();
    each.iter().sum::<f64>() / each.len() as f64
}

fn config(method: Method, likelihood: Likelihood) -> TrainConfig {
    let mut config = TrainConfig::for_target("a,b");
    (config.architecture.method, config.architecture.likelihood) = (method, likelihood);
    (config.architecture.hidden, config.architecture.activation) = (vec![30], Activation::Tanh);
    (config.fit.epochs, config.fit.lr, config.fit.batch) = (300, 1e-2, 50);
    config.fit.kl_warmup = KlWarmup::new(config.recommended_kl_warmup() as f64).unwrap();
    config
}

fn quick(likelihood: Likelihood) -> TrainConfig {
    let mut config = config(Method::MeanField, likelihood);
    (config.fit.epochs, config.members, config.architecture.hidden) = (3, 2, vec![4]);
    config
}

fn evaluate(model: &Model, text: &str) -> Evaluation {
    let passes = Passes { samples: 20, ..model.passes() };
    model.evaluate(&mut reader(text), passes, &Serial).unwrap()
}

fn score(scores: &Evaluation, target: usize, name: &str) -> f64 {
    scores.targets[target].metrics.iter().find(|m| m.name == name).unwrap().value
}

/// Of encoded rows.
fn told(model: &Model, text: &str) -> Vec<[RealPrediction; 2]> {
    let table = table(text);
    let map = model.schema().match_header(table.file(), table.columns()).unwrap();
    let rows: Vec<usize> = (0..table.rows()).collect();
    let x = model.encoder().encode_table(&table, &rows, &map).unwrap();
    let told = model.predictor(model.passes()).unwrap().predict(&x, 0, &Default::default(), &Serial).unwrap();
    told.reals.as_chunks().0.to_vec()
}

/// 1000 rows to learn from and 1000 fresh ones: a deviation of 1000 rows has an error of 2.2 %, a coverage of 1 to 1.6 points, and some
/// 60 effective parameters cost 30/1000 nats.
#[test]
fn each_target_has_its_own_mean_and_noise_in_its_own_units() {
    for (by_row, likelihood) in [(false, Likelihood::Auto), (true, Likelihood::Heteroscedastic)] {
        let (learned, fresh) = (text(1000, 1, by_row), text(1000, 2, by_row));
        for method in [Method::Deterministic, Method::MeanField] {
            let model = train(&learned, &config(method, likelihood));
            let scores = evaluate(&model, &fresh);
            let excess = scores.metric("nll").unwrap().value - true_nll(&fresh, by_row);
            assert!((-0.01..0.1).contains(&excess), "{method:?} {likelihood}: {excess}");
            for target in 0..2 {
                for (name, level) in [("coverage_50", 0.5), ("coverage_90", 0.9), ("coverage_95", 0.95)] {
                    let off = score(&scores, target, name) - level;
                    assert!(off.abs() < 0.08, "{method:?} {likelihood}, {target}, {name}: {off}");
                }
            }
            let xs = [-1.5, -0.8, 0.8, 1.5];
            let rows = xs.iter().fold("x\n".to_owned(), |rows, x| format!("{rows}{x}\n"));
            for (x, row) in xs.iter().zip(told(&model, &rows)) {
                for (k, p) in row.iter().enumerate() {
                    let (mean, sd) = (means(*x)[k], sds(*x, by_row)[k]);
                    let place = format!("{method:?} {likelihood}, {k} at {x}: {p:?}");
                    assert!((p.mean - mean).abs() < 0.5 * sd, "{place}");
                    assert!((p.aleatoric_std / sd - 1.0).abs() < 0.3, "{place}");
                    assert!(p.lower < mean && mean < p.upper, "{place}");
                }
            }
        }
    }
}

/// Of a deterministic network the joint density is the product, and the training's NLL is that of the predictions: all in
/// the targets' own units.
#[test]
fn the_nll_of_all_targets_is_in_their_units() {
    let text = text(300, 3, false);
    let training = train_on(&text, &config(Method::Deterministic, Likelihood::Auto), &Serial);
    let scores = evaluate(&training.model, &text);
    let nll = scores.metric("nll").unwrap().value;
    assert!((nll - score(&scores, 0, "nll") - score(&scores, 1, "nll")).abs() < 1e-9);
    assert!((training.model.record().nll_mean - nll).abs() < 0.05, "{nll} {:?}", training.model.record());
    let kept = &training.members[0].kept;
    assert!((kept.elbo + 300.0 * kept.nll_mean + kept.kl).abs() < 1e-6 * kept.elbo.abs());
    // Of passes that all targets share it is not.
    let model = train(&text, &config(Method::MeanField, Likelihood::Auto));
    let scores = evaluate(&model, &text);
    assert!(scores.metric("nll").unwrap().value != score(&scores, 0, "nll") + score(&scores, 1, "nll"));
}

#[test]
fn scores_of_a_target_are_those_of_a_single_one() {
    let text = text(60, 4, false);
    let scores = evaluate(&train(&text, &quick(Likelihood::Auto)), &text);
    let names = |metrics: &[bdl_model::Metric]| metrics.iter().map(|m| m.name).collect::<Vec<_>>();
    assert_eq!(names(&scores.metrics), ["nll"]);
    assert_eq!(scores.targets.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let mut one = quick(Likelihood::Auto);
    one.select.target = "a".to_owned();
    one.select.ignore = vec!["b".to_owned()];
    let alone = evaluate(&train(&text, &one), &text);
    assert!(alone.targets.is_empty());
    for target in &scores.targets {
        assert_eq!(names(&target.metrics), names(&alone.metrics));
    }
}

#[test]
fn predictions_depend_on_no_thread_chunk_or_neighbour() {
    let model = train(&text(60, 5, false), &quick(Likelihood::Heteroscedastic));
    let mut how = file_prediction(5);
    how.telling.draws = 3;
    // More rows than are predicted at a time.
    let rows = text(1500, 6, false);
    let all = predict(&model, &rows, &how);
    let (by_three, _) = predict_with(&model, &rows, &how, &RayonPool::new(3).unwrap()).unwrap();
    assert_eq!(bits(&all), bits(&by_three));
    // The error, three draws of each target, seven numbers of each.
    for row in &all {
        let number = |at: usize| f64::from_bits(row.bits[at]);
        for k in 0..2 {
            let (mean, std) = (number(7 + 7 * k), number(8 + 7 * k));
            let draws = (0..3).map(|i| number(1 + 3 * k + i));
            assert!(draws.into_iter().all(|draw| (draw - mean).abs() < 8.0 * std), "target {k}: {row:?}");
        }
    }
    // One row alone, through the path of a service.
    let predictor = model.predictor(how.passes).unwrap();
    let mut scratch = predictor.scratch();
    let x: f64 = rows.lines().nth(1234).unwrap().split(',').next().unwrap().parse().unwrap();
    scratch.row.set_number("x", x).unwrap();
    let one = predictor.predict_row(&mut scratch, 0.9).unwrap();
    assert_eq!(one, all[1233].prediction);
    let reals: Vec<u64> = scratch
        .reals()
        .iter()
        .flat_map(|p| crate::common::numbers(&Prediction::Real(*p)))
        .map(f64::to_bits)
        .collect();
    assert_eq!(reals, all[1233].bits[all[1233].bits.len() - 14..]);
}

#[test]
fn the_columns_carry_the_names_of_the_targets() {
    let model = train(&text(60, 7, false), &quick(Likelihood::Auto));
    let own = ["mean", "std", "aleatoric_std", "epistemic_std", "lower", "upper", "mean_mcse"];
    let expected: Vec<String> = ["a", "b"]
        .iter()
        .flat_map(|target| own.map(|name| format!("{name}_{target}")))
        .chain(["draw_1_a", "draw_2_a", "draw_1_b", "draw_2_b"].map(str::to_owned))
        .collect();
    assert_eq!(model.output_columns(&[], 2), expected);
    let mut how = file_prediction(4);
    how.telling.draws = 2;
    let mut rows = 0;
    let mut sink = |event: bdl_model::FileEvent<'_>| {
        if let bdl_model::FileEvent::Row(row) = event {
            let values = model.output_values(&row);
            let bdl_model::OutputValue::Number(mean_of_b) = values[7] else { panic!("{values:?}") };
            assert_eq!((values.len(), mean_of_b), (expected.len(), row.reals[1].mean));
            rows += 1;
        }
        Ok(())
    };
    model.predict_file(reader("x\n1\n-1\n"), &how, &Serial, &mut sink).unwrap();
    assert_eq!(rows, 2);
}

#[test]
fn a_tolerance_is_that_of_every_target() {
    let mut config = quick(Likelihood::Auto);
    config.members = 1;
    let model = train(&text(60, 8, false), &config);
    let mut how = file_prediction(1);
    how.telling.tolerance = Some(1.0);
    let loose = predict(&model, "x\n1\n", &how);
    how.telling.tolerance = Some(0.2);
    for row in loose.iter().chain(&predict(&model, "x\n1\n", &how)) {
        let Prediction::Several { mcse } = row.prediction else { panic!() };
        let mcse_of = |k: usize| f64::from_bits(row.bits[1 + 7 * k + 6]);
        assert_eq!(mcse, Some(f64::max(mcse_of(0), mcse_of(1))));
        assert!(mcse < Some(1.0));
    }
}

#[test]
fn they_are_saved_to_the_bit() {
    let counts = (0..40).fold("x,a,b\n".to_owned(), |text, i| format!("{text}{i},{},{}\n", i * i % 7, i % 3));
    let cases = [
        (Likelihood::Auto, text(60, 9, false)),
        (Likelihood::Heteroscedastic, text(60, 9, true)),
        (Likelihood::StudentT { dof: None }, text(60, 9, false)),
        (Likelihood::Poisson, counts),
    ];
    let mut how = file_prediction(6);
    how.telling.draws = 3;
    for (likelihood, text) in cases {
        let model = train(&text, &quick(likelihood));
        let bytes = model.to_bytes().unwrap();
        let loaded = Model::from_bytes(&bytes).unwrap();
        let of = |model: &Model| -> Vec<Told> { predict(model, &text, &how) };
        assert_eq!(bits(&of(&loaded)), bits(&of(&model)), "{likelihood}");
        assert_eq!(evaluate(&loaded, &text), evaluate(&model, &text), "{likelihood}");
        assert_eq!((loaded.schema(), loaded.to_bytes().unwrap()), (model.schema(), bytes), "{likelihood}");
        assert_eq!(loaded.schema().targets().len(), 2);
    }
}

#[test]
fn a_column_whose_name_has_a_comma_is_one_target() {
    let mut config = quick(Likelihood::Auto);
    let model = train("x,\"a,b\"\n1,0.5\n2,1.5\n3,2.5\n", &config);
    assert!(matches!(model.schema().target.kind, TargetKind::Real { .. }));
    // Spaces do not matter; whole numbers are no classes.
    config.select.target = "a , b".to_owned();
    let model = train("b,x,a\n1,0,0.5\n2,0,1.5\n1,1,2.5\n", &config);
    assert_eq!(model.schema().targets().iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(model.encoder().width(), 1);
}

#[test]
fn targets_that_do_not_fit_are_named() {
    let refused = |text: &str, change: &dyn Fn(&mut TrainConfig)| {
        let mut config = quick(Likelihood::Auto);
        change(&mut config);
        let trained =
            Model::train(&table(text), &config, &Serial, &mut |_| std::ops::ControlFlow::Continue(()));
        trained.unwrap_err().to_string()
    };
    let plain = |text| refused(text, &|_| ());
    assert!(plain("x,a,b\n1,2,3\n2,3,many\n").contains("row 2 (line 3), column \"b\""));
    assert!(plain("x,a,b\n1,2,3\n2,3,\n").contains("column \"b\": expected a value"));
    assert!(plain("x,a,b\n1,2,3\n2,3,3\n").contains("\"b\""), "one value");
    assert!(plain("x,a\n1,2\n2,3\n").contains("--target"));
    assert!(plain("a,b\n1,2\n2,3\n").contains("at least one column besides the target"));
    let text = text(20, 10, false);
    let with = |change: &dyn Fn(&mut TrainConfig)| refused(&text, change);
    assert_eq!(
        with(&|c| c.select.target = "a,b,a".to_owned()),
        "--target: must be different columns, got \"a\" twice"
    );
    assert!(with(&|c| c.select.ignore = vec!["b".to_owned()]).contains("the target \"b\""));
    assert_eq!(
        with(&|c| c.select.categorical = vec!["b".to_owned()]),
        "--target: must be one column of classes, or several of numbers, got \"a,b\" for classes"
    );
    assert_eq!(
        with(&|c| c.architecture.likelihood = Likelihood::Gaussian { noise: Some(1.0) }),
        "--noise: must be used with one target, got 2 targets"
    );
    assert!(with(&|c| c.architecture.likelihood = Likelihood::Bernoulli).contains("for classes"));
    assert!(
        with(&|c| c.architecture.likelihood = Likelihood::Categorical)
            .contains("for a target of numbers, got categorical")
    );
    let poisson = |c: &mut TrainConfig| c.architecture.likelihood = Likelihood::Poisson;
    let e = refused("x,a,b\n1,2,3\n2,3,0.5\n", &poisson);
    assert!(e.contains("row 2 (line 3), column \"b\": expected a count") && e.contains("\"0.5\""), "{e}");

    let model = train(&text, &quick(Likelihood::Auto));
    let of = |text: &str| model.evaluate(&mut reader(text), model.passes(), &Serial).unwrap_err().to_string();
    assert!(of("x,a\n1,2\n").contains("expected the target \"b\""), "{}", of("x,a\n1,2\n"));
    assert!(of("x,a,b\n1,2,many\n").contains("row 1 (line 2), column \"b\""));
    // Without the targets there are predictions, and one that is there is no unknown column.
    let (_, report) = predict_with(&model, "x,a\n1,2\n", &file_prediction(2), &Serial).unwrap();
    assert!(report.ignored.is_empty() && report.rows == 1);
}
