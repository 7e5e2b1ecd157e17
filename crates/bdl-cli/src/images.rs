//! `bdl train` on images.

use std::path::Path;

use anyhow::Result;
use bdl_model::{Error, Images, Labels, Model, Outputs, Shape, Task, TrainConfig};

use crate::out::{self, Usage, count, counted, listed, pairs, plural};
use crate::output_file::refuse_input;
use crate::train::{Trained, method, parameters, train, training, valid};
use crate::train_args::TrainArgs;

/// Refuses flags that are given, but for tables alone.
pub(crate) fn refuse_flags(given: &[(&str, bool)], data: &Path) -> Result<()> {
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) => {
            let data = data.display();
            Err(Usage::error(format!("{flag}: is for tables, but {data} holds IDX images")))
        }
        None => Ok(()),
    }
}

/// Trains and saves; says what it understood if `talk`.
pub(crate) fn work(args: &TrainArgs, mut config: TrainConfig, talk: bool) -> Result<Trained> {
    args.check_images()?;
    let images = Images::open(&args.data)?;
    let labels = Labels::of(&images, args.labels.as_deref())?;
    refuse_input("--out", args.out()?, &[("the labels", Path::new(labels.file()))])?;
    if let [class] = &labels.names()[..] {
        let (file, column) = (labels.file().into(), args.target_name().to_owned());
        return Err(Error::OneClass { file, column, class: class.clone() }.into());
    }
    args.fit_to_rows(&mut config, images.len())?;
    if talk {
        out::line(understood(&images, &labels, &config)?)?;
    }
    let features = images.sides().iter().product();
    train(args, features, &|pool, observer| Model::train_images(&images, &labels, &config, pool, observer))
}

fn understood(images: &Images, labels: &Labels, config: &TrainConfig) -> Result<String> {
    let [h, w, c] = images.sides();
    let classes = labels.names();
    let outputs = Outputs::Classes(classes.len());
    Ok(pairs(vec![
        (
            "data",
            format!(
                "{}, {} of {h}×{w}, {}",
                images.file(),
                counted(images.len(), "image"),
                counted(c, "channel")
            ),
        ),
        (
            "labels",
            format!("{}, {}: {}", labels.file(), plural(classes.len(), "class", "classes"), listed(&classes)),
        ),
        ("task", format!("{}: the data are images with labels", Task::Classification)),
        ("method", method(config, Task::Classification)),
        ("parameters", count(parameters(Shape::Image([h, w, c]), outputs, config)?)),
        ("training", training(config)),
        ("held out", valid(config)),
        ("seed", config.fit.seed.to_string()),
    ]))
}
