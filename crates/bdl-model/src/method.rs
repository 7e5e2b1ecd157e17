//! The methods: how the weights of a network are treated.

/// How the weights are treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Method {
    /// One value per weight: a point estimate under a Gaussian prior.
    Deterministic,
    /// Dropout on inputs and hidden layers, kept on at prediction (Gal & Ghahramani 2016).
    #[default]
    McDropout,
    /// Independent normal posteriors over all weights (Blundell et al. 2015).
    MeanField,
    /// Independent normal posteriors under the log-uniform prior, which makes most weights noise (Molchanov, Ashukha &
    /// Vetrov 2017).
    SparseVd,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Deterministic, Self::McDropout, Self::MeanField, Self::SparseVd];

    /// Its name, as on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Deterministic => "deterministic",
            Self::McDropout => "mc-dropout",
            Self::MeanField => "mean-field",
            Self::SparseVd => "sparse-vd",
        }
    }

    /// What it is, in a line for a list of methods.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Deterministic => "One value for each weight: no uncertainty about the weights",
            Self::McDropout => "Dropout that stays on in prediction",
            Self::MeanField => "A normal posterior over each weight",
            Self::SparseVd => "Sparse variational dropout: posteriors that show which weights can go",
        }
    }

    /// The method of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|m| m.name() == name)
    }

    /// Whether it drops inputs and hidden units with a given probability.
    #[must_use]
    pub fn has_drop_prob(self) -> bool {
        self == Self::McDropout
    }

    /// Whether its weights are points under a prior N(0, 1/length_scale²).
    #[must_use]
    pub fn has_length_scale(self) -> bool {
        matches!(self, Self::Deterministic | Self::McDropout)
    }

    /// Whether its weights have a prior of the user's choice.
    #[must_use]
    pub fn has_prior(self) -> bool {
        self == Self::MeanField
    }

    /// Whether its weights have posteriors with standard deviations, from which an estimator draws.
    #[must_use]
    pub fn is_variational(self) -> bool {
        matches!(self, Self::MeanField | Self::SparseVd)
    }
}
