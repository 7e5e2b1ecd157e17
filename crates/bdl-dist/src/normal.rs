//! The normal distribution, and KL divergences between normals.

use bdl_tensor::{kernels, special};
use rand::Rng;
use rand::distr::Distribution;
use rand_distr::StandardNormal;

use crate::Error;

/// The normal distribution `N(mean, std_dev²)`.
///
/// ```
/// use bdl_dist::Normal;
/// let (q, p) = (Normal::new(1.0, 0.5)?, Normal::new(0.0, 1.0)?);
/// assert!((q.kl_from(&p) - 0.818_147).abs() < 1e-6); // ln 2 + (0.25 + 1 − 1)/2
/// assert_eq!(p.kl_from(&p), 0.0);
/// # Ok::<(), bdl_dist::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normal {
    mean: f64,
    std_dev: f64,
}

impl Normal {
    /// `N(mean, std_dev²)`.
    ///
    /// # Errors
    /// [`Error::Mean`] or [`Error::StdDev`] unless both are finite and `std_dev > 0`.
    pub fn new(mean: f64, std_dev: f64) -> Result<Self, Error> {
        if !mean.is_finite() {
            return Err(Error::Mean { what: "normal", got: mean });
        }
        if !(std_dev.is_finite() && std_dev > 0.0) {
            return Err(Error::StdDev { what: "normal", got: std_dev });
        }
        Ok(Self { mean, std_dev })
    }

    /// The mean.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// The standard deviation.
    #[must_use]
    pub fn std_dev(&self) -> f64 {
        self.std_dev
    }

    /// Log density in nats.
    #[must_use]
    pub fn ln_prob(&self, x: f64) -> f64 {
        special::ln_norm_pdf((x - self.mean) / self.std_dev) - self.std_dev.ln()
    }

    /// `KL(self‖p)` in nats: [`kl_normal`] for one weight.
    #[must_use]
    pub fn kl_from(&self, p: &Self) -> f64 {
        kl_terms(self.mean, self.std_dev.ln(), p)
    }
}

impl Distribution<f64> for Normal {
    fn sample<R: Rng + ?Sized>(&self, rng: &mut R) -> f64 {
        let eps: f64 = StandardNormal.sample(rng);
        self.mean + self.std_dev * eps
    }
}

/// `½(expm1(2d) − 2d) + ½((mu − mean)/s)²` with `d = ln sigma − ln s`.
fn kl_terms(mu: f64, ln_sigma: f64, p: &Normal) -> f64 {
    let z = (mu - p.mean) / p.std_dev;
    kl_of_scale(ln_sigma - p.std_dev.ln()) + 0.5 * z * z
}

/// `½(expm1(2d) − 2d) ≥ 0`, the part of a KL divergence that the ratio `e^d` of two deviations makes.
fn kl_of_scale(d: f64) -> f64 {
    let kl = 0.5 * ((2.0 * d).exp_m1() - 2.0 * d);
    // Below |d| = 1e−8 rounding may leave −1e−33; NaN stays.
    if kl < 0.0 { 0.0 } else { kl }
}

/// KL divergence of a diagonal normal posterior from a normal prior, summed over weights, in nats.
///
/// ```text
/// q_i = N(mu_i, sigma_i²), sigma_i = softplus(rho_i);  p = N(m, s²);  d_i = ln sigma_i − ln s
/// KL(q‖p) = Σ_i ½(expm1(2 d_i) − 2 d_i) + ½((mu_i − m)/s)²
/// ```
///
/// `ln sigma` comes from a stable `ln_softplus`: the result is finite for |rho| up to 1e4 and beyond, and
/// near q = p nothing cancels.
///
/// # Errors
/// [`Error::Length`] when `rho` is not as long as `mu`.
///
/// # References
/// `docs/math.md#kl-gaussian`.
///
/// ```
/// use bdl_dist::{Normal, kl_normal};
/// let rho = 0.541_324_85; // softplus(rho) = 1
/// let kl = kl_normal(&[1.0, -2.0], &[rho, rho], &Normal::new(0.0, 1.0)?)?;
/// assert!((kl - 2.5).abs() < 1e-6);
/// # Ok::<(), bdl_dist::Error>(())
/// ```
pub fn kl_normal(mu: &[f32], rho: &[f32], prior: &Normal) -> Result<f64, Error> {
    same_len("kl_normal rho", mu.len(), rho.len())?;
    Ok(kernels::kl_normal(prior.mean, prior.std_dev, mu, rho))
}

