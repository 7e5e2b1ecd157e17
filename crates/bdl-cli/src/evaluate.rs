//! `bdl evaluate`: scores on rows whose targets are known.

use anyhow::Result;
use bdl_model::{Evaluation, Images, Labels, Model, Passes, RayonPool, RowReader};
use serde_json::{Value, json};

use crate::args::{EvaluateArgs, Format};
use crate::explain::{method_text, metrics_json, metrics_table};
use crate::images::refuse_flags;
use crate::out::{self, Usage};

pub(crate) fn run(args: &EvaluateArgs) -> Result<()> {
    let model = Model::load(&args.model)?;
    let evaluation = score(args, &model)?;
    if args.run.format == Format::Json {
        return Ok(out::json(&json(&evaluation))?);
    }
    let Evaluation { rows, samples, seed, .. } = &evaluation;
    out::line(format_args!(
        "{} of {}, {}, seed {seed}; {}\n",
        out::counted(*rows, "row"),
        args.data.display(),
        out::plural(*samples, "pass", "passes"),
        method_text(&model),
    ))?;
    Ok(out::line(metrics_table(&evaluation, model.schema()).trim_end())?)
}

pub(crate) fn score(args: &EvaluateArgs, model: &Model) -> Result<Evaluation> {
    let pool = RayonPool::new(args.run.threads.unwrap_or(0)).map_err(bdl_model::Error::from)?;
    let passes = Passes { samples: args.samples, seed: args.seed, ..model.passes() };
    if Images::are_in(&args.data)? {
        refuse_flags(&[("--delimiter", args.read.delimiter.is_some())], &args.data)?;
        let images = Images::open(&args.data)?;
        let labels = Labels::of(&images, args.labels.as_deref())?;
        return Ok(model.evaluate_images(&images, &labels, passes, &pool)?);
    }
    if args.labels.is_some() {
        let data = args.data.display();
        return Err(Usage::error(format!("--labels: is for IDX images, but {data} is a table")));
    }
    let mut reader = RowReader::open(&args.data, args.read.delimiter)?;
    let ignored = model.schema().match_header(reader.file(), reader.columns())?.ignored;
    if !ignored.is_empty() && args.run.format == Format::Text {
        let names: Vec<_> = ignored.iter().map(|&column| reader.columns()[column].as_str()).collect();
        out::notice(format_args!(
            "note: columns that the model does not know are ignored: {}",
            out::listed(&names)
        ));
    }
    Ok(model.evaluate(&mut reader, passes, &pool)?)
}

pub(crate) fn json(evaluation: &Evaluation) -> Value {
    json!({
        "task": evaluation.task.to_string(),
        "rows": evaluation.rows,
        "samples": evaluation.samples,
        "seed": evaluation.seed,
        "metrics": metrics_json(evaluation),
    })
}
