//! The trained model: what a file holds and a service loads.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bdl_infer::{
    Bnn, Kinds, LIKELIHOOD, Passes, Predicts, RECORD, TrainingRecord, Units, push_bnn, push_record, read_bnn,
    read_record,
};
use bdl_layers::{Container, KlKnown, LayerSummary, PARAMS, PLAN, Section, codec, write_beside};

use crate::encode::Encoder;
use crate::file::{IMAGE, ImageV1, SCHEMA, SchemaV1, TARGETS, TargetsV1};
use crate::method::Method;
use crate::prune::{PRUNED, Pruning};
use crate::schema::{Feature, Schema, Target, TargetKind};
use crate::select::Task;
use crate::{Error, ModelPredictor, RealPrediction};

/// A trained model: schema, network, likelihood and the parameters of one or more members.
///
/// It does not change any more and may be shared by threads.
#[derive(Debug)]
pub struct Model {
    encoder: Encoder,
    bnn: Bnn,
    members: Vec<Vec<f32>>,
    record: TrainingRecord,
    method: Method,
    pruning: Option<Pruning>,
}

impl Model {
    pub(crate) fn from_parts(
        encoder: Encoder,
        bnn: Bnn,
        members: Vec<Vec<f32>>,
        record: TrainingRecord,
        method: Method,
    ) -> Self {
        Self { encoder, bnn, members, record, method, pruning: None }
    }

    /// The same, which is what is left after pruning.
    pub(crate) fn after(self, pruning: Pruning) -> Self {
        Self { pruning: Some(pruning), ..self }
    }

