//! The rows of a training: selected, split and encoded.

use bdl_dist::{Noise, Purpose};
use bdl_infer::{Bnn, Data};
use bdl_tensor::Mat;

use crate::architecture::{Architecture, Outputs};
use crate::encode::Encoder;
use crate::evaluate::Truth;
use crate::idx::{Images, Labels};
use crate::output::{prediction_columns, twice};
use crate::schema::{ColumnMap, Schema, Target, TargetKind};
use crate::select::Selection;
use crate::split::{Split, SplitKey, split_by_fraction, split_by_group, split_by_order, split_key};
use crate::table::Table;
use crate::target::Targets;
use crate::{Error, TrainConfig, Valid};

/// Encoded rows of one side of the split.
pub(crate) struct Side {
    pub(crate) x: Vec<f32>,
    pub(crate) y: Targets,
    pub(crate) truth: Truth,
}

impl Side {
    fn new(table: &Table, rows: &[usize], encoder: &Encoder, map: &ColumnMap) -> Result<Self, Error> {
        let x = encoder.encode_table(table, rows, map)?;
        let targets = encoder.target_columns(map, &table.shared_file())?;
        let truth = encoder.truth(rows.iter().map(|&row| table.row(row)), &targets)?;
        Ok(Self { x, y: encoder.encode_targets(table, rows, map)?, truth })
    }

    fn of_images(images: &Images, labels: &Labels, rows: &[usize], names: &[String]) -> Result<Self, Error> {
        let mut x = Vec::with_capacity(rows.len() * images.width());
        images.encode(rows.iter().copied(), &mut x);
        let classes = labels.classes(rows.iter().copied(), names)?;
        Ok(Self { x, y: Targets::Class(classes.clone()), truth: Truth::Class(classes) })
    }

    pub(crate) fn data(&self, width: usize) -> Result<Data<'_>, Error> {
        let x = Mat::new(&self.x, self.y.len(), width).map_err(bdl_infer::Error::from)?;
        Ok(Data::new(x, self.y.view())?)
    }
}

/// The data's rows, selected, split and encoded.
pub(crate) struct Rows {
    pub(crate) encoder: Encoder,
    pub(crate) train: Side,
    pub(crate) valid: Option<Side>,
    pub(crate) dropped: usize,
}

impl Rows {
    /// Those of a table.
    pub(crate) fn new(table: &Table, config: &TrainConfig) -> Result<Self, Error> {
        let selection = config.selection(table)?;
        let split = split(table, &selection, config)?;
        let table_rows = |side: &[usize]| side.iter().map(|&at| selection.rows[at]).collect::<Vec<_>>();
        let (train, valid) = (table_rows(&split.train), table_rows(&split.valid));
        let encoder = Encoder::new(schema_of(config, Schema::fit(table, &selection, &train)?)?)?;
        check_output_names(encoder.schema())?;
        let map = encoder.schema().match_header(table.file(), table.columns())?;
        let side = |rows: &[usize]| Side::new(table, rows, &encoder, &map);
        let valid = if valid.is_empty() { None } else { Some(side(&valid)?) };
        Ok(Self { train: side(&train)?, valid, dropped: selection.dropped(table), encoder })
    }

    /// The rows of images, which all are selected.
    pub(crate) fn of_images(images: &Images, labels: &Labels, config: &TrainConfig) -> Result<Self, Error> {
        labels.check(images)?;
        let split = match &config.valid {
            Valid::By { column, .. } => {
                let expected = "used with a table: images have no columns";
                return Err(Error::Argument { what: "--valid-by", expected, got: format!("{column:?}") });
            }
            valid => split_at_random(images.len(), valid, config.fit.seed)?,
        };
        let target = config.select.target.as_str();
        let schema = schema_of(config, Schema::of_images(images.sides(), target, labels.names()))?;
        let side = |rows: &[usize]| Side::of_images(images, labels, rows, schema.class_names());
        let train = side(&split.train)?;
        check_classes(&train, &schema, labels)?;
        let valid = if split.valid.is_empty() { None } else { Some(side(&split.valid)?) };
        Ok(Self { train, valid, dropped: 0, encoder: Encoder::new(schema)? })
    }

    pub(crate) fn network(&self, architecture: &Architecture) -> Result<Bnn, Error> {
        let schema = self.encoder.schema();
        architecture.build(schema.shape(), outputs(&schema.target.kind), std(&schema.target))
    }

    /// `ln std` of a real target, 0 for counts and classes; the sum over several.
    pub(crate) fn units(&self) -> f64 {
        self.encoder.schema().targets().iter().map(|target| std(target).ln()).sum()
    }
}

/// Predictions of several targets need columns of their own: `mean_mcse_y` may be of `y` and of `mcse_y`.
fn check_output_names(schema: &Schema) -> Result<(), Error> {
    match twice(&prediction_columns(schema, 0)) {
        None => Ok(()),
        Some(name) => Err(Error::Argument {
            what: "--target",
            expected: "names that give each prediction a column of its own",
            got: format!("{name} for two of them: rename a target"),
        }),
    }
}

fn outputs(kind: &TargetKind) -> Outputs {
    match kind {
        TargetKind::Real { .. } => Outputs::Real,
        &TargetKind::Count { mean } => Outputs::Counts { mean },
        TargetKind::Class { names } => Outputs::Classes(names.len()),
        TargetKind::Several { targets } => {
            Outputs::Several(targets.iter().map(|target| (outputs(&target.kind), std(target))).collect())
        }
    }
}

/// What a target's deviations are divided by.
fn std(target: &Target) -> f64 {
    target.kind.moments().map_or(1.0, |(_, std)| std)
}

/// The schema of the data, or that of the model that training starts from.
fn schema_of(config: &TrainConfig, of_data: Schema) -> Result<Schema, Error> {
    match &config.start {
        Some(start) => start.schema(&of_data),
        None => Ok(of_data),
    }
}

/// Refuses training rows that all are of one class.
fn check_classes(train: &Side, schema: &Schema, labels: &Labels) -> Result<(), Error> {
    match &train.y {
        Targets::Class(y) if y.iter().all(|class| *class == y[0]) => Err(Error::OneClass {
            file: labels.file().into(),
            column: schema.target.name.clone(),
            class: schema.class_names()[y[0] as usize].clone(),
        }),
        _ => Ok(()),
    }
}

fn split(table: &Table, selection: &Selection, config: &TrainConfig) -> Result<Split, Error> {
    match &config.valid {
        valid @ (Valid::None | Valid::Fraction(_)) => {
            split_at_random(selection.rows.len(), valid, config.fit.seed)
        }
        Valid::By { column, fraction } => {
            let column = table.column("--valid-by", column)?;
            match split_key(table, &selection.rows, column)? {
                SplitKey::Ordered(ranks) => split_by_order(&ranks, *fraction),
                SplitKey::Groups(group) => {
                    let groups = group.iter().max().map_or(0, |last| last + 1);
                    split_by_group(&group, *fraction, &permutation(groups, config.fit.seed))
                }
            }
        }
    }
}

/// All rows, or a split without regard to columns.
fn split_at_random(rows: usize, valid: &Valid, seed: u64) -> Result<Split, Error> {
    match valid {
        Valid::Fraction(fraction) => split_by_fraction(&permutation(rows, seed), *fraction),
        _ => Ok(Split { train: (0..rows).collect(), valid: Vec::new() }),
    }
}

fn permutation(n: usize, seed: u64) -> Vec<usize> {
    Noise::new(seed, Purpose::Split).rng(0).permutation(n)
}
