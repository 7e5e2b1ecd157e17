//! A mask, its frequency, and a KL divergence against its own Monte Carlo estimate.
//!
//! `cargo run -p bdl-dist --example mask_and_kl`

#![allow(clippy::print_stdout, reason = "an example prints")]

use bdl_dist::{Error, Noise, Normal, Purpose, kl_normal, raw_scale, reparameterize};

fn main() -> Result<(), Error> {
    let noise = Noise::new(0, Purpose::Train);

    // A thousand masks over 100 units, in one run: ⌈100/64⌉ = 2 words each.
    let mut masks = vec![0_u64; 2 * 1_000];
    noise.mask(0, 0, 100, 0.8, &mut masks);
    let kept: u32 = masks.iter().map(|word| word.count_ones()).sum();
    println!("kept {kept} of 100000 units at keep_prob 0.8");
    assert!((f64::from(kept) - 80_000.0).abs() < 5.0 * 126.5); // 5 SE

    // The posterior of two weights and its KL divergence from N(0, 1), in nats.
    let (mu, sigma, prior) = ([1.0, -0.2], 0.5, Normal::new(0.0, 1.0)?);
    let rho = [raw_scale(sigma); 2];
    let kl = kl_normal(&mu, &rho, &prior)?;
    println!("KL = {kl:.6} nats");
    assert!((kl - 1.156_294).abs() < 1e-6);

    // The same as a mean of ln q(w) − ln p(w) over draws w = mu + sigma·eps.
    let posteriors = [Normal::new(1.0, sigma)?, Normal::new(-0.2, sigma)?];
    let draws = 20_000;
    let mut eps = vec![0.0; 2 * draws];
    noise.normals(1, 0, 2, &mut eps);
    let mut sum = 0.0;
    for eps in eps.chunks(2) {
        let mut w = [0.0; 2];
        reparameterize(&mu, &rho, eps, &mut w)?;
        let log_ratio = |(q, w): (&Normal, &f32)| q.ln_prob(f64::from(*w)) - prior.ln_prob(f64::from(*w));
        sum += posteriors.iter().zip(&w).map(log_ratio).sum::<f64>();
    }
    let estimate = sum / draws as f64;
    println!("Monte Carlo over {draws} draws: {estimate:.4}");
    assert!((estimate - kl).abs() < 0.04); // 5 SE
    Ok(())
}
