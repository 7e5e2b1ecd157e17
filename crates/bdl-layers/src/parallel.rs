//! Work of a layer side by side: pairs of products, and loops over long slices in halves.

use bdl_tensor::{Pool, Serial};

use crate::Error;
use crate::pass::Site;

/// Multiply-adds of a pair of products from which it pays to wake a second thread.
const PAIR_FROM: usize = 1 << 21;

/// Elements that one thread works on at a time: some 10 µs.
const PIECE: usize = 1 << 14;

/// Numbers that one thread draws at a time: some 15 µs.
const DRAWS_FROM: usize = 1 << 13;

/// A product of a pair, on the pool that it may use.
pub(crate) type Task<'a> = &'a mut (dyn FnMut(&dyn Pool) -> Result<(), Error> + Send);

/// Two products of about `work` multiply-adds each, side by side where that pays.
///
/// Two threads take one each, since a product that is split packs an operand once for each thread.
pub(crate) fn pair(pool: &dyn Pool, work: usize, a: Task<'_>, b: Task<'_>) -> Result<(), Error> {
    if pool.threads() == 1 || work < PAIR_FROM / 2 {
        return a(pool).and_then(|()| b(pool));
    }
    let inner: &dyn Pool = if pool.threads() == 2 { &Serial } else { pool };
    let (mut of_a, mut of_b) = (Ok(()), Ok(()));
    pool.join(&mut || of_a = a(inner), &mut || of_b = b(inner));
    of_a.and(of_b)
}

/// A loop over a piece of each of three slices.
type Three<'a> = &'a (dyn Fn(&[f32], &mut [f32], &mut [f32]) + Sync);

/// `f(x_i, out_i)` for pieces of two slices of equal length.
pub(crate) fn in_pieces(
    pool: &dyn Pool,
    x: &[f32],
    out: &mut [f32],
    f: &(dyn Fn(&[f32], &mut [f32]) + Sync),
) {
    if out.len() <= PIECE || pool.threads() == 1 {
        return f(x, out);
    }
    let middle = (out.len() / 2).next_multiple_of(16);
    let ((x, rest), (out, out_rest)) = (x.split_at(middle), out.split_at_mut(middle));
    pool.join(&mut || in_pieces(pool, x, out, f), &mut || in_pieces(pool, rest, out_rest, f));
}

/// As [`in_pieces`], with a third slice to change.
pub(crate) fn in_pieces_of_two(pool: &dyn Pool, x: &[f32], a: &mut [f32], b: &mut [f32], f: Three<'_>) {
    if b.len() <= PIECE || pool.threads() == 1 {
        return f(x, a, b);
    }
    let middle = (b.len() / 2).next_multiple_of(16);
    let (x, x_rest) = x.split_at(middle);
    let ((a, a_rest), (b, b_rest)) = (a.split_at_mut(middle), b.split_at_mut(middle));
    pool.join(&mut || in_pieces_of_two(pool, x, a, b, f), &mut || {
        in_pieces_of_two(pool, x_rest, a_rest, b_rest, f);
    });
}

/// What `draw` draws at a site for consecutive rows of `len` elements, in halves.
pub(crate) fn draw_rows(
    pool: &dyn Pool,
    site: Site<'_>,
    len: usize,
    out: &mut [f32],
    draw: &(dyn Fn(Site<'_>, &mut [f32]) + Sync),
) {
    let rows = out.len() / len;
    if out.len() < DRAWS_FROM || rows < 2 || pool.threads() == 1 {
        return draw(site, out);
    }
    let (front, back) = out.split_at_mut(rows / 2 * len);
    let rest = site.skip(rows / 2);
    pool.join(&mut || draw_rows(pool, site, len, front, draw), &mut || {
        draw_rows(pool, rest, len, back, draw)
    });
}
