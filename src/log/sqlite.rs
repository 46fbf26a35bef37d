//! The embedded store: one SQLite file, `log.db`, in WAL mode with `synchronous=FULL`.
//!
//! One process holds `log.lock` and writes over one connection; readers have their own. SQLite makes a frame visible only after
//! it has been synced, so what a reader sees is durable, but for what a crash left unsynced: that is why a log is settled when
//! it is opened. A commit whose sync failed may lie whole in the WAL without counting; the next write takes its place there,
//! which is why settling writes.
//!
//! Rows are inserted one by one: in-process there is no round trip to save, and one cached statement serves every batch.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::backend::{Backend, CommitError, Row, Settled};
use super::open::connect;
use super::readers::stored_entry;
use super::stream_index::{Recent, StreamIndex};
use super::types::StoreError;

/// The writer's connection to the embedded store, and its right to be the only one.
pub struct SqliteBackend {
    connection: Option<Connection>,
    index: StreamIndex,
    path: PathBuf,
    /// Released last, by closing.
    _lock: File,
}

impl SqliteBackend {
    /// Takes over the writing end of the log at `path`, with its lock.
    pub(super) fn new(
        mut connection: Connection,
        path: &Path,
        lock: File,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            index: StreamIndex::load(&mut connection)?,
            connection: Some(connection),
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Where the newest entries are, for readers in this process.
    pub(super) fn recent(&self) -> Arc<Recent> {
        self.index.recent()
    }

    /// The connection to begin with, a new one after a failure; never a new file in the place of one that has gone.
    fn open(&mut self) -> Result<&mut Connection, StoreError> {
        if !self.path.exists() {
            self.connection = None;
            let path = self.path.display();
            return Err(StoreError::new(format_args!("{path} is gone")));
        }
        match &mut self.connection {
            Some(connection) => Ok(connection),
            closed => Ok(closed.insert(connect(&self.path, OpenFlags::empty())?)),
        }
    }

    /// The connection of the transaction that has begun.
    fn transaction(&self) -> Result<&Connection, StoreError> {
        let begun = self.connection.as_ref();
        begun.ok_or_else(not_begun)
    }
}

impl Backend for SqliteBackend {
    fn begin(&mut self, _: &[&str]) -> Result<u64, StoreError> {
        let connection = self.open()?;
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        head(connection)
    }

    fn versions(&mut self, streams: &[&str]) -> Result<Vec<u64>, StoreError> {
        let connection = self.transaction()?;
        let versions = streams
            .iter()
            .map(|stream| self.index.version(connection, stream));
        versions.collect()
    }

    fn insert(&mut self, rows: &[Row<'_>]) -> Result<(), StoreError> {
        let begun = self.connection.as_ref();
        let connection = begun.ok_or_else(not_begun)?;
        let mut insert =
            connection.prepare_cached(
            "INSERT INTO entries (position, stream, version, entry, sealed) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for row in rows {
            let (position, version) = (signed(row.position)?, signed(row.version)?);
            insert.execute((position, row.stream, version, row.entry, row.sealed))?;
        }
        connection
            .prepare_cached("UPDATE log_head SET next = next + ?1")?
            .execute([signed(rows.len() as u64)?])?;
        self.index.add(connection, rows)
    }

    fn commit(&mut self) -> Result<(), CommitError> {
        let connection = self.transaction().map_err(CommitError::NotWritten)?;
        let committed = connection
            .prepare_cached("COMMIT")
            .and_then(|mut commit| commit.execute([]));
        if committed.is_ok() {
            self.index.committed();
        }
        committed.map(drop).map_err(|error| {
            // These are said before the frame that commits is complete; a failed sync is not among them.
            let before = matches!(
                error.sqlite_error_code(),
                Some(
                    ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::ConstraintViolation
                )
            );
            if before {
                CommitError::NotWritten(error.into())
            } else {
                CommitError::Unknown(error.into())
            }
        })
    }

    fn abandon(&mut self) {
        self.index.abandoned();
        let Some(connection) = &self.connection else {
            return;
        };
        // SQLite has rolled back by itself after some failures; closing the connection does so after all others.
        if !connection.is_autocommit() && connection.execute_batch("ROLLBACK").is_err() {
            self.connection = None;
        }
    }

    fn settle(&mut self, from: u64, count: usize) -> Result<Settled, StoreError> {
        self.connection = None;
        self.open()?;
        let connection = self.connection.as_mut().ok_or_else(not_begun)?;
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let head = head(&tx)?;
        let entries = tx
            .prepare_cached(
                "SELECT position, stream, version, entry, sealed FROM entries \
                 WHERE position >= ?1 ORDER BY position LIMIT ?2",
            )?
            .query_map((signed(from)?, signed(count as u64)?), stored_entry)?
            .collect::<Result<_, _>>()?;
        tx.execute("UPDATE log_head SET settled = settled + 1", [])?;
        tx.commit()?;
        self.index.reload(connection)?;
        Ok(Settled { head, entries })
    }
}

/// Completes the index and folds the WAL away, so that a log at rest is one file where every stream is found at once.
impl Drop for SqliteBackend {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.connection {
            // A reader may be in the way, and nothing depends on it.
            let _ = self.index.write_all(connection);
            let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
        }
    }
}

fn not_begun() -> StoreError {
    StoreError::new("no transaction has begun")
}

/// The head row's count, which must be what the entries say.
fn head(connection: &Connection) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT next, (SELECT coalesce(max(position) + 1, 0) FROM entries) FROM log_head",
    )?;
    let (next, found) =
        statement.query_row([], |row| Ok((unsigned(row, 0)?, unsigned(row, 1)?)))?;
    if next != found {
        return Err(StoreError::new(format_args!(
            "damaged: the head is {next}, the entries end before {found}"
        )));
    }
    Ok(next)
}

