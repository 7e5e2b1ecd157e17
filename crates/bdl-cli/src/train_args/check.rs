//! What contradicts what among the flags of `bdl train`.

use anyhow::Result;
use bdl_model::{Grain, Likelihood, Method, Task, WeightNoise};

use super::{MethodArg, MissingArg, OptimizerArg, TaskArg, TrainArgs};
use crate::images::refuse_flags;
use crate::out::Usage;

/// Whether a method has what a flag sets.
type Has = fn(Method) -> bool;

impl TrainArgs {
    /// Flags that contradict each other, whatever the data are.
    pub(super) fn check(&self) -> Result<()> {
        self.check_method()?;
        self.check_likelihood()?;
        self.check_training()
    }

    /// Flags that a table does not have, and one that it must have.
    pub(crate) fn check_table(&self) -> Result<()> {
        if self.labels.is_some() {
            return Err(Usage::error(format!(
                "--labels: is for IDX images, but {} is a table",
                self.data.display()
            )));
        }
        match self.target {
            Some(_) => Ok(()),
            None => Err(Usage::error(
                "--target: expected the column to predict, got none; only IDX images go without",
            )),
        }
    }

    /// Flags that images do not have.
    pub(crate) fn check_images(&self) -> Result<()> {
        let given = [
            ("--ignore", !self.ignore.is_empty()),
            ("--categorical", !self.categorical.is_empty()),
            ("--missing", self.missing != MissingArg::Error),
            ("--delimiter", self.read.delimiter.is_some()),
            ("--valid-by", self.valid_by.is_some()),
            ("--task", self.task == TaskArg::Regression),
        ];
        refuse_flags(&given, &self.data)?;
        self.check_task(Task::Classification, "the data are images with labels")
    }

    /// Flags that the method does not have.
    fn check_method(&self) -> Result<()> {
        if self.method != MethodArg::Ensemble {
            let given = [("--members", self.members.is_some()), ("--of", self.of.is_some())];
            if let Some((flag, _)) = given.iter().find(|(_, given)| *given) {
                return Err(Usage::error(format!("{flag}: only --method ensemble has members")));
            }
        }
        if self.init_from.is_some() && self.method == MethodArg::Ensemble {
            return Err(Usage::error("--init-from: starts one network, but the method is ensemble"));
        }
        let method = self.member_method();
        // Layers that are not Bayesian have the prior of the length scale under any method.
        let length_scale = self.length_scale.filter(|_| self.chosen_layers().is_none());
        let fits: [(&str, bool, Has); 9] = [
            ("--drop-prob", self.drop_prob.is_some(), Method::has_drop_prob),
            ("--input-drop-prob", self.input_drop_prob.is_some(), Method::has_drop_prob),
            ("--bayesian", self.chosen_layers().is_some(), Method::has_bayesian_layers),
            ("--length-scale", length_scale.is_some(), Method::has_length_scale),
            ("--prior", self.prior.is_some(), Method::has_prior),
            ("--weight-noise", self.weight_noise.is_some(), Method::has_alpha),
            ("--alpha-per", self.alpha_per.is_some(), Method::has_alpha),
            ("--moped", self.moped.is_some(), Method::has_prior),
            ("--estimator", self.estimator.is_some(), Method::is_variational),
        ];
        for (flag, given, has) in fits {
            if given && !has(method) {
                let names: Vec<_> = Method::ALL.into_iter().filter(|m| has(*m)).map(Method::name).collect();
                let (names, got) = (and(&names), method.name());
                return Err(Usage::error(format!("{flag}: is of method {names}, but the method is {got}")));
            }
        }
        self.check_weight_noise()
    }

    /// Flags that noise on inputs does not have.
    fn check_weight_noise(&self) -> Result<()> {
        let flag = match (self.weight_noise, self.alpha_per, self.estimator) {
            (Some(WeightNoise::Correlated), Some(Grain::Weight), _) => "--alpha-per weight",
            (Some(WeightNoise::Correlated), _, Some(_)) => "--estimator",
            _ => return Ok(()),
        };
        Err(Usage::error(format!("{flag}: is of --weight-noise independent, but the noise is correlated")))
    }

    /// Flags that the update rule does not have, and one that needs rows held out.
    fn check_training(&self) -> Result<()> {
        if self.patience.is_some() && self.valid.is_none() && self.valid_by.is_none() {
            return Err(Usage::error("--patience: needs validation rows; add --valid 0.1 or --valid-by COL"));
        }
        if self.momentum.is_some() && self.optimizer != OptimizerArg::Sgd {
            return Err(Usage::error("--momentum: only --optimizer sgd has one"));
        }
        if self.weight_decay.is_some() && self.optimizer != OptimizerArg::AdamW {
            return Err(Usage::error("--weight-decay: only --optimizer adamw has one"));
        }
        Ok(())
    }

    fn check_likelihood(&self) -> Result<()> {
        match self.task {
            TaskArg::Auto => {}
            TaskArg::Regression => self.check_task(Task::Regression, "asked for with --task")?,
            TaskArg::Classification => self.check_task(Task::Classification, "asked for with --task")?,
        }
        let likelihood = self.likelihood();
        let name = likelihood.name();
        if self.dof.is_some() && !matches!(likelihood, Likelihood::StudentT { .. }) {
            return Err(Usage::error("--dof: only --likelihood student-t has degrees of freedom"));
        }
        match likelihood {
            _ if self.noise.is_none() => Ok(()),
            Likelihood::Heteroscedastic | Likelihood::StudentT { .. } => Err(Usage::error(format!(
                "--noise: a known noise contradicts --likelihood {name}, which learns it"
            ))),
            Likelihood::Poisson | Likelihood::Categorical | Likelihood::Bernoulli => {
                Err(Usage::error(format!("--noise: --likelihood {name} has no noise")))
            }
            _ => Ok(()),
        }
    }

    /// Whether likelihood and noise are of this task, which is so for the reason `why`.
    pub(crate) fn check_task(&self, task: Task, why: &str) -> Result<()> {
        let likelihood = self.likelihood();
        let Some(other) = likelihood.task().filter(|other| *other != task) else { return Ok(()) };
        let wrong = match self.likelihood {
            Some(_) => format!("--likelihood {}", likelihood.name()),
            None => "--noise".to_owned(),
        };
        Err(Usage::error(format!("{wrong}: is for {other}, but the task is {task} ({why})")))
    }
}

/// Names in a sentence: `a`, `a and b`, `a, b and c`.
fn and(names: &[&str]) -> String {
    match names {
        [front @ .., last] if !front.is_empty() => format!("{} and {last}", front.join(", ")),
        names => names.concat(),
    }
}
