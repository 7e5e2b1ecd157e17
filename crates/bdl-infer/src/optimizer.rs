//! Optimizers over the flat parameter vector.

use std::ops::Range;

use bdl_tensor::kernels::{self, AdamStep};

use crate::Error;
use crate::error::{check_arg, check_len};

/// A first-order optimizer and its settings.
///
/// | optimizer | name | default | range | meaning |
/// |---|---|---|---|---|
/// | `Sgd` | `momentum` | 0 | `[0, 1)` | share of the last step's velocity that is kept |
/// | `Adam`, `AdamW` | `beta1` | 0.9 | `[0, 1)` | decay of the mean of the gradients |
/// | | `beta2` | 0.999 | `[0, 1)` | decay of the mean of their squares |
/// | | `floor` | 1e-8 | finite and > 0 | added to the root of the second moment |
/// | `AdamW` | `weight_decay` | 0.01 | finite and >= 0 | rate, times the learning rate, at which parameters shrink |
///
/// ```text
/// Sgd:    m ← momentum·m + g                    w ← w − lr·m
/// Adam:   m ← beta1·m + (1 − beta1)·g           m̂ = m/(1 − beta1ᵗ)
///         v ← beta2·v + (1 − beta2)·g²          v̂ = v/(1 − beta2ᵗ)
///         w ← w − lr·m̂/(√v̂ + floor)
/// AdamW:  w ← (1 − lr·weight_decay)·w, then as Adam
/// ```
///
/// # References
/// Kingma & Ba 2015, Adam: A Method for Stochastic Optimization, algorithm 1. Loshchilov & Hutter 2019, Decoupled Weight
/// Decay Regularization, algorithm 2, with the decay scaled by the learning rate. `docs/math.md#sgd-momentum`,
/// `docs/math.md#adam`, `docs/math.md#adamw`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Optimizer {
    /// Gradient descent with momentum.
    Sgd {
        /// Share of the last step's velocity that is kept.
        momentum: f64,
    },
    /// Adam.
    Adam {
        /// Decay of the mean of the gradients.
        beta1: f64,
        /// Decay of the mean of their squares.
        beta2: f64,
        /// Added to the root of the second moment.
        floor: f64,
    },
    /// Adam with decoupled weight decay.
    AdamW {
        /// Decay of the mean of the gradients.
        beta1: f64,
        /// Decay of the mean of their squares.
        beta2: f64,
        /// Added to the root of the second moment.
        floor: f64,
        /// Rate, times the learning rate, at which parameters shrink.
        weight_decay: f64,
    },
}

impl Default for Optimizer {
    /// [`Optimizer::adam`].
    fn default() -> Self {
        Self::adam()
    }
}

impl Optimizer {
    /// Gradient descent.
    #[must_use]
    pub const fn sgd() -> Self {
        Self::Sgd { momentum: 0.0 }
    }

    /// Adam with the defaults of the table.
    #[must_use]
    pub const fn adam() -> Self {
        Self::Adam { beta1: 0.9, beta2: 0.999, floor: 1e-8 }
    }

    /// AdamW with the defaults of the table.
    #[must_use]
    pub const fn adam_w() -> Self {
        Self::AdamW { beta1: 0.9, beta2: 0.999, floor: 1e-8, weight_decay: 0.01 }
    }

    /// Checks the settings against the table above.
    ///
    /// # Errors
    /// [`Error::Argument`] that names the setting.
    pub fn check(&self) -> Result<(), Error> {
        let share = |what, x| check_arg(what, "in [0, 1)", x, (0.0..1.0).contains(&x)).map(|_| ());
        match *self {
            Self::Sgd { momentum } => share("sgd: momentum", momentum),
            Self::Adam { beta1, beta2, floor } | Self::AdamW { beta1, beta2, floor, .. } => {
                share("adam: beta1", beta1)?;
                share("adam: beta2", beta2)?;
                check_arg("adam: floor", "finite and > 0", floor, floor > 0.0 && floor.is_finite())?;
                let decay = self.weight_decay();
                check_arg(
                    "adamw: weight_decay",
                    "finite and >= 0",
                    decay,
                    decay >= 0.0 && decay.is_finite(),
                )?;
                Ok(())
            }
        }
    }

