//! Pruning inside residual connections, around given weights, and what no layer can be pruned by.

use crate::common::{bits, numbers, predict};
use bdl_dist::{Noise, Purpose, raw_scale};
use bdl_layers::{
    Activation, ActivationLayer, BatchNorm, ConcreteDense, Container, Conv2dMap, Dense, Dropout, Error,
    Estimator, Filters, Grain, Image, IndependentVdDense, Layer, LayerNorm, Measure, Pass, Plan, Prior,
    PrunedPlan, Registry, Residual, Scaling, Scope, SparseVd, SparseVdDense, Variational, VariationalDense,
    Window, conformance, push_network, read_network,
};

/// The raw parameter of a deviation, 0 too, of a weight of the block with this path.
fn raw_of(path: &str, sigma: f32) -> f32 {
    match sigma {
        0.0 => -1e4,
        _ if path.contains("sparse-vd") => 2.0 * sigma.ln(),
        _ => raw_scale(f64::from(sigma)),
    }
}

/// Parameters with noise among the weights (sigma 20 times the mean, else a fifth of it), all of one unit's inside the blocks on either
/// side; and the same with zeros, mu and sigma, for those.
fn noisy_and_masked(plan: &Plan, seed: u64) -> [Vec<f32>; 2] {
    let mut noisy = plan.init(&Noise::new(seed, Purpose::Init));
    let moves = numbers(seed, noisy.len());
    noisy.iter_mut().zip(moves).for_each(|(p, z)| *p += 0.1 * z);
    let mut masked = noisy.clone();
    for entry in plan.entries().iter().filter(|e| e.block.name.ends_with("weight.mu")) {
        let [n, units] = [entry.range.len(), entry.block.shape[entry.block.shape.len() - 1]];
        let chance = numbers(seed + entry.range.start as u64, n);
        let is_idle = |at: usize| match entry.path() {
            path if path.contains("residual/0.") => [1, 2].contains(&(at % units)),
            path if path.contains("residual/2.") => at / units % 8 == 3,
            _ => false,
        };
        for (e, at) in entry.range.clone().enumerate() {
            let noise = chance[e].abs() > 0.9 || is_idle(e);
            let raw = raw_of(&entry.path(), noisy[at].abs() * if noise { 20.0 } else { 0.2 });
            (noisy[at + n], masked[at + n]) = (raw, raw);
            if noise {
                (masked[at], masked[at + n]) = (0.0, raw_of(&entry.path(), 0.0));
            }
        }
    }
    [noisy, masked]
}

fn prune(plan: &Plan, params: &[f32]) -> PrunedPlan {
    plan.prune(&[params], 3.0, &Registry::default()).unwrap()
}

fn folded(pruned: &PrunedPlan) -> usize {
    pruned.layers.iter().map(|layer| layer.constant).sum()
}

fn activation(of: Activation, width: usize) -> Box<dyn Layer> {
    Box::new(ActivationLayer::new(of, width).unwrap())
}

fn dense(sparse: bool, inputs: usize, units: usize) -> Box<dyn Layer> {
    match sparse {
        true => Box::new(SparseVdDense::new(inputs, units).unwrap()),
        false => Box::new(VariationalDense::new(inputs, units, Prior::FanIn(1.0)).unwrap()),
    }
}

fn conv(sparse: bool, image: Image, filters: Filters) -> Box<dyn Layer> {
    let map = Conv2dMap::new("conv2d", image, filters).unwrap();
    match sparse {
        true => Box::new(Variational::of(map, SparseVd::new())),
        false => Box::new(Variational::mean_field(map, Prior::FanIn(1.0)).unwrap()),
    }
}

/// A block between two dense layers, `hidden` units inside.
fn dense_plan(sparse: bool, hidden: usize, inside: Activation) -> Plan {
    let branch = vec![dense(sparse, 7, hidden), activation(inside, hidden), dense(sparse, hidden, 7)];
    Plan::new(vec![
        dense(sparse, 5, 7),
        activation(Activation::Tanh, 7),
        Box::new(Residual::new(branch).unwrap()),
        activation(Activation::Relu, 7),
        dense(sparse, 7, 2),
    ])
    .unwrap()
}

