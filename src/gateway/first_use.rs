//! The first use of each access token is an event: it says that a token reached its holder, and
//! ends the time in which the refresh that issued it may be repeated.
//!
//! Durable before the request goes on. Tokens that were seen are remembered in a bounded set; of
//! several first uses at once, one records and the others wait for it. If recording fails the
//! token is not remembered, and the next use tries again.

use domain::grant::{Command, Grant};
use domain::id::EventId;
use quick_cache::sync::Cache;
use std::sync::Arc;

use crate::app::{Context, ExecuteError};
use crate::causes::chain;
use crate::http::Shared;
use crate::tokens::access::Claims;

/// Some 4 MB at most. A token that was forgotten is looked up in its stream once more.
const REMEMBERED_MAX: usize = 65_536;

/// Access tokens that were seen before.
pub(super) struct FirstUses(Arc<Cache<EventId, ()>>);

/// Why the use of a genuine token is not recorded, and the token not admitted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unrecorded {
    /// Its grant was revoked, is over, or is not in the log.
    GrantEnded,
    /// The log cannot be read or written.
    Store,
}

impl Default for FirstUses {
    fn default() -> Self {
        Self(Arc::new(Cache::new(REMEMBERED_MAX)))
    }
}

impl FirstUses {
    /// Records the use of a token unless it was seen before.
    pub(super) async fn record(
        &self,
        shared: &Shared,
        claims: &Claims,
        context: impl FnOnce() -> Context,
    ) -> Result<(), Unrecorded> {
        if self.0.get(&claims.jti).is_some() {
            return Ok(());
        }
        let (seen, app, context) = (self.0.clone(), shared.app.clone(), context());
        let (jti, grant) = (claims.jti, claims.grant);
        // A client that goes away must not leave an event that nobody noticed.
        let recording = shared.to_the_end(async move {
            seen.get_or_insert_async(&jti, async {
                let command = Command::RecordAccessTokenUse { jti };
                match app.execute::<Grant>(grant, command, &context).await {
                    Ok(recorded) if recorded.state.is_in_force(context.now) => Ok(()),
                    Ok(_) | Err(ExecuteError::Refused(_)) => Err(Unrecorded::GrantEnded),
                    Err(ExecuteError::Unavailable(error)) => {
                        tracing::error!(
                            error = chain(&error),
                            "the first use of an access token could not be recorded"
                        );
                        Err(Unrecorded::Store)
                    }
                }
            })
            .await
        });
        recording.await.unwrap_or(Err(Unrecorded::Store))
    }
}
