//! Following the log: what is kept in memory, and this node's read models.
//!
//! One thread reads each entry once and gives it to both. Memory comes first and does not wait
//! for the read models: if those are behind (a new node) or halt (a full disk), they come after
//! whatever is new, say so, and are tried again, while tokens keep being checked. An event that
//! this program does not know stops both: who appended it may have revoked something.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use domain::entry::{Entry, EntryError};
use domain::event::DecodeError;
use tokio::runtime::Handle;

use projections::{PersonalPart, ReadModel, Recorded, Unopened};

use crate::log::{Log, StoredEntry};
use crate::vault::{Opened, Vault, VaultError};

use super::App;

pub(super) const BATCH: usize = 1024;
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// After so many events the follower lets those go first who answer requests on the same CPU: hundreds at a time kept them
/// waiting for milliseconds.
const PIECE: usize = 32;
/// How often at least memory is found to be current.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// After a batch the read models rest in proportion to it: at thousands of events a second the next
/// one is larger, and a transaction costs the more rows share it the less; a lone event never waits,
/// nor do those after a full batch.
const REST_PER_EVENT: Duration = Duration::from_micros(200);
const REST_MAX: Duration = Duration::from_millis(50);

/// How far the follower has come; shared with whoever reports or waits.
#[derive(Default)]
pub struct Progress {
    memory: tokio::sync::watch::Sender<u64>,
    read_model: tokio::sync::watch::Sender<u64>,
    /// When memory last knew everything, as far as this node could know; absent: not yet.
    memory_current_at: Mutex<Option<Instant>>,
    halted: AtomicBool,
    /// Somebody waits for the read models: they are not to rest.
    hurry: tokio::sync::Notify,
}

impl Progress {
    /// The position up to which memory knows everything.
    #[must_use]
    pub fn memory(&self) -> u64 {
        *self.memory.borrow()
    }

    /// How long ago memory last knew everything that any node had appended.
    #[must_use]
    pub fn memory_age(&self) -> Duration {
        let current_at = *self.current_at();
        current_at.map_or(Duration::MAX, |at| at.elapsed())
    }

    /// Where the follower begins.
    pub(super) fn begin(&self, memory: u64, read_model: u64) {
        self.memory.send_replace(memory);
        self.read_model.send_replace(read_model);
    }

    fn memory_is_current_since(&self, at: Instant) {
        *self.current_at() = Some(at);
    }

    fn current_at(&self) -> MutexGuard<'_, Option<Instant>> {
        let current_at = self.memory_current_at.lock();
        current_at.unwrap_or_else(PoisonError::into_inner)
    }

    /// The position up to which the read models know everything.
    #[must_use]
    pub fn read_model(&self) -> u64 {
        *self.read_model.borrow()
    }

    /// Whether the read models cannot go on.
    #[must_use]
    pub fn halted(&self) -> bool {
        self.halted.load(Ordering::Acquire)
    }

    /// Waits until memory knows everything below `position`.
    pub async fn wait_for_memory(&self, position: u64) {
        let mut changes = self.memory.subscribe();
        let _ = changes.wait_for(|known| *known >= position).await;
    }

    /// Waits until the read models know everything below `position`, and lets them not rest before.
    pub async fn wait_for_read_model(&self, position: u64) {
        if self.read_model() < position {
            self.hurry.notify_one();
        }
        self.read_model_reached(position).await;
    }

    /// Waits until the read models know everything below `position`, at their own pace.
    pub async fn read_model_reached(&self, position: u64) {
        let mut changes = self.read_model.subscribe();
        let _ = changes.wait_for(|known| *known >= position).await;
    }
}

/// An entry of the log could not be made sense of.
#[derive(Debug, thiserror::Error)]
#[error("entry {position} of the log cannot be read")]
pub struct Unreadable {
    /// The entry's position.
    pub position: u64,
    /// Why not.
    #[source]
    pub why: Why,
}

