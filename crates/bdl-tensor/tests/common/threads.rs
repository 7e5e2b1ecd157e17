//! A pool of real threads that remembers who worked.

use std::collections::HashSet;
use std::sync::Mutex;
use std::thread::{self, ThreadId};

use bdl_tensor::Pool;

/// Tasks dealt round robin to `threads` scoped threads, with a record of who worked.
#[derive(Debug)]
pub(crate) struct Threads {
    threads: usize,
    workers: Mutex<HashSet<ThreadId>>,
}

impl Threads {
    pub(crate) fn new(threads: usize) -> Self {
        Self { threads, workers: Mutex::default() }
    }

    /// How many different threads have run a task.
    pub(crate) fn workers(&self) -> usize {
        self.workers.lock().unwrap().len()
    }

    fn note(&self) {
        self.workers.lock().unwrap().insert(thread::current().id());
    }
}

impl Pool for Threads {
    fn threads(&self) -> usize {
        self.threads
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
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

    fn chunks(&self, data: &mut [f32], len: usize, task: &(dyn Fn(usize, &mut [f32]) + Sync)) {
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
