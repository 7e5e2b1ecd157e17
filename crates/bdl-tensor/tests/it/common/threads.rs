//! A pool of real threads that remembers who worked.

use bdl_tensor::Pool;
use bdl_testkit::crew::Crew;

/// [`Crew`] as a pool.
#[derive(Debug)]
pub(crate) struct Threads(Crew);

impl Threads {
    pub(crate) fn new(threads: usize) -> Self {
        Self(Crew::new(threads))
    }

    /// How many different threads have run a task.
    pub(crate) fn workers(&self) -> usize {
        self.0.workers()
    }
}

impl Pool for Threads {
    fn threads(&self) -> usize {
        self.0.threads()
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        self.0.run(tasks, task);
    }

    fn chunks(&self, data: &mut [f32], len: usize, task: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        self.0.chunks(data, len, task);
    }
}
