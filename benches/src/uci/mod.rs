//! The UCI regression study: every method on the standard splits, beside published results.

mod method;
mod published;
mod set;
mod splits;
mod study;
mod summary;

pub use method::{Method, Setting, method_named, methods};
pub use published::{Figure, PUBLISHED, Published, Reference, Target, published};
pub use set::Set;
pub use splits::{SPLITS, Split, splits};
pub use study::{Outcome, Scores, choose, run, study};
pub use summary::{Summary, table};

pub use crate::Error;
