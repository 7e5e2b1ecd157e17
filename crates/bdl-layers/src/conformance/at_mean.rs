//! What a layer says that it is at the mean of its weights.

use bdl_dist::{Noise, Purpose};

use super::rig::{PLACE, Rig, same_bits};
use super::{Failure, Judge};
use crate::{AtMean, Means, Pass, Registry};

/// It has the bits of the mean pass, and a layer that starts there is there.
pub(super) fn check_at_mean(judge: &Judge<'_>, rig: &Rig<'_>, registry: &Registry) -> Result<(), Failure> {
    let y = judge.no_error(rig.forward(&rig.x, &Pass::mean()))?.y;
    let clause = "at_mean has the bits of the mean pass";
    match judge.layer.at_mean() {
        AtMean::Same => Ok(()),
        AtMean::Identity => same_bits(&rig.x, &y).map_err(|e| judge.fail(clause, e)),
        AtMean::Plain(means) => {
            let mean = means.mean_params(&rig.params);
            let plain = judge.no_error(means.plain(registry))?;
            let at_mean = rig.with(&*plain).forward_at(PLACE, &mean, &rig.x, &Pass::mean());
            same_bits(&y, &judge.no_error(at_mean)?.y).map_err(|e| judge.fail(clause, e))?;
            check_start(judge, rig, means, &mean)
        }
    }
}

fn check_start(judge: &Judge<'_>, rig: &Rig<'_>, means: &dyn Means, mean: &[f32]) -> Result<(), Failure> {
    let clause = "a layer that starts at a mean has that mean";
    for sigma_ratio in [None, Some(0.1)] {
        let mut params = vec![0.0; rig.params.len()];
        judge.layer.init(&mut params, &mut Noise::new(2, Purpose::Init).rng(1));
        means.start_at(mean, sigma_ratio, &mut params);
        same_bits(mean, &means.mean_params(&params)).map_err(|e| judge.fail(clause, e))?;
    }
    Ok(())
}
