//! Values of flags of `bdl train` that are spelled, and not chosen from a list.

use bdl_model::{BayesianLayers, Error, KlSchedule, KlWarmup, Method, Net, Prior, Schedule};
use clap::builder::TypedValueParser;

use crate::args::{at_least_one, count_up_to, inside_0_1, not_negative, one_of, positive};

/// A method of the networks of an ensemble.
pub(super) fn member_method() -> impl TypedValueParser<Value = Method> {
    one_of(Method::ALL.map(Method::name), Method::from_name)
}

/// Widths of the hidden layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hidden(pub(crate) Vec<usize>);

pub(super) fn hidden(text: &str) -> Result<Hidden, String> {
    if text == "none" {
        return Ok(Hidden(Vec::new()));
    }
    let widths: Vec<usize> =
        text.split(',').map(|width| count_up_to(width, 1, 65_536)).collect::<Result<_, _>>()?;
    if widths.len() > 100 {
        return Err("expected at most 100 layers".to_owned());
    }
    Ok(Hidden(widths))
}

pub(super) fn net(text: &str) -> Result<Net, String> {
    text.parse().map_err(|e: Error| match e {
        Error::Net { place, what, .. } => format!("{place}: {what}"),
        e => e.to_string(),
    })
}

pub(super) fn members(text: &str) -> Result<usize, String> {
    count_up_to(text, 2, 1000)
}

pub(super) fn prior(text: &str) -> Result<Prior, String> {
    text.parse::<Prior>().map_err(|e| e.to_string())
}

/// Functions whose outputs memory can hold.
pub(super) fn functions(text: &str) -> Result<usize, String> {
    count_up_to(text, 1, 10_000)
}

pub(super) fn bayesian(text: &str) -> Result<BayesianLayers, String> {
    text.parse().map_err(|_| "expected all, last, or different numbers from 1, such as 1,3".to_owned())
}

pub(super) fn kl_warmup(text: &str) -> Result<KlWarmup, String> {
    let (start, end) = text.split_once(':').unwrap_or(("0", text));
    let (start, end) = (not_negative(start)?, not_negative(end)?);
    let warmup = KlWarmup::new(end).and_then(|warmup| warmup.starting_at(start));
    warmup.map_err(|_| format!("expected a START of at most {end}"))
}

pub(super) fn kl_schedule(text: &str) -> Result<KlSchedule, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (cycles, rise) = match *parts {
        ["constant"] => return Ok(KlSchedule::Constant),
        ["blundell"] => return Ok(KlSchedule::Blundell),
        ["cyclical", cycles] => (cycles, 0.5),
        ["cyclical", cycles, rise] => (cycles, inside_0_1(rise)?),
        _ => {
            return Err(
                "expected constant, cyclical:CYCLES, cyclical:CYCLES:RISE or blundell, such as cyclical:4:0.5"
                    .to_owned(),
            );
        }
    };
    Ok(KlSchedule::Cyclical { cycles: at_least_one(cycles)?, rise })
}

pub(super) fn schedule(text: &str) -> Result<Schedule, String> {
    let parts: Vec<&str> = text.split(':').collect();
    match *parts {
        ["constant"] => Ok(Schedule::Constant),
        ["cosine"] => Ok(Schedule::Cosine { end: 0.0 }),
        ["linear", hold] => match hold.parse() {
            Ok(hold) if (0.0..1.0).contains(&hold) => Ok(Schedule::Linear { hold }),
            _ => Err(format!("expected a HOLD in [0, 1), got {hold}")),
        },
        ["step", every, factor] => {
            let factor = positive(factor)?;
            if factor > 1.0 {
                return Err("expected a FACTOR of at most 1".to_owned());
            }
            Ok(Schedule::Step { every: positive(every)?, factor })
        }
        _ => {
            Err("expected constant, cosine, linear:HOLD or step:EVERY:FACTOR, such as step:50:0.5".to_owned())
        }
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_are_parsed_or_say_what_they_want() {
        assert_eq!(prior("normal:0.5"), Ok(Prior::StdDev(0.5)));
        assert_eq!(prior("fan-in:1"), Ok(Prior::FanIn(1.0)));
        assert!(prior("normal:0").is_err() && prior("horseshoe:1").is_err());
        assert_eq!(kl_schedule("cyclical:4"), Ok(KlSchedule::Cyclical { cycles: 4, rise: 0.5 }));
        assert_eq!(kl_schedule("cyclical:2:0.9"), Ok(KlSchedule::Cyclical { cycles: 2, rise: 0.9 }));
        for spec in ["cyclical", "cyclical:0", "cyclical:2:1", "blundell:2", "linear:2"] {
            assert!(kl_schedule(spec).is_err(), "{spec}");
        }
        assert_eq!(schedule("linear:0.5"), Ok(Schedule::Linear { hold: 0.5 }));
        assert!(schedule("linear:1").is_err());
        assert_eq!(schedule("step:50:0.5"), Ok(Schedule::Step { every: 50.0, factor: 0.5 }));
        assert!(
            schedule("step:50").is_err() && schedule("step:50:2").is_err() && schedule("linear").is_err()
        );
        assert_eq!(hidden("64,32"), Ok(Hidden(vec![64, 32])));
        assert_eq!(hidden("none"), Ok(Hidden(Vec::new())));
        assert!(hidden("0").is_err() && hidden("64,").is_err());
    }
}
