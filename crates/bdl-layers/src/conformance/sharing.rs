//! What a layer prepares, shares and says of itself, against its own forward function.

use bdl_tensor::{Mat, MatMut, Serial, Store, kernels, matmul};

use super::rig::{PLACE, Rig, same_bits};
use super::{Failure, Judge};
use crate::dense::add_bias;
use crate::layer::Context;
use crate::{Draw, Error, Form, Mode, Pass, Site};

pub(super) fn check_sharing(judge: &Judge<'_>, rig: &Rig<'_>, pass: &Pass<'_>) -> Result<(), Failure> {
    let (rows, len) = (rows(rig), |rows| rig.layer.shared(rows, pass));
    let linear = len(0) == 0 && len(2 * rows) == 2 * len(rows);
    judge.that(linear, "what rows share is in proportion to them", || {
        format!("0, {rows} and {} rows: {}, {} and {}", 2 * rows, len(0), len(rows), len(2 * rows))
    })?;
    let alone = judge.no_error(rig.forward(&rig.x, pass))?.y;
    let prepared = prepared(rig, pass);
    let of_prepared = judge.no_error(forward(rig, pass, &prepared, &[]))?;
    same_bits(&alone, &of_prepared).map_err(|e| judge.fail("a prepared pass has the bits of others", e))?;
    let shared = judge.no_error(shared(rig, pass, &prepared))?;
    let of_shared = judge.no_error(forward(rig, pass, &prepared, &shared))?;
    same_bits(&alone, &of_shared).map_err(|e| judge.fail("a pass that shares has the bits of others", e))?;
    let Some(formal) = judge.no_error(by_form(rig, pass))? else { return Ok(()) };
    same_bits(&alone, &formal).map_err(|e| judge.fail("forward does what form says", e))
}

fn rows(rig: &Rig<'_>) -> usize {
    rig.x.len() / rig.layer.in_dim()
}

fn prepared(rig: &Rig<'_>, pass: &Pass<'_>) -> Vec<f32> {
    let mut out = vec![f32::NAN; rig.layer.prepared(pass)];
    rig.layer.prepare(&rig.params, pass, &mut out);
    out
}

/// Written in a pass of another number, as all passes share it.
fn shared(rig: &Rig<'_>, pass: &Pass<'_>, prepared: &[f32]) -> Result<Vec<f32>, Error> {
    let (rows, layer) = (rows(rig), rig.layer);
    let mut out = vec![f32::NAN; layer.shared(rows, pass)];
    if out.is_empty() {
        return Ok(out);
    }
    let scratch = layer.scratch(rows, pass);
    let (mut floats, mut words) = (vec![f32::NAN; scratch.floats], vec![u64::MAX; scratch.words]);
    let mut ctx = Context {
        pass,
        params: &rig.params,
        floats: &mut floats,
        words: &mut words,
        prepared,
        shared: &[],
        layer: PLACE,
    };
    layer.share(&mut ctx, Mat::new(&rig.x, rows, layer.in_dim())?, &mut out)?;
    Ok(out)
}

fn forward(rig: &Rig<'_>, pass: &Pass<'_>, prepared: &[f32], shared: &[f32]) -> Result<Vec<f32>, Error> {
    let (rows, layer) = (rows(rig), rig.layer);
    let mut y = vec![f32::NAN; rows * layer.out_dim()];
    let scratch = layer.scratch(rows, pass);
    let (mut floats, mut words) = (vec![f32::NAN; scratch.floats], vec![u64::MAX; scratch.words]);
    let mut ctx = Context {
        pass,
        params: &rig.params,
        floats: &mut floats,
        words: &mut words,
        prepared,
        shared,
        layer: PLACE,
    };
    let x = Mat::new(&rig.x, rows, layer.in_dim())?;
    layer.forward(&mut ctx, x, &mut MatMut::new(&mut y, rows, layer.out_dim())?)?;
    Ok(y)
}

/// The output as the layer's form has it, if the form says so.
fn by_form(rig: &Rig<'_>, pass: &Pass<'_>) -> Result<Option<Vec<f32>>, Error> {
    let (rows, width) = (rows(rig), rig.layer.out_dim());
    let mut out = vec![f32::NAN; rows * width];
    match rig.layer.form(&rig.params) {
        Form::Opaque => return Ok(None),
        Form::Map(map) => map.apply(&rig.x, &mut out),
        Form::Affine { weight, bias } => affine(rig, &rig.x, weight, bias, &mut out)?,
        Form::Mask { keep_prob } => {
            let Some(site) = pass.site(PLACE, 0, pass.mask_draw()) else { return Ok(None) };
            masked(rig, pass, site, keep_prob, &mut out);
        }
        Form::MaskedAffine { keep_prob, weight, bias } => {
            let site = pass.site(PLACE, 0, pass.mask_draw()).filter(|_| pass.mode() == Mode::Predict);
            let Some(site) = site else { return Ok(None) };
            let mut kept = vec![f32::NAN; rig.x.len()];
            masked(rig, pass, site, keep_prob, &mut kept);
            affine(rig, &kept, weight, bias, &mut out)?;
        }
    }
    Ok(Some(out))
}

fn affine(rig: &Rig<'_>, x: &[f32], weight: Mat<'_>, bias: &[f32], out: &mut [f32]) -> Result<(), Error> {
    let (x, mut y) =
        (Mat::new(x, rows(rig), rig.layer.in_dim())?, MatMut::new(out, rows(rig), weight.cols())?);
    matmul(&Serial, x, weight, Store::Overwrite, &mut y)?;
    add_bias(bias, &mut y);
    Ok(())
}

/// The inputs as a mask of the site leaves them.
fn masked(rig: &Rig<'_>, pass: &Pass<'_>, site: Site<'_>, keep_prob: f64, out: &mut [f32]) {
    let (rows, width) = (rows(rig), rig.layer.in_dim());
    let words = width.div_ceil(64);
    let mut masks = vec![0; if pass.mask_draw() == Draw::Row { rows * words } else { words }];
    site.mask(width, keep_prob, &mut masks);
    for (i, (x, out)) in rig.x.chunks(width).zip(out.chunks_mut(width)).enumerate() {
        let mask = &masks[i * words % masks.len()..][..words];
        kernels::mask_scale(x, mask, (1.0 / keep_prob) as f32, out);
    }
}
