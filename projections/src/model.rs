//! The file that read models are kept in, and its only writer.

use std::path::Path;

use domain::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use sha2::{Digest, Sha256};

use crate::Tables;
use crate::recorded::{Carry, Recorded, Seen, asking_client};
use crate::sql::{micros, position, unsigned};
use crate::table::{PIECE, StepError};

/// Every table, in one script.
const SCHEMA: &[&str] = &[
    include_str!("../../migrations/read/read_model.sql"),
    include_str!("../../migrations/read/events.sql"),
    include_str!("../../migrations/read/logins.sql"),
    include_str!("../../migrations/read/grants.sql"),
    include_str!("../../migrations/read/clients.sql"),
    include_str!("../../migrations/read/proxies.sql"),
    include_str!("../../migrations/read/providers.sql"),
    include_str!("../../migrations/read/operators.sql"),
    include_str!("../../migrations/read/api_keys.sql"),
];

/// Counts changes of folds that no table shows. Tables show theirs by themselves.
const FOLDS: u8 = 1;

/// "Grlr": the file is one of ours.
const APPLICATION: i32 = 0x4772_6c72;

/// A read model cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum ReadModelError {
    /// Another version of this program made it. It has to be rebuilt from the log.
    #[error("the read model is of another version of this program")]
    OtherVersion,
    /// The file is something else; it is left alone.
    #[error("the file is not a read model")]
    Foreign,
    /// SQLite failed.
    #[error("the read model's file cannot be used")]
    Sqlite(#[from] rusqlite::Error),
}

impl ReadModelError {
    /// Whether the file itself is to blame, and not a full disk or somebody who holds it.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        let Self::Sqlite(error) = self else {
            return false;
        };
        !matches!(
            error.sqlite_error_code(),
            Some(
                ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::DiskFull
                    | ErrorCode::CannotOpen
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::ReadOnly
                    | ErrorCode::PermissionDenied
                    | ErrorCode::OutOfMemory
            )
        )
    }
}

/// Entries could not be folded. Nothing of their batch was kept; what was wrong can be mended
/// and the same batch folded again.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// The batch does not begin where the last one ended, or has a gap.
    #[error("expected the entry at {expected}, found the one at {found}")]
    Gap {
        /// The next position to fold.
        expected: u64,
        /// The position that came.
        found: u64,
    },
    /// The entry's event cannot be in this stream.
    #[error("entry {position}: the stream's name does not match its event")]
    Stream {
        /// The entry's position.
        position: u64,
    },
    /// SQLite failed.
    #[error("the read model cannot be written at entry {position}")]
    Store {
        /// The position that was being folded.
        position: u64,
        /// How it failed.
        #[source]
        source: rusqlite::Error,
    },
}

/// The writer of a read model: one connection, used by one thread.
///
/// A batch is one transaction, checkpoint included. Nothing waits for the disk: after a power
/// loss the file may be some transactions behind, which the log then fills in.
pub struct ReadModel {
    db: Connection,
    folder: Folder,
    /// A batch failed, and how far the file is has not been read since.
    lost: bool,
    /// What [`finish`](Self::finish) executes.
    indexes: String,
}

impl ReadModel {
    /// Opens the file, or makes it if it is not there. From now on it follows the log, also if it showed the past.
    ///
    /// # Errors
    /// The file is something else, of another version, or cannot be used.
    pub fn open(path: &Path) -> Result<Self, ReadModelError> {
        let model = Self::with(
            path,
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 4000;",
        )?;
        model.db.execute("DELETE FROM as_of", [])?;
        Ok(model)
    }

    /// Makes a file that nobody reads before it is complete. Its indexes are made at the end, which
    /// costs a fraction of keeping them up; but not those that folding uses. Its pages are large, which folds an eighth more
    /// entries a second. A file that is followed has small ones: whatever changes in a page, all of it is written.
    pub(crate) fn open_aside(path: &Path) -> Result<Self, ReadModelError> {
        let mut model = Self::with(
            path,
            "PRAGMA page_size = 16384; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;
             PRAGMA cache_size = -65536;",
        )?;
        let scripts = model.db.query_row(
            "SELECT group_concat('DROP INDEX ' || name, ';'), group_concat(sql, ';')
             FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL AND tbl_name <> 'sources'",
            [],
            |row| Ok([row.get(0)?, row.get(1)?]),
        )?;
        let [drop, create]: [String; 2] = scripts;
        model.db.execute_batch(&drop)?;
        model.indexes = create;
        Ok(model)
    }

