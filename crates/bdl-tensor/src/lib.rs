//! Flat `f32` buffers, matrix products and vector mathematics for Bayesian deep learning.

mod error;
mod gemm;
pub mod kernels;
mod mat;
pub mod math;
mod pool;

pub use error::Error;
pub use gemm::{Store, matmul, matmul_nt, matmul_tn};
pub use mat::{Mat, MatMut};
pub use pool::{Pool, Serial};
