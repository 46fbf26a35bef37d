//! Login history: one row per authorization attempt that reached a person or failed.

use std::net::IpAddr;

use domain::event::Event;
use domain::id::{ClientId, GrantId, ProviderId, ProxyId, SubjectId};
use domain::{Timestamp, grant};
use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde::Serialize;

use crate::page::Listed;
use crate::recorded::{Seen, about, refused_authorization, requested};
use crate::sql::{self, Columns, micros};
use crate::table::{BadStream, Projection, id_in};

/// An authorization attempt that reached a person or failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Login {
    /// Where the event that ended it stands in the log.
    pub position: u64,
    /// When the authorization request came in.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// What came of it.
    pub outcome: Outcome,
    /// A stable word for why it did not succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who logged in, if somebody did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<SubjectId>,
    /// Their address, as the provider told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Their name, as the provider told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The client that asked, as far as that was certain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<ClientId>,
    /// What the client called itself then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// The proxy it asked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_id: Option<ProxyId>,
    /// Where the person was sent to log in, if it came so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<ProviderId>,
    /// Where the request came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// What sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Where the answer went, or was to go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<String>,
    /// What was asked for, space-separated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The grant that came of it; its stream exists for failures too, once somebody was sent to log in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant_id: Option<GrantId>,
    /// How many attempts these are: those that a rule refused at once are counted together where they come often.
    pub attempts: u64,
}

/// What came of an authorization attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Somebody logged in and authorized the client.
    Success,
    /// The provider, or a check of its answer, said no.
    Failure,
    /// The person said no.
    Denied,
}

impl Outcome {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Denied => "denied",
        }
    }
}

impl std::str::FromStr for Outcome {
    type Err = BadOutcome;
    fn from_str(text: &str) -> Result<Self, BadOutcome> {
        match text {
            "success" => Ok(Self::Success),
            "failure" => Ok(Self::Failure),
            "denied" => Ok(Self::Denied),
            _ => Err(BadOutcome),
        }
    }
}

/// The text names no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected success, failure or denied")]
pub struct BadOutcome;

impl Listed for Login {
    const COLUMNS: &'static [&'static str] = &[
        "started_at",
        "finished_at",
        "outcome",
        "reason",
        "subject",
        "email",
        "name",
        "client_id",
        "client_name",
        "proxy_id",
        "provider_id",
        "ip",
        "user_agent",
        "redirect_uri",
        "scope",
        "grant_id",
        "attempts",
        "position",
    ];
}

pub(crate) struct Logins;

impl Projection for Logins {
    type Key = u64;
    type Row = Login;
    type Memo = ();
    const APPENDS: bool = true;

    fn key(seen: &Seen<'_>) -> Result<Option<u64>, BadStream> {
        let ends_one =
            requested(seen.event()).is_some() || refused_authorization(seen.event()).is_some();
        Ok(ends_one.then_some(seen.recorded.position))
    }

    fn fold(_: Option<Login>, seen: &Seen<'_>) -> Option<Login> {
        let about = about(&seen.recorded.entry);
        let identity = seen.recorded.identity();
        let login = Login {
            position: seen.recorded.position,
            started_at: seen.at(),
            finished_at: seen.at(),
            outcome: Outcome::Failure,
            reason: None,
            subject: None,
            email: identity.and_then(|identity| identity.email.clone()),
            name: identity.and_then(|identity| identity.name.clone()),
            client_id: about.client_id,
            client_name: seen.client_name.map(str::to_owned),
            proxy_id: about.proxy_id,
            provider_id: None,
            ip: seen.circumstances.ip,
            user_agent: seen.circumstances.user_agent.clone(),
            redirect_uri: None,
            scope: None,
            grant_id: None,
            attempts: 1,
        };
        if let Some(refused) = refused_authorization(seen.event()) {
            return Some(Login {
                started_at: refused.first_at,
                finished_at: refused.last_at,
                reason: Some(refused.cause.clone()),
                redirect_uri: refused.redirect_uri.clone(),
                attempts: refused.count,
                ..login
            });
        }
        let request = requested(seen.event())?;
        let (outcome, reason, subject) = outcome(seen.event())?;
        Some(Login {
            started_at: request.requested_at,
            outcome,
            reason: reason.map(str::to_owned),
            subject,
            provider_id: Some(request.provider_id),
            redirect_uri: Some(request.redirect_uri.as_str().to_owned()),
            scope: Some(request.scope.to_string()),
            grant_id: id_in(seen.stream(), "grant-").ok(),
            ..login
        })
    }

