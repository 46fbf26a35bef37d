//! Schema migrations: numbered files that only ever add, each applied once, by whichever node comes first.
//!
//! Nodes that start at the same time may all try: the number is a primary key, so one of them wins and the others look again.
//! No lock is taken for it that a pooling proxy or a compatible engine would not know.

use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::Error;

/// How often a node that met another one looks again, and after which pause.
const ATTEMPTS: u32 = 40;
const PAUSE: Duration = Duration::from_millis(250);

/// A migration may wait for readers; nobody else is to wait for it much longer.
const BEGIN: &str = "BEGIN; SET LOCAL lock_timeout = '30s'; SET LOCAL statement_timeout = 0";

/// How many migrations `schema` has; 0 if it does not exist.
///
/// # Errors
/// The server cannot be asked.
pub async fn applied(client: &Client, schema: &str) -> Result<u32, Error> {
    let count = format!("SELECT count(*) FROM {schema}.migrations");
    match client
        .query_typed_one(&count, &[])
        .await
        .map_err(Error::from)
    {
        Ok(row) => Ok(u32::try_from(row.get::<_, i64>(0)).unwrap_or(u32::MAX)),
        Err(error)
            if error.is(&SqlState::UNDEFINED_TABLE) || error.is(&SqlState::INVALID_SCHEMA_NAME) =>
        {
            Ok(0)
        }
        Err(error) => Err(error),
    }
}

/// Applies those of `migrations` that `schema` does not have; creates the schema unless somebody has.
///
/// # Errors
/// The server cannot be asked, or refuses one of them.
pub async fn migrate(client: &Client, schema: &str, migrations: &[&str]) -> Result<(), Error> {
    let mut attempts = 0;
    loop {
        let done = applied(client, schema).await? as usize;
        let Some(migration) = migrations.get(done) else {
            return Ok(());
        };
        match apply(client, schema, done + 1, migration).await {
            Err(error) if met_another(&error) && attempts < ATTEMPTS => {
                attempts += 1;
                client.batch_execute("ROLLBACK").await?;
                tokio::time::sleep(PAUSE).await;
            }
            other => other?,
        }
    }
}

async fn apply(client: &Client, schema: &str, number: usize, migration: &str) -> Result<(), Error> {
    client.batch_execute(BEGIN).await?;
    let exists =
        format!("SELECT 1 FROM information_schema.schemata WHERE schema_name = '{schema}'");
    if client.query_typed_opt(&exists, &[]).await?.is_none() {
        // Asks for a right on the database that a schema made beforehand does without.
        client
            .batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS {schema}"))
            .await?;
    }
    let record = format!(
        "CREATE TABLE IF NOT EXISTS {schema}.migrations \
         (number integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now()); \
         INSERT INTO {schema}.migrations (number) VALUES ({number})"
    );
    client.batch_execute(&record).await?;
    client.batch_execute(migration).await?;
    Ok(client.batch_execute("COMMIT").await?)
}

/// The marks that another node leaves which does the same at the same time.
fn met_another(error: &Error) -> bool {
    error.lost_race()
        || [
            SqlState::UNIQUE_VIOLATION,
            SqlState::DUPLICATE_SCHEMA,
            SqlState::DUPLICATE_TABLE,
            SqlState::DUPLICATE_OBJECT,
            // "tuple concurrently updated"
            SqlState::INTERNAL_ERROR,
        ]
        .iter()
        .any(|code| error.is(code))
}
