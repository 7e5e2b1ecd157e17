//! The standard 90/10 splits of the UCI regression sets.
//!
//! Hernández-Lobato & Adams 2015 drew them with numpy's legacy generator, `RandomState(1).permutation(n)` once for
//! each split; the first `round(0.9·n)` rows train, the rest test. The generator is MT19937 (Matsumoto & Nishimura
//! 1998), written from its description.

/// Number of standard splits.
pub const SPLITS: usize = 20;

/// Train and test rows of one split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Rows to train on.
    pub train: Vec<usize>,
    /// Rows to test on.
    pub test: Vec<usize>,
}

impl Split {
    /// The training rows alone: the last 20 % of them to validate on, the rest to train on.
    ///
    /// Their order is that of the permutation, so the last are a random choice.
    #[must_use]
    pub fn validation(&self) -> Self {
        let mut train = self.train.clone();
        let test = train.split_off(round_half_even(0.8 * train.len() as f64));
        Self { train, test }
    }
}

/// The standard splits of a set of `rows` rows, in order.
///
/// ```
/// let splits = bdl_benches::uci::splits(506);
/// assert_eq!((splits.len(), splits[0].train.len(), splits[0].test.len()), (20, 455, 51));
/// ```
#[must_use]
pub fn splits(rows: usize) -> Vec<Split> {
    let mut generator = Mt19937::new(1);
    let cut = round_half_even(0.9 * rows as f64);
    let one = |_| {
        let mut train = generator.permutation(rows);
        let test = train.split_off(cut);
        Split { train, test }
    };
    (0..SPLITS).map(one).collect()
}

fn round_half_even(x: f64) -> usize {
    x.round_ties_even() as usize
}

const N: usize = 624;

struct Mt19937 {
    key: [u32; N],
    pos: usize,
}

impl Mt19937 {
    fn new(seed: u32) -> Self {
        let mut key = [0; N];
        let mut x = seed;
        for (i, k) in (0..).zip(&mut key) {
            *k = x;
            x = 1_812_433_253_u32.wrapping_mul(x ^ x >> 30).wrapping_add(i + 1);
        }
        Self { key, pos: N }
    }

    fn next_u32(&mut self) -> u32 {
        if self.pos == N {
            self.twist();
        }
        let mut y = self.key[self.pos];
        self.pos += 1;
        y ^= y >> 11;
        y ^= y << 7 & 0x9d2c_5680;
        y ^= y << 15 & 0xefc6_0000;
        y ^ y >> 18
    }

    fn twist(&mut self) {
        for i in 0..N {
            let x = self.key[i] & 0x8000_0000 | self.key[(i + 1) % N] & 0x7fff_ffff;
            let odd = if x & 1 == 1 { 0x9908_b0df } else { 0 };
            self.key[i] = self.key[(i + 397) % N] ^ x >> 1 ^ odd;
        }
        self.pos = 0;
    }

    /// Uniform on `0..=max`, by rejection under the smallest mask of ones.
    fn up_to(&mut self, max: u32) -> u32 {
        let mask = u32::MAX.checked_shr(max.leading_zeros()).unwrap_or(0);
        loop {
            let v = self.next_u32() & mask;
            if v <= max {
                return v;
            }
        }
    }

    fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut a: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            a.swap(i, self.up_to(i as u32) as usize);
        }
        a
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_mt19937() {
        // First outputs for seed 5489, as in the reference implementation.
        let mut g = Mt19937::new(5489);
        assert_eq!([g.next_u32(), g.next_u32(), g.next_u32()], [3_499_211_612, 581_869_302, 3_890_346_734]);
    }

    #[test]
    fn splits_are_the_published_ones() {
        // Boston's size; the rows that numpy's generator gives.
        let all = splits(506);
        assert_eq!(all[0].train[..10], [307, 343, 47, 67, 362, 132, 292, 31, 218, 90]);
        assert_eq!(all[0].test[..5], [431, 115, 470, 216, 264]);
        assert_eq!(all[19].train[..10], [480, 216, 158, 193, 409, 385, 404, 246, 299, 20]);
        assert_eq!(all[19].test[..5], [426, 161, 347, 368, 305]);
    }

    #[test]
    fn validation_rows_are_the_last_fifth_of_the_training_rows() {
        let split = &splits(506)[0];
        let inner = split.validation();
        assert_eq!((inner.train.len(), inner.test.len()), (364, 91));
        assert_eq!([inner.train, inner.test].concat(), split.train);
    }

    #[test]
    fn every_split_uses_every_row_once() {
        for split in splits(308) {
            let mut all = [split.train, split.test].concat();
            all.sort_unstable();
            assert_eq!(all, (0..308).collect::<Vec<_>>());
        }
    }
}
