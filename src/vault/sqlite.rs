//! The vault's SQLite file: one thread writes, one connection reads.
//!
//! Writes that are waiting share one durable commit (`synchronous=FULL`): each runs in its own
//! savepoint, so one failing never fails another, and none hears of success before the commit.
//! No caller waits on the disk on a runtime thread, and no lock is held across an await.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, OpenFlags, ToSql, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::sql::{Field, Row, Sql, Value};
use super::{VaultError, create_private};
use crate::causes::chain;
use crate::migrations::{Migration, Schema, sqlite};

const MIGRATIONS: [Migration; 3] = [
    Migration::expand(include_str!("../../migrations/vault/sqlite/0001_vault.sql")),
    Migration::expand(include_str!(
        "../../migrations/vault/sqlite/0002_versions.sql"
    )),
    Migration::expand(include_str!("../../migrations/vault/sqlite/0003_seals.sql")),
];

/// How many writes share a commit at most.
const BATCH_MAX: usize = 256;

/// How many writes may wait before callers wait to hand theirs over.
const QUEUE_MAX: usize = 1024;

/// The writer empties the write-ahead log after so many pages (16 MB): every thousandth login waits for that, not every hundredth.
const WAL_PAGES: u32 = 4_000;

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs in a savepoint; says whether to keep its changes, and what to do once that is settled.
type Job = Box<dyn FnOnce(&Connection) -> (bool, Settle) + Send>;
type Settle = Box<dyn FnOnce(bool) + Send>;

/// A handle to the file.
#[derive(Debug)]
pub(super) struct Sqlite {
    path: PathBuf,
    /// `None` where the vault was opened read-only.
    jobs: Option<mpsc::Sender<Job>>,
    reader: Mutex<Connection>,
}

impl Sqlite {
    /// Opens the file, makes it private, makes its tables or brings them up to date, if `migrate`,
    /// and runs `prepare` in a transaction before anything else.
    pub fn open<T>(
        path: &Path,
        migrate: bool,
        prepare: impl FnOnce(&dyn Sql) -> Result<T, VaultError>,
    ) -> Result<(Self, T), VaultError> {
        let before = Self::migrations(path)?.check_but_behind()?;
        if !migrate {
            before.check()?;
        }
        let mut writer = connect(path)?;
        sqlite::migrate(&mut writer, &MIGRATIONS, false)?.check()?;
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let prepared = prepare(&*transaction)?;
        transaction.commit()?;
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        std::thread::Builder::new()
            .name("vault".to_owned())
            .spawn(move || write_batches(&mut writer, queue))?;
        let store = Self {
            jobs: Some(jobs),
            ..Self::open_read_only(path)?
        };
        Ok((store, prepared))
    }

    /// Makes a new private file with its tables and what `fill` puts into them in one transaction.
    /// Where that fails, there is no file.
    pub fn create(
        path: &Path,
        fill: impl FnOnce(&dyn Sql) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        let file = create_private(path)?;
        let made = || {
            let mut connection =
                Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            sqlite::migrate(&mut connection, &MIGRATIONS, false)?;
            let transaction = connection.transaction()?;
            fill(&*transaction)?;
            transaction.commit()?;
            Ok(file.sync_all()?)
        };
        made().inspect_err(|_| {
            // The error that is told is the first.
            let _ = std::fs::remove_file(path);
        })
    }

    /// Changes a file that nobody has open, in one transaction.
    pub fn change<T>(
        path: &Path,
        work: impl FnOnce(&dyn Sql) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        let mut connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let transaction = connection.transaction()?;
        let answer = work(&*transaction)?;
        transaction.commit()?;
        Ok(answer)
    }

    /// Opens the file for reading alone; its tables must be up to date.
    pub fn open_read_only(path: &Path) -> Result<Self, VaultError> {
        let reader = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        reader.busy_timeout(BUSY_TIMEOUT)?;
        sqlite::schema(&reader, &MIGRATIONS)?.check()?;
        Ok(Self {
            path: path.to_owned(),
            jobs: None,
            reader: Mutex::new(reader),
        })
    }

    /// How far the file's tables are; it need not exist.
    pub fn migrations(path: &Path) -> Result<Schema, VaultError> {
        if !path.try_exists()? {
            return Ok(Schema::new(0, 0, &MIGRATIONS));
        }
        let reader = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        reader.busy_timeout(BUSY_TIMEOUT)?;
        Ok(sqlite::schema(&reader, &MIGRATIONS)?)
    }

    /// Makes the tables or brings them up to date, with contractions if `contract`.
    pub fn migrate(path: &Path, contract: bool) -> Result<Schema, VaultError> {
        Self::migrations(path)?.check_but_behind()?;
        Ok(sqlite::migrate(&mut connect(path)?, &MIGRATIONS, contract)?)
    }

