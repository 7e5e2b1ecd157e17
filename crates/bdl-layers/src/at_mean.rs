//! Networks at the mean of their weights: a plain network out of one with posteriors or masks, and posteriors that start from
//! the weights of a plain one.

use bdl_dist::{Noise, Purpose};
use bdl_tensor::{Mat, MatMut};

use crate::layer::Layer;
use crate::plan::{Placed, check_len};
use crate::{Error, Pass, Plan, Registry, Workspace};

/// What a layer is in [`Mode::Mean`](crate::Mode::Mean).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum AtMean<'a> {
    /// Itself, with the parameters that it has: it draws nothing.
    Same,
    /// Nothing: it hands on what it is given.
    Identity,
    /// A plain layer.
    Plain(&'a dyn Means),
}

/// A layer that is another one, without noise, at the mean of its weights.
pub trait Means: Layer {
    /// That layer. Its outputs have the bits of this one's mean pass.
    ///
    /// # Errors
    /// Of a layer that cannot be built.
    fn plain(&self, registry: &Registry) -> Result<Box<dyn Layer>, Error>;

    /// Its parameters.
    fn mean_params(&self, params: &[f32]) -> Vec<f32>;

    /// Puts this layer's parameters, which have their initial values, at a mean: what [`mean_params`](Means::mean_params) gives
    /// back. With a ratio the standard deviations follow the means, as [`Plan::start_at`] says.
    fn start_at(&self, mean: &[f32], sigma_ratio: Option<f64>, params: &mut [f32]);
}

/// The least deviation that a ratio gives, times the square root of the fan-in.
const LEAST_START: f64 = 1e-3;

/// Of a weight that starts at `w` with a deviation in proportion: `max(ratio·|w|, 10⁻³/√fan_in)`.
pub(crate) fn start_sigma(w: f32, ratio: f64, fan_in: usize) -> f64 {
    (ratio * f64::from(w.abs())).max(LEAST_START / (fan_in as f64).sqrt())
}

impl Plan {
    /// The network at the mean of its weights: plain layers in the place of those with posteriors, no masks and no noise; all others as they
    /// are, built anew by the registry. Its outputs have the bits of this network's mean pass.
    ///
    /// # Errors
    /// [`Error::Random`] for a layer that draws and does not say what it is at the mean; those of the registry.
    ///
    /// ```
    /// use bdl_layers::{Plan, Prior, Registry, VariationalDense};
    /// let plan = Plan::new(vec![Box::new(VariationalDense::new(2, 1, Prior::StdDev(1.0))?)])?;
    /// let mean = plan.at_mean(&Registry::default())?;
    /// assert_eq!((mean.entries()[0].path().as_str(), mean.is_random()), ("0.dense/weight", false));
    /// assert_eq!(plan.mean_params(&[1.0, 2.0, -3.0, -3.0, 0.5, -3.0])?, [1.0, 2.0, 0.5]);
    /// # Ok::<(), bdl_layers::Error>(())
    /// ```
    pub fn at_mean(&self, registry: &Registry) -> Result<Self, Error> {
        Self::new(self.plain_layers(registry)?)
    }

    pub(crate) fn plain_layers(&self, registry: &Registry) -> Result<Vec<Box<dyn Layer>>, Error> {
        self.at_means().map(|l| plain(l, registry)).collect()
    }

    /// The parameters of the network [at the mean](Plan::at_mean).
    ///
    /// # Errors
    /// [`Error::Length`] for a parameter vector of the wrong length.
    pub fn mean_params(&self, params: &[f32]) -> Result<Vec<f32>, Error> {
        check_len("mean params", self.n_params(), params.len())?;
        Ok(self.mean_params_inside(params))
    }

    pub(crate) fn mean_params_inside(&self, params: &[f32]) -> Vec<f32> {
        let of_layer = |l: &Placed| match l.layer.at_mean() {
            AtMean::Plain(means) => means.mean_params(&params[l.start..l.end]),
            _ => params[l.start..l.end].to_vec(),
        };
        self.at_means().flat_map(of_layer).collect()
    }

