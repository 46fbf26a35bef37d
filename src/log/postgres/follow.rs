//! Following what other nodes append: reading the head, again and again.
//!
//! `NOTIFY` would tell sooner, but who listens leaves something behind in a session, which a transaction-pooling proxy lends to
//! others. Whoever has to know what another node has just done has it [looked for](Follower::look) now: one reading for all who
//! wait for one, however many they are.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
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
    wanted: Arc<Notify>,
    /// Why the store cannot be reached, while it cannot.
    trouble: watch::Receiver<Option<Error>>,
    task: AbortHandle,
}

/// When the store was asked for the head it last told; `None` where nobody follows it, so that silence says nothing. Clones
/// share it.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<watch::Sender<Option<Instant>>>);

impl Follower {
    /// Begins to follow; the store has just been heard.
    pub fn start(readers: &PostgresReaders, head: watch::Sender<u64>) -> Self {
        let (store, heard) = (readers.store.clone(), readers.heard.clone());
        heard.at(Instant::now());
        let wanted = Arc::new(Notify::new());
        let (told, trouble) = watch::channel(None);
        let following = Following {
            store: store.clone(),
            head,
            heard: heard.clone(),
            wanted: wanted.clone(),
            trouble: told,
            seen: readers.seen.clone(),
        };
        let task = store.start(following.run());
        Self {
            heard,
            wanted,
            trouble,
            task,
        }
    }

    /// Has the head read, so that it holds whatever was durable when this was called.
    ///
    /// # Errors
    /// The store is away.
    pub async fn look(&self) -> Result<(), Error> {
        let called = Instant::now();
        let mut heard = self.heard.0.subscribe();
        self.wanted.notify_one();
        let mut trouble = self.trouble.clone();
        let told = async {
            tokio::select! {
                biased;
                _ = heard.wait_for(|asked| *asked >= Some(called)) => Ok(()),
                why = trouble.wait_for(Option::is_some) => {
                    let why = why.ok().and_then(|why| why.clone());
                    Err(why.unwrap_or_else(|| Error::Unreachable("nobody follows it".to_owned())))
                }
            }
        };
        self.heard.unless_silent(told).await
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
    fn at(&self, instant: Instant) {
        self.0.send_replace(Some(instant));
    }

    fn silent_for(&self) -> Duration {
        self.0.borrow().map_or(Duration::ZERO, |at| at.elapsed())
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

/// What following takes.
struct Following {
    store: Postgres,
    head: watch::Sender<u64>,
    heard: Heard,
    wanted: Arc<Notify>,
    trouble: watch::Sender<Option<Error>>,
    seen: Seen,
}

impl Following {
    async fn run(self) {
        loop {
            let before = *self.heard.0.borrow();
            let Err(why) = self.watch().await;
            tracing::warn!(%why, "the log cannot be followed");
            self.store.rest();
            // A connection that served until it was cut is replaced soon.
            let pause = if *self.heard.0.borrow() == before {
                self.trouble.send_replace(Some(why));
                AWAY
            } else {
                EVERY
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Follows over one connection until that fails.
    async fn watch(&self) -> Result<Infallible, Error> {
        let lease = self.store.lease().await?;
        loop {
            let known = *self.head.borrow();
            let asked = Instant::now();
            let expected = self.seen.expected();
            let there = tokio::time::timeout(PATIENCE, read_head(&lease, &expected)).await;
            let there = there.map_err(|_| {
                let why = format!("the head is not told within {} s", PATIENCE.as_secs());
                Error::Unreachable(why)
            })??;
            if there < known {
                let why = format!("{there} entries where {known} were before");
                return Err(Error::Unexpected(why));
            }
            self.head.send_if_modified(|head| {
                let grown = there > *head;
                *head = there.max(*head);
                grown
            });
            if asked.elapsed() > SILENCE / 2 {
                // An answer from before a silence is no sign that it is over.
                continue;
            }
            self.heard.at(asked);
            self.trouble.send_if_modified(|why| why.take().is_some());
            let _ = tokio::time::timeout(EVERY, self.wanted.notified()).await;
        }
    }
}
