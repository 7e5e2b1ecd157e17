//! Priors in words: what a command line or a configuration file says, and what a report prints.

use std::fmt;
use std::str::FromStr;

use bdl_dist::{Laplace, ScaleMixture, StudentT};

use super::{Prior, Scaling};
use crate::Error;
use crate::dense::check_positive;

/// What a specification may be, for whoever gave another.
const GRAMMAR: &str = "normal:SD, normal:learned, fan-in:GAIN, mixture[:PI:SD1:SD2], laplace:SCALE, student-t:DF:SCALE, \
                       log-uniform, or one of them behind fan-in:, such as fan-in:laplace:1";

impl FromStr for Prior {
    type Err = Error;

    /// The prior of a specification.
    ///
    /// | specification | prior |
    /// |---|---|
    /// | `normal:SD` | `N(0, SD²)` |
    /// | `normal:learned`, `normal:learned:SD` | `N(0, s²)`, s learned in each layer, from SD on (1) |
    /// | `mixture:PI:SD1:SD2` | `PI·N(0, SD1²) + (1 − PI)·N(0, SD2²)`; `mixture` alone: ½, 1 and e^−6 |
    /// | `laplace:SCALE` | `e^{−\|w\|/SCALE}/(2·SCALE)` |
    /// | `student-t:DF:SCALE` | Student's t with DF degrees of freedom, times SCALE |
    /// | `log-uniform` | `∝ 1/\|w\|`, improper |
    /// | `fan-in:…` | one of those with a scale, for `w·√inputs`; biases as they are |
    /// | `fan-in:GAIN` | `fan-in:normal:GAIN` |
    ///
    /// ```
    /// use bdl_layers::Prior;
    /// assert_eq!("fan-in:normal:2".parse(), Ok(Prior::FanIn(2.0)));
    /// let e = "laplace:-1".parse::<Prior>().unwrap_err();
    /// assert_eq!(e.to_string(), "laplace: scale must be finite and > 0, got -1");
    /// ```
    fn from_str(text: &str) -> Result<Self, Error> {
        let parts: Vec<&str> = text.split(':').collect();
        match *parts {
            ["fan-in", gain] if gain.parse::<f64>().is_ok() => of_parts(&["normal", gain], Scaling::FanIn),
            ["fan-in", "log-uniform"] => Err(refuse("a prior with a scale behind fan-in:", text)),
            ["fan-in", ref parts @ ..] => of_parts(parts, Scaling::FanIn),
            ref parts => of_parts(parts, Scaling::Same),
        }
        .and_then(|prior| prior.ok_or_else(|| refuse(GRAMMAR, text)))
    }
}

/// The prior, if the parts are those of one.
fn of_parts(parts: &[&str], scaling: Scaling) -> Result<Option<Prior>, Error> {
    Ok(Some(match *parts {
        ["normal", "learned"] => Prior::Learned(1.0, scaling),
        ["normal", sd] => {
            let sd = number("SD", sd)?;
            check_positive("prior", "SD", sd)?;
            if scaling == Scaling::FanIn { Prior::FanIn(sd) } else { Prior::StdDev(sd) }
        }
        ["normal", "learned", sd] => {
            let sd = number("SD", sd)?;
            check_positive("prior", "SD", sd)?;
            Prior::Learned(sd, scaling)
        }
        ["mixture"] => Prior::Mixture(ScaleMixture::default(), scaling),
        ["mixture", pi, wide, narrow] => {
            let std_devs = [number("SD1", wide)?, number("SD2", narrow)?];
            Prior::Mixture(ScaleMixture::new(number("PI", pi)?, std_devs)?, scaling)
        }
        ["laplace", scale] => Prior::Laplace(Laplace::new(number("SCALE", scale)?)?, scaling),
        ["student-t", df, scale] => {
            Prior::StudentT(StudentT::new(number("DF", df)?, number("SCALE", scale)?)?, scaling)
        }
        ["log-uniform"] => Prior::LogUniform,
        _ => return Ok(None),
    }))
}

fn number(argument: &'static str, text: &str) -> Result<f64, Error> {
    let not_a_number = |_| Error::Argument {
        layer: "prior".to_owned(),
        argument,
        expected: "a number".to_owned(),
        got: format!("{text:?}"),
    };
    text.parse().map_err(not_a_number)
}

fn refuse(expected: &str, got: &str) -> Error {
    Error::Argument {
        layer: "prior".to_owned(),
        argument: "specification",
        expected: expected.to_owned(),
        got: format!("{got:?}"),
    }
}

