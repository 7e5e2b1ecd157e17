//! Real threads that remember who worked, for tests of bits that must not depend on threads.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ThreadId};

/// Tasks dealt to scoped threads, with a record of who worked. A test wraps it in the pool that it tests.
///
/// ```
/// use bdl_testkit::crew::Crew;
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// let (crew, sum) = (Crew::new(2), AtomicUsize::new(0));
/// crew.run(5, &|i| drop(sum.fetch_add(i, Ordering::Relaxed)));
/// assert_eq!((sum.into_inner(), crew.workers()), (10, 2));
/// ```
#[derive(Debug)]
pub struct Crew {
    threads: usize,
    workers: Mutex<HashSet<ThreadId>>,
}

impl Crew {
    /// A crew of `threads` threads, at least 1.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        assert!(threads >= 1, "crew: threads must be >= 1, got 0");
        Self { threads, workers: Mutex::default() }
    }

    /// How many tasks run at the same time.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// How many different threads have run a task.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn note(&self) {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).insert(thread::current().id());
    }

    /// Calls `task(0)`, …, `task(tasks - 1)`, dealt round robin.
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        thread::scope(|s| {
            for first in 0..self.threads {
                s.spawn(move || {
                    for i in (first..tasks).step_by(self.threads) {
                        self.note();
                        task(i);
                    }
                });
            }
        });
    }

    /// Cuts `data` into chunks of `len` elements, the last one shorter, and gives each a thread of its own.
    pub fn chunks(&self, data: &mut [f32], len: usize, task: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        thread::scope(|s| {
            for (i, chunk) in data.chunks_mut(len).enumerate() {
                s.spawn(move || {
                    self.note();
                    task(i, chunk);
                });
            }
        });
    }
}
