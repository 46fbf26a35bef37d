//! Revoked grants whose access tokens have not ended by themselves yet: what a gateway must
//! know to refuse a token without asking a store.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use chrono::TimeDelta;
use domain::Timestamp;
use domain::event::Event;
use domain::grant;
use domain::id::GrantId;

/// The revoked grants, each with the end of its last access token.
#[derive(Default)]
pub struct Revocations(RwLock<HashMap<GrantId, Timestamp>>);

/// Nodes that share a log admit a token for a moment after its end; by then it must still be known to be revoked.
pub(super) const ADMITTED_AFTER: TimeDelta = TimeDelta::minutes(1);

impl Revocations {
    /// Whether tokens of this grant must be refused.
    #[must_use]
    pub fn contains(&self, grant: GrantId) -> bool {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(&grant)
    }

    /// Takes note of a revocation, from the event or from a read model.
    pub fn insert(&self, grant: GrantId, access_tokens_expire_at: Timestamp) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(grant, access_tokens_expire_at);
    }

    /// Forgets grants whose access tokens have all ended; their age refuses them now.
    pub fn prune(&self, now: Timestamp) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, end| *end > now - ADMITTED_AFTER);
    }

    pub(super) fn apply(&self, stream: &str, event: &Event) {
        if let Event::Grant(grant::Event::Revoked(revoked)) = event
            && let Some(end) = revoked.access_tokens_expire_at
            && let Some(Ok(grant)) = stream.strip_prefix("grant-").map(str::parse)
        {
            self.insert(grant, end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_admitted_after_its_end_is_not_forgotten_at_its_end() {
        let (grant, end) = (GrantId(crate::clock::event_id().0), crate::clock::now());
        let revocations = Revocations::default();
        revocations.insert(grant, end);
        revocations.prune(end + TimeDelta::seconds(1));
        assert!(revocations.contains(grant));
        revocations.prune(end + TimeDelta::minutes(2));
        assert!(!revocations.contains(grant));
    }
}
