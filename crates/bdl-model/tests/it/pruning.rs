//! Pruning a trained model: what is left, what the file remembers, and what is refused.

use std::sync::Arc;

use crate::common::{bits, class_text, config, file_prediction, predict, reader, real_text, train};
use bdl_infer::{Bnn, Passes};
use bdl_layers::{Container, Dense, Layer, Pass, Workspace, codec};
use bdl_model::{BayesianLayers, LayerUntouched, Measure, Method, Model, StartFrom};
use bdl_tensor::{Mat, MatMut, Serial};

/// A mean-field model of a table with a number as its target.
fn model(members: usize) -> Model {
    model_of(Method::MeanField, members)
}

fn model_of(method: Method, members: usize) -> Model {
    let mut config = config("y", method);
    (config.architecture.hidden, config.members) = (vec![20, 10], members);
    train(&real_text(60, 1), &config)
}

/// A threshold of each measure at which some weights go and others stay.
fn some(method: Method) -> f64 {
    if method == Method::SparseVd { -7.0 } else { 1.0 }
}

#[test]
fn a_pruned_model_predicts_the_same_bits_after_its_way_through_a_file() {
    let dir = tempfile::tempdir().unwrap();
    for (method, members) in [(Method::MeanField, 1), (Method::MeanField, 2), (Method::SparseVd, 1)] {
        let whole = model_of(method, members);
        let pruned = whole.prune(Some(some(method))).unwrap();
        let path = dir.path().join("small.bdl");
        pruned.save(&path).unwrap();
        let loaded = Model::load(&path).unwrap();
        let (text, how) = (real_text(9, 2), file_prediction(8));
        assert_eq!(bits(&predict(&loaded, &text, &how)), bits(&predict(&pruned, &text, &how)));
        assert_eq!(loaded.to_bytes().unwrap(), pruned.to_bytes().unwrap());
        let (a, b) = (loaded.pruning().unwrap(), pruned.pruning().unwrap());
        assert_eq!((a.measure, a.threshold, &a.layers), (b.measure, b.threshold, &b.layers));
        assert_eq!(a.dense_bytes as usize, whole.to_bytes().unwrap().len());
        assert_eq!(a.dense().entries(), whole.bnn().plan().entries());
        assert_eq!(a.weights(), 5 * 20 + 20 * 10 + 10);
        assert!(a.kept() > 0 && a.kept() < a.weights(), "{:?}", a.layers);
        assert!(loaded.n_params() < whole.n_params());
        assert_eq!((loaded.schema(), loaded.record()), (whole.schema(), whole.record()));
        let scores = loaded.evaluate(&mut reader(&real_text(30, 3)), loaded.passes(), &Serial).unwrap();
        assert!(scores.metric("rmse").unwrap().value.is_finite());
    }
}

#[test]
fn nothing_goes_at_a_threshold_of_0_and_all_weights_at_a_large_one() {
    for members in [1, 2] {
        let whole = model(members);
        let same = whole.prune(Some(0.0)).unwrap();
        assert_eq!(same.members(), whole.members());
        assert_eq!(same.pruning().unwrap().compression(), 1.0);
    }
    let whole = model(1);
    let same = whole.prune(Some(0.0)).unwrap();
    let (text, how) = (real_text(9, 2), file_prediction(8));
    assert_eq!(bits(&predict(&same, &text, &how)), bits(&predict(&whole, &text, &how)));
    let none = whole.prune(Some(1e30)).unwrap();
    assert_eq!((none.pruning().unwrap().kept(), none.pruning().unwrap().compression()), (0, f64::INFINITY));
    let told = bits(&predict(&none, &text, &how));
    assert!(told.windows(2).all(|rows| rows[0] == rows[1]), "every row is the same");
}

#[test]
fn weights_that_are_left_are_those_of_the_network_that_is_left() {
    let whole = model_of(Method::SparseVd, 1);
    let mut constant = 0;
    for threshold in [-9.5, -9.0, -8.5, -8.0, -7.0] {
        let pruned = whole.prune(Some(threshold)).unwrap();
        let pruning = pruned.pruning().unwrap();
        assert_eq!(pruning.kept(), pruned.bnn().plan().weights(), "{threshold}");
        constant += pruning.layers.iter().map(|layer| layer.constant).sum::<usize>();
    }
    assert!(constant > 0, "none stands for units that are gone");
}

