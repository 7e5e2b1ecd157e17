//! The objective: scale, sign, and the estimate from a batch against that from all rows.

use bdl_dist::{Noise, Purpose};
use bdl_infer::{Bnn, Elbo, ElboTerms, Gaussian, NoiseSd, Targets};
use bdl_layers::{Estimator, Pass, Workspace};
use bdl_tensor::Mat;

use crate::nets::{Method, bnn, init, mat, rows};

const N: usize = 6;

fn network() -> (Bnn, Vec<f32>) {
    let bnn = bnn(Method::Dense, &[2, 5, 1], Gaussian::new(NoiseSd::Learned { init: 0.4 }).unwrap());
    let params = init(&bnn);
    (bnn, params)
}

fn estimate(bnn: &Bnn, params: &[f32], x: &[f32], y: &[f32], kl_weight: f64) -> (ElboTerms, Vec<f32>) {
    let elbo = Elbo::new(N).unwrap().with_kl_weight(kl_weight).unwrap();
    let noise = Noise::new(0, Purpose::Train);
    let pass = Pass::train(&noise, 0, Estimator::Local);
    let mut grads = vec![0.0; params.len()];
    let terms = elbo
        .gradient(bnn, params, mat(x, 2), Targets::Real(y), &pass, &mut Workspace::new(), &mut grads)
        .unwrap();
    (terms, grads)
}

/// The rows whose bits are set in `subset`.
fn chosen<'a>(subset: usize, data: &'a [f32], cols: usize) -> Vec<f32> {
    let rows = data.chunks(cols).enumerate().filter(|(i, _)| subset >> i & 1 == 1);
    rows.flat_map(|(_, r): (usize, &'a [f32])| r.to_vec()).collect()
}

#[test]
fn the_mean_over_all_batches_of_a_size_is_the_full_batch() {
    let ((bnn, params), (x, y)) = (network(), rows(1, N, 2));
    let (full, full_grads) = estimate(&bnn, &params, &x, &y, 0.5);
    for size in 1..=N {
        let batches: Vec<usize> = (0..1_usize << N).filter(|s| s.count_ones() as usize == size).collect();
        let (mut elbo, mut grads) = (0.0, vec![0.0; params.len()]);
        for &subset in &batches {
            let (terms, g) = estimate(&bnn, &params, &chosen(subset, &x, 2), &chosen(subset, &y, 1), 0.5);
            assert_eq!((terms.batch, terms.kl), (size, full.kl));
            elbo += terms.elbo / batches.len() as f64;
            grads.iter_mut().zip(g).for_each(|(a, g)| *a += f64::from(g) / batches.len() as f64);
        }
        assert!((elbo / full.elbo - 1.0).abs() < 1e-12, "batches of {size}: {elbo} is not {}", full.elbo);
        let error = bdl_testkit::finite::norm_relative_error(&grads, &full_grads);
        assert!(error < 1e-6, "batches of {size}: gradients differ by {error:e}");
    }
}

#[test]
fn the_batches_of_an_epoch_add_up_to_the_full_batch() {
    let ((bnn, params), (x, y)) = (network(), rows(2, N, 2));
    let (full, _) = estimate(&bnn, &params, &x, &y, 1.0);
    let parts: Vec<ElboTerms> = [0..2, 2..4, 4..6]
        .map(|r| estimate(&bnn, &params, &x[2 * r.start..2 * r.end], &y[r], 1.0).0)
        .to_vec();
    let mean = parts.iter().map(|t| t.elbo).sum::<f64>() / 3.0;
    assert!((mean / full.elbo - 1.0).abs() < 1e-13);
    let nll: f64 = parts.iter().map(|t| t.nll_sum).sum();
    assert!((nll / full.nll_sum - 1.0).abs() < 1e-13);
}

#[test]
fn the_kl_weight_scales_the_kl_and_nothing_else() {
    let ((bnn, params), (x, y)) = (network(), rows(3, N, 2));
    let [none, half, one] = [0.0, 0.5, 1.0].map(|w| estimate(&bnn, &params, &x, &y, w));
    assert_eq!((none.0.nll_sum, none.0.kl), (one.0.nll_sum, one.0.kl));
    assert_eq!(none.0.elbo, -none.0.nll_sum);
    assert!((half.0.elbo - (none.0.elbo - 0.5 * none.0.kl)).abs() < 1e-12);
    let middle: Vec<f32> = none.1.iter().zip(&one.1).map(|(a, b)| 0.5 * (a + b)).collect();
    assert!(bdl_testkit::finite::norm_relative_error(&half.1, &middle) < 1e-6);
    assert_ne!(none.1, one.1);
}

#[test]
fn wrong_calls_are_named() {
    let (bnn, params) = network();
    assert_eq!(Elbo::new(0).unwrap_err().to_string(), "elbo: n_train must be >= 1, got 0");
    let elbo = Elbo::new(3).unwrap();
    let negative = elbo.with_kl_weight(-1.0).unwrap_err().to_string();
    assert_eq!(negative, "elbo: kl_weight must be finite and >= 0, got -1");
    let gradient = |params: &[f32], x: Mat<'_>, y: &[f32], grads: usize| {
        let (mut ws, mut grads) = (Workspace::new(), vec![0.0; grads]);
        elbo.gradient(&bnn, params, x, Targets::Real(y), &Pass::mean(), &mut ws, &mut grads)
            .unwrap_err()
            .to_string()
    };
    let (n, x) = (params.len(), [0.0; 4]);
    assert_eq!(gradient(&params, mat(&x[..0], 2), &[], n), "elbo: batch must be >= 1, got 0");
    assert_eq!(gradient(&params, mat(&x, 2), &[0.0], n), "elbo: targets, one per row: expected 2, got 1");
    assert_eq!(gradient(&params, mat(&x, 2), &[0.0; 2], 3), format!("elbo: gradients: expected {n}, got 3"));
    assert_eq!(
        gradient(&params[1..], mat(&x, 2), &[0.0; 2], n),
        format!("network: parameters: expected {n}, got {}", n - 1)
    );
    assert_eq!(gradient(&params, mat(&x, 1), &[0.0; 4], n), "forward x: must be [4, 2], got [4, 1]");
}
