//! Counts, heavy tails and two classes from one logit: from the table to the scores.

use crate::common::{bits, file_prediction, noise, normal, predict, reader, table, train};
use bdl_dist::NoiseRng;
use bdl_infer::StudentT;
use bdl_model::{
    Activation, Evaluation, KlWarmup, Likelihood, Method, Model, Passes, Prediction, RayonPool,
    SelectOptions, Selection, TargetKind, Task, TaskChoice, TrainConfig,
};
use bdl_tensor::Serial;
use bdl_tensor::special::{ln_gamma, sigmoid, softplus, student_t_ln_pdf};

/// Rows `x,y` with x uniform in (−2, 2) and y by the law.
fn waves(rows: usize, seed: u64, law: impl Fn(f64, &mut NoiseRng) -> f64) -> String {
    let mut rng = noise(seed);
    let mut text = "x,y\n".to_owned();
    for _ in 0..rows {
        let x = 4.0 * rng.uniform() - 2.0;
        text += &format!("{x},{}\n", law(x, &mut rng));
    }
    text
}

fn rate(x: f64) -> f64 {
    (1.0 + (2.0 * x).sin()).exp()
}

/// A count by its definition: how many waiting times fit into 1.
fn count(x: f64, rng: &mut NoiseRng) -> f64 {
    let (mut n, mut time) = (0.0, 0.0);
    loop {
        time -= (1.0 - rng.uniform()).ln() / rate(x);
        if time > 1.0 {
            return n;
        }
        n += 1.0;
    }
}

/// Student's t by its definition, of 3 degrees of freedom and scale 0.3.
fn outlier(x: f64, rng: &mut NoiseRng) -> f64 {
    let square: f64 = (0..3).map(|_| normal(rng).powi(2)).sum();
    (2.0 * x).sin() + 0.3 * normal(rng) / (square / 3.0).sqrt()
}

fn logit(x: f64) -> f64 {
    3.0 * (2.0 * x).sin()
}

fn coin(x: f64, rng: &mut NoiseRng) -> f64 {
    f64::from(rng.uniform() < sigmoid(logit(x)))
}

/// The mean of minus the true log density.
fn true_nll(text: &str, nll: impl Fn(f64, f64) -> f64) -> f64 {
    let numbers = |line: &str| line.split(',').map(|cell| cell.parse::<f64>().unwrap()).collect::<Vec<_>>();
    let each: Vec<f64> = text.lines().skip(1).map(numbers).map(|row| nll(row[0], row[1])).collect();
    each.iter().sum::<f64>() / each.len() as f64
}

fn config(method: Method, likelihood: Likelihood) -> TrainConfig {
    let mut config = TrainConfig::for_target("y");
    (config.architecture.method, config.architecture.likelihood) = (method, likelihood);
    (config.architecture.hidden, config.architecture.activation) = (vec![20], Activation::Tanh);
    (config.fit.epochs, config.fit.lr, config.fit.batch) = (200, 1e-2, 50);
    config.fit.kl_warmup = KlWarmup::new(config.recommended_kl_warmup() as f64).unwrap();
    config
}

fn evaluate(model: &Model, text: &str) -> Evaluation {
    let passes = Passes { samples: 20, ..model.passes() };
    model.evaluate(&mut reader(text), passes, &Serial).unwrap()
}

fn score(scores: &Evaluation, name: &str) -> f64 {
    scores.metric(name).unwrap().value
}

/// 1000 rows to learn from and 1000 fresh ones, whose NLL is compared with that of the truth on the same rows: some 20 effective
/// parameters cost 10/1000 nats. Intervals of counts hold at least their share, here 3 to 7 points more; a coverage
/// has a standard error of 1 point. A calibration error of calibrated rows is 0.31/√1000 = 0.01.
#[test]
fn counts_are_predicted_as_the_truth_does() {
    let (text, fresh) = (waves(1000, 1, count), waves(1000, 2, count));
    let nll = |x: f64, y: f64| rate(x) - y * rate(x).ln() + ln_gamma(y + 1.0);
    for method in [Method::Deterministic, Method::MeanField] {
        let model = train(&text, &config(method, Likelihood::Poisson));
        let TargetKind::Count { mean } = model.schema().target.kind else { panic!() };
        assert!((2.0..5.0).contains(&mean) && model.task() == Task::Regression);
        let scores = evaluate(&model, &fresh);
        let excess = score(&scores, "nll") - true_nll(&fresh, nll);
        assert!((-0.01..0.05).contains(&excess), "{method:?}: {excess}");
        assert!(score(&scores, "calibration_error") < 0.04, "{method:?}: {:?}", scores.metrics);
        for (name, level) in [("coverage_50", 0.5), ("coverage_90", 0.9), ("coverage_95", 0.95)] {
            assert!(score(&scores, name) > level - 0.03, "{method:?} {name}");
        }
        assert!(score(&scores, "crps") > 0.0 && score(&scores, "crps") < 1.2 * score(&scores, "mae"));
    }
}