impl fmt::Display for Prior {
    /// `N(0, 0.5²)`, `N(0, 1²/inputs)`, `Laplace(0.5)`, `Laplace(0.5) of w·√inputs`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scaling = match self {
            Self::StdDev(s) => return write!(f, "N(0, {s}²)"),
            Self::FanIn(gain) => return write!(f, "N(0, {gain}²/inputs)"),
            Self::LogUniform => return f.write_str("log-uniform"),
            Self::Mixture(p, scaling) => {
                let ([wide, narrow], pi) = (p.std_devs(), p.pi());
                write!(f, "{pi}·N(0, {wide}²) + {}·N(0, {narrow:.4}²)", 1.0 - pi)?;
                scaling
            }
            Self::Laplace(p, scaling) => {
                write!(f, "Laplace({})", p.scale())?;
                scaling
            }
            Self::StudentT(p, scaling) => {
                write!(f, "{}·t({})", p.scale(), p.df())?;
                scaling
            }
            Self::Own(p, scaling) => {
                f.write_str(p.kind())?;
                scaling
            }
            Self::Around(s, scaling) => {
                write!(f, "N(start, {s}²)")?;
                scaling
            }
            Self::Learned(init, scaling) => {
                write!(f, "N(0, s²) with s learned from {init}")?;
                scaling
            }
        };
        f.write_str(if *scaling == Scaling::FanIn { " of w·√inputs" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifications_are_priors_and_priors_have_words() {
        for (text, prior, words) in [
            ("normal:0.5", Prior::StdDev(0.5), "N(0, 0.5²)"),
            ("fan-in:1", Prior::FanIn(1.0), "N(0, 1²/inputs)"),
            ("fan-in:normal:1", Prior::FanIn(1.0), "N(0, 1²/inputs)"),
            (
                "mixture",
                Prior::Mixture(ScaleMixture::default(), Scaling::Same),
                "0.5·N(0, 1²) + 0.5·N(0, 0.0025²)",
            ),
            (
                "fan-in:mixture:0.25:2:0.125",
                Prior::Mixture(ScaleMixture::new(0.25, [2.0, 0.125]).unwrap(), Scaling::FanIn),
                "0.25·N(0, 2²) + 0.75·N(0, 0.1250²) of w·√inputs",
            ),
            ("laplace:0.5", Prior::Laplace(Laplace::new(0.5).unwrap(), Scaling::Same), "Laplace(0.5)"),
            (
                "fan-in:student-t:3:2",
                Prior::StudentT(StudentT::new(3.0, 2.0).unwrap(), Scaling::FanIn),
                "2·t(3) of w·√inputs",
            ),
            ("log-uniform", Prior::LogUniform, "log-uniform"),
            ("normal:learned", Prior::Learned(1.0, Scaling::Same), "N(0, s²) with s learned from 1"),
            (
                "fan-in:normal:learned:0.5",
                Prior::Learned(0.5, Scaling::FanIn),
                "N(0, s²) with s learned from 0.5 of w·√inputs",
            ),
        ] {
            let parsed: Prior = text.parse().unwrap();
            assert_eq!(parsed, prior, "{text}");
            assert_eq!(parsed.to_string(), words);
        }
    }

    #[test]
    fn what_is_no_prior_says_what_was_expected_and_got() {
        let message = |text: &str| text.parse::<Prior>().unwrap_err().to_string();
        for text in
            ["", "normal", "horseshoe:1", "laplace", "laplace:1:2", "fan-in", "fan-in:fan-in:1", "normal:1:2"]
        {
            let e = message(text);
            assert!(
                e.starts_with("prior: specification must be normal:SD, ") && e.contains("student-t:DF:SCALE"),
                "{e}"
            );
            assert!(e.ends_with(&format!("got {text:?}")), "{e}");
        }
        assert_eq!(message("normal:-1"), "prior: SD must be finite and > 0, got -1");
        assert_eq!(message("fan-in:0"), "prior: SD must be finite and > 0, got 0");
        assert_eq!(message("normal:learned:0"), "prior: SD must be finite and > 0, got 0");
        assert_eq!(message("laplace:wide"), "prior: SCALE must be a number, got \"wide\"");
        assert_eq!(message("student-t:0:1"), "student-t: df must be above 0 and at most 1e6, got 0");
        assert_eq!(message("mixture:1:1:0.1"), "scale mixture: pi must be in (0, 1), got 1");
        assert!(
            message("fan-in:log-uniform").starts_with("prior: specification must be a prior with a scale")
        );
    }
}
