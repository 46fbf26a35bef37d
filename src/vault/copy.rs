//! A copy of the vault in PostgreSQL as one file, which is an embedded vault: for evidence, and to
//! go on without a server. It holds what is there at one moment, in use or not.

use std::path::Path;

use super::VaultError;
use super::postgres::Database;
use super::sql::Sql;
use super::sqlite::Sqlite;

/// Some rows at a time.
const FETCH: &str = "FETCH 1000 FROM copied";

/// For each table, what is read and where each row goes.
const TABLES: [[&str; 2]; 6] = [
    [
        "DECLARE copied CURSOR FOR SELECT scope, wrapped, wrapped_by, created_at, destroyed_at,
         destroyed_in FROM grantlog_vault.data_key",
        "INSERT INTO grantlog_vault.data_key (scope, wrapped, wrapped_by, created_at, destroyed_at,
         destroyed_in) VALUES ($1, $2, $3, $4, $5, $6)",
    ],
    [
        "DECLARE copied CURSOR FOR SELECT identity, subject FROM grantlog_vault.subject",
        "INSERT INTO grantlog_vault.subject (identity, subject) VALUES ($1, $2)",
    ],
    [
        "DECLARE copied CURSOR FOR SELECT grant_id, subject, sealed, updated_at
         FROM grantlog_vault.upstream_token",
        "INSERT INTO grantlog_vault.upstream_token (grant_id, subject, sealed, updated_at)
         VALUES ($1, $2, $3, $4)",
    ],
    [
        "DECLARE copied CURSOR FOR SELECT owner, version, sealed, created_at
         FROM grantlog_vault.secret",
        "INSERT INTO grantlog_vault.secret (owner, version, sealed, created_at)
         VALUES ($1, $2, $3, $4)",
    ],
    [
        "DECLARE copied CURSOR FOR SELECT kid, alg, public_jwk, sealed, created_at, not_before,
         retires_at FROM grantlog_vault.signing_key",
        "INSERT INTO grantlog_vault.signing_key (kid, alg, public_jwk, sealed, created_at,
         not_before, retires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    ],
    [
        "DECLARE copied CURSOR FOR SELECT name, version FROM grantlog_vault.cache_version",
        "INSERT INTO grantlog_vault.cache_version (name, version) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET version = excluded.version",
    ],
];

/// Writes the vault to a new private file. Blocks.
pub(super) fn copy_to(database: &Database, target: &Path) -> Result<(), VaultError> {
    database.snapshot(|from| Sqlite::create(target, |to| copy_tables(from, to)))
}

fn copy_tables(from: &dyn Sql, to: &dyn Sql) -> Result<(), VaultError> {
    for [declare, insert] in TABLES {
        from.execute(declare, &[])?;
        loop {
            let rows = from.rows(FETCH, &[])?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                to.execute(insert, &row.values())?;
            }
        }
        from.execute("CLOSE copied", &[])?;
    }
    Ok(())
}
