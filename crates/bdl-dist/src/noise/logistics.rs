//! Standard logistic numbers, a run of a stream at a time.

use bdl_tensor::kernels;

use super::Noise;
use super::runs::Runs;

impl Noise {
    /// Standard logistic numbers, `ln u − ln(1 − u)` of uniform u: `out` holds whole slots of `len` elements each, the
    /// first being slot `slot` of the stream. A slot takes `len` words.
    ///
    /// ```
    /// use bdl_dist::{Noise, Purpose};
    /// let noise = Noise::new(0, Purpose::Train);
    /// let (mut whole, mut second) = ([0.0; 6], [0.0; 3]);
    /// noise.logistics(7, 0, 3, &mut whole);
    /// noise.logistics(7, 1, 3, &mut second);
    /// assert_eq!(whole[3..], second);
    /// ```
    ///
    /// # Panics
    /// If `len` is 0 or does not divide `out.len()`.
    pub fn logistics(&self, stream: u64, slot: u64, len: usize, out: &mut [f32]) {
        assert!(
            len > 0 && out.len().is_multiple_of(len),
            "logistics: {} elements are no whole slots of {len}",
            out.len()
        );
        let start = u128::from(slot) * len as u128;
        Runs::at(self, stream, start, kernels::logistic_blocks).fill(out);
    }
}