/// [`kl_normal`] and its gradient: adds `weight · ∂KL/∂mu` to `d_mu` and `weight · ∂KL/∂rho` to `d_rho`.
///
/// ```text
/// ∂KL/∂mu_i  = (mu_i − m)/s²
/// ∂KL/∂rho_i = (sigma_i²/s² − 1)·sigmoid(rho_i)/sigma_i
/// ```
///
/// Finite wherever [`kl_normal`] is, also where sigma itself underflows.
///
/// # Errors
/// [`Error::Length`] when the slices differ in length.
pub fn kl_normal_grad(
    mu: &[f32],
    rho: &[f32],
    prior: &Normal,
    weight: f32,
    d_mu: &mut [f32],
    d_rho: &mut [f32],
) -> Result<f64, Error> {
    same_len("kl_normal_grad rho", mu.len(), rho.len())?;
    same_len("kl_normal_grad d_mu", mu.len(), d_mu.len())?;
    same_len("kl_normal_grad d_rho", mu.len(), d_rho.len())?;
    Ok(kernels::kl_normal_grad(prior.mean, prior.std_dev, weight, mu, rho, d_mu, d_rho))
}

/// The raw scale of a standard deviation: the `rho` with `softplus(rho) = sigma`. −∞ at 0, NaN below.
///
/// ```text
/// softplus⁻¹(s) = ln(expm1(s)) = s + ln(−expm1(−s))
/// ```
///
/// ```
/// let rho = bdl_dist::raw_scale(1e-3);
/// assert!((bdl_tensor::math::softplus(rho) - 1e-3).abs() < 1e-9);
/// ```
#[must_use]
pub fn raw_scale(sigma: f64) -> f32 {
    special::inv_softplus(sigma) as f32
}

/// `out = mu + softplus(rho)·eps`: a draw of the weights by reparameterization.
///
/// # Errors
/// [`Error::Length`] when the slices differ in length.
///
/// # References
/// Kingma & Welling 2014, *Auto-encoding variational Bayes*, §2.4; `docs/math.md#reparameterization`.
///
/// ```
/// let rho = bdl_dist::raw_scale(0.5);
/// let mut w = [0.0; 2];
/// bdl_dist::reparameterize(&[1.0, 1.0], &[rho, rho], &[0.0, -2.0], &mut w)?;
/// assert_eq!(w[0], 1.0);
/// assert!(w[1].abs() < 1e-6);
/// # Ok::<(), bdl_dist::Error>(())
/// ```
pub fn reparameterize(mu: &[f32], rho: &[f32], eps: &[f32], out: &mut [f32]) -> Result<(), Error> {
    same_len("reparameterize rho", mu.len(), rho.len())?;
    same_len("reparameterize eps", mu.len(), eps.len())?;
    same_len("reparameterize out", mu.len(), out.len())?;
    const RUN: usize = 256;
    let mut sigma = [0.0; RUN];
    let runs = mu.chunks(RUN).zip(rho.chunks(RUN)).zip(eps.chunks(RUN)).zip(out.chunks_mut(RUN));
    for (((mu, rho), eps), out) in runs {
        let sigma = &mut sigma[..mu.len()];
        kernels::softplus(rho, sigma);
        kernels::mul_add_into(mu, sigma, eps, out);
    }
    Ok(())
}

fn same_len(what: &'static str, expected: usize, got: usize) -> Result<(), Error> {
    if expected == got { Ok(()) } else { Err(Error::Length { what, expected, got }) }
}

/// A normal distribution with a full covariance matrix.
///
/// ```
/// use bdl_dist::FullNormal;
/// let q = FullNormal::new(&[1.0, 0.0], &[1.0, 0.5, 0.5, 1.0])?;
/// // ½(2 + 1 − 2 − ln 0.75)
/// assert!((q.kl_from_isotropic(1.0)? - 0.643_841).abs() < 1e-6);
/// # Ok::<(), bdl_dist::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct FullNormal {
    mean: Vec<f64>,
    /// Lower Cholesky factor, row-major `[k, k]`.
    chol: Vec<f64>,
}

