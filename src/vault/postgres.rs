//! The vault's rows in a PostgreSQL schema of their own, `grantlog_vault`, shared by any number of nodes.
//!
//! Read committed throughout: what two nodes do at once is decided by unique keys, references and
//! updates that name what they replace, never by a lock that a process or a session holds. Work
//! that lost a race, or its connection, runs again on what is there then. Where that was lost with
//! the answer to the commit, it may find its own work done. Nor does it run beside that: the
//! transaction in doubt holds the rows that it changed until it has ended, and the next waits.
//!
//! The closures that do the work are the same as for a file and wait for each answer, so all of
//! this is for threads that may block.

use std::time::{Duration, Instant};

use futures_util::future::{join3, try_join_all};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::VaultError;
use super::sql::{Field, Row, Sql, Value};
use super::store::count_transaction;
use crate::causes::chain;
use crate::migrations::{Migration, Schema, postgres as migrations};
use crate::postgres::{BEGIN_READ, BEGIN_WRITE, Error, Lease, Postgres, within};

const MIGRATIONS: [Migration; 2] = [
    Migration::expand(include_str!(
        "../../migrations/vault/postgres/0001_vault.sql"
    )),
    Migration::expand(include_str!(
        "../../migrations/vault/postgres/0002_seals.sql"
    )),
];

const SCHEMA: &str = "grantlog_vault";

/// Begins a transaction to which nothing changes; between two statements, a file is written.
const BEGIN_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
    SET LOCAL statement_timeout = '15s'; SET LOCAL idle_in_transaction_session_timeout = '60s'";

/// How often work is tried, and how long before the second time; then twice as long, and so on.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// An attempt that took so long was not refused but met silence, and the next would, too.
const ENOUGH: Duration = Duration::from_secs(10);

/// What another node's transaction can do to ours that its repetition heals.
const RACES: [SqlState; 2] = [SqlState::UNIQUE_VIOLATION, SqlState::FOREIGN_KEY_VIOLATION];

/// A handle to the rows; clones share its connections.
#[derive(Clone, Debug)]
pub(super) struct Database {
    postgres: Postgres,
    is_read_only: bool,
}

impl Database {
    /// A handle; nothing is looked at yet.
    pub fn new(postgres: Postgres) -> Self {
        let is_read_only = false;
        Self {
            postgres,
            is_read_only,
        }
    }

    /// Makes the tables or brings them up to date, if `migrate`. Any number of nodes may do so at
    /// once. Blocks.
    pub fn open(postgres: Postgres, migrate: bool) -> Result<Self, VaultError> {
        let database = Self::new(postgres);
        let schema = database.migrations()?.check_but_behind()?;
        if migrate && schema.applied < schema.needed {
            database.migrate(false)?.check()?;
        } else {
            schema.check()?;
        }
        Ok(database)
    }

    /// Opens it for reading alone; its tables must be up to date. Blocks.
    pub fn open_read_only(postgres: Postgres) -> Result<Self, VaultError> {
        let database = Self {
            postgres,
            is_read_only: true,
        };
        database.migrations()?.check()?;
        Ok(database)
    }

    /// See [`Store::write`](super::store::Store::write).
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&dyn Sql) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, VaultError> {
        let database = self.clone();
        tokio::task::spawn_blocking(move || database.write_blocking(work))
            .await
            .map_err(|_| VaultError::Stopped)?
    }

    pub fn write_blocking<T>(
        &self,
        work: impl Fn(&dyn Sql) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        if self.is_read_only {
            return Err(VaultError::ReadOnly);
        }
        let answer = self.repeating(|database| {
            database.transaction(BEGIN_WRITE, |transaction| work(transaction))
        })?;
        count_transaction();
        Ok(answer)
    }

    /// See [`Store::read`](super::store::Store::read).
    pub fn read<T>(
        &self,
        work: impl Fn(&dyn Sql) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        self.repeating(|database| work(&Reading(&database.postgres)))
    }

    /// How far its tables are; it need not exist.
    pub fn migrations(&self) -> Result<Schema, VaultError> {
        self.repeating(|database| {
            let found = database.postgres.block_on(async {
                let lease = database.postgres.lease().await?;
                let found = migrations::schema(&lease, SCHEMA, &MIGRATIONS).await?;
                lease.release();
                Ok::<_, Error>(found)
            });
            Ok(found?)
        })
    }

    /// Makes the tables or brings them up to date, with contractions if `contract`.
    pub fn migrate(&self, contract: bool) -> Result<Schema, VaultError> {
        let migrated = self.postgres.block_on(async {
            let lease = self.postgres.lease().await?;
            let migrated = migrations::migrate(&lease, SCHEMA, &MIGRATIONS, contract).await?;
            lease.release();
            Ok::<_, Error>(migrated)
        });
        Ok(migrated?)
    }

    /// Runs `work` on what is there at one moment. Blocks.
    pub fn snapshot<T>(
        &self,
        work: impl FnOnce(&dyn Sql) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        self.transaction(BEGIN_SNAPSHOT, |transaction| work(transaction))
    }

    fn repeating<T>(
        &self,
        attempt: impl Fn(&Self) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        let began = Instant::now();
        let (mut attempts, mut pause, mut in_doubt) = (1, PAUSE, None);
        loop {
            let error = match attempt(self) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let is_enough = attempts == ATTEMPTS || began.elapsed() >= ENOUGH;
            if is_enough || !is_worth_repeating(&error) {
                // That this attempt has certainly failed says nothing of one before it.
                return Err(in_doubt.unwrap_or(error));
            }
            tracing::debug!(error = chain(&error), "vault transaction runs again");
            let is_in_doubt = matches!(error, VaultError::Unsettled(_));
            if is_in_doubt || matches!(error, VaultError::Postgres(Error::Unreachable(_))) {
                // The other connections are no better.
                self.postgres.rest();
            }
            in_doubt = is_in_doubt.then_some(error).or(in_doubt);
            std::thread::sleep(pause);
            (attempts, pause) = (attempts + 1, pause * 2);
        }
    }

    fn transaction<T>(
        &self,
        begin: &str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        let transaction = Transaction {
            postgres: &self.postgres,
            lease: self.postgres.block_on(self.postgres.lease())?,
        };
        transaction.batch(begin)?;
        match work(&transaction) {
            Ok(answer) => transaction.commit().map(|()| answer),
            Err(error) => {
                if transaction.batch("ROLLBACK").is_ok() {
                    transaction.lease.release();
                }
                Err(error)
            }
        }
    }
}

