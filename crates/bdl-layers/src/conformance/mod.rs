//! The contract of [`Layer`], as a check that anyone's layer can be put through.
//!
//! ```
//! use bdl_layers::{Dense, Registry, conformance};
//! let layer = Dense::new(4, 3)?.with_length_scale(0.5)?;
//! conformance::check(&layer, &Registry::default())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod at_mean;
mod gradients;
mod rig;
mod sharing;

use bdl_dist::{Noise, Purpose};

use crate::{Error, Estimator, KlAt, Layer, Pass, Registry, Scope};
use rig::{Rig, Threads, same_bits};

/// A clause of the contract that a layer breaks.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Failure {
    /// Kind of the layer.
    pub layer: String,
    /// The clause, such as `forward writes every element of y`.
    pub clause: &'static str,
    /// The pass in which it was broken, empty where no pass is involved.
    pub pass: &'static str,
    /// What was expected and what was got.
    pub detail: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.layer, self.clause)?;
        if !self.pass.is_empty() {
            write!(f, " (in {})", self.pass)?;
        }
        write!(f, ": {}", self.detail)
    }
}

impl std::error::Error for Failure {}

/// Checks a layer against the contract of [`Layer`].
///
/// | clause | how |
/// |---|---|
/// | widths are at least 1, blocks are not empty and their names differ | read |
/// | `init` writes every parameter, from its generator alone | NaN in front, twice |
/// | `forward` writes every element of y, and reads no scratch that it has not written | NaN in front |
/// | the same address gives the same bits, on one thread and on three | each pass twice |
/// | at the mean nothing depends on noise or on the number of a row | another first row |
/// | `is_random` says whether noisy passes differ | other pass, seed and place in the plan |
/// | a row's bits depend on its number and not on its companions, unless `couples_rows` says so | whole against row by row |
/// | passes that are prepared or share have the bits of others, and `form` says what `forward` does | with and without |
/// | the gradient of parameters (buffers have none) and input | central differences of `forward`, noise frozen |
/// | `backward` adds to `grads`, writes dx, and needs not be asked for dx | grads 0.5 and NaN in front |
/// | `kl` is finite, `kl_grad` returns its bits and adds `weight` times its gradient | central differences |
/// | `at_mean` has the bits of the mean pass, and a layer that starts at a mean has it | the plain layer beside it |
/// | `config` and registry give back the same layer | bytes, blocks, outputs and KL to the bit |
///
/// It runs on a few rows, at the layer's initial parameters moved a little, in every mode, scope and estimator. Give it a
/// *small* layer: each parameter is moved four times. Gradients agree within 1 % of the norm of each block, since the
/// differences are of the layer's own `f32` output; inputs keep away from 0, where activations have their kinks.
///
/// # Errors
/// The first [`Failure`]. An error of the layer itself is one, too.
pub fn check(layer: &dyn Layer, registry: &Registry) -> Result<(), Failure> {
    let judge = Judge { layer, pass: "" };
    check_shape(&judge)?;
    check_init(&judge)?;
    let rig = Rig::new(layer);
    let noise = Noise::new(1, Purpose::Train);
    for (name, pass) in passes(&noise) {
        let judge = Judge { layer, pass: name };
        check_forward(&judge, &rig, &pass)?;
        if !layer.couples_rows(&pass) {
            check_rows(&judge, &rig, &pass)?;
        }
        sharing::check_sharing(&judge, &rig, &pass)?;
        gradients::check_backward(&judge, &rig, &pass)?;
    }
    check_noise(&judge, &rig)?;
    gradients::check_kl(&judge, &rig)?;
    at_mean::check_at_mean(&judge, &rig, registry)?;
    check_round_trip(&judge, &rig, registry)
}

