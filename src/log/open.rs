//! Opening the embedded store: its folder, its lock, its schema, its connections.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::Options;
use super::readers::{Readers, SqliteReaders};
use super::sqlite::SqliteBackend;
use super::types::{OpenError, StoreError};
use crate::migrations::{Migration, Schema, sqlite};

/// The embedded log's file in the data folder.
pub const FILE_NAME: &str = "log.db";
const LOCK: &str = "log.lock";
/// Where it is said that the log has gone into a database.
const MOVED: &str = "moved.txt";
const MIGRATIONS: [Migration; 3] = [
    Migration::expand(include_str!("../../migrations/log/sqlite/0001_log.sql")),
    Migration::expand(include_str!("../../migrations/log/sqlite/0002_streams.sql")),
    Migration::contract(include_str!(
        "../../migrations/log/sqlite/0003_entries_without_index.sql"
    )),
];
const APPLICATION_ID: i32 = 0x4772_6c67;

/// A strange process at the file (a backup, a curious shell) is waited for this long.
const BUSY: Duration = Duration::from_secs(5);

/// A page holds some eight entries. With half of that a tenth of each was empty, because an entry is not divided between two.
const PAGE_BYTES: u32 = 8192;

/// The writer empties the WAL after so many pages (40 MB): one append in some ten thousand meets that. With a fifth of it more
/// of them waited, with twice as much the memory that is gone through no longer fits into the processor's cache. A checkpoint
/// from a second connection was measured: it competes with the writer's syncs and made the slowest appends slower.
const WAL_PAGES: u32 = 5_000;

/// Opens `dir` for writing, see [`Log::open`](super::Log::open).
///
/// # Errors
/// See [`OpenError`].
pub fn open(dir: &Path, options: Options) -> Result<(SqliteBackend, Readers), OpenError> {
    if rusqlite::version_number() < 3_051_003 {
        return Err(OpenError::SqliteTooOld(rusqlite::version()));
    }
    let path = dir.join(FILE_NAME);
    let before = migrations(dir)?.check_but_behind()?;
    if !options.migrate {
        before.check()?;
    }
    let (lock, mut connection) = take(dir)?;
    sqlite::migrate(&mut connection, &MIGRATIONS, false)
        .map_err(StoreError::from)?
        .check()?;
    let backend = SqliteBackend::new(connection, &path, lock)?;
    let readers = SqliteReaders::beside(&backend, path);
    Ok((backend, Readers::Sqlite(Arc::new(readers))))
}

/// Opens the log at `path` for reading, see [`Log::open_read_only`](super::Log::open_read_only).
///
/// # Errors
/// See [`OpenError`].
pub fn open_read_only(path: &Path) -> Result<Readers, OpenError> {
    let path = if path.is_dir() {
        path.join(FILE_NAME)
    } else {
        path.to_owned()
    };
    expect_file(&path)?;
    let mut wal = path.clone().into_os_string();
    wal.push("-wal");
    let (readers, schema) = match schema(&SqliteReaders::new(path.clone(), false)) {
        Ok(schema) => (SqliteReaders::new(path, false), schema),
        // In a folder that cannot be written, SQLite needs to be told that the file stands still; with a WAL it does not.
        Err(error) => {
            if Path::new(&wal).exists() {
                return Err(error);
            }
            let still = SqliteReaders::new(path, true);
            let schema = schema(&still).map_err(|_| error)?;
            (still, schema)
        }
    };
    schema.check()?;
    Ok(Readers::Sqlite(Arc::new(readers)))
}

/// How far the schema of the log in `dir` is; it need not exist.
///
/// # Errors
/// It is no log, or cannot be read.
pub fn migrations(dir: &Path) -> Result<Schema, OpenError> {
    let path = dir.join(FILE_NAME);
    // SQLite creates a database as an empty file.
    match fs::metadata(&path) {
        Ok(file) if file.len() > 0 => schema(&SqliteReaders::new(path, false)),
        Ok(_) => Ok(Schema::new(0, 0, &MIGRATIONS)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(Schema::new(0, 0, &MIGRATIONS))
        }
        Err(error) => Err(io(&path, error)),
    }
}

/// Takes back what a process that was killed left half done in the log in `dir`; it need not exist. Whoever is about to write
/// asks for that first.
///
/// # Errors
/// It cannot be written.
pub fn recover(dir: &Path) -> Result<(), OpenError> {
    Ok(sqlite::recover(&dir.join(FILE_NAME)).map_err(StoreError::from)?)
}

