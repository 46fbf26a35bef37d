//! The last entry that this node has seen, by which it knows its log again.
//!
//! A standby that takes over without having everything gives the positions of what is lost out a second time. A node that has
//! seen what is lost has acted on it: it remembers states, and revocations, that the log no longer tells of. Counting does not
//! show it, once others have appended as many; so whoever asks the store for its head also asks for the entry that was last
//! seen. Entries are never the same twice, because their events have identities.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_postgres::Row;

use super::{signed, unsigned};
use crate::postgres::Error;

/// The last entry seen by reading or writing; clones share it.
#[derive(Clone, Default)]
pub(super) struct Seen(Arc<Mutex<Option<Entry>>>);

#[derive(Clone)]
struct Entry {
    position: u64,
    bytes: Arc<[u8]>,
}

/// What the store is asked to hold; taken before it is asked.
#[derive(Clone)]
pub(super) struct Expected(Option<Entry>);

impl Seen {
    /// Takes note of an entry that is there.
    pub fn note(&self, position: u64, entry: &[u8]) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.as_ref().is_none_or(|seen| seen.position < position) {
            let bytes = entry.into();
            *seen = Some(Entry { position, bytes });
        }
    }

    pub fn expected(&self) -> Expected {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Expected(seen.clone())
    }
}

impl Expected {
    /// Which entry to ask for; none is at a position below 0.
    pub fn position(&self) -> i64 {
        self.0.as_ref().map_or(-1, |entry| signed(entry.position))
    }

    /// What is to be there.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |entry| &entry.bytes)
    }

    /// Whether that is what was found there.
    ///
    /// # Errors
    /// It is not: this is another log, or another end of it.
    pub fn check(&self, found: Option<&[u8]>) -> Result<(), Error> {
        let Some(Entry { position, bytes }) = &self.0 else {
            return Ok(());
        };
        if found.is_some_and(|found| *found == **bytes) {
            return Ok(());
        }
        let found = found.map_or("nothing", |_| "another entry");
        let why = format!("{found} at position {position}, where one was seen before");
        Err(Error::Unexpected(why))
    }

    /// The count in a row's first column; its second holds what is at the position asked for.
    pub fn count(&self, row: &Row) -> Result<u64, Error> {
        self.check(row.try_get(1)?)?;
        unsigned(row, 0)
    }
}
