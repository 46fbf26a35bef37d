//! Reading the embedded store: connections of their own, so that readers never wait for the writer nor it for them.
//!
//! Every read is one snapshot and checks what it returns against the promise of density: a gap, a tail shorter than the head
//! says, or a row that cannot be decoded is an error at its position, never a shorter answer.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{CachedStatement, Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction};
use tokio::sync::{Semaphore, watch};

use super::open::keep_plans;
use super::postgres::{self, Follower, PostgresReaders};
use super::sqlite::{SqliteBackend, unsigned};
use super::stream_index::{self, Agreement, Recent};
use super::types::{BackupError, ReadError, StoreError, StoredEntry};

/// How many reads of tasks run at once, and how many connections are kept.
const CONNECTIONS: usize = 8;

/// The readers of one log, whichever store it is in.
pub enum Readers {
    /// A file, read on threads that may block.
    Sqlite(Arc<SqliteReaders>),
    /// A server, read without one.
    Postgres(PostgresReaders),
}

// What waits for a server is boxed: every future that may read the log would be as large otherwise, and those of requests are
// moved several times.
impl Readers {
    pub(super) fn head(&self) -> Result<u64, ReadError> {
        match self {
            Self::Sqlite(readers) => readers.head(),
            Self::Postgres(readers) => readers.block_on(readers.head()),
        }
    }

    pub(super) async fn read_stream(
        &self,
        stream: &str,
        known: u64,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, ReadError> {
        match self {
            Self::Sqlite(readers) => {
                let stream = stream.to_owned();
                readers
                    .run(move |readers| readers.read_stream(&stream, known, limit))
                    .await
            }
            Self::Postgres(readers) => Box::pin(readers.read_stream(stream, known, limit)).await,
        }
    }

    /// `known` is how many entries there are at least; a file that shrinks is noticed by its own means.
    pub(super) async fn read_after(
        &self,
        from: u64,
        limit: usize,
        known: u64,
    ) -> Result<Vec<StoredEntry>, ReadError> {
        match self {
            Self::Sqlite(readers) => {
                readers
                    .run(move |readers| readers.read_after(from, limit))
                    .await
            }
            Self::Postgres(readers) => Box::pin(readers.read_after(from, limit, known)).await,
        }
    }

    pub(super) fn read_stream_blocking(&self, stream: &str) -> Result<Vec<StoredEntry>, ReadError> {
        match self {
            Self::Sqlite(readers) => readers.read_stream(stream, 0, usize::MAX),
            Self::Postgres(readers) => readers.block_on(readers.read_stream(stream, 0, usize::MAX)),
        }
    }

    pub(super) fn read_after_blocking(
        &self,
        from: u64,
        limit: usize,
        known: u64,
    ) -> Result<Vec<StoredEntry>, ReadError> {
        match self {
            Self::Sqlite(readers) => readers.read_after(from, limit),
            Self::Postgres(readers) => readers.block_on(readers.read_after(from, limit, known)),
        }
    }

    /// What the index of the streams says, to be compared with the entries; absent where the store answers for it.
    pub(super) fn agreement(&self) -> Result<Option<Agreement>, ReadError> {
        match self {
            Self::Sqlite(readers) => readers.agreement().map(Some),
            Self::Postgres(_) => Ok(None),
        }
    }

    /// Writes a consistent copy to `to`, as an embedded log.
    pub(super) async fn backup_to(&self, to: &Path) -> Result<(), BackupError> {
        let to = to.to_owned();
        let copying = match self {
            Self::Sqlite(readers) => {
                let readers = Arc::clone(readers);
                tokio::task::spawn_blocking(move || readers.backup_to(&to))
            }
            Self::Postgres(readers) => {
                let readers = readers.clone();
                tokio::task::spawn_blocking(move || postgres::copy_to(readers, &to))
            }
        };
        copying
            .await
            .map_err(|e| ReadError::Unavailable(StoreError::new(e)))?
    }

    /// Follows what others append, where others can.
    pub(super) fn follow(&self, head: &watch::Sender<u64>) -> Option<Follower> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(readers) => Some(Follower::start(readers, head.clone())),
        }
    }

    /// Closes the connections that nobody uses.
    pub(super) fn rest(&self) {
        match self {
            Self::Sqlite(readers) => readers.rest(),
            Self::Postgres(readers) => readers.rest(),
        }
    }
}

