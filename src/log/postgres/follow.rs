//! Following what other nodes append: reading the head, again and again.
//!
//! `NOTIFY` would tell sooner, but who listens leaves something behind in a session, which a transaction-pooling proxy lends to
//! others; and everything that has to know what another node has just done looks for itself.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::PostgresReaders;
use super::readers::read_head;
use super::seen::Seen;
use crate::postgres::{Error, Postgres};

/// The time between two readings, and between two attempts to reach a store that does not answer.
const EVERY: Duration = Duration::from_millis(100);
const AWAY: Duration = Duration::from_millis(500);
/// A connection that does not answer so simple a question is given up: another may be answered.
const PATIENCE: Duration = Duration::from_secs(3);

/// A store that has not been heard for so long is away: whoever asks it waits in vain.
const SILENCE: Duration = Duration::from_secs(2);

/// Keeps a log's head up to date until it is dropped.
pub struct Follower {
    heard: Heard,
    task: AbortHandle,
}

/// When the store last told its head; clones share it.
#[derive(Clone)]
pub(super) struct Heard(Arc<Mutex<Instant>>);

impl Follower {
    /// Begins to follow; the store has just been heard.
    pub fn start(readers: &PostgresReaders, head: watch::Sender<u64>) -> Self {
        let (store, heard) = (readers.store.clone(), readers.heard.clone());
        heard.at(Instant::now());
        let following = follow(store.clone(), head, heard.clone(), readers.seen.clone());
        let task = store.start(following);
        Self { heard, task }
    }

    /// How long ago the store last told its head.
    pub fn silent_for(&self) -> Duration {
        self.heard.silent_for()
    }

    /// # Errors
    /// The store is away.
    pub fn heard(&self) -> Result<(), Error> {
        self.heard.lately()
    }
}

impl Heard {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    fn at(&self, instant: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = instant;
    }

    fn silent_for(&self) -> Duration {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.elapsed()
    }

    fn lately(&self) -> Result<(), Error> {
        if self.silent_for() < SILENCE {
            return Ok(());
        }
        let why = format!("it has not been heard for {} s", SILENCE.as_secs());
        Err(Error::Unreachable(why))
    }

    /// Waits for an answer as long as the store is heard otherwise.
    pub async fn unless_silent<T>(
        &self,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let silent = async {
            loop {
                if let Err(silent) = self.lately() {
                    return silent;
                }
                tokio::time::sleep(SILENCE.saturating_sub(self.silent_for())).await;
            }
        };
        tokio::select! {
            biased;
            silent = silent => Err(silent),
            answer = answer => answer,
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(store: Postgres, head: watch::Sender<u64>, heard: Heard, seen: Seen) {
    loop {
        let Err(why) = watch_head(&store, &head, &heard, &seen).await;
        tracing::warn!(%why, "the log cannot be followed");
        store.rest();
        tokio::time::sleep(AWAY).await;
    }
}

/// Follows over one connection until that fails.
async fn watch_head(
    store: &Postgres,
    head: &watch::Sender<u64>,
    heard: &Heard,
    seen: &Seen,
) -> Result<Infallible, Error> {
    let lease = store.lease().await?;
    loop {
        let known = *head.borrow();
        let asked = Instant::now();
        let expected = seen.expected();
        let there = tokio::time::timeout(PATIENCE, read_head(&lease, &expected)).await;
        let there = there.map_err(|_| {
            let why = format!("the head is not told within {} s", PATIENCE.as_secs());
            Error::Unreachable(why)
        })??;
        if there < known {
            let why = format!("{there} entries where {known} were before");
            return Err(Error::Unexpected(why));
        }
        head.send_if_modified(|head| {
            let grown = there > *head;
            *head = there.max(*head);
            grown
        });
        if asked.elapsed() > SILENCE / 2 {
            // An answer from before a silence is no sign that it is over.
            continue;
        }
        heard.at(asked);
        tokio::time::sleep(EVERY).await;
    }
}
