//! Opening the shared store: its schema and its connections.

use super::super::Options;
use super::super::readers::Readers;
use super::super::types::{OpenError, StoreError};
use super::seen::Seen;
use super::{PostgresBackend, PostgresReaders};
use crate::migrations::{Migration, Schema, postgres};
use crate::postgres::{Error, Postgres};

pub(super) const SCHEMA: &str = "grantlog_log";
const MIGRATIONS: [Migration; 2] = [
    Migration::expand(include_str!(
        "../../../migrations/log/postgres/0001_log.sql"
    )),
    Migration::offer(include_str!(
        "../../../migrations/log/postgres/0002_append.sql"
    )),
];

/// How many connections one log uses at most: the writer's, the follower's, and those of reads.
pub(super) const CONNECTIONS: usize = 10;

/// Opens the log at `url` for writing, see [`Log::open_postgres`](super::super::Log::open_postgres).
///
/// # Errors
/// See [`OpenError`].
pub fn open(url: &str, options: Options) -> Result<(PostgresBackend, Readers), OpenError> {
    let store = Postgres::new(url, CONNECTIONS).map_err(StoreError::from)?;
    let schema = schema(&store)?.check_but_behind()?;
    if options.migrate && schema.applied < schema.needed {
        apply(&store, false)?.check()?;
    } else {
        schema.check()?;
    }
    let seen = Seen::default();
    let readers = Readers::Postgres(PostgresReaders::new(store.clone(), seen.clone()));
    // Whatever is done next has a time, which is to be the server's.
    readers.head()?;
    Ok((PostgresBackend::new(store, seen), readers))
}

/// Opens the log at `url` for reading, see [`Log::open_postgres_read_only`](super::super::Log::open_postgres_read_only).
///
/// # Errors
/// See [`OpenError`].
pub fn open_read_only(url: &str) -> Result<Readers, OpenError> {
    let store = Postgres::new(url, CONNECTIONS).map_err(StoreError::from)?;
    schema(&store)?.check()?;
    Ok(Readers::Postgres(PostgresReaders::new(
        store,
        Seen::default(),
    )))
}

/// How far the schema of the log at `url` is; it need not exist.
///
/// # Errors
/// The server cannot be asked.
pub fn migrations(url: &str) -> Result<Schema, OpenError> {
    schema(&Postgres::new(url, 1).map_err(StoreError::from)?)
}

/// Applies what the log at `url` lacks, contractions only if `contract`; makes it where it is missing. Returns how far its
/// schema is then.
///
/// # Errors
/// See [`OpenError`].
pub fn migrate(url: &str, contract: bool) -> Result<Schema, OpenError> {
    let store = Postgres::new(url, 1).map_err(StoreError::from)?;
    schema(&store)?.check_but_behind()?;
    apply(&store, contract)
}

pub(super) fn schema(store: &Postgres) -> Result<Schema, OpenError> {
    let found = store.block_on(async {
        let lease = store.lease().await?;
        let found = postgres::schema(&lease, SCHEMA, &MIGRATIONS).await?;
        lease.release();
        Ok::<_, Error>(found)
    });
    Ok(found.map_err(StoreError::from)?)
}

pub(super) fn apply(store: &Postgres, contract: bool) -> Result<Schema, OpenError> {
    let migrated = store.block_on(async {
        let lease = store.lease().await?;
        let migrated = postgres::migrate(&lease, SCHEMA, &MIGRATIONS, contract).await?;
        lease.release();
        Ok::<_, Error>(migrated)
    });
    Ok(migrated.map_err(StoreError::from)?)
}
