//! `reproduce mnist`: known results on MNIST, each trained from scratch on all 60 000 images.
//!
//! Pixels enter as `byte/255`; nothing is shifted, turned or otherwise added, so that the results are those of
//! permutation-invariant MNIST for dense networks. The test images are looked at once, behind the last epoch.
//! LeNet-5-Caffe has the activation behind its convolutions, too.

mod pruned;
mod setting;

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use bdl_benches::uci::{Error, Summary};
use bdl_infer::{Passes, RayonPool};
use bdl_model::{Evaluation, Images, Labels, Model, TrainConfig, TrainProgress};
use serde::Serialize;

use crate::args::MnistArgs;
use pruned::{Pruned, pruned};
use setting::{Setting, settings};

/// Sums of the bytes of all training and all test images.
const PIXEL_SUMS: [u64; 2] = [1_567_298_545, 264_923_200];

pub(crate) fn run(args: &MnistArgs) -> Result<Vec<Summary>, Error> {
    let chosen = chosen(&args.only)?;
    let train = Set::read(&args.data, "train", PIXEL_SUMS[0])?;
    let test = Set::read(&args.data, "t10k", PIXEL_SUMS[1])?;
    println!("{} training and {} test images", train.images.len(), test.images.len());
    let pool = RayonPool::new(args.threads)?;
    let mut missed = Vec::new();
    for setting in chosen {
        let result = study(&setting, args, &train, &test, &pool)?;
        println!("{}", serde_json::to_string(&result)?);
        if !result.reached {
            missed.push(setting.name);
        }
    }
    match missed.is_empty() {
        true => Ok(Vec::new()),
        false => Err(format!("goals missed: {}", missed.join(", ")).into()),
    }
}

fn chosen(only: &[String]) -> Result<Vec<Setting>, Error> {
    let all = settings();
    let known: Vec<&str> = all.iter().map(|s| s.name).collect();
    if let Some(name) = only.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("--only: expected one of {}, got {name:?}", known.join(", ")).into());
    }
    let wanted = |s: &Setting| only.is_empty() || only.iter().any(|name| name == s.name);
    Ok(all.into_iter().filter(wanted).collect())
}

/// Images and their labels.
struct Set {
    images: Images,
    labels: Labels,
}

impl Set {
    /// Reads `PREFIX-images-idx3-ubyte[.gz]` and its labels, which must be the known ones.
    fn read(dir: &Path, prefix: &str, pixel_sum: u64) -> Result<Self, Error> {
        let names = [".gz", ""].map(|end| dir.join(format!("{prefix}-images-idx3-ubyte{end}")));
        let path = names.iter().find(|path| path.is_file()).unwrap_or(&names[1]);
        let images = Images::open(path)?;
        let sum: u64 = images.pixels().iter().map(|&byte| u64::from(byte)).sum();
        if sum != pixel_sum {
            return Err(
                format!("{}: expected pixels that add up to {pixel_sum}, got {sum}", path.display()).into()
            );
        }
        let labels = Labels::of(&images, None)?;
        Ok(Self { images, labels })
    }
}

/// What a training came to.
#[derive(Serialize)]
struct Outcome {
    name: &'static str,
    net: &'static str,
    epochs: usize,
    seed: u64,
    threads: usize,
    train_seconds: f64,
    test_seconds: f64,
    /// NLL per training row and KL of the last epoch, nats.
    nll: f64,
    kl: f64,
    /// Share of test images that are taken for another digit.
    error: f64,
    test_nll: f64,
    samples: usize,
    /// Of a sparse network: what is left without the noise.
    pruned: Option<Pruned>,
    goal_error: f64,
    goal_compression: Option<f64>,
    goal_smaller: Option<f64>,
    reached: bool,
}

fn study(
    setting: &Setting,
    args: &MnistArgs,
    train: &Set,
    test: &Set,
    pool: &RayonPool,
) -> Result<Outcome, Error> {
    let epochs = args.epochs.unwrap_or(setting.epochs);
    println!("\n{}: {}, {}, {epochs} epochs, seed {}", setting.name, setting.about, setting.net, args.seed);
    let mut config = TrainConfig::for_target("digit");
    config.architecture = setting.architecture.clone();
    config.architecture.net = Some(setting.net.parse()?);
    config.fit = setting.fit(epochs, args.seed)?;
    let start = Instant::now();
    let training = Model::train_images(&train.images, &train.labels, &config, pool, &mut |at| {
        tell(at, args.every, start);
        ControlFlow::Continue(())
    })?;
    let train_seconds = start.elapsed().as_secs_f64();
    let model = training.model;
    let file = |end: &str| args.save.as_ref().map(|dir| dir.join(format!("{}{end}.bdl", setting.name)));
    if let Some(file) = file("") {
        model.save(&file)?;
    }
    let start = Instant::now();
    let passes = Passes { samples: setting.samples, seed: args.seed, ..model.passes() };
    let scores = model.evaluate_images(&test.images, &test.labels, passes, pool)?;
    let test_seconds = start.elapsed().as_secs_f64();
    let last = &training.members[0].last;
    let error = 1.0 - metric(&scores, "accuracy")?;
    let pruned = pruned(&model, &test.images, &test.labels, pool, file("-pruned").as_deref())?;
    let told = pruned.as_ref().map_or(error, |p| p.error);
    let times = |of: &dyn Fn(&Pruned) -> f64, least: Option<f64>| {
        least.is_none_or(|least| pruned.as_ref().is_some_and(|p| of(p) >= least))
    };
    let goal = &setting.goal;
    Ok(Outcome {
        name: setting.name,
        net: setting.net,
        epochs,
        seed: args.seed,
        threads: bdl_tensor::Pool::threads(pool),
        train_seconds,
        test_seconds,
        nll: last.nll_mean,
        kl: last.kl,
        error,
        test_nll: metric(&scores, "nll")?,
        samples: setting.samples,
        goal_error: goal.error,
        goal_compression: goal.compression,
        goal_smaller: goal.smaller,
        reached: told <= goal.error
            && times(&|p| p.compression, goal.compression)
            && times(&|p| p.smaller, goal.smaller)
            && times(&|p| p.faster, goal.smaller.map(|_| 1.0)),
        pruned,
    })
}

/// A line for the first epoch, every so many and the last.
fn tell(at: &TrainProgress, every: usize, start: Instant) {
    let p = &at.progress;
    if p.epoch == 1 || p.epoch.is_multiple_of(every) || p.epoch == at.epochs {
        println!(
            "epoch {:>4}/{}  NLL {:.5}  KL {:.4e}  KL weight {:.3}  lr {:.2e}  {:.0} s",
            p.epoch,
            at.epochs,
            p.nll_mean,
            p.kl,
            p.kl_weight,
            p.lr,
            start.elapsed().as_secs_f64()
        );
    }
}

fn metric(scores: &Evaluation, name: &str) -> Result<f64, Error> {
    scores.metric(name).map(|m| m.value).ok_or_else(|| format!("no score {name}").into())
}
