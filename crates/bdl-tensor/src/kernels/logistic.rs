//! Standard logistic numbers from uniform words.

use super::chacha::Blocks;
use super::normal::transpose;
use crate::dispatch::dispatched;
use crate::math;

/// `ln u − ln(1 − u)` at `u = (w + ½)·2⁻³²`; both parts are exact before they are rounded, so that neither tail loses digits.
#[inline(always)]
fn logit(w: u32) -> f32 {
    math::ln((w as f32 + 0.5) / (!w as f32 + 0.5))
}

dispatched! {
    /// A standard logistic number from each word, in the order of the stream.
    ///
    /// ```text
    /// w ↦ ln u − ln(1 − u),   u = (w + ½)·2⁻³²
    /// ```
    ///
    /// The conversions to `f32` keep 24 bits of a word. The largest magnitude is 33 ln 2 = 22.87.
    ///
    /// # Examples
    /// ```
    /// use bdl_tensor::kernels;
    /// let (mut blocks, mut out) = ([[u32::MAX; 16]; 16], [f32::NAN; 256]);
    /// blocks[9][2] = 0; // word 9 of block 2
    /// kernels::logistic_blocks(&blocks, &mut out);
    /// assert_eq!((out[0], out[16 * 2 + 9]), (22.873_857, -22.873_857));
    /// ```
    pub fn logistic_blocks(blocks: &Blocks, out: &mut [f32; 256]) {
        let mut by_word = [0.0; 256];
        for (out, words) in by_word.as_chunks_mut::<16>().0.iter_mut().zip(blocks) {
            for (out, w) in out.iter_mut().zip(words) {
                *out = logit(*w);
            }
        }
        transpose(&by_word, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::forced::assert_levels_agree;

    #[test]
    fn each_word_is_its_logit_in_the_order_of_the_stream_at_every_level() {
        let word = |b: usize, w: usize| ((16 * b + w) as u32).wrapping_mul(2_654_435_761) ^ 0x55;
        let mut blocks: Blocks = [[0; 16]; 16];
        (0..256).for_each(|i| blocks[i % 16][i / 16] = word(i / 16, i % 16));
        assert_levels_agree("logistic_blocks", || {
            let mut out = [f32::NAN; 256];
            logistic_blocks(&blocks, &mut out);
            for (i, out) in out.iter().enumerate() {
                let u = (f64::from(word(i / 16, i % 16)) + 0.5) / 4_294_967_296.0;
                let expected = u.ln() - (1.0 - u).ln();
                assert!((f64::from(*out) - expected).abs() < 2e-6, "{i}: {out} {expected}");
            }
            out.map(f32::to_bits)
        });
    }
}