/// The same outputs as the network whose removed weights are 0, mu and sigma: to the bit, or to 10⁻⁴ of the largest where constants
/// have taken the place of units.
#[test]
fn a_pruned_model_is_the_masked_one_at_the_mean() {
    for method in [Method::MeanField, Method::SparseVd] {
        let whole = model_of(method, 1);
        let pruned = whole.prune(Some(some(method))).unwrap();
        let layers = &pruned.pruning().unwrap().layers;
        assert!(layers.iter().any(|layer| layer.kept < layer.weights), "{layers:?}");
        let mut masked = whole.members()[0].clone();
        for mu in whole.bnn().plan().entries().iter().filter(|e| e.block.name == "weight.mu") {
            for at in mu.range.clone() {
                let raw = f64::from(masked[at + mu.range.len()]);
                let ln_sigma = if method == Method::SparseVd { 0.5 * raw } else { raw.exp().ln_1p().ln() };
                let ln_snr = f64::from(masked[at]).abs().ln() - ln_sigma;
                let noise = match method {
                    Method::SparseVd => -2.0 * ln_snr > some(method),
                    _ => ln_snr < some(method).ln(),
                };
                if noise {
                    masked[at] = 0.0;
                }
            }
        }
        let x: Vec<f32> = (0..7 * 5).map(|i| (i as f32 * 0.7).sin()).collect();
        let at_mean = |bnn: &Bnn, params: &[f32]| {
            let mut y = vec![0.0; 7];
            let (x, mut out) = (Mat::new(&x, 7, 5).unwrap(), MatMut::new(&mut y, 7, 1).unwrap());
            let params = &params[bnn.network()];
            bnn.plan().forward(params, x, &Pass::mean(), &mut Workspace::new(), &mut out).unwrap();
            y
        };
        let (got, expected) = (at_mean(pruned.bnn(), &pruned.members()[0]), at_mean(whole.bnn(), &masked));
        let largest = expected.iter().fold(0.0f32, |a, b| a.max(b.abs()));
        let tolerance = if layers.iter().any(|layer| layer.constant > 0) { 1e-4 * largest } else { 0.0 };
        for (got, expected) in got.iter().zip(&expected) {
            assert!((got - expected).abs() <= tolerance, "{method:?}: {got} {expected}");
        }
    }
}

#[test]
fn a_threshold_is_that_of_the_ratio_of_mean_and_deviation() {
    let whole = model(1);
    assert_eq!(whole.measure().unwrap(), Measure::SignalToNoise);
    let (mu, rho) = whole.members()[0][..200].split_at(100);
    let left = |t: f32| mu.iter().zip(rho).filter(|(mu, rho)| mu.abs() >= t * rho.exp().ln_1p()).count();
    for threshold in [0.5f32, 1.0, 2.0] {
        let kept = whole.prune(Some(f64::from(threshold))).unwrap().pruning().unwrap().layers[0].kept;
        // Whole units may have gone besides.
        assert!(kept <= left(threshold) && kept * 2 > left(threshold), "{threshold}: {kept}");
    }
}

#[test]
fn what_cannot_be_pruned_says_why() {
    let mut config = config("y", Method::McDropout);
    config.fit.epochs = 1;
    let message = train(&real_text(20, 1), &config).prune(None).unwrap_err().to_string();
    assert_eq!(
        message,
        "model: cannot be pruned: 1.dense has no posteriors over its weights; the posteriors of sparse-vd and mean-field say \
         which weights are noise"
    );
    config.architecture.method = Method::VariationalDropout;
    let message = train(&real_text(20, 1), &config).prune(None).unwrap_err().to_string();
    assert!(message.contains("0.independent-vd-dense has posteriors whose deviations"), "{message}");
    let whole = model(1);
    let message = whole.prune(None).unwrap().prune(None).unwrap_err().to_string();
    assert_eq!(
        message,
        "model: cannot be pruned: it is pruned already; prune the file that it was made from"
    );
    let sparse = model_of(Method::SparseVd, 1);
    assert_eq!(sparse.measure().unwrap(), Measure::LnAlpha);
    assert_eq!(sparse.prune(None).unwrap().pruning().unwrap().threshold, 3.0);
    let message = sparse.prune(Some(f64::NAN)).unwrap_err().to_string();
    assert_eq!(message, "--threshold: must be a finite ln alpha, got NaN");
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        let message = whole.prune(Some(bad)).unwrap_err().to_string();
        assert_eq!(message, format!("--threshold: must be a finite |mu|/sigma >= 0, got {bad}"));
    }
}

