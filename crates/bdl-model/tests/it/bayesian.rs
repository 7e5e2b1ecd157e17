//! Networks of which some layers are Bayesian. Seeds are fixed; a moment check (5 SE) raises a false alarm with probability
//! 5.7e-7.

use crate::common::{bits, config, file_prediction, predict, real_text, table, train};
use bdl_infer::{Passes, Predictor};
use bdl_layers::BlockEntry;
use bdl_model::{BayesianLayers, Method, Model, Outputs, TrainConfig};
use bdl_tensor::{Mat, Serial};
use bdl_testkit::oracle::softplus;
use bdl_testkit::stats::MomentCheck;

fn chosen(method: Method, layers: &str) -> TrainConfig {
    let mut config = config("y", method);
    config.architecture.hidden = vec![6, 5];
    config.architecture.bayesian = layers.parse().unwrap();
    config
}

/// What stands in the network: a letter for each mask, plain layer, and layer with posteriors.
fn kinds(method: Method, layers: &str) -> String {
    let bnn = chosen(method, layers).architecture.build(4, Outputs::Real, 1.0).unwrap();
    let letter = |kind: &str| match kind {
        "dropout" => "d",
        "dense" => "p",
        "variational-dense" | "sparse-vd-dense" => "v",
        "activation" => "",
        other => panic!("{other}"),
    };
    bnn.plan().layers().map(|(_, layer)| letter(layer.kind())).collect()
}

#[test]
fn the_method_is_for_the_chosen_layers_alone() {
    for (layers, dropped, posteriors) in
        [("all", "dpdpdp", "vvv"), ("last", "ppdp", "ppv"), ("1,3", "dppdp", "vpv"), ("2", "pdpp", "pvp")]
    {
        assert_eq!(kinds(Method::McDropout, layers), dropped, "{layers}");
        assert_eq!(kinds(Method::MeanField, layers), posteriors, "{layers}");
        assert_eq!(kinds(Method::SparseVd, layers), posteriors, "{layers}");
    }
}

#[test]
fn layers_inside_a_residual_block_count() {
    let names = |layers: &str| -> Vec<String> {
        let mut config = chosen(Method::MeanField, layers);
        config.architecture.net = Some("4-6-ln-res+6-1".parse().unwrap());
        let bnn = config.architecture.build(4, Outputs::Real, 1.0).unwrap();
        let first_weights =
            |e: &&BlockEntry| e.block.name.contains("weight") && !e.block.name.ends_with("rho");
        bnn.plan().entries().iter().filter(first_weights).map(BlockEntry::path).collect()
    };
    assert_eq!(names("2"), ["0.dense/weight", "3.residual/0.variational-dense/weight.mu", "5.dense/weight"]);
    assert_eq!(
        names("1,3"),
        ["0.variational-dense/weight.mu", "3.residual/0.dense/weight", "5.variational-dense/weight.mu"]
    );
}

#[test]
fn the_other_layers_have_the_prior_of_the_length_scale() {
    let mut config = chosen(Method::MeanField, "last");
    config.architecture.length_scale = 0.5;
    let bnn = config.architecture.build(4, Outputs::Real, 1.0).unwrap();
    let plain = bnn.plan().entries()[0].range.clone();
    let mut params = vec![0.0; bnn.plan().n_params()];
    let without = bnn.plan().kl(&params).unwrap();
    params[plain.start] = 3.0;
    // l²·w²/2
    assert!((bnn.plan().kl(&params).unwrap() - without - 0.125 * 9.0).abs() < 1e-9);
}

#[test]
fn a_model_with_a_bayesian_last_layer_is_loaded_with_the_same_bits() {
    for method in [Method::McDropout, Method::MeanField, Method::SparseVd] {
        for layers in ["last", "1,3"] {
            let (text, config) = (real_text(60, 7), chosen(method, layers));
            let model = train(&text, &config);
            let loaded = Model::from_bytes(&model.to_bytes().unwrap()).unwrap();
            let how = file_prediction(5);
            assert_eq!(bits(&predict(&loaded, &text, &how)), bits(&predict(&model, &text, &how)));
            assert_eq!(loaded.to_bytes().unwrap(), model.to_bytes().unwrap());
            let kl = |m: &Model| m.bnn().plan().kl(&m.members()[0][m.bnn().network()]).unwrap();
            assert_eq!(kl(&loaded).to_bits(), kl(&model).to_bits());
        }
    }
}

/// Mean and variance of the output of a network of plain layers with relus and a mean-field last one, in `f64`.
fn closed_form(params: &[f64], widths: &[usize], x: &[f64]) -> [f64; 2] {
    let (mut h, mut at) = (x.to_vec(), 0);
    for pair in widths.windows(2).take(widths.len() - 2) {
        let (weight, bias) = (at, at + pair[0] * pair[1]);
        let unit = |j: usize| (0..pair[0]).map(|i| h[i] * params[weight + i * pair[1] + j]).sum::<f64>();
        h = (0..pair[1]).map(|j| (unit(j) + params[bias + j]).max(0.0)).collect();
        at = bias + pair[1];
    }
    let n = h.len();
    let [mu, rho, bias] = [at, at + n, at + 2 * n];
    let mean: f64 = (0..n).map(|i| h[i] * params[mu + i]).sum();
    let variance: f64 = (0..n).map(|i| (h[i] * softplus(params[rho + i])).powi(2)).sum();
    [mean + params[bias], variance + softplus(params[bias + 1]).powi(2)]
}

// 4 000 passes over 3 rows: mean and variance, 5 SE each.
#[test]
fn under_a_bayesian_last_layer_outputs_have_the_moments_of_a_linear_model_on_fixed_features() {
    let model = train(&real_text(60, 8), &chosen(Method::MeanField, "last"));
    let (bnn, params) = (model.bnn(), &model.members()[0]);
    let x = [0.5, -1.0, 1.0, 0.0, 0.0, 2.0, 0.3, 0.0, 1.0, 0.0, -0.4, -0.7, 0.0, 0.0, 1.0];
    let passes = Passes { samples: 4_000, ..Passes::default() };
    let predictor = Predictor::new(bnn, model.members(), passes).unwrap();
    let outputs = predictor.outputs(Mat::new(&x, 3, 5).unwrap(), 0, &Serial).unwrap();
    let params: Vec<f64> = params.iter().map(|p| f64::from(*p)).collect();
    for row in 0..3 {
        let of_row: Vec<f64> = outputs.iter().skip(row).step_by(3).map(|y| f64::from(*y)).collect();
        let x: Vec<f64> = x[5 * row..][..5].iter().map(|x| f64::from(*x)).collect();
        let [mean, variance] = closed_form(&params, &[5, 6, 5, 1], &x);
        MomentCheck::mean(&format!("mean of row {row}"), &of_row, mean, variance).assert();
        MomentCheck::normal_variance(&format!("variance of row {row}"), &of_row, variance).assert();
    }
}

#[test]
fn a_choice_that_the_network_does_not_have_is_refused_before_training() {
    let message = |method, layers: &str| {
        let mut config = chosen(method, layers);
        config.architecture.bayesian = layers.parse().unwrap();
        Model::train(&table(&real_text(30, 1)), &config, &Serial, &mut |_| unreachable!())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        message(Method::MeanField, "4"),
        "--bayesian: must be numbers of layers of weights, from 1, got 4 where there are 3"
    );
    assert_eq!(
        message(Method::Deterministic, "last"),
        "--bayesian: must be all where no layer is Bayesian, got last with deterministic"
    );
    assert_eq!(BayesianLayers::default(), BayesianLayers::All);
}