/// Convolutions of eight filters inside a block of three channels.
fn conv_plan(sparse: bool, inside: Activation) -> Plan {
    let (image, window) = (Image::new(4, 5, 3), Window::new([3, 1]).padding([1, 0]));
    let between = Image::new(4, 5, 8);
    let branch = vec![
        conv(sparse, image, Filters::new(8, window)),
        activation(inside, between.len()),
        conv(sparse, between, Filters::new(3, Window::new([1, 1]))),
    ];
    Plan::new(vec![
        conv(sparse, image, Filters::new(3, window)),
        Box::new(Residual::new(branch).unwrap()),
        activation(Activation::Relu, image.len()),
        dense(sparse, image.len(), 2),
    ])
    .unwrap()
}

/// Networks with a block, with where it stands and how many units there are between its layers.
fn plans() -> Vec<(Plan, usize, usize)> {
    let mut plans = Vec::new();
    for sparse in [true, false] {
        for inside in [Activation::Relu, Activation::Sigmoid] {
            plans.extend([8, 300].map(|hidden| (dense_plan(sparse, hidden, inside), 2, hidden)));
            plans.push((conv_plan(sparse, inside), 1, 8));
        }
    }
    plans
}

fn passes(noise: &Noise) -> [Pass<'_>; 3] {
    [
        Pass::mean(),
        Pass::predict(noise, 2, Scope::Pass, Estimator::Local),
        Pass::predict(noise, 2, Scope::Row, Estimator::Local),
    ]
}

/// To the bit, or within 10⁻⁴ of the largest where constants have taken the place of units.
#[test]
fn a_network_pruned_inside_a_residual_block_is_the_masked_one_at_the_mean() {
    for (case, (whole, block, hidden)) in plans().iter().enumerate() {
        let [params, masked] = noisy_and_masked(whole, case as u64);
        let pruned = prune(whole, &params);
        let inside: Vec<_> = pruned.layers.iter().filter(|l| l.name.contains('/')).collect();
        let name = whole.layers().nth(*block).unwrap().0.to_owned();
        assert!(inside[0].name.starts_with(&format!("{name}/0.")), "{}", inside[0].name);
        assert!(inside[1].name.starts_with(&format!("{name}/2.")), "{}", inside[1].name);
        assert!(inside.iter().all(|l| l.kept < l.weights), "{inside:?}");
        // What comes in and goes out of the block stays; of the units between, those go that are not read.
        let (_, layer) = pruned.plan.layers().nth(*block).unwrap();
        let before = whole.layers().nth(*block).unwrap().1;
        assert_eq!(
            (layer.kind(), layer.in_dim(), layer.out_dim()),
            ("residual", before.in_dim(), before.out_dim())
        );
        assert!(inside[0].units[0] == *hidden && inside[0].units[1] < *hidden, "{case}: {inside:?}");
        assert_eq!(inside[1].units[0], inside[1].units[1]);
        let x = numbers(3, 4 * whole.in_dim());
        let got = predict(&pruned.plan, &pruned.members[0], &x, &Pass::mean());
        let expected = predict(whole, &masked, &x, &Pass::mean());
        if folded(&pruned) == 0 {
            assert_eq!(bits(&got), bits(&expected), "{case}");
        }
        let largest = expected.iter().fold(1.0f32, |a, b| a.max(b.abs()));
        for (got, expected) in got.iter().zip(&expected) {
            assert!((got - expected).abs() <= 1e-4 * largest, "{case}: {got} {expected}");
        }
    }
}

#[test]
fn a_network_pruned_inside_a_residual_block_is_read_as_it_was_written() {
    for (case, (whole, _, _)) in plans().iter().enumerate() {
        let pruned = prune(whole, &noisy_and_masked(whole, case as u64)[0]);
        let mut file = Container::default();
        push_network(&mut file, &pruned.plan, &pruned.members).unwrap();
        let bytes = file.to_bytes().unwrap();
        let (plan, members) =
            read_network(&Container::from_bytes(&bytes).unwrap(), &Registry::default()).unwrap();
        assert_eq!(plan.entries(), pruned.plan.entries());
        let (x, noise) = (numbers(3, 3 * plan.in_dim()), Noise::new(1, Purpose::Predict));
        for pass in passes(&noise) {
            let [a, b] = [(&plan, &members), (&pruned.plan, &pruned.members)]
                .map(|(plan, members)| bits(&predict(plan, &members[0], &x, &pass)));
            assert_eq!(a, b, "{case}");
        }
    }
}

