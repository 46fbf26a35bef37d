//! What this process has just made durable, for its own follower: the rows that the store has at these positions, without
//! asking it for them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::types::StoredEntry;

/// A follower that is further behind reads the store.
const BYTES_MAX: usize = 4 << 20;

/// Entries with consecutive positions, the newest of this process.
#[derive(Debug, Default)]
pub(super) struct Handover(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    queue: VecDeque<StoredEntry>,
    bytes: usize,
}

impl Handover {
    /// Puts durable entries down, in order; what another process has appended between these and those before is not here.
    pub fn put(&self, entries: impl Iterator<Item = StoredEntry>) {
        let mut known = self.lock();
        for entry in entries {
            let next = known.queue.back().map(|last| last.position + 1);
            if next.is_some_and(|next| next != entry.position) {
                *known = Entries::default();
            }
            known.bytes += size(&entry);
            known.queue.push_back(entry);
        }
        while known.bytes > BYTES_MAX {
            known.pop();
        }
    }

    /// Takes at most `limit` entries from position `from` on, which nobody can take again; none if that one is not here.
    pub fn take(&self, from: u64, limit: usize) -> Vec<StoredEntry> {
        let mut known = self.lock();
        while known
            .queue
            .front()
            .is_some_and(|entry| entry.position < from)
        {
            known.pop();
        }
        let is_here = known
            .queue
            .front()
            .is_some_and(|entry| entry.position == from);
        let count = if is_here { limit } else { 0 };
        (0..count).map_while(|_| known.pop()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn pop(&mut self) -> Option<StoredEntry> {
        let entry = self.queue.pop_front()?;
        self.bytes -= size(&entry);
        Some(entry)
    }
}

fn size(entry: &StoredEntry) -> usize {
    let sealed = entry.sealed.as_ref().map_or(0, Vec::len);
    size_of::<StoredEntry>() + entry.stream.len() + entry.entry.len() + sealed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(position: u64, bytes: usize) -> StoredEntry {
        StoredEntry {
            position,
            stream: "s".to_owned(),
            version: position,
            entry: vec![0; bytes],
            sealed: None,
        }
    }

    fn positions(entries: &[StoredEntry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.position).collect()
    }

    #[test]
    fn entries_are_taken_from_where_the_follower_is() {
        let handover = Handover::default();
        handover.put((5..10).map(|position| entry(position, 1)));
        // It has to read 3 and 4 first.
        assert!(handover.take(3, 10).is_empty());
        assert_eq!(positions(&handover.take(6, 2)), [6, 7]);
        assert_eq!(positions(&handover.take(8, 10)), [8, 9]);
        assert!(handover.take(10, 10).is_empty());
        assert_eq!(handover.lock().bytes, 0);
    }

    #[test]
    fn what_others_appended_between_is_not_skipped() {
        let handover = Handover::default();
        handover.put([0, 1, 4, 5].into_iter().map(|position| entry(position, 1)));
        assert!(handover.take(0, 10).is_empty());
        assert!(handover.take(2, 10).is_empty());
        assert_eq!(positions(&handover.take(4, 10)), [4, 5]);
    }

    #[test]
    fn the_oldest_go_where_nobody_follows() {
        let handover = Handover::default();
        handover.put((0..100).map(|position| entry(position, BYTES_MAX / 10)));
        assert!(handover.lock().bytes <= BYTES_MAX);
        assert_eq!(positions(&handover.take(95, 10)), [95, 96, 97, 98, 99]);
        handover.put([entry(100, 2 * BYTES_MAX)].into_iter());
        assert_eq!(handover.lock().bytes, 0);
    }
}
