//! The likelihoods by name, and what each of them takes for a target.

use std::fmt;

use bdl_infer::{
    Bernoulli, Categorical, Dof, Gaussian, Heteroscedastic, Independent, NoiseSd, Poisson, StudentT,
};

use crate::architecture::Outputs;
use crate::select::Task;
use crate::{Error, TaskChoice};

/// What stands between the network's output and the target.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Likelihood {
    /// Gaussian for a number, Poisson for a count, categorical for a class.
    #[default]
    Auto,
    /// Gaussian, with the same noise for all rows.
    Gaussian {
        /// Its standard deviation, in the target's own units; `None` if it is learned.
        noise: Option<f64>,
    },
    /// Gaussian with a standard deviation that the network puts out for each row.
    Heteroscedastic,
    /// Student's t, with a learned scale: a number with outliers.
    StudentT {
        /// Its degrees of freedom; `None` if they are learned.
        dof: Option<f64>,
    },
    /// Poisson: a count.
    Poisson,
    /// A logit for each class.
    Categorical,
    /// One logit for two classes.
    Bernoulli,
}

/// Initial scale of a learned noise, in standard deviations of the target.
const INIT_NOISE: f64 = 0.5;

/// Initial degrees of freedom where they are learned: tails that can be seen on some hundred rows, and no more.
const INIT_DOF: f64 = 10.0;

impl Likelihood {
    /// Its name, as on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Gaussian { .. } => Gaussian::KIND,
            Self::Heteroscedastic => Heteroscedastic::KIND,
            Self::StudentT { .. } => StudentT::KIND,
            Self::Poisson => Poisson::KIND,
            Self::Categorical => Categorical::KIND,
            Self::Bernoulli => Bernoulli::KIND,
        }
    }

    /// The task that it is for; `None` if it is for any.
    #[must_use]
    pub fn task(self) -> Option<Task> {
        match self {
            Self::Auto => None,
            Self::Categorical | Self::Bernoulli => Some(Task::Classification),
            Self::Gaussian { .. } | Self::Heteroscedastic | Self::StudentT { .. } | Self::Poisson => {
                Some(Task::Regression)
            }
        }
    }

    /// What it makes of a choice of the task that does not contradict it: a Poisson is of counts, a Bernoulli of two classes.
    #[must_use]
    pub fn task_choice(self, choice: TaskChoice) -> TaskChoice {
        match (self, choice) {
            (Self::Poisson, TaskChoice::Auto | TaskChoice::Is(Task::Regression)) => TaskChoice::Counts,
            (Self::Bernoulli, TaskChoice::Auto | TaskChoice::Is(Task::Classification)) => {
                TaskChoice::TwoClasses
            }
            (_, choice) => choice,
        }
    }

    /// The likelihood of a target, of several that of each. `target_sd` is the standard deviation by which a number was divided.
    ///
    /// # Errors
    /// If it is for other targets; for a noise or degrees of freedom out of range.
    pub(crate) fn build(
        self,
        outputs: Outputs,
        target_sd: f64,
    ) -> Result<Box<dyn bdl_infer::Likelihood>, Error> {
        if let (Self::Gaussian { noise: Some(_) }, Outputs::Several(targets)) = (self, &outputs) {
            let got = format!("{} targets", targets.len());
            return Err(Error::Argument { what: "--noise", expected: "used with one target", got });
        }
        Ok(match (self, outputs) {
            (_, Outputs::Several(targets)) => {
                let each = targets.into_iter().map(|(outputs, target_sd)| self.build(outputs, target_sd));
                Box::new(Independent::new(each.collect::<Result<_, _>>()?)?)
            }
            (Self::Auto | Self::Categorical, Outputs::Classes(classes)) => {
                Box::new(Categorical::new(classes)?)
            }
            (Self::Bernoulli, Outputs::Classes(2)) => Box::new(Bernoulli),
            (Self::Auto | Self::Poisson, Outputs::Counts { mean }) => Box::new(Poisson::new(mean)?),
            (Self::Auto | Self::Gaussian { noise: None }, Outputs::Real) => {
                Box::new(Gaussian::new(NoiseSd::Learned { init: INIT_NOISE })?)
            }
            (Self::Gaussian { noise: Some(sd) }, Outputs::Real) => {
                Box::new(Gaussian::new(NoiseSd::Fixed(check_noise(sd, target_sd)?))?)
            }
            (Self::Heteroscedastic, Outputs::Real) => Box::new(Heteroscedastic::new()),
            (Self::StudentT { dof }, Outputs::Real) => {
                let dof = dof.map_or(Dof::Learned { init: INIT_DOF }, Dof::Fixed);
                Box::new(StudentT::new(INIT_NOISE, dof)?)
            }
            (_, outputs) => return Err(self.misfit(&outputs)),
        })
    }

    fn misfit(self, outputs: &Outputs) -> Error {
        let (expected, of) = match outputs {
            Outputs::Classes(2) => ("categorical or bernoulli for a target of two classes", String::new()),
            Outputs::Classes(n) => {
                ("categorical for a target of more than two classes", format!(", with {n} classes"))
            }
            Outputs::Counts { .. } => ("poisson for a target of counts", String::new()),
            Outputs::Real | Outputs::Several(_) => {
                ("gaussian, heteroscedastic or student-t for a target of numbers", String::new())
            }
        };
        Error::Argument { what: "--likelihood", expected, got: format!("{}{of}", self.name()) }
    }
}

/// For people: `student-t with 4 degrees of freedom`.
impl fmt::Display for Likelihood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gaussian { noise: None } => write!(f, "gaussian with learned noise"),
            Self::Gaussian { noise: Some(sd) } => write!(f, "gaussian with known noise {sd}"),
            Self::StudentT { dof: None } => write!(f, "student-t with learned degrees of freedom"),
            Self::StudentT { dof: Some(dof) } => write!(f, "student-t with {dof} degrees of freedom"),
            other => write!(f, "{}", other.name()),
        }
    }
}

/// The noise in standard deviations of the target; far beyond 1 its square is no number to work with.
fn check_noise(sd: f64, target_sd: f64) -> Result<f64, Error> {
    let refuse = |expected, got| Err(Error::Argument { what: "--noise", expected, got });
    match sd / target_sd {
        _ if !(sd.is_finite() && sd > 0.0) => refuse("finite and > 0", sd.to_string()),
        relative if (1e-12..=1e12).contains(&relative) => Ok(relative),
        _ => refuse(
            "within a factor of 1e12 of the target's standard deviation",
            format!("{sd:e} where that is {target_sd:e}"),
        ),
    }
}
