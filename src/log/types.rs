//! What goes into the log, what comes out, and what can go wrong.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::migrations::Unfit;

/// The largest entry or sealed part that is accepted, in bytes.
pub const MAX_ENTRY_BYTES: usize = 64 << 20;

/// Entries to be added to one stream, all or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// The stream's name; it begins to exist with its first entry.
    pub stream: String,
    /// How many entries the stream has; 0 if there is no such stream.
    pub expected: u64,
    /// At least one.
    pub entries: Vec<NewEntry>,
    /// Other streams that the append rests on.
    pub premises: Vec<Premise>,
}

/// A stream is as long as it was when something was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Premise {
    /// The stream's name.
    pub stream: String,
    /// How many entries it has; 0 if there is no such stream.
    pub length: u64,
}

/// One entry to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// Canonical bytes of the event, kept as they are for ever; not empty.
    pub entry: Vec<u8>,
    /// Its personal part, encrypted.
    pub sealed: Option<Vec<u8>>,
}

/// The append is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Position of the append's first entry; the others follow it directly.
    pub first_position: u64,
}

/// One entry as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its place in the one order of the log, from 0.
    pub position: u64,
    /// The stream it belongs to.
    pub stream: String,
    /// How many entries its stream had before it.
    pub version: u64,
    /// Canonical bytes of the event.
    pub entry: Vec<u8>,
    /// Its personal part, encrypted.
    pub sealed: Option<Vec<u8>>,
}

/// Why an append was not acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The stream, or one that the append rests on, has another number of entries than expected; nothing was written.
    #[error(
        "the stream has {actual} entries, or another one is not as long as the append expected"
    )]
    Conflict {
        /// How many entries the append's own stream has.
        actual: u64,
    },
    /// The append is not one: no entry, an empty or oversized one, or no stream name. Nothing was written.
    #[error("not an append: {0}")]
    Malformed(&'static str),
    /// It could not be written: nothing is there and nothing will be.
    #[error("the log cannot be written: {0}")]
    Unavailable(StoreError),
    /// The commit failed in a way that leaves its outcome open, and the store could not be asked. It is not to be repeated.
    #[error("the log does not know whether the append was written")]
    Unknown,
    /// More appends wait than the queue holds; nothing was written.
    #[error("the log has too many appends waiting")]
    Overloaded,
}

/// Why nothing could be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The store cannot be read now.
    #[error("the log cannot be read: {0}")]
    Unavailable(StoreError),
    /// The log is damaged: something is missing, out of order, or not what the log writes.
    #[error("the log is damaged{}: {detail}", at(*.position))]
    Corrupt {
        /// The first position that cannot be vouched for, where it is known.
        position: Option<u64>,
        /// What was found.
        detail: String,
    },
}

impl ReadError {
    /// A stream has fewer entries than it had.
    pub(super) fn shorter(stream: &str, known: u64) -> Self {
        Self::Corrupt {
            position: None,
            detail: format!("{stream} has less than {known} entries, which were there before"),
        }
    }
}

fn at(position: Option<u64>) -> String {
    position.map_or_else(String::new, |position| format!(" at position {position}"))
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is nothing to open for reading.
    #[error("there is no log at {0}")]
    Missing(PathBuf),
    /// Another process has it open for writing.
    #[error("the log is already open for writing by another process (its lock is {0})")]
    InUse(PathBuf),
    /// The file is a database of something else.
    #[error("{0} is not a grantlog log")]
    NotALog(PathBuf),
    /// Its schema is not one that this program may use.
    #[error("the log cannot be used: {0}")]
    Schema(#[from] Unfit),
    /// There is a log that is not to be replaced.
    #[error("there is a log already")]
    Occupied,
    /// It was moved into a database, and this file says so.
    #[error(
        "the log was moved into a database, as {} says: set store.database_url, or remove that file to go on here without \
         what has been recorded there since",
        .0.display()
    )]
    Moved(PathBuf),
    /// The SQLite library has a known way to lose committed data.
    #[error("SQLite is {0}, expected at least 3.51.3 (older ones can corrupt a WAL)")]
    SqliteTooOld(&'static str),
    /// A file or folder cannot be used.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The store cannot be used.
    #[error("the log cannot be opened: {0}")]
    Store(#[from] StoreError),
    /// What is there cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why a copy of the log was not made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The copy cannot be written.
    #[error("cannot write the copy to {path}: {source}")]
    Io {
        /// Where it was to be.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// What a store said when it failed: text for the operator, never for a client.
#[derive(Clone, thiserror::Error)]
#[error("{what}")]
pub struct StoreError {
    what: Arc<str>,
    lost_race: bool,
}

impl StoreError {
    /// Takes the text of a failure.
    pub fn new(what: impl fmt::Display) -> Self {
        let what = what.to_string().into();
        let lost_race = false;
        Self { what, lost_race }
    }

    /// A transaction that lost against another one: nothing of it is there, and beginning anew may succeed.
    pub fn lost_race(what: impl fmt::Display) -> Self {
        let lost_race = true;
        Self {
            lost_race,
            ..Self::new(what)
        }
    }

    pub(super) fn is_lost_race(&self) -> bool {
        self.lost_race
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
