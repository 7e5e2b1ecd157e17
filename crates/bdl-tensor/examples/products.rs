//! A dense layer by hand: a batch, one row of it, and the gradient of its weights.
//!
//! `cargo run -p bdl-tensor --example products`

use bdl_tensor::{Error, Mat, MatMut, Serial, Store, kernels, matmul, matmul_tn};

fn main() -> Result<(), Error> {
    // x: [batch 20, in 3], w: [in 3, out 2]
    let x: Vec<f32> = (0..60).map(|i| (i % 7) as f32 - 3.0).collect();
    let (x, w) = (Mat::new(&x, 20, 3)?, [0.5, -1.0, 0.25, 2.0, -0.75, 1.0]);
    let w = Mat::new(&w, 3, 2)?;

    let mut y = [f32::NAN; 40];
    let mut y = MatMut::new(&mut y, 20, 2)?;
    matmul(&Serial, x, w, Store::Overwrite, &mut y)?;
    kernels::add_bias_rows(&[0.1, -0.1], &mut y);
    assert_eq!(y.row_mut(0), [-1.15, -2.1]);

    // One row alone has the bits that it has in the batch.
    let mut alone = [f32::NAN; 2];
    let mut alone = MatMut::new(&mut alone, 1, 2)?;
    matmul(&Serial, x.rows_in(13..14), w, Store::Overwrite, &mut alone)?;
    kernels::add_bias_rows(&[0.1, -0.1], &mut alone);
    assert_eq!(alone.row_mut(0), y.row_mut(13));

    // dL/dw = xᵀ·dy and dL/db = Σ_rows dy, for L = ½‖y‖² and so dy = y.
    let mut dw = [f32::NAN; 6];
    matmul_tn(&Serial, x, y.as_mat(), Store::Overwrite, &mut MatMut::new(&mut dw, 3, 2)?)?;
    let mut db = [0.0; 2];
    kernels::col_sums_add(y.as_mat(), &mut db);
    let naive: f32 = x.iter_rows().zip(y.as_mat().iter_rows()).map(|(x, y)| x[2] * y[1]).sum();
    assert!((dw[5] - naive).abs() < 1e-4);
    assert!((db[0] - 3.25).abs() < 1e-5, "{db:?}");
    Ok(())
}
