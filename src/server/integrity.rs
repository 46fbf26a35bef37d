//! Re-reading the whole log: is every entry there, whole, in its place and as it was sealed, and is
//! what is encrypted beside it what was encrypted then?
//!
//! A broken log is announced (log line, metric, status) and never repaired: a repair would be one
//! more change to a record that must not change.

use std::time::Duration;

use projections::{PersonalPart, Unopened};

use crate::app::{self, Why};
use crate::causes::chain;
use crate::http::Shared;
use crate::log::{Log, ReadError, StoredEntry};
use crate::vault::{Seals, Tampered, Vault, VaultError};

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

/// Reads all entries and checks each: dense positions and versions (the log does), the entry is the
/// one that was sealed, envelope and row agree, the event decodes, the commitment opens, and, if all
/// are read, each is found in its stream and none that was sealed is missing. Blocks.
///
/// # Errors
/// The first position that is not as it was written; if there is none, that streams would not be found whole, or keys are missing.
pub fn verify(
    log: &Log,
    vault: &Vault,
    mut progress: impl FnMut(u64) -> bool,
) -> Result<u64, Broken> {
    // Before any entry: whatever is sealed by now is in the log by then.
    let mut seals = vault.seals().map_err(Broken::Vault)?;
    let mut agreement = log.agreement_blocking().map_err(|error| broken(0, error))?;
    let mut without_key: Option<(u64, u64)> = None;
    let (mut position, mut limit) = (0, BATCH);
    loop {
        let stored = match log.read_after_blocking(position, limit) {
            // One before it may be bad, too.
            Err(ReadError::Corrupt {
                position: Some(at), ..
            }) if (position + 1..position + limit as u64).contains(&at) => {
                limit = (at - position) as usize;
                continue;
            }
            stored => stored.map_err(|error| broken(position, error))?,
        };
        if stored.is_empty() {
            return match (agreement, without_key) {
                _ if position < seals.entries() => Err(Broken::Entry {
                    position,
                    reason: format!("it is missing: {} entries were sealed", seals.entries()),
                }),
                (Some(agreement), _) if !agreement.holds() => Err(Broken::Index),
                (_, Some((entries, first))) => Err(Broken::NoKey { entries, first }),
                (_, None) => Ok(position),
            };
        }
        for entry in &stored {
            if !check(vault, &mut seals, entry)? {
                let (entries, _) = without_key.get_or_insert((0, entry.position));
                *entries += 1;
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

/// Checks the next entry. Returns whether what is encrypted beside it has a key.
fn check(vault: &Vault, seals: &mut Seals<'_>, entry: &StoredEntry) -> Result<bool, Broken> {
    let broken = |reason: &str| Broken::Entry {
        position: entry.position,
        reason: reason.to_owned(),
    };
    if !seals.fits(&entry.entry).map_err(Broken::Vault)? {
        return Err(broken("its seal is missing, or not of this entry"));
    }
    let recorded = app::decode(vault, entry).map_err(|error| {
        let is_damage = error.is_damage();
        match error.why {
            Why::Vault(error) => Broken::Vault(error),
            why if is_damage => broken(&chain(&why)),
            why => Broken::Unknown {
                position: entry.position,
                reason: chain(&why),
            },
        }
    })?;
    let envelope = &recorded.entry.envelope;
    if envelope.stream != entry.stream || envelope.version != entry.version {
        return Err(broken("the entry stands in another stream's place"));
    }
    match recorded.personal {
        PersonalPart::Unopened(Unopened::Tampered) => Err(broken(&Tampered.to_string())),
        PersonalPart::Unopened(Unopened::NoKey) => Ok(false),
        PersonalPart::Absent | PersonalPart::Erased | PersonalPart::Known(_) => Ok(true),
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
            let outcome = verify(&shared.app.log, &shared.app.vault, |position| {
                shared.app.integrity.note_verified(position);
                std::thread::park_timeout(PAUSE);
                !shared.stopping.is_cancelled()
            });
            match outcome {
                Ok(position) => shared.app.integrity.note_verified(position),
                Err(Broken::Unknown { position, reason })
                    if position < shared.app.integrity.sealed() =>
                {
                    tracing::warn!(position, reason, "the log is verified so far");
                }
                // Whoever changes a record may call an event by a name that nobody knows, if no seal tells of it.
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
