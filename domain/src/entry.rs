//! A stored event: its envelope and its canonical bytes.
//!
//! The bytes are written once, in the field order below, and never serialized again: they are
//! what a Merkle tree is computed over. They hold nothing personal; [`Personal`] is sealed beside
//! them, and the entry carries only a commitment to it, so that erasing a person changes no byte.

use std::net::IpAddr;

use serde::de::Error;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::Timestamp;
use crate::event::{Correlation, DecodeError, Event};
use crate::id::{ApiKeyId, ClientId, EventId, GrantId, OperatorId, ProxyId, SubjectId};

/// Everything about an event but what happened and where in the log it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// The event's id, a UUID v7.
    pub id: EventId,
    /// The stream it belongs to.
    pub stream: String,
    /// Its place in the stream, from 0.
    pub version: u64,
    /// When it was recorded, by the recording node's clock. Never an order.
    pub recorded_at: Timestamp,
    /// Who caused it.
    pub actor: Actor,
    /// Whom and what it is about.
    pub correlation: Correlation,
    /// The request that caused it.
    pub request_id: Option<Uuid>,
}

impl Envelope {
    /// The grant whose stream this is, if it is one.
    #[must_use]
    pub fn grant_id(&self) -> Option<GrantId> {
        self.stream.strip_prefix("grant-")?.parse().ok()
    }
}

/// Who caused an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum Actor {
    /// A registered client.
    Client(ClientId),
    /// A person who logged in.
    Subject(SubjectId),
    /// An operator.
    Operator(OperatorId),
    /// A script with an API key.
    ApiKey(ApiKeyId),
    /// Grantlog itself: start-up configuration, expiry.
    System,
    /// Somebody who did not say who they are.
    Anonymous,
}

/// What may have to be forgotten: sealed beside the entry, absent once erased.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Personal {
    /// Where the request came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// What sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Who logged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// What an operator searched for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

/// Hides its content: personal data does not belong in logs.
impl std::fmt::Debug for Personal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Personal").finish_non_exhaustive()
    }
}

impl Personal {
    /// Whether there is nothing to seal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Who logged in, as the provider told.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The address, verified or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether the provider vouches for the address.
    #[serde(default)]
    pub email_verified: bool,
    /// A name to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The provider's own identifier of the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_sub: Option<String>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// An event with its envelope, as read back from an entry's bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Everything about it but what happened.
    pub envelope: Envelope,
    /// What happened.
    pub event: Event,
    /// The commitment to the sealed part, if there is one.
    pub commitment: Option<String>,
}

/// The shape of the bytes. Field order is part of the format.
#[derive(Serialize)]
struct Writing<'a> {
    id: EventId,
    stream: &'a str,
    version: u64,
    #[serde(rename = "type")]
    name: &'a str,
    schema: u16,
    #[serde(with = "crate::timestamp")]
    recorded_at: Timestamp,
    actor: Actor,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy_id: Option<ProxyId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<ClientId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<SubjectId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<Uuid>,
    data: &'a Event,
    #[serde(skip_serializing_if = "Option::is_none")]
    commitment: Option<&'a str>,
}

#[derive(Deserialize)]
struct Reading<'a> {
    id: EventId,
    stream: String,
    version: u64,
    #[serde(rename = "type", borrow)]
    name: &'a str,
    schema: u16,
    #[serde(with = "crate::timestamp")]
    recorded_at: Timestamp,
    actor: Actor,
    proxy_id: Option<ProxyId>,
    client_id: Option<ClientId>,
    subject: Option<SubjectId>,
    request_id: Option<Uuid>,
    #[serde(borrow)]
    data: &'a RawValue,
    commitment: Option<String>,
}

/// The bytes are not an entry this program can read.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// They are not the JSON object an entry is.
    #[error("not an entry")]
    Malformed(#[from] serde_json::Error),
    /// The event in it is unknown or damaged.
    #[error(transparent)]
    Event(#[from] DecodeError),
}

/// Writes the canonical bytes of an event.
#[must_use]
pub fn encode(envelope: &Envelope, event: &Event, commitment: Option<&str>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(640);
    let writing = Writing {
        id: envelope.id,
        stream: &envelope.stream,
        version: envelope.version,
        name: event.name(),
        schema: event.schema(),
        recorded_at: envelope.recorded_at,
        actor: envelope.actor,
        proxy_id: envelope.correlation.proxy_id,
        client_id: envelope.correlation.client_id,
        subject: envelope.correlation.subject,
        request_id: envelope.request_id,
        data: event,
        commitment,
    };
    serde_json::to_writer(&mut bytes, &writing).expect("events serialize to memory");
    bytes
}

impl Entry {
    /// Reads an entry's bytes.
    ///
    /// # Errors
    /// If the bytes are no entry, or hold an event that this program does not know.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        // Checked once; from a slice each string would be checked by itself.
        let text = std::str::from_utf8(bytes).map_err(serde_json::Error::custom)?;
        let reading: Reading<'_> = serde_json::from_str(text)?;
        Ok(Self {
            event: Event::decode(reading.name, reading.schema, reading.data.get())?,
            envelope: Envelope {
                id: reading.id,
                stream: reading.stream,
                version: reading.version,
                recorded_at: reading.recorded_at,
                actor: reading.actor,
                correlation: Correlation {
                    proxy_id: reading.proxy_id,
                    client_id: reading.client_id,
                    subject: reading.subject,
                },
                request_id: reading.request_id,
            },
            commitment: reading.commitment,
        })
    }
}
