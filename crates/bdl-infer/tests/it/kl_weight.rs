//! The weight of the KL along training: what it does to the steps, to early stopping, and not to the report.

use bdl_infer::{Data, FitConfig, Gaussian, KlSchedule, KlWarmup, NoiseSd, Optimizer, Progress, Targets};

use crate::nets::{Method, bnn, init, mat, rows, run};

const CYCLES: KlSchedule = KlSchedule::Cyclical { cycles: 2, rise: 0.5 };

fn gaussian(sd: f64) -> Gaussian {
    Gaussian::new(NoiseSd::Fixed(sd)).unwrap()
}

#[test]
fn the_report_is_the_bound_whatever_the_weight() {
    // A rate so small that no parameter moves: each epoch sees the same network and the same noise.
    let bnn = bnn(Method::Variational, &[2, 8, 1], gaussian(0.5));
    let (x, y) = rows(1, 21, 2);
    let data = Data::new(mat(&x, 2), Targets::Real(&y)).unwrap();
    let still =
        FitConfig { epochs: 2, batch: 8, lr: 1e-30, optimizer: Optimizer::sgd(), ..FitConfig::default() };
    let reports = |config: &FitConfig| run(&bnn, &mut init(&bnn), data, None, config).1;
    let plain = reports(&still);
    let kl = bnn.plan().kl(&init(&bnn)[bnn.network()]).unwrap();
    let warmup = KlWarmup::new(9.0).unwrap();
    let blundell = FitConfig { kl_schedule: KlSchedule::Blundell, ..still.clone() };
    let warm = FitConfig { kl_warmup: warmup, kl_weight: 0.3, ..blundell.clone() };
    let cyclical = KlSchedule::Cyclical { cycles: 2, rise: 0.9 };
    for (config, is_one) in [
        (FitConfig { kl_schedule: cyclical, ..still.clone() }, false),
        // Of the whole epoch, whatever the last batch has.
        (blundell, true),
        (warm, false),
    ] {
        for (p, plain) in reports(&config).iter().zip(&plain) {
            assert_eq!((p.kl_weight - plain.kl_weight).abs() < 1e-14, is_one, "{config:?}");
            assert_eq!((p.nll_mean, p.kl, p.elbo), (plain.nll_mean, plain.kl, plain.elbo), "{config:?}");
            assert!((p.kl / kl - 1.0).abs() < 1e-6 && (p.elbo + 21.0 * p.nll_mean + kl).abs() < 1e-6 * kl);
        }
    }
}

/// A factor of the KL at a step.
type OfStep = fn(usize) -> f64;

#[test]
fn weights_multiply_and_are_told_as_the_mean_over_the_batches_of_an_epoch() {
    let bnn = bnn(Method::Variational, &[2, 3, 1], gaussian(0.5));
    let (x, y) = rows(1, 21, 2);
    let data = Data::new(mat(&x, 2), Targets::Real(&y)).unwrap();
    let of = |kl_schedule| {
        let kl_warmup = KlWarmup::new(2.0).unwrap();
        let config =
            FitConfig { epochs: 4, batch: 8, kl_weight: 0.7, kl_warmup, kl_schedule, ..FitConfig::default() };
        run(&bnn, &mut init(&bnn), data, None, &config).1.iter().map(|p| p.kl_weight).collect::<Vec<_>>()
    };
    // Three batches of an epoch; step/3 epochs are done.
    let warm = |step: usize| (step as f64 / 6.0).min(1.0);
    let schedules: [(_, OfStep); 3] = [
        (KlSchedule::Constant, |_| 1.0),
        (KlSchedule::Blundell, |step| [12.0 / 7.0, 6.0 / 7.0, 3.0 / 7.0][step % 3]),
        // In cycles of six steps, each rising over three.
        (CYCLES, |step| ((step % 6) as f64 / 3.0).min(1.0)),
    ];
    for (schedule, own) in schedules {
        for (epoch, weight) in of(schedule).into_iter().enumerate() {
            let weights = (3 * epoch..3 * epoch + 3).map(|step| 0.7 * warm(step) * own(step));
            let mean = weights.sum::<f64>() / 3.0;
            assert!((weight - mean).abs() < 1e-12, "{schedule:?} {epoch}: {weight} {mean}");
        }
    }
}

#[test]
fn an_epoch_of_blundells_pulls_towards_the_prior_as_one_of_constant_weight_does() {
    // Next to no data, so that p moves by −lr·weight·(KL's slope)/n_train alone: in an epoch by a sum over the batches.
    let bnn = bnn(Method::Dense, &[2, 8, 1], gaussian(1e6));
    let (x, y) = rows(1, 40, 2);
    let data = Data::new(mat(&x, 2), Targets::Real(&y)).unwrap();
    let pull = |kl_schedule| {
        let config = FitConfig {
            epochs: 1,
            batch: 8,
            lr: 1e-2,
            optimizer: Optimizer::sgd(),
            kl_schedule,
            ..FitConfig::default()
        };
        let (before, mut after) = (init(&bnn), init(&bnn));
        run(&bnn, &mut after, data, None, &config).0.unwrap();
        let norm = |p: &[f32]| p.iter().map(|p| f64::from(*p).powi(2)).sum::<f64>().sqrt();
        (norm(&after) / norm(&before)).ln()
    };
    let (constant, blundell) = (pull(KlSchedule::Constant), pull(KlSchedule::Blundell));
    assert!(constant < -1e-4 && (blundell / constant - 1.0).abs() < 1e-2, "{constant} {blundell}");
}

#[test]
fn patience_compares_and_counts_only_epochs_at_full_weight() {
    // A prior that is much too strong: the best validation NLLs lie where cycles begin.
    let bnn = bnn(Method::Dense, &[2, 50, 1], gaussian(0.2));
    let ((x, y), (vx, vy)) = (rows(1, 12, 2), rows(2, 60, 2));
    let train = Data::new(mat(&x, 2), Targets::Real(&y)).unwrap();
    let valid = Data::new(mat(&vx, 2), Targets::Real(&vy)).unwrap();
    let config = FitConfig {
        epochs: 400,
        lr: 1e-2,
        patience: Some(1000),
        kl_weight: 50.0,
        kl_schedule: KlSchedule::Cyclical { cycles: 4, rise: 0.5 },
        ..FitConfig::default()
    };
    let nll = |p: &Progress| p.valid_nll.unwrap();
    let full = |p: &&Progress| p.kl_weight >= 50.0;
    let (done, reports) = run(&bnn, &mut init(&bnn), train, Some(valid), &config);
    let least = |nlls: &mut dyn Iterator<Item = f64>| nlls.fold(f64::INFINITY, f64::min);
    let best = least(&mut reports.iter().filter(full).map(nll));
    assert!(least(&mut reports.iter().map(nll)) < best, "the case should tempt");
    assert_eq!(done.unwrap().kept.valid_nll, Some(best));

    let hasty = FitConfig { patience: Some(60), ..config };
    let (done, reports) = run(&bnn, &mut init(&bnn), train, Some(valid), &hasty);
    let summary = done.unwrap();
    let waited = reports.iter().filter(full).filter(|p| p.epoch > summary.kept.epoch).count();
    assert_eq!((summary.stopped_early, waited), (true, 60), "{:?}", summary.last);
}