/// Applies what the log in `dir` lacks, contractions only if `contract`; makes it where it is missing. Returns how far its
/// schema is then.
///
/// # Errors
/// See [`OpenError`].
pub fn migrate(dir: &Path, contract: bool) -> Result<Schema, OpenError> {
    migrations(dir)?.check_but_behind()?;
    let (_lock, mut connection) = take(dir)?;
    let migrated = sqlite::migrate(&mut connection, &MIGRATIONS, contract);
    Ok(migrated.map_err(StoreError::from)?)
}

/// The right to write to the log in `dir`, which is created where it is missing, and the connection to do so.
fn take(dir: &Path) -> Result<(File, Connection), OpenError> {
    if let Some(note) = moved(dir) {
        return Err(OpenError::Moved(note));
    }
    create_dir(dir).map_err(|source| io(dir, source))?;
    let lock = lock(&dir.join(LOCK))?;
    let connection = connect(&dir.join(FILE_NAME), OpenFlags::SQLITE_OPEN_CREATE)?;
    Ok((lock, connection))
}

/// Keeps everybody from writing to an embedded log while it is there.
pub struct Hold(#[expect(dead_code, reason = "an open file holds its lock")] File);

/// Keeps everybody from writing to the log in `dir`, which must be there.
///
/// # Errors
/// There is none, or a process that may write has it.
pub fn hold(dir: &Path) -> Result<Hold, OpenError> {
    expect_file(&dir.join(FILE_NAME))?;
    lock(&dir.join(LOCK)).map(Hold)
}

/// Says in `dir` that its log was moved into a database, so that nobody goes on here unawares.
///
/// # Errors
/// It cannot be written.
pub fn note_moved(dir: &Path, note: &str) -> Result<PathBuf, OpenError> {
    let path = dir.join(MOVED);
    let write = || {
        let mut file = File::create(&path)?;
        file.write_all(note.as_bytes())?;
        file.sync_all()?;
        #[cfg(unix)]
        File::open(dir)?.sync_all()?;
        Ok(())
    };
    write().map_err(|source| io(&path, source))?;
    Ok(path)
}

/// Tries whether [`note_moved`] will be able to say so, and says nothing.
///
/// # Errors
/// No file can be made in `dir`.
pub fn expect_to_note_moved(dir: &Path) -> Result<(), OpenError> {
    tempfile::tempfile_in(dir).map_err(|source| io(&dir.join(MOVED), source))?;
    Ok(())
}

/// The note in `dir` that says that its log was moved into a database.
pub fn moved(dir: &Path) -> Option<PathBuf> {
    Some(dir.join(MOVED)).filter(|note| note.exists())
}

/// What cannot be looked at may be there.
fn expect_file(path: &Path) -> Result<(), OpenError> {
    match fs::metadata(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(OpenError::Missing(path.to_owned()))
        }
        Err(error) => Err(io(path, error)),
    }
}

fn schema(readers: &SqliteReaders) -> Result<Schema, OpenError> {
    let (application, schema, tables) = readers.with(|connection| {
        let schema = sqlite::schema(connection, &MIGRATIONS)?;
        if schema.interrupted {
            return Ok((APPLICATION_ID, schema, 0));
        }
        Ok((
            connection.pragma_query_value(None, "application_id", |row| row.get::<_, i32>(0))?,
            schema,
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| {
                row.get::<_, u32>(0)
            })?,
        ))
    })?;
    // A crash before the first migration leaves a database without anything in it.
    if application == APPLICATION_ID || (application, schema.applied, tables) == (0, 0, 0) {
        Ok(schema)
    } else {
        Err(OpenError::NotALog(readers.path().to_owned()))
    }
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let mut options = File::options();
    let file = options.create(true).truncate(false).write(true).open(path);
    let file = file.map_err(|source| io(path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(io(path, source)),
    }
}

/// Creates the folder for its owner alone, and makes its name durable: a log is no safer than the way to it.
fn create_dir(dir: &Path) -> std::io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(dir)?;
    #[cfg(unix)]
    if let Some(parent) = dir.canonicalize()?.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

fn io(path: &Path, source: std::io::Error) -> OpenError {
    let path = path.to_owned();
    OpenError::Io { path, source }
}

pub(super) fn connect(path: &Path, create: OpenFlags) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | create;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    // Of a new file; one that is there keeps its own.
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::new(format_args!(
            "journal_mode is {mode}, expected wal"
        )));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    keep_plans(&connection)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    Ok(connection)
}

/// A prepared statement keeps its plan whatever is bound to it; otherwise SQLite prepares it again for each new value.
pub(super) fn keep_plans(connection: &Connection) -> rusqlite::Result<bool> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
}
