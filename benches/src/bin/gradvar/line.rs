//! What is printed.

use bdl_benches::gradvar::Trace;
use serde::Serialize;

/// What all lines of a measurement have in common.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Setting<'a> {
    pub(crate) workload: &'static str,
    /// Where the rows come from.
    pub(crate) data: &'a str,
    /// Widths of the layers.
    pub(crate) network: String,
    /// Rows of the minibatch.
    pub(crate) batch: usize,
    /// Pairs of gradients behind each trace.
    pub(crate) pairs: usize,
    /// Epochs of training before.
    pub(crate) epochs: usize,
}

/// One measurement.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    #[serde(flatten)]
    pub(crate) setting: &'a Setting<'a>,
    pub(crate) estimator: &'a str,
    /// Of training with this estimator.
    pub(crate) seconds_per_step: f64,
    layer: &'a str,
    parameter: &'a str,
    /// Of the variance of the gradient of the batch's mean NLL, (nats per row)².
    trace: f64,
    std_error: f64,
    /// Over the trace of local reparameterization; none of that itself.
    ratio: Option<f64>,
    ratio_std_error: Option<f64>,
}

impl<'a> Line<'a> {
    /// The line of a layer's trace, beside that of local reparameterization.
    pub(crate) fn new(
        setting: &'a Setting<'a>,
        (estimator, seconds_per_step): (&'a str, f64),
        trace: &'a Trace,
        local: &Trace,
    ) -> Self {
        let (ratio, ratio_std_error) = (trace != local).then(|| trace.ratio(local)).unzip();
        let Trace { layer, parameter, trace, std_error } = trace;
        let (trace, std_error) = (*trace, *std_error);
        Self {
            setting,
            estimator,
            seconds_per_step,
            layer,
            parameter,
            trace,
            std_error,
            ratio,
            ratio_std_error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_documented_keys_and_no_ratio_to_itself() {
        let trace =
            |trace| Trace { layer: "0.variational-dense".to_owned(), parameter: "mu", trace, std_error: 0.5 };
        let (sampling, local) = (trace(8.0), trace(4.0));
        let network = "2-1".to_owned();
        let setting = Setting { workload: "gradvar", data: "d", network, batch: 3, pairs: 4, epochs: 0 };
        let json =
            |name, trace| serde_json::to_string(&Line::new(&setting, (name, 0.25), trace, &local)).unwrap();
        let front = r#"{"workload":"gradvar","data":"d","network":"2-1","batch":3,"pairs":4,"epochs":0,"#;
        let tail =
            r#""estimator":"local","seconds_per_step":0.25,"layer":"0.variational-dense","parameter":"mu","#;
        let numbers = r#""trace":4.0,"std_error":0.5,"ratio":null,"ratio_std_error":null}"#;
        assert_eq!(json("local", &local), format!("{front}{tail}{numbers}"));
        assert!(json("sampling", &sampling).contains(r#""ratio":2.0,"ratio_std_error":0.2795"#));
    }
}
