//! Exact moments of a dropout network, by enumeration of all its masks.

use crate::oracle::{FrozenMask, OracleLayer, OracleNet};

/// Exact moments over masks, elementwise over `[rows, out]`.
#[derive(Debug, Clone, PartialEq)]
pub struct DropoutMoments {
    /// `E y`.
    pub mean: Vec<f64>,
    /// `Var y`.
    pub variance: Vec<f64>,
    /// `E (y − E y)⁴`, for the standard error of a sample variance.
    pub fourth_moment: Vec<f64>,
}

/// Calls `visit(mask, probability)` for each of the `2^n` masks whose entry i is kept with `keep_prob[i]`.
pub fn for_each_mask(keep_prob: &[f64], mut visit: impl FnMut(&[bool], f64)) {
    let n = keep_prob.len();
    assert!(n <= 24, "for_each_mask: 2^{n} masks are too many");
    for bits in 0..1u32 << n {
        let mask: Vec<bool> = (0..n).map(|i| bits >> i & 1 == 1).collect();
        let prob = mask.iter().zip(keep_prob).map(|(&z, k)| if z { *k } else { 1.0 - k }).product();
        visit(&mask, prob);
    }
}

/// Exact mean, variance and fourth central moment of every output when all dropout layers of `net` draw their masks.
///
/// Whatever masks `net` holds are ignored. A row's marginal moments are the same for masks per pass and per row; the
/// mask of a pass is enumerated. Needs at most 24 masked units in all.
///
/// # Examples
/// ```
/// use bdl_testkit::{masks::dropout_moments, oracle::{FrozenMask, OracleLayer, OracleNet}};
/// let net = OracleNet::new(vec![
///     OracleLayer::Dropout { drop_prob: 0.2, mask: FrozenMask::Mean },
///     OracleLayer::Dense { in_dim: 2, out_dim: 1, bias: false },
/// ]);
/// let moments = dropout_moments(&net, &[3.0, -1.0], &[1.0, 2.0], 1);
/// assert!((moments.mean[0] - 1.0).abs() < 1e-12);
/// assert!((moments.variance[0] - 0.2 / 0.8 * (9.0 + 4.0)).abs() < 1e-12);
/// ```
#[must_use]
pub fn dropout_moments(net: &OracleNet, params: &[f64], x: &[f64], rows: usize) -> DropoutMoments {
    let sites = dropout_sites(net, params, x, rows);
    let keep_prob: Vec<f64> = sites.iter().flat_map(|s| vec![1.0 - s.drop_prob; s.dim]).collect();
    let mut masked = net.clone();
    let mut outputs: Vec<(f64, Vec<f64>)> = Vec::with_capacity(1 << keep_prob.len());
    for_each_mask(&keep_prob, |mask, prob| {
        let mut rest = mask;
        for site in &sites {
            let (own, behind) = rest.split_at(site.dim);
            set_mask(&mut masked.layers[site.layer], FrozenMask::Pass(own.to_vec()));
            rest = behind;
        }
        outputs.push((prob, masked.forward(params, x, rows)));
    });
    let width = outputs[0].1.len();
    let moment = |centre: &[f64], power: i32| -> Vec<f64> {
        (0..width)
            .map(|k| outputs.iter().map(|(prob, y)| prob * (y[k] - centre[k]).powi(power)).sum())
            .collect()
    };
    let mean = moment(&vec![0.0; width], 1);
    DropoutMoments { variance: moment(&mean, 2), fourth_moment: moment(&mean, 4), mean }
}

/// `drop_prob/(1 − drop_prob) · Σ_i w_i²·h_i²`: the variance of `y = Σ_i w_i·h_i·z_i/(1 − drop_prob) + b`.
///
/// math.md#dropout-linear-output
#[must_use]
pub fn linear_dropout_variance(drop_prob: f64, w: &[f64], h: &[f64]) -> f64 {
    assert_eq!(w.len(), h.len(), "linear_dropout_variance: w and h differ in length");
    drop_prob / (1.0 - drop_prob) * w.iter().zip(h).map(|(w, h)| (w * h).powi(2)).sum::<f64>()
}

struct Site {
    layer: usize,
    dim: usize,
    drop_prob: f64,
}

/// Where the masks are, how wide, and with which drop probability.
fn dropout_sites(net: &OracleNet, params: &[f64], x: &[f64], rows: usize) -> Vec<Site> {
    let mut plain = net.clone();
    plain.layers.iter_mut().for_each(|layer| set_mask(layer, FrozenMask::Mean));
    let widths = plain.activations(params, x, rows).into_iter().map(|y| y.len() / rows);
    let site = |(layer, (spec, dim)): (usize, (&OracleLayer, usize))| match spec {
        OracleLayer::Dropout { drop_prob, .. } => Some(Site { layer, dim, drop_prob: *drop_prob }),
        OracleLayer::Dropout2d { channels, drop_prob, .. } => {
            Some(Site { layer, dim: *channels, drop_prob: *drop_prob })
        }
        _ => None,
    };
    plain.layers.iter().zip(widths).enumerate().filter_map(site).collect()
}

