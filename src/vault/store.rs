//! Where the rows are: a file of one node, or a PostgreSQL database that any number of nodes share.
//!
//! All that the vault promises is decided above this, once for both: see [`Sql`].

use std::path::Path;

use super::VaultError;
use super::copy::copy_to;
use super::postgres::Database;
use super::sql::Sql;
use super::sqlite::Sqlite;

/// A handle to the rows.
#[derive(Debug)]
pub(super) enum Store {
    Sqlite(Sqlite),
    Postgres(Database),
}

impl Store {
    /// Runs `work` in a transaction; its changes are durable when this returns `Ok`. Where another
    /// node was faster, it runs again on what that one left; where the answer to its commit was
    /// lost, on what may be its own. So once done it must change nothing, and where it answers
    /// whether it did something, no may mean that it had before. Dropping the future neither stops
    /// nor undoes the work.
    pub async fn write<T, W>(&self, work: W) -> Result<T, VaultError>
    where
        T: Send + 'static,
        W: Fn(&dyn Sql) -> Result<T, VaultError> + Send + 'static,
    {
        match self {
            Self::Sqlite(file) => file.write(work).await,
            Self::Postgres(database) => database.write(work).await,
        }
    }

    /// Reads what is committed, for callers that may block. Statements may see each a later state.
    pub fn read<T>(
        &self,
        work: impl Fn(&dyn Sql) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        match self {
            Self::Sqlite(file) => work(&*file.reader()),
            Self::Postgres(database) => database.read(work),
        }
    }

    /// Makes sure that nothing overwritten survives in a file of ours. `false` where readers were
    /// in the way. Blocks.
    pub fn checkpoint(&self) -> Result<bool, VaultError> {
        match self {
            Self::Sqlite(file) => file.checkpoint(),
            Self::Postgres(_) => Ok(true),
        }
    }

    /// Writes a consistent copy, free of deleted rows, to a new private file. Blocks.
    pub fn backup_to(&self, target: &Path) -> Result<(), VaultError> {
        match self {
            Self::Sqlite(file) => file.backup_to(target),
            Self::Postgres(database) => copy_to(database, target),
        }
    }
}

/// Counts a transaction that was committed, for `/metrics`.
pub(super) fn count_transaction() {
    metrics::counter!("grantlog_store_transactions_total", "store" => "vault").increment(1);
}
