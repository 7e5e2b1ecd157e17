//! A drop probability that is learned through its logit.

use bdl_tensor::special::softplus;

/// Where the logit stops at either end: at 2·10⁻⁹ from a probability of 0 or 1, beyond which a mask says nothing.
pub(super) const MOST_LOGIT: f32 = 20.0;

/// The drop probability p and what the KL has of it.
pub(super) struct Rate {
    /// Within ±[`MOST_LOGIT`].
    pub(super) logit: f32,
    /// Whether a change of the parameter changes the logit.
    pub(super) free: bool,
    /// p.
    pub(super) drop_prob: f64,
    /// `1 − p`, without what the difference would lose.
    pub(super) keep_prob: f64,
}

impl Rate {
    pub(super) fn new(raw: f32) -> Self {
        let logit = raw.clamp(-MOST_LOGIT, MOST_LOGIT);
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let (drop_prob, keep_prob) = (sigmoid(logit.into()), sigmoid(-f64::from(logit)));
        Self { logit, free: raw.abs() < MOST_LOGIT, drop_prob, keep_prob }
    }

    /// The factor of a unit that is kept.
    pub(super) fn scale(&self) -> f32 {
        (1.0 / self.keep_prob) as f32
    }

    /// `H(p) = p·softplus(−logit) + (1 − p)·softplus(logit)`, nats.
    pub(super) fn entropy(&self) -> f64 {
        let logit = f64::from(self.logit);
        self.drop_prob * softplus(-logit) + self.keep_prob * softplus(logit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entropy_is_that_of_two_outcomes_and_its_slope_minus_logit_times_p_times_1_minus_p() {
        for logit in [-19.0_f32, -3.0, -0.5, 0.0, 0.7, 4.0] {
            let at = |logit: f32| Rate::new(logit);
            let (p, k) = (at(logit).drop_prob, at(logit).keep_prob);
            assert!((at(logit).entropy() + p * p.ln() + k * k.ln()).abs() < 1e-9, "{logit}");
            let (above, below) = (logit + 1.0 / 256.0, logit - 1.0 / 256.0);
            let slope = (at(above).entropy() - at(below).entropy()) / f64::from(above - below);
            assert!((slope + f64::from(logit) * p * k).abs() < 1e-5, "{logit}: {slope}");
        }
    }

    #[test]
    fn the_logit_stops_at_20_and_has_no_slope_there() {
        for (raw, logit, free) in
            [(1e4, 20.0, false), (20.0, 20.0, false), (-1e4, -20.0, false), (19.0, 19.0, true)]
        {
            let rate = Rate::new(raw);
            assert_eq!((rate.logit, rate.free), (logit, free));
            assert!(rate.entropy() > 0.0 && rate.scale().is_finite());
        }
        assert!(Rate::new(f32::NAN).keep_prob.is_nan() && !Rate::new(f32::NAN).free);
    }
}
