//! stub until products lands
use crate::{Error, Mat, MatMut};
fn kept(bits: &[u64], n: usize) -> Vec<usize> {
    (0..n).filter(|i| bits[i / 64] >> (i % 64) & 1 == 1).collect()
}
#[allow(missing_docs, clippy::missing_errors_doc)]
pub fn gather_columns(x: Mat<'_>, bits: &[u64], scale: f32, out: &mut MatMut<'_>) -> Result<(), Error> {
    let k = kept(bits, x.cols());
    for i in 0..x.rows() {
        for (o, &j) in out.row_mut(i).iter_mut().zip(&k) {
            *o = x.row(i)[j] * scale;
        }
    }
    Ok(())
}
#[allow(missing_docs, clippy::missing_errors_doc)]
pub fn matmul_thinned(
    a: Mat<'_>,
    kept_in: &[u64],
    b: Mat<'_>,
    kept_out: Option<&[u64]>,
    _scratch: &mut [f32],
    c: &mut MatMut<'_>,
) -> Result<(), Error> {
    let ki = kept(kept_in, b.rows());
    let ko = kept_out.map_or((0..b.cols()).collect(), |k| kept(k, b.cols()));
    for i in 0..a.rows() {
        for (o, &j) in c.row_mut(i).iter_mut().zip(&ko) {
            let mut sum: Option<f32> = None;
            for block in 0..b.rows().div_ceil(256) {
                let mut acc = 0.0f32;
                for (l, &u) in ki.iter().enumerate().filter(|(_, u)| **u / 256 == block) {
                    acc = a.row(i)[l].mul_add(b.row(u)[j], acc);
                }
                sum = Some(sum.map_or(acc, |s| s + acc));
            }
            *o = sum.unwrap_or(0.0);
        }
    }
    Ok(())
}
