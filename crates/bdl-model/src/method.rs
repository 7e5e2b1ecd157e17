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
    /// The same with a probability for each layer that is learned (Gal, Hron & Kendall 2017).
    ConcreteDropout,
    /// Gaussian noise in the place of the masks, of the same variance (Srivastava et al. 2014).
    GaussianDropout,
    /// Independent normal posteriors over all weights (Blundell et al. 2015).
    MeanField,
    /// Gaussian noise whose variance is learned under the log-uniform prior (Kingma, Salimans & Welling 2015).
    VariationalDropout,
    /// Independent normal posteriors under the log-uniform prior, which makes most weights noise (Molchanov, Ashukha &
    /// Vetrov 2017).
    SparseVd,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Deterministic,
        Self::McDropout,
        Self::ConcreteDropout,
        Self::GaussianDropout,
        Self::MeanField,
        Self::VariationalDropout,
        Self::SparseVd,
    ];

    /// Its name, as on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Deterministic => "deterministic",
            Self::McDropout => "mc-dropout",
            Self::ConcreteDropout => "concrete-dropout",
            Self::GaussianDropout => "gaussian-dropout",
            Self::MeanField => "mean-field",
            Self::VariationalDropout => "variational-dropout",
            Self::SparseVd => "sparse-vd",
        }
    }

    /// What it is, in a line for a list of methods.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Deterministic => "One value for each weight: no uncertainty about the weights",
            Self::McDropout => "Dropout that stays on in prediction",
            Self::ConcreteDropout => "Dropout that stays on, with probabilities that are learned",
            Self::GaussianDropout => "Gaussian noise of dropout's variance that stays on in prediction",
            Self::MeanField => "A normal posterior over each weight",
            Self::VariationalDropout => "Gaussian noise that stays on, of a variance that is learned",
            Self::SparseVd => "Sparse variational dropout: posteriors that show which weights can go",
        }
    }

    /// The method of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|m| m.name() == name)
    }

    /// Whether it drops inputs and hidden units with a given probability, or has noise of the same variance.
    #[must_use]
    pub fn has_drop_prob(self) -> bool {
        matches!(self, Self::McDropout | Self::GaussianDropout)
    }

    /// Whether its weights are points under a prior N(0, 1/length_scale²).
    #[must_use]
    pub fn has_length_scale(self) -> bool {
        matches!(self, Self::Deterministic | Self::McDropout | Self::ConcreteDropout | Self::GaussianDropout)
    }

    /// Whether its weights have a prior of the user's choice.
    #[must_use]
    pub fn has_prior(self) -> bool {
        self == Self::MeanField
    }

    /// Whether it has noise of a variance alpha that is learned, for a layer, a unit or a weight.
    #[must_use]
    pub fn has_alpha(self) -> bool {
        self == Self::VariationalDropout
    }

    /// Whether it can be for some layers only: see [`BayesianLayers`](crate::BayesianLayers).
    #[must_use]
    pub fn has_bayesian_layers(self) -> bool {
        self != Self::Deterministic
    }

    /// Whether its weights have posteriors with standard deviations, from which an estimator draws.
    #[must_use]
    pub fn is_variational(self) -> bool {
        matches!(self, Self::MeanField | Self::VariationalDropout | Self::SparseVd)
    }
}

/// What shares one draw of the noise of [`Method::VariationalDropout`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WeightNoise {
    /// Nothing: each weight has its own noise (type A).
    #[default]
    Independent,
    /// All weights of one input: the noise is on the inputs (type B).
    Correlated,
}

impl WeightNoise {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Independent, Self::Correlated];

    /// Its name, as on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Independent => "independent",
            Self::Correlated => "correlated",
        }
    }

    /// The noise of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|noise| noise.name() == name)
    }
}
