//! What a model knows of its data: columns, levels, means and standard deviations.

mod check;

use std::collections::{HashMap, HashSet};

use bdl_infer::Units;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::net::Shape;
use crate::select::{MissingPolicy, SelectOptions, Selection, Task};
use crate::table::Table;

/// What a model knows of its data; plain data, ready to be stored.
///
/// Numbers are standardized with the mean and the *population* standard deviation (divided by the number of
/// values, not by one less) of the training rows, in `f64`:
///
/// ```text
/// z = (x − mean) / std
/// ```
///
/// # Examples
///
/// ```
/// use bdl_model::{RowReader, Schema, SelectOptions, Table, Task};
///
/// let text = "x,colour,y\n1,red,0.5\n3,blue,1.5\n2,red,2.5\n";
/// let table = Table::from_reader(RowReader::from_reader("data.csv", text.as_bytes(), None)?)?;
/// let schema = Schema::infer(&table, &SelectOptions { target: "y".into(), ..Default::default() })?;
/// assert_eq!(schema.task(), Task::Regression);
/// assert_eq!(schema.width(), 3); // x, colour=blue, colour=red
/// # Ok::<(), bdl_model::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// Features, in the order in which they are encoded.
    pub features: Vec<Feature>,
    /// The target.
    pub target: Target,
    /// What is done about missing cells.
    pub missing: MissingPolicy,
}

/// A column to predict from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Feature {
    /// The column's name.
    pub name: String,
    /// What it holds, and what of it was seen in training.
    pub kind: FeatureKind,
}

/// What a feature holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FeatureKind {
    /// Numbers.
    Numeric {
        /// Mean of the training rows; stands in for a missing cell under [`MissingPolicy::Impute`].
        mean: f64,
        /// Population standard deviation of the training rows, or 1 if they are all alike.
        std: f64,
    },
    /// Categories.
    Categorical {
        /// Sorted: as numbers if all are numbers, else as text.
        levels: Vec<String>,
        /// Position of the most frequent level of the training rows, the first of equals; stands in for a
        /// missing cell under [`MissingPolicy::Impute`].
        most_frequent: u32,
    },
    /// An image, the only feature of its model.
    Image {
        /// Height, width and channels.
        sides: [usize; 3],
    },
}

/// The column to predict, or several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// The column's name; of several their names, separated by commas.
    pub name: String,
    /// What it holds.
    pub kind: TargetKind,
}

/// What the target holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum TargetKind {
    /// A real number.
    Real {
        /// Mean of the training rows.
        mean: f64,
        /// Population standard deviation of the training rows.
        std: f64,
    },
    /// A count, which is not standardized.
    Count {
        /// Mean of the training rows.
        mean: f64,
    },
    /// One of several classes.
    Class {
        /// Sorted: as numbers if all are numbers, else as text.
        names: Vec<String>,
    },
    /// Several columns, each of real numbers or of counts.
    Several {
        /// At least two.
        targets: Vec<Target>,
    },
}

impl Schema {
    /// The schema of a whole table: [`Selection::new`], then [`Schema::fit`] on all selected rows.
    ///
    /// # Errors
    ///
    /// As these two.
    pub fn infer(table: &Table, options: &SelectOptions) -> Result<Schema, Error> {
        let selection = Selection::new(table, options)?;
        Schema::fit(table, &selection, &selection.rows)
    }

    /// The task.
    #[must_use]
    pub fn task(&self) -> Task {
        match self.target.kind {
            TargetKind::Class { .. } => Task::Classification,
            _ => Task::Regression,
        }
    }

