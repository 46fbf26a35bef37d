//! The API keys there are and were. Hashes of them stay in the log.

use domain::event::Event;
use domain::id::{ApiKeyId, OperatorId, ProxyId};
use domain::{Timestamp, api_key};
use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde::Serialize;

use crate::page::Listed;
use crate::recorded::Seen;
use crate::sql::{Columns, micros};
use crate::table::{BadStream, Projection, id_in};

/// A key that admits a script to one proxy, ended ones included.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ApiKey {
    /// Its id.
    #[serde(rename = "id")]
    pub api_key_id: ApiKeyId,
    /// What operators call it.
    pub name: String,
    /// The only proxy that admits it.
    pub proxy_id: ProxyId,
    /// What it may do there, space-separated.
    pub scopes: String,
    /// Who asked for it.
    pub issued_by: OperatorId,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it ends by itself; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was ended before its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

impl Listed for ApiKey {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "name",
        "proxy_id",
        "scopes",
        "issued_by",
        "issued_at",
        "expires_at",
        "revoked_at",
    ];
}

pub(crate) struct ApiKeys;

impl Projection for ApiKeys {
    type Key = ApiKeyId;
    type Row = ApiKey;
    type Memo = ();

    fn key(seen: &Seen<'_>) -> Result<Option<ApiKeyId>, BadStream> {
        match seen.event() {
            Event::ApiKey(_) => id_in(seen.stream(), "api-key-").map(Some),
            Event::Provider(_)
            | Event::Proxy(_)
            | Event::Client(_)
            | Event::Grant(_)
            | Event::Subject(_)
            | Event::Operator(_)
            | Event::Audit(_)
            | Event::Key(_) => Ok(None),
        }
    }

    fn fold(row: Option<ApiKey>, seen: &Seen<'_>) -> Option<ApiKey> {
        let Event::ApiKey(event) = seen.event() else {
            return row;
        };
        match (row, event) {
            (None, api_key::Event::Issued(issued)) => Some(ApiKey {
                api_key_id: id_in(seen.stream(), "api-key-").ok()?,
                name: issued.name.clone(),
                proxy_id: issued.proxy_id,
                scopes: issued.scopes.to_string(),
                issued_by: issued.by,
                issued_at: seen.at(),
                expires_at: issued.expires_at,
                revoked_at: None,
            }),
            (Some(row), api_key::Event::Revoked(_)) => Some(ApiKey {
                revoked_at: row.revoked_at.or(Some(seen.at())),
                ..row
            }),
            (row @ Some(_), api_key::Event::Issued(_))
            | (row @ None, api_key::Event::Revoked(_)) => row,
        }
    }

    fn load(db: &Connection, key: &ApiKeyId) -> rusqlite::Result<Option<ApiKey>> {
        db.prepare_cached("SELECT * FROM api_keys WHERE api_key_id = ?")?
            .query_row([key.to_string()], read)
            .optional()
    }

    fn store(db: &Connection, (): &mut (), rows: &[(&ApiKeyId, &ApiKey)]) -> rusqlite::Result<()> {
        let mut store = db.prepare_cached(
            "INSERT OR REPLACE INTO api_keys VALUES (:api_key_id, :name, :proxy_id, :scopes, \
             :issued_by, :issued_at, :expires_at, :revoked_at)",
        )?;
        for (key, row) in rows {
            store.execute(named_params! {
                ":api_key_id": key.to_string(),
                ":name": row.name,
                ":proxy_id": row.proxy_id.0,
                ":scopes": row.scopes,
                ":issued_by": row.issued_by.to_string(),
                ":issued_at": micros(row.issued_at),
                ":expires_at": row.expires_at.map(micros),
                ":revoked_at": row.revoked_at.map(micros),
            })?;
        }
        Ok(())
    }
}

pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<ApiKey> {
    Ok(ApiKey {
        api_key_id: row.parsed("api_key_id")?,
        name: row.get("name")?,
        proxy_id: ProxyId(row.get("proxy_id")?),
        scopes: row.get("scopes")?,
        issued_by: row.parsed("issued_by")?,
        issued_at: row.at("issued_at")?,
        expires_at: row.at_opt("expires_at")?,
        revoked_at: row.at_opt("revoked_at")?,
    })
}
