//! Sealing the log's entries, so that whoever changes one afterwards is found out.

use std::time::{Duration, Instant};

use crate::app::Unavailable;
use crate::causes::chain;
use crate::http::Shared;
use crate::log::{Log, ReadError};
use crate::vault::Vault;

/// An entry of a shared log is sealed after this or twice as long: a database that fails over to an asynchronous standby may take
/// back its last entries, and what was sealed must be there for ever.
const SETTLED: Duration = Duration::from_secs(30);
/// One of an embedded log is there for ever as soon as it is there.
const SOON: Duration = Duration::from_secs(1);

/// As many entries share a commit of the vault.
const BATCH: u64 = 1024;
/// The pause between two batches: sealing a long log must not be felt.
const PAUSE: Duration = Duration::from_millis(25);
/// What stands in the way of sealing may stand there for long.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Seals what will stay in the log, until the service stops.
pub async fn seal(shared: Shared) {
    let (log, vault) = (&shared.app.log, &shared.app.vault);
    let pause = if log.is_shared() { SETTLED } else { SOON };
    let sealing = async {
        let (mut settled, mut warned) = (0, None::<Instant>);
        loop {
            let head = log.head();
            let end = if log.is_shared() { settled } else { head };
            if shared.app.integrity.sealed() < end {
                match seal_until(log, vault, end, PAUSE).await {
                    Ok(sealed) => shared.app.integrity.note_sealed(sealed),
                    Err(error) if warned.is_none_or(|at| at.elapsed() > WARN_EVERY) => {
                        tracing::warn!(error = chain(&error), "entries are not sealed");
                        warned = Some(Instant::now());
                    }
                    Err(_) => {}
                }
            }
            settled = head;
            tokio::time::sleep(pause).await;
        }
    };
    shared.stopping.run_until_cancelled(sealing).await;
}

/// Seals the last entries of a log that nobody else can take back, before it is closed.
pub async fn seal_the_rest(log: &Log, vault: &Vault) {
    if log.is_shared() {
        return;
    }
    if let Err(error) = seal_until(log, vault, log.head(), Duration::ZERO).await {
        tracing::warn!(error = chain(&error), "the last entries are not sealed");
    }
}

/// Seals the first `end` entries, as far as they are not, with a `pause` between batches; returns how many are sealed then.
///
/// # Errors
/// A store failed, or an entry is damaged; what is before it is sealed.
pub async fn seal_until(
    log: &Log,
    vault: &Vault,
    end: u64,
    pause: Duration,
) -> Result<u64, Unavailable> {
    let mut sealed = vault.sealed_entries().await?;
    if sealed == 0 && end > 0 {
        tracing::info!(entries = end, "the log is sealed from now on, as it is");
    }
    let mut limit = BATCH;
    while sealed < end {
        let wanted = limit.min(end - sealed) as usize;
        let entries = match log.read_after(sealed, wanted).await {
            Err(ReadError::Corrupt {
                position: Some(at), ..
            }) if (sealed + 1..sealed + wanted as u64).contains(&at) => {
                limit = at - sealed;
                continue;
            }
            entries => entries?,
        };
        if entries.is_empty() {
            break;
        }
        let entries = entries.into_iter().map(|stored| stored.entry).collect();
        sealed = vault.seal_entries(sealed, entries).await?;
        if sealed < end {
            tokio::time::sleep(pause).await;
        }
    }
    Ok(sealed)
}
