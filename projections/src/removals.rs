//! What was removed, and what of it remains: for who refuses it, and who finishes a removal that
//! broke off.

use domain::Timestamp;
use domain::id::ClientId;
use rusqlite::types::Value;

use crate::reader::rows;
use crate::sql::micros;
use crate::{Of, ReadModelError, Reader, clients, providers, proxies};

impl Reader {
    /// Clients that were removed since an instant, each with when.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn removed_clients(
        &self,
        since: Timestamp,
    ) -> Result<Vec<(ClientId, Timestamp)>, ReadModelError> {
        self.read(|db| {
            let query = (REMOVED.to_owned(), vec![Value::Integer(micros(since))]);
            rows(db, query, |row| {
                let client = clients::read(row)?;
                Ok((client.client_id, client.ended_at.unwrap_or(since)))
            })
        })
    }

    /// The clients, proxies and providers that were removed since an instant and of whose grants
    /// some are worth something at `now` all the same.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn removed_with_grants(
        &self,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Of>, ReadModelError> {
        let query = |removed: &str, key: &str| {
            let sql = format!(
                "SELECT * FROM {removed} > ? AND EXISTS \
                 (SELECT 1 FROM grants g WHERE g.{key} = removed.{key} AND g.live_until > ?)"
            );
            (
                sql,
                [since, now].map(|at| Value::Integer(micros(at))).to_vec(),
            )
        };
        self.read(|db| {
            let mut found = rows(db, query(CLIENTS, "client_id"), |row| {
                Ok(Of::Client(clients::read(row)?.client_id))
            })?;
            found.extend(rows(db, query(PROXIES, "proxy_id"), |row| {
                Ok(Of::Proxy(proxies::read(row)?.proxy_id))
            })?);
            found.extend(rows(db, query(PROVIDERS, "provider_id"), |row| {
                Ok(Of::Provider(providers::read(row)?.provider_id))
            })?);
            Ok(found)
        })
    }
}

const REMOVED: &str = "SELECT * FROM clients INDEXED BY clients_removed \
    WHERE status = 'removed' AND ended_at > ?";

// By itself SQLite would go through all that were ever removed.
const CLIENTS: &str = "clients AS removed INDEXED BY clients_removed \
    WHERE status = 'removed' AND ended_at";
const PROXIES: &str = "proxies removed WHERE configured IS NULL AND changed_at";
const PROVIDERS: &str = "providers removed WHERE configured IS NULL AND changed_at";
