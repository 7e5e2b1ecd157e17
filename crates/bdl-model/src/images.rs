//! Training, predicting and scoring on images.

use std::ops::ControlFlow;

use bdl_infer::Passes;
use bdl_tensor::Pool;

use crate::evaluate::{Scores, Truth};
use crate::idx::{Images, Labels};
use crate::rows::Rows;
use crate::stream::{Run, no_keep};
use crate::{
    Error, Evaluation, FileEvent, FilePrediction, FileReport, Model, TrainConfig, TrainProgress, Training,
};

/// Images encoded and predicted at a time.
const CHUNK: usize = 1024;

impl Model {
    /// Trains on images and their labels. Of the selection only the target's name is of interest.
    ///
    /// Pixels enter the network as `byte/255`; the classes are the labels that occur.
    ///
    /// # Errors
    /// As [`train`](Model::train); for labels of other images, fewer than two classes, rows that are to be held out by a
    /// column.
    pub fn train_images(
        images: &Images,
        labels: &Labels,
        config: &TrainConfig,
        pool: &dyn Pool,
        observer: &mut dyn FnMut(&TrainProgress) -> ControlFlow<()>,
    ) -> Result<Training, Error> {
        Self::train_rows(config, || Rows::of_images(images, labels, config), pool, observer)
    }

    /// Predicts all images and hands them to `sink` in order, as [`predict_file`](Model::predict_file) does for the
    /// rows of a table.
    ///
    /// # Errors
    /// If the model takes no images, or images of another size; for columns to keep, which images do not have; and whatever
    /// `sink` returns.
    pub fn predict_images(
        &self,
        images: &Images,
        how: &FilePrediction,
        pool: &dyn Pool,
        sink: &mut dyn FnMut(FileEvent<'_>) -> Result<(), Error>,
    ) -> Result<FileReport, Error> {
        self.check_images(images)?;
        no_keep(how)?;
        let predictor = self.predictor(how.passes)?;
        let mut run = Run { how, keep: Vec::new(), report: FileReport::default() };
        let mut x = Vec::new();
        for start in (0..images.len()).step_by(CHUNK) {
            let end = images.len().min(start + CHUNK);
            images.encode(start..end, &mut x);
            let told = predictor.predict(&x, start as u64, &how.telling, pool)?;
            run.report.beyond_tolerance += told.beyond_tolerance as u64;
            for image in start..end {
                run.row((image as u64 + 1, &|| images.place(image)), &[], (&told, image - start), sink)?;
            }
        }
        Ok(run.report)
    }

    /// Scores images with their labels.
    ///
    /// # Errors
    /// If the model takes no images, or images of another size; for labels of other images, or that the model does not know.
    pub fn evaluate_images(
        &self,
        images: &Images,
        labels: &Labels,
        passes: Passes,
        pool: &dyn Pool,
    ) -> Result<Evaluation, Error> {
        self.check_images(images)?;
        labels.check(images)?;
        let mut scores = Scores::new(self, passes)?;
        let mut x = Vec::new();
        for start in (0..images.len()).step_by(CHUNK) {
            let chunk = start..images.len().min(start + CHUNK);
            images.encode(chunk.clone(), &mut x);
            let truth = Truth::Class(labels.classes(chunk, self.schema().class_names())?);
            scores.add(&x, &truth, pool, &|i| images.place(start + i))?;
        }
        scores.finish()
    }

    fn check_images(&self, images: &Images) -> Result<(), Error> {
        match self.schema().image() {
            Some(sides) => images.check_sides(sides),
            None => Err(Error::images_for_table(images)),
        }
    }
}