#[test]
fn counts_are_told_in_counts() {
    let model = train(&waves(300, 3, count), &config(Method::MeanField, Likelihood::Poisson));
    let mut how = file_prediction(30);
    how.telling.draws = 5;
    let rows = predict(&model, "x\n-1.5\n0\n0.8\n", &how);
    for row in &rows {
        let Prediction::Real(p) = row.prediction else { panic!() };
        assert!(p.mean > 0.0 && (p.aleatoric_std.powi(2) / p.mean - 1.0).abs() < 1e-12, "{p:?}");
        assert!((p.std.powi(2) - p.aleatoric_std.powi(2) - p.epistemic_std.powi(2)).abs() < 1e-9);
        let draws = row.bits[row.bits.len() - 5..].iter().map(|b| f64::from_bits(*b));
        for whole in draws.chain([p.lower, p.upper]) {
            assert!(whole >= 0.0 && whole.fract() == 0.0, "{p:?}");
        }
        assert!(p.lower <= p.mean && p.mean <= p.upper);
    }
}

/// The NLL of the training, per row, is that of counts: no unit is hidden in it.
#[test]
fn the_recorded_nll_of_counts_is_that_of_the_predictions() {
    let text = waves(300, 4, count);
    let model = train(&text, &config(Method::Deterministic, Likelihood::Poisson));
    let of_last_epoch = model.record().nll_mean;
    let of_predictions = score(&evaluate(&model, &text), "nll");
    assert!((of_last_epoch - of_predictions).abs() < 0.02, "{of_last_epoch} {of_predictions}");
}

/// Tolerances as above. On heavy tails a Gaussian needs a deviation that the bulk does not have.
#[test]
fn outliers_are_predicted_as_the_truth_does_and_better_than_by_a_gaussian() {
    let (text, fresh) = (waves(1000, 5, outlier), waves(1000, 6, outlier));
    let nll = |x: f64, y: f64| 0.3_f64.ln() - student_t_ln_pdf(3.0, (y - (2.0 * x).sin()) / 0.3);
    let truth = true_nll(&fresh, nll);
    let of = |likelihood| {
        score(&evaluate(&train(&text, &config(Method::Deterministic, likelihood)), &fresh), "nll")
    };
    let model = train(&text, &config(Method::Deterministic, Likelihood::StudentT { dof: None }));
    let scores = evaluate(&model, &fresh);
    let excess = score(&scores, "nll") - truth;
    assert!((-0.01..0.05).contains(&excess), "{excess}");
    assert!(of(Likelihood::Auto) > truth + 0.1, "{} {truth}", of(Likelihood::Auto));
    let known = train(&text, &config(Method::Deterministic, Likelihood::StudentT { dof: Some(3.0) }));
    let excess = score(&evaluate(&known, &fresh), "nll") - truth;
    assert!((-0.01..0.05).contains(&excess), "{excess}");
    assert_eq!(
        (known.bnn().noise().len(), model.bnn().noise().len()),
        (1, 2),
        "only what is not known is learned"
    );
    for (name, level) in [("coverage_50", 0.5), ("coverage_90", 0.9), ("coverage_95", 0.95)] {
        let off = score(&scores, name) - level;
        assert!(off.abs() < 0.06, "{name}: {off}");
    }
    assert!(score(&scores, "calibration_error") < 0.04);
    // Scale and tails, in the target's units; of a thousand rows a few per cent, and a factor of less than two.
    let TargetKind::Real { std, .. } = model.schema().target.kind else { panic!() };
    let own = &model.members()[0][model.bnn().noise()];
    let (scale, dof) = (std * softplus(own[0].into()), StudentT::LEAST_DOF + softplus(own[1].into()));
    assert!((scale / 0.3 - 1.0).abs() < 0.15 && (2.1..5.5).contains(&dof), "{scale} {dof}");
    let Prediction::Real(p) = predict(&model, "x\n0\n", &file_prediction(1))[0].prediction else { panic!() };
    assert!((p.std / (scale * (dof / (dof - 2.0)).sqrt()) - 1.0).abs() < 1e-5, "a deviation, not a scale");
}

