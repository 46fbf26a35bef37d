//! Grants, live and past: what was authorized, and how far its tokens have come.

use std::net::IpAddr;

use domain::event::Event;
use domain::id::{ClientId, GrantId, ProviderId, ProxyId, SubjectId};
use domain::{Timestamp, grant};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

use crate::page::Listed;
use crate::recorded::Seen;
use crate::sql::{self, Columns, micros};
use crate::table::{BadStream, Projection, id_in};

/// A grant as it stood at some instant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GrantAt {
    /// The grant.
    #[serde(flatten)]
    pub grant: Grant,
    /// Whether anything can still be done with it.
    pub live: bool,
    /// Since when not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

/// A grant as the log tells it, whatever the time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Grant {
    /// Its id.
    pub grant_id: GrantId,
    /// Who authorized.
    pub subject: SubjectId,
    /// Their address, as the provider told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The client that was authorized.
    pub client_id: ClientId,
    /// Where.
    pub proxy_id: ProxyId,
    /// Where the person logged in.
    pub provider_id: ProviderId,
    /// What was granted, space-separated.
    pub scope: String,
    /// Which protected resource its tokens are for.
    pub resource: String,
    /// Where the code was sent.
    pub redirect_uri: String,
    /// How consent came about.
    pub consent: &'static str,
    /// Where the login came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// When the person logged in.
    pub created_at: Timestamp,
    /// When it ends, whatever is refreshed.
    pub expires_at: Timestamp,
    /// When its code could no longer be redeemed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_expires_at: Option<Timestamp>,
    /// When its code was redeemed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redeemed_at: Option<Timestamp>,
    /// The number of its newest refresh token; 0: it has none.
    pub generation: u32,
    /// How many refreshes there were, retries not counted.
    pub refreshes: u32,
    /// How many access tokens were issued.
    pub access_tokens: u32,
    /// When the last of them ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_tokens_expire_at: Option<Timestamp>,
    /// When its newest refresh token dies unused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_expires_at: Option<Timestamp>,
    /// When it was last refreshed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_refreshed_at: Option<Timestamp>,
    /// When an access token of it was last seen for the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// A stable word for why it was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the operator who revoked it wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Where its first event stands in the log.
    pub first_position: u64,
    /// Where its latest event stands in the log.
    pub last_position: u64,
}

impl Grant {
    /// See [`grant::Ends::live_until`]; when it was revoked, if it was.
    #[must_use]
    pub fn live_until(&self) -> Timestamp {
        if let Some(revoked_at) = self.revoked_at {
            return revoked_at;
        }
        let ends = grant::Ends {
            grant: self.expires_at,
            code: self.code_expires_at.filter(|_| self.redeemed_at.is_none()),
            access_tokens: self.access_tokens_expire_at,
            refresh_token: self.refresh_expires_at,
        };
        ends.live_until()
    }

    /// The grant as it stands at `now`.
    #[must_use]
    pub fn at(self, now: Timestamp) -> GrantAt {
        let end = self.live_until();
        let live = now < end;
        GrantAt {
            ended_at: (!live).then_some(end),
            live,
            grant: self,
        }
    }

    fn issued(&mut self, expires_at: Timestamp) {
        self.access_tokens += 1;
        self.access_tokens_expire_at = self.access_tokens_expire_at.max(Some(expires_at));
    }
}

impl Listed for GrantAt {
    const COLUMNS: &'static [&'static str] = &[
        "grant_id",
        "live",
        "ended_at",
        "reason",
        "note",
        "subject",
        "email",
        "client_id",
        "proxy_id",
        "provider_id",
        "scope",
        "resource",
        "redirect_uri",
        "consent",
        "ip",
        "created_at",
        "expires_at",
        "code_expires_at",
        "redeemed_at",
        "generation",
        "refreshes",
        "access_tokens",
        "access_tokens_expire_at",
        "refresh_expires_at",
        "last_refreshed_at",
        "last_used_at",
        "revoked_at",
        "first_position",
        "last_position",
    ];
}

pub(crate) struct Grants;

impl Projection for Grants {
    type Key = GrantId;
    /// On the heap: nearly every event of the log moves it in and out of its table.
    type Row = Box<Grant>;
    type Memo = ();

