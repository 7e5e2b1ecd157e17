//! What a schema from elsewhere must hold.

use super::{Feature, FeatureKind, MAX_IMAGE, Schema, Target, TargetKind, product};
use crate::error::Error;
use crate::levels::LevelIndex;

impl Schema {
    /// Checks what a schema from elsewhere must hold.
    ///
    /// # Errors
    ///
    /// If a number is not finite, a standard deviation not positive, or levels empty or out of order.
    pub fn validate(&self) -> Result<(), Error> {
        let mut names: Vec<&String> = self.features.iter().map(|feature| &feature.name).collect();
        names.extend(self.targets().iter().map(|target| &target.name));
        names.sort();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::column(pair[0], "must occur once, got it twice"));
        }
        for Feature { name, kind } in &self.features {
            match kind {
                FeatureKind::Numeric { mean, std } => check_moments(name, *mean, *std)?,
                FeatureKind::Categorical { levels, most_frequent } => {
                    check_levels(name, levels, 1)?;
                    if *most_frequent as usize >= levels.len() {
                        return Err(Error::column(name, "its most frequent level must be one of its levels"));
                    }
                }
                FeatureKind::Image { sides } => {
                    if self.features.len() > 1 || !(1..=MAX_IMAGE).contains(&product(sides)) {
                        return Err(Error::column(name, "must be one image of 1 to 16777216 pixels"));
                    }
                }
            }
        }
        self.target.validate()
    }
}

impl Target {
    /// As [`Schema::validate`].
    fn validate(&self) -> Result<(), Error> {
        match &self.kind {
            TargetKind::Real { mean, std } => check_moments(&self.name, *mean, *std),
            TargetKind::Count { mean } => check_count(&self.name, *mean),
            TargetKind::Class { names } => check_levels(&self.name, names, 2),
            TargetKind::Several { targets } => {
                let numbers = targets.iter().all(|target| target.kind.moments().is_some());
                if targets.len() < 2 || !numbers {
                    return Err(Error::column(&self.name, "must be two targets or more, each of numbers"));
                }
                targets.iter().try_for_each(Target::validate)
            }
        }
    }
}

impl Error {
    /// Of a schema that no training table can have made.
    pub(crate) fn column(column: &str, what: &str) -> Error {
        Error::Schema { what: format!("column {column:?} {what}") }
    }
}

fn check_moments(name: &str, mean: f64, std: f64) -> Result<(), Error> {
    match mean.is_finite() && std.is_finite() && std > 0.0 {
        true => Ok(()),
        false => {
            Err(Error::column(name, &format!("must have a finite mean and std > 0, got {mean} and {std}")))
        }
    }
}

fn check_count(name: &str, mean: f64) -> Result<(), Error> {
    match mean.is_finite() && mean > 0.0 {
        true => Ok(()),
        false => Err(Error::column(name, &format!("must have a finite mean count > 0, got {mean}"))),
    }
}

fn check_levels(name: &str, levels: &[String], at_least: usize) -> Result<(), Error> {
    match levels.len() >= at_least && LevelIndex::new(levels).is_some() {
        true => Ok(()),
        false => Err(Error::column(name, &format!("must have at least {at_least} distinct levels in order"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::MissingPolicy;

    #[test]
    fn a_schema_from_elsewhere_is_checked() {
        let kind = FeatureKind::Categorical { levels: vec!["b".into(), "a".into()], most_frequent: 0 };
        let target = Target { name: "y".into(), kind: TargetKind::Real { mean: 0.0, std: 1.0 } };
        let mut schema = Schema {
            features: vec![Feature { name: "x".into(), kind }],
            target,
            missing: MissingPolicy::Error,
        };
        let message = |schema: &Schema| schema.validate().unwrap_err().to_string();
        assert_eq!(message(&schema), "schema: column \"x\" must have at least 1 distinct levels in order");
        schema.features[0].kind = FeatureKind::Numeric { mean: 0.0, std: 0.0 };
        assert_eq!(message(&schema), "schema: column \"x\" must have a finite mean and std > 0, got 0 and 0");
        schema.features[0] = Feature { name: "y".into(), kind: FeatureKind::Numeric { mean: 0.0, std: 1.0 } };
        assert_eq!(message(&schema), "schema: column \"y\" must occur once, got it twice");
    }
}
