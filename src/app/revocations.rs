//! Whose access tokens are refused although they have not ended by themselves yet: what a gateway
//! must know without asking a store.
//!
//! A client that was removed is refused before its grants are revoked one by one.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use domain::event::Event;
use domain::id::{ClientId, GrantId};
use domain::{Timestamp, client, grant};

/// No access token lives longer than a day; clocks may differ.
const TOKENS_END_WITHIN: TimeDelta = TimeDelta::days(2);
/// So long nothing is forgotten, whatever the clock says: one that went ahead and back would bring revoked tokens to life.
const KEPT_AT_LEAST: Duration = Duration::from_secs(25 * 60 * 60);

/// Revoked grants and removed clients, each with an end to their access tokens.
#[derive(Default)]
pub struct Revocations(RwLock<Ended>);

#[derive(Default)]
struct Ended {
    grants: HashMap<GrantId, Kept>,
    clients: HashMap<ClientId, Kept>,
}

/// Until when something has to be known.
struct Kept {
    end: Timestamp,
    since: Instant,
}

impl Kept {
    fn until(end: Timestamp) -> Self {
        let since = Instant::now();
        Self { end, since }
    }

    fn is_needed(&self, now: Timestamp, instant: Instant) -> bool {
        self.end > now || instant.duration_since(self.since) < KEPT_AT_LEAST
    }
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
        let (mut known, instant) = (self.write(), Instant::now());
        known
            .grants
            .retain(|_, kept| kept.is_needed(now - ADMITTED_AFTER, instant));
        known.clients.retain(|_, kept| kept.is_needed(now, instant));
    }

    /// Takes over what the read models know.
    pub(super) fn load(
        &self,
        reader: &projections::Reader,
        now: Timestamp,
    ) -> Result<(), projections::ReadModelError> {
        // As far back as is kept: the clock may be ahead at this start.
        let grants = reader.revocations(now - TimeDelta::hours(25))?;
        let clients = reader.removed_clients(now - TOKENS_END_WITHIN)?;
        let mut known = self.write();
        let grants = grants
            .into_iter()
            .map(|(grant, end)| (grant, Kept::until(end)));
        known.grants.extend(grants);
        for (client, at) in clients {
            let kept = Kept::until(at + TOKENS_END_WITHIN);
            known.clients.insert(client, kept);
        }
        Ok(())
    }

    pub(super) fn apply(&self, stream: &str, at: Timestamp, event: &Event) {
        match event {
            Event::Grant(grant::Event::Revoked(revoked)) => {
                if let Some(end) = revoked.access_tokens_expire_at
                    && let Some(Ok(grant)) = stream.strip_prefix("grant-").map(str::parse)
                {
                    self.write().grants.insert(grant, Kept::until(end));
                }
            }
            Event::Client(client::Event::Removed(_)) => {
                if let Some(Ok(client)) = stream.strip_prefix("client-").map(str::parse) {
                    let kept = Kept::until(at + TOKENS_END_WITHIN);
                    self.write().clients.insert(client, kept);
                }
            }
            _ => {}
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Ended> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Ended> {
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
        let long_ago = || Kept {
            end,
            since: Instant::now() - KEPT_AT_LEAST,
        };
        revocations.write().grants.insert(grant, long_ago());
        revocations.prune(end + TimeDelta::seconds(1));
        assert!(revocations.contains(grant, client));
        revocations.prune(end + TimeDelta::minutes(2));
        assert!(!revocations.contains(grant, client));
    }

    #[test]
    fn a_clock_that_goes_ahead_and_back_brings_no_token_to_life() {
        let id = crate::clock::event_id().0;
        let (grant, client, end) = (GrantId(id), ClientId(id), crate::clock::now());
        let revocations = Revocations::default();
        let mut known = revocations.write();
        known.grants.insert(grant, Kept::until(end));
        known.clients.insert(client, Kept::until(end));
        drop(known);
        revocations.prune(end + TimeDelta::hours(2));
        let other = crate::clock::event_id().0;
        assert!(revocations.contains(grant, ClientId(other)));
        assert!(revocations.contains(GrantId(other), client));
    }
}