    fn weight_decay(&self) -> f64 {
        if let Self::AdamW { weight_decay, .. } = *self { weight_decay } else { 0.0 }
    }
}

/// What an optimizer carries from one step to the next: moments in the layout of the parameters, and the step count.
///
/// ```
/// use bdl_infer::{Optimizer, OptimizerState};
/// let mut state = OptimizerState::new(Optimizer::adam(), 1)?;
/// let mut w = [1.0];
/// state.step(&mut w, &[123.0], 0.1)?; // Adam's first step is lr, whatever the gradient
/// assert!((w[0] - 0.9).abs() < 1e-6);
/// # Ok::<(), bdl_infer::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerState {
    optimizer: Optimizer,
    /// Velocity or first moment.
    m: Vec<f32>,
    /// Second moment; empty for SGD.
    v: Vec<f32>,
    steps: u64,
    decayed: Vec<Range<usize>>,
    /// In order, apart from each other.
    buffers: Vec<Range<usize>>,
}

impl OptimizerState {
    /// The state before the first step, for `len` parameters. Weight decay, where there is any, acts on all of them.
    ///
    /// # Errors
    /// As [`Optimizer::check`].
    pub fn new(optimizer: Optimizer, len: usize) -> Result<Self, Error> {
        optimizer.check()?;
        let second = if matches!(optimizer, Optimizer::Sgd { .. }) { 0 } else { len };
        Ok(Self {
            optimizer,
            m: vec![0.0; len],
            v: vec![0.0; second],
            steps: 0,
            decayed: vec![0..len; 1],
            buffers: Vec::new(),
        })
    }

    /// Restricts weight decay to some ranges of the parameter vector.
    ///
    /// A raw scale or a learned noise that decays towards 0 decays towards `softplus(0) = 0.69`, which is hardly meant.
    ///
    /// # Errors
    /// [`Error::Argument`] if a range reaches beyond the parameters.
    pub fn decay_only(mut self, ranges: Vec<Range<usize>>) -> Result<Self, Error> {
        self.check_ranges("adamw: decayed range", &ranges)?;
        self.decayed = ranges;
        Ok(self)
    }

    /// Ranges of the parameter vector, in order, that are not optimized but remembered
    /// ([`Role::Buffer`](bdl_layers::Role::Buffer)): their gradient is subtracted as it stands, whatever the learning rate.
    ///
    /// # Errors
    /// [`Error::Argument`] if a range reaches beyond the parameters, or begins before the one in front ends.
    pub fn remember(mut self, ranges: Vec<Range<usize>>) -> Result<Self, Error> {
        self.check_ranges("optimizer: buffer", &ranges)?;
        if let Some(pair) = ranges.windows(2).find(|pair| pair[1].start < pair[0].end) {
            return Err(Error::argument("optimizer: buffers", "in order", format!("{pair:?}")));
        }
        self.buffers = ranges;
        Ok(self)
    }

    fn check_ranges(&self, what: &'static str, ranges: &[Range<usize>]) -> Result<(), Error> {
        match ranges.iter().find(|r| r.start > r.end || r.end > self.m.len()) {
            Some(r) => Err(Error::argument(what, "within the parameters", format!("{r:?}"))),
            None => Ok(()),
        }
    }

    /// The optimizer and its settings.
    #[must_use]
    pub fn optimizer(&self) -> Optimizer {
        self.optimizer
    }

    /// Steps done.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Velocity (SGD) or mean of the gradients (Adam), in the layout of the parameters.
    #[must_use]
    pub fn first_moment(&self) -> &[f32] {
        &self.m
    }

    /// Mean of the squared gradients (Adam), in the layout of the parameters; empty for SGD.
    #[must_use]
    pub fn second_moment(&self) -> &[f32] {
        &self.v
    }

