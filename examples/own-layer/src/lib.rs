//! A layer and a likelihood of one's own, written against the public API of `bdl` alone.
//!
//! * [`GainDense`]: a dense layer with a random gain per input: own parameters, own noise, own KL divergence.
//! * [`Laplace`]: a likelihood with heavy tails and a learned scale.
//! * [`kinds`]: the registry entries that let a model file with them be loaded.
//!
//! `docs/extending.md` walks through it; `src/main.rs` trains, predicts, saves and loads.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod layer;
mod likelihood;

pub use layer::GainDense;
pub use likelihood::Laplace;

use bdl_infer::Kinds;

/// The kinds of `bdl` and ours.
///
/// # Errors
/// Never, unless `bdl` takes one of our names.
pub fn kinds() -> Result<Kinds, bdl_infer::Error> {
    let mut kinds = Kinds::default();
    kinds.layers.register(GainDense::KIND, GainDense::build)?;
    kinds.register_likelihood(Laplace::KIND, Laplace::build)?;
    Ok(kinds)
}
