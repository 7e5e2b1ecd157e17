#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod bnn;
mod error;
mod file;
mod fit;
mod kl_weight;
mod likelihood;
mod objective;
mod optimizer;
#[cfg(feature = "rayon")]
mod pool;
mod predict;
mod predictive;
mod schedule;
mod update;

pub use bnn::Bnn;
pub use error::Error;
pub use file::{
    Kinds, LIKELIHOOD, LikelihoodBuilder, RECORD, TrainingRecord, push_bnn, push_record, read_bnn,
    read_record,
};
pub use fit::{Data, FitConfig, FitSummary, Progress, fit, mean_nll};
pub use kl_weight::{KlSchedule, KlWarmup, StepAt};
pub use likelihood::{
    Bernoulli, Categorical, ClassLikelihood, Dof, Gaussian, Heteroscedastic, Independent, Likelihood,
    NoiseSd, PassOutputs, Poisson, Predicts, RealLikelihood, StudentT, Target, Targets,
};
pub use objective::{Elbo, ElboTerms};
pub use optimizer::{Optimizer, OptimizerState};
#[cfg(feature = "rayon")]
pub use pool::RayonPool;
pub use predict::{Passes, Predictor};
pub use predictive::{ClassMixture, MixtureScratch, Predictive, RealMixture, Units};
pub use schedule::Schedule;
