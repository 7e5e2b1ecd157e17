//! The pool of several threads, on rayon.

use bdl_tensor::Pool;
use rayon::prelude::*;

use crate::Error;

/// A [`Pool`] on rayon's threads.
///
/// ```
/// use bdl_infer::RayonPool;
/// use bdl_tensor::Pool;
/// let pool = RayonPool::new(2)?;
/// let mut x = [0.0; 4];
/// pool.chunks(&mut x, 1, &|i, chunk| chunk[0] = i as f32);
/// assert_eq!(x, [0.0, 1.0, 2.0, 3.0]);
/// # Ok::<(), bdl_infer::Error>(())
/// ```
#[derive(Debug)]
pub struct RayonPool {
    threads: rayon::ThreadPool,
}

impl RayonPool {
    /// A pool of `threads` threads; 0 asks for as many as the machine has cores.
    ///
    /// # Errors
    /// [`Error::Threads`] if the system does not start them.
    pub fn new(threads: usize) -> Result<Self, Error> {
        let built = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        Ok(Self { threads: built.map_err(|e| Error::Threads(e.to_string()))? })
    }
}

impl Pool for RayonPool {
    fn threads(&self) -> usize {
        self.threads.current_num_threads()
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        self.threads.install(|| (0..tasks).into_par_iter().for_each(task));
    }

    fn chunks(&self, data: &mut [f32], len: usize, task: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        self.threads.install(|| data.par_chunks_mut(len).enumerate().for_each(|(i, chunk)| task(i, chunk)));
    }

    fn join(&self, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send)) {
        self.threads.join(a, b);
    }
}