/// Every mode, scope and estimator.
fn passes(noise: &Noise) -> [(&'static str, Pass<'_>); 8] {
    [
        ("the mean pass", Pass::mean()),
        ("training, local", Pass::train(noise, 3, Estimator::Local)),
        ("training, sampling", Pass::train(noise, 3, Estimator::Sampling)),
        ("training, flipout", Pass::train(noise, 3, Estimator::Flipout)),
        ("prediction per pass", Pass::predict(noise, 3, Scope::Pass, Estimator::Local)),
        ("prediction per row, local", Pass::predict(noise, 3, Scope::Row, Estimator::Local)),
        ("prediction per row, sampling", Pass::predict(noise, 3, Scope::Row, Estimator::Sampling)),
        ("prediction per row, flipout", Pass::predict(noise, 3, Scope::Row, Estimator::Flipout)),
    ]
}

/// Who is judged, and in which pass.
struct Judge<'a> {
    layer: &'a dyn Layer,
    pass: &'static str,
}

impl Judge<'_> {
    fn fail(&self, clause: &'static str, detail: impl Into<String>) -> Failure {
        Failure { layer: self.layer.kind().to_owned(), clause, pass: self.pass, detail: detail.into() }
    }

    fn that(&self, holds: bool, clause: &'static str, detail: impl Fn() -> String) -> Result<(), Failure> {
        if holds { Ok(()) } else { Err(self.fail(clause, detail())) }
    }

    fn no_error<T>(&self, result: Result<T, Error>) -> Result<T, Failure> {
        result.map_err(|e| self.fail("must not fail", e.to_string()))
    }
}

fn check_shape(judge: &Judge<'_>) -> Result<(), Failure> {
    let layer = judge.layer;
    let dims = [layer.in_dim(), layer.out_dim()];
    judge.that(!dims.contains(&0), "widths are at least 1", || format!("got {dims:?}"))?;
    let blocks = layer.blocks();
    for (i, block) in blocks.iter().enumerate() {
        judge.that(!block.is_empty(), "blocks are not empty", || {
            format!("{} has shape {:?}", block.name, block.shape)
        })?;
        let twice = blocks[..i].iter().any(|b| b.name == block.name);
        judge.that(!twice, "names of blocks differ", || format!("{} occurs twice", block.name))?;
    }
    let keep = layer.keep_prob();
    let allowed = keep.is_none_or(|k| k > 0.0 && k <= 1.0);
    judge.that(allowed, "keep_prob is in (0, 1]", || format!("got {keep:?}"))
}

fn check_init(judge: &Judge<'_>) -> Result<(), Failure> {
    let noise = Noise::new(2, Purpose::Init);
    let init = || {
        let mut params = vec![f32::NAN; judge.layer.blocks().iter().map(crate::Block::len).sum()];
        judge.layer.init(&mut params, &mut noise.rng(0));
        params
    };
    let params = init();
    let bad = params.iter().position(|p| !p.is_finite());
    let clause = "init writes every parameter";
    judge.that(bad.is_none(), clause, || {
        format!("parameter {} is {}", bad.unwrap_or(0), params[bad.unwrap_or(0)])
    })?;
    same_bits(&params, &init()).map_err(|e| judge.fail("init depends on its generator alone", e))
}

fn check_forward(judge: &Judge<'_>, rig: &Rig<'_>, pass: &Pass<'_>) -> Result<(), Failure> {
    let y = judge.no_error(rig.forward(&rig.x, pass))?.y;
    let bad = y.iter().position(|y| !y.is_finite());
    let clause = "forward writes every element of y from what it has written";
    judge
        .that(bad.is_none(), clause, || format!("element {} is {}", bad.unwrap_or(0), y[bad.unwrap_or(0)]))?;
    let again = judge.no_error(rig.forward(&rig.x, pass))?.y;
    same_bits(&y, &again).map_err(|e| judge.fail("the same address gives the same bits", e))?;
    let threads = Threads;
    let together = judge.no_error(rig.forward(&rig.x, &pass.on(&threads)))?.y;
    same_bits(&y, &together).map_err(|e| judge.fail("three threads give the bits of one", e))
}