/// Gradients by finite differences, the KL, sharing between passes: all that any layer keeps.
#[test]
fn pruned_residual_blocks_keep_the_contract() {
    let image = Image::new(2, 3, 2);
    let branches: [Vec<Box<dyn Layer>>; 4] = [
        vec![dense(true, 4, 5), activation(Activation::Tanh, 5), dense(true, 5, 4)],
        vec![dense(false, 4, 5), activation(Activation::Tanh, 5), dense(false, 5, 4)],
        vec![conv(true, image, Filters::new(2, Window::new([3, 1]).padding([1, 0])))],
        vec![conv(false, image, Filters::new(2, Window::new([1, 3]).padding([0, 1])))],
    ];
    for branch in branches {
        let whole = Plan::new(vec![Box::new(Residual::new(branch).unwrap())]).unwrap();
        let pruned = prune(&whole, &noisy_and_masked(&whole, 1)[0]);
        assert!(pruned.layers.iter().all(|layer| layer.kept < layer.weights), "{:?}", pruned.layers);
        for (_, layer) in pruned.plan.layers() {
            conformance::check(layer, &Registry::default()).unwrap_or_else(|e| panic!("{layer:?}: {e}"));
        }
    }
}

/// A draw per row has the address that it had: layers inside a block keep their places, and those behind it.
#[test]
fn a_block_of_one_layer_has_the_row_noise_of_the_masked_one_and_so_has_the_layer_behind() {
    for sparse in [true, false] {
        let block: Box<dyn Layer> =
            Box::new(Residual::new(vec![dense(sparse, 6, 6), activation(Activation::Tanh, 6)]).unwrap());
        let whole = Plan::new(vec![block, dense(sparse, 6, 3)]).unwrap();
        let [params, masked] = noisy_and_masked(&whole, 4);
        let pruned = prune(&whole, &params);
        assert!(pruned.layers.iter().all(|layer| layer.kept < layer.weights), "{:?}", pruned.layers);
        let (x, noise) = (numbers(8, 5 * 6), Noise::new(1, Purpose::Predict));
        let pass = Pass::predict(&noise, 3, Scope::Row, Estimator::Local);
        let got = predict(&pruned.plan, &pruned.members[0], &x, &pass);
        assert_eq!(bits(&got), bits(&predict(&whole, &masked, &x, &pass)));
    }
}

/// Two units of a block of three inside, by hand: unit 0 is fed and read, unit 1 is not read, unit 2 is relu(1.5) for every row. In front and behind of the
/// block are units without weights that it adds to.
#[test]
fn units_inside_a_block_go_and_those_at_its_ends_stay() {
    let branch = vec![dense(true, 2, 3), activation(Activation::Relu, 3), dense(true, 3, 2)];
    let whole =
        Plan::new(vec![dense(true, 1, 2), Box::new(Residual::new(branch).unwrap()), dense(true, 2, 1)])
            .unwrap();
    let layer = |mu: &[f32], kept: &[bool], bias: &[f32]| {
        let raw = mu.iter().zip(kept).map(|(mu, kept)| 2.0 * mu.abs().ln() + if *kept { -2.0 } else { 6.0 });
        [mu.to_vec(), raw.collect(), bias.to_vec()].concat()
    };
    let (yes, no) = (true, false);
    let params = [
        // Unit 1 in front has no weights.
        layer(&[1.0, 1.0], &[yes, no], &[0.0, 0.25]),
        layer(&[2.0; 6], &[yes, yes, no, no, no, no], &[0.0, 0.0, 1.5]),
        layer(&[1.0, 1.0, 1.0, 1.0, 3.0, 1.0], &[yes, no, no, no, yes, no], &[0.0, 0.0]),
        // Output 1 of the block is not read.
        layer(&[1.0, 1.0], &[yes, no], &[0.0]),
    ]
    .concat();
    let pruned = prune(&whole, &params);
    let told: Vec<_> = pruned.layers.iter().map(|l| (l.name.as_str(), l.units, l.kept, l.constant)).collect();
    assert_eq!(
        told,
        [
            ("0.sparse-vd-dense", [2, 2], 1, 0),
            ("1.residual/0.sparse-vd-dense", [3, 1], 1, 0),
            ("1.residual/2.sparse-vd-dense", [2, 2], 2, 1),
            ("2.sparse-vd-dense", [1, 1], 1, 0),
        ]
    );
    // h = (x, 0.25); the block adds relu(2x) + 3·1.5 to h_0.
    let y = predict(&pruned.plan, &pruned.members[0], &[1.0, -1.0], &Pass::mean());
    assert_eq!(y, [1.0 + 2.0 + 4.5, -1.0 + 4.5]);
    let names: Vec<_> =
        pruned.plan.leaves().into_iter().map(|leaf| (leaf.name, leaf.index, leaf.inside)).collect();
    assert_eq!(names[2], ("1.residual/1.activation".to_owned(), 1, Some(1)));
    let report = pruned.plan.report(&pruned.members[0]).unwrap();
    let inside: Vec<_> = report[1].inside.iter().map(|layer| layer.report.sparsity).collect();
    assert_eq!(inside, [Some(1.0 - 1.0 / 6.0), None, Some(1.0 - 2.0 / 6.0)]);
    assert_eq!((whole.weights(), pruned.plan.weights()), (2 + 6 + 6 + 2, 1 + 1 + 2 + 1));
}