/// Tolerances as above, but for the rows to learn from: a coin tells at most a bit. By Pinsker's inequality the mean gap between the probabilities
/// and the true ones is at most the root of half the excess; 15 bins of a thousand calibrated rows have a calibration error of about 0.02.
#[test]
fn two_classes_from_one_logit_are_predicted_as_the_truth_does() {
    let (text, fresh) = (waves(3000, 7, coin), waves(1000, 8, coin));
    let truth = true_nll(&fresh, |x, y| softplus(if y == 1.0 { -logit(x) } else { logit(x) }));
    for method in [Method::Deterministic, Method::MeanField] {
        let model = train(&text, &config(method, Likelihood::Bernoulli));
        assert_eq!((model.bnn().plan().out_dim(), model.schema().class_names().len()), (1, 2));
        let scores = evaluate(&model, &fresh);
        let excess = score(&scores, "nll") - truth;
        assert!((-0.01..0.05).contains(&excess), "{method:?}: {excess}");
        let pinsker = (0.5 * excess.max(0.0)).sqrt();
        assert!(score(&scores, "ece") < 0.03 + pinsker, "{method:?}: {:?}", scores.metrics);
        let two = evaluate(&train(&text, &config(method, Likelihood::Categorical)), &fresh);
        assert!((score(&two, "nll") - score(&scores, "nll")).abs() < 0.04, "{method:?}");
    }
}

#[test]
fn scores_of_counts_are_a_function_of_the_seed_and_of_nothing_else() {
    let model = train(&waves(200, 9, count), &config(Method::MeanField, Likelihood::Poisson));
    // More rows than are read at a time.
    let text = waves(1500, 10, count);
    let pool = RayonPool::new(3).unwrap();
    let of = |seed: u64, pool: &dyn bdl_tensor::Pool| {
        let passes = Passes { samples: 3, seed, ..model.passes() };
        model.evaluate(&mut reader(&text), passes, pool).unwrap()
    };
    let one = of(5, &Serial);
    assert_eq!(one, of(5, &pool));
    assert_ne!(score(&one, "calibration_error"), score(&of(6, &Serial), "calibration_error"));
}

#[test]
fn what_is_no_count_is_named_in_training_and_in_evaluation() {
    let config = config(Method::Deterministic, Likelihood::Poisson);
    for (cell, shown) in [("-1", "\"-1\""), ("2.5", "\"2.5\""), ("16777217", "\"16777217\"")] {
        let text = format!("x,y\n1,3\n2,0\n3,{cell}\n");
        let e = config.selection(&table(&text)).unwrap_err().to_string();
        let expected = "expected a count, a whole number from 0 to 16777216";
        assert_eq!(e, format!("data.csv: row 3 (line 4), column \"y\": {expected}, got {shown}"));
    }
    let model = train(
        "x,y\n1,3\n2,0\n3,1\n4,2\n",
        &TrainConfig { fit: bdl_model::FitConfig { epochs: 1, ..config.fit.clone() }, ..config.clone() },
    );
    let mut rows = reader("x,y\n1,3\n2,0.5\n");
    let e = model.evaluate(&mut rows, model.passes(), &Serial).unwrap_err();
    assert!(
        e.is_bad_row() && e.to_string().contains("row 2 (line 3), column \"y\": expected a count"),
        "{e}"
    );
    let e = config.selection(&table("x,y\n1,3\n2,many\n")).unwrap_err().to_string();
    assert!(e.contains("row 2") && e.contains("\"many\""), "{e}");
}

