//! A residual connection around a few layers.

use bdl_dist::NoiseRng;
use bdl_tensor::{Mat, MatMut, kernels};
use serde::{Deserialize, Serialize};

use crate::layer::{Backward, Context, KlAt, Layer, Scratch};
use crate::plan::{Back, TapeMut};
use crate::workspace::tape_ends;
use crate::{
    AtMean, Block, Error, KlKnown, KlTerm, LayerReport, Means, Pass, Plan, Prunable, Registry, codec,
};

/// `y = x + f(x)`, where f is a stack of layers as wide at its end as at its beginning.
///
/// The layers of f keep their parameters, their noise (each takes a place of its own in the addresses) and their KL: this one is
/// their sum. A mask in front of the residual layer acts on both ways.
///
/// ```
/// use bdl_layers::{Activation, ActivationLayer, Layer, Prior, Residual, VariationalDense};
/// let block = Residual::new(vec![
///     Box::new(VariationalDense::new(8, 8, Prior::StdDev(1.0))?),
///     Box::new(ActivationLayer::new(Activation::Relu, 8)?),
/// ])?;
/// assert_eq!((block.in_dim(), block.out_dim()), (8, 8));
/// assert_eq!(block.blocks()[0].name, "0.variational-dense/weight.mu");
/// # Ok::<(), bdl_layers::Error>(())
/// ```
///
/// # References
/// He, Zhang, Ren & Sun 2016, *Deep residual learning for image recognition*, eq. 1.
#[derive(Debug)]
pub struct Residual {
    inner: Plan,
}

/// The form in which a file holds a [`Residual`]: kind and configuration of each layer; frozen.
#[derive(Serialize, Deserialize)]
struct V1 {
    layers: Vec<(String, Vec<u8>)>,
}

impl Residual {
    pub(crate) const KIND: &'static str = "residual";

    /// A residual connection around these layers.
    ///
    /// # Errors
    /// Those of [`Plan::new`]; [`Error::Chain`] unless the last layer gives as many outputs as the first takes inputs;
    /// [`Error::Argument`] for a residual layer inside, so that a file cannot nest them without end.
    pub fn new(layers: Vec<Box<dyn Layer>>) -> Result<Self, Error> {
        if layers.iter().any(|l| l.kind() == Self::KIND) {
            let (layer, got) = (Self::KIND.to_owned(), "a residual layer inside it".to_owned());
            let expected = "no residual layers themselves".to_owned();
            return Err(Error::Argument { layer, argument: "layers", expected, got });
        }
        Self::around(Plan::new(layers)?)
    }

    /// The same around a network of layers that are not residual themselves.
    pub(crate) fn around(inner: Plan) -> Result<Self, Error> {
        let (takes, gives) = (inner.in_dim(), inner.out_dim());
        if takes != gives {
            return Err(Error::Chain { layer: Self::KIND.to_owned(), takes, gives });
        }
        Ok(Self { inner })
    }

    /// The layers inside.
    #[must_use]
    pub fn inner(&self) -> &Plan {
        &self.inner
    }

    pub(crate) fn build(registry: &Registry, config: &[u8]) -> Result<Box<dyn Layer>, Error> {
        let v: V1 = codec::decode("layer residual", config)?;
        let build = |(kind, config): &(String, Vec<u8>)| registry.build(kind, config);
        Ok(Box::new(Self::new(v.layers.iter().map(build).collect::<Result<_, _>>()?)?))
    }

    /// Scratch: the tape of the layers inside, and two buffers for gradients.
    fn tape<'a>(&self, rows: usize, ctx: &'a mut Context<'_>) -> (TapeMut<'a>, [&'a mut [f32]; 2]) {
        let (acts, floats, _) = tape_ends(&self.inner, rows, ctx.pass);
        let (acts, rest) = ctx.floats.split_at_mut(acts);
        let (floats, buffers) = rest.split_at_mut(floats);
        let tape = TapeMut { acts, floats, words: ctx.words, prepared: ctx.prepared };
        (tape, buffers.split_at_mut(rows * self.widest()).into())
    }

    fn widest(&self) -> usize {
        self.inner.layers().map(|(_, l)| l.in_dim().max(l.out_dim())).max().unwrap_or(0)
    }
}

impl Layer for Residual {
    fn kind(&self) -> &str {
        Self::KIND
    }

    fn config(&self) -> Result<Vec<u8>, Error> {
        let layers = self.inner.layers().map(|(_, l)| Ok((l.kind().to_owned(), l.config()?)));
        codec::encode("layer residual", &V1 { layers: layers.collect::<Result<_, Error>>()? })
    }

    fn in_dim(&self) -> usize {
        self.inner.in_dim()
    }

    fn out_dim(&self) -> usize {
        self.inner.out_dim()
    }