pub(super) fn unsigned(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

pub(super) fn signed(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::new("beyond the last position there can be"))
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::new(error)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Append, AppendError, Log, NewEntry, Options, open_sqlite};
    use super::*;

    #[tokio::test]
    async fn a_full_disk_refuses_and_heals() {
        let dir = tempfile::tempdir().unwrap();
        let (backend, readers) = open_sqlite(dir.path(), Options { migrate: true }).unwrap();
        let mut full = Full { backend, pages: 20 };
        full.limit().unwrap();
        let log = Log::over(full, readers).unwrap();
        let append = |expected, bytes| Append {
            stream: "s".to_owned(),
            expected,
            premises: Vec::new(),
            entries: vec![NewEntry {
                entry: vec![b'x'; bytes],
                sealed: None,
            }],
        };
        log.append(append(0, 100)).await.unwrap();
        for _ in 0..2 {
            let answer = log.append(append(1, 1 << 20)).await;
            assert!(
                matches!(answer, Err(AppendError::Unavailable(_))),
                "{answer:?}"
            );
            assert!(!log.healthy());
        }
        assert_eq!(log.head(), 1);
        // What still fits is written, also in one batch with what does not.
        let answers = log
            .append_batch(vec![append(1, 1 << 20), append(1, 100)])
            .await;
        assert!(answers[0].is_err() && answers[1].is_ok(), "{answers:?}");
        assert!(log.healthy());
        assert_eq!(log.read_stream("s").await.unwrap().len(), 2);
    }

    /// A store on a disk of so many pages.
    struct Full {
        backend: SqliteBackend,
        pages: u32,
    }

    impl Full {
        fn limit(&mut self) -> Result<(), StoreError> {
            let connection = self.backend.open()?;
            Ok(connection.pragma_update(None, "max_page_count", self.pages)?)
        }
    }

    impl Backend for Full {
        fn begin(&mut self, streams: &[&str]) -> Result<u64, StoreError> {
            self.limit()?;
            self.backend.begin(streams)
        }
        fn versions(&mut self, streams: &[&str]) -> Result<Vec<u64>, StoreError> {
            self.backend.versions(streams)
        }
        fn insert(&mut self, rows: &[Row<'_>]) -> Result<(), StoreError> {
            self.backend.insert(rows)
        }
        fn commit(&mut self) -> Result<(), CommitError> {
            self.backend.commit()
        }
        fn abandon(&mut self) {
            self.backend.abandon();
        }
        fn settle(&mut self, from: u64, count: usize) -> Result<Settled, StoreError> {
            self.backend.settle(from, count)
        }
    }
}