    fn key(seen: &Seen<'_>) -> Result<Option<GrantId>, BadStream> {
        match seen.event() {
            Event::Grant(_) => id_in(seen.stream(), "grant-").map(Some),
            Event::Provider(_)
            | Event::Proxy(_)
            | Event::Client(_)
            | Event::Subject(_)
            | Event::Operator(_)
            | Event::ApiKey(_)
            | Event::Audit(_)
            | Event::Key(_) => Ok(None),
        }
    }

    fn fold(row: Option<Box<Grant>>, seen: &Seen<'_>) -> Option<Box<Grant>> {
        let Event::Grant(event) = seen.event() else {
            return row;
        };
        let Some(mut row) = row else {
            return match event {
                grant::Event::LoginSucceeded(login) => begun(login, seen).map(Box::new),
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
            };
        };
        row.last_position = seen.recorded.position;
        went_on(&mut row, event, seen.at());
        Some(row)
    }

    fn load(db: &Connection, key: &GrantId) -> rusqlite::Result<Option<Box<Grant>>> {
        db.prepare_cached("SELECT * FROM grants WHERE grant_id = ?")?
            .query_row([key.to_string()], |row| read(row).map(Box::new))
            .optional()
    }

    fn store(
        db: &Connection,
        (): &mut (),
        rows: &[(&GrantId, &Box<Grant>)],
    ) -> rusqlite::Result<()> {
        let mut change = db.prepare_cached(CHANGE)?;
        for (_, row) in rows {
            // Nearly always the row is there: a refresh writes what it can change, and not the rest again.
            let changed = change.execute(params![
                sql::position(row.first_position),
                sql::position(row.last_position),
                row.code_expires_at.map(micros),
                row.redeemed_at.map(micros),
                row.generation,
                row.refreshes,
                row.access_tokens,
                row.access_tokens_expire_at.map(micros),
                row.refresh_expires_at.map(micros),
                row.last_refreshed_at.map(micros),
                row.last_used_at.map(micros),
                row.revoked_at.map(micros),
                row.reason,
                row.note,
                micros(row.live_until()),
            ])?;
            if changed == 0 {
                insert(db, row)?;
            }
        }
        Ok(())
    }
}

/// SQLite leaves the other columns' indexes alone.
const CHANGE: &str = "UPDATE grants SET last_position = ?2, code_expires_at = ?3, redeemed_at = ?4, \
    generation = ?5, refreshes = ?6, access_tokens = ?7, access_tokens_expire_at = ?8, \
    refresh_expires_at = ?9, last_refreshed_at = ?10, last_used_at = ?11, revoked_at = ?12, \
    reason = ?13, note = ?14, live_until = ?15 WHERE first_position = ?1";

fn insert(db: &Connection, row: &Grant) -> rusqlite::Result<()> {
    // Bound by place: looking up thirty names costs more than the rest.
    db.prepare_cached(
        "INSERT INTO grants VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        sql::position(row.first_position),
        sql::position(row.last_position),
        row.grant_id.to_string(),
        row.subject.to_string(),
        row.client_id.to_string(),
        row.proxy_id.0,
        row.provider_id.0,
        row.scope,
        row.resource,
        row.redirect_uri,
        row.consent,
        row.email,
        row.ip.map(|ip| ip.to_string()),
        row.ip.map(sql::ip_key),
        micros(row.created_at),
        micros(row.expires_at),
        row.code_expires_at.map(micros),
        row.redeemed_at.map(micros),
        row.generation,
        row.refreshes,
        row.access_tokens,
        row.access_tokens_expire_at.map(micros),
        row.refresh_expires_at.map(micros),
        row.last_refreshed_at.map(micros),
        row.last_used_at.map(micros),
        row.revoked_at.map(micros),
        row.reason,
        row.note,
        micros(row.live_until()),
    ])?;
    Ok(())
}

