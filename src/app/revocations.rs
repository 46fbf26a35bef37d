//! Whose access tokens are refused although they have not ended by themselves yet: what a gateway
//! must know without asking a store.
//!
//! A client that was removed is refused before its grants are revoked one by one.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use chrono::TimeDelta;
use domain::event::Event;
use domain::id::{ClientId, GrantId};
use domain::{Timestamp, client, grant};

/// No access token lives longer than a day; clocks may differ.
const TOKENS_END_WITHIN: TimeDelta = TimeDelta::days(2);

/// Revoked grants and removed clients, each with an end to their access tokens.
#[derive(Default)]
pub struct Revocations(RwLock<Known>);

#[derive(Default)]
struct Known {
    grants: HashMap<GrantId, Timestamp>,
    clients: HashMap<ClientId, Timestamp>,
}

/// Nodes that share a log admit a token for a moment after its end; by then it must still be known to be revoked.
const ADMITTED_AFTER: TimeDelta = TimeDelta::minutes(1);

impl Revocations {
    /// Whether tokens of this grant, given to this client, must be refused.
    #[must_use]
    pub fn contains(&self, grant: GrantId, client: ClientId) -> bool {
        let known = self.read();
        known.grants.contains_key(&grant) || known.clients.contains_key(&client)
    }

    /// Forgets grants and clients whose access tokens have all ended; their age refuses them now.
    pub fn prune(&self, now: Timestamp) {
        let mut known = self.write();
        known.grants.retain(|_, end| *end > now - ADMITTED_AFTER);
        known.clients.retain(|_, end| *end > now);
    }

    /// Takes over what the read models know.
    pub(super) fn load(
        &self,
        reader: &projections::Reader,
        now: Timestamp,
    ) -> Result<(), projections::ReadModelError> {
        let grants = reader.revocations(now - ADMITTED_AFTER)?;
        let clients = reader.removed_clients(now - TOKENS_END_WITHIN)?;
        let mut known = self.write();
        known.grants.extend(grants);
        for (client, at) in clients {
            known.clients.insert(client, at + TOKENS_END_WITHIN);
        }
        Ok(())
    }

    pub(super) fn apply(&self, stream: &str, at: Timestamp, event: &Event) {
        match event {
            Event::Grant(grant::Event::Revoked(revoked)) => {
                if let Some(end) = revoked.access_tokens_expire_at
                    && let Some(Ok(grant)) = stream.strip_prefix("grant-").map(str::parse)
                {
                    self.write().grants.insert(grant, end);
                }
            }
            Event::Client(client::Event::Removed(_)) => {
                if let Some(Ok(client)) = stream.strip_prefix("client-").map(str::parse) {
                    let end = at + TOKENS_END_WITHIN;
                    self.write().clients.insert(client, end);
                }
            }
            _ => {}
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_admitted_after_its_end_is_not_forgotten_at_its_end() {
        let id = crate::clock::event_id().0;
        let (grant, client, end) = (GrantId(id), ClientId(id), crate::clock::now());
        let revocations = Revocations::default();
        revocations.write().grants.insert(grant, end);
        revocations.prune(end + TimeDelta::seconds(1));
        assert!(revocations.contains(grant, client));
        revocations.prune(end + TimeDelta::minutes(2));
        assert!(!revocations.contains(grant, client));
    }
}
