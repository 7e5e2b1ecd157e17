//! The settings that the flags of `bdl train` come to.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use bdl_model::{
    Architecture, BayesianLayers, Estimator, FitConfig, KlSchedule, KlWarmup, Likelihood, Method,
    MissingPolicy, Model, Optimizer, SelectOptions, StartFrom, Task, TaskChoice, TrainConfig, Valid,
};

use super::{LikelihoodArg, MethodArg, MissingArg, OptimizerArg, TaskArg, TrainArgs};
use crate::args::Names;
use crate::out::{self, Usage};

impl TrainArgs {
    /// The settings, if the flags do not contradict each other.
    pub(crate) fn config(&self) -> Result<TrainConfig> {
        self.check()?;
        Ok(TrainConfig {
            select: SelectOptions {
                target: self.target_name().to_owned(),
                task: match self.task {
                    TaskArg::Auto => TaskChoice::Auto,
                    TaskArg::Regression => TaskChoice::Is(Task::Regression),
                    TaskArg::Classification => TaskChoice::Is(Task::Classification),
                },
                ignore: Names::all(&self.ignore),
                categorical: Names::all(&self.categorical),
                missing: match self.missing {
                    MissingArg::Error => MissingPolicy::Error,
                    MissingArg::Drop => MissingPolicy::Drop,
                    MissingArg::Impute => MissingPolicy::Impute,
                },
            },
            architecture: self.architecture()?,
            members: match self.method {
                MethodArg::Ensemble => self.members.unwrap_or(5),
                _ => 1,
            },
            fit: self.fit(),
            start: None,
            valid: match (&self.valid_by, self.valid) {
                (Some(column), fraction) => {
                    Valid::By { column: column.clone(), fraction: fraction.unwrap_or(0.1) }
                }
                (None, Some(fraction)) => Valid::Fraction(fraction),
                (None, None) => Valid::None,
            },
        })
    }

    /// The model that training starts from.
    pub(crate) fn start(&self) -> Result<Option<StartFrom>> {
        let Some(file) = &self.init_from else { return Ok(None) };
        let model = Arc::new(Model::load(file)?);
        Ok(Some(StartFrom { model, sigma_ratio: self.moped }))
    }

    /// Where the model goes, which is known unless nothing is trained.
    pub(crate) fn out(&self) -> Result<&Path> {
        self.out.as_deref().ok_or_else(|| Usage::error("--out: expected the model file to write, got none"))
    }

    /// The target's name, which only images go without.
    pub(crate) fn target_name(&self) -> &str {
        self.target.as_deref().unwrap_or("label")
    }

    fn architecture(&self) -> Result<Architecture> {
        let default = Architecture::default();
        let prior = self.prior.clone().unwrap_or(default.prior);
        Ok(Architecture {
            method: self.member_method(),
            likelihood: self.likelihood(),
            hidden: self.hidden.0.clone(),
            net: self.net.clone(),
            activation: self.activation.unwrap_or(default.activation),
            drop_prob: self.drop_prob.unwrap_or(default.drop_prob),
            input_drop_prob: self.input_drop_prob,
            length_scale: self.length_scale.unwrap_or(default.length_scale),
            prior: match self.moped {
                Some(_) => prior.around().map_err(|e| Usage::error(format!("--moped: {e}")))?,
                None => prior,
            },
            weight_noise: self.weight_noise.unwrap_or_default(),
            grain: self.alpha_per.unwrap_or_default(),
            bayesian: self.bayesian.clone().unwrap_or(default.bayesian),
        })
    }

    pub(super) fn likelihood(&self) -> Likelihood {
        match self.likelihood {
            None if self.noise.is_none() => Likelihood::Auto,
            None | Some(LikelihoodArg::Gaussian) => Likelihood::Gaussian { noise: self.noise },
            Some(LikelihoodArg::Heteroscedastic) => Likelihood::Heteroscedastic,
            Some(LikelihoodArg::StudentT) => Likelihood::StudentT { dof: self.dof },
            Some(LikelihoodArg::Poisson) => Likelihood::Poisson,
            Some(LikelihoodArg::Categorical) => Likelihood::Categorical,
            Some(LikelihoodArg::Bernoulli) => Likelihood::Bernoulli,
        }
    }

    fn fit(&self) -> FitConfig {
        FitConfig {
            batch: self.batch,
            optimizer: self.optimizer(),
            lr: self.lr,
            schedule: self.schedule,
            kl_weight: self.kl_weight,
            kl_schedule: self.kl_schedule,
            estimator: self.estimator.map_or_else(Estimator::default, Estimator::from),
            patience: self.patience,
            seed: self.seed,
            ..FitConfig::default()
        }
    }

    /// Sets what depends on the number of rows, where no flag says otherwise.
    pub(crate) fn fit_to_rows(&self, config: &mut TrainConfig, rows: usize) -> Result<()> {
        config.fit.epochs = self.epochs.unwrap_or_else(|| config.recommended_epochs(rows));
        config.fit.kl_warmup = match self.kl_warmup {
            Some(warmup) => warmup,
            None if self.kl_schedule != KlSchedule::Constant => KlWarmup::default(),
            None => KlWarmup::new(config.recommended_kl_warmup() as f64)?,
        };
        let FitConfig { epochs, kl_warmup, .. } = config.fit;
        if kl_warmup.weight(epochs as f64) < 1.0 {
            out::warning(format_args!(
                "--kl-warmup: ends behind the last epoch, {epochs}, so that the KL never has its whole weight"
            ));
        }
        Ok(())
    }

    fn optimizer(&self) -> Optimizer {
        match self.optimizer {
            OptimizerArg::Sgd => Optimizer::Sgd { momentum: self.momentum.unwrap_or(0.0) },
            OptimizerArg::Adam => Optimizer::adam(),
            OptimizerArg::AdamW => match (Optimizer::adam_w(), self.weight_decay) {
                (Optimizer::AdamW { beta1, beta2, floor, .. }, Some(weight_decay)) => {
                    Optimizer::AdamW { beta1, beta2, floor, weight_decay }
                }
                (default, _) => default,
            },
        }
    }

    /// The method of a network, alone or in an ensemble.
    pub(super) fn member_method(&self) -> Method {
        match self.method {
            MethodArg::One(method) => method,
            MethodArg::Ensemble => self.of.unwrap_or(Method::Deterministic),
        }
    }

    /// The Bayesian layers, if these are not all.
    pub(super) fn chosen_layers(&self) -> Option<&BayesianLayers> {
        self.bayesian.as_ref().filter(|layers| **layers != BayesianLayers::All)
    }
}
