//! Access tokens: JWTs of the profile of RFC 9068, minted and verified in memory.
//!
//! Verification trusts nothing the token says about how to verify it (RFC 8725): the `kid` picks
//! one of our keys, the key fixes the algorithm, `typ` must be `at+jwt` so that no other JWT of
//! ours passes, and a token that wants more (`crit`) or offers keys of its own is refused. Every
//! refusal has its own reason, for the record; the world is told `invalid_token`.

use std::fmt;

use domain::Timestamp;
use domain::id::{ClientId, EventId, GrantId, SubjectId};
use domain::scope::Scope;
use jsonwebtoken::{Header, dangerous};
use serde::{Deserialize, Serialize};

use crate::keys::{Algorithm, SigningKey, SigningKeys};

/// The media type of our access tokens, as written in `typ` (RFC 9068 §2.1).
pub(crate) const TYPE: &str = "at+jwt";

/// Longer texts are refused unread.
const LEN_MAX: usize = 8192;

/// What an access token says (RFC 9068 §2.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The issuer: the proxy's base URL.
    pub iss: String,
    /// The resource owner.
    pub sub: SubjectId,
    /// The protected resource it is for.
    pub aud: String,
    /// The client it was issued to.
    pub client_id: ClientId,
    /// What it admits to.
    #[serde(default, skip_serializing_if = "Scope::is_empty")]
    pub scope: Scope,
    /// When it was issued, in seconds since 1970.
    pub iat: i64,
    /// From when on it is refused, in seconds since 1970.
    pub exp: i64,
    /// The event that issued it.
    pub jti: EventId,
    /// The grant it follows from.
    pub grant: GrantId,
}

/// What a token must be for, here and now.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The one issuer it may be from, compared exactly.
    pub issuer: &'a str,
    /// The resources it may be for; one of them, compared exactly.
    pub audiences: &'a [&'a str],
    /// The instant it must be valid at.
    pub now: Timestamp,
    /// How far other nodes' clocks may be off.
    pub leeway_s: u32,
}

/// Why a token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Rejection {
    /// Not a JWT with the claims of an access token.
    Malformed,
    /// Its `typ` is not `at+jwt`: an ID token, an assertion, …
    WrongType,
    /// It has a `crit` header, or brings a key or the address of one.
    UnsupportedHeader,
    /// Its `kid` is absent, not ours, or of a retired key.
    UnknownKey,
    /// Its `alg` is not that of its key; `none` is [`Rejection::Malformed`].
    WrongAlgorithm,
    /// The signature does not match.
    BadSignature,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// Another proxy, or another server, issued it.
    WrongIssuer,
    /// It is for another resource.
    WrongAudience,
}

impl Rejection {
    /// The reason as recorded; never changes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::WrongType => "wrong_type",
            Self::UnsupportedHeader => "unsupported_header",
            Self::UnknownKey => "unknown_key",
            Self::WrongAlgorithm => "wrong_algorithm",
            Self::BadSignature => "bad_signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongIssuer => "wrong_issuer",
            Self::WrongAudience => "wrong_audience",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No key signs with this algorithm yet: have the vault ensure one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no {0} signing key in use")]
pub struct NoKey(pub Algorithm);

/// Signs an access token with the key in use at `now`.
///
/// # Errors
/// There is no such key, or it does not sign.
pub fn mint(
    keys: &SigningKeys,
    alg: Algorithm,
    claims: &Claims,
    now: Timestamp,
) -> Result<String, NoKey> {
    let (header, key) = keys
        .in_use(alg, now)
        .and_then(SigningKey::encoding)
        .ok_or(NoKey(alg))?;
    jsonwebtoken::encode(header, claims, key).map_err(|_| NoKey(alg))
}

/// Verifies an access token: ours, unchanged, in time, from that issuer and for that resource.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn verify(
    keys: &SigningKeys,
    token: &str,
    expected: Expected<'_>,
) -> Result<Claims, Rejection> {
    let (claims, key) = authenticate(keys, token)?;
    if !key.verifies_at(expected.now) {
        return Err(Rejection::UnknownKey);
    }
    claims.check(expected)?;
    Ok(claims)
}

/// Reads a token that one of our keys signed, however long ago and for whatever resource: for
/// explaining one found in the wild. Admits to nothing.
///
/// # Errors
/// It is not an access token of ours.
pub fn authenticate<'a>(
    keys: &'a SigningKeys,
    token: &str,
) -> Result<(Claims, &'a SigningKey), Rejection> {
    if token.len() > LEN_MAX {
        return Err(Rejection::Malformed);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| Rejection::Malformed)?;
    let key = key_for(keys, &header)?;
    let (message, signature) = token.rsplit_once('.').ok_or(Rejection::Malformed)?;
    let (decoding, alg) = key.decoding();
    match jsonwebtoken::crypto::verify(signature, message.as_bytes(), decoding, alg) {
        Ok(true) => {}
        Ok(false) => return Err(Rejection::BadSignature),
        Err(_) => return Err(Rejection::Malformed),
    }
    // Not dangerous here: the signature over exactly these bytes was just verified.
    let claims = dangerous::insecure_decode_claims(token).map_err(|_| Rejection::Malformed)?;
    Ok((claims, key))
}

fn key_for<'a>(keys: &'a SigningKeys, header: &Header) -> Result<&'a SigningKey, Rejection> {
    if !is_access_token_type(header.typ.as_deref()) {
        return Err(Rejection::WrongType);
    }
    let brings_a_key = header.jku.is_some()
        || header.jwk.is_some()
        || header.x5u.is_some()
        || header.x5c.is_some();
    if header.crit.is_some() || brings_a_key {
        return Err(Rejection::UnsupportedHeader);
    }
    let kid = header.kid.as_deref().ok_or(Rejection::UnknownKey)?;
    let key = keys.by_kid(kid).ok_or(Rejection::UnknownKey)?;
    if key.decoding().1 != header.alg {
        return Err(Rejection::WrongAlgorithm);
    }
    Ok(key)
}

/// A media type without `application/` means the same (RFC 7515 §4.1.9).
fn is_access_token_type(typ: Option<&str>) -> bool {
    typ.is_some_and(|typ| {
        typ.eq_ignore_ascii_case(TYPE) || typ.eq_ignore_ascii_case("application/at+jwt")
    })
}

impl Claims {
    /// Whether the token may be used as expected; its signature is another matter.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(&self, expected: Expected<'_>) -> Result<(), Rejection> {
        let now_s = expected.now.timestamp();
        let leeway_s = i64::from(expected.leeway_s);
        if self.iss != expected.issuer {
            return Err(Rejection::WrongIssuer);
        }
        if !expected.audiences.contains(&self.aud.as_str()) {
            return Err(Rejection::WrongAudience);
        }
        if now_s >= self.exp.saturating_add(leeway_s) {
            return Err(Rejection::Expired);
        }
        if now_s < self.iat.saturating_sub(leeway_s) {
            return Err(Rejection::NotYetValid);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
