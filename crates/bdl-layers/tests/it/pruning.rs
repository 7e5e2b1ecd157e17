//! A pruned network is the network with zeros for what was removed: in its outputs, its noise and its file.

use crate::common::{bits, numbers, predict};
use bdl_dist::{Noise, Purpose, ScaleMixture, raw_scale};
use bdl_layers::{
    Activation, ActivationLayer, AvgPool2d, Container, Conv2dMap, Dense, Dropout, Error, Estimator, Filters,
    Flatten, Image, ImageOrder, Layer, MaxPool2d, MonteCarlo, Pass, PassRows, Plan, Prior, PrunedPlan,
    Registry, Scaling, Scope, SparseVd, SparseVdDense, Variational, VariationalDense, Window, Workspace,
    conformance, push_network, read_network,
};
use bdl_tensor::{Mat, MatMut, Serial};
use bdl_testkit::stats::{Estimate, MomentCheck, mean};
use proptest::prelude::*;

/// One layer with posteriors over weights.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Of {
    SparseVd,
    MeanField,
}

#[derive(Clone, Copy, Debug)]
struct Stage {
    of: Of,
    bias: bool,
    activation: Activation,
}

const RELU: Activation = Activation::Relu;

fn stage(of: Of) -> Stage {
    Stage { of, bias: true, activation: RELU }
}

/// Stages between these widths; the last has no activation.
fn plan(widths: &[usize], stages: &[Stage]) -> Plan {
    let mut layers: Vec<Box<dyn Layer>> = Vec::new();
    for (at, stage) in stages.iter().enumerate() {
        let (inputs, units) = (widths[at], widths[at + 1]);
        layers.push(match (stage.of, stage.bias) {
            (Of::SparseVd, true) => Box::new(SparseVdDense::new(inputs, units).unwrap()),
            (Of::SparseVd, false) => Box::new(SparseVdDense::new(inputs, units).unwrap().without_bias()),
            (Of::MeanField, true) => {
                Box::new(VariationalDense::new(inputs, units, Prior::FanIn(1.0)).unwrap())
            }
            (Of::MeanField, false) => {
                Box::new(VariationalDense::new(inputs, units, Prior::StdDev(0.5)).unwrap().without_bias())
            }
        });
        if at + 1 < stages.len() {
            layers.push(Box::new(ActivationLayer::new(stage.activation, units).unwrap()));
        }
    }
    Plan::new(layers).unwrap()
}

/// The raw parameter of a deviation, 0 too.
fn raw_of(of: Of, sigma: f32) -> f32 {
    match of {
        _ if sigma == 0.0 => -1e4,
        Of::SparseVd => 2.0 * sigma.ln(),
        Of::MeanField => raw_scale(f64::from(sigma)),
    }
}

/// Parameters of which about `share` of the weights are noise (sigma 20 times the mean, else a fifth of it), with
/// whole rows and columns among them; and the same with zeros for those.
fn params(widths: &[usize], stages: &[Stage], share: f32, seed: u64) -> [Vec<f32>; 2] {
    let mut both = [Vec::new(), Vec::new()];
    for (at, stage) in stages.iter().enumerate() {
        let (inputs, units) = (widths[at], widths[at + 1]);
        let draws = |what: u64, n: usize| numbers(1_000 * seed + 10 * at as u64 + what, n);
        let mu = draws(0, inputs * units);
        let idle = |what: u64, n: usize| -> Vec<bool> { draws(what, n).iter().map(|z| *z > 0.8).collect() };
        let (idle_in, idle_out) = (idle(1, inputs), idle(2, units));
        let level = if share <= 0.0 {
            f32::INFINITY
        } else if share >= 1.0 {
            -1.0
        } else {
            (1.0 - share) * 2.0
        };
        let chance = draws(3, inputs * units);
        let noise: Vec<bool> = (0..mu.len())
            .map(|e| chance[e].abs() > level || (share > 0.0 && (idle_in[e / units] || idle_out[e % units])))
            .collect();
        let sigma = |e: usize| mu[e].abs().max(1e-3) * if noise[e] { 20.0 } else { 0.2 };
        let zero = |e: usize, x: f32| if noise[e] { 0.0 } else { x };
        let biases = if stage.bias { draws(4, units) } else { Vec::new() };
        let random = if stage.of == Of::MeanField { biases.len() } else { 0 };
        for (masked, out) in both.iter_mut().enumerate() {
            let there = |e: usize, x: f32| if masked == 1 { zero(e, x) } else { x };
            out.extend((0..mu.len()).map(|e| there(e, if mu[e].abs() < 1e-3 { 1e-3 } else { mu[e] })));
            out.extend((0..mu.len()).map(|e| raw_of(stage.of, there(e, sigma(e)))));
            out.extend(&biases);
            out.extend(biases[..random].iter().map(|b| raw_of(stage.of, 0.1 + b.abs())));
        }
    }
    both
}

