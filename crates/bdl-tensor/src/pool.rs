//! Parallelism as a value: who wants to run tasks side by side hands in a [`Pool`].

use std::fmt;

/// Runs independent tasks, possibly on several threads.
///
/// Whoever calls a pool fixes the tasks and what each writes, so that the result never depends on how
/// many threads there are or which finishes first.
pub trait Pool: fmt::Debug + Sync {
    /// How many tasks can run at the same time, at least 1.
    fn threads(&self) -> usize;

    /// Calls `task(0)`, …, `task(tasks - 1)`, each once, and returns when all are done.
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync));

    /// Cuts `data` into chunks of `len` elements (the last may be shorter) and calls `task(i, chunk_i)`
    /// for each.
    ///
    /// # Panics
    /// If `len` is 0.
    fn chunks(&self, data: &mut [f32], len: usize, task: &(dyn Fn(usize, &mut [f32]) + Sync));

    /// Calls both, possibly at the same time, and returns when both are done; allocates nothing.
    ///
    /// Work on several slices splits by `split_at_mut` and two joined halves, each of which may join again.
    /// Unless a pool says otherwise, the caller's thread runs `a`, then `b`.
    ///
    /// ```
    /// use bdl_tensor::{Pool, Serial};
    /// let mut x = [1.0, 2.0];
    /// let (a, b) = x.split_at_mut(1);
    /// Serial.join(&mut || a[0] += 0.5, &mut || b[0] *= 2.0);
    /// assert_eq!(x, [1.5, 4.0]);
    /// ```
    fn join(&self, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send)) {
        a();
        b();
    }
}

/// The pool of one thread: the caller's.
///
/// ```
/// use bdl_tensor::{Pool, Serial};
/// let mut x = [0.0; 5];
/// Serial.chunks(&mut x, 2, &|i, chunk| chunk.fill(i as f32));
/// assert_eq!(x, [0.0, 0.0, 1.0, 1.0, 2.0]);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Serial;

impl Pool for Serial {
    fn threads(&self) -> usize {
        1
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).for_each(task);
    }

    fn chunks(&self, data: &mut [f32], len: usize, task: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        data.chunks_mut(len).enumerate().for_each(|(i, chunk)| task(i, chunk));
    }
}
