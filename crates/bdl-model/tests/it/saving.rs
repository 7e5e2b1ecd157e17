//! What is saved is loaded again: the same predictions, bound and bytes.

use crate::common::{bits, cases, config, file_prediction, predict, reader, real_text, train};
use bdl_model::{Estimator, Likelihood, Method, Model};
use bdl_tensor::Serial;

/// Bits of the ELBO's parts on the training rows: density of the predictions, and the KL.
fn elbo_bits(model: &Model, text: &str) -> [u64; 2] {
    let evaluation = model.evaluate(&mut reader(text), model.passes(), &Serial).unwrap();
    let bnn = model.bnn();
    let kl: f64 = model.members().iter().map(|m| bnn.plan().kl(&m[bnn.network()]).unwrap()).sum();
    [evaluation.metric("nll").unwrap().value.to_bits(), kl.to_bits()]
}

#[test]
fn a_loaded_model_predicts_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let mut how = file_prediction(8);
    how.telling.draws = 3;
    for (name, text, config) in cases() {
        let (model, path) = (train(&text, &config), dir.path().join("m.bdl"));
        model.save(&path).unwrap();
        let loaded = Model::load(&path).unwrap();
        assert_eq!(bits(&predict(&loaded, &text, &how)), bits(&predict(&model, &text, &how)), "{name}");
        assert_eq!(elbo_bits(&loaded, &text), elbo_bits(&model, &text), "{name}");
        assert_eq!((loaded.schema(), loaded.record()), (model.schema(), model.record()), "{name}");
        assert_eq!((loaded.method(), loaded.members()), (model.method(), model.members()), "{name}");
        assert_eq!(loaded.to_bytes().unwrap(), model.to_bytes().unwrap(), "{name}");
    }
}

#[test]
fn every_likelihood_and_its_noise_are_saved() {
    let text = real_text(60, 4);
    for likelihood in
        [Likelihood::Auto, Likelihood::Gaussian { noise: Some(0.5) }, Likelihood::Heteroscedastic]
    {
        let mut config = config("y", Method::MeanField);
        config.architecture.likelihood = likelihood;
        let model = train(&text, &config);
        let loaded = Model::from_bytes(&model.to_bytes().unwrap()).unwrap();
        let how = file_prediction(4);
        assert_eq!(
            bits(&predict(&loaded, &text, &how)),
            bits(&predict(&model, &text, &how)),
            "{likelihood:?}"
        );
    }
}

#[test]
fn the_same_input_makes_the_same_bytes_without_paths() {
    let text = real_text(60, 5);
    let bytes = || train(&text, &config("y", Method::McDropout)).to_bytes().unwrap();
    let (first, second) = (bytes(), bytes());
    assert_eq!(first, second);
    assert!(!first.windows(8).any(|w| w == b"data.csv"), "the name of the table is nobody's business");
}

#[test]
fn a_fixed_noise_is_in_the_targets_units() {
    let mut config = config("y", Method::Deterministic);
    config.architecture.likelihood = Likelihood::Gaussian { noise: Some(0.75) };
    let text = real_text(60, 6);
    let told = predict(&train(&text, &config), &text, &file_prediction(1));
    for row in told {
        let std = f64::from_bits(row.bits[2]);
        assert!((std - 0.75).abs() < 1e-6, "{std}");
    }
}

#[test]
fn layers_are_told_with_all_their_parameters() {
    for (name, text, config) in cases() {
        let model = train(&text, &config);
        let told: usize = model.layers().unwrap().iter().map(|l| l.parameters).sum();
        assert_eq!(told, model.bnn().plan().n_params(), "{name}");
        assert_eq!(model.n_params(), config.members * model.bnn().n_params(), "{name}");
    }
}

#[test]
fn the_estimator_of_the_training_is_that_of_predictions_under_row_scope() {
    for estimator in Estimator::ALL {
        let mut config = config("y", Method::MeanField);
        (config.fit.estimator, config.fit.epochs) = (estimator, 1);
        let model = Model::from_bytes(&train(&real_text(40, 1), &config).to_bytes().unwrap()).unwrap();
        assert_eq!(model.passes().estimator, estimator);
    }
}
