//! Blocks: the named pieces of a flat parameter vector.

use std::ops::Range;

/// What a block's numbers are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// A parameter with one value: weights and biases of deterministic and dropout layers.
    Plain,
    /// The mean `mu` of a variational posterior.
    Mean,
    /// The raw scale of a variational posterior: `rho` with `sigma = softplus(rho)`, `ln_sigma2`, `log_alpha`.
    RawScale,
    /// A learned hyper-parameter: the noise of a likelihood, the scale of a prior, the logit of a drop probability.
    Hyper,
    /// What a layer remembers and no optimizer learns, such as running moments: what `backward` adds to the gradient is subtracted as it stands.
    Buffer,
}

/// A block as its owner declares it: name, shape and role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Name within its owner, such as `weight.mu`.
    pub name: String,
    /// Lengths of the axes, row-major; the product is the number of elements.
    pub shape: Vec<usize>,
    /// What its numbers are for.
    pub role: Role,
}

impl Block {
    /// A block `name` of the given shape and role.
    #[must_use]
    pub fn new(name: impl Into<String>, shape: &[usize], role: Role) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), role }
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the block has no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A block's place in the flat parameter vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockEntry {
    /// Name of the owner, such as `1.dense` or `likelihood`.
    pub owner: String,
    /// The block as its owner declared it.
    pub block: Block,
    /// Where its elements are.
    pub range: Range<usize>,
}

impl BlockEntry {
    /// `owner/block`, the name used in errors and reports.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.owner, self.block.name)
    }
}

/// Places an owner's blocks one behind the other, starting at element `start`.
///
/// ```
/// use bdl_layers::{Block, Role, place};
/// let entries = place("1.dense", vec![Block::new("weight", &[3, 2], Role::Plain), Block::new("bias", &[2], Role::Plain)], 10);
/// assert_eq!(entries[1].range, 16..18);
/// assert_eq!(entries[1].path(), "1.dense/bias");
/// ```
#[must_use]
pub fn place(owner: &str, blocks: Vec<Block>, start: usize) -> Vec<BlockEntry> {
    let mut at = start;
    blocks
        .into_iter()
        .map(|block| {
            let range = at..at + block.len();
            at = range.end;
            BlockEntry { owner: owner.to_owned(), block, range }
        })
        .collect()
}
