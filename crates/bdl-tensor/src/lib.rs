#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod column;
mod dispatch;
mod error;
mod few_rows;
mod gemm;
pub mod kernels;
mod masked;
mod mat;
pub mod math;
mod packed;
mod panels;
mod patches;
mod pool;
mod sparse;
pub mod special;
mod strided;
mod thinned;
mod tile;
mod windows;

pub use error::Error;
pub use gemm::{Store, matmul, matmul_nt, matmul_tn};
pub use masked::masked_affine;
pub use mat::{Mat, MatMut};
pub use panels::Panels;
pub use patches::Patches;
pub use pool::{Pool, Serial};
pub use sparse::Pattern;
pub use thinned::{gather_columns, matmul_thinned};
pub use windows::Windows;
