//! Access tokens whose signature was verified before: the same bytes need not be verified again,
//! which is a good part of what the gateway itself does for a request.
//!
//! Only the signature is remembered, by the token's SHA-256 and with the `kid` that it was verified
//! under, and a `kid` names one key for ever. Whether that key still counts, and whether issuer,
//! audience and times fit, is judged anew for each request. No token is kept.

use std::sync::Arc;

use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

use crate::keys::SigningKeys;
use crate::tokens::access::{self, Claims, Expected, Rejection};

/// Some 8 MB at most. A token that was forgotten is verified once more.
const REMEMBERED_MAX: usize = 8_192;

/// Access tokens that one of our keys signed.
pub(super) struct KnownTokens(Cache<[u8; 32], Arc<Known>>);

/// What a token says, and who says so.
struct Known {
    claims: Arc<Claims>,
    kid: String,
}

impl Default for KnownTokens {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED_MAX))
    }
}

impl KnownTokens {
    /// As [`access::verify`].
    pub(super) fn verify(
        &self,
        keys: &SigningKeys,
        token: &str,
        expected: Expected<'_>,
    ) -> Result<Arc<Claims>, Rejection> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        if let Some(known) = self.0.get(&hash)
            && let Some(key) = keys.by_kid(&known.kid)
        {
            if !key.verifies_at(expected.now) {
                return Err(Rejection::UnknownKey);
            }
            known.claims.check(expected)?;
            return Ok(known.claims.clone());
        }
        let (claims, key) = access::authenticate(keys, token)?;
        if !key.verifies_at(expected.now) {
            return Err(Rejection::UnknownKey);
        }
        claims.check(expected)?;
        let claims = Arc::new(claims);
        let known = Known {
            claims: claims.clone(),
            kid: key.info.kid.clone(),
        };
        self.0.insert(hash, Arc::new(known));
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};
    use domain::Timestamp;
    use domain::id::{ClientId, EventId, GrantId, SubjectId};
    use uuid::Uuid;

    use super::*;
    use crate::keys::{Algorithm, KeyInfo, StoredKey, generate};

    fn start() -> Timestamp {
        DateTime::from_timestamp(1_700_000_000, 0).unwrap()
    }

    fn keys(stored: &StoredKey, retires_at: Option<Timestamp>) -> SigningKeys {
        let mut stored = stored.clone();
        stored.info.retires_at = retires_at;
        SigningKeys::new(vec![stored.try_into().unwrap()])
    }

    #[test]
    fn what_was_verified_once_is_judged_each_time() {
        let key = generate(KeyInfo {
            kid: "one".to_owned(),
            alg: Algorithm::HS256,
            created_at: start(),
            not_before: start(),
            retires_at: None,
        });
        let key = key.unwrap();
        let ours = keys(&key, None);
        let claims = Claims {
            iss: "https://here".to_owned(),
            sub: SubjectId(Uuid::from_u128(1)),
            aud: "https://there".to_owned(),
            client_id: ClientId(Uuid::from_u128(2)),
            scope: "read".parse().unwrap(),
            iat: start().timestamp(),
            exp: start().timestamp() + 3600,
            jti: EventId(Uuid::from_u128(3)),
            grant: GrantId(Uuid::from_u128(4)),
        };
        let token = access::mint(&ours, Algorithm::HS256, &claims, start()).unwrap();
        let here = Expected {
            issuer: "https://here",
            audiences: &["https://there"],
            now: start(),
            leeway_s: 0,
        };
        let known = KnownTokens::default();
        for _ in 0..2 {
            let verified = known.verify(&ours, &token, here).unwrap();
            assert_eq!(*verified, claims);
        }
        let refused = |keys: &SigningKeys, token: &str, expected, reason| {
            let found = known.verify(keys, token, expected);
            assert_eq!(found.unwrap_err(), reason);
        };
        let later = Expected {
            now: start() + TimeDelta::seconds(3600),
            ..here
        };
        let elsewhere = Expected {
            audiences: &["https://elsewhere"],
            ..here
        };
        let other_issuer = Expected {
            issuer: "https://nowhere",
            ..here
        };
        refused(&ours, &token, later, Rejection::Expired);
        refused(&ours, &token, elsewhere, Rejection::WrongAudience);
        refused(&ours, &token, other_issuer, Rejection::WrongIssuer);
        refused(&ours, &format!("{token}A"), here, Rejection::BadSignature);
        let retired = keys(&key, Some(start()));
        refused(&retired, &token, here, Rejection::UnknownKey);
        refused(&SigningKeys::default(), &token, here, Rejection::UnknownKey);
    }
}
