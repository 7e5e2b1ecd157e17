//! Several targets: each is what it would be alone, and all together share their passes.

use bdl_testkit::source::{SplitMix64, to_f32};

use crate::likelihood::Independent;
use crate::{
    Dof, Gaussian, Heteroscedastic, Likelihood, MixtureScratch, NoiseSd, Predictive, StudentT, Units,
};

const ROWS: usize = 3;

/// Of six passes of two members, in outputs of 1, 2 and 1 columns, with 1, 0 and 2 parameters.
struct Case {
    all: Independent,
    outputs: Vec<f32>,
    params: [Vec<f32>; 2],
}

fn parts() -> [Box<dyn Likelihood>; 3] {
    [
        Box::new(Gaussian::new(NoiseSd::Learned { init: 1.0 }).unwrap()),
        Box::new(Heteroscedastic::new()),
        Box::new(StudentT::new(1.0, Dof::Learned { init: 5.0 }).unwrap()),
    ]
}

impl Case {
    fn new() -> Self {
        Self {
            all: Independent::new(parts().into_iter().collect()).unwrap(),
            outputs: to_f32(&SplitMix64::new(3).normals(6 * ROWS * 4)),
            params: [vec![-0.5, 0.2, 1.0], vec![0.8, -0.7, 3.0]],
        }
    }

    fn columns(&self, columns: std::ops::Range<usize>) -> Vec<f32> {
        self.outputs.chunks(4).flat_map(|row| row[columns.clone()].to_vec()).collect()
    }
}

#[test]
fn each_target_has_the_bits_that_it_has_alone() {
    let case = Case::new();
    let members = [&case.params[0][..], &case.params[1]];
    let all = Predictive::new(&case.all, &members, &case.outputs, 6, ROWS).unwrap();
    assert_eq!(all.targets(), 3);
    let units = Units::new(7.0, 3.0).unwrap();
    for ((k, alone), (columns, own)) in
        parts().iter().enumerate().zip([(0..1, 0..1), (1..3, 1..1), (3..4, 1..3)])
    {
        let outputs = case.columns(columns);
        let own = [&case.params[0][own.clone()], &case.params[1][own]];
        let alone = Predictive::new(&**alone, &own, &outputs, 6, ROWS).unwrap().in_units(units);
        let of_all = all.target(k).unwrap().in_units(units);
        let (mut a, mut b) = (MixtureScratch::new(), MixtureScratch::new());
        for row in 0..ROWS {
            let (a, b) = (alone.real(row, &mut a).unwrap(), of_all.real(row, &mut b).unwrap());
            let numbers = |p: &crate::RealMixture<'_>| {
                let mut draws = [0.0; 12];
                p.draws(&mut bdl_dist::Noise::new(1, bdl_dist::Purpose::Draw).rng(0), &mut draws);
                let [lower, upper] = p.interval(0.9).unwrap();
                let own = [p.mean(), p.aleatoric_variance(), p.epistemic_variance(), p.mean_mcse().unwrap()];
                let more = [lower, upper, p.ln_density(5.0), p.cdf(5.0), p.crps(5.0)];
                own.into_iter().chain(more).chain(draws).map(f64::to_bits).collect::<Vec<_>>()
            };
            assert_eq!(numbers(&a), numbers(&b), "target {k}, row {row}");
        }
    }
}

/// `ln (1/S) Σ_s Π_k p_k(y_k | s)` by its definition, from the mixtures of single passes.
#[test]
fn the_density_of_all_targets_is_the_mean_over_passes_of_products() {
    let case = Case::new();
    let members = [&case.params[0][..], &case.params[1]];
    let all = Predictive::new(&case.all, &members, &case.outputs, 6, ROWS).unwrap();
    let units = [Units::new(7.0, 3.0).unwrap(), Units::default(), Units::new(-1.0, 0.2).unwrap()];
    let y = [5.0, -0.3, -1.1];
    let mut scratch = MixtureScratch::new();
    for row in 0..ROWS {
        let mut product = |pass: usize| -> f64 {
            let own = [members[pass / 3]];
            let outputs = &case.outputs[pass * ROWS * 4..][..ROWS * 4];
            let one = Predictive::new(&case.all, &own, outputs, 1, ROWS).unwrap();
            let of_one = one.ln_density_of_all(row, &y, &units).unwrap();
            let each = |k: usize| {
                let of = one.target(k).unwrap().in_units(units[k]);
                of.real(row, &mut scratch).unwrap().ln_density(y[k])
            };
            let product = (0..3).map(each).sum::<f64>();
            assert!((of_one - product).abs() < 1e-12, "of one pass they are independent");
            product.exp()
        };
        let naive = ((0..6).map(&mut product).sum::<f64>() / 6.0).ln();
        let got = all.ln_density_of_all(row, &y, &units).unwrap();
        assert!((got - naive).abs() < 1e-12, "{got} {naive}");
        let marginals: f64 = (0..3)
            .map(|k| {
                let of = all.target(k).unwrap().in_units(units[k]);
                of.real(row, &mut scratch).unwrap().ln_density(y[k])
            })
            .sum();
        assert!((got - marginals).abs() > 1e-3, "of six they are not");
    }
}

#[test]
fn questions_that_do_not_fit_are_named() {
    let case = Case::new();
    let members = [&case.params[0][..], &case.params[1]];
    let all = Predictive::new(&case.all, &members, &case.outputs, 6, ROWS).unwrap();
    let mut scratch = MixtureScratch::new();
    assert_eq!(
        all.real(0, &mut scratch).unwrap_err().to_string(),
        "independent: needs a question about one of its targets, got one about a number"
    );
    assert!(all.class(0, &mut scratch).is_err());
    let e = all.target(3).unwrap_err().to_string();
    assert_eq!(e, "independent: target must be below the number of targets, got 3");
    let one = all.target(0).unwrap();
    assert_eq!((one.targets(), one.samples(), one.members()), (1, 6, 2));
    assert_eq!(
        one.target(0).unwrap_err().to_string(),
        "gaussian: needs a question about its target, got one about several"
    );
    assert!(one.ln_density_of_all(0, &[1.0], &[Units::default()]).is_err());
    assert!(all.ln_density_of_all(0, &[1.0; 2], &[Units::default(); 3]).is_err());
    assert!(all.ln_density_of_all(0, &[1.0; 3], &[Units::default(); 2]).is_err());
    assert!(all.ln_density_of_all(ROWS, &[1.0; 3], &[Units::default(); 3]).is_err());
}
