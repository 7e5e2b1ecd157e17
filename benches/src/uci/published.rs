//! Published results on the standard splits, and what is demanded of ours. `docs/results.md` names the sources.

use serde::Serialize;

use super::SPLITS;

/// A mean over the splits with its standard error, where there is one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// The mean.
    pub mean: f64,
    /// Its standard error.
    pub se: Option<f64>,
}

impl Figure {
    /// Mean and standard error `sd/√n` of `values`; a single one has no standard error.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        Self { mean, se: (values.len() > 1).then(|| (squares / (n - 1.0) / n).sqrt()) }
    }
}

/// The published results that a method is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// None.
    Nothing,
    /// MC dropout, one hidden layer of 50, hyperparameters by validation (Mukhoti, Stenetorp & Gal 2018).
    McDropout,
    /// Mean-field Monte Carlo VI with heteroscedastic noise (Wu et al. 2019).
    MeanField,
    /// Deep ensembles (Lakshminarayanan, Pritzel & Blundell 2017).
    DeepEnsemble,
}

/// What was published for one set; RMSE in the target's units, NLL in nats per row.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// Name of the set.
    pub set: &'static str,
    /// MC dropout, RMSE.
    pub mc_dropout_rmse: Figure,
    /// MC dropout, NLL.
    pub mc_dropout_nll: Figure,
    /// Mean-field Monte Carlo VI, NLL.
    pub mean_field_nll: Figure,
    /// Deep ensembles, RMSE.
    pub ensemble_rmse: Figure,
    /// Deep ensembles, NLL.
    pub ensemble_nll: Figure,
}

impl Published {
    /// RMSE of a reference.
    #[must_use]
    pub fn rmse(&self, of: Reference) -> Option<Figure> {
        match of {
            Reference::McDropout => Some(self.mc_dropout_rmse),
            Reference::DeepEnsemble => Some(self.ensemble_rmse),
            Reference::MeanField | Reference::Nothing => None,
        }
    }

    /// NLL of a reference.
    #[must_use]
    pub fn nll(&self, of: Reference) -> Option<Figure> {
        match of {
            Reference::McDropout => Some(self.mc_dropout_nll),
            Reference::MeanField => Some(self.mean_field_nll),
            Reference::DeepEnsemble => Some(self.ensemble_nll),
            Reference::Nothing => None,
        }
    }
}

/// The most that a gated method may come to.
///
/// | method | RMSE | NLL |
/// |---|---|---|
/// | mc-dropout | 1.10·published + 2 SE | published + 0.10 + 2 SE |
/// | mean-field | | published + 0.15 + 2 SE |
///
/// SE is the published standard error over 20 splits; on k of them the mean scatters more, by √(20/k).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Target {
    /// Upper bound of the RMSE, if it is bounded.
    pub rmse: Option<f64>,
    /// Upper bound of the NLL.
    pub nll: f64,
}

impl Target {
    /// The bounds of a method compared with `reference` on `splits` splits of a set; `None` if nothing is
    /// demanded of it.
    #[must_use]
    pub fn of(published: &Published, reference: Reference, splits: usize) -> Option<Self> {
        let scatter = 2.0 * (SPLITS as f64 / splits as f64).sqrt();
        let bound = |f: Figure, factor: f64, add: f64| factor * f.mean + add + scatter * f.se.unwrap_or(0.0);
        match reference {
            Reference::McDropout => Some(Self {
                rmse: Some(bound(published.mc_dropout_rmse, 1.1, 0.0)),
                nll: bound(published.mc_dropout_nll, 1.0, 0.1),
            }),
            Reference::MeanField => {
                Some(Self { rmse: None, nll: bound(published.mean_field_nll, 1.0, 0.15) })
            }
            Reference::DeepEnsemble | Reference::Nothing => None,
        }
    }

    /// Whether these means are within the bounds; NaN is not.
    #[must_use]
    pub fn is_met(&self, rmse: f64, nll: f64) -> bool {
        self.rmse.is_none_or(|most| rmse <= most) && nll <= self.nll
    }
}

/// What was published for the set of this name.
#[must_use]
pub fn published(set: &str) -> Option<&'static Published> {
    PUBLISHED.iter().find(|p| p.set == set)
}

const fn fig(mean: f64, se: f64) -> Figure {
    Figure { mean, se: Some(se) }
}

const fn row(
    set: &'static str,
    mc_dropout: [Figure; 2],
    mean_field: Figure,
    ensemble: [f64; 2],
) -> Published {
    Published {
        set,
        mc_dropout_rmse: mc_dropout[0],
        mc_dropout_nll: mc_dropout[1],
        mean_field_nll: mean_field,
        ensemble_rmse: Figure { mean: ensemble[0], se: None },
        ensemble_nll: Figure { mean: ensemble[1], se: None },
    }
}

/// The five sets.
pub const PUBLISHED: [Published; 5] = [
    row("boston", [fig(2.904, 0.177), fig(2.402, 0.042)], fig(2.46, 0.02), [3.28, 2.41]),
    row("concrete", [fig(4.827, 0.161), fig(2.937, 0.025)], fig(3.07, 0.01), [6.03, 3.06]),
    row("energy", [fig(0.539, 0.014), fig(1.212, 0.005)], fig(1.03, 0.04), [2.09, 1.38]),
    row("wine-red", [fig(0.622, 0.008), fig(0.928, 0.013)], fig(0.92, 0.01), [0.64, 0.94]),
    row("yacht", [fig(0.666, 0.049), fig(1.250, 0.015)], fig(0.68, 0.03), [1.58, 1.18]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_mean_and_standard_error() {
        assert_eq!(Figure::of(&[1.0, 2.0, 6.0]), Figure { mean: 3.0, se: Some((7.0_f64 / 3.0).sqrt()) });
        assert_eq!(Figure::of(&[1.5]), Figure { mean: 1.5, se: None });
    }

    #[test]
    fn bounds_are_the_published_figures_with_their_allowance() {
        let boston = published("boston").unwrap();
        let mc = Target::of(boston, Reference::McDropout, 20).unwrap();
        assert!((mc.rmse.unwrap() - (1.1 * 2.904 + 0.354)).abs() < 1e-12);
        assert!((mc.nll - (2.402 + 0.1 + 0.084)).abs() < 1e-12);
        let mf = Target::of(boston, Reference::MeanField, 5).unwrap();
        assert!((mf.nll - (2.46 + 0.15 + 2.0 * 0.04)).abs() < 1e-12 && mf.rmse.is_none());
        assert_eq!(Target::of(boston, Reference::DeepEnsemble, 20), None);
    }

    #[test]
    fn nan_meets_no_target() {
        let target = Target { rmse: Some(1.0), nll: 2.0 };
        assert!(target.is_met(1.0, 2.0) && !target.is_met(1.1, 2.0) && !target.is_met(1.0, 2.1));
        assert!(!target.is_met(f64::NAN, 2.0) && !target.is_met(1.0, f64::NAN));
    }
}
