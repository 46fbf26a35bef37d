//! Following what other nodes append: reading the head, again and again.
//!
//! A notification only makes the next reading come sooner. Where none arrives (behind a transaction-pooling proxy, on an
//! engine without them) other nodes' entries are seen after [`EVERY`] at the latest.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::PostgresReaders;
use super::readers::read_head;
use crate::postgres::{Error, Postgres, within};

/// The longest time between two readings, and between two attempts to reach a store that does not answer.
const EVERY: Duration = Duration::from_millis(200);
const AWAY: Duration = Duration::from_millis(500);

/// Keeps a log's head up to date until it is dropped.
pub struct Follower {
    heard: Arc<Mutex<Instant>>,
    task: AbortHandle,
}

impl Follower {
    /// Begins to follow; the store has just been heard.
    pub fn start(readers: &PostgresReaders, head: watch::Sender<u64>) -> Self {
        let heard = Arc::new(Mutex::new(Instant::now()));
        let store = readers.store.clone();
        let following = follow(store.clone(), head, Arc::clone(&heard));
        let task = store.start(following);
        Self { heard, task }
    }

    /// How long ago the store last told its head.
    pub fn silent_for(&self) -> Duration {
        self.heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(store: Postgres, head: watch::Sender<u64>, heard: Arc<Mutex<Instant>>) {
    loop {
        let Err(why) = listen(&store, &head, &heard).await;
        tracing::warn!(%why, "the log cannot be followed");
        store.rest();
        tokio::time::sleep(AWAY).await;
    }
}

/// Follows over one connection until that fails.
async fn listen(
    store: &Postgres,
    head: &watch::Sender<u64>,
    heard: &Mutex<Instant>,
) -> Result<Infallible, Error> {
    let lease = store.lease().await?;
    // An engine may know nothing of it.
    if let Err(why) = within(lease.batch_execute("LISTEN grantlog_log")).await {
        tracing::debug!(%why, "there are no notifications");
    }
    loop {
        let known = *head.borrow();
        let asked = Instant::now();
        let there = read_head(&lease).await?;
        if there < known {
            let why = format!("{there} entries where {known} were before");
            return Err(Error::Unexpected(why));
        }
        head.send_if_modified(|head| {
            let grown = there > *head;
            *head = there.max(*head);
            grown
        });
        *heard.lock().unwrap_or_else(PoisonError::into_inner) = asked;
        // Late or early makes no difference to what is read next.
        let _ = tokio::time::timeout(EVERY, lease.notified()).await;
    }
}
