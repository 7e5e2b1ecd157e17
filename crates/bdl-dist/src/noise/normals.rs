//! Standard normals, a run of a stream at a time.

use bdl_tensor::kernels;

use super::Noise;
use super::runs::Runs;

impl Noise {
    /// Standard normals: `out` holds whole slots of `len` elements each, the first being slot `slot` of
    /// the stream.
    ///
    /// A slot takes `2⌈len/2⌉` words; pairs of words become pairs of normals by Box–Muller.
    ///
    /// # Panics
    /// If `len` is 0 or does not divide `out.len()`.
    pub fn normals(&self, stream: u64, slot: u64, len: usize, out: &mut [f32]) {
        assert!(
            len > 0 && out.len().is_multiple_of(len),
            "normals: {} elements are no whole slots of {len}",
            out.len()
        );
        let start = u128::from(slot) * len.next_multiple_of(2) as u128;
        let mut normals = Runs::at(self, stream, start, kernels::box_muller_blocks);
        if len.is_multiple_of(2) {
            return normals.fill(out);
        }
        for slot in out.chunks_exact_mut(len) {
            normals.fill(slot);
            normals.skip_one(); // the second of the slot's last pair
        }
    }

    /// A part of what [`normals`](Noise::normals) gives for one slot of `len` elements: those from `from` on.
    ///
    /// ```
    /// use bdl_dist::{Noise, Purpose};
    /// let noise = Noise::new(0, Purpose::Train);
    /// let (mut whole, mut part) = ([0.0; 7], [0.0; 3]);
    /// noise.normals(5, 2, 7, &mut whole);
    /// noise.normals_within(5, 2, 7, 3, &mut part);
    /// assert_eq!(whole[3..6], part);
    /// ```
    ///
    /// # Panics
    /// If the part reaches beyond the slot.
    pub fn normals_within(&self, stream: u64, slot: u64, len: usize, from: usize, out: &mut [f32]) {
        let fits = from <= len && out.len() <= len - from;
        assert!(fits, "normals_within: {} elements from {from} on are not in a slot of {len}", out.len());
        let start = u128::from(slot) * len.next_multiple_of(2) as u128 + from as u128;
        Runs::at(self, stream, start, kernels::box_muller_blocks).fill(out);
    }
}