/// The readers of one log file.
pub struct SqliteReaders {
    path: PathBuf,
    /// The file cannot change, and so needs neither WAL nor locks.
    still: bool,
    /// Where the newest entries of each stream are, if this process writes them.
    recent: Option<Arc<Recent>>,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl SqliteReaders {
    pub(super) fn new(path: PathBuf, still: bool) -> Self {
        Self {
            path,
            still,
            recent: None,
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(CONNECTIONS)),
        }
    }

    /// Readers of what `backend` writes.
    pub(super) fn beside(backend: &SqliteBackend, path: PathBuf) -> Self {
        Self {
            recent: Some(backend.recent()),
            ..Self::new(path, false)
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for a turn, and reads on a thread that may block.
    async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Self) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let readers = Arc::clone(self);
        // The semaphore is never closed.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            read(&readers)
        })
        .await
        .map_err(|e| ReadError::Unavailable(StoreError::new(e)))?
    }

    /// Closes the connections that nobody uses.
    pub(super) fn rest(&self) {
        self.idle().clear();
    }

    /// How many entries there are.
    pub(super) fn head(&self) -> Result<u64, ReadError> {
        self.with(head)
    }

    /// At most `limit` entries of one stream after its first `known`.
    pub(super) fn read_stream(
        &self,
        stream: &str,
        known: u64,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, ReadError> {
        // Before the snapshot: what is not recent any more by then is in the index.
        let recent = self.recent.as_ref().map(|recent| recent.of(stream));
        self.with(|connection| {
            let tx = connection.unchecked_transaction()?;
            let positions = stream_index::positions(&tx, stream, known, limit, recent)?;
            let mut statement = tx.prepare_cached(
                "SELECT position, stream, version, entry, sealed FROM entries WHERE position = ?1",
            )?;
            let mut entries = Vec::with_capacity(positions.len());
            for (version, position) in (known..).zip(positions) {
                // At most the head, which SQLite holds as an i64.
                let entry = statement
                    .query_row([position as i64], stored_entry)
                    .optional()?;
                match entry {
                    Some(entry) if entry.version == version && entry.stream == stream => {
                        entries.push(entry);
                    }
                    _ => {
                        return Err(ReadError::Corrupt {
                            position: Some(position),
                            detail: format!("this is not entry {version} of {stream}"),
                        });
                    }
                }
            }
            Ok(entries)
        })
    }

    /// At most `limit` entries from position `from` on.
    pub(super) fn read_after(
        &self,
        from: u64,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, ReadError> {
        self.with(|connection| {
            let tx = connection.unchecked_transaction()?;
            let head = head(&tx)?;
            let wanted = head.saturating_sub(from).min(limit as u64);
            let mut entries = Vec::with_capacity(wanted.min(1024) as usize);
            if wanted > 0 {
                read_dense(&tx, from, wanted, &mut entries)?;
            }
            Ok(entries)
        })
    }

    fn agreement(&self) -> Result<Agreement, ReadError> {
        self.with(|connection| Agreement::with(&*connection.unchecked_transaction()?))
    }

    /// Writes a consistent copy to `to`.
    pub(super) fn backup_to(&self, to: &Path) -> Result<(), BackupError> {
        let failed = |source| BackupError::Io {
            path: to.to_owned(),
            source,
        };
        if to.try_exists().map_err(failed)? {
            return Err(failed(std::io::ErrorKind::AlreadyExists.into()));
        }
        let partial = to.with_added_extension("partial");
        match fs::remove_file(&partial) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            _ => {}
        }
        let name = partial
            .to_str()
            .ok_or_else(|| failed(std::io::ErrorKind::InvalidFilename.into()))?;
        self.with(|connection| Ok(connection.execute("VACUUM INTO ?1", [name])?))?;
        place(&partial, to).map_err(failed)
    }

    /// Runs a read on a connection; one that failed is not used again.
    pub(super) fn with<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let answer = read(&connection)?;
        let mut idle = self.idle();
        if idle.len() < CONNECTIONS {
            idle.push(connection);
        }
        Ok(answer)
    }

    fn connect(&self) -> Result<Connection, ReadError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = if self.still {
            let mut uri = std::path::absolute(&self.path)
                .ok()
                .and_then(|path| url::Url::from_file_path(path).ok())
                .ok_or_else(|| ReadError::Unavailable(StoreError::new("not an absolute path")))?;
            uri.set_query(Some("immutable=1"));
            Connection::open_with_flags(uri.as_str(), flags | OpenFlags::SQLITE_OPEN_URI)?
        } else {
            Connection::open_with_flags(&self.path, flags)?
        };
        connection.busy_timeout(Duration::from_secs(5))?;
        keep_plans(&connection)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        Ok(connection)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a finished file its name, durably.
