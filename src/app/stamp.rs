//! From a decided event to the bytes of an entry: identity, instant, envelope, sealed part.

use std::net::IpAddr;

use domain::Timestamp;
use domain::entry::{Actor, Envelope, Identity, Personal};
use domain::event::{Correlation, Event};
use domain::id::EventId;
use uuid::Uuid;

use super::{App, Unavailable};
use crate::causes::chain;
use crate::log::NewEntry;
use crate::vault::{Scope, Vault, VaultError};

/// The circumstances of a command.
#[derive(Clone, Debug)]
pub struct Context {
    /// When the request came in; every decision of the request uses this instant.
    pub now: Timestamp,
    /// Who asks.
    pub actor: Actor,
    /// The request, so that a person can find its events.
    pub request_id: Option<Uuid>,
    /// Where the request came from.
    pub ip: Option<IpAddr>,
    /// What sent it.
    pub user_agent: Option<String>,
    /// Who logged in, if somebody did.
    pub identity: Option<Identity>,
    /// What an operator searched for.
    pub query: Option<String>,
}

impl Context {
    /// Grantlog's own doing, without a request.
    #[must_use]
    pub fn system(now: Timestamp) -> Self {
        Self {
            now,
            actor: Actor::System,
            request_id: None,
            ip: None,
            user_agent: None,
            identity: None,
            query: None,
        }
    }

    /// The same circumstances with the caller known.
    #[must_use]
    pub fn by(&self, actor: Actor) -> Self {
        Self {
            actor,
            ..self.clone()
        }
    }

    /// What is left where nothing of a person may or can be kept.
    fn bare(&self) -> Self {
        Self {
            actor: self.actor,
            request_id: self.request_id,
            ..Self::system(self.now)
        }
    }

    fn personal(&self) -> Personal {
        Personal {
            ip: self.ip,
            user_agent: self.user_agent.clone(),
            identity: self.identity.clone(),
            query: self.query.clone(),
        }
    }
}

impl App {
    /// Brings the data key that an event needs into memory; or says what can be recorded without it. A vault that is older than
    /// the log does not know the newest people, and their grants must come to an end all the same.
    ///
    /// # Errors
    /// The vault failed.
    pub(super) async fn prepare_to_seal(
        &self,
        scope: Scope,
        context: &Context,
    ) -> Result<Option<Context>, Unavailable> {
        match self.vault.ensure(scope, context.now).await {
            Ok(()) => Ok(None),
            Err(error @ VaultError::NoKey(Scope::Subject(_))) => {
                tracing::warn!(error = chain(&error), "recorded without its circumstances");
                Ok(Some(context.bare()))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The data key that seals an event's personal part: the person's own, or the month's while
/// nobody is known.
pub(super) fn scope(subject: Option<domain::id::SubjectId>, at: Timestamp) -> Scope {
    subject.map_or_else(|| Scope::month_of(at), Scope::Subject)
}

/// Where an event is about to stand.
pub(super) struct Place<'a> {
    pub stream: &'a str,
    pub version: u64,
    pub correlation: Correlation,
    /// The circumstances are sealed with the first event of an append; the others of the same
    /// append share them.
    pub is_first: bool,
}

/// Makes the entry of an event.
pub(super) fn stamp(
    vault: &Vault,
    id: EventId,
    event: &Event,
    place: Place<'_>,
    context: &Context,
) -> Result<NewEntry, VaultError> {
    let personal = context.personal();
    let sealed = if place.is_first && !personal.is_empty() {
        let bytes = serde_json::to_vec(&personal).expect("personal data serializes to memory");
        match vault.seal_entry(scope(place.correlation.subject, context.now), id, &bytes) {
            Ok(sealed) => Some(sealed),
            // The person was forgotten: what still happens to their grants is recorded without.
            Err(VaultError::Erased(_)) => None,
            Err(error) => return Err(error),
        }
    } else {
        None
    };
    let envelope = Envelope {
        id,
        stream: place.stream.to_owned(),
        version: place.version,
        recorded_at: context.now,
        actor: context.actor,
        correlation: place.correlation,
        request_id: context.request_id,
    };
    let (commitment, sealed) = match sealed {
        Some(entry) => (Some(entry.commitment), Some(entry.sealed)),
        None => (None, None),
    };
    Ok(NewEntry {
        entry: domain::entry::encode(&envelope, event, commitment.as_deref()),
        sealed,
    })
}
