//! The UCI regression study: every method on the standard splits, beside published results.

mod published;
mod splits;
mod study;

pub use published::{Figure, PUBLISHED, Published};
pub use splits::{SPLITS, Split, splits};
pub use study::{Scores, Set, Setting, run};