    /// The blocks of the layers inside, named `0.dense/weight`.
    fn blocks(&self) -> Vec<Block> {
        let named = self.inner.entries().iter();
        named.map(|e| Block::new(e.path(), &e.block.shape, e.block.role)).collect()
    }

    fn init(&self, params: &mut [f32], rng: &mut NoiseRng) {
        self.inner.init_with(params, rng);
    }

    fn is_random(&self) -> bool {
        self.inner.is_random()
    }

    fn couples_rows(&self, pass: &Pass<'_>) -> bool {
        self.inner.layers().any(|(_, l)| l.couples_rows(pass))
    }

    fn places(&self) -> usize {
        self.inner.layers().map(|(_, l)| l.places()).sum()
    }

    fn prepared(&self, pass: &Pass<'_>) -> usize {
        self.inner.layers().map(|(_, l)| l.prepared(pass)).sum()
    }

    fn prepare(&self, params: &[f32], pass: &Pass<'_>, prepared: &mut [f32]) {
        let mut rest = prepared;
        for l in &self.inner.layers {
            let (own, behind) = rest.split_at_mut(l.layer.prepared(pass));
            l.layer.prepare(&params[l.start..l.end], pass, own);
            rest = behind;
        }
    }

    fn scratch(&self, rows: usize, pass: &Pass<'_>) -> Scratch {
        let (acts, floats, words) = tape_ends(&self.inner, rows, pass);
        Scratch { floats: acts + floats + 2 * rows * self.widest(), words }
    }

    fn forward(&self, ctx: &mut Context<'_>, x: Mat<'_>, y: &mut MatMut<'_>) -> Result<(), Error> {
        let (base, params, pass) = (ctx.layer, ctx.params, ctx.pass);
        let n = y.data().len();
        let (tape, _) = self.tape(x.rows(), ctx);
        let end = self.inner.walk(base, params, x, pass, tape)?;
        kernels::add(x.data(), &ctx.floats[end - n..end], y.data_mut());
        Ok(())
    }

    fn backward(&self, ctx: &mut Context<'_>, grads: &mut [f32], io: Backward<'_>) -> Result<(), Error> {
        let (base, params, pass) = (ctx.layer, ctx.params, ctx.pass);
        let (tape, buffers) = self.tape(io.x.rows(), ctx);
        buffers[0][..io.dy.data().len()].copy_from_slice(io.dy.data());
        let back = Back {
            buffers,
            wants_dx: io.dx.is_some(),
            backward: &|layer, ctx, grads, io| layer.backward(ctx, grads, io),
        };
        let through = self.inner.walk_back(base, params, io.x, pass, tape, back, grads)?;
        if let (Some(mut dx), Some(through)) = (io.dx, through) {
            kernels::add(io.dy.data(), through, dx.data_mut());
        }
        Ok(())
    }

    /// Summed term by term where there are terms: sums of sums would have other bits.
    fn kl(&self, at: &KlAt<'_>) -> f64 {
        match self.kl_terms(at.input_keep_prob) {
            Some(terms) => KlTerm::sum(&terms, at.params),
            None => self.inner.kl_inside(at),
        }
    }

    fn kl_grad(&self, at: &KlAt<'_>, weight: f32, grads: &mut [f32]) -> f64 {
        match self.kl_terms(at.input_keep_prob) {
            Some(terms) => KlTerm::sum_grad(&terms, at, weight, grads),
            None => self.inner.kl_grad_inside(at, weight, grads),
        }
    }

    fn kl_terms(&self, input_keep_prob: f64) -> Option<Vec<KlTerm>> {
        let of_layers = self.inner.kl_terms_behind(input_keep_prob)?;
        Some(of_layers.into_iter().flatten().collect())
    }

    fn weights(&self) -> usize {
        self.inner.weights()
    }

    fn prunable(&self) -> Prunable<'_> {
        Prunable::Inside(self)
    }

    fn kl_known(&self) -> KlKnown {
        self.inner.kl_known()
    }

    fn at_mean(&self) -> AtMean<'_> {
        AtMean::Plain(self)
    }

    fn sample_prior(&self, params: &mut [f32], rng: &mut NoiseRng) -> Result<(), Error> {
        self.inner.sample_prior_with(params, rng)
    }

    fn report(&self, at: &KlAt<'_>) -> LayerReport {
        LayerReport { kl: self.kl(at), inside: self.inner.summary_inside(at), ..LayerReport::default() }
    }
}

impl Means for Residual {
    fn plain(&self, registry: &Registry) -> Result<Box<dyn Layer>, Error> {
        Ok(Box::new(Self::new(self.inner.plain_layers(registry)?)?))
    }

    fn mean_params(&self, params: &[f32]) -> Vec<f32> {
        self.inner.mean_params_inside(params)
    }

    fn start_at(&self, mean: &[f32], sigma_ratio: Option<f64>, params: &mut [f32]) {
        self.inner.start_inside(mean, sigma_ratio, params);
    }
}
