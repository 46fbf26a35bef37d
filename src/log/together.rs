//! Appends that several tasks have ready one after another and that share a commit all the same.

use std::sync::{Arc, Mutex, PoisonError};

use super::Log;
use super::queue::{self, Job, Pending};
use super::types::Append;

/// A task's share in a batch, given up by dropping it. The batch is submitted when nobody has a share any more: whoever has one
/// must not wait for what another's append brings about.
pub struct Share(Arc<Batch>);

struct Batch {
    log: Log,
    job: Mutex<Job>,
}

impl Log {
    /// Shares in one batch, otherwise as [`Log::submit_batch`].
    #[must_use]
    pub fn together<const N: usize>(&self) -> [Share; N] {
        let batch = Arc::new(Batch {
            log: self.clone(),
            job: Mutex::default(),
        });
        std::array::from_fn(|_| Share(batch.clone()))
    }
}

impl Share {
    /// Puts one append into the batch.
    pub fn submit(self, append: Append) -> Pending {
        let (job, mut pending) = queue::job(vec![append]);
        let together = self.0.job.lock();
        together.unwrap_or_else(PoisonError::into_inner).extend(job);
        pending.swap_remove(0)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let job = self.job.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.log.enqueue(std::mem::take(job));
    }
}