pub(super) fn place(partial: &Path, to: &Path) -> std::io::Result<()> {
    File::options().write(true).open(partial)?.sync_all()?;
    fs::rename(partial, to)?;
    #[cfg(unix)]
    if let Some(folder) = to.canonicalize()?.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn head(connection: &Connection) -> Result<u64, ReadError> {
    let mut statement = connection.prepare_cached("SELECT next FROM log_head")?;
    Ok(statement.query_row([], |row| unsigned(row, 0))?)
}

/// Reads `wanted` entries that must be there.
fn read_dense(
    tx: &Transaction<'_>,
    from: u64,
    wanted: u64,
    entries: &mut Vec<StoredEntry>,
) -> Result<(), ReadError> {
    let mut statement: CachedStatement<'_> = tx.prepare_cached(
        "SELECT position, stream, version, entry, sealed FROM entries \
         WHERE position >= ?1 ORDER BY position LIMIT ?2",
    )?;
    // Both are at most the head, which SQLite holds as an i64.
    let mut rows = statement.query((from as i64, wanted as i64))?;
    for expected in from..from + wanted {
        let missing = |detail| ReadError::Corrupt {
            position: Some(expected),
            detail,
        };
        let entry = match rows
            .next()
            .and_then(|row| row.map(stored_entry).transpose())
        {
            Ok(Some(entry)) => entry,
            Ok(None) => return Err(missing("there is no entry".to_owned())),
            Err(error) => {
                return Err(match ReadError::from(error) {
                    ReadError::Corrupt { detail, .. } => missing(detail),
                    unavailable => unavailable,
                });
            }
        };
        if entry.position != expected {
            return Err(missing(format!(
                "there is no entry, the next is at {}",
                entry.position
            )));
        }
        entries.push(entry);
    }
    Ok(())
}

pub(super) fn stored_entry(row: &rusqlite::Row<'_>) -> rusqlite::Result<StoredEntry> {
    Ok(StoredEntry {
        position: unsigned(row, 0)?,
        stream: row.get(1)?,
        version: unsigned(row, 2)?,
        entry: row.get(3)?,
        sealed: row.get(4)?,
    })
}

/// A store that answers wrongly is damaged; one that does not answer is unavailable.
impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error as E;
        let damaged = match &error {
            E::SqliteFailure(failure, _) => matches!(
                failure.code,
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase
            ),
            E::FromSqlConversionFailure(..)
            | E::IntegralValueOutOfRange(..)
            | E::InvalidColumnType(..)
            | E::QueryReturnedNoRows
            | E::Utf8Error(..) => true,
            _ => false,
        };
        if damaged {
            Self::Corrupt {
                position: None,
                detail: error.to_string(),
            }
        } else {
            Self::Unavailable(error.into())
        }
    }
}