    /// What the model knows of its data.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        self.encoder.schema()
    }

    /// Encodes rows for this model.
    #[must_use]
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// The task.
    #[must_use]
    pub fn task(&self) -> Task {
        self.schema().task()
    }

    /// The method of each member.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// The network and its likelihood.
    #[must_use]
    pub fn bnn(&self) -> &Bnn {
        &self.bnn
    }

    /// The kind of the likelihood, such as `gaussian`; of several targets that of each.
    #[must_use]
    pub fn likelihood(&self) -> &str {
        let likelihood = self.bnn.likelihood();
        match likelihood.predicts() {
            Predicts::Several(each) => each.target(0).map_or(likelihood.kind(), |first| first.kind()),
            _ => likelihood.kind(),
        }
    }

    /// The parameters of each member.
    #[must_use]
    pub fn members(&self) -> &[Vec<f32>] {
        &self.members
    }

    /// How it was trained; of an ensemble, its first member. `nll_mean` is in nats and the target's units.
    #[must_use]
    pub fn record(&self) -> &TrainingRecord {
        &self.record
    }

    /// How the model was pruned, and what it was before; `None` if it was not.
    #[must_use]
    pub fn pruning(&self) -> Option<&Pruning> {
        self.pruning.as_ref()
    }

    /// 100 passes under [`Scope::Pass`](bdl_layers::Scope::Pass) from seed 0, with the estimator of the training.
    #[must_use]
    pub fn passes(&self) -> Passes {
        Passes { estimator: self.record.estimator, ..Passes::default() }
    }

    /// Parameters of all members.
    #[must_use]
    pub fn n_params(&self) -> usize {
        self.members.iter().map(Vec::len).sum()
    }

    /// Whether the ELBO that training reports is a lower bound of the evidence: the KL is exact and rows do not depend on each
    /// other.
    #[must_use]
    pub fn elbo_is_bound(&self) -> bool {
        self.bnn.plan().kl_known() == KlKnown::Exactly && !self.bnn.plan().couples_rows()
    }

    /// From the units of training to those of each target.
    ///
    /// # Errors
    /// Never for a model that was trained or loaded here.
    pub fn units(&self) -> Result<Vec<Units>, Error> {
        self.schema().units()
    }

    /// Room for what is told of each of several targets.
    pub(crate) fn no_reals(&self) -> Vec<RealPrediction> {
        match self.schema().targets().len() {
            1 => Vec::new(),
            several => vec![RealPrediction::default(); several],
        }
    }

    /// Each layer's name, kind and report. Of an ensemble: its first member's.
    ///
    /// # Errors
    /// Never for a model that was trained or loaded here.
    pub fn layers(&self) -> Result<Vec<LayerSummary>, Error> {
        Ok(self.bnn.plan().summary(&self.members[0][self.bnn.network()])?)
    }

    /// The model at the mean of its weights: a deterministic one, whose predictions are those of one pass without noise, to the bit.
    /// Layers with posteriors become plain ones, masks go, normalizations stay.
    ///
    /// # Errors
    /// For a layer of the user's own that does not say what it is at the mean, named.
    pub fn at_mean(&self) -> Result<Self, Error> {
        self.at_mean_with(&Kinds::default())
    }

    /// The same for a model with kinds of the user's own.
    ///
    /// # Errors
    /// As [`at_mean`](Model::at_mean).
    pub fn at_mean_with(&self, kinds: &Kinds) -> Result<Self, Error> {
        let plan = self.bnn.plan();
        let at_mean = |params: &Vec<f32>| {
            let mut mean = plan.mean_params(&params[self.bnn.network()])?;
            mean.extend_from_slice(&params[self.bnn.noise()]);
            Ok(mean)
        };
        let members = self.members.iter().map(at_mean).collect::<Result<_, Error>>()?;
        let bnn = self.bnn.with_plan(plan.at_mean(&kinds.layers)?)?;
        let (encoder, record) = (self.encoder.clone(), self.record.clone());
        Ok(Self::from_parts(encoder, bnn, members, record, Method::Deterministic))
    }

    /// A predictor for these passes.
    ///
    /// # Errors
    /// If `samples` is 0.
    pub fn predictor(&self, passes: Passes) -> Result<ModelPredictor<'_>, Error> {
        ModelPredictor::new(self, passes)
    }

    /// The bytes of the model file.
    ///
    /// # Errors
    /// What a user's own layer or likelihood has against being saved.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let mut file = Container::default();
        push_bnn(&mut file, &self.bnn, &self.members)?;
        push_record(&mut file, &self.record)?;
        let bytes = codec::encode("section SCHM", &SchemaV1::of(self.schema(), self.method))?;
        file.push(Section { tag: SCHEMA, version: 1, required: true, bytes: bytes.into() });
        if let Some(sides) = self.schema().image() {
            let bytes = codec::encode("section IMAG", &ImageV1::of(sides))?;
            file.push(Section { tag: IMAGE, version: 1, required: true, bytes: bytes.into() });
        }
        if let Some(targets) = TargetsV1::of(self.schema()) {
            let bytes = codec::encode("section TARG", &targets)?;
            file.push(Section { tag: TARGETS, version: 1, required: true, bytes: bytes.into() });
        }
        if let Some(pruning) = &self.pruning {
            let bytes = pruning.to_bytes()?;
            file.push(Section { tag: PRUNED, version: 1, required: false, bytes: bytes.into() });
        }
        Ok(file.to_bytes()?)
    }

    /// Reads the bytes of a model file with the kinds of our crates.
    ///
    /// # Errors
    /// If they are damaged, newer, not ours, or hold a kind that is not registered.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        Self::from_bytes_with(bytes, &Kinds::default())
    }

    /// Reads the bytes of a model file with kinds of the user's own.
    ///
    /// # Errors
    /// As [`from_bytes`](Model::from_bytes).
    pub fn from_bytes_with(bytes: &[u8], kinds: &Kinds) -> Result<Self, Error> {
        let file = Container::from_bytes(bytes)?;
        file.refuse_unknown(&[PLAN, PARAMS, LIKELIHOOD, RECORD, SCHEMA, IMAGE, TARGETS, PRUNED])?;
        let v: SchemaV1 = codec::decode("section SCHM", file.get(&SCHEMA, 1)?)?;
        let (mut schema, method) = v.into_schema()?;
        let has = |tag| file.sections().iter().any(|section| section.tag == tag);
        if has(IMAGE) {
            let v: ImageV1 = codec::decode("section IMAG", file.get(&IMAGE, 1)?)?;
            schema.features.push(Feature::image(v.sides()));
        }
        if has(TARGETS) {
            let v: TargetsV1 = codec::decode("section TARG", file.get(&TARGETS, 1)?)?;
            schema.target = v.into_target(schema.target.name)?;
        }
        let (bnn, members) = read_bnn(&file, kinds)?;
        let encoder = Encoder::new(schema)?;
        fits(&encoder, &bnn)?;
        let pruning = match has(PRUNED) {
            true => Some(Pruning::from_bytes(file.get(&PRUNED, 1)?, &bnn, kinds)?),
            false => None,
        };
        Ok(Self { encoder, bnn, members, record: read_record(&file)?, method, pruning })
    }

    /// Writes the model beside `path` and renames it, so that `path` is never half written.
    ///
    /// # Errors
    /// If the file cannot be written; what stood there is then untouched.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        write_beside(path, &self.to_bytes()?).map_err(|source| Error::write(path, source))
    }

    /// Loads a model file.
    ///
    /// # Errors
    /// As [`from_bytes`](Model::from_bytes), with the file's name; if it cannot be read.
    pub fn load(path: &Path) -> Result<Self, Error> {
        Self::load_with(path, &Kinds::default())
    }

    /// Loads a model file with kinds of the user's own.
    ///
    /// # Errors
    /// As [`load`](Model::load).
    pub fn load_with(path: &Path, kinds: &Kinds) -> Result<Self, Error> {
        if path.is_dir() {
            return Err(Error::Directory { file: path.display().to_string().into() });
        }
        let bytes = read_file(path).map_err(|source| Error::read(path, source))?;
        Self::from_bytes_with(&bytes, kinds)
            .map_err(|e| Error::Model { file: path.display().to_string().into(), source: Box::new(e) })
    }
}

