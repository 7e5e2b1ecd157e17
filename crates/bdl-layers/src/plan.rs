//! The plan: a checked list of layers, the directory of their parameters, and evaluation.

mod walk;

use bdl_dist::{Noise, NoiseRng, Purpose};
use bdl_tensor::{Mat, MatMut, kernels};

use crate::layer::{Context, KlAt, Layer};
use crate::pass::MAX_LAYERS;
use crate::workspace::Workspace;
use crate::{BlockEntry, Error, Estimator, KlTerm, Pass, place};
use walk::LayerBackward;
pub(crate) use walk::{Back, TapeMut};

/// An immutable network without parameters: layers in order, and where their parameters lie.
///
/// ```
/// use bdl_dist::{Noise, Purpose};
/// use bdl_layers::{Activation, ActivationLayer, Dense, Dropout, Pass, Plan, Workspace};
/// use bdl_tensor::{Mat, MatMut};
/// let plan = Plan::new(vec![
///     Box::new(Dense::new(3, 16)?),
///     Box::new(ActivationLayer::new(Activation::Relu, 16)?),
///     Box::new(Dropout::new(16, 0.2)?),
///     Box::new(Dense::new(16, 1)?),
/// ])?;
/// assert_eq!((plan.in_dim(), plan.out_dim(), plan.n_params()), (3, 1, 81));
/// let params = plan.init(&Noise::new(0, Purpose::Init));
/// let mut y = [0.0; 2];
/// let x = Mat::new(&[0.5, -1.2, 2.0, 0.0, 0.0, 0.0], 2, 3)?;
/// plan.forward(&params, x, &Pass::mean(), &mut Workspace::new(), &mut MatMut::new(&mut y, 2, 1)?)?;
/// assert_eq!(y[1], 0.0); // no input, no biases yet
/// # Ok::<(), bdl_layers::Error>(())
/// ```
#[derive(Debug)]
pub struct Plan {
    pub(crate) layers: Vec<Placed>,
    entries: Vec<BlockEntry>,
    n_params: usize,
}

/// A layer and its place.
#[derive(Debug)]
pub(crate) struct Placed {
    name: String,
    pub(crate) layer: Box<dyn Layer>,
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Where in the addresses of noise it stands: its index, as long as nobody in front takes more than one place.
    pub(crate) place: usize,
    /// Index of the layer that masks this one's inputs.
    masked_by: Option<usize>,
}

impl Placed {
    /// Such as `1.dense`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn context<'a>(
        &self,
        pass: &'a Pass<'a>,
        params: &'a [f32],
        floats: &'a mut [f32],
        words: &'a mut [u64],
    ) -> Context<'a> {
        let (prepared, shared) = (&[][..], &[][..]);
        let params = &params[self.start..self.end];
        Context { pass, params, floats, words, prepared, shared, layer: self.place }
    }
}

impl Plan {
    /// Checks that each layer takes what the one in front gives, and places the parameters.
    ///
    /// # Errors
    /// [`Error::NoLayers`], [`Error::TooManyLayers`], [`Error::Chain`].
    pub fn new(layers: Vec<Box<dyn Layer>>) -> Result<Self, Error> {
        let places = layers.iter().map(|l| l.places()).sum();
        if places > MAX_LAYERS {
            return Err(Error::TooManyLayers { got: places });
        }
        let mut plan = Self { layers: Vec::with_capacity(layers.len()), entries: Vec::new(), n_params: 0 };
        for (index, layer) in layers.into_iter().enumerate() {
            plan.push(index, layer)?;
        }
        if plan.layers.is_empty() { Err(Error::NoLayers) } else { Ok(plan) }
    }

    fn push(&mut self, index: usize, layer: Box<dyn Layer>) -> Result<(), Error> {
        let name = format!("{index}.{}", layer.kind());
        let front = self.layers.last();
        if let Some(gives) = front.map(|f| f.layer.out_dim()).filter(|gives| *gives != layer.in_dim()) {
            return Err(Error::Chain { layer: name, takes: layer.in_dim(), gives });
        }
        let masked_by = front.filter(|f| f.layer.keep_prob().is_some()).map(|_| index - 1);
        let start = self.n_params;
        self.entries.extend(place(&name, layer.blocks(), start));
        let end = self.entries.last().map_or(start, |e| e.range.end).max(start);
        self.n_params = end;
        let place = front.map_or(0, |f| f.place + f.layer.places());
        self.layers.push(Placed { name, layer, start, end, place, masked_by });
        Ok(())
    }

    /// Input width.
    #[must_use]
    pub fn in_dim(&self) -> usize {
        self.layers.first().map_or(0, |l| l.layer.in_dim())
    }

