//! What flags of `bdl train` choose among.

use bdl_model::Method;
use clap::ValueEnum;
use clap::builder::PossibleValue;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum TaskArg {
    /// Classes if the target is text, or has integers only and at most 10 different ones
    #[default]
    Auto,
    /// A number
    Regression,
    /// One of several classes
    Classification,
}

/// One network by a method, or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MethodArg {
    One(Method),
    Ensemble,
}

impl Default for MethodArg {
    fn default() -> Self {
        Self::One(Method::default())
    }
}

impl ValueEnum for MethodArg {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [MethodArg; Method::ALL.len() + 1] = {
            let mut all = [MethodArg::Ensemble; Method::ALL.len() + 1];
            let mut i = 0;
            while i < Method::ALL.len() {
                all[i] = MethodArg::One(Method::ALL[i]);
                i += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::One(method) => PossibleValue::new(method.name()).help(method.about()),
            Self::Ensemble => {
                PossibleValue::new("ensemble").help("Several networks, trained apart; see --members and --of")
            }
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LikelihoodArg {
    /// A number with the same noise everywhere
    Gaussian,
    /// A number with noise that depends on the row
    Heteroscedastic,
    /// A number with outliers: noise with heavy tails
    StudentT,
    /// A count: a whole number from 0 on
    Poisson,
    /// A class
    Categorical,
    /// One of two classes, from one logit
    Bernoulli,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OptimizerArg {
    Sgd,
    #[default]
    Adam,
    #[value(name = "adamw")]
    AdamW,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum MissingArg {
    /// They are an error that says where
    #[default]
    Error,
    /// Leave out rows that have any
    Drop,
    /// Features take their mean or most frequent category
    Impute,
}
