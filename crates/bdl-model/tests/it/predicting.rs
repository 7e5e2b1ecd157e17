//! What predictions say: tolerances, draws, intervals, bad rows, missing cells, units.

use crate::common::{
    bits, cases, class_text, config, file_prediction, numbers, predict, predict_with, reader, real_text,
    table, train, train_on,
};
use bdl_infer::RayonPool;
use bdl_layers::Scope;
use bdl_model::{
    FileEvent, Likelihood, Method, MissingPolicy, Model, OnBadRow, Prediction, RealPrediction, Telling, Valid,
};
use bdl_tensor::Serial;

fn real(prediction: &Prediction) -> RealPrediction {
    match prediction {
        Prediction::Real(p) => *p,
        _ => panic!("{prediction:?}"),
    }
}

#[test]
fn numbers_are_consistent_in_every_case() {
    for (name, text, config) in cases() {
        let model = train(&text, &config);
        for row in predict(&model, &text, &file_prediction(20)) {
            match row.prediction {
                Prediction::Real(p) => {
                    assert!(p.lower < p.mean && p.mean < p.upper, "{name}: {p:?}");
                    let parts = p.aleatoric_std.hypot(p.epistemic_std);
                    assert!((parts - p.std).abs() <= 1e-12 * p.std, "{name}: {p:?}");
                    let random = model.bnn().plan().is_random() || model.members().len() > 1;
                    assert_eq!(p.mean_mcse.is_some(), random, "{name}");
                }
                Prediction::Class(p) => {
                    let n = model.schema().class_names().len();
                    let probs: Vec<f64> = row.bits[5..5 + n].iter().map(|b| f64::from_bits(*b)).collect();
                    assert!((probs.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{name}");
                    assert!(probs.iter().all(|q| *q <= probs[p.label as usize]), "{name}");
                    let difference = p.predictive_entropy - p.expected_entropy;
                    assert!((difference - p.mutual_information).abs() < 1e-9, "{name}: {p:?}");
                }
                _ => unreachable!("a number or a class"),
            }
        }
    }
}

#[test]
fn a_tolerance_is_met_row_by_row_whatever_stands_beside() {
    let text = real_text(40, 1);
    for method in [Method::McDropout, Method::MeanField] {
        let model = train(&text, &config("y", method));
        for scope in [Scope::Pass, Scope::Row] {
            let mut how = file_prediction(1);
            (how.passes.scope, how.telling.tolerance, how.telling.draws) = (scope, Some(0.05), 2);
            let (told, report) = predict_with(&model, &text, &how, &RayonPool::new(2).unwrap()).unwrap();
            assert_eq!(report.beyond_tolerance, 0);
            assert!(told.iter().all(|row| row.prediction.mcse().unwrap() <= 0.05));
            if scope == Scope::Pass {
                let alone: Vec<_> = text
                    .lines()
                    .skip(1)
                    .flat_map(|row| predict(&model, &format!("a,b,colour,y\n{row}\n"), &how))
                    .collect();
                assert_eq!(bits(&alone), bits(&told), "{method:?}");
            }
        }
    }
}

#[test]
fn a_tolerance_is_the_first_doubling_that_meets_it() {
    let text = real_text(30, 1);
    let model = train(&text, &config("y", Method::MeanField));
    let mut how = file_prediction(1);
    how.telling.tolerance = Some(0.03);
    let told = bits(&predict(&model, &text, &how));
    let levels: Vec<_> = (5..=14).map(|log| predict(&model, &text, &file_prediction(1 << log))).collect();
    let mut met_at = std::collections::HashSet::new();
    for (i, told) in told.iter().enumerate() {
        let level = levels.iter().position(|rows| rows[i].prediction.mcse().unwrap() <= 0.03).unwrap();
        met_at.insert(level);
        assert_eq!(*told, levels[level][i].bits, "row {i}");
    }
    assert!(met_at.len() > 1, "rows that differ in their passes: {met_at:?}");
}

#[test]
fn a_tolerance_beyond_reach_is_counted_and_one_without_noise_is_met() {
    let text = real_text(10, 1);
    let mut how = file_prediction(1);
    how.telling.tolerance = Some(1e-9);
    let (_, report) =
        predict_with(&train(&text, &config("y", Method::McDropout)), &text, &how, &Serial).unwrap();
    assert_eq!(report.beyond_tolerance, 10);
    let (told, report) =
        predict_with(&train(&text, &config("y", Method::Deterministic)), &text, &how, &Serial).unwrap();
    assert_eq!((report.beyond_tolerance, told[0].prediction.mcse()), (0, None));
}

#[test]
fn settings_out_of_range_are_refused_before_anything_is_read() {
    let text = class_text(40, &["0", "1"], 1);
    let model = train(&text, &config("label", Method::McDropout));
    let message = |telling: Telling| {
        let mut how = file_prediction(2);
        how.telling = telling;
        predict_with(&model, &text, &how, &Serial).unwrap_err().to_string()
    };
    for level in [0.0, 1.0, -0.5] {
        let expected = format!("--interval: must be greater than 0 and less than 1, got {level}");
        assert_eq!(message(Telling { level, ..Telling::default() }), expected);
    }
    for tolerance in [0.0, -1.0, f64::INFINITY, f64::NAN] {
        let expected = format!("--tolerance: must be finite and > 0, got {tolerance}");
        assert_eq!(message(Telling { tolerance: Some(tolerance), ..Telling::default() }), expected);
    }
    let draws = (1 << 24) + 1;
    assert_eq!(
        message(Telling { draws, ..Telling::default() }),
        "--draws: must be at most 16777216, got 16777217"
    );
    let mut config = config("label", Method::McDropout);
    config.members = 2;
    let mut how = file_prediction(2);
    how.telling.tolerance = Some(0.1);
    assert_eq!(
        predict_with(&train(&text, &config), &text, &how, &Serial).unwrap_err().to_string(),
        "--tolerance: must be used with a single network (more passes do not lower the error of an ensemble), got \
         an ensemble of 2"
    );
    assert_eq!(
        model.predictor(file_prediction(0).passes).unwrap_err().to_string(),
        "predict: samples must be >= 1, got 0"
    );
}

/// 4000 draws of each of 20 rows: each mean and variance within 5 standard errors, P(false alarm) < 3e-5.
#[test]
fn draws_have_the_predictive_moments() {
    let text = real_text(60, 2);
    for scope in [Scope::Pass, Scope::Row] {
        let model = train(&text, &config("y", Method::MeanField));
        let mut how = file_prediction(40);
        (how.passes.scope, how.telling.draws) = (scope, 4000);
        let short: String = text.lines().take(21).map(|l| l.to_owned() + "\n").collect();
        for row in predict(&model, &short, &how) {
            let p = real(&row.prediction);
            let draws: Vec<f64> = row.bits[7..].iter().map(|b| f64::from_bits(*b)).collect();
            let n = draws.len() as f64;
            let mean = draws.iter().sum::<f64>() / n;
            let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / n;
            let fourth = draws.iter().map(|d| (d - mean).powi(4)).sum::<f64>() / n;
            // Of this very mixture of 40 passes.
            let exact = p.aleatoric_std.powi(2) + p.epistemic_std.powi(2) * 39.0 / 40.0;
            assert!((mean - p.mean).abs() < 5.0 * (exact / n).sqrt(), "{mean} {p:?}");
            let se = ((fourth - variance * variance) / n).sqrt();
            assert!((variance - exact).abs() < 5.0 * se, "{variance} {exact} {se}");
        }
    }
}

/// The i-th draws of two rows share their pass but not their noise: with a single pass they are uncorrelated.
#[test]
fn draws_of_different_rows_have_independent_noise_and_equal_rows_equal_draws() {
    let text = real_text(60, 2);
    let model = train(&text, &config("y", Method::Deterministic));
    let mut how = file_prediction(1);
    how.telling.draws = 4000;
    let told = predict(&model, "a,b,colour\n1,2,red\n1,2.5,red\n1,2,red\n", &how);
    let standard = |row: usize| -> Vec<f64> {
        let p = real(&told[row].prediction);
        told[row].bits[7..].iter().map(|b| (f64::from_bits(*b) - p.mean) / p.std).collect()
    };
    let [a, b] = [standard(0), standard(1)];
    let correlation = a.iter().zip(&b).map(|(a, b)| a * b).sum::<f64>() / 4000.0;
    assert!(correlation.abs() < 5.0 / 4000_f64.sqrt(), "{correlation}");
    assert_eq!(told[0].bits, told[2].bits);
}

#[test]
fn class_draws_have_the_predicted_frequencies() {
    let text = class_text(90, &["x", "y", "z"], 2);
    let model = train(&text, &config("label", Method::McDropout));
    let mut how = file_prediction(50);
    how.telling.draws = 5000;
    for row in predict(&model, "a,b\n0.1,-0.3\n1,1\n-2,0.5\n", &how) {
        let values: Vec<f64> = row.bits.iter().map(|b| f64::from_bits(*b)).collect();
        for class in 0..3 {
            let p = values[5 + class];
            let share = values[8..].iter().filter(|d| **d == class as f64).count() as f64 / 5000.0;
            assert!((share - p).abs() <= 5.0 * (p * (1.0 - p) / 5000.0).sqrt() + 1e-12, "{share} {p}");
        }
    }
}

const BAD: &str = "a,b,colour\n1,2,red\n1,oops,red\n2,3,pink\n1,2\n3,4,blue\n";

#[test]
fn a_bad_row_stops_after_the_rows_before_it() {
    let model = train(&real_text(60, 3), &config("y", Method::McDropout));
    let mut numbers = Vec::new();
    let how = file_prediction(3);
    let error = model
        .predict_file(
            reader("a,b,colour\n1,2,red\n2,2,blue\n1,oops,red\n3,4,blue\n"),
            &how,
            &Serial,
            &mut |e| {
                match e {
                    FileEvent::Row(row) => numbers.push(row.number),
                    other => panic!("{other:?}"),
                }
                Ok(())
            },
        )
        .unwrap_err();
    assert_eq!(numbers, [1, 2]);
    assert_eq!(
        error.to_string(),
        "data.csv: row 3 (line 4), column \"b\": expected a finite number, got \"oops\""
    );
}

#[test]
fn skipped_rows_are_told_in_input_order_and_change_no_other() {
    let model = train(&real_text(60, 3), &config("y", Method::McDropout));
    let mut how = file_prediction(3);
    how.on_bad_row = OnBadRow::Skip;
    how.keep = vec!["colour".to_owned()];
    let (mut events, mut told) = (Vec::new(), Vec::new());
    let report = model
        .predict_file(reader(BAD), &how, &Serial, &mut |event| {
            match event {
                FileEvent::Row(row) => {
                    events.push(format!("{} {:?}", row.number, row.kept));
                    told.push(*row.prediction);
                }
                FileEvent::Skipped(e) => events.push(e.to_string()),
                _ => {}
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(
        events,
        [
            "1 [\"red\"]",
            "data.csv: row 2 (line 3), column \"b\": expected a finite number, got \"oops\"",
            "data.csv: row 3 (line 4), column \"colour\": expected one of \"blue\", \"green\", \"red\", got \"pink\"",
            "data.csv: row 4 (line 5): expected 3 fields as in the header, got 2 (the row ends after column \"b\")",
            "5 [\"blue\"]",
        ]
    );
    assert_eq!((report.rows, report.skipped), (2, 3));
    how.keep.clear();
    let clean = predict(&model, "a,b,colour\n1,2,red\n3,4,blue\n", &how);
    assert_eq!(told, clean.iter().map(|row| row.prediction).collect::<Vec<_>>());
}

#[test]
fn imputed_cells_are_those_of_the_training() {
    let mut text = real_text(60, 7);
    text += "NA,1,red,2\n0.5,,,1.5\n";
    let mut config = config("y", Method::McDropout);
    config.select.missing = MissingPolicy::Impute;
    let model = train(&text, &config);
    let bdl_model::FeatureKind::Numeric { mean, .. } = model.schema().features[0].kind else { panic!() };
    let how = file_prediction(4);
    let told = predict(&model, &format!("a,b,colour\n?,1,blue\n{mean},1,blue\n1,2,\n1,2,red\n"), &how);
    assert_eq!(told[0].bits, told[1].bits);
    assert_eq!(told[2].bits, told[3].bits, "red is the most frequent");
    let mut scratch = model.predictor(how.passes).unwrap().scratch();
    scratch.row.set_missing("a").unwrap();
    let loaded = Model::from_bytes(&model.to_bytes().unwrap()).unwrap();
    assert_eq!(loaded.schema().missing, MissingPolicy::Impute);
}

#[test]
fn groups_and_orders_do_not_leak_into_training() {
    // The first feature is 0 in all rows but those of the last day, and the groups that are held out.
    let mut text = "day,site,x,y\n".to_owned();
    for i in 0..60 {
        let (day, site) = (i / 6, ["a", "b", "c", "d"][i % 4]);
        text += &format!("{day},{site},{},{}\n", if day == 9 { 1e6 } else { i as f64 }, i as f64 + 0.5);
    }
    let mut config = config("y", Method::McDropout);
    config.select.ignore = vec!["day".to_owned(), "site".to_owned()];
    config.valid = Valid::By { column: "day".to_owned(), fraction: 0.1 };
    let training = train_on(&text, &config, &Serial);
    assert_eq!((training.rows, training.valid_rows), (54, 6));
    let bdl_model::FeatureKind::Numeric { mean, .. } = training.model.schema().features[0].kind else {
        panic!()
    };
    assert_eq!(mean, 26.5, "the mean of 0..54: nothing of the last day");

    config.valid = Valid::By { column: "site".to_owned(), fraction: 0.25 };
    let training = train_on(&text, &config, &Serial);
    assert_eq!((training.rows, training.valid_rows), (45, 15));
    // Whatever the held-out rows say, the weights stay: change all targets and features of each site in turn.
    let base = training.model.members().to_vec();
    let unchanged = ["a", "b", "c", "d"].map(|site| {
        let changed: String = text
            .lines()
            .map(|line| match line.split(',').nth(1) == Some(site) {
                true => format!("{},{site},77,-3\n", line.split(',').next().unwrap()),
                false => format!("{line}\n"),
            })
            .collect();
        train_on(&changed, &config, &Serial).model.members() == base
    });
    assert_eq!(unchanged.iter().filter(|same| **same).count(), 1, "{unchanged:?}");
}

#[test]
fn a_target_in_other_units_shifts_the_nll_and_scales_the_rest() {
    let text = real_text(120, 11);
    let scaled: String = text
        .lines()
        .enumerate()
        .map(|(i, line)| match (i, line.rsplit_once(',').unwrap()) {
            (0, _) => format!("{line}\n"),
            (_, (front, y)) => format!("{front},{}\n", 1000.0 * y.parse::<f64>().unwrap()),
        })
        .collect();
    for method in Method::ALL {
        for likelihood in [Likelihood::Auto, Likelihood::Heteroscedastic] {
            let mut config = config("y", method);
            (config.architecture.likelihood, config.valid) = (likelihood, Valid::Fraction(0.2));
            let [one, thousand] = [&text, &scaled].map(|text| train_on(text, &config, &Serial));
            let shift = 1000_f64.ln();
            let last = |t: &bdl_model::Training| t.members[0].last.clone();
            let (a, b) = (last(&one), last(&thousand));
            assert!((b.nll_mean - a.nll_mean - shift).abs() < 1e-3, "{a:?} {b:?}");
            assert!((b.valid_nll.unwrap() - a.valid_nll.unwrap() - shift).abs() < 1e-3);
            assert!((b.elbo - a.elbo + one.rows as f64 * shift).abs() < 0.2, "{a:?} {b:?}");
            assert!((b.kl - a.kl).abs() < 1e-3 * a.kl.max(1.0));
            assert!((thousand.model.record().nll_mean - b.nll_mean).abs() < 1e-12);
            let [a, b] = [&one, &thousand].map(|t| t.valid.clone().unwrap());
            for (a, b) in a.metrics.iter().zip(&b.metrics) {
                let expected = match a.name {
                    "nll" => a.value + shift,
                    "rmse" | "mae" | "crps" | "width_90" => 1000.0 * a.value,
                    _ => a.value,
                };
                assert!(
                    (b.value - expected).abs() < 2e-3 * expected.abs().max(1.0),
                    "{}: {a:?} {b:?}",
                    a.name
                );
            }
            let how = file_prediction(10);
            let rows =
                predict(&one.model, &text, &how).into_iter().zip(predict(&thousand.model, &scaled, &how));
            for (a, b) in rows {
                for (a, b) in numbers(&a.prediction).iter().zip(numbers(&b.prediction)).take(6) {
                    assert!((b - 1000.0 * a).abs() < 2.0 + 2e-3 * b.abs(), "{a} {b}");
                }
            }
        }
    }
}

/// A training target that is no `f32` is scored as it stands in the file.
#[test]
fn targets_are_scored_in_their_own_precision() {
    let text: String = std::iter::once("x,y\n".to_owned())
        .chain((0..40).map(|i| format!("{i},{}\n", 1e9 + f64::from(i) * 1e-3)))
        .collect();
    let mut config = config("y", Method::Deterministic);
    config.fit.epochs = 1;
    let model = train(&text, &config);
    let evaluation = model.evaluate(&mut reader(&text), model.passes(), &Serial).unwrap();
    let told = predict(&model, &text, &file_prediction(1));
    let t = table(&text);
    let mae = told
        .iter()
        .enumerate()
        .map(|(i, row)| (real(&row.prediction).mean - t.cell(i, 1).parse::<f64>().unwrap()).abs())
        .sum::<f64>()
        / 40.0;
    assert_eq!(evaluation.metric("mae").unwrap().value, mae);
}

#[test]
fn written_predictions_read_back_with_the_same_bits() {
    for (name, text, config) in cases() {
        let model = train(&text, &config);
        let mut how = file_prediction(3);
        (how.telling.draws, how.keep) = (2, vec!["b".to_owned()]);
        let mut csv = csv::Writer::from_writer(Vec::new());
        let columns = model.output_columns(&how.keep, 2);
        bdl_model::write_csv_header(&mut csv, &columns).unwrap();
        let mut told = Vec::new();
        let report = model.predict_file(reader(&text), &how, &Serial, &mut |event| {
            if let FileEvent::Row(row) = event {
                bdl_model::write_csv_row(&mut csv, &model, &row).unwrap();
                told.push((*row.prediction, row.probs.to_vec()));
            }
            Ok(())
        });
        assert_eq!(report.unwrap().rows, 90, "{name}");
        let written = table(&String::from_utf8(csv.into_inner().unwrap()).unwrap());
        assert_eq!((written.columns(), written.rows()), (&columns[..], 90), "{name}");
        let given = table(&text);
        for (i, (prediction, probs)) in told.iter().enumerate() {
            assert_eq!(written.cell(i, 0), given.cell(i, 1));
            let cell = |column| written.cell(i, column).parse::<f64>().unwrap();
            match prediction {
                Prediction::Real(p) => {
                    assert_eq!([1, 2, 5, 6].map(cell), [p.mean, p.std, p.lower, p.upper], "{name}");
                }
                Prediction::Class(p) => {
                    assert_eq!(written.cell(i, 1), model.schema().class_names()[p.label as usize]);
                    assert_eq!((2..2 + probs.len()).map(cell).collect::<Vec<_>>(), *probs, "{name}");
                    let last = written.cell(i, columns.len() - 1).to_owned();
                    assert!(
                        model.schema().class_names().contains(&last),
                        "{name}: a draw is a class, got {last}"
                    );
                }
                _ => unreachable!("a number or a class"),
            }
        }
    }
}

#[test]
fn a_kept_column_must_not_pass_for_a_prediction() {
    let model = train(&real_text(40, 1), &config("y", Method::Deterministic));
    let mut how = file_prediction(1);
    let message = |how: &bdl_model::FilePrediction| {
        predict_with(&model, "a,b,colour,mean\n1,2,red,3\n", how, &Serial).unwrap_err().to_string()
    };
    how.keep = vec!["mean".to_owned()];
    assert_eq!(message(&how), "--keep: must be names that no other output column has, got \"mean\"");
    how.keep = vec!["a".to_owned(), "a".to_owned()];
    assert_eq!(message(&how), "--keep: must be names that no other output column has, got \"a\"");
}
