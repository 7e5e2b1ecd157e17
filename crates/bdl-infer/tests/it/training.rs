//! The training loop: when it stops, what it keeps, what it reports, and what it refuses.

use std::ops::ControlFlow;

use bdl_infer::{
    Bnn, Categorical, Data, FitConfig, Gaussian, KlWarmup, NoiseSd, Optimizer, Schedule, Targets, fit,
};
use bdl_layers::{BatchNorm, Dense, Layer, Plan};
use bdl_tensor::Serial;

use crate::nets::{Method, bits, bnn, init, mat, rows, run, trained};
use crate::own::Square;

fn gaussian() -> Gaussian {
    Gaussian::new(NoiseSd::Learned { init: 0.5 }).unwrap()
}

#[test]
fn patience_keeps_the_best_epochs_parameters() {
    // 12 rows, 200 parameters: the validation NLL falls, then rises.
    let bnn = bnn(Method::Dense, &[2, 50, 1], Gaussian::new(NoiseSd::Fixed(0.2)).unwrap());
    let ((x, y), (vx, vy)) = (rows(1, 12, 2), rows(2, 60, 2));
    let train = Data::new(mat(&x, 2), Targets::Real(&y)).unwrap();
    let valid = Data::new(mat(&vx, 2), Targets::Real(&vy)).unwrap();
    let config =
        FitConfig { epochs: 2000, lr: 1e-2, patience: Some(20), kl_weight: 0.0, ..FitConfig::default() };
    let mut params = init(&bnn);
    let (done, reports) = run(&bnn, &mut params, train, Some(valid), &config);
    let summary = done.unwrap();
    assert!(summary.stopped_early && summary.last.epoch < 2000);
    assert_eq!(summary.last.epoch, summary.kept.epoch + 20);
    let nlls: Vec<f64> = reports.iter().map(|p| p.valid_nll.unwrap()).collect();
    let best = nlls.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!((summary.kept.valid_nll, nlls[summary.kept.epoch - 1]), (Some(best), best));
    assert!(nlls[nlls.len() - 1] > best);

    let short = FitConfig { epochs: summary.kept.epoch, patience: None, ..config };
    assert_eq!(bits(&params), bits(&trained(&bnn, train, &short, &Serial)));
}

#[test]
fn running_moments_become_those_of_the_training_rows() {
    // All rows in each batch: the moments are the same in each step, and what is left of the first ones is 0.9^200.
    let layers: Vec<Box<dyn Layer>> =
        vec![Box::new(BatchNorm::new(2).unwrap()), Box::new(Dense::new(2, 1).unwrap())];
    let bnn = Bnn::new(Plan::new(layers).unwrap(), Box::new(gaussian())).unwrap();
    let (x, y) = rows(1, 40, 2);
    let x: Vec<f32> = x.iter().enumerate().map(|(i, x)| 3.0 * x + (i % 2) as f32).collect();
    let train = Data::new(mat(&x, 2), Targets::Real(&y)).unwrap();
    for optimizer in [Optimizer::adam(), Optimizer::adam_w(), Optimizer::Sgd { momentum: 0.9 }] {
        let config = FitConfig { epochs: 200, batch: 40, optimizer, ..FitConfig::default() };
        let params = trained(&bnn, train, &config, &Serial);
        for unit in 0..2 {
            let column: Vec<f64> = x[unit..].iter().step_by(2).map(|x| f64::from(*x)).collect();
            let mean = column.iter().sum::<f64>() / 40.0;
            let variance = column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 39.0;
            let running = [params[4 + unit], params[6 + unit]].map(f64::from);
            assert!((running[0] - mean).abs() < 1e-5, "{optimizer:?}: mean {mean}, running {running:?}");
            assert!((running[1] / variance - 1.0).abs() < 1e-5, "{optimizer:?}: {variance}, {running:?}");
        }
    }
}

#[test]
fn patience_waits_for_the_end_of_the_warm_up() {
    // A prior that is much too strong in the end: the best validation NLL lies in the warm-up.
    let bnn = bnn(Method::Dense, &[2, 50, 1], Gaussian::new(NoiseSd::Fixed(0.2)).unwrap());
    let ((x, y), (vx, vy)) = (rows(1, 12, 2), rows(2, 60, 2));
    let train = Data::new(mat(&x, 2), Targets::Real(&y)).unwrap();
    let valid = Data::new(mat(&vx, 2), Targets::Real(&vy)).unwrap();
    let config = FitConfig {
        epochs: 600,
        lr: 1e-2,
        patience: Some(20),
        kl_weight: 50.0,
        kl_warmup: KlWarmup::new(200.0).unwrap(),
        ..FitConfig::default()
    };
    let (done, reports) = run(&bnn, &mut init(&bnn), train, Some(valid), &config);
    let summary = done.unwrap();
    let nlls: Vec<f64> = reports.iter().map(|p| p.valid_nll.unwrap()).collect();
    let best_of = |range: &[f64]| range.iter().copied().fold(f64::INFINITY, f64::min);
    let after = best_of(&nlls[200..]);
    assert!(best_of(&nlls[..180]) < after, "the case should tempt");
    assert!(summary.kept.epoch > 200);
    assert_eq!(summary.kept.valid_nll, Some(after));
    // A warm-up that never ends leaves nothing to compare: the last epoch is kept.
    let endless = FitConfig { epochs: 150, ..config };
    let summary = run(&bnn, &mut init(&bnn), train, Some(valid), &endless).0.unwrap();
    assert_eq!((summary.kept.epoch, summary.stopped_early), (150, false));
}