    /// One step against the gradient: changes `params` and the moments in place, without an allocation.
    ///
    /// # Shapes
    /// `params`, `grads`: as many as the state was made for.
    ///
    /// # Errors
    /// [`Error::Length`] for another length, [`Error::Argument`] for a learning rate that is negative, NaN or infinite;
    /// nothing is changed then.
    pub fn step(&mut self, params: &mut [f32], grads: &[f32], lr: f32) -> Result<(), Error> {
        check_len("optimizer: gradients", self.m.len(), grads.len())?;
        let (rule, moments) = self.begin(params.len(), lr)?;
        rule.apply(0, params, grads, moments);
        Ok(())
    }

    /// Counts a step of `len` parameters, and says what it does to each.
    pub(crate) fn begin(&mut self, len: usize, lr: f32) -> Result<(Rule<'_>, Moments<'_>), Error> {
        check_len("optimizer: parameters", self.m.len(), len)?;
        check_arg("optimizer: lr", "finite and >= 0", lr.into(), lr >= 0.0 && lr.is_finite())?;
        self.steps += 1;
        let decay = self.optimizer.weight_decay();
        let keep = (decay > 0.0).then(|| (1.0 - f64::from(lr) * decay) as f32);
        let kind = match self.optimizer {
            Optimizer::Sgd { momentum } => Kind::Sgd { momentum: momentum as f32, lr },
            Optimizer::Adam { beta1, beta2, floor } | Optimizer::AdamW { beta1, beta2, floor, .. } => {
                Kind::Adam(adam_step(beta1, beta2, floor, lr, self.steps))
            }
        };
        let rule = Rule { kind, keep, decayed: &self.decayed, buffers: &self.buffers };
        Ok((rule, Moments { m: &mut self.m, v: &mut self.v }))
    }
}

/// One step of an optimizer, for any run of the parameters.
pub(crate) struct Rule<'a> {
    kind: Kind,
    /// What weight decay leaves of a parameter.
    keep: Option<f32>,
    decayed: &'a [Range<usize>],
    buffers: &'a [Range<usize>],
}

enum Kind {
    Sgd { momentum: f32, lr: f32 },
    Adam(AdamStep),
}

/// The moments of a run of the parameters; the second is empty for SGD.
pub(crate) struct Moments<'a> {
    pub(crate) m: &'a mut [f32],
    pub(crate) v: &'a mut [f32],
}

impl Rule<'_> {
    /// Moves the parameters from index `at` on.
    pub(crate) fn apply(&self, at: usize, params: &mut [f32], grads: &[f32], mut moments: Moments<'_>) {
        if let Some(keep) = self.keep {
            let end = at + params.len();
            let inside = |i: usize| i.clamp(at, end) - at;
            let decayed = self.decayed.iter().map(|r| inside(r.start)..inside(r.end));
            decayed.for_each(|r| kernels::scale(keep, &mut params[r]));
        }
        let (end, mut from) = (at + params.len(), at);
        for buffer in self.buffers.iter().filter(|b| b.start < end && b.end > at) {
            let buffer = buffer.start.max(at)..buffer.end.min(end);
            self.follow(from - at..buffer.start - at, params, grads, &mut moments);
            let buffer_at = buffer.start - at..buffer.end - at;
            kernels::axpy(-1.0, &grads[buffer_at.clone()], &mut params[buffer_at]);
            from = buffer.end;
        }
        self.follow(from - at..end - at, params, grads, &mut moments);
    }

    /// Moves a run in which there is no buffer.
    fn follow(&self, run: Range<usize>, params: &mut [f32], grads: &[f32], moments: &mut Moments<'_>) {
        let (params, grads, m) = (&mut params[run.clone()], &grads[run.clone()], &mut moments.m[run.clone()]);
        match &self.kind {
            Kind::Sgd { momentum, lr } => sgd(*momentum, *lr, params, grads, m),
            Kind::Adam(step) => kernels::adam(step, params, grads, m, &mut moments.v[run]),
        }
    }
}

fn sgd(momentum: f32, lr: f32, params: &mut [f32], grads: &[f32], m: &mut [f32]) {
    for ((w, &g), m) in params.iter_mut().zip(grads).zip(m) {
        *m = momentum * *m + g;
        *w -= lr * *m;
    }
}

