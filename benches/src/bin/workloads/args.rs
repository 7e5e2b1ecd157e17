//! The command line.

use clap::Parser;

/// The speed workloads through the public API, one JSON line each: workload, variant, seconds, per, rate, unit
#[derive(Debug, Parser)]
#[command(name = "workloads")]
pub(crate) struct Args {
    /// Run only what has TEXT in its name; may be given several times. `ceiling` asks for the machine's ceilings
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Vec<String>,
    /// Threads; 0 for as many as the machine has cores
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) threads: usize,
    /// Run everything once, ceilings too, to see that it works; its times mean nothing
    #[arg(long, conflicts_with = "only")]
    pub(crate) smoke: bool,
}

impl Args {
    /// Whether the workload of this name is asked for; ceilings only by their name.
    pub(crate) fn wants(&self, name: &str) -> bool {
        if self.only.is_empty() {
            return self.smoke || !name.starts_with("ceiling");
        }
        self.only.iter().any(|part| name.contains(part.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Args {
        Args::try_parse_from(words.split(' ')).unwrap()
    }

    #[test]
    fn ceilings_are_measured_only_if_asked_for() {
        assert!(parse("w").wants("W1 a") && !parse("w").wants("ceiling sgemm"));
        assert!(parse("w --smoke").wants("ceiling sgemm"));
        let args = parse("w --only W1 --only ceiling");
        assert!(args.wants("W1 a") && args.wants("ceiling sgemm") && !args.wants("W3 a"));
    }

    #[test]
    fn bad_flags_are_refused() {
        for bad in ["--threads x", "--smoke --only W1", "W1"] {
            let words = format!("w {bad}");
            assert_eq!(Args::try_parse_from(words.split(' ')).unwrap_err().exit_code(), 2, "{bad}");
        }
    }
}
