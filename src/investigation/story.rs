//! The story of one grant, from the first event on.

use domain::Timestamp;
use domain::entry::Actor;
use domain::event::Event;
use domain::id::{EventId, GrantId};
use projections::{Carry, GrantAt};
use serde::Serialize;
use uuid::Uuid;

use super::{Source, opened};
use crate::app::Unavailable;
use crate::log::{Log, StoredEntry};
use crate::vault::Vault;

/// The story of a grant.
#[derive(Serialize)]
pub struct Timeline {
    /// Which.
    pub grant_id: GrantId,
    /// Whether anything can still be done with it.
    live: bool,
    /// Since when not.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<Timestamp>,
    items: Vec<Item>,
}

/// Something that happened to a grant.
#[derive(Serialize)]
pub struct Item {
    at: Timestamp,
    position: u64,
    #[serde(rename = "type")]
    name: &'static str,
    explain: String,
    actor: Actor,
    id: EventId,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
    data: Event,
}

/// Tells the story of a grant, or of the login that failed to become one, as far as a position if
/// one is given; `None` where there is none until then. Blocks.
///
/// # Errors
/// The log cannot be read.
pub fn timeline(
    log: &Log,
    vault: &Vault,
    id: GrantId,
    grant: Option<&GrantAt>,
    end: Option<u64>,
) -> Result<Option<Timeline>, Unavailable> {
    let items = items(log, vault, id, end)?;
    Ok((!items.is_empty()).then(|| Timeline {
        grant_id: id,
        live: grant.is_some_and(|grant| grant.live),
        ended_at: grant.and_then(|grant| grant.ended_at),
        items,
    }))
}

/// The events of a grant's stream below `end`.
fn items(
    log: &Log,
    vault: &Vault,
    id: GrantId,
    end: Option<u64>,
) -> Result<Vec<Item>, Unavailable> {
    let mut carry = Carry::default();
    let mut items = Vec::new();
    let stream = log.read_stream_blocking(&domain::grant::stream(id))?;
    let is_told = |stored: &StoredEntry| end.is_none_or(|end| stored.position < end);
    for stored in stream.into_iter().take_while(is_told) {
        let recorded = opened(vault, &stored)?;
        carry.step(&recorded);
        let envelope = &recorded.entry.envelope;
        let circumstances = carry.circumstances.clone();
        items.push(Item {
            at: envelope.recorded_at,
            position: recorded.position,
            name: recorded.entry.event.name(),
            explain: domain::explain(&recorded.entry.event, envelope.recorded_at),
            actor: envelope.actor,
            id: envelope.id,
            request_id: envelope.request_id,
            source: Source::new(circumstances.ip, circumstances.user_agent),
            data: recorded.entry.event,
        });
    }
    Ok(items)
}
