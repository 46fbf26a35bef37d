//! What a node must know before it serves: read from its read models and the log's end, or, where
//! the read models are far behind (a new node, a rebuild), from the log alone, so that serving
//! never waits for them.

use chrono::TimeDelta;
use domain::Timestamp;
use domain::event::Event;
use domain::proxy;
use projections::{ReadModelError, Reader};

use super::follower::decode_entry;
use super::{App, Unavailable};

/// Following this many entries takes less than a second.
const NEAR: u64 = 100_000;

/// How far the clocks of two nodes may be apart.
const CLOCKS_APART: TimeDelta = TimeDelta::hours(2);

/// Why the state could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The read models cannot be read.
    #[error("the read models cannot be read")]
    ReadModel(#[from] ReadModelError),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] Unavailable),
}

impl App {
    /// Puts into memory what the log knew when it was opened, up to a position from which the
    /// follower goes on. Blocks.
    ///
    /// # Errors
    /// A store cannot be read.
    pub fn load(&self, reader: &Reader, folded: u64, now: Timestamp) -> Result<(), LoadError> {
        self.revocations.load(reader, now)?;
        let mut from = folded;
        if self.log.head() - folded > NEAR {
            let access_token_s = self.load_directory()?;
            // Whose access tokens have ended by themselves need not be known as revoked.
            let live = now - TimeDelta::seconds(access_token_s.into()) - CLOCKS_APART;
            from = self.first_since(live, folded)?;
        } else {
            self.directory.load(reader)?;
        }
        self.progress.begin(from, folded);
        Ok(())
    }

    /// Reads all proxies and providers from their streams. Returns the longest life, in seconds,
    /// that access tokens ever had.
    fn load_directory(&self) -> Result<u32, Unavailable> {
        let mut access_token_s = 0;
        for kind in ["provider", "proxy"] {
            // Numbers are given out without gaps.
            for number in 1_u32.. {
                let stream = format!("{kind}-{number}");
                let entries = self.log.read_stream_blocking(&stream)?;
                if entries.is_empty() {
                    break;
                }
                for stored in &entries {
                    let entry = decode_entry(stored)?;
                    if let Event::Proxy(
                        proxy::Event::Added(configured) | proxy::Event::Changed(configured),
                    ) = &entry.event
                    {
                        access_token_s = access_token_s.max(configured.settings.access_token_s);
                    }
                    self.directory.apply(&stream, stored.version, &entry.event);
                }
            }
        }
        Ok(access_token_s)
    }

    /// The first position from `from` on that was recorded at an instant or later, as far as the
    /// clocks agree.
    fn first_since(&self, at: Timestamp, from: u64) -> Result<u64, Unavailable> {
        let (mut low, mut high) = (from, self.log.head());
        while low < high {
            let middle = low + (high - low) / 2;
            let entries = self.log.read_after_blocking(middle, 1)?;
            let Some(stored) = entries.first() else {
                break;
            };
            if decode_entry(stored)?.envelope.recorded_at < at {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}
