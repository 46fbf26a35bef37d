//! Carrying the vault's rows from one store into another, whichever the two are: a copy of the vault
//! in PostgreSQL as one file, for evidence and to go on without a server; or a file's vault into
//! PostgreSQL. Ciphertext is carried as it is: its associated data is the row's identity, which is
//! the same everywhere, and the master key is not in the store.

use std::path::Path;

use super::postgres::Database;
use super::sql::{Row, Sql, Value};
use super::sqlite::Sqlite;
use super::{Vault, VaultError};
use crate::postgres::Postgres;

struct Table {
    name: &'static str,
    /// Some rows behind a key, in its order; their first columns are their keys.
    page: &'static str,
    /// What every key is behind.
    start: &'static [Value<'static>],
    insert: &'static str,
    empty: &'static str,
}

const NO_BYTES: Value<'static> = Value::Bytes(&[]);
const NO_TEXT: Value<'static> = Value::Text(Some(""));

/// In an order that references allow.
const TABLES: [Table; 7] = [
    Table {
        name: "data_key",
        page: "SELECT scope, wrapped, wrapped_by, created_at, destroyed_at, destroyed_in
               FROM grantlog_vault.data_key WHERE scope > $1 ORDER BY scope LIMIT 1000",
        start: &[NO_BYTES],
        insert: "INSERT INTO grantlog_vault.data_key (scope, wrapped, wrapped_by, created_at, destroyed_at,
                 destroyed_in) VALUES ($1, $2, $3, $4, $5, $6)",
        empty: "DELETE FROM grantlog_vault.data_key",
    },
    Table {
        name: "subject",
        page: "SELECT identity, subject FROM grantlog_vault.subject
               WHERE identity > $1 ORDER BY identity LIMIT 1000",
        start: &[NO_BYTES],
        insert: "INSERT INTO grantlog_vault.subject (identity, subject) VALUES ($1, $2)",
        empty: "DELETE FROM grantlog_vault.subject",
    },
    Table {
        name: "upstream_token",
        page: "SELECT grant_id, subject, sealed, updated_at, claimed_until
               FROM grantlog_vault.upstream_token WHERE grant_id > $1 ORDER BY grant_id LIMIT 1000",
        start: &[NO_BYTES],
        insert: "INSERT INTO grantlog_vault.upstream_token (grant_id, subject, sealed, updated_at,
                 claimed_until) VALUES ($1, $2, $3, $4, $5)",
        empty: "DELETE FROM grantlog_vault.upstream_token",
    },
    Table {
        name: "secret",
        // Versions first: databases differ in how they order text.
        page: "SELECT version, owner, sealed, created_at FROM grantlog_vault.secret
               WHERE (version, owner) > ($1, $2) ORDER BY version, owner LIMIT 1000",
        start: &[NO_BYTES, NO_TEXT],
        insert: "INSERT INTO grantlog_vault.secret (version, owner, sealed, created_at)
                 VALUES ($1, $2, $3, $4)",
        empty: "DELETE FROM grantlog_vault.secret",
    },
    Table {
        name: "signing_key",
        page: "SELECT kid, alg, public_jwk, sealed, created_at, not_before, retires_at
               FROM grantlog_vault.signing_key WHERE kid > $1 ORDER BY kid LIMIT 1000",
        start: &[NO_TEXT],
        insert: "INSERT INTO grantlog_vault.signing_key (kid, alg, public_jwk, sealed, created_at,
                 not_before, retires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        empty: "DELETE FROM grantlog_vault.signing_key",
    },
    Table {
        name: "cache_version",
        page: "SELECT name, version FROM grantlog_vault.cache_version
               WHERE name > $1 ORDER BY name LIMIT 1000",
        start: &[NO_TEXT],
        insert: "INSERT INTO grantlog_vault.cache_version (name, version) VALUES ($1, $2)",
        empty: "DELETE FROM grantlog_vault.cache_version",
    },
    Table {
        name: "seals",
        page: "SELECT first, tags FROM grantlog_vault.seals
               WHERE first > $1 ORDER BY first LIMIT 1000",
        start: &[Value::Int(Some(-1))],
        insert: "INSERT INTO grantlog_vault.seals (first, tags) VALUES ($1, $2)",
        empty: "DELETE FROM grantlog_vault.seals",
    },
];

const COUNT: &str = "SELECT (SELECT count(*) FROM grantlog_vault.data_key)
    + (SELECT count(*) FROM grantlog_vault.subject) + (SELECT count(*) FROM grantlog_vault.upstream_token)
    + (SELECT count(*) FROM grantlog_vault.secret) + (SELECT count(*) FROM grantlog_vault.signing_key)
    + (SELECT count(*) FROM grantlog_vault.cache_version) + (SELECT count(*) FROM grantlog_vault.seals)";

