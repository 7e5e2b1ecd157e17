//! Published results on the standard splits, as `docs/results.md` quotes them.

/// A mean over the splits with its standard error, where published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// The mean.
    pub mean: f64,
    /// Its standard error.
    pub se: f64,
}

/// What was published for one set.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// Name of the set.
    pub set: &'static str,
    /// MC dropout, RMSE (Mukhoti, Stenetorp & Gal 2018, *On the importance of strong baselines*).
    pub mc_dropout_rmse: Figure,
    /// MC dropout, minus mean log predictive density (the same).
    pub mc_dropout_nll: Figure,
    /// Mean-field Monte Carlo VI with heteroscedastic noise, minus mean log predictive density (Wu et al. 2019,
    /// *Deterministic variational inference for robust Bayesian neural networks*).
    pub mean_field_nll: Figure,
}

const fn fig(mean: f64, se: f64) -> Figure {
    Figure { mean, se }
}

const fn row(set: &'static str, rmse: Figure, nll: Figure, mean_field: Figure) -> Published {
    Published { set, mc_dropout_rmse: rmse, mc_dropout_nll: nll, mean_field_nll: mean_field }
}

/// The five sets.
pub const PUBLISHED: [Published; 5] = [
    row("boston", fig(2.904, 0.177), fig(2.402, 0.042), fig(2.46, 0.02)),
    row("concrete", fig(4.827, 0.161), fig(2.937, 0.025), fig(3.07, 0.01)),
    row("energy", fig(0.539, 0.014), fig(1.212, 0.005), fig(1.03, 0.04)),
    row("wine-red", fig(0.622, 0.008), fig(0.928, 0.013), fig(0.92, 0.01)),
    row("yacht", fig(0.666, 0.049), fig(1.250, 0.015), fig(0.68, 0.03)),
];
