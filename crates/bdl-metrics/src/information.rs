//! Entropies of class probabilities, and their split into what the passes agree and disagree on.

use crate::{Error, check};

/// What a row's passes say about its uncertainty, in nats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entropies {
    /// H[E p], of the mean probabilities: the total.
    pub predictive_entropy: f64,
    /// E[H p], the mean over passes: what remains if the weights were known (aleatoric).
    pub expected_entropy: f64,
    /// H[E p] − E[H p] ≥ 0: what the weights would tell (epistemic).
    pub mutual_information: f64,
    /// Monte Carlo standard error of the mutual information; `None` for a single pass.
    pub mutual_information_mcse: Option<f64>,
}

/// Entropy of each row, in nats.
///
/// ```text
/// H = −Σ_c p_c ln p_c,   0·ln 0 = 0
/// ```
///
/// # Shapes
/// `probs` `[B, classes]`, row by row.
///
/// # Errors
/// There are no rows or no classes, `probs` is not a multiple of `classes`, a probability is outside [0, 1], or a row
/// does not sum to 1 within [`PROB_SUM_TOLERANCE`](crate::PROB_SUM_TOLERANCE).
///
/// # Examples
/// ```
/// assert_eq!(bdl_metrics::entropy(&[0.5, 0.5, 1.0, 0.0], 2)?, [2.0_f64.ln(), 0.0]);
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
///
/// # References
/// Shannon (1948), *A Mathematical Theory of Communication*, §6.
pub fn entropy(probs: &[f64], classes: usize) -> Result<Vec<f64>, Error> {
    check::distributions(probs, classes)?;
    Ok(probs.chunks_exact(classes).map(entropy_of).collect())
}

/// Predictive entropy, expected entropy and mutual information of each row, from S passes.
///
/// ```text
/// predictive_entropy = H[p̄],   p̄ = (1/S) Σₛ pₛ
/// expected_entropy   = (1/S) Σₛ H[pₛ]
/// mutual_information = (1/S) Σₛ KL(pₛ ‖ p̄) = predictive_entropy − expected_entropy
/// mcse               = standard deviation of KL(pₛ ‖ p̄) over passes / √S      (delta method)
/// ```
///
/// The mutual information is summed in its KL form, which does not cancel; only a rounding error below 0 is set to 0.
/// From few passes it is too small, by up to (C − 1)/(2S) to first order; a single pass has none.
///
/// # Shapes
/// `probs` `[S, B, C]`, pass by pass, each row by row; `shape` is `[S, B, C]`.
///
/// # Errors
/// `probs` does not have S·B·C elements, one of them is 0, a probability is outside [0, 1], or a row does not sum to 1
/// within [`PROB_SUM_TOLERANCE`](crate::PROB_SUM_TOLERANCE).
///
/// # Examples
/// ```
/// // Two certain passes that contradict each other.
/// let row = bdl_metrics::entropies(&[1.0, 0.0, 0.0, 1.0], [2, 1, 2])?[0];
/// assert_eq!((row.expected_entropy, row.mutual_information), (0.0, 2.0_f64.ln()));
/// # Ok::<(), bdl_metrics::Error>(())
/// ```
///
/// # References
/// Houlsby, Huszár, Ghahramani & Lengyel (2011), *Bayesian Active Learning for Classification and Preference Learning*,
/// eq. 2; Depeweg, Hernández-Lobato, Doshi-Velez & Udluft (2018), *Decomposition of Uncertainty in Bayesian Deep Learning*.
pub fn entropies(probs: &[f64], shape: [usize; 3]) -> Result<Vec<Entropies>, Error> {
    let [samples, rows, classes] = shape;
    check::length("probs", probs.len(), samples.saturating_mul(rows).saturating_mul(classes))?;
    check::distributions(probs, classes)?;
    let row = |b: usize| {
        let passes: Vec<&[f64]> = probs.chunks_exact(classes).skip(b).step_by(rows).collect();
        entropies_of(&passes)
    };
    Ok((0..rows).map(row).collect())
}

fn entropies_of(passes: &[&[f64]]) -> Entropies {
    let samples = passes.len() as f64;
    let class_mean = |c: usize| passes.iter().map(|p| p[c]).sum::<f64>() / samples;
    let mean: Vec<f64> = (0..passes[0].len()).map(class_mean).collect();
    let divergences: Vec<f64> = passes.iter().map(|p| divergence(p, &mean)).collect();
    let information = crate::mean(&divergences);
    Entropies {
        predictive_entropy: entropy_of(&mean),
        expected_entropy: passes.iter().map(|p| entropy_of(p)).sum::<f64>() / samples,
        mutual_information: information.max(0.0),
        mutual_information_mcse: crate::bootstrap::standard_error(&divergences),
    }
}

fn entropy_of(p: &[f64]) -> f64 {
    // Of a sum of −0 the sign is dropped.
    -p.iter().filter(|p| **p > 0.0).map(|p| p * p.ln()).sum::<f64>() + 0.0
}

