#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod bernoulli;
mod error;
mod noise;
mod normal;

pub use bernoulli::Bernoulli;
pub use error::Error;
pub use noise::{Noise, NoiseRng, Purpose};
pub use normal::{FullNormal, Normal, kl_normal, kl_normal_grad, raw_scale, reparameterize};