    fn with(path: &Path, mode: &str) -> Result<Self, ReadModelError> {
        let db = Connection::open(path)?;
        let is_new =
            db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)) == Ok(0);
        if !is_new {
            check(&db)?;
        }
        db.execute_batch(mode)?;
        keep_plans(&db)?;
        if is_new {
            let version = version();
            db.execute_batch(&format!(
                "BEGIN IMMEDIATE; {} PRAGMA application_id = {APPLICATION};
                 PRAGMA user_version = {version}; COMMIT;",
                SCHEMA.concat()
            ))?;
        }
        let folder = Folder::resume(&db)?;
        Ok(Self {
            db,
            folder,
            lost: false,
            indexes: String::new(),
        })
    }

    /// The next position to fold.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.folder.next
    }

    /// Folds entries, all or none; the first must be the one at [`position`](Self::position).
    ///
    /// # Errors
    /// An entry is not the next one, its stream contradicts its event, or SQLite failed.
    pub fn fold(&mut self, batch: &[Recorded]) -> Result<(), FoldError> {
        self.resume()?;
        let folded = fold(&self.db, &mut self.folder, batch);
        if folded.is_err() {
            self.lost = true;
            // If that fails, too, it is tried again before anything else is folded.
            let _ = self.resume();
        }
        folded
    }

    /// Takes the state of folding from the file, if it is not known.
    fn resume(&mut self) -> Result<(), FoldError> {
        if self.lost {
            let position = self.folder.next;
            let resumed = Folder::resume(&self.db);
            self.folder = resumed.map_err(|source| FoldError::Store { position, source })?;
            self.lost = false;
        }
        Ok(())
    }

    pub(crate) fn begin(&mut self) -> Result<(), FoldError> {
        let position = self.position();
        let begun = self.db.execute_batch("BEGIN IMMEDIATE");
        begun.map_err(|source| FoldError::Store { position, source })
    }

    pub(crate) fn step(&mut self, recorded: &Recorded) -> Result<(), FoldError> {
        self.folder.step(&self.db, recorded)
    }

    pub(crate) fn commit(&mut self) -> Result<(), FoldError> {
        let position = self.position();
        self.folder
            .flush(&self.db)
            .and_then(|()| self.db.execute_batch("COMMIT"))
            .map_err(|source| FoldError::Store { position, source })
    }

    /// Makes one file of it, for whoever copies it while nobody folds, and closes it. A reader may be in the way, and nothing
    /// depends on it.
    pub fn close(self) {
        let _ = self.db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
    }

    /// Makes one file of it that is complete without its companions, and closes it. It shows the past if an instant is
    /// given.
    pub(crate) fn finish(self, as_of: Option<Timestamp>) -> rusqlite::Result<()> {
        self.db.execute_batch(&self.indexes)?;
        if let Some(at) = as_of {
            let insert = "INSERT INTO as_of VALUES (1, ?)";
            self.db.execute(insert, [micros(at)])?;
        }
        self.db
            .execute_batch("PRAGMA locking_mode = NORMAL; PRAGMA journal_mode = DELETE;")?;
        self.db.close().map_err(|(_, error)| error)
    }
}

fn fold(db: &Connection, folder: &mut Folder, batch: &[Recorded]) -> Result<(), FoldError> {
    let lost = |position, source| FoldError::Store { position, source };
    let transaction = db
        .unchecked_transaction()
        .map_err(|source| lost(folder.next, source))?;
    for piece in batch.chunks(PIECE) {
        for recorded in piece {
            folder.step(&transaction, recorded)?;
        }
        std::thread::yield_now();
    }
    folder
        .flush(&transaction)
        .and_then(|()| transaction.commit())
        .map_err(|source| lost(folder.next, source))
}

/// The state of folding between two entries.
pub(crate) struct Folder {
    next: u64,
    carry: Carry,
    pub(crate) tables: Tables,
}

impl Folder {
    /// As the file has it.
    fn resume(db: &Connection) -> rusqlite::Result<Self> {
        let next = next(db)?;
        let carry = match next.checked_sub(1) {
            Some(last) => crate::events::carry_at(db, last)?,
            None => Carry::default(),
        };
        Ok(Self {
            next,
            carry,
            tables: Tables::default(),
        })
    }

    fn step(&mut self, db: &Connection, recorded: &Recorded) -> Result<(), FoldError> {
        let position = recorded.position;
        if position != self.next {
            return Err(FoldError::Gap {
                expected: self.next,
                found: position,
            });
        }
        self.carry.step(recorded);
        self.seen(db, recorded).map_err(|error| match error {
            StepError::Stream(_) => FoldError::Stream { position },
            StepError::Store(source) => FoldError::Store { position, source },
        })?;
        self.next += 1;
        Ok(())
    }

    fn seen(&mut self, db: &Connection, recorded: &Recorded) -> Result<(), StepError> {
        let client_name = match asking_client(&recorded.entry) {
            Some(client_id) => {
                let client = self.tables.clients.get(db, client_id)?;
                client.and_then(|client| client.client_name.clone())
            }
            None => None,
        };
        let seen = Seen {
            recorded,
            circumstances: &self.carry.circumstances,
            client_name: client_name.as_deref(),
        };
        self.tables.step(db, &seen)
    }

    fn flush(&mut self, db: &Connection) -> rusqlite::Result<()> {
        self.tables.flush(db)?;
        db.prepare_cached("UPDATE read_model SET next = ?")?
            .execute([position(self.next)])?;
        Ok(())
    }
}

/// The next position to fold into a file.
pub(crate) fn next(db: &Connection) -> rusqlite::Result<u64> {
    db.prepare_cached("SELECT next FROM read_model")?
        .query_row([], |row| row.get(0))
        .map(unsigned)
}

/// Opens a file to be read only.
pub(crate) fn open_read_only(path: &Path) -> Result<Connection, ReadModelError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    check(&db)?;
    keep_plans(&db)?;
    Ok(db)
}

/// Prepared statements stay prepared, whatever is bound to them.
fn keep_plans(db: &Connection) -> rusqlite::Result<()> {
    db.set_prepared_statement_cache_capacity(64);
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

fn check(db: &Connection) -> Result<(), ReadModelError> {
    let application: i32 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let found: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if application != APPLICATION {
        Err(ReadModelError::Foreign)
    } else if found != version() {
        Err(ReadModelError::OtherVersion)
    } else {
        Ok(())
    }
}

/// What tells our tables and folds from those of another version: they are never migrated, but
/// rebuilt, so a digest serves better than a number that somebody has to remember to raise.
fn version() -> u32 {
    let digest: [u8; 32] = Sha256::new()
        .chain_update(SCHEMA.concat())
        .chain_update([FOLDS])
        .finalize()
        .into();
    let head = digest.first_chunk().copied().unwrap_or_default();
    // user_version is a signed number
    u32::from_be_bytes(head) >> 1
}
