//! What a file gives back, and what it refuses.

use bdl_dist::{Noise, Purpose, ScaleMixture};
use bdl_infer::{
    Bernoulli, Bnn, Categorical, Dof, Elbo, Gaussian, Heteroscedastic, Kinds, Likelihood, NoiseSd, Poisson,
    StudentT, Targets, TrainingRecord, push_bnn, push_record, read_bnn, read_record,
};
use bdl_layers::{
    Activation, AvgPool2d, BatchNorm, Container, Conv2d, Dense, Dropout2d, Estimator, Filters, Grain, Image,
    IndependentVdConv2d, Layer, MaxPool2d, Pass, Plan, Prior, Scaling, SparseVdConv2d, VariationalConv2d,
    Window, Workspace,
};

use crate::nets::{Method, bits, init, mat, plan, rows};
use crate::own::{Square, Times};

fn through_bytes(
    bnn: &Bnn,
    members: &[Vec<f32>],
    kinds: &Kinds,
) -> Result<(Bnn, Vec<Vec<f32>>), bdl_infer::Error> {
    let mut file = Container::default();
    push_bnn(&mut file, bnn, members).unwrap();
    read_bnn(&Container::from_bytes(&file.to_bytes().unwrap()).unwrap(), kinds)
}

/// The bits of the ELBO and of its gradient at a fixed noise.
fn elbo(bnn: &Bnn, params: &[f32]) -> (u64, Vec<u32>) {
    let ((x, mut y), noise) = (rows(1, 6, 3), Noise::new(1, Purpose::Train));
    let class: Vec<u32> = y.iter().map(|&y| u32::from(y > 0.0)).collect();
    let is_class = matches!(bnn.likelihood().predicts(), bdl_infer::Predicts::Class(_));
    if bnn.likelihood().kind() == Poisson::KIND {
        y.iter_mut().for_each(|y| *y = (3.0 * y.abs()).floor());
    }
    let y = if is_class { Targets::Class(&class) } else { Targets::Real(&y) };
    let (pass, mut grads) = (Pass::train(&noise, 2, Estimator::Local), vec![0.0; params.len()]);
    let (objective, mut ws) = (Elbo::new(60).unwrap(), Workspace::new());
    let terms = objective.gradient(bnn, params, mat(&x, 3), y, &pass, &mut ws, &mut grads).unwrap();
    (terms.elbo.to_bits(), bits(&grads))
}

#[test]
fn a_loaded_network_has_the_same_elbo_to_the_bit() {
    let likelihoods: [fn() -> Box<dyn Likelihood>; 9] = [
        || Box::new(Gaussian::new(NoiseSd::Fixed(0.3)).unwrap()),
        || Box::new(Gaussian::new(NoiseSd::Learned { init: 0.3 }).unwrap()),
        || Box::new(Heteroscedastic::new()),
        || Box::new(Heteroscedastic::with_floor(0.1).unwrap()),
        || Box::new(Categorical::new(2).unwrap()),
        || Box::new(Bernoulli),
        || Box::new(Poisson::new(2.5).unwrap()),
        || Box::new(StudentT::new(0.3, Dof::Fixed(4.0)).unwrap()),
        || Box::new(StudentT::new(0.3, Dof::Learned { init: 4.0 }).unwrap()),
    ];
    for method in [Method::Dense, Method::Dropout, Method::Variational] {
        for likelihood in likelihoods {
            let plan = plan(method, Activation::Gelu, &[3, 5, likelihood().outputs()]);
            let bnn = Bnn::new(plan, likelihood()).unwrap();
            let members = [init(&bnn), bnn.init(&Noise::in_lane(0, Purpose::Init, 1))];
            let (loaded, params) = through_bytes(&bnn, &members, &Kinds::default()).unwrap();
            assert_eq!(params, members);
            assert_eq!(loaded.entries(), bnn.entries());
            for params in &members {
                assert_eq!(
                    elbo(&loaded, params),
                    elbo(&bnn, params),
                    "{method:?} {}",
                    bnn.likelihood().kind()
                );
            }
        }
    }
}

#[test]
fn a_loaded_convolutional_network_has_the_same_elbo_to_the_bit() {
    let filters = |channels| Filters::new(channels, Window::line(2).padding([0, 1]));
    let (prior, grain) = (Prior::Mixture(ScaleMixture::default(), Scaling::FanIn), Grain::Unit);
    let pooled = MaxPool2d::new(Image::line(7, 4), Window::line(2).stride([1, 2])).unwrap();
    let layers: Vec<Box<dyn Layer>> = vec![
        Box::new(Dropout2d::new(Image::line(3, 1), 0.2).unwrap()),
        Box::new(Conv2d::new(Image::line(3, 1), filters(4)).unwrap().with_length_scale(0.7).unwrap()),
        Box::new(BatchNorm::new(4).unwrap().over_positions(4).unwrap()),
        Box::new(VariationalConv2d::new(Image::line(4, 4), filters(6).groups(2), prior).unwrap()),
        Box::new(SparseVdConv2d::new(Image::line(5, 6), filters(3)).unwrap()),
        Box::new(IndependentVdConv2d::new(Image::line(6, 3), filters(4), grain).unwrap()),
        Box::new(pooled),
        Box::new(AvgPool2d::new(Image::line(3, 4), Window::line(3)).unwrap()),
        Box::new(Dense::new(4, 1).unwrap()),
    ];
    let likelihood = Gaussian::new(NoiseSd::Learned { init: 0.3 }).unwrap();
    let bnn = Bnn::new(Plan::new(layers).unwrap(), Box::new(likelihood)).unwrap();
    let (loaded, members) = through_bytes(&bnn, &[init(&bnn)], &Kinds::default()).unwrap();
    assert_eq!(loaded.entries(), bnn.entries());
    assert_eq!(elbo(&loaded, &members[0]), elbo(&bnn, &init(&bnn)));
}