/// Replaces the mask of a dropout layer; leaves other layers alone.
fn set_mask(layer: &mut OracleLayer, new: FrozenMask) {
    if let OracleLayer::Dropout { mask, .. } | OracleLayer::Dropout2d { mask, .. } = layer {
        *mask = new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{OracleActivation, matmul};
    use crate::source::SplitMix64;
    use crate::stats::MomentCheck;

    fn dense(in_dim: usize, out_dim: usize) -> OracleLayer {
        OracleLayer::Dense { in_dim, out_dim, bias: true }
    }

    fn dropout(drop_prob: f64) -> OracleLayer {
        OracleLayer::Dropout { drop_prob, mask: FrozenMask::Mean }
    }

    fn relu() -> OracleLayer {
        OracleLayer::Activation(OracleActivation::Relu)
    }

    #[test]
    fn probabilities_of_all_masks_sum_to_one() {
        let (mut count, mut total, mut kept_first) = (0, 0.0, 0.0);
        for_each_mask(&[0.9, 0.5, 0.2], |mask, prob| {
            count += 1;
            total += prob;
            kept_first += if mask[0] { prob } else { 0.0 };
        });
        assert_eq!(count, 8);
        assert!((total - 1.0f64).abs() < 1e-15 && (kept_first - 0.9f64).abs() < 1e-15);
    }

    #[test]
    fn one_masked_layer_has_the_closed_variance() {
        let mut source = SplitMix64::new(31);
        let net = OracleNet::new(vec![dense(3, 6), relu(), dropout(0.2), dense(6, 1)]);
        let params = source.normals(net.param_len());
        let x = [0.5, -1.2, 2.0];
        let moments = dropout_moments(&net, &params, &x, 1);
        let hidden: Vec<f64> = net.activations(&params, &x, 1)[1].clone();
        let w = &params[24..30];
        let mean = matmul(&hidden, w, 1, 6, 1)[0] + params[30];
        assert!((moments.mean[0] - mean).abs() < 1e-12);
        assert!((moments.variance[0] - linear_dropout_variance(0.2, w, &hidden)).abs() < 1e-12);
    }

    // One unit, y = w·z/(1 − p): a scaled Bernoulli, all moments known.
    #[test]
    fn a_single_unit_is_a_scaled_bernoulli() {
        let net = OracleNet::new(vec![dropout(0.25)]);
        let moments = dropout_moments(&net, &[], &[3.0], 1);
        // Values 4 (probability 0.75) and 0.
        assert!((moments.mean[0] - 3.0).abs() < 1e-14);
        assert!((moments.variance[0] - 3.0).abs() < 1e-14);
        assert!((moments.fourth_moment[0] - (0.75 + 0.25 * 81.0)).abs() < 1e-13);
    }

    // Two masked layers with a ReLU between, 20 000 sampled masks per row, 5 SE.
    #[test]
    fn two_hidden_layers_agree_with_sampled_masks() {
        let mut source = SplitMix64::new(37);
        let mut net = OracleNet::new(vec![
            dense(2, 4),
            relu(),
            dropout(0.2),
            dense(4, 3),
            relu(),
            dropout(0.5),
            dense(3, 1),
        ]);
        let params = source.normals(net.param_len());
        let x = [0.5, -1.2, 1.0, 0.3];
        let exact = dropout_moments(&net, &params, &x, 2);
        assert!(exact.variance.iter().all(|&v| v > 0.01), "{exact:?}");
        let mut draws = [Vec::new(), Vec::new()];
        for _ in 0..20_000 {
            set_mask(&mut net.layers[2], FrozenMask::Row(source.mask(8, 0.8)));
            set_mask(&mut net.layers[5], FrozenMask::Row(source.mask(6, 0.5)));
            let y = net.forward(&params, &x, 2);
            (0..2).for_each(|k| draws[k].push(y[k]));
        }
        for (k, sample) in draws.iter().enumerate() {
            MomentCheck::mean("row", sample, exact.mean[k], exact.variance[k]).assert();
            MomentCheck::variance("row", sample, exact.variance[k], exact.fourth_moment[k]).assert();
        }
    }

    // h = 2z with z ~ Bernoulli(½), y = relu(h − 1): 1 or 0, half each; without masks relu(1 − 1) = 0.
    #[test]
    fn behind_a_kink_the_mean_over_masks_is_not_the_output_without_masks() {
        let net = OracleNet::new(vec![dropout(0.5), dense(1, 1), relu()]);
        let moments = dropout_moments(&net, &[1.0, -1.0], &[1.0], 1);
        assert_eq!((moments.mean[0], moments.variance[0]), (0.5, 0.25));
        assert_eq!(net.forward(&[1.0, -1.0], &[1.0], 1), [0.0]);
    }
}
