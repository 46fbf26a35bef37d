//! Signing keys as they are used: in memory, by `kid`, each bound to one algorithm.
//!
//! A key signs from `not_before` until a newer one does, and verifies until it retires, which is
//! no sooner than the last token it signed. Asymmetric keys are published (RFC 7517) from the
//! moment they exist, so that verifiers know a key before they meet it.
//!
//! There is one set of HS256 keys for all proxies: only this server reads those tokens, and `iss`
//! and `aud` keep proxies apart. Because the algorithm belongs to the key and is never taken from
//! a token, a public key cannot be passed off as an HMAC secret.
//!
//! Absent: nothing here fetches a key, reads a file or follows a `jku`, `jwk` or `x5u`.

mod generate;

use std::fmt;

use domain::Timestamp;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{DecodingKey, EncodingKey, Header};
use serde::Serialize;

pub(crate) use generate::{StoredKey, generate};

pub use domain::key::{Algorithm, UnknownAlgorithm};

/// Its name in the JWS library.
fn to_jwa(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::HS256 => jsonwebtoken::Algorithm::HS256,
        Algorithm::ES256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::EdDSA => jsonwebtoken::Algorithm::EdDSA,
        Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
    }
}

/// The life of a signing key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyInfo {
    /// Its name in the `kid` header and the key set.
    pub kid: String,
    /// The one algorithm it serves.
    pub alg: Algorithm,
    /// When it was made, and from when on it is published.
    pub created_at: Timestamp,
    /// From when on it signs.
    pub not_before: Timestamp,
    /// From when on its tokens are refused; absent while none has taken its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retires_at: Option<Timestamp>,
}

/// A signing key, parsed once. `Debug` shows its life alone.
pub struct SigningKey {
    /// Its name, algorithm and times.
    pub info: KeyInfo,
    header: Header,
    /// Absent once the private part of a retired key was erased.
    encoding: Option<EncodingKey>,
    decoding: DecodingKey,
    /// Absent for HS256.
    jwk: Option<Jwk>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.info.fmt(f)
    }
}

impl SigningKey {
    /// Whether tokens it signed are accepted at `now`.
    #[must_use]
    pub fn verifies_at(&self, now: Timestamp) -> bool {
        self.info.retires_at.is_none_or(|retires| now < retires)
    }

    /// The header of the tokens it signs, and the key itself.
    pub(crate) fn encoding(&self) -> Option<(&Header, &EncodingKey)> {
        Some((&self.header, self.encoding.as_ref()?))
    }

    /// The key that verifies, and the only algorithm it may verify with.
    pub(crate) fn decoding(&self) -> (&DecodingKey, jsonwebtoken::Algorithm) {
        (&self.decoding, self.header.alg)
    }
}

/// Every signing key the vault knows: a snapshot, replaced as a whole.
#[derive(Debug, Default)]
pub struct SigningKeys(Vec<SigningKey>);

impl SigningKeys {
    pub(crate) fn new(keys: Vec<SigningKey>) -> Self {
        Self(keys)
    }

    /// The key of that name, whatever its age.
    #[must_use]
    pub fn by_kid(&self, kid: &str) -> Option<&SigningKey> {
        self.0.iter().find(|key| key.info.kid == kid)
    }

    /// The key that signs at `now`: the latest whose time has come. Where none's has (the clock was ahead when the first was made),
    /// the one that comes next: nobody can know of another.
    #[must_use]
    pub fn in_use(&self, alg: Algorithm, now: Timestamp) -> Option<&SigningKey> {
        let usable = self
            .0
            .iter()
            .filter(|key| key.info.alg == alg && key.verifies_at(now) && key.encoding.is_some());
        let age = |key: &&SigningKey| (key.info.not_before, key.info.created_at);
        let due = usable.clone().filter(|key| key.info.not_before <= now);
        due.max_by_key(age).or_else(|| usable.min_by_key(age))
    }

    /// The public keys to publish at `now` by a proxy that signs with `alg`: those of other algorithms, too, with which it may have
    /// signed a moment ago. Empty for HS256, whose keys are secret.
    #[must_use]
    pub fn jwks(&self, alg: Algorithm, now: Timestamp) -> JwkSet {
        let verifying = self.0.iter().filter(|key| key.verifies_at(now));
        let public = verifying.filter_map(|key| key.jwk.clone());
        JwkSet {
            keys: match alg {
                Algorithm::HS256 => Vec::new(),
                Algorithm::ES256 | Algorithm::EdDSA | Algorithm::RS256 => public.collect(),
            },
        }
    }

    /// The life of every key, oldest first.
    pub fn infos(&self) -> impl Iterator<Item = &KeyInfo> {
        self.0.iter().map(|key| &key.info)
    }
}