    /// Output width.
    #[must_use]
    pub fn out_dim(&self) -> usize {
        self.layers.last().map_or(0, |l| l.layer.out_dim())
    }

    /// Number of parameters of all layers.
    #[must_use]
    pub fn n_params(&self) -> usize {
        self.n_params
    }

    /// Number of weights of all layers, without biases: [`Layer::weights`].
    #[must_use]
    pub fn weights(&self) -> usize {
        self.layers.iter().map(|l| l.layer.weights()).sum()
    }

    /// The directory of the parameter vector.
    #[must_use]
    pub fn entries(&self) -> &[BlockEntry] {
        &self.entries
    }

    /// The layers with their names, such as `1.dense`.
    pub fn layers(&self) -> impl ExactSizeIterator<Item = (&str, &dyn Layer)> {
        self.layers.iter().map(|l| (l.name.as_str(), &*l.layer))
    }

    /// Whether predictions depend on noise.
    #[must_use]
    pub fn is_random(&self) -> bool {
        self.layers.iter().any(|l| l.layer.is_random())
    }

    /// Whether in training a row's output depends on the rows beside it: then the objective of a batch is no unbiased estimate of
    /// the ELBO.
    #[must_use]
    pub fn couples_rows(&self) -> bool {
        let noise = Noise::new(0, Purpose::Train);
        let pass = Pass::train(&noise, 0, Estimator::default());
        self.layers.iter().any(|l| l.layer.couples_rows(&pass))
    }

    /// Initial parameters: each layer from a noise stream of its own.
    #[must_use]
    pub fn init(&self, noise: &Noise) -> Vec<f32> {
        let mut params = vec![0.0; self.n_params];
        for (i, l) in self.layers.iter().enumerate() {
            l.layer.init(&mut params[l.start..l.end], &mut noise.rng(i as u64));
        }
        params
    }

    /// Initial parameters, all from one generator.
    pub(crate) fn init_with(&self, params: &mut [f32], rng: &mut NoiseRng) {
        self.layers.iter().for_each(|l| l.layer.init(&mut params[l.start..l.end], rng));
    }

    /// Replaces the weights, or the means of their posteriors, by a draw from their priors: the mean pass is then a function drawn from
    /// the prior. Each layer draws from a noise stream of its own. `params` hold initial values, which stay for whatever has
    /// no prior, as the gains of a normalization.
    ///
    /// # Errors
    /// [`Error::NoPrior`] for weights without a proper prior; [`Error::Length`] for a parameter vector of the wrong length.
    ///
    /// ```
    /// use bdl_dist::{Noise, Purpose};
    /// use bdl_layers::{Plan, Prior, SparseVdDense, VariationalDense};
    /// let noise = Noise::new(0, Purpose::Init);
    /// let plan = Plan::new(vec![Box::new(VariationalDense::new(3, 2, Prior::StdDev(2.0))?)])?;
    /// plan.sample_prior(&noise, &mut plan.init(&noise))?;
    /// let plan = Plan::new(vec![Box::new(SparseVdDense::new(3, 2)?)])?;
    /// let e = plan.sample_prior(&noise, &mut plan.init(&noise)).unwrap_err();
    /// assert!(e.to_string().ends_with("got the log-uniform density, which is improper"));
    /// # Ok::<(), bdl_layers::Error>(())
    /// ```
    pub fn sample_prior(&self, noise: &Noise, params: &mut [f32]) -> Result<(), Error> {
        check_len("sample_prior params", self.n_params, params.len())?;
        let of_layer = |(i, l): (usize, &Placed)| {
            l.layer.sample_prior(&mut params[l.start..l.end], &mut noise.rng(i as u64))
        };
        self.layers.iter().enumerate().try_for_each(of_layer)
    }

    /// The same, all from one generator.
    pub(crate) fn sample_prior_with(&self, params: &mut [f32], rng: &mut NoiseRng) -> Result<(), Error> {
        self.layers.iter().try_for_each(|l| l.layer.sample_prior(&mut params[l.start..l.end], rng))
    }

    /// Output `[rows, out_dim]` of one pass over x `[rows, in_dim]`.
    ///
    /// Allocates only if the workspace has not yet seen a pass as large.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Length`] for arguments that do not fit the plan.
    pub fn forward(
        &self,
        params: &[f32],
        x: Mat<'_>,
        pass: &Pass<'_>,
        ws: &mut Workspace,
        out: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        self.check_forward(params, x)?;
        check_shape("forward output", [x.rows(), self.out_dim()], out.shape())?;
        self.forward_front(self.layers.len(), params, x, pass, ws, out)
    }