impl FullNormal {
    /// `N(mean, covariance)`, the covariance row-major `[k, k]`. The two triangles may differ by rounding
    /// (1e-8 of the diagonal); the lower one is used.
    ///
    /// # Errors
    /// [`Error::Mean`] unless the means are finite; [`Error::Length`] unless the covariance has k² elements;
    /// [`Error::NotSymmetric`]; [`Error::NotPositiveDefinite`].
    pub fn new(mean: &[f64], covariance: &[f64]) -> Result<Self, Error> {
        let k = mean.len();
        if let Some(&got) = mean.iter().find(|m| !m.is_finite()) {
            return Err(Error::Mean { what: "full normal", got });
        }
        same_len("covariance", k * k, covariance.len())?;
        check_symmetric(covariance, k)?;
        Ok(Self { mean: mean.to_vec(), chol: cholesky(covariance, k)? })
    }

    /// KL divergence from the isotropic prior `N(0, s²I)`, in nats.
    ///
    /// ```text
    /// KL(q‖p) = ½(tr(Σ)/s² + ‖μ‖²/s² − k − ln(det Σ / s^{2k}))
    ///         = Σ_i ½(expm1(2 d_i) − 2 d_i) + Σ_{i>j} ½(L_ij/s)² + ½‖μ/s‖²,   Σ = L·Lᵀ, d_i = ln(L_ii/s)
    /// ```
    ///
    /// The second form is a sum of parts that are each ≥ 0, and nothing cancels near the prior.
    ///
    /// # Errors
    /// [`Error::StdDev`] unless `prior_std_dev` is finite and > 0.
    ///
    /// # References
    /// `docs/math.md#kl-full-covariance`.
    pub fn kl_from_isotropic(&self, prior_std_dev: f64) -> Result<f64, Error> {
        let s = Normal::new(0.0, prior_std_dev)?.std_dev;
        let k = self.mean.len();
        let half_square = |x: f64| 0.5 * (x / s) * (x / s);
        let mean: f64 = self.mean.iter().map(|&m| half_square(m)).sum();
        let row = |i: usize| {
            let (below, diagonal) = (&self.chol[i * k..i * k + i], self.chol[i * k + i]);
            kl_of_scale(diagonal.ln() - s.ln()) + below.iter().map(|&l| half_square(l)).sum::<f64>()
        };
        Ok(mean + (0..k).map(row).sum::<f64>())
    }

    /// A draw `μ + L·eps` into `out`.
    ///
    /// # Errors
    /// [`Error::Length`] unless `eps` and `out` have k elements.
    pub fn draw(&self, eps: &[f64], out: &mut [f64]) -> Result<(), Error> {
        let k = self.mean.len();
        same_len("draw eps", k, eps.len())?;
        same_len("draw out", k, out.len())?;
        for (i, out) in out.iter_mut().enumerate() {
            let row = &self.chol[i * k..=i * k + i];
            *out = self.mean[i] + row.iter().zip(eps).map(|(l, e)| l * e).sum::<f64>();
        }
        Ok(())
    }
}

fn check_symmetric(a: &[f64], k: usize) -> Result<(), Error> {
    for i in 0..k {
        for j in 0..i {
            let (lower, upper) = (a[i * k + j], a[j * k + i]);
            let size = a[i * k + i].abs().max(a[j * k + j].abs());
            // Written so that a NaN is refused too.
            let alike = (lower - upper).abs() <= 1e-8 * size;
            if !alike {
                return Err(Error::NotSymmetric { row: i, column: j, lower, upper });
            }
        }
    }
    Ok(())
}

/// The lower factor L of `a = L·Lᵀ`, row-major `[k, k]`.
fn cholesky(a: &[f64], k: usize) -> Result<Vec<f64>, Error> {
    let mut l = vec![0.0; k * k];
    for i in 0..k {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|m| l[i * k + m] * l[j * k + m]).sum();
            let rest = a[i * k + j] - dot;
            if i != j {
                l[i * k + j] = rest / l[j * k + j];
            } else if rest > 0.0 && rest.is_finite() {
                l[i * k + i] = rest.sqrt();
            } else {
                return Err(Error::NotPositiveDefinite { pivot: i, got: rest });
            }
        }
    }
    Ok(l)
}