/// Whether the same work may succeed when it is begun anew.
fn is_worth_repeating(error: &VaultError) -> bool {
    match error {
        VaultError::LostRace | VaultError::Unsettled(_) => true,
        VaultError::Postgres(error) => {
            let cut_off = matches!(
                error,
                Error::Unreachable(_)
                    | Error::Refused {
                        survived: false,
                        ..
                    }
            );
            cut_off || error.lost_race() || RACES.iter().any(|race| error.is(race))
        }
        _ => false,
    }
}

/// A transaction in several statements.
struct Transaction<'p> {
    postgres: &'p Postgres,
    lease: Lease,
}

impl Transaction<'_> {
    fn batch(&self, sql: &str) -> Result<(), VaultError> {
        let exchange = within(self.lease.batch_execute(sql));
        Ok(self.postgres.block_on(exchange)?)
    }

    fn commit(self) -> Result<(), VaultError> {
        let exchange = within(self.lease.batch_execute("COMMIT"));
        match self.postgres.block_on(exchange) {
            Ok(()) => {
                self.lease.release();
                Ok(())
            }
            Err(refused @ Error::Refused { survived: true, .. })
                if !refused.is(&SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN) =>
            {
                Err(refused.into())
            }
            Err(unknown) => Err(VaultError::Unsettled(unknown)),
        }
    }
}

impl Sql for Transaction<'_> {
    fn execute(&self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, VaultError> {
        let typed = typed(values);
        let exchange = within(self.lease.execute_typed(sql, &typed));
        Ok(self.postgres.block_on(exchange)?)
    }

    fn rows(&self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, VaultError> {
        let typed = typed(values);
        let exchange = within(self.lease.query_typed(sql, &typed));
        self.postgres.block_on(exchange)?.iter().map(row).collect()
    }

    /// All are sent before the first is answered.
    fn execute_each(&self, sql: &'static str, rows: &[Row]) -> Result<(), VaultError> {
        let values: Vec<_> = rows.iter().map(Row::values).collect();
        let typed: Vec<_> = values.iter().map(|values| typed(values)).collect();
        let all = typed
            .iter()
            .map(|typed| self.lease.execute_typed(sql, typed));
        self.postgres.block_on(within(try_join_all(all)))?;
        Ok(())
    }
}

/// Each statement is a transaction of its own, in one round trip.
struct Reading<'p>(&'p Postgres);

impl Sql for Reading<'_> {
    fn execute(&self, _: &'static str, _: &[Value<'_>]) -> Result<u64, VaultError> {
        Err(VaultError::ReadOnly)
    }

    fn rows(&self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, VaultError> {
        let lease = self.0.block_on(self.0.lease())?;
        let typed = typed(values);
        // Sent in this order before any is answered.
        let (begun, rows, ended) = self.0.block_on(join3(
            within(lease.batch_execute(BEGIN_READ)),
            within(lease.query_typed(sql, &typed)),
            within(lease.batch_execute("COMMIT")),
        ));
        if begun.is_ok() && ended.is_ok() {
            lease.release();
        }
        begun?;
        let rows = rows?;
        ended?;
        rows.iter().map(row).collect()
    }
}

fn typed<'a>(values: &'a [Value<'a>]) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    let one = |value: &'a Value<'a>| -> (&'a (dyn ToSql + Sync), Type) {
        match value {
            Value::Null => (&None::<&str>, Type::UNKNOWN),
            Value::Int(number) => (number, Type::INT8),
            Value::Text(text) => (text, Type::TEXT),
            Value::Bytes(bytes) => (bytes, Type::BYTEA),
        }
    };
    values.iter().map(one).collect()
}

fn row(row: &tokio_postgres::Row) -> Result<Row, VaultError> {
    let field = |column: usize| {
        let other = |_| VaultError::Column(column);
        let kind = row.columns()[column].type_();
        let field = if *kind == Type::INT8 {
            row.try_get::<_, Option<i64>>(column)
                .map(|it| it.map(Field::Int))
        } else if *kind == Type::BYTEA {
            row.try_get::<_, Option<Vec<u8>>>(column)
                .map(|it| it.map(Field::Bytes))
        } else {
            row.try_get::<_, Option<String>>(column)
                .map(|it| it.map(Field::Text))
        };
        Ok(field.map_err(other)?.unwrap_or(Field::Null))
    };
    let fields = (0..row.len()).map(field);
    Ok(Row::new(fields.collect::<Result<_, VaultError>>()?))
}