#[test]
fn a_row_of_a_pruned_model_is_timed_beside_one_of_the_size_before() {
    let whole = model(1);
    let passes = Passes { samples: 20, ..whole.passes() };
    assert_eq!(whole.row_times(passes).unwrap(), None);
    let times = whole.prune(None).unwrap().row_times(passes).unwrap().unwrap();
    assert!(times.pruned > 0.0 && times.dense > 0.0 && times.samples == 20, "{times:?}");
    // Nothing is left of 90 000 weights: some hundred times less work.
    let mut config = config("y", Method::MeanField);
    (config.architecture.hidden, config.fit.epochs, config.members) = (vec![300, 300], 1, 2);
    let none = train(&real_text(20, 1), &config).prune(Some(1e30)).unwrap();
    let times = none.row_times(passes).unwrap().unwrap();
    assert!(times.pruned < times.dense && times.samples == 40, "{times:?}");
}

#[test]
fn wrong_contents_of_the_section_are_errors_or_other_records() {
    let mut config = config("label", Method::MeanField);
    config.fit.epochs = 1;
    let pruned = train(&class_text(30, &["0", "1"], 1), &config).prune(Some(1.0)).unwrap();
    let bytes = pruned.to_bytes().unwrap();
    let with = |content: Vec<u8>| {
        let mut file = Container::default();
        for section in Container::from_bytes(&bytes).unwrap().sections() {
            let mut section = section.clone();
            if section.tag == *b"PRUN" {
                section.bytes = content.clone().into();
            }
            file.push(section);
        }
        Model::from_bytes(&file.to_bytes().unwrap()).map(|model| model.row_times(Passes::default()).is_ok())
    };
    let section = Container::from_bytes(&bytes).unwrap().get(b"PRUN", 1).unwrap().to_vec();
    assert!(with(section.clone()).unwrap());
    for end in 0..section.len() {
        assert!(with(section[..end].to_vec()).is_err(), "{end} bytes");
    }
    type Layers = Vec<(String, Vec<u8>)>;
    type LayerRecord = (u64, u64, u64, u64, [u64; 2]);
    type Record = (u32, f64, u64, Layers, Vec<LayerRecord>);
    let record: Record = codec::decode("record", &section).unwrap();
    let refused = |change: &dyn Fn(&mut Record)| {
        let mut record = record.clone();
        change(&mut record);
        with(codec::encode("record", &record).unwrap()).unwrap_err().to_string()
    };
    assert_eq!(refused(&|record| record.4[0].0 = 9), "schema: it was pruned in layer 9, but had 3 layers");
    // Inside an activation.
    assert!(
        refused(&|record| record.4[0].0 = 1 | 1 << 32)
            .starts_with("schema: it was pruned in layer 4294967297, ")
    );
    let counts = |change: &dyn Fn(&mut LayerRecord)| refused(&|record| change(&mut record.4[0]));
    let had = "schema: 0.variational-dense had 24 weights that can be pruned, got ";
    for message in [
        counts(&|layer| layer.3 = 25),
        counts(&|layer| layer.1 = 25),
        counts(&|layer| layer.2 = layer.1 + 1),
        counts(&|layer| layer.3 = u64::MAX),
    ] {
        assert!(message.starts_with(had), "{message}");
    }
    let message = counts(&|layer| layer.0 = 1);
    assert!(
        message.starts_with("schema: 1.activation had 0 weights that can be pruned, got 24, of which "),
        "{message}"
    );
    let dense = |widths: &[usize]| -> Layers {
        let layer = |pair: &[usize]| Dense::new(pair[0], pair[1]).unwrap().config().unwrap();
        widths.windows(2).map(|pair| ("dense".to_owned(), layer(pair))).collect()
    };
    assert_eq!(
        refused(&|record| record.3 = dense(&[7, 2])),
        "schema: it was pruned from a network of 7 inputs, but takes 2"
    );
    assert_eq!(
        refused(&|record| record.3 = dense(&[2, 1 << 24, 1 << 24, 2])),
        "schema: it was pruned from a network of 281475077373954 parameters"
    );
    assert!(refused(&|record| record.3 = dense(&[2, 3])).contains("columns of the output"));
    assert_eq!(
        refused(&|record| record.3 = dense(&[2; 5])),
        "schema: it was pruned from a network of 4 layers, but has 3"
    );
}

/// A model of a network with a residual block and a normalization, of two members.
fn residual(bayesian: BayesianLayers) -> Model {
    let mut config = config("y", Method::MeanField);
    config.architecture.net = Some("5-6-ln-res+8+6-1".parse().unwrap());
    (config.architecture.bayesian, config.members) = (bayesian, 2);
    train(&real_text(60, 1), &config)
}

