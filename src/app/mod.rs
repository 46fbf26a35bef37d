//! Where commands meet the log: load the stream, decide, stamp, append, answer.
//!
//! Invariants: an answer is given only after its events are durable; a refusal, or an answer
//! that appends nothing, is never decided on a cached state, but on the stream read again;
//! nothing is decided on an append in flight. So a node makes one append of a stream at a time: it
//! holds the stream's turn until it is answered, the one lock here that is held across an await. If
//! whoever waited for an append has gone, the next one may be decided without it, and conflicts; for
//! whatever is decided on is durable, so the version that an append expects tells what it rests on.
//!
//! The outcome of an append may be unknown (see [`crate::log`]); then nothing is retried here
//! and the caller answers "unavailable".

mod address;
mod directory;
mod execute;
mod follower;
mod integrity;
mod load;
mod refusals;
mod revocations;
mod revoke;
mod secrets;
mod signing_keys;
mod stamp;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use domain::entry::Entry;
use domain::event::{Correlation, Event};
use domain::{Fact, Timestamp};
use projections::ReadModelError;

use crate::log::{Append, AppendError, Log, Premise, ReadError};
use crate::vault::{Vault, VaultError};

pub use address::customer_block;
pub use directory::{Directory, ProxyTerms};
pub use execute::{ExecuteError, Executed};
pub use follower::{Progress, Unreadable, Why, decode, follow};
pub use integrity::Integrity;
pub use load::LoadError;
pub use refusals::{Refusals, RefusedRequest, record as record_refusals};
pub use revocations::Revocations;
pub use stamp::Context;
pub use streams::Stored;

use follower::{BATCH, decode_entry};
use secrets::Secrets;
use stamp::Place;
use streams::{Known, Slot, Streams};

/// How long a command that needs a list may wait for the read models.
const READ_MODEL_WAIT: Duration = Duration::from_secs(5);
/// How old this node's view of what others appended may be.
const VIEW_AGE_MAX: Duration = Duration::from_secs(2);
/// So many entries of a stream are in memory at once while it is folded: anybody may make one that is long.
const PAGE: usize = 128;
/// How long a refusal may wait for what other nodes appended.
const CATCH_UP_WAIT: Duration = Duration::from_secs(2);
/// How often a start looks whether it may admit people.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The state of the program: the log, the vault, and what is kept in memory of them.
pub struct App {
    /// The event log.
    pub log: Log,
    /// Secrets and personal data.
    pub vault: Vault,
    /// Settings of proxies and providers, following the log.
    pub directory: Directory,
    /// Whose access tokens are refused while they still live, following the log.
    pub revocations: Revocations,
    /// Refused requests on their way to the log.
    pub refusals: Refusals,
    /// How far this node has followed the log.
    pub progress: Progress,
    /// What re-reading the log has found.
    pub integrity: Integrity,
    secrets: Secrets,
    streams: Streams,
}

