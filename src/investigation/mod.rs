//! What investigators are told of events, whoever asks: the HTTP API of a running server, or the
//! command line that opens a store read-only. Knows nothing of HTTP.

mod rendered;
mod story;

use projections::{EventRow, Recorded};

use crate::app::{Unavailable, decode};
use crate::log::{Log, StoredEntry};
use crate::vault::Vault;

pub use rendered::{RenderedEvent, Source};
pub use story::{Timeline, timeline};

/// Positions this near to each other are read in one go.
const GAP_MAX: u64 = 16;

/// Fetches the bodies of events that the index found, in the same order. Blocks.
///
/// # Errors
/// The log cannot be read.
pub fn bodies_of(
    log: &Log,
    vault: &Vault,
    rows: Vec<EventRow>,
) -> Result<Vec<RenderedEvent>, Unavailable> {
    let mut rendered = Vec::with_capacity(rows.len());
    let mut rows = rows.into_iter().peekable();
    while let Some(first) = rows.next() {
        let mut run = vec![first];
        while let Some(next) =
            rows.next_if(|next| next.position.abs_diff(run[run.len() - 1].position) <= GAP_MAX)
        {
            run.push(next);
        }
        let ends = [run[0].position, run[run.len() - 1].position];
        let (from, to) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
        let count = usize::try_from(to - from + 1).unwrap_or(1);
        let stored = log.read_after_blocking(from, count)?;
        for row in run {
            let at = usize::try_from(row.position - from).unwrap_or_default();
            if let Some(stored) = stored.get(at) {
                rendered.push(RenderedEvent::new(opened(vault, stored)?, Some(row)));
            }
        }
    }
    Ok(rendered)
}

/// Fetches events that no index knows yet. Blocks.
///
/// # Errors
/// The log cannot be read.
pub fn bodies(
    log: &Log,
    vault: &Vault,
    from: u64,
    limit: usize,
) -> Result<Vec<RenderedEvent>, Unavailable> {
    let stored = log.read_after_blocking(from, limit)?;
    stored
        .iter()
        .map(|stored| Ok(RenderedEvent::new(opened(vault, stored)?, None)))
        .collect()
}

/// An entry of the log, made sense of.
///
/// # Errors
/// This program cannot.
pub fn opened(vault: &Vault, stored: &StoredEntry) -> Result<Recorded, Unavailable> {
    Ok(decode(vault, stored)?)
}