/// Rows one by one, each with its number, against all at once.
fn check_rows(judge: &Judge<'_>, rig: &Rig<'_>, pass: &Pass<'_>) -> Result<(), Failure> {
    let whole = judge.no_error(rig.forward(&rig.x, &pass.starting_at(40)))?.y;
    let (width_in, width) = (judge.layer.in_dim(), judge.layer.out_dim());
    for (i, (x, y)) in rig.x.chunks(width_in).zip(whole.chunks(width)).enumerate() {
        let alone = judge.no_error(rig.forward(x, &pass.starting_at(40 + i as u64)))?.y;
        let clause = "a row's bits depend on its number and not on its companions";
        same_bits(y, &alone).map_err(|e| judge.fail(clause, format!("row {i}, {e}")))?;
    }
    Ok(())
}

/// Whether noise matters where it should, and nowhere else.
fn check_noise(judge: &Judge<'_>, rig: &Rig<'_>) -> Result<(), Failure> {
    let mean = judge.no_error(rig.forward(&rig.x, &Pass::mean()))?.y;
    let moved = judge.no_error(rig.forward(&rig.x, &Pass::mean().starting_at(7)))?.y;
    same_bits(&mean, &moved).map_err(|e| judge.fail("at the mean, rows have no numbers", e))?;
    let (here, there) = (Noise::new(1, Purpose::Predict), Noise::new(2, Purpose::Predict));
    for (scope, name) in [(Scope::Pass, "prediction per pass"), (Scope::Row, "prediction per row")] {
        let judge = Judge { layer: judge.layer, pass: name };
        let of = |noise, index, at| {
            let pass = Pass::predict(noise, index, scope, Estimator::Local);
            judge.no_error(rig.forward_at(at, &rig.params, &rig.x, &pass)).map(|tape| tape.y)
        };
        let first = of(&here, 0, rig::PLACE)?;
        let others = [
            ("another pass", of(&here, 1, rig::PLACE)?),
            ("another seed", of(&there, 0, rig::PLACE)?),
            ("another place in the plan", of(&here, 0, rig::PLACE + 1)?),
        ];
        for (what, other) in others {
            let differs = same_bits(&first, &other).is_err();
            let random = judge.layer.is_random();
            let clause = "is_random says whether predictions depend on noise";
            judge.that(differs == random, clause, || {
                format!(
                    "is_random is {random}, and {what} gives {} bits",
                    if differs { "other" } else { "the same" }
                )
            })?;
        }
    }
    Ok(())
}

fn check_round_trip(judge: &Judge<'_>, rig: &Rig<'_>, registry: &Registry) -> Result<(), Failure> {
    let config = judge.no_error(judge.layer.config())?;
    let twin = judge.no_error(registry.build(judge.layer.kind(), &config))?;
    let describe = |l: &dyn Layer| (l.kind().to_owned(), l.in_dim(), l.out_dim(), l.blocks(), l.keep_prob());
    let (expected, got) = (describe(judge.layer), describe(&*twin));
    let clause = "config and registry give back the same layer";
    judge.that(expected == got, clause, || format!("expected {expected:?}, got {got:?}"))?;
    let bytes = judge.no_error(twin.config())?;
    judge.that(bytes == config, clause, || format!("config was {config:?} and is {bytes:?}"))?;
    let at = KlAt { params: &rig.params, input_keep_prob: 0.8, noise: None };
    let (kl, twin_kl) = (judge.layer.kl(&at), twin.kl(&at));
    judge.that(kl.to_bits() == twin_kl.to_bits(), clause, || format!("KL was {kl} and is {twin_kl}"))?;
    let noise = Noise::new(1, Purpose::Train);
    for (name, pass) in passes(&noise) {
        let judge = Judge { layer: judge.layer, pass: name };
        let y = judge.no_error(rig.forward(&rig.x, &pass))?.y;
        let of_twin = judge.no_error(rig.with(&*twin).forward(&rig.x, &pass))?.y;
        same_bits(&y, &of_twin).map_err(|e| judge.fail(clause, e))?;
    }
    Ok(())
}
