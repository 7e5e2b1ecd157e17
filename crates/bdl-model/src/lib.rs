#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod architecture;
mod bayesian;
mod chunk;
mod encode;
mod error;
mod evaluate;
mod file;
mod fit;
mod idx;
mod images;
mod levels;
mod likelihood;
mod method;
mod model;
mod names;
mod net;
mod output;
mod predict;
mod prior_predictive;
mod prune;
mod reader;
mod records;
mod row_buffer;
mod rows;
mod schema;
mod select;
mod shards;
mod sniff;
mod split;
mod start;
mod stream;
mod table;
mod target;
mod train;

pub use crate::architecture::{Architecture, Outputs};
pub use crate::bayesian::BayesianLayers;
pub use crate::chunk::{Chunk, Row};
pub use crate::encode::Encoder;
pub use crate::error::{Error, Place};
pub use crate::evaluate::{Evaluation, TargetScores};
pub use crate::idx::{Images, Labels};
pub use crate::likelihood::Likelihood;
pub use crate::method::{Method, WeightNoise};
pub use crate::model::Model;
pub use crate::net::{Conv, Net, Part, Pooling, Shape};
pub use crate::output::{OutputValue, PredictedRow, write_csv_header, write_csv_row};
pub use crate::predict::{
    ClassPrediction, ModelPredictor, Prediction, Predictions, RealPrediction, RowScratch, Telling,
};
pub use crate::prior_predictive::{ClassFunctions, PriorPredictive, RealFunctions, Spread};
pub use crate::prune::{LayerPruning, LayerUntouched, Pruning, RowTimes};
pub use crate::reader::RowReader;
pub use crate::records::MAX_ROW_BYTES;
pub use crate::row_buffer::{FeatureRef, RowBuffer};
pub use crate::schema::{ColumnMap, Feature, FeatureKind, Schema, Target, TargetKind};
pub use crate::select::{
    AUTO_CLASSES, MAX_CLASSES, MAX_LEVELS, MissingPolicy, SelectOptions, SelectedColumn, Selection, Task,
    TaskChoice,
};
pub use crate::sniff::{DELIMITERS, sniff_delimiter};
pub use crate::split::{Split, SplitKey, split_by_fraction, split_by_group, split_by_order, split_key};
pub use crate::start::StartFrom;
pub use crate::stream::{FileEvent, FilePrediction, FileReport, OnBadRow};
pub use crate::table::{Cell, ColumnKind, MISSING_MARKS, Table};
pub use crate::target::Targets;
pub use crate::train::{TrainConfig, TrainProgress, Training, Valid};

// What the settings and results above are made of.
pub use bdl_infer::{
    FitConfig, FitSummary, KlSchedule, KlWarmup, Optimizer, Passes, Progress, RayonPool, Schedule,
    TrainingRecord,
};
pub use bdl_layers::{
    Activation, Estimator, FORMAT_VERSION, Grain, KlKnown, LayerReport, LayerSummary, LayerWarning, Measure,
    Prior, Quantiles, Scope,
};
pub use bdl_metrics::Metric;
