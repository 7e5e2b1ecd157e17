//! `reproduce gate`: the gated methods on a few splits of the set that is shipped, red wine quality.
//!
//! The bounds are those of the whole study, with the published standard errors widened from 20 splits to these:
//!
//! ```text
//! mc-dropout:  RMSE ≤ 1.10·0.622 + 2·0.008·√(20/3) = 0.726    NLL ≤ 0.928 + 0.10 + 2·0.013·√(20/3) = 1.095
//! mean-field:                                                 NLL ≤ 0.92  + 0.15 + 2·0.01·√(20/3)  = 1.122
//! ```
//!
//! Predicting the mean alone comes to RMSE 0.82 and NLL 1.23.

use std::path::Path;

use bdl_benches::uci::{Error, Set, Summary, methods, table};

use crate::args::GateArgs;
use crate::uci::all;

/// The shipped file, seen from this package.
const FILE: &str = "../crates/bdl-cli/data/winequality-red.csv";
const SPLITS: usize = 3;

pub(crate) fn run(args: &GateArgs) -> Result<Vec<Summary>, Error> {
    let set = Set::read("wine-red", &Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE))?;
    let gated: Vec<_> = methods().into_iter().filter(|m| m.gated).collect();
    let lines = all(&[set], &gated, 0..SPLITS, args.threads, |_| Ok(()))?;
    println!("{}", table(&lines));
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use bdl_benches::uci::{Reference, Target, published};

    #[test]
    fn the_bounds_are_the_documented_ones() {
        let wine = published("wine-red").unwrap();
        let rounded = |x: f64| (1000.0 * x).round() / 1000.0;
        let bounds = |of| Target::of(wine, of, super::SPLITS).map(|t| (t.rmse.map(rounded), rounded(t.nll)));
        assert_eq!(bounds(Reference::McDropout), Some((Some(0.726), 1.095)));
        assert_eq!(bounds(Reference::MeanField), Some((None, 1.122)));
    }
}