    /// Output of the first `count` layers, at least one.
    pub(crate) fn forward_front(
        &self,
        count: usize,
        params: &[f32],
        x: Mat<'_>,
        pass: &Pass<'_>,
        ws: &mut Workspace,
        out: &mut MatMut<'_>,
    ) -> Result<(), Error> {
        ws.fit_for_prediction(self, x.rows(), pass);
        let Workspace { acts, other, floats, words, .. } = ws;
        let (mut front, mut back) = (acts, other);
        for (index, l) in self.layers[..count].iter().enumerate() {
            let scratch = l.layer.scratch(x.rows(), pass);
            let (floats, words) = (&mut floats[..scratch.floats], &mut words[..scratch.words]);
            let mut ctx = l.context(pass, params, floats, words);
            let (rows, width) = (x.rows(), l.layer.in_dim());
            let input = if index == 0 { x } else { Mat::new(&front[..rows * width], rows, width)? };
            if index + 1 == count {
                return l.layer.forward(&mut ctx, input, out);
            }
            let width = l.layer.out_dim();
            l.layer.forward(&mut ctx, input, &mut MatMut::new(&mut back[..rows * width], rows, width)?)?;
            std::mem::swap(&mut front, &mut back);
        }
        Ok(())
    }

    /// One pass that [`backward`](Plan::backward) can follow; the output stands in the workspace.
    ///
    /// # Errors
    /// As for [`forward`](Plan::forward).
    pub fn forward_train(
        &self,
        params: &[f32],
        x: Mat<'_>,
        pass: &Pass<'_>,
        ws: &mut Workspace,
    ) -> Result<(), Error> {
        self.check_forward(params, x)?;
        ws.fit_for_training(self, x.rows(), pass);
        let rows = x.rows();
        let Workspace { acts, floats, words, .. } = ws;
        let end = self.walk(0, params, x, pass, TapeMut { acts, floats, words, prepared: &[] })?;
        ws.set_output(end - rows * self.out_dim(), rows, self.out_dim());
        Ok(())
    }

    /// Adds the gradient of the parameters to `grads`, for the output gradient that the workspace holds
    /// and the pass that [`forward_train`](Plan::forward_train) has just made with the same arguments.
    ///
    /// # Errors
    /// [`Error::Length`] for a gradient vector of the wrong length, or after a pass of another kind;
    /// [`Error::Shape`] where there was no such pass; else as for [`forward`](Plan::forward).
    pub fn backward(
        &self,
        params: &[f32],
        x: Mat<'_>,
        pass: &Pass<'_>,
        ws: &mut Workspace,
        grads: &mut [f32],
    ) -> Result<(), Error> {
        self.follow_back(params, x, pass, ws, grads, &|layer, ctx, grads, io| layer.backward(ctx, grads, io))
    }

    /// As [`backward`](Plan::backward), but *writes* `grads`, whatever they held.
    ///
    /// # Errors
    /// As for [`backward`](Plan::backward).
    pub fn write_backward(
        &self,
        params: &[f32],
        x: Mat<'_>,
        pass: &Pass<'_>,
        ws: &mut Workspace,
        grads: &mut [f32],
    ) -> Result<(), Error> {
        self.follow_back(params, x, pass, ws, grads, &|layer, ctx, grads, io| {
            layer.write_backward(ctx, grads, io)
        })
    }

    fn follow_back(
        &self,
        params: &[f32],
        x: Mat<'_>,
        pass: &Pass<'_>,
        ws: &mut Workspace,
        grads: &mut [f32],
        backward: &LayerBackward,
    ) -> Result<(), Error> {
        self.check_forward(params, x)?;
        check_len("backward grads", self.n_params, grads.len())?;
        let rows = x.rows();
        check_shape("backward pass", [ws.output().rows(), ws.output().cols()], [rows, self.out_dim()])?;
        ws.tape_to_follow(self, rows, pass)?;
        let Workspace { acts, floats, words, d_out, other, .. } = ws;
        let tape = TapeMut { acts, floats, words, prepared: &[] };
        let back = Back { buffers: [d_out, other], wants_dx: false, backward };
        self.walk_back(0, params, x, pass, tape, back, grads)?;
        Ok(())
    }

    /// KL divergence of all layers, summed over weights, in nats.
    ///
    /// # Errors
    /// [`Error::Length`] for a parameter vector of the wrong length.
    pub fn kl(&self, params: &[f32]) -> Result<f64, Error> {
        check_len("kl params", self.n_params, params.len())?;
        Ok(self.kl_inside(&KlAt { params, input_keep_prob: 1.0, noise: None }))
    }

    /// KL of the layers, behind whatever masks the input of the first.
    pub(crate) fn kl_inside(&self, at: &KlAt<'_>) -> f64 {
        self.layers.iter().map(|l| l.layer.kl(&self.kl_at(l, at))).sum()
    }

