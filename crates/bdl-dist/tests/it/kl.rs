//! KL divergences against quadrature, Monte Carlo and naive `f64` oracles.

use bdl_dist::{Error, FullNormal, Normal, kl_normal, kl_normal_grad, raw_scale, reparameterize};
use bdl_testkit::finite::{assert_gradient_close, central_gradient};
use bdl_testkit::oracle::{
    kl_full_gaussian_isotropic, kl_gaussian, kl_gaussian_diagonal, kl_monte_carlo_diagonal,
    kl_monte_carlo_full, softplus,
};
use bdl_testkit::quad::normal_expectation;
use bdl_testkit::source::{SplitMix64, to_f32, to_f64};
use bdl_testkit::stats::{MomentCheck, covariance};
use proptest::prelude::*;

fn normal(mean: f64, std_dev: f64) -> Normal {
    Normal::new(mean, std_dev).unwrap()
}

/// Weights that `f32` holds exactly.
fn weights(seed: u64, n: usize) -> (Vec<f32>, Vec<f32>) {
    let mut source = SplitMix64::new(seed);
    (to_f32(&source.normals(n)), to_f32(&source.uniforms(n, -6.0, 2.0)))
}

#[test]
fn kl_is_the_integral_of_the_log_ratio_in_this_direction() {
    for (q, p) in [
        (normal(0.4, 0.6), normal(-0.3, 1.7)),
        (normal(-0.3, 1.7), normal(0.4, 0.6)),
        (normal(2.0, 1e-3), normal(0.0, 1.0)),
        (normal(0.0, 5.0), normal(0.1, 0.5)),
    ] {
        let integral = normal_expectation(|x| q.ln_prob(x) - p.ln_prob(x), q.mean(), q.std_dev());
        let kl = q.kl_from(&p);
        assert!((kl / integral - 1.0).abs() < 1e-9, "{q:?} {p:?}: {kl} and {integral}");
        assert!((kl / kl_gaussian(q.mean(), q.std_dev(), p.mean(), p.std_dev()) - 1.0).abs() < 1e-12);
    }
    // The one asymmetric pair: exchanging the arguments gives another number.
    let (q, p) = (normal(0.4, 0.6), normal(-0.3, 1.7));
    assert!((q.kl_from(&p) - p.kl_from(&q)).abs() > 1.0);
}

// 20 000 draws, 5 SE.
#[test]
fn kl_is_summed_over_weights_and_agrees_with_monte_carlo() {
    let (mu, rho) = weights(1, 40);
    let kl = kl_normal(&mu, &rho, &normal(0.0, 0.8)).unwrap();
    let mut source = SplitMix64::new(2);
    let estimate = kl_monte_carlo_diagonal(&to_f64(&mu), &to_f64(&rho), 0.8, 20_000, &mut || source.normal());
    estimate.check("diagonal", kl).assert();
    let (half, rest) = (&mu[..20], &mu[20..]);
    let parts = kl_normal(half, &rho[..20], &normal(0.0, 0.8)).unwrap()
        + kl_normal(rest, &rho[20..], &normal(0.0, 0.8)).unwrap();
    assert!((kl / parts - 1.0).abs() < 1e-14);
}

#[test]
fn kl_gradient_matches_central_differences_of_the_oracle_and_is_added() {
    let (mu, rho) = weights(3, 30);
    let at: Vec<f64> = to_f64(&mu).into_iter().chain(to_f64(&rho)).collect();
    let expected = central_gradient(|v| kl_gaussian_diagonal(&v[..30], &v[30..], 0.7), &at);
    let mut grads = vec![1.0; 60];
    let (d_mu, d_rho) = grads.split_at_mut(30);
    let kl = kl_normal_grad(&mu, &rho, &normal(0.0, 0.7), 0.5, d_mu, d_rho).unwrap();
    assert_eq!(kl.to_bits(), kl_normal(&mu, &rho, &normal(0.0, 0.7)).unwrap().to_bits());
    let got: Vec<f64> = grads.iter().map(|g| (f64::from(*g) - 1.0) / 0.5).collect();
    assert_gradient_close("kl", &got, &expected, 1e-6);
}

