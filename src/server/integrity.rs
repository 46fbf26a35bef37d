//! Re-reading the whole log: is every entry there, whole, in its place, and is what is sealed
//! beside it what was sealed then?
//!
//! A broken log is announced (log line, metric, status) and never repaired: a repair would be one
//! more change to a record that must not change.

use std::time::Duration;

use projections::{PersonalPart, Unopened};

use crate::app::{self, Why};
use crate::causes::chain;
use crate::http::Shared;
use crate::log::{Log, ReadError};
use crate::vault::{Tampered, Vault, VaultError};

/// The log is not as it was written.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// An entry is not what it was.
    #[error("entry {position}: {reason}")]
    Entry {
        /// The first bad position.
        position: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// An entry holds an event that this program does not know, which says nothing about those behind it.
    #[error(
        "entry {position} cannot be judged: {reason}; a newer program wrote it, or it is damaged"
    )]
    Unknown {
        /// The first such position.
        position: u64,
        /// What it holds.
        reason: String,
    },
    /// Every entry is what it was, and what is sealed beside some of them has no key any more.
    #[error(
        "what is sealed beside {entries} entries, the first at {first}, has no key in this vault"
    )]
    NoKey {
        /// How many entries.
        entries: u64,
        /// The first of them.
        first: u64,
    },
    /// The index by which streams are found is not what the entries say.
    #[error("the index of the streams does not agree with the entries")]
    Index,
    /// The log cannot be read at all now, which says nothing about it.
    #[error("the log cannot be read")]
    Unreadable(#[source] ReadError),
    /// The vault cannot be read now, or not with this master key, which says nothing about it either.
    #[error("the vault cannot be read")]
    Vault(#[source] VaultError),
}

const BATCH: usize = 1024;

/// Reads entries from `from` up to the head and checks each: dense positions and versions (the
/// log does), envelope and row agree, the event decodes, the commitment opens, and, if all are
/// read, each is found in its stream. Blocks.
///
/// # Errors
/// The first position that is not as it was written; if there is none, that streams would not be found whole, or keys are missing.
pub fn verify(
    log: &Log,
    vault: &Vault,
    from: u64,
    mut progress: impl FnMut(u64) -> bool,
) -> Result<u64, Broken> {
    let mut position = from;
    let mut agreement = match from {
        0 => log.agreement_blocking().map_err(|error| broken(0, error))?,
        _ => None,
    };
    let mut without_key: Option<(u64, u64)> = None;
    loop {
        let stored = log.read_after_blocking(position, BATCH);
        let stored = stored.map_err(|error| broken(position, error))?;
        if stored.is_empty() {
            return match (agreement, without_key) {
                (Some(agreement), _) if !agreement.holds() => Err(Broken::Index),
                (_, Some((entries, first))) => Err(Broken::NoKey { entries, first }),
                (_, None) => Ok(position),
            };
        }
        for entry in &stored {
            let broken = |reason: String| Broken::Entry {
                position: entry.position,
                reason,
            };
            let recorded = app::decode(vault, entry).map_err(|error| {
                let is_damage = error.is_damage();
                match error.why {
                    Why::Vault(error) => Broken::Vault(error),
                    why if is_damage => broken(chain(&why)),
                    why => Broken::Unknown {
                        position: entry.position,
                        reason: chain(&why),
                    },
                }
            })?;
            match recorded.personal {
                PersonalPart::Unopened(Unopened::Tampered) => {
                    return Err(broken(Tampered.to_string()));
                }
                PersonalPart::Unopened(Unopened::NoKey) => {
                    let (entries, _) = without_key.get_or_insert((0, entry.position));
                    *entries += 1;
                }
                PersonalPart::Absent | PersonalPart::Erased | PersonalPart::Known(_) => {}
            }
            let envelope = &recorded.entry.envelope;
            if envelope.stream != entry.stream || envelope.version != entry.version {
                return Err(broken(
                    "the entry stands in another stream's place".to_owned(),
                ));
            }
            if let Some(agreement) = &mut agreement {
                agreement.add(entry);
            }
            position = entry.position + 1;
        }
        if !progress(position) {
            return Ok(position);
        }
    }
}

fn broken(position: u64, error: ReadError) -> Broken {
    match error {
        ReadError::Corrupt {
            position: at,
            detail,
        } => Broken::Entry {
            position: at.unwrap_or(position),
            reason: detail,
        },
        error @ ReadError::Unavailable(_) => Broken::Unreadable(error),
    }
}

/// The pause between two batches: re-reading must not be felt.
const PAUSE: Duration = Duration::from_millis(20);
/// The pause between two full readings.
const AGAIN: Duration = Duration::from_secs(6 * 60 * 60);

/// Re-reads the log in the background, again and again.
pub fn watch(shared: Shared) {
    std::thread::spawn(move || {
        while !shared.stopping.is_cancelled() {
            let outcome = verify(&shared.app.log, &shared.app.vault, 0, |position| {
                shared.app.integrity.note_verified(position);
                std::thread::park_timeout(PAUSE);
                !shared.stopping.is_cancelled()
            });
            match outcome {
                Ok(position) => shared.app.integrity.note_verified(position),
                // Whoever changes a record may call an event by a name that nobody knows.
                Err(Broken::Entry { position, reason } | Broken::Unknown { position, reason }) => {
                    shared.app.integrity.note_broken();
                    tracing::error!(position, reason, "the log is not as it was written");
                }
                Err(error @ (Broken::Index | Broken::NoKey { .. })) => {
                    shared.app.integrity.note_broken();
                    tracing::error!(error = chain(&error), "the log or the vault is not whole");
                }
                Err(error @ (Broken::Unreadable(_) | Broken::Vault(_))) => {
                    tracing::warn!(error = chain(&error), "the log is not verified");
                }
            }
            let started = std::time::Instant::now();
            while started.elapsed() < AGAIN && !shared.stopping.is_cancelled() {
                std::thread::park_timeout(Duration::from_millis(500));
            }
        }
    });
}