    /// Puts the weights, or the means of their posteriors, at those of another network: of its parameters
    /// [at the mean](Plan::mean_params). `params` hold initial values, which stay for whatever has no mean;
    /// `registry` knows the layers of both.
    ///
    /// ```text
    /// mu = w    and with a ratio    sigma = max(ratio·|w|, 10⁻³/√fan_in)
    /// ```
    /// for weights and biases with a raw parameter each. Means of a [prior around](crate::Prior::Around) them are w, too.
    ///
    /// # Errors
    /// [`Error::Argument`] for a network of other layers, naming the first that differs; [`Error::Length`]; [`Error::Random`].
    ///
    /// # References
    /// Krishnan, Subedar & Tickoo 2020, *Specifying weight priors in Bayesian deep neural networks with empirical Bayes*;
    /// `docs/math.md#prior-around`.
    pub fn start_at(
        &self,
        from: &Self,
        mean: &[f32],
        sigma_ratio: Option<f64>,
        params: &mut [f32],
        registry: &Registry,
    ) -> Result<(), Error> {
        check_len("start params", self.n_params(), params.len())?;
        check_len("start mean", from.n_params(), mean.len())?;
        let (own, theirs) = (self.at_means().count(), from.layers.len());
        for (l, other) in self.at_means().zip(&from.layers) {
            check_like(l, other, registry)?;
        }
        if own != theirs {
            return Err(unlike("network", format!("{own} layers without masks"), format!("{theirs}")));
        }
        self.start_inside(mean, sigma_ratio, params);
        self.check_same_function(from, mean, params)
    }

    /// Settings without a trace in the shapes, such as the padding of a convolution, show in the outputs.
    fn check_same_function(&self, from: &Self, mean: &[f32], params: &[f32]) -> Result<(), Error> {
        let mut x = vec![0.0; self.in_dim()];
        Noise::new(0, Purpose::Init).rng(0).normals(&mut x);
        let x = Mat::new(&x, 1, self.in_dim())?;
        let outputs = |plan: &Self, params: &[f32]| -> Result<Vec<u32>, Error> {
            let mut y = vec![0.0; plan.out_dim()];
            let mut out = MatMut::new(&mut y, 1, plan.out_dim())?;
            plan.forward(params, x, &Pass::mean(), &mut Workspace::new(), &mut out)?;
            Ok(y.iter().map(|y| y.to_bits()).collect())
        };
        match outputs(self, params)? == outputs(from, mean)? {
            true => Ok(()),
            false => {
                Err(unlike("network", "of the same settings".to_owned(), "one with other outputs".to_owned()))
            }
        }
    }

    pub(crate) fn start_inside(&self, mean: &[f32], sigma_ratio: Option<f64>, params: &mut [f32]) {
        let mut rest = mean;
        for l in self.at_means() {
            let own = &mut params[l.start..l.end];
            let taken = match l.layer.at_mean() {
                AtMean::Plain(means) => means.mean_params(own).len(),
                _ => own.len(),
            };
            let (front, behind) = rest.split_at(taken);
            match l.layer.at_mean() {
                AtMean::Plain(means) => means.start_at(front, sigma_ratio, own),
                _ => own.copy_from_slice(front),
            }
            rest = behind;
        }
    }

    /// The layers that are something at the mean.
    fn at_means(&self) -> impl Iterator<Item = &Placed> {
        self.layers.iter().filter(|l| !matches!(l.layer.at_mean(), AtMean::Identity))
    }
}

fn plain(l: &Placed, registry: &Registry) -> Result<Box<dyn Layer>, Error> {
    match l.layer.at_mean() {
        AtMean::Plain(means) => means.plain(registry),
        _ if l.layer.is_random() => Err(Error::Random { layer: l.name().to_owned() }),
        _ => registry.build(l.layer.kind(), &l.layer.config()?),
    }
}

/// Whether a layer at the mean has the shape, and without parameters the settings, of another.
fn check_like(l: &Placed, other: &Placed, registry: &Registry) -> Result<(), Error> {
    let built = match l.layer.at_mean() {
        AtMean::Plain(means) => Some(means.plain(registry)?),
        _ => None,
    };
    let (own, theirs) = (built.as_deref().unwrap_or(&*l.layer), &*other.layer);
    let told = |layer: &dyn Layer| format!("{} {} → {}", layer.kind(), layer.in_dim(), layer.out_dim());
    if told(own) != told(theirs) || own.blocks() != theirs.blocks() {
        return Err(unlike(l.name(), told(own), told(theirs)));
    }
    if own.blocks().is_empty() && own.config()? != theirs.config()? {
        return Err(unlike(l.name(), told(own), "one with other settings".to_owned()));
    }
    Ok(())
}

fn unlike(layer: &str, expected: String, got: String) -> Error {
    Error::Argument { layer: layer.to_owned(), argument: "the network to start from", expected, got }
}
