//! `--config FILE.toml`: flags of `bdl train` from a file. The keys are the names of the flags.
//!
//! The file's flags are put in front of those of the command line, which win.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use clap::{ArgAction, CommandFactory};
use toml::{Table, Value};

use crate::args::Cli;
use crate::out::Usage;

/// The arguments of the program, those of a configuration file among them.
pub(crate) struct Arguments {
    pub(crate) all: Vec<OsString>,
    /// The file, if there is one.
    pub(crate) config: Option<String>,
}

/// Adds the flags of the file that `train --config` names.
pub(crate) fn arguments(mut given: Vec<OsString>) -> Result<Arguments> {
    if given.get(1).is_none_or(|command| command != "train") {
        return Ok(Arguments { all: given, config: None });
    }
    let Some(file) = value_of(&given[2..], "--config") else {
        return Ok(Arguments { all: given, config: None });
    };
    let text = read(Path::new(&file)).with_context(|| format!("--config: {file}"))?;
    let table: Table = text.parse().map_err(|e: toml::de::Error| parse_error(&file, &text, &e))?;
    let flags = flags(&file, &table, &given[2..])?;
    given.splice(2..2, flags.into_iter().map(OsString::from));
    Ok(Arguments { all: given, config: Some(file) })
}

/// More bytes are no configuration; a device may have no end.
const MAX_BYTES: u64 = 1 << 20;

fn read(file: &Path) -> Result<String> {
    let mut text = String::new();
    File::open(file)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    match text.len() as u64 > MAX_BYTES {
        true => Err(anyhow::anyhow!("expected at most {MAX_BYTES} bytes, got more")),
        false => Ok(text),
    }
}

fn parse_error(file: &str, text: &str, e: &toml::de::Error) -> anyhow::Error {
    let line = e.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    anyhow::anyhow!("--config: {file}, line {line}: {}", e.message())
}

/// The value of a flag on the command line, as `--flag value` or `--flag=value`.
fn value_of(given: &[OsString], flag: &str) -> Option<String> {
    let mut words = given.iter().map(|word| word.to_string_lossy()).take_while(|word| word != "--");
    while let Some(word) = words.next() {
        if word == flag {
            return words.next().map(Into::into);
        }
        if let Some(value) = word.strip_prefix(flag).and_then(|rest| rest.strip_prefix('=')) {
            return Some(value.to_owned());
        }
    }
    None
}

fn is_given(given: &[OsString], flag: &str) -> bool {
    let mut words = given.iter().map(|word| word.to_string_lossy()).take_while(|word| word != "--");
    words.any(|word| word.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('=')))
}

fn flags(file: &str, table: &Table, given: &[OsString]) -> Result<Vec<String>> {
    let cli = Cli::command();
    let command = cli.find_subcommand("train").expect("train is a subcommand");
    let known: Vec<_> = command
        .get_arguments()
        .filter_map(|arg| arg.get_long().map(|long| (long, arg.get_action())))
        .filter(|(long, _)| !["config", "help"].contains(long))
        .collect();
    let mut flags = Vec::new();
    for (key, value) in table {
        let Some((_, action)) = known.iter().find(|(long, _)| long == key) else {
            let names = known.iter().map(|(long, _)| *long).collect::<Vec<_>>().join(", ");
            return Err(Usage::error(format!("--config: {file}: unknown key {key:?}; the keys are {names}")));
        };
        let flag = format!("--{key}");
        if is_given(given, &flag) {
            continue;
        }
        match (action, value) {
            (ArgAction::SetTrue, Value::Boolean(true)) => flags.push(flag),
            (ArgAction::SetTrue, Value::Boolean(false)) => {}
            (ArgAction::SetTrue, _) => return Err(wrong_value(file, key, "true or false", value)),
            _ => flags.push(format!("{flag}={}", text(file, key, value)?)),
        }
    }
    Ok(flags)
}

/// A value as it would stand on the command line; a list with commas.
fn text(file: &str, key: &str, value: &Value) -> Result<String> {
    match value {
        Value::String(s) => Ok(s.clone()),
        Value::Integer(n) => Ok(n.to_string()),
        Value::Float(x) => Ok(x.to_string()),
        Value::Array(values) => {
            let parts = values.iter().map(|v| match v {
                Value::Array(_) => Err(wrong_value(file, key, "a text, a number or a list of these", value)),
                v => text(file, key, v).map(|s| quoted(&s)),
            });
            Ok(parts.collect::<Result<Vec<_>>>()?.join(","))
        }
        _ => Err(wrong_value(file, key, "a text, a number or a list of these", value)),
    }
}

/// Quoted where a list of names needs it.
fn quoted(name: &str) -> String {
    if name.contains([',', '"']) { format!("\"{}\"", name.replace('"', "\"\"")) } else { name.to_owned() }
}

fn wrong_value(file: &str, key: &str, expected: &str, got: &Value) -> anyhow::Error {
    Usage::error(format!("--config: {file}: key {key:?}: expected {expected}, got {got}"))
}
