//! The sections of a model file that belong to this crate: the likelihood and the record of the training.

use std::collections::BTreeMap;

use bdl_layers::{Container, Estimator, Registry, Section, codec, push_network, read_network};
use serde::{Deserialize, Serialize};

use crate::{
    Bernoulli, Bnn, Categorical, Error, Gaussian, Heteroscedastic, Independent, Likelihood, Poisson, StudentT,
};

/// Tag of the section that holds the likelihood.
pub const LIKELIHOOD: [u8; 4] = *b"LIKE";
/// Tag of the section that holds the record of the training.
pub const RECORD: [u8; 4] = *b"FITR";

/// Builds a likelihood from its configuration bytes.
pub type LikelihoodBuilder = fn(&[u8]) -> Result<Box<dyn Likelihood>, Error>;

/// The kinds of layer and of likelihood that a file may hold.
///
/// ```
/// use bdl_infer::Kinds;
/// let mut kinds = Kinds::default();
/// assert!(kinds.register_likelihood("gaussian", |_| unreachable!()).is_err()); // ours already
/// ```
#[derive(Clone, Debug)]
pub struct Kinds {
    /// The kinds of layer.
    pub layers: Registry,
    likelihoods: BTreeMap<String, LikelihoodBuilder>,
}

impl Default for Kinds {
    /// The kinds of our crates.
    fn default() -> Self {
        let ours: [(&str, LikelihoodBuilder); 6] = [
            (Gaussian::KIND, |bytes| Ok(Box::new(Gaussian::from_config(bytes)?))),
            (Heteroscedastic::KIND, |bytes| Ok(Box::new(Heteroscedastic::from_config(bytes)?))),
            (Categorical::KIND, |bytes| Ok(Box::new(Categorical::from_config(bytes)?))),
            (Bernoulli::KIND, |bytes| Ok(Box::new(Bernoulli::from_config(bytes)?))),
            (Poisson::KIND, |bytes| Ok(Box::new(Poisson::from_config(bytes)?))),
            (StudentT::KIND, |bytes| Ok(Box::new(StudentT::from_config(bytes)?))),
        ];
        let likelihoods = ours.into_iter().map(|(kind, build)| (kind.to_owned(), build)).collect();
        Self { layers: Registry::default(), likelihoods }
    }
}

impl Kinds {
    /// Adds a kind of likelihood of the user's own.
    ///
    /// # Errors
    /// [`bdl_layers::Error::KindTaken`] if the name is in use.
    pub fn register_likelihood(&mut self, kind: &str, build: LikelihoodBuilder) -> Result<(), Error> {
        if self.likelihoods.contains_key(kind) || kind == Independent::KIND {
            return Err(bdl_layers::Error::KindTaken { kind: kind.to_owned() }.into());
        }
        self.likelihoods.insert(kind.to_owned(), build);
        Ok(())
    }

    pub(crate) fn likelihood(&self, kind: &str, config: &[u8]) -> Result<Box<dyn Likelihood>, Error> {
        match kind {
            // Its parts may be of any registered kind, and so not of its own: no file makes this recursive.
            Independent::KIND => {
                let build = |kind: &str, config: &[u8]| self.of_one_target(kind, config);
                Ok(Box::new(Independent::from_config(config, build)?))
            }
            kind => self.of_one_target(kind, config),
        }
    }

    fn of_one_target(&self, kind: &str, config: &[u8]) -> Result<Box<dyn Likelihood>, Error> {
        match self.likelihoods.get(kind) {
            Some(build) => build(config),
            None => {
                let known = self.likelihoods.keys().cloned().collect::<Vec<_>>().join(", ");
                Err(bdl_layers::Error::UnknownKind { what: "likelihood", kind: kind.to_owned(), known }
                    .into())
            }
        }
    }
}

/// How a model was trained, and what training came to. Of an ensemble: its first member's figures.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingRecord {
    /// Training rows.
    pub rows: u64,
    /// Epochs run.
    pub epochs: u64,
    /// The epoch whose parameters were kept.
    pub kept_epoch: u64,
    /// Rows of a step.
    pub batch: u64,
    /// Base learning rate.
    pub lr: f64,
    /// How variational layers drew in training; also used when predicting under `Scope::Row`.
    pub estimator: Estimator,
    /// Seed of all noise.
    pub seed: u64,
    /// Negative log-likelihood per training row in the kept epoch, nats, in the units that the writer of the file
    /// chose: the network's, or the target's own in a file of `bdl-model`.
    pub nll_mean: f64,
    /// KL in the kept epoch, summed over weights, nats.
    pub kl: f64,
}

