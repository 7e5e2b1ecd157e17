//! What is trained on MNIST, how, and what it is to come to.

use bdl_benches::uci::Error;
use bdl_dist::ScaleMixture;
use bdl_infer::{FitConfig, KlWarmup, Schedule};
use bdl_layers::Scaling;
use bdl_model::{Architecture, Method, Prior};

/// A network, its training and its goal.
pub(crate) struct Setting {
    /// Name on the command line.
    pub(crate) name: &'static str,
    /// In a line.
    pub(crate) about: &'static str,
    /// The network as it is spelled.
    pub(crate) net: &'static str,
    /// Method and its settings; the network comes from `net`.
    pub(crate) architecture: Architecture,
    /// Epochs, unless others are asked for.
    pub(crate) epochs: usize,
    /// Epochs until the KL of posteriors over weights has all its weight, unless it is the last of them.
    pub(crate) kl_warmup: Option<f64>,
    /// Passes at prediction, of what is not pruned.
    pub(crate) samples: usize,
    /// What it is to come to.
    pub(crate) goal: Goal,
}

/// The most test error; of what is pruned, the least factors of fewer weights and of fewer bytes in its file.
pub(crate) struct Goal {
    pub(crate) error: f64,
    pub(crate) compression: Option<f64>,
    pub(crate) smaller: Option<f64>,
}

/// All of them, the quickest first.
pub(crate) fn settings() -> Vec<Setting> {
    let sparse = |name, about, net, epochs, error, compression| Setting {
        name,
        about,
        net,
        architecture: Architecture { method: Method::SparseVd, ..Architecture::default() },
        epochs,
        kl_warmup: Some(20.0),
        samples: 1,
        goal: Goal {
            error,
            compression: Some(compression),
            smaller: (name == "sparse-lenet").then_some(20.0),
        },
    };
    vec![
        sparse(
            "sparse-300",
            "sparse variational dropout, a hidden layer of 300",
            "784-300-10",
            200,
            0.017,
            30.0,
        ),
        sparse(
            "sparse-lenet",
            "sparse variational dropout, LeNet-300-100",
            "lenet-300-100",
            260,
            0.0195,
            60.0,
        ),
        mean_field(),
        mc_dropout(),
        sparse(
            "lenet5-sparse",
            "sparse variational dropout, LeNet-5-Caffe",
            "lenet5-caffe",
            200,
            0.0085,
            200.0,
        ),
    ]
}

/// Normal posteriors under a mixture of a wide and a narrow normal.
fn mean_field() -> Setting {
    let prior = Prior::Mixture(ScaleMixture::default(), Scaling::Same);
    Setting {
        name: "mean-field",
        about: "mean field under a scale mixture, two hidden layers of 400",
        net: "784-400-400-10",
        architecture: Architecture { method: Method::MeanField, prior, ..Architecture::default() },
        epochs: 60,
        kl_warmup: None,
        samples: 100,
        goal: Goal { error: 0.017, compression: None, smaller: None },
    }
}

/// Dropout of a fifth of the inputs and half of the hidden units, kept on at prediction.
fn mc_dropout() -> Setting {
    Setting {
        name: "mc-dropout",
        about: "MC dropout, two hidden layers of 1200",
        net: "784-1200-1200-10",
        architecture: Architecture {
            method: Method::McDropout,
            drop_prob: 0.5,
            input_drop_prob: Some(0.2),
            ..Architecture::default()
        },
        epochs: 60,
        kl_warmup: None,
        samples: 100,
        goal: Goal { error: 0.014, compression: None, smaller: None },
    }
}

impl Setting {
    /// How it is trained: Adam at 1e-3, constant for half of the epochs and then in a straight line to 0, batches of 100;
    /// posteriors over weights without their KL for 5 epochs, and with all of it at the end of the warm-up.
    pub(crate) fn fit(&self, epochs: usize, seed: u64) -> Result<FitConfig, Error> {
        let kl_warmup = match self.architecture.method.is_variational() {
            true => KlWarmup::new(self.kl_warmup.unwrap_or(epochs as f64).max(5.0))?.starting_at(5.0)?,
            false => KlWarmup::default(),
        };
        let schedule = Schedule::Linear { hold: 0.5 };
        Ok(FitConfig { epochs, batch: 100, lr: 1e-3, schedule, kl_warmup, seed, ..FitConfig::default() })
    }
}
