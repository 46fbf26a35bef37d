//! Sealing the log's entries, so that whoever changes one afterwards is found out.

use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::app::Unavailable;
use crate::causes::chain;
use crate::http::Shared;
use crate::log::{Log, ReadError};
use crate::vault::{Sealing, Vault};

/// An entry of a shared log is sealed after this or twice as long: a database that fails over to an asynchronous standby may take
/// back its last entries, and what was sealed must be there for ever.
const SETTLED: Duration = Duration::from_secs(30);
/// One of an embedded log is there for ever as soon as it is there.
const SOON: Duration = Duration::from_secs(1);

/// As many entries share a commit of the vault.
const BATCH: u64 = 4096;
/// So many are in memory at once, and then those go first who answer requests on the same CPU.
const PIECE: u64 = 64;
/// The pause between two batches: sealing a long log must not be felt.
const PAUSE: Duration = Duration::from_millis(25);
/// What stands in the way of sealing may stand there for long.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Seals what will stay in the log, until the service stops. Blocks, on one thread for all: of memory that was needed for a
/// moment each thread keeps some.
pub fn seal(shared: &Shared) {
    let log = &shared.app.log;
    let pause = if log.is_shared() { SETTLED } else { SOON };
    let goes_on_after = |pause| {
        let stopped = tokio::time::timeout(pause, shared.stopping.cancelled());
        Handle::current().block_on(stopped).is_err()
    };
    let (mut settled, mut warned) = (0, None::<Instant>);
    loop {
        let head = log.head();
        let end = if log.is_shared() { settled } else { head };
        if shared.app.integrity.sealed() < end {
            match seal_until(log, &shared.app.vault, end, || goes_on_after(PAUSE)) {
                Ok(sealed) => shared.app.integrity.note_sealed(sealed),
                Err(error) if warned.is_none_or(|at| at.elapsed() > WARN_EVERY) => {
                    tracing::warn!(error = chain(&error), "entries are not sealed");
                    warned = Some(Instant::now());
                }
                Err(_) => {}
            }
        }
        settled = head;
        if !goes_on_after(pause) {
            return;
        }
    }
}

/// Seals the last entries of a log that nobody else can take back, as many as it can in that time. Blocks.
pub fn seal_the_rest(log: &Log, vault: &Vault, time: Duration) {
    if log.is_shared() {
        return;
    }
    let begun = Instant::now();
    if let Err(error) = seal_until(log, vault, log.head(), || begun.elapsed() < time) {
        tracing::warn!(error = chain(&error), "the last entries are not sealed");
    }
}

/// Seals the first `end` entries, as far as they are not and while it `goes_on` between batches; returns how many are sealed
/// then. Blocks a thread of the runtime that may block.
///
/// # Errors
/// A store failed, or an entry is damaged; what is before it is sealed.
pub fn seal_until(
    log: &Log,
    vault: &Vault,
    end: u64,
    goes_on: impl Fn() -> bool,
) -> Result<u64, Unavailable> {
    loop {
        let mut sealing = vault.sealing()?;
        let before = sealing.entries();
        if before == 0 && end > 0 {
            tracing::info!(entries = end, "the log is sealed from now on, as it is");
        }
        let read = add_entries(log, &mut sealing, end.min(before + BATCH));
        let sealed = sealing.entries();
        Handle::current().block_on(sealing.write())?;
        read?;
        if sealed >= end || sealed == before || !goes_on() {
            return Ok(sealed);
        }
    }
}

/// Adds the log's entries up to `end`, or up to the first that is damaged.
fn add_entries(log: &Log, sealing: &mut Sealing, end: u64) -> Result<(), ReadError> {
    let mut limit = PIECE;
    while sealing.entries() < end {
        let (next, wanted) = (sealing.entries(), limit.min(end - sealing.entries()));
        let entries = match log.read_after_blocking(next, wanted as usize) {
            Err(ReadError::Corrupt {
                position: Some(at), ..
            }) if (next + 1..next + wanted).contains(&at) => {
                limit = at - next;
                continue;
            }
            entries => entries?,
        };
        if entries.is_empty() {
            break;
        }
        for stored in entries {
            sealing.add(&stored.entry);
        }
        std::thread::yield_now();
    }
    Ok(())
}
