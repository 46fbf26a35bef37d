//! Clients that ever registered, and how often people authorized them.

use domain::client::metadata::ClientMetadata;
use domain::event::Event;
use domain::id::{ClientId, ProxyId};
use domain::{Timestamp, client, grant};
use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde::Serialize;

use crate::page::Listed;
use crate::recorded::Seen;
use crate::sql::{self, Columns, damaged, micros};
use crate::table::{BadStream, Projection, id_in};

/// A client that registered itself, gone ones included.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Client {
    /// Its id.
    pub client_id: ClientId,
    /// Whether it is still there.
    pub status: Status,
    /// What it calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// Where it registered.
    pub proxy_id: ProxyId,
    /// When it registered.
    pub registered_at: Timestamp,
    /// When it last replaced its registration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
    /// When a person first authorized it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_authorized_at: Option<Timestamp>,
    /// When a person last authorized it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_authorized_at: Option<Timestamp>,
    /// When it was removed or expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How many grants people gave it.
    pub grants: u32,
    /// What it says about itself.
    pub metadata: ClientMetadata,
    /// Where its registration stands in the log.
    pub position: u64,
}

/// Whether a client is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It is.
    Registered,
    /// It was taken away, by itself or an operator.
    Removed,
    /// It was never used and was taken away.
    Expired,
}

impl Status {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Removed => "removed",
            Self::Expired => "expired",
        }
    }
}

impl std::str::FromStr for Status {
    type Err = BadStatus;
    fn from_str(text: &str) -> Result<Self, BadStatus> {
        match text {
            "registered" => Ok(Self::Registered),
            "removed" => Ok(Self::Removed),
            "expired" => Ok(Self::Expired),
            _ => Err(BadStatus),
        }
    }
}

/// The text names no status of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected registered, removed or expired")]
pub struct BadStatus;

impl Listed for Client {
    const COLUMNS: &'static [&'static str] = &[
        "client_id",
        "status",
        "client_name",
        "proxy_id",
        "registered_at",
        "updated_at",
        "first_authorized_at",
        "last_authorized_at",
        "ended_at",
        "grants",
        "metadata",
        "position",
    ];
}

pub(crate) struct Clients;

impl Projection for Clients {
    type Key = ClientId;
    type Row = Client;
    type Memo = ();

    fn key(seen: &Seen<'_>) -> Result<Option<ClientId>, BadStream> {
        match seen.event() {
            Event::Client(_) => id_in(seen.stream(), "client-").map(Some),
            Event::Grant(event) => Ok(authorized(event)),
            Event::Provider(_)
            | Event::Proxy(_)
            | Event::Subject(_)
            | Event::Operator(_)
            | Event::ApiKey(_)
            | Event::Audit(_)
            | Event::Key(_) => Ok(None),
        }
    }

    fn fold(row: Option<Client>, seen: &Seen<'_>) -> Option<Client> {
        let Event::Client(event) = seen.event() else {
            return row.map(|row| Client {
                grants: row.grants + 1,
                last_authorized_at: Some(seen.at()),
                ..row
            });
        };
        match (row, event) {
            (None, client::Event::Registered(registered)) => Some(begun(registered, seen)),
            (Some(row), client::Event::Updated(updated)) => Some(Client {
                client_name: updated.metadata.client_name.clone(),
                metadata: updated.metadata.clone(),
                updated_at: Some(seen.at()),
                ..row
            }),
            (Some(row), client::Event::FirstAuthorized(_)) => Some(Client {
                first_authorized_at: row.first_authorized_at.or(Some(seen.at())),
                ..row
            }),
            (Some(row), client::Event::Removed(_)) => Some(ended(row, Status::Removed, seen)),
            (Some(row), client::Event::Expired(_)) => Some(ended(row, Status::Expired, seen)),
            (row @ Some(_), client::Event::Registered(_))
            | (
                row @ None,
                client::Event::Updated(_)
                | client::Event::FirstAuthorized(_)
                | client::Event::Removed(_)
                | client::Event::Expired(_),
            ) => row,
        }
    }

