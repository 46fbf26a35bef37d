//! A projection and the table it is kept in.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;

use rusqlite::Connection;

use crate::recorded::Seen;

/// A pure fold of the log into rows. An event touches at most one row.
///
/// Invariants: `key` and `fold` look at nothing but their arguments, so that the same log gives
/// the same rows whenever and wherever it is folded; no arm over events is a wildcard, so that
/// the compiler lists the folds that a new event has to be told to.
pub(crate) trait Projection {
    /// What tells the rows apart.
    type Key: Clone + Eq + Ord + Hash + Debug;
    /// What is known under a key.
    type Row: Clone + PartialEq + Debug;
    /// What storing rows needs to remember between them, such as ids given out before.
    type Memo: Default;

    /// Whether every event makes a row of its own that never changes again.
    const APPENDS: bool = false;

    /// The row an event touches.
    fn key(seen: &Seen<'_>) -> Result<Option<Self::Key>, BadStream>;

    /// The row after an event. `None` means that there still is none.
    fn fold(row: Option<Self::Row>, seen: &Seen<'_>) -> Option<Self::Row>;

    /// Reads a row.
    fn load(db: &Connection, key: &Self::Key) -> rusqlite::Result<Option<Self::Row>>;

    /// Writes rows, whether they were there before or not.
    fn store(
        db: &Connection,
        memo: &mut Self::Memo,
        rows: &[(&Self::Key, &Self::Row)],
    ) -> rusqlite::Result<()>;

    /// Writes what storing rows has begun and not ended; the transaction ends after it.
    fn settle(_: &Connection, _: &mut Self::Memo) -> rusqlite::Result<()> {
        Ok(())
    }
}

/// The stream's name does not say whose stream it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream's name does not match its events")]
pub(crate) struct BadStream;

/// The id in a stream's name.
pub(crate) fn id_in<T: std::str::FromStr>(stream: &str, prefix: &str) -> Result<T, BadStream> {
    stream
        .strip_prefix(prefix)
        .and_then(|id| id.parse().ok())
        .ok_or(BadStream)
}

/// Why an event could not be folded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    #[error(transparent)]
    Stream(#[from] BadStream),
    #[error(transparent)]
    Store(#[from] rusqlite::Error),
}

/// Rows beyond this are read again when they are needed again.
const ROWS_KEPT_MAX: usize = if cfg!(test) { 2 } else { 10_000 };
/// Rows that never change again are written so many at a time.
const ROWS_APPENDED: usize = if cfg!(test) { 5 } else { 64 };
/// After so many events or rows whoever else needs the CPU goes first.
pub(crate) const PIECE: usize = 32;

/// For keys that this program has given out: nobody chooses them so that they collide.
type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// A projection's rows on their way to the file: read once, folded in memory, written once per
/// transaction however many events touched them.
pub(crate) struct Table<P: Projection> {
    rows: Map<P::Key, Kept<P::Row>>,
    /// The keys of the rows that changed since the last flush.
    changed: Vec<P::Key>,
    /// Rows that never change again.
    appended: Vec<(P::Key, P::Row)>,
    memo: P::Memo,
}

struct Kept<R> {
    row: Option<R>,
    changed: bool,
}

impl<P: Projection> Default for Table<P> {
    fn default() -> Self {
        Self {
            rows: Map::default(),
            changed: Vec::new(),
            appended: Vec::new(),
            memo: P::Memo::default(),
        }
    }
}

impl<P: Projection> Table<P> {
    /// Folds one event.
    pub fn step(&mut self, db: &Connection, seen: &Seen<'_>) -> Result<(), StepError> {
        let Some(key) = P::key(seen)? else {
            return Ok(());
        };
        if P::APPENDS {
            self.appended
                .extend(P::fold(None, seen).map(|row| (key, row)));
            if self.appended.len() >= ROWS_APPENDED {
                self.append(db)?;
            }
            return Ok(());
        }
        let kept = self.kept(db, key.clone())?;
        kept.row = P::fold(kept.row.take(), seen);
        if !std::mem::replace(&mut kept.changed, true) {
            self.changed.push(key);
        }
        Ok(())
    }

    /// The row as it is after every event folded so far.
    pub fn get(&mut self, db: &Connection, key: P::Key) -> rusqlite::Result<Option<&P::Row>> {
        Ok(self.kept(db, key)?.row.as_ref())
    }

    /// Writes what changed.
    pub fn flush(&mut self, db: &Connection) -> rusqlite::Result<()> {
        // In the order of the keys, which for most tables is the order of the pages.
        self.changed.sort_unstable();
        let mut changed = Vec::with_capacity(self.changed.len());
        for key in &self.changed {
            let row = self.rows.get(key).and_then(|kept| kept.row.as_ref());
            changed.extend(row.map(|row| (key, row)));
        }
        for piece in changed.chunks(PIECE) {
            P::store(db, &mut self.memo, piece)?;
            std::thread::yield_now();
        }
        for key in self.changed.drain(..) {
            if let Some(kept) = self.rows.get_mut(&key) {
                kept.changed = false;
            }
        }
        if self.rows.len() > ROWS_KEPT_MAX {
            self.rows.clear();
        }
        self.append(db)?;
        P::settle(db, &mut self.memo)
    }

    fn append(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let rows: Vec<_> = self.appended.iter().map(|(key, row)| (key, row)).collect();
        if !rows.is_empty() {
            P::store(db, &mut self.memo, &rows)?;
        }
        self.appended.clear();
        Ok(())
    }

    fn kept(&mut self, db: &Connection, key: P::Key) -> rusqlite::Result<&mut Kept<P::Row>> {
        use std::collections::hash_map::Entry;
        Ok(match self.rows.entry(key) {
            Entry::Occupied(kept) => kept.into_mut(),
            Entry::Vacant(gap) => {
                let row = P::load(db, gap.key())?;
                gap.insert(Kept {
                    row,
                    changed: false,
                })
            }
        })
    }
}
