//! Events as everybody sees them (contract: the same JSON everywhere).

use std::net::IpAddr;

use domain::Timestamp;
use domain::entry::{Actor, Personal};
use domain::event::Event;
use domain::id::{ClientId, EventId, GrantId, ProxyId, SubjectId};
use projections::{EventRow, Listed, PersonalPart, Recorded};
use serde::Serialize;
use uuid::Uuid;

/// An event with everything that is said of it.
#[derive(Debug, Serialize)]
pub struct RenderedEvent {
    /// Where it stands in the log.
    pub position: u64,
    /// Its id; the `jti` of the access token it issued, if any.
    pub id: EventId,
    /// The stream it belongs to.
    pub stream: String,
    /// Its place in the stream, from 0.
    pub version: u64,
    /// Its frozen type name.
    #[serde(rename = "type")]
    pub name: &'static str,
    /// The number of the shape of `data`.
    pub schema: u16,
    /// When it was recorded. Never an order.
    pub recorded_at: Timestamp,
    /// Who caused it.
    pub actor: Actor,
    /// The proxy it happened at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_id: Option<ProxyId>,
    /// The client that was involved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<ClientId>,
    /// The grant whose story it is part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant_id: Option<GrantId>,
    /// The person whose access it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<SubjectId>,
    /// The request that caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Uuid>,
    /// Where that request came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// What it means, in a sentence.
    pub explain: String,
    /// What happened.
    pub data: Event,
    /// What an operator searched for, where that was not erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

/// Where a request came from and what sent it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// Its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// What it called itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}

impl Source {
    pub(super) fn new(ip: Option<IpAddr>, user_agent: Option<String>) -> Option<Self> {
        (ip.is_some() || user_agent.is_some()).then_some(Self { ip, user_agent })
    }

    /// The source in what was sealed with an event.
    #[must_use]
    pub fn of(personal: &Personal) -> Option<Self> {
        Self::new(personal.ip, personal.user_agent.clone())
    }
}

impl RenderedEvent {
    /// An event of the log. What its append shares with the events before it, and what its
    /// envelope is silent about, is known by the event index; without its row, only what was
    /// sealed with this very event is told.
    #[must_use]
    pub fn new(recorded: Recorded, row: Option<EventRow>) -> Self {
        let Recorded {
            position,
            entry,
            personal,
        } = recorded;
        let personal = match personal {
            PersonalPart::Known(personal) => Some(personal),
            PersonalPart::Absent | PersonalPart::Erased | PersonalPart::Unopened(_) => None,
        };
        let envelope = entry.envelope;
        let (about, source) = match row {
            Some(row) => (
                (row.proxy_id, row.client_id, row.subject),
                Source::new(row.ip, row.user_agent),
            ),
            None => {
                let about = envelope.correlation;
                (
                    (about.proxy_id, about.client_id, about.subject),
                    personal.as_ref().and_then(Source::of),
                )
            }
        };
        Self {
            position,
            id: envelope.id,
            grant_id: envelope.grant_id(),
            stream: envelope.stream,
            version: envelope.version,
            name: entry.event.name(),
            schema: entry.event.schema(),
            recorded_at: envelope.recorded_at,
            actor: envelope.actor,
            proxy_id: about.0,
            client_id: about.1,
            subject: about.2,
            request_id: envelope.request_id,
            source,
            explain: domain::explain(&entry.event, envelope.recorded_at),
            data: entry.event,
            query: personal.and_then(|personal| personal.query),
        }
    }
}

impl Listed for RenderedEvent {
    const COLUMNS: &'static [&'static str] = &[
        "position",
        "recorded_at",
        "type",
        "explain",
        "actor",
        "proxy_id",
        "client_id",
        "grant_id",
        "subject",
        "request_id",
        "source",
        "stream",
        "version",
        "id",
        "schema",
        "data",
        "query",
    ];
}
