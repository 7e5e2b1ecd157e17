//! The methods of the study with their settings, the same for all sets.
//!
//! Common to all: one hidden layer of 50 ReLU units, inputs and target standardized on the training rows, batches of
//! 32, Adam with a learning rate that falls along half a cosine to 0, 200 passes of each network at prediction, seed 0.
//!
//! | method | likelihood | epochs | learning rate | other settings |
//! |---|---|---|---|---|
//! | deterministic | heteroscedastic | 400 | 3e-3 | prior of length scale 1 |
//! | mc-dropout | learned noise | 2000 | 3e-3 | prior of length scale 1; drop_prob 0.005, 0.01, 0.05 or 0.1 by validation |
//! | mean-field | heteroscedastic | 2000 | 5e-3 | prior N(0, 1/in_dim), KL warm-up over 1000 epochs, local estimator |
//! | mean-field-sampling | heteroscedastic | 2000 | 5e-3 | the same with the sampling estimator |
//! | ensemble | heteroscedastic | 400 | 3e-3 | 5 members of deterministic |

use bdl_infer::{FitConfig, KlWarmup, Schedule};
use bdl_layers::{Estimator, Prior};
use bdl_model::{self as model, Architecture, Likelihood};

use super::{Error, Reference};

/// A method of the study.
#[derive(Clone, Debug)]
pub struct Method {
    /// Its name, as `--methods` takes it.
    pub name: &'static str,
    /// Its settings; of several, one is chosen for each split on validation rows.
    pub settings: Vec<Setting>,
    /// What it is compared with.
    pub reference: Reference,
    /// Whether it must meet the reference's targets.
    pub gated: bool,
}

/// All methods, in the order of the table.
#[must_use]
pub fn methods() -> Vec<Method> {
    let method = |name, settings, reference, gated| Method { name, settings, reference, gated };
    let deterministic = Setting::deterministic();
    let ensemble = vec![Setting { members: MEMBERS, ..deterministic.clone() }];
    let mc_dropout = DROP_PROBS.map(Setting::mc_dropout).to_vec();
    let mean_field = |estimator| vec![Setting::mean_field(estimator)];
    vec![
        method("deterministic", vec![deterministic], Reference::Nothing, false),
        method("mc-dropout", mc_dropout, Reference::McDropout, true),
        method("mean-field", mean_field(Estimator::Local), Reference::MeanField, true),
        method("mean-field-sampling", mean_field(Estimator::Sampling), Reference::MeanField, false),
        method("ensemble", ensemble, Reference::DeepEnsemble, false),
    ]
}

/// The one of [`methods`] with this name.
///
/// # Errors
/// If there is none.
pub fn method_named(name: &str) -> Result<Method, Error> {
    let unknown = || {
        let known: Vec<_> = methods().iter().map(|m| m.name).collect();
        format!("expected one of {}", known.join(", ")).into()
    };
    methods().into_iter().find(|m| m.name == name).ok_or_else(unknown)
}

/// Drop probabilities among which MC dropout chooses: those of the published protocol.
const DROP_PROBS: [f64; 4] = [0.005, 0.01, 0.05, 0.1];
const EPOCHS: usize = 2000;
/// A point estimate with input-dependent noise has no optimum to wait for: it stops early.
const EPOCHS_DETERMINISTIC: usize = 400;
/// Share of the epochs over which the KL weight of mean-field rises to 1.
const WARMUP: f64 = 0.5;
const MEMBERS: usize = 5;
const SAMPLES: usize = 200;

/// What is trained and how.
#[derive(Clone, Debug)]
pub struct Setting {
    /// What distinguishes it from the method's other settings.
    pub label: String,
    /// The network.
    pub architecture: Architecture,
    /// How it is trained.
    pub fit: FitConfig,
    /// Members of an ensemble; 1 for none.
    pub members: usize,
    /// Passes of each member at prediction.
    pub samples: usize,
}

impl Setting {
    fn new(label: &str, architecture: Architecture, lr: f64) -> Self {
        let schedule = Schedule::Cosine { end: 0.0 };
        let fit = FitConfig { epochs: EPOCHS, batch: 32, lr, schedule, ..FitConfig::default() };
        let architecture = Architecture { hidden: vec![50], ..architecture };
        Self { label: label.to_owned(), architecture, fit, members: 1, samples: SAMPLES }
    }

    /// A point estimate with noise that depends on the input.
    #[must_use]
    pub fn deterministic() -> Self {
        let architecture = Architecture {
            method: model::Method::Deterministic,
            likelihood: Likelihood::Heteroscedastic,
            length_scale: 1.0,
            ..Architecture::default()
        };
        let setting = Self::new("default", architecture, 3e-3);
        Self { fit: FitConfig { epochs: EPOCHS_DETERMINISTIC, ..setting.fit }, ..setting }
    }

    /// Dropout on inputs and hidden units with one learned noise.
    #[must_use]
    pub fn mc_dropout(drop_prob: f64) -> Self {
        let architecture = Architecture {
            method: model::Method::McDropout,
            likelihood: Likelihood::Auto,
            drop_prob,
            length_scale: 1.0,
            ..Architecture::default()
        };
        Self::new(&format!("drop_prob {drop_prob}"), architecture, 3e-3)
    }

    /// Normal posteriors with noise that depends on the input.
    #[must_use]
    pub fn mean_field(estimator: Estimator) -> Self {
        let architecture = Architecture {
            method: model::Method::MeanField,
            likelihood: Likelihood::Heteroscedastic,
            prior: Prior::FanIn(1.0),
            ..Architecture::default()
        };
        let setting = Self::new("default", architecture, 5e-3);
        let kl_warmup = KlWarmup::new(WARMUP * EPOCHS as f64).unwrap_or_default();
        Self { fit: FitConfig { kl_warmup, estimator, ..setting.fit }, ..setting }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_are_those_of_the_table() {
        for method in methods() {
            for Setting { architecture, fit, .. } in &method.settings {
                fit.check().unwrap();
                assert_eq!((architecture.hidden.as_slice(), fit.batch), (&[50][..], 32));
                assert_eq!(
                    fit.epochs,
                    if architecture.method == model::Method::Deterministic { 400 } else { 2000 }
                );
            }
        }
        let [mc, mf] = [1, 2].map(|i| methods().swap_remove(i));
        assert_eq!(
            mc.settings.iter().map(|s| s.architecture.drop_prob).collect::<Vec<_>>(),
            [0.005, 0.01, 0.05, 0.1]
        );
        assert_eq!((mf.settings[0].fit.kl_warmup.epochs(), mf.settings[0].fit.lr), (1000.0, 5e-3));
    }

    #[test]
    fn methods_are_found_by_name_and_others_refused() {
        assert_eq!(method_named("mean-field").unwrap().name, "mean-field");
        let error = method_named("hmc").unwrap_err().to_string();
        assert!(error.starts_with("expected one of deterministic, mc-dropout, "), "{error}");
    }
}
