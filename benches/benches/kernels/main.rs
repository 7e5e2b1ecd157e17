//! The times of kernels and of small networks, by criterion: one program, which links once.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

mod answers;
mod epilogues;
mod networks;
mod noise;
mod products;
mod slices;

use criterion::criterion_main;

criterion_main!(
    products::benches,
    epilogues::benches,
    slices::benches,
    noise::benches,
    answers::benches,
    networks::benches
);
