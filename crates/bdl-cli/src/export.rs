//! `bdl export`: a model in another form.

use anyhow::Result;
use bdl_model::Model;
use serde_json::json;

use crate::args::{ExportArgs, Format};
use crate::explain::{method_name, method_text};
use crate::out::{self, count, pairs};
use crate::output_file::{check_writable, refuse_input};

pub(crate) fn run(args: &ExportArgs) -> Result<()> {
    refuse_input("--out", &args.out, &[("the model", &args.model)])?;
    check_writable(&args.out)?;
    let model = Model::load(&args.model)?;
    let plain = model.at_mean()?;
    plain.save(&args.out)?;
    if args.format == Format::Json {
        return Ok(out::json(&json!({
            "out": args.out.display().to_string(),
            "method": method_name(&plain),
            "parameters": plain.n_params(),
            "from": { "method": method_name(&model), "parameters": model.n_params() },
        }))?);
    }
    let told = pairs(vec![
        ("from", format!("{}, {} parameters", method_text(&model), count(model.n_params()))),
        ("plain", format!("{}, {} parameters", method_text(&plain), count(plain.n_params()))),
        ("model", args.out.display().to_string()),
    ]);
    Ok(out::line(told.trim_end())?)
}