#[test]
fn what_is_pruned_inside_a_residual_block_is_named_and_comes_through_a_file() {
    let whole = residual(BayesianLayers::All);
    let pruned = whole.prune(Some(20.0)).unwrap();
    let loaded = Model::from_bytes(&pruned.to_bytes().unwrap()).unwrap();
    let (text, how) = (real_text(9, 2), file_prediction(8));
    assert_eq!(bits(&predict(&loaded, &text, &how)), bits(&predict(&pruned, &text, &how)));
    assert_eq!(loaded.to_bytes().unwrap(), pruned.to_bytes().unwrap());
    let [a, b] = [&loaded, &pruned].map(|model| model.pruning().unwrap());
    assert_eq!(a.layers, b.layers);
    let told: Vec<_> = a.layers.iter().map(|l| (l.name.as_str(), l.weights, l.kept < l.weights)).collect();
    assert_eq!(
        told,
        [
            ("0.variational-dense", 30, true),
            ("3.residual/0.variational-dense", 48, true),
            ("3.residual/2.variational-dense", 48, true),
            ("5.variational-dense", 6, true),
        ]
    );
    // The normalization has six gains, and they stay.
    assert_eq!((a.weights(), a.network_weights(), a.network_kept()), (132, 138, a.kept() + 6));
    assert_eq!(a.network_compression(), 138.0 / (a.kept() + 6) as f64);
    assert_eq!(loaded.bnn().plan().weights(), a.network_kept());
    let why = "has no posteriors over its weights";
    assert_eq!(a.untouched(), [LayerUntouched { name: "1.layer-norm".to_owned(), weights: 6, why }]);
}

#[test]
fn layers_without_posteriors_are_counted_and_say_why_they_stayed() {
    let whole = residual(BayesianLayers::Last);
    let pruned = whole.prune(Some(1e30)).unwrap();
    let pruning = pruned.pruning().unwrap();
    assert_eq!((pruning.weights(), pruning.kept(), pruning.compression()), (6, 0, f64::INFINITY));
    assert_eq!((pruning.network_weights(), pruning.network_kept()), (138, 132));
    assert_eq!(pruning.network_compression(), 138.0 / 132.0);
    let untouched: Vec<_> = pruning.untouched().into_iter().map(|l| (l.name, l.weights)).collect();
    let expected =
        [("0.dense", 30), ("1.layer-norm", 6), ("3.residual/0.dense", 48), ("3.residual/2.dense", 48)];
    assert_eq!(untouched, expected.map(|(name, weights)| (name.to_owned(), weights)));
}

/// Weights around those of another model: |mu|/sigma says how far 0 is from what the posterior holds likely, whatever the prior.
#[test]
fn a_model_around_the_weights_of_another_is_pruned_by_the_same_rule() {
    let text = real_text(60, 1);
    let source = train(&text, &config("y", Method::Deterministic));
    let mut config = config("y", Method::MeanField);
    config.architecture.prior = config.architecture.prior.around().unwrap();
    config.start = Some(StartFrom { model: Arc::new(source), sigma_ratio: Some(0.1) });
    let whole = train(&text, &config);
    assert_eq!(whole.measure().unwrap(), Measure::SignalToNoise);
    let of = |model: &Model, block: &str| -> Vec<f32> {
        let entries = model.bnn().entries().iter().filter(|e| e.block.name == block);
        entries.flat_map(|e| model.members()[0][e.range.clone()].to_vec()).collect()
    };
    let [mu, rho, means] = ["weight.mu", "weight.rho", "prior.weight.mean"].map(|block| of(&whole, block));
    let snr: Vec<f32> = mu.iter().zip(&rho).map(|(mu, rho)| mu.abs() / rho.exp().ln_1p()).collect();
    let mut sorted = snr.clone();
    sorted.sort_by(f32::total_cmp);
    let threshold = sorted[sorted.len() / 2];
    let pruned = whole.prune(Some(f64::from(threshold))).unwrap();
    let kept = pruned.pruning().unwrap().kept();
    assert!(kept > 10 && kept <= sorted.len().div_ceil(2), "{kept} of {}", sorted.len());
    // The means of the prior that are left are those of the weights that are left.
    let [left, left_means] = ["weight.mu", "prior.weight.mean"].map(|block| of(&pruned, block));
    let mean_of = |left: &f32| means[mu.iter().position(|mu| mu == left).unwrap()];
    assert_eq!(left.iter().map(mean_of).collect::<Vec<_>>(), left_means);
    let loaded = Model::from_bytes(&pruned.to_bytes().unwrap()).unwrap();
    let (text, how) = (real_text(9, 2), file_prediction(8));
    assert_eq!(bits(&predict(&loaded, &text, &how)), bits(&predict(&pruned, &text, &how)));
}