#[derive(Serialize, Deserialize)]
struct LikelihoodV1 {
    kind: String,
    config: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct RecordV1 {
    rows: u64,
    epochs: u64,
    kept_epoch: u64,
    batch: u64,
    lr: f64,
    estimator: EstimatorV1,
    seed: u64,
    nll_mean: f64,
    kl: f64,
}

#[derive(Serialize, Deserialize)]
enum EstimatorV1 {
    Local,
    Sampling,
    Flipout,
}

/// Adds a network, its likelihood and its parameter vectors to a file.
///
/// # Errors
/// For vectors of another length, and whatever a user's own layer or likelihood has against being saved.
pub fn push_bnn(file: &mut Container<'_>, bnn: &Bnn, members: &[Vec<f32>]) -> Result<(), Error> {
    members.iter().try_for_each(|params| bnn.check_params(params))?;
    push_network(file, bnn.plan(), members)?;
    let likelihood = bnn.likelihood();
    let v = LikelihoodV1 { kind: likelihood.kind().to_owned(), config: likelihood.config()? };
    let bytes = codec::encode("section LIKE", &v)?;
    file.push(Section { tag: LIKELIHOOD, version: 1, required: true, bytes: bytes.into() });
    Ok(())
}

/// Reads a network, its likelihood and its parameter vectors.
///
/// # Errors
/// [`bdl_layers::Error::UnknownKind`] for a layer or likelihood that is not registered; sections that are
/// absent, damaged or do not fit each other.
pub fn read_bnn(file: &Container<'_>, kinds: &Kinds) -> Result<(Bnn, Vec<Vec<f32>>), Error> {
    let (plan, members) = read_network(file, &kinds.layers)?;
    let v: LikelihoodV1 = codec::decode("section LIKE", file.get(&LIKELIHOOD, 1)?)?;
    let bnn = Bnn::new(plan, kinds.likelihood(&v.kind, &v.config)?)?;
    members.iter().try_for_each(|params| bnn.check_params(params))?;
    Ok((bnn, members))
}

/// Adds the record of the training to a file.
///
/// # Errors
/// [`Error::Argument`] for an estimator that the format does not know.
pub fn push_record(file: &mut Container<'_>, record: &TrainingRecord) -> Result<(), Error> {
    let estimator = match record.estimator {
        Estimator::Local => EstimatorV1::Local,
        Estimator::Sampling => EstimatorV1::Sampling,
        Estimator::Flipout => EstimatorV1::Flipout,
        _ => {
            return Err(Error::argument(
                "save: estimator",
                "local, sampling or flipout",
                format!("{:?}", record.estimator),
            ));
        }
    };
    let &TrainingRecord { rows, epochs, kept_epoch, batch, lr, seed, nll_mean, kl, .. } = record;
    let v = RecordV1 { rows, epochs, kept_epoch, batch, lr, estimator, seed, nll_mean, kl };
    let bytes = codec::encode("section FITR", &v)?;
    file.push(Section { tag: RECORD, version: 1, required: false, bytes: bytes.into() });
    Ok(())
}

/// Reads the record of the training.
///
/// # Errors
/// If the section is absent or damaged.
pub fn read_record(file: &Container<'_>) -> Result<TrainingRecord, Error> {
    let v: RecordV1 = codec::decode("section FITR", file.get(&RECORD, 1)?)?;
    let estimator = match v.estimator {
        EstimatorV1::Local => Estimator::Local,
        EstimatorV1::Sampling => Estimator::Sampling,
        EstimatorV1::Flipout => Estimator::Flipout,
    };
    let RecordV1 { rows, epochs, kept_epoch, batch, lr, seed, nll_mean, kl, .. } = v;
    Ok(TrainingRecord { rows, epochs, kept_epoch, batch, lr, estimator, seed, nll_mean, kl })
}