/// Why nothing may be handed out now: a store did not do its part, what it holds is not what was put there, or others were faster.
/// Answered with 503. After [`AppendError::Unknown`] and [`Unavailable::BrokenOff`] it may be on record all the same.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// The log could not be appended to.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The vault could not do its part.
    #[error("the vault is unavailable: {0}")]
    Vault(#[from] VaultError),
    /// An entry in a stream cannot be read by this program.
    #[error(transparent)]
    Entry(#[from] Unreadable),
    /// A secret in the vault is not what was put there. How it differs is as secret.
    #[error("a secret in the vault is not what was put there")]
    Garbled,
    /// The log is there, but following it takes too long.
    #[error("the log is not followed")]
    NotFollowed,
    /// The read models cannot be asked now.
    #[error("the read models cannot be read")]
    ReadModel(#[from] ReadModelError),
    /// What the command rested on has changed meanwhile; nothing was recorded.
    #[error("what the command rested on has changed")]
    Overtaken,
    /// Something broke off half-way.
    #[error("it broke off")]
    BrokenOff,
    /// Others changed the same stream all the time; nothing was recorded.
    #[error("the stream changed too often")]
    Contended,
}

impl Unavailable {
    /// Whether it is about one stream or one person: what else there is to be done can be done.
    #[must_use]
    pub fn is_of_one(&self) -> bool {
        matches!(
            self,
            Self::Entry(_)
                | Self::Read(ReadError::Corrupt { .. })
                | Self::Vault(VaultError::Tampered(_) | VaultError::NoKey(_))
        )
    }
}

impl App {
    /// Puts the program's state together over opened stores.
    #[must_use]
    pub fn new(log: Log, vault: Vault) -> Self {
        Self {
            log,
            vault,
            directory: Directory::default(),
            revocations: Revocations::default(),
            refusals: Refusals::default(),
            progress: Progress::default(),
            integrity: Integrity::default(),
            secrets: Secrets::default(),
            streams: Streams::default(),
        }
    }

    /// The state of an aggregate as this node knows it: perhaps from its cache, so a reason to
    /// proceed, never a reason to refuse (see [`App::fresh`]).
    ///
    /// # Errors
    /// If the log cannot be read.
    pub async fn state<A: Stored>(&self, id: A::Id) -> Result<Arc<A>, Unavailable> {
        match self.known::<A>(id) {
            Some(state) => Ok(state),
            None => self.fresh::<A>(id).await,
        }
    }

    /// The same, if this node knows it without a look at the log.
    #[must_use]
    pub fn known<A: Stored>(&self, id: A::Id) -> Option<Arc<A>> {
        let slot = A::cache(&self.streams).get(&A::stream(id))?;
        Some(slot.current()?.state)
    }

    /// The state of an aggregate as the log has it now.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub async fn fresh<A: Stored>(&self, id: A::Id) -> Result<Arc<A>, Unavailable> {
        Ok(self.read::<A>(&A::stream(id)).await?.known().state)
    }

    /// The same, with the premise that it stays so.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub async fn fresh_premise<A: Stored>(
        &self,
        id: A::Id,
    ) -> Result<(Arc<A>, Premise), Unavailable> {
        let stream = A::stream(id);
        let Known { state, version } = self.read::<A>(&stream).await?.known();
        let length = version;
        Ok((state, Premise { stream, length }))
    }

    /// The state of an aggregate as no other node has moved it on: a reason to proceed where the cached state of a node among
    /// several is none.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub async fn current<A: Stored>(&self, id: A::Id) -> Result<Arc<A>, Unavailable> {
        if self.log.is_shared() {
            self.fresh::<A>(id).await
        } else {
            self.state::<A>(id).await
        }
    }

    /// Takes note that an id was just drawn: nobody needs to look for its stream. The first append proves it.
    pub fn drawn<A: Stored>(&self, id: A::Id) {
        A::cache(&self.streams).keep(&A::stream(id), Known::default());
    }

    /// Records a fact that belongs to no aggregate, in a stream of its own, `<kind>-<uuid>`.
    ///
    /// # Errors
    /// If it cannot be made durable.
    pub async fn record(
        &self,
        kind: &str,
        event: Event,
        correlation: Correlation,
        context: &Context,
    ) -> Result<(), Unavailable> {
        let stream = format!("{kind}-{}", crate::clock::event_id().0.simple());
        self.record_in(stream, 0, event, correlation, context).await
    }

    async fn record_in(
        &self,
        stream: String,
        version: u64,
        event: Event,
        correlation: Correlation,
        context: &Context,
    ) -> Result<(), Unavailable> {
        let scope = stamp::scope(correlation.subject, context.now);
        let bare = self.prepare_to_seal(scope, context).await?;
        let context = bare.as_ref().unwrap_or(context);
        let id = crate::clock::event_id();
        let place = Place {
            stream: &stream,
            version,
            correlation,
            is_first: true,
        };
        let entries = vec![stamp::stamp(&self.vault, id, &event, place, context)?];
        let append = Append {
            stream,
            expected: version,
            premises: Vec::new(),
            entries,
        };
        self.log.append(append).await?;
        Ok(())
    }

    /// Waits until memory knows everything that is durable now, whichever node appended it: for
    /// what is refused because it is not there. Where there is one node, memory always does.
    ///
    /// # Errors
    /// The log cannot be read, or is not followed in time.
    pub async fn catch_up(&self) -> Result<(), Unavailable> {
        if !self.log.is_shared() {
            return Ok(());
        }
        let head = self.log.current_head().await?;
        tokio::time::timeout(CATCH_UP_WAIT, self.progress.wait_for_memory(head))
            .await
            .map_err(|_| Unavailable::NotFollowed)
    }

    /// Whether this node knows, to within two seconds, what others appended. Where it does not, it
    /// must not admit anybody: they may have revoked what it would admit.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        !self.log.is_shared() || self.progress.memory_age() <= VIEW_AGE_MAX
    }

    /// Waits until this node may admit people.
    ///
    /// # Errors
    /// It never will: the log holds an entry that this program cannot read.
    pub async fn until_followed(&self) -> Result<(), Unavailable> {
        let head = self.log.head();
        loop {
            let reached = self.progress.wait_for_memory(head);
            let is_reached = tokio::time::timeout(LOOK_AGAIN, reached).await.is_ok();
            if is_reached && self.is_followed() {
                return Ok(());
            }
            if is_reached {
                tokio::time::sleep(LOOK_AGAIN).await;
            } else if self.progress.halted() {
                self.check_next().await?;
            }
        }
    }

    /// Whether this program can read what the follower reads next. The store may be away, which says nothing about it.
    async fn check_next(&self) -> Result<(), Unavailable> {
        let stored = match self.log.read_after(self.progress.memory(), BATCH).await {
            Err(ReadError::Unavailable(_)) => return Ok(()),
            stored => stored?,
        };
        for stored in &stored {
            decode_entry(stored)?;
        }
        Ok(())
    }

    /// Waits until this node's read models know everything that is durable now.
    ///
    /// # Errors
    /// The log cannot be read, or they do not get there in time.
    pub async fn read_model_is_current(&self) -> Result<(), Unavailable> {
        let head = self.log.current_head().await?;
        let caught_up = self.progress.wait_for_read_model(head);
        tokio::time::timeout(READ_MODEL_WAIT, caught_up)
            .await
            .map_err(|_| Unavailable::NotFollowed)
    }

    /// Reads what follows the part of a stream that is known.
    async fn read<A: Stored>(&self, stream: &str) -> Result<Arc<Slot<A>>, Unavailable> {
        let recent = A::cache(&self.streams);
        let slot = recent.get(stream);
        let mut known = slot.map_or_else(Known::default, |slot| slot.known());
        loop {
            let page = self.log.read_stream_after(stream, known.version, PAGE);
            let page = page.await?;
            for stored in &page {
                let entry = decode_entry(stored)?;
                let event = A::Event::try_from(entry.event).map_err(|event| Unreadable {
                    position: stored.position,
                    why: Why::Misplaced {
                        event: event.name(),
                        stream: stream.to_owned(),
                    },
                })?;
                known.state = Arc::new(Arc::unwrap_or_clone(known.state).evolve(Fact {
                    id: entry.envelope.id,
                    at: entry.envelope.recorded_at,
                    event: &event,
                }));
                known.version += 1;
            }
            if page.len() < PAGE {
                break;
            }
        }
        Ok(recent.learn(stream, known))
    }

    /// Brings what is kept in memory up to date with an event; harmless if it was applied before.
    fn apply(&self, stream: &str, version: u64, at: Timestamp, event: &Event) {
        self.directory.apply(stream, version, event);
        self.revocations.apply(stream, at, event);
    }

    /// The same with an entry of the log, which another node may have appended.
    fn follow(&self, entry: &Entry) {
        let domain::entry::Envelope {
            stream,
            version,
            recorded_at,
            ..
        } = &entry.envelope;
        self.apply(stream, *version, *recorded_at, &entry.event);
        // Also where no other node appends: whoever waited for an append may have gone before it was durable.
        self.streams.follow(stream, *version, &entry.event);
    }
}
