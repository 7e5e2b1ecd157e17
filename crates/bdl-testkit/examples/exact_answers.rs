//! Three questions with exact answers: a dropout network's spread, a regression's evidence, a gradient.

use bdl_testkit::bayes::LinearRegression;
use bdl_testkit::finite::{assert_gradient_close, central_gradient};
use bdl_testkit::masks::{dropout_moments, linear_dropout_variance};
use bdl_testkit::oracle::{FrozenMask, OracleActivation, OracleLayer, OracleLikelihood, OracleNet, softmax};
use bdl_testkit::source::SplitMix64;

fn main() {
    dropout_spread();
    evidence();
    gradient();
}

/// A 3-8-1 ReLU network with dropout on the hidden layer: 256 masks, all of them.
fn dropout_spread() {
    let net = OracleNet::new(vec![
        OracleLayer::Dense { in_dim: 3, out_dim: 8, bias: true },
        OracleLayer::Activation(OracleActivation::Relu),
        OracleLayer::Dropout { drop_prob: 0.2, mask: FrozenMask::Mean },
        OracleLayer::Dense { in_dim: 8, out_dim: 1, bias: true },
    ]);
    let params = SplitMix64::new(0).normals(net.param_len());
    let x = [0.5, -1.2, 2.0];
    let moments = dropout_moments(&net, &params, &x, 1);
    let hidden = &net.activations(&params, &x, 1)[1];
    let closed = linear_dropout_variance(0.2, &params[32..40], hidden);
    assert!((moments.variance[0] / closed - 1.0).abs() < 1e-12);
}

/// The best diagonal posterior falls short of the evidence by exactly the gap.
fn evidence() {
    let mut source = SplitMix64::new(1);
    let x = source.normals(500 * 5);
    let weights = [1.5, -2.0, 0.0, 0.7, -0.3];
    let target = |row: &[f64]| row.iter().zip(weights).map(|(x, w)| x * w).sum::<f64>();
    let y: Vec<f64> = x.chunks(5).map(|row| target(row) + 0.3 * source.normal()).collect();
    let exact = LinearRegression::new(&x, &y, 0.3, 1.0);
    let (mu, sigma) = exact.mean_field();
    let shortfall = exact.ln_evidence() - exact.elbo_diagonal(&mu, &sigma);
    assert!((shortfall - exact.mean_field_gap()).abs() < 1e-8);
    let (mean, (noise, _)) = exact.predict(&[0.3, -1.0, 0.2, 0.1, 0.5]);
    assert!((mean - 2.37).abs() < 0.1 && (noise - 0.09).abs() < 1e-15);
}

/// The gradient of the cross-entropy is `softmax − onehot`.
fn gradient() {
    let logits = [0.2, -1.0, 0.7];
    let categorical = OracleLikelihood::Categorical { classes: 3 };
    let mut expected = softmax(&logits);
    expected[2] -= 1.0;
    let differences = central_gradient(|outputs| categorical.nll_sum(outputs, &[2.0], &[]), &logits);
    assert_gradient_close("cross-entropy", &differences, &expected, 1e-9);
}