    /// The columns to predict, one by one.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        match &self.target.kind {
            TargetKind::Several { targets } => targets,
            _ => std::slice::from_ref(&self.target),
        }
    }

    /// The units of each target: what its encoding took away.
    pub(crate) fn units(&self) -> Result<Vec<Units>, Error> {
        let of = |target: &Target| match target.kind.moments() {
            Some((mean, std)) => Ok(Units::new(mean, std)?),
            None => Ok(Units::default()),
        };
        self.targets().iter().map(of).collect()
    }

    /// The schema of images of these sides with one of several classes each.
    #[must_use]
    pub fn of_images(sides: [usize; 3], target: &str, classes: Vec<String>) -> Schema {
        Schema {
            features: vec![Feature::image(sides)],
            target: Target { name: target.to_owned(), kind: TargetKind::Class { names: classes } },
            missing: MissingPolicy::Error,
        }
    }

    /// Height, width and channels, where the rows are images and no rows of a table.
    #[must_use]
    pub fn image(&self) -> Option<[usize; 3]> {
        match self.features[..] {
            [Feature { kind: FeatureKind::Image { sides }, .. }] => Some(sides),
            _ => None,
        }
    }

    /// What a row is.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.image().map_or(Shape::Flat(self.width()), Shape::Image)
    }

    /// Length of an encoded row: one for each number, one for each level of each categorical feature, one for each pixel
    /// and channel of an image.
    #[must_use]
    pub fn width(&self) -> usize {
        self.features.iter().map(|feature| feature.kind.width()).sum()
    }

    /// Names of the classes; none in regression.
    #[must_use]
    pub fn class_names(&self) -> &[String] {
        match &self.target.kind {
            TargetKind::Class { names } => names,
            _ => &[],
        }
    }

    /// Finds the schema's columns in a header. Their order does not matter.
    ///
    /// # Errors
    ///
    /// If features are missing; all of them are named. `file` is for the message.
    pub fn match_header(&self, file: &str, header: &[String]) -> Result<ColumnMap, Error> {
        if let Some(sides) = self.image() {
            return Err(Error::table_for_images(file, sides));
        }
        let positions: HashMap<&String, usize> = header.iter().zip(0..).collect();
        let find = |name: &String| positions.get(name).copied();
        let found: Vec<Option<usize>> = self.features.iter().map(|feature| find(&feature.name)).collect();
        let features: Vec<usize> = found.iter().copied().flatten().collect();
        if features.len() < found.len() {
            let lacking = self.features.iter().zip(&found).filter(|(_, at)| at.is_none());
            let columns = lacking.map(|(feature, _)| feature.name.clone()).collect();
            return Err(Error::MissingColumns { file: file.into(), columns });
        }
        let targets: Vec<Option<usize>> = self.targets().iter().map(|target| find(&target.name)).collect();
        let known: HashSet<usize> = features.iter().chain(targets.iter().flatten()).copied().collect();
        let ignored = (0..header.len()).filter(|c| !known.contains(c)).collect();
        Ok(ColumnMap { features, targets, ignored })
    }
}

impl Feature {
    /// The feature of a model of images.
    pub(crate) fn image(sides: [usize; 3]) -> Feature {
        Feature { name: "image".to_owned(), kind: FeatureKind::Image { sides } }
    }
}

impl FeatureKind {
    /// Length of the encoded feature.
    #[must_use]
    pub fn width(&self) -> usize {
        match self {
            FeatureKind::Numeric { .. } => 1,
            FeatureKind::Categorical { levels, .. } => levels.len(),
            FeatureKind::Image { sides } => product(sides),
        }
    }
}

/// The most elements of an image.
pub(crate) const MAX_IMAGE: usize = 1 << 24;

pub(crate) fn product(sides: &[usize; 3]) -> usize {
    sides.iter().fold(1, |all, &side| all.saturating_mul(side))
}

impl TargetKind {
    /// Mean and standard deviation by which a target that is one number is encoded, as `(y − mean) / std`: 0 and 1 for a
    /// count.
    #[must_use]
    pub fn moments(&self) -> Option<(f64, f64)> {
        match *self {
            TargetKind::Real { mean, std } => Some((mean, std)),
            TargetKind::Count { .. } => Some((0.0, 1.0)),
            TargetKind::Class { .. } | TargetKind::Several { .. } => None,
        }
    }

    /// The value of a real target that is encoded as `z`: `mean + std·z`.
    #[must_use]
    pub fn decode_real(&self, z: f64) -> Option<f64> {
        self.moments().map(|(mean, std)| mean + std * z)
    }

    /// The name of the class at position `class`.
    #[must_use]
    pub fn decode_class(&self, class: usize) -> Option<&str> {
        match self {
            TargetKind::Class { names } => names.get(class).map(String::as_str),
            _ => None,
        }
    }
}

/// Where a schema's columns stand in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnMap {
    /// Position of each feature, in the schema's order.
    pub features: Vec<usize>,
    /// Position of each target that is there, in the schema's order.
    pub targets: Vec<Option<usize>>,
    /// Positions of the columns that the schema does not know.
    pub ignored: Vec<usize>,
}