#[test]
fn kl_and_gradient_are_finite_at_extreme_scales() {
    for (rho, kl_expected, d_expected) in
        [(-1e4, 1e4 - 0.5, -1.0), (1e4, 0.5 * (1e8 - 1.0) - 1e4_f64.ln(), (1e8 - 1.0) / 1e4)]
    {
        let (mut d_mu, mut d_rho) = ([0.0], [0.0]);
        let kl = kl_normal_grad(&[0.0], &[rho], &normal(0.0, 1.0), 1.0, &mut d_mu, &mut d_rho).unwrap();
        assert!((kl / kl_expected - 1.0).abs() < 1e-12, "rho {rho}: {kl}");
        assert!((f64::from(d_rho[0]) / d_expected - 1.0).abs() < 1e-6, "rho {rho}: {}", d_rho[0]);
        assert_eq!(d_mu, [0.0]);
    }
    for rho in [-1e30_f32, -200.0, -104.0, -88.0, -30.0 - 1e-5, -30.0, -9.3, 0.0, 88.0, 100.0] {
        let (mut d_mu, mut d_rho) = ([0.0], [0.0]);
        let kl = kl_normal_grad(&[1.0], &[rho], &normal(0.0, 1.0), 1.0, &mut d_mu, &mut d_rho).unwrap();
        assert!(kl.is_finite() && kl >= 0.0 && d_rho[0].is_finite() && d_mu[0] == 1.0, "rho {rho}");
    }
}

#[test]
fn a_weight_that_is_not_a_number_has_no_kl() {
    assert!(kl_normal(&[f32::NAN], &[0.0], &normal(0.0, 1.0)).unwrap().is_nan());
    assert!(kl_normal(&[0.0], &[f32::NAN], &normal(0.0, 1.0)).unwrap().is_nan());
}

#[test]
fn kl_of_full_covariance_agrees_with_the_oracle_with_monte_carlo_and_with_the_diagonal() {
    let mut source = SplitMix64::new(4);
    for k in [1, 2, 5, 9] {
        let (factor, mean) = (source.normals(k * k), source.normals(k));
        let gram = |i: usize, j: usize| (0..k).map(|m| factor[i * k + m] * factor[j * k + m]).sum::<f64>();
        let cov: Vec<f64> =
            (0..k * k).map(|ij| gram(ij / k, ij % k) + if ij / k == ij % k { 0.1 } else { 0.0 }).collect();
        let kl = FullNormal::new(&mean, &cov).unwrap().kl_from_isotropic(0.8).unwrap();
        let oracle = kl_full_gaussian_isotropic(&mean, &cov, 0.8);
        assert!((kl / oracle - 1.0).abs() < 1e-10, "k {k}: {kl} and {oracle}");
        kl_monte_carlo_full(&mean, &cov, 0.8, 20_000, &mut || source.normal()).check("full", kl).assert();
    }
    let full =
        FullNormal::new(&[0.3, -1.0], &[0.04, 0.0, 0.0, 2.25]).unwrap().kl_from_isotropic(0.5).unwrap();
    let sum = normal(0.3, 0.2).kl_from(&normal(0.0, 0.5)) + normal(-1.0, 1.5).kl_from(&normal(0.0, 0.5));
    assert!((full - sum).abs() < 1e-12);
    // 300 dimensions at the prior: a determinant of 1e-900 is no obstacle, and nothing is left by rounding.
    let (k, mut cov) = (300, vec![0.0; 300 * 300]);
    (0..k).for_each(|i| cov[i * k + i] = 1e-6);
    let kl = FullNormal::new(&vec![0.0; k], &cov).unwrap().kl_from_isotropic(1e-3).unwrap();
    assert!((0.0..1e-25).contains(&kl), "{kl}");
}

// 40 000 draws, 5 SE.
#[test]
fn draws_of_a_full_normal_have_its_covariance() {
    let cov = [1.0, 0.6, -0.3, 0.6, 2.0, 0.1, -0.3, 0.1, 0.5];
    let q = FullNormal::new(&[1.0, -1.0, 0.0], &cov).unwrap();
    let mut source = SplitMix64::new(6);
    let mut axes = [const { Vec::new() }; 3];
    for _ in 0..40_000 {
        let mut w = [0.0; 3];
        q.draw(&source.normals(3), &mut w).unwrap();
        axes.iter_mut().zip(w).for_each(|(axis, w)| axis.push(w));
    }
    MomentCheck::mean("axis 0", &axes[0], 1.0, 1.0).assert();
    for (i, j) in [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)] {
        let (vi, vj) = (cov[4 * i], cov[4 * j]);
        MomentCheck::normal_covariance("axes", &axes[i], &axes[j], cov[3 * i + j], vi, vj).assert();
    }
    assert!(covariance(&axes[0], &axes[1]) > 0.5);
}

#[test]
fn reparameterize_is_mean_plus_scale_times_eps_across_runs() {
    let (mu, rho) = weights(7, 700);
    let eps = to_f32(&SplitMix64::new(8).normals(700));
    let mut w = vec![f32::NAN; 700];
    reparameterize(&mu, &rho, &eps, &mut w).unwrap();
    for i in 0..700 {
        let expected = f64::from(mu[i]) + softplus(f64::from(rho[i])) * f64::from(eps[i]);
        assert!((f64::from(w[i]) - expected).abs() < 1e-6 * (1.0 + expected.abs()), "{i}");
    }
}