impl Unreadable {
    /// Whether the log is damaged. Otherwise it says nothing about the log: a newer program may read the entry, or the same one
    /// when the vault is there.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match &self.why {
            Why::Entry(EntryError::Event(DecodeError::Unknown { .. })) | Why::Vault(_) => false,
            Why::Entry(EntryError::Malformed(_) | EntryError::Event(DecodeError::Data { .. }))
            | Why::Misplaced { .. }
            | Why::Unpaired
            | Why::Shape(_) => true,
        }
    }
}

/// Why an entry could not be made sense of.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// It holds no event that this program knows.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// It holds an event of something else than its stream is of.
    #[error("{event} in {stream}")]
    Misplaced {
        /// The event's type name.
        event: &'static str,
        /// The stream.
        stream: String,
    },
    /// One of the two is missing.
    #[error("sealed part and commitment do not go together")]
    Unpaired,
    /// What was sealed is no personal part.
    #[error("the sealed part is not of its shape")]
    Shape(#[from] serde_json::Error),
    /// The vault cannot be read now, or not with this master key, which says nothing about the entry.
    #[error(transparent)]
    Vault(VaultError),
}

/// Decodes a stored entry without its personal part.
///
/// # Errors
/// The entry holds no event that this program knows.
pub(super) fn decode_entry(stored: &StoredEntry) -> Result<Entry, Unreadable> {
    Entry::decode(&stored.entry).map_err(|error| Unreadable {
        position: stored.position,
        why: error.into(),
    })
}

/// Decodes a stored entry and opens its personal part. A part that does not open is no error: the record goes on without it.
///
/// # Errors
/// The entry holds no event that this program knows, or the vault cannot be read.
pub fn decode(vault: &Vault, stored: &StoredEntry) -> Result<Recorded, Unreadable> {
    opened(vault, decode_entry(stored)?, stored)
}

fn opened(vault: &Vault, entry: Entry, stored: &StoredEntry) -> Result<Recorded, Unreadable> {
    let position = stored.position;
    let personal = personal(vault, &entry, stored.sealed.as_deref())
        .map_err(|why| Unreadable { position, why })?;
    Ok(Recorded {
        position,
        entry,
        personal,
    })
}

fn personal(vault: &Vault, entry: &Entry, sealed: Option<&[u8]>) -> Result<PersonalPart, Why> {
    let (sealed, commitment) = match (sealed, &entry.commitment) {
        (None, None) => return Ok(PersonalPart::Absent),
        (Some(sealed), Some(commitment)) => (sealed, commitment),
        (Some(_), None) | (None, Some(_)) => return Err(Why::Unpaired),
    };
    match vault.open_entry_blocking(entry.envelope.id, commitment, sealed) {
        Ok(Opened::Erased) => Ok(PersonalPart::Erased),
        Ok(Opened::Plain(bytes)) => Ok(PersonalPart::Known(serde_json::from_slice(&bytes)?)),
        Err(VaultError::NoKey(_)) => Ok(PersonalPart::Unopened(Unopened::NoKey)),
        Err(VaultError::Tampered(_)) => Ok(PersonalPart::Unopened(Unopened::Tampered)),
        Err(error) => Err(Why::Vault(error)),
    }
}