/// KL(p ‖ q), as Σ (p ln(p/q) − p + q): no term is negative, and an error in `q` enters squared.
fn divergence(p: &[f64], q: &[f64]) -> f64 {
    let term = |(&p, &q): (&f64, &f64)| if p > 0.0 && q > 0.0 { p * ln_ratio(p, q) - (p - q) } else { q };
    p.iter().zip(q).map(term).sum()
}

/// ln(p/q), also where p is nearly q.
fn ln_ratio(p: f64, q: f64) -> f64 {
    let change = (p - q) / q;
    if change.abs() < 0.5 { change.ln_1p() } else { (p / q).ln() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{close, mean_se, uniforms};

    #[test]
    fn entropy_is_zero_at_a_vertex_and_ln_c_at_the_centre() {
        assert_eq!(entropy(&[0.0, 1.0, 0.0], 3).unwrap()[0].to_bits(), 0);
        close(entropy(&[0.25; 4], 4).unwrap()[0], 4.0_f64.ln(), 1e-15);
        assert_eq!(entropy(&[1.0, 1.0], 1).unwrap(), [0.0, 0.0]);
    }

    #[test]
    fn equal_passes_share_no_information() {
        let rows = entropies(&[0.3, 0.7].repeat(7), [7, 1, 2]).unwrap();
        close(rows[0].mutual_information, 0.0, 1e-16);
        close(rows[0].mutual_information_mcse.unwrap(), 0.0, 1e-16);
        assert_eq!(entropies(&[0.3, 0.7], [1, 1, 2]).unwrap()[0].mutual_information_mcse, None);
    }

    #[test]
    fn rows_are_read_pass_by_pass() {
        // Row 0: (1, 0) and (0, 1); row 1: (½, ½) twice.
        let rows = entropies(&[1.0, 0.0, 0.5, 0.5, 0.0, 1.0, 0.5, 0.5], [2, 2, 2]).unwrap();
        let ln2 = 2.0_f64.ln();
        assert_eq!((rows[0].expected_entropy, rows[0].mutual_information), (0.0, ln2));
        assert_eq!((rows[1].expected_entropy, rows[1].mutual_information), (ln2, 0.0));
        assert!(rows.iter().all(|row| row.predictive_entropy == ln2));
    }

    #[test]
    fn nearly_equal_passes_keep_their_digits() {
        // 2δ² for ½ ± δ: below what the difference of two entropies near ln 2 resolves.
        let delta = 1e-7;
        let probs = [0.5 + delta, 0.5 - delta, 0.5 - delta, 0.5 + delta];
        let information = entropies(&probs, [2, 1, 2]).unwrap()[0].mutual_information;
        close(information, 2.0 * delta * delta, 1e-20);
    }

    #[test]
    fn standard_error_agrees_with_repetition() {
        // 2000 sets of 50 passes with p uniform: the spread of the estimates is the stated error within 10 %.
        let u = uniforms(100_000, 7);
        let probs: Vec<f64> = u.iter().flat_map(|&p| [p, 1.0 - p]).collect();
        let rows = entropies(&probs, [50, 2000, 2]).unwrap();
        let information: Vec<f64> = rows.iter().map(|r| r.mutual_information).collect();
        let stated = rows.iter().map(|r| r.mutual_information_mcse.unwrap()).sum::<f64>() / 2000.0;
        let (mean, se) = mean_se(&information);
        close(stated / (se * 2000.0_f64.sqrt()), 1.0, 0.1);
        // ln 2 − ½, less the bias of 50 passes: E[KL] falls by Var p / (2S p̄(1 − p̄)) = 1/(6·50).
        close(mean, 2.0_f64.ln() - 0.5 - 1.0 / 300.0, 5.0 * se + 2e-4);
    }

    #[test]
    fn bad_shapes_are_named() {
        let text = |r: Result<Vec<Entropies>, Error>| r.unwrap_err().to_string();
        assert_eq!(text(entropies(&[0.5; 6], [2, 2, 2])), "probs: must have 8 elements, got 6");
        assert_eq!(text(entropies(&[], [0, 2, 2])), "probs: must not be empty, got 0 elements");
        assert_eq!(
            text(entropies(&[0.5, 0.6], [1, 1, 2])),
            "probs row 0: must sum to 1 within 0.0001, got 1.1"
        );
        assert_eq!(entropy(&[1.0], 0).unwrap_err().to_string(), "classes: must be at least 1, got 0");
    }

    proptest! {
        #[test]
        fn information_is_the_difference_of_entropies_and_not_negative(weights in prop::collection::vec(0.0..1.0_f64, 24), zero in 0..24_usize) {
            let mut weights = weights;
            weights[zero] = 0.0;
            let rows: Vec<f64> = weights.chunks(3).flat_map(|w| { let s: f64 = w.iter().sum::<f64>() + 3e-3; [(w[0] + 1e-3) / s, (w[1] + 1e-3) / s, (w[2] + 1e-3) / s] }).collect();
            for row in entropies(&rows, [4, 2, 3]).unwrap() {
                prop_assert!(row.mutual_information >= 0.0);
                prop_assert!((row.predictive_entropy - row.expected_entropy - row.mutual_information).abs() < 1e-14);
                prop_assert!(row.predictive_entropy <= 3.0_f64.ln() + 1e-14);
            }
        }
    }
}
