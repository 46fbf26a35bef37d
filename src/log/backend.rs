//! What the writer asks of a store.

use std::collections::HashMap;

use super::types::{StoreError, StoredEntry};

/// A store of entries, as the writer uses it: one transaction at a time, from one thread.
///
/// The calls of a transaction are [`begin`](Self::begin), [`versions`](Self::versions), [`insert`](Self::insert),
/// [`commit`](Self::commit); after any failure but an unknown commit, [`abandon`](Self::abandon). After an unknown commit the
/// next call is [`settle`](Self::settle). No call may panic, and after any failure a later call must find its own way back
/// (reconnect, reopen).
pub trait Backend: Send + 'static {
    /// Whether asking costs so much that [`append_in_one_step`](Self::append_in_one_step), on a guess, is worth a try.
    fn is_far(&self) -> bool {
        false
    }

    /// Does all of a transaction at once if there are at least `known` entries and each stream has as many as is `expected` of
    /// it: adds `rows`, whose positions count from the head, and returns the head they were put behind when they are durable.
    /// `None` if nothing was written, because something is otherwise or for any other reason: then the calls below find out.
    ///
    /// # Errors
    /// As of [`commit`](Self::commit), also in what is called next.
    fn append_in_one_step(
        &mut self,
        known: u64,
        expected: &HashMap<&str, u64>,
        rows: &[Row<'_>],
    ) -> Result<Option<u64>, CommitError> {
        let _ = (known, expected, rows);
        Ok(None)
    }

    /// Begins a transaction, takes the head row so that nobody else gets positions until it ends, and returns how many
    /// entries there are. [`versions`](Self::versions) will ask for `streams`; a far store may answer that along with this.
    ///
    /// # Errors
    /// The store cannot be written.
    fn begin(&mut self, streams: &[&str]) -> Result<u64, StoreError>;

    /// How many entries each of `streams`, given to [`begin`](Self::begin), has, in their order, as of this transaction.
    ///
    /// # Errors
    /// The store cannot tell.
    fn versions(&mut self, streams: &[&str]) -> Result<Vec<u64>, StoreError>;

    /// Adds rows with consecutive positions, beginning at the head, and moves the head behind them; perhaps only with
    /// [`commit`](Self::commit).
    ///
    /// # Errors
    /// The store refuses them; nothing of the transaction is durable.
    fn insert(&mut self, rows: &[Row<'_>]) -> Result<(), StoreError>;

    /// Makes the transaction durable; when it returns, the rows survive a loss of power.
    ///
    /// # Errors
    /// Whether the rows are there is said by [`CommitError`].
    fn commit(&mut self) -> Result<(), CommitError>;

    /// Ends a transaction that has not been committed; nothing of it remains.
    fn abandon(&mut self);

    /// Proves by a durable write that the store can be written, if not that it has room, and returns its head and at most `count` entries from
    /// position `from`.
    ///
    /// After it has returned, no earlier transaction can still come into effect: what it did not see will never appear, and
    /// what it saw is durable.
    ///
    /// # Errors
    /// Nothing is known.
    fn settle(&mut self, from: u64, count: usize) -> Result<Settled, StoreError>;

    /// Does what an append needs and takes it back, where a store may have room to change a row and none to add one.
    ///
    /// # Errors
    /// An append would fail.
    fn rehearse(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// One entry on its way into the store.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Its place in the log.
    pub position: u64,
    /// The stream it belongs to.
    pub stream: &'a str,
    /// How many entries its stream has before it.
    pub version: u64,
    /// Canonical bytes of the event.
    pub entry: &'a [u8],
    /// Its personal part, encrypted.
    pub sealed: Option<&'a [u8]>,
}

/// How a commit failed.
#[derive(Debug, Clone)]
pub enum CommitError {
    /// It did not begin; nothing that was to be written is at fault.
    NotBegun(StoreError),
    /// It did not happen and will not.
    NotWritten(StoreError),
    /// It may have happened, or may yet come to light.
    Unknown(StoreError),
}

/// What a store holds for certain.
#[derive(Debug)]
pub struct Settled {
    /// How many entries there are.
    pub head: u64,
    /// Those that were asked for.
    pub entries: Vec<StoredEntry>,
}