#[test]
fn the_task_of_a_likelihood_is_its_own() {
    let text = "x,y\n1,0\n2,1\n3,0\n4,1\n";
    let counts = config(Method::Deterministic, Likelihood::Poisson).selection(&table(text)).unwrap();
    assert!(counts.counts && counts.task() == Task::Regression);
    let auto = config(Method::Deterministic, Likelihood::Auto).selection(&table(text)).unwrap();
    assert!(!auto.counts && auto.task() == Task::Classification);
    // Two numbers that no one would take for classes.
    let half = "x,y\n1,0\n2,0.5\n3,0\n4,0.5\n";
    let two = config(Method::Deterministic, Likelihood::Bernoulli).selection(&table(half)).unwrap();
    assert_eq!((two.task(), two.target.levels), (Task::Classification, Some(vec!["0".into(), "0.5".into()])));
    let options = SelectOptions { target: "y".into(), task: TaskChoice::Counts, ..SelectOptions::default() };
    assert_eq!(Selection::new(&table(text), &options).unwrap(), counts);
}

#[test]
fn a_likelihood_of_other_targets_is_refused() {
    let refused = |text: &str, likelihood| {
        let config = config(Method::Deterministic, likelihood);
        let trained =
            Model::train(&table(text), &config, &Serial, &mut |_| std::ops::ControlFlow::Continue(()));
        trained.unwrap_err().to_string()
    };
    let (three, numbers) = ("x,y\n1,a\n2,b\n3,c\n", "x,y\n1,0.5\n2,1.5\n3,2.5\n");
    assert_eq!(
        refused(three, Likelihood::Bernoulli),
        "data.csv: row 3 (line 4), column \"y\": expected \"a\" or \"b\", the classes of the rows before, got \"c\"; \
         --likelihood categorical takes more than two"
    );
    for (cell, text) in [("\"2\"", "x,y\n1,0\n2,1.0\n3,2\n4,1\n"), ("\"0.5\"", "x,y\n1,0\n2,1\n3,0.5\n")] {
        let e = refused(text, Likelihood::Bernoulli);
        assert!(
            e.contains("row 3 (line 4), column \"y\": expected \"0\" or \"1\"") && e.contains(cell),
            "{e}"
        );
    }
    assert!(refused("x,y\n1,0\n2,0\n", Likelihood::Bernoulli).contains("at least two classes"));
    assert_eq!(
        refused("x,y\n1,a\n2,b\n", Likelihood::StudentT { dof: None }),
        "--likelihood: must be categorical or bernoulli for a target of two classes, got student-t"
    );
    assert!(refused(numbers, Likelihood::Bernoulli).contains("\"0.5\" or \"1.5\""));
    assert_eq!(
        refused(&waves(30, 14, outlier), Likelihood::Categorical),
        "--likelihood: must be gaussian, heteroscedastic or student-t for a target of numbers, got categorical"
    );
    assert!(
        refused(numbers, Likelihood::StudentT { dof: Some(2.0) })
            .contains("dof must be finite and > 2, got 2")
    );
    assert!(refused("x,y\n1,4\n2,4\n", Likelihood::Poisson).contains("at least two different values"));
}

#[test]
fn each_of_them_is_saved_to_the_bit() {
    let cases = [
        (Likelihood::Poisson, waves(60, 11, count)),
        (Likelihood::StudentT { dof: None }, waves(60, 12, outlier)),
        (Likelihood::StudentT { dof: Some(4.0) }, waves(60, 12, outlier)),
        (Likelihood::Bernoulli, waves(60, 13, coin)),
    ];
    let mut how = file_prediction(6);
    how.telling.draws = 3;
    for (likelihood, text) in cases {
        let mut config = config(Method::MeanField, likelihood);
        (config.fit.epochs, config.members) = (3, 2);
        let model = train(&text, &config);
        let bytes = model.to_bytes().unwrap();
        let loaded = Model::from_bytes(&bytes).unwrap();
        assert_eq!(
            bits(&predict(&loaded, &text, &how)),
            bits(&predict(&model, &text, &how)),
            "{likelihood:?}"
        );
        assert_eq!(evaluate(&loaded, &text), evaluate(&model, &text), "{likelihood:?}");
        assert_eq!((loaded.schema(), loaded.to_bytes().unwrap()), (model.schema(), bytes), "{likelihood:?}");
    }
}
