//! Clients that somebody is authorizing right now, so that they do not expire meanwhile.
//!
//! Until a person has answered, the log knows nothing of an authorization; only the node that
//! showed them a page does. In memory, and gone with the node: then the person registers anew.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use chrono::TimeDelta;
use domain::Timestamp;
use domain::id::ClientId;

/// Consent and login may take ten minutes each.
const LONGEST: TimeDelta = TimeDelta::minutes(21);

/// When each client's newest authorization began.
#[derive(Debug, Default)]
pub struct UnderWay(Mutex<HashMap<ClientId, Timestamp>>);

impl UnderWay {
    /// An authorization begins.
    pub fn begin(&self, client: ClientId, now: Timestamp) {
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        begun.insert(client, now);
    }

    /// Whether one may still be answered.
    #[must_use]
    pub fn contains(&self, client: ClientId, now: Timestamp) -> bool {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        begun.get(&client).is_some_and(|at| now - *at < LONGEST)
    }

    /// Forgets those that can no longer be answered.
    pub fn prune(&self, now: Timestamp) {
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        begun.retain(|_, at| now - *at < LONGEST);
    }
}