#[test]
fn a_weight_inside_a_block_goes_if_it_is_noise_in_every_member() {
    let block = Residual::new(vec![Box::new(SparseVdDense::new(2, 2).unwrap().without_bias())]).unwrap();
    let whole = Plan::new(vec![Box::new(block)]).unwrap();
    // ln alpha = 0 is kept, 4 is not.
    let [a, b] = [[1.0, 1.0, 1.0, 1.0, 0.0, 4.0, 4.0, 4.0], [2.0, 2.0, 2.0, 2.0, 9.0, 0.0, 9.0, 9.0]];
    let pruned = whole.prune(&[&a, &b], 3.0, &Registry::default()).unwrap();
    assert_eq!(pruned.members, [[1.0, 1.0, 0.0, 4.0], [2.0, 2.0, 9.0, 0.0]]);
}

#[test]
fn a_mask_inside_a_block_keeps_the_units_on_both_sides() {
    let branch = vec![dense(true, 4, 8), Box::new(Dropout::new(8, 0.5).unwrap()), dense(true, 8, 4)];
    let whole = Plan::new(vec![Box::new(Residual::new(branch).unwrap())]).unwrap();
    let pruned = prune(&whole, &noisy_and_masked(&whole, 1)[0]);
    assert_eq!(pruned.layers.iter().map(|l| l.units).collect::<Vec<_>>(), [[8, 8], [4, 4]]);
    assert!(pruned.layers.iter().all(|layer| layer.kept < layer.weights), "{:?}", pruned.layers);
}

/// `ln(s/sigma) + (sigma² + (mu − m)²)/(2s²) − ½`, summed.
fn kl_around(s: f64, weights: &[[f64; 3]]) -> f64 {
    let of = |[mu, sigma, m]: &[f64; 3]| {
        (s / sigma).ln() + (sigma.powi(2) + (mu - m).powi(2)) / (2.0 * s * s) - 0.5
    };
    weights.iter().map(of).sum()
}

/// MOPED: the means of the prior go with their weights, and that of a weight of the constant input is the mean of the sum it stands for.
#[test]
fn what_is_left_of_posteriors_around_given_weights_has_its_means() {
    let around = VariationalDense::new(3, 2, Prior::Around(0.5, Scaling::Same)).unwrap();
    let whole =
        Plan::new(vec![dense(true, 1, 3), activation(Activation::Relu, 3), Box::new(around)]).unwrap();
    let rho = |sigma: f64| raw_scale(sigma);
    // Unit 1 has no weights and is relu(1.5), unit 2 is not read.
    let front = [[1.0, 1.0, 1.0], [0.0, 6.0, 0.0], [0.0, 1.5, 0.0]].concat();
    let mu = [2.0f32, 1.0, 3.0, 0.01, 0.01, 0.01];
    let sigma = [0.5, 0.25, 0.25, 1.0, 1.0, 1.0];
    let means = [2.5f32, 1.5, 2.0, 9.0, 9.0, 9.0];
    let behind = [
        mu.to_vec(),
        sigma.map(rho).to_vec(),
        vec![0.5, -0.5],
        vec![rho(0.125); 2],
        means.to_vec(),
        vec![0.75, -0.25],
    ]
    .concat();
    let pruned = prune(&whole, &[front, behind].concat());
    let told: Vec<_> = pruned.layers.iter().map(|l| (l.units, l.kept, l.constant)).collect();
    assert_eq!(told, [([3, 1], 1, 0), ([2, 2], 3, 1)]);
    let left = &pruned.members[0][3..];
    // Kept weights, then those of the constant input, then biases.
    let (of_prior, expected) = (&left[left.len() - 5..], [2.5, 1.5, 3.0, 0.75, -0.25]);
    assert_eq!(of_prior, expected);
    let weights =
        [[2.0, 0.5, 2.5], [1.0, 0.25, 1.5], [4.5, 0.375, 3.0], [0.5, 0.125, 0.75], [-0.5, 0.125, -0.25]];
    let kl = pruned.plan.report(&pruned.members[0]).unwrap()[2].kl;
    assert!((kl - kl_around(0.5, &weights)).abs() < 1e-5, "{kl}");
    for (_, layer) in pruned.plan.layers() {
        conformance::check(layer, &Registry::default()).unwrap_or_else(|e| panic!("{layer:?}: {e}"));
    }
}