/// Follows the log until `stop` is set, from where [`App::load`] has come to; blocks its thread.
pub fn follow(app: &App, mut read_model: ReadModel, runtime: &Handle, stop: &AtomicBool) {
    let progress = &app.progress;
    let mut folding_from = Instant::now();
    let mut unreached = None;
    while !stop.load(Ordering::Acquire) {
        let look = *unreached.get_or_insert_with(|| Look::at(&app.log));
        let may_fold = Instant::now() >= folding_from;
        match step(app, &mut read_model, may_fold) {
            Ok(folded) => {
                let goes_on = folded > 0 || read_model.position() >= progress.memory();
                if goes_on && progress.halted.swap(false, Ordering::AcqRel) {
                    let position = read_model.position();
                    tracing::info!(position, "following the log goes on");
                }
                if read_model.position() >= progress.memory() {
                    let rest = rest_after(folded);
                    runtime.block_on(async {
                        let _ = tokio::time::timeout(rest, progress.hurry.notified()).await;
                    });
                }
            }
            Err(error) => {
                if !progress.halted.swap(true, Ordering::AcqRel) {
                    let position = read_model.position();
                    tracing::error!(error = &*error, position, "following the log halted");
                }
                if !may_fold {
                    std::thread::park_timeout(RETRY_AFTER);
                }
                folding_from = Instant::now() + RETRY_AFTER;
                continue;
            }
        }
        let caught_up = progress.memory();
        if caught_up >= look.head {
            progress.memory_is_current_since(look.heard);
            unreached = None;
        }
        if caught_up < app.log.head() {
            continue;
        }
        if may_fold && read_model.position() < caught_up {
            continue;
        }
        runtime.block_on(async {
            let wait = app.log.wait_past(caught_up);
            let _ = tokio::time::timeout(LOOK_AGAIN, wait).await;
        });
    }
    read_model.close();
}

/// Where the log ended, as far as the store had told by some instant. A busy node never is where the log ends when it looks,
/// but soon where it ended.
#[derive(Clone, Copy)]
struct Look {
    heard: Instant,
    head: u64,
}

impl Look {
    fn at(log: &Log) -> Self {
        let heard = Instant::now() - log.silent_for();
        let head = log.head();
        Self { heard, head }
    }
}

fn rest_after(folded: usize) -> Duration {
    let events = if folded < BATCH { folded } else { 0 };
    (REST_PER_EVENT * events as u32).min(REST_MAX)
}

/// Takes the next entries into memory and, if it may and they are not many, folds them; or lets
/// read models that are behind come closer while there is nothing new. Returns how many it folded.
fn step(
    app: &App,
    read_model: &mut ReadModel,
    may_fold: bool,
) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
    let (memory, folded) = (app.progress.memory(), read_model.position());
    let unknown = app.log.head().saturating_sub(memory);
    let hurries = app.log.is_shared() && unknown > BATCH as u64;
    if unknown > 0 && (folded < memory || !may_fold || hurries) {
        for stored in app.log.read_after_blocking(memory, BATCH)? {
            let entry = Entry::decode(&stored.entry)?;
            app.follow(&entry);
            app.progress.memory.send_replace(stored.position + 1);
        }
        return Ok(0);
    }
    if !may_fold {
        return Ok(0);
    }
    let stored = app.log.follow_blocking(folded, BATCH)?;
    // Memory first: the key of a personal part may have to be fetched from far away.
    let mut entries = Vec::with_capacity(stored.len());
    for stored in &stored {
        let entry = decode_entry(stored)?;
        if stored.position >= memory {
            app.follow(&entry);
        }
        entries.push(entry);
        give_way_after(entries.len());
    }
    if let Some(last) = stored.last()
        && last.position >= memory
    {
        app.progress.memory.send_replace(last.position + 1);
    }
    let mut batch = Vec::with_capacity(stored.len());
    for (entry, stored) in entries.into_iter().zip(&stored) {
        batch.push(opened(&app.vault, entry, stored)?);
        give_way_after(batch.len());
    }
    let unopened = |recorded: &&Recorded| matches!(recorded.personal, PersonalPart::Unopened(_));
    if let Some(Recorded { position, .. }) = batch.iter().find(unopened) {
        tracing::error!(position, "what is sealed beside an entry does not open");
    }
    if !batch.is_empty() {
        read_model.fold(&batch)?;
        app.progress.read_model.send_replace(read_model.position());
    }
    Ok(batch.len())
}

fn give_way_after(events: usize) {
    if events.is_multiple_of(PIECE) {
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_read_models_rest_longer_after_more_but_not_while_they_are_behind() {
        assert_eq!(rest_after(0), Duration::ZERO);
        assert_eq!(rest_after(1), REST_PER_EVENT);
        assert_eq!(rest_after(BATCH - 1), REST_MAX);
        assert_eq!(rest_after(BATCH), Duration::ZERO);
    }
}
