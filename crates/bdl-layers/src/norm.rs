//! Normalization: of each row by its own moments, or of each unit by those of the batch.

mod batch;
mod layer;

pub use batch::BatchNorm;
pub use layer::LayerNorm;

use crate::{Block, Role};

/// Added to a variance before its root, so that a constant input has a finite scale.
const FLOOR: f32 = 1e-5;

/// The gain and the shift of each unit.
fn gain_and_shift(units: usize) -> Vec<Block> {
    vec![Block::new("gain", &[units], Role::Plain), Block::new("shift", &[units], Role::Plain)]
}