impl Vault {
    /// Whether a PostgreSQL database holds nothing of a vault. Blocks.
    ///
    /// # Errors
    /// The database failed.
    pub fn is_absent_in(postgres: Postgres) -> Result<bool, VaultError> {
        let database = Database::new(postgres);
        if database.migrations()?.applied == 0 {
            return Ok(true);
        }
        // Every vault has the system's key before it has anything else.
        let first = |sql: &dyn Sql| Ok(page(sql, &TABLES[0], None)?.is_empty());
        database.read(first)
    }

    /// Puts this vault in the place of whatever vault the database holds, in one transaction; tells
    /// how many rows are there after some. Nobody may write to either meanwhile. Blocks.
    ///
    /// # Errors
    /// One of the two failed; then the database is as it was.
    pub fn carry_to(&self, postgres: Postgres, done: &dyn Fn(u64)) -> Result<(), VaultError> {
        let database = Database::open(postgres, true)?;
        database.write_blocking(|to| self.0.store.read(|from| copy_tables(from, to, done)))
    }

    /// The first table in which this vault and that of the database are not the same, byte for byte;
    /// tells how many rows were the same after some. Blocks.
    ///
    /// # Errors
    /// One of the two failed.
    pub fn difference(
        &self,
        postgres: Postgres,
        done: &dyn Fn(u64),
    ) -> Result<Option<&'static str>, VaultError> {
        let database = Database::open_read_only(postgres)?;
        database.snapshot(|other| self.0.store.read(|one| compare_tables(one, other, done)))
    }

    /// How many rows all tables have together. Blocks.
    ///
    /// # Errors
    /// The store failed.
    pub fn rows(&self) -> Result<u64, VaultError> {
        let row = self.0.store.read(|sql| sql.row(COUNT, &[]))?;
        let count: i64 = row.ok_or(VaultError::RowMissing)?.take(0)?;
        Ok(count.unsigned_abs())
    }

    /// Whether the master keys that were given open every data key, not only the system's. Blocks.
    ///
    /// # Errors
    /// [`VaultError::WrongMasterKey`] where not; the store failed.
    pub fn expect_master_keys(&self) -> Result<(), VaultError> {
        let wrappers = self.0.store.read(|sql| {
            sql.rows(
                "SELECT DISTINCT wrapped_by FROM grantlog_vault.data_key WHERE wrapped IS NOT NULL",
                &[],
            )
        })?;
        for mut wrapper in wrappers {
            let id: Vec<u8> = wrapper.take(0)?;
            if !self.0.master_keys.know(&id) {
                return Err(VaultError::WrongMasterKey);
            }
        }
        Ok(())
    }
}

/// Writes the vault to a new private file. Blocks.
pub(super) fn copy_to(database: &Database, target: &Path) -> Result<(), VaultError> {
    database.snapshot(|from| Sqlite::create(target, |to| copy_tables(from, to, &|_| {})))
}

fn copy_tables(from: &dyn Sql, to: &dyn Sql, done: &dyn Fn(u64)) -> Result<(), VaultError> {
    let mut copied = 0;
    for table in &TABLES {
        to.execute(table.empty, &[])?;
        let mut rows = page(from, table, None)?;
        while !rows.is_empty() {
            to.execute_each(table.insert, &rows)?;
            copied += rows.len() as u64;
            done(copied);
            rows = page(from, table, rows.last())?;
        }
    }
    Ok(())
}

fn compare_tables(
    one: &dyn Sql,
    other: &dyn Sql,
    done: &dyn Fn(u64),
) -> Result<Option<&'static str>, VaultError> {
    let mut same = 0;
    for table in &TABLES {
        let mut last = None;
        loop {
            let mut rows = page(one, table, last.as_ref())?;
            if rows != page(other, table, last.as_ref())? {
                return Ok(Some(table.name));
            }
            same += rows.len() as u64;
            done(same);
            last = rows.pop();
            if last.is_none() {
                break;
            }
        }
    }
    Ok(None)
}

/// The next rows of a table.
fn page(sql: &dyn Sql, table: &Table, behind: Option<&Row>) -> Result<Vec<Row>, VaultError> {
    let keys = table.start.len();
    let key = behind.map(|row| row.values()[..keys].to_vec());
    sql.rows(table.page, &key.unwrap_or_else(|| table.start.to_vec()))
}
