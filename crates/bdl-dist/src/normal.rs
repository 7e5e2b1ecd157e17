//! The normal distribution, and KL divergences between normals.

use bdl_tensor::{math, special};
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
    let d = ln_sigma - p.std_dev.ln();
    let z = (mu - p.mean) / p.std_dev;
    0.5 * ((2.0 * d).exp_m1() - 2.0 * d) + 0.5 * z * z
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
    let each = mu.iter().zip(rho).map(|(&mu, &rho)| kl_terms(f64::from(mu), special::ln_softplus(f64::from(rho)), prior));
    Ok(each.sum())
}

/// [`kl_normal`] and its gradient: adds `weight · ∂KL/∂mu` to `d_mu` and `weight · ∂KL/∂rho` to `d_rho`.
///
/// ```text
/// ∂KL/∂mu_i  = (mu_i − m)/s²
/// ∂KL/∂rho_i = (sigma_i/s² − 1/sigma_i)·sigmoid(rho_i)
/// ```
///
/// The second is formed as `sigmoid·sigma/s² − sigmoid/softplus`, whose last quotient tends to 1 as
/// `rho → −∞`, where sigma itself underflows.
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
    let precision = (prior.std_dev * prior.std_dev).recip();
    let (ln_s, mean) = (prior.std_dev.ln(), prior.mean);
    let mut kl = 0.0;
    for (((&mu, &rho), d_mu), d_rho) in mu.iter().zip(rho).zip(d_mu).zip(d_rho) {
        let (rho, from_mean) = (f64::from(rho), f64::from(mu) - mean);
        let scale = Scale::at(rho);
        let d = scale.ln_sigma - ln_s;
        let ratio = (2.0 * d).exp(); // sigma²/s²
        kl += 0.5 * ((2.0 * d).exp_m1() - 2.0 * d) + 0.5 * from_mean * from_mean * precision;
        *d_mu += weight * (from_mean * precision) as f32;
        *d_rho += weight * ((ratio - 1.0) * scale.log_slope) as f32;
    }
    Ok(kl)
}

/// `ln softplus(rho)` and its derivative `sigmoid(rho)/softplus(rho)`.
struct Scale {
    ln_sigma: f64,
    log_slope: f64,
}

impl Scale {
    fn at(rho: f64) -> Self {
        if rho < -30.0 {
            // softplus(rho) = e^rho (1 − e^rho/2 + …), and e^rho < 1e−13.
            return Self { ln_sigma: rho - 0.5 * rho.exp(), log_slope: 1.0 - 0.5 * rho.exp() };
        }
        let sigma = special::softplus(rho);
        Self { ln_sigma: sigma.ln(), log_slope: special::sigmoid(rho) / sigma }
    }
}

/// The raw scale of a standard deviation: the `rho` with `softplus(rho) = sigma`.
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
pub fn reparameterize(mu: &[f32], rho: &[f32], eps: &[f32], out: &mut [f32]) -> Result<(), Error> {
    same_len("reparameterize rho", mu.len(), rho.len())?;
    same_len("reparameterize eps", mu.len(), eps.len())?;
    same_len("reparameterize out", mu.len(), out.len())?;
    for (((&mu, &rho), &eps), out) in mu.iter().zip(rho).zip(eps).zip(out) {
        *out = mu + math::softplus(rho) * eps;
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
    /// `N(mean, covariance)`, the covariance row-major `[k, k]`; only its lower triangle is read.
    ///
    /// # Errors
    /// [`Error::Length`] unless the covariance has k² elements; [`Error::NotPositiveDefinite`].
    pub fn new(mean: &[f64], covariance: &[f64]) -> Result<Self, Error> {
        let k = mean.len();
        same_len("covariance", k * k, covariance.len())?;
        Ok(Self { mean: mean.to_vec(), chol: cholesky(covariance, k)? })
    }

    /// KL divergence from the isotropic prior `N(0, s²I)`, in nats.
    ///
    /// ```text
    /// KL(q‖p) = ½(tr(Σ)/s² + ‖μ‖²/s² − k − ln(det Σ / s^{2k}))
    /// ```
    ///
    /// # Errors
    /// [`Error::StdDev`] unless `prior_std_dev` is finite and > 0.
    pub fn kl_from_isotropic(&self, prior_std_dev: f64) -> Result<f64, Error> {
        let s = Normal::new(0.0, prior_std_dev)?.std_dev;
        let k = self.mean.len();
        let squares = |x: &[f64]| x.iter().map(|x| x / s * (x / s)).sum::<f64>();
        let ln_det: f64 = (0..k).map(|i| 2.0 * (self.chol[i * k + i] / s).ln()).sum();
        // tr(Σ) = ‖L‖²
        Ok(0.5 * (squares(&self.chol) + squares(&self.mean) - k as f64 - ln_det))
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