    /// Returns [`kl`](Plan::kl) and adds `weight` times its gradient to `grads`.
    ///
    /// # Errors
    /// [`Error::Length`] for vectors of the wrong length.
    pub fn kl_grad(&self, params: &[f32], weight: f32, grads: &mut [f32]) -> Result<f64, Error> {
        self.estimate_kl_grad(params, &Pass::mean(), weight, grads)
    }

    /// Returns an unbiased estimate of [`kl`](Plan::kl) from the noise of `pass`, and adds `weight` times its gradient to
    /// `grads`: what is known in closed form as it is, the rest from one draw of each weight. Without noise,
    /// [`kl_grad`](Plan::kl_grad).
    ///
    /// # Errors
    /// [`Error::Length`] for vectors of the wrong length.
    pub fn estimate_kl_grad(
        &self,
        params: &[f32],
        pass: &Pass<'_>,
        weight: f32,
        grads: &mut [f32],
    ) -> Result<f64, Error> {
        check_len("kl_grad params", self.n_params, params.len())?;
        check_len("kl_grad grads", self.n_params, grads.len())?;
        let noise = pass.kl_noise(self.n_params);
        Ok(self.kl_grad_inside(&KlAt { params, input_keep_prob: 1.0, noise }, weight, grads))
    }

    /// [`kl_inside`](Plan::kl_inside), with its gradient added.
    pub(crate) fn kl_grad_inside(&self, at: &KlAt<'_>, weight: f32, grads: &mut [f32]) -> f64 {
        let each = |l: &Placed| l.layer.kl_grad(&self.kl_at(l, at), weight, &mut grads[l.start..l.end]);
        self.layers.iter().map(each).sum()
    }

    /// For each layer, in order, what its KL sums over which run of the parameter vector; `None` if a layer's KL
    /// has another form.
    #[must_use]
    pub fn kl_terms(&self) -> Option<Vec<Vec<KlTerm>>> {
        self.kl_terms_behind(1.0)
    }

    /// The same behind a mask that keeps an input of the first layer with this probability.
    pub(crate) fn kl_terms_behind(&self, input_keep_prob: f64) -> Option<Vec<Vec<KlTerm>>> {
        let placed = |l: &Placed, term: KlTerm| KlTerm {
            range: l.start + term.range.start..l.start + term.range.end,
            ..term
        };
        let of_layer = |l: &Placed| {
            let terms = l.layer.kl_terms(self.input_keep_prob(l, input_keep_prob))?;
            Some(terms.into_iter().map(|term| placed(l, term)).collect())
        };
        self.layers.iter().map(of_layer).collect()
    }

    /// Name of the first layer that makes a non-finite value out of finite ones in this pass, for the
    /// message when training has to stop.
    ///
    /// # Errors
    /// As for [`forward`](Plan::forward).
    pub fn first_non_finite_layer(
        &self,
        params: &[f32],
        x: Mat<'_>,
        pass: &Pass<'_>,
        ws: &mut Workspace,
    ) -> Result<Option<&str>, Error> {
        self.forward_train(params, x, pass, ws)?;
        let mut act = 0;
        for l in &self.layers {
            let n = x.rows() * l.layer.out_dim();
            if kernels::first_non_finite(&ws.acts[act..act + n]).is_some() {
                return Ok(Some(&l.name));
            }
            act += n;
        }
        Ok(None)
    }

    pub(crate) fn kl_at<'a>(&self, l: &Placed, at: &KlAt<'a>) -> KlAt<'a> {
        let input_keep_prob = self.input_keep_prob(l, at.input_keep_prob);
        let noise = at.noise.map(|noise| noise.behind(l.start));
        KlAt { params: &at.params[l.start..l.end], input_keep_prob, noise }
    }

    /// The probability that an input of the layer is kept, if those of the network are with probability `outside`.
    fn input_keep_prob(&self, l: &Placed, outside: f64) -> f64 {
        match l.masked_by {
            Some(mask) => self.layers[mask].layer.keep_prob().unwrap_or(1.0),
            None if l.place == 0 => outside,
            None => 1.0,
        }
    }

    pub(crate) fn check_forward(&self, params: &[f32], x: Mat<'_>) -> Result<(), Error> {
        check_len("forward params", self.n_params, params.len())?;
        check_shape("forward x", [x.rows(), self.in_dim()], x.shape())
    }
}

pub(crate) fn check_len(what: &str, expected: usize, got: usize) -> Result<(), Error> {
    if expected == got { Ok(()) } else { Err(Error::Length { what: what.to_owned(), expected, got }) }
}

fn check_shape(what: &str, expected: [usize; 2], got: [usize; 2]) -> Result<(), Error> {
    if expected == got { Ok(()) } else { Err(Error::Shape { what: what.to_owned(), expected, got }) }
}
