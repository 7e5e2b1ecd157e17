//! Variational dropout with correlated weight noise: type B.

use bdl_dist::NoiseRng;
use bdl_tensor::{Mat, MatMut, math};
use serde::{Deserialize, Serialize};

use super::{Drawn, Noisy};
use crate::dense::{check_alpha, check_dims};
use crate::family::{Grain, GrainV1, IMPROPER, alphas_at_prior, ln_alpha, logit};
use crate::layer::{Backward, Context, KlAt, Layer, Scratch};
use crate::{AtMean, Block, Draw, Error, KlForm, KlTerm, LayerReport, Pass, Role, codec};

/// Variational dropout with correlated weight noise (type B): multiplicative noise of learned variance on the inputs of the layer behind.
///
/// ```text
/// y = x·s,  s ~ N(1, alpha),  alpha = sigmoid(logit_alpha) < 1      one alpha per layer or per unit
/// KL ≈ 0.65535 − ½·ln alpha − c1·alpha − c2·alpha² − c3·alpha³     per unit
/// ```
///
/// The weights behind are `w_ij = s_i·theta_ij`: each input has one scale s with a log-uniform prior, which all its weights share, so that the KL counts inputs and not weights.
/// theta are plain parameters of whatever layer stands behind. Each row has its own scales under [`Scope::Row`](crate::Scope::Row) and always in training; under
/// [`Scope::Pass`](crate::Scope::Pass) they hold for the pass, which is a function with weights `s_i·theta_ij`. At the mean y = x.
///
/// Noise: eps of `s = 1 + √alpha·eps` at site 0, one per unit.
///
/// # References
/// Kingma, Salimans & Welling 2015, *Variational dropout and the local reparameterization trick*, §3.2 and eq. 14;
/// `docs/math.md#variational-dropout`.
#[derive(Clone, Debug, PartialEq)]
pub struct CorrelatedVd {
    noisy: Noisy,
    grain: Grain,
    init_alpha: f64,
}

/// The form in which a file holds a [`CorrelatedVd`]; frozen.
#[derive(Serialize, Deserialize)]
struct V1 {
    units: u64,
    positions: u64,
    grain: GrainV1,
    init_alpha: f64,
}

impl CorrelatedVd {
    pub(crate) const KIND: &'static str = "correlated-vd";

    /// Noise on `units` inputs, initially of `alpha = 0.25`, as a drop probability of 0.2 has.
    ///
    /// # Errors
    /// [`Error::Argument`] for a width of 0, and for [`Grain::Weight`]: there are no weights here.
    pub fn new(units: usize, grain: Grain) -> Result<Self, Error> {
        check_dims(Self::KIND, units, units)?;
        if grain == Grain::Weight {
            let (layer, expected) = (Self::KIND.to_owned(), "Layer or Unit".to_owned());
            return Err(Error::Argument { layer, argument: "grain", expected, got: "Weight".to_owned() });
        }
        Ok(Self { noisy: Noisy { units, positions: 1 }, grain, init_alpha: 0.25 })
    }

    /// The same over `positions` positions of `units` channels each, which share their scales.
    ///
    /// # Errors
    /// [`Error::Argument`] for no position.
    pub fn over_positions(self, positions: usize) -> Result<Self, Error> {
        check_dims(Self::KIND, positions, self.noisy.units.saturating_mul(positions))?;
        Ok(Self { noisy: Noisy { positions, ..self.noisy }, ..self })
    }

    /// The same with another initial alpha.
    ///
    /// # Errors
    /// [`Error::Argument`] unless it is in (0, 1).
    pub fn with_init_alpha(self, init_alpha: f64) -> Result<Self, Error> {
        check_alpha(Self::KIND, init_alpha)?;
        Ok(Self { init_alpha, ..self })
    }

    pub(crate) fn build(config: &[u8]) -> Result<Box<dyn Layer>, Error> {
        let v: V1 = codec::decode("layer correlated-vd", config)?;
        let layer = Self::new(v.units as usize, v.grain.into())?.over_positions(v.positions as usize)?;
        Ok(Box::new(layer.with_init_alpha(v.init_alpha)?))
    }

    fn alphas(&self) -> usize {
        if self.grain == Grain::Layer { 1 } else { self.noisy.units }
    }

