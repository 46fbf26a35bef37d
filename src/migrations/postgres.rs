//! Migrations of a PostgreSQL schema: the rows of its table `migrations`, each applied once, by whichever node comes first.
//!
//! Nodes that start at the same time may all try: the number is a primary key, so one of them wins and the others look again.
//! No lock is taken for it that a pooling proxy or a compatible engine would not know.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row};

use super::{Migration, Schema, due};
use crate::causes::chain;
use crate::postgres::{Error, within};

/// How often a migration that met another node, or had to wait, is tried again, and after which pause.
const ATTEMPTS: u32 = 40;
const PAUSE: Duration = Duration::from_millis(250);

/// A migration that waits for a reader makes all who come after it wait, too, so it waits for a second only: nodes go on
/// working between two attempts. What it has locked when its process stops in the middle is free after 5 s. Its statements take
/// as long as they take.
const BEGIN: &str = "BEGIN; SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = 0; \
    SET LOCAL idle_in_transaction_session_timeout = '5s'";

/// Not a migration, and smaller than any: the row that is there while a move fills the store.
const UNFINISHED: i32 = 0;

/// How far `schema` is; it need not exist.
///
/// # Errors
/// The server cannot be asked.
pub async fn schema(
    client: &Client,
    schema: &str,
    migrations: &[Migration],
) -> Result<Schema, Error> {
    let one = |sql: String| async move { within(client.query_typed_one(&sql, &[])).await };
    let number = |row: &Row, column| u32::try_from(row.get::<_, i64>(column)).unwrap_or(u32::MAX);
    let count = format!(
        "SELECT count(*) FILTER (WHERE number > {UNFINISHED}), count(*) FILTER (WHERE number = {UNFINISHED}) \
         FROM {schema}.migrations"
    );
    let (applied, unfinished) = match one(count).await {
        Ok(row) => (number(&row, 0), number(&row, 1) > 0),
        Err(error)
            if error.is(&SqlState::UNDEFINED_TABLE) || error.is(&SqlState::INVALID_SCHEMA_NAME) =>
        {
            (0, false)
        }
        Err(error) => return Err(error),
    };
    // Whoever applies what this program does not know has made the column.
    let minimum = if applied as usize > migrations.len() {
        let last = "SELECT coalesce(max(number), 0)::bigint FROM";
        number(
            &one(format!("{last} {schema}.migrations WHERE contracts")).await?,
            0,
        )
    } else {
        0
    };
    Ok(Schema {
        unfinished,
        ..Schema::new(applied, minimum, migrations)
    })
}

/// Applies those of `migrations` that `schema` does not have, contractions only if `contract` or if the schema is new; creates
/// it unless somebody has. Returns how far it is then, which need not be far enough: see [`Schema::check`].
///
/// # Errors
/// The server cannot be asked, or refuses one of them.
pub async fn migrate(
    client: &Client,
    schema: &str,
    migrations: &[Migration],
    contract: bool,
) -> Result<Schema, Error> {
    let mut attempts = 0;
    let mut found = self::schema(client, schema, migrations).await?;
    let contract = contract || found.applied == 0;
    // The last offer that the engine refused: next it is recorded without being made.
    let mut declined = 0;
    while let Some((number, migration)) = due(found.applied, migrations, contract).next() {
        let sql = if number == declined {
            ""
        } else {
            migration.sql
        };
        match apply(client, schema, number, Migration { sql, ..*migration }).await {
            Err(error) if met_another(&error) && attempts < ATTEMPTS => {
                attempts += 1;
                within(client.batch_execute("ROLLBACK")).await?;
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) if migration.optional && number != declined && is_refused(&error) => {
                tracing::warn!(
                    error = chain(&error),
                    schema,
                    number,
                    "the database goes without a migration"
                );
                within(client.batch_execute("ROLLBACK")).await?;
                declined = number;
            }
            other => other?,
        }
        found = self::schema(client, schema, migrations).await?;
    }
    Ok(found)
}

async fn apply(
    client: &Client,
    schema: &str,
    number: u32,
    migration: Migration,
) -> Result<(), Error> {
    let contracts = migration.contracts;
    let record = format!(
        "INSERT INTO {schema}.migrations (number, contracts) VALUES ({number}, {contracts})"
    );
    within(async {
        client.batch_execute(BEGIN).await?;
        make_table(client, schema).await?;
        Ok::<_, Error>(client.batch_execute(&record).await?)
    })
    .await?;
    client.batch_execute(migration.sql).await?;
    within(client.batch_execute("COMMIT")).await
}

/// Makes the schema and its table of migrations, in the transaction that is open, unless they are there.
async fn make_table(client: &Client, schema: &str) -> Result<(), Error> {
    let exists =
        format!("SELECT 1 FROM information_schema.schemata WHERE schema_name = '{schema}'");
    if client.query_typed_opt(&exists, &[]).await?.is_none() {
        // Asks for a right on the database that a schema made beforehand does without.
        client
            .batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS {schema}"))
            .await?;
    }
    let table = format!(
        "CREATE TABLE IF NOT EXISTS {schema}.migrations \
         (number integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now()); \
         ALTER TABLE {schema}.migrations ADD COLUMN IF NOT EXISTS contracts boolean NOT NULL DEFAULT false"
    );
    Ok(client.batch_execute(&table).await?)
}

/// Says in the transaction that is open that not everything is in the store yet, which need not have any of its migrations;
/// no program uses it from then on.
///
/// # Errors
/// The server cannot be asked, or refuses.
pub async fn begin_filling(client: &Client, schema: &str) -> Result<(), Error> {
    let mark = format!(
        "INSERT INTO {schema}.migrations (number) VALUES ({UNFINISHED}) ON CONFLICT DO NOTHING"
    );
    within(async {
        make_table(client, schema).await?;
        Ok::<_, Error>(client.batch_execute(&mark).await?)
    })
    .await
}

/// Says in the transaction that is open that everything is there.
///
/// # Errors
/// The server cannot be asked, or refuses.
pub async fn end_filling(client: &Client, schema: &str) -> Result<(), Error> {
    let unmark = format!("DELETE FROM {schema}.migrations WHERE number = {UNFINISHED}");
    within(client.batch_execute(&unmark)).await
}

/// The marks of an engine that does not know what it is asked to make, or does not let this user.
fn is_refused(error: &Error) -> bool {
    [
        SqlState::FEATURE_NOT_SUPPORTED,
        SqlState::SYNTAX_ERROR,
        SqlState::UNDEFINED_OBJECT,
        SqlState::INSUFFICIENT_PRIVILEGE,
    ]
    .iter()
    .any(|code| error.is(code))
}

/// The marks of another node that does the same at the same time, or of work that was in the way.
fn met_another(error: &Error) -> bool {
    error.lost_race()
        || [
            SqlState::LOCK_NOT_AVAILABLE,
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