fn begun(login: &grant::LoginSucceeded, seen: &Seen<'_>) -> Option<Grant> {
    let request = &login.request;
    let identity = seen.recorded.identity();
    Some(Grant {
        grant_id: id_in(seen.stream(), "grant-").ok()?,
        subject: login.subject,
        email: identity.and_then(|identity| identity.email.clone()),
        client_id: request.client_id,
        proxy_id: request.proxy_id,
        provider_id: request.provider_id,
        scope: request.scope.to_string(),
        resource: request.resource.as_str().to_owned(),
        redirect_uri: request.redirect_uri.as_str().to_owned(),
        consent: match login.consent {
            grant::Consent::Given => GIVEN,
            grant::Consent::NotRequired => NOT_REQUIRED,
        },
        ip: seen.circumstances.ip,
        created_at: seen.at(),
        expires_at: login.expires_at,
        code_expires_at: None,
        redeemed_at: None,
        generation: 0,
        refreshes: 0,
        access_tokens: 0,
        access_tokens_expire_at: None,
        refresh_expires_at: None,
        last_refreshed_at: None,
        last_used_at: None,
        revoked_at: None,
        reason: None,
        note: None,
        first_position: seen.recorded.position,
        last_position: seen.recorded.position,
    })
}

fn went_on(row: &mut Grant, event: &grant::Event, at: Timestamp) {
    match event {
        grant::Event::CodeIssued(code) => row.code_expires_at = Some(code.expires_at),
        grant::Event::CodeRedeemed(redeemed) => {
            row.redeemed_at = Some(at);
            row.issued(redeemed.access_token_expires_at);
            if let Some(refresh) = &redeemed.refresh_token {
                row.generation = 1;
                row.refresh_expires_at = Some(refresh.expires_at);
            }
        }
        grant::Event::RefreshTokenRotated(rotated) => {
            row.generation = rotated.generation;
            row.refreshes += 1;
            row.refresh_expires_at = Some(rotated.expires_at);
            row.last_refreshed_at = Some(at);
            row.issued(rotated.access_token_expires_at);
        }
        grant::Event::RefreshTokenRetried(retried) => row.issued(retried.access_token_expires_at),
        grant::Event::AccessTokenFirstUsed(_) => row.last_used_at = Some(at),
        grant::Event::Revoked(revoked) if row.revoked_at.is_none() => {
            row.revoked_at = Some(at);
            row.reason = Some(revoked.reason.as_str().to_owned());
            row.note = match &revoked.reason {
                grant::RevocationReason::Operator { note } => Some(note.clone()),
                grant::RevocationReason::RefreshTokenReused
                | grant::RevocationReason::CodeReplayed
                | grant::RevocationReason::ClientRequest
                | grant::RevocationReason::ClientRemoved
                | grant::RevocationReason::ProxyRemoved
                | grant::RevocationReason::ProviderRemoved
                | grant::RevocationReason::UpstreamRefused => None,
            };
        }
        grant::Event::Revoked(_)
        | grant::Event::LoginSucceeded(_)
        | grant::Event::LoginFailed(_)
        | grant::Event::ConsentDenied(_)
        | grant::Event::CodeReplayed(_)
        | grant::Event::RefreshTokenReused(_)
        | grant::Event::UpstreamTokenRefreshed(_) => {}
    }
}

const GIVEN: &str = "given";
const NOT_REQUIRED: &str = "not_required";

pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Grant> {
    let consent: String = row.get("consent")?;
    Ok(Grant {
        grant_id: row.parsed("grant_id")?,
        subject: row.parsed("subject")?,
        email: row.get("email")?,
        client_id: row.parsed("client_id")?,
        proxy_id: ProxyId(row.get("proxy_id")?),
        provider_id: ProviderId(row.get("provider_id")?),
        scope: row.get("scope")?,
        resource: row.get("resource")?,
        redirect_uri: row.get("redirect_uri")?,
        consent: if consent == GIVEN {
            GIVEN
        } else {
            NOT_REQUIRED
        },
        ip: row.parsed_opt("ip")?,
        created_at: row.at("created_at")?,
        expires_at: row.at("expires_at")?,
        code_expires_at: row.at_opt("code_expires_at")?,
        redeemed_at: row.at_opt("redeemed_at")?,
        generation: row.get("generation")?,
        refreshes: row.get("refreshes")?,
        access_tokens: row.get("access_tokens")?,
        access_tokens_expire_at: row.at_opt("access_tokens_expire_at")?,
        refresh_expires_at: row.at_opt("refresh_expires_at")?,
        last_refreshed_at: row.at_opt("last_refreshed_at")?,
        last_used_at: row.at_opt("last_used_at")?,
        revoked_at: row.at_opt("revoked_at")?,
        reason: row.get("reason")?,
        note: row.get("note")?,
        first_position: row.position("first_position")?,
        last_position: row.position("last_position")?,
    })
}
