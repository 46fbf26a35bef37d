//! The stores of a configuration, opened read-only: whoever only looks may run beside a server.

use std::path::{Path, PathBuf};

use projections::Recorded;

use super::exit::Failure;
use crate::app::{self, Unreadable};
use crate::config::Config;
use crate::log::{Log, ReadError};
use crate::server;
use crate::vault::Vault;

/// Entries read at once: what is decoded of them stays in the CPU's caches until it is folded.
const BATCH: usize = 256;

/// The stores of a configuration, opened read-only.
pub struct Stores {
    /// The log.
    pub log: Log,
    /// The vault.
    pub vault: Vault,
    /// Where they are.
    pub folder: PathBuf,
}

impl Stores {
    /// Opens them.
    ///
    /// # Errors
    /// One is missing, of another version, or its key is.
    pub fn open(config: &Config) -> Result<Self, Failure> {
        let (log, vault) = server::open_read_only(config)?;
        let folder = config.store.data_dir.clone();
        Ok(Self { log, vault, folder })
    }

    /// Opens those in a folder, whatever else the configuration names.
    ///
    /// # Errors
    /// As [`Stores::open`].
    pub fn in_folder(config: &Config, folder: &Path) -> Result<Self, Failure> {
        let (log, vault) = server::open_embedded_read_only(config, folder)?;
        let folder = folder.to_owned();
        Ok(Self { log, vault, folder })
    }

    /// The whole log in batches, decoded.
    pub fn entries(&self) -> impl Iterator<Item = Result<Vec<Recorded>, ReadFailure>> + Send + '_ {
        let mut from = 0;
        std::iter::from_fn(move || {
            let stored = match self.log.read_after_blocking(from, BATCH) {
                Ok(stored) if stored.is_empty() => return None,
                Ok(stored) => stored,
                Err(error) => return Some(Err(error.into())),
            };
            from += stored.len() as u64;
            let mut decoded = Vec::with_capacity(stored.len());
            for stored in &stored {
                match app::decode(&self.vault, stored) {
                    Ok(recorded) => decoded.push(recorded),
                    Err(error) => return Some(Err(error.into())),
                }
            }
            Some(Ok(decoded))
        })
    }
}

/// The log could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadFailure {
    /// The store failed.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// An entry makes no sense.
    #[error(transparent)]
    Entry(#[from] Unreadable),
}