#[test]
fn each_layer_says_why_its_weights_stay() {
    let why = |layer: Box<dyn Layer>| Plan::new(vec![layer]).unwrap().measure().unwrap_err();
    let unprunable = |layer: &str, why| Error::Unprunable { layer: layer.to_owned(), why };
    let none = "has no posteriors over its weights";
    assert_eq!(why(Box::new(Dense::new(2, 2).unwrap())), unprunable("0.dense", none));
    assert_eq!(why(Box::new(LayerNorm::new(2).unwrap())), unprunable("0.layer-norm", none));
    let drawn = "has posteriors whose deviations are no parameters of their own";
    for grain in [Grain::Unit, Grain::Weight] {
        let layer = Box::new(IndependentVdDense::new(2, 2, grain).unwrap());
        assert_eq!(why(layer), unprunable("0.independent-vd-dense", drawn));
    }
    let mask: Box<dyn Layer> = Box::new(Dropout::new(2, 0.5).unwrap());
    let plan = Plan::new(vec![mask, Box::new(Dense::new(2, 2).unwrap())]).unwrap();
    assert_eq!(plan.measure().unwrap_err().to_string(), format!("1.dense {none}"), "a mask has no weights");
    let block = Residual::new(vec![Box::new(Dense::new(2, 2).unwrap())]).unwrap();
    assert_eq!(why(Box::new(block)), unprunable("0.residual/0.dense", none));
    assert_eq!(why(activation(Activation::Relu, 2)), unprunable("the network", "has no weights"));
    let whole = Plan::new(vec![dense(true, 2, 2)]).unwrap();
    let pruned = prune(&whole, &noisy_and_masked(&whole, 2)[0]);
    assert!(pruned.layers[0].kept < 4);
    assert_eq!(
        pruned.plan.measure().unwrap_err(),
        unprunable("0.sparse-vd-pruned-dense", "is pruned already")
    );
    let block = Residual::new(vec![dense(false, 2, 2)]).unwrap();
    assert_eq!(Plan::new(vec![Box::new(block)]).unwrap().measure().unwrap(), Measure::SignalToNoise);
}

/// Weights are what multiplies: no biases, shifts, scales, logits or moments.
#[test]
fn weights_are_counted_without_what_is_added() {
    let of = |layer: Box<dyn Layer>| layer.weights();
    assert_eq!(of(Box::new(Dense::new(3, 4).unwrap())), 12);
    assert_eq!(of(dense(false, 3, 4)), 12);
    assert_eq!(of(Box::new(ConcreteDense::new(3, 4, 1.0).unwrap())), 12);
    assert_eq!(of(Box::new(IndependentVdDense::new(3, 4, Grain::Unit).unwrap())), 12);
    assert_eq!(of(Box::new(BatchNorm::new(5).unwrap())), 5);
    assert_eq!(of(Box::new(LayerNorm::new(5).unwrap())), 5);
    assert_eq!(of(activation(Activation::Relu, 5)), 0);
    assert_eq!(of(conv(true, Image::new(4, 4, 2), Filters::new(3, Window::new([3, 3])))), 54);
    let around = VariationalDense::new(3, 4, Prior::Around(0.5, Scaling::Same)).unwrap();
    assert_eq!(of(Box::new(around)), 12);
}
