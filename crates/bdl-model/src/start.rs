//! Networks that start from the weights of a trained model.

use std::sync::Arc;

use bdl_infer::Bnn;
use bdl_layers::Registry;

use crate::schema::{FeatureKind, Schema, TargetKind};
use crate::{Error, Model, TrainConfig};

/// A trained model that a network starts from: weights, or the means of their posteriors, are its weights or means.
///
/// An ensemble starts from an ensemble of as many, each member from its own. From a single network it does not: members that start
/// at the same weights stay near each other, and what they say apart is no doubt about the weights.
///
/// Both need the same columns, classes and layers, each by its own method; the model's scaling of the columns is used.
/// A learned noise starts from the model's, where both have the same likelihood.
/// With a [`Prior::Around`](crate::Prior::Around) the means of the prior are these weights, too, and with a
/// ratio deviations start in proportion to them: MOPED. See [`Plan::start_at`](bdl_layers::Plan::start_at).
///
/// # References
/// Krishnan, Subedar & Tickoo 2020, *Specifying weight priors in Bayesian deep neural networks with empirical Bayes*.
#[derive(Clone, Debug)]
pub struct StartFrom {
    /// The model, of as many networks as are trained.
    pub model: Arc<Model>,
    /// Initial standard deviations as a share of |w|; those of the method if there is none.
    pub sigma_ratio: Option<f64>,
}

impl StartFrom {
    pub(crate) fn check(&self, config: &TrainConfig) -> Result<(), Error> {
        let networks = |n| if n == 1 { "one network".to_owned() } else { format!("{n} networks") };
        match (self.model.members().len(), config.members) {
            (got, asked) if got == asked => {}
            (1, asked) => {
                return Err(refuse(format!(
                    "expected a model of {}, one for each member, got one network; members that start at the same weights \
                     stay near each other",
                    networks(asked)
                )));
            }
            (got, asked) => {
                let (asked, got) = (networks(asked), networks(got));
                return Err(refuse(format!("expected a model of {asked}, as are trained, got {got}")));
            }
        }
        match self.sigma_ratio {
            Some(got) if !(got.is_finite() && got > 0.0) => {
                Err(Error::Argument { what: "--moped", expected: "finite and > 0", got: got.to_string() })
            }
            _ => Ok(()),
        }
    }

    /// The model's schema, which must be that of the data but for what it learned from its rows.
    pub(crate) fn schema(&self, of_data: &Schema) -> Result<Schema, Error> {
        let of_model = self.model.schema();
        let [model, data] =
            [of_model, of_data].map(|schema| format!("{} of {:?}", schema.task(), schema.target.name));
        differ("the model does", model, data)?;
        let kinds = |schema: &Schema| {
            let kinds = schema.targets().iter().map(|target| match target.kind {
                TargetKind::Count { .. } => "a count",
                TargetKind::Class { .. } => "a class",
                _ => "a number",
            });
            kinds.collect::<Vec<_>>().join(", ")
        };
        differ("the model's target is", kinds(of_model), kinds(of_data))?;
        let classes = |schema: &Schema| format!("{:?}", schema.class_names());
        differ("the model's classes are", classes(of_model), classes(of_data))?;
        let names = |schema: &Schema| {
            let mut names: Vec<_> = schema.features.iter().map(|feature| feature.name.clone()).collect();
            names.sort();
            format!("{names:?}")
        };
        differ("the model's features are", names(of_model), names(of_data))?;
        for feature in &of_model.features {
            let same = of_data.features.iter().find(|other| other.name == feature.name);
            let what = format!("the model's feature {:?} is", feature.name);
            differ(&what, told(&feature.kind), same.map_or(String::new(), |other| told(&other.kind)))?;
        }
        Ok(Schema { missing: of_data.missing, ..of_model.clone() })
    }

    /// Puts initial parameters of a member at those of its own in the model.
    pub(crate) fn write(&self, bnn: &Bnn, member: usize, params: &mut [f32]) -> Result<(), Error> {
        let (from, theirs) = (self.model.bnn(), &self.model.members()[member]);
        let mean = from.plan().mean_params(&theirs[from.network()])?;
        let registry = Registry::default();
        let plan = from.plan().at_mean(&registry)?;
        let own = &mut params[bnn.network()];
        let start = bnn.plan().start_at(&plan, &mean, self.sigma_ratio, own, &registry);
        start.map_err(|e| refuse(e.to_string()))?;
        let same_noise = from.likelihood().kind() == bnn.likelihood().kind();
        if same_noise && from.noise().len() == bnn.noise().len() {
            params[bnn.noise()].copy_from_slice(&theirs[from.noise()]);
        }
        Ok(())
    }
}

/// What a feature holds, as far as a network sees it.
fn told(kind: &FeatureKind) -> String {
    match kind {
        FeatureKind::Numeric { .. } => "a number".to_owned(),
        FeatureKind::Categorical { levels, .. } => format!("one of {levels:?}"),
        FeatureKind::Image { sides: [h, w, c] } => format!("an image of {h}x{w}x{c}"),
    }
}

fn differ(what: &str, of_model: String, of_data: String) -> Result<(), Error> {
    match of_model == of_data {
        true => Ok(()),
        false => Err(refuse(format!("{what} {of_model}, expected {of_data} as the data have it"))),
    }
}

fn refuse(what: String) -> Error {
    Error::Start { what }
}
