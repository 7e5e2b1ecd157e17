//! The sections of a model file that belong to this crate: schema and method, and the size of images.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::method::Method;
use crate::schema::{Feature, FeatureKind, Schema, Target, TargetKind};
use crate::select::MissingPolicy;

/// Tag of the section that holds the schema.
pub(crate) const SCHEMA: [u8; 4] = *b"SCHM";

/// Tag of the section that a model of images has besides.
pub(crate) const IMAGE: [u8; 4] = *b"IMAG";

/// Tag of the section that a model has besides whose target [`SCHEMA`] cannot tell.
pub(crate) const TARGETS: [u8; 4] = *b"TARG";

/// Schema and method as a file holds them; frozen. A model of images has no feature here, one with [`TARGETS`] a name and no more of
/// its target.
#[derive(Serialize, Deserialize)]
pub(crate) struct SchemaV1 {
    features: Vec<FeatureV1>,
    target: String,
    kind: TargetV1,
    missing: MissingV1,
    method: String,
}

#[derive(Serialize, Deserialize)]
struct FeatureV1 {
    name: String,
    kind: FeatureKindV1,
}

#[derive(Serialize, Deserialize)]
enum FeatureKindV1 {
    Numeric { mean: f64, std: f64 },
    Categorical { levels: Vec<String>, most_frequent: u32 },
}

#[derive(Serialize, Deserialize)]
enum TargetV1 {
    Real { mean: f64, std: f64 },
    Class { names: Vec<String> },
}

#[derive(Serialize, Deserialize)]
enum MissingV1 {
    Error,
    Drop,
    Impute,
}

/// The images that a model takes; frozen.
#[derive(Serialize, Deserialize)]
pub(crate) struct ImageV1 {
    height: u32,
    width: u32,
    channels: u32,
}

impl ImageV1 {
    pub(crate) fn of([height, width, channels]: [usize; 3]) -> Self {
        Self { height: height as u32, width: width as u32, channels: channels as u32 }
    }

    pub(crate) fn sides(&self) -> [usize; 3] {
        [self.height, self.width, self.channels].map(|side| side as usize)
    }
}

/// The targets; frozen.
#[derive(Serialize, Deserialize)]
pub(crate) struct TargetsV1 {
    targets: Vec<NamedTargetV1>,
}

#[derive(Serialize, Deserialize)]
struct NamedTargetV1 {
    name: String,
    kind: NumberV1,
}

#[derive(Serialize, Deserialize)]
enum NumberV1 {
    Real { mean: f64, std: f64 },
    Count { mean: f64 },
}

impl TargetsV1 {
    /// `None` if [`SchemaV1`] tells all.
    pub(crate) fn of(schema: &Schema) -> Option<Self> {
        if let TargetKind::Real { .. } | TargetKind::Class { .. } = schema.target.kind {
            return None;
        }
        let number = |target: &Target| {
            let kind = match target.kind {
                TargetKind::Real { mean, std } => NumberV1::Real { mean, std },
                TargetKind::Count { mean } => NumberV1::Count { mean },
                TargetKind::Class { .. } | TargetKind::Several { .. } => return None,
            };
            Some(NamedTargetV1 { name: target.name.clone(), kind })
        };
        Some(Self { targets: schema.targets().iter().map(number).collect::<Option<_>>()? })
    }

    /// The target of a schema whose target has this name.
    pub(crate) fn into_target(self, name: String) -> Result<Target, Error> {
        let mut targets: Vec<Target> = self.targets.into_iter().map(NamedTargetV1::into_target).collect();
        match targets.len() {
            0 => Err(Error::Schema { what: "must have a target, got none".to_owned() }),
            1 => Ok(targets.remove(0)),
            _ => Ok(Target { name, kind: TargetKind::Several { targets } }),
        }
    }
}

impl NamedTargetV1 {
    fn into_target(self) -> Target {
        let kind = match self.kind {
            NumberV1::Real { mean, std } => TargetKind::Real { mean, std },
            NumberV1::Count { mean } => TargetKind::Count { mean },
        };
        Target { name: self.name, kind }
    }
}

impl SchemaV1 {
    pub(crate) fn of(schema: &Schema, method: Method) -> Self {
        let feature =
            |f: &Feature| Some(FeatureV1 { name: f.name.clone(), kind: FeatureKindV1::of(&f.kind)? });
        Self {
            features: schema.features.iter().filter_map(feature).collect(),
            target: schema.target.name.clone(),
            kind: match &schema.target.kind {
                &TargetKind::Real { mean, std } => TargetV1::Real { mean, std },
                TargetKind::Count { .. } | TargetKind::Several { .. } => {
                    TargetV1::Real { mean: 0.0, std: 1.0 }
                }
                TargetKind::Class { names } => TargetV1::Class { names: names.clone() },
            },
            missing: match schema.missing {
                MissingPolicy::Error => MissingV1::Error,
                MissingPolicy::Drop => MissingV1::Drop,
                MissingPolicy::Impute => MissingV1::Impute,
            },
            method: method.name().to_owned(),
        }
    }

    pub(crate) fn into_schema(self) -> Result<(Schema, Method), Error> {
        let method = Method::from_name(&self.method)
            .ok_or_else(|| Error::Schema { what: format!("the method {:?} is unknown here", self.method) })?;
        let feature = |f: FeatureV1| Feature { name: f.name, kind: f.kind.into_kind() };
        let schema = Schema {
            features: self.features.into_iter().map(feature).collect(),
            target: Target {
                name: self.target,
                kind: match self.kind {
                    TargetV1::Real { mean, std } => TargetKind::Real { mean, std },
                    TargetV1::Class { names } => TargetKind::Class { names },
                },
            },
            missing: match self.missing {
                MissingV1::Error => MissingPolicy::Error,
                MissingV1::Drop => MissingPolicy::Drop,
                MissingV1::Impute => MissingPolicy::Impute,
            },
        };
        Ok((schema, method))
    }
}

impl FeatureKindV1 {
    /// `None` for an image, which has a section of its own.
    fn of(kind: &FeatureKind) -> Option<Self> {
        match kind {
            &FeatureKind::Numeric { mean, std } => Some(Self::Numeric { mean, std }),
            FeatureKind::Categorical { levels, most_frequent } => {
                Some(Self::Categorical { levels: levels.clone(), most_frequent: *most_frequent })
            }
            FeatureKind::Image { .. } => None,
        }
    }

    fn into_kind(self) -> FeatureKind {
        match self {
            Self::Numeric { mean, std } => FeatureKind::Numeric { mean, std },
            Self::Categorical { levels, most_frequent } => FeatureKind::Categorical { levels, most_frequent },
        }
    }
}