fn prune(plan: &Plan, params: &[f32]) -> PrunedPlan {
    plan.prune(&[params], 3.0, &Registry::default()).unwrap()
}

fn folded(pruned: &PrunedPlan) -> usize {
    pruned.layers.iter().map(|layer| layer.constant).sum()
}

/// Outputs that are equal to the bit, or within 10⁻⁴ of the largest, where sums have another order.
fn assert_same(got: &[f32], expected: &[f32], to_the_bit: bool) {
    if to_the_bit {
        return assert_eq!(bits(got), bits(expected));
    }
    let largest = expected.iter().fold(1.0f32, |a, b| a.max(b.abs()));
    for (got, expected) in got.iter().zip(expected) {
        assert!((got - expected).abs() <= 1e-4 * largest, "{got} {expected}");
    }
}

fn any_stage() -> impl Strategy<Value = Stage> {
    let of = prop_oneof![Just(Of::SparseVd), Just(Of::MeanField)];
    let activation = prop::sample::select(&Activation::ALL[..]);
    (of, any::<bool>(), activation).prop_map(|(of, bias, activation)| Stage { of, bias, activation })
}

/// Up to four stages, some wider than a block of a sum.
fn network() -> impl Strategy<Value = (Vec<usize>, Vec<Stage>)> {
    let width = prop_oneof![4 => 1usize..30, 1 => 250usize..300];
    (prop::collection::vec(width, 2..6)).prop_flat_map(|widths| {
        let stages = prop::collection::vec(any_stage(), widths.len() - 1);
        (Just(widths), stages)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_pruned_network_is_the_masked_one_at_the_mean(
        (widths, stages) in network(),
        share in prop_oneof![Just(0.0f32), Just(1.0), 0.3f32..0.99],
        seed in 0u64..1_000,
        rows in 1usize..20,
    ) {
        let whole = plan(&widths, &stages);
        let [params, masked] = params(&widths, &stages, share, seed);
        let pruned = prune(&whole, &params);
        prop_assert_eq!(pruned.plan.in_dim(), whole.in_dim());
        let x = numbers(seed, rows * whole.in_dim());
        let got = predict(&pruned.plan, &pruned.members[0], &x, &Pass::mean());
        let expected = predict(&whole, &masked, &x, &Pass::mean());
        assert_same(&got, &expected, folded(&pruned) == 0);
        // Row noise of a single stage has the same address, and the same variances.
        if stages.len() == 1 {
            let noise = Noise::new(seed, Purpose::Predict);
            let pass = Pass::predict(&noise, 3, Scope::Row, Estimator::Local);
            let got = predict(&pruned.plan, &pruned.members[0], &x, &pass);
            prop_assert_eq!(bits(&got), bits(&predict(&whole, &masked, &x, &pass)));
        }
    }

    #[test]
    fn a_pruned_network_is_read_as_it_was_written(
        (widths, stages) in network(),
        share in 0.0f32..1.0,
        seed in 0u64..1_000,
    ) {
        let whole = plan(&widths, &stages);
        let [params, _] = params(&widths, &stages, share, seed);
        let pruned = prune(&whole, &params);
        let mut file = Container::default();
        push_network(&mut file, &pruned.plan, &pruned.members).unwrap();
        let bytes = file.to_bytes().unwrap();
        let (plan, members) = read_network(&Container::from_bytes(&bytes).unwrap(), &Registry::default()).unwrap();
        prop_assert_eq!(plan.entries(), pruned.plan.entries());
        let x = numbers(seed, 3 * plan.in_dim());
        let noise = Noise::new(seed, Purpose::Predict);
        for pass in passes(&noise) {
            let [a, b] = [(&plan, &members), (&pruned.plan, &pruned.members)]
                .map(|(plan, members)| bits(&predict(plan, &members[0], &x, &pass)));
            prop_assert_eq!(a, b);
        }
        let mut again = Container::default();
        push_network(&mut again, &plan, &members).unwrap();
        prop_assert_eq!(again.to_bytes().unwrap(), bytes);
    }
}

fn passes(noise: &Noise) -> [Pass<'_>; 3] {
    [
        Pass::mean(),
        Pass::predict(noise, 2, Scope::Pass, Estimator::Local),
        Pass::predict(noise, 2, Scope::Row, Estimator::Local),
    ]
}

#[test]
fn what_loses_nothing_stays_what_it_is() {
    let (widths, stages) = ([5, 7, 3], [stage(Of::SparseVd), stage(Of::MeanField)]);
    let whole = plan(&widths, &stages);
    let [params, _] = params(&widths, &stages, 0.0, 1);
    let pruned = prune(&whole, &params);
    assert_eq!(pruned.plan.entries(), whole.entries());
    assert_eq!(pruned.members, [params]);
    assert_eq!(pruned.layers.iter().map(|l| (l.weights, l.kept)).collect::<Vec<_>>(), [(35, 35), (21, 21)]);
}

#[test]
fn a_network_without_weights_is_its_last_biases() {
    let (widths, stages) = ([5, 300, 3], [stage(Of::SparseVd); 2]);
    let whole = plan(&widths, &stages);
    let [params, _] = params(&widths, &stages, 1.0, 2);
    let pruned = prune(&whole, &params);
    assert_eq!(
        pruned.layers.iter().map(|l| (l.kept, l.units)).collect::<Vec<_>>(),
        [(0, [300, 1]), (0, [3, 3])]
    );
    assert!(!pruned.plan.is_random());
    let biases = &params[params.len() - 3..];
    assert_eq!(pruned.members[0][1..], *biases);
    let y = predict(&pruned.plan, &pruned.members[0], &numbers(0, 10), &Pass::mean());
    assert_eq!(y, [biases, biases].concat());
    let report = pruned.plan.report(&pruned.members[0]).unwrap();
    assert_eq!((report[0].sparsity, report[0].snr, report[0].kl), (Some(1.0), None, 0.0));
}

/// Two inputs, four hidden units, one output: unit 0 is fed and read, unit 1 is not read, units 2 and 3 are not fed.
fn four_units(of: Of, biases: [f32; 4]) -> PrunedPlan {
    let whole = plan(&[2, 4, 1], &[stage(of); 2]);
    let there = |mu: f32, sigma: f32| [mu, raw_of(of, sigma)];
    let [keep, noise] = [there(2.0, 0.5), there(0.1, 1.0)];
    let first = [keep, keep, noise, noise, noise, keep, noise, noise];
    let second = [keep, noise, there(3.0, 0.25), there(-1.0, 0.5)];
    let mut params: Vec<f32> = [0, 1].iter().flat_map(|&part| first.iter().map(move |w| w[part])).collect();
    params.extend(biases);
    if of == Of::MeanField {
        params.extend([raw_of(of, 0.1); 4]);
    }
    params.extend([0, 1].iter().flat_map(|&part| second.iter().map(move |w| w[part])));
    params.push(0.5);
    if of == Of::MeanField {
        params.push(raw_of(of, 0.1));
    }
    whole.prune(&[&params], 3.0, &Registry::default()).unwrap()
}

#[test]
fn idle_units_go_and_constants_become_weights_of_a_constant_input() {
    // relu(1.5) = 1.5 and relu(0.2) = 0.2 are added for every row.
    let pruned = four_units(Of::SparseVd, [0.0, 0.0, 1.5, 0.2]);
    assert_eq!(pruned.layers.iter().map(|l| l.units).collect::<Vec<_>>(), [[4, 1], [1, 1]]);
    assert_eq!(pruned.layers.iter().map(|l| (l.kept, l.constant)).collect::<Vec<_>>(), [(1, 0), (2, 1)]);
    let [mu, variance] = [1.5 * 3.0 - 0.2, (1.5f32 * 0.25).powi(2) + (0.2f32 * 0.5).powi(2)];
    let behind = &pruned.members[0][3..];
    assert_eq!(behind[0], 2.0);
    assert!((behind[1] - mu).abs() < 1e-6 && (behind[3].exp() - variance).abs() < 1e-6, "{behind:?}");
    assert_eq!(behind[4], 0.5);
    let y = predict(&pruned.plan, &pruned.members[0], &[0.0, 9.0], &Pass::mean());
    assert_eq!(y, [behind[1] + 0.5]);
}

#[test]
fn a_unit_that_is_0_leaves_nothing_behind() {
    let pruned = four_units(Of::SparseVd, [0.0, 0.0, -1.5, -0.2]);
    assert_eq!(pruned.layers.iter().map(|l| (l.kept, l.constant)).collect::<Vec<_>>(), [(1, 0), (1, 0)]);
}

#[test]
fn a_unit_with_a_random_bias_is_no_constant_and_stays() {
    let pruned = four_units(Of::MeanField, [0.0, 0.0, 1.5, 0.2]);
    assert_eq!(pruned.layers.iter().map(|l| l.units).collect::<Vec<_>>(), [[4, 3], [1, 1]]);
    assert_eq!(pruned.layers[1].kept, 3);
}

#[test]
fn units_next_to_another_layer_stay() {
    for between in [false, true] {
        let mut layers: Vec<Box<dyn Layer>> = vec![
            Box::new(SparseVdDense::new(2, 3).unwrap()),
            Box::new(ActivationLayer::new(RELU, 3).unwrap()),
        ];
        if between {
            layers.push(Box::new(Dropout::new(3, 0.5).unwrap()));
            layers.push(Box::new(SparseVdDense::new(3, 2).unwrap()));
        } else {
            layers.push(Box::new(Dense::new(3, 2).unwrap()));
        }
        let whole = Plan::new(layers).unwrap();
        let mut params = whole.init(&Noise::new(0, Purpose::Init));
        (0..6).for_each(|e| [params[e], params[6 + e]] = [0.01, 4.0]);
        let pruned = prune(&whole, &params);
        assert_eq!((pruned.layers[0].kept, pruned.layers[0].units), (0, [3, 3]));
        assert_eq!(pruned.members[0], params[12..]);
    }
}

#[test]
fn a_weight_goes_if_it_is_noise_in_every_member() {
    let whole = Plan::new(vec![Box::new(SparseVdDense::new(3, 1).unwrap().without_bias())]).unwrap();
    // ln alpha = 0 is kept, 4 is not.
    let [a, b] = [[1.0, 1.0, 1.0, 0.0, 4.0, 4.0], [2.0, 2.0, 2.0, 0.0, 0.0, 9.0]];
    let pruned = whole.prune(&[&a, &b], 3.0, &Registry::default()).unwrap();
    assert_eq!(pruned.members, [[1.0, 1.0, 0.0, 4.0], [2.0, 2.0, 0.0, 0.0]]);
    let short = whole.prune(&[&a[1..]], 3.0, &Registry::default()).unwrap_err();
    assert_eq!(short, Error::Length { what: "prune params".into(), expected: 6, got: 5 });
}

#[test]
fn the_kl_of_what_is_left_is_that_of_its_weights_under_the_same_prior() {
    for of in [Of::SparseVd, Of::MeanField] {
        let (widths, stages) = ([4, 9, 2], [Stage { bias: false, ..stage(of) }, stage(of)]);
        let whole = plan(&widths, &stages);
        let [params, _] = params(&widths, &stages, 0.5, 6);
        let pruned = prune(&whole, &params);
        assert!(pruned.layers[0].units[1] < 9 && pruned.layers[1].constant == 0, "{:?}", pruned.layers);
        // Every weight that is gone is given a posterior that costs nothing: the prior, or noise without end.
        let mut at_prior = params.clone();
        let mut removed = 0;
        for (start, weights, prior) in [(0, 36, 0.5), (72, 18, 1.0 / 3.0)] {
            for e in start..start + weights {
                let [mu, sigma] = [params[e], sigma_of(of, params[e + weights])];
                if !pruned.members[0].contains(&mu) || mu.abs() < 0.223 * sigma {
                    removed += 1;
                    (at_prior[e], at_prior[e + weights]) =
                        (0.0, if of == Of::SparseVd { 90.0 } else { raw_scale(prior) });
                }
            }
        }
        assert_eq!(removed, pruned.layers.iter().map(|l| l.weights - l.kept).sum::<usize>());
        let (got, expected) = (pruned.plan.kl(&pruned.members[0]).unwrap(), whole.kl(&at_prior).unwrap());
        let rest = if of == Of::SparseVd { removed as f64 * 2e-4 } else { 0.0 };
        assert!((got - expected).abs() < 1e-5 * expected + rest, "{of:?}: {got} {expected}");
    }
}

fn sigma_of(of: Of, raw: f32) -> f32 {
    if of == Of::SparseVd { (0.5 * raw).exp() } else { raw.exp().ln_1p() }
}

#[test]
fn pruned_layers_keep_the_contract() {
    for of in [Of::SparseVd, Of::MeanField] {
        for bias in [true, false] {
            let stages = [Stage { of, bias, activation: Activation::Sigmoid }; 3];
            let whole = plan(&[4, 6, 5, 2], &stages);
            let [params, _] = params(&[4, 6, 5, 2], &stages, 0.4, 5);
            let pruned = prune(&whole, &params);
            assert!(pruned.layers.iter().all(|layer| layer.kept < layer.weights), "{:?}", pruned.layers);
            for (_, layer) in pruned.plan.layers() {
                conformance::check(layer, &Registry::default()).unwrap_or_else(|e| panic!("{layer:?}: {e}"));
            }
        }
    }
}

#[test]
fn passes_made_together_have_the_bits_of_passes_made_alone() {
    let (widths, stages) =
        ([9, 300, 40, 2], [stage(Of::SparseVd), stage(Of::MeanField), stage(Of::SparseVd)]);
    let whole = plan(&widths, &stages);
    let [params, _] = params(&widths, &stages, 0.8, 3);
    let pruned = prune(&whole, &params);
    let (plan, params) = (&pruned.plan, &pruned.members[0]);
    let noise = Noise::new(5, Purpose::Predict);
    for scope in [Scope::Pass, Scope::Row] {
        let together = MonteCarlo::new(plan, params, noise.clone(), scope, Estimator::Local).unwrap();
        for rows in [1, 3, 20] {
            let x = numbers(7, rows * 9);
            let x = Mat::new(&x, rows, 9).unwrap();
            let (mut ws, mut shared) = (Workspace::new(), vec![f32::NAN; together.shared_len(rows)]);
            together.share(x, &Serial, &mut ws, &mut shared).unwrap();
            let mut out = vec![f32::NAN; 4 * rows * 2];
            together.run(1..5, x, 6, &shared, &mut ws, PassRows { out: &mut out, rows, at: 0 }).unwrap();
            for (pass, got) in (1..).zip(out.chunks(rows * 2)) {
                let pass = Pass::predict(&noise, pass, scope, Estimator::Local).starting_at(6);
                let mut alone = vec![f32::NAN; rows * 2];
                let mut y = MatMut::new(&mut alone, rows, 2).unwrap();
                plan.forward(params, x, &pass, &mut Workspace::new(), &mut y).unwrap();
                assert_eq!(bits(got), bits(&alone), "{scope:?}, {rows} rows");
            }
        }
    }
}

#[test]
fn one_draw_per_pass_is_of_the_weights_that_are_left_in_their_order() {
    let whole = plan(&[3, 2], &[stage(Of::SparseVd)]);
    let params = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 9.0, 0.0, 9.0, -1.0, 0.5, 9.0, 0.25, -0.25];
    let pruned = prune(&whole, &params);
    let noise = Noise::new(8, Purpose::Predict);
    let pass = Pass::predict(&noise, 5, Scope::Pass, Estimator::Local);
    let mut eps = [0.0; 3];
    pass.site(0, 0, bdl_layers::Draw::Pass).unwrap().normals(3, &mut eps);
    let w = [0.0f32, -1.0, 0.5].map(|ln_sigma2| (0.5 * ln_sigma2).exp());
    let [a, b, c] = [0, 1, 2].map(|e| 1.0 + w[e] * eps[e]); // elements 1, 3 and 4 of [3, 2]
    let y = predict(&pruned.plan, &pruned.members[0], &[1.0, 10.0, 100.0], &pass);
    assert_same(&y, &[100.0 * c + 0.25, a + 10.0 * b - 0.25], false);
}

/// A convolution, and the image that it gives.
fn conv(of: Of, image: Image, filters: Filters) -> (Box<dyn Layer>, Image) {
    let map = Conv2dMap::new("conv2d", image, filters).unwrap();
    let image = map.out_image();
    let layer: Box<dyn Layer> = match of {
        Of::SparseVd => Box::new(Variational::of(map, SparseVd::new())),
        Of::MeanField => Box::new(Variational::mean_field(map, Prior::FanIn(1.0)).unwrap()),
    };
    (layer, image)
}

/// Convolutions, and a dense stage that reads the last of them.
fn conv_plan(of: Of, filters: &[Filters]) -> Plan {
    let mut image = Image::new(5, 4, 4);
    let mut layers: Vec<Box<dyn Layer>> = Vec::new();
    for &filters in filters {
        let (layer, out) = conv(of, image, filters);
        image = out;
        layers.push(layer);
        layers.push(Box::new(ActivationLayer::new(Activation::Sigmoid, image.len()).unwrap()));
    }
    layers.push(Box::new(SparseVdDense::new(image.len(), 2).unwrap()));
    Plan::new(layers).unwrap()
}

/// Parameters with noise among the weights, also whole output units; and the same with zeros there.
fn conv_params(plan: &Plan, seed: u64) -> [Vec<f32>; 2] {
    let mut noisy = plan.init(&Noise::new(seed, Purpose::Init));
    let mut masked = noisy.clone();
    for block in plan.entries().iter().filter(|e| e.block.name == "weight.mu") {
        let (of, units) = (
            if block.owner.contains("sparse-vd") { Of::SparseVd } else { Of::MeanField },
            block.block.shape[block.block.shape.len() - 1],
        );
        let chance = numbers(seed + block.range.start as u64, block.range.len());
        for (e, at) in block.range.clone().enumerate() {
            // The last layer keeps all of its outputs.
            let noise = chance[e].abs() > 0.4 || (e % units == 1 && units > 2);
            let raw = raw_of(of, noisy[at].abs() * if noise { 20.0 } else { 0.2 });
            let raw_at = at + block.range.len();
            (noisy[raw_at], masked[raw_at]) = (raw, raw);
            if noise {
                (masked[at], masked[raw_at]) = (0.0, raw_of(of, 0.0));
            }
        }
    }
    [noisy, masked]
}

fn windows() -> [Vec<Filters>; 4] {
    let small = Window::new([3, 2]);
    [
        vec![Filters::new(6, small), Filters::new(5, Window::new([2, 2]).dilation([1, 2]))],
        vec![Filters::new(6, small.padding([1, 1])), Filters::new(5, small.padding([1, 0]).stride([2, 1]))],
        vec![Filters::new(6, small).groups(2), Filters::new(4, small)],
        vec![Filters::new(300, Window::new([1, 1])), Filters::new(8, small)],
    ]
}

#[test]
fn pruned_convolutions_are_the_masked_ones() {
    for of in [Of::SparseVd, Of::MeanField] {
        for (case, filters) in windows().iter().enumerate() {
            let whole = conv_plan(of, filters);
            let [params, masked] = conv_params(&whole, case as u64);
            let pruned = prune(&whole, &params);
            let x = numbers(3, 3 * 80);
            let got = predict(&pruned.plan, &pruned.members[0], &x, &Pass::mean());
            let expected = predict(&whole, &masked, &x, &Pass::mean());
            assert_same(&got, &expected, folded(&pruned) == 0);
            let units: Vec<_> = pruned.layers.iter().map(|l| l.units).collect();
            // Plain biases make channels of noise constants: they go, unless a padded border or a group reads them.
            let narrower = units[0][1] < units[0][0];
            assert_eq!(narrower, of == Of::SparseVd && [0, 3].contains(&case), "{of:?} {case}: {units:?}");
            for (_, layer) in pruned.plan.layers().filter(|(_, l)| l.kind().ends_with("pruned-conv2d")) {
                let again = Registry::default().build(layer.kind(), &layer.config().unwrap()).unwrap();
                assert_eq!(again.config(), layer.config());
            }
        }
    }
}

/// Two convolutions, the first with a largest and the second with a mean behind it, and a dense layer behind a flatten.
fn pooled_plan(of: Of, padding: [usize; 2]) -> Plan {
    let relu = |image: Image| Box::new(ActivationLayer::new(RELU, image.len()).unwrap());
    let two = Window::new([2, 2]);
    let (first, image) = conv(of, Image::new(5, 4, 4), Filters::new(6, two));
    let largest = MaxPool2d::new(image, two).unwrap();
    let (second, behind) = conv(of, largest.out_image(), Filters::new(5, Window::new([2, 1])));
    let mean = AvgPool2d::new(behind, two.padding(padding)).unwrap();
    let flat = mean.out_image();
    Plan::new(vec![
        first,
        relu(image),
        Box::new(largest),
        second,
        relu(behind),
        Box::new(mean),
        Box::new(Flatten::new(flat, ImageOrder::ChannelsLast).unwrap()),
        Box::new(SparseVdDense::new(flat.len(), 2).unwrap()),
    ])
    .unwrap()
}

#[test]
fn channels_go_through_pooling_and_flatten() {
    for (of, padding, bias, units) in [
        // Channel 1 of each convolution has no weights; channel 2 of the first is not read.
        (Of::SparseVd, [0, 0], 0.0, [4, 4]),
        (Of::SparseVd, [1, 0], 0.0, [4, 4]),
        (Of::SparseVd, [0, 0], 0.7, [4, 4]),
        // A mean over a padded border is no constant.
        (Of::SparseVd, [1, 0], 0.7, [4, 5]),
        // Random biases keep all but what is not read.
        (Of::MeanField, [0, 0], 0.7, [5, 5]),
        (Of::MeanField, [1, 0], 0.0, [5, 5]),
    ] {
        let whole = pooled_plan(of, padding);
        let [mut params, mut masked] = conv_params(&whole, 5);
        let blocks: Vec<_> = whole.entries().iter().filter(|e| e.block.name == "weight.mu").collect();
        for (block, of) in blocks[1..].iter().zip([of, Of::SparseVd]) {
            for (e, at) in block.range.clone().enumerate() {
                let noise = block.block.shape.len() == 4 && (e % 5 == 1 || e / 5 % 6 == 2);
                let (raw, sigma) = (at + block.range.len(), params[at].abs());
                params[raw] = raw_of(of, sigma * if noise { 20.0 } else { 0.2 });
                masked[at] = if noise { 0.0 } else { params[at] };
                masked[raw] = if noise { raw_of(of, 0.0) } else { params[raw] };
            }
        }
        for block in whole.entries().iter().filter(|e| ["bias", "bias.mu"].contains(&&e.block.name[..])) {
            params[block.range.clone()].fill(bias);
            masked[block.range.clone()].fill(bias);
        }
        let pruned = prune(&whole, &params);
        let left: Vec<_> = pruned.layers.iter().map(|layer| layer.units[1]).collect();
        assert_eq!(left[..2], units, "{of:?} {padding:?} {bias}");
        let channels: usize = pruned.plan.layers().nth(2).unwrap().1.out_dim();
        assert_eq!(channels, 3 * 2 * units[0]);
        let x = numbers(3, 4 * 80);
        let got = predict(&pruned.plan, &pruned.members[0], &x, &Pass::mean());
        let expected = predict(&whole, &masked, &x, &Pass::mean());
        let folded = folded(&pruned);
        assert_eq!(folded > 0, of == Of::SparseVd && bias > 0.0);
        assert_same(&got, &expected, folded == 0);
        for (_, layer) in pruned.plan.layers() {
            let again = Registry::default().build(layer.kind(), &layer.config().unwrap()).unwrap();
            assert_eq!(again.config(), layer.config());
        }
    }
}

#[test]
fn units_stay_in_front_of_a_layer_that_takes_them_for_other_channels() {
    // Four units, which the pooling sees as two pixels of two channels.
    let whole = Plan::new(vec![
        Box::new(SparseVdDense::new(2, 4).unwrap()),
        Box::new(MaxPool2d::new(Image::line(2, 2), Window::line(1)).unwrap()),
        Box::new(SparseVdDense::new(4, 1).unwrap()),
    ])
    .unwrap();
    let mut params = whole.init(&Noise::new(0, Purpose::Init));
    // Two of the units are 0 for every row.
    [0, 1, 4, 5].into_iter().for_each(|weight| params[8 + weight] = 9.0);
    let pruned = prune(&whole, &params);
    assert_eq!((pruned.layers[0].units, pruned.layers[0].kept), ([4, 4], 4));
}

#[test]
fn a_pruned_convolution_alone_has_the_row_noise_of_the_masked_one() {
    for (case, filters) in windows().iter().enumerate() {
        let map = Conv2dMap::new("conv2d", Image::new(5, 4, 4), filters[0]).unwrap();
        let layer: Box<dyn Layer> = Box::new(Variational::mean_field(map, Prior::FanIn(1.0)).unwrap());
        let whole = Plan::new(vec![layer]).unwrap();
        let [params, masked] = conv_params(&whole, case as u64);
        let pruned = prune(&whole, &params);
        let noise = Noise::new(1, Purpose::Predict);
        let pass = Pass::predict(&noise, 3, Scope::Row, Estimator::Local);
        let x = numbers(3, 3 * 80);
        let got = predict(&pruned.plan, &pruned.members[0], &x, &pass);
        assert_eq!(bits(&got), bits(&predict(&whole, &masked, &x, &pass)), "{case}");
    }
}

#[test]
fn pruned_convolutions_keep_the_contract() {
    let small = Window::new([2, 2]);
    for filters in [
        Filters::new(2, small),
        Filters::new(2, small.padding([1, 0]).stride([1, 2])),
        Filters::new(2, small).groups(2),
    ] {
        let map = Conv2dMap::new("conv2d", Image::new(3, 2, 2), filters).unwrap();
        let layer: Box<dyn Layer> = Box::new(Variational::mean_field(map, Prior::FanIn(1.0)).unwrap());
        let whole = Plan::new(vec![layer]).unwrap();
        let pruned = prune(&whole, &conv_params(&whole, 1)[0]);
        assert!(pruned.layers[0].kept < pruned.layers[0].weights);
        for (_, layer) in pruned.plan.layers() {
            conformance::check(layer, &Registry::default()).unwrap_or_else(|e| panic!("{layer:?}: {e}"));
        }
    }
}

/// 784-300-100-10 with as many weights left, layer by layer, as sparse variational dropout leaves of it (1.1, 2.8 and 38 %).
#[test]
fn a_file_is_a_twentieth_where_one_weight_in_sixty_is_left() {
    let (widths, stages) = ([784, 300, 100, 10], [stage(Of::SparseVd); 3]);
    let whole = plan(&widths, &stages);
    let mut params = whole.init(&Noise::new(0, Purpose::Init));
    for (block, share) in
        whole.entries().iter().filter(|e| e.block.name == "weight.mu").zip([0.011, 0.028, 0.38])
    {
        let n = block.range.len();
        let chance = numbers(block.range.start as u64, n);
        for (at, z) in block.range.clone().zip(chance) {
            // P(|z| < limit) is about 0.8·limit where that is small, and 0.38 at a half.
            params[at + n] = 2.0 * params[at].abs().ln() + if z.abs() < share * 1.28 { -3.0 } else { 6.0 };
        }
    }
    let pruned = prune(&whole, &params);
    let kept: usize = pruned.layers.iter().map(|layer| layer.kept).sum();
    assert!((3_000..4_440).contains(&kept), "{kept}");
    let bytes = |plan: &Plan, params: &[f32]| {
        let mut file = Container::default();
        push_network(&mut file, plan, &[params.to_vec()]).unwrap();
        file.to_bytes().unwrap().len()
    };
    let [small, large] = [bytes(&pruned.plan, &pruned.members[0]), bytes(&whole, &params)];
    assert!(small * 40 < large, "{small} {large}");
}

/// Whatever is changed in a pruned layer's configuration: an error, or a layer that predicts.
#[test]
fn a_changed_index_is_an_error_or_another_layer() {
    let widths = [300, 20, 3];
    let stages = [Stage { of: Of::SparseVd, bias: true, activation: Activation::Sigmoid }; 2];
    let [params, _] = params(&widths, &stages, 0.9, 4);
    let pruned = prune(&plan(&widths, &stages), &params);
    let registry = Registry::default();
    let mut refused = 0;
    for (_, layer) in pruned.plan.layers().filter(|(_, layer)| layer.kind() != "activation") {
        let config = layer.config().unwrap();
        let mut tried: Vec<Vec<u8>> = (0..config.len()).map(|end| config[..end].to_vec()).collect();
        tried.extend((0..config.len()).flat_map(|at| {
            [1, 2, 64, 128, 255].map(|change: u8| {
                let mut config = config.clone();
                config[at] ^= change;
                config
            })
        }));
        for bytes in tried {
            match registry.build(layer.kind(), &bytes) {
                Err(_) => refused += 1,
                // Sizes beyond any memory are legal numbers.
                Ok(other) if other.in_dim().max(other.out_dim()) < 10_000 => {
                    let plan = Plan::new(vec![other]).unwrap();
                    let params = plan.init(&Noise::new(0, Purpose::Init));
                    predict(&plan, &params, &vec![0.5; plan.in_dim()], &Pass::mean());
                }
                Ok(_) => {}
            }
        }
    }
    assert!(refused > 1_000, "{refused}");
}

/// The scale of a prior may depend on the fan-in, which a pruned layer stores.
#[test]
fn a_stored_fan_in_beyond_any_layer_is_an_error() {
    let narrow = ScaleMixture::new(0.5, [1.0, 1e-9]).unwrap();
    let prior = Prior::Mixture(narrow, Scaling::FanIn);
    let whole = Plan::new(vec![Box::new(VariationalDense::new(317, 2, prior).unwrap())]).unwrap();
    let params = whole.init(&Noise::new(0, Purpose::Init));
    let pruned = whole.prune(&[&params], 1e-2, &Registry::default()).unwrap();
    let (_, layer) = pruned.plan.layers().next().unwrap();
    let (config, registry) = (layer.config().unwrap(), Registry::default());
    let stored: Vec<usize> =
        (0..config.len() - 7).filter(|&at| config[at..at + 8] == 317u64.to_le_bytes()).collect();
    let messages: Vec<String> = stored
        .into_iter()
        .filter_map(|at| {
            let mut config = config.clone();
            config[at..at + 8].copy_from_slice(&(1u64 << 63).to_le_bytes());
            registry.build(layer.kind(), &config).err().map(|e| e.to_string())
        })
        .collect();
    assert!(messages.iter().any(|m| m.contains("a sum over 1 to 4294967296")), "{messages:?}");
}

/// Two estimates of the same number agree.
fn same_moment(name: String, got: &[f64], expected: &[f64]) {
    let [got, expected] = [got, expected].map(Estimate::of);
    let std_error = got.std_error.hypot(expected.std_error);
    MomentCheck { name, estimate: got.mean, expected: expected.mean, std_error }.assert();
}

/// `(a − m)·(b − n)` of each pass.
fn products(a: &[f64], m: f64, b: &[f64], n: f64) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| (a - m) * (b - n)).collect()
}