    /// Runs `work` in a transaction; its changes are durable when this returns `Ok`.
    /// Dropping the future neither stops nor undoes the work.
    pub async fn write<T, W>(&self, work: W) -> Result<T, VaultError>
    where
        T: Send + 'static,
        W: FnOnce(&dyn Sql) -> Result<T, VaultError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let outcome = work(connection);
            let keep = outcome.is_ok();
            let settle: Settle = Box::new(move |committed| {
                let outcome = outcome
                    .and_then(|answer| committed.then_some(answer).ok_or(VaultError::NotCommitted));
                // Nobody listens where the caller went away.
                let _ = answer.send(outcome);
            });
            (keep, settle)
        });
        let jobs = self.jobs.as_ref().ok_or(VaultError::ReadOnly)?;
        jobs.send(job).await.map_err(|_| VaultError::Stopped)?;
        // A job dropped with its answer never ran.
        answered.await.map_err(|_| VaultError::NotCommitted)?
    }

    /// The reading connection, for callers that may block.
    pub fn reader(&self) -> MutexGuard<'_, Connection> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Empties the write-ahead log into the file, so that nothing overwritten survives in it.
    /// `false` where readers were in the way. Blocks.
    pub fn checkpoint(&self) -> Result<bool, VaultError> {
        if self.jobs.is_none() {
            return Err(VaultError::ReadOnly);
        }
        let connection =
            Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let busy: i64 =
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        Ok(busy == 0)
    }

    /// Writes a consistent copy, free of deleted rows, to a new private file. Blocks.
    pub fn backup_to(&self, target: &Path) -> Result<(), VaultError> {
        let file = create_private(target)?;
        let connection = Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let name = target
            .to_str()
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
        connection.execute("VACUUM INTO ?1", [name])?;
        file.sync_all()?;
        Ok(())
    }
}

impl Sql for Connection {
    fn execute(&self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, VaultError> {
        Ok(statement(self, sql, values)?.raw_execute()? as u64)
    }

    fn rows(&self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, VaultError> {
        let mut statement = statement(self, sql, values)?;
        let columns = statement.column_count();
        let mut found = Vec::new();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let fields = (0..columns).map(|column| field(column, row.get_ref(column)?));
            found.push(Row::new(fields.collect::<Result<_, VaultError>>()?));
        }
        Ok(found)
    }
}

fn statement<'c>(
    connection: &'c Connection,
    sql: &str,
    values: &[Value<'_>],
) -> Result<CachedStatement<'c>, VaultError> {
    // A file has no schemas.
    let mut statement = connection.prepare_cached(&sql.replace("grantlog_vault.", ""))?;
    for (number, value) in (1..).zip(values) {
        // To SQLite, "$1" is a name, and its own numbers go by first appearance.
        if let Some(index) = statement.parameter_index(&format!("${number}"))? {
            statement.raw_bind_parameter(index, value)?;
        }
    }
    Ok(statement)
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Null => Ok(rusqlite::types::Null.into()),
            Self::Int(number) => number.to_sql(),
            Self::Text(text) => text.to_sql(),
            Self::Bytes(bytes) => bytes.to_sql(),
        }
    }
}

fn field(column: usize, value: ValueRef<'_>) -> Result<Field, VaultError> {
    Ok(match value {
        ValueRef::Null => Field::Null,
        ValueRef::Integer(number) => Field::Int(number),
        ValueRef::Text(text) => {
            Field::Text(String::from_utf8(text.to_vec()).map_err(|_| VaultError::Column(column))?)
        }
        ValueRef::Blob(bytes) => Field::Bytes(bytes.to_vec()),
        ValueRef::Real(_) => return Err(VaultError::Column(column)),
    })
}

/// The connection that writes to a file, which is made, private, where it is missing.
fn connect(path: &Path) -> Result<Connection, VaultError> {
    match create_private(path).and_then(|file| file.sync_all()) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let writer = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    writer.busy_timeout(BUSY_TIMEOUT)?;
    writer.pragma_update(None, "journal_mode", "WAL")?;
    writer.pragma_update(None, "synchronous", "FULL")?;
    writer.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
    // Destroyed keys are overwritten, not merely unlinked.
    writer.pragma_update(None, "secure_delete", "ON")?;
    Ok(writer)
}

/// Ends when every handle is gone and the queue is empty.
fn write_batches(connection: &mut Connection, mut queue: mpsc::Receiver<Job>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while queue.blocking_recv_many(&mut batch, BATCH_MAX) > 0 {
        gather(&mut batch, &mut queue);
        let mut waiting = Vec::with_capacity(batch.len());
        let committed = commit(connection, batch.drain(..), &mut waiting);
        if let Err(error) = &committed {
            tracing::error!(error = chain(&error), "vault transaction failed");
        }
        for settle in waiting {
            settle(committed.is_ok());
        }
    }
}

/// Lets those who are about to write, on the same CPU, get to it, so that one commit is for all of them. Without it, the first of
/// them woke the writer at once, and nearly every login had a commit of its own.
fn gather(batch: &mut Vec<Job>, queue: &mut mpsc::Receiver<Job>) {
    let mut before = 0;
    while batch.len() > before && batch.len() < BATCH_MAX {
        before = batch.len();
        std::thread::yield_now();
        while batch.len() < BATCH_MAX
            && let Ok(job) = queue.try_recv()
        {
            batch.push(job);
        }
    }
}

fn commit(
    connection: &mut Connection,
    batch: impl Iterator<Item = Job>,
    waiting: &mut Vec<Settle>,
) -> Result<(), rusqlite::Error> {
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for job in batch {
        let savepoint = transaction.savepoint()?;
        let (keep, settle) = job(&savepoint);
        waiting.push(settle);
        if keep {
            savepoint.commit()?;
        } else {
            savepoint.finish()?;
        }
    }
    transaction.commit()?;
    super::store::count_transaction();
    Ok(())
}
