#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod bernoulli;
mod density;
mod error;
mod laplace;
mod log_uniform;
mod noise;
mod normal;
mod scale_mixture;
mod student_t;

pub use bernoulli::Bernoulli;
pub use density::{Density, Scaled};
pub use error::Error;
pub use laplace::Laplace;
pub use log_uniform::LogUniform;
pub use noise::{Noise, NoiseRng, Purpose};
pub use normal::{FullNormal, Normal, kl_normal, kl_normal_grad, raw_scale, reparameterize};
pub use scale_mixture::ScaleMixture;
pub use student_t::StudentT;
