//! Callbacks that come again.
//!
//! A browser whose connection broke, or whose person is impatient, repeats what it brought, and the
//! provider takes its code once. Whoever comes again meanwhile waits for the first, and is sent
//! where the first was sent, at this node and for a moment.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::header;
use axum::response::Response;
use domain::grant::{Grant, Tokens};
use domain::id::GrantId;
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::app::Unavailable;
use crate::http::Shared;
use crate::http::authorize::see_other;
use crate::secret::Secret;

/// A code lives for a minute; a reload comes sooner.
const KEPT: Duration = Duration::from_secs(10);
const KEPT_MAX: usize = 1024;

/// Where browsers were sent that have just come back from a provider, by what they brought.
pub struct Callbacks(Cache<[u8; 32], Arc<Mutex<Option<Sent>>>>);

struct Sent {
    location: Secret,
    at: Instant,
}

impl Sent {
    fn is_recent(&self) -> bool {
        self.at.elapsed() < KEPT
    }
}

impl Default for Callbacks {
    fn default() -> Self {
        Self(Cache::new(KEPT_MAX))
    }
}

impl Callbacks {
    /// Forgets what nobody is sent to any more.
    pub fn prune(&self) {
        self.0.retain(|_, sent| {
            // One that is being answered is in other hands, too.
            Arc::strong_count(sent) > 1
                || (sent.try_lock()).is_ok_and(|sent| sent.as_ref().is_some_and(Sent::is_recent))
        });
    }
}

/// Answers a callback, even if the browser goes away: the provider's code is spent by then.
///
/// # Errors
/// It broke off.
pub(super) async fn once(
    shared: &Shared,
    grant_id: GrantId,
    query: &str,
    answer: impl Future<Output = Response> + Send + 'static,
) -> Result<Response, Unavailable> {
    let brought: [u8; 32] = Sha256::digest(query).into();
    let answering = shared.clone();
    let once = async move {
        let callbacks = &answering.callbacks;
        let Ok(place) =
            (callbacks.0).get_or_insert_with(&brought, || Ok::<_, Infallible>(Arc::default()));
        let mut sent = place.lock().await;
        if let Some(Sent { location, .. }) = sent.as_ref().filter(|sent| sent.is_recent())
            && is_unused(&answering, grant_id).await
        {
            return see_other(location.expose());
        }
        let response = answer.await;
        let location = response.headers().get(header::LOCATION);
        if let Some(location) = location.and_then(|location| location.to_str().ok()) {
            *sent = Some(Sent {
                location: Secret::new(location),
                at: Instant::now(),
            });
        }
        response
    };
    shared.to_the_end(once).await
}

/// Whether the client has not redeemed what it was sent: bringing it the same code again would end
/// the grant.
async fn is_unused(shared: &Shared, grant_id: GrantId) -> bool {
    match shared.app.current::<Grant>(grant_id).await.as_deref() {
        Ok(Grant::Live(live)) => matches!(live.tokens, Tokens::Code(_)),
        Ok(Grant::Refused) => true,
        Ok(Grant::Absent | Grant::Revoked(_)) | Err(_) => false,
    }
}
