//! Which layers of a network are Bayesian.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Method};

/// Which layers of weights are treated as the method says; the others have one value per weight, under the prior
/// of the length scale.
///
/// Layers of weights are counted from 1, from the input on, in the order in which `inspect` lists them; activations, masks and
/// pooling do not count.
///
/// ```
/// use bdl_model::BayesianLayers;
/// let layers: BayesianLayers = "1,3".parse()?;
/// assert_eq!((1..=3).map(|at| layers.contains(at, 3)).collect::<Vec<_>>(), [true, false, true]);
/// assert!("last".parse::<BayesianLayers>()?.contains(3, 3));
/// # Ok::<(), bdl_model::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BayesianLayers {
    /// All of them.
    #[default]
    All,
    /// The last: what stands in front of it is computed once for all passes.
    Last,
    /// Those of these numbers.
    Numbers(Vec<usize>),
}

impl BayesianLayers {
    /// Whether layer number `at` of `layers` is one of them.
    #[must_use]
    pub fn contains(&self, at: usize, layers: usize) -> bool {
        match self {
            Self::All => true,
            Self::Last => at == layers,
            Self::Numbers(numbers) => numbers.contains(&at),
        }
    }

    /// Refuses a choice where there is none, and numbers of layers that are not there.
    pub(crate) fn check(&self, method: Method, layers: usize) -> Result<(), Error> {
        let refuse = |expected, got| Err(Error::Argument { what: "--bayesian", expected, got });
        if *self != Self::All && !method.has_bayesian_layers() {
            return refuse("all where no layer is Bayesian", format!("{self} with {}", method.name()));
        }
        match self {
            Self::Numbers(numbers) => match numbers.iter().find(|at| !(1..=layers).contains(*at)) {
                Some(at) => {
                    refuse("numbers of layers of weights, from 1", format!("{at} where there are {layers}"))
                }
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

impl FromStr for BayesianLayers {
    type Err = Error;

    /// `all`, `last`, or numbers from 1 joined by commas.
    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = || Error::Argument {
            what: "--bayesian",
            expected: "all, last, or different numbers of layers from 1, such as 1,3",
            got: format!("{text:?}"),
        };
        let number = |word: &str| word.parse().ok().filter(|at| *at > 0).ok_or_else(refuse);
        match text {
            "all" => Ok(Self::All),
            "last" => Ok(Self::Last),
            _ => {
                let mut numbers: Vec<usize> = text.split(',').map(number).collect::<Result<_, _>>()?;
                numbers.sort_unstable();
                if numbers.windows(2).any(|pair| pair[0] == pair[1]) {
                    Err(refuse())
                } else {
                    Ok(Self::Numbers(numbers))
                }
            }
        }
    }
}

impl fmt::Display for BayesianLayers {
    /// As it is spelled.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Last => f.write_str("last"),
            Self::Numbers(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
                f.write_str(&numbers.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_told_as_it_is_spelled_and_anything_else_is_refused() {
        for text in ["all", "last", "2", "1,3"] {
            assert_eq!(text.parse::<BayesianLayers>().unwrap().to_string(), text);
        }
        for text in ["", "first", "0", "1,1", "1,", "-1"] {
            let e = text.parse::<BayesianLayers>().unwrap_err().to_string();
            assert_eq!(
                e,
                format!(
                    "--bayesian: must be all, last, or different numbers of layers from 1, such as 1,3, got {text:?}"
                )
            );
        }
    }

    #[test]
    fn a_layer_that_is_not_there_and_a_method_without_choice_are_refused() {
        let message = |text: &str, method| {
            let layers: BayesianLayers = text.parse().unwrap();
            layers.check(method, 2).map_err(|e| e.to_string())
        };
        assert_eq!(message("2", Method::MeanField), Ok(()));
        assert_eq!(message("all", Method::Deterministic), Ok(()));
        assert_eq!(
            message("2,3", Method::MeanField).unwrap_err(),
            "--bayesian: must be numbers of layers of weights, from 1, got 3 where there are 2"
        );
        assert_eq!(
            message("last", Method::Deterministic).unwrap_err(),
            "--bayesian: must be all where no layer is Bayesian, got last with deterministic"
        );
    }
}
