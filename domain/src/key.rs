//! The life of signing keys, as facts, each the only event of its stream `signing-key-<uuid>`. The
//! keys are in the vault.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What can happen to a signing key.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// It was made and published.
    Created(Created),
    /// It signs no more; tokens it signed stay valid until they end.
    Retired(Retired),
}

/// A signing key was made and published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// Its name in token headers and key sets.
    pub kid: String,
    /// What it signs with.
    pub alg: Algorithm,
}

/// A signing key signs no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// Its name in token headers and key sets.
    pub kid: String,
}

/// How access tokens are signed (RFC 7518 §3.1, RFC 8037).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// HMAC with SHA-256: the gateway that issues is the only one that reads.
    #[default]
    HS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// Ed25519.
    EdDSA,
    /// RSASSA-PKCS1-v1_5 with SHA-256, keys of 2048 bits.
    RS256,
}

/// The text names no algorithm that signs here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected HS256, ES256, EdDSA or RS256")]
pub struct UnknownAlgorithm;

impl Algorithm {
    /// Its name in the `alg` header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::ES256 => "ES256",
            Self::EdDSA => "EdDSA",
            Self::RS256 => "RS256",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;
    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        [Self::HS256, Self::ES256, Self::EdDSA, Self::RS256]
            .into_iter()
            .find(|algorithm| algorithm.as_str() == text)
            .ok_or(UnknownAlgorithm)
    }
}