/// Mean, variance and covariances of the outputs of the pruned network and of the masked one, 20 000 passes each: differences of two
/// estimates stay within 5 standard errors of the difference, 5.7·10⁻⁷ each.
#[test]
fn noise_of_a_pruned_network_has_the_moments_of_the_masked_one() {
    // Units that are a constant, and nothing but linear behind them: all moments are finite and quick to converge.
    let stages = [Stage { of: Of::SparseVd, bias: true, activation: Activation::Sigmoid }; 2];
    let widths = [3, 6, 2];
    let whole = plan(&widths, &stages);
    let [params, masked] = params(&widths, &stages, 0.3, 9);
    let pruned = prune(&whole, &params);
    assert!(folded(&pruned) > 0 && pruned.layers[0].units[1] < 6, "{:?}", pruned.layers);
    let x = [0.5, -1.2, 2.0, 1.0, -0.8, 0.7];
    for (scope, rows_share) in [(Scope::Pass, true), (Scope::Row, false)] {
        let [got, expected] =
            [(&pruned.plan, &pruned.members[0], 1), (&whole, &masked, 2)].map(|(plan, params, seed)| {
                let noise = Noise::new(seed, Purpose::Predict);
                let mut samples = vec![Vec::new(); 4];
                for index in 0..20_000 {
                    let y = predict(plan, params, &x, &Pass::predict(&noise, index, scope, Estimator::Local));
                    samples.iter_mut().zip(y).for_each(|(s, y)| s.push(f64::from(y)));
                }
                samples
            });
        let means = [0, 1, 2, 3].map(|output| mean(&expected[output]));
        for i in 0..4 {
            same_moment(format!("{scope:?}: mean of {i}"), &got[i], &expected[i]);
            // Outputs 0 and 1 are of the first row, 2 and 3 of the second.
            for j in 0..=i {
                let [a, b] = [&got, &expected].map(|s| products(&s[i], means[i], &s[j], means[j]));
                same_moment(format!("{scope:?}: covariance of {i} and {j}"), &a, &b);
            }
        }
        let rows = Estimate::of(&products(&got[0], mean(&got[0]), &got[2], mean(&got[2])));
        assert_eq!(rows.mean.abs() > 5.0 * rows.std_error, rows_share, "{scope:?}: {rows:?}");
    }
}