/// The bytes that every model file begins with, as `bdl_layers::Container` writes them.
const MAGIC: [u8; 8] = *b"\x89BDL\r\n\x1a\n";

/// The bytes of a model file; of any other only the first, since a device may have no end.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    file.by_ref().take(64).read_to_end(&mut bytes)?;
    if bytes.starts_with(&MAGIC) {
        file.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Whether the network takes the encoded rows and puts out what the target asks for.
fn fits(encoder: &Encoder, bnn: &Bnn) -> Result<(), Error> {
    let takes = bnn.plan().in_dim();
    if takes != encoder.width() {
        let what = format!("its features make {} inputs, but the network takes {takes}", encoder.width());
        return Err(Error::Schema { what });
    }
    let targets = encoder.schema().targets();
    let several = match bnn.likelihood().predicts() {
        Predicts::Several(of) => of.targets(),
        _ => 1,
    };
    if several != targets.len() {
        let what = format!("it has {}, but the likelihood is of {several}", counted(targets.len()));
        return Err(Error::Schema { what });
    }
    match bnn.likelihood().predicts() {
        Predicts::Several(of) => targets
            .iter()
            .enumerate()
            .try_for_each(|(k, target)| fits_target(target, of.target(k)?.predicts())),
        one => fits_target(&targets[0], one),
    }
}

fn counted(targets: usize) -> String {
    if targets == 1 { "one target".to_owned() } else { format!("{targets} targets") }
}

/// Whether a likelihood predicts what the target is.
fn fits_target(target: &Target, predicts: Predicts<'_>) -> Result<(), Error> {
    let (classes, counts) = match predicts {
        Predicts::Class(likelihood) => (likelihood.classes(), false),
        Predicts::Real(likelihood) => (0, likelihood.is_discrete()),
        _ => (0, false),
    };
    if counts && !matches!(target.kind, TargetKind::Count { .. }) {
        let what = "its target is no count, but the likelihood is one of counts".to_owned();
        return Err(Error::Schema { what });
    }
    let names = match &target.kind {
        TargetKind::Class { names } => names.len(),
        _ => 0,
    };
    if classes != names {
        let what = format!("its target has {names} classes, but the likelihood predicts {classes}");
        return Err(Error::Schema { what });
    }
    Ok(())
}
