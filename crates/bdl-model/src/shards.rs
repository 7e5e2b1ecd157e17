//! Rows shared out to a pool in fixed shards, and how many rows go into memory at a time.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use bdl_tensor::Pool;

use crate::Error;

/// Rows of a shard: the same ones for any pool.
const SHARD: usize = 64;

/// Floats that the outputs of one block of rows may take: 64 MiB.
const BLOCK_FLOATS: usize = 1 << 24;

/// The results of `task` on the shards of `0..rows`, in their order; the error of the first shard that has one.
pub(crate) fn in_shards<T: Send>(
    rows: usize,
    pool: &dyn Pool,
    task: &(dyn Fn(Range<usize>) -> Result<T, Error> + Sync),
) -> Result<Vec<T>, Error> {
    let slots: Vec<Mutex<Option<Result<T, Error>>>> =
        (0..rows.div_ceil(SHARD)).map(|_| Mutex::new(None)).collect();
    pool.run(slots.len(), &|shard| {
        let done = task(shard * SHARD..((shard + 1) * SHARD).min(rows));
        *slots[shard].lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
    });
    slots.into_iter().filter_map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
}

/// Cuts `0..rows` into blocks of as many rows as fit into memory when each takes `floats`, at least one.
pub(crate) fn blocks(rows: usize, floats: usize) -> impl Iterator<Item = Range<usize>> {
    let block = (BLOCK_FLOATS / floats.max(1)).max(1);
    (0..rows).step_by(block).map(move |from| from..from.saturating_add(block).min(rows))
}

#[cfg(test)]
mod tests {
    use bdl_infer::RayonPool;

    use super::*;

    #[test]
    fn results_are_in_order_and_the_first_error_wins() {
        let pool = RayonPool::new(3).unwrap();
        let ranges = in_shards(130, &pool, &Ok).unwrap();
        assert_eq!(ranges, [0..64, 64..128, 128..130]);
        assert!(in_shards(0, &pool, &Ok).unwrap().is_empty());
        let fail = |range: Range<usize>| match range.start {
            0 => Ok(()),
            start => Err(Error::column("x", &start.to_string())),
        };
        assert_eq!(in_shards(130, &pool, &fail).unwrap_err().to_string(), "schema: column \"x\" 64");
    }

    #[test]
    fn blocks_are_bounded_and_cover_all_rows() {
        assert_eq!(blocks(5, 1 << 23).collect::<Vec<_>>(), [0..2, 2..4, 4..5]);
        assert_eq!(blocks(2, usize::MAX).collect::<Vec<_>>(), [0..1, 1..2]);
        assert!(blocks(3, 0).eq(std::iter::once(0..3)));
        assert_eq!(blocks(0, 1).count(), 0);
    }
}