#[test]
fn a_layer_without_bias_comes_back_without() {
    use bdl_layers::VariationalDense;
    let layer = VariationalDense::new(3, 1, Prior::StdDev(0.4)).unwrap().without_bias();
    let bnn = Bnn::new(Plan::new(vec![Box::new(layer)]).unwrap(), Box::new(Square::default())).unwrap();
    let mut kinds = Kinds::default();
    kinds.register_likelihood("square", |_| Ok(Box::new(Square::default()))).unwrap();
    let (loaded, members) = through_bytes(&bnn, &[init(&bnn)], &kinds).unwrap();
    assert_eq!((loaded.n_params(), loaded.entries()), (6, bnn.entries()));
    assert_eq!(elbo(&loaded, &members[0]), elbo(&bnn, &members[0]));
}

#[test]
fn kinds_of_the_users_own_load_once_they_are_registered() {
    let plan = bdl_layers::Plan::new(vec![Box::new(Times { kl: 2.5 })]).unwrap();
    let bnn = Bnn::new(plan, Box::new(Square::default())).unwrap();
    let members = [vec![1.5]];
    let mut kinds = Kinds::default();
    let refused = |kinds: &Kinds| through_bytes(&bnn, &members, kinds).unwrap_err().to_string();
    let e = refused(&kinds);
    assert!(e.starts_with("layer kind \"times\" is unknown here (known: activation, "), "{e}");
    assert!(e.contains(", variational-dense") && e.ends_with("); register it before loading"), "{e}");
    let build = |config: &[u8]| {
        let kl = f64::from_le_bytes(config.try_into().unwrap());
        Ok(Box::new(Times { kl }) as Box<dyn bdl_layers::Layer>)
    };
    kinds.layers.register("times", build).unwrap();
    assert_eq!(
        refused(&kinds),
        "likelihood kind \"square\" is unknown here (known: bernoulli, categorical, gaussian, \
         heteroscedastic, poisson, student-t); \
         register it before loading"
    );
    kinds.register_likelihood("square", |_| Ok(Box::new(Square::default()))).unwrap();
    let (loaded, params) = through_bytes(&bnn, &members, &kinds).unwrap();
    assert_eq!((params, loaded.plan().kl(&[1.5]).unwrap()), (members.to_vec(), 2.5));

    let taken = kinds.register_likelihood("square", |_| unreachable!()).unwrap_err().to_string();
    assert_eq!(taken, "registry: kind \"square\" is registered already");
}

#[test]
fn the_training_record_comes_back() {
    for estimator in Estimator::ALL {
        let record = TrainingRecord {
            rows: 1000,
            epochs: 40,
            kept_epoch: 33,
            batch: 32,
            lr: 1e-3,
            estimator,
            seed: u64::MAX,
            nll_mean: -0.25,
            kl: 123.5,
        };
        let mut file = Container::default();
        push_record(&mut file, &record).unwrap();
        assert_eq!(read_record(&file).unwrap(), record);
    }
    assert!(read_record(&Container::default()).is_err());
}

#[test]
fn vectors_of_the_wrong_length_are_not_written_and_not_read() {
    let likelihood = Gaussian::new(NoiseSd::Learned { init: 0.5 }).unwrap();
    let bnn = crate::nets::bnn(Method::Dense, &[3, 1], likelihood);
    let mut file = Container::default();
    let e = push_bnn(&mut file, &bnn, &[vec![0.0; 4]]).unwrap_err().to_string();
    assert_eq!(e, "network: parameters: expected 5, got 4");
    assert!(push_bnn(&mut file, &bnn, &[]).is_err());
    // A plan's parameters alone, without those of the likelihood.
    let mut short = Container::default();
    bdl_layers::push_network(&mut short, bnn.plan(), &[vec![0.0; 4]]).unwrap();
    let mut whole = Container::default();
    push_bnn(&mut whole, &bnn, &[vec![0.0; 5]]).unwrap();
    let like = whole.sections().iter().find(|s| s.tag == bdl_infer::LIKELIHOOD).unwrap();
    short.push(like.clone());
    let e = read_bnn(&short, &Kinds::default()).unwrap_err().to_string();
    assert_eq!(e, "network: parameters: expected 5, got 4");
}
