//! Which of a number of things are there, in as few bytes as a simple code takes.

use serde::{Deserialize, Serialize};

use crate::Error;

/// The things that are there, as a file holds them; frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IndexV1 {
    count: u64,
    code: CodeV1,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum CodeV1 {
    /// For each, how many that are absent lie between it and its predecessor: seven bits a byte, the lowest first, the eighth set where
    /// another byte follows.
    Gaps(Vec<u8>),
    /// A bit for each that could be there, the lowest first.
    Bits(Vec<u8>),
}

impl IndexV1 {
    /// Of ascending indices below `size`: in the shorter of both codes.
    pub(super) fn of(at: &[usize], size: usize) -> Self {
        let gaps = gaps(at);
        let code =
            if gaps.len() <= size.div_ceil(8) { CodeV1::Gaps(gaps) } else { CodeV1::Bits(bits(at, size)) };
        Self { count: at.len() as u64, code }
    }

    /// The indices, ascending and below `size`.
    ///
    /// # Errors
    /// [`Error::Decode`] for anything but the bytes that [`of`](Self::of) writes.
    pub(super) fn read(&self, size: usize) -> Result<Vec<usize>, Error> {
        let at = match &self.code {
            CodeV1::Gaps(bytes) => of_gaps(bytes, size)?,
            CodeV1::Bits(bytes) => of_bits(bytes, size)?,
        };
        if at.len() as u64 != self.count {
            return fault(format!("must have {} indices, got {}", self.count, at.len()));
        }
        Ok(at)
    }
}

fn fault<T>(why: String) -> Result<T, Error> {
    Err(Error::Decode { what: "index of a pruned layer", why })
}

fn gaps(at: &[usize]) -> Vec<u8> {
    let (mut bytes, mut least) = (Vec::new(), 0);
    for &at in at {
        let mut gap = at - least;
        while gap >= 128 {
            bytes.push((gap % 128) as u8 | 128);
            gap /= 128;
        }
        bytes.push(gap as u8);
        least = at + 1;
    }
    bytes
}

fn of_gaps(bytes: &[u8], size: usize) -> Result<Vec<usize>, Error> {
    let (mut all, mut least) = (Vec::new(), 0);
    let (mut gap, mut shift) = (0u64, 0);
    for &byte in bytes {
        // Nine groups hold more than any size; a last group of 0 has a shorter code.
        if shift > 56 || (byte == 0 && shift > 0) {
            return fault(format!("gap {} must be coded in as few bytes as it takes", all.len()));
        }
        gap |= u64::from(byte % 128) << shift;
        shift += 7;
        if byte < 128 {
            let at = usize::try_from(gap).ok().and_then(|gap| gap.checked_add(least));
            let Some(at) = at.filter(|&at| at < size) else {
                return fault(format!(
                    "index {} must be below {size}, got {least} and a gap of {gap}",
                    all.len()
                ));
            };
            all.push(at);
            (least, gap, shift) = (at + 1, 0, 0);
        }
    }
    if shift > 0 { fault("must not end inside a gap".to_owned()) } else { Ok(all) }
}

fn bits(at: &[usize], size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size.div_ceil(8)];
    at.iter().for_each(|&at| bytes[at / 8] |= 1 << (at % 8));
    bytes
}

fn of_bits(bytes: &[u8], size: usize) -> Result<Vec<usize>, Error> {
    if bytes.len() != size.div_ceil(8) {
        return fault(format!("must have a bit for each of {size}, got {} bytes", bytes.len()));
    }
    let all: Vec<usize> = (0..8 * bytes.len()).filter(|&at| bytes[at / 8] >> (at % 8) & 1 == 1).collect();
    match all.last() {
        Some(&last) if last >= size => fault(format!("must have indices below {size}, got {last}")),
        _ => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_index_is_read_as_it_was_written(size in 0usize..2_000, share in 0u32..101, seed in 0u32..1_000) {
            let there = |at: usize| (at as u32 + seed).wrapping_mul(2_654_435_761) >> 7 & 127;
            let at: Vec<usize> = (0..size).filter(|&i| there(i) % 100 < share).collect();
            let index = IndexV1::of(&at, size);
            prop_assert_eq!(index.read(size).unwrap(), at);
        }

        /// Whatever the bytes: ascending indices that are written as the same bytes, or an error.
        #[test]
        fn bytes_are_an_index_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..40), size in 0usize..600, as_bits: bool) {
            for count in 0..41 {
                let code = if as_bits { CodeV1::Bits(bytes.clone()) } else { CodeV1::Gaps(bytes.clone()) };
                if let Ok(at) = (IndexV1 { count, code }).read(size) {
                    prop_assert!(at.is_sorted_by(|a, b| a < b) && at.iter().all(|&at| at < size));
                    prop_assert_eq!(at.len() as u64, count);
                    prop_assert_eq!(if as_bits { bits(&at, size) } else { gaps(&at) }, bytes.clone());
                }
            }
        }
    }

    #[test]
    fn what_is_wrong_with_an_index_is_named() {
        let message = |count, code| (IndexV1 { count, code }).read(300).unwrap_err().to_string();
        let of = "index of a pruned layer: ";
        assert_eq!(message(2, CodeV1::Gaps(vec![5])), format!("{of}must have 2 indices, got 1"));
        assert_eq!(
            message(2, CodeV1::Gaps(vec![5, 255, 2])),
            format!("{of}index 1 must be below 300, got 6 and a gap of 383")
        );
        assert_eq!(message(1, CodeV1::Gaps(vec![5, 128])), format!("{of}must not end inside a gap"));
        assert_eq!(
            message(1, CodeV1::Gaps(vec![133, 0])),
            format!("{of}gap 0 must be coded in as few bytes as it takes")
        );
        assert_eq!(
            message(1, CodeV1::Bits(vec![1; 9])),
            format!("{of}must have a bit for each of 300, got 9 bytes")
        );
        let mut bits = vec![0; 38];
        bits[37] = 1 << 4;
        assert_eq!(message(1, CodeV1::Bits(bits)), format!("{of}must have indices below 300, got 300"));
    }
}
