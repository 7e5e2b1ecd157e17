//! A variational network: draw functions, take a gradient, save and load.
//!
//! `cargo run -p bdl-layers --example network`

#![allow(clippy::print_stdout, reason = "an example prints")]

use bdl_dist::{Noise, Purpose};
use bdl_layers::{
    Activation, ActivationLayer, Container, Error, Estimator, Pass, Plan, Prior, Registry, Scope,
    VariationalDense, Workspace, push_network, read_network,
};
use bdl_tensor::{Mat, MatMut};

fn main() -> Result<(), Error> {
    let plan = Plan::new(vec![
        Box::new(VariationalDense::new(2, 16, Prior::FanIn(1.0))?),
        Box::new(ActivationLayer::new(Activation::Silu, 16)?),
        Box::new(VariationalDense::new(16, 1, Prior::FanIn(1.0))?),
    ])?;
    let params = plan.init(&Noise::new(0, Purpose::Init));
    for entry in plan.entries() {
        println!("{:34} {:?} at {:?}", entry.path(), entry.block.shape, entry.range);
    }
    assert_eq!(plan.n_params(), 2 * (2 * 16 + 16 + 16 + 1));

    // Two rows of one function: a pass under Scope::Pass.
    let x = Mat::new(&[0.5, -1.0, 0.4, -0.9], 2, 2)?;
    let (noise, mut ws) = (Noise::new(0, Purpose::Predict), Workspace::new());
    let (mut both, mut alone) = ([0.0; 2], [0.0; 1]);
    let pass = Pass::predict(&noise, 3, Scope::Pass, Estimator::Local);
    plan.forward(&params, x, &pass, &mut ws, &mut MatMut::new(&mut both, 2, 1)?)?;
    plan.forward(&params, x.rows_in(1..2), &pass, &mut ws, &mut MatMut::new(&mut alone, 1, 1)?)?;
    println!("pass 3 at both rows: {both:?}, at the second alone: {alone:?}");
    assert_eq!(both[1].to_bits(), alone[0].to_bits());

    // The gradient of ½y² + KL, one draw per row.
    let pass = Pass::train(&noise, 0, Estimator::Local);
    plan.forward_train(&params, x, &pass, &mut ws)?;
    let (y, mut dy) = ws.output_and_grad();
    dy.data_mut().copy_from_slice(y.data());
    let mut grads = vec![0.0; plan.n_params()];
    plan.backward(&params, x, &pass, &mut ws, &mut grads)?;
    let kl = plan.kl_grad(&params, 1.0, &mut grads)?;
    println!("KL {kl:.3} nats");
    assert!((kl - 164.455).abs() < 1e-3);

    // Save, load, predict the same bits.
    let mut file = Container::default();
    push_network(&mut file, &plan, std::slice::from_ref(&params))?;
    let bytes = file.to_bytes()?;
    let (loaded, members) = read_network(&Container::from_bytes(&bytes)?, &Registry::default())?;
    let pass = Pass::predict(&noise, 3, Scope::Pass, Estimator::Local);
    let mut again = [0.0; 2];
    loaded.forward(&members[0], x, &pass, &mut ws, &mut MatMut::new(&mut again, 2, 1)?)?;
    println!("{} bytes on disk", bytes.len());
    assert_eq!(again.map(f32::to_bits), both.map(f32::to_bits));
    Ok(())
}
