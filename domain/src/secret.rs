//! Secrets that somebody presents, and the hashes that are kept of them.
//!
//! Presented and stored secrets are different types: only the hash serializes. Every secret
//! Grantlog hands out holds 256 random bits, so a plain SHA-256 is enough (no dictionary helps).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The SHA-256 of a secret, the only form in which a secret of ours is kept.
#[derive(Clone, Copy, Debug)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Hashes a secret as it was presented or is about to be handed out.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }
}

/// Compares in constant time, so that a wrong guess tells nothing by its duration.
impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretHash {}

impl Serialize for SecretHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for SecretHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "32 bytes as base64url";
        crate::text::deserialize(deserializer, expected, |text| {
            let mut hash = [0; 32];
            match URL_SAFE_NO_PAD.decode_slice(text, &mut hash) {
                Ok(length) if length == hash.len() => Ok(Self(hash)),
                Ok(_) | Err(_) => Err(expected),
            }
        })
    }
}