    fn term(&self) -> KlTerm {
        let weights = (self.noisy.units / self.alphas()) as f64;
        KlTerm { range: 0..self.alphas(), form: KlForm::Dropout { weights } }
    }

    /// `√alpha` of each unit.
    fn deviations(&self, raw: &[f32], sd: &mut [f32]) {
        match raw {
            [raw] => sd.fill(math::sigmoid(*raw).sqrt()),
            _ => sd.iter_mut().zip(raw).for_each(|(sd, &raw)| *sd = math::sigmoid(raw).sqrt()),
        }
    }

    /// Adds the gradient of the raw parameters, `½·sd·(1 − alpha)` times that of the deviations.
    fn raw_grads(&self, raw: &[f32], sd: &[f32], d_sd: &[f32], d_raw: &mut [f32]) {
        let each = sd.iter().zip(d_sd).map(|(sd, d)| 0.5 * sd * d);
        match (raw, &mut *d_raw) {
            ([raw], [d_raw]) => *d_raw += each.map(f64::from).sum::<f64>() as f32 * math::sigmoid(-raw),
            _ => d_raw.iter_mut().zip(each).zip(raw).for_each(|((d, g), &raw)| *d += g * math::sigmoid(-raw)),
        }
    }
}

impl Layer for CorrelatedVd {
    fn kind(&self) -> &str {
        Self::KIND
    }

    fn config(&self) -> Result<Vec<u8>, Error> {
        let (Noisy { units, positions }, grain) = (self.noisy, self.grain.into());
        let v = V1 { units: units as u64, positions: positions as u64, grain, init_alpha: self.init_alpha };
        codec::encode("layer correlated-vd", &v)
    }

    fn in_dim(&self) -> usize {
        self.noisy.dim()
    }

    fn out_dim(&self) -> usize {
        self.noisy.dim()
    }

    fn blocks(&self) -> Vec<Block> {
        vec![Block::new("logit_alpha", &[self.alphas()], Role::RawScale)]
    }

    fn init(&self, params: &mut [f32], _: &mut NoiseRng) {
        params.fill(logit(self.init_alpha));
    }

    fn is_random(&self) -> bool {
        true
    }

    fn scratch(&self, rows: usize, pass: &Pass<'_>) -> Scratch {
        let Scratch { floats, words } = self.noisy.scratch(rows, pass);
        // And the gradient of the deviations.
        Scratch { floats: if floats == 0 { 0 } else { floats + self.noisy.units }, words }
    }

    fn forward(&self, ctx: &mut Context<'_>, x: Mat<'_>, y: &mut MatMut<'_>) -> Result<(), Error> {
        self.noisy.forward(ctx, x, y, |raw, sd| self.deviations(raw, sd));
        Ok(())
    }

    fn backward(&self, ctx: &mut Context<'_>, grads: &mut [f32], io: Backward<'_>) -> Result<(), Error> {
        if ctx.pass.mask_draw() != Draw::Mean {
            let Drawn { sd, eps, rest: d_sd } = self.noisy.drawn(io.x.rows(), ctx.pass, ctx.floats);
            self.noisy.deviation_grads(io.x, io.dy, eps, d_sd);
            self.raw_grads(ctx.params, sd, d_sd, grads);
        }
        self.noisy.backward(ctx, io.dy, io.dx);
        Ok(())
    }

    fn kl(&self, at: &KlAt<'_>) -> f64 {
        self.term().kl(at.params)
    }

    fn kl_grad(&self, at: &KlAt<'_>, weight: f32, grads: &mut [f32]) -> f64 {
        self.term().kl_grad(at.params, weight, grads)
    }

    fn kl_terms(&self, _: f64) -> Option<Vec<KlTerm>> {
        Some(vec![self.term()])
    }

    fn report(&self, at: &KlAt<'_>) -> LayerReport {
        let log_alpha = at.params.iter().map(|&raw| ln_alpha(raw)).collect();
        let report = LayerReport::of_log_alpha(log_alpha).with_at_prior(alphas_at_prior(at.params));
        LayerReport { kl: self.kl(at), ..report }
    }

    fn at_mean(&self) -> AtMean<'_> {
        AtMean::Identity
    }

    fn sample_prior(&self, _: &mut [f32], _: &mut NoiseRng) -> Result<(), Error> {
        Err(Error::NoPrior { layer: Self::KIND.to_owned(), got: IMPROPER })
    }
}