    fn load(db: &Connection, key: &ClientId) -> rusqlite::Result<Option<Client>> {
        db.prepare_cached("SELECT * FROM clients WHERE client_id = ?")?
            .query_row([key.to_string()], read)
            .optional()
    }

    fn store(db: &Connection, (): &mut (), rows: &[(&ClientId, &Client)]) -> rusqlite::Result<()> {
        let mut store = db.prepare_cached(
            "INSERT INTO clients VALUES (:position, :client_id, :proxy_id, :client_name, \
             :metadata, :registered_at, :updated_at, :first_authorized_at, :last_authorized_at, \
             :grants, :ended_at, :status) \
             ON CONFLICT (position) DO UPDATE SET client_name = excluded.client_name, \
             metadata = excluded.metadata, updated_at = excluded.updated_at, \
             first_authorized_at = excluded.first_authorized_at, \
             last_authorized_at = excluded.last_authorized_at, grants = excluded.grants, \
             ended_at = excluded.ended_at, status = excluded.status",
        )?;
        for (_, row) in rows {
            store.execute(named_params! {
                ":position": sql::position(row.position),
                ":client_id": row.client_id.to_string(),
                ":proxy_id": row.proxy_id.0,
                ":client_name": row.client_name,
                ":metadata": sql::json(&row.metadata)?,
                ":registered_at": micros(row.registered_at),
                ":updated_at": row.updated_at.map(micros),
                ":first_authorized_at": row.first_authorized_at.map(micros),
                ":last_authorized_at": row.last_authorized_at.map(micros),
                ":grants": row.grants,
                ":ended_at": row.ended_at.map(micros),
                ":status": row.status.as_str(),
            })?;
        }
        Ok(())
    }
}

/// The client that a person just authorized.
fn authorized(event: &grant::Event) -> Option<ClientId> {
    match event {
        grant::Event::LoginSucceeded(login) => Some(login.request.client_id),
        grant::Event::LoginFailed(_)
        | grant::Event::ConsentDenied(_)
        | grant::Event::CodeIssued(_)
        | grant::Event::CodeRedeemed(_)
        | grant::Event::CodeReplayed(_)
        | grant::Event::RefreshTokenRotated(_)
        | grant::Event::RefreshTokenRetried(_)
        | grant::Event::RefreshTokenReused(_)
        | grant::Event::AccessTokenFirstUsed(_)
        | grant::Event::UpstreamTokenRefreshed(_)
        | grant::Event::Revoked(_) => None,
    }
}

fn begun(registered: &client::Registered, seen: &Seen<'_>) -> Client {
    Client {
        client_id: registered.client_id,
        status: Status::Registered,
        client_name: registered.metadata.client_name.clone(),
        proxy_id: registered.proxy_id,
        registered_at: seen.at(),
        updated_at: None,
        first_authorized_at: None,
        last_authorized_at: None,
        ended_at: None,
        grants: 0,
        metadata: registered.metadata.clone(),
        position: seen.recorded.position,
    }
}

fn ended(row: Client, status: Status, seen: &Seen<'_>) -> Client {
    if row.ended_at.is_some() {
        return row;
    }
    Client {
        status,
        ended_at: Some(seen.at()),
        ..row
    }
}

pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Client> {
    Ok(Client {
        client_id: row.parsed("client_id")?,
        status: row.parsed("status")?,
        client_name: row.get("client_name")?,
        proxy_id: ProxyId(row.get("proxy_id")?),
        registered_at: row.at("registered_at")?,
        updated_at: row.at_opt("updated_at")?,
        first_authorized_at: row.at_opt("first_authorized_at")?,
        last_authorized_at: row.at_opt("last_authorized_at")?,
        ended_at: row.at_opt("ended_at")?,
        grants: row.get("grants")?,
        metadata: row.json("metadata")?.ok_or_else(|| damaged("metadata"))?,
        position: row.position("position")?,
    })
}
