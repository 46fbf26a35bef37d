//! What re-reading the log has found.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What re-reading has found so far.
#[derive(Debug, Default)]
pub struct Integrity {
    broken: AtomicBool,
    verified: AtomicU64,
    sealed: AtomicU64,
}

impl Integrity {
    /// Whether nothing has been found wrong.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        !self.broken.load(Ordering::Acquire)
    }

    /// The position up to which the log has been re-read.
    #[must_use]
    pub fn verified(&self) -> u64 {
        self.verified.load(Ordering::Acquire)
    }

    /// The position up to which the log's entries are sealed.
    #[must_use]
    pub fn sealed(&self) -> u64 {
        self.sealed.load(Ordering::Acquire)
    }

    /// Takes note that everything before a position is sealed.
    pub fn note_sealed(&self, position: u64) {
        self.sealed.store(position, Ordering::Release);
    }

    /// Takes note that everything before a position is as it was written.
    pub fn note_verified(&self, position: u64) {
        self.verified.store(position, Ordering::Release);
    }

    /// Takes note that something is wrong, which stays so.
    pub fn note_broken(&self) {
        self.broken.store(true, Ordering::Release);
    }
}
