//! What contradicts what among the flags of `bdl train`.

use anyhow::Result;
use bdl_model::{Grain, KlSchedule, Likelihood, Method, Net, Task, WeightNoise};

use super::{MethodArg, MissingArg, OptimizerArg, TaskArg, TrainArgs};
use crate::args::{Format, Names};
use crate::images::refuse_flags;
use crate::out::Usage;

/// Whether a method has what a flag sets.
type Has = fn(Method) -> bool;

impl TrainArgs {
    /// Flags that contradict each other, whatever the data are.
    pub(super) fn check(&self) -> Result<()> {
        self.check_method()?;
        self.check_layers()?;
        self.check_likelihood()?;
        self.check_columns()?;
        self.check_training()?;
        self.check_kl()
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
            let why = "only --method ensemble has members";
            refuse(&[("--members", self.members.is_some(), why), ("--of", self.of.is_some(), why)])?;
        }
        let method = self.member_method();
        // Layers that are not Bayesian have the prior of the length scale under any method: see `check_layers`.
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

    /// Flags that no layer of this network has.
    fn check_layers(&self) -> Result<()> {
        let (method, maps) = (self.member_method(), self.maps());
        let bayesian = |at| self.chosen_layers().is_none_or(|layers| layers.contains(at, maps));
        let plain = (1..=maps).any(|at| !bayesian(at));
        let linear = !self.net.as_ref().map_or(maps > 1, Net::has_activation);
        let needs = [
            (
                "--input-drop-prob",
                self.input_drop_prob.is_some() && !bayesian(1),
                "is of masks on the inputs, but the first layer is not among those of --bayesian",
            ),
            (
                "--drop-prob",
                self.drop_prob.is_some() && self.input_drop_prob.is_some() && !(2..=maps).any(bayesian),
                "is of masks on hidden units where --input-drop-prob is given, but there are none",
            ),
            (
                "--length-scale",
                self.length_scale.is_some() && !method.has_length_scale() && !plain,
                "is of layers that are not Bayesian, but all of them are",
            ),
            (
                "--activation",
                self.activation.is_some() && linear,
                "stands behind hidden layers, but there are none",
            ),
            (
                "--weight-decay",
                self.weight_decay.is_some() && method == Method::MeanField && !plain && !self.has_norm(),
                "shrinks weights with one value, but all have posteriors under mean-field",
            ),
        ];
        refuse(&needs)
    }

    /// Layers of weights.
    fn maps(&self) -> usize {
        self.net.as_ref().map_or(self.hidden.0.len() + 1, Net::maps)
    }

    fn has_norm(&self) -> bool {
        self.net.as_ref().is_some_and(Net::has_norm)
    }

    /// Columns of which two flags say different things.
    fn check_columns(&self) -> Result<()> {
        let (ignored, categories) = (Names::all(&self.ignore), Names::all(&self.categorical));
        if let Some(name) = categories.iter().find(|name| ignored.contains(name)) {
            return Err(Usage::error(format!("--categorical: {name:?} is left out by --ignore")));
        }
        let target = self.target.as_ref().filter(|target| categories.contains(target));
        let number = match self.likelihood() {
            Likelihood::Poisson => "--likelihood poisson",
            _ if self.task == TaskArg::Regression => "--task regression",
            _ => return Ok(()),
        };
        match target {
            Some(name) => Err(Usage::error(format!(
                "--categorical: makes classes of the target {name:?}, which {number} takes for a number"
            ))),
            None => Ok(()),
        }
    }

    /// Flags of the KL's factor, where that is 0.
    fn check_kl(&self) -> Result<()> {
        let nothing = "moves the factor of the KL, but --kl-weight 0 leaves none";
        let warmup = self.kl_warmup.is_some_and(|warmup| warmup.epochs() > 0.0);
        refuse(&[
            ("--kl-warmup", warmup && self.kl_weight == 0.0, nothing),
            ("--kl-schedule", self.kl_schedule != KlSchedule::Constant && self.kl_weight == 0.0, nothing),
        ])
    }

    /// Flags that the update rule does not have, one that needs rows held out, and one that hides all there is.
    fn check_training(&self) -> Result<()> {
        let held_out = self.valid.is_some() || self.valid_by.is_some();
        let shown = self.prior_predictive.is_some() && self.run.format == Format::Text;
        refuse(&[
            (
                "--patience",
                self.patience.is_some() && !held_out,
                "needs validation rows; add --valid 0.1 or --valid-by COL",
            ),
            (
                "--momentum",
                self.momentum.is_some() && self.optimizer != OptimizerArg::Sgd,
                "only --optimizer sgd has one",
            ),
            (
                "--weight-decay",
                self.weight_decay.is_some() && self.optimizer != OptimizerArg::AdamW,
                "only --optimizer adamw has one",
            ),
            (
                "--quiet",
                self.quiet && shown,
                "leaves nothing of --prior-predictive; add --format json for its object",
            ),
        ])
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

/// Refuses the first flag that is given where it has no effect, for its reason.
fn refuse(flags: &[(&str, bool, &str)]) -> Result<()> {
    match flags.iter().find(|(_, idle, _)| *idle) {
        Some((flag, _, why)) => Err(Usage::error(format!("{flag}: {why}"))),
        None => Ok(()),
    }
}

/// Names in a sentence: `a`, `a and b`, `a, b and c`.
fn and(names: &[&str]) -> String {
    match names {
        [front @ .., last] if !front.is_empty() => format!("{} and {last}", front.join(", ")),
        names => names.concat(),
    }
}
