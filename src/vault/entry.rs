//! The personal part of a log entry: sealed beside the entry, and committed to inside it.
//!
//! The entry is a leaf of the log's Merkle tree and never changes, so it must not hold personal
//! data nor anything that could be guessed back to it, such as a plain hash. It holds
//! `HMAC-SHA256(blind, personal)` under a random blind that is sealed together with the data:
//! while the key lives, the commitment proves that the sealed bytes are the ones recorded; once
//! the key is destroyed, nothing relates the commitment to a person.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::id::EventId;
use zeroize::Zeroizing;

use super::data_keys::Opened;
use super::scope::Scope;
use super::{Tampered, Vault, VaultError};
use crate::clock;

const BLIND_LEN: usize = 32;

/// What goes into the log for an event's personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedEntry {
    /// Goes into the entry: 43 characters of base64url.
    pub commitment: String,
    /// Goes beside the entry.
    pub sealed: Vec<u8>,
}

impl Vault {
    /// Commits to an event's personal data and seals it. Synchronous; some microseconds.
    ///
    /// # Errors
    /// [`VaultError::NotLoaded`] or [`VaultError::Erased`], as for [`Vault::seal`].
    pub fn seal_entry(
        &self,
        scope: Scope,
        event: EventId,
        personal: &[u8],
    ) -> Result<SealedEntry, VaultError> {
        let blind = Zeroizing::new(clock::random::<BLIND_LEN>());
        let commitment = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, blind.as_slice()),
            personal,
        );
        Ok(SealedEntry {
            sealed: self.seal_parts(scope, event.0.as_bytes(), &[blind.as_slice(), personal])?,
            commitment: URL_SAFE_NO_PAD.encode(commitment),
        })
    }

    /// Opens an event's personal data and checks it against the commitment in its entry.
    ///
    /// # Errors
    /// [`VaultError::NotLoaded`]: [`Vault::load`] the scope it names. [`VaultError::Tampered`]: the
    /// sealed bytes are not the ones that were recorded with this event.
    pub fn open_entry(
        &self,
        event: EventId,
        commitment: &str,
        sealed: &[u8],
    ) -> Result<Opened, VaultError> {
        let scope = Scope::of_sealed(sealed)?;
        let opened = self.open_sealed(scope, event.0.as_bytes(), sealed)?;
        check(opened, commitment)
    }

    /// [`Vault::open_entry`] that reads a missing key from the store, for threads that may block.
    ///
    /// # Errors
    /// As there, but [`VaultError::NoKey`] instead of not loaded.
    pub fn open_entry_blocking(
        &self,
        event: EventId,
        commitment: &str,
        sealed: &[u8],
    ) -> Result<Opened, VaultError> {
        let scope = Scope::of_sealed(sealed)?;
        let key = self.load_blocking(scope)?;
        check(key.open(scope, event.0.as_bytes(), sealed)?, commitment)
    }
}

fn check(opened: Opened, commitment: &str) -> Result<Opened, VaultError> {
    let Opened::Plain(mut plain) = opened else {
        return Ok(Opened::Erased);
    };
    let (blind, personal) = plain.split_at_checked(BLIND_LEN).ok_or(Tampered)?;
    let commitment = URL_SAFE_NO_PAD.decode(commitment).map_err(|_| Tampered)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, blind);
    hmac::verify(&key, personal, &commitment).map_err(|_| Tampered)?;
    plain.drain(..BLIND_LEN);
    Ok(Opened::Plain(plain))
}