/// Step `step` = 1, 2, … of Adam; the bias corrections are those of the decays as rounded to `f32`.
fn adam_step(beta1: f64, beta2: f64, floor: f64, lr: f32, step: u64) -> AdamStep {
    let bias = |beta: f64| (1.0 - f64::from(beta as f32).powf(step as f64)) as f32;
    AdamStep {
        lr,
        beta1: beta1 as f32,
        beta2: beta2 as f32,
        floor: floor as f32,
        bias1: bias(beta1),
        bias2: bias(beta2),
        weight_decay: 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Algorithm 2 of Loshchilov & Hutter in f64, with both corrections in the open.
    fn naive_adam_w(w: &mut [f64], grads: &[Vec<f64>], lr: f64, decay: f64) {
        let (mut m, mut v) = (vec![0.0; w.len()], vec![0.0; w.len()]);
        for (t, g) in grads.iter().enumerate() {
            let t = t as i32 + 1;
            for i in 0..w.len() {
                m[i] = 0.9 * m[i] + 0.1 * g[i];
                v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
                let m_hat = m[i] / (1.0 - 0.9_f64.powi(t));
                let v_hat = v[i] / (1.0 - 0.999_f64.powi(t));
                w[i] = w[i] - lr * decay * w[i] - lr * m_hat / (v_hat.sqrt() + 1e-8);
            }
        }
    }

    fn gradients(steps: usize, len: usize) -> Vec<Vec<f64>> {
        let g = |t: usize, i: usize| {
            f64::from(((t as f64 * 1.7 + i as f64 * 0.9).sin() * 10_f64.powi(i as i32 - 2)) as f32)
        };
        (0..steps).map(|t| (0..len).map(|i| g(t, i)).collect()).collect()
    }

    fn run(state: &mut OptimizerState, w: &mut [f32], grads: &[Vec<f64>], lr: f32) {
        for g in grads {
            let g: Vec<f32> = g.iter().map(|&g| g as f32).collect();
            state.step(w, &g, lr).unwrap();
        }
    }

    #[test]
    fn adam_and_adam_w_follow_the_naive_f64_algorithm() {
        let grads = gradients(300, 5);
        for optimizer in [Optimizer::adam(), Optimizer::adam_w()] {
            let mut slow = [1.0, -2.0, 0.5, 3.0, 0.0];
            let mut fast = slow.map(|w| w as f32);
            naive_adam_w(&mut slow, &grads, f64::from(0.01_f32), optimizer.weight_decay());
            run(&mut OptimizerState::new(optimizer, 5).unwrap(), &mut fast, &grads, 0.01);
            for (f, s) in fast.iter().zip(slow) {
                assert!(
                    (f64::from(*f) - s).abs() < 1e-4 * (1.0 + s.abs()),
                    "{optimizer:?}: {fast:?} {slow:?}"
                );
            }
        }
    }

    #[test]
    fn weight_decay_is_decoupled_and_can_be_restricted() {
        let state = OptimizerState::new(Optimizer::adam_w(), 3).unwrap();
        let mut w = [1.0, 1.0, 1.0];
        let mut restricted = state.decay_only(vec![0..1, 2..3]).unwrap();
        for _ in 0..2 {
            restricted.step(&mut w, &[0.0; 3], 0.5).unwrap();
        }
        assert_eq!(w, [0.995_f32 * 0.995, 1.0, 0.995_f32 * 0.995]);
        assert!(OptimizerState::new(Optimizer::adam_w(), 3).unwrap().decay_only(vec![2..4; 1]).is_err());
    }

    #[test]
    fn buffers_take_their_gradient_as_it_stands_and_leave_the_others_alone() {
        for optimizer in [Optimizer::sgd(), Optimizer::adam(), Optimizer::adam_w()] {
            let state = OptimizerState::new(optimizer, 7).unwrap();
            let mut all = state.clone().decay_only(vec![0..7; 1]).unwrap();
            let mut some = state.decay_only(vec![0..7; 1]).unwrap().remember(vec![0..1, 2..4, 6..7]).unwrap();
            let (mut w, mut v) = ([1.0; 7], [1.0; 7]);
            let grads = [0.25, 0.5, -0.5, 0.125, 1.0, 2.0, 0.75];
            all.step(&mut w, &grads, 0.0).unwrap();
            some.step(&mut v, &grads, 0.0).unwrap();
            assert_eq!(v, [0.75, 1.0, 1.5, 0.875, 1.0, 1.0, 0.25], "{optimizer:?}");
            all.step(&mut w, &grads, 0.1).unwrap();
            some.step(&mut v, &grads, 0.1).unwrap();
            assert_eq!([w[1], w[4], w[5]], [v[1], v[4], v[5]], "{optimizer:?}");
        }
        let state = OptimizerState::new(Optimizer::adam(), 4).unwrap();
        assert!(state.clone().remember(vec![2..5; 1]).is_err());
        assert!(state.remember(vec![1..3, 2..4]).is_err());
    }

    #[test]
    fn sgd_on_a_quadratic_is_the_closed_form() {
        // w' = w − lr·a·w, so w_t = (1 − lr·a)ᵗ; 1 − lr·a = 3/4 is exact.
        let mut state = OptimizerState::new(Optimizer::sgd(), 1).unwrap();
        let mut w = [1.0_f32];
        for _ in 0..10 {
            let g = [2.0 * w[0]];
            state.step(&mut w, &g, 0.125).unwrap();
        }
        assert_eq!(f64::from(w[0]), 0.75_f64.powi(10));
    }

    #[test]
    fn momentum_follows_its_recurrence_and_reaches_the_terminal_velocity() {
        let mut state = OptimizerState::new(Optimizer::Sgd { momentum: 0.5 }, 1).unwrap();
        let mut w = [0.0_f32];
        for _ in 0..40 {
            state.step(&mut w, &[1.0], 0.25).unwrap();
        }
        // m_t = 2(1 − 2⁻ᵗ): w_T = −lr·(2T − 2(1 − 2⁻ᵀ)).
        assert!((w[0] + 0.25 * (80.0 - 2.0)).abs() < 1e-5);
        assert!((state.first_moment()[0] - 2.0).abs() < 1e-6);
        assert!(state.second_moment().is_empty());
    }

    #[test]
    fn adam_finds_the_minimum_of_an_ill_scaled_quadratic() {
        let mut state = OptimizerState::new(Optimizer::adam(), 2).unwrap();
        let mut w = [3.0_f32, -4.0];
        for t in 0..4000 {
            let g = [1e4 * (w[0] - 1.0), 1e-3 * (w[1] - 2.0)];
            state.step(&mut w, &g, 0.05 * (1.0 - t as f32 / 4000.0)).unwrap();
        }
        assert!((w[0] - 1.0).abs() < 1e-3 && (w[1] - 2.0).abs() < 1e-3, "{w:?}");
        assert_eq!(state.steps(), 4000);
    }

    #[test]
    fn lengths_and_settings_out_of_range_are_named() {
        let mut state = OptimizerState::new(Optimizer::adam(), 2).unwrap();
        let e = state.step(&mut [0.0; 2], &[0.0; 3], 0.1).unwrap_err();
        assert_eq!(e.to_string(), "optimizer: gradients: expected 2, got 3");
        for (lr, got) in [(f32::NAN, "NaN"), (-1.0, "-1"), (f32::INFINITY, "inf")] {
            let e = state.step(&mut [0.0; 2], &[0.0; 2], lr).unwrap_err();
            assert_eq!(e.to_string(), format!("optimizer: lr must be finite and >= 0, got {got}"));
        }
        assert_eq!(state.steps(), 0);
        let e = OptimizerState::new(Optimizer::Sgd { momentum: 1.0 }, 2).unwrap_err();
        assert_eq!(e.to_string(), "sgd: momentum must be in [0, 1), got 1");
        assert!(Optimizer::Adam { beta1: 0.9, beta2: f64::NAN, floor: 1e-8 }.check().is_err());
        assert!(
            Optimizer::AdamW { beta1: 0.9, beta2: 0.9, floor: 1e-8, weight_decay: -1.0 }.check().is_err()
        );
    }
}
