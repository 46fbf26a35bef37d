//! Opening the shared store: its schema and its connections.

use super::super::Options;
use super::super::readers::Readers;
use super::super::types::{Migrations, OpenError, StoreError};
use super::seen::Seen;
use super::{PostgresBackend, PostgresReaders};
use crate::postgres::{self, Error, Postgres};

const SCHEMA: &str = "grantlog_log";
const MIGRATIONS: [&str; 1] = [include_str!(
    "../../../migrations/log/postgres/0001_log.sql"
)];

/// How many connections one log uses at most: the writer's, the follower's, and those of reads.
const CONNECTIONS: usize = 10;

/// Opens the log at `url` for writing, see [`Log::open_postgres`](super::super::Log::open_postgres).
///
/// # Errors
/// See [`OpenError`].
pub fn open(url: &str, options: Options) -> Result<(PostgresBackend, Readers), OpenError> {
    let store = Postgres::new(url, CONNECTIONS).map_err(StoreError::from)?;
    let Migrations { applied, known } = check(&store)?;
    if applied < known && !options.migrate {
        return Err(OpenError::NeedsMigration { applied, known });
    }
    if applied < known {
        let migrated = store.block_on(async {
            let lease = store.lease().await?;
            postgres::migrate(&lease, SCHEMA, &MIGRATIONS).await?;
            lease.release();
            Ok::<_, Error>(())
        });
        migrated.map_err(StoreError::from)?;
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
    match check(&store)? {
        Migrations { applied, known } if applied < known => {
            Err(OpenError::NeedsMigration { applied, known })
        }
        _ => Ok(Readers::Postgres(PostgresReaders::new(
            store,
            Seen::default(),
        ))),
    }
}

/// How far the schema of the log at `url` is; it need not exist.
///
/// # Errors
/// The server cannot be asked, or the log is newer than this program.
pub fn migrations(url: &str) -> Result<Migrations, OpenError> {
    check(&Postgres::new(url, 1).map_err(StoreError::from)?)
}

fn check(store: &Postgres) -> Result<Migrations, OpenError> {
    let applied = store.block_on(async {
        let lease = store.lease().await?;
        let applied = postgres::applied(&lease, SCHEMA).await?;
        lease.release();
        Ok::<_, Error>(applied)
    });
    let applied = applied.map_err(StoreError::from)?;
    let known = MIGRATIONS.len() as u32;
    if applied > known {
        return Err(OpenError::TooNew { applied, known });
    }
    Ok(Migrations { applied, known })
}