    fn load(db: &Connection, key: &u64) -> rusqlite::Result<Option<Login>> {
        db.prepare_cached("SELECT * FROM logins WHERE position = ?")?
            .query_row([sql::position(*key)], read)
            .optional()
    }

    fn store(db: &Connection, (): &mut (), rows: &[(&u64, &Login)]) -> rusqlite::Result<()> {
        let mut store = db.prepare_cached(
            "INSERT INTO logins VALUES (:position, :started_at, :finished_at, :outcome, :reason, \
             :subject, :email, :name, :client_id, :client_name, :proxy_id, :provider_id, :ip, \
             :ip_key, :user_agent, :redirect_uri, :scope, :grant_id, :attempts)",
        )?;
        for (_, row) in rows {
            store.execute(named_params! {
                ":position": sql::position(row.position),
                ":started_at": micros(row.started_at),
                ":finished_at": micros(row.finished_at),
                ":outcome": row.outcome.as_str(),
                ":reason": row.reason,
                ":subject": row.subject.map(|id| id.to_string()),
                ":email": row.email,
                ":name": row.name,
                ":client_id": row.client_id.map(|id| id.to_string()),
                ":client_name": row.client_name,
                ":proxy_id": row.proxy_id.map(|id| id.0),
                ":provider_id": row.provider_id.map(|id| id.0),
                ":ip": row.ip.map(|ip| ip.to_string()),
                ":ip_key": row.ip.map(sql::ip_key),
                ":user_agent": row.user_agent,
                ":redirect_uri": row.redirect_uri,
                ":scope": row.scope,
                ":grant_id": row.grant_id.map(|id| id.to_string()),
                ":attempts": sql::position(row.attempts),
            })?;
        }
        Ok(())
    }
}

fn outcome(event: &Event) -> Option<(Outcome, Option<&str>, Option<SubjectId>)> {
    match event {
        Event::Grant(event) => match event {
            grant::Event::LoginSucceeded(login) => {
                Some((Outcome::Success, None, Some(login.subject)))
            }
            grant::Event::LoginFailed(failed) => {
                Some((Outcome::Failure, Some(&failed.reason), None))
            }
            grant::Event::ConsentDenied(_) => Some((Outcome::Denied, Some("consent_denied"), None)),
            grant::Event::CodeIssued(_)
            | grant::Event::CodeRedeemed(_)
            | grant::Event::CodeReplayed(_)
            | grant::Event::RefreshTokenRotated(_)
            | grant::Event::RefreshTokenRetried(_)
            | grant::Event::RefreshTokenReused(_)
            | grant::Event::AccessTokenFirstUsed(_)
            | grant::Event::UpstreamTokenRefreshed(_)
            | grant::Event::Revoked(_) => None,
        },
        Event::Provider(_)
        | Event::Proxy(_)
        | Event::Client(_)
        | Event::Subject(_)
        | Event::Operator(_)
        | Event::ApiKey(_)
        | Event::Audit(_)
        | Event::Key(_) => None,
    }
}

pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Login> {
    Ok(Login {
        position: row.position("position")?,
        started_at: row.at("started_at")?,
        finished_at: row.at("finished_at")?,
        outcome: row.parsed("outcome")?,
        reason: row.get("reason")?,
        subject: row.parsed_opt("subject")?,
        email: row.get("email")?,
        name: row.get("name")?,
        client_id: row.parsed_opt("client_id")?,
        client_name: row.get("client_name")?,
        proxy_id: row.get::<_, Option<u32>>("proxy_id")?.map(ProxyId),
        provider_id: row.get::<_, Option<u32>>("provider_id")?.map(ProviderId),
        ip: row.parsed_opt("ip")?,
        user_agent: row.get("user_agent")?,
        redirect_uri: row.get("redirect_uri")?,
        scope: row.get("scope")?,
        grant_id: row.parsed_opt("grant_id")?,
        attempts: row.position("attempts")?,
    })
}