#[test]
fn without_patience_the_last_epoch_is_kept_and_validation_changes_no_bit() {
    let bnn = bnn(Method::Variational, &[2, 8, 1], gaussian());
    let (x, y) = rows(1, 20, 2);
    let data = Data::new(mat(&x, 2), Targets::Real(&y)).unwrap();
    let config = FitConfig { epochs: 7, ..FitConfig::default() };
    let mut params = init(&bnn);
    let summary = run(&bnn, &mut params, data, Some(data), &config).0.unwrap();
    assert_eq!((summary.kept.epoch, summary.last.epoch, summary.stopped_early), (7, 7, false));
    assert_eq!(summary.kept.valid_nll, summary.last.valid_nll);
    assert_eq!(bits(&params), bits(&trained(&bnn, data, &config, &Serial)));
}

#[test]
fn the_observer_can_stop_the_run() {
    let bnn = bnn(Method::Variational, &[2, 8, 1], gaussian());
    let (x, y) = rows(1, 20, 2);
    let data = Data::new(mat(&x, 2), Targets::Real(&y)).unwrap();
    let config = FitConfig { epochs: 50, ..FitConfig::default() };
    let mut params = init(&bnn);
    let mut stop = |p: &bdl_infer::Progress| match p.epoch {
        3 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let summary = fit(&bnn, &mut params, data, None, &config, &Serial, &mut stop).unwrap();
    assert_eq!((summary.last.epoch, summary.kept.epoch, summary.stopped_early), (3, 3, false));
    assert_eq!(bits(&params), bits(&trained(&bnn, data, &FitConfig { epochs: 3, ..config }, &Serial)));
}

#[test]
fn reports_count_and_add_up() {
    let bnn = bnn(Method::Variational, &[2, 8, 1], gaussian());
    let (x, y) = rows(1, 21, 2);
    let data = Data::new(mat(&x, 2), Targets::Real(&y)).unwrap();
    let config = FitConfig {
        epochs: 4,
        batch: 8, // three batches of seven rows
        kl_weight: 0.5,
        kl_warmup: KlWarmup::new(2.0).unwrap(),
        lr: 1e-3,
        schedule: Schedule::Step { every: 2.0, factor: 0.1 },
        ..FitConfig::default()
    };
    let (done, reports) = run(&bnn, &mut init(&bnn), data, None, &config);
    assert_eq!(done.unwrap().last, reports[3]);
    for (i, p) in reports.iter().enumerate() {
        let epoch = i + 1;
        assert_eq!((p.epoch, p.step, p.rows_seen), (epoch, 3 * epoch as u64, 21 * epoch as u64));
        assert!((p.elbo + 21.0 * p.nll_mean + p.kl).abs() < 1e-9, "the bound has KL weight 1");
        assert_eq!(p.valid_nll, None);
    }
    // In the middle step of an epoch, epoch − 2/3 epochs are done.
    let weights: Vec<f64> = reports.iter().map(|p| p.kl_weight).collect();
    let expected = [1.0 / 12.0, 4.0 / 12.0, 0.5, 0.5];
    assert!(weights.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{weights:?}");
    let lrs: Vec<f64> = reports.iter().map(|p| p.lr).collect();
    assert!(lrs.iter().zip([1e-3, 1e-3, 1e-4, 1e-4]).all(|(a, b)| (a / b - 1.0).abs() < 1e-12), "{lrs:?}");
}

#[test]
fn warm_up_starts_without_a_prior() {
    // At weight 0 the first step is that of maximum likelihood.
    let bnn = bnn(Method::Dense, &[2, 8, 1], gaussian());
    let (x, y) = rows(1, 10, 2);
    let data = Data::new(mat(&x, 2), Targets::Real(&y)).unwrap();
    let config = FitConfig { epochs: 1, optimizer: Optimizer::sgd(), ..FitConfig::default() };
    let warm = FitConfig { kl_warmup: KlWarmup::new(5.0).unwrap(), ..config.clone() };
    let none = FitConfig { kl_weight: 0.0, ..config.clone() };
    let of = |config: &FitConfig| bits(&trained(&bnn, data, config, &Serial));
    assert_eq!(of(&warm), of(&none));
    assert_ne!(of(&warm), of(&config));
}

#[test]
fn a_batch_larger_than_the_data_is_all_of_it() {
    let bnn = bnn(Method::Dropout, &[2, 8, 1], gaussian());
    let (x, y) = rows(1, 10, 2);
    let data = Data::new(mat(&x, 2), Targets::Real(&y)).unwrap();
    let of =
        |batch| bits(&trained(&bnn, data, &FitConfig { epochs: 3, batch, ..FitConfig::default() }, &Serial));
    assert_eq!(of(10), of(1_000_000));
    assert_eq!(of(10), of(usize::MAX));
    assert_ne!(of(10), of(5));
}

#[test]
fn weight_decay_spares_posteriors_and_noise() {
    let (x, y) = rows(1, 30, 2);
    let data = Data::new(mat(&x, 2), Targets::Real(&y)).unwrap();
    let adam_w = Optimizer::AdamW { beta1: 0.9, beta2: 0.999, floor: 1e-8, weight_decay: 0.5 };
    let of = |method, optimizer| {
        let bnn = bnn(method, &[2, 8, 1], gaussian());
        bits(&trained(&bnn, data, &FitConfig { epochs: 3, optimizer, ..FitConfig::default() }, &Serial))
    };
    assert_eq!(of(Method::Variational, adam_w), of(Method::Variational, Optimizer::adam()));
    assert_ne!(of(Method::Dense, adam_w), of(Method::Dense, Optimizer::adam()));
}

#[test]
fn settings_out_of_range_are_named() {
    let ok = FitConfig::default;
    let adam = Optimizer::Adam { beta1: 1.0, beta2: 0.999, floor: 1e-8 };
    for (config, expected) in [
        (FitConfig { epochs: 0, ..ok() }, "fit: epochs must be >= 1, got 0"),
        (FitConfig { batch: 0, ..ok() }, "fit: batch must be >= 1, got 0"),
        (FitConfig { valid_samples: 0, ..ok() }, "fit: valid_samples must be >= 1, got 0"),
        (FitConfig { patience: Some(0), ..ok() }, "fit: patience must be >= 1, got 0"),
        (FitConfig { lr: 0.0, ..ok() }, "fit: lr must be finite and > 0, got 0"),
        (FitConfig { lr: f64::INFINITY, ..ok() }, "fit: lr must be finite and > 0, got inf"),
        (FitConfig { kl_weight: f64::NAN, ..ok() }, "fit: kl_weight must be finite and >= 0, got NaN"),
        (FitConfig { optimizer: adam, ..ok() }, "adam: beta1 must be in [0, 1), got 1"),
        (
            FitConfig { schedule: Schedule::Cosine { end: 2.0 }, ..ok() },
            "cosine schedule: end must be in [0, 1], got 2",
        ),
    ] {
        assert_eq!(config.check().unwrap_err().to_string(), expected);
    }
    ok().check().unwrap();
}

#[test]
fn calls_that_cannot_work_are_refused_before_the_first_epoch() {
    let bnn = bnn(Method::Dense, &[2, 3, 1], Square::default());
    let (x, y) = rows(1, 8, 2);
    let data = Data::new(mat(&x, 2), Targets::Real(&y)).unwrap();
    let narrow = Data::new(mat(&x[..8], 1), Targets::Real(&y)).unwrap();
    let refused = |params: &mut [f32], train, valid, config: FitConfig| {
        let (done, reports) = run(&bnn, params, train, valid, &config);
        assert!(reports.is_empty());
        done.unwrap_err().to_string()
    };
    let (mut p, config) = (init(&bnn), FitConfig::default());
    let patient = FitConfig { patience: Some(3), ..config.clone() };
    assert_eq!(
        refused(&mut p, data, None, patient),
        "fit: patience must be used with validation rows, got none"
    );
    let expected = "fit: columns of x, as the network reads them: expected 2, got 1";
    assert_eq!(refused(&mut p, narrow, None, config.clone()), expected);
    assert_eq!(refused(&mut p, data, Some(narrow), config.clone()), expected);
    let got = refused(&mut p[1..], data, None, config.clone());
    assert_eq!(got, "network: parameters: expected 13, got 12");
    let classes = Data::new(mat(&x, 2), Targets::Class(&[0; 8])).unwrap();
    assert_eq!(refused(&mut p, classes, None, config), "square: needs numbers as targets, got classes");
    assert_eq!(bits(&p), bits(&init(&bnn)));
}

#[test]
fn classes_are_learned_and_an_unknown_class_is_named() {
    let bnn = bnn(Method::Variational, &[2, 16, 2], Categorical::new(2).unwrap());
    let (x, y) = rows(1, 200, 2);
    let mut class: Vec<u32> = y.iter().map(|&y| u32::from(y > 0.0)).collect();
    let config = FitConfig { epochs: 150, lr: 1e-2, ..FitConfig::default() };
    let done =
        run(&bnn, &mut init(&bnn), Data::new(mat(&x, 2), Targets::Class(&class)).unwrap(), None, &config).0;
    assert!(done.unwrap().last.nll_mean < 0.4, "a coin has 0.69");
    class[5] = 2;
    let done =
        run(&bnn, &mut init(&bnn), Data::new(mat(&x, 2), Targets::Class(&class)).unwrap(), None, &config).0;
    assert!(done.unwrap_err().to_string().ends_with("class must be below 2, got 2"));
}