#[test]
fn raw_scale_undoes_softplus() {
    for sigma in [1e-12, 1e-3, 0.5, 1.0, 30.0] {
        assert!((softplus(f64::from(raw_scale(sigma))) / sigma - 1.0).abs() < 3e-6, "sigma {sigma}");
    }
}

#[test]
fn errors_say_what_was_expected_and_what_was_got() {
    let text = |e: Error| e.to_string();
    assert_eq!(text(Normal::new(f64::NAN, 1.0).unwrap_err()), "normal: mean must be finite, got NaN");
    assert_eq!(text(Normal::new(0.0, 0.0).unwrap_err()), "normal: std_dev must be finite and > 0, got 0");
    assert_eq!(text(Normal::new(0.0, -1.0).unwrap_err()), "normal: std_dev must be finite and > 0, got -1");
    assert!(Normal::new(0.0, f64::INFINITY).is_err());
    let p = normal(0.0, 1.0);
    assert_eq!(
        text(kl_normal(&[0.0; 2], &[0.0], &p).unwrap_err()),
        "kl_normal rho: must have 2 elements, got 1"
    );
    let e = kl_normal_grad(&[0.0; 2], &[0.0; 2], &p, 1.0, &mut [0.0; 2], &mut [0.0]).unwrap_err();
    assert_eq!(text(e), "kl_normal_grad d_rho: must have 2 elements, got 1");
    let e = reparameterize(&[0.0; 2], &[0.0; 2], &[0.0; 3], &mut [0.0; 2]).unwrap_err();
    assert_eq!(text(e), "reparameterize eps: must have 2 elements, got 3");
    let full = |mean: &[f64], cov: &[f64]| FullNormal::new(mean, cov).unwrap_err().to_string();
    assert_eq!(full(&[0.0; 2], &[1.0; 3]), "covariance: must have 4 elements, got 3");
    assert_eq!(
        full(&[0.0; 2], &[1.0, 2.0, 2.0, 1.0]),
        "covariance: must be positive definite, pivot 1 is -3"
    );
    assert_eq!(
        full(&[0.0; 2], &[f64::NAN, 0.0, 0.0, 1.0]),
        "covariance: must be positive definite, pivot 0 is NaN"
    );
    assert_eq!(
        full(&[0.0; 2], &[1.0, 0.5, 0.0, 1.0]),
        "covariance: must be symmetric, got 0 at [1, 0] and 0.5 at [0, 1]"
    );
    assert_eq!(full(&[f64::INFINITY], &[1.0]), "full normal: mean must be finite, got inf");
    let q = FullNormal::new(&[0.0], &[1.0]).unwrap();
    assert_eq!(
        text(q.kl_from_isotropic(-1.0).unwrap_err()),
        "normal: std_dev must be finite and > 0, got -1"
    );
    assert_eq!(text(q.draw(&[0.0], &mut [0.0; 2]).unwrap_err()), "draw out: must have 1 elements, got 2");
}

proptest! {
    #[test]
    fn kl_is_zero_at_itself_and_positive_elsewhere(
        mean in -1e3..1e3f64, ln_std in -20.0..20.0f64, shift in 1e-3..1e3f64, ratio in 1.001..1e3f64,
    ) {
        let (s, p) = (ln_std.exp(), normal(mean, ln_std.exp()));
        prop_assert_eq!(p.kl_from(&p), 0.0);
        prop_assert!(normal(mean, s * ratio).kl_from(&p) > 0.0);
        prop_assert!(normal(mean, s / ratio).kl_from(&p) > 0.0);
        prop_assert!(normal(mean + s * shift + 1e-9, s).kl_from(&p) > 0.0);
    }

    #[test]
    fn kl_is_never_negative_next_to_the_prior(rho in -200.0..200.0f32, nudge in -1e-12..1e-12f64) {
        let s = bdl_tensor::special::softplus(f64::from(rho));
        let p = normal(0.0, s * (1.0 + nudge));
        let (mut d_mu, mut d_rho) = ([0.0], [0.0]);
        let kl = kl_normal_grad(&[0.0], &[rho], &p, 1.0, &mut d_mu, &mut d_rho).unwrap();
        prop_assert!((0.0..1e-20).contains(&kl), "{}", kl);
        prop_assert!(d_rho[0].abs() < 1e-9, "{}", d_rho[0]);
    }

    #[test]
    fn kl_matches_the_oracle(mu in -5.0..5.0f32, rho in -40.0..40.0f32, s in 0.05..20.0f64) {
        let kl = kl_normal(&[mu], &[rho], &normal(0.0, s)).unwrap();
        let oracle = kl_gaussian_diagonal(&[f64::from(mu)], &[f64::from(rho)], s);
        prop_assert!((kl - oracle).abs() < 1e-9 * (1.0 + oracle), "{} and {}", kl, oracle);
    }
}
